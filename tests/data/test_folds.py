"""Folds by hand, against scikit-learn, and in what trains and is checked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold

from fibseg.data.folds import fold_splits, with_fold
from fibseg.data.inspection.survey import survey
from fibseg.data.slices import data_hash, load_slices
from fibseg.errors import FibsegError
from tests.support.data import describe

SPLIT = {"train": ["4:12"], "validation": ["14:18"], "test": [20, 21, 22, 23]}
SLICES = [*range(4, 12), *range(14, 18), *range(20, 24)]


@pytest.mark.parametrize("folds", [3, 4, 5, 16])
def test_blocks_are_those_of_scikit_learn(folds: int) -> None:
    """Without guards a fold takes away the tested block, and one more to validate."""
    peers = [test for _, test in KFold(folds).split(SLICES)]
    for fold in range(folds):
        (split,) = fold_splits([SPLIT], fold, folds, guard=0)
        assert split["test"] == [SLICES[k] for k in peers[fold]]
        assert split["validation"] == [SLICES[k] for k in peers[(fold + 1) % folds]]
        assert sorted(itertools.chain(*split.values())) == SLICES


@pytest.mark.parametrize("guard", [0, 1, 3])
def test_each_slice_is_tested_once_and_its_neighbours_are_not_learned(guard: int) -> None:
    tested = []
    for fold in range(4):
        (split,) = fold_splits([SPLIT], fold, 4, guard=guard)
        tested += split["test"]
        others = np.array(split["train"] + split["validation"])
        assert np.abs(others[:, None] - split["test"]).min() > guard
        near = set(SLICES) - set(others.tolist()) - set(split["test"])
        assert all(min(abs(z - other) for other in split["test"]) <= guard for z in near)
    assert sorted(tested) == SLICES


def test_a_guard_is_counted_in_slices_of_the_image() -> None:
    """Annotated slices that lie farther apart need no guard between them."""
    sparse = {"train": ["0:60:10"]}
    (split,) = fold_splits([sparse], 1, 3, guard=9)
    assert split == {"train": [0, 10], "validation": [40, 50], "test": [20, 30]}
    (split,) = fold_splits([sparse], 1, 3, guard=10)
    assert split == {"train": [0], "validation": [50], "test": [20, 30]}


def test_two_volumes_are_cut_each() -> None:
    splits = fold_splits([{"train": ["0:6"]}, {"test": ["10:16"]}], 2, 3, guard=0)
    assert splits == [
        {"train": [2, 3], "validation": [0, 1], "test": [4, 5]},
        {"train": [12, 13], "validation": [10, 11], "test": [14, 15]},
    ]


def test_as_many_volumes_as_folds_are_whole() -> None:
    volumes: list[dict[str, list[Any]]] = [{"train": ["0:3"]} for _ in range(4)]
    roles = {
        fold: [
            next(name for name, slices in split.items() if slices == [0, 1, 2])
            for split in fold_splits(volumes, fold, 3, guard=5)
        ]
        for fold in range(3)
    }
    assert roles == {
        0: ["test", "test", "validation", "train"],
        1: ["train", "train", "test", "validation"],
        2: ["validation", "validation", "train", "test"],
    }


def test_slices_that_are_too_few_or_in_two_splits() -> None:
    with pytest.raises(
        FibsegError, match=r"5 is too many for data.volumes\[0\], which has 4 slices"
    ):
        fold_splits([{"train": ["0:4"]}], 0, 5, guard=1)
    with pytest.raises(FibsegError, match=r"volumes\[0\].split: slice 3 is there twice"):
        fold_splits([{"train": ["0:4"], "test": [3]}], 0, 3, guard=1)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"fold": 0}, "data.fold: 0 of how many"),
        ({"fold": 3, "folds": 3}, "data.fold: 3 is impossible; expected 0 to 2"),
        ({"fold": -1, "folds": 3}, "data.fold: -1 is impossible"),
        ({"fold": 0, "folds": 2}, "data.folds: 2 is impossible; expected 3 or more"),
        ({"fold": 0, "folds": 3, "guard": -1}, "data.guard: -1 is impossible"),
    ],
)
def test_impossible_folds(phantom_folder: Path, keys: dict[str, int], sentence: str) -> None:
    with pytest.raises(FibsegError, match=sentence):
        load_slices(describe(phantom_folder, **keys))


def test_slices_of_a_fold_are_loaded_and_checked(phantom_folder: Path) -> None:
    """The description has slices 0 to 5, 7 and 8 in its splits: blocks of 3, 3 and 2."""
    hashes = set()
    for fold, test in enumerate(([0, 1, 2], [3, 4, 5], [7, 8])):
        description = describe(phantom_folder, fold=fold, folds=3)
        slices = load_slices(description)
        assert [entry.z for entry in slices["test"]] == test
        hashes.add(data_hash(slices, list(description.classes)))
        checked = survey(description).slices
        assert [facts.z for facts in checked if facts.split == "test"] == test
    assert len(hashes) == 3
    own = describe(phantom_folder, folds=3)
    assert with_fold(own) is own
