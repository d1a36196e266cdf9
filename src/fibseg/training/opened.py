"""A run that is opened: what is settled before its training begins, and what its steps share."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibseg import machine
from fibseg.config.derived import IMAGENET, model_arguments, object_rules, start_source
from fibseg.config.schemas import TrainConfig
from fibseg.errors import FibsegError
from fibseg.machine import choose_device, cores
from fibseg.models.kinds import create_model, network_size
from fibseg.runs.directory import RunDirectory, find_checkpoint
from fibseg.runs.identity import check_same, read_config, write_config

# torch, Lightning, scikit-learn and h5py are imported where they are needed, so that a finished run
# is reported at once.
if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.data.grey import GreyRange
    from fibseg.data.volume import AnnotatedSlice
    from fibseg.models.kinds import Model
    from fibseg.models.start import Start
    from fibseg.models.trained import TrainedModel
    from fibseg.training.ilastik import IlastikProject

Slices = dict[str, "list[AnnotatedSlice]"]
"""Annotated slices by split: train, validation, test and second_expert."""


@dataclass(frozen=True)
class OpenedRun:
    """What the steps of a run share.

    Attributes:
        config: the composed configuration.
        plain: the same as plain mappings, as config.yaml holds it.
        provenance: hashes, threads, precision, device and versions that the run began with.
        directory: of the run.
        slices: annotated slices by split.
        grey_range: grey values that become 0 and 255.
        resume_from: the checkpoint to resume from; None for a training from its start.
        start: weights to start from; None for a random start.
        project: of Ilastik, for `model=ilastik`.
        console: takes what a person reads.
    """

    config: TrainConfig
    plain: dict[str, Any]
    provenance: dict[str, Any]
    directory: RunDirectory
    slices: Slices
    grey_range: GreyRange
    resume_from: Path | None
    start: Start | None
    project: IlastikProject | None
    console: Console

    @property
    def cache(self) -> Path:
        """Folder of filtered slices, shared by all runs."""
        return Path(self.config.machine.cache)

    @property
    def filter_threads(self) -> int:
        """Slices and patches that are filtered at a time."""
        return self.config.machine.processes or cores()


@dataclass(frozen=True)
class Request:
    """What was asked for, before the run directory is looked at.

    Attributes:
        config: the composed configuration.
        plain: the same as plain mappings.
        slices: annotated slices by split.
        hashes: "config_hash" and "data_hash", with "overrides", what was typed.
    """

    config: TrainConfig
    plain: dict[str, Any]
    slices: Slices
    hashes: dict[str, Any]

    def grey_range(self) -> GreyRange:
        """The grey values that become 0 and 255, from the training slices."""
        from fibseg.data.grey import grey_range

        training_images = [annotated.grey_values for annotated in self.slices["train"]]
        return grey_range(training_images, self.config.data.intensity)


def open_run(
    request: Request, earlier: dict[str, Any] | None, directory: RunDirectory, console: Console
) -> OpenedRun:
    """Settle what the machine decides, or keep what the directory says; write config.yaml.

    The caller holds the lock of the directory; `earlier` comes from `read_earlier`.

    Raises:
        FibsegError: weights or project cannot be read, or do not fit.
    """
    from fibseg.data.inspection import inspect
    from fibseg.training.callbacks import usable_checkpoint
    from fibseg.training.report import print_counts

    config = request.config
    grey = request.grey_range()
    resume_from = usable_checkpoint(directory)
    # A resumed run has left its start behind, and the file may be gone.
    start = None if resume_from is not None else read_start(config)
    project = open_project_of(config)
    if start is not None:
        # A file that does not fit is reported before config.yaml is written.
        start.apply(make_model(config, grey, precision="32"))
    # A resumed run keeps its threads and its precision: others would give other weights.
    if earlier is not None:
        provenance = earlier["provenance"]
    else:
        source = start or project
        start_hash = source.identity() if source is not None else None
        provenance = request.hashes | {"start_hash": start_hash} | settle(config)
        write_config(directory, request.plain | {"provenance": provenance})
    print_counts(config.data.name, request.slices, grey, console)
    # A resumed run has reported these doubts already.
    if resume_from is None:
        for finding in inspect(config.data, request.slices):
            console.print(f"{finding.level}: {finding.text}", markup=False, highlight=False)
    return OpenedRun(
        config=config,
        plain=request.plain,
        provenance=provenance,
        directory=directory,
        slices=request.slices,
        grey_range=grey,
        resume_from=resume_from,
        start=start,
        project=project,
        console=console,
    )


def read_earlier(request: Request, directory: RunDirectory) -> dict[str, Any] | None:
    """Read config.yaml of the run that the directory holds; None where it holds none.

    Raises:
        FibsegError: that run has other settings, data or start.
    """
    earlier = read_config(directory)
    if earlier is not None:
        check_same(directory, earlier, request.plain | {"provenance": request.hashes})
        _check_start(request.config, earlier["provenance"].get("start_hash"), directory)
    return earlier


def settle(config: TrainConfig) -> dict[str, Any]:
    """Settle what this machine decides at the start of a run, and a resumed run keeps."""
    kind = config.kind
    device = choose_device(config.machine.device)
    threads = machine.set_threads(config.machine.threads)
    # Only networks compute in half precision.
    wanted = config.training.precision if kind.by_gradient else "32"
    precision = machine.choose_precision(wanted, device, kind.depthwise)
    return {
        "device": device.type if kind.by_gradient else "cpu",
        "device_name": machine.device_name(device) if kind.by_gradient else None,
        "threads": threads,
        "precision": precision,
        # A fact of the device, which no key asks for.
        "tf32": kind.by_gradient and machine.rounds_to_tf32(device, precision),
        "versions": machine.versions(),
        # One id for every start of a run, so that a board shows one run.
        "tracking_id": secrets.token_hex(6),
    }


def check_model(config: TrainConfig, slices: Slices) -> int:
    """Count the numbers that the model will have.

    Raises:
        FibsegError: it cannot be built or found, or cannot learn from the slices.
    """
    from fibseg.data.description import class_names

    if open_project_of(config) is not None:
        return 0
    if config.kind.compiled:
        from fibseg.training.forest import check_slices

        every_other = config.model.slices == "every_other"
        check_slices(slices["train"], class_names(config.data), every_other)
    architecture = config.model.architecture
    return network_size(architecture, model_arguments(config), config.patches.size)


def make_model(config: TrainConfig, grey: GreyRange, precision: str) -> TrainedModel:
    """Make a network with the random start of the seed, and what a prediction must know."""
    from fibseg.training.module import seed_torch

    seed_torch(config.seed, epoch=-1)
    arguments = model_arguments(config)
    network = create_model(config.model.architecture, **arguments)
    return describe_model(
        config=config, grey=grey, precision=precision, network=network, arguments=arguments
    )


def describe_model(
    config: TrainConfig,
    grey: GreyRange,
    precision: str,
    network: Model,
    arguments: dict[str, Any],
) -> TrainedModel:
    """Put together a network and what a prediction must know of it.

    Args:
        config: of the run.
        grey: grey values that become 0 and 255.
        precision: of the training.
        network: made from `arguments`, which is or will be trained.
        arguments: of `create_model`.
    """
    from fibseg.data.description import class_names, label_values
    from fibseg.models.trained import TrainedModel
    from fibseg.prediction.windows import unchecked_windows

    return TrainedModel(
        network=network,
        architecture=config.model.architecture,
        arguments=arguments,
        class_names=class_names(config.data),
        label_values=label_values(config.data),
        channels=config.channels,
        grey_range=grey,
        voxel_sizes=[list(volume.voxel_size) for volume in config.data.volumes],
        patch_size=config.patches.size,
        precision=precision,
        windows=unchecked_windows(config.kind),
        objects=object_rules(config),
    )


def open_project_of(config: TrainConfig) -> IlastikProject | None:
    """Open Ilastik's project before anything begins; None for other models."""
    if config.kind.network is not None:
        return None
    from fibseg.data.description import class_names
    from fibseg.training.ilastik import find_program, open_project

    model = config.model
    program = find_program(model.executable)
    return open_project(Path(model.project), program, model.labels, class_names(config.data))


