"""Offsets of a model: chosen on slices, kept in its file, and used wherever it labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fibseg.arrays import IGNORE
from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.models.trained import Decision, TrainedModel, load_model, save_model
from fibseg.prediction.decision import decide, prior_offsets, with_decision
from fibseg.prediction.ensemble import Ensemble
from fibseg.prediction.output.changes import model_digest
from fibseg.prediction.slices import (
    predict_slices,
    scores_of,
    slice_confidences,
    slice_scores,
    smallest_of,
)
from fibseg.prediction.stack import label_stack
from fibseg.prediction.windows import windows_of
from fibseg.scores.pixels import confusion_counts, f1_scores
from fibseg.scores.smallest import without_small
from tests.support.forests import phantom_forest
from tests.support.labelling import CPU, labeller, stack_of
from tests.support.models import content_of, save_content, trained

OFFSETS = [0.0, 0.75, -1.5]
DECIDED = Decision("validation", OFFSETS, temperature=2.0, gain=0.1, slices=2)


def channels_of(count: int) -> list[np.ndarray]:
    """Two slices (count, 48, 44)."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (count, 48, 44)).astype(np.uint8) for _ in range(2)]


@pytest.fixture(params=["unet", "forest"])
def model(request: pytest.FixtureRequest) -> TrainedModel:
    return trained([], 1) if request.param == "unet" else phantom_forest().model


@pytest.mark.parametrize("kind", ["whole", "tiles"])
def test_labels_are_the_largest_of_scores_and_offsets(model: TrainedModel, kind: str) -> None:
    channels = channels_of(model.channels.count)
    windows = windows_of(model, kind)
    scores = slice_scores(model, channels, windows, CPU)
    added = [*OFFSETS, 0.5][: len(model.class_names)]
    offsets = np.array(added, np.float32)[:, None, None]
    decided = replace(model, decision=replace(DECIDED, offsets=added))
    labels = list(predict_slices(decided, channels, windows, CPU))
    plain = list(predict_slices(model, channels, windows, CPU))
    changed = 0
    for slice_labels, values, before in zip(labels, scores, plain, strict=True):
        np.testing.assert_array_equal(slice_labels, (values + offsets).argmax(axis=0))
        np.testing.assert_array_equal(before, values.argmax(axis=0))
        changed += int((slice_labels != before).sum())
    assert changed > 0


def test_probabilities_are_those_of_offsets_and_temperature() -> None:
    model = replace(trained([], 1), decision=DECIDED)
    images = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        logits = model.network.eval()(images)
        expected = ((logits + torch.tensor(OFFSETS)[:, None, None]) / 2).softmax(dim=1)
        member = (scores_of(model, CPU.device), [0])
        mean = Ensemble([member], turned=False, disagreement=False)(images)
    torch.testing.assert_close(mean, expected)
    channels = channels_of(1)
    windows = windows_of(model, "whole")
    confident, cooled = (
        slice_confidences(changed, channels, windows, CPU)[0]
        for changed in (replace(model, decision=None), model)
    )
    assert cooled < confident


def test_windows_that_overlap_have_scores_too() -> None:
    model = trained([], 1)
    channels = channels_of(1)
    blended = slice_scores(model, channels, windows_of(model, "blend"), CPU)
    labels = list(predict_slices(model, channels, windows_of(model, "blend"), CPU))
    for values, slice_labels in zip(blended, labels, strict=True):
        np.testing.assert_array_equal(values.argmax(axis=0), slice_labels)
        assert np.exp(values).sum(axis=0) == pytest.approx(1, abs=1e-4)


def test_offsets_chosen_for_a_model_make_its_labels_better() -> None:
    """The truth is what the network would say with other offsets, so that nothing is by chance."""
    model = trained([], 1)
    channels = channels_of(1)
    windows = windows_of(model, "whole")
    logits = np.stack(slice_scores(model, channels, windows, CPU))
    balanced = np.median(logits[:, :1] - logits, axis=(0, 2, 3))
    hidden = Decision("prior", balanced.tolist())
    truths = list(predict_slices(replace(model, decision=hidden), channels, windows, CPU))
    assert len(np.unique(truths)) == 3
    decided = with_decision(
        model=model,
        kind="validation",
        channels=channels,
        truths=truths,
        prior=None,
        windows=windows,
        compute=CPU,
    )
    assert decided.decision is not None and decided.decision.slices == 2
    f1 = []
    for candidate in (model, decided):
        labels = predict_slices(candidate, channels, windows, CPU)
        counts = sum(confusion_counts(*pair, 3) for pair in zip(truths, labels, strict=True))
        f1.append(float(f1_scores(counts)[1:].mean()))
    assert decided.decision.gain is not None and decided.decision.gain > 0
    assert f1[1] > f1[0]


