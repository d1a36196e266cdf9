"""`fibseg compare` on runs made by hand: what it prints, writes, leaves out and refuses."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest

from fibseg.commands.main import main
from tests.support import Commands
from tests.support.runs import make_grid, make_run, write_config, write_labels
from tests.support.tracking import read_wandb


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow(seconds=3)
def test_the_installed_program(commands: Commands, tmp_path: Path) -> None:
    make_grid(tmp_path / "runs", 2)
    result = commands.run_process(
        "fibseg", "compare", tmp_path / "runs", "--output", tmp_path / "out"
    )
    assert result.returncode == 0, result.stderr
    assert "Table 1: cell, test F1" in result.stdout
    assert "filter, on against off: er +" in result.stdout
    assert result.stdout.endswith("index.html, comparison.md, each table as CSV and LaTeX\n")
    assert {"index.html", "comparison.md", "table1-cell.csv", "contrasts-cell.tex"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_tables_worked_out_by_hand(tmp_path: Path) -> None:
    """F1 of the runs are .85, .87, .75 and .86, .89, .76: differences of .01, .02, .01.

    Their mean is .0133 and the deviation .00577: half of the interval is
    4.303 * .00577 / sqrt(3) = .0143.
    """
    for seed, (validation, first, second) in enumerate(
        ((0.5, 0.80, 0.90), (0.6, 0.82, 0.92), (0.4, 0.70, 0.80))
    ):
        make_run(tmp_path / "runs", "unet-off", seed, [validation], [first, second])
    for seed, (validation, first, second) in enumerate(
        ((0.5, 0.81, 0.91), (0.6, 0.84, 0.94), (0.4, 0.71, 0.81))
    ):
        make_run(tmp_path / "runs", "unet-on", seed, [validation], [first, second])
    out = tmp_path / "out"
    assert main(["compare", str(tmp_path / "runs"), "--output", str(out)]) == 0
    assert (out / "table1-cell.csv").read_text().splitlines() == [
        "configuration,runs,er",
        "unet-off,best 2 of 3,0.860 ± 0.014",
        "unet-off,all 3,0.823 ± 0.064",
        "unet-on,best 2 of 3,0.875 ± 0.021",
        "unet-on,all 3,0.837 ± 0.068",
    ]
    (contrast,) = csv.DictReader((out / "contrasts-cell.csv").read_text().splitlines())
    assert contrast["contrast"] == "unet-on less unet-off"
    assert (contrast["test F1"], contrast["from"], contrast["to"]) == ("+0.013", "-0.001", "+0.028")
    assert (contrast["p"], contrast["seeds"]) == ("too few seeds for a 5 % test", "3")


def test_all_options_at_once_with_a_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros((16, 24), np.uint8)
    labels[6] = 1
    for seed in range(3):
        path = make_run(tmp_path, "unet-off", seed, [0.5], [0.5] * 2)
        write_labels(path, [labels] * 2, [labels] * 2)
        write_config(path, [20.0, 5.0, 5.0])
    options = ["--objects", "--strata", "10,100", "--thin", "er", "--tolerance", "10"]
    pattern = str(tmp_path / "unet-off-s[01]*")
    assert main(["compare", pattern, *options, "--output", str(tmp_path / "out")]) == 0
    assert "all 2" in capsys.readouterr().out
    names = {path.stem for path in (tmp_path / "out").glob("*.csv")}
    assert {"objects-cell", "strata-cell", "thin-cell", "table2-cell"} <= names


def test_runs_that_cannot_be_compared_are_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    cut_off = make_run(tmp_path, "unet-off", 1, [0.5], [0.5])
    (cut_off / "scores.json").write_text((cut_off / "scores.json").read_text()[:50])
    newer = make_run(tmp_path, "unet-off", 2, [0.5], [0.5])
    replace_in(newer / "scores.json", '"schema": 1', '"schema": 9')
    unfinished = tmp_path / "unet-off-s3-00000000"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("a: 1")
    (unfinished / "error.txt").write_text("Traceback\nE: boom\n")
    damaged = make_run(tmp_path, "unet-off", 4, [0.5], [0.5])
    (damaged / "components.csv").write_text("split,area\ntest,x\n")
    short = make_run(tmp_path, "unet-off", 5, [0.5], [0.5] * 3)
    lines = (short / "components.csv").read_text().splitlines()
    (short / "components.csv").write_text("\n".join(lines[:-2]) + "\n")
    without_model = make_run(tmp_path, "unet-off", 6, [0.5], [0.5])
    replace_in(without_model / "scores.json", '"model": "unet", ', "")
    huge_seed = make_run(tmp_path, "unet-off", 7, [0.5], [0.5])
    replace_in(huge_seed / "scores.json", '"seed": 7', '"seed": 1e999')
    elsewhere = make_run(tmp_path, "unet-off", 8, [0.5], [0.5] * 2)
    script = make_run(tmp_path, "unet-<script>alert(1)", 0, [0.5], [0.6], filter="[red]on")
    assert main(["compare", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    for path, reason in (
        (cut_off, "damaged"),
        (newer, "schema 9"),
        (unfinished, "not finished.* It failed: E: boom"),
        (damaged, "components"),
        (short, "does not fit scores.json"),
        (without_model, "damaged"),
        (huge_seed, "damaged"),
        (elsewhere, "scored on other slices"),
        (script, "name"),
    ):
        assert re.search(rf"left out: {re.escape(str(path))}: .*{reason}", printed)
    assert re.sub(r"-s\d+-\w+$", "", good.name) in printed
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "unet-\\<script>" in text and "<script>" not in text.replace("\\<script>", "")
    assert "not among them: unet-off-s3-00000000: no scores.json" in text


def test_folders_beside_the_runs_are_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell expands runs/vnc/*: truth, a file of the sweep, an empty folder."""
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    (tmp_path / "truth").mkdir()
    (tmp_path / "multirun.yaml").write_text("a: 1")
    for paths in (sorted(map(str, tmp_path.iterdir())), [str(tmp_path / "*")]):
        output = tmp_path / "out" / str(len(paths))
        assert main(["compare", *paths, "--output", str(output)]) == 0
        printed = capsys.readouterr().out
        assert "all 1" in printed and "multirun.yaml: no run directory, and none in it" in printed


