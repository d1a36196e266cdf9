"""`fibseg annotate` and `fibseg suggest`: the loop without a window, by its command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning  # noqa: F401 - its log keeps the stream of the moment that imports it
import yaml

from fibseg.annotation import opened_project
from fibseg.annotation.rounds import Round, rounds_of
from fibseg.commands.annotating import training
from fibseg.commands.main import main
from fibseg.phantom import make_phantom
from fibseg.runs.directory import is_run
from fibseg.stack import open_stack, write_stack
from tests.support import PROJECT, Commands
from tests.support.in_process import call_program

Capture = pytest.CaptureFixture[str]
Run = Callable[..., str]
SHAPE = (12, 64, 96)
CLASSES = ("--class", "mitochondrion", "--class", "membrane", "--class", "er")
TINY = [
    *("--set", "model.width=2", "--set", "model.norm_momentum=0.1", "--set", "patches.size=32"),
    *("--set", "training.batches=4", "--set", "training.validation_batches=2"),
    *("--set", "training.precision=32", "--set", "machine.threads=1", "--set"),
    *("machine.processes=1", "--set", "training.epochs=1", "--device", "cpu"),
]


@pytest.fixture
def truth(tmp_path: Path) -> np.ndarray:
    """Labels of the stack tmp_path / "image.tif"."""
    image, labels = make_phantom(SHAPE, seed=0)
    write_stack(tmp_path / "image.tif", image, [20, 5, 5])
    return labels


@pytest.fixture
def run(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in tmp_path; a training is run inside this process."""
    monkeypatch.chdir(tmp_path)

    def train(command: list[str]) -> int:
        result = call_program(["fibseg", *command[3:]])
        print(result.stdout, result.stderr)
        return result.returncode

    monkeypatch.setattr("fibseg.commands.annotating.training.run_training", train)
    monkeypatch.setattr("fibseg.machine.cores", lambda: 1)

    def call(*words: str, code: int = 0) -> str:
        exit_code = main([*words])
        printed = capsys.readouterr()
        assert exit_code == code, printed.err
        return printed.out if code == 0 else printed.err

    return call


def write(folder: Path, labels: np.ndarray) -> str:
    write_stack(folder / "painted.tif", labels, [20, 5, 5])
    return str(folder / "painted.tif")


@pytest.mark.slow(seconds=12)
def test_paint_train_correct_and_train_again(run: Run, truth: np.ndarray, tmp_path: Path) -> None:
    text = run("annotate", "cell", "image.tif", *CLASSES)
    assert "reviewed slices: none" in text and "paint parts of two slices" in text
    path = write(tmp_path, truth)
    text = run("annotate", "cell", "--add", path, "--slices", "1,6")
    assert "slices taken: 1, 6;" in text and "fibseg annotate cell --train" in text
    text = run("annotate", "cell", "--train", *TINY)
    assert "round 1: 1 train, 1 validation, 0 test slices, from a random start" in text
    assert "F1 on 1 validation slices" in text and "fibseg predict checkpoint=" in text
    # What a model proposes is corrected in another program, and only what differs is taken.
    text = run("annotate", "cell", "--propose", "all", "--output", "proposed.tif")
    assert "proposed: 12 slices" in text and "--add proposed.tif" in text
    proposed = np.stack(list(open_stack(tmp_path / "proposed.tif")))
    corrected = proposed.copy()
    corrected[[3, 9]] = truth[[3, 9]]
    text = run("annotate", "cell", "--add", write(tmp_path, corrected))
    assert "slices taken: 3, 9; 10 as they were" in text
    text = run("annotate", "cell", "--accept", "4")
    text = run("annotate", "cell", "--train", *TINY)
    assert "round 2: 4 train, 1 validation, 0 test" in text and " -> " in text and "mean: " in text
    first, second = rounds_of(tmp_path / "annotations" / "cell")
    assert second.start is not None
    assert (tmp_path / "annotations/cell" / second.start / "scores.json").is_file()
    assert first.slices["validation"] == second.slices["validation"]
    text = run("suggest", "cell", "--count", "2", "--by", "disagreement", "--device", "cpu")
    assert "to paint next: disagreement" in text and "%" in text
    log = run("annotate", "cell", "--log").splitlines()
    assert sum("add, slice" in line for line in log) == 4
    assert sum("accept, slice 4" in line for line in log) == 1
    # Its data set is one that every command reads.
    description = tmp_path / "annotations/cell/rounds/002/data/annotated.yaml"
    run("check", str(description))


