"""Grey values to 8 bit, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import GreyRange, grey_range, to_8bit
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
