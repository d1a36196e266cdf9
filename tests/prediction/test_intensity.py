"""Grey values of a stack against the training's: refused, warned of, or taken as its own."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy.ndimage import gaussian_filter

from fibseg.data.grey import GreyRange, summarise_grey
from fibseg.errors import FibsegError
from fibseg.models.trained import TrainedModel
from fibseg.prediction.intensity import in_grey_range, sample_grey, tissue_outside, with_intensity
from fibseg.prediction.output.changes import labeller_identity
from tests.support.labelling import labeller, stack_of
from tests.support.models import trained


def tissue(shape: tuple[int, int, int] = (20, 80, 90)) -> np.ndarray:
    """Grey values from 40 to 200, most of them bright, as in a cell with dark organelles."""
    chance = np.random.default_rng(0)
    blobs = gaussian_filter(chance.normal(size=shape), (0, 2, 2))
    dark = (blobs / blobs.std()).clip(0, 3) / 3
    return np.rint(200 - 150 * dark + chance.normal(0, 6, shape)).clip(1, 254).astype(np.uint8)


def model_of(image: np.ndarray) -> TrainedModel:
    """A model that was trained on these slices."""
    low, high = (float(value) for value in np.percentile(image, (0.1, 99.9)))
    return replace(
        trained([], 1),
        grey_range=GreyRange(low, high),
        grey_percentiles=[0.1, 99.9],
        grey_summary=summarise_grey(image),
    )


def labelled_with(
    model: TrainedModel, image: np.ndarray, intensity: str = "training"
) -> tuple[GreyRange, str]:
    """The grey range that a stack is labelled with, and what is printed of it."""
    stream = io.StringIO()
    console = Console(file=stream, width=400)
    (fitted,) = in_grey_range([model], intensity, stack_of(image), console)
    return fitted.grey_range, stream.getvalue()


def test_a_stack_like_the_training_says_nothing() -> None:
    model = model_of(tissue())
    assert labelled_with(model, tissue()) == (model.grey_range, "")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (tissue().astype(np.uint16) * 257, "of its pixels lie outside the grey values of the"),
        (tissue().astype(np.float32) / 255, "of its pixels lie outside the grey values of the"),
        (tissue() // 16 + 100, "of the 256 grey levels of the grey values of the training"),
        (tissue().astype(np.int16) - 3000, "of its pixels lie outside the grey values of the"),
    ],
    ids=["16 bits", "0 to 1", "a sixteenth of the contrast", "shifted"],
)
def test_a_stack_of_another_scale_is_refused_and_its_own_values_offered(
    image: np.ndarray, words: str
) -> None:
    model = model_of(tissue())
    for known in (model, replace(model, grey_summary=None, grey_percentiles=None)):
        with pytest.raises(FibsegError, match=f"{words}.*intensity=own takes the stack's own"):
            labelled_with(known, image)
    grey, _ = labelled_with(model, image, "own")
    expected = np.percentile(image, (0.1, 99.9))
    np.testing.assert_allclose((grey.low, grey.high), expected, rtol=0.02)
    by_slice, _ = labelled_with(model, image, "slice")
    # A slice without contrast takes the range of the training.
    assert by_slice == replace(model.grey_range, percentiles=(0.1, 99.9))


def test_padding_belongs_to_no_grey_range() -> None:
    padded = np.pad(tissue(), ((0, 0), (60, 0), (0, 30)))
    model = model_of(tissue())
    assert labelled_with(model, padded) == (model.grey_range, "")
    # At the ends of a stack whole slices may be empty.
    padded[:3] = 0
    grey, _ = labelled_with(model, padded, "own")
    assert grey.low > 30
    assert tissue_outside(padded[5], model.grey_range) < 0.01
    assert tissue_outside(padded[5] + np.uint8(80), model.grey_range) > 0.1


def test_inverted_and_brighter_stacks_are_warned_of() -> None:
    model = model_of(tissue())
    inverted = 255 - tissue() + 10
    for intensity in ("training", "own", "slice"):
        assert "look inverted to each other" in labelled_with(model, inverted, intensity)[1]
    _, text = labelled_with(model, (tissue().astype(int) + 10).astype(np.uint8))
    assert "of 16 sampled slices have over 5% of their pixels outside the grey values of" in text
    assert "intensity=own" in text


def test_empty_and_unreadable_stacks_are_left_to_the_prediction() -> None:
    stack = stack_of(tissue(), broken=tuple(range(20)))
    assert sample_grey(stack) is None
    model = model_of(tissue())
    assert with_intensity(model, "own", None) is model
    flat = np.full((3, 20, 20), 100, np.uint8)
    assert labelled_with(model, flat)[0] == model.grey_range
    with pytest.raises(FibsegError, match="intensity=own: the stack has one grey value only"):
        labelled_with(model, flat, "own")


def test_the_intensity_belongs_to_the_identity() -> None:
    model = model_of(tissue())
    stack = stack_of(tissue())
    plain = labeller_identity(labeller(model), stack, None)
    own = replace(model, grey_range=GreyRange(50.0, 180.0))
    identities = [
        labeller_identity(labeller(own), stack, None, "own"),
        labeller_identity(labeller(own), stack, None, "slice"),
        labeller_identity(labeller(model), stack, None, "own"),
    ]
    assert all(identity != plain for identity in identities)
    # The model is the same; its range on this stack is a fact of the stack.
    assert identities[0]["models"] == identities[2]["models"] != plain["models"]
    assert identities[0]["grey"] == [[50.0, 180.0]] and "grey" not in plain
