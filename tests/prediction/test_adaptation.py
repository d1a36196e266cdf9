"""Shift of activations against torch's divergence, statistics of a stack, and what auto chooses."""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.distributions import Normal, kl_divergence

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.trained import TrainedModel
from fibseg.prediction.adaptation import (
    Adaptation,
    adapted,
    channels_for,
    recalibrated,
    shifts,
    usual_shifts,
)
from fibseg.prediction.output.changes import labeller_identity
from fibseg.stack import Stack, read_notes
from tests.support import Commands
from tests.support.forests import forest_model, phantom_forest
from tests.support.labelling import CPU, labeller, random_image, stack_of
from tests.support.models import trained


def tissue(shape: tuple[int, int, int] = (9, 96, 112)) -> np.ndarray:
    """Dark blobs in bright noise, from 40 to 200."""
    chance = np.random.default_rng(0)
    blobs = gaussian_filter(chance.normal(size=shape), (0, 3, 3))
    dark = (blobs / blobs.std()).clip(0, 3) / 3
    return np.rint(200 - 150 * dark + chance.normal(0, 6, shape)).clip(1, 254).astype(np.uint8)


def single_norm() -> TrainedModel:
    """A model whose network is one convolution and one batch norm."""
    torch.manual_seed(0)
    network: Any = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).eval()
    return replace(trained([], 1), network=network)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """A model whose batch norms, grey range and reference are those of `tissue`."""
    low, high = (float(value) for value in np.percentile(tissue(), (0.1, 99.9)))
    plain = replace(trained([], 1), grey_range=GreyRange(low, high), grey_percentiles=[0.1, 99.9])
    fitted = recalibrated(plain, channels_for(plain, list(tissue()[:, None]), (1, 1), CPU), CPU)
    usual = usual_shifts(fitted, channels_for(fitted, list(tissue()[:, None]), (1, 1), CPU), CPU)
    shares: dict[str, Any] = dict.fromkeys(fitted.class_names)
    reference = {"shares": shares, "confidence": None, "shift": [min(usual), max(usual)]}
    return replace(fitted, reference=reference)


def chosen(
    models: list[TrainedModel], pixels: np.ndarray | Stack, adapt: str, intensity: str = "training"
) -> tuple[list[TrainedModel], Adaptation, str]:
    """The models as they label a stack, what was done, and what is printed."""
    stream = io.StringIO()
    fitted, adaptation = adapted(
        models=models,
        adapt=adapt,
        intensity=intensity,
        stack=pixels if isinstance(pixels, Stack) else stack_of(pixels),
        scale=(1.0, 1.0),
        compute=CPU,
        console=Console(file=stream, width=400),
    )
    return fitted, adaptation, stream.getvalue()


def identity_of(models: list[TrainedModel], adaptation: Adaptation) -> dict[str, Any]:
    """What an output of `tissue` depends on."""
    return labeller_identity(
        labeller=labeller(*models),
        stack=stack_of(tissue()),
        voxel_size=None,
        intensity=adaptation.intensity,
        originals=adaptation.originals,
        sampled=adaptation.sampled,
    )


def test_the_shift_is_the_symmetric_divergence_of_torch() -> None:
    model = single_norm()
    norm = model.network[1]
    norm.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
    norm.running_var.copy_(torch.tensor([0.5, 0.02, 1e-5]))
    channels = [random_image((1, 30, 40)), random_image((2, 30, 40))[1:]]
    for pixels, given in zip(channels, shifts(model, channels, CPU), strict=True):
        with torch.inference_mode():
            inputs = model.network[0](torch.from_numpy(pixels)[None] / 255)
        deviation = (inputs.var((0, 2, 3), unbiased=False) + norm.eps).sqrt()
        here = Normal(inputs.mean((0, 2, 3)), deviation)
        there = Normal(norm.running_mean, (norm.running_var + norm.eps).sqrt())
        divergence = (kl_divergence(here, there) + kl_divergence(there, here)) / 2
        assert given == pytest.approx(float(divergence.clamp(max=20).mean()), rel=1e-4)


