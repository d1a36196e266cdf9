"""Sampling and training of forests, and their runs beside those of networks."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError
from fibseg.phantom.cell import make_phantom
from fibseg.stack import open_stack, write_stack
from fibseg.training.forest import sample_pixels, train_forest
from tests.support import Commands
from tests.support.forests import FOREST_CLASSES

NAMES = ("background", "a", "b")
AREAS = ("filter=on", "filter.areas=[20,200]")


def two_label_slices() -> list[np.ndarray]:
    """Classes 0, 1 and 2 with 1343, 250 and 7 pixels; the rest is not annotated."""
    first = np.zeros((40, 50), np.uint8)
    first[:5] = 1
    first[20:] = IGNORE
    second = np.zeros((30, 20), np.uint8)
    second[3, 3:10] = 2
    return [first, second]


PIXELS = np.array([15 * 50 + 600 - 7, 250, 7])


def counts_by_class(budget: int, balance: float) -> list[int]:
    samples = sample_pixels(two_label_slices(), NAMES, budget, balance, seed=0)
    return np.bincount(np.concatenate([values for _, values in samples])).tolist()


def test_pixels_of_every_class_by_the_power_of_their_number() -> None:
    expected = 300 * PIXELS**0.75 / (PIXELS**0.75).sum()
    assert counts_by_class(300, balance=0.75) == np.round(expected).tolist()
    assert counts_by_class(300, balance=1.0) == np.round(300 * PIXELS / PIXELS.sum()).tolist()
    assert counts_by_class(21, balance=0.0) == [7, 7, 7]
    # No more than there are, and one of each class at least.
    assert counts_by_class(10**6, balance=0.75) == PIXELS.tolist()
    assert counts_by_class(1, balance=0.75) == [1, 1, 1]


def test_an_unannotated_pixel_is_never_drawn_and_no_pixel_twice() -> None:
    labels = two_label_slices()
    samples = sample_pixels(labels, NAMES, 300, 0.75, seed=0)
    for (positions, values), slice_labels in zip(samples, labels, strict=True):
        np.testing.assert_array_equal(slice_labels.ravel()[positions], values)
        assert IGNORE not in values
        assert len(set(positions.tolist())) == len(positions)
    with pytest.raises(FibsegError, match="no pixel of c in the slices to train on"):
        sample_pixels(labels, (*NAMES, "c"), 300, 0.75, seed=0)


def test_a_draw_depends_on_its_seed() -> None:
    labels = two_label_slices()

    def positions(seed: int) -> list[list[int]]:
        samples = sample_pixels(labels, NAMES, 300, 0.75, seed=seed)
        return [positions.tolist() for positions, _ in samples]

    assert positions(0) == positions(0)
    assert positions(0) != positions(1)


def test_same_seed_same_forest() -> None:
    images, labels = make_phantom((2, 64, 64), seed=1)

    def forest(seed: int, threads: int = 2) -> dict[str, torch.Tensor]:
        network = train_forest(
            channels=(image[None] for image in images),
            samples=sample_pixels(list(labels), FOREST_CLASSES, 2000, 0.75, seed),
            classes=4,
            trees=10,
            seed=seed,
            threads=threads,
        )
        return network.state_dict()

    first = forest(3)
    again = forest(3, threads=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["importances"], forest(4)["importances"])


def recipe(commands: Commands) -> list[str]:
    shared = [argument for argument in commands.recipe if not argument.startswith("model.")]
    return [*shared, "model=forest", "model.trees=20", "model.pixels=4000"]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Commands:
    """A folder with a finished run of a forest with the filter; read only."""
    commands = Commands(tmp_path_factory.mktemp("grown"), phantom_folder)
    result = commands.run("train.py", *recipe(commands), *AREAS)
    assert result.returncode == 0, result.stderr
    assert re.search(r"4000 pixels of 2 of 4 training slices", result.stdout)
    assert "what counted most: " in result.stdout
    return commands


@pytest.mark.slow
def test_a_run_holds_what_that_of_a_network_holds(grown: Commands) -> None:
    run = grown.run_directory()
    assert run.name.startswith("forest-on-")
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names == {
        ".lock",
        "config.yaml",
        "checkpoints/model.safetensors",
        "features.csv",
        "labels/validation.tif",
        "labels/test.tif",
        "components.csv",
        "figures/validation.png",
        "figures/test.png",
        "scores.json",
    }
    scores = json.loads((run / "scores.json").read_text())
    assert scores["run"]["model"] == "forest"
    assert scores["run"]["windows"] == "whole"
    assert scores["run"]["parameters"] is None
    assert scores["run"]["precision"] == "32"
    confusions = [score["confusion"] for score in scores["splits"]["test"]]
    confusion = np.sum(confusions, axis=0)
    assert confusion.sum() == 2 * 96 * 96
    assert np.trace(confusion) > 0.8 * confusion.sum()
    again = grown.run("train.py", *recipe(grown), *AREAS)
    assert again.returncode == 0
    assert "finished already" in again.stdout


@pytest.mark.slow
def test_what_each_feature_counted(grown: Commands) -> None:
    lines = (grown.run_directory() / "features.csv").read_text().splitlines()
    assert lines[0] == "feature,importance"
    assert len(lines) == 1 + 3 * 49
    shares = [float(line.rsplit(",", 1)[1]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert any(line.startswith("area 200: ") for line in lines)


@pytest.fixture(scope="module")
def last_slices(grown: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices 6 to 8 of the tiny stack; read only."""
    path = tmp_path_factory.mktemp("pages") / "image.tif"
    write_stack(path, tifffile.imread(grown.data / "image.tif")[6:], [20, 5, 5])
    return path


