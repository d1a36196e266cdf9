"""What a run does once it is opened: it learns, scores, and writes its results."""

from __future__ import annotations

import resource
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fibseg.config.schemas import TrainConfig
from fibseg.data.description import class_names
from fibseg.data.slices import (
    data_hash,
    few_training_slices,
    instances_hash,
    load_slices,
    neighbours_hash,
)
from fibseg.filters.slices import slice_channels
from fibseg.machine import Compute, choose_device, print_line, set_threads
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import config_hash, fold_facts
from fibseg.runs.masking import without_secrets
from fibseg.runs.results import check_not_diverged
from fibseg.scores.pixels import f1_by_class
from fibseg.scores.slices import confusions_of
from fibseg.training.boards import check_boards
from fibseg.training.evaluation import evaluate, write_results
from fibseg.training.opened import (
    OpenedRun,
    Request,
    check_model,
    open_run,
    read_earlier,
)
from fibseg.training.pictures import Scene, draw_pictures
from fibseg.training.report import print_next, print_scores

# Lightning and scikit-learn are imported where they are needed: a forest does without the first,
# a network without the second.
if TYPE_CHECKING:
    from fibseg.arrays import UInt8
    from fibseg.training.evaluation import Label
    from fibseg.training.tracking import Tracking


def train_or_report(
    config: TrainConfig,
    plain: dict[str, Any],
    overrides: list[str],
    directory: RunDirectory,
    console: Console,
) -> float:
    """Train and score a run in its directory, or report it where it is finished already.

    Args:
        config: the composed configuration.
        plain: the same as plain mappings.
        overrides: what was typed, for the provenance of the run.
        directory: of the run; it is made.
        console: takes what a person reads.

    Returns:
        The mean F1 of the classes over the validation slices.

    Raises:
        FibsegError: a mistake in the data or the configuration, or another process is in the run.
    """
    # Read before there is a directory, so that a mistake in the data leaves none.
    slices = load_slices(config.data)
    hashes = {
        "config_hash": config_hash(plain),
        "data_hash": data_hash(slices, class_names(config.data)),
        "neighbours_hash": neighbours_hash(slices),
        "overrides": overrides,
    }
    # Runs whose classes have no objects say nothing of them.
    if (objects := instances_hash(slices)) is not None:
        hashes["instances_hash"] = objects
    slices = few_training_slices(slices, config.data)
    request = Request(config, plain, slices, hashes)
    # A finished run is reported even where Ilastik or the first weights are gone.
    if not directory.scores.exists():
        check_boards(config.logger)
        check_model(config, slices)
    with directory.lock():
        print_line(console, f"run {directory.path}")
        earlier = read_earlier(request, directory)
        # It would diverge again, on a CPU in the same epoch.
        check_not_diverged(directory)
        if directory.scores.exists():
            return report_finished(request, directory, console)
        directory.error.unlink(missing_ok=True)
        try:
            train(open_run(request, earlier, directory, console))
        # The reason stays in the directory: the sentence of a failed sweep points there.
        except (Exception, KeyboardInterrupt):
            if not directory.write_error(without_secrets(traceback.format_exc())):
                print_line(console, f"warning: {directory.error}: cannot be written.")
            raise
        score = print_scores(directory, console)
        print_next(config, directory, console)
        return score


def report_finished(request: Request, directory: RunDirectory, console: Console) -> float:
    """Print the scores of a run that is finished already, and draw the pictures that it lacks.

    Returns:
        The mean F1 of the classes over the validation slices.
    """
    console.print("finished already; its scores:")
    directory.remove_state()
    # Of an interrupt while the pictures were drawn.
    directory.error.unlink(missing_ok=True)
    score = print_scores(directory, console)
    # It was killed after its scores were written, or had no room for pictures.
    if directory.lacking_pictures():
        data = request.config.data
        scene = Scene(
            directory=directory,
            slices=request.slices,
            data_hash=request.hashes["data_hash"],
            grey_range=request.grey_range(),
            class_names=class_names(data),
        )
        draw_pictures(scene, console)
    print_next(request.config, directory, console)
    return score


