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

_NEIGHBOURS = 2
"""Voxels on each side over which the positions along a branch are averaged: steps from voxel to
voxel would make an oblique line up to a tenth too long."""

_SPUR = 2.0
"""Length of a spur at most, over the thickness at its junction: the edge of a cylinder is the root
of 2 times that distance away, the corner of a cube the root of 3 times."""

_SMOOTHING = 0.25
"""Standard deviation of the smoothing of an object, over its largest distance to the surface."""


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

    It ends about a radius before the tips of the object. Branches that end near the surface round
    the junction where they begin are spurs and are left out.

    Args:
        mask: (D, H, W) of the object, not empty.
        spacing: size of a voxel (z, y, x) in nm.
    """
    from scipy import ndimage

    # Loading numba takes a second.
    from fibseg.scores.bodies.thinning import thin_mask

    cubes, sides = _smoothed(mask, spacing)
    distance = ndimage.distance_transform_edt(cubes, sampling=sides)
    skeleton = thin_mask(cubes, distance)
    places = np.argwhere(skeleton)
    thickness = _local_thickness(places, distance[skeleton], np.array(sides))
    graph = _skeleton_graph(places, thickness, np.array(sides))
    _drop_spurs(graph)
    lengths = [length for _, _, length in graph.edges(data="length")]
    return Skeleton(float(sum(lengths)), len(lengths))


def _smoothed(
    mask: Mask, spacing: tuple[float, float, float]
) -> tuple[Mask, tuple[float, float, float]]:
    """Resample a mask to cubes, about, and smooth its surface; gives their sides (z, y, x), too.

    Steps from slice to slice, and the jitter of labels that were painted slice by slice, would be
    branches by the hundred. Distances to the surface have no steps, and so are smoothed in its
    place. Where that parts the object or makes it vanish, it is smoothed less.
    """
    from scipy import ndimage

    side = min(spacing)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)
    deviation = _SMOOTHING * float(inside.max())
    # Room for the smooth surface, so that it is closed within the box.
    margin = [int(np.ceil(3.0 * deviation / size)) + 1 for size in spacing]
    padded = np.pad(mask, [(width, width) for width in margin])
    inside = ndimage.distance_transform_edt(padded, sampling=spacing)
    outside = ndimage.distance_transform_edt(~padded, sampling=spacing)
    signed = (inside - outside).astype(np.float32)
    sides = spacing
    if max(spacing) > 1.01 * side:
        # The centres of outer voxels stay the outer centres.
        before = np.array(signed.shape)
        after = np.round((before - 1) * np.array(spacing) / side).astype(int) + 1
        signed = ndimage.zoom(signed, after / before, order=1)
        z, y, x = (np.array(spacing) * (before - 1) / (after - 1)).tolist()
        sides = (z, y, x)
    corners = np.ones((3, 3, 3))
    while deviation > 0.3 * side:
        smooth = ndimage.gaussian_filter(signed, deviation / np.array(sides)) > 0
        if ndimage.label(smooth, corners)[1] == 1:
            return np.asarray(smooth), sides
        deviation /= 2.0
    cubes = np.asarray(signed > 0)
    # What is connected by edges alone may be in pieces, or gone, where it was resampled.
    return (cubes, sides) if cubes.any() else (np.pad(mask, 1), spacing)


def _local_thickness(places: Ints, thickness: Floats, spacing: Floats) -> Floats:
    """Give each voxel of a skeleton (M,) the radius of the largest ball of another that it is in.

    By it a spur on a spur is measured by the body that both grow on (Hildebrand and Rueegsegger,
    Journal of Microscopy 1997, doi:10.1046/j.1365-2818.1997.1340694.x).
    """
    from scipy.spatial import cKDTree

    points = places * spacing
    tree = cKDTree(points)
    largest = thickness.copy()
    for k in np.argsort(thickness).tolist():
        # In ascending order, the largest ball comes last.
        largest[tree.query_ball_point(points[k], thickness[k])] = thickness[k]
    return largest


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
        ends = _ends(voxels, path)
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


def _ends(voxels: Any, path: list[int]) -> list[int | None]:
    """Find the junction voxels beyond both ends of a path; None where the skeleton ends there."""
    first, last = (sorted(set(voxels[end]) - set(path)) for end in (path[0], path[-1]))
    if len(path) == 1:
        return [*first, None, None][:2]
    return [beyond[0] if beyond else None for beyond in (first, last)]


def _length(line: Floats) -> float:
    """Length of a line of positions (M, 3), smoothed between its ends."""
    smooth = line.copy()
    for k in range(1, len(line) - 1):
        # As many on both sides, so that the ends stay in place.
        reach = min(_NEIGHBOURS, k, len(line) - 1 - k)
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
