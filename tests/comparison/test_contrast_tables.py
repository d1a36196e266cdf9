"""Contrasts as rows and sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from fibseg.comparison.contrast_tables import (
    contrast_sentence,
    contrast_sentences,
    contrast_table,
    volume_table,
)
from fibseg.comparison.dataset import Dataset
from tests.support.runs import change_scores, dataset_in, make_grid, make_run


def test_notes_name_the_family_of_tests(tmp_path: Path) -> None:
    make_grid(tmp_path, 8)
    notes = " ".join(contrast_table(dataset_in(tmp_path)).notes)
    assert "tests: filter, main effect 1 (smallest possible p 0.0078), filter 2 (smallest" in notes


def test_a_second_row_without_collapsed_seeds(tmp_path: Path) -> None:
    for seed in range(4):
        score = 0.8 if seed else 0.3
        make_run(tmp_path, "unet-off", seed, [score], [score])
        make_run(tmp_path, "unet-on", seed, [0.9], [0.9])
    first, second = contrast_table(dataset_in(tmp_path)).rows
    assert first[:4] == ["filter", "unet-on less unet-off", "er", "+0.225"]
    assert second[:4] == ["less collapsed seeds 0", *first[1:3], "+0.100"]


def test_unpaired_seeds_are_in_the_notes(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.5])
        make_run(tmp_path, "unet-on", seed + 1, [0.5], [0.5])
    notes = contrast_table(dataset_in(tmp_path)).notes
    assert notes[-1] == "unet-on less unet-off: without seeds 0, 2, which one side lacks"


def volumes_of_two_slices(folder: Path, count: int) -> Dataset:
    """Differences of .01, .02, ... in so many volumes of two slices each."""

    def spread_over_volumes(content: dict[str, Any]) -> None:
        for k, entry in enumerate(content["splits"]["test"]):
            entry["volume"], entry["slice"] = divmod(k, 2)

    for name, gain in (("unet-off", 0.0), ("unet-on", 0.01)):
        for seed in range(2):
            scores = [0.5 + gain * (k // 2 + 1) for k in range(2 * count)]
            change_scores(make_run(folder, name, seed, [0.5], scores), spread_over_volumes)
    return dataset_in(folder)


def test_from_six_volumes_on_there_is_an_interval(tmp_path: Path) -> None:
    table = volume_table(volumes_of_two_slices(tmp_path, 6))
    assert table is not None
    differences = [0.01 * (k + 1) for k in range(6)]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    cells = [f"{difference:+.3f}" for difference in differences]
    assert table.rows[0][3:] == [*cells, f"{low:+.3f}", f"{high:+.3f}"]


def test_fewer_volumes_are_listed(tmp_path: Path) -> None:
    dataset = volumes_of_two_slices(tmp_path, 2)
    table = volume_table(dataset)
    assert table is not None and table.rows[0][3:] == ["+0.010", "+0.020", "-", "-"]
    assert "of these 2 volumes" in contrast_sentences(dataset)[0]
    one_configuration = Dataset(dataset.configurations["unet-on"])
    assert volume_table(one_configuration) is None


@pytest.mark.parametrize(
    ("slices", "where"), [(1, "this 1 test slice"), (5, "these 5 test slices")]
)
def test_the_sentence_claims_no_more_than_it_may(tmp_path: Path, slices: int, where: str) -> None:
    for seed, f1 in enumerate((0.81, 0.82, 0.83)):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.80])
        make_run(tmp_path, "unet-on", seed, [0.5], [f1])
    (contrast,) = dataset_in(tmp_path).contrasts
    assert contrast_sentence(contrast, slices, margin=0.01) == (
        f"On {where} of this stack, unet-on scored .020 above unet-off for er "
        "(95 % interval over seeds -.005 to .045; 3 seeds). "
        "This covers training randomness only, not other slices, cells or annotators."
    )


def test_a_difference_that_rounds_to_nothing_has_no_direction(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.8])
    make_run(tmp_path, "unet-on", 0, [0.5], [0.8])
    (sentence,) = contrast_sentences(dataset_in(tmp_path))
    assert "unet-on scored within .0005 of unet-off for er" in sentence


def test_the_sentence_of_one_seed_has_no_interval(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.82])
    make_run(tmp_path, "unet-on", 0, [0.5], [0.80])
    (sentence,) = contrast_sentences(dataset_in(tmp_path))
    assert "scored .020 below unet-off for er (1 seed, no interval)" in sentence
