"""The LightningModule: a network that maps images to logits, its loss, optimizer and scores."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics.classification import MulticlassConfusionMatrix

from fibseg.arrays import IGNORE
from fibseg.data.patches import Batch
from fibseg.models.checkpoints import not_finite
from fibseg.scores.pixels import f1_scores
from fibseg.training.losses import DiceLoss, ObjectLoss


@dataclass(frozen=True)
class Optimisation:
    """Settings of Adam and its schedule.

    Attributes:
        learning_rate: step size at the start.
        betas: decay rates of Adam's two moments.
        eps: term that keeps Adam's denominator from 0.
        schedule: "constant" (the paper), or "cosine" to 0 over the whole training.
        ema: share that the exponential mean of the weights keeps of itself at a step, less in the
            first steps; 0 for none.
        encoder_rate: learning rate of the network's `encoder`, as a share of the others'.
        frozen_epochs: first epochs in which the encoder does not learn.
    """

    learning_rate: float
    betas: tuple[float, float]
    eps: float
    schedule: str
    ema: float = 0.0
    encoder_rate: float = 1.0
    frozen_epochs: int = 0


def seed_torch(seed: int, epoch: int) -> None:
    """Seed torch's global generators, of weights and dropout, from (seed, epoch).

    The weights at the start are of epoch -1.
    """
    # SeedSequence mixes the two numbers, so that (0, 1) and (1, 0) give unrelated streams. It takes
    # no negative ones.
    state = np.random.SeedSequence([seed, epoch + 1]).generate_state(1)
    torch.manual_seed(int(state[0]))


class MeanOfSteps(AveragedModel):
    """An exponential mean of weights over the steps, which keeps less at first.

    After n steps it keeps (1 + n) / (10 + n) of itself, `kept` at most, as in TensorFlow's
    ExponentialMovingAverage with a number of updates: weights change most at first. Statistics of
    batch norms are averaged as weights are, since they belong to them.
    """

    def __init__(self, network: nn.Module, kept: float):
        super().__init__(network, multi_avg_fn=self._update, use_buffers=True)
        self._kept = kept

    def _update(self, averaged: Any, current: Any, _: Tensor | int) -> None:
        count = int(self.n_averaged)
        share = min(self._kept, (1 + count) / (10 + count))
        get_ema_multi_avg_fn(share)(averaged, current, count)  # type: ignore[no-untyped-call]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # The number of steps stays on the host, which else waits for the device to read it.
        count = self._buffers.pop("n_averaged")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._buffers["n_averaged"] = count
        return self


class Segmentation(LightningModule):
    """Trains a network with Adam and collects the figures of each epoch.

    Nothing is logged per step, so that a step costs little more than that of a bare loop.

    Attributes:
        average: the mean of the weights over the steps, which is validated and kept in place of the
            weights of the last step; None without one.
        epoch_metrics: the figures after each validation: train_loss, val_loss, val_f1 (mean of the
            classes) and val_f1_<class> (F1 of the pooled validation patches), learning_rate,
            patches_per_second, share_<class> (of the training pixels), share_patches_with_class and
            share_patches_centred (what the sampler realised).
    """

    def __init__(
        self,
        network: nn.Module,
        class_names: list[str],
        loss: DiceLoss | ObjectLoss,
        optimisation: Optimisation,
        seed: int,
        compiled: bool = False,
    ):
        """Keep what a training needs.

        Args:
            network: maps images (N, C, H, W) to logits (N, K, H, W).
            class_names: names of the K classes, background first.
            loss: compares logits with class indices, and maps with objects where there are such.
            optimisation: settings of Adam and its schedule.
            seed: number that dropout starts from.
            compiled: whether torch.compile prepares the network, which makes the first step slow.
        """
        super().__init__()
        # Channels last: with bf16 on a CPU a training step is clearly faster.
        self.network = network.to(memory_format=torch.channels_last)
        self.average = None
        if optimisation.ema > 0:
            self.average = MeanOfSteps(self.network, optimisation.ema)
        if compiled:
            # In place, so that the weights keep their names.
            self.network.compile()
        self.class_names = class_names
        self.seed = seed
        self.loss = loss
        self.optimisation = optimisation
        # On the device: predictions of a validation need not be copied to the host.
        # Its checks of the values would make the host wait for each of them.
        self.confusion = MulticlassConfusionMatrix(
            len(class_names), ignore_index=IGNORE, validate_args=False
        )
        self.epoch_metrics: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._epoch_start = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to logits (N, K, H, W)."""
        logits: Tensor = self.network(images)
        return logits

    @property
    def kept_network(self) -> nn.Module:
        """The network that is validated, and whose weights are kept."""
        if self.average is None:
            return self.network
        averaged: nn.Module = self.average.module
        return averaged

    def on_train_epoch_start(self) -> None:
        """Seed dropout from (seed, epoch) alone, so that a resumed run repeats an unbroken one."""
        # At the start of each epoch: what torch drew before a kill must not matter.
        seed_torch(self.seed, self.current_epoch)
        if self.optimisation.frozen_epochs > 0:
            # Frozen weights have no gradient, and Adam passes them over; batch norms keep theirs.
            frozen = self.current_epoch < self.optimisation.frozen_epochs
            encoder = self.network.encoder
            encoder.train(not frozen).requires_grad_(not frozen)  # type: ignore[union-attr]
        self._epoch_start = perf_counter()
        self._sums = {}

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Compute the loss of a mini-batch, and add up what it held."""
        loss = self._loss(self.network, batch)[0]
        classes = torch.arange(len(self.class_names), device=batch.labels.device)
        counts = (batch.labels[:, None] == classes[:, None, None]).sum((2, 3))  # (N, K)
        # Sums stay on the device: reading one would make the host wait for the step.
        self._add("loss", loss.detach())
        self._add("pixels", counts.sum(0))
        self._add("with_class", counts[:, 1:].any(1).sum())
        self._add("centred", (batch.drawn_class > 0).sum())
        self._add("patches", torch.tensor(len(batch.labels)))
        return loss

    def _loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute the loss of a mini-batch, and the logits (N, K, H, W) of its classes."""
        if batch.objects is None:
            logits: Tensor = network(batch.images)
            return self.loss(logits, batch.labels), logits
        scores: Tensor = network(batch.images, with_maps=True)
        loss = self.loss(scores, batch.labels, batch.objects)
        return loss, scores[:, : len(self.class_names)]

    def on_train_batch_end(self, *_: Any) -> None:
        """Take the weights of a step into their mean."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Add up the loss and the confusion counts of a mini-batch."""
        loss, logits = self._loss(self.kept_network, batch)
        self._add("val_loss", loss)
        self._add("val_batches", torch.tensor(1))
        self.confusion.update(logits, batch.labels)

    def _add(self, name: str, value: Tensor) -> None:
        """Add to a sum of this epoch."""
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def on_validation_epoch_end(self) -> None:
        """Compute the figures of the epoch, and log them for Lightning's own callbacks."""
        f1 = f1_scores(self.confusion.compute().cpu().numpy().astype(np.int64))[1:]
        # Lightning resets only those metrics that are logged as objects.
        self.confusion.reset()
        sums = {name: value.cpu().double().numpy() for name, value in self._sums.items()}
        # The logits hide a weight that is no number where a ReLU makes 0 of it.
        val_loss = sums["val_loss"] / sums["val_batches"] if self.is_finite() else np.nan
        metrics = {"val_loss": float(val_loss)}
        # NaN by hand: nanmean warns where no class occurs.
        metrics["val_f1"] = float(np.nanmean(f1)) if not np.isnan(f1).all() else float("nan")
        metrics |= {
            f"val_f1_{name}": float(score)
            for name, score in zip(self.class_names[1:], f1, strict=True)
        }
        # Lightning may validate without a training before it.
        if "patches" in sums:
            # Training figures first: this is the order of the columns of metrics.csv.
            metrics = self._training_figures(sums) | metrics
        self.epoch_metrics = metrics
        self.log_dict(metrics)

    def is_finite(self) -> bool:
        """Whether every weight and statistic of the network is a finite number."""
        networks = [self.network] if self.average is None else [self.network, self.kept_network]
        return not any(not_finite(network.state_dict()) for network in networks)

    def _training_figures(self, sums: dict[str, Any]) -> dict[str, float]:
        """Compute the figures of the training batches from the sums of the epoch."""
        patches = float(sums["patches"])
        shares = sums["pixels"] / max(1, sums["pixels"].sum())
        return {
            "train_loss": float(sums["loss"]) / self.trainer.num_training_batches,
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "patches_per_second": patches / (perf_counter() - self._epoch_start),
            **{
                f"share_{name}": float(share)
                for name, share in zip(self.class_names, shares, strict=True)
            },
            "share_patches_with_class": float(sums["with_class"]) / patches,
            "share_patches_centred": float(sums["centred"]) / patches,
        }

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """All weights, or those of the encoder apart where they have a rate of their own."""
        settings = self.optimisation
        if settings.encoder_rate == 1:
            return [{"params": list(self.network.parameters())}]
        encoder = list(self.network.encoder.parameters())  # type: ignore[union-attr]
        ids = {id(parameter) for parameter in encoder}
        others = [weight for weight in self.network.parameters() if id(weight) not in ids]
        rate = settings.learning_rate * settings.encoder_rate
        return [{"params": others}, {"params": encoder, "lr": rate}]

    def configure_optimizers(self) -> Any:
        """Make Adam (Kingma and Ba, ICLR 2015, arXiv:1412.6980), and its schedule by step."""
        settings = self.optimisation
        optimizer = torch.optim.Adam(
            self._parameter_groups(),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            # One kernel updates all weights, in place of several for each of them.
            fused=True,
        )
        if settings.schedule == "constant":
            return optimizer
        # By step, so that the rate falls within an epoch too: quick recipes have six of them.
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
