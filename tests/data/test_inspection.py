"""Every doubt: a case that raises it, and a close one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibseg.arrays import IGNORE
from fibseg.data.description import (
    SPLITS,
    ClassDescription,
    DataDescription,
    IntensityDescription,
    PhantomDescription,
    VolumeDescription,
)
from fibseg.data.inspection import Inspector, inspect
from fibseg.data.volume import AnnotatedSlice
from tests.support import describe

CLASSES = {"a": ClassDescription(1, 1.0), "b": ClassDescription(2, 1.0)}
GREY = np.random.default_rng(0).integers(100, 201, (40, 40)).astype(np.uint16)
GREY[0, :2] = 100, 200
Labelled = tuple[str, AnnotatedSlice]


def description(volumes: int = 1, per: str = "stack") -> DataDescription:
    volume = VolumeDescription("image.tif", "labels.tif", [20, 5, 5], {})
    return describe(
        Path(),
        classes=CLASSES,
        volumes=[volume] * volumes,
        intensity=IntensityDescription(0.0, 100.0, per),
    )


def painted(a: int = 400, b: int = 100) -> NDArray[np.uint8]:
    """(40, 40): the first pixels are class a, the last are class b."""
    labels = np.zeros(1600, np.uint8)
    labels[:a] = 1
    labels[1600 - b :] = 2
    return labels.reshape(40, 40)


def entry(
    split: str, z: int, labels: NDArray[Any] | None = None, image: Any = GREY, volume: int = 0
) -> Labelled:
    classes = painted() if labels is None else labels.astype(np.uint8)
    return split, AnnotatedSlice(volume, z, image, classes)


def clean(*changed: Labelled) -> list[Labelled]:
    """Slices that raise no doubt, two apart, with some replaced or added."""
    usual = [entry("train", 0), entry("train", 2), entry("validation", 4), entry("test", 6)]
    slices = {labelled[1].place: labelled for labelled in [*usual, *changed]}
    return [slices[place] for place in sorted(slices)]


def doubts(slices: Sequence[Labelled], *, volumes: int = 1, per: str = "stack") -> list[str]:
    inspector = Inspector(description(volumes, per))
    for split, annotated_slice in slices:
        inspector.add(annotated_slice, split)
    findings = inspector.findings()
    assert all(finding.level == "warning" for finding in findings)
    return [finding.text for finding in findings]


def test_good_slices_raise_no_doubt_and_neither_do_no_slices() -> None:
    assert doubts(clean()) == []
    assert doubts([]) == []


def test_facts_of_a_slice() -> None:
    labels = painted(300, 0)
    # 500 pixels of background, 300 of class a, 800 unannotated.
    labels[20:] = IGNORE
    facts = Inspector(description()).add(entry("train", 3, labels)[1], "train")
    assert (facts.place, facts.split) == ((0, 3), "train")
    assert (facts.specks, facts.repeated) == (0, False)
    assert facts.shares == (0.625, 0.375, 0.0)
    assert (facts.annotated, facts.foreground) == (0.5, 0.375)


@pytest.mark.parametrize(
    ("labels", "doubt"),
    [
        (np.full((40, 40), IGNORE), "train slice 2 has no annotated pixel."),
        (np.zeros((40, 40)), "train slice 2 is empty: not annotated?"),
        (
            painted(49, 0),
            "train slice 2 is nearly empty: half annotated? "
            "(3.06% of it is labelled, 31.2% in others)",
        ),
        # A tenth of the usual 500 pixels.
        (painted(50, 0), None),
        # Shares are of the annotated pixels.
        (np.where(np.arange(1600).reshape(40, 40) < 400, 1, IGNORE), None),
    ],
)
def test_slices_without_annotation(labels: NDArray[Any], doubt: str | None) -> None:
    texts = doubts(clean(entry("train", 2, labels)))
    assert len(texts) == (doubt is not None)
    assert doubt is None or texts[0].startswith(doubt)


def test_every_tenth_slice_painted_and_all_of_them_in_the_splits() -> None:
    """Most slices are empty, and each of them is doubtful all the same."""
    slices = [entry("train", z, None if z % 10 == 0 else np.zeros((40, 40))) for z in range(21)]
    texts = doubts([*slices, entry("validation", 40), entry("test", 60)])
    assert sum("is empty: not annotated?" in text for text in texts) == 18


def test_empty_slices_in_no_split_raise_no_doubt() -> None:
    empty = entry("", 8, np.zeros((40, 40)))
    unannotated = entry("", 10, np.full((40, 40), IGNORE))
    assert doubts(clean(empty, unannotated)) == []


def test_a_slice_is_compared_with_those_of_the_same_volume() -> None:
    thin = [entry("train", z, painted(16, 4), volume=1) for z in (0, 2)]
    assert doubts(clean(*thin), volumes=2) == []
    empty = entry("train", 4, painted(0, 0), volume=1)
    (text,) = doubts(clean(*thin, empty), volumes=2)
    assert text.startswith("volume 1, train slice 4 is empty")


def test_no_test_split() -> None:
    assert doubts(clean()[:3]) == ["there is no test split; the run will have no test scores."]


@pytest.mark.parametrize(("z", "split"), [(4, "validation"), (6, "test")])
def test_absent_classes(z: int, split: str) -> None:
    without_b = entry(split, z, painted(500, 0))
    assert doubts(clean(without_b)) == [
        f"class b does not occur in the {split} slices; it has no score there."
    ]
    assert doubts(clean(entry(split, z, painted(500, 50)))) == []
    another_slice = entry(split, z + 6)
    assert doubts(clean(without_b, another_slice)) == []


def test_a_class_absent_in_one_training_slice_raises_no_doubt() -> None:
    texts = doubts(clean(entry("train", 0, painted(500, 0))))
    assert not [text for text in texts if "has no score" in text]


def bright(pixels: int) -> NDArray[Any]:
    """GREY with some pixels brighter than any other."""
    image = GREY.copy()
    image.ravel()[800 : 800 + pixels] = 300
    return image


def test_grey_values_that_drift() -> None:
    # 80 pixels are the allowed 5% of 1600.
    assert doubts(clean(entry("test", 6, image=bright(80)))) == []
    drifted = entry("test", 6, image=bright(81))
    (text,) = doubts(clean(drifted, entry("validation", 8, image=bright(900))))
    assert text.startswith(
        "2 slices, the first test slice 6, have over 5% of their pixels outside the grey range"
    )
    assert "(100 to 200)" in text
    assert doubts(clean(drifted), per="slice") == []
    assert doubts(clean(entry("", 8, image=bright(900)))) == []


def test_slices_of_one_grey_value_do_not_drift() -> None:
    flat = np.full((40, 40), 7, np.uint16)
    slices = [entry(split, 2 * k, image=flat) for k, split in enumerate(SPLITS)]
    assert doubts(slices) == []


def contrasted(class_grey: float, z: int, volume: int, split: str = "train") -> Labelled:
    """A slice of noise around 150, in which class a has another grey value."""
    noise = np.random.default_rng(z).normal(150, 10, (40, 40))
    image = np.where(painted() == 1, noise - 150 + class_grey, noise).astype(np.uint8)
    return entry(split, z, image=image, volume=volume)


def volumes_of(first: float, second: float) -> list[Labelled]:
    """Two volumes with these grey values of class a, two slices of each split in each."""
    slices = [contrasted(first, 2 * k, 0, split) for k, split in enumerate(SPLITS)]
    return slices + [contrasted(second, 2 * k, 1, split) for k, split in enumerate(SPLITS)]


def inverted(slices: Sequence[Labelled]) -> list[str]:
    """Doubts about the contrast of a class, in two volumes."""
    return [text for text in doubts(slices, volumes=2) if "class a is" in text]


def test_a_class_that_is_darker_in_one_volume_and_brighter_in_another() -> None:
    (text,) = inverted(volumes_of(90, 210))
    assert text == (
        "in volume 0 class a is darker than the rest, in volume 1 brighter: are the grey values of "
        "one of them inverted?"
    )
    assert inverted(volumes_of(90, 110)) == []
    # As bright as the rest: nothing is inverted.
    assert inverted(volumes_of(90, 150)) == []


def test_a_slice_whose_contrast_is_inverted() -> None:
    slices = [contrasted(90, z, 0) for z in (8, 10, 12)]
    assert inverted([*volumes_of(90, 90), *slices]) == []
    (text,) = inverted([*volumes_of(90, 90), *slices, contrasted(210, 14, 0)])
    assert text.startswith("volume 0, train slice 14: class a is brighter than the rest, unlike in")


def test_volumes_and_splits_of_other_grey_values() -> None:
    wide = [entry(split, 2 * k, image=GREY * 4, volume=1) for k, split in enumerate(SPLITS)]
    texts = doubts([*clean(), *wide], volumes=2)
    assert any("volume 1, image.tif (uint16, 400 to 800) and volume 0" in text for text in texts)
    assert doubts([*clean(), *wide], volumes=2, per="slice") == []
    dark = (GREY // 4).astype(np.uint16)
    texts = doubts(clean(entry("test", 6, image=dark)))
    assert any("the test slices (uint16, 25 to 50)" in text for text in texts)


def test_shares_of_a_class_that_differ_between_splits() -> None:
    assert doubts(clean(entry("test", 6, painted(400, 250)))) == []
    assert doubts(clean(entry("test", 6, painted(400, 251)))) == [
        "class b fills 15.69% of the test slices and 6.25% of the training slices; their scores "
        "will differ for that alone."
    ]


def test_padding_that_takes_grey_levels() -> None:
    padded = GREY.astype(np.uint16) + 30_000
    padded[:, 30:] = 0
    texts = doubts([(split, replace(item, image=padded)) for split, item in clean()])
    assert len(texts) == 1
    assert texts[0].startswith("padding of one grey value leaves the tissue 0% of the grey range 0")
    seen = padded > 0
    hidden = [(split, replace(item, image=padded, in_mask=seen)) for split, item in clean()]
    assert doubts(hidden) == []


def test_spots_of_a_phantom_are_no_strokes_of_a_brush() -> None:
    inspector = Inspector(replace(description(), phantom=PhantomDescription([8, 40, 40], 0)))
    for split, annotated_slice in clean(entry("train", 2, spots((20, 20)))):
        inspector.add(annotated_slice, split)
    assert inspector.findings() == []


def test_copied_labels() -> None:
    assert doubts(clean(entry("train", 1))) == [
        "train slice 1 has the labels of the slice before: copied?",
        "train slice 2 has the labels of the slice before: copied?",
    ]
    changed = painted()
    changed[20, 20:24] = 1
    assert doubts(clean(entry("train", 1, changed))) == []


def test_equal_labels_of_two_volumes_and_of_empty_slices_are_no_copies() -> None:
    second_volume = [entry(split, 1 + 2 * k, volume=1) for k, split in enumerate(SPLITS)]
    assert doubts([entry("train", 0, volume=0), *second_volume]) == []
    empty = [entry("train", z, np.zeros((40, 40))) for z in (8, 9)]
    assert not [text for text in doubts(clean(*empty)) if "copied" in text]


def spots(*places: tuple[int, int]) -> NDArray[np.uint8]:
    """The usual labels with more pixels of class b."""
    labels = painted()
    for place in places:
        labels[place] = 2
    return labels


def test_specks() -> None:
    three_pixels = spots((20, 20), (21, 21), (22, 22))
    assert doubts(clean(entry("train", 2, three_pixels))) == [
        "1 labelled spots of fewer than 4 pixels: accidental strokes of the brush?"
    ]
    four_pixels = spots((20, 20), (21, 21), (22, 22), (23, 21))
    assert doubts(clean(entry("train", 2, four_pixels))) == []
    assert doubts(clean(entry("", 8, three_pixels))) == []


def leaks(slices: Sequence[Labelled], volumes: int = 1) -> list[str]:
    """Doubts about objects that continue into training slices."""
    return [text for text in doubts(slices, volumes=volumes) if "continue" in text]


@pytest.mark.parametrize("gap", [False, True])
def test_objects_continue_into_training_slices(gap: bool) -> None:
    """Three objects of class b: through all slices, in the test slice alone, in no test slice."""
    labels = np.zeros((4, 40, 40), np.uint8)
    labels[:, 0:4] = 1
    labels[:, 10:14, 10:14] = 2
    labels[3, 20:24, 20:24] = 2
    labels[:2, 30:34, 30:34] = 2
    # No slice is a copy of the one before.
    labels[0, 4, :4] = 1
    labels[2, 4, :5] = 1
    labels[3, 4, :6] = 1
    splits = ("train", "train", "", "test")
    # A slice that is not annotated ends an object.
    kept = [entry(split, z, labels[z]) for z, split in enumerate(splits) if not (gap and z == 2)]
    texts = leaks([*kept, entry("validation", 9)])
    continues = "in the test slices continue into training slices and hold"
    assert [text.split("; ")[0] for text in texts] == (
        []
        if gap
        else [
            f"1 of 1 objects of class a {continues} 100% of its test pixels",
            f"1 of 2 objects of class b {continues} 50% of its test pixels",
        ]
    )


def test_objects_are_counted_over_volumes_and_end_with_them() -> None:
    slices = [entry("train", 0), entry("test", 1, painted(404, 100)), entry("test", 2, volume=1)]
    slices += [entry("train", 4, volume=1), entry("validation", 6, volume=1)]
    assert [text.split(" in the")[0] for text in leaks(slices, volumes=2)] == [
        "1 of 2 objects of class a",
        "1 of 2 objects of class b",
    ]


def test_inspect_puts_slices_in_order() -> None:
    slices = clean(entry("train", 1), entry("test", 3, painted(404, 96)))
    by_split: dict[str, list[AnnotatedSlice]] = {split: [] for split in SPLITS}
    for split, annotated_slice in reversed(slices):
        by_split[split].append(annotated_slice)
    texts = doubts(slices)
    assert [finding.text for finding in inspect(description(), by_split)] == texts
    # Two copies, and an object of each class that continues.
    assert len(texts) == 4