def read_start(config: TrainConfig) -> Start | None:
    """Read the weights to start from, where the configuration names any."""
    source = start_source(config)
    if source is None:
        return None
    from fibseg.models.start import Start
    from fibseg.models.trained import load_model
    from fibseg.models.weight_files import imagenet_weights, read_weights

    if config.init_from is not None:
        return Start(source, run=load_model(find_checkpoint(Path(source))))
    if source == IMAGENET:
        return Start(source, imagenet_weights(config.model.encoder))
    return Start(source, read_weights(Path(source)))


def _check_start(config: TrainConfig, start_hash: str | None, directory: RunDirectory) -> None:
    """Raise FibsegError if the weights or the project that a run began from have changed.

    They may be gone: a run does not need them again.
    """
    if config.kind.network is None:
        from fibseg.training.ilastik import file_digest

        project = Path(config.model.project)
        if project.exists() and file_digest(project) != start_hash:
            raise FibsegError(
                f"{directory.path}: was made with another {project}; "
                "give another name=, or delete it."
            )
    source = start_source(config)
    if source is None or source == IMAGENET or not Path(source).exists():
        return
    start = read_start(config)
    if start is not None and start.identity() != start_hash:
        raise FibsegError(
            f"{directory.path}: began with other weights of {source}; "
            "give another name=, or delete it."
        )
