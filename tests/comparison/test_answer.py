"""The table and the sentences with which a comparison begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.comparison.answer import answer_table, answers
from fibseg.comparison.contrast_tables import SCOPE
from fibseg.comparison.dataset import Dataset
from tests.support.runs import change_scores, dataset_in, make_grid, make_run


def test_the_best_comes_first_and_what_is_below_it_has_a_star(tmp_path: Path) -> None:
    for seed in range(7):
        for name, f1 in (("unet-off", 0.6), ("unet-on", 0.8), ("eunet-on", 0.799)):
            make_run(tmp_path, name, seed, [0.5], [f1 + 0.01 * (seed * 3 % 7) / 7])
    table = answer_table(dataset_in(tmp_path))
    assert table.columns == ["configuration", "er", "minutes", "parameters", "runs"]
    assert [row[0] for row in table.rows] == ["unet-on", "eunet-on", "unet-off"]
    best, second, last = (row[1] for row in table.rows)
    assert best.startswith(".804 (.801 to .807) #1") and second.endswith("#2*")
    # The same seeds are .001 below in every pair, which no chance does.
    assert last.endswith("#3*")
    assert "3 tests of all pairs" in table.notes[0]


def test_few_seeds_have_no_stars(tmp_path: Path) -> None:
    make_grid(tmp_path, 3)
    table = answer_table(dataset_in(tmp_path))
    assert not any("*" in cell for row in table.rows for cell in row)
    assert table.notes[0] == "no marks against the best: those need 6 seeds or more"


def test_runs_of_other_machines_and_versions_are_named(tmp_path: Path) -> None:
    def of_a_gpu(content: dict[str, Any]) -> None:
        content["run"] |= {"precision": "bf16", "versions": {"torch": "2.11"}, "seconds": 90}

    def of_a_cpu(content: dict[str, Any]) -> None:
        content["run"] |= {"precision": "32", "versions": {"torch": "2.14"}, "parameters": 1234}

    change_scores(make_run(tmp_path, "unet-off", 0, [0.5], [0.5]), of_a_gpu)
    for seed in (1, 2):
        change_scores(make_run(tmp_path, "unet-off", seed, [0.5], [0.5]), of_a_cpu)
    table = answer_table(dataset_in(tmp_path))
    assert "runs differ in precision: 32 (2 runs), bf16 (1 run)" in table.notes
    assert "runs differ in the version of torch: 2.14 (2 runs), 2.11 (1 run)" in table.notes
    assert table.rows[0][3] == "1,234"


def test_a_sentence_for_each_question(tmp_path: Path) -> None:
    make_grid(tmp_path, 7)
    by_filter, by_model, scope = answers(dataset_in(tmp_path))
    assert by_filter.startswith("filter, on against off: er +.03")
    assert "), more than chance (p = .016) (mean of eunet-on, unet-on less mean of" in by_filter
    assert by_filter.endswith("eunet-off, unet-off; 95 % intervals over 7 seeds).")
    assert by_model.startswith("model, unet against eunet: er +")
    assert scope == SCOPE


def test_one_run_asks_nothing(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    dataset = dataset_in(tmp_path)
    assert answers(dataset) == []
    assert answer_table(dataset).rows[0][1] == ".500 #1"


def test_runs_that_are_in_no_number_are_named(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    runs = dataset_in(tmp_path).runs
    assert "not among them" not in " ".join(answer_table(Dataset(runs)).notes)
    left_out = ["unet-off-s1: it diverged", "unet-off-s2: it failed", "unet-off-s3: no scores"]
    notes = answer_table(Dataset(runs, left_out)).notes
    assert "not among them: unet-off-s1: it diverged; and 2 more, below Table 1" in notes
    notes = answer_table(Dataset(runs, left_out[:1])).notes
    assert "not among them: unet-off-s1: it diverged" in notes
