"""One training run: compose, build, fit, score, write the run directory.

python train.py data=vnc data.root=DIR experiment=quick seed=1
"""

from __future__ import annotations

import secrets
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fibseg import config as configuration
from fibseg.errors import FibsegError
from fibseg.runs import RunDirectory
from fibseg.schemas import TrainConfig
from fibseg.sentences import run_with_sentences

if TYPE_CHECKING:  # heavy imports happen when they are needed: --help answers at once
    from rich.console import Console

    from fibseg.checkpoint import TrainedModel
    from fibseg.dataset import AnnotatedSlice
    from fibseg.intensity import Window
    from fibseg.segmentation import Segmentation
    from fibseg.tracking import Tracking
    from fibseg.transfer import Start

configuration.register()


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
    plain: dict[str, Any]
    console: Console


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(composed: DictConfig) -> float:
    """Train and score one run; gives the mean F1 of the classes over the validation slices."""
    from rich.console import Console

    from fibseg.dataset import data_hash, load_slices
    from fibseg.description import class_names
    from fibseg.evaluation import report
    from fibseg.runs import check_same, config_hash, read_config

    config, plain = configuration.train_config(composed)
    slices = load_slices(config.data)  # before there is a directory: a mistake in the data leaves none
    told = {
        "config_hash": config_hash(plain),
        "data_hash": data_hash(slices, class_names(config.data)),
        "overrides": list(HydraConfig.get().overrides.task),
    }
    directory = RunDirectory(configuration.run_path(config, plain))
    console = Console(soft_wrap=True)
    if not directory.scores.exists():
        check_network(config)
    with directory.lock():
        console.print(f"run {directory.path}", highlight=False)
        before = read_config(directory)
        if before is not None:
            check_same(directory, before, plain | {"provenance": told})
            check_start(config, before, directory)
        if directory.scores.exists():
            console.print("finished already; its scores:")
            directory.remove_state()
            return report(directory, console)
        directory.error.unlink(missing_ok=True)
        try:
            train(open_run(config, plain, told, before, directory, slices, console))
        except (Exception, KeyboardInterrupt):
            directory.error.write_text(traceback.format_exc(), encoding="utf-8")
            raise
        return report(directory, console)


def open_run(
    config: TrainConfig,
    plain: dict[str, Any],
    told: dict[str, Any],
    before: dict[str, Any] | None,
    directory: RunDirectory,
    slices: dict[str, list[AnnotatedSlice]],
    console: Console,
) -> Run:
    """Settle what the machine decides, or keep what the directory says; write config.yaml."""
    from fibseg.callbacks import usable_checkpoint
    from fibseg.checking import inspect
    from fibseg.intensity import intensity_window
    from fibseg.runs import write_config

    window = intensity_window([one.image for one in slices["train"]], config.data.intensity)
    resume_from = usable_checkpoint(directory)
    start = None if resume_from is not None else read_start(config)
    if start is not None:
        start.apply(make_model(config, window, "32"))  # a file that does not fit leaves no config.yaml
    told |= {"start_hash": start.identity() if start is not None else None}
    provenance = before["provenance"] if before is not None else told | settle(config)
    if before is None:
        write_config(directory, plain | {"provenance": provenance})
    counts = ", ".join(f"{len(found)} {split.replace('_', ' ')}" for split, found in slices.items() if found)
    console.print(f"data {config.data.name}: {counts} slices; grey values {window.low:g} to {window.high:g}")
    if resume_from is None:
        for finding in inspect(config.data, slices):
            console.print(f"{finding.level}: {finding.text}", markup=False, highlight=False)
    return Run(config, provenance, directory, slices, window, resume_from, start, plain, console)


def settle(config: TrainConfig) -> dict[str, Any]:
    """What this machine decides at the start of a run, and a resumed run keeps."""
    from fibseg.hardware import choose_device, choose_precision, set_threads, versions
    from fibseg.models import ARCHITECTURES

    device = choose_device(config.machine.device)
    threads = set_threads(config.machine.threads)
    precision = choose_precision(config.training.precision, device, ARCHITECTURES[config.model.architecture].depthwise)
    found = {"device": device.type, "threads": threads, "precision": precision, "versions": versions()}
    return found | {"tracking_id": secrets.token_hex(6)}


