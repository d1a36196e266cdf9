"""Features of pixels against plain scipy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import hessian_matrix_eigvals, structure_tensor_eigenvalues

from fibseg.errors import FibsegError
from fibseg.models.features import (
    FEATURES_PER_CHANNEL,
    FINER_SHARE,
    OUTER_SHARE,
    REACH,
    SCALES,
    SMALLEST_SIDE,
    TRUNCATE,
    feature_names,
    pixel_features,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 64)).astype(np.uint8)


@pytest.mark.parametrize("sigma", SCALES)
def test_every_feature_against_scipy_and_scikit_image(sigma: float) -> None:
    features = dict(zip(feature_names(), pixel_features(IMAGE[None]), strict=True))
    image = IMAGE.astype(np.float64)

    def gauss(order: tuple[int, int], scale: float = sigma, of: np.ndarray = image) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(of, scale, order=order, truncate=TRUNCATE))

    down = gauss((1, 0))
    across = gauss((0, 1))
    tensor = [
        gauss((0, 0), OUTER_SHARE * sigma, product)
        for product in (down * down, down * across, across * across)
    ]
    hessian = [gauss((2, 0)), gauss((1, 1)), gauss((0, 2))]
    expected = {
        "smoothed": gauss((0, 0)),
        "laplacian": ndimage.gaussian_laplace(image, sigma),
        "gradient": ndimage.gaussian_gradient_magnitude(image, sigma),
        "difference": gauss((0, 0)) - gauss((0, 0), FINER_SHARE * sigma),
        "structure 1": structure_tensor_eigenvalues(tensor)[0],
        "structure 2": structure_tensor_eigenvalues(tensor)[1],
        "hessian 1": hessian_matrix_eigvals(hessian)[0],
        "hessian 2": hessian_matrix_eigvals(hessian)[1],
    }
    for kind, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(
            features[f"image: {kind} {sigma:g}"], values, atol=1e-4 * scale, err_msg=kind
        )
    np.testing.assert_allclose(features["image: smoothed 0.3"], gauss((0, 0), 0.3), atol=1e-2)


def test_names_channels_and_threads() -> None:
    two = np.stack([IMAGE, IMAGE // 2])
    assert FEATURES_PER_CHANNEL == 49 == len(feature_names())
    assert feature_names([650])[49] == "area 650: smoothed 0.3" and len(feature_names([650])) == 98
    both = pixel_features(two, threads=3)
    np.testing.assert_array_equal(both[49:], pixel_features(two[1:]))
    assert both.dtype == np.float32 and both.shape == (98, *IMAGE.shape)


def test_a_pixel_looks_no_further_than_its_reach() -> None:
    """So that tiles with this halo give the features of the whole slice, to the last bit."""
    image = (
        np.random.default_rng(1).integers(0, 256, (2 * REACH + 21, 2 * REACH + 31)).astype(np.uint8)
    )
    changed = image.copy()
    changed[0] = 255 - changed[0]
    changed[1:, 0] = 255 - changed[1:, 0]
    inside = (slice(None), slice(REACH + 1, None), slice(REACH + 1, None))
    before = pixel_features(image[None])
    after = pixel_features(changed[None])
    np.testing.assert_array_equal(before[inside], after[inside])
    assert (before[:, REACH] != after[:, REACH]).any()


def test_a_slice_that_is_too_small_is_one_sentence() -> None:
    assert pixel_features(np.zeros((1, SMALLEST_SIDE, SMALLEST_SIDE), np.uint8)).shape == (
        49,
        SMALLEST_SIDE,
        SMALLEST_SIDE,
    )
    with pytest.raises(
        FibsegError, match="a slice of 40 x 64 pixels is smaller than the largest feature"
    ):
        pixel_features(np.zeros((1, SMALLEST_SIDE - 1, 64), np.uint8))
