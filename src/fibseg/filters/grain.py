"""The grain filter: remove the small shapes of a slice, keep every other contour where it is.

The *tree of shapes* (Monasse and Guichard 2000, doi 10.1109/83.841532) holds the connected
components of all level sets of an image, bright and dark alike, with their holes filled. The *grain
filter* (Caselles and Monasse 2002, doi 10.1023/A:1020715626538) removes every shape whose area is
below a limit; its pixels take the grey level of the smallest kept shape around them. The tree of
8-bit images is that of `fibseg.filters.shapes`; of others it is Higra's (Perret et al. 2019, doi
10.1016/j.softx.2019.100335). The pixels that come out are equal.

Outside the slice lies one grey level, the mean of the border pixels, rounded for integers: it is
the root of the tree, never removed. The following properties are tested:

- The filter is self-dual: the opposite image gives the opposite result, because halves are rounded
  away from mid-grey. A mean of mid-grey itself, 127.5 of uint8, becomes 127: only then may pixels
  of the outside's level differ, by one grey level.
- It makes no new grey levels, but for that of the outside.
- Filtering twice is filtering once, and a larger area after a smaller one is the larger one, as
  long as the outside keeps its level: a shape that is removed at the border can change the border
  mean.
- A grain is 4-connected, what is around it 8-connected: two pixels that touch at a corner only are
  two grains.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fibseg.arrays import MOST_PIXELS, Pixels
from fibseg.errors import FibsegError

# Higra casts int8, int16, uint32 and float16 to uint8 without a word.
_TREE_DTYPES = {
    "uint8": "uint8",
    "uint16": "uint16",
    "int16": "int32",
    "float32": "float32",
    "float64": "float64",
}
"""Pixel type of an image -> type of the pixels that the tree is built of."""


def grain_filter(image: Pixels, areas: Sequence[int]) -> Pixels:
    """Remove the shapes below each area from one slice; one tree serves all areas.

    Args:
        image: (H, W), at least one pixel; uint8, uint16, int16, float32 or float64, without NaN or
            infinity.
        areas: Limits in pixels, at least 1, in any order. Shapes of fewer pixels are removed; 1
            changes nothing.

    Returns:
        (len(areas), H, W) of the image's dtype, in the order of ``areas``.

    Raises:
        FibsegError: The image is not as above, or an area is no integer or below 1.

    Example:
        A dark square of 9 pixels with a bright hole of one.

        >>> image = np.full((7, 7), 100, np.uint8)
        >>> image[2:5, 2:5] = 20
        >>> image[3, 3] = 250
        >>> kept, no_hole, flat = grain_filter(image, [1, 9, 10])
        >>> kept[3].tolist()
        [100, 100, 20, 250, 20, 100, 100]
        >>> no_hole[3].tolist()
        [100, 100, 20, 20, 20, 100, 100]
        >>> flat[3].tolist()
        [100, 100, 100, 100, 100, 100, 100]
    """
    # Everything is checked before a tree is built, which takes seconds for a large slice.
    limits = check_areas(areas)
    check_image(image)
    if not limits:
        return np.empty((0, *image.shape), image.dtype)
    # Above image.size all limits do the same, and an array need not hold a Python integer.
    limits = [min(limit, image.size + 1) for limit in limits]
    outside = border_level(image)
    if image.dtype == np.uint8:
        # Imported here, since numba takes time to import.
        from fibseg.filters.shapes import without_shapes

        return without_shapes(image, outside, limits)
    # Padded by hand: with padding="mean" Higra sums the border in the pixel type.
    padded = np.full(np.add(image.shape, 2), outside, _TREE_DTYPES[image.dtype.name])
    padded[1:-1, 1:-1] = image
    # Cut off the padding again; int16 was filtered as int32.
    return _filter_by_higra(padded, limits)[:, 1:-1, 1:-1].astype(image.dtype)


def border_level(image: Pixels) -> Any:
    """Return the mean of the border pixels, the grey level outside of the slice for `grain_filter`.

    (H, W) of an integer or float type gives a scalar of that type; each border pixel counts once.
    For integers the mean is rounded; half-way between two, away from the middle of the type's
    range.

    Example:
        >>> border_level(np.array([[200, 201]], np.uint8))
        np.uint8(201)
        >>> border_level(np.array([[55, 54]], np.uint8))
        np.uint8(54)
    """
    is_border = np.ones(image.shape, dtype=bool)
    is_border[1:-1, 1:-1] = False
    border = image[is_border]
    # Exact sums, in integers and by fsum: the order of the pixels, and so a turn of the slice,
    # must change nothing.
    if image.dtype.kind == "f":
        return image.dtype.type(math.fsum(border.tolist()) / border.size)
    level, rest = divmod(int(border.sum(dtype=np.int64)), border.size)
    limits = np.iinfo(image.dtype)
    middle = (limits.min + limits.max) / 2
    round_up = 2 * rest > border.size or (2 * rest == border.size and level + 0.5 > middle)
    return image.dtype.type(level + round_up)


def check_areas(areas: Sequence[int]) -> list[int]:
    """Return the areas as Python integers.

    Raises:
        FibsegError: an area is no integer, or below 1.
    """
    limits = []
    for area in areas:
        try:
            limit = operator.index(area)
        except TypeError:
            raise FibsegError(
                f"area {area!r} is no integer: give a whole number of pixels, such as 650"
            ) from None
        if limit < 1:
            raise FibsegError(
                f"area {area} is below 1: give at least 1 pixel, which removes nothing"
            )
        limits.append(limit)
    return limits


def check_image(image: Pixels) -> None:
    """Check that a tree of shapes can be made of an image.

    Raises:
        FibsegError: the image is not (H, W), of another type than `grain_filter` takes, or holds
            NaN or infinite grey levels.
    """
    if image.ndim != 2 or image.size == 0:
        raise FibsegError(
            f"image of shape {image.shape}: expected (H, W) and at least one pixel; "
            "pass one grey slice"
        )
    if image.size > MOST_PIXELS:
        raise FibsegError(
            f"image of shape {image.shape}: expected at most 32768 x 32768 pixels; cut it"
        )
    if image.dtype.name not in _TREE_DTYPES:
        raise FibsegError(
            f"image of {image.dtype}: expected one of {', '.join(_TREE_DTYPES)}; convert it first"
        )
    if image.dtype.kind == "f":
        # Far below the type's maximum, because the sum of the border must stay finite.
        limit = np.finfo(image.dtype).max / 1e8
        # Negated, so that NaN, which compares false with everything, is among the wrong ones.
        wrong = image[~(np.abs(image) <= limit)]
        if wrong.size:
            raise FibsegError(
                f"image holds {wrong[0]}: expected finite grey levels, up to {limit:.0e}; "
                "replace them"
            )


def _filter_by_higra(padded: Pixels, areas: list[int]) -> Pixels:
    """Filter (H + 2, W + 2) of a type of `_TREE_DTYPES` into (len(areas), H + 2, W + 2) of it."""
    # Imported here, since that takes time.
    import higra

    # padding="none", since the image is padded already.
    tree, altitudes = higra.component_tree_tree_of_shapes_image2d(padded, padding="none")
    tree_areas = higra.attribute_area(tree)
    return np.stack(
        # The third argument marks the shapes to remove.
        [higra.reconstruct_leaf_data(tree, altitudes, tree_areas < area) for area in areas]
    )