def train(run: Run) -> None:
    """Fit, then score the best weights and write everything."""
    from fibseg.checkpoint import load_model
    from fibseg.description import class_names
    from fibseg.evaluation import evaluate, f1_by_class, write_results
    from fibseg.hardware import choose_device, set_threads

    set_threads(run.provenance["threads"])
    tracking = make_tracking(run)
    with tracking.running() as final:
        trained, module = build(run)
        fit_seconds = fit(run, trained, module, tracking)
        start, config, names = time.perf_counter(), run.config, class_names(run.config.data)
        scores = evaluate(
            run.directory, load_model(run.directory.best), run.slices, run.provenance,
            choose_device(config.machine.device), config.machine.window_batch, Path(config.machine.cache),
            processes(config), run.console,
        )  # fmt: skip
        facts = {
            "name": config.name, "model": config.model.architecture, "filter": config.filter.name,
            "seed": config.seed, "data": config.data.name, "windows": config.windows,
            "seconds": round(fit_seconds + time.perf_counter() - start, 1), **run.provenance,
        }  # fmt: skip
        final |= f1_by_class({"classes": names, "splits": {split: score.slices for split, score in scores.items()}})
    write_results(run.directory, facts, names, scores)  # last: a kill while boards are closed is no end of the run
    run.directory.remove_state()


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


def check_network(config: TrainConfig) -> int:
    """Number of the network's weights; FibsegError where it cannot be built or a patch is too small for it."""
    from fibseg.models import network_size

    arguments = configuration.model_arguments(config, 1 + len(config.data.classes))
    return network_size(config.model.architecture, arguments, config.patches.size)


def make_model(config: TrainConfig, window: Window, precision: str) -> TrainedModel:
    """A network with the random start of the seed, and what a prediction must know of it."""
    from fibseg.checkpoint import TrainedModel
    from fibseg.description import class_names, label_values
    from fibseg.models import create_model
    from fibseg.segmentation import seed_everything_of

    seed_everything_of(config.seed, epoch=-1)
    names = class_names(config.data)
    arguments = configuration.model_arguments(config, len(names))
    network = create_model(config.model.architecture, **arguments)
    return TrainedModel(
        network, config.model.architecture, arguments, names, label_values(config.data), list(config.filter.areas),
        config.filter.scope, window, [list(volume.voxel_size) for volume in config.data.volumes],
        config.patches.size, precision,
    )  # fmt: skip


def read_start(config: TrainConfig) -> Start | None:
    """The weights to start from, where the configuration says so."""
    from fibseg.checkpoint import load_model
    from fibseg.runs import find_checkpoint
    from fibseg.transfer import Start, imagenet_weights, read_weights

    source = configuration.start_source(config)
    if source is None:
        return None
    if config.init_from is not None:
        return Start(source, run=load_model(find_checkpoint(Path(source))))
    return Start(source, imagenet_weights(config.model.encoder) if source == "imagenet" else read_weights(Path(source)))


def check_start(config: TrainConfig, before: dict[str, Any], directory: RunDirectory) -> None:
    """FibsegError if the weights that the run began from have changed; they may be gone."""
    source = configuration.start_source(config)
    if source is None or source == "imagenet" or not Path(source).exists():
        return
    if (start := read_start(config)) and start.identity() != before["provenance"].get("start_hash"):
        raise FibsegError(f"{directory.path}: began with other weights of {source}; give another name=, or delete it.")


def build(run: Run) -> tuple[TrainedModel, Segmentation]:
    """The network with its start, and the module that trains it."""
    from fibseg.description import class_weights
    from fibseg.runs import require_disk
    from fibseg.segmentation import Segmentation

    config, t = run.config, run.config.training
    needed = 4 * check_network(config) * (3 * 3 + 2)
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


if __name__ == "__main__":
    sys.exit(run_with_sentences(main))
