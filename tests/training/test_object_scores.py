"""Scores of objects that a run writes, where a class has objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from skimage import measure

from fibseg.scores.instances import contingency, count_matches
from tests.support import TINY, Commands


@pytest.mark.slow(seconds=8)
def test_a_run_scores_its_objects_in_slices_and_in_3d(commands: Commands) -> None:
    text = TINY.replace("weight: 0.7}", "weight: 0.7, instances: true}")
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(text)
    assert commands.train("filter=off").returncode == 0
    run = commands.run_directory()
    scores = json.loads((run / "scores.json").read_text())
    assert set(scores["instances"]) == {"validation", "test"}
    # Slices 7 and 8 of the stack.
    truth = tifffile.imread(commands.data / "labels.tif")
    predicted = tifffile.imread(run / "labels" / "test.tif") == 1
    (block,) = scores["instances"]["test"]["blocks"]
    assert (block["start"], block["stop"]) == (7, 9)
    # Objects are the components of all annotated slices, of which two are tested.
    objects = measure.label(truth == 1, connectivity=3)[7:9]
    components = measure.label(predicted, connectivity=3)
    assert block["classes"] == {"mitochondrion": count_matches(contingency(objects, components))}
    first = scores["instances"]["test"]["slices"][0]
    flat = [measure.label(ids[0], connectivity=2) for ids in (objects, components)]
    assert first["slice"] == 7
    assert first["classes"]["mitochondrion"] == count_matches(contingency(*flat))
    assert np.any(predicted)
    pages = commands.folder / "comparison"
    printed = commands.run("fibseg", "compare", str(run), "--output", str(pages)).stdout
    assert "Objects: tiny, test slices" in printed
