"""A stack slice by slice: channels, sizes, batches that fit the memory, and who gave the labels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.transform
import torch
from rich.console import Console
from scipy.ndimage import gaussian_filter

from fibseg.arrays import UInt8
from fibseg.data.grey import GreyRange
from fibseg.filters.channels import Channels
from fibseg.filters.grain import grain_filter
from fibseg.models.trained import TrainedModel
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.output.changes import labeller_identity
from fibseg.prediction.output.progress import SliceProgress, with_progress
from fibseg.prediction.slices import WindowedNetwork, probabilities
from fibseg.prediction.stack import (
    LabelledSlice,
    label_stack,
    nearest,
)
from fibseg.prediction.voxels import resized
from fibseg.prediction.windows import Windows, windows_of
from fibseg.stack import Stack, open_stack
from tests.support.labelling import CPU, labeller, random_image, stack_of
from tests.support.models import trained

Scale = tuple[float, float]
IMAGE_ALONE = Channels()


class NetworkOf(torch.nn.Module):
    """A network that is any function of (N, C, H, W)."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.function(images)


def model_of(
    function: Callable[[torch.Tensor], torch.Tensor],
    grey_range: GreyRange,
    channels: Channels = IMAGE_ALONE,
) -> TrainedModel:
    return replace(
        trained([], 1),
        network=NetworkOf(function),
        patch_size=48,
        grey_range=grey_range,
        channels=channels,
    )


def bright(images: torch.Tensor) -> torch.Tensor:
    """Class 1 where a pixel is brighter than half."""
    return torch.cat([0.5 - images[:, :1], images[:, :1] - 0.5, images[:, :1] * 0 - 9], dim=1)


def by_paper(model: TrainedModel, stack: Stack, scale: Scale = (1.0, 1.0)) -> list[LabelledSlice]:
    compute = replace(CPU, batch_size=100)
    paper = labeller(model, compute=compute, windows=windows_of(model, "paper"), scale=scale)
    return list(label_stack(paper, stack, range(stack.shape[0])))


def bright_labels(image: UInt8, scale: Scale) -> tuple[UInt8, list[float]]:
    """Labels (Z, H, W) of bright pixels, and the share of each slice outside the grey range."""
    slices = by_paper(model_of(bright, GreyRange(0.0, 255.0)), stack_of(image), scale)
    labels = [labelled.labels for labelled in slices if labelled.labels is not None]
    return np.stack(labels), [labelled.outside for labelled in slices]


def smooth_noise(height: int, width: int) -> UInt8:
    """Two slices of smooth blobs, of a few pixels to some tens of pixels."""
    noise = np.random.default_rng(0).normal(size=(2, height, width))
    smooth = gaussian_filter(noise, (0, 6, 6))
    return np.clip(128 + 128 * smooth / np.abs(smooth).max(), 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    "scale", [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (2.0, 0.5), (1.3, 0.77), (1.0, 2.0)]
)
@pytest.mark.parametrize("size", [(120, 96), (97, 131)])
def test_a_threshold_gives_nearly_the_same_at_every_scale(
    size: tuple[int, int], scale: Scale
) -> None:
    image = smooth_noise(*size)
    labels, outside = bright_labels(image, scale)
    truth = image > 127
    assert (labels.shape, labels.dtype, outside) == (image.shape, np.uint8, [0.0, 0.0])
    assert 0.3 < truth.mean() < 0.7
    assert (labels == truth).mean() > (0.97 if min(scale) >= 1 else 0.95)
    if scale == (1.0, 1.0):
        np.testing.assert_array_equal(labels, truth)


def test_labels_lie_where_the_grey_values_lie() -> None:
    """The centre of a disc stays, to half a pixel; confused corners would shift it by a pixel."""
    rows, columns = np.mgrid[:101, :75]
    disc = np.where((rows - 60) ** 2 + (columns - 30) ** 2 < 15**2, 255, 0).astype(np.uint8)
    for scale in ((2.0, 2.0), (0.5, 0.5), (3.0, 1 / 3), (0.25, 0.25)):
        labels, _ = bright_labels(disc[None], scale)
        centre = np.argwhere(labels[0] == 1).mean(axis=0)
        np.testing.assert_allclose(centre, [60, 30], atol=0.6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (5, 7)])
@pytest.mark.parametrize("scale", [(0.1, 0.1), (0.5, 0.5), (1.5, 3.0)])
def test_smallest_slices(size: tuple[int, int], scale: Scale) -> None:
    labels, _ = bright_labels(np.full((1, *size), 200, np.uint8), scale)
    np.testing.assert_array_equal(labels, np.ones((1, *size), np.uint8))


