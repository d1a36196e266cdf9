"""Runs whose classes have objects: a head, a forest, and what is chosen for a prediction."""

from __future__ import annotations

import json
from pathlib import Path

import cc3d
import numpy as np
import pytest
import tifffile

from fibseg.models.trained import load_model
from fibseg.runs.directory import RunDirectory
from fibseg.scores.instances import contingency, count_matches
from tests.support import TINY, Commands
from tests.support.instances import same_partition
from tests.support.trainings import best_weights


def with_objects(commands: Commands, ids: bool) -> None:
    """Let mitochondria have objects: halves of their components, or the components."""
    text = TINY.replace("weight: 0.7}", "weight: 0.7, instances: true}")
    if ids:
        labels = tifffile.imread(commands.data / "labels.tif")
        components = cc3d.connected_components(labels == 1, connectivity=26).astype(np.uint32)
        right = np.arange(labels.shape[2]) > np.median(np.nonzero(labels == 1)[2])
        halves = np.where(components > 0, components + 100 * right, 0).astype(np.uint32)
        tifffile.imwrite(commands.folder / "ids.tif", halves)
        text = text.replace("split:", f"instances: {commands.folder / 'ids.tif'}\n    split:")
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(text)


def predicted(commands: Commands, run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and objects of the stack."""
    result = commands.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={commands.data / 'image.tif'}",
        f"output={commands.folder / 'out.tif'}",
        f"instances={commands.folder / 'objects.tif'}",
        "device=cpu",
        "threads=1",
        "processes=1",
    )
    assert result.returncode == 0, result.stderr
    out = (commands.folder / "out.tif", commands.folder / "objects.tif")
    return tifffile.imread(out[0]), tifffile.imread(out[1])


@pytest.mark.slow(seconds=10)
def test_a_run_with_a_head_learns_it_and_keeps_what_it_chose(commands: Commands) -> None:
    with_objects(commands, ids=True)
    result = commands.train("model.head=contour")
    assert result.returncode == 0, result.stderr
    assert "objects: seeds above" in result.stdout
    run = commands.run_directory()
    model = load_model(run / "checkpoints" / "model.safetensors")
    assert model.objects is not None
    assert (model.objects.head, list(model.objects.classes)) == ("contour", ["mitochondrion"])
    assert model.objects.slices == 2
    # A gradient has reached it.
    assert best_weights(run)["maps.bias"].abs().item() > 0
    config = (run / "config.yaml").read_text()
    assert "instances_hash" in config
    labels, objects = predicted(commands, run)
    assert not objects[labels != 1].any()
    # The scores of the run are those of the objects that a prediction gives, cut to its slices.
    scores = json.loads((run / "scores.json").read_text())["instances"]["test"]["blocks"]
    assert [(block["start"], block["stop"]) for block in scores] == [(7, 9)]
    # The same command with other ids is refused.
    other = tifffile.imread(commands.folder / "ids.tif")
    other[other > 100] -= 100
    tifffile.imwrite(commands.folder / "ids.tif", other)
    result = commands.train("model.head=contour")
    commands.refused(result, "made with other objects")


@pytest.mark.slow(seconds=10)
def test_a_forest_has_components_as_objects(commands: Commands) -> None:
    with_objects(commands, ids=False)
    recipe = [entry for entry in commands.recipe if not entry.startswith("model.")]
    result = commands.run("train.py", *recipe, "model=forest", "model.trees=5", "model.pixels=500")
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    path = RunDirectory(run).model()
    assert path is not None
    rules = load_model(path).objects
    assert rules is not None and rules.head == "none" and rules.slices == 2
    labels, objects = predicted(commands, run)
    kept = cc3d.dust(labels == 1, rules.smallest, connectivity=26)
    assert same_partition(objects, cc3d.connected_components(kept, connectivity=26))
    scores = json.loads((run / "scores.json").read_text())["instances"]["test"]["blocks"][0]
    truth = cc3d.connected_components(
        tifffile.imread(commands.data / "labels.tif") == 1, connectivity=26
    )[7:9]
    part = tifffile.imread(run / "labels" / "test.tif") == 1
    part = cc3d.connected_components(
        cc3d.dust(part, rules.smallest, connectivity=26), connectivity=26
    )
    expected = count_matches(contingency(truth.astype(np.int64), part.astype(np.int64)))
    assert scores["classes"]["mitochondrion"]["matched"] == expected["matched"]
