"""Components against scikit-image, and counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from fibseg.arrays import IGNORE
from fibseg.scores.components import Bins, count_detections, find_components


def reference(truth: np.ndarray, prediction: np.ndarray, classes: int) -> list[tuple]:
    """The rows of `find_components`, slow and simple, by scikit-image."""
    rows = []
    known = (truth != IGNORE) & (prediction != IGNORE)
    truth = np.where(known, truth, IGNORE)
    prediction = np.where(known, prediction, IGNORE)
    for index in range(1, classes):
        sides = {
            "truth": label(truth == index, connectivity=2),
            "prediction": label(prediction == index, connectivity=2),
        }
        for side, opposite in (("truth", "prediction"), ("prediction", "truth")):
            for region in regionprops(sides[side]):
                met = sides[opposite][sides[side] == region.label]
                row, column = region.centroid
                rows.append(
                    (
                        index,
                        side,
                        int(region.area),
                        round(row, 2),
                        round(column, 2),
                        int((met > 0).sum()),
                        len(set(met.tolist()) - {0}),
                    )
                )
    return sorted(rows)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), (25, 30), p=[0.6, 0.2, 0.15, 0.05])
    prediction = rng.choice(
        np.array([0, 1, 2, IGNORE], np.uint8), (25, 30), p=[0.6, 0.24, 0.14, 0.02]
    )
    components = find_components(truth, prediction, 3)
    rows = sorted(tuple(component.values()) for component in components)
    assert rows == reference(truth, prediction, 3)
    assert components


def test_detection_by_hand() -> None:
    truth, prediction = np.zeros((2, 10, 60), np.uint8)
    # Shares of components of 50 pixels: .0, .08, .10, .80, .82.
    for i, overlap in enumerate([0, 4, 5, 40, 41]):
        truth[:5, 12 * i : 12 * i + 10] = 1
        prediction[:5, 12 * i : 12 * i + 10].flat[:overlap] = 1
    # Two false components, of 3 and of 5 pixels.
    prediction[8, :3] = 1
    prediction[4:9, 59] = 1
    components = find_components(truth, prediction, 2)
    assert count_detections(components, 1) == {"tp": 1, "fn": 2, "ud": 2, "fp": 2}
    # The three false pixels in row 8 are too few now, and a share of .80 is enough.
    wider = Bins(high=0.7, low=0.1, smallest=4)
    assert count_detections(components, 1, wider) == {"tp": 2, "fn": 2, "ud": 1, "fp": 1}
    of_truth = [component for component in components if component["of"] == "truth"]
    assert [component["touched"] for component in of_truth] == [0, 1, 1, 1, 1]


def test_diagonal_neighbours_are_one_component_and_empty_slices_have_none() -> None:
    diagonal = np.eye(4, dtype=np.uint8)
    components = find_components(diagonal, np.zeros((4, 4), np.uint8), 2)
    assert [(component["of"], component["area"]) for component in components] == [("truth", 4)]
    empty = np.zeros((4, 4), np.uint8)
    assert find_components(empty, empty, 3) == []
    assert count_detections([], 1) == {"tp": 0, "fn": 0, "ud": 0, "fp": 0}
