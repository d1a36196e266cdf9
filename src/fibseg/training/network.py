"""Training of a network by gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.training.opened import OpenedRun, check_model, filter_processes, make_model

if TYPE_CHECKING:  # heavy imports happen when they are needed
    from fibseg.models.trained import TrainedModel
    from fibseg.training.module import Segmentation
    from fibseg.training.tracking import Tracking


def build(run: OpenedRun) -> tuple[TrainedModel, Segmentation]:
    """The network with its start, and the module that trains it."""
    from fibseg.data.description import class_weights
    from fibseg.files import require_disk
    from fibseg.training.module import Segmentation

    config, t = run.config, run.config.training
    needed = 4 * check_model(config, run.slices) * (3 * 3 + 2)
    require_disk(run.directory.path, needed, "this run (weights and optimizer, three copies)")
    trained = make_model(config, run.window, run.provenance["precision"])
    if run.start is not None:
        run.console.print(f"starting from {run.start.where}", highlight=False)
        for line in run.start.apply(trained):
            run.console.print(f"  {line}", highlight=False)
    module = Segmentation(
        trained.network,
        list(trained.class_names),
        class_weights(config.data),
        t.learning_rate,
        (t.betas[0], t.betas[1]),
        t.eps,
        t.schedule,
        t.cross_entropy,
        config.seed,
        t.compile,
    )
    return trained, module


def fit(run: OpenedRun, trained: TrainedModel, module: Segmentation, tracking: Tracking) -> float:
    """Train, from the last whole checkpoint where there is one; gives the seconds it took, resumed ones included."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from fibseg.data.module import StackDataModule
    from fibseg.machine import choose_device
    from fibseg.training.callbacks import (
        FilterProgress,
        RunCheckpoints,
        TrainingProgress,
        make_trainer,
    )
    from fibseg.training.tracking import MetricsFile

    config, patches = run.config, run.config.patches
    if run.resume_from is not None:
        run.console.print(f"resuming from {run.resume_from.name}")
    data = StackDataModule(
        run.slices["train"],
        run.slices["validation"],
        run.window,
        config.filter.areas,
        config.filter.scope,
        patches.size,
        patches.class_share,
        config.training.batch_size,
        config.training.batches,
        config.training.validation_batches,
        patches.validation_seed,
        patches.fresh_validation,
        config.seed,
        cache=Path(config.machine.cache),
        processes=filter_processes(config),
        report=FilterProgress(run.console),
    )
    checkpoints = RunCheckpoints(run.directory, trained)
    shown = [
        MetricsFile(run.directory.metrics),
        tracking,
        TrainingProgress(run.console),
        checkpoints,
    ]
    device, precision = choose_device(config.machine.device), run.provenance["precision"]
    try:
        make_trainer(config.training.epochs, device, precision, shown).fit(
            module, data, ckpt_path=run.resume_from, weights_only=True
        )
    except (
        SystemExit
    ) as error:  # Lightning makes 1 of Ctrl-C, and its own one of SIGTERM before the first batch
        if error.code == 1 or isinstance(error, SIGTERMException):
            raise KeyboardInterrupt from None
        raise
    return checkpoints.seconds
