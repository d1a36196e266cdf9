"""The project's commands, run in a folder of their own on the tiny phantom stack."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.data import TINY

PROJECT = Path(__file__).resolve().parents[2]


def hear_the_keyboard() -> None:
    """Take Ctrl-C again in a child before it begins: a shell's background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Commands:
    """Runs the project's commands in a folder of their own, on the tiny phantom stack."""

    def __init__(self, folder: Path, data: Path):
        self.folder = folder
        self.data = data
        (folder / "conf" / "data").mkdir(parents=True, exist_ok=True)
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
            "machine.processes=1",
            "machine.device=cpu",
        ]

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Call `train.py`, `predict.py` or `fibseg` with arguments, inside this process."""
        from tests.support.in_process import call_program  # torch is loaded by it

        line = self.line(*command)
        return call_program(line[1:] if line[0] == sys.executable else line, cwd, env)

    def run_process(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """As `run`, by the installed program in a process of its own."""
        return subprocess.run(
            self.line(*command),
            capture_output=True,
            text=True,
            check=False,
            **({"timeout": 300} | options),
        )

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start the installed program without waiting for it, so that it can be killed."""
        return subprocess.Popen(self.line(*command), text=True, **options)

    def line(self, *command: str | Path) -> list[str]:
        """The whole command line of a process."""
        name, *arguments = map(str, command)
        program = (
            [str(Path(sys.executable).with_name("fibseg"))]
            if name == "fibseg"
            else [sys.executable, str(PROJECT / name)]
        )
        return [*program, *arguments]

    def train(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        """One training by the tiny recipe."""
        return self.run("train.py", *self.recipe, *overrides)

    def run_directory(self) -> Path:
        """The only run directory there is."""
        (config,) = self.folder.glob("runs/tiny/*/config.yaml")
        return config.parent

    def refused(self, result: subprocess.CompletedProcess[str], *fragments: str) -> str:
        """The command ended with exit code 2 and one sentence, which holds the fragments."""
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
