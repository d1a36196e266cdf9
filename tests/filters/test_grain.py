"""The grain filter against Higra as the paper's code calls it, and cases worked out by hand."""

import subprocess
import sys

import higra as hg
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fibseg.errors import FibsegError
from fibseg.filters.grain import border_level, grain_filter
from fibseg.filters.slices import filter_slices

fast = settings(max_examples=60, deadline=None, database=None)
TURNS = [lambda a, k=k: np.rot90(a, k, axes=(-2, -1)) for k in (1, 2, 3)] + [lambda a: a[..., ::-1]]
TURNS += [lambda a: a[..., ::-1, :], lambda a: np.swapaxes(a, -2, -1)]
HALF_UP = np.array([[200, 201]], np.uint8)
HALF_DOWN = np.array([[55, 54]], np.uint8)
MID_GREY = np.array([[0, 255], [255, 0]], np.uint8)


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """(H, W) uint8, 1 to 40 pixels a side: flat, smooth, plateaus, two levels, or noise."""
    height, width = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["flat", "smooth", "plateaus", "binary", "noise"]))
    if kind == "flat":
        return np.full((height, width), rng.integers(256), np.uint8)
    if kind == "smooth":
        walk = rng.normal(size=(height, width)).cumsum(0).cumsum(1)
        return np.clip(128 + 8 * walk, 0, 255).astype(np.uint8)
    levels = {
        "plateaus": rng.integers(0, 256, 4),
        "binary": rng.integers(0, 256, 2),
        "noise": np.arange(256),
    }[kind]
    return rng.choice(levels, (height, width)).astype(np.uint8)


areas = st.integers(1, 200)
any_area = st.one_of(areas, st.integers(1, 2000))


def paper_filter(image: np.ndarray, area: int) -> np.ndarray:
    """The filter as in the paper's code: one Higra tree per area, Higra's padding, on floats."""
    tree, altitudes = hg.component_tree_tree_of_shapes_image2d(image)
    return hg.reconstruct_leaf_data(tree, altitudes, hg.attribute_area(tree) < area)


def ringed(image: np.ndarray, level: int) -> np.ndarray:
    """The image in a ring of one pixel: its border mean is `level`, and the filter keeps it."""
    return np.pad(image, 1, constant_values=level)


def border_mean(image: np.ndarray) -> float:
    height, width = image.shape
    return float(
        np.mean(
            [
                image[y, x]
                for y in range(height)
                for x in range(width)
                if y in (0, height - 1) or x in (0, width - 1)
            ]
        )
    )


# Against the references


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@fast
@given(image=images(), area=any_area)
def test_float_images_are_filtered_as_in_the_papers_code(
    dtype: str, image: np.ndarray, area: int
) -> None:
    floats = image.astype(dtype)
    result = grain_filter(floats, [area])[0]
    assert result.dtype == dtype
    assert np.array_equal(result, paper_filter(floats, area))


@fast
@given(image=images(), area=any_area)
@example(image=HALF_UP, area=9)
@example(image=HALF_DOWN, area=9)
@example(image=MID_GREY, area=9)
def test_8_bit_images_are_filtered_as_in_the_papers_code_but_for_the_rounded_outside(
    image: np.ndarray, area: int
) -> None:
    expected = paper_filter(image.astype(np.float64), area)
    outside = expected == border_mean(image)
    result = grain_filter(image, [area])[0]
    assert np.array_equal(result[~outside], expected[~outside])
    assert np.all(np.abs(result[outside] - expected[outside]) <= 0.5)
    assert set(result[outside].tolist()) <= {border_level(image)}


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int16", "float32", "float64"])
@fast
@given(image=images(), level=st.integers(0, 255), area=any_area)
def test_other_types_give_the_pixels_of_8_bits(
    dtype: str, image: np.ndarray, level: int, area: int
) -> None:
    image = ringed(image, level)
    result = grain_filter(image.astype(dtype), [area])
    assert result.dtype == dtype
    assert np.array_equal(result, grain_filter(image, [area]))


