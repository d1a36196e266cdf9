"""Every doubt with a case that raises it and one just beside it that does not; objects against scikit-image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import label

from fibseg.arrays import IGNORE
from fibseg.data.description import (
    ClassDescription,
    DataDescription,
    IntensityDescription,
    VolumeDescription,
)
from fibseg.data.inspection import Inspector, inspect
from fibseg.data.leaks import ObjectsAcrossSplits
from fibseg.data.volume import AnnotatedSlice
from tests.support import describe

CLASSES = {"a": ClassDescription(1, 1.0), "b": ClassDescription(2, 1.0)}
GREY = np.random.default_rng(0).integers(100, 201, (40, 40)).astype(np.uint16)
GREY[0, :2] = 100, 200
Labelled = tuple[str, AnnotatedSlice]


def description(volumes: int = 1, per: str = "stack") -> DataDescription:
    one = VolumeDescription("image.tif", "labels.tif", [20, 5, 5], {})
    return describe(
        Path(),
        classes=CLASSES,
        volumes=[one] * volumes,
        intensity=IntensityDescription(0.0, 100.0, per),
    )


def painted(a: int = 400, b: int = 100) -> NDArray[np.uint8]:
    """(40, 40): the first pixels are class a, the last are class b."""
    labels = np.zeros(1600, np.uint8)
    labels[:a], labels[1600 - b :] = 1, 2
    return labels.reshape(40, 40)


def entry(
    split: str, z: int, labels: NDArray[Any] | None = None, image: Any = GREY, volume: int = 0
) -> Labelled:
    return split, AnnotatedSlice(
        volume, z, image, (painted() if labels is None else labels).astype(np.uint8)
    )


def clean(*changed: Labelled) -> list[Labelled]:
    """Slices that raise no doubt, two apart, with some replaced or added."""
    usual = [entry("train", 0), entry("train", 2), entry("validation", 4), entry("test", 6)]
    found = {(one.volume, one.z): (split, one) for split, one in [*usual, *changed]}
    return [found[key] for key in sorted(found)]


def doubts(slices: Sequence[Labelled], *, volumes: int = 1, per: str = "stack") -> list[str]:
    inspector = Inspector(description(volumes, per))
    for split, one in slices:
        inspector.add(one, split)
    findings = inspector.findings()
    assert all(one.level == "warning" for one in findings)
    return [one.text for one in findings]


def test_good_slices_raise_no_doubt_and_no_slices_neither() -> None:
    assert doubts(clean()) == []
    assert doubts([]) == []


def test_facts_of_a_slice() -> None:
    labels = painted(300, 0)
    labels[20:] = IGNORE  # 500 background, 300 class a, 800 that nobody looked at
    facts = Inspector(description()).add(entry("train", 3, labels)[1], "train")
    assert (facts.volume, facts.z, facts.split, facts.specks, facts.repeated) == (
        0,
        3,
        "train",
        0,
        False,
    )
    assert facts.shares == (0.625, 0.375, 0.0)
    assert (facts.annotated, facts.foreground) == (0.5, 0.375)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full((40, 40), IGNORE), "train slice 2 has no annotated pixel."),
        (np.zeros((40, 40)), "train slice 2 is empty: not annotated?"),
        (
            painted(49, 0),
            "train slice 2 is nearly empty: half annotated? (3.06% of it is labelled, 31.2% in others)",
        ),
        (painted(50, 0), None),  # a tenth of the usual 500 pixels
        (
            np.where(np.arange(1600).reshape(40, 40) < 400, 1, IGNORE),
            None,
        ),  # shares are of what was looked at
    ],
)
def test_slices_without_annotation(labels: NDArray[Any], said: str | None) -> None:
    found = doubts(clean(entry("train", 2, labels)))
    assert (len(found) == 1 and found[0].startswith(said)) if said else found == []


def test_every_tenth_slice_painted_and_all_of_them_in_the_splits() -> None:
    """Most slices are empty, and each of them is doubtful all the same."""
    slices = [entry("train", z, None if z % 10 == 0 else np.zeros((40, 40))) for z in range(21)]
    found = doubts([*slices, entry("validation", 40), entry("test", 60)])
    assert sum("is empty: not annotated?" in text for text in found) == 18


def test_empty_slices_in_no_split_raise_no_doubt() -> None:
    assert (
        doubts(clean(entry("", 8, np.zeros((40, 40))), entry("", 10, np.full((40, 40), IGNORE))))
        == []
    )


def test_a_slice_is_compared_with_those_of_its_own_volume() -> None:
    thin = [entry("train", z, painted(16, 4), volume=1) for z in (0, 2)]
    assert doubts(clean(*thin), volumes=2) == []
    (found,) = doubts(clean(*thin, entry("train", 4, painted(0, 0), volume=1)), volumes=2)
    assert found.startswith("volume 1, train slice 4 is empty")


def test_no_test_split_and_absent_classes() -> None:
    assert doubts(clean()[:3]) == ["there is no test split; the run will have no test scores."]
    for z, split in ((4, "validation"), (6, "test")):
        said = f"class b does not occur in the {split} slices; it has no score there."
        assert doubts(clean(entry(split, z, painted(500, 0)))) == [said]
        assert doubts(clean(entry(split, z, painted(500, 4)))) == []
        assert (
            doubts(clean(entry(split, z, painted(500, 0)), entry(split, z + 6))) == []
        )  # another slice has it
    assert "has no score" not in " ".join(doubts(clean(entry("train", 0, painted(500, 0)))))


def test_grey_values_that_drift() -> None:
    def bright(pixels: int) -> NDArray[Any]:
        image = GREY.copy()
        image.ravel()[800 : 800 + pixels] = 300
        return image

    assert doubts(clean(entry("test", 6, image=bright(80)))) == []  # 5% of 1600
    (found,) = doubts(
        clean(entry("test", 6, image=bright(81)), entry("validation", 8, image=bright(900)))
    )
    assert found.startswith(
        "2 slices, the first test slice 6, have over 5% of their pixels outside"
    )
    assert "(100 to 200)" in found
    assert doubts(clean(entry("test", 6, image=bright(81))), per="slice") == []
    assert doubts(clean(entry("", 8, image=bright(900)))) == []
    flat = np.full((40, 40), 7, np.uint16)
    assert (
        doubts(
            [
                entry(split, 2 * k, image=flat)
                for k, split in enumerate(("train", "validation", "test"))
            ]
        )
        == []
    )


def test_copied_labels() -> None:
    assert doubts(clean(entry("train", 1))) == [
        "train slice 1 has the labels of the slice before: copied?",
        "train slice 2 has the labels of the slice before: copied?",
    ]
    other = painted()
    other[20, 20:24] = 1
    assert doubts(clean(entry("train", 1, other))) == []
    assert (
        doubts(
            [
                entry("train", 0, volume=0),
                *(entry(s, 1 + 2 * k, volume=1) for k, s in enumerate(SPLITS)),
            ]
        )
        == []
    )
    empty = np.zeros((40, 40))
    assert not [
        text
        for text in doubts(clean(entry("train", 8, empty), entry("train", 9, empty)))
        if "copied" in text
    ]


SPLITS = ("train", "validation", "test")


def test_specks() -> None:
    def spots(*places: tuple[int, int]) -> NDArray[np.uint8]:
        labels = painted()
        for place in places:
            labels[place] = 2
        return labels

    three = spots((20, 20), (21, 21), (22, 22))
    assert doubts(clean(entry("train", 2, three))) == [
        "1 labelled spots of fewer than 4 pixels: accidental strokes of the brush?"
    ]
    assert (
        doubts(clean(entry("train", 2, spots((20, 20), (21, 21), (22, 22), (23, 21))))) == []
    )  # one spot of four
    assert doubts(clean(entry("", 8, three))) == []


def between(volume: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Between each pair of slices what both hold: label() of it joins what overlaps along z or touches in a slice."""
    slices = [volume[0]]
    for before, one in pairwise(volume):
        slices += [before & one, one]
    return np.stack(slices)


