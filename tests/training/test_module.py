"""The module in a bare Lightning trainer: optimizer, figures, and which weights are kept."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Callback, Trainer

from fibseg.arrays import IGNORE
from fibseg.config.compose import CONF
from fibseg.data.augmentation import Generators, augmented
from fibseg.data.patches import SlicePixels
from fibseg.data.sampling import Augmentation, PatchSampler
from fibseg.errors import DivergedError
from fibseg.machine import choose_device, choose_precision
from fibseg.models.checkpoints import load_whole
from fibseg.models.kinds import KINDS, create_model
from fibseg.models.trained import TrainedModel, load_model
from fibseg.runs.directory import RunDirectory
from fibseg.runs.results import read_metrics, read_scores
from fibseg.training.callbacks import RunCheckpoints, WholeCheckpointIO
from fibseg.training.losses import DiceLoss
from fibseg.training.module import Optimisation, Segmentation, seed_torch
from fibseg.training.tracking import MetricsFile
from tests.support.data_module import data_module
from tests.support.models import SMALL_NETWORKS, trained

CLASSES = ["background", "mitochondrion", "membrane", "er"]
WEIGHTS = [0.1, 0.7, 1.0, 0.9]
EPOCHS = 4
pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:pytorch_lightning", "ignore::Warning:torch.optim.lr_scheduler"
)


def model_of_four_classes() -> TrainedModel:
    """A small UNet with the classes of the tiny phantom data set."""
    model = trained([], 1)
    arguments = model.arguments | {"classes": len(CLASSES)}
    torch.manual_seed(0)
    return replace(
        model,
        network=create_model("unet", **arguments),
        arguments=arguments,
        class_names=CLASSES,
        label_values=[0, 1, 2, 3],
    )


def segmentation(
    network: torch.nn.Module,
    schedule: str = "constant",
    cross_entropy: float = 0.0,
    ema: float = 0.0,
) -> Segmentation:
    return Segmentation(
        network=network,
        class_names=CLASSES,
        loss=DiceLoss(WEIGHTS, IGNORE, cross_entropy),
        optimisation=Optimisation(
            learning_rate=1e-3, betas=(0.9, 0.999), eps=1e-7, schedule=schedule, ema=ema
        ),
        seed=0,
    )


def test_optimizer_and_loss_get_their_constants() -> None:
    module = segmentation(model_of_four_classes().network, cross_entropy=0.25)
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 1e-3
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["eps"] == 1e-7
    assert isinstance(module.loss, DiceLoss)
    assert module.loss.weights.tolist() == pytest.approx(WEIGHTS)
    assert module.loss.cross_entropy == 0.25


def bare_trainer(epochs: int, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[WholeCheckpointIO()],
    )


class MeanOfBiases(Callback):
    """Averages the bias of the head over the steps: an exponential mean with a warm-up."""

    def __init__(self, ema: float) -> None:
        self.ema = ema
        self.steps = 0
        self.mean: torch.Tensor | None = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Segmentation, *_: object) -> None:
        bias = pl_module.network.head.bias.detach().clone()
        old = bias if self.mean is None else self.mean
        kept = min(self.ema, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.mean = kept * old + (1 - kept) * bias


def test_a_mean_of_the_weights_is_validated_and_kept(phantom_folder: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    model = model_of_four_classes()
    module = segmentation(model.network, ema=0.3)
    mean = MeanOfBiases(0.3)
    validated: list[torch.Tensor] = []
    module.average.module.register_forward_hook(
        lambda network, *_: validated.append(network.head.bias.detach().clone())
    )
    bare_trainer(1, [mean, RunCheckpoints(run, model)]).fit(module, data_module(phantom_folder))
    kept = load_model(run.model_file).network.head.bias
    torch.testing.assert_close(kept, mean.mean)
    assert not torch.equal(kept, module.network.head.bias)
    assert validated and all(torch.equal(bias, kept) for bias in validated)
    # What a resumed training goes on with: the weights of the last step, and their mean.
    state = load_whole(run.last)["state_dict"]
    torch.testing.assert_close(state["average.module.head.bias"], kept)
    torch.testing.assert_close(state["network.head.bias"], module.network.head.bias)


class KeptBiases(Callback):
    """Keeps the bias of the head after each epoch."""

    def __init__(self) -> None:
        self.biases: list[torch.Tensor] = []

    def on_validation_end(self, trainer: Trainer, pl_module: Segmentation) -> None:
        self.biases.append(pl_module.network.head.bias.detach().clone())


def replace_figure(monkeypatch: pytest.MonkeyPatch, name: str, values: list[float]) -> None:
    """Let the epochs of a training have these values of one figure."""
    compute_figures = Segmentation.on_validation_epoch_end
    remaining = iter(values)

    def with_given_figure(module: Segmentation) -> None:
        compute_figures(module)
        module.epoch_metrics[name] = next(remaining)

    monkeypatch.setattr(Segmentation, "on_validation_epoch_end", with_given_figure)


def fit(folder: Path, run: RunDirectory, schedule: str = "constant") -> list[torch.Tensor]:
    """Train for EPOCHS epochs; gives the bias of the head after each."""
    run.path.mkdir()
    model = model_of_four_classes()
    kept = KeptBiases()
    callbacks = [kept, MetricsFile(run.metrics), RunCheckpoints(run, model)]
    bare_trainer(EPOCHS, callbacks).fit(segmentation(model.network, schedule), data_module(folder))
    return kept.biases


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 1.0, 2.0, 1.0], 1),
        ([1.0, 2.0, 3.0, 4.0], 0),
    ],
)
def test_the_weights_of_the_lowest_validation_loss_are_kept(
    phantom_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    losses: list[float],
    best: int,
) -> None:
    replace_figure(monkeypatch, "val_loss", losses)
    run = RunDirectory(tmp_path / "run")
    biases = fit(phantom_folder, run)
    assert torch.equal(load_model(run.model_file).network.head.bias, biases[best])
    assert len({tuple(bias.tolist()) for bias in biases}) == EPOCHS


@pytest.mark.parametrize("figure", ["train_loss", "val_loss"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_an_epoch_without_a_loss_ends_the_training(
    phantom_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: str,
    wrong: float,
) -> None:
    replace_figure(monkeypatch, figure, [2.0, 1.0, wrong])
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(DivergedError, match=rf"diverged in epoch 3 .*{wrong}.*learning_rate"):
        fit(phantom_folder, run)
    # That of the second epoch, and nothing to resume from.
    assert [path.name for path in run.model_file.parent.iterdir()] == ["model.safetensors"]
    load_model(run.model_file)
    assert len(read_metrics(run.metrics)) == 3
    with pytest.raises(DivergedError, match="diverged in epoch 3"):
        read_scores(run)


def test_a_first_epoch_without_a_loss_leaves_no_model(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_figure(monkeypatch, "val_loss", [math.nan])
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        fit(phantom_folder, run)
    assert run.model() is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_have_no_loss(wrong: float) -> None:
    """A ReLU may make 0 of them, so that the logits are finite."""
    module = segmentation(model_of_four_classes().network)
    assert module.is_finite()
    with torch.no_grad():
        module.network.head.bias[1] = wrong
    assert not module.is_finite()


def test_cosine_ends_at_zero_and_constant_stays(phantom_folder: Path, tmp_path: Path) -> None:
    rates = {}
    for schedule in ("cosine", "constant"):
        run = RunDirectory(tmp_path / schedule)
        fit(phantom_folder, run, schedule)
        with run.metrics.open() as file:
            rates[schedule] = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates["constant"] == [1e-3] * EPOCHS
    expected = [1e-3 * (1 + math.cos(math.pi * done / EPOCHS)) / 2 for done in (1, 2, 3, 4)]
    assert rates["cosine"] == pytest.approx(expected, abs=1e-8)


def test_seeds_of_epochs_differ_and_seed_zero_is_one() -> None:
    numbers = set()
    for seed, epoch in ((0, -1), (0, 0), (0, 1), (1, -1), (1, 0)):
        seed_torch(seed, epoch)
        numbers.add(torch.rand(1).item())
    assert len(numbers) == 5
    seed_torch(0, 0)
    assert torch.rand(1).item() in numbers


def test_choices_of_the_machine() -> None:
    cpu = choose_device("cpu")
    for depthwise in (False, True):
        assert choose_precision("32", cpu, depthwise) == "32"
        assert choose_precision("bf16", cpu, depthwise) == "bf16"
    able = torch.cpu.get_capabilities()
    fast = able["avx512_bf16"] or able["amx_bf16"]
    assert choose_precision("auto", cpu, False) == ("bf16" if fast else "32")
    assert choose_precision("auto", cpu, True) == "32"
    assert not KINDS["unet"].depthwise
    assert KINDS["eunet"].depthwise


@pytest.mark.parametrize("architecture", ["unet", "eunet", "encoder_unet"])
def test_the_host_never_waits_for_a_step(architecture: str) -> None:
    """Tensors of the device "meta" have no values: what would read one raises an error."""
    device = torch.device("meta")
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (3, 80, 90)).astype(np.uint8)]
    labels = [random.integers(0, 4, (80, 90)).astype(np.uint8)]
    pixels = SlicePixels(images, labels, device)
    places = pixels.places(PatchSampler(labels, 64, 0.8).draw(4, (0,), augment=True), 64)
    strong = yaml.safe_load((CONF / "augmentation" / "strong.yaml").read_text())
    host = torch.Generator()
    with device:
        network = create_model(architecture, **SMALL_NETWORKS[architecture] | {"channels": 3})
    module = segmentation(network, cross_entropy=0.5, ema=0.99).to(device)
    for _ in range(2):
        batch = pixels.cut(places, 64)
        batch = batch._replace(images=batch.images.float().mul_(1 / 255))
        settings = Augmentation(**(strong | {"share": 1.0}))
        batch = augmented(batch, settings, Generators(numbers=host, fields=host))
        loss = module.training_step(batch, 0)
        loss.backward()
        module.on_train_batch_end()
    assert module.average is not None
    assert (module.average.n_averaged.device.type, int(module.average.n_averaged)) == ("cpu", 2)
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()