def test_without_knowledge_nothing_is_added() -> None:

    def decided(kind: str, prior: list[float] | None) -> Decision:
        scores = [np.zeros((3, 8, 8), np.float32)]
        nobody_looked = [np.full((8, 8), IGNORE, np.uint8)]
        return decide(kind, scores, nobody_looked, prior, 3)

    plain = Decision("argmax", [0, 0, 0])
    assert decided("argmax", [0, 1, 2]) == plain
    assert decided("validation", None) == plain
    assert decided("prior", None) == plain
    assert decided("validation", [0, 1, 2]) == Decision("prior", [0, 1, 2])
    assert decided("prior", [0, 1, 2]) == Decision("prior", [0, 1, 2])


def test_offsets_of_patches_against_a_count_of_them_all() -> None:
    """Every patch is centred on the only pixel of class 1, and shows the corner round it."""
    labels = np.zeros((40, 50), np.uint8)
    labels[20, 25] = 1
    offsets = prior_offsets([labels], size=8, class_share=1.0, classes=3)
    ratio = (1 / 2000) / (1999 / 2000) / ((1 / 64) / (63 / 64))
    assert offsets == pytest.approx([0, np.log(ratio), 0], abs=1e-3)


def test_a_model_file_holds_its_decision(tmp_path: Path) -> None:
    model = replace(trained([], 1), decision=DECIDED)
    save_model(model, tmp_path / "model.safetensors")
    # A file has lists alone.
    assert load_model(tmp_path / "model.safetensors").decision == replace(DECIDED, smallest=[])
    digests = {
        model_digest(replace(model, decision=decision))
        for decision in (None, Decision("argmax", [0, 0, 0]), DECIDED)
    }
    # A plain one changes no label, so that an output of an older version is resumed.
    assert len(digests) == 2


def test_smallest_objects_are_kept_and_used(tmp_path: Path) -> None:
    """In single predictions, in a stack, and in averages by the median of the members."""
    decision = replace(DECIDED, smallest=[0, 40, 90])
    model = replace(trained([], 1), decision=decision)
    save_model(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").decision == decision
    content = content_of(tmp_path / "model.safetensors")
    # Format 6 had none of them.
    del content["decision"]["smallest"]
    save_content(content, tmp_path / "older.ckpt")
    assert load_model(tmp_path / "older.ckpt").decision == DECIDED
    content["decision"]["smallest"] = [5]
    save_content(content, tmp_path / "wrong.ckpt")
    with pytest.raises(FibsegError, match="do not fit"):
        load_model(tmp_path / "wrong.ckpt")
    assert model_digest(model) != model_digest(replace(model, decision=DECIDED))
    names = ["background", "a", "b"]
    assert decision.described(names)["smallest"] == {"background": 0, "a": 40, "b": 90}

    channels = channels_of(1)
    windows = windows_of(model, "whole")
    before = predict_slices(replace(model, decision=DECIDED), channels, windows, CPU)
    expected = [without_small(pixels, [0, 40, 90]) for pixels in before]
    given = list(predict_slices(model, channels, windows, CPU))
    np.testing.assert_array_equal(given, expected)
    stack = stack_of(np.concatenate(channels))
    ranged = replace(model, grey_range=GreyRange(0.0, 255.0))
    labelled = [entry.labels for entry in label_stack(labeller(ranged), stack, range(2))]
    np.testing.assert_array_equal(labelled, expected)
    others = [replace(DECIDED, smallest=sizes) for sizes in ([0, 10, 0], [])]
    members = [model, *(replace(model, decision=other) for other in others)]
    assert smallest_of(members) == [0, 10, 0]
    assert smallest_of(members[2:]) == []


def test_smallest_objects_are_chosen_with_the_offsets() -> None:
    """Of the labels that the offsets make."""
    truths = [np.zeros((60, 60), np.uint8) for _ in range(3)]
    scores = []
    for z, truth in enumerate(truths):
        truth[10 + z : 40, 10:40] = 1
        values = np.zeros((2, 60, 60), np.float32)
        # The network says 1 too late; specks come with the right offset.
        values[1] = np.where(truth == 1, -0.5, -4)
        values[1, 50:54, 4 * z : 4 * z + 4] = -0.5
        scores.append(values)
    decision = decide("validation", scores, truths, None, 2, cleans=True)
    assert decision.offsets[1] > 0.5
    assert decision.smallest == [0, 20]
    assert decide("argmax", scores, truths, None, 2, cleans=True).smallest == [0, 0]
