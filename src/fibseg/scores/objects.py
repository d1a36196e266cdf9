"""3-D objects of a label stack: how many, how large, how much surface; slab by slab, for stacks larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes, mesh_surface_area

Labels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Read = Callable[[int], Labels]
"""z -> (H, W) class indices, 0 for what is none."""

Neighbours = Literal[6, 26]

SLAB = 2**23
"""Voxels that are looked at together, some 120 bytes for each."""


@dataclass(frozen=True)
class Objects:
    """Columns of N objects, in the order of their first voxels.

    Attributes:
        class_index: (N,) what each is.
        voxels: (N,) how many.
        low, high: (N, 3) first and last voxel along z, y, x.
        centre: (N, 3) mean position along z, y, x, in voxels.
        surface: (N,) in nm^2, of the mesh that marching cubes lays half way between inside and outside (Lewiner et al.,
            2003); what leaves the stack is closed at its border.
        border: (N,) whether it touches a side of the stack, where it may go on.
    """

    class_index: Ints
    voxels: Ints
    low: Ints
    high: Ints
    centre: NDArray[np.float64]
    surface: NDArray[np.float64]
    border: NDArray[np.bool_]


class Objects3D:
    """Connected objects of equal class (26 neighbours) in a stack that is read slice by slice, a few times over.

    Objects that several slabs hold parts of are put together; the result is that of the whole stack in memory.
    """

    def __init__(
        self,
        read: Read,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        smallest: int = 1,
        fill: bool = False,
        slab: int | None = None,
    ):
        """Find and measure.

        Args:
            read: gives slices.
            shape: (Z, H, W).
            spacing: size of a voxel (z, y, x) in nm.
            smallest: objects of fewer voxels are left out.
            fill: holes, background that one object's class alone encloses (6 neighbours), count as of that class.
            slab: slices that are looked at together; as many as SLAB voxels are for None.
        """
        self.shape, self.spacing = shape, spacing
        self._read, self._slab = read, slab or max(2, SLAB // (shape[1] * shape[2]))
        self._filled: dict[int, int] = {}  # provisional number of a background component -> class
        if fill:
            self._filled = self._holes()
        self._final, parts = self._stitched(self._labelled(), 26)
        found = _joined(parts, self._final)
        surface = self._surfaces(len(found.voxels))
        kept = found.voxels >= smallest
        numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
        self._numbers = numbers[
            self._final
        ]  # provisional -> number of the object, 0 where it is left out
        self.objects = Objects(
            class_index=found.class_index[kept],
            voxels=found.voxels[kept],
            low=found.low[kept],
            high=found.high[kept],
            centre=found.centre[kept],
            surface=surface[kept],
            border=found.border[kept],
        )

    def instances(self) -> Iterator[NDArray[np.uint32]]:
        """Slice after slice (H, W): the number of the object, from 1, 0 where there is none."""
        for components, base, _ in self._labelled():
            numbers = self._numbers[base : base + int(components.max(initial=0)) + 1].astype(
                np.uint32
            )
            numbers[0] = 0
            yield from numbers[components]

    def _starts(self) -> range:
        return range(0, self.shape[0], self._slab)

    def _classes(self, start: int, stop: int) -> Labels:
        """Slices with their holes filled, where that was asked."""
        return np.stack([self._read(z) for z in range(start, min(stop, self.shape[0]))])

    def _labelled(self) -> Iterator[tuple[NDArray[np.uint32], int, Labels]]:
        """Components of each slab, the number before its first one, and its classes."""
        base, holes = 0, 0
        for start in self._starts():
            classes = self._classes(start, start + self._slab)
            if self._filled:
                background = _components((classes == 0).astype(np.uint8), 6)
                into = np.zeros(int(background.max(initial=0)) + 1, np.uint8)
                for number in range(1, len(into)):
                    into[number] = self._filled.get(holes + number, 0)
                holes += len(into) - 1
                classes = np.where(classes == 0, into[background], classes).astype(np.uint8)
            components = _components(classes, 26)
            yield components, base, classes
            base += int(components.max(initial=0))

    def _stitched(
        self, slabs: Iterator[tuple[NDArray[np.uint32], int, Labels]], neighbours: Neighbours
    ) -> tuple[Ints, list[_Part]]:
        """Provisional number -> object from 1, in the order of first voxels; and the components of each slab."""
        edges, parts, before = list[Ints](), list[_Part](), None
        for (components, base, classes), start in zip(slabs, self._starts(), strict=True):
            parts.append(_measured(components, classes, start, self.shape))
            if before is not None:
                edges.append(
                    _meetings(
                        before, (components[0].astype(np.int64), base, classes[0]), neighbours
                    )
                )
            before = components[-1].astype(np.int64), base, classes[-1]
        count = sum(len(part.voxels) for part in parts)
        pairs = np.concatenate(edges, axis=1) if edges else np.zeros((2, 0), np.int64)
        graph = coo_array(
            (np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(count + 1, count + 1)
        )
        _, group = connected_components(graph, directed=False)
        _, first, inverse = np.unique(group[1:], return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))
        return np.concatenate([[0], order[inverse] + 1]).astype(np.int64), parts

    def _holes(self) -> dict[int, int]:
        """Provisional number of each background component that one class alone encloses -> that class."""

        def slabs() -> Iterator[tuple[NDArray[np.uint32], int, Labels]]:
            base = 0
            for start in self._starts():
                classes = self._classes(start, start + self._slab)
                background = _components((classes == 0).astype(np.uint8), 6)
                yield background, base, (classes == 0).astype(np.uint8)
                base += int(background.max(initial=0))

        final, parts = self._stitched(slabs(), 6)
        found = _joined(parts, final)
        around: list[set[int]] = [set() for _ in range(len(found.voxels) + 1)]
        base, last = 0, None
        for start in self._starts():
            classes = self._classes(start, start + self._slab)
            background = _components((classes == 0).astype(np.uint8), 6).astype(np.int64)
            numbers = final[np.where(background > 0, background + base, 0)]
            base += int(background.max(initial=0))
            stacked = numbers if last is None else np.concatenate([last[0][None], numbers])
            labels = classes if last is None else np.concatenate([last[1][None], classes])
            for number, index in _touching(stacked, labels):
                around[number].add(index)
            last = numbers[-1], classes[-1]
        into = {
            k: next(iter(one))
            for k, one in enumerate(around)
            if len(one) == 1 and k > 0 and not found.border[k - 1]
        }
        return {
            number: into[int(group)] for number, group in enumerate(final) if int(group) in into
        }

    def _surfaces(self, count: int) -> NDArray[np.float64]:
        """Of each object: every cube between voxel centres belongs to one slab, so areas add up."""
        areas, surface = cube_areas(self.spacing), np.zeros(count + 1)
        edge = np.zeros((1, self.shape[1] + 2, self.shape[2] + 2), np.int64)
        last = edge
        for (components, base, _), start in zip(self._labelled(), self._starts(), strict=True):
            numbers = self._final[np.where(components > 0, components.astype(np.int64) + base, 0)]
            numbers = np.concatenate([last, np.pad(numbers, ((0, 0), (1, 1), (1, 1)))])
            last = numbers[-1:]
            for above, below in pairwise(
                numbers if start + self._slab < self.shape[0] else [*numbers, edge[0]]
            ):
                add_surfaces(surface, np.stack([above, below]), areas)
        return surface[1:]


_COLUMNS = ("class_index", "voxels", "low", "high", "centre")


@dataclass(frozen=True)
class _Part:
    """Components of a slab; columns as in Objects, but `centre` is the sum of positions."""

    class_index: Ints
    voxels: Ints
    low: Ints
    high: Ints
    centre: NDArray[np.float64]
    border: NDArray[np.bool_]


def _components(classes: Labels, neighbours: Neighbours) -> NDArray[np.uint32]:
    return np.asarray(cc3d.connected_components(classes, connectivity=neighbours), np.uint32)


def _measured(
    components: NDArray[np.uint32], classes: Labels, start: int, shape: tuple[int, int, int]
) -> _Part:
    """Of a slab that starts at slice `start`."""
    count = int(components.max(initial=0))
    told = cc3d.statistics(components, no_slice_conversion=True)
    boxes = np.asarray(told["bounding_boxes"], np.int64)[1 : count + 1].reshape(-1, 6)
    offset = np.array([start, 0, 0], np.int64)
    low, high = boxes[:, 0::2] + offset, boxes[:, 1::2] + offset
    voxels = np.asarray(told["voxel_counts"], np.int64)[1 : count + 1]
    centre = (np.asarray(told["centroids"], np.float64)[1 : count + 1] + offset) * voxels[:, None]
    index = np.zeros(count + 1, np.int64)
    index[components.ravel()] = classes.ravel()
    border = ((low == 0) | (high == np.array(shape) - 1)).any(axis=1)
    return _Part(index[1:], voxels, low, high, centre, border)


def _joined(parts: Sequence[_Part], final: Ints) -> _Part:
    """Parts of one object put together; `final` is provisional number -> object from 1. `centre` becomes the mean."""
    owner, count = final[1:] - 1, int(final.max(initial=0))
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*_COLUMNS, "border")
    }
    index, voxels = np.zeros(count, np.int64), np.zeros(count, np.int64)
    low, high = np.full((count, 3), 2**62, np.int64), np.full((count, 3), -1, np.int64)
    centre, border = np.zeros((count, 3)), np.zeros(count, bool)
    index[owner] = columns["class_index"]
    np.add.at(voxels, owner, columns["voxels"])
    np.minimum.at(low, owner, columns["low"])
    np.maximum.at(high, owner, columns["high"])
    np.add.at(centre, owner, columns["centre"])
    np.logical_or.at(border, owner, columns["border"])
    return _Part(index, voxels, low, high, centre / np.maximum(voxels, 1)[:, None], border)


def _meetings(
    above: tuple[Ints, int, Labels], below: tuple[Ints, int, Labels], neighbours: Neighbours
) -> Ints:
    """Pairs (2, M) of provisional numbers of components that touch through the plane between two slabs."""
    shifts = (
        [(0, 0)]
        if neighbours == 6
        else [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    )
    pairs = []
    for row, column in shifts:
        height, width = above[0].shape
        here = (
            slice(max(0, row), height + min(0, row)),
            slice(max(0, column), width + min(0, column)),
        )
        there = (
            slice(max(0, -row), height + min(0, -row)),
            slice(max(0, -column), width + min(0, -column)),
        )
        touch = (above[2][here] == below[2][there]) & (above[0][here] > 0) & (below[0][there] > 0)
        pairs.append(
            np.stack([above[0][here][touch] + above[1], below[0][there][touch] + below[1]])
        )
    return np.unique(np.concatenate(pairs, axis=1), axis=1)


def _touching(numbers: Ints, classes: Labels) -> set[tuple[int, int]]:
    """(background component, class) that share a side of a voxel."""
    found: set[tuple[int, int]] = set()
    for axis in range(3):
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        for one, other in ((tuple(ahead), tuple(behind)), (tuple(behind), tuple(ahead))):
            touch = (numbers[one] > 0) & (classes[other] > 0)
            pairs = np.unique(
                np.stack([numbers[one][touch], classes[other][touch].astype(np.int64)]), axis=1
            )
            found |= set(zip(*pairs.tolist(), strict=True))
    return found


CORNERS = [(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
"""Of a cube between voxel centres; corner k is bit k of the number of its pattern."""


def cube_areas(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Area of the mesh of marching cubes in a cube, for each of the 256 patterns of its corners: (256,).

    A cube's part of the mesh of a mask depends on its own corners alone.
    """
    areas = np.zeros(256)
    for pattern in range(1, 255):
        cube = np.array([pattern >> k & 1 for k in range(8)], np.float32).reshape(2, 2, 2)
        vertices, faces, _, _ = marching_cubes(cube, 0.5, spacing=spacing)  # type: ignore[no-untyped-call]
        areas[pattern] = mesh_surface_area(vertices, faces)  # type: ignore[no-untyped-call]
    return areas


def add_surfaces(surface: NDArray[np.float64], pair: Ints, areas: NDArray[np.float64]) -> None:
    """Add to each object's area (N,) that of its mesh between two slices of object numbers (2, H, W), 0 for none."""
    height, width = pair.shape[1] - 1, pair.shape[2] - 1
    views = [pair[z, y : y + height, x : x + width] for z, y, x in CORNERS]
    mixed = np.logical_or.reduce(
        [view != views[0] for view in views[1:]]
    )  # the rest hold no surface
    corners = np.stack([view[mixed] for view in views])
    for k, numbers in enumerate(corners):
        first = (numbers > 0) & ~(corners[:k] == numbers).any(
            axis=0
        )  # each object of a cube counts once
        own = corners[:, first]
        patterns = (1 << np.arange(8)) @ (own == own[k])
        surface += np.bincount(own[k], areas[patterns], minlength=len(surface))
