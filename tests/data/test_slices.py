from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from fibseg.arrays import IGNORE
from fibseg.data.description import (
    BackgroundDescription,
    ClassDescription,
    IntensityDescription,
    PhantomDescription,
    SecondExpert,
    class_names,
    class_weights,
    label_values,
)
from fibseg.data.grey import grey_range, to_8bit
from fibseg.data.slices import data_hash, few_training_slices, load_slices, neighbours_hash
from fibseg.data.splits import nested_order, parse_slices
from fibseg.errors import FibsegError
from fibseg.phantom import draw_phantom
from tests.support import SHAPE, describe

IMAGE = np.random.default_rng(1).integers(0, 4000, (6, 10, 12)).astype(np.uint16)
LABELS = np.zeros((4, 6, 8), np.uint8)
LABELS[:, 1, 2] = 7
LABELS[:, 2, 3] = 9
LABELS[:, 3, 4] = 255
CLASSES = {"a": ClassDescription(7, 0.5), "b": ClassDescription(9, 2.0)}
SPLIT: dict[str, list[Any]] = {"train": ["1:3"], "validation": [3], "test": [4]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "image.tif", IMAGE)
    tifffile.imwrite(tmp_path / "labels.tif", LABELS, photometric="minisblack")
    return tmp_path


def crop(folder: Path, volume: dict[str, Any] | None = None, **changes: Any) -> Any:
    """The hand-made crop: labels of (4, 6, 8) at (1, 2, 3) in an image of (6, 10, 12)."""
    values = {"classes": CLASSES, "ignore": 255} | changes
    return describe(folder, {"offset": [1, 2, 3], "split": SPLIT} | (volume or {}), **values)


def test_labels_become_classes_where_they_lie_and_the_rest_is_ignored(folder: Path) -> None:
    slices = load_slices(crop(folder))
    assert {split: [entry.z for entry in entries] for split, entries in slices.items()} == {
        "train": [1, 2],
        "validation": [3],
        "test": [4],
        "second_expert": [],
    }
    annotated_slice = slices["train"][1]
    np.testing.assert_array_equal(annotated_slice.image, IMAGE[2])
    expected = np.full((10, 12), IGNORE, np.uint8)
    expected[2:8, 3:11] = 0
    expected[3, 5] = 1
    expected[4, 6] = 2
    expected[5, 7] = IGNORE
    np.testing.assert_array_equal(annotated_slice.labels, expected)


