"""Splits of a project: spread over z, and decided once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibseg.annotation.splits import extended_splits
from fibseg.errors import FibsegError

ER = frozenset({1})


def test_the_first_slices() -> None:
    assert extended_splits({}, {3: ER, 9: ER}) == {"train": [3], "validation": [9], "test": []}
    assert extended_splits({}, dict.fromkeys(range(0, 50, 5), ER))["validation"] == [0, 25]


def test_new_validation_slices_lie_far_from_those_before() -> None:
    splits = {"train": [0, 10, 20, 40], "validation": [30]}
    reviewed = dict.fromkeys((0, 10, 20, 30, 40, 55, 60, 90), ER)
    assert extended_splits(splits, reviewed) == {
        "train": [0, 10, 20, 40, 55, 60],
        "validation": [30, 90],
        "test": [],
    }


def test_a_class_of_one_slice_is_trained_on() -> None:
    reviewed = {0: ER, 10: frozenset({1, 2}), 20: ER}
    assert extended_splits({}, reviewed)["train"].count(10) == 1


def test_proposals_that_nobody_corrected_judge_last() -> None:
    reviewed = dict.fromkeys(range(0, 60, 10), ER)
    assert extended_splits({}, reviewed, accepted={10, 20, 30, 40})["validation"] == [50]
    only = extended_splits({}, reviewed, accepted=set(reviewed))
    assert len(only["validation"]) == 1
    later = extended_splits({"validation": [0]}, reviewed, accepted=set(reviewed) - {0})
    assert later["validation"] == [0]


def test_test_slices_stay_what_they_are() -> None:
    splits = extended_splits({"test": [5]}, {0: ER, 5: ER, 9: ER})
    assert splits["test"] == [5]
    assert sorted(splits["train"] + splits["validation"]) == [0, 9]


@pytest.mark.parametrize(
    ("splits", "reviewed"),
    [({}, {}), ({}, {1: ER}), ({"test": [1]}, {1: ER, 2: ER}), ({"validation": [2]}, {2: ER})],
)
def test_too_little_to_learn_from(splits: dict[str, list[int]], reviewed: dict[int, set]) -> None:
    with pytest.raises(FibsegError, match="at least two are needed, one to train and one"):
        extended_splits(splits, reviewed)


rounds = st.lists(
    st.dictionaries(st.integers(0, 60), st.frozensets(st.integers(1, 3)), min_size=2), max_size=5
)


@given(rounds)
def test_no_slice_ever_moves(additions: list[dict[int, frozenset[int]]]) -> None:
    splits: dict[str, list[int]] = {}
    reviewed: dict[int, frozenset[int]] = {}
    for addition in additions:
        reviewed = addition | reviewed
        before = splits
        splits = extended_splits(before, reviewed)
        for split, slices in before.items():
            assert set(slices) <= set(splits[split])
        assert sorted(splits["train"] + splits["validation"]) == sorted(reviewed)
        # About a fifth judges, and something always teaches.
        assert abs(len(splits["validation"]) - 0.2 * len(reviewed)) <= 1 and splits["train"]