def test_share_outside_is_of_the_slices_as_they_are() -> None:
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, :2] = 255
    slices = by_paper(model_of(bright, GreyRange(0.0, 100.0)), stack_of(image), (0.3, 0.3))
    assert [labelled.outside for labelled in slices] == [0.1]


def test_resized() -> None:
    image = smooth_noise(40, 30)[0]
    assert resized(image, (1.0, 1.0)) is image
    for factor in (2, 3):
        expected = skimage.transform.resize(
            image.astype(float), (40 * factor, 30 * factor), order=1, mode="edge"
        )
        enlarged = resized(image, (factor, factor)).astype(float)
        assert np.abs(enlarged - expected).max() <= 1
    assert resized(image, (0.5, 1.5)).shape == (20, 45)
    # Stripes finer than the new pixels become their mean.
    stripes = np.tile(np.array([0, 255], np.uint8), (12, 20))
    inner = resized(stripes, (0.25, 0.25))[:, 1:-1]
    assert np.abs(inner.astype(float) - 127.5).max() <= 2


def test_nearest() -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(nearest(labels, 2, 3), labels)
    np.testing.assert_array_equal(nearest(labels, 4, 6), labels.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(nearest(np.arange(9, dtype=np.uint8).reshape(3, 3), 1, 1), [[4]])
    np.testing.assert_array_equal(
        nearest(np.array([[0, 1, 2, 3, 4]], np.uint8), 2, 3), [[0, 2, 4]] * 2
    )


def seen_by(model_channels: Channels, stack: Stack, processes: int, z: int = 0) -> torch.Tensor:
    """The first windows (N, C, 48, 48) of a slice, times 255, as a network sees them."""
    batches: list[torch.Tensor] = []

    def spy(images: torch.Tensor) -> torch.Tensor:
        batches.append(images * 255)
        return torch.zeros(len(images), 3, 48, 48)

    model = model_of(spy, GreyRange(0.0, 255.0), model_channels)
    compute = replace(CPU, batch_size=100, filter_threads=processes)
    paper = labeller(model, compute=compute, windows=windows_of(model, "paper"))
    labelled = next(label_stack(paper, stack, [z]))
    assert labelled.labels is not None
    assert (labelled.labels.shape, labelled.outside) == (stack.shape[1:], 0.0)
    return batches[0]


def test_a_stack_gets_the_channels_of_its_training(phantom_folder: Path) -> None:
    stack = open_stack(phantom_folder / "image.tif")
    windows = seen_by(Channels((50,)), stack, processes=1)
    channels = np.stack([stack.read(0), grain_filter(stack.read(0), [50])[0]])
    # Pixel 16 of the first window is pixel 0 of the slice.
    np.testing.assert_allclose(windows[0, :, 16, 16], channels[:, 0, 0], atol=1e-3)


@pytest.mark.slow(seconds=3)
def test_each_window_is_filtered_by_itself_where_the_scope_says_so(phantom_folder: Path) -> None:
    stack = open_stack(phantom_folder / "image.tif")
    windows = seen_by(Channels((50,), "patch"), stack, processes=2)
    window = np.pad(stack.read(0), 16, mode="reflect")[:48, :48]
    expected = np.stack([window, grain_filter(window, [50])[0]])
    np.testing.assert_allclose(windows[0], expected, atol=1e-3)


def test_pixels_outside_the_grey_range_of_the_training_are_counted(phantom_folder: Path) -> None:
    stack = open_stack(phantom_folder / "image.tif")
    first = stack.read(0)
    (labelled,) = by_paper(model_of(bright, GreyRange(100.0, 150.0)), stack_of(first[None]))
    assert labelled.outside == pytest.approx(((first < 100) | (first > 150)).mean())


class SmallMemory(torch.nn.Module):
    """A network that bears `most` windows at once."""

    def __init__(self, network: torch.nn.Module, most: int):
        super().__init__()
        self.network = network
        self.most = most
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError
        return torch.asarray(self.network(images))


def test_batches_are_halved_until_they_fit() -> None:
    model = trained([], 1)
    compute = replace(CPU, batch_size=16)
    windows = windows_of(model, "paper")
    plain = labeller(model, compute=compute, windows=windows)
    expected = next(label_stack(plain, stack_of(random_image()), [0]))
    network = SmallMemory(model.network, most=3)
    small = replace(plain, models=[replace(model, network=network)])
    slices = list(label_stack(small, stack_of(random_image()), [0, 1]))
    np.testing.assert_array_equal(slices[0].labels, expected.labels)
    # The size is kept for the slices that follow.
    assert network.sizes[:4] == [16, 8, 4, 2] and max(network.sizes[4:]) == 2
    network.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        next(label_stack(small, stack_of(random_image()), [0]))


def test_layers_of_probabilities_hold_the_scores() -> None:
    model = trained([], 1)
    pixels = random_image()
    labelled = next(label_stack(labeller(model, layers=["a"]), stack_of(pixels), [0]))
    grey = np.clip((pixels[0].astype(np.float32) - 3) * (255 / 231), 0, 255)
    channels = grey.round().astype(np.uint8)[None]
    whole = Windows("whole", 0, 0, 1)
    scores = WindowedNetwork(probabilities(model.network), whole, CPU).scores(channels)
    np.testing.assert_allclose(labelled.layers[0] / 255, scores[1], atol=0.003)


def test_identity_differs_between_models_and_settings() -> None:
    plain = labeller(trained([], 1))
    stack = stack_of(random_image())
    expected = labeller_identity(plain, stack, None)
    assert expected == labeller_identity(plain, stack, None) == json.loads(json.dumps(expected))

    def identity_of(labeller: Labeller) -> dict[str, object]:
        return labeller_identity(labeller, stack, None)

    # What a prediction costs is no part of the model.
    assert identity_of(labeller(replace(trained([], 1), windows={"kind": "whole"}))) == expected
    changed = trained([], 1)
    torch.nn.init.zeros_(next(iter(changed.network.parameters())))
    identities = [
        identity_of(labeller(changed)),
        identity_of(labeller(replace(trained([], 1), grey_range=GreyRange(0, 1)))),
        identity_of(replace(plain, turned=True)),
        identity_of(replace(plain, windows=windows_of(trained([], 1), "paper"))),
        labeller_identity(plain, stack, [20.0, 5.0, 5.0]),
        labeller_identity(plain, stack_of(random_image((12, 70, 91))), None),
    ]
    assert all(identity != expected for identity in identities)


@pytest.mark.parametrize("scope", ["slice", "patch"])
def test_neighbours_are_seen_with_a_slice(phantom_folder: Path, scope: str) -> None:
    stack = open_stack(phantom_folder / "image.tif")
    windows = seen_by(Channels((50,), scope, context=2), stack, processes=2, z=1)
    assert windows.shape[1] == 6
    # The slices before and behind; slice 3 stands on both sides of the outer pair.
    for channel, z in zip((2, 3, 4, 5), (0, 2, 3, 3), strict=True):
        corner = windows[0, channel, 16:20, 16:20]
        np.testing.assert_allclose(corner, stack.read(z)[:4, :4], atol=1e-3)


def test_a_neighbour_that_cannot_be_read_is_reported_and_replaced() -> None:
    lines: list[str] = []
    stack = stack_of(random_image(), (5,))
    slices = list(label_stack(labeller(_of_context(1)), stack, range(12), say=lines.append))
    assert [labelled.z for labelled in slices if labelled.error] == [5]
    sentence = "a neighbour cannot be read; the slice itself stands in for it"
    assert lines == [f"slice 4: {sentence}", f"slice 6: {sentence}"]


def test_an_average_of_models_of_other_contexts() -> None:
    """Each sees its own neighbours: the mean of what they say alone."""
    stack = stack_of(random_image())
    models = [_of_context(reach) for reach in (0, 2, 1)]
    alone = [_probabilities([model], stack) for model in models]
    together = _probabilities(models, stack)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1)


def _of_context(reach: int) -> TrainedModel:
    model = trained([], 1 + 2 * reach)
    return replace(model, channels=Channels(context=reach))


def _probabilities(models: list[TrainedModel], stack: Stack) -> UInt8:
    plain = labeller(models[0])
    several = replace(plain, models=models, layers=["a"])
    return np.stack([labelled.layers[0] for labelled in label_stack(several, stack, range(3))])


def test_processes_that_start_for_long_are_not_called_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for an hour, and then label a slice in two seconds."""
    clock = iter([0.0, *(3600.0 + 2 * k for k in range(5))])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    file = io.StringIO()
    with SliceProgress(100, Console(file=file)) as progress:
        for done in range(1, 6):
            progress.update(done, processes=2)
    assert file.getvalue() == "slice 2 of 100 by 2 processes, 0.50 slices/s, 196 s left\n"


def test_slices_that_come_all_at_once_are_not_called_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each took ten seconds; the first one waited for the last."""
    clock = iter([0.0, 50.0, *(50.0 + k / 1000 for k in range(1, 5))])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    file = io.StringIO()
    for _ in with_progress(range(5), 5, Console(file=file)):
        pass
    assert file.getvalue() == "slice 2 of 5, 0.04 slices/s, 75 s left\n"
