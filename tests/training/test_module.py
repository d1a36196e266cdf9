"""The module in a bare Lightning trainer: what it optimises, what it tells, which weights are kept."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from fibseg.machine import choose_device, choose_precision
from fibseg.models.kinds import ARCHITECTURES
from fibseg.models.trained import load_model
from fibseg.runs.directory import RunDirectory
from fibseg.training.callbacks import RunCheckpoints
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Segmentation, seed_everything_of
from fibseg.training.tracking import MetricsFile
from tests.support.data_module import data_module
from tests.support.models import trained

WEIGHTS = [0.1, 0.7, 1.0]
pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:pytorch_lightning", "ignore::Warning:torch.optim.lr_scheduler"
)


def segmentation(network: torch.nn.Module, **changes: Any) -> Segmentation:
    options: dict[str, Any] = {
        "learning_rate": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-7,
        "schedule": "constant",
        "cross_entropy": 0.0,
        "seed": 0,
    }
    return Segmentation(network, ["background", "a", "b"], WEIGHTS, **(options | changes))


def test_optimizer_and_loss_get_their_constants() -> None:
    module = segmentation(trained([], 1).network, cross_entropy=0.25)
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert {k: optimizer.defaults[k] for k in ("lr", "betas", "eps")} == {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-7,
    }
    assert isinstance(module.loss, DiceLoss)
    assert module.loss.weights.tolist() == pytest.approx(WEIGHTS)
    assert module.loss.cross_entropy == 0.25


def fit(
    folder: Path,
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    losses: list[float] | None,
    **changes: Any,
) -> list[torch.Tensor]:
    """Four epochs; `losses` replace the validation losses. Gives the bias of the head after each epoch."""
    run.path.mkdir()
    model, seen = trained([], 1), []
    if losses is not None:
        ending, told = Segmentation.on_validation_epoch_end, iter(losses)

        def lie(self: Segmentation) -> None:
            ending(self)
            self.epoch_metrics["val_loss"] = next(told)

        monkeypatch.setattr(Segmentation, "on_validation_epoch_end", lie)

    class Watch(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Segmentation) -> None:
            seen.append(pl_module.network.head.bias.detach().clone())

    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Watch(), MetricsFile(run.metrics), RunCheckpoints(run, model)],
    )
    trainer.fit(segmentation(model.network, **changes), data_module(folder))
    return seen


@pytest.fixture
def three_classes(phantom_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny stack has four classes; the network of these tests three, so one becomes background."""
    import fibseg.data.slices as dataset

    whole = dataset.to_classes
    monkeypatch.setattr(dataset, "to_classes", lambda *a: whole(*a) * (whole(*a) < 3))
    monkeypatch.setattr(dataset, "_check_classes_present", lambda *_: None)
    return phantom_folder


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 1.0, 2.0, 1.0], 1),
        ([math.nan, 2.0, 1.0, math.nan], 2),
        ([math.nan] * 4, 0),
        ([1.0, 2.0, 3.0, 4.0], 0),
    ],
)
def test_the_weights_of_the_lowest_validation_loss_are_kept(
    three_classes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    losses: list[float],
    best: int,
) -> None:
    run = RunDirectory(tmp_path / "run")
    seen = fit(three_classes, run, monkeypatch, losses)
    assert torch.equal(load_model(run.best).network.head.bias, seen[best])
    assert len({tuple(bias.tolist()) for bias in seen}) == 4


def test_cosine_ends_at_zero_and_constant_stays(
    three_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {}
    for schedule in ("cosine", "constant"):
        run = RunDirectory(tmp_path / schedule)
        fit(three_classes, run, monkeypatch, None, schedule=schedule)
        with run.metrics.open() as file:
            rates[schedule] = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates["constant"] == [1e-3] * 4
    expected = [1e-3 * (1 + math.cos(math.pi * done / 4)) / 2 for done in (1, 2, 3, 4)]
    assert rates["cosine"] == pytest.approx(expected, abs=1e-8)


def test_seeds_of_epochs_differ_and_seed_zero_is_one() -> None:
    numbers = set()
    for seed, epoch in ((0, -1), (0, 0), (0, 1), (1, -1), (1, 0)):
        seed_everything_of(seed, epoch)
        numbers.add(torch.rand(1).item())
    assert len(numbers) == 5
    seed_everything_of(0, 0)
    assert torch.rand(1).item() in numbers


def test_choices_of_the_machine() -> None:
    cpu = choose_device("cpu")
    for depthwise in (False, True):
        assert choose_precision("32", cpu, depthwise) == "32"
        assert choose_precision("bf16", cpu, depthwise) == "bf16"
    able = torch.cpu.get_capabilities()
    assert choose_precision("auto", cpu, False) == (
        "bf16" if able["avx512_bf16"] or able["amx_bf16"] else "32"
    )
    assert choose_precision("auto", cpu, True) == "32"
    assert (ARCHITECTURES["unet"].depthwise, ARCHITECTURES["eunet"].depthwise) == (False, True)
