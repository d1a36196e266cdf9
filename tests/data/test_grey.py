"""Grey values to 8 bit, against numpy."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import (
    FEWEST_LEVELS,
    SUMMARY_PERCENTILES,
    GreyRange,
    GreySummary,
    grey_range,
    padding_value,
    summarise_grey,
    to_8bit,
)
from fibseg.errors import FibsegError

IMAGE = np.random.default_rng(0).integers(0, 4000, (3, 40, 50))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_grey_range_and_8bit_against_numpy(dtype: str) -> None:
    image = (IMAGE // 16).astype(dtype)
    training = grey_range(list(image[1:]), IntensityDescription(1, 99))
    assert (training.low, training.high) == tuple(np.percentile(image[1:], [1, 99]))
    exact = (image[0].astype(float) - training.low) / (training.high - training.low) * 255
    assert np.abs(to_8bit(image[0], training) - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-3
    assert (
        training.outside(image[0])
        == ((image[0] < training.low) | (image[0] > training.high)).mean()
    )


def test_8bit_of_the_full_grey_range_changes_nothing() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_8bit(image, GreyRange(0.0, 255.0)), image)


def test_one_grey_value_has_no_grey_range() -> None:
    with pytest.raises(FibsegError, match="one grey value only"):
        grey_range([np.full((4, 4), 7)], IntensityDescription(0.1, 99.9))


def test_grey_ranges_of_single_slices_take_out_drift() -> None:
    """Brightness and contrast that change from slice to slice leave no trace."""
    training = grey_range(list(IMAGE), IntensityDescription(0.1, 99.9, "slice"))
    drifted = IMAGE[0] * 0.6 + 900.0
    plain = GreyRange(training.low, training.high)
    assert np.abs(to_8bit(drifted, training).astype(int) - to_8bit(IMAGE[0], training)).max() <= 1
    assert np.abs(to_8bit(drifted, plain).astype(int) - to_8bit(IMAGE[0], plain)).max() > 30
    assert training.outside(drifted) < 0.003


def test_an_empty_slice_takes_the_grey_range_of_the_training() -> None:
    training = grey_range(list(IMAGE), IntensityDescription(0, 100, "slice"))
    assert training.limits(np.full((4, 4), 12)) == (training.low, training.high)
    assert (to_8bit(np.full((4, 4), 0), training) == 0).all()


def tissue(*, dark: float = 90, bright: float = 150, dtype: str = "uint8") -> np.ndarray:
    """(4, 80, 90): noise around a bright value, a tenth of it around a dark one."""
    generator = np.random.default_rng(3)
    means = np.where(np.arange(90) < 9, dark, bright)
    noise = generator.normal(0, abs(bright - dark) / 6, (4, 80, 90))
    return np.clip(means + noise, 0, None).astype(dtype)


def test_a_summary_against_numpy_and_through_json() -> None:
    image = tissue()
    summary = summarise_grey(image)
    np.testing.assert_allclose(summary.quantiles, np.percentile(image, SUMMARY_PERCENTILES))
    assert (summary.smallest, summary.largest) == (image.min(), image.max())
    assert summary.commonest == np.bincount(image.ravel()).max() / image.size
    assert (summary.padding, summary.dtype) == (0, "uint8")
    assert GreySummary(**json.loads(json.dumps(asdict(summary)))) == summary


@pytest.mark.parametrize("value", [0, 255])
def test_padding_is_no_part_of_a_summary(value: int) -> None:
    image = tissue()
    padded = np.pad(image, ((0, 0), (10, 10), (30, 0)), constant_values=value)
    assert padding_value(padded[0]) == value
    summary = summarise_grey(padded)
    assert summary.quantiles == summarise_grey(image).quantiles
    assert summary.padding == pytest.approx(1 - image.size / padded.size)


def test_single_dark_pixels_and_flat_organelles_are_no_padding() -> None:
    image = tissue()[0]
    image[::7, ::5] = 0
    assert padding_value(image) is None
    image = tissue()[0]
    image[30:50, 30:50] = 255
    assert padding_value(image) is None
    assert padding_value(np.full((8, 8), 3)) is None


def test_eight_bits_in_the_grey_range_of_sixteen_take_few_levels() -> None:
    both = [tissue(), tissue(dark=23000, bright=38000, dtype="uint16")]
    training = grey_range([image for stack in both for image in stack], IntensityDescription(0, 99))
    narrow, wide = (summarise_grey(stack).levels(training.low, training.high) for stack in both)
    mapped = [to_8bit(image, training) for image in both[0]]
    assert narrow <= len(np.unique(mapped)) < FEWEST_LEVELS < wide


@pytest.mark.parametrize(
    ("other", "doubt"),
    [
        (tissue(), None),
        (tissue(dark=80, bright=160), None),
        (255 - tissue(), "look inverted"),
        (tissue(dark=1000, bright=1060, dtype="int32"), "differ in brightness"),
        (tissue(dark=0, bright=600, dtype="uint16"), "differ in contrast"),
        (tissue(dark=0.35, bright=0.6, dtype="float32"), "differ in contrast, 0.0"),
    ],
)
def test_doubts_about_other_grey_values(other: np.ndarray, doubt: str | None) -> None:
    texts = summarise_grey(tissue()).doubts(summarise_grey(other), "the training", "the image")
    assert len(texts) == (doubt is not None)
    assert doubt is None or doubt in texts[0]


def test_no_slice_has_no_summary() -> None:
    with pytest.raises(FibsegError, match="no pixels but padding"):
        summarise_grey([])
