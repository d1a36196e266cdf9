"""Training of a network by gradient descent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException

from fibseg.arrays import IGNORE
from fibseg.config.derived import head_of
from fibseg.config.schemas import TrainConfig
from fibseg.data.description import class_names, class_weights, instance_classes
from fibseg.data.module import PatchPlan, StackDataModule
from fibseg.errors import Terminated
from fibseg.files import require_disk
from fibseg.machine import Compute, choose_device, print_line
from fibseg.models.kinds import BYTES_PER_NUMBER
from fibseg.models.trained import TrainedModel, training_facts
from fibseg.prediction.slices import predict_slices
from fibseg.prediction.windows import LARGEST_WHOLE, Windows, windows_of
from fibseg.scores.pixels import confusion_counts, mean_f1
from fibseg.training.callbacks import RunCheckpoints, make_trainer
from fibseg.training.losses import DiceLoss, ObjectLoss
from fibseg.training.module import Optimisation, Segmentation
from fibseg.training.opened import OpenedRun, check_model, make_model
from fibseg.training.progress import FilterProgress, TrainingProgress
from fibseg.training.tracking import MetricsFile, Tracking

if TYPE_CHECKING:
    from fibseg.models.kinds import Model

CHECKPOINTS = 3 * 3 + 2
"""Copies of the weights on the disk.

Three files hold them with Adam's two moments: last, previous, and the one that is being written.
The model stands there twice while it is replaced.
"""


def train_network(run: OpenedRun, tracking: Tracking) -> float:
    """Train a network, from the last whole checkpoint where there is one.

    Returns:
        Seconds of training, those before a kill included.

    Raises:
        FibsegError: the disk is too small, or the network cannot be built.
        KeyboardInterrupt: the training was stopped by a signal.
    """
    # A full disk is reported before the first epoch and not after some hours.
    # The mean of the weights stands in each of three files, too.
    copies = CHECKPOINTS + 3 * (run.config.training.ema > 0)
    needed = BYTES_PER_NUMBER * copies * check_model(run.config, run.slices)
    require_disk(run.directory.path, needed, "this run (weights and optimizer, three copies)")
    trained, module = build(run)
    data = make_data(run)
    if run.resume_from is not None:
        run.console.print(f"resuming from {run.resume_from.name}")
    with ctrl_c_of_lightning():
        by_slices = slice_scores_of(run, trained, data)
        start = score_start(run, module, data, by_slices)
        checkpoints = RunCheckpoints(run.directory, trained, start)
        callbacks = [
            *by_slices,
            # metrics.csv is written before boards read it, and before the checkpoint of the epoch.
            MetricsFile(run.directory.metrics, start),
            tracking,
            TrainingProgress(run.console, start),
            checkpoints,
        ]
        # weights_only: a checkpoint is read as data, and no code in it is run.
        trainer_of(run, callbacks).fit(module, data, ckpt_path=run.resume_from, weights_only=True)
    if checkpoints.best_epoch < 0:
        run.console.print(
            "no epoch was better than the start, which is the model of this run; "
            "a lower training.learning_rate may help"
        )
    return checkpoints.seconds


class SliceScores(Callback):
    """Adds `slices_f1`, the mean F1 of whole validation slices, to the figures of each epoch.

    Validation patches lie round the classes for the most part, so that their loss hardly sees what
    is labelled where nothing is.
    """

    def __init__(self, model: TrainedModel, data: StackDataModule, compute: Compute):
        """Keep what a score needs.

        Args:
            model: describes the network that is trained.
            data: has the validation slices, once it is set up.
            compute: what the network computes with.
        """
        self.model = model
        self.data = data
        self.compute = compute

    def score(self, module: Segmentation) -> float:
        """Compute the mean over the classes of the mean F1 of the slices that hold them.

        NaN where no slice holds any.
        """
        network = cast("Model", module.kept_network)
        slices = self.data.pixels("validation")
        channels = [image.cpu().numpy() for image in slices.images]
        truths = [labels.cpu().numpy() for labels in slices.labels]
        model = replace(self.model, network=network, decision=None)
        was_training = network.training
        windows = _selection_windows(model, channels[0].shape[1] * channels[0].shape[2])
        labels = predict_slices(model, channels, windows, self.compute)
        count = len(model.class_names)
        counts = [confusion_counts(*pair, count) for pair in zip(truths, labels, strict=True)]
        network.train(was_training)
        f1 = mean_f1(np.stack(counts))[1:]
        return float(np.nanmean(f1)) if not np.isnan(f1).all() else float("nan")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the slices before the other callbacks look at the figures."""
        assert isinstance(pl_module, Segmentation)
        pl_module.epoch_metrics["slices_f1"] = self.score(pl_module)