@pytest.mark.slow
def test_its_labels_of_a_stack_are_those_of_the_run(
    grown: Commands, last_slices: Path, tmp_path: Path
) -> None:
    """Also in tiles and turned."""
    run = grown.run_directory()
    line = [
        "predict.py",
        f"checkpoint={run}",
        f"image={last_slices}",
        "threads=1",
        "device=cpu",
    ]
    result = grown.run(*line, f"output={tmp_path / 'labels.tif'}")
    assert result.returncode == 0, result.stderr
    labels = tifffile.imread(tmp_path / "labels.tif")
    np.testing.assert_array_equal(labels[1:], tifffile.imread(run / "labels" / "test.tif"))
    result = grown.run(*line, f"output={tmp_path / 'tiles.tif'}", "windows=tiles", "tile=40")
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "tiles.tif"), labels)
    result = grown.run(
        *line,
        f"output={tmp_path / 'turned.tif'}",
        f"probabilities={tmp_path / 'share.tif'}",
        "tta=d4",
    )
    assert result.returncode == 0, result.stderr
    shares = [
        open_stack(tmp_path / f"share-{name}.tif").read(1)
        for name in ("background", "mitochondrion")
    ]
    assert shares[0].mean() > shares[1].mean() > 0
    assert (tifffile.imread(tmp_path / "turned.tif") == labels).mean() > 0.95


@pytest.mark.slow
def test_the_mean_of_a_forest_and_a_network(
    grown: Commands, finished: Commands, last_slices: Path, tmp_path: Path
) -> None:
    """Networks that need the paper's windows cannot be averaged with a forest.

    By whole slices they can.
    """
    line = ["predict.py", f"image={last_slices}", "threads=1", "device=cpu"]
    forest = f"checkpoint={grown.run_directory()}"
    assert grown.run(*line, forest, f"output={tmp_path / 'forest.tif'}").returncode == 0
    both = tmp_path / "both"
    for commands in (grown, finished):
        shutil.copytree(commands.run_directory(), both / commands.run_directory().name)
    arguments = [
        *line,
        f"checkpoint={both}",
        f"output={tmp_path / 'mean.tif'}",
        f"disagreement={tmp_path / 'differs.tif'}",
    ]
    result = grown.run(*arguments, "windows=whole")
    assert result.returncode == 0, result.stderr
    assert "the mean of 2 of 2 runs" in result.stdout
    assert " s a slice, " in result.stdout
    mean = tifffile.imread(tmp_path / "mean.tif")
    assert 0.5 < (mean == tifffile.imread(tmp_path / "forest.tif")).mean() < 1
    # Both may differ from their mean.
    differs = set(np.unique(tifffile.imread(tmp_path / "differs.tif")))
    assert {0, 128} <= differs <= {0, 128, 255}
    refused = grown.run(*arguments, "windows=paper", "overwrite=true")
    grown.refused(refused, "windows=paper: a forest looks further than such windows show it")
    refused = grown.run("fibseg", "exactness", str(grown.run_directory()))
    grown.refused(refused, "nothing to measure")


