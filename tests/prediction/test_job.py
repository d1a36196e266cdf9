"""Prediction at the pixel size of the training: shapes, alignment, and what a person is told."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.transform
import tifffile
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy.ndimage import gaussian_filter

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.models.trained import TrainedModel
from fibseg.prediction.job import pixel_scale
from fibseg.prediction.stack import Labelled, Labeller, label_stack, nearest, resized
from fibseg.prediction.windows import windows_of
from fibseg.stack import Stack
from tests.support import Commands
from tests.support.models import trained

CPU = torch.device("cpu")
UInt8 = NDArray[np.uint8]


class Bright(torch.nn.Module):
    """Class 1 where a pixel is brighter than half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - images[:, :1], images[:, :1] - 0.5, images[:, :1] * 0 - 9], dim=1)


def blobs(height: int, width: int, depth: int = 2) -> UInt8:
    """Smooth blobs of a few pixels to some tens of pixels."""
    noise = np.random.default_rng(0).normal(size=(depth, height, width))
    smooth = gaussian_filter(noise, (0, 6, 6))
    return np.clip(128 + 128 * smooth / np.abs(smooth).max(), 0, 255).round().astype(np.uint8)


def predicted(image: UInt8, scale: tuple[float, float]) -> tuple[UInt8, list[float]]:
    model = replace(trained([], 1), network=Bright(), patch_size=48, window=GreyRange(0.0, 255.0))
    stack = Stack("here", image.shape, image.dtype, image.__getitem__)
    found = [(one.labels, one.outside) for one in labelled(model, stack, scale)]
    return np.stack([labels for labels, _ in found if labels is not None]), [
        share for _, share in found
    ]


def labelled(model: TrainedModel, stack: Stack, scale: tuple[float, float]) -> list[Labelled]:
    labeller = Labeller([model], windows_of(model, "paper"), CPU, "32", 100, 1, scale)
    return list(label_stack(labeller, stack, range(stack.shape[0])))


@pytest.mark.parametrize(
    "scale", [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5), (2.0, 0.5), (1.3, 0.77), (1.0, 2.0)]
)
@pytest.mark.parametrize("size", [(120, 96), (97, 131)])
def test_a_threshold_finds_nearly_the_same_at_every_scale(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    image = blobs(*size)
    labels, outside = predicted(image, scale)
    truth = image > 127
    assert (labels.shape, labels.dtype, outside) == (image.shape, np.uint8, [0.0, 0.0])
    assert 0.3 < truth.mean() < 0.7
    assert (labels == truth).mean() > (0.97 if min(scale) >= 1 else 0.95)
    if scale == (1.0, 1.0):
        np.testing.assert_array_equal(labels, truth)


def test_labels_lie_where_the_grey_values_lie() -> None:
    """The centre of a disc stays, to half a pixel, at scales that shift by a pixel where corners are confused."""
    rows, columns = np.mgrid[:101, :75]
    disc = np.where((rows - 60) ** 2 + (columns - 30) ** 2 < 15**2, 255, 0).astype(np.uint8)
    for scale in ((2.0, 2.0), (0.5, 0.5), (3.0, 1 / 3), (0.25, 0.25)):
        labels, _ = predicted(disc[None], scale)
        centre = np.argwhere(labels[0] == 1).mean(axis=0)
        np.testing.assert_allclose(centre, [60, 30], atol=0.6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (5, 7)])
@pytest.mark.parametrize("scale", [(0.1, 0.1), (0.5, 0.5), (1.5, 3.0)])
def test_smallest_slices(size: tuple[int, int], scale: tuple[float, float]) -> None:
    image = np.full((1, *size), 200, np.uint8)
    labels, _ = predicted(image, scale)
    np.testing.assert_array_equal(labels, np.ones((1, *size), np.uint8))


def test_share_outside_is_of_the_slices_as_they_are() -> None:
    image = np.zeros((1, 20, 20), np.uint8)
    image[0, :2] = 255
    model = replace(trained([], 1), network=Bright(), patch_size=48, window=GreyRange(0.0, 100.0))
    stack = Stack("here", image.shape, image.dtype, image.__getitem__)
    assert [one.outside for one in labelled(model, stack, (0.3, 0.3))] == [0.1]


