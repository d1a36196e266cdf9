"""The classes that `hydra/launcher=ray` and `slurm` name.

`fibseg.sweeps` is imported when a sweep starts: a single run needs none of it.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class _SetUpLauncher(Launcher, ABC):
    """Keeps the options and what Hydra hands over; it is abstract, so Hydra does not list it."""

    def __init__(self, **options: Any):
        """Keep the keys of the YAML file in conf/hydra/launcher as plain values."""
        self.options: dict[str, Any] = {
            name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for name, value in options.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        self.context = hydra_context
        self.task_function = task_function
        self.config = config

    def _launch_on(
        self, pool: Any, job_overrides: Sequence[Sequence[str]], first_number: int
    ) -> list[JobReturn]:
        from fibseg.sweeps.plan import HydraProgram

        program = HydraProgram(self.context, self.task_function, self.config)
        if self.config.hydra.job.config_name == "predict":
            from fibseg.sweeps.labelling import launch_predictions

            return launch_predictions(
                program, job_overrides, lambda folder: pool(**self._options_in(folder))
            )
        from fibseg.sweeps.driver import launch_sweep

        return launch_sweep(program, job_overrides, first_number, partial(pool, **self.options))

    def _options_in(self, folder: Path) -> dict[str, Any]:
        """The options with a folder beside the output for files that all nodes must see."""
        is_given = any(
            override.startswith("hydra.launcher.folder=")
            for override in self.config.hydra.overrides.hydra
        )
        place = {} if is_given or "folder" not in self.options else {"folder": f"{folder}/jobs/%j"}
        return self.options | place


class RayLauncher(_SetUpLauncher):
    """Runs, or the workers of a prediction, side by side on GPUs or cores, by Ray."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train every run, or label every stack, that is not finished; one result per job."""
        from fibseg.sweeps.ray_pool import RayPool

        return self._launch_on(RayPool, job_overrides, initial_job_idx)


class SlurmLauncher(_SetUpLauncher):
    """Runs, or the workers of a prediction, as jobs of Slurm, by submitit."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train every run, or label every stack, that is not finished; one result per job."""
        from fibseg.sweeps.slurm_pool import SlurmPool

        return self._launch_on(SlurmPool, job_overrides, initial_job_idx)