def test_masks_per_class_and_the_first_class_wins_an_overlap(folder: Path) -> None:
    masks = np.zeros((2, 4, 6, 8), np.uint8)
    masks[0, :, 1, 2] = 255
    masks[1, :, 1, 1:4] = 255
    for name, mask in zip("ab", masks, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", mask, photometric="minisblack")
    slices = load_slices(crop(folder, {"labels": {"b": "b.tif", "a": "a.tif"}}))
    np.testing.assert_array_equal(slices["test"][0].labels[3, 3:8], [0, 2, 1, 2, 0])


def test_mask_second_expert_and_several_volumes(folder: Path) -> None:
    mask = np.ones(IMAGE.shape, np.uint8)
    mask[:, :, 7:] = 0
    tifffile.imwrite(folder / "mask.tif", mask)
    tifffile.imwrite(folder / "expert.tif", LABELS[2:4], photometric="minisblack")
    expert = SecondExpert("expert.tif", [5, 0])
    description = crop(folder, {"mask": "mask.tif", "second_expert": expert})
    tifffile.imwrite(folder / "other.tif", IMAGE + 1)
    description.volumes += crop(folder, {"image": "other.tif", "split": {"train": [4]}}).volumes
    slices = load_slices(description)
    assert [entry.place for entry in slices["train"]] == [(0, 1), (0, 2), (1, 4)]
    assert (slices["train"][0].labels[:, 7:] == IGNORE).all()
    assert [entry.z for entry in slices["second_expert"]] == [5, 0]
    np.testing.assert_array_equal(slices["second_expert"][1].image, IMAGE[0])
    np.testing.assert_array_equal(slices["second_expert"][1].labels[2:8, 3:11] == 2, LABELS[3] == 9)


def test_order_of_classes_weights_and_values(folder: Path) -> None:
    description = crop(folder, background=BackgroundDescription([3, 0], 0.1))
    assert class_names(description) == ["background", "a", "b"]
    assert class_weights(description) == [0.1, 0.5, 2.0]
    assert label_values(description) == [3, 7, 9]


@pytest.mark.parametrize(
    ("volume", "changes", "message"),
    [
        ({"offset": [3, 2, 3]}, {}, r"lie outside the image \(6, 10, 12\) along z"),
        ({"offset": [1, 2]}, {}, "three numbers"),
        ({"voxel_size": [0, 5, 5]}, {}, "above 0"),
        (
            {"split": {"train": [1], "validation": [0]}},
            {},
            "slice 0 has no labels; they cover slices 1 to 4",
        ),
        (
            {"split": {"train": ["1:3"], "validation": [2]}},
            {},
            "slice 2 is in both train and validation",
        ),
        ({"split": {"train": ["1:99999999999"], "validation": [2]}}, {}, "leaves the image"),
        ({"split": {"train": ["x"], "validation": [2]}}, {}, "'x' is no slice"),
        ({"split": {"learn": [1]}}, {}, "'learn' is no split"),
        ({"split": {"train": [1]}}, {}, "no slice in the validation split"),
        ({"labels": {"c": "labels.tif"}}, {}, "c is none of data.classes"),
        ({"labels": {}}, {}, "there is none"),
        ({"labels": None}, {}, "None; expected a path"),
        ({"labels": {"a": None}}, {}, "expected a path"),
        ({"second_expert": SecondExpert("labels.tif", [4])}, {}, "4 pages of labels for 1 slices"),
        ({"mask": "labels.tif"}, {}, "but the image is"),
        ({}, {"ignore": None}, "label value 255 is claimed by no class"),
        ({}, {"ignore": 7}, "label value 7 is claimed twice"),
        (
            {},
            {"classes": {**CLASSES, "c": ClassDescription(5, 1.0)}},
            "class c does not occur in the training",
        ),
        ({}, {"classes": {}}, "0 classes"),
        ({}, {"classes": {"background": ClassDescription(7, 1.0)}}, "'background' is implied"),
        ({}, {"background": BackgroundDescription([], 1.0)}, "background.labels: empty"),
        ({}, {"background": BackgroundDescription([0], -1.0)}, "weight of -1 is impossible"),
        ({}, {"intensity": IntensityDescription(50, 50)}, "expected 0 <= low < high <= 100"),
        (
            {},
            {"intensity": IntensityDescription(1, 99, "volume")},
            "per: volume; expected stack or slice",
        ),
        ({}, {"volumes": []}, "volumes: empty"),
    ],
)
def test_contradictions_are_named(
    folder: Path, volume: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FibsegError, match=message):
        load_slices(crop(folder, volume, **changes))


def test_a_slice_is_in_one_split_through_two_entries_too(folder: Path) -> None:
    description = crop(folder)
    description.volumes += crop(folder, {"split": {"test": [2]}}).volumes
    with pytest.raises(FibsegError, match=r"slice 2 of .*image.tif is in both train and test"):
        load_slices(description)


@pytest.mark.parametrize("cut", [0, 1])
def test_a_copy_of_an_image_is_the_same_image(folder: Path, cut: int) -> None:
    """Under another name, whole or without its first slices: its slices are known by pixels."""
    tifffile.imwrite(folder / "copy.tif", IMAGE[cut:])
    description = crop(folder)
    copied = {"image": "copy.tif", "offset": [1 - cut, 2, 3], "split": {"test": [2 - cut, 4 - cut]}}
    description.volumes += crop(folder, copied).volumes
    message = rf"slice {2 - cut} of copy.tif, a copy of slice 2 of image.tif, is in both train and"
    with pytest.raises(FibsegError, match=message):
        load_slices(description)
    # Padding is alike in all images.
    padded = np.where(np.arange(6)[:, None, None] == 2, 0, IMAGE)
    for name in ("image.tif", "copy.tif"):
        tifffile.imwrite(folder / name, padded[cut:] if name == "copy.tif" else padded)
    assert len(load_slices(description)["test"]) == 3


def test_masked_pixels_are_no_part_of_the_grey_range(folder: Path) -> None:
    """A border of zeros under a mask takes no grey levels from the tissue."""
    tissue = (30_000 + IMAGE // 4).astype(np.uint16)
    mask = np.ones(IMAGE.shape, np.uint8)
    mask[:, :, 8:] = 0
    tifffile.imwrite(folder / "image.tif", np.where(mask, tissue, 0).astype(np.uint16))
    tifffile.imwrite(folder / "mask.tif", mask)
    slices = load_slices(crop(folder, {"mask": "mask.tif"}))["train"]
    grey = grey_range([entry.grey_values for entry in slices], IntensityDescription(0, 100))
    used = tissue[1:3, :, :8]
    assert (grey.low, grey.high) == (used.min(), used.max())
    assert len(np.unique(to_8bit(slices[0].image, grey)[:, :8])) > 60
    mask[:] = 0
    tifffile.imwrite(folder / "mask.tif", mask)
    with pytest.raises(FibsegError, match="the masks hide every pixel"):
        grey_range([slices[0].image[:0]], IntensityDescription(0, 100))


def test_volumes_of_8_and_16_bits_in_one_grey_range_are_refused(folder: Path) -> None:
    narrow = (IMAGE // 20).astype(np.uint8)
    tifffile.imwrite(folder / "wide.tif", IMAGE * 16)
    tifffile.imwrite(folder / "narrow.tif", narrow)
    description = crop(folder, {"image": "narrow.tif"})
    description.volumes += crop(folder, {"image": "wide.tif", "split": {"train": [4]}}).volumes
    with pytest.raises(FibsegError, match=r"leaves volume 0, narrow.tif \(uint8, .* 1 of 256 grey"):
        load_slices(description)
    description.intensity.per = "slice"
    assert len(load_slices(description)["train"]) == 3


def test_bad_pixels_are_named(folder: Path) -> None:
    broken = IMAGE.astype(np.float32)
    broken[3, 5, 5] = np.nan
    tifffile.imwrite(folder / "nan.tif", broken)
    with pytest.raises(FibsegError, match="slice 3: NaN"):
        load_slices(crop(folder, {"image": "nan.tif"}))


def test_whole_numbers_of_a_float_file_are_labels_and_fractions_are_none(folder: Path) -> None:
    """NIfTI, MRC and scripts keep labels as floats."""
    labels = LABELS.astype(np.float32)
    tifffile.imwrite(folder / "float.tif", labels, photometric="minisblack")
    expected = load_slices(crop(folder))["train"]
    for entry, other in zip(
        expected, load_slices(crop(folder, {"labels": "float.tif"}))["train"], strict=True
    ):
        np.testing.assert_array_equal(entry.labels, other.labels)
    labels[1, 2, 2] = 0.25
    tifffile.imwrite(folder / "float.tif", labels, photometric="minisblack")
    with pytest.raises(FibsegError, match=r"float.tif, slice 1: value 0.25 of type float32"):
        load_slices(crop(folder, {"labels": "float.tif"}))


def test_phantom_is_made_once_and_another_one_is_not_taken_for_it(tmp_path: Path) -> None:
    phantom = PhantomDescription(list(SHAPE), 0)
    first = load_slices(describe(tmp_path, phantom=phantom))
    stamp = (tmp_path / "image.tif").stat().st_mtime_ns
    second = load_slices(describe(tmp_path, phantom=phantom))
    assert data_hash(second, ["a"]) == data_hash(first, ["a"])
    assert (tmp_path / "image.tif").stat().st_mtime_ns == stamp
    for changed in (PhantomDescription(list(SHAPE), 1), PhantomDescription([9, 64, 64], 0)):
        with pytest.raises(FibsegError, match="not the phantom of this shape and seed"):
            load_slices(describe(tmp_path, phantom=changed))


def test_a_phantom_with_touching_mitochondria_is_written_with_its_instances(tmp_path: Path) -> None:
    shape = (9, 128, 128)
    load_slices(describe(tmp_path, phantom=PhantomDescription(list(shape), 1, touching=1)))
    phantom = draw_phantom(shape, 1, touching=1)
    for name in ("image", "labels", "instances"):
        written = tifffile.imread(tmp_path / f"{name}.tif")
        np.testing.assert_array_equal(written, getattr(phantom, name))
        assert written.dtype == getattr(phantom, name).dtype
    with pytest.raises(FibsegError, match="not the phantom of this shape and seed"):
        load_slices(describe(tmp_path, phantom=PhantomDescription(list(shape), 1)))


def test_data_hash_sees_one_pixel_and_one_label(folder: Path) -> None:
    before = data_hash(load_slices(crop(folder)), ["a"])
    changed = IMAGE.copy()
    changed[4, 0, 0] += 1
    tifffile.imwrite(folder / "image.tif", changed)
    second = data_hash(load_slices(crop(folder)), ["a"])
    joined_classes = np.where(LABELS == 9, 7, LABELS).astype(np.uint8)
    tifffile.imwrite(folder / "labels.tif", joined_classes, photometric="minisblack")
    third = data_hash(load_slices(crop(folder, classes={"a": CLASSES["a"]})), ["a"])
    renamed = data_hash(load_slices(crop(folder, classes={"a": CLASSES["a"]})), ["b"])
    assert len({before, second, third, renamed}) == 4


def test_parse_slices() -> None:
    assert parse_slices(["4:1:-1", 0], 5, "x") == [4, 3, 2, 0]
    for wrong in ("1:1", "0:3:0", "-1", "5", "1:2:3:4", None, 1.5):
        with pytest.raises(FibsegError, match="x: "):
            parse_slices([wrong], 5, "x")


def test_few_training_slices_are_spread_and_nested(folder: Path) -> None:
    """The hash is that of all slices: runs on few are compared with runs on many."""
    volume = {"split": {"train": ["1:3", 4], "validation": [3]}}
    slices = load_slices(crop(folder, volume))
    used = {}
    for count in (1, 2, 3, None):
        description = crop(folder, volume, annotated=count)
        used[count] = [entry.z for entry in few_training_slices(slices, description)["train"]]
        assert data_hash(load_slices(description), ["a"]) == data_hash(slices, ["a"])
    assert used == {1: [2], 2: [1, 2], 3: [1, 2, 4], None: [1, 2, 4]}
    assert [entry.z for entry in slices["train"]] == [1, 2, 4]
    for count in (0, 4, -1):
        with pytest.raises(
            FibsegError, match=f"data.annotated: {count} is impossible; expected 1 to 3, the number"
        ):
            few_training_slices(slices, crop(folder, volume, annotated=count))


def test_a_class_that_few_slices_lack(folder: Path) -> None:
    labels = LABELS.copy()
    labels[1][labels[1] == 9] = 0
    tifffile.imwrite(folder / "labels.tif", labels, photometric="minisblack")
    description = crop(folder, annotated=1)
    slices = load_slices(description)
    with pytest.raises(FibsegError, match="class b does not occur in the training slices"):
        few_training_slices(slices, description)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 33])
def test_the_order_of_few_slices(count: int) -> None:
    """Each next one is as far from those before as any that is left."""
    order = nested_order(count)
    assert sorted(order) == list(range(count))
    assert order[0] == count // 2
    for k in range(1, count):
        distances = {z: min(abs(z - other) for other in order[:k]) for z in order[k:]}
        assert distances[order[k]] == max(distances.values())


def test_neighbours_have_a_hash_of_their_own(folder: Path) -> None:
    """Runs with and without them are of one data set; other neighbours are other inputs."""
    volume = {"split": {"train": [1, 4], "validation": [3]}}
    plain = load_slices(crop(folder, volume))
    seen = load_slices(crop(folder, volume, context=1))
    assert neighbours_hash(plain) is None
    assert data_hash(plain, ["a"]) == data_hash(seen, ["a"])
    first = neighbours_hash(seen)
    image = tifffile.imread(folder / "image.tif")
    image[0] += 1
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    changed = load_slices(crop(folder, volume, context=1))
    assert data_hash(changed, ["a"]) == data_hash(seen, ["a"])
    assert neighbours_hash(changed) != first