def test_resized() -> None:
    image = blobs(40, 30)[0]
    assert resized(image, (1.0, 1.0)) is image
    for factor in (2, 3):
        expected = skimage.transform.resize(
            image.astype(float), (40 * factor, 30 * factor), order=1, mode="edge"
        )
        found = resized(image, (factor, factor)).astype(float)
        assert np.abs(found - expected).max() <= 1
    assert resized(image, (0.5, 1.5)).shape == (20, 45)
    stripes = np.tile(
        np.array([0, 255], np.uint8), (12, 20)
    )  # finer than the new pixels: they become their mean
    inner = resized(stripes, (0.25, 0.25))[:, 1:-1]
    assert np.abs(inner.astype(float) - 127.5).max() <= 2


def testnearest() -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(nearest(labels, 2, 3), labels)
    np.testing.assert_array_equal(nearest(labels, 4, 6), labels.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(nearest(np.arange(9, dtype=np.uint8).reshape(3, 3), 1, 1), [[4]])
    np.testing.assert_array_equal(
        nearest(np.array([[0, 1, 2, 3, 4]], np.uint8), 2, 3), [[0, 2, 4]] * 2
    )


def told(
    ours: list[float] | None, trained: list[list[float]], resample: bool
) -> tuple[tuple[float, float], str]:
    stream = io.StringIO()
    return pixel_scale(ours, trained, resample, Console(file=stream, width=300)), stream.getvalue()


def test_the_scale_is_the_pixel_size_over_that_of_the_nearest_training() -> None:
    scale, text = told(None, [[20, 5, 5]], False)
    assert scale == (1.0, 1.0) and "does not tell its voxel size; it was not compared" in text
    with pytest.raises(
        FibsegError, match=r"does not tell its voxel size; give voxel_size=\[z,y,x\] in nm"
    ):
        told(None, [[20, 5, 5]], True)
    for resample in (False, True):
        assert told([20, 5.4, 5], [[20, 5, 5]], resample) == ((1.0, 1.0), "")
    scale, text = told([20, 10, 2.5], [[20, 5, 5]], True)
    assert scale == (2.0, 0.5)
    assert (
        "voxels of [20, 10, 2.5] nm, training [20, 5, 5] nm: slices are shown to the network 2 times as high"
        in text
    )
    scale, text = told([20, 10, 10], [[20, 5, 5], [20, 8, 8]], True)
    assert scale == (1.25, 1.25) and "training [20, 8, 8] nm" in text
    scale, text = told([20, 10, 10], [[20, 5, 5], [20, 8, 8]], False)
    assert scale == (1.0, 1.0)
    assert text == (
        "warning: voxels of [20, 10, 10] nm, but the training had [[20, 5, 5], [20, 8, 8]] nm; "
        "resample=true brings them together.\n"
    )
    scale, text = told([40, 5, 5], [[20, 5, 5]], False)  # no resampling within slices would help
    assert scale == (1.0, 1.0) and text.endswith("the training had [[20, 5, 5]] nm.\n")


def test_prediction_of_a_stack_of_larger_pixels(finished: Commands, tmp_path: Path) -> None:
    image = tifffile.imread(finished.data / "image.tif")[:2, ::2, :95:2]
    tifffile.imwrite(tmp_path / "coarse.tif", image)
    fixed = (
        f"checkpoint={finished.run_directory()}",
        f"image={tmp_path / 'coarse.tif'}",
        "precision=32",
        "device=cpu",
        "threads=1",
    )
    refused = finished.run("predict.py", *fixed, f"output={tmp_path / 'a.tif'}", "resample=true")
    finished.refused(refused, "does not tell its voxel size", "voxel_size=[z,y,x]")
    assert not (tmp_path / "a.tif").exists()
    size = "voxel_size=[20,10,10]"
    result = finished.run(
        "predict.py", *fixed, f"output={tmp_path / 'b.tif'}", "resample=true", size
    )
    assert result.returncode == 0, result.stderr
    assert "2 times as high and 2 times as wide" in result.stdout
    labels = tifffile.imread(tmp_path / "b.tif")
    assert labels.shape == image.shape == (2, 48, 48)
    result = finished.run("predict.py", *fixed, f"output={tmp_path / 'c.tif'}", size)
    assert "resample=true brings them together" in result.stdout
