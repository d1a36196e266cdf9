"""What is printed of a finished run: scores, pictures, and what to type next."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from fibseg.config.schemas import TrainConfig
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import write_scores
from fibseg.scores.slices import SplitScore
from fibseg.training.report import print_next, print_scores

NO_A = {"volume": 0, "slice": 4, "confusion": [[5, 1, 0], [0, 0, 0], [0, 0, 4]]}


def printed(call: Any, *arguments: Any) -> str:
    console = Console(width=120, file=io.StringIO())
    call(*arguments, console)
    return console.file.getvalue()


def test_a_class_that_no_slice_holds_is_told_from_a_score(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    scores = {"validation": SplitScore([NO_A], [[]]), "test": SplitScore([], [])}
    write_scores(run, {}, ["background", "a", "b[/]"], scores)
    rows = [line for line in printed(print_scores, run).splitlines() if "│" in line]
    cells = [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows]
    assert cells == [
        ["a", "no a in validation slices", "no test slices"],
        ["b[/]", "1.000 (1)", "no test slices"],
    ]


def config_of(image: str, root: str = "data") -> TrainConfig:
    """The part of a configuration that is read."""
    volumes = [SimpleNamespace(image=image)]
    return SimpleNamespace(data=SimpleNamespace(root=root, volumes=volumes))  # type: ignore[return-value]


@pytest.fixture
def scored(tmp_path: Path) -> RunDirectory:
    """A run with a model and one picture."""
    run = RunDirectory(tmp_path / "runs" / "cell" / "unet-off-s0-01234567")
    for path in (run.model_file, run.picture("test")):
        path.parent.mkdir(parents=True)
        path.touch()
    return run


def test_pictures_and_the_next_commands_are_named(
    scored: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["fibseg train"])
    lines = printed(print_next, config_of("cell.tif"), scored).splitlines()
    assert lines[0] == f"{scored.path}: scores.json, labels/, checkpoints/model.safetensors"
    assert lines[1] == f"pictures: test.png in {scored.figures}"
    assert lines[2].endswith(
        f"fibseg predict checkpoint={scored.path} image=data/cell.tif "
        f"output={scored.path}/stack.tif"
    )
    assert lines[3].endswith(f"fibseg compare {scored.path.parent}")


def test_train_py_goes_on_with_predict_py(
    scored: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/there/train.py"])
    assert " /there/predict.py checkpoint=" in printed(print_next, config_of("a.tif"), scored)


def test_a_run_without_a_model_labels_nothing(tmp_path: Path) -> None:
    text = printed(print_next, config_of("cell.tif"), RunDirectory(tmp_path))
    assert "label" not in text.replace("labels/", "")
    assert "fibseg compare" in text


@pytest.mark.parametrize(
    "root",
    ["my cells", "a=b", "a,b", "[1]", "a'b", 'a"b', "~home", "a{b}", "ä", "a&b", "$HOME", "a\\b"],
)
def test_paths_survive_the_shell_and_hydra(scored: RunDirectory, root: str) -> None:
    """The shell splits what is printed, and Hydra's own parser reads the parts."""
    lines = printed(print_next, config_of("cell.tif", root), scored).splitlines()
    words = shlex.split(next(line for line in lines if line.startswith("label a")))
    image = next(word for word in words if word.startswith("image="))
    override = OverridesParser.create().parse_override(image)
    assert override.value() == f"{root}/cell.tif"
