"""What the output of another program's network means: classes, logits, a background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fibseg.models.foreign.opening import open_model
from tests.support.labelling import random_image
from tests.support.packages import (
    SLOPES,
    TEST_INPUT,
    axes_of,
    expected_scores,
    linear_graph,
    probabilities,
    softmax,
    standardised,
    write_package,
)


def test_logits_and_a_single_channel_become_probabilities(path: Path) -> None:
    scores = expected_scores(TEST_INPUT[0, 0])
    write_package(path, graph=linear_graph(SLOPES, None), test_output=scores.astype(np.float32))
    image = random_image((1, 64, 48))[0]
    expected = softmax(expected_scores(image))[0]
    assert np.abs(probabilities(path, image) - expected).max() < 1e-5
    foreground = 1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[2.0]])))
    expected = 1 / (1 + np.exp(-2 * standardised(image)))
    for name, names, channel in (
        ("bright", ["background", "bright"], 1),
        ("background", ["background", "foreground"], 0),
    ):
        write_package(
            path,
            graph=linear_graph([[2.0]], "Sigmoid"),
            test_output=foreground.astype(np.float32),
            outputs__0__axes=axes_of("output", [name], None),
        )
        assert open_model(path).class_names == names
        assert np.abs(probabilities(path, image)[channel] - expected).max() < 1e-5
    # In eight bits, where the description says so.
    write_package(
        path,
        graph=linear_graph([[2.0]], "Sigmoid"),
        test_output=(255 * foreground).astype(np.float32),
        outputs__0__axes=axes_of("output", ["bright"], None),
        outputs__0__data={"type": "float32", "range": [0.0, 255.0]},
        outputs__0__postprocessing=[{"id": "scale_linear", "kwargs": {"gain": 255.0}}],
    )
    assert np.abs(probabilities(path, image)[1] - expected).max() < 1e-5


@pytest.mark.parametrize("name", ["distal axon", "boundary", "overflow", "interior"])
def test_a_single_channel_may_have_a_name_that_is_like_that_of_a_map(path: Path, name: str) -> None:
    foreground = 1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[2.0]])))
    write_package(
        path,
        graph=linear_graph([[2.0]], "Sigmoid"),
        test_output=foreground.astype(np.float32),
        outputs__0__axes=axes_of("output", [name], None),
    )
    assert open_model(path).class_names == ["background", name]


@pytest.mark.parametrize("end", ["Softmax", None])
@pytest.mark.parametrize(
    ("names", "expected_names", "order"),
    [
        (["dark", "Background", "bright"], ["background", "dark", "bright"], [1, 0, 2]),
        (["channel0", "channel1", "channel2"], ["channel0", "channel1", "channel2"], [0, 1, 2]),
        (["a", "b", "c"], ["background", "a", "b", "c"], [None, 0, 1, 2]),
    ],
)
def test_the_background_is_the_channel_of_that_name(
    path: Path,
    end: str | None,
    names: list[str],
    expected_names: list[str],
    order: list[int | None],
) -> None:
    scores = expected_scores(TEST_INPUT[0, 0])
    write_package(
        path,
        graph=linear_graph(SLOPES, end),
        test_output=(softmax(scores) if end else scores).astype(np.float32),
        outputs__0__axes=axes_of("output", names, None),
    )
    model = open_model(path)
    assert model.class_names == expected_names
    assert model.label_values == list(range(len(expected_names)))
    # Logits of classes that do not exclude each other look the same.
    is_doubtful = end is None and order[0] is None
    assert ["no channel is named background" in note for note in model.notes] == [
        True
    ] * is_doubtful
    image = random_image((1, 64, 48))[0]
    expected = softmax(expected_scores(image))[0]
    computed = probabilities(path, image)
    for channel, source in enumerate(order):
        if source is None:
            assert computed[channel].max() < 1e-6
        else:
            assert np.abs(computed[channel] - expected[source]).max() < 1e-5


@pytest.mark.parametrize(
    ("names", "description"),
    [
        (["mitochondria", "boundary"], "something"),
        (["foreground", "Boundaries"], "something"),
        (["channel0", "channel1"], "foreground and boundary maps of mitochondria"),
    ],
)
def test_the_first_map_of_a_pair_with_boundaries_is_a_class(
    path: Path, names: list[str], description: str
) -> None:
    slopes = [[1.0], [2.0]]
    maps = 1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], slopes)))
    write_package(
        path,
        graph=linear_graph(slopes, "Sigmoid"),
        test_output=maps.astype(np.float32),
        outputs__0__axes=axes_of("output", names, None),
        description=description,
    )
    model = open_model(path)
    name = "foreground" if names[0] == "channel0" else names[0]
    assert model.class_names == ["background", name]
    (note,) = model.notes
    assert f"{name} is its first map above .5; the second one" in note and "ignored" in note
    image = random_image((1, 64, 48))[0]
    expected = 1 / (1 + np.exp(-standardised(image)))
    assert np.abs(probabilities(path, image)[1] - expected).max() < 1e-5
