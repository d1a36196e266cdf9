"""Runs that are found among folders: which are read, which are left out, and why."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fibseg.errors import FibsegError
from fibseg.runs.collection import best_runs, collect, configurations, find_runs, median_run
from fibseg.runs.directory import RunDirectory
from fibseg.runs.finished import read_run
from tests.support.runs import make_run


def replace_in_scores(path: Path, intact: str, damage: str) -> None:
    """Change a text in scores.json of a run."""
    scores = RunDirectory(path).scores
    text = scores.read_text()
    assert intact in text
    scores.write_text(text.replace(intact, damage))


def test_f1_of_a_run_agrees_with_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = make_run(tmp_path, "unet-on", 0, [0.5], [0.5])
    pairs = [rng.integers(0, 3, (2, 500)) for _ in range(4)]
    # A slice without b, the second class.
    pairs[2][0][pairs[2][0] == 2] = 0
    content = json.loads(RunDirectory(path).scores.read_text())
    content["classes"] = ["background", "a", "b"]
    for split in ("validation", "test"):
        content["splits"][split] = [
            {
                "volume": 0,
                "slice": z,
                "confusion": np.bincount(truth * 3 + prediction, minlength=9)
                .reshape(3, 3)
                .tolist(),
            }
            for z, (truth, prediction) in enumerate(pairs)
        ]
    RunDirectory(path).scores.write_text(json.dumps(content))
    run = read_run(path)
    expected = {
        name: [
            f1_score(truth == index, prediction == index)
            for truth, prediction in pairs
            if (truth == index).any()
        ]
        for index, name in ((1, "a"), (2, "b"))
    }
    assert run.f1("test") == pytest.approx({name: np.mean(f1) for name, f1 in expected.items()})
    assert run.f1_by_slice("test")[:, 1] == pytest.approx(expected["a"])
    assert np.isnan(run.f1_by_slice("test")[2, 2])
    two = run.on_slices("test", [run.places["test"][k] for k in (3, 0)])
    assert two == pytest.approx(
        {"a": np.mean([expected["a"][k] for k in (0, 3)])}
        | {"b": np.mean([expected["b"][k] for k in (0, 2)])}
    )
    assert run.validation_sum == pytest.approx(sum(run.f1("validation").values()))


def test_a_run_that_diverged_is_left_out(tmp_path: Path) -> None:
    """Also with the scores of an earlier version, and with an error.txt that says the same."""
    sound = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    scored = make_run(tmp_path, "unet-off", 1, [0.0], [0.0])
    unscored = make_run(tmp_path, "unet-off", 2, [0.0], [0.0])
    RunDirectory(unscored).scores.unlink()
    RunDirectory(unscored).config.touch()
    RunDirectory(unscored).error.write_text("Traceback\nDivergedError: once more")
    for path in (scored, unscored):
        RunDirectory(path).metrics.write_text("epoch,train_loss,val_loss\n0,1,1\n1,nan,nan\n")
    collection = collect([tmp_path])
    assert [run.path for run in collection.runs] == [sound]
    assert [path for path, _ in collection.left_out] == [scored, unscored]
    for _, reason in collection.left_out:
        assert reason.startswith("diverged in epoch 2 (train loss nan, val loss nan); ")
        assert "once more" not in reason


@pytest.mark.parametrize(("runs", "chosen"), [(1, 1), (2, 2), (3, 2), (4, 3), (15, 10)])
def test_the_best_two_thirds_by_validation(tmp_path: Path, runs: int, chosen: int) -> None:
    """The validation score rises with the seed, the test score falls."""
    for seed in range(runs):
        make_run(tmp_path, "unet-off", seed, [0.5 + seed / 100], [0.9 - seed / 100])
    best = best_runs(collect([tmp_path]).runs)
    assert [run.seed for run in best] == list(range(runs))[::-1][:chosen]


def test_equal_runs_are_ordered_by_seed(tmp_path: Path) -> None:
    for seed in (4, 2, 7):
        make_run(tmp_path, "unet-off", seed, [0.5], [0.5])
    runs = collect([tmp_path]).runs
    assert [run.seed for run in best_runs(runs)] == [2, 4]
    assert median_run(runs).seed == 4


def test_configurations_of_one_name_are_told_apart_by_their_hash(tmp_path: Path) -> None:
    for seed, config_hash in ((1, "aa"), (0, "aa"), (0, "bb")):
        make_run(tmp_path / config_hash, "unet-off", seed, [0.5], [0.5], config_hash=config_hash)
    make_run(tmp_path / "aa", "unet-on", 0, [0.5], [0.5])
    runs = collect([tmp_path / "aa", tmp_path / "bb"]).runs
    seeds = {
        label: [run.seed for run in of_label] for label, of_label in configurations(runs).items()
    }
    assert seeds == {"unet-off-aa": [0, 1], "unet-off-bb": [0], "unet-on": [0]}


def test_runs_are_found_in_folders_and_by_patterns_each_once(tmp_path: Path) -> None:
    """As a shell expands runs/*: the truth and a file of the sweep lie beside the runs."""
    run = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    (tmp_path / "truth").mkdir()
    (tmp_path / "multirun.yaml").write_text("a: 1")
    for paths in ([tmp_path], [run, tmp_path], sorted(tmp_path.iterdir()), [tmp_path / "*"]):
        directories, left_out = find_runs(paths)
        assert directories == [run]
        assert {path.name for path, _ in left_out} <= {"truth", "multirun.yaml"}
        assert {reason for _, reason in left_out} <= {"no run directory, and none in it"}


def test_paths_without_any_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FibsegError, match="nothing: no such folder"):
        find_runs([tmp_path / "nothing"])
    with pytest.raises(FibsegError, match="no run directory, and none in it"):
        find_runs([tmp_path])
    with pytest.raises(FibsegError, match="no such folder"):
        find_runs([tmp_path / "*"])


def cut_off_scores(path: Path) -> None:
    scores = RunDirectory(path).scores
    scores.write_text(scores.read_text()[:50])


def cut_off_components(path: Path) -> None:
    components = RunDirectory(path).components
    lines = components.read_text().splitlines()
    components.write_text("\n".join(lines[:-2]) + "\n")


def compress_cut_off_components(path: Path) -> None:
    cut_off_components(path)
    run = RunDirectory(path)
    run.packed_components.write_bytes(gzip.compress(run.components.read_bytes()))
    run.components.unlink()


def fail(path: Path) -> None:
    run = RunDirectory(path)
    run.scores.unlink()
    run.config.write_text("a: 1")
    run.error.write_text("Traceback\nE: boom\n")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_off_scores, "scores.json: damaged"),
        (lambda path: replace_in_scores(path, '"schema": 1', '"schema": 9'), "schema 9"),
        (lambda path: replace_in_scores(path, '"model": "unet", ', ""), "is damaged .'model'"),
        (lambda path: replace_in_scores(path, '"seed": 1', '"seed": 1e999'), "is damaged"),
        (fail, "not finished.* It failed: E: boom"),
        (cut_off_components, "components.csv does not fit scores.json"),
        (compress_cut_off_components, "components.csv.gz does not fit scores.json"),
        (lambda path: RunDirectory(path).components.unlink(), "components.csv: cannot be read"),
        (lambda path: replace_in_scores(path, '"slice": 1', '"slice": 2'), "on other slices"),
        (lambda path: path.rename(path.with_name("unet <b>")), "not a run's name"),
    ],
)
def test_a_run_that_cannot_be_compared_is_left_out_with_the_reason(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    intact = make_run(tmp_path, "unet-off", 0, [0.5, 0.6], [0.5, 0.6])
    damage(make_run(tmp_path, "unet-off", 1, [0.5, 0.6], [0.5, 0.6]))
    collection = collect([tmp_path])
    assert [run.path for run in collection.runs] == [intact]
    ((path, given_reason),) = collection.left_out
    assert re.search(reason, given_reason)
    # The path stands before the reason wherever both are shown.
    assert str(path) not in given_reason
    assert collection.left_beside(collection.runs) == [f"{path.name}: {given_reason}"]


def test_the_second_run_of_one_configuration_data_set_and_seed_is_left_out(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", "unet-off", 0, [0.5], [0.5])
    again = make_run(tmp_path / "b", "unet-off", 0, [0.5], [0.6])
    collection = collect([tmp_path / "a", tmp_path / "b"])
    assert [run.path for run in collection.runs] == [first]
    reason = f"the same configuration, data and seed as {first}"
    assert collection.left_out == [(again, reason)]


def test_compressed_components_fit_as_plain_ones_do(tmp_path: Path) -> None:
    path = make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    run = RunDirectory(path)
    run.packed_components.write_bytes(gzip.compress(run.components.read_bytes()))
    run.components.unlink()
    collection = collect([path])
    assert [run.path for run in collection.runs] == [path]
    assert collection.left_out == []


def test_data_sets_of_one_name_get_names_of_files_that_differ(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "unet-off", 0, [0.5], [0.5], data="../cell")
    make_run(tmp_path / "b", "unet-off", 0, [0.5], [0.9], data="../cell", data_hash="abcdefgh")
    make_run(tmp_path / "c", "unet-off", 0, [0.5], [0.9], data="other", data_hash="e")
    collection = collect([tmp_path / folder for folder in "abc"])
    names = [of_set[0].data for of_set in collection.data_sets()]
    assert names == ["_cell-abcdef", "_cell-d", "other"]


def test_a_fold_that_is_no_number_leaves_the_run_out(tmp_path: Path) -> None:
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5])
    path = make_run(tmp_path, "unet-off", 1, [0.5], [0.5], fold="x", folds=3, folds_hash="h")
    collection = collect([tmp_path])
    assert [left.path for left in collection.left_out] == [path]
    assert "scores.json is damaged" in collection.left_out[0].reason


def test_adopted_labels_count_once_whatever_their_seed(tmp_path: Path) -> None:
    first = make_run(tmp_path, "nnunet-off", 0, [0.5], [0.5], adopted=True, start_hash="a")
    make_run(tmp_path, "nnunet-off", 1, [0.5], [0.5], adopted=True, start_hash="a")
    make_run(tmp_path, "nnunet-off", 2, [0.5], [0.5], adopted=True, start_hash="b")
    # Another model may label alike, and runs of fibseg may start from the same weights.
    make_run(tmp_path, "biapy-off", 0, [0.5], [0.5], adopted=True, start_hash="a")
    make_run(tmp_path, "unet-off", 0, [0.5], [0.5], start_hash="a")
    make_run(tmp_path, "unet-off", 1, [0.5], [0.5], start_hash="a")
    collection = collect([tmp_path])
    assert len(collection.runs) == 5
    ((path, reason),) = collection.left_out
    assert "nnunet-off-s1" in path.name and reason == f"the same labels as {first}"
