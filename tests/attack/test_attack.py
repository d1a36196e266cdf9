"""Every program, killed, torn and starved of room at chosen file operations, then run again.

The command repeated must end as one that nothing disturbed: the same bytes, weights and files. By
default each program is disturbed at one of its operations, chosen at random by their number;
FIBSEG_ATTACK_POINTS=20 disturbs it at 20. `pytest -s` prints the reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fibseg.stack import StackHeader, StackWriter
from tests.support import Commands
from tests.support.attack import Order
from tests.support.attacked import Target, attack
from tests.support.blobs import blobs

POINTS = int(os.environ.get("FIBSEG_ATTACK_POINTS", "1"))

pytestmark = pytest.mark.slow(seconds=7)


def prepared(commands: Commands, program: str, line: list[str]) -> Target:
    """A target whose undisturbed outputs are kept; the inputs lie in its folder already."""
    inputs = [path.name for path in commands.folder.iterdir()]
    expected = commands.folder.with_name(f"{commands.folder.name}-expected")
    target = Target(commands, program, line, inputs, expected)
    target.keep_as_expected()
    return target


def test_training(commands: Commands) -> None:
    line = [*commands.recipe, "training.epochs=2", "filter=on", "filter.areas=[20]"]
    target = prepared(commands, "train.py", [*line, "machine.processes=1"])
    assert attack(target, POINTS) == []


@pytest.mark.parametrize(("version", "ending"), [("0.4", "tif"), ("0.5", "zarr")])
def test_prediction(
    commands: Commands, finished: Commands, phantom_folder: Path, version: str, ending: str
) -> None:
    line = [
        f"checkpoint={finished.run_directory()}",
        f"image={phantom_folder / 'image.tif'}",
        f"output={commands.folder / 'out.zarr'}",
        f"probabilities={commands.folder / f'probabilities.{ending}'}",
        f"zarr={version}",
        "device=cpu",
        "threads=1",
        "processes=1",
    ]
    assert attack(prepared(commands, "predict.py", line), POINTS) == []


def labels_of_blobs(folder: Path) -> Path:
    """A stack of two classes, with their names in its notes."""
    path = folder / "labels.tif"
    classes = blobs(0)
    notes = {"classes": {"0": "background", "1": "mitochondrion", "2": "er"}}
    with StackWriter(path, StackHeader(classes.shape, "uint8", [20, 5, 5], notes)) as writer:
        for page in classes:
            writer.write(page.astype(np.uint8))
    return path


def measure_line(commands: Commands) -> list[str]:
    folder = commands.folder
    return [
        "measure",
        str(labels_of_blobs(folder)),
        f"--output={folder / 'objects.csv'}",
        f"--instances={folder / 'objects.zarr'}",
    ]


def test_measure(commands: Commands) -> None:
    assert attack(prepared(commands, "fibseg", measure_line(commands)), POINTS) == []


def test_filter(commands: Commands, phantom_folder: Path) -> None:
    line = [
        "filter",
        str(phantom_folder / "image.tif"),
        str(commands.folder / "filtered.zarr"),
        "--area=20",
        "--area=200",
    ]
    assert attack(prepared(commands, "fibseg", line), POINTS) == []


def test_compare(commands: Commands, finished: Commands) -> None:
    """Files of an earlier comparison are replaced, so that nothing is in the way."""
    output = f"--output={commands.folder / 'comparison'}"
    line = ["compare", str(finished.run_directory()), output]
    assert attack(prepared(commands, "fibseg", line), POINTS) == []


@dataclass(frozen=True)
class Planted:
    """A fault in a process under attack: files are written under their own names.

    Attributes:
        order: begins once the fault is there.
    """

    order: Order

    def __call__(self) -> None:
        """Put the fault in the place of what makes files appear whole."""
        from fibseg.commands import measure_outputs

        @contextmanager
        def writing_in_place(paths: list[Path]) -> Iterator[list[Path]]:
            yield paths

        measure_outputs.replacing_together = writing_in_place
        self.order()


def test_a_planted_fault_is_noticed(commands: Commands) -> None:
    """A kill at any operation but the first leaves half an output, which is in the way."""
    target = prepared(commands, "fibseg", measure_line(commands))
    order = target.order("tear", 2)
    code, _ = target.disturb(order, Planted(order))
    assert code < 0
    code, printed = target.repeat()
    assert code == 2 and "exists already" in printed
