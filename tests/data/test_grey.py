"""Grey values to 8 bit, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fibseg.data.description import IntensityDescription
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.errors import FibsegError

IMAGE = np.random.default_rng(0).integers(0, 4000, (3, 40, 50))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_window_and_8bit_against_numpy(dtype: str) -> None:
    image = (IMAGE // 16).astype(dtype)
    window = grey_range(list(image[1:]), IntensityDescription(1, 99))
    assert (window.low, window.high) == tuple(np.percentile(image[1:], [1, 99]))
    exact = (image[0].astype(float) - window.low) / (window.high - window.low) * 255
    assert np.abs(to_8bit(image[0], window) - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-3
    assert window.outside(image[0]) == ((image[0] < window.low) | (image[0] > window.high)).mean()


def test_8bit_of_a_full_window_changes_nothing() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_8bit(image, GreyRange(0.0, 255.0)), image)


def test_one_grey_value_has_no_window() -> None:
    with pytest.raises(FibsegError, match="one grey value only"):
        grey_range([np.full((4, 4), 7)], IntensityDescription(0.1, 99.9))


def test_slices_of_their_own_window_forget_drift() -> None:
    """Brightness and contrast that change from slice to slice leave no trace."""
    window = grey_range(list(IMAGE), IntensityDescription(0.1, 99.9, "slice"))
    drifted = IMAGE[0] * 0.6 + 900.0
    plain = GreyRange(window.low, window.high)
    assert np.abs(to_8bit(drifted, window).astype(int) - to_8bit(IMAGE[0], window)).max() <= 1
    assert np.abs(to_8bit(drifted, plain).astype(int) - to_8bit(IMAGE[0], plain)).max() > 30
    assert window.outside(drifted) < 0.003


def test_an_empty_slice_takes_the_window_of_the_training() -> None:
    window = grey_range(list(IMAGE), IntensityDescription(0, 100, "slice"))
    assert window.of(np.full((4, 4), 12)) == (window.low, window.high)
    assert (to_8bit(np.full((4, 4), 0), window) == 0).all()
