"""Processes that tests kill, forked from one that has loaded torch and Lightning already.

An interpreter that starts anew loads them for 5 seconds, which tests that kill many processes would
pay each time. Imported by the processes, so it imports little.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import BinaryIO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "tests.support.forked",
        "fibseg.commands.train",
        "fibseg.training.evaluation",
        "fibseg.training.network",
        "fibseg.pages.figures",
        "fibseg.prediction.exactness",
        "fibseg.commands.measure",
        "fibseg.commands.filter",
        "fibseg.commands.finished.compare",
    ]
)


def start_training(
    arguments: Sequence[str],
    log: Path,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start train.py; the caller joins the process.

    Args:
        arguments: of train.py.
        log: file that takes what the training prints, errors too.
        before: called in the process before the program; it must bear pickling.
        environment: variables that are set in the process.
    """
    return start_function(
        _run_program, "train", list(arguments), str(log), before, dict(environment or {})
    )


def start_prediction(
    arguments: Sequence[str], log: Path, before: Callable[[], None] | None = None
) -> BaseProcess:
    """Start predict.py, whose output goes to the file `log`; the caller joins the process."""
    return start_function(_run_program, "predict", list(arguments), str(log), before, {})


def start_command(
    arguments: Sequence[str], log: Path, before: Callable[[], None] | None = None
) -> BaseProcess:
    """Start `fibseg` with arguments, as `start_training` does; the caller joins the process."""
    return start_function(_run_program, "main", list(arguments), str(log), before, {})


def start_function(function: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a function of a module; it and its arguments must bear pickling."""
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def _run_program(
    name: str,
    arguments: list[str],
    log: str,
    before: Callable[[], None] | None,
    environment: dict[str, str],
) -> None:
    """The whole life of a process that is `train` or `predict`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    program = import_module(f"fibseg.commands.{name}")
    sys.argv = [f"{name}.py", *arguments]
    if before is not None:
        before()
    sys.exit(program.main())


@dataclass(frozen=True)
class DieInSave:
    """Kills its process while it saves a model or a checkpoint, with half of the file written.

    Attributes:
        first: number of the first save in which it may die, counted from 1.
        name: part of the name of the file that is saved then.
    """

    first: int
    name: str = ""

    def __call__(self) -> None:
        """Prepare this process."""
        from fibseg.models import checkpoints

        save = checkpoints._write
        numbers = itertools.count(1)

        def save_or_die(path: Path, write: Callable[[BinaryIO], object]) -> None:
            def write_half(file: BinaryIO) -> None:
                write(file)
                if next(numbers) >= self.first and self.name in path.name:
                    file.truncate(file.tell() // 2)
                    file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)

            save(path, write_half)

        checkpoints._write = save_or_die
