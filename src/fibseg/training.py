"""What a run does once it is opened: learn, score, write."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibseg import config as configuration
from fibseg.config_checks import is_network
from fibseg.runs import RunDirectory
from fibseg.schemas import TrainConfig

if TYPE_CHECKING:  # heavy imports happen when they are needed
    from rich.console import Console

    from fibseg.checkpoint import TrainedModel
    from fibseg.dataset import AnnotatedSlice
    from fibseg.evaluation import Label
    from fibseg.ilastik import Project
    from fibseg.intensity import Window
    from fibseg.models import Model
    from fibseg.segmentation import Segmentation
    from fibseg.tracking import Tracking
    from fibseg.transfer import Start


@dataclass(frozen=True)
class Run:
    """What the steps of a run share."""

    config: TrainConfig
    provenance: dict[str, Any]
    directory: RunDirectory
    slices: dict[str, list[AnnotatedSlice]]
    window: Window
    resume_from: Path | None
    start: Start | None
    project: Project | None
    plain: dict[str, Any]
    console: Console


def train(run: Run) -> None:
    """Fit, then score the best weights and write everything."""
    from fibseg.description import class_names
    from fibseg.evaluation import evaluate, f1_by_class, write_results
    from fibseg.hardware import set_threads

    set_threads(run.provenance["threads"])
    tracking = make_tracking(run)
    with tracking.running() as final:
        label, fit_seconds = learn(run, tracking)
        start, config, names = time.perf_counter(), run.config, class_names(run.config.data)
        scores = evaluate(run.directory, names, run.slices, run.provenance["data_hash"], label, run.window)
        windows = config.windows if is_network(config) else "whole"
        facts = {
            "name": config.name, "model": config.model.architecture, "filter": config.filter.name,
            "seed": config.seed, "data": config.data.name, "windows": windows,
            "seconds": round(fit_seconds + time.perf_counter() - start, 1), **run.provenance,
        }  # fmt: skip
        final |= f1_by_class({"classes": names, "splits": {split: score.slices for split, score in scores.items()}})
    write_results(run.directory, facts, names, scores)  # last: a kill while boards are closed is no end of the run
    run.directory.remove_state()


def learn(run: Run, tracking: Tracking) -> tuple[Label, float]:
    """What labels slices in the end, and the seconds it took to train it, those before a kill included."""
    import torch

    from fibseg.checkpoint import load_model
    from fibseg.description import class_names
    from fibseg.evaluation import by_model
    from fibseg.hardware import choose_device
    from fibseg.ilastik import by_ilastik

    config, start = run.config, time.perf_counter()
    device = choose_device(config.machine.device)
    if run.project is not None:
        for name in run.project.lacking(class_names(config.data)):
            run.console.print(f"warning: no label of the project is {name}; it will score 0")
        return by_ilastik(run.project, run.directory.path / "ilastik.log", run.provenance["threads"]), 0.0
    if is_network(config):
        seconds = fit(run, *build(run), tracking)
        path = run.directory.best
    else:
        grow(run)
        seconds, path, device = time.perf_counter() - start, run.directory.forest, torch.device("cpu")
    label = by_model(
        load_model(path), run.directory, device, config.machine.window_batch,
        Path(config.machine.cache), processes(config), run.console,
    )  # fmt: skip
    return label, seconds


def grow(run: Run) -> None:
    """Train a forest and keep it, with a table of which features counted."""
    from fibseg.checkpoint import save_model
    from fibseg.features import feature_names
    from fibseg.forest import fit_forest, write_importances
    from fibseg.runs import require_disk

    config, own, start = run.config, run.config.model, time.perf_counter()
    require_disk(run.directory.path, 4 * check_model(config, run.slices), "the forest")
    network = fit_forest(
        run.slices["train"], list(config.data.classes), run.window, config.filter.areas, own.slices == "every_other",
        own.pixels, own.balance, own.trees, config.seed, run.provenance["threads"], processes(config),
        Path(config.machine.cache), run.console.print,
    )  # fmt: skip
    names = feature_names(config.filter.areas)
    rows = write_importances(run.directory.path / "features.csv", names, network.importances.numpy())
    run.console.print(f"{own.trees} trees in {time.perf_counter() - start:.0f} s")
    run.console.print("what counted most: " + "; ".join(f"{name} ({share:.1%})" for name, share in rows[:3]))
    run.directory.forest.parent.mkdir(exist_ok=True)
    save_model(described(config, run.window, "32", network, network.arguments), run.directory.forest)


def make_project(config: TrainConfig) -> Project | None:
    """Ilastik's project, looked at before anything begins; None for other models."""
    from fibseg.description import class_names
    from fibseg.ilastik import find_program, open_project

    own = config.model
    if own.architecture != "ilastik":
        return None
    return open_project(Path(own.project), find_program(own.executable), own.labels, class_names(config.data))


