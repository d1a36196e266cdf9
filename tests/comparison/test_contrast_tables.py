"""Contrasts as rows and sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibseg.comparison.contrast_tables import (
    contrast_sentence,
    contrast_sentences,
    contrast_table,
    detail_table,
)
from tests.support.runs import dataset_in, make_grid, make_run


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


@pytest.mark.parametrize(
    ("slices", "where", "pooled"),
    [
        (1, "this 1 test slice", "; 1 slice is too few for an interval over slices, too"),
        (5, "these 5 test slices", "; 5 slices are too few for an interval over slices, too"),
        (
            10,
            "these 10 test slices",
            " (over seeds and slices -.005 to +.045; descriptive, since 10 slices are too few for "
            "a 95 % interval)",
        ),
    ],
)
def test_the_sentence_claims_no_more_than_it_may(
    tmp_path: Path, slices: int, where: str, pooled: str
) -> None:
    for seed, f1 in enumerate((0.81, 0.82, 0.83)):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.80] * slices)
        make_run(tmp_path, "unet-on", seed, [0.5], [f1] * slices)
    (contrast,) = dataset_in(tmp_path).contrasts
    assert contrast_sentence(contrast, margin=0.01) == (
        f"On {where} of this stack, unet-on scored .020 above unet-off for er "
        f"(95 % interval over seeds -.005 to .045; 3 seeds). Pooled F1 differs by +.020{pooled}. "
        "This covers training randomness only, not other slices, cells or annotators."
    )


def test_the_sentence_and_the_details_of_many_slices_name_both_levels(tmp_path: Path) -> None:
    for seed, f1 in enumerate((0.81, 0.82, 0.83)):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.80] * 20)
        make_run(tmp_path, "unet-on", seed, [0.5], [f1] * 20)
    dataset = dataset_in(tmp_path)
    (sentence,) = contrast_sentences(dataset)
    assert sentence.endswith(
        "(95 % interval over seeds -.005 to .045; 3 seeds). Pooled F1 differs by +.020 (95 % "
        "interval over seeds and slices -.005 to +.045). The first interval covers training "
        "randomness only, the second other slices of the same volumes, too; neither covers other "
        "cells or annotators."
    )
    assert detail_table(dataset).rows[0][-4:] == ["+0.020", "-0.005", "+0.045", "20"]


def test_few_seeds_are_named_where_slices_are_many(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.80] * 20)
        make_run(tmp_path, "unet-on", seed, [0.5], [0.81 + 0.01 * seed] * 20)
    dataset = dataset_in(tmp_path)
    (sentence,) = contrast_sentences(dataset)
    assert "descriptive, since 2 seeds are too few" in sentence
    assert detail_table(dataset).rows[0][-1] == "20, descriptive"


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
