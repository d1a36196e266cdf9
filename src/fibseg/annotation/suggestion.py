"""Which regions to paint next: by what a model would learn there, spread over the stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fibseg.annotation.project import AnnotationProject
from fibseg.arrays import Floats, UInt8
from fibseg.data.splits import nested_order
from fibseg.errors import FibsegError

BY_FOREGROUND = "foreground"
BY_DISAGREEMENT = "disagreement"
AT_RANDOM = "random"
STRATEGIES = (BY_FOREGROUND, BY_DISAGREEMENT, AT_RANDOM)

_LEAST_FOREGROUND = 0.01
"""Share of a region's pixels that the model gives a class, from which on it holds foreground."""

_REVIEWED_SHARE = 0.5
"""Share of a region's pixels from which on it counts as reviewed."""

_GUARD = 1
"""Slices beside a reviewed one, which look like it and are not suggested."""

Judge = Callable[[int], tuple[UInt8, Floats]]
"""Slice -> labels (H, W) and uncertainty (H, W) of a model."""


@dataclass(frozen=True)
class Region:
    """A box of a slice that may be painted next.

    Attributes:
        z: slice.
        y: first row.
        x: first column.
        height: rows.
        width: columns.
        foreground: share of the pixels that the model gives a class; NaN without a model.
        disagreement: how unsure the model is there, 0 to 1; NaN without a model.
    """

    z: int
    y: int
    x: int
    height: int
    width: int
    foreground: float = np.nan
    disagreement: float = np.nan

    @property
    def box(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def candidate_slices(depth: int, reviewed: Iterable[int], count: int) -> list[int]:
    """List slices that may be suggested: spread over z, beside a reviewed one only if all are.

    >>> candidate_slices(10, [5], 3), candidate_slices(3, [1], 3)
    ([0, 3, 9], [0, 2])
    """
    used = set(reviewed)
    near = {z + step for z in used for step in range(-_GUARD, _GUARD + 1)}
    free = [z for z in range(depth) if z not in near]
    free = free or [z for z in range(depth) if z not in used]
    return sorted(free[position] for position in nested_order(len(free), count))


def unreviewed_slices(project: AnnotationProject, count: int) -> list[int]:
    """List slices of a project that may be suggested: those with an unreviewed part come last.

    Raises:
        FibsegError: every slice is reviewed everywhere, or kept for a test.
    """
    depth = project.image.shape[0]
    reviewed = sorted(project.reviewed_slices())
    test = project.state.splits.get("test", ())
    fresh = candidate_slices(depth, [*reviewed, *test], count)
    if fresh:
        return fresh
    partly = [z for z in reviewed if z not in test and not project.layers.reviewed(z).all()]
    if not partly:
        raise FibsegError("every slice is reviewed.")
    return sorted(partly[position] for position in nested_order(len(partly), count))


def unreviewed_regions(
    project: AnnotationProject, slices: Iterable[int], size: Sequence[int], judge: Judge | None
) -> list[Region]:
    """List regions of about `size` in slices of a project, but for those that are reviewed.

    A region is reviewed if half of its pixels are. Where a model is there, `judge` measures them.

    Raises:
        FibsegError: all of them are reviewed.
    """
    entries = measured_candidates(slices, project.image.shape[1:], size, judge)
    left = [
        region
        for region in entries
        if project.layers.reviewed(region.z)[region.box].mean() < _REVIEWED_SHARE
    ]
    if not left:
        raise FibsegError("at least half of every region is reviewed.")
    return left


def regions_of(z: int, shape: Sequence[int], size: Sequence[int]) -> list[Region]:
    """Cut a slice (H, W) into regions of about `size`, which cover it."""
    height, width = shape
    rows = _edges(height, size[0])
    columns = _edges(width, size[1])
    return [
        Region(z=z, y=top, x=left, height=bottom - top, width=right - left)
        for top, bottom in rows
        for left, right in columns
    ]


def _edges(length: int, size: int) -> list[tuple[int, int]]:
    count = max(1, round(length / size))
    ends = np.linspace(0, length, count + 1).round().astype(int).tolist()
    return list(pairwise(ends))


def judged(region: Region, labels: UInt8, uncertainty: Floats) -> Region:
    """Measure a region in the labels (H, W) and uncertainty (H, W) of a model."""
    return replace(
        region,
        foreground=float((labels[region.box] > 0).mean()),
        disagreement=float(uncertainty[region.box].mean()),
    )


def uncertainty_of(probabilities: Floats) -> Floats:
    """Entropy (H, W) of mean probabilities (K, H, W), as a share of the largest possible one."""
    shares = np.clip(probabilities, 1e-6, 1.0)
    entropy = -(shares * np.log(shares)).sum(axis=0)
    return np.asarray(entropy / np.log(len(probabilities)))


def suggest_regions(
    candidates: Sequence[Region], count: int, kind: str, seed: int = 0
) -> list[Region]:
    """Choose regions to paint next, no two of them in one slice as long as there are others.

    Args:
        candidates: regions, measured by a model unless `kind` is random.
        count: how many.
        kind: "foreground", random ones of those that hold foreground; "disagreement", those of
            which the model is least sure; "random", any.
        seed: of the random ones.
    """
    generator = np.random.default_rng(seed)
    shuffled = [candidates[k] for k in generator.permutation(len(candidates))]
    ranked: list[Region] = shuffled
    if kind == BY_FOREGROUND:
        holding = [region for region in shuffled if region.foreground >= _LEAST_FOREGROUND]
        # Where a model finds nothing yet, any region may hold something.
        ranked = holding + [region for region in shuffled if region not in holding]
    elif kind == BY_DISAGREEMENT:
        ranked = sorted(shuffled, key=lambda region: -region.disagreement)
    chosen: list[Region] = []
    for fresh_slices in (True, False):
        for region in ranked:
            used = {entry.z for entry in chosen}
            fits = region not in chosen and not (fresh_slices and region.z in used)
            if fits and len(chosen) < count:
                chosen.append(region)
    return sorted(chosen, key=lambda region: (region.z, region.y, region.x))


def measured_candidates(
    slices: Iterable[int], shape: Sequence[int], size: Sequence[int], judge: Judge | None
) -> list[Region]:
    """List the regions of slices, measured by a model where there is one."""
    regions = []
    for z in slices:
        entries = regions_of(z, shape, size)
        if judge is not None:
            labels, uncertainty = judge(z)
            entries = [judged(region, labels, uncertainty) for region in entries]
        regions += entries
    return regions
