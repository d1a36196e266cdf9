"""Small objects against scikit-image, and sizes that are chosen on slices with specks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.morphology import remove_small_objects

from fibseg.arrays import IGNORE
from fibseg.scores.pixels import confusion_counts, mean_f1
from fibseg.scores.smallest import SIZES, best_smallest, without_small


def blobs(seed: int, classes: int = 4, shape: tuple[int, int] = (120, 150)) -> np.ndarray:
    """Labels of blobs of many sizes."""
    chance = np.random.default_rng(seed)
    fields = [gaussian_filter(chance.normal(size=shape), 2.5) for _ in range(classes)]
    fields[0] += 0.03
    return np.argmax(fields, axis=0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_what_goes_is_what_scikit_image_removes(seed: int) -> None:
    labels = blobs(seed)
    smallest = [0, 30, 0, 90]
    cleaned = without_small(labels, smallest)
    removed = np.zeros(labels.shape, bool)
    for index, size in enumerate(smallest):
        if size:
            mask = labels == index
            kept = remove_small_objects(mask, max_size=size - 1, connectivity=2)
            removed |= mask & ~kept
    assert removed.any()
    np.testing.assert_array_equal(cleaned[~removed], labels[~removed])
    # What is removed takes the class of the nearest pixel that stays.
    nearest = distance_transform_edt(removed, return_distances=False, return_indices=True)
    np.testing.assert_array_equal(cleaned, labels[tuple(nearest)])


def test_slices_of_any_shape_have_the_nearest_class() -> None:
    """Specks side by side, at borders, in single rows and columns."""
    chance = np.random.default_rng(0)
    changed = 0
    for _ in range(200):
        # A half, or nearly all, of the pixels are of class 1.
        share = chance.choice([0.3, 0.6, 0.9])
        labels = 2 * chance.integers(0, 2, chance.integers(1, 25, 2)).astype(np.uint8)
        labels[chance.random(labels.shape) < share] = 1
        cleaned = without_small(labels, [0, int(chance.integers(2, 600)), 0])
        removed = (labels == 1) & (cleaned != 1)
        if not removed.any():
            continue
        # An object goes as a whole, and where no pixel stays, nothing does.
        nearest = distance_transform_edt(removed, return_distances=False, return_indices=True)
        np.testing.assert_array_equal(cleaned, labels[tuple(nearest)])
        changed += 1
    assert changed > 100


def test_nothing_to_do_gives_the_same_labels_back() -> None:
    labels = blobs(0)
    for smallest in ([], [0, 0, 0, 0], [0, 1, 1, 1], [10_000, 0, 0, 0]):
        assert without_small(labels, smallest) is labels
    # Nothing would stay.
    full = np.ones((4, 5), np.uint8)
    assert without_small(full, [0, 100]) is full


def with_specks(truth: np.ndarray, area: int, seed: int) -> np.ndarray:
    """Labels with squares of `area` pixels of class 1 in the background."""
    chance = np.random.default_rng(seed)
    labels = truth.copy()
    side = round(area**0.5)
    for _ in range(25):
        row, column = chance.integers(0, [truth.shape[0] - side, truth.shape[1] - side])
        square = np.s_[row : row + side, column : column + side]
        around = labels[max(0, row - 2) : row + side + 2, max(0, column - 2) : column + side + 2]
        if (around == 0).all():
            labels[square] = 1
    return labels


def two_discs(seed: int) -> np.ndarray:
    """A truth of large objects of class 1, 300 pixels or more, and one of class 2."""
    rows, columns = np.mgrid[:160, :160]
    truth = np.zeros((160, 160), np.uint8)
    for k, (row, column) in enumerate([(30, 40), (110, 60), (70, 120)]):
        disc = (rows - row - seed) ** 2 + (columns - column) ** 2 < 144
        truth[disc] = 2 if k == 2 else 1
    return truth


def test_specks_are_smaller_than_the_smallest_object() -> None:
    truths = [two_discs(seed) for seed in range(4)]
    labels = [with_specks(truth, 36, seed) for seed, truth in enumerate(truths)]
    smallest = best_smallest(labels, truths, 3)
    # The next of the sizes above 36; class 2 has no specks.
    assert smallest == [0, 50, 0]
    counts = [
        np.stack([confusion_counts(t, p, 3) for t, p in zip(truths, made, strict=True)])
        for made in (labels, [without_small(pixels, smallest) for pixels in labels])
    ]
    assert mean_f1(counts[1])[1] == 1 > mean_f1(counts[0])[1] + 0.1


def test_the_chosen_size_is_the_best_of_all_that_are_tried() -> None:
    """Against labelling anew for each size; unannotated pixels count for nothing."""
    truths = [two_discs(seed) for seed in range(3)]
    labels = [with_specks(truth, 81, seed) for seed, truth in enumerate(truths)]
    for truth in truths:
        truth[:20] = IGNORE
    means = {}
    for size in SIZES[SIZES <= 300].tolist():
        made = [np.where(without_small(p, [0, size, 0]) == 1, 1, 0) for p in labels]
        ones = [np.where(t == IGNORE, IGNORE, t == 1).astype(np.uint8) for t in truths]
        pairs = zip(ones, made, strict=True)
        means[size] = mean_f1(
            np.stack([confusion_counts(t, p.astype(np.uint8), 2) for t, p in pairs])
        )[1]
    expected = next(size for size, mean in means.items() if mean >= max(means.values()) - 0.002)
    assert expected == 100
    assert best_smallest(labels, truths, 3)[1] == expected


def test_nothing_is_chosen_without_a_gain_on_slices_held_apart() -> None:
    truths = [two_discs(seed) for seed in range(3)]
    assert best_smallest(truths, truths, 3) == [0, 0, 0]
    # One slice cannot be held apart.
    speckled = with_specks(truths[0], 36, 0)
    assert best_smallest([speckled], truths[:1], 3) == [0, 0, 0]
    # A class that nobody annotated has no usual size.
    assert best_smallest([speckled] * 2, [np.zeros_like(speckled)] * 2, 3) == [0, 0, 0]
    # Specks that are objects in one slice and none in the other: what gains here loses there.
    assert best_smallest([speckled] * 2, [speckled, truths[0]], 3)[1] == 0
    # A class that is in one slice alone.
    assert best_smallest([speckled] * 2, [truths[0], truths[0] * 0], 3)[1] == 0


def test_slices_without_the_class_have_no_part_in_the_choice() -> None:
    """As in the project's F1, whatever is predicted there."""
    truths = [two_discs(seed) for seed in range(4)]
    labels = [with_specks(truth, 36, seed) for seed, truth in enumerate(truths)]
    blob = np.zeros_like(truths[0])
    blob[20:45, 20:45] = 1
    chosen = best_smallest([*labels, *[blob] * 3], [*truths, *[blob * 0] * 3], 3)
    assert chosen == best_smallest(labels, truths, 3) == [0, 50, 0]


def test_no_size_is_larger_than_most_annotated_objects() -> None:
    """Predicted objects that are all wrong would else be removed by any size."""
    truths = [two_discs(seed) for seed in range(3)]
    wrong = [np.roll(truth, 80, axis=0) for truth in truths]
    assert best_smallest(wrong, truths, 3)[1] <= np.pi * 144
