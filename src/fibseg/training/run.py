"""What a run does once it is opened: learn, score, write."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.config.checks import is_network
from fibseg.training.forest import grow
from fibseg.training.network import build, fit
from fibseg.training.opened import OpenedRun, filter_processes

if TYPE_CHECKING:  # heavy imports happen when they are needed
    from fibseg.training.evaluation import Label
    from fibseg.training.tracking import Tracking


def train(run: OpenedRun) -> None:
    """Fit, then score the best weights and write everything."""
    from fibseg.data.description import class_names
    from fibseg.machine import set_threads
    from fibseg.runs.results import f1_by_class
    from fibseg.training.evaluation import evaluate, write_results

    set_threads(run.provenance["threads"])
    tracking = make_tracking(run)
    with tracking.running() as final:
        label, fit_seconds = learn(run, tracking)
        start, config, names = time.perf_counter(), run.config, class_names(run.config.data)
        scores = evaluate(
            run.directory, names, run.slices, run.provenance["data_hash"], label, run.window
        )
        windows = config.windows if is_network(config) else "whole"
        facts = {
            "name": config.name,
            "model": config.model.architecture,
            "filter": config.filter.name,
            "seed": config.seed,
            "data": config.data.name,
            "windows": windows,
            "seconds": round(fit_seconds + time.perf_counter() - start, 1),
            **run.provenance,
        }
        final |= f1_by_class(
            {"classes": names, "splits": {split: score.slices for split, score in scores.items()}}
        )
    write_results(
        run.directory, facts, names, scores
    )  # last: a kill while boards are closed is no end of the run
    run.directory.remove_state()


def learn(run: OpenedRun, tracking: Tracking) -> tuple[Label, float]:
    """What labels slices in the end, and the seconds it took to train it, those before a kill included."""
    import torch

    from fibseg.data.description import class_names
    from fibseg.machine import choose_device
    from fibseg.models.trained import load_model
    from fibseg.training.evaluation import label_by_model
    from fibseg.training.ilastik import label_by_ilastik

    config, start = run.config, time.perf_counter()
    device = choose_device(config.machine.device)
    if run.project is not None:
        for name in run.project.lacking(class_names(config.data)):
            run.console.print(f"warning: no label of the project is {name}; it will score 0")
        return label_by_ilastik(
            run.project, run.directory.path / "ilastik.log", run.provenance["threads"]
        ), 0.0
    if is_network(config):
        seconds = fit(run, *build(run), tracking)
        path = run.directory.best
    else:
        grow(run)
        seconds, path, device = (
            time.perf_counter() - start,
            run.directory.forest,
            torch.device("cpu"),
        )
    label = label_by_model(
        load_model(path),
        run.directory,
        device,
        config.machine.window_batch,
        Path(config.machine.cache),
        filter_processes(config),
        run.console,
    )
    return label, seconds


def make_tracking(run: OpenedRun) -> Tracking:
    """Boards that show the run while it trains, as the configuration names them."""
    from fibseg.data.grey import to_8bit
    from fibseg.filters.slices import slice_channels
    from fibseg.training.tracking import Panel, Tracking, open_boards, wandb_identity

    config, tracking = run.config, run.config.tracking
    identity = wandb_identity(config, run.directory.path.name, run.provenance["tracking_id"])
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
