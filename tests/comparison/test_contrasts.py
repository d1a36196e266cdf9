"""Contrasts of runs made by hand, with differences that are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fibseg.comparison.answer import answer_table
from fibseg.comparison.contrast_tables import contrast_sentences, contrast_table
from fibseg.comparison.contrasts import Contrast
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import slice_interval
from fibseg.comparison.pairings import Questions
from fibseg.runs.collection import collect
from tests.support.runs import change_scores, dataset_in, make_grid, make_run


def only_contrast(folder: Path) -> Contrast:
    (contrast,) = dataset_in(folder).contrasts
    return contrast


def test_contrasts_of_a_grid(tmp_path: Path) -> None:
    make_grid(tmp_path, 8)
    questions = Questions(named_pairs=[("unet-off", "eunet-on")])
    dataset = Dataset(collect([tmp_path]).runs, questions=questions)
    contrasts = {(contrast.question, contrast.name): contrast for contrast in dataset.contrasts}
    asked = [question for question, _ in contrasts]
    assert asked == [*["filter"] * 3, *["model"] * 3, "interaction", "pair"]
    of_unet = contrasts["filter", "unet-on less unet-off"]
    scores = {
        label: np.array([run.f1("test")["er"] for run in runs])
        for label, runs in dataset.configurations.items()
    }
    assert of_unet.differences == pytest.approx((scores["unet-on"] - scores["unet-off"]).tolist())
    # The smallest p that eight seeds can give, however many tests there are.
    assert of_unet.p == of_unet.joint_p == of_unet.smallest_p == 2 / 2**8
    assert of_unet.family == 2 and of_unet.joint_interval.low > 0
    name = "mean of eunet-on, unet-on less mean of eunet-off, unet-off"
    main_effect = contrasts["filter", name]
    assert main_effect.is_main_effect and main_effect.family == 1
    expected = (
        scores["unet-on"] + scores["eunet-on"] - scores["unet-off"] - scores["eunet-off"]
    ) / 2
    assert main_effect.differences == pytest.approx(expected.tolist())
    interaction = contrasts["interaction", "eunet-on + unet-off less eunet-off + unet-on"]
    assert interaction.interval.mean == pytest.approx(0.03, abs=0.006)
    assert of_unet.seeds_needed is not None
    seeds, lower, upper = of_unet.seeds_needed
    assert lower <= seeds <= upper


def test_few_seeds_have_an_interval_and_no_p(tmp_path: Path) -> None:
    make_grid(tmp_path, 3)
    contrasts = dataset_in(tmp_path).contrasts
    assert len(contrasts) == 7
    for contrast in contrasts:
        assert math.isnan(contrast.p) and math.isnan(contrast.joint_p)
        assert contrast.interval.low < contrast.interval.mean < contrast.interval.high


def test_seeds_that_one_side_lacks_are_left_out(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.5])
        make_run(tmp_path, "unet-on", seed + 2, [0.6], [0.6])
    contrast = only_contrast(tmp_path)
    assert contrast.seeds == [2, 3] and contrast.interval.mean == pytest.approx(0.1)


def test_collapsed_seeds_have_an_interval_without_them(tmp_path: Path) -> None:
    for seed in range(4):
        score = 0.8 if seed else 0.3
        make_run(tmp_path, "unet-off", seed, [score], [score])
        make_run(tmp_path, "unet-on", seed, [0.9], [0.9])
    contrast = only_contrast(tmp_path)
    assert contrast.collapsed_seeds == [0]
    assert contrast.interval.mean == pytest.approx(0.225)
    assert contrast.standing_interval.mean == pytest.approx(0.1)


def test_the_pooled_interval_follows_from_the_counts(tmp_path: Path) -> None:
    """The runs of three seeds on twenty slices, of which each has as many pixels of the class."""
    scores = np.random.default_rng(0).uniform(0.5, 0.9, (2, 3, 20)).round(4)
    for name, of_runs in zip(("unet-off", "unet-on"), scores, strict=True):
        for seed, of_slices in enumerate(of_runs.tolist()):
            make_run(tmp_path, name, seed, [0.5], of_slices)
    contrast = only_contrast(tmp_path)
    assert contrast.slices == 20 and contrast.covers_slices
    # False positives are as many as false negatives, so that the values of slices are their F1.
    expected = slice_interval(scores[1] - scores[0], np.zeros(20, np.int64))
    assert contrast.pooled_interval.mean == pytest.approx((scores[1] - scores[0]).mean())
    ends = contrast.pooled_interval.low, contrast.pooled_interval.high
    assert ends == pytest.approx((expected.low, expected.high))


def test_main_effects_and_interactions_have_pooled_intervals(tmp_path: Path) -> None:
    scores = {"unet-off": 0.5, "unet-on": 0.6, "eunet-off": 0.3, "eunet-on": 0.7}
    for name, score in scores.items():
        for seed in range(2):
            make_run(tmp_path, name, seed, [0.5], [score] * 4)
    means = {
        (c.question, c.is_main_effect): c.pooled_interval.mean
        for c in dataset_in(tmp_path).contrasts
        if c.is_main_effect or c.question == "interaction"
    }
    assert means == pytest.approx(
        {("filter", True): 0.25, ("model", True): 0.05, ("interaction", False): 0.3}
    )


def test_few_slices_only_describe(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / "few", "unet-off", seed, [0.5], [0.5] * 19)
        make_run(tmp_path / "few", "unet-on", seed, [0.5], [0.6] * 19)
    assert not only_contrast(tmp_path / "few").covers_slices
    for seed in range(2):
        make_run(tmp_path / "seeds", "unet-off", seed, [0.5], [0.5] * 20)
        make_run(tmp_path / "seeds", "unet-on", seed, [0.5], [0.6] * 20)
    assert not only_contrast(tmp_path / "seeds").covers_slices


def test_blocks_go_along_z_whatever_the_order_of_the_slices(tmp_path: Path) -> None:
    """The same slices of a rising difference, listed in order and in another order."""
    gains = 0.02 * np.arange(10)
    order = [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]

    def reorder(content: dict[str, Any]) -> None:
        for entry, z in zip(content["splits"]["test"], order, strict=True):
            entry["slice"] = z

    intervals = []
    for folder, listed in (("sorted", range(10)), ("mixed", order)):
        for name, share in (("unet-off", 0), ("unet-on", 1)):
            for seed in range(2):
                scores = [0.5 + share * float(gains[z]) + 0.01 * seed for z in listed]
                path = make_run(tmp_path / folder, name, seed, [0.5], scores)
                if folder == "mixed":
                    change_scores(path, reorder)
        intervals.append(only_contrast(tmp_path / folder).pooled_interval)
    assert not math.isnan(intervals[0].low)
    assert intervals[0].low == pytest.approx(intervals[1].low)
    assert intervals[0].mean == pytest.approx(intervals[1].mean)


def test_a_contrast_by_volume(tmp_path: Path) -> None:
    """Differences of .01 to .06 in six volumes of two slices each."""

    def spread_over_volumes(content: dict[str, Any]) -> None:
        for k, entry in enumerate(content["splits"]["test"]):
            entry["volume"], entry["slice"] = divmod(k, 2)

    for name, gain in (("unet-off", 0.0), ("unet-on", 0.01)):
        for seed in range(2):
            scores = [0.5 + gain * (k // 2 + 1) for k in range(12)]
            change_scores(make_run(tmp_path, name, seed, [0.5], scores), spread_over_volumes)
    by_volume = only_contrast(tmp_path).by_volume
    assert by_volume == pytest.approx({k: 0.01 * (k + 1) for k in range(6)})


def test_runs_of_another_program_are_not_paired_by_seed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ours = generator.normal(0.8, 0.02, 8)
    theirs = generator.normal(0.7, 0.02, 8)
    for seed in range(8):
        make_run(tmp_path, "unet-off", seed, [0.5], [ours[seed]])
        make_run(tmp_path, "unet-on", seed, [0.5], [ours[seed] + 0.03])
        make_run(tmp_path, "nnunet-off", seed, [0.5], [theirs[seed]], adopted=True)
    pair = ("unet-off", "nnunet-off")
    dataset = Dataset(collect([tmp_path]).runs, questions=Questions(named_pairs=[pair]))
    by_name = {contrast.name: contrast for contrast in dataset.contrasts}
    contrast = by_name["unet-off less nnunet-off"]
    assert not contrast.paired and not contrast.is_tested and math.isnan(contrast.correlation)
    # F1 of whole pixels: those of the runs, not those that were asked for.
    scores = {
        label: [run.f1("test")["er"] for run in runs]
        for label, runs in dataset.configurations.items()
    }
    expected = stats.ttest_ind(scores["unet-off"], scores["nnunet-off"], equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert contrast.interval.low == pytest.approx(low)
    assert contrast.interval.high == pytest.approx(high)
    # Which seeds are whose makes no difference, as it would for pairs.
    assert contrast.interval.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-4)
    # Ours are tested as before, in a family of their own.
    filtered = by_name["unet-on less unet-off"]
    assert filtered.paired and filtered.joint_p == 2 / 2**8
    (row,) = [row for row in contrast_table(dataset).rows if row[1] == contrast.name]
    assert row[6] == "not paired by seed"
    assert any("seeds of another program" in note for note in contrast_table(dataset).notes)
    # Stars are of pairs by seed, too: none for the other program, one among ours.
    cells = {row[0]: row[1] for row in answer_table(dataset).rows}
    assert "*" not in cells["nnunet-off"] and cells["unet-off"].endswith("*")


@pytest.mark.parametrize("first_seed", [0, 5, 100])
def test_unpaired_contrasts_take_all_runs_whatever_their_seeds(
    tmp_path: Path, first_seed: int
) -> None:
    generator = np.random.default_rng(0)
    ours = generator.normal(0.8, 0.02, (8, 20)).round(4)
    theirs = generator.normal(0.7, 0.02, (3, 20)).round(4)
    for seed in range(8):
        make_run(tmp_path, "unet-off", seed, [0.9], ours[seed].tolist())
    for k in range(3):
        seed = first_seed + k
        # A run that collapsed on the validation slices.
        validation = [0.9 if k else 0.1]
        make_run(tmp_path, "nnunet-off", seed, validation, theirs[k].tolist(), adopted=True)
    dataset = dataset_in(tmp_path)
    (contrast,) = dataset.contrasts
    expected = stats.ttest_ind(ours.mean(1), theirs.mean(1), equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert contrast.interval.mean == pytest.approx(ours.mean() - theirs.mean())
    assert (contrast.interval.low, contrast.interval.high) == pytest.approx((low, high))
    assert contrast.welch == contrast.interval
    assert contrast.by_slice == pytest.approx((ours.mean(0) - theirs.mean(0)).tolist())
    # All slices have as many pixels of the class, so that pooled F1 is their mean.
    assert contrast.pooled_interval.mean == pytest.approx(ours.mean() - theirs.mean())
    assert math.isnan(contrast.pooled_interval.low) and not contrast.covers_slices
    assert contrast.runs == (3, 8) and contrast.seeds == [] and contrast.differences == []
    standing = stats.ttest_ind(ours.mean(1), theirs[1:].mean(1), equal_var=False)
    low, high = standing.confidence_interval(0.95)
    assert contrast.standing_interval.low == pytest.approx(low)
    assert contrast.standing_interval.high == pytest.approx(high)
    table = contrast_table(dataset)
    assert [row[-1] for row in table.rows] == ["8 and 3", "8 and 2"]
    assert table.rows[1][0] == "less collapsed runs (1)"
    assert not any("which one side lacks" in note for note in table.notes)
    (sentence,) = contrast_sentences(dataset)
    assert "; 8 and 3 runs, not paired)" in sentence
    assert "Pooled F1 differs by +." in sentence and "too few" not in sentence