@pytest.mark.slow(seconds=6)
def test_a_round_that_is_worse_is_kept_aside(
    run: Run, truth: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("annotate", "cell", "image.tif", *CLASSES, "--add", write(tmp_path, truth), "--slices", "1")
    run("annotate", "cell", "--add", write(tmp_path, truth), "--slices", "6")
    run("annotate", "cell", "--train", *TINY)

    def worse(_: object, entry: Round, path: Path, *__: object) -> dict[str, float]:
        return {"er": 0.6 if entry.start and str(path).endswith(entry.start) else 0.5}

    with monkeypatch.context() as patch:
        patch.setattr("fibseg.annotation.validation.validation_f1", worse)
        text = run("annotate", "cell", "--train", *TINY)
    assert "er: 0.600 -> 0.500" in text and "mean: -0.100" in text
    assert "kept aside, and the model before it stays" in text
    assert [entry.state for entry in rounds_of(tmp_path / "annotations/cell")] == ["kept", "aside"]
    # How it begins is all that counts here.
    monkeypatch.setattr("fibseg.commands.annotating.training.run_training", lambda _: 130)
    run("annotate", "cell", "--train", *TINY, code=2)
    (third,) = rounds_of(tmp_path / "annotations/cell")[2:]
    assert third.start is not None and third.start.startswith("rounds/001/")


@pytest.mark.slow(seconds=8)
def test_a_class_that_comes_later(run: Run, truth: np.ndarray, tmp_path: Path) -> None:
    """It is not trained until a training slice shows it, and then the last model is extended."""
    labels = np.where(truth == 3, 0, truth).astype(np.uint8)
    run("annotate", "cell", "image.tif", *CLASSES, "--add", write(tmp_path, labels))
    run("annotate", "cell", "--undo-to", "0")
    run("annotate", "cell", "--add", write(tmp_path, labels), "--slices", "1,6")
    text = run("annotate", "cell", "--train", *TINY)
    assert "not trained: er; no training slice shows it yet" in text
    run("annotate", "cell", "--add", write(tmp_path, truth), "--slices", "3,9")
    text = run("annotate", "cell", "--train", *TINY)
    assert "new: er; the last model is extended" in text
    assert "  er: no validation slice shows it" in text and "  membrane: 0." in text
    # A class that the project did not have.
    extra = truth.copy()
    extra[10, :20, :20] = 4
    path = write(tmp_path, extra)
    error = run("annotate", "cell", "--add", path, "--slices", "10", code=2)
    assert "value 4 is no class of the project" in error and "--class CLASS=4" in error
    run("annotate", "cell", "--class", "nucleus", "--add", path, "--slices", "10")
    with opened_project(tmp_path / "annotations/cell") as project:
        assert project.reviewed_slices()[10] >= {4}


@pytest.mark.slow(seconds=6)
def test_a_stopped_round_goes_on(
    run: Run, truth: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("annotate", "cell", "image.tif", *CLASSES, "--add", write(tmp_path, truth), "--slices", "1")
    run("annotate", "cell", "--add", write(tmp_path, truth), "--slices", "6")
    with monkeypatch.context() as patch:
        patch.setattr("fibseg.commands.annotating.training.run_training", lambda _: 130)
        error = run("annotate", "cell", "--train", code=2)
    assert "ended with exit code 130; the same command goes on" in error
    run("annotate", "cell", "--train", *TINY)
    (entry,) = rounds_of(tmp_path / "annotations/cell")
    assert entry.number == 1 and entry.state == "kept"


@pytest.mark.slow(seconds=6)
def test_a_round_that_ends_while_a_window_is_open_is_compared_later(
    run: Run, truth: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, truth)
    run("annotate", "cell", "image.tif", *CLASSES, "--add", path, "--slices", "1,6")
    train = training.run_training
    with ExitStack() as window, monkeypatch.context() as patch:

        def train_and_open(command: list[str]) -> int:
            code = train(command)
            project = window.enter_context(opened_project(tmp_path / "annotations/cell"))
            project.paint(3, truth[3].astype(np.uint8), np.ones(SHAPE[1:], bool))
            return code

        patch.setattr(training, "run_training", train_and_open)
        error = run("annotate", "cell", "--train", *TINY, code=2)
    assert "round 1 is trained and not compared yet" in error
    text = run("annotate", "cell", "--train", *TINY)
    assert "round 1: F1" in text and "round 2: 2 train" in text and "from rounds/001/" in text


def test_test_slices_are_never_used(run: Run, truth: np.ndarray, tmp_path: Path) -> None:
    run("annotate", "cell", "image.tif", *CLASSES, "--test", "2,5")
    text = run("annotate", "cell", "--add", write(tmp_path, truth), "--slices", "1,2,6")
    assert "slice 2 stays in test: no round trains on it" in text
    state = yaml.safe_load((tmp_path / "annotations/cell/project.yaml").read_text())
    assert state["splits"] == {"test": [2, 5]}
    with opened_project(tmp_path / "annotations/cell") as project:
        project.update(splits={"train": [1], "validation": [6], "test": [2, 5]})
    error = run("annotate", "cell", "--test", "6", code=2)
    assert "slice 6 is in validation already" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["annotate", "none"], "no annotation project; to make one, give its image"),
        (["annotate", "a b", "image.tif", *CLASSES], "NAME: a b is impossible"),
        (["annotate", "x", "image.tif", "--class", "er", "--class", "background"], "background"),
        (["annotate", "x", "gone.tif", "--class", "er"], "gone.tif"),
        (["annotate", "cell", "--train"], "no reviewed slice to learn from: at least two"),
        (["annotate", "cell", "--propose", "1"], "no model yet; train a round"),
        (["annotate", "cell", "--accept", "1"], "nothing is proposed"),
        (["annotate", "cell", "--accept", "12"], "leaves the image"),
        (["annotate", "cell", "--undo", "1"], "there are 0 changes"),
        (["annotate", "cell", "--model", "nowhere"], "nowhere"),
        (["annotate", "cell", "--add", "gone.tif"], "gone.tif"),
        (["annotate", "cell", "gone.tif"], "if the image has moved"),
        (["suggest", "none"], "no annotation project"),
        (["suggest", "cell", "--by", "luck"], "--by: luck is impossible; expected foreground,"),
        (["suggest", "cell", "--count", "0"], "--count: 0 is impossible"),
        (["suggest", "cell", "--size", "5"], r"--size: [5] is impossible"),
    ],
)
def test_mistakes_get_a_sentence(
    words: list[str], message: str, run: Run, truth: np.ndarray, tmp_path: Path
) -> None:
    assert truth.shape == SHAPE
    run("annotate", "cell", "image.tif", *CLASSES)
    error = run(*words, code=2)
    assert message in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not (tmp_path / "annotations" / "x").exists()


