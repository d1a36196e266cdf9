"""The project's commands, run in a folder of their own on the tiny phantom stack."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.data import TINY

PROJECT = Path(__file__).resolve().parents[2]


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


def printed_rows(text: str) -> dict[str, list[str]]:
    """Cells of a printed table by their first one."""
    lines = [
        re.split(r"\s*[│|]\s*", line.strip(" │|")) for line in text.splitlines() if "│" in line
    ]
    return {cells[0]: cells[1:] for cells in lines}
