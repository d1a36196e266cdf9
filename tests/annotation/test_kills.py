"""Painting and training that are killed: what was saved is there, and the round goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from fibseg.annotation import opened_project
from fibseg.annotation.rounds import begin_round, rounds_of, training_command
from fibseg.annotation.validation import finish_round
from fibseg.machine import Compute, choose_device
from tests.support.annotation import SHAPE, make_project
from tests.support.forked import start_command, start_function
from tests.support.painter import paint_for_ever, place_of, value_of

KILLS = int(os.environ.get("FIBSEG_KILLS", "3"))
TINY = [
    *("model.width=2", "model.norm_momentum=0.1", "patches.size=32", "training.batches=4"),
    *("training.validation_batches=2", "training.precision=32", "machine.threads=1"),
    *("machine.processes=1", "machine.device=cpu", "training.epochs=4"),
]

pytestmark = pytest.mark.slow(seconds=20)


def test_killed_while_painting_and_training(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    generator = np.random.default_rng(0)
    whole = np.ones(SHAPE[1:], bool)
    with opened_project(folder) as project:
        for z in (0, 1):
            labels = generator.integers(1, 3, SHAPE[1:]).astype(np.uint8)
            project.paint(z, labels, whole)
        entry = begin_round(project)
    command = training_command(folder, entry, TINY)[3:]
    record = tmp_path / "saved.txt"
    record.touch()
    for kill in range(KILLS):
        saved = [int(line) for line in record.read_text().split()]
        first = saved[-1] + 1 if saved else 0
        painter = start_function(paint_for_ever, str(folder), str(record), first)
        training = start_command(command, tmp_path / "training.log")
        wait_for_a_stroke(record, first)
        time.sleep(float(generator.uniform(0, 1.5)))
        painter.kill()
        training.kill()
        painter.join()
        training.join()
        check_strokes(folder, record, kill)
    training = start_command(command, tmp_path / "training.log")
    training.join()
    assert training.exitcode == 0, (tmp_path / "training.log").read_text()
    with opened_project(folder) as project:
        # What was painted meanwhile is no part of the round, which is as it was frozen.
        (entry,) = rounds_of(folder)
        compute = Compute(choose_device("cpu"), "32", 16, 1)
        assert finish_round(project, entry, 1.0, compute).state == "kept"


def wait_for_a_stroke(record: Path, stroke: int) -> None:
    """Wait until a painter has saved a stroke of its own."""
    end = time.monotonic() + 60
    while str(stroke) not in record.read_text().split():
        assert time.monotonic() < end, "nothing is painted"
        time.sleep(0.02)


def check_strokes(folder: Path, record: Path, kill: int) -> None:
    """Every stroke that was reported is in the labels; of the next one, all or nothing."""
    strokes = [int(line) for line in record.read_text().split()]
    expected = {place_of(stroke): value_of(stroke) for stroke in strokes}
    with opened_project(folder) as project:
        for (z, row), value in expected.items():
            found = project.layers.labels(z)[row]
            assert (found == value).all() or (z, row) == place_of(strokes[-1] + 1), kill
            assert project.layers.reviewed(z)[row].all()
        z, row = place_of(strokes[-1] + 1)
        assert len(np.unique(project.layers.labels(z)[row])) == 1
        # The journal has what the layers have, and nothing but whole changes.
        assert project.journal.count >= 2 + len(set(strokes))
        assert len(list(project.journal.headings())) == project.journal.count