def test_data_sets_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a", "unet-off", 0, [0.5], [0.5])
    make_run(tmp_path / "b", "unet-on", 0, [0.5], [0.9], data="other", data_hash="e")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["compare", *folders, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Table 1: cell" in printed and "Table 1: other" in printed
    assert "Contrasts" not in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.md", "table1-cell.csv", "table1-other.tex", "runs-cell.csv"} <= names


def test_two_data_sets_of_one_name_and_odd_names(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "unet-off", 0, [0.5], [0.5], data="../cell")
    make_run(tmp_path / "b", "unet-off", 0, [0.5], [0.9], data="../cell", data_hash="abcdefgh")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["compare", *folders, "--output", str(tmp_path / "out")]) == 0
    tables = {path.name: path.read_text() for path in (tmp_path / "out").glob("table1-*.csv")}
    assert set(tables) == {"table1-_cell-abcdef.csv", "table1-_cell-d.csv"}
    assert "0.900" in tables["table1-_cell-abcdef.csv"] and "0.500" in tables["table1-_cell-d.csv"]


def test_options_that_only_one_data_set_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("unet-off", "unet-on"):
        make_run(tmp_path / "a", name, 0, [0.5], [0.5])
    of_golgi = {"data": "other", "data_hash": "e", "classes": ["background", "golgi"]}
    make_run(tmp_path / "b", "eunet-on", 0, [0.5], [0.9], **of_golgi)
    folders = [str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "out")]
    assert main(["compare", *folders, "--pair", "unet-on", "unet-off"]) == 0
    capsys.readouterr()
    assert main(["compare", *folders, "--pair", "unet-on", "eunet-on"]) == 2
    error = capsys.readouterr().err
    assert "no data set has both; the configurations are unet-off, unet-on, eunet-on" in error
    assert main(["compare", *folders, "--thin", "nucleus"]) == 2
    assert "--thin: nucleus; the classes are er, golgi" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_is_one_run_of_wandb(commands: Commands, tmp_path: Path) -> None:
    """In a process of its own: the service of W&B would stay with this one."""
    make_grid(tmp_path / "runs", 2)
    words = ("compare", tmp_path / "runs", "--output", tmp_path / "out", "--wandb", "cells")
    result = commands.run_process("fibseg", *words, env=os.environ | {"WANDB_MODE": "offline"})
    assert result.returncode == 0, result.stderr
    board = read_wandb(tmp_path / "out")
    assert (board["run"].project, board["run"].job_type) == ("cells", "comparison")
    logged = {name.partition("/")[0] for row in board["history"].values() for name in row}
    tables = {f"{name}-cell" for name in ("table1", "table2", "contrasts", "scores", "runs")}
    assert {"page", *tables} <= logged
    assert board["summary"]["cell/unet-on/er"] == pytest.approx(0.8, abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "no such folder"),
        (["."], "no run directory, and none in it"),
        ([".", "--low", "0.9"], "expected 0 <= low < high <= 1"),
        ([".", "--smallest", "0"], "expected 1 pixel or more"),
        ([".", "--strata", "0,10"], "expected 1 pixel or more"),
        ([".", "--thin", "er", "--tolerance", "-1"], "expected 0 nm or more"),
        ([".", "--tolerance", "10"], "name the thin classes too"),
        (["none*"], "no such folder"),
        ([".", "--margin", "2"], "--margin: 2.0 is impossible; expected a number from 0 to 1"),
        ([".", "--primary", "luck"], "--primary: luck is impossible; expected filter, model,"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