def test_recalibrated_statistics_are_means_over_the_slices() -> None:
    model = single_norm()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    channels = [random_image((4, 30, 40))[z : z + 1] for z in range(4)]
    fitted = recalibrated(model, channels, CPU)
    with torch.inference_mode():
        inputs = [model.network[0](torch.from_numpy(pixels)[None] / 255) for pixels in channels]
    norm: Any = fitted.network[1]
    mean = torch.stack([part.mean((0, 2, 3)) for part in inputs]).mean(0)
    variance = torch.stack([part.var((0, 2, 3)) for part in inputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    assert (norm.momentum, norm.training) == (0.1, False)
    # Neither the given model nor any weight has changed.
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])
        assert (
            "running" in name
            or "num_batches" in name
            or torch.equal(value, fitted.network.state_dict()[name])
        )


def test_a_stack_like_the_training_is_left_alone(model: TrainedModel) -> None:
    fitted, adaptation, printed = chosen([model], tissue(), "auto")
    assert fitted == [model]
    assert adaptation.described() == {
        "asked": "auto",
        "intensity": "training",
        "norm": False,
        "shift": [pytest.approx(adaptation.shift[0], abs=1e-4)],
    }
    assert "the stack is like the training" in printed
    assert "nothing is adapted" in printed


@pytest.mark.parametrize("factor", [0.4, 40])
def test_other_contrast_calls_for_grey_values_alone(model: TrainedModel, factor: float) -> None:
    """Even where hardly a pixel would be left in the range of the training."""
    stack = (tissue().astype(float) * factor + 60).round().astype(np.uint16)
    ((fitted,), adaptation, printed) = chosen([model], stack, "auto")
    assert (adaptation.intensity, adaptation.norm) == ("own", False)
    expected = [value * factor + 60 for value in (model.grey_range.low, model.grey_range.high)]
    np.testing.assert_allclose((fitted.grey_range.low, fitted.grey_range.high), expected, rtol=0.03)
    assert fitted.network is model.network
    assert "the stack is unlike the training" in printed
    assert "taken: its own grey values" in printed


def test_another_texture_calls_for_statistics(model: TrainedModel) -> None:
    stack = gaussian_filter(tissue().astype(float), (0, 2, 2)).astype(np.uint8)
    ((fitted,), adaptation, printed) = chosen([model], stack, "auto")
    assert adaptation.norm
    assert printed.splitlines()[0].endswith("its own statistics of the batch norms")
    images = [to_8bit(pixels, fitted.grey_range)[None] for pixels in stack]
    before = replace(fitted, network=model.network)
    assert np.mean(shifts(fitted, images, CPU)) < np.mean(shifts(before, images, CPU)) / 5
    # What a person asks for by name is done without a measure.
    ((asked,), other, printed) = chosen([model], stack, "norm")
    assert (other.intensity, other.norm, other.shift, printed) == ("training", True, None, "")
    ((asked,), other, printed) = chosen([model], stack, "both")
    assert (other.intensity, other.norm) == ("own", True)
    assert "grey values of this stack" in printed
    weights = asked.network.state_dict()
    if adaptation.intensity == "own":
        assert all(torch.equal(weights[k], v) for k, v in fitted.network.state_dict().items())


def test_models_are_adapted_together(model: TrainedModel) -> None:
    stack = gaussian_filter(tissue().astype(float), (0, 2, 2)).astype(np.uint8)
    fitted, adaptation, _ = chosen([model, model], stack, "auto")
    assert adaptation.norm
    assert len(fitted) == 2
    assert all(member.network is not model.network for member in fitted)


def test_another_adaptation_is_another_output(model: TrainedModel) -> None:
    """Labels that were begun by one are not gone on with by another."""
    identities = []
    for adapt in ("none", "grey", "norm", "both"):
        identities.append(identity_of(*chosen([model], tissue(), adapt)[:2]))
    assert all(a != b for i, a in enumerate(identities) for b in identities[:i])
    assert identities[3] == identity_of(*chosen([model], tissue(), "both")[:2])


def test_what_has_no_batch_norms_is_not_measured() -> None:
    forest = forest_model(phantom_forest().network)
    fitted, adaptation, printed = chosen([forest], tissue(), "auto")
    assert fitted == [forest]
    assert adaptation.shift is None
    assert "nothing is adapted; the model has no batch norms" in printed
    with pytest.raises(FibsegError, match="adapt=norm: this forest has no batch norms"):
        chosen([forest], tissue(), "norm")


