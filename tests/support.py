"""What tests share: the tiny phantom data set, and the project's commands run in a folder of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    VolumeDescription,
)

SHAPE = (9, 96, 96)
SPLIT = {"train": ["0:4"], "validation": ["4:6"], "test": [7, 8]}


def describe(root: Path, volume: dict[str, Any] | None = None, **changes: Any) -> DataDescription:
    """A description of the phantom folder, with some values changed."""
    classes = {
        name: ClassDescription(i, 1.0)
        for i, name in enumerate(("mitochondrion", "membrane", "er"), 1)
    }
    entry = {
        "image": "image.tif",
        "labels": "labels.tif",
        "voxel_size": [20, 5, 5],
        "split": dict(SPLIT),
    }
    values: dict[str, Any] = {
        "name": "tiny",
        "root": str(root),
        "classes": classes,
        "background": BackgroundDescription([0], 0.1),
        "ignore": None,
        "intensity": IntensityDescription(0.1, 99.9),
        "volumes": [VolumeDescription(**(entry | (volume or {})))],
        "phantom": None,
    }
    return DataDescription(**(values | changes))


TINY = """
name: tiny
root: data/tiny
classes: {mitochondrion: {label: 1, weight: 0.7}, membrane: {label: 2, weight: 1.0}, er: {label: 3, weight: 0.9}}
background: {labels: [0], weight: 0.1}
ignore: null
intensity: {low: 0.1, high: 99.9}
volumes:
  - image: image.tif
    labels: labels.tif
    voxel_size: [20, 5, 5]
    split: {train: ["0:4"], validation: ["4:6"], test: [7, 8]}
phantom: null
"""
PROJECT = Path(__file__).resolve().parents[1]


def hear_the_keyboard() -> None:
    """In a child before it begins: take Ctrl-C, which a shell's background jobs are told to ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Commands:
    """Runs the project's commands in a folder of their own, on the tiny phantom stack."""

    def __init__(self, folder: Path, data: Path):
        self.folder, self.data = folder, data
        (folder / "conf" / "data").mkdir(parents=True)
        (folder / "conf" / "data" / "tiny.yaml").write_text(TINY)

    @property
    def recipe(self) -> list[str]:
        """Arguments of a training of seconds, on one thread."""
        return [
            f"--config-dir={self.folder / 'conf'}",
            "data=tiny",
            f"data.root={self.data}",
            "model.width=2",
            "model.norm_momentum=0.1",
            "patches.size=32",
            "training.epochs=3",
            "training.batches=4",
            "training.validation_batches=2",
            "training.precision=32",
            f"machine.runs={self.folder / 'runs'}",
            f"machine.cache={self.folder / 'cache'}",
            "machine.threads=1",
            "machine.device=cpu",
        ]

    def run(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `train.py`, `predict.py` or `fibseg` with arguments; what they print comes back as text."""
        options = {"timeout": 300} | options
        return subprocess.run(
            self.line(*command), capture_output=True, text=True, check=False, **options
        )

    def line(self, *command: str | Path) -> list[str]:
        """The whole command line."""
        name, *arguments = map(str, command)
        program = (
            [str(Path(sys.executable).with_name("fibseg"))]
            if name == "fibseg"
            else [sys.executable, PROJECT / name]
        )
        return [*map(str, program), *arguments]

    def train(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        """One training by the tiny recipe."""
        return self.run("train.py", *self.recipe, *overrides)

    def run_directory(self) -> Path:
        """The only run directory there is."""
        (found,) = (path.parent for path in self.folder.glob("runs/tiny/*/config.yaml"))
        return found

    def refused(self, result: subprocess.CompletedProcess[str], *fragments: str) -> str:
        """The command ended with one sentence that holds the fragments, and with an exit code that is not 0."""
        assert result.returncode == 2, result.stderr
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error: ")
        for fragment in fragments:
            assert fragment in lines[0]
        return lines[0].removeprefix("error: ")
