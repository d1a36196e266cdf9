"""Links along z against a slow search in memory and against cc3d."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import cc3d
import numpy as np
import pytest

from fibseg.models.objects import ObjectRules
from fibseg.prediction.instances import linked_slices, slice_objects
from tests.support.instances import RULES, noise, random_slices, same_partition, slowly_linked


def objects_of(labels: np.ndarray, maps: np.ndarray | None) -> np.ndarray:
    """Objects (Z, H, W) of single slices."""
    return np.stack(
        [
            slice_objects(labels[z], None if maps is None else maps[z], [1, 2], 0.6)
            for z in range(len(labels))
        ]
    )


def linked(labels: np.ndarray, objects: np.ndarray, head: str, overlap: float) -> np.ndarray:
    rules = replace(RULES, head=head, overlap=overlap)
    links = linked_slices(zip(labels, objects, strict=True), rules)
    stack = np.stack([links.numbered(z, page) for z, page in enumerate(objects)])
    assert links.count == stack.max()
    return stack


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 10, 20])
def test_links_are_those_of_a_slow_search(seed: int, overlap: float) -> None:
    labels, maps = random_slices(depth=8, seed=seed)
    objects = objects_of(labels, maps)
    expected = slowly_linked(labels, objects, overlap)
    result = linked(labels, objects, "contour", overlap)
    assert same_partition(result, expected)
    values, first = np.unique(result, return_index=True)
    assert values.tolist() == list(range(result.max() + 1)) and (np.diff(first[1:]) > 0).all()


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_without_a_head_objects_are_components_in_3_d(seed: int) -> None:
    labels, _ = random_slices(depth=9, side=40, seed=seed)
    result = linked(labels, objects_of(labels, None), "none", 0.5)
    assert same_partition(result, cc3d.connected_components(labels, connectivity=26))


def test_objects_of_two_classes_are_never_one() -> None:
    labels = np.array([[[1, 1]], [[2, 2]]], np.uint8)
    objects = np.ones((2, 1, 2), np.uint32)
    for head in ("none", "contour"):
        assert linked(labels, objects, head, 0.1).max() == 2


def test_empty_slices_part_objects() -> None:
    labels = np.zeros((4, 3, 3), np.uint8)
    labels[[0, 1, 3]] = 1
    objects = labels.astype(np.uint32)
    result = linked(labels, objects, "contour", 0.5)
    assert result[:, 0, 0].tolist() == [1, 1, 0, 2]
    nothing = np.zeros((3, 4, 4), np.uint8)
    assert not linked(nothing, nothing.astype(np.uint32), "contour", 0.5).any()


def test_memory_does_not_grow_with_the_depth() -> None:
    # Few objects, as in a cell: what is kept is some numbers for each, and no pixels.
    labels = (noise((8, 640, 640), 20, seed=1) > 0).astype(np.uint8)
    objects = objects_of(labels, None)

    def peak(depth: int) -> int:
        def pages() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for z in range(depth):
                # Forth and back, so that neighbours overlap; copies, as a file would give them.
                k = min(z % 14, 14 - z % 14)
                yield labels[k].copy(), objects[k].copy()

        tracemalloc.start()
        links = linked_slices(pages(), RULES)
        for z, (_, page) in enumerate(pages()):
            links.numbered(z, page)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(3)  # imports
    assert peak(400) < 1.05 * peak(40)


def test_four_hundred_slices_have_the_components_of_the_whole_stack() -> None:
    values = noise((400, 40, 48), 3, seed=4)
    labels = (values > values.std()).astype(np.uint8)
    objects = np.stack([slice_objects(page, None, [1], 0.5) for page in labels])
    links = linked_slices(zip(labels, objects, strict=True), ObjectRules("none", ["a"]))
    result = np.stack([links.numbered(z, page) for z, page in enumerate(objects)])
    expected, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    assert links.count == count > 20
    assert same_partition(result, expected)