@pytest.mark.slow
def test_in_a_sweep_beside_a_network_and_compared(commands: Commands, finished: Commands) -> None:
    """Two seeds; one that was killed begins again, a finished one is skipped."""
    line = ["train.py", "-m", *recipe(commands), "seed=0,1", "hydra/launcher=basic"]
    result = commands.run(*line)
    assert result.returncode == 0, result.stderr
    (scores,) = commands.folder.glob("runs/tiny/forest-*-s0-*/scores.json")
    path = scores.parent / "checkpoints" / "model.safetensors"
    forest = path.read_bytes()
    # As after a kill.
    scores.unlink()
    path.write_bytes(b"half")
    again = commands.run(*line)
    assert again.returncode == 0, again.stderr
    assert path.read_bytes() == forest
    network = finished.run_directory()
    shutil.copytree(network, commands.folder / "runs" / "tiny" / network.name)
    result = commands.run(
        "fibseg", "compare", str(commands.folder / "runs" / "tiny"), cwd=commands.folder
    )
    assert result.returncode == 0, result.stderr
    assert "forest-off" in result.stdout
    assert "unet-on" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.trees=0"], "model.trees: 0 is impossible; expected 1 or more"),
        (["model.slices=some"], "model.slices: some is impossible; expected every_other or all"),
        (["model.width=3"], "width: no such key"),
        (
            ["filter=on", "filter.scope=patch"],
            "filter.scope: patch is impossible; expected slice with this model",
        ),
        (
            ["seed=4294967296"],
            "seed: 4294967296 is impossible; expected below 2^32 with this model",
        ),
        (["init_from=."], "init_from: . is impossible; expected null with this model"),
    ],
)
def test_mistakes(commands: Commands, arguments: list[str], message: str) -> None:
    result = commands.run("train.py", *recipe(commands), *arguments)
    commands.refused(result, message)
    assert not (commands.folder / "runs").exists()


@pytest.mark.slow
def test_a_class_that_every_other_slice_lacks_and_slices_that_are_too_small(
    commands: Commands,
) -> None:
    labels = tifffile.imread(commands.data / "labels.tif")
    folder = commands.folder / "data"
    folder.mkdir()
    shutil.copy(commands.data / "image.tif", folder)
    labels[[0, 2]] = np.where(labels[[0, 2]] == 3, 0, labels[[0, 2]])
    write_stack(folder / "labels.tif", labels)
    commands.data = folder
    refused = commands.run("train.py", *recipe(commands))
    commands.refused(refused, "no pixel of er in the slices to train on; take model.slices=all")
    assert not (commands.folder / "runs").exists()
    result = commands.run("train.py", *recipe(commands), "model.slices=all")
    assert result.returncode == 0, result.stderr
    assert "4000 pixels of 4 of 4 training slices" in result.stdout
    for name in ("image.tif", "labels.tif"):
        write_stack(folder / name, tifffile.imread(folder / name)[:, :40])
    refused = commands.run("train.py", *recipe(commands), "model.slices=all", "name=small")
    assert not (commands.folder / "runs" / "small").exists()
    commands.refused(refused, "a slice of 40 x 96 pixels is smaller than the largest feature")
