"""The plan of a sweep: every run is composed and checked before the first one starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from fibseg.config.compose import run_path, train_config, without_hydra
from fibseg.config.derived import model_arguments
from fibseg.config.schemas import TrainConfig
from fibseg.data.description import class_names
from fibseg.data.slices import data_hash, few_training_slices, load_slices
from fibseg.files import require_disk
from fibseg.models.kinds import BYTES_PER_NUMBER, network_size
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import read_scores
from fibseg.sweeps.job import Task
from fibseg.sweeps.progress import SweepRun

NETWORKS_PER_RUNNING_RUN = 10
"""Room for the checkpoints of a training in progress, in sizes of its network.

Weights and Adam's two moments, in three checkpoints (the last, the one before, and the one that is
being written), and the best weights while they are written anew.
"""


@dataclass(frozen=True)
class HydraProgram:
    """A program whose runs are swept, as Hydra hands it to a launcher.

    Attributes:
        context: Hydra's configuration loader and callbacks.
        function: the function that runs the program with one configuration.
        config: the composed configuration without the overrides of the sweep.
    """

    context: HydraContext
    function: TaskFunction
    config: DictConfig


@dataclass(frozen=True)
class PlannedRun:
    """A run that is composed and checked, but not started.

    Attributes:
        task: what a worker process needs to train it.
        config: its configuration.
        overrides: its overrides of the command line, as ["model=unet", "seed=3"].
    """

    task: Task
    config: TrainConfig
    overrides: list[str]

    @property
    def directory(self) -> RunDirectory:
        """Its run directory."""
        return self.task.directory


def plan_run(program: HydraProgram, overrides: Sequence[str], number: int) -> PlannedRun:
    """Compose and check the job with this number.

    Raises:
        FibsegError: a value is impossible.
    """
    composed = program.context.config_loader.load_sweep_config(program.config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = str(number)
        composed.hydra.job.num = number
    # The name of a run directory depends on the choices that Hydra made for this job.
    HydraConfig.instance().set_config(composed)
    # The schemas of conf/ know nothing of Hydra's own settings.
    config, plain = train_config(without_hydra(composed))
    task = Task(
        context=program.context,
        function=program.function,
        # Taken now: the next job puts its own configuration into HydraConfig.
        singletons=Singleton.get_state(),
        config=composed,
        directory=RunDirectory(run_path(config, plain)),
        working_directory=Path.cwd(),
    )
    return PlannedRun(task, config, list(overrides))


def seed_by_seed(planned: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Order runs so that each configuration has a seed before any has the next one.

    A sweep that is read half way then compares configurations on the same seeds. Seeds, and the
    runs of a seed, stay in the order of the command line.
    """
    runs = list(planned)
    rank = {seed: k for k, seed in enumerate(dict.fromkeys(run.config.seed for run in runs))}
    return sorted(runs, key=lambda run: rank[run.config.seed])


def group_labels(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """What varies between the jobs, apart from the seed.

    >>> group_labels([["data=vnc", "filter=on", "seed=0"], ["data=vnc", "filter=off", "seed=0"]])
    ['filter=on', 'filter=off']
    """
    # The seed varies within a group: deviations over seeds are what a group is for.
    common = set(job_overrides[0]).intersection(*job_overrides[1:])
    labels = []
    for overrides in job_overrides:
        varying = [
            override
            for override in overrides
            if override not in common and not override.startswith("seed=")
        ]
        labels.append(" ".join(varying) or "all")
    return labels


def sweep_runs(planned: Sequence[PlannedRun]) -> list[SweepRun]:
    """The runs of a sweep, none of them started yet."""
    labels = group_labels([planned_run.overrides for planned_run in planned])
    return [
        SweepRun(
            directory=planned_run.directory,
            group=label,
            seed=planned_run.config.seed,
            epochs=_epochs(planned_run.config),
        )
        for planned_run, label in zip(planned, labels, strict=True)
    ]


def _epochs(config: TrainConfig) -> int:
    """Epochs of a training; a model that is not trained by gradient descent counts as one."""
    return config.training.epochs if config.kind.by_gradient else 1


def finished_results(
    planned: Sequence[PlannedRun], runs: Sequence[SweepRun]
) -> dict[int, JobReturn]:
    """Results of runs that are finished already, by position; their state becomes "skipped".

    Each data set is read once. A mistake in the data therefore ends the sweep here, before any run
    starts. A run whose data changed since it was trained has no result here: the run itself reports
    that, and fails alone.
    """
    hash_by_data: dict[str, str] = {}
    results = {}
    for index, (planned_run, run) in enumerate(zip(planned, runs, strict=True)):
        data = planned_run.config.data
        # A description holds lists, which cannot be keys themselves.
        if repr(data) not in hash_by_data:
            slices = load_slices(data)
            few_training_slices(slices, data)  # for its mistakes
            hash_by_data[repr(data)] = data_hash(slices, class_names(data))
        # A run with damaged files has no score; it reports the damage itself, and fails alone.
        score = run.score() if run.directory.scores.exists() else None
        # One that was killed before its pictures were drawn draws them, which takes seconds.
        if score is None or run.directory.lacking_pictures():
            continue
        if read_scores(run.directory).facts.get("data_hash") != hash_by_data[repr(data)]:
            continue
        if run.is_free():
            # A kill between writing the scores and removing the checkpoints leaves them behind.
            run.directory.remove_state()
        run.state = "skipped"
        results[index] = JobReturn(
            overrides=planned_run.overrides, status=JobStatus.COMPLETED, _return_value=score
        )
    return results


def check_disk(planned: Sequence[PlannedRun], slots: int) -> None:
    """Check that every network can be made, and that the checkpoints of all runs fit on the disk.

    Raises:
        FibsegError: too little room, or a network that cannot be made.
    """
    bytes_by_network: dict[str, int] = {}
    best_weights = 0
    largest_state = 0
    unfinished = [
        planned_run for planned_run in planned if not planned_run.directory.scores.exists()
    ]
    for planned_run in unfinished:
        config = planned_run.config
        if not config.kind.keeps_model:
            continue
        arguments = model_arguments(config)
        # Once per network: the runs of a grid share a few.
        key = repr((config.model.architecture, arguments, config.patches.size))
        if key not in bytes_by_network:
            weights = network_size(config.model.architecture, arguments, config.patches.size)
            bytes_by_network[key] = BYTES_PER_NUMBER * weights
        best_weights += bytes_by_network[key]
        # Other models keep no state of an optimizer.
        if config.kind.by_gradient:
            largest_state = max(largest_state, bytes_by_network[key] * NETWORKS_PER_RUNNING_RUN)
    # Runs that wait need no checkpoints yet, and those that ended have removed theirs.
    require_disk(
        planned[0].directory.path,
        best_weights + largest_state * min(slots, len(unfinished)),
        f"this sweep ({len(unfinished)} runs to train: the best weights of each, and the "
        "checkpoints of those that run at once)",
    )
