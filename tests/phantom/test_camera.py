"""Camera and texture against references: laws of noise, a recursive filter, whole-pixel shifts."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage, signal

from fibseg.phantom.camera import Camera, slow_drift, tails
from fibseg.phantom.texture import Texture

SIZE = (200, 400)
# Unit gain on white noise, blind to lines and stripes.
KERNEL = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) / 6.0


def flat(grey: float, seed: int = 0) -> np.ndarray:
    """One slice of even grey, seen by the camera."""
    camera = Camera((1, *SIZE), np.random.default_rng(seed))
    return camera.expose(np.full(SIZE, grey, np.float32), np.zeros(SIZE, bool), 0).astype(float)


def test_variance_is_a_line_of_the_grey_level() -> None:
    # Lighter than what starts curtains.
    greys = np.array([130.0, 160.0, 190.0])
    stacks = [np.array([flat(grey, seed) for seed in range(4)]) for grey in greys]
    means = [images.mean() for images in stacks]
    variance = [np.var([ndimage.convolve(image, KERNEL) for image in images]) for images in stacks]
    slope, offset = np.polyfit(means, variance, 1)
    # The slope is that of the electrons, the offset the amplifier's.
    assert slope > 0.2 and offset > 0
    assert np.abs(np.polyval([slope, offset], means) - variance).max() < 2.0


def test_noise_is_correlated_along_the_line_only() -> None:
    # Without stripes.
    noise = np.diff(flat(180.0), axis=0, n=2)
    noise -= noise.mean(axis=1, keepdims=True)
    assert 0.05 < np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var() < 0.25
    assert abs(np.mean(noise[:, 2:] * noise[:, :-2]) / noise.var()) < 0.05
    white = np.random.default_rng(0).normal(size=SIZE)
    of_white = np.diff(white, axis=0, n=2)
    along_y = [np.mean(field[1:] * field[:-1]) / field.var() for field in (noise, of_white)]
    assert along_y[0] == pytest.approx(along_y[1], abs=0.03)


def test_strong_curtains_begin_below_dense_structures() -> None:
    below = []
    above = []
    for seed in range(8):
        grey = np.full(SIZE, 180.0, np.float32)
        grey[90:110] = 60.0
        camera = Camera((1, *SIZE), np.random.default_rng(seed))
        image = camera.expose(grey, np.zeros(SIZE, bool), 0).astype(float)
        for part, deviations in ((image[10:80], above), (image[120:190], below)):
            columns = part.mean(axis=0)
            deviations.append((columns - ndimage.gaussian_filter1d(columns, 8.0)).std())
    assert np.mean(below) > 1.2 * np.mean(above)


def test_resin_is_too_bright_where_the_scan_enters_it() -> None:
    lines = []
    for seed in range(4):
        resin = np.ones(SIZE, bool)
        resin[:, 100:200] = False
        camera = Camera((1, *SIZE), np.random.default_rng(seed))
        lines.append(camera.expose(np.full(SIZE, 180.0, np.float32), resin, 0).mean(axis=0))
    line = np.mean(lines, axis=0)
    assert line[200:210].mean() > line[290:390].mean() + 5
    assert line[100:110].mean() < line[:100].mean() - 5
    # It decays.
    assert line[200:210].mean() > line[215:225].mean() > line[240:260].mean()


@pytest.mark.parametrize(
    ("width", "keep"), [(1, 0.9), (2, 0.9), (37, 0.96), (300, 0.96), (50, 0.0), (400, 0.5)]
)
def test_tails_are_a_recursive_filter(width: int, keep: float) -> None:
    line = np.random.default_rng(1).normal(100.0, 20.0, (3, width))
    # As if the line had been at its first value before.
    start = keep * line[:, :1]
    expected = signal.lfilter([1.0 - keep], [1.0, -keep], line, axis=1, zi=start)[0]
    np.testing.assert_allclose(tails(line, keep), expected, atol=0.2)


def test_blur_and_detector_keep_a_structure_in_place() -> None:
    grey = np.full(SIZE, 180.0, np.float32)
    grey[60:140, 150:250] = 120.0
    camera = Camera((1, *SIZE), np.random.default_rng(0))
    dark = 180.0 - camera.expose(grey, np.zeros(SIZE, bool), 0).astype(float)
    y, x = ndimage.center_of_mass(np.clip(ndimage.gaussian_filter(dark, 2.0) - 30.0, 0.0, 1.0))
    assert (y, x) == pytest.approx((99.5, 199.5), abs=0.2)


def test_drift_is_slow_with_jitter() -> None:
    slow = slow_drift(400, 0.3, 0.0, np.random.default_rng(0))
    both = slow_drift(400, 0.3, 0.3, np.random.default_rng(0))
    assert slow.mean() == pytest.approx(0.0, abs=1e-9)
    assert np.diff(slow).std() < 0.3 < 1.0 < slow.std()
    assert np.diff(both).std() > 1.5 * np.diff(slow).std()
    assert slow_drift(1, 0.3, 0.0, np.random.default_rng(0)).tolist() == [0.0]


def test_texture_is_normal_and_fades_from_slice_to_slice() -> None:
    texture = Texture(128, 150, 4.0, np.random.default_rng(0))
    fields = [texture.next(np.zeros(2)) for _ in range(12)]
    assert np.mean(fields) == pytest.approx(0.0, abs=0.02)
    assert [field.std() for field in fields] == pytest.approx([1.0] * 12, abs=0.15)
    near = np.mean([np.mean(a * b) for a, b in pairwise(fields)])
    far = np.mean([np.mean(a * b) for a, b in zip(fields, fields[4:], strict=False)])
    assert 0.2 < near < 0.7 and far < 0.5 * near


def test_texture_moves_with_the_slice() -> None:
    still, moved = (Texture(64, 96, 4.0, np.random.default_rng(3)) for _ in range(2))
    for shift in ((2.0, -3.0), (-1.0, 5.0)):
        expected = np.roll(still.next(np.zeros(2)), np.array(shift, int), (0, 1))
        np.testing.assert_allclose(moved.next(np.array(shift)), expected, atol=1e-4)
