"""`fibseg compare` on runs made by hand, with numbers worked out by hand."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn.metrics import f1_score

from fibseg.commands.main import main
from fibseg.comparison.contrast_tables import contrast_table, volume_table
from fibseg.comparison.contrasts import contrast_sentence, contrasts, without
from fibseg.comparison.detections import detections, in_strata
from fibseg.comparison.labels import second_expert
from fibseg.comparison.paired import sign_flip_p
from fibseg.comparison.rows import collapsed, score_rows
from fibseg.comparison.tables import expert_table, spread, strata_table, table_1, table_2
from fibseg.errors import FibsegError
from fibseg.runs.collection import best_runs, collect, configurations, read_run
from fibseg.scores.components import PAPER_BINS, Bins
from fibseg.stack import write_pages
from tests.support import Commands
from tests.support.runs import make_run
from tests.support.tracking import read_wandb


def add_components(path: Path, *rows: tuple[str, str, int, int, int]) -> None:
    """Rows of split, of, area, overlap, touched."""
    with (path / "components.csv").open("a", newline="") as file:
        for split, of, area, overlap, touched in rows:
            csv.writer(file).writerow([split, 0, 1, "er", of, area, 0, 0, overlap, touched])


def test_scores_of_a_run_against_scikit_learn(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = make_run(tmp_path, "unet-on", 0, [0.5], [0.5])
    content = json.loads((path / "scores.json").read_text())
    content["classes"] = ["background", "a", "b"]
    pairs = [generator.integers(0, 3, (2, 500)) for _ in range(4)]
    pairs[2][0][pairs[2][0] == 2] = 0  # a slice without b
    counts = [np.bincount(t * 3 + p, minlength=9).reshape(3, 3).tolist() for t, p in pairs]
    for split in ("validation", "test"):
        content["splits"][split] = [
            {"volume": 0, "slice": z, "confusion": one} for z, one in enumerate(counts)
        ]
    (path / "scores.json").write_text(json.dumps(content))
    run = read_run(path)
    expected = [
        [f1_score(t, p, labels=[k], average=None)[0] for t, p in pairs if (t == k).any()]
        for k in (1, 2)
    ]
    assert run.f1("test") == pytest.approx({"a": np.mean(expected[0]), "b": np.mean(expected[1])})
    rows = {row.class_name: row for row in score_rows([run], "test")}
    truth, prediction = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
    pooled = f1_score(truth, prediction, labels=[1, 2], average=None)
    assert [rows["a"].pooled, rows["b"].pooled] == pytest.approx(pooled.tolist())
    assert (rows["a"].slices, rows["b"].slices) == (4, 3)
    assert rows["b"].empty == (pairs[2][1] == 2).sum()
    assert rows["b"].precision == pytest.approx(
        ((truth == 2) & (prediction == 2)).sum() / (prediction == 2).sum()
    )
    assert rows["b"].iou == pytest.approx(pooled[1] / (2 - pooled[1]))


def test_the_best_two_thirds_and_all_of_them(tmp_path: Path) -> None:
    """15 runs: the ten best by validation have test scores of .80, .81, ... .89, the others .5."""
    for seed in range(15):
        good = seed < 10
        score = round(0.80 + seed / 100, 2) if good else 0.5
        make_run(tmp_path, "unet-off", seed, [0.9 if good else 0.6], [score, score])
    runs = collect([tmp_path]).runs
    assert [run.seed for run in best_runs(runs)] == list(range(10))
    assert [len(best_runs(runs[:n])) for n in (1, 2, 3, 4, 15)] == [1, 2, 2, 3, 10]
    table = table_1(runs)
    values = [*(0.80 + k / 100 for k in range(10)), *[0.5] * 5]
    assert table.rows[0] == [
        "unet-off",
        "best 10 of 15",
        f"0.845 ± {np.std(values[:10], ddof=1):.3f}",
    ]
    assert table.rows[1] == [
        "unet-off",
        "all 15",
        f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}",
    ]
    cut = table_1(runs, paper_style=True).rows[0][2]
    assert cut == "0.845 ± 0.028"  # of a population .02872; of a sample .0303


def test_the_papers_digits_are_cut_off() -> None:
    assert spread([0.9379, 0.9399], True) == "0.938 ± 0.001"  # .9389 and .0010
    assert spread([0.9379, 0.9399], False) == "0.939 ± 0.001"
    assert spread([0.5], False) == "0.500"
    assert spread([math.nan, 0.5], False) == "-"
    assert spread([], True) == "-"


def test_collapsed_runs_stay_and_are_told(tmp_path: Path) -> None:
    for seed, score in enumerate((0.8, 0.82, 0.1, 0.81)):
        make_run(tmp_path, "unet-off", seed, [score], [score])
    runs = collect([tmp_path]).runs
    assert [run.seed for run in collapsed(runs, "er")] == [2]
    rows = table_1(runs).rows
    assert rows[1][1:] == ["all 4", spread([0.8, 0.82, 0.1, 0.81], False)]
    assert rows[2][1:] == ["less collapsed seeds 2", spread([0.8, 0.82, 0.81], False)]


def test_components_by_hand(tmp_path: Path) -> None:
    """Shares .81, .80, .10, .09 of the truth: found, two between, missed."""
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5], bare=True)
    add_components(
        path,
        ("test", "truth", 100, 81, 1),
        ("test", "truth", 100, 80, 3),
        ("test", "truth", 100, 10, 0),
        ("test", "truth", 100, 9, 1),
        ("test", "truth", 3, 0, 0),
        ("validation", "truth", 100, 100, 1),
        ("test", "prediction", 50, 50, 2),
        ("test", "prediction", 50, 0, 0),
        ("test", "prediction", 50, 20, 1),
    )
    run = read_run(path)
    expected = {
        "tp": 1,
        "fn": 2,
        "ud": 2,
        "fp": 1,
        "right": 1,
        "partly": 1,
        "merges": 1,
        "splits": 1,
    }
    assert detections(run, "test") == {"er": expected}
    assert detections(run, "test", Bins(0.8, 0.1, 4))["er"]["fn"] == 1
    assert detections(run, "test", Bins(0.7, 0.1, 1))["er"]["tp"] == 2
    other = make_run(tmp_path, "unet-off", 1, [0.4], [0.5], bare=True)
    table = table_2([run, read_run(other)])
    assert table.rows[0][:4] == [
        "unet-off, seed 0",
        "er (5)",
        "20.0% (1; 0 to 1)",
        "40.0% (2; 0 to 2)",
    ]


def test_components_by_size(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5], bare=True)
    add_components(
        path,
        ("test", "truth", 9, 9, 1),
        ("test", "truth", 10, 0, 0),
        ("test", "truth", 99, 50, 1),
        ("test", "truth", 100, 100, 1),
        ("test", "prediction", 5, 0, 0),
        ("test", "prediction", 200, 200, 1),
    )
    found = in_strata(read_run(path), "test", [100, 10])["er"]
    assert list(found) == ["1 to 9", "10 to 99", "100 or more"]
    assert [(one["tp"], one["fn"], one["ud"], one["fp"]) for one in found.values()] == [
        (1, 0, 0, 1),
        (0, 1, 1, 0),
        (1, 0, 0, 0),
    ]
    assert list(in_strata(read_run(path), "test", [10], Bins(0.8, 0.1, 10))["er"]) == ["10 or more"]
    table = strata_table([read_run(path)], [10], PAPER_BINS)
    assert table.rows[1][:4] == ["unet-off, seed 0", "er", "10 or more (3)", "33.3% (1; 1 to 1)"]


def grid(folder: Path, seeds: int) -> None:
    """Two models, with and without the filter: it adds .02 to the UNet and .05 to the other, and seeds differ."""
    base = {"unet-off": 0.80, "unet-on": 0.82, "eunet-off": 0.70, "eunet-on": 0.75}
    noise = np.random.default_rng(1).normal(0, 0.004, (4, seeds))
    for row, (name, score) in enumerate(base.items()):
        for seed in range(seeds):
            make_run(folder, name, seed, [score], [score + noise[row, seed]])


def test_contrasts_of_a_grid(tmp_path: Path) -> None:
    grid(tmp_path, 8)
    runs = collect([tmp_path]).runs
    found = {
        (one.kind, one.first, one.second): one
        for one in contrasts(runs, [("unet-off", "eunet-on")])
    }
    assert [key[0] for key in found] == [
        "filter",
        "filter",
        "model",
        "model",
        "interaction",
        "pair",
    ]
    of_unet = found["filter", "unet-off", "unet-on"]
    scores = {
        name: np.array([run.f1("test")["er"] for run in own])
        for name, own in configurations(runs).items()
    }
    assert of_unet.differences == pytest.approx((scores["unet-on"] - scores["unet-off"]).tolist())
    assert of_unet.p == sign_flip_p(of_unet.differences) == 2 / 2**8
    assert of_unet.adjusted == pytest.approx(
        6 * of_unet.p
    )  # the smallest of six, as the others are too
    interaction = found["interaction", "eunet-off + unet-on", "eunet-on + unet-off"]
    assert interaction.interval.mean == pytest.approx(0.03, abs=0.006)
    assert (
        of_unet.needed is not None and of_unet.needed[1] <= of_unet.needed[0] <= of_unet.needed[2]
    )
    with pytest.raises(FibsegError, match="nothing: no such configuration; there are eunet-off, "):
        contrasts(runs, [("nothing", "unet-on")])


def test_a_block_of_slices_left_out(tmp_path: Path) -> None:
    """Differences of .1 in one of ten slices, of .02 in the others: means of eight of them by hand."""
    for seed in range(2):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.5] * 10)
        make_run(tmp_path, "unet-on", seed, [0.5], [0.6] + [0.52] * 9)
    (one,) = contrasts(collect([tmp_path]).runs)
    assert one.interval.mean == pytest.approx(0.028)
    assert one.blocks == pytest.approx((0.02, (0.1 + 7 * 0.02) / 8))
    for seed in range(2):
        make_run(tmp_path / "few", "unet-off", seed, [0.5], [0.5] * 4)
        make_run(tmp_path / "few", "unet-on", seed, [0.5], [0.5] * 4)
    assert contrasts(collect([tmp_path / "few"]).runs)[0].blocks is None


def test_volumes_are_listed_and_from_six_on_have_an_interval(tmp_path: Path) -> None:
    """Differences of .01 to .06 in six volumes of two slices each, by hand."""
    for count in (2, 6):
        folder = tmp_path / str(count)
        for seed in range(2):
            for name, gain in (("unet-off", 0.0), ("unet-on", 0.01)):
                path = make_run(
                    folder, name, seed, [0.5], [0.5 + gain * (k // 2 + 1) for k in range(2 * count)]
                )
                content = json.loads((path / "scores.json").read_text())
                for k, one in enumerate(content["splits"]["test"]):
                    one["volume"], one["slice"] = divmod(k, 2)
                (path / "scores.json").write_text(json.dumps(content))
    runs = collect([tmp_path / "6"]).runs
    (one,) = contrasts(runs)
    assert one.volumes == pytest.approx({k: 0.01 * (k + 1) for k in range(6)})
    table = volume_table(runs, [one])
    assert table is not None
    low, high = stats.ttest_1samp([0.01 * (k + 1) for k in range(6)], 0).confidence_interval()
    assert table.rows[0][3:] == [*(f"+0.0{k}0" for k in range(1, 7)), f"{low:+.3f}", f"{high:+.3f}"]
    few = collect([tmp_path / "2"]).runs
    table = volume_table(few, contrasts(few))
    assert table is not None and table.rows[0][3:] == ["+0.010", "+0.020", "-", "-"]
    assert volume_table(few, []) is None


def test_the_second_expert_on_the_same_slices(tmp_path: Path) -> None:
    """Slice 1 of three: 8 pixels of er in the first expert's labels, 6 of them and 2 others in the second's: F1 .75."""
    first = np.zeros((3, 4, 8), np.uint8)
    first[:, 0] = 1
    second = first[1].copy()
    second[0, :2], second[3, :2] = 0, 1
    for seed, value in enumerate((0.6, 0.8)):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.1, value, 0.2])
    runs = collect([tmp_path]).runs
    assert second_expert(runs) is None and expert_table(runs) is None
    truth = tmp_path / "truth" / "d"
    write_pages(truth / "test-labels.tif", list(first))
    write_pages(truth / "second_expert-labels.tif", [second])
    splits = {
        "test": [{"volume": 0, "slice": z} for z in range(3)],
        "second_expert": [{"volume": 0, "slice": 1}],
    }
    (truth / "truth.json").write_text(
        json.dumps({"classes": ["background", "er"], "splits": splits})
    )
    table = expert_table(runs)
    assert table is not None
    assert table.rows == [["second expert", "0.750"], ["unet-off", spread([0.6, 0.8], False)]]
    (truth / "truth.json").write_text("{")
    assert expert_table(runs) is None


def test_few_seeds_have_an_interval_and_no_p(tmp_path: Path) -> None:
    grid(tmp_path, 3)
    found = contrasts(collect([tmp_path]).runs)
    assert all(math.isnan(one.p) and math.isnan(one.adjusted) for one in found)
    assert all(one.interval.low < one.interval.mean < one.interval.high for one in found)


def test_seeds_that_only_one_side_has_are_left_out(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.5])
        make_run(tmp_path, "unet-on", seed + 2, [0.6], [0.6])
    (one,) = contrasts(collect([tmp_path]).runs)
    assert one.seeds == [2, 3] and one.interval.mean == pytest.approx(0.1)


def test_the_sentence_says_no_more_than_it_may(tmp_path: Path) -> None:
    for seed, (off, on) in enumerate(((0.80, 0.81), (0.80, 0.82), (0.80, 0.83))):
        make_run(tmp_path, "unet-off", seed, [0.5], [off])
        make_run(tmp_path, "unet-on", seed, [0.5], [on])
    (one,) = contrasts(collect([tmp_path]).runs)
    assert contrast_sentence(one, 1) == (
        "On these 1 test slices of this stack, unet-on scored .020 above unet-off for er "
        "(95 % interval over seeds -.005 to .045; 3 seeds). "
        "This covers training randomness only, not other slices, cells or annotators."
    )


def test_what_cannot_be_compared_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    cut = make_run(tmp_path, "unet-off", 1, [0.5], [0.5])
    (cut / "scores.json").write_text((cut / "scores.json").read_text()[:50])
    newer = make_run(tmp_path, "unet-off", 2, [0.5], [0.5])
    (newer / "scores.json").write_text(
        (newer / "scores.json").read_text().replace('"schema": 1', '"schema": 9')
    )
    unfinished = tmp_path / "unet-off-s3-00000000"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("a: 1")
    (unfinished / "error.txt").write_text("Traceback\nE: boom\n")
    short = make_run(tmp_path, "unet-off", 5, [0.5], [0.5] * 3)
    lines = (short / "components.csv").read_text().splitlines()
    (short / "components.csv").write_text("\n".join(lines[:-2]) + "\n")
    bare_facts = make_run(tmp_path, "unet-off", 6, [0.5], [0.5])
    (bare_facts / "scores.json").write_text(
        (bare_facts / "scores.json").read_text().replace('"model": "unet", ', "")
    )
    huge = make_run(tmp_path, "unet-off", 7, [0.5], [0.5])
    (huge / "scores.json").write_text(
        (huge / "scores.json").read_text().replace('"seed": 7', '"seed": 1e999')
    )
    elsewhere = make_run(tmp_path, "unet-off", 8, [0.5], [0.5] * 2)
    (good / "metrics.csv").write_text("epoch,val_loss,val_f1\n0,1.0,0.5\n1,0.9")
    bare = make_run(tmp_path, "unet-off", 4, [0.5], [0.5])
    (bare / "components.csv").write_text("split,area\ntest,x\n")
    script = make_run(tmp_path, "unet-<script>alert(1)", 0, [0.5], [0.6], filter="[red]on")
    assert main(["compare", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    reasons = [
        (cut, "damaged"),
        (newer, "schema 9"),
        (unfinished, "not finished.* It failed: E: boom"),
    ]
    reasons += [
        (bare, "components"),
        (script, "not a run's name"),
        (short, "does not fit scores.json"),
    ]
    reasons += [(bare_facts, "damaged"), (huge, "damaged"), (elsewhere, "scored on other slices")]
    for path, why in reasons:
        assert re.search(rf"left out: {re.escape(str(path))}: .*{why}", printed)
    assert good.name.removesuffix(good.name[-11:]) in printed
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "unet-\\<script>" in page and "<script>" not in page.replace("\\<script>", "")
    assert "not among them: unet-off-s3-00000000: no scores.json" in page


def test_data_sets_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a", "unet-off", 0, [0.5], [0.5])
    make_run(tmp_path / "b", "unet-on", 0, [0.5], [0.9], data="other", data_hash="e")
    assert (
        main(
            ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "out")]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "Table 1: cell" in printed and "Table 1: other" in printed
    assert "Contrasts" not in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.md", "table1-cell.csv", "table1-other.tex", "runs-cell.csv"} <= names


@pytest.mark.slow
def test_a_comparison_is_one_run_of_wandb(commands: Commands, tmp_path: Path) -> None:
    """In a process of its own: W&B's service would stay with this one."""
    grid(tmp_path / "runs", 2)
    line = ("compare", tmp_path / "runs", "--output", tmp_path / "out", "--wandb", "cells")
    result = commands.run_process("fibseg", *line, env=os.environ | {"WANDB_MODE": "offline"})
    assert result.returncode == 0, result.stderr
    found = read_wandb(tmp_path / "out")
    assert (found["run"].project, found["run"].job_type) == ("cells", "comparison")
    logged = {name.partition("/")[0] for row in found["history"].values() for name in row}
    assert {
        "table1-cell",
        "table2-cell",
        "contrasts-cell",
        "scores-cell",
        "runs-cell",
        "page",
    } <= logged


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "no such folder"),
        (["."], "no run directory, and none in it"),
        ([".", "--low", "0.9"], "expected 0 <= low < high <= 1"),
        ([".", "--smallest", "0"], "expected 1 pixel or more"),
        ([".", "--strata", "0,10"], "expected 1 pixel or more"),
        ([".", "--thin", "er", "--tolerance", "-1"], "expected 0 nm or more"),
        ([".", "--tolerance", "10"], "name the thin classes too"),
        (["none*"], "no such folder"),
    ],
)
def test_mistakes(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


def test_folders_beside_the_runs_are_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell expands runs/vnc/*: truth, a file of the sweep, an empty folder."""
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    (tmp_path / "truth").mkdir()
    (tmp_path / "multirun.yaml").write_text("a: 1")
    for paths in (sorted(map(str, tmp_path.iterdir())), [str(tmp_path / "*")]):
        assert main(["compare", *paths, "--output", str(tmp_path / "out" / str(len(paths)))]) == 0
        printed = capsys.readouterr().out
        assert "all 1" in printed and "multirun.yaml: no run directory, and none in it" in printed


def test_two_data_sets_of_one_name_and_odd_names(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "unet-off", 0, [0.5], [0.5], data="../cell")
    make_run(tmp_path / "b", "unet-off", 0, [0.5], [0.9], data="../cell", data_hash="abcdefgh")
    assert (
        main(
            ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "out")]
        )
        == 0
    )
    tables = {path.name: path.read_text() for path in (tmp_path / "out").glob("table1-*.csv")}
    assert set(tables) == {"table1-_cell-abcdef.csv", "table1-_cell-d.csv"}
    assert "0.900" in tables["table1-_cell-abcdef.csv"] and "0.500" in tables["table1-_cell-d.csv"]
    make_run(tmp_path / "c", "unet-off", 0, [0.5], [0.5])
    assert main(["compare", str(tmp_path / "c"), "--output", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").glob("table1-*.csv")} == {
        "table1-cell.csv"
    }  # the old ones go


def test_options_that_only_one_data_set_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("unet-off", "unet-on"):
        make_run(tmp_path / "a", name, 0, [0.5], [0.5])
    make_run(
        tmp_path / "b",
        "eunet-on",
        0,
        [0.5],
        [0.9],
        data="other",
        data_hash="e",
        classes=["background", "golgi"],
    )
    folders = [str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "out")]
    assert main(["compare", *folders, "--pair", "unet-on", "unet-off"]) == 0
    assert main(["compare", *folders, "--pair", "unet-on", "eunet-on"]) == 2
    assert (
        "no data set has both; the configurations are unet-off, unet-on, eunet-on"
        in capsys.readouterr().err
    )
    assert main(["compare", *folders, "--thin", "nucleus"]) == 2
    assert "--thin: nucleus; the classes are er, golgi" in capsys.readouterr().err


def test_a_named_pair_that_is_a_contrast_already_is_no_second_test(tmp_path: Path) -> None:
    grid(tmp_path, 8)
    runs = collect([tmp_path]).runs
    plain = contrasts(runs)
    again = contrasts(runs, [("unet-on", "unet-off"), ("unet-off", "unet-on")])
    assert [one.adjusted for one in again] == [one.adjusted for one in plain]
    (pair,) = [one for one in contrasts(runs, [("eunet-on", "unet-off")] * 2) if one.kind == "pair"]
    assert (pair.second, pair.first) == ("eunet-on", "unet-off")  # the first less the second
    with pytest.raises(FibsegError, match="one configuration twice"):
        contrasts(runs, [("unet-on", "unet-on")])
    table = contrast_table(runs, plain)
    assert "Holm over 5 tests; no adjusted p can be below 0.0391 here" in " ".join(table.notes)


def test_unpaired_seeds_absent_classes_and_collapsed_runs_are_told(tmp_path: Path) -> None:
    for seed in range(4):
        make_run(tmp_path, "unet-off", seed, [0.8 if seed else 0.3], [0.8 if seed else 0.3])
        make_run(tmp_path, "unet-on", seed + 1, [0.9], [0.9])
    runs = collect([tmp_path]).runs
    assert without(runs, []) == ["unet-on less unet-off: without seeds 0, 4, which one side lacks"]
    make_run(tmp_path, "unet-on", 0, [0.9], [0.9])
    runs = collect([tmp_path]).runs
    (one,) = contrasts(runs)
    assert one.fallen == [0] and one.standing.mean == pytest.approx(0.1)
    rows = contrast_table(runs, [one]).rows
    assert rows[0][3] == "+0.225" and rows[1][:4] == [
        "less collapsed seeds 0",
        *rows[0][1:3],
        "+0.100",
    ]
    empty = make_run(tmp_path / "none", "unet-off", 0, [0.5], [0.5], bare=True)
    content = json.loads((empty / "scores.json").read_text())
    content["splits"]["test"][0]["confusion"] = [[5, 0], [0, 0]]
    content["splits"]["validation"][0]["confusion"] = [[5, 0], [0, 0]]
    (empty / "scores.json").write_text(json.dumps(content))
    assert without([read_run(empty)], []) == ["in no test slice, so in no contrast: er"]


def test_contrasts_by_configuration_and_not_by_name(tmp_path: Path) -> None:
    """Runs of one name that another key tells apart are no filter contrast of each other."""
    provenance = dict.fromkeys(
        ("config_hash", "data_hash", "threads", "precision", "tracking_id"), 0
    )
    for name, epochs, areas in (
        ("unet-off", 3, []),
        ("unet-on-areas_1_x5_", 3, ["1%"]),
        ("unet-on-other", 9, ["1%"]),
    ):
        path = make_run(tmp_path, name, 0, [0.5], [0.5])
        config = {
            "data": {"volumes": []},
            "model": {"width": 1},
            "filter": {"areas": areas},
            "training": {"epochs": epochs},
        }
        (path / "config.yaml").write_text(yaml.safe_dump(config | {"provenance": provenance}))
    found = contrasts(collect([tmp_path]).runs)
    assert [(one.first, one.second) for one in found] == [("unet-off", "unet-on-areas_1_x5_")]


def test_a_run_that_predicts_nothing_has_no_precision_and_spoils_no_mean(tmp_path: Path) -> None:
    """Asymmetric counts: 60 hits, 40 misses, 20 false: precision .75, recall .6."""
    for seed, counts in enumerate(([[880, 20], [40, 60]], [[900, 0], [100, 0]])):
        path = make_run(tmp_path, "unet-off", seed, [0.5], [0.5], bare=True)
        content = json.loads((path / "scores.json").read_text())
        content["splits"]["test"] = [{"volume": 0, "slice": 0, "confusion": counts}]
        content["splits"]["test"].append(
            {"volume": 0, "slice": 1, "confusion": [[90, 7 + seed], [0, 0]]}
        )
        (path / "scores.json").write_text(json.dumps(content))
    (row,) = score_rows([read_run(path) for path in sorted(tmp_path.glob("unet*"))], "test")
    assert row.precision == pytest.approx(
        (60 / 87 + 0) / 2
    )  # the second run has 8 false pixels and no hit
    assert row.recall == pytest.approx((0.6 + 0.0) / 2)
    assert (row.slices, row.empty) == (1, 7.5)


def test_blocks_go_along_z_whatever_the_order_of_the_slices(tmp_path: Path) -> None:
    """Slices 0 and 1 have the large differences; they stand first and last in scores.json."""
    for name, gains in (("unet-off", [0.0] * 10), ("unet-on", [0.2, *[0.0] * 8, 0.2])):
        path = make_run(tmp_path, name, 0, [0.5], [0.5 + gain for gain in gains], bare=True)
        content = json.loads((path / "scores.json").read_text())
        for one, z in zip(content["splits"]["test"], [0, *range(2, 10), 1], strict=True):
            one["slice"] = z
        (path / "scores.json").write_text(json.dumps(content))
    (one,) = contrasts([read_run(path) for path in sorted(tmp_path.glob("unet*"))])
    assert one.blocks == pytest.approx((0.0, 0.05))
