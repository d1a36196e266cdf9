"""Objects of lists of slices: blocks, components, classes; 2-D parts against scikit-image."""

from __future__ import annotations

import numpy as np
from skimage import measure

from fibseg.arrays import Place
from fibseg.scores.instances import component_ids, pooled_matches, score_objects
from fibseg.scores.instances.counting import parts_of_ids
from tests.support.object_ids import blobs


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays of numbers divide their pixels alike."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def test_parts_of_ids_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 4, (50, 60)).astype(np.uint64) * np.uint64(2**60)
    labels = np.searchsorted(np.unique(ids), ids)
    assert same_partition(parts_of_ids(ids), measure.label(labels, connectivity=2))


def test_components_of_a_block_are_those_of_scikit_image() -> None:
    masks = np.random.default_rng(2).random((5, 30, 30)) < 0.2
    places = [Place(0, z) for z in (3, 4, 5, 9, 10)]
    numbers = np.stack(component_ids(places, list(masks)))
    first, second = (measure.label(masks[part], connectivity=3) for part in (np.s_[:3], np.s_[3:]))
    expected = np.concatenate([first, np.where(second > 0, second + first.max(), 0)])
    assert same_partition(numbers, expected)


def test_an_object_is_cut_where_slices_are_missing() -> None:
    ids = [np.full((4, 4), 9, np.int64)] * 3
    places = [Place(0, 6), Place(0, 8), Place(0, 5)]
    scores = score_objects(places, {"er": ids}, {"er": ids})
    assert [(b["start"], b["stop"]) for b in scores["blocks"]] == [(5, 7), (8, 9)]
    assert [b["classes"]["er"]["truth"] for b in scores["blocks"]] == [1, 1]
    assert [s["slice"] for s in scores["slices"]] == [6, 8, 5]
    assert pooled_matches(s["classes"]["er"] for s in scores["slices"])["matched"][-1] == 3


def test_classes_are_counted_apart_and_an_empty_one_is_there() -> None:
    rng = np.random.default_rng(4)
    truth = list(blobs(rng, (3, 20, 20)))
    none = [np.zeros((20, 20), np.int64)] * 3
    places = [Place(1, z) for z in range(3)]
    scores = score_objects(places, {"a": truth, "b": none}, {"a": truth, "b": truth})
    (block,) = scores["blocks"]
    assert block["volume"] == 1
    objects = len(np.unique(truth)) - 1
    assert block["classes"]["a"]["matched"][-1] == objects
    assert block["classes"]["b"]["truth"] == 0
    assert block["classes"]["b"]["predicted"] == objects


def test_no_slice_gives_no_counts() -> None:
    assert score_objects([], {"a": []}, {"a": []}) == {"slices": [], "blocks": []}
