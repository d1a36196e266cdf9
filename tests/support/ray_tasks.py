"""Tasks for Ray that train nothing, so that their processes start quickly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from fibseg.config.compose import CONF, register
from fibseg.sweeps.job import Task
from fibseg.sweeps.plan import HydraProgram, plan_run
from tests.support.commands import Commands

WAIT_SECONDS = 60


def plan_tasks(commands: Commands, function: Callable[..., Any], count: int) -> list[Task]:
    """Tasks of the tiny recipe, with seeds from 0 on, that call a function and train nothing."""
    config_dir, *recipe = commands.recipe
    search_path = f"hydra.searchpath=[file://{config_dir.partition('=')[2]}]"
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", [search_path], RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        program = HydraProgram(context, function, config)
        return [plan_run(program, [*recipe, f"seed={seed}"], seed).task for seed in range(count)]


def meet(folder: Path, count: int, config: DictConfig) -> None:
    """Wait until as many tasks are at work at once; the file of each one holds its process."""
    (folder / f"seed-{config.seed}").write_text(str(os.getpid()))
    end = time.monotonic() + WAIT_SECONDS
    while len(list(folder.glob("seed-*"))) < count:
        assert time.monotonic() < end, "the other tasks do not come"
        time.sleep(0.02)


def meeting(folder: Path, count: int) -> Callable[[DictConfig], None]:
    """`meet` with the folder and the number of tasks."""
    folder.mkdir(exist_ok=True)
    return partial(meet, folder, count)


def processes_that_met(folder: Path) -> Sequence[int]:
    """Processes of the tasks that came to the meeting."""
    return [int(path.read_text() or 0) for path in sorted(folder.glob("seed-*"))]


def end_badly(config: DictConfig) -> None:
    """An end for each seed: killed, interrupted, an error."""
    if config.seed == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if config.seed == 1:
        raise KeyboardInterrupt
    raise ValueError("no such value")