def test_suggestions_without_a_model(run: Run, truth: np.ndarray) -> None:
    assert truth.shape == SHAPE
    run("annotate", "cell", "image.tif", *CLASSES)
    text = run("suggest", "cell", "--count", "3")
    assert "no model yet: regions at random" in text
    assert sum("0:64" in line for line in text.splitlines()) == 3


@pytest.mark.slow(seconds=8)
def test_a_round_by_the_installed_program(
    commands: Commands, truth: np.ndarray, tmp_path: Path
) -> None:
    """The training is a process of its own."""
    path = write(tmp_path, truth)
    folder = ["--folder", str(tmp_path / "projects with blanks, and commas")]
    image = str(tmp_path / "image.tif")
    for words in (
        ["annotate", "cell", image, *CLASSES, *folder, "--add", path, "--slices", "1,6"],
        ["annotate", "cell", *folder, "--train", *TINY],
    ):
        result = commands.run_process("fibseg", *words)
        assert result.returncode == 0, result.stderr
    assert "round 1: F1 on 1 validation slices" in result.stdout


@pytest.mark.slow(seconds=12)
def test_the_commands_of_the_page(run: Run, tmp_path: Path) -> None:
    """docs/ANNOTATING.md, "Paint elsewhere", line by line and then its table."""
    page = (PROJECT / "docs" / "ANNOTATING.md").read_text()
    part = page.partition("## Paint elsewhere")[2].partition("\n## ")[0]
    lines = re.findall(r"^    fibseg (.+)$", part, re.M)
    table = re.findall(r"^\| `fibseg ([^`]+)`", part, re.M)
    assert len(lines) == 6 and len(table) == 11
    image, labels = make_phantom((80, 48, 64), seed=0)
    write_stack(tmp_path / "CELL.tif", image, [20, 5, 5])
    labels = (labels == 1).astype(np.uint8)
    write_stack(tmp_path / "PAINTED.tif", labels, [20, 5, 5])
    for line in lines:
        if "--add proposed.tif" in line:
            correct(tmp_path / "proposed.tif", labels, [20, 60])
        run(*line.split(), *(TINY if "--train" in line else []))
    first = tmp_path / "annotations/cell/rounds/001/runs/cell"
    (model,) = (path for path in first.iterdir() if is_run(path))
    for line in table:
        words = line.replace("RUN", str(model)).replace("--undo-to 17", "--undo-to 2").split()
        # The changes that are taken back, and a training of seconds.
        text = run(*words, *(TINY if "--train" in words else []))
        assert ("was trained on slices of this image" in text) == ("--model" in words)
    with opened_project(tmp_path / "annotations/cell") as project:
        assert project.state.classes == ["mitochondrion", "golgi"]
        assert project.state.splits["test"] == [70, 75]


def correct(path: Path, truth: np.ndarray, slices: list[int]) -> None:
    """Save a label stack again with the truth in some slices, as a person corrects it."""
    labels = np.stack(list(open_stack(path)))
    labels[slices] = truth[slices]
    write_stack(path, labels, [20, 5, 5])
