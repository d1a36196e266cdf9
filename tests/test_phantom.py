"""The phantom keeps the promises that the demo and the other tests build on."""

import numpy as np
import pytest
from scipy import ndimage

from fibseg.errors import FibsegError
from fibseg.phantom import make_phantom

DEMO = (24, 256, 256)
BACKGROUND, MITOCHONDRION, MEMBRANE, ER = 0, 1, 2, 3
Stack = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def demo() -> list[Stack]:
    return [make_phantom(DEMO, seed) for seed in range(3)]


def test_shapes_and_types(demo: list[Stack]) -> None:
    for image, labels in demo:
        assert image.shape == labels.shape == DEMO
        assert image.dtype == labels.dtype == np.uint8
        assert np.unique(labels).tolist() == [BACKGROUND, MITOCHONDRION, MEMBRANE, ER]


def test_same_seed_same_bytes() -> None:
    first, again, other = (make_phantom((4, 80, 70), seed) for seed in (5, 5, 6))
    for one, two, three in zip(first, again, other, strict=True):
        assert one.tobytes() == two.tobytes()
        assert one.tobytes() != three.tobytes()


def test_global_generator_is_not_used() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global state is what is looked at
    make_phantom((1, 32, 32), 0)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize(
    ("shape", "seeds"),
    [
        (DEMO, 3),
        ((8, 96, 96), 20),
        ((6, 64, 64), 20),
        ((1, 32, 32), 40),
        ((15, 32, 32), 20),
        ((3, 40, 150), 10),
        ((40, 64, 64), 3),
        ((2, 300, 520), 3),
    ],
)
def test_every_class_in_every_slice(shape: tuple[int, int, int], seeds: int) -> None:
    for seed in range(seeds):
        _, labels = make_phantom(shape, seed)
        for label in (MITOCHONDRION, MEMBRANE, ER):
            assert (labels == label).sum(axis=(1, 2)).min() >= 16, (seed, label)


def test_slices_differ_but_continue(demo: list[Stack]) -> None:
    for image, labels in demo:
        assert len({slice_.tobytes() for slice_ in image}) == len({slice_.tobytes() for slice_ in labels}) == DEMO[0]
        upper, lower = labels[:-1] > 0, labels[1:] > 0
        dice = 2 * (upper & lower).sum(axis=(1, 2)) / (upper.sum(axis=(1, 2)) + lower.sum(axis=(1, 2)))
        assert dice.mean() > 0.8  # the membrane is 5 px thin, and the jitter moves it


def test_grey_levels(demo: list[Stack]) -> None:
    for image, labels in demo:
        cell = np.array([ndimage.binary_fill_holes(slice_ == MEMBRANE) for slice_ in labels])
        cytoplasm = image[cell & (labels == BACKGROUND)].mean()
        resin = image[~cell].mean()
        mitochondrion, membrane, er = (image[labels == label].mean() for label in (MITOCHONDRION, MEMBRANE, ER))
        assert membrane < mitochondrion < cytoplasm - 20
        assert er < cytoplasm - 20
        assert cytoplasm < resin - 5
        assert 5 < image[~cell].std() < 20  # noise


def test_mitochondria_have_dark_borders_and_cristae(demo: list[Stack]) -> None:
    image, labels = demo[0]
    depth = np.array([ndimage.distance_transform_edt(slice_ == MITOCHONDRION) for slice_ in labels])
    border, inside = image[(depth > 0) & (depth <= 2)], image[depth > 6]
    assert border.mean() < inside.mean() - 10
    grey = image.astype(float)
    detail = ndimage.gaussian_filter(grey, (0, 1, 1)) - ndimage.gaussian_filter(grey, (0, 6, 6))
    noise = detail[:, :20].std()  # resin only: no cell comes so near to the upper edge
    assert not labels[:, :20].any()
    assert detail[depth > 6].std() > 2 * noise  # lamellae


def test_labels_move_with_the_image() -> None:
    image, labels = make_phantom((6, 128, 128), 0)
    for grey, truth in zip(image.astype(float), labels == MEMBRANE, strict=True):
        shifts = {(y, x): grey[np.roll(truth, (y, x), (0, 1))].mean() for y in (-1, 0, 1) for x in (-1, 0, 1)}
        assert min(shifts, key=lambda shift: shifts[shift]) == (0, 0)


def test_tenth_of_patches_is_empty(demo: list[Stack]) -> None:
    rng = np.random.default_rng(0)
    for _, labels in demo:
        corners = rng.integers(0, (DEMO[0], DEMO[1] - 63, DEMO[2] - 63), (2000, 3))
        empty = [not labels[z, y : y + 64, x : x + 64].any() for z, y, x in corners]
        assert np.mean(empty) >= 0.1


def test_mitochondria_are_large(demo: list[Stack]) -> None:
    for _, labels in demo:
        components, count = ndimage.label(labels == MITOCHONDRION, np.ones((3, 3, 3)))
        assert 1 <= count <= 12
        assert np.bincount(components.ravel())[1:].min() >= 1000  # voxels


def test_one_membrane_around_all(demo: list[Stack]) -> None:
    for _, labels in demo:
        for slice_ in labels:
            cell = ndimage.binary_fill_holes(slice_ == MEMBRANE)
            assert cell[slice_ > 0].all()
            assert ndimage.label(cell)[1] == 1
            assert cell[1:-1, 1:-1].sum() == cell.sum()  # clear of the edge


@pytest.mark.parametrize("shape", [(0, 64, 64), (-1, 64, 64), (1, 31, 32), (1, 32, 31), (64, 64), (2, 64.5, 64), 64])
def test_bad_shape(shape: tuple[int, int, int]) -> None:
    with pytest.raises(FibsegError, match=r"phantom shape is .* at least \(1, 32, 32\)"):
        make_phantom(shape, 0)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_bad_seed(seed: int) -> None:
    with pytest.raises(FibsegError, match=r"phantom seed is .* 0 or more"):
        make_phantom((1, 32, 32), seed)
