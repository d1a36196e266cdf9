"""Length and branches of the skeleton of an object.

The object is thinned to lines of a voxel. As in AnalyzeSkeleton (Arganda-Carreras et al.,
Microscopy Research and Technique 2010, doi:10.1002/jemt.20829) voxels with more than two neighbours
are junctions, and what lies between junctions and ends is a branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fibseg.arrays import Floats, Ints, Mask

_SMOOTHED = 2
"""Voxels on each side over which the positions along a branch are averaged: steps from voxel to
voxel would make an oblique line up to a tenth too long."""
_SPUR = 2.0
"""Length of a spur at most, over the distance from its junction to the surface: the edge of a
cylinder is the root of 2 times that distance away, the corner of a cube the root of 3 times."""


@dataclass(frozen=True)
class Skeleton:
    """What is measured of a skeleton.

    Attributes:
        length: of all branches together, in nm.
        branches: how many there are; 0 where the skeleton is a single voxel, 1 for a ring.
    """

    length: float
    branches: int


def measure_skeleton(mask: Mask, spacing: tuple[float, float, float]) -> Skeleton:
    """Measure the skeleton of an object.

    It ends about a radius before the tips of the object. Branches that end near the
    surface round the junction where they begin are spurs and are left out.

    Args:
        mask: (D, H, W) of the object, not empty.
        spacing: size of a voxel (z, y, x) in nm.
    """
    from scipy import ndimage

    # Loading numba takes a second.
    from fibseg.scores.bodies.thinning import thin_mask

    cubes, sides = _finer(np.pad(mask, 1), spacing)
    thickness = ndimage.distance_transform_edt(cubes, sampling=sides)
    skeleton = thin_mask(cubes, thickness)
    graph = _skeleton_graph(np.argwhere(skeleton), thickness[skeleton], np.array(sides))
    _drop_spurs(graph)
    lengths = [length for _, _, length in graph.edges(data="length")]
    return Skeleton(float(sum(lengths)), len(lengths))


def _finer(
    mask: Mask, spacing: tuple[float, float, float]
) -> tuple[Mask, tuple[float, float, float]]:
    """Resample a mask so that its voxels are cubes, about; gives their sides (z, y, x), too.

    Else the steps from slice to slice would be branches.
    """
    from scipy import ndimage

    side = min(spacing)
    if max(spacing) < 1.01 * side:
        return mask, spacing
    # Signed distances have no steps, so that the surface between two slices is smooth.
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    signed = (inside - outside).astype(np.float32)
    # The centres of outer voxels stay the outer centres.
    counts = [
        round((count - 1) * size / side) + 1
        for count, size in zip(mask.shape, spacing, strict=True)
    ]
    factors = [after / before for after, before in zip(counts, mask.shape, strict=True)]
    sides = [
        size * (before - 1) / (after - 1)
        for after, before, size in zip(counts, mask.shape, spacing, strict=True)
    ]
    cubes = np.asarray(ndimage.zoom(signed, factors, order=1) > 0)
    # What touched by an edge alone may be gone.
    return (cubes, (sides[0], sides[1], sides[2])) if cubes.any() else (mask, spacing)


def _skeleton_graph(places: Ints, thickness: Floats, spacing: Floats) -> Any:
    """Make a graph of the skeleton's voxels: nodes are junctions and ends, edges are branches.

    Args:
        places: (M, 3) of the voxels.
        thickness: (M,) of the object there, in nm.
        spacing: (3,) size of a voxel in nm.

    Returns:
        A networkx.MultiGraph; nodes have a `thickness`, edges a `length`.
    """
    import networkx
    from scipy.spatial import cKDTree

    # 26 neighbours are at most the root of 3 apart.
    pairs = cKDTree(places).query_pairs(1.75, output_type="ndarray").reshape(-1, 2)
    is_junction = np.bincount(pairs.ravel(), minlength=len(places)) > 2
    voxels = networkx.Graph()
    voxels.add_nodes_from(range(len(places)))
    voxels.add_edges_from(pairs.tolist())
    graph = networkx.MultiGraph()
    node_of: dict[int, int] = {}
    middles: dict[int, Floats] = {}
    # Junction voxels that touch are one junction, which lies in their middle.
    for group in networkx.connected_components(voxels.subgraph(np.flatnonzero(is_junction))):
        members = sorted(group)
        node_of |= dict.fromkeys(members, members[0])
        middles[members[0]] = places[members].mean(axis=0)
        graph.add_node(members[0], thickness=float(thickness[members].max()))
    paths = voxels.subgraph(np.flatnonzero(~is_junction))
    for group in networkx.connected_components(paths):
        path = _ordered(paths.subgraph(group))
        ends = [_outside(voxels, path, position) for position in (0, -1)]
        if len(path) == 1:
            ends = [*sorted(set(voxels[path[0]]) - set(path)), None, None][:2]
        line = places[path].astype(float)
        nodes = []
        for end, at in zip(ends, (0, -1), strict=True):
            if end is None:
                nodes.append(path[at])
                graph.add_node(path[at], thickness=float(thickness[path[at]]))
            else:
                nodes.append(node_of[end])
                middle = middles[node_of[end]][None]
                line = np.concatenate([middle, line] if at == 0 else [line, middle])
        is_ring = len(path) > 2 and ends == [None, None] and voxels.has_edge(path[0], path[-1])
        if is_ring:
            line = np.concatenate([line, line[:1]])
            nodes[1] = nodes[0]
        # A voxel alone is no branch, nor is one that two voxels of the same junction touch.
        if len(line) > 1 and not (nodes[0] == nodes[1] and len(path) == 1):
            graph.add_edge(*nodes, length=_length(line * spacing))
    return graph


def _ordered(path: Any) -> list[int]:
    """Order the voxels of a path, whose voxels have two neighbours at most; a ring has no end."""
    ends = [voxel for voxel in sorted(path) if path.degree(voxel) < 2]
    order = [ends[0] if ends else min(path)]
    visited = set(order)
    while True:
        onward = [voxel for voxel in sorted(path[order[-1]]) if voxel not in visited]
        if not onward:
            return order
        order.append(onward[0])
        visited.add(onward[0])


def _outside(voxels: Any, path: list[int], position: int) -> int | None:
    """Find the junction voxel beyond an end of a path; None where the skeleton ends there."""
    beyond = sorted(set(voxels[path[position]]) - set(path))
    return beyond[0] if beyond else None


def _length(line: Floats) -> float:
    """Length of a line of positions (M, 3), smoothed between its ends."""
    smooth = line.copy()
    for k in range(1, len(line) - 1):
        # As many on both sides, so that the ends stay in place.
        reach = min(_SMOOTHED, k, len(line) - 1 - k)
        smooth[k] = line[k - reach : k + reach + 1].mean(axis=0)
    return float(np.linalg.norm(np.diff(smooth, axis=0), axis=1).sum())


def _drop_spurs(graph: Any) -> None:
    """Take spurs out of a graph of a skeleton, the shortest first, and join what they parted."""
    _join_branches(graph)
    while True:
        spurs = []
        for first, second, key, length in graph.edges(keys=True, data="length"):
            for end, root in ((first, second), (second, first)):
                is_spur = graph.degree(end) == 1 and graph.degree(root) > 2
                if is_spur and length < _SPUR * graph.nodes[root]["thickness"]:
                    spurs.append((length, end, root, key))
        if not spurs:
            return
        _, end, root, key = min(spurs)
        graph.remove_edge(end, root, key)
        graph.remove_node(end)
        _join_branches(graph)


def _join_branches(graph: Any) -> None:
    """Join the two branches of each node that has no third one."""
    for node in list(graph):
        edges = list(graph.edges(node, keys=True, data="length"))
        # The node of a ring has one edge, which counts twice.
        if graph.degree(node) == 2 and len(edges) == 2:
            outer = [second for _, second, _, _ in edges]
            graph.remove_node(node)
            graph.add_edge(*outer, length=sum(length for *_, length in edges))
