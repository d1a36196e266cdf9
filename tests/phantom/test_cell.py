"""The phantom keeps the promises that the demo and the other tests build on."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from fibseg.errors import FibsegError
from fibseg.phantom import Phantom, draw_phantom, make_phantom

DEMO = (24, 256, 256)
BACKGROUND = 0
MITOCHONDRION = 1
MEMBRANE = 2
ER = 3
Drawn = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def demo() -> list[Drawn]:
    """Image and labels for three seeds; read only."""
    return [make_phantom(DEMO, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def cells(demo: list[Drawn]) -> list[np.ndarray]:
    """For each seed, which pixels lie within the membrane or in it; read only."""
    return [
        np.array([ndimage.binary_fill_holes(slice_ == MEMBRANE) for slice_ in labels])
        for _, labels in demo
    ]


def test_shapes_and_types(demo: list[Drawn]) -> None:
    for image, labels in demo:
        assert image.shape == labels.shape == DEMO
        assert image.dtype == labels.dtype == np.uint8
        assert np.unique(labels).tolist() == [BACKGROUND, MITOCHONDRION, MEMBRANE, ER]


def test_same_seed_same_bytes() -> None:
    first, again, another = (make_phantom((4, 80, 70), seed) for seed in (5, 5, 6))
    for k in range(2):
        assert first[k].tobytes() == again[k].tobytes()
        assert first[k].tobytes() != another[k].tobytes()


def test_global_generator_is_not_used() -> None:
    # The global state is what is tested.
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    make_phantom((1, 32, 32), 0)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize(
    ("shape", "seeds"),
    [
        (DEMO, 3),
        ((8, 96, 96), 20),
        ((6, 64, 64), 20),
        ((1, 32, 32), 40),
        pytest.param((15, 32, 32), 20, marks=pytest.mark.slow(seconds=4)),
        ((3, 40, 150), 10),
        pytest.param((40, 64, 64), 3, marks=pytest.mark.slow(seconds=3)),
        ((2, 300, 520), 3),
    ],
)
def test_every_class_in_every_slice(shape: tuple[int, int, int], seeds: int) -> None:
    for seed in range(seeds):
        _, labels = make_phantom(shape, seed)
        for label in (MITOCHONDRION, MEMBRANE, ER):
            assert (labels == label).sum(axis=(1, 2)).min() >= 16, (seed, label)


def test_slices_differ_but_continue(demo: list[Drawn]) -> None:
    for image, labels in demo:
        assert (
            len({slice_.tobytes() for slice_ in image})
            == len({slice_.tobytes() for slice_ in labels})
            == DEMO[0]
        )
        upper = labels[:-1] > 0
        lower = labels[1:] > 0
        dice = (
            2 * (upper & lower).sum(axis=(1, 2)) / (upper.sum(axis=(1, 2)) + lower.sum(axis=(1, 2)))
        )
        assert dice.mean() > 0.8  # the membrane is 5 px thin, and the jitter moves it


def test_grey_levels(demo: list[Drawn], cells: list[np.ndarray]) -> None:
    for (image, labels), cell in zip(demo, cells, strict=True):
        cytoplasm = image[cell & (labels == BACKGROUND)].mean()
        resin = image[~cell].mean()
        mitochondrion, membrane, er = (
            image[labels == label].mean() for label in (MITOCHONDRION, MEMBRANE, ER)
        )
        assert membrane < mitochondrion < cytoplasm - 20
        assert er < cytoplasm - 20
        assert cytoplasm < resin - 5
        assert 5 < image[~cell].std() < 20  # noise


def test_mitochondria_have_dark_borders_and_cristae(demo: list[Drawn]) -> None:
    image, labels = demo[0]
    depth = np.array([ndimage.distance_transform_edt(slice_ == MITOCHONDRION) for slice_ in labels])
    border = image[(depth > 0) & (depth <= 2)]
    inside = image[depth > 6]
    assert border.mean() < inside.mean() - 10
    grey = image.astype(float)
    detail = ndimage.gaussian_filter(grey, (0, 1, 1)) - ndimage.gaussian_filter(grey, (0, 6, 6))
    noise = detail[:, :20].std()  # resin only: no cell comes so near to the upper edge
    assert not labels[:, :20].any()
    assert detail[depth > 6].std() > 2 * noise  # lamellae


def test_labels_move_with_the_image() -> None:
    image, labels = make_phantom((6, 128, 128), 0)
    for grey, truth in zip(image.astype(float), labels == MEMBRANE, strict=True):
        shifts = {
            (y, x): grey[np.roll(truth, (y, x), (0, 1))].mean()
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
        }
        assert min(shifts, key=lambda shift: shifts[shift]) == (0, 0)


def test_tenth_of_patches_is_empty(demo: list[Drawn]) -> None:
    rng = np.random.default_rng(0)
    for _, labels in demo:
        corners = rng.integers(0, (DEMO[0], DEMO[1] - 63, DEMO[2] - 63), (2000, 3))
        empty = [not labels[z, y : y + 64, x : x + 64].any() for z, y, x in corners]
        assert np.mean(empty) >= 0.1


def test_mitochondria_are_large(demo: list[Drawn]) -> None:
    for _, labels in demo:
        components, count = ndimage.label(labels == MITOCHONDRION, np.ones((3, 3, 3)))
        assert 1 <= count <= 12
        assert np.bincount(components.ravel())[1:].min() >= 1000  # voxels


def test_one_membrane_around_all(demo: list[Drawn]) -> None:
    for _, labels in demo:
        for slice_ in labels:
            cell = ndimage.binary_fill_holes(slice_ == MEMBRANE)
            assert cell[slice_ > 0].all()
            assert ndimage.label(cell)[1] == 1
            assert cell[1:-1, 1:-1].sum() == cell.sum()  # clear of the edge


def test_labels_have_no_holes(demo: list[Drawn]) -> None:
    for _, labels in demo:
        for slice_ in labels:
            mitochondria = slice_ == MITOCHONDRION
            assert (ndimage.binary_fill_holes(mitochondria) == mitochondria).all()
            assert ndimage.label(slice_ == MEMBRANE, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("label", [MITOCHONDRION, MEMBRANE])
def test_grey_falls_where_the_label_begins(
    demo: list[Drawn], cells: list[np.ndarray], label: int
) -> None:
    for (image, labels), cell in zip(demo, cells, strict=True):
        inside = cell if label == MEMBRANE else labels == label
        depth = np.array([ndimage.distance_transform_edt(slice_) for slice_ in inside])
        height = np.array([ndimage.distance_transform_edt(~slice_) for slice_ in inside])
        below = [image[(depth > low) & (depth <= low + 1)].mean() for low in (2, 1, 0)]
        above = [image[(height > low) & (height <= low + 1)].mean() for low in (0, 1, 2)]
        steps = np.diff(below + above)
        # Steepest between the last pixel inside and the first one outside.
        assert steps.argmax() == 2


def test_image_and_labels_shift_alike(demo: list[Drawn], cells: list[np.ndarray]) -> None:
    shifts = []
    for (image, _), cell in zip(demo, cells, strict=True):
        sharp = [ndimage.gaussian_filter(slice_.astype(float), 1.5) for slice_ in image]
        sharp = [slice_ - ndimage.gaussian_filter(slice_, 8) for slice_ in sharp]
        for z in range(DEMO[0] - 1):
            normal = {"upsample_factor": 20, "normalization": None}
            of_image = phase_cross_correlation(sharp[z], sharp[z + 1], **normal)[0]
            centres = [np.array(ndimage.center_of_mass(mask)) for mask in cell[z : z + 2]]
            shifts.append((of_image, centres[0] - centres[1]))
    images, truth = np.moveaxis(np.array(shifts), 1, 0)
    assert 0.2 < truth.std() < 1.0  # the stage does move
    assert np.abs(images - truth).max() < 0.5
    assert np.corrcoef(images.ravel(), truth.ravel())[0, 1] > 0.9


def test_curtains_are_vertical_and_fade_slowly(demo: list[Drawn]) -> None:
    image, labels = demo[0]
    assert not labels[:, :60].any()
    resin = image[:, :60, :60].astype(float)
    resin = resin - ndimage.gaussian_filter(resin, (0, 8, 8))
    columns = resin.mean(axis=1)
    rows = resin.mean(axis=2)
    noise = (resin - columns[:, None] - rows[:, :, None]).var() / 60  # of a mean over 60 pixels
    assert columns.var() - noise > 2 * (rows.var() - noise) > 0
    wide = image[:, :60].mean(axis=1)
    wide = wide - ndimage.gaussian_filter1d(wide, 8.0, axis=1)
    products = [np.mean(wide[lag:] * wide[: len(wide) - lag]) for lag in (0, 1, 10)]
    assert products[1] > 0.4 * products[0]
    assert products[2] < 0.5 * products[1]


def test_noise_grows_with_grey_level(demo: list[Drawn]) -> None:
    # Unit gain on white noise, blind to lines.
    kernel = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6.0
    for image, labels in demo:
        detail = np.array([ndimage.convolve(slice_.astype(float), kernel) for slice_ in image])
        depth = np.array(
            [ndimage.distance_transform_edt(slice_ == MITOCHONDRION) for slice_ in labels]
        )
        assert detail[:, :20].std() > 1.1 * detail[depth > 6].std()


def test_cytoplasm_is_granular_and_resin_smooth(demo: list[Drawn], cells: list[np.ndarray]) -> None:
    for (image, labels), cell in zip(demo, cells, strict=True):
        grey = image.astype(float)
        band = ndimage.gaussian_filter(grey, (0, 1.5, 1.5)) - ndimage.gaussian_filter(
            grey, (0, 5, 5)
        )
        clear = ndimage.binary_erosion(labels == BACKGROUND, np.ones((1, 13, 13)))
        assert band[clear & cell].std() > 2 * band[clear & ~cell].std()


def test_background_holds_a_few_dark_objects(demo: list[Drawn], cells: list[np.ndarray]) -> None:
    for (image, labels), cell in zip(demo, cells, strict=True):
        clear = ndimage.binary_erosion(labels == BACKGROUND, np.ones((1, 9, 9))) & cell
        dark = ndimage.gaussian_filter(image.astype(float), (0, 1.5, 1.5)) < 120
        assert 0.001 < dark[clear].mean() < 0.05


def test_brightness_drifts(demo: list[Drawn]) -> None:
    means = np.array([image[:, :20].mean(axis=(1, 2)) for image, _ in demo])  # resin only
    assert means.std(axis=1).min() > 0.5 and means.std(axis=1).max() < 8.0


@pytest.mark.slow(seconds=3)
def test_memory_of_a_few_slices() -> None:
    shape = (30, 256, 256)
    tracemalloc.start()
    make_phantom(shape, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak < 4 * np.prod(shape) + 20 * shape[1] * shape[2] * 4
    )  # bytes: image, labels and 16-bit instances, and float32 slices


@pytest.mark.parametrize(
    "shape", [(1, 32, 32), (1, 33, 47), (3, 37, 61), (2, 131, 67), (5, 32, 211)]
)
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    first = make_phantom(shape, 3)
    again = make_phantom(shape, 3)
    for one, two in zip(first, again, strict=True):
        assert one.shape == shape and one.dtype == np.uint8
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(
    "shape", [(0, 64, 64), (-1, 64, 64), (1, 31, 32), (1, 32, 31), (64, 64), (2, 64.5, 64), 64]
)
def test_bad_shape(shape: tuple[int, int, int]) -> None:
    with pytest.raises(FibsegError, match=r"phantom shape is .* at least \(1, 32, 32\)"):
        make_phantom(shape, 0)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_bad_seed(seed: int) -> None:
    with pytest.raises(FibsegError, match=r"phantom seed is .* 0 or more"):
        make_phantom((1, 32, 32), seed)


@pytest.fixture(scope="module")
def touching() -> list[Phantom]:
    """Phantoms of three seeds with three pairs of touching mitochondria each; read only."""
    return [draw_phantom(DEMO, seed, touching=3) for seed in range(3)]


def faces(instances: np.ndarray) -> set[tuple[int, int, int]]:
    """Axis and the two numbers of all objects that share a face along the axis."""
    found = set()
    for axis in range(3):
        planes = np.moveaxis(instances, axis, 0).astype(int)
        meet = (planes[1:] != planes[:-1]) & (planes[1:] > 0) & (planes[:-1] > 0)
        both = np.sort([planes[1:][meet], planes[:-1][meet]], axis=0)
        found |= {(axis, *pair) for pair in np.unique(both, axis=1).T.tolist()}
    return found


def test_pairs_of_mitochondria_touch_in_slices_and_in_3d(touching: list[Phantom]) -> None:
    for phantom in touching:
        shared = faces(phantom.instances)
        # y and x are the axes of a slice.
        in_slices = {tuple(pair) for axis, *pair in shared if axis > 0}
        along_z = {tuple(pair) for axis, *pair in shared if axis == 0}
        assert len(in_slices) >= 3 and len(in_slices & along_z) >= 2


def test_an_instance_is_a_whole_mitochondrion(touching: list[Phantom]) -> None:
    for phantom in touching:
        assert phantom.instances.shape == DEMO and phantom.instances.dtype == np.uint16
        np.testing.assert_array_equal(phantom.instances > 0, phantom.labels == MITOCHONDRION)
        for number in np.unique(phantom.instances)[1:]:
            pieces = ndimage.label(phantom.instances == number, np.ones((3, 3, 3)))[1]
            assert pieces == 1, number


def test_a_dark_border_divides_what_touches(touching: list[Phantom]) -> None:
    for phantom in touching:
        grey = {True: [], False: []}
        for image, numbers in zip(phantom.image, phantom.instances, strict=True):
            border = ndimage.grey_dilation(numbers, 3) != ndimage.grey_erosion(numbers, 3)
            between = border & (ndimage.grey_erosion(numbers, 3) > 0)
            inside = ndimage.distance_transform_edt((numbers > 0) & ~between) > 6
            grey[True] += image[between].tolist()
            grey[False] += image[inside].tolist()
        assert np.mean(grey[True]) < np.mean(grey[False]) - 15


def test_without_pairs_slices_are_as_before_and_nothing_touches_in_them() -> None:
    image, labels = make_phantom((6, 128, 128), 0)
    phantom = draw_phantom((6, 128, 128), 0)
    np.testing.assert_array_equal(phantom.image, image)
    np.testing.assert_array_equal(phantom.labels, labels)
    assert not {axis for axis, *_ in faces(phantom.instances) if axis > 0}
    # Counted before there were pairs: scores on these labels are in tables and tests.
    assert np.bincount(labels.ravel()).tolist() == [77654, 9762, 8292, 2596]


def test_pairs_are_spread_over_cells_and_too_many_are_refused() -> None:
    phantom = draw_phantom((2, 256, 512), 0, touching=2)
    pairs = {tuple(pair) for _, *pair in faces(phantom.instances)}
    left = {n for n in np.unique(phantom.instances[:, :, :256]).tolist() if n}
    assert any(set(pair) <= left for pair in pairs)
    assert any(not set(pair) & left for pair in pairs)
    with pytest.raises(FibsegError, match=r"room for \d+ of 50 pairs .* fewer pairs"):
        draw_phantom((2, 64, 64), 0, touching=50)
