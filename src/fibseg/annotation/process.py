"""The training of a round as a process of its own, which a window can watch and stop."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_EPOCH = re.compile(r"epoch (\d+)/(\d+)")


class TrainingProcess:
    """A running training; its text goes to a log file."""

    def __init__(self, command: Sequence[str], log: Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._start = time.monotonic()
        # A session of its own: Ctrl-C in the terminal of the window is not meant for it.
        with log.open("w") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._start

    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save its epoch and end, and do not wait for that."""
        if self.exit_code() is None:
            self._process.terminate()

    def last_line(self) -> str:
        """What it wrote last."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def share_done(self) -> float:
        """Share of the epochs that have ended, as far as its lines say so."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        epochs = _EPOCH.findall(text)
        return int(epochs[-1][0]) / int(epochs[-1][1]) if epochs else 0.0
