"""Labels of another program as runs, and the rows that they have in a comparison."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from rich.console import Console
from sklearn.metrics import confusion_matrix

from fibseg.data.description import DataDescription
from fibseg.errors import FibsegError
from fibseg.runs.collection import collect
from fibseg.runs.directory import RunDirectory
from fibseg.stack import write_stack
from fibseg.training.foreign.adoption import Adoption, adopt_labels
from tests.support import SHAPE, Commands, describe


@pytest.fixture
def prediction(tmp_path: Path, phantom_folder: Path) -> Path:
    """The labels of the phantom, moved by three columns."""
    labels = np.roll(tifffile.imread(phantom_folder / "labels.tif"), 3, axis=2)
    path = tmp_path / "nnunet.tif"
    write_stack(path, labels, [20, 5, 5])
    return path


def adopt(description: DataDescription, folder: Path, **given: object) -> tuple[RunDirectory, str]:
    """The run, and what was printed."""
    stream = io.StringIO()
    adoption = Adoption(**({"model": "nnunet", "seed": 0} | given))  # type: ignore[arg-type]
    console = Console(file=stream, width=300)
    return adopt_labels(adoption, description, folder, console), stream.getvalue()


def test_scores_and_components_are_those_of_the_labels(
    tmp_path: Path, phantom_folder: Path, prediction: Path
) -> None:
    description = describe(phantom_folder)
    folder = tmp_path / "runs" / "tiny"
    run, text = adopt(
        description, folder, predictions=[str(prediction)], seconds=240.0, peak_gib=1.5
    )
    assert run.path.name.startswith("nnunet-off-s0-")
    truth = tifffile.imread(phantom_folder / "labels.tif")
    labels = tifffile.imread(prediction)
    content = json.loads(run.scores.read_text())
    for split, positions in {"validation": [4, 5], "test": [7, 8]}.items():
        assert [entry["slice"] for entry in content["splits"][split]] == positions
        for entry in content["splits"][split]:
            z = entry["slice"]
            counts = confusion_matrix(truth[z].ravel(), labels[z].ravel(), labels=range(4))
            assert entry["confusion"] == counts.tolist()
        assert (tifffile.imread(run.labels(split)) == labels[positions]).all()
    assert content["run"]["seconds"] == 240.0 and content["run"]["adopted"] is True
    assert "device" not in content["run"] and content["run"]["peak_gib"] == 1.5
    with run.components.open(newline="") as file:
        areas = [int(row["area"]) for row in csv.DictReader(file) if row["of"] == "prediction"]
    assert sum(areas) == (labels[[4, 5, 7, 8]] > 0).sum()
    assert {path.name for path in run.figures.iterdir()} == {"validation.png", "test.png"}
    assert "mitochondrion" in text
    # The same again is the same run; other labels are another.
    before = run.scores.stat().st_mtime_ns
    _, text = adopt(description, folder, predictions=[str(prediction)])
    assert "adopted already" in text and run.scores.stat().st_mtime_ns == before
    write_stack(prediction, np.roll(labels, 1, axis=1), [20, 5, 5])
    with pytest.raises(FibsegError, match="was made of other labels; give another --seed or --mo"):
        adopt(description, folder, predictions=[str(prediction)])
    other, _ = adopt(description, folder, predictions=[str(prediction)], seed=1)
    assert len(collect([folder]).runs) == 2
    assert other.path.name.split("-s")[1][2:] == run.path.name.split("-s")[1][2:]


def test_what_is_stated_later_is_kept(
    tmp_path: Path, phantom_folder: Path, prediction: Path
) -> None:
    folder = tmp_path / "runs" / "tiny"
    description = describe(phantom_folder)
    run, _ = adopt(description, folder, predictions=[str(prediction)], seconds=10.0, device="cpu")
    before = json.loads(run.scores.read_text())
    _, text = adopt(
        description, folder, predictions=[str(prediction)], seconds=20.0, parameters=7, device="cpu"
    )
    assert "adopted already; seconds: 20.0 in place of 10.0; parameters: 7" in text
    assert "device" not in text
    after = json.loads(run.scores.read_text())
    before["run"] |= {"seconds": 20.0, "parameters": 7}
    assert after == before
    _, text = adopt(description, folder, predictions=[str(prediction)])
    assert "adopted already; its scores:" in text
    assert json.loads(run.scores.read_text()) == after


def test_the_same_labels_are_no_second_seed(
    tmp_path: Path, phantom_folder: Path, prediction: Path
) -> None:
    folder = tmp_path / "runs" / "tiny"
    description = describe(phantom_folder)
    run, _ = adopt(description, folder, predictions=[str(prediction)])
    (folder / "unet-off-s0-12345678").mkdir()
    (folder / "unet-off-s0-12345678" / "config.yaml").write_text("{")
    with pytest.raises(FibsegError, match=r"the same labels as .*nnunet-off-s0-.* of seed 0") as e:
        adopt(description, folder, predictions=[str(prediction)], seed=1)
    assert str(run.path) in str(e.value)
    assert not list(folder.glob("nnunet-off-s1-*"))
    # Two programs may label alike.
    adopt(description, folder, predictions=[str(prediction)], model="biapy")


def test_an_adoption_that_was_killed_goes_on(
    tmp_path: Path, phantom_folder: Path, prediction: Path
) -> None:
    folder = tmp_path / "runs" / "tiny"
    description = describe(phantom_folder)
    run, _ = adopt(description, folder, predictions=[str(prediction)])
    scores = run.scores.read_text()
    run.scores.unlink()
    run.components.unlink()
    adopt(description, folder, predictions=[str(prediction)])
    assert run.scores.read_text() == scores


def test_labels_of_a_part_lie_where_the_data_sets_own_lie(
    tmp_path: Path, phantom_folder: Path
) -> None:
    truth = tifffile.imread(phantom_folder / "labels.tif")
    part = tmp_path / "part.tif"
    write_stack(part, truth[1:, 8:, 4:], [20, 5, 5])
    volume = {
        "labels": str(part),
        "offset": [1, 8, 4],
        "split": {"train": ["1:4"], "validation": ["4:6"], "test": [7]},
    }
    description = describe(phantom_folder, volume)
    run, _ = adopt(description, tmp_path / "runs", predictions=[str(part)])
    whole, _ = adopt(
        description, tmp_path / "runs", predictions=[str(phantom_folder / "labels.tif")], seed=1
    )
    counts = [json.loads(path.scores.read_text())["splits"]["test"] for path in (run, whole)]
    assert counts[0] == counts[1]
    confusion = np.array(counts[0][0]["confusion"])
    assert confusion.sum() == (SHAPE[1] - 8) * (SHAPE[2] - 4)
    assert (confusion == np.diag(np.diag(confusion))).all()


def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, phantom_folder: Path, prediction: Path
) -> None:
    description = describe(phantom_folder, ignore=255)

    def refused(message: str, **given: object) -> None:
        with pytest.raises(FibsegError, match=message):
            adopt(description, tmp_path / "runs", **({"predictions": [str(prediction)]} | given))

    refused("--model: unet is impossible; expected letters, digits and _, and none", model="unet")
    refused("--model: a-b is impossible", model="a-b")
    refused("--seed: -1 is impossible", seed=-1)
    refused("--seconds: -1.0 is impossible", seconds=-1.0)
    refused("2 label stacks for 1 volumes of tiny", predictions=[str(prediction)] * 2)
    labels = tifffile.imread(prediction)
    for changed, message in (
        (labels + 4, "label value . is claimed by no class"),
        (np.where(labels == 1, 255, labels).astype(np.uint8), "annotated pixels without a class"),
        (labels[:7], r"has no labels of slice 7, which is scored; it holds slices 0 to 6"),
        (labels[:, :50], "annotated pixels without a class"),
        (np.pad(labels, ((0, 0), (0, 1), (0, 0))), r"of shape \(9, 97, 96\), but the image has"),
    ):
        write_stack(prediction, changed, [20, 5, 5])
        refused(message)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow(seconds=5)
def test_compare_has_a_row_of_it(
    commands: Commands, finished: Commands, prediction: Path, tmp_path: Path
) -> None:
    line = ["adopt", prediction, "--data", commands.folder / "conf" / "data" / "tiny.yaml"]
    line += ["--root", commands.data, "--model", "nnunet", "--seed", "3"]
    result = commands.run("fibseg", *line, "--seconds", "240", "--parameters", "1000", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (config,) = (tmp_path / "runs" / "tiny").glob("*/config.yaml")
    assert config.parent.name.startswith("nnunet-off-s3-")
    assert yaml.safe_load(config.read_text())["model"] == {"architecture": "nnunet"}
    compared = commands.run(
        "fibseg", "compare", tmp_path / "runs" / "tiny", finished.run_directory(), cwd=tmp_path
    )
    assert compared.returncode == 0, compared.stderr
    rows = [line for line in compared.stdout.splitlines() if "nnunet-off" in line]
    assert any("4.0" in row and "1,000" in row for row in rows), compared.stdout
    assert (tmp_path / "comparison" / "index.html").exists()
    export = commands.run("fibseg", "export", config.parent, "--to", "onnx", cwd=tmp_path)
    commands.refused(export, "no run directory with a trained model")
