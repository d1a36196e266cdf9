"""What `import fibseg` offers to a notebook: plain values in, arrays and data frames out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

import fibseg as fs
from fibseg import machine
from fibseg.config.calls import composed_run
from fibseg.models.trained import save_model
from fibseg.stack import open_stack, write_stack
from tests.support import TINY, Commands
from tests.support.models import content_of, trained

SETTINGS = {
    "training.epochs": 1,
    "training.batches": 2,
    "training.validation_batches": 1,
    "training.precision": "32",
    "model.width": 2,
    "patches.size": 32,
    "machine.threads": 1,
    "machine.processes": 1,
    "machine.device": "cpu",
}


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("description") / "mine.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, description: Path, phantom_folder: Path) -> Path:
    """A folder with one run for each of two seeds and both filters."""
    folder = tmp_path_factory.mktemp("runs")
    for filtering in ("off", [20]):
        for seed in (0, 1):
            fs.train(
                description,
                filter=filtering,
                seed=seed,
                root=phantom_folder,
                runs=folder,
                settings=SETTINGS,
            )
    return folder


@pytest.mark.slow(seconds=4)
def test_a_training_is_that_of_the_command(
    runs: Path, commands: Commands, phantom_folder: Path
) -> None:
    overrides = [f"{key}={value}" for key, value in SETTINGS.items()]
    line = [
        f"--config-dir={commands.folder / 'conf'}",
        "data=tiny",
        f"data.root={phantom_folder}",
        f"machine.runs={commands.folder / 'runs'}",
        "seed=1",
        *overrides,
    ]
    assert commands.run("fibseg", "train", *line).returncode == 0
    (by_command,) = commands.folder.glob("runs/tiny/unet-off*-s1-*")
    by_call = runs / "tiny" / by_command.name
    pages = [open_stack(path / "labels" / "test.tif") for path in (by_command, by_call)]
    np.testing.assert_array_equal(pages[0].read(0), pages[1].read(0))


@pytest.mark.slow(seconds=4)
def test_a_finished_run_is_read_again(runs: Path, description: Path, phantom_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.glob("tiny/*/scores.json")}
    run = fs.train(
        description, seed=0, root=phantom_folder, runs=runs, settings=SETTINGS, filter=[20]
    )
    assert run.seed == 0 and run.facts["filter"] == "on"
    assert before == {path: path.stat().st_mtime_ns for path in runs.glob("tiny/*/scores.json")}


@pytest.mark.slow(seconds=4)
def test_labels_of_a_stack_are_those_of_the_run(
    runs: Path, phantom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)
    (path,) = runs.glob("tiny/unet-on*-s0-*")
    model = fs.load_model(path)
    stack = fs.open_stack(phantom_folder / "image.tif")
    array = np.stack(list(stack))
    labels = fs.predict(model, stack, windows="paper")
    assert (labels.shape, labels.dtype) == (stack.shape, np.dtype(np.uint8))
    np.testing.assert_array_equal(labels, fs.predict(path, array, windows="paper"))
    # Slices 7 and 8 are the test slices.
    scored = open_stack(path / "labels" / "test.tif")
    np.testing.assert_array_equal(labels[7], scored.read(0))


def test_scores_are_a_frame_with_a_row_for_each_class(phantom_folder: Path, tmp_path: Path) -> None:
    labels = phantom_folder / "labels.tif"
    frame = fs.score(labels, labels)
    assert frame.index.tolist() == ["1", "2", "3"]
    assert frame.f1.tolist() == [1.0, 1.0, 1.0]
    assert (frame.fn + frame.ud + frame.fp).sum() == 0
    half = np.stack(list(open_stack(labels)))
    half[:, :48] = 0
    write_stack(tmp_path / "half.tif", half)
    assert (fs.score(half, labels).f1 < 1).all()
    assert (fs.score(tmp_path / "half.tif", half, slices=[0]).f1 == 1).all()


@pytest.mark.slow(seconds=4)
def test_a_collection_of_runs_as_frames(runs: Path) -> None:
    comparison = fs.collect(runs / "tiny")
    frame = comparison.runs()
    assert sorted(frame.seed) == [0, 0, 1, 1]
    assert comparison.table_1().columns[-3:].tolist() == ["mitochondrion", "membrane", "er"]
    assert set(comparison.table_2().columns) >= {"TP", "FN", "UD"}
    contrasts = comparison.contrasts().set_index("class")
    wide = frame.pivot(index="seed", columns="configuration", values="test er")
    filtered = next(name for name in wide if "unet-on" in name)
    plain = next(name for name in wide if "unet-off" in name)
    expected = (wide[filtered] - wide[plain]).mean()
    assert contrasts.difference["er"] == pytest.approx(expected)
    assert comparison.learning_curves().groupby("configuration").seed.nunique().tolist() == [2, 2]
    components = comparison.components()
    assert components.share.between(0, 1).all() and components.of_truth.any()


def test_slices_and_the_filter(description: Path, phantom_folder: Path) -> None:
    slices = fs.load_slices(description, root=phantom_folder)
    assert [len(slices[split]) for split in ("train", "validation", "test")] == [4, 2, 2]
    first = slices["train"][0]
    assert fs.grain_filter(first.image, [20]).shape == (1, *first.image.shape)
    assert fs.picture(first.image, first.labels).size == first.image.shape[::-1]


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(fs.FibsegError, match="no such data description"):
        fs.load_slices("nothing")
    with pytest.raises(fs.FibsegError, match=r"expected \(Z, H, W\)"):
        fs.score(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    with pytest.raises(fs.FibsegError, match="seed: -1 is impossible"):
        fs.train("phantom", seed=-1, root=tmp_path, runs=tmp_path)
    for values, message in (
        ({"data": "nothing"}, "Could not find 'data/nothing'"),
        ({"data": "phantom", "model": "unett"}, "unett"),
        ({"data": "phantom", "settings": {"training.epoch": 1}}, "Did you mean epochs"),
        ({"data": "phantom", "settings": {"training.epochs": "abc"}}, "training.epochs"),
    ):
        with pytest.raises(fs.FibsegError, match=message) as caught:
            fs.train(root=tmp_path, runs=tmp_path, **values)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(fs.FibsegError, match="device: gpu is impossible"):
        fs.predict(tmp_path, np.zeros((1, 4, 4), np.uint8), device="gpu")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fs.nothing


def test_import_is_light() -> None:
    """Nothing heavy is loaded before it is used."""
    script = (
        "import fibseg, sys; print([name for name in ('torch', 'hydra') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_file_is_read_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with the name of a description of the package, in a folder with odd letters."""
    folder = tmp_path / "cell (1), 8 nm"
    (folder / "conf").mkdir(parents=True)
    (folder / "vnc.yaml").write_text(TINY)
    monkeypatch.chdir(folder)
    with composed_run("vnc.yaml", {"seed": 3}) as run:
        assert (run.config.data.name, run.config.seed) == ("tiny", 3)
        assert "seed" not in run.directory.path.name


def test_hydra_of_the_caller_stays(tmp_path: Path) -> None:
    before = GlobalHydra.instance().hydra
    with composed_run("phantom", {"machine.runs": str(tmp_path)}):
        assert GlobalHydra.instance().hydra is not None
    assert GlobalHydra.instance().hydra is before


def test_a_file_of_another_program_labels_a_stack_by_its_path(tmp_path: Path) -> None:
    """As predict.py takes it; a network of the library is not needed."""
    packages = pytest.importorskip("tests.support.packages", reason="no onnx here")
    model = trained([], 1)
    save_model(model, tmp_path / "model.safetensors")
    content = content_of(tmp_path / "model.safetensors")
    del content["weights"]
    metadata = {"fibseg": json.dumps(content)}
    slopes = [[0.0], [0.01], [-0.01]]
    (tmp_path / "model.onnx").write_bytes(packages.linear_graph(slopes, "Softmax", metadata))
    labels = fs.predict(tmp_path / "model.onnx", np.full((2, 40, 50), 9, np.uint8), device="cpu")
    np.testing.assert_array_equal(labels, np.full((2, 40, 50), 7))