def make_tracking(run: Run) -> Tracking:
    """Boards that show the run while it trains, as the configuration names them."""
    from fibseg.filtered_slices import slice_channels
    from fibseg.intensity import to_8bit
    from fibseg.tracking import Panel, Tracking, open_boards

    config, tracking = run.config, run.config.tracking
    identity = configuration.wandb_identity(config, run.directory.path.name, run.provenance["tracking_id"])
    told = run.plain | {"provenance": run.provenance}
    boards = open_boards(config.logger, run.directory, identity, told, run.console.print)
    if not boards or not tracking.images_every or not run.slices["validation"]:
        return Tracking(run.directory, boards, None, 0)
    one = run.slices["validation"][len(run.slices["validation"]) // 2]
    panel = Panel(
        to_8bit(one.image, run.window),
        one.labels,
        lambda image: slice_channels([image], config.filter.areas, None, 1)[0],
    )
    return Tracking(run.directory, boards, panel, tracking.images_every)


def check_model(config: TrainConfig, slices: dict[str, list[AnnotatedSlice]]) -> int:
    """How many weights it will have; FibsegError where it cannot be built or found, or cannot learn from the slices."""
    from fibseg.description import class_names
    from fibseg.models import network_size

    if make_project(config) is not None:
        return 0
    if config.model.architecture == "forest":
        from fibseg.forest import check_slices

        check_slices(slices["train"], class_names(config.data), config.model.slices == "every_other")
    arguments = configuration.model_arguments(config, 1 + len(config.data.classes))
    return network_size(config.model.architecture, arguments, config.patches.size)


def make_model(config: TrainConfig, window: Window, precision: str) -> TrainedModel:
    """A network with the random start of the seed, and what a prediction must know of it."""
    from fibseg.models import create_model
    from fibseg.segmentation import seed_everything_of

    seed_everything_of(config.seed, epoch=-1)
    arguments = configuration.model_arguments(config, 1 + len(config.data.classes))
    network = create_model(config.model.architecture, **arguments)
    return described(config, window, precision, network, arguments)


def described(
    config: TrainConfig, window: Window, precision: str, network: Model, arguments: dict[str, Any]
) -> TrainedModel:
    """With what a prediction must know; a forest says of itself how slices are cut, which changes no label."""
    from fibseg.checkpoint import TrainedModel
    from fibseg.description import class_names, label_values
    from fibseg.prediction import LARGE

    tiles = {"kind": "tiles", "size": LARGE, "loss": 0.0, "flipped": 0.0, "slices": 0}
    return TrainedModel(
        network, config.model.architecture, arguments, class_names(config.data), label_values(config.data),
        list(config.filter.areas), config.filter.scope, window,
        [list(volume.voxel_size) for volume in config.data.volumes], config.patches.size, precision,
        None if is_network(config) else tiles,
    )  # fmt: skip


def build(run: Run) -> tuple[TrainedModel, Segmentation]:
    """The network with its start, and the module that trains it."""
    from fibseg.description import class_weights
    from fibseg.runs import require_disk
    from fibseg.segmentation import Segmentation

    config, t = run.config, run.config.training
    needed = 4 * check_model(config, run.slices) * (3 * 3 + 2)
    require_disk(run.directory.path, needed, "this run (weights and optimizer, three copies)")
    trained = make_model(config, run.window, run.provenance["precision"])
    if run.start is not None:
        run.console.print(f"starting from {run.start.where}", highlight=False)
        for line in run.start.apply(trained):
            run.console.print(f"  {line}", highlight=False)
    module = Segmentation(
        trained.network, list(trained.class_names), class_weights(config.data), t.learning_rate,
        (t.betas[0], t.betas[1]), t.eps, t.schedule, t.cross_entropy, config.seed, t.compile,
    )  # fmt: skip
    return trained, module


def fit(run: Run, trained: TrainedModel, module: Segmentation, tracking: Tracking) -> float:
    """Train, from the last whole checkpoint where there is one; gives the seconds it took, resumed ones included."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from fibseg.callbacks import FilterProgress, RunCheckpoints, TrainingProgress, make_trainer
    from fibseg.datamodule import StackDataModule
    from fibseg.hardware import choose_device
    from fibseg.tracking import MetricsFile

    config, patches = run.config, run.config.patches
    if run.resume_from is not None:
        run.console.print(f"resuming from {run.resume_from.name}")
    data = StackDataModule(
        run.slices["train"], run.slices["validation"], run.window, config.filter.areas, config.filter.scope,
        patches.size, patches.class_share, config.training.batch_size, config.training.batches,
        config.training.validation_batches, patches.validation_seed, patches.fresh_validation, config.seed,
        cache=Path(config.machine.cache), processes=processes(config), report=FilterProgress(run.console),
    )  # fmt: skip
    checkpoints = RunCheckpoints(run.directory, trained)
    shown = [MetricsFile(run.directory.metrics), tracking, TrainingProgress(run.console), checkpoints]
    device, precision = choose_device(config.machine.device), run.provenance["precision"]
    try:
        make_trainer(config.training.epochs, device, precision, shown).fit(
            module, data, ckpt_path=run.resume_from, weights_only=True
        )
    except SystemExit as error:  # Lightning makes 1 of Ctrl-C, and its own one of SIGTERM before the first batch
        if error.code == 1 or isinstance(error, SIGTERMException):
            raise KeyboardInterrupt from None
        raise
    return checkpoints.seconds


def processes(config: TrainConfig) -> int:
    """Processes that filter slices or patches."""
    from fibseg.hardware import cores

    return config.machine.processes or cores()
