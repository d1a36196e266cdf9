"""Text for a paper: true to the configuration of the runs, and open where nobody knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fibseg.comparison.answer import answer_table
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.detection_tables import table_2
from fibseg.comparison.manuscript import manuscript, manuscript_tables
from fibseg.comparison.manuscript.checklist import checklist
from fibseg.comparison.manuscript.methods import methods
from fibseg.comparison.pairings import Questions
from fibseg.comparison.score_tables import cost_table
from fibseg.runs.collection import collect
from tests.support import PROJECT
from tests.support.runs import dataset_in, make_grid, make_run

QUICK = PROJECT / "benchmarks" / "runs" / "vnc"


def give_config(path: Path, change: dict[str, Any]) -> None:
    """The configuration of a kept run, with a change of its groups."""
    kept = next(path for path in sorted(QUICK.glob("unet-on-quick_v1-s0-*")))
    config = yaml.safe_load((kept / "config.yaml").read_text())
    for group, values in change.items():
        config[group] = values if not isinstance(values, dict) else config[group] | values
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def grid(folder: Path, seeds: int) -> Dataset:
    make_grid(folder, seeds)
    for path in folder.glob("*-s*"):
        model, filtered = path.name.split("-")[:2]
        areas = [650, 3200] if filtered == "on" else []
        architecture = {"architecture": model, "encoder": "efficientnet_b0"}
        give_config(path, {"filter": {"areas": areas}, "model": architecture})
    return dataset_in(folder)


def test_what_all_runs_share_is_said_once_and_what_differs_for_each(tmp_path: Path) -> None:
    text = " ".join(methods(grid(tmp_path, 2)))
    assert "voxels of 50 x 4.6 x 4.6 nm" in text
    assert (
        "Of the annotated slices, 10 were used for training, 5 for validation and 5 for testing"
        in text
    )
    assert text.count("Each of 6 epochs had 230 batches of 4 patches of 128 x 128 pixels") == 1
    assert "plus 1 times the cross-entropy" in text
    assert "mitochondrion 0.7, membrane 1, synapse 0.9, background 0.1" in text
    assert "For eunet-on and unet-on: The image and its grain-filtered versions, with areas" in text
    assert "For eunet-off and unet-off: The image was the only input channel." in text
    assert "For unet-off and unet-on: The model was a UNet" in text
    assert "with the encoder efficientnet_b0" in text
    assert "Each configuration was trained with 2 seeds (0 to 1)." in text
    assert "with fewer than 6 seeds none was tested" in text


def test_the_test_is_named_where_there_are_seeds_for_it(tmp_path: Path) -> None:
    dataset = grid(tmp_path, 6)
    text = " ".join(methods(dataset))
    assert "joint sign flips" in text and "fewer than" not in text
    text = " ".join(methods(Dataset(dataset.runs, left_out=["unet-off-s9: it failed"])))
    assert "1 further run had no scores" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": {"intensity": {"low": 0, "high": 100}}}, "from the minimum and maximum of the"),
        ({"filter": {"scope": "patch"}}, "computed on each patch"),
        ({"training": {"select": "slices"}}, "with the highest F1 of whole validation slices"),
        ({"training": {"ema": 0.99}}, "averaged exponentially with a decay of 0.99"),
        ({"training": {"cross_entropy": 0.0}}, "weighted by class"),
        ({"decision": "validation"}, "Offsets were added to the class scores"),
        ({"smallest": "validation"}, "took the class around them"),
        ({"init_from": "runs/a"}, "it began with the weights of an earlier run"),
        ({"augmentation": "strong"}, "Each of 6 epochs"),
        (
            {"data": {"fold": 0, "folds": 5, "guard": 1}},
            "Of the annotated slices, 12 were used for training, 3",
        ),
        (
            {"data": {"fold": 0, "folds": 5, "guard": 1}},
            "5 folds, of which number 0 (from 0) was tes",
        ),
        ({"data": {"annotated": 2}}, "Of the annotated slices, 2 were used for training"),
    ],
)
def test_each_key_has_its_words(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-on", 0, [0.5], [0.5])
    if change.get("augmentation"):
        change = {"augmentation": None}
    give_config(path, {key: value for key, value in change.items() if value is not None})
    assert sentence in " ".join(methods(dataset_in(tmp_path)))


def test_runs_without_a_configuration_have_an_evaluation_only(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 3, [0.5], [0.5])
    text = " ".join(methods(dataset_in(tmp_path)))
    assert text.startswith("Each configuration was trained with seed 3. F1 was computed")


def test_the_checklist_answers_from_runs_and_leaves_the_rest_open(tmp_path: Path) -> None:
    answers = dict(checklist(grid(tmp_path, 2)))
    assert answers["How were slices split?"] == "10 train, 5 validation, 5 test slices"
    assert "2 runs of each configuration" in answers["How many trainings are behind each number?"]
    # Training slices are 0 to 9 of volume 0, and the made-up test slice is one of them.
    assert "0 slices from" in answers["Do neighbouring slices lie in different splits?"]
    assert answers["Where do the images come from, and under which licence?"] == ""
    assert answers["Was a part annotated twice, to know how far experts agree?"] == ""


def test_tables_for_a_journal_are_those_of_the_comparison(tmp_path: Path) -> None:
    dataset = grid(tmp_path, 6)
    answer = answer_table(dataset)
    components = table_2(dataset)
    text = manuscript_tables(dataset, answer, components)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert "hline" not in text and "#" not in text.replace(r"\#", "")
    best = answer.rows[0][1].rpartition(" #")[0]
    assert rf"\textbf{{{best}}}" in text and text.count(r"\textbf") == 1
    starred = sum(cell.endswith("*") for row in answer.rows for cell in row)
    assert starred and text.count("$^{*}$") == starred
    document = manuscript(dataset, answer, components)
    assert len(re.findall(r"\| \*\*open\*\* \|", document)) >= 8
    assert "a star marks" in document and "6 seeds" in document


def adopted_beside(folder: Path, seeds: int) -> Dataset:
    """Runs of fibseg, and three of another program, as `fibseg adopt` writes them."""
    grid(folder, seeds)
    versions = {"fibseg": "77.7", "commit": "abcdef"}
    for seed in range(3):
        facts = {"adopted": True, "seconds": 60000.0, "device": "abacus", "versions": versions}
        path = make_run(folder, "nnunet-off", seed, [0.6 + seed / 50], [0.6 + seed / 50], **facts)
        give_config(path, {"filter": {"areas": []}, "model": {"architecture": "nnunet"}})
        config = yaml.safe_load((path / "config.yaml").read_text())
        kept = {name: config[name] for name in ("data", "filter", "model", "provenance")}
        (path / "config.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
    questions = Questions(named_pairs=[("unet-off", "nnunet-off")])
    return Dataset(collect([folder]).runs, questions=questions)


@pytest.mark.parametrize("seeds", [2, 6])
def test_nothing_is_said_of_how_another_program_was_trained(tmp_path: Path, seeds: int) -> None:
    dataset = adopted_beside(tmp_path, seeds)
    text = " ".join(methods(dataset))
    assert (
        "The labels of nnunet-off (3 runs) were made by another program, of whose training nothing "
        "is recorded; what follows on trainings is of the other configurations." in text
    )
    assert text.count("nnunet") == 2
    assert "For eunet-off and unet-off: The image was the only input channel." in text
    assert "77.7" not in text and "abacus" not in text and "1000.0 minutes" not in text
    assert (
        "Differences from nnunet-off were not paired: they are those of the means of all runs, "
        "with Welch's 95 % intervals, and none of them was tested." in text
    )
    assert ("fewer than 6 seeds" in text) == (seeds < 6)
    answers = dict(checklist(dataset))
    assert answers["Which code was run?"] == "another program for nnunet-off"
    assert (
        answers["Where are all hyperparameters?"]
        == "config.yaml of each run but those of nnunet-off; 5 configurations were compared"
    )
    assert answers["How long does a run take?"] == ""
    assert answers["On which hardware?"] == "abacus (nnunet-off, as stated)"
    assert "Welch's" in answers["Which intervals and tests were used?"]
    notes = " ".join(answer_table(dataset).notes)
    assert "no marks for nnunet-off, whose runs are no pairs with the others" in notes
    assert "1000.0 (stated)" in str(answer_table(dataset).rows)
    assert "60000 (stated)" in str(cost_table(dataset).rows)


def test_runs_of_another_program_alone(tmp_path: Path) -> None:
    for seed in range(7):
        make_run(tmp_path, "nnunet-off", seed, [0.5], [0.5], adopted=True, seconds=6.0)
        make_run(tmp_path, "biapy-off", seed, [0.6], [0.6 + seed / 100], adopted=True)
    dataset = dataset_in(tmp_path)
    text = " ".join(methods(dataset))
    assert "The labels of biapy-off and nnunet-off (14 runs) were made by another program" in text
    assert "what follows" not in text and "paired by seed" not in text and "fewer" not in text
    assert "seeds" not in " ".join(answer_table(dataset).notes)
    answers = dict(checklist(dataset))
    assert answers["Where are all hyperparameters?"] == ""