def counted(volume: NDArray[np.bool_], splits: Sequence[str], split: str, other: str) -> list[int]:
    """By scikit-image: objects of a split that continue into another, all of the split, and pixels of both there."""
    labels = label(between(volume), connectivity=3)[::2]
    own, others = (labels[[one == name for one in splits]] for name in (split, other))
    numbers = set(np.unique(own).tolist()) - {0}
    both = numbers & set(np.unique(others).tolist())
    return [len(both), len(numbers), int(np.isin(own, list(both)).sum()), int((own > 0).sum())]


@pytest.mark.parametrize("density", [0.1, 0.25, 0.35, 0.5])
@pytest.mark.parametrize("seed", range(6))
def test_objects_against_scikit_image(density: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    volume = generator.random((9, 14, 17)) < density
    splits = [("train", "validation", "test", "")[k] for k in generator.integers(0, 4, 9)]
    if seed % 2:
        splits = ["train"] * 4 + [""] * (seed // 2) + ["test"] * (5 - seed // 2)
    objects = ObjectsAcrossSplits()
    specks = sum(
        objects.add(z, split, one)
        for z, (split, one) in enumerate(zip(splits, volume, strict=True))
    )
    for split, other in (("test", "train"), ("validation", "train"), ("test", "validation")):
        assert list(objects.shared(split, other)) == counted(volume, splits, split, other)
    sizes = [np.bincount(label(one, connectivity=2).ravel())[1:] for one in volume]
    assert specks == sum(int((own < 4).sum()) for own in sizes)


def test_two_arms_that_meet_later_are_one_object() -> None:
    arms = np.zeros((3, 9, 9), bool)
    arms[:, 1:3, 1:8], arms[:, 6:8, 1:8] = True, True
    arms[1, 1:8, 4] = True
    objects = ObjectsAcrossSplits()
    for z, split in enumerate(("test", "", "train")):
        objects.add(z, split, arms[z])
    assert list(objects.shared("test", "train")) == [1, 1, 28, 28]


@pytest.mark.parametrize("gap", [False, True])
def test_objects_continue_into_training_slices(gap: bool) -> None:
    """Three objects of class b: through all slices, in the test slice alone, in no test slice."""
    labels = np.zeros((4, 40, 40), np.uint8)
    labels[:, 0:4] = 1
    labels[:, 10:14, 10:14], labels[3, 20:24, 20:24], labels[:2, 30:34, 30:34] = 2, 2, 2
    labels[0, 4, :4] = labels[2, 4, :5] = labels[3, 4, :6] = 1  # no slice is a copy
    splits = ("train", "train", "", "test")
    kept = [entry(split, z, labels[z]) for z, split in enumerate(splits) if not (gap and z == 2)]
    found = [text for text in doubts([*kept, entry("validation", 9)]) if "continue" in text]
    if gap:  # a slice that nobody annotated breaks an object
        assert found == []
        return
    assert [text.split("; ")[0] for text in found] == [
        "1 of 1 objects of class a in the test slices continue into training slices and hold 100% of its test pixels",
        "1 of 2 objects of class b in the test slices continue into training slices and hold 50% of its test pixels",
    ]


def test_objects_are_counted_over_volumes_and_end_with_them() -> None:
    slices = [entry("train", 0), entry("test", 1, painted(404, 100)), entry("test", 2, volume=1)]
    slices += [entry("train", 4, volume=1), entry("validation", 6, volume=1)]
    found = [text for text in doubts(slices, volumes=2) if "continue" in text]
    assert [text.split(" in the")[0] for text in found] == [
        "1 of 2 objects of class a",
        "1 of 2 objects of class b",
    ]


def test_inspect_puts_slices_in_order() -> None:
    slices = clean(entry("train", 1), entry("test", 3, painted(404, 96)))
    by_split = {split: [one for own, one in reversed(slices) if own == split] for split in SPLITS}
    texts = doubts(slices)
    assert [one.text for one in inspect(description(), by_split)] == texts
    assert len(texts) == 4  # two copies, and an object of each class that continues
