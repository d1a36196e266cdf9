from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibseg.arrays import IGNORE
from fibseg.data.sampling import Patches, PatchSampler
from fibseg.errors import FibsegError
from fibseg.prediction.windows import window_starts, window_third

SIZE = 16


def sparse_labels() -> list[np.ndarray]:
    """Two slices of different sizes with a few pixels of classes 1 and 3, one in a corner."""
    first = np.zeros((60, 80), np.uint8)
    first[30, 40] = 1
    first[0, 79] = 3
    second = np.zeros((50, 40), np.uint8)
    second[20:22, 20:22] = 1
    return [first, second]


def labels_of_patch(labels: list[np.ndarray], patches: Patches, i: int) -> np.ndarray:
    row = patches.row[i]
    column = patches.column[i]
    return labels[patches.index[i]][row : row + SIZE, column : column + SIZE]


def test_policy_on_sparse_labels() -> None:
    labels = sparse_labels()
    patches = PatchSampler(labels, SIZE, class_share=0.8).draw(20_000, seed=(0, 0), augment=True)
    assert np.mean(patches.drawn_class > 0) == pytest.approx(0.8, abs=0.01)
    chosen = patches.drawn_class[patches.drawn_class > 0]
    # Uniform over classes, not over pixels.
    assert np.mean(chosen == 1) == pytest.approx(0.5, abs=0.02)
    assert set(chosen) == {1, 3}
    # Pixels of all slices are pooled: 4 of the 5 of class 1 are in the second slice.
    slices_of_class = patches.index[patches.drawn_class == 1]
    assert np.mean(slices_of_class == 1) == pytest.approx(4 / 5, abs=0.02)
    for turns in range(4):
        assert np.mean(patches.quarter_turns == turns) == pytest.approx(0.25, abs=0.02)
    assert np.mean(patches.flip_rows) == pytest.approx(0.5, abs=0.02)
    assert np.mean(patches.flip_columns & patches.flip_rows) == pytest.approx(0.25, abs=0.02)


def test_patches_are_centred_on_their_pixel_and_shifted_inside_at_borders() -> None:
    labels = sparse_labels()
    patches = PatchSampler(labels, SIZE, class_share=1.0).draw(300, seed=(1, 0), augment=True)
    for i in range(len(patches)):
        pixels = labels_of_patch(labels, patches, i)
        assert pixels.shape == (SIZE, SIZE)
        assert (pixels == patches.drawn_class[i]).any()
        if patches.drawn_class[i] == 3:
            assert (patches.row[i], patches.column[i]) == (0, 80 - SIZE)
        elif patches.index[i] == 0:
            assert (patches.row[i], patches.column[i]) == (30 - SIZE // 2, 40 - SIZE // 2)


def test_random_places_are_uniform_over_places_and_miss_the_classes() -> None:
    labels = sparse_labels()
    patches = PatchSampler(labels, SIZE, class_share=0.0).draw(40_000, seed=(2, 0), augment=False)
    assert not patches.drawn_class.any()
    places = [(60 - SIZE + 1) * (80 - SIZE + 1), (50 - SIZE + 1) * (40 - SIZE + 1)]
    assert np.mean(patches.index == 0) == pytest.approx(places[0] / sum(places), abs=0.01)
    counts = np.bincount(patches.row[patches.index == 0], minlength=45)
    assert len(counts) == 45
    assert counts.min() > 0.8 * counts.mean()
    empty = np.mean([not labels_of_patch(labels, patches, i).any() for i in range(2000)])
    assert empty > 0.5


def test_random_places_stay_inside_the_annotation() -> None:
    labels = np.full((100, 100), IGNORE, np.uint8)
    labels[10:40, 50:80] = 0
    # Narrower than a patch: only the patch that covers it can be drawn.
    narrow = np.full((100, 100), IGNORE, np.uint8)
    narrow[98:, :5] = 0
    nothing = np.full((100, 100), IGNORE, np.uint8)
    sampler = PatchSampler([labels, narrow, nothing], SIZE, class_share=0.8)
    patches = sampler.draw(2000, seed=(3, 0), augment=False)
    first = patches.index == 0
    assert (patches.row[first].min(), patches.row[first].max()) == (10, 40 - SIZE)
    assert (patches.column[first].min(), patches.column[first].max()) == (50, 80 - SIZE)
    assert set(patches.row[patches.index == 1]) == {100 - SIZE}
    assert set(patches.column[patches.index == 1]) == {0}
    assert not (patches.index == 2).any()


def test_draws_depend_on_the_seed_alone() -> None:
    sampler = PatchSampler(sparse_labels(), SIZE, class_share=0.8)
    first = sampler.draw(50, seed=(0, 3), augment=True)
    sampler.draw(7, seed=(5, 5), augment=True)
    fresh_sampler = PatchSampler(sparse_labels(), SIZE, class_share=0.8)
    again = fresh_sampler.draw(50, seed=(0, 3), augment=True)
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, vars(again)[name])
    for seed in ((1, 3), (0, 4)):
        assert (sampler.draw(50, seed=seed, augment=True).row != first.row).any()
    unturned = sampler.draw(50, seed=(0, 3), augment=False)
    assert not unturned.quarter_turns.any()
    assert not unturned.flip_rows.any()


def test_empty_cases() -> None:
    background = [np.zeros((SIZE, SIZE), np.uint8)]
    patches = PatchSampler(background, SIZE, class_share=0.8).draw(5, seed=(0, 0), augment=True)
    assert not patches.drawn_class.any()
    assert not patches.row.any()
    with pytest.raises(FibsegError, match="17 is larger than a slice of 16 x 16"):
        PatchSampler(background, SIZE + 1, class_share=0.8)
    with pytest.raises(FibsegError, match="no pixel of the slices is annotated"):
        PatchSampler([np.full((20, 20), IGNORE, np.uint8)], SIZE, class_share=0.8)


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 700), size=st.integers(3, 300))
def test_kept_centres_tile_an_axis(length: int, size: int) -> None:
    starts, (before, after) = window_starts(length, size)
    third = window_third(size)
    kept = (
        np.concatenate([np.arange(start + third, start + 2 * third) for start in starts]) - before
    )
    np.testing.assert_array_equal(kept[:length], np.arange(length))
    assert starts[-1] + size == before + length + after
    assert after >= 0


def test_the_papers_numbers() -> None:
    assert window_third(256) == 85
    starts, border = window_starts(1024, 256)
    assert (len(starts), border) == (13, (85, 167))