@pytest.mark.parametrize("levels", [2, 3, 8, 256])
@pytest.mark.parametrize("blur", [0, 1, 3])
def test_8_bit_images_have_higras_pixels(levels: int, blur: int) -> None:
    """Larger images than above: shapes within shapes, saddles, and many areas of one tree."""
    rng = np.random.default_rng(10 * levels + blur)
    noise = gaussian_filter(rng.normal(size=(90, 160)), blur)
    ranks = noise.argsort(axis=None).argsort().reshape(noise.shape)
    image = (ranks * levels // noise.size * (255 // (levels - 1))).astype(np.uint8)
    limits = [2, 5, 17, 60, 300, 2000, 9000]
    filtered = grain_filter(image, limits)
    np.testing.assert_array_equal(filtered, grain_filter(image.astype(np.uint16), limits))


def test_16_bits_keep_their_range() -> None:
    image = np.array(
        [[40000, 40000, 40000], [40000, 12345, 40000], [40000, 40000, 40001]], np.uint16
    )
    assert grain_filter(image, [2])[0].tolist() == [[40000] * 3] * 3
    assert (
        grain_filter((image - 40000.0).astype(np.int16) - np.int16(5), [2])[0].tolist()
        == [[-5] * 3] * 3
    )


# Properties


@fast
@given(image=images())
def test_area_1_changes_nothing(image: np.ndarray) -> None:
    assert np.array_equal(grain_filter(image, [1])[0], image)


@fast
@given(images(), any_area)
@example(HALF_UP, 9)
@example(HALF_DOWN, 9)
@example(MID_GREY, 9)
def test_self_dual(image: np.ndarray, area: int) -> None:
    opposite = 255 - grain_filter(255 - image, [area])
    result = grain_filter(image, [area])
    if border_mean(image) == 127.5:
        assert np.all((result == opposite) | ((result == 127) & (opposite == 128)))
    else:
        assert np.array_equal(result, opposite)


@fast
@given(images(), any_area)
def test_self_dual_on_floats(image: np.ndarray, area: int) -> None:
    floats = image / 7.0
    assert np.array_equal(grain_filter(-floats, [area]), -grain_filter(floats, [area]))


@fast
@given(images(), st.integers(0, 255), areas, areas)
def test_filtering_again_changes_nothing_and_a_larger_area_is_coarser(
    image: np.ndarray, level: int, first: int, second: int
) -> None:
    image = ringed(image, level)
    small, large = sorted([first, second])
    after_small, after_large = grain_filter(image, [small, large])
    assert np.array_equal(grain_filter(after_small, [small, large]), [after_small, after_large])
    assert np.array_equal(grain_filter(after_large, [small, large]), [after_large, after_large])


def test_a_shape_removed_at_the_border_moves_the_outside() -> None:
    image = np.full((3, 9), 100, np.uint8)
    image[0, 4] = 200  # the border mean is 105
    once = grain_filter(image, [2])[0]
    assert once[0, 4] == 105
    assert np.all(grain_filter(once, [2]) == 100)


@fast
@given(images(), any_area)
def test_the_outside_is_a_ring_of_the_border_level(image: np.ndarray, area: int) -> None:
    inside = grain_filter(ringed(image, border_level(image)), [area])[:, 1:-1, 1:-1]
    assert np.array_equal(grain_filter(image, [area]), inside)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@fast
@given(image=images(), area=any_area, turn=st.sampled_from(TURNS))
def test_turning_commutes(dtype: str, image: np.ndarray, area: int, turn) -> None:
    image = (image if dtype == "uint8" else image / 255).astype(dtype)
    assert np.array_equal(grain_filter(turn(image), [area]), turn(grain_filter(image, [area])))


@fast
@given(images(), any_area)
def test_no_new_grey_levels_but_the_outside(image: np.ndarray, area: int) -> None:
    levels = set(np.unique(image)) | {border_level(image)}
    assert set(np.unique(grain_filter(image, [area]))) <= levels


@fast
@given(images(), st.lists(any_area, min_size=1, max_size=4))
def test_one_tree_serves_all_areas_in_their_order(image: np.ndarray, limits: list[int]) -> None:
    alone = [grain_filter(image, [limit])[0] for limit in limits]
    assert np.array_equal(grain_filter(image, limits), alone)


@fast
@given(images())
def test_border_level_is_the_rounded_mean_and_exact_for_floats(image: np.ndarray) -> None:
    level = border_level(image)
    assert level.dtype == np.uint8
    assert abs(int(level) - border_mean(image)) <= 0.5
    assert border_level(image.astype(np.float64)) == border_mean(image)


@fast
@given(images())
def test_opposite_images_have_opposite_outsides(image: np.ndarray) -> None:
    assume(border_mean(image) != 127.5)
    assert border_level(255 - image) == 255 - border_level(image)


# Cases worked out by hand


@pytest.mark.parametrize(
    "shade", [lambda a: a, lambda a: 255 - a], ids=["dark square", "bright square"]
)
def test_dark_square_with_a_bright_hole(shade) -> None:
    """A square of 5 x 5 pixels, hole counted, with a hole of 2 x 3: gone from 26 and from 7 on."""
    image = np.full((12, 14), 100, np.uint8)
    image[3:8, 4:9] = 20
    without_hole = image.copy()
    image[4:6, 5:8] = 230
    flat = np.full_like(image, 100)
    result = grain_filter(shade(image), [6, 7, 25, 26, 12 * 14, 10**400])
    expected = [shade(a) for a in (image, without_hole, without_hole, flat, flat, flat)]
    assert np.array_equal(result, expected)


def test_grains_are_4_connected() -> None:
    image = np.full((6, 6), 50, np.uint8)
    image[2, 2] = image[3, 3] = 90  # touch at a corner: two grains of one pixel
    assert np.all(grain_filter(image, [2]) == 50)
    image[2, 3] = 90  # now one grain of three
    assert np.array_equal(grain_filter(image, [3])[0], image)


def test_nested_shapes_fall_to_the_nearest_kept_one() -> None:
    row = [0, 0, 40, 80, 120, 80, 40, 0, 0]  # shapes of 5, 3 and 1 pixels
    image = np.pad(np.array([row], np.uint8), ((3, 3), (0, 0)))
    result = grain_filter(image, [1, 2, 4, 6])[:, 3]
    assert result.tolist() == [
        row,
        [0, 0, 40, 80, 80, 80, 40, 0, 0],
        [0, 0, 40, 40, 40, 40, 40, 0, 0],
        [0] * 9,
    ]


def test_shapes_at_the_border() -> None:
    image = np.zeros((4, 4), np.uint8)
    image[0, :2] = 120  # 12 border pixels, mean 20
    assert grain_filter(image, [2])[0].tolist() == image.tolist()
    expected = image.copy()
    expected[0, :2] = 20
    assert grain_filter(image, [3])[0].tolist() == expected.tolist()
    assert np.all(grain_filter(image, [15]) == 20)  # 14 dark pixels


def test_smallest_images() -> None:
    assert grain_filter(np.array([[7]], np.uint8), [1, 2, 99]).tolist() == [[[7]]] * 3
    row = np.array([[10, 10, 10, 90, 10]], np.uint8)  # border mean 26
    for image in (row, row.T):
        result = grain_filter(image, [1, 2, 3, 4])
        assert result.reshape(4, 5).tolist() == [
            row[0].tolist(),
            [10, 10, 10, 26, 26],
            [10, 10, 10, 26, 26],
            [26] * 5,
        ]


def test_no_area_gives_no_channel() -> None:
    assert grain_filter(np.zeros((3, 4), np.uint8), []).shape == (0, 3, 4)


def test_any_memory_layout_is_taken_and_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    expected = grain_filter(image, [4])
    image.flags.writeable = False
    spread = np.zeros((40, 60), np.uint8)
    spread[::2, ::2] = image
    for same in (image, np.asfortranarray(image), spread[::2, ::2]):
        assert np.array_equal(grain_filter(same, [4]), expected)


def test_import_is_cheap() -> None:
    code = "import sys, fibseg.filters.grain; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    modules = set(result.stdout.split())
    assert "fibseg.filters.grain" in modules
    assert not modules & {"numba", "higra", "torch"}


# Mistakes


@pytest.mark.parametrize(
    ("image", "limits", "message"),
    [
        (np.zeros((4, 4), np.uint8), [0], "area 0 is below 1: give at least 1 pixel"),
        (np.zeros((4, 4), np.uint8), [650, -3], "area -3 is below 1"),
        (
            np.zeros((4, 4), np.uint8),
            [6.5],
            "area 6.5 is no integer: give a whole number of pixels",
        ),
        (np.zeros((4, 4), np.uint8), ["650"], "area '650' is no integer"),
        (
            np.zeros((0, 4), np.uint8),
            [1],
            r"image of shape \(0, 4\): expected \(H, W\) and at least one pixel",
        ),
        (np.zeros((2, 4, 4), np.uint8), [1], r"image of shape \(2, 4, 4\): expected \(H, W\)"),
        (np.array([[0.0, np.nan]]), [1], "image holds nan: expected finite grey levels"),
        (np.array([[0.0, -np.inf]], np.float32), [1], "image holds -inf: expected finite"),
        (np.array([[0.0, 1e305]]), [1], r"image holds 1e\+305: expected finite"),
        (np.zeros((4, 4), np.int64), [1], "image of int64: expected one of uint8, uint16"),
        (
            np.broadcast_to(np.uint8(7), (32769, 32768)),
            [1],
            r"image of shape \(32769, 32768\): expected at most 32768 x 32768 pixels",
        ),
        (np.zeros((4, 4), np.float16), [1], "image of float16: .*; convert it first"),
    ],
)
def test_mistakes_are_one_sentence(image: np.ndarray, limits: list[int], message: str) -> None:
    with pytest.raises(FibsegError, match=message):
        grain_filter(image, limits)
    with pytest.raises(FibsegError, match=message):
        filter_slices([np.zeros((2, 2), np.uint8), image], limits, None, 1)
