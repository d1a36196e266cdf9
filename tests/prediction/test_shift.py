"""Labels that leave the range that they have over slices of the training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fibseg.arrays import IGNORE
from fibseg.data.volume import AnnotatedSlice
from fibseg.prediction.shift import ShiftWatch, class_shares, with_reference
from fibseg.prediction.slices import slice_confidences
from fibseg.prediction.stack import LabelledSlice, label_stack
from fibseg.prediction.windows import windows_of
from tests.support.labelling import CPU, labeller, random_image, stack_of
from tests.support.models import trained

SHARES = {"background": [0.8, 0.9], "a": [0.04, 0.12], "b": [0.0, 0.05]}


def slice_of(shares: list[float]) -> np.ndarray:
    """Class indices (100, 100) with these shares."""
    counts = [round(share * 10_000) for share in shares]
    return np.repeat(np.arange(len(shares)), counts).astype(np.uint8).reshape(100, 100)


def warnings_of(
    labels: list[np.ndarray], confidence: float | None = None, **reference: Any
) -> list[str]:
    """What is said of slices with these labels."""
    known = {"shares": SHARES, "confidence": [0.9, 0.94]} | reference
    watch = ShiftWatch([replace(trained([], 1), reference=known)], range(len(labels)))
    texts = [
        watch.add(LabelledSlice(z, labels=pixels, confidence=confidence))
        for z, pixels in enumerate(labels)
    ]
    # Nothing is said before the last slice of the sample.
    assert not any(texts[:-1])
    return texts[-1]


def test_a_class_that_is_missing_or_too_frequent_is_said_with_its_numbers() -> None:
    (text,) = warnings_of([slice_of([0.992, 0.004, 0.004]), slice_of([0.992, 0.004, 0.004])])
    assert text.startswith("0.4 % a in 2 slices over the stack, 4 % to 12 % in slices of the")
    (text,) = warnings_of([slice_of([0.7, 0.28, 0.02])])
    assert text.startswith("28 % a in 1 slices over the stack")


@pytest.mark.parametrize("shares", [[0.9, 0.08, 0.02], [0.965, 0.025, 0.01], [0.72, 0.2, 0.08]])
def test_normal_variation_is_silent(shares: list[float]) -> None:
    assert warnings_of([slice_of(shares)], confidence=0.88) == []


def test_single_slices_may_differ_where_their_mean_does_not() -> None:
    assert warnings_of([slice_of([1.0, 0.0, 0.0]), slice_of([0.84, 0.14, 0.02])]) == []


def test_a_network_that_is_less_sure_is_said() -> None:
    usual = slice_of([0.9, 0.08, 0.02])
    (text,) = warnings_of([usual], confidence=0.8)
    assert "less sure than in the training" in text and "0.80 on average" in text
    known = ShiftWatch([trained([], 1)], [0])
    assert known.add(LabelledSlice(0, labels=slice_of([1.0]), confidence=0.1)) == []


def test_slices_that_cannot_be_read_end_the_sample_too() -> None:
    known = replace(trained([], 1), reference={"shares": SHARES, "confidence": None})
    watch = ShiftWatch([known], [3, 7])
    assert watch.add(LabelledSlice(1, labels=slice_of([1.0]))) == []
    assert watch.add(LabelledSlice(3, labels=slice_of([1.0]))) == []
    (text,) = watch.add(LabelledSlice(7))
    assert "0 % a in 1 slices" in text


def test_shares_are_of_the_annotated_pixels() -> None:
    labels = np.array([[0, 1, 1, 2], [IGNORE, IGNORE, 1, 0]], np.uint8)
    assert class_shares(labels, 3) == pytest.approx([2 / 6, 3 / 6, 1 / 6])
    assert class_shares(np.full((2, 2), IGNORE, np.uint8), 2) == [0.0, 0.0]


def test_the_reference_of_a_model_is_its_own_slices() -> None:
    model = replace(trained([], 1), windows={"kind": "whole", "size": 0})
    image = random_image()[0]
    half = slice_of([0.5, 0.5, 0.0])
    strokes = np.full((100, 100), IGNORE, np.uint8)
    strokes[0, :10] = 2
    train = [AnnotatedSlice(0, z, image, labels) for z, labels in enumerate((half, strokes))]
    channels = [random_image()[z][None] for z in range(2)]
    labels = [slice_of([0.9, 0.1, 0.0])] * 2
    known = with_reference(
        model=model, train=train, validation=[], channels=channels, labels=labels, compute=CPU
    )
    assert known.reference is not None and known.grey_summary is not None
    # A few strokes tell nothing of shares.
    assert known.reference["shares"] == {
        "background": [0.5, 0.9],
        "a": [0.1, 0.5],
        "b": [0.0, 0.0],
    }
    expected = []
    for pixels in channels:
        with torch.inference_mode():
            scores = model.network(torch.from_numpy(pixels[None] / np.float32(255)))
        expected.append(float(scores.softmax(1).amax(1).mean()))
    assert known.reference["confidence"] == pytest.approx([min(expected), max(expected)], abs=1e-5)


@pytest.mark.parametrize("kind", ["whole", "paper", "blend"])
def test_watched_slices_have_the_same_labels_and_a_confidence(kind: str) -> None:
    model = trained([], 1)
    windows = windows_of(model, kind)
    cut = labeller(model, windows=windows)
    stack = stack_of(random_image()[:2])
    plain = [labelled.labels for labelled in label_stack(cut, stack, [0, 1])]
    first, second = label_stack(cut, stack, [0, 1], watched=[1])
    np.testing.assert_array_equal([first.labels, second.labels], plain)
    assert first.confidence is None and second.confidence is not None
    grey = np.clip((random_image()[1].astype(np.float32) - 3) * (255 / 231), 0, 255)
    (expected,) = slice_confidences(model, [grey.round().astype(np.uint8)[None]], windows, CPU)
    assert second.confidence == pytest.approx(expected)
    layered = labeller(model, windows=windows, layers=["a"])
    (third,) = label_stack(layered, stack, [1], watched=[1])
    assert third.confidence == pytest.approx(expected, abs=1e-5)
