"""What `hydra/launcher=ray` and `hydra/launcher=slurm` name. The work is done in `_sweep`, imported when it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class RayLauncher(Launcher):
    """Runs of a sweep side by side, each with GPUs and cores of its own, by Ray."""

    def __init__(self, **options: Any):
        """The keys of conf/hydra/launcher/ray.yaml."""
        self.options: dict[str, Any] = {
            k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v
            for k, v in options.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train every run that is not finished; one result for each."""
        from fibseg.sweeps.driver import launch_sweep
        from fibseg.sweeps.ray_pool import RayPool

        return launch_sweep(
            self.context,
            self.task,
            self.config,
            job_overrides,
            initial_job_idx,
            RayPool,
            self.options,
        )


class SlurmLauncher(RayLauncher):
    """Runs of a sweep as jobs of Slurm, by submitit."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train every run that is not finished; one result for each."""
        from fibseg.sweeps.driver import launch_sweep
        from fibseg.sweeps.slurm_pool import SlurmPool

        return launch_sweep(
            self.context,
            self.task,
            self.config,
            job_overrides,
            initial_job_idx,
            SlurmPool,
            self.options,
        )


class ShardLauncher(RayLauncher):
    """Shards of a prediction side by side, a process each."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Label every shard; one result for each."""
        from fibseg.sweeps.shards import launch_shards

        return launch_shards(
            self.config, job_overrides, self.options["at_once"], self.options["retries"]
        )