def _selection_windows(model: TrainedModel, slice_pixels: int) -> Windows:
    """The fastest windows that a model bears, without a comparison of their F1."""
    if model.channels.by_patch:
        return windows_of(model, "paper")
    return windows_of(model, "whole" if slice_pixels <= LARGEST_WHOLE else "tiles")


def slice_scores_of(
    run: OpenedRun, model: TrainedModel, data: StackDataModule
) -> list[SliceScores]:
    """The callback that scores whole validation slices; none where the loss selects the epoch."""
    if run.config.training.select == "loss":
        return []
    device = choose_device(run.config.machine.device)
    precision = run.provenance["precision"]
    batch_size = run.config.machine.window_batch
    compute = Compute(device, precision, batch_size, run.filter_threads)
    return [SliceScores(model, data, compute)]


def score_start(
    run: OpenedRun,
    module: Segmentation,
    data: StackDataModule,
    by_slices: Sequence[SliceScores],
) -> dict[str, float] | None:
    """Score the weights of an earlier run on the validation patches, before any step.

    None where a run is resumed, or starts without the weights of a whole network.
    """
    if run.resume_from is not None or run.start is None or run.start.run is None:
        return None
    trainer_of(run, list(by_slices)).validate(module, data, verbose=False)
    return dict(module.epoch_metrics)


def trainer_of(run: OpenedRun, callbacks: list[Callback]) -> Trainer:
    """Make Lightning's trainer for a run."""
    return make_trainer(
        epochs=run.config.training.epochs,
        device=choose_device(run.config.machine.device),
        precision=run.provenance["precision"],
        callbacks=callbacks,
    )


@contextmanager
def ctrl_c_of_lightning() -> Iterator[None]:
    """Raise KeyboardInterrupt or Terminated for what Lightning makes of them in a block."""
    try:
        yield
    except SystemExit as error:
        # Lightning turns Ctrl-C into exit code 1, and SIGTERM before the first batch into an
        # exception of its own.
        if isinstance(error, SIGTERMException) or isinstance(error.__context__, Terminated):
            raise Terminated from None
        if error.code == 1:
            raise KeyboardInterrupt from None
        raise


def build(run: OpenedRun) -> tuple[TrainedModel, Segmentation]:
    """Make the network with its start, and the module that trains it."""
    config = run.config
    training = config.training
    trained = make_model(config, run.grey_range, run.provenance["precision"])
    trained = replace(trained, training=training_facts(run.provenance))
    if run.start is not None:
        print_line(run.console, f"starting from {run.start.where}")
        for line in run.start.apply(trained):
            print_line(run.console, f"  {line}")
    optimisation = Optimisation(
        learning_rate=training.learning_rate,
        # OmegaConf gives a list; that it has two entries was checked with the configuration.
        betas=(training.betas[0], training.betas[1]),
        eps=training.eps,
        schedule=training.schedule,
        ema=training.ema,
        # A network without an encoder of timm has no such keys.
        encoder_rate=getattr(config.model, "encoder_rate", 1.0),
        frozen_epochs=getattr(config.model, "frozen_epochs", 0),
    )
    module = Segmentation(
        network=trained.network,
        class_names=list(trained.class_names),
        loss=loss_of(config),
        optimisation=optimisation,
        seed=config.seed,
        compiled=training.compile,
    )
    return trained, module


def loss_of(config: TrainConfig) -> DiceLoss | ObjectLoss:
    """Make the loss of the classes, with that of their objects where the network has a head."""
    loss = DiceLoss(class_weights(config.data), IGNORE, config.training.cross_entropy)
    if head_of(config) == "none":
        return loss
    names = class_names(config.data)
    indices = [names.index(name) for name in instance_classes(config.data)]
    return ObjectLoss(loss, indices, config.model.head_weight)


def make_data(run: OpenedRun) -> StackDataModule:
    """Make the data module that draws the patches of a run."""
    patches = run.config.patches
    augmentation = run.config.augmentation
    training = run.config.training
    plan = PatchPlan(
        size=patches.size,
        class_share=patches.class_share,
        batch_size=training.batch_size,
        batches=training.batches,
        validation_batches=training.validation_batches,
        seed=run.config.seed,
        validation_seed=patches.validation_seed,
        fresh_validation=patches.fresh_validation,
        augmentation=None if augmentation.is_plain else augmentation,
        objects=head_of(run.config) != "none",
    )
    return StackDataModule(
        # A new dict: for mypy a dict of lists is no dict of sequences.
        slices={**run.slices},
        grey_range=run.grey_range,
        channels=run.config.channels,
        plan=plan,
        cache=run.cache,
        filter_threads=run.filter_threads,
        progress=FilterProgress(run.console),
    )