def test_slices_that_cannot_be_read(model: TrainedModel) -> None:
    pixels = tissue()
    _, some, _ = chosen([model], stack_of(pixels, broken=(0, 4)), "auto")
    assert some.shift is not None
    _, nothing, printed = chosen([model], stack_of(pixels, broken=tuple(range(9))), "auto")
    assert nothing.shift is None
    assert "no slice can be read" in printed
    _, nothing, _ = chosen([model], stack_of(pixels, broken=tuple(range(9))), "norm")
    assert not nothing.norm


def test_an_older_model_has_an_absolute_limit(model: TrainedModel) -> None:
    """Its file has no measure of the training's own slices."""
    older = replace(model, reference=None)
    assert "allowed 0.1)" in chosen([older], tissue(), "auto")[2]


def test_a_prediction_says_what_it_took(finished: Commands, commands: Commands) -> None:
    outputs = {}
    for adapt in ("none", "auto", "both"):
        output = commands.folder / f"{adapt}.tif"
        result = commands.run(
            "predict.py",
            f"checkpoint={finished.run_directory()}",
            f"image={finished.data / 'image.tif'}",
            f"output={output}",
            f"adapt={adapt}",
            "device=cpu",
            "threads=1",
            "processes=1",
        )
        assert result.returncode == 0, result.stderr
        assert ("adapt=auto: the stack is like the training" in result.stdout) == (adapt == "auto")
        outputs[adapt] = output
        notes = read_notes(output)
        assert notes is not None
        assert notes["adapted"]["asked"] == adapt
        assert notes["adapted"]["norm"] == (adapt == "both")
    assert outputs["auto"].read_bytes()[-1000:] == outputs["none"].read_bytes()[-1000:]


def test_empty_slices_and_borders_are_no_other_microscope(model: TrainedModel) -> None:
    """Aligned stacks have black ends and black borders."""
    with_ends = tissue()
    with_ends[:2] = 0
    with_ends[5] = 0
    assert "is like the training" in chosen([model], with_ends, "auto")[2]
    framed = np.zeros((9, 160, 180), np.uint8)
    framed[:, 30:126, 40:152] = tissue()
    assert "is like the training" in chosen([model], framed, "auto")[2]
    # Of a stack without any tissue nothing is measured, and the check of grey values speaks.
    with pytest.raises(FibsegError, match="outside the grey values of the training"):
        chosen([model], np.zeros_like(framed), "auto")


def test_slices_too_small_say_nothing(model: TrainedModel) -> None:
    fitted, adaptation, _ = chosen([model], tissue()[:, :40, :40], "both")
    assert not adaptation.norm
    assert fitted[0].network is model.network


def test_models_of_filtered_patches_are_measured_by_filtered_slices() -> None:
    """Their slices have the image alone; the filter is applied to patches."""
    by_patch = replace(trained([9, 30], 3), channels=Channels((9, 30), "patch"))
    slices = [pixels[None] for pixels in tissue()]
    measured = usual_shifts(by_patch, slices, CPU)
    ranged = replace(by_patch, channels=Channels((9, 30)), grey_range=GreyRange(0, 255))
    chosen_slices = [tissue()[z][None] for z in (0, 2, 4, 6, 8)]
    assert measured == shifts(ranged, channels_for(ranged, chosen_slices, (1, 1), CPU), CPU)


def test_statistics_of_another_machine_are_the_same_output(model: TrainedModel) -> None:
    """A shard is known by the slices whose statistics it took, not by the last bits of these."""
    stack = stack_of(tissue())
    (fitted,), adaptation, _ = chosen([model], stack, "norm")
    other = replace(fitted, network=copy.deepcopy(fitted.network))
    other.network.down[0][2].running_mean += 1e-6
    identities = [
        labeller_identity(
            labeller=labeller(member),
            stack=stack,
            voxel_size=None,
            originals=adaptation.originals,
            sampled=adaptation.sampled,
        )
        for member in (fitted, other)
    ]
    assert identities[0] == identities[1]
    assert identities[0] != labeller_identity(labeller(model), stack, None)
    changed = tissue()
    changed[4] = changed[4][::-1]
    assert chosen([model], changed, "norm")[1].sampled != adaptation.sampled
