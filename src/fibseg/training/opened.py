"""A run that is opened: its configuration, slices, start and directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibseg.config.checks import is_network
from fibseg.config.derived import model_arguments, start_source
from fibseg.config.schemas import TrainConfig
from fibseg.runs.directory import RunDirectory

if TYPE_CHECKING:  # heavy imports happen when they are needed
    from rich.console import Console

    from fibseg.data.grey import GreyRange
    from fibseg.data.slices import AnnotatedSlice
    from fibseg.models.kinds import Model
    from fibseg.models.start import Start
    from fibseg.models.trained import TrainedModel
    from fibseg.training.ilastik import IlastikProject
import secrets

from fibseg.errors import FibsegError

if TYPE_CHECKING:  # heavy imports happen when they are needed: --help answers at once
    from rich.console import Console

    from fibseg.data.slices import AnnotatedSlice

    pass
    from fibseg.models.start import Start


@dataclass(frozen=True)
class OpenedRun:
    """What the steps of a run share."""

    config: TrainConfig
    provenance: dict[str, Any]
    directory: RunDirectory
    slices: dict[str, list[AnnotatedSlice]]
    window: GreyRange
    resume_from: Path | None
    start: Start | None
    project: IlastikProject | None
    plain: dict[str, Any]
    console: Console


def make_project(config: TrainConfig) -> IlastikProject | None:
    """Ilastik's project, looked at before anything begins; None for other models."""
    from fibseg.data.description import class_names
    from fibseg.training.ilastik import find_program, open_project

    own = config.model
    if own.architecture != "ilastik":
        return None
    return open_project(
        Path(own.project), find_program(own.executable), own.labels, class_names(config.data)
    )


def check_model(config: TrainConfig, slices: dict[str, list[AnnotatedSlice]]) -> int:
    """How many weights it will have; FibsegError where it cannot be built or found, or cannot learn from the slices."""
    from fibseg.data.description import class_names
    from fibseg.models.kinds import network_size

    if make_project(config) is not None:
        return 0
    if config.model.architecture == "forest":
        from fibseg.training.forest import check_slices

        check_slices(
            slices["train"], class_names(config.data), config.model.slices == "every_other"
        )
    arguments = model_arguments(config, 1 + len(config.data.classes))
    return network_size(config.model.architecture, arguments, config.patches.size)


def make_model(config: TrainConfig, window: GreyRange, precision: str) -> TrainedModel:
    """A network with the random start of the seed, and what a prediction must know of it."""
    from fibseg.models.kinds import create_model
    from fibseg.training.module import seed_everything_of

    seed_everything_of(config.seed, epoch=-1)
    arguments = model_arguments(config, 1 + len(config.data.classes))
    network = create_model(config.model.architecture, **arguments)
    return trained_model(config, window, precision, network, arguments)


def trained_model(
    config: TrainConfig,
    window: GreyRange,
    precision: str,
    network: Model,
    arguments: dict[str, Any],
) -> TrainedModel:
    """With what a prediction must know; a forest says of itself how slices are cut, which changes no label."""
    from fibseg.data.description import class_names, label_values
    from fibseg.models.trained import TrainedModel
    from fibseg.prediction.windows import LARGE

    tiles = {"kind": "tiles", "size": LARGE, "loss": 0.0, "flipped": 0.0, "slices": 0}
    return TrainedModel(
        network,
        config.model.architecture,
        arguments,
        class_names(config.data),
        label_values(config.data),
        list(config.filter.areas),
        config.filter.scope,
        window,
        [list(volume.voxel_size) for volume in config.data.volumes],
        config.patches.size,
        precision,
        None if is_network(config) else tiles,
    )


def filter_processes(config: TrainConfig) -> int:
    """Processes that filter slices or patches."""
    from fibseg.machine import cores

    return config.machine.processes or cores()


def open_run(
    config: TrainConfig,
    plain: dict[str, Any],
    told: dict[str, Any],
    before: dict[str, Any] | None,
    directory: RunDirectory,
    slices: dict[str, list[AnnotatedSlice]],
    console: Console,
) -> OpenedRun:
    """Settle what the machine decides, or keep what the directory says; write config.yaml."""
    from fibseg.data.grey import grey_range
    from fibseg.data.inspection import inspect
    from fibseg.runs.identity import write_config
    from fibseg.training.callbacks import usable_checkpoint

    pass

    window = grey_range([one.image for one in slices["train"]], config.data.intensity)
    resume_from = usable_checkpoint(directory)
    start = None if resume_from is not None else read_start(config)
    project = make_project(config)
    if start is not None:
        start.apply(
            make_model(config, window, "32")
        )  # a file that does not fit leaves no config.yaml
    from_file = start or project
    told |= {"start_hash": from_file.identity() if from_file is not None else None}
    provenance = before["provenance"] if before is not None else told | settle(config)
    if before is None:
        write_config(directory, plain | {"provenance": provenance})
    counts = ", ".join(
        f"{len(found)} {split.replace('_', ' ')}" for split, found in slices.items() if found
    )
    console.print(
        f"data {config.data.name}: {counts} slices; grey values {window.low:g} to {window.high:g}"
    )
    if resume_from is None:
        for finding in inspect(config.data, slices):
            console.print(f"{finding.level}: {finding.text}", markup=False, highlight=False)
    return OpenedRun(
        config, provenance, directory, slices, window, resume_from, start, project, plain, console
    )


def settle(config: TrainConfig) -> dict[str, Any]:
    """What this machine decides at the start of a run, and a resumed run keeps."""
    from fibseg.machine import choose_device, choose_precision, set_threads, versions
    from fibseg.models.kinds import ARCHITECTURES

    network = is_network(config)
    device = choose_device(config.machine.device)
    threads = set_threads(config.machine.threads)
    depthwise = network and ARCHITECTURES[config.model.architecture].depthwise
    precision = choose_precision(config.training.precision if network else "32", device, depthwise)
    kind = device.type if network else "cpu"
    found = {"device": kind, "threads": threads, "precision": precision, "versions": versions()}
    return found | {"tracking_id": secrets.token_hex(6)}


def read_start(config: TrainConfig) -> Start | None:
    """The weights to start from, where the configuration says so."""
    from fibseg.models.start import Start, imagenet_weights, read_weights
    from fibseg.models.trained import load_model
    from fibseg.runs.directory import find_checkpoint

    source = start_source(config)
    if source is None:
        return None
    if config.init_from is not None:
        return Start(source, run=load_model(find_checkpoint(Path(source))))
    return Start(
        source,
        imagenet_weights(config.model.encoder)
        if source == "imagenet"
        else read_weights(Path(source)),
    )


def check_start(config: TrainConfig, before: dict[str, Any], directory: RunDirectory) -> None:
    """FibsegError if the weights, or the project, that the run began from have changed; they may be gone."""
    from fibseg.training.ilastik import file_digest

    source = start_source(config)
    project = Path(config.model.project) if config.model.architecture == "ilastik" else None
    if (
        project is not None
        and project.exists()
        and file_digest(project) != before["provenance"].get("start_hash")
    ):
        raise FibsegError(
            f"{directory.path}: was made with another {project}; give another name=, or delete it."
        )
    if source is None or source == "imagenet" or not Path(source).exists():
        return
    if (start := read_start(config)) and start.identity() != before["provenance"].get("start_hash"):
        raise FibsegError(
            f"{directory.path}: began with other weights of {source}; give another name=, or delete it."
        )
