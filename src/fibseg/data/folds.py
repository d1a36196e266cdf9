"""Folds of a data set: blocks of its slices, or of its volumes, of which each is tested once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fibseg.data.description import DataDescription
from fibseg.data.splits import parse_slices
from fibseg.errors import FibsegError

MOST_SLICES = 10**6
"""An upper bound where it is not known how deep a volume is."""


def with_fold(description: DataDescription) -> DataDescription:
    """A description whose splits are those of its fold; the same one without `data.fold`.

    Raises:
        FibsegError: its splits overlap, or a volume has fewer slices than there are folds.
    """
    if description.fold is None or description.folds is None:
        return description
    splits = fold_splits(
        splits=[volume.split for volume in description.volumes],
        fold=description.fold,
        folds=description.folds,
        guard=description.guard,
    )
    volumes = [
        replace(volume, split=dict(split))
        for volume, split in zip(description.volumes, splits, strict=True)
    ]
    return replace(description, volumes=volumes)


def fold_splits(
    splits: Sequence[Mapping[str, Sequence[Any]]], fold: int, folds: int, guard: int
) -> list[dict[str, list[int]]]:
    """Split the slices of all volumes anew, for one of so many folds.

    The slices of all splits together are divided into blocks of neighbours, in each volume; where
    there are as many volumes as folds, or more, into groups of whole volumes. The fold's block is
    tested, the next one validates (the first one after the last), and the others train. Slices that
    lie beside a tested one are in no split, so that each slice is tested in one fold.

    Args:
        splits: of each volume, the slices of each split, as a description has them.
        fold: number of the fold, from 0.
        folds: how many there are, 3 or more.
        guard: how far from a tested slice of the same image a slice has to be to train or validate:
            farther than so many slices.

    Raises:
        FibsegError: splits overlap, or a volume has fewer slices than there are folds.

    >>> fold_splits([{"train": ["0:6"], "validation": [6], "test": [7, 8]}], 0, 3, guard=1)
    [{'train': [6, 7, 8], 'validation': [4, 5], 'test': [0, 1, 2]}]
    """
    slices = [_slices_of(split, f"data.volumes[{k}].split") for k, split in enumerate(splits)]
    blocks = _blocks_of_volumes(slices, folds)
    if blocks is None:
        blocks = [_blocks_of_slices(of, folds, k) for k, of in enumerate(slices)]
    result = []
    for of_volume in blocks:
        test = of_volume[fold]
        validation = (fold + 1) % folds
        others = {"train": [], "validation": of_volume[validation]}
        for k, block in enumerate(of_volume):
            if k not in (fold, validation):
                others["train"] += block
        # From both: the validation slices choose the epoch, and so are learned from a little, too.
        far = {
            name: [z for z in of if all(abs(z - tested) > guard for tested in test)]
            for name, of in others.items()
        }
        result.append({**far, "test": test})
    return result


def _blocks_of_volumes(slices: Sequence[list[int]], folds: int) -> list[list[list[int]]] | None:
    """Blocks of each volume, of which one has all its slices; None with fewer volumes than folds.

    Volumes may be different cells, and nothing of a tested one is learned then.
    """
    if len(slices) < folds:
        return None
    blocks = []
    for fold, group in enumerate(np.array_split(np.arange(len(slices)), folds)):
        blocks += [[slices[volume] if k == fold else [] for k in range(folds)] for volume in group]
    return blocks


def _blocks_of_slices(slices: Sequence[int], folds: int, volume: int) -> list[list[int]]:
    """Blocks of neighbours of one volume, as equal as can be."""
    if len(slices) < folds:
        raise FibsegError(
            f"data.folds: {folds} is too many for data.volumes[{volume}], which has {len(slices)} "
            f"slices in its splits; expected {len(slices)} or fewer, or as many volumes as folds."
        )
    return [part.tolist() for part in np.array_split(np.asarray(slices), folds)]


def _slices_of(split: Mapping[str, Sequence[Any]], where: str) -> list[int]:
    """The slices of all splits of a volume, in order."""
    positions = sorted(
        z
        for name, items in split.items()
        for z in parse_slices(items, MOST_SLICES, f"{where}.{name}")
    )
    repeated = [z for z, following in itertools.pairwise(positions) if z == following]
    if repeated:
        raise FibsegError(f"{where}: slice {repeated[0]} is there twice; splits may not overlap.")
    return positions