def train(run: OpenedRun) -> None:
    """Train, then score the best weights and write everything: results first, pictures after them.

    The boards are closed last.
    """
    # Of the run and not of the configuration: with another number of threads the weights differ.
    set_threads(run.provenance["threads"])
    forget_peak(run.provenance["device"])
    config = run.config
    names = class_names(config.data)
    tracking = make_tracking(run)
    with tracking.running() as final_scores:
        settled: dict[str, Any] = {}
        label, training_seconds = learn(run, tracking, settled)
        start = time.perf_counter()
        scores = evaluate(
            directory=run.directory,
            description=config.data,
            slices=run.slices,
            class_names=names,
            label=label,
        )
        facts = _facts(run, settled, training_seconds + time.perf_counter() - start)
        write_results(run.directory, facts, names, scores)
        run.directory.remove_state()
        if "model_sha256" in settled:
            text = f"model: {run.directory.model_file}, SHA-256 {settled['model_sha256']}"
            print_line(run.console, text)
        for split, score in scores.items():
            final_scores[split] = f1_by_class(confusions_of(score.slices, len(names)), names)
        scene = Scene(
            directory=run.directory,
            slices=run.slices,
            data_hash=run.provenance["data_hash"],
            grey_range=run.grey_range,
            class_names=names,
        )
        draw_pictures(scene, run.console)


def _facts(run: OpenedRun, settled: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What scores.json says of the run; `settled` is that of `label_by_model`."""
    config = run.config
    by_gradient = config.kind.by_gradient
    return {
        "name": config.name,
        "model": config.model.architecture,
        "filter": config.filter.name,
        "seed": config.seed,
        "data": config.data.name,
        # What check_model counts of other kinds is an estimate of their size.
        "parameters": check_model(config, run.slices) if by_gradient else None,
        "windows": config.windows if by_gradient else "whole",
        **settled,
        **fold_facts(run.plain),
        "seconds": round(seconds, 1),
        "peak_gib": peak_gib(run.provenance["device"]),
        **run.provenance,
    }


def forget_peak(device: str) -> None:
    """Begin anew with the largest memory on a GPU; that of a process cannot be set back."""
    if device != "cpu":
        import torch

        # Before the first use of the GPU there is nothing to reset, which is an error.
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float:
    """Largest memory of this process so far in GiB; on a GPU, since `forget_peak`."""
    if device != "cpu":
        import torch

        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    # Linux counts in KiB. It includes what earlier runs of this process took.
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def learn(run: OpenedRun, tracking: Tracking, settled: dict[str, Any]) -> tuple[Label, float]:
    """Train the model of a run; `settled` is that of `label_by_model`.

    Returns:
        A function that labels slices, and the seconds of training, those before a kill included.
    """
    from fibseg.models.trained import load_model
    from fibseg.training.evaluation import label_by_model
    from fibseg.training.ilastik import label_by_ilastik

    kind = run.config.kind
    if run.project is not None:
        for name in run.project.lacking(class_names(run.config.data)):
            text = f"warning: no label of the project is {name}; it will score 0"
            print_line(run.console, text)
        log = run.directory.path / "ilastik.log"
        return label_by_ilastik(run.project, log, run.provenance["threads"]), 0.0
    if kind.by_gradient:
        from fibseg.training.network import train_network

        seconds = train_network(run, tracking)
    else:
        from fibseg.training.forest import grow

        seconds = grow(run)
    path = run.directory.model()
    assert path is not None
    # From the disk: the network in memory has the last weights, not the best ones.
    model = load_model(path)
    compute = Compute(
        device=choose_device(run.config.machine.device if kind.by_gradient else "cpu"),
        precision=model.precision,
        batch_size=run.config.machine.window_batch,
        filter_threads=run.filter_threads,
    )
    return label_by_model(model, run, compute, settled), seconds


def make_tracking(run: OpenedRun) -> Tracking:
    """Open the boards that show the run while it trains, as the configuration names them."""
    from fibseg.training.boards import open_boards, wandb_identity
    from fibseg.training.tracking import Panel, Tracking

    config = run.config
    images_every = config.tracking.images_every
    report = partial(print_line, run.console)
    boards = open_boards(
        names=config.logger,
        run=run.directory,
        identity=wandb_identity(config, run.directory.path.name, run.provenance["tracking_id"]),
        config=run.plain | {"provenance": run.provenance},
        report=report,
    )
    validation = run.slices["validation"]
    if not boards or not images_every or not validation:
        return Tracking(run.directory, boards, panel=None, images_every=0, report=report)
    middle = validation[len(validation) // 2]

    def channels_of_crop(image: UInt8) -> UInt8:
        # Without the cache, which is for the slices of the data set.
        return slice_channels([image], config.filter.areas, None, 1)[0]

    panel = Panel(middle.pictures(run.grey_range), middle.labels, channels_of_crop)
    return Tracking(run.directory, boards, panel, images_every, report=report)
