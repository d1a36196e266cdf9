from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fibseg.data.grey import GreyRange
from fibseg.filters.grain import grain_filter
from fibseg.models.trained import TrainedModel
from fibseg.prediction.slices import predict_slice
from fibseg.prediction.stack import Labelled, Labeller, label_stack
from fibseg.prediction.windows import Windows, windows_of
from fibseg.stack import Stack, open_stack
from tests.support.models import trained

CPU = torch.device("cpu")


def paper(size: int) -> Windows:
    return Windows("paper", size, 0, 1)


def first_of(model: TrainedModel, stack: Stack, processes: int = 1) -> Labelled:
    """The first slice by the paper's windows."""
    labeller = Labeller([model], windows_of(model, "paper"), CPU, "32", 100, processes)
    return next(label_stack(labeller, stack, [0]))


def brightest(images: torch.Tensor) -> torch.Tensor:
    """A network that knows one pixel at a time: the logits are the image's grey level in four steps."""
    steps = (images[:, :1] * 255).round() % 4
    return torch.cat([(steps == k).float() for k in range(4)], dim=1)


@pytest.mark.parametrize("shape", [(64, 64), (100, 37), (5, 7), (1, 1), (1, 90), (130, 131)])
@pytest.mark.parametrize("size", [32, 48, 50])
def test_every_pixel_is_written_once_at_its_place(shape: tuple[int, int], size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    labels = predict_slice(brightest, image[None], paper(size), batch_size=3, device=CPU)
    np.testing.assert_array_equal(labels, image % 4)


def test_each_pixel_comes_from_the_window_whose_centre_holds_it() -> None:
    """Against a slow loop over windows, with a network that looks far: differences to the window's mean."""

    def network(images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(-2, -1), keepdim=True)
        return torch.cat([mean - images, images - mean], dim=1)

    image = np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8)
    size, third = 30, 10
    padded = np.pad(image, ((third, 60), (third, 60)), mode="reflect").astype(np.float32) / 255
    expected = np.zeros_like(image)
    for row in range(0, 70, third):
        for column in range(0, 90, third):
            window = torch.from_numpy(padded[row : row + size, column : column + size])[None, None]
            kept = network(window).argmax(1)[0, third : 2 * third, third : 2 * third]
            expected[row : row + third, column : column + third] = kept
    np.testing.assert_array_equal(
        predict_slice(network, image[None], paper(size), batch_size=7, device=CPU), expected
    )


def test_a_stack_gets_the_channels_of_its_training(phantom_folder: Path) -> None:
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images[:, :, 16, 16] * 255)
            return torch.zeros(len(images), 3, 48, 48)

    stack = open_stack(phantom_folder / "image.tif")
    model = replace(trained([50], 2), network=Spy(), patch_size=48, window=GreyRange(0.0, 255.0))
    found = first_of(model, stack)
    assert found.labels is not None and (found.labels.shape, found.outside) == ((96, 96), 0.0)
    channels = np.stack([stack.read(0), grain_filter(stack.read(0), [50])[0]])
    np.testing.assert_allclose(
        seen[0][0], channels[:, 0, 0], atol=1e-3
    )  # pixel 16 of the first window is pixel 0


def test_each_window_is_filtered_by_itself_where_the_scope_says_so(phantom_folder: Path) -> None:
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images * 255)
            return torch.zeros(len(images), 3, 48, 48)

    stack = open_stack(phantom_folder / "image.tif")
    model = replace(
        trained([50], 2),
        network=Spy(),
        patch_size=48,
        window=GreyRange(0.0, 255.0),
        filter_scope="patch",
    )
    first_of(model, stack, 2)
    window = np.pad(stack.read(0), 16, mode="reflect")[:48, :48]
    expected = np.stack([window, grain_filter(window, [50])[0]])
    np.testing.assert_allclose(seen[0][0], expected, atol=1e-3)


def test_pixels_outside_the_training_window_are_told(phantom_folder: Path) -> None:
    stack = open_stack(phantom_folder / "image.tif")
    model = replace(
        trained([], 1), network=brightest_module(), patch_size=48, window=GreyRange(100.0, 150.0)
    )
    outside = first_of(model, stack).outside
    first = stack.read(0)
    assert outside == pytest.approx(((first < 100) | (first > 150)).mean())


def brightest_module() -> torch.nn.Module:
    class Module(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return brightest(images)

    return Module()
