"""Trainings in processes of their own, forked from one that has loaded torch and Lightning already.

An interpreter that starts anew loads them for 5 seconds, which tests that kill many trainings would
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
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import BinaryIO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "fibseg.commands.train",
        "fibseg.training.evaluation",
        "fibseg.training.network",
        "fibseg.pages.figures",
        "fibseg.prediction.exactness",
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
    target = (list(arguments), str(log), before, dict(environment or {}))
    process = _CONTEXT.Process(target=_train, args=target)
    process.start()
    return process


def _train(
    arguments: list[str],
    log: str,
    before: Callable[[], None] | None,
    environment: dict[str, str],
) -> None:
    """The whole life of such a process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    from fibseg.commands import train

    sys.argv = ["train.py", *arguments]
    if before is not None:
        before()
    sys.exit(train.main())


@dataclass(frozen=True)
class DieInSave:
    """Kills its process while torch saves a checkpoint, with half of the file written.

    Attributes:
        first: number of the first save in which it may die, counted from 1.
        name: part of the name of the file that is saved then.
    """

    first: int
    name: str = ""

    def __call__(self) -> None:
        """Prepare this process."""
        import torch

        save = torch.save
        numbers = itertools.count(1)

        def save_or_die(content: object, file: BinaryIO) -> None:
            save(content, file)
            if next(numbers) >= self.first and self.name in file.name:
                file.truncate(file.tell() // 2)
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        torch.save = save_or_die
