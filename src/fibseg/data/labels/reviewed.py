"""The reviewed region of labels: where a person has looked, so that unpainted is background."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.arrays import Floats, Mask
from fibseg.data.splits import parse_slices
from fibseg.errors import FibsegError
from fibseg.rules import brief
from fibseg.stack import located, open_stack

WHOLE = "whole"
"""A slice that is reviewed everywhere."""

_EXPECTED = (
    'expected the path of a mask or of a CSV file of napari\'s shapes, or slices with "whole" or '
    "boxes [y0, x0, y1, x1], as {8: whole, 15: [[0, 0, 512, 256]]}"
)

_OUTLINES = ("polygon", "rectangle", "ellipse")
"""Shapes of napari that enclose an area."""


@dataclass(frozen=True)
class Reviewed:
    """The reviewed region of a volume.

    Attributes:
        name: where the region comes from, for messages.
        slices: slices of the image that may hold a part of it, in order.
        read: reads the mask (H, W) of a slice of the image.
    """

    name: str
    slices: Sequence[int]
    read: Callable[[int], Mask]

    def part(self, offset: Sequence[int], shape: Sequence[int]) -> Reviewed:
        """Take the region as labels of this shape (Z, H, W) see it, which start at `offset`."""
        z_start, y_start, x_start = offset
        depth, height, width = shape

        def read(z: int) -> Mask:
            rows = slice(y_start, y_start + height)
            return self.read(z + z_start)[rows, x_start : x_start + width]

        slices = [z - z_start for z in self.slices if z_start <= z < z_start + depth]
        return Reviewed(self.name, slices, read)

    def by_page(self, slice_of: Mapping[int, int]) -> Reviewed:
        """Read the region of pages, by the slice of the image that each of them is of."""
        pages = [page for page, z in slice_of.items() if z in set(self.slices)]
        return Reviewed(self.name, sorted(pages), lambda page: self.read(slice_of[page]))


def open_reviewed(value: Any, root: str, shape: Sequence[int], where: str) -> Reviewed:
    """Open a reviewed region as a data description has it.

    Args:
        value: path of a stack or of a CSV file of napari's shapes, or slices with "whole" or boxes
            [y0, x0, y1, x1] in pixels of the image, ends excluded.
        root: folder that paths are relative to.
        shape: (Z, H, W) of the image.
        where: names the key in messages.

    Raises:
        FibsegError: the region is of another kind, or leaves the image.
    """
    if isinstance(value, Mapping) and value:
        return _of_boxes(value, shape, where)
    if not isinstance(value, str) or not value:
        raise FibsegError(f"{where}: {brief(value)}; {_EXPECTED}.")
    path = located(root, value)
    if path.lower().endswith(".csv"):
        return _of_shapes(path, shape)
    mask = open_stack(path)
    if tuple(mask.shape) != tuple(shape):
        raise FibsegError(
            f"{where}: {mask.name} is of shape {mask.shape}, but the image of {tuple(shape)}."
        )
    return Reviewed(path, range(shape[0]), lambda z: mask.read(z) != 0)


def _of_boxes(slices: Mapping[Any, Any], shape: Sequence[int], where: str) -> Reviewed:
    """The region of whole slices and of boxes."""
    boxes: dict[int, list[list[int]]] = {}
    for key, value in slices.items():
        for z in parse_slices([key], shape[0], where):
            entry = [[0, 0, *shape[1:]]] if value == WHOLE else value
            if z in boxes:
                raise FibsegError(f"{where}: slice {z} stands there twice.")
            if not isinstance(entry, list) or not entry:
                raise FibsegError(f"{where}: slice {z}: {brief(value)}; {_EXPECTED}.")
            boxes[z] = [_checked_box(box, shape, f"{where}: slice {z}") for box in entry]

    def read(z: int) -> Mask:
        mask = np.zeros(tuple(shape[1:]), bool)
        for y_start, x_start, y_stop, x_stop in boxes.get(z, []):
            mask[y_start:y_stop, x_start:x_stop] = True
        return mask

    return Reviewed(where, sorted(boxes), read)


def _checked_box(box: Any, shape: Sequence[int], where: str) -> list[int]:
    """A box of four whole numbers that has pixels and lies in the image."""
    is_box = isinstance(box, list) and len(box) == 4 and all(type(side) is int for side in box)
    if not is_box:
        raise FibsegError(f"{where}: {brief(box)}; {_EXPECTED}.")
    y_start, x_start, y_stop, x_stop = box
    _, height, width = shape
    if not (0 <= y_start < y_stop <= height and 0 <= x_start < x_stop <= width):
        raise FibsegError(
            f"{where}: the box {box} is empty or leaves the slice, which has {height} rows and "
            f"{width} columns."
        )
    return list(box)


def _of_shapes(path: str, shape: Sequence[int]) -> Reviewed:
    """The region inside the shapes of a layer that napari saved as CSV."""
    outlines: dict[int, list[tuple[str, Floats]]] = {}
    for kind, vertices in _read_shapes(path):
        if kind not in _OUTLINES:
            raise FibsegError(
                f"{path}: a {kind} encloses no area; expected {', '.join(_OUTLINES)}."
            )
        slices, points = _slices_of(vertices, shape[0], path)
        for z in slices:
            outlines.setdefault(z, []).append((kind, points))

    def read(z: int) -> Mask:
        mask = np.zeros(tuple(shape[1:]), bool)
        for kind, points in outlines.get(z, []):
            mask |= _inside(kind, points, mask.shape)
        return mask

    return Reviewed(path, sorted(outlines), read)


def _read_shapes(path: str) -> list[tuple[str, Floats]]:
    """Read the kind and the vertices (n, axes) of each shape in a CSV file of napari."""
    shapes: dict[str, tuple[str, list[list[float]]]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            axes = [name for name in rows.fieldnames or [] if name.startswith("axis-")]
            for row in rows:
                _, vertices = shapes.setdefault(row["index"], (row["shape-type"], []))
                vertices.append([float(row[axis]) for axis in axes])
    # Missing columns, no numbers, other bytes than text: no such file, whatever it is.
    except (KeyError, TypeError, ValueError, csv.Error):
        axes = []
    except OSError as error:
        raise FibsegError(f"{path}: {error.strerror or error}.") from error
    finite = all(np.isfinite(vertices).all() for _, vertices in shapes.values())
    if not shapes or len(axes) not in (2, 3) or not finite:
        raise FibsegError(
            f"{path}: no shapes; expected the CSV file of a shapes layer of napari, with the "
            "columns index, shape-type, vertex-index, axis-0, axis-1 and axis-2."
        )
    return [(kind, np.array(vertices)) for kind, vertices in shapes.values()]


def _slices_of(vertices: Floats, depth: int, path: str) -> tuple[Sequence[int], Floats]:
    """The slices that a shape lies in, and its vertices (n, 2) as y and x."""
    if vertices.shape[1] == 2:
        # Drawn on a single picture.
        if depth != 1:
            raise FibsegError(
                f"{path}: shapes without a slice (axis-0, axis-1 alone) on a stack of {depth} "
                "slices; draw them on the stack, so that napari saves three axes."
            )
        return [0], vertices
    slices = np.unique(np.rint(vertices[:, 0]))
    if slices.size > 1:
        raise FibsegError(f"{path}: a shape runs through several slices; draw each in one slice.")
    z = int(slices[0])
    if not 0 <= z < depth:
        raise FibsegError(f"{path}: a shape in slice {z}; the image has slices 0 to {depth - 1}.")
    return [z], vertices[:, 1:]


def _inside(kind: str, points: Floats, shape: tuple[int, ...]) -> Mask:
    """Mask (H, W) of the pixels whose centres lie in a shape of vertices (n, 2)."""
    from skimage.draw import polygon2mask

    if kind != "ellipse":
        return polygon2mask(shape, points) != 0  # type: ignore[no-untyped-call, no-any-return]
    # napari keeps the corners of the box around an ellipse, which may be turned.
    centre = points.mean(axis=0)
    axes = np.stack([points[1] - points[0], points[2] - points[1]]) / 2
    lengths = (axes**2).sum(axis=1)
    if points.shape != (4, 2) or not lengths.all():
        return np.zeros(shape, bool)
    rows, columns = np.indices(shape, sparse=True)
    along = [
        ((rows - centre[0]) * axis[0] + (columns - centre[1]) * axis[1]) / length
        for axis, length in zip(axes, lengths, strict=True)
    ]
    return np.asarray(along[0] ** 2 + along[1] ** 2 <= 1)
