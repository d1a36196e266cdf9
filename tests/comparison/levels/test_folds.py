"""Tables over folds, by hand and against scipy."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fibseg.comparison.dataset import Dataset, datasets_of
from fibseg.comparison.levels.folds import fold_sentences, fold_tables
from fibseg.comparison.rows import tidy_csv
from fibseg.comparison.text import Table
from fibseg.runs.collection import collect
from tests.support.runs import make_run


def make_fold_run(
    folder: Path, name: str, fold: int, seed: int, f1: float, folds: int = 3, data_hash: str = "d"
) -> Path:
    """A run of a fold, which has a data hash of its own."""
    return make_run(
        folder,
        f"{name}-fold_{fold}-folds_{folds}",
        seed,
        [0.5],
        [f1, f1],
        fold=fold,
        folds=folds,
        folds_hash=name,
        data_hash=f"{data_hash}{fold}",
    )


def tables_in(folder: Path) -> dict[str, Table]:
    """The tables over folds, which stand with the first fold."""
    first, *others = datasets_of(collect([folder]))
    assert [fold_tables(dataset) for dataset in others] == [[]] * len(others)
    return {table.name: table for table in fold_tables(first)}


SCORES = {
    "unet-off": [[0.50, 0.52], [0.60, 0.60], [0.70, 0.72]],
    "unet-on": [[0.55, 0.51], [0.60, 0.66], [0.74, 0.76]],
}
"""F1 by fold and seed."""


@pytest.fixture
def three_folds(tmp_path: Path) -> Path:
    for name, by_fold in SCORES.items():
        for fold, by_seed in enumerate(by_fold):
            for seed, f1 in enumerate(by_seed):
                make_fold_run(tmp_path, name, fold, seed, f1)
    return tmp_path


def test_a_contrast_on_each_of_few_folds(three_folds: Path) -> None:
    table = tables_in(three_folds)["folds-cell-3folds"]
    assert table.columns[3:6] == ["fold 0", "fold 1", "fold 2"]
    (row,) = table.rows
    assert row[:3] == ["filter", "unet-on less unet-off", "er"]
    assert row[3:] == ["+0.020", "+0.030", "+0.040", "+0.030", "-", "-", "3 of 3"]


def test_six_folds_have_a_widened_interval(tmp_path: Path) -> None:
    gains = [0.01, 0.03, -0.02, 0.04, 0.02, 0.03]
    for fold, gain in enumerate(gains):
        make_fold_run(tmp_path, "unet-off", fold, 0, 0.5, folds=6)
        make_fold_run(tmp_path, "unet-on", fold, 0, 0.5 + gain, folds=6)
    (row,) = tables_in(tmp_path)["folds-cell-6folds"].rows
    # Six differences, of which each was trained on four blocks and tested on one.
    error = math.sqrt((1 / 6 + 1 / 4) * np.var(gains, ddof=1))
    ends = np.mean(gains) + np.array([-1, 1]) * stats.t.ppf(0.975, 5) * error
    assert row[-4:] == [
        f"{np.mean(gains):+.3f}",
        *(f"{end:+.3f}" for end in ends),
        "5 of 6",
    ]
    (sentence,) = fold_sentences(datasets_of(collect([tmp_path]))[0])
    assert sentence.startswith(
        "Over folds 0, 1, 2, 3, 4, 5 of 6, filter: unet-on less unet-off: er +.018 (95 % interval "
        "over folds -.0"
    )


def test_the_sentence_of_few_folds_describes(three_folds: Path) -> None:
    first, *others = datasets_of(collect([three_folds]))
    assert fold_sentences(first) == [
        "Over folds 0, 1, 2 of 3, filter: unet-on less unet-off: er +.030 (+.020 to +.040 from "
        "fold to fold; descriptive)."
    ]
    assert [fold_sentences(dataset) for dataset in others] == [[], []]


def test_a_main_effect_stands_for_its_parts(three_folds: Path) -> None:
    for fold in range(3):
        make_fold_run(three_folds, "eunet-off", fold, 0, 0.5)
        make_fold_run(three_folds, "eunet-on", fold, 0, 0.6)
    sentences = fold_sentences(datasets_of(collect([three_folds]))[0])
    assert [sentence.split(": ")[1] for sentence in sentences] == [
        "mean of eunet-on, unet-on less mean of eunet-off, unet-off",
        "mean of unet-off, unet-on less mean of eunet-off, eunet-on",
    ]


def test_how_often_each_comes_first(three_folds: Path) -> None:
    """Of six pairs of fold and seed one is equal, and one is the other way round."""
    table = tables_in(three_folds)["ranks-cell-3folds"]
    assert table.rows == [["unet-off", "2 of 6", "2 of 6"], ["unet-on", "5 of 6", "5 of 6"]]


def test_seeds_that_one_configuration_lacks_have_no_rank(three_folds: Path) -> None:
    make_fold_run(three_folds, "unet-on", 1, 7, 0.9)
    make_fold_run(three_folds, "eunet-on", 0, 1, 0.4)
    rows = tables_in(three_folds)["ranks-cell-3folds"].rows
    assert rows == [
        ["eunet-on", "0 of 1", "0 of 1"],
        ["unet-off", "1 of 1", "1 of 1"],
        ["unet-on", "0 of 1", "0 of 1"],
    ]


def test_the_probability_of_improvement_is_that_of_mann_and_whitney(three_folds: Path) -> None:
    (row,) = tables_in(three_folds)["improvement-cell-3folds"].rows
    chances = [
        stats.mannwhitneyu(on, off).statistic / 4
        for off, on in zip(SCORES["unet-off"], SCORES["unet-on"], strict=True)
    ]
    assert row == ["filter", "unet-on above unet-off", f"{np.mean(chances):.2f}", "3"]


def test_one_configuration_has_ranks_alone(tmp_path: Path) -> None:
    for fold in (0, 2):
        make_fold_run(tmp_path, "unet-off", fold, 0, 0.5)
    (table,) = tables_in(tmp_path).values()
    assert table.name == "ranks-cell-3folds" and table.notes[0].startswith("folds 0, 2 of 3")


def test_a_single_fold_and_two_data_sets_of_one_name_have_no_tables(tmp_path: Path) -> None:
    make_fold_run(tmp_path / "a", "unet-off", 0, 0, 0.5)
    assert tables_in(tmp_path / "a") == {}
    make_fold_run(tmp_path / "a", "unet-off", 1, 0, 0.5)
    assert tables_in(tmp_path / "a")
    make_fold_run(tmp_path / "b", "unet-on", 1, 0, 0.5, data_hash="other")
    datasets = datasets_of(collect([tmp_path / "a", tmp_path / "b"]))
    assert [dataset.name for dataset in datasets] == [
        "cell-fold0of3",
        "cell-fold1of3-d1",
        "cell-fold1of3-other1",
    ]
    assert all(fold_tables(dataset) == [] for dataset in datasets)


def test_runs_without_folds_are_beside_them(three_folds: Path) -> None:
    make_run(three_folds, "unet-off", 0, [0.5], [0.5])
    datasets = datasets_of(collect([three_folds]))
    assert [dataset.name for dataset in datasets] == [
        "cell",
        *(f"cell-fold{fold}of3" for fold in range(3)),
    ]
    assert fold_tables(datasets[0]) == [] and len(fold_tables(datasets[1])) == 3


def test_tidy_scores_name_the_fold(three_folds: Path) -> None:
    datasets: list[Dataset] = datasets_of(collect([three_folds]))
    rows = csv.DictReader(io.StringIO(tidy_csv(datasets[2].configurations)))
    assert {(row["configuration"], row["fold"]) for row in rows} == {
        ("unet-off", "2"),
        ("unet-on", "2"),
    }
