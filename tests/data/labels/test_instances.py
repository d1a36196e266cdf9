"""Objects of annotated slices: ids as files have them, and connected components."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pytest
import tifffile
import torch
import yaml

from fibseg.arrays import IGNORE
from fibseg.data.description import ClassDescription, DataDescription
from fibseg.data.inspection.survey import survey
from fibseg.data.labels import instances
from fibseg.data.labels.instances import UNKNOWN
from fibseg.data.slices import data_hash, instances_hash, load_slices
from fibseg.errors import FibsegError
from fibseg.runs.identity import config_hash
from tests.support import TINY, describe
from tests.support.data_module import data_module
from tests.support.instances import same_partition

SPLIT = {"train": ["0:5"], "validation": ["5:9"]}


@pytest.fixture
def folder(tmp_path: Path, phantom_folder: Path) -> Path:
    """The phantom, with a mitochondrion that a plane through its middle parts into two ids."""
    shutil.copytree(phantom_folder, tmp_path / "cell")
    return tmp_path / "cell"


def labels_of(folder: Path) -> np.ndarray:
    return np.asarray(tifffile.imread(folder / "labels.tif"))


def halves(folder: Path, low: int = 7, high: int = 2**40) -> np.ndarray:
    """Ids of mitochondria: components, and half of each has another number."""
    labels = labels_of(folder)
    components = cc3d.connected_components(labels == 1, connectivity=26).astype(np.int64)
    right = np.arange(labels.shape[2]) > np.median(np.nonzero(labels == 1)[2])
    return np.where(components > 0, low + components + right * high, 0)


def described(folder: Path, value: Any = None, names: str = "mitochondrion") -> DataDescription:
    description = describe(folder, {"instances": value, "split": SPLIT})
    classes = {
        name: replace(entry, instances=name in names.split())
        for name, entry in description.classes.items()
    }
    return replace(description, classes=classes)


def objects_of(description: DataDescription) -> np.ndarray:
    """Objects of all slices (Z, H, W)."""
    slices = load_slices(description)
    return np.stack([entry.objects for split in ("train", "validation") for entry in slices[split]])


@pytest.mark.parametrize("dtype", [np.uint64, np.int64, np.float64])
def test_ids_of_any_size_and_type_are_objects(folder: Path, dtype: type) -> None:
    ids = halves(folder)
    tifffile.imwrite(folder / "ids.tif", ids.astype(dtype))
    objects = objects_of(described(folder, "ids.tif"))
    assert objects.dtype == np.int32 and objects.max() == 2
    assert same_partition(objects, ids)
    # In the order in which they are met.
    values, first = np.unique(objects, return_index=True)
    assert values.tolist() == list(range(len(values))) and (np.diff(first[1:]) > 0).all()


def test_relabelled_ids_are_the_same_objects(folder: Path) -> None:
    ids = halves(folder)
    tifffile.imwrite(folder / "ids.tif", ids.astype(np.uint64))
    first = load_slices(described(folder, "ids.tif"))
    values = np.unique(ids)
    table = np.concatenate(
        [[0], np.random.default_rng(0).permutation(np.arange(3, 2 + len(values)))]
    )
    relabelled = table[np.searchsorted(values, ids)]
    tifffile.imwrite(folder / "other.tif", relabelled.astype(np.uint16))
    other = load_slices(described(folder, "other.tif"))
    for split, slices in first.items():
        for entry, again in zip(slices, other[split], strict=True):
            np.testing.assert_array_equal(entry.objects, again.objects)
    assert instances_hash(first) == instances_hash(other) is not None
    # The data set is the same one with and without objects.
    plain = load_slices(described(folder, names=""))
    assert data_hash(plain, ["a"]) == data_hash(first, ["a"]) and instances_hash(plain) is None
    relabelled[0][relabelled[0] > 0] = 1
    tifffile.imwrite(folder / "other.tif", relabelled.astype(np.uint16))
    assert instances_hash(load_slices(described(folder, "other.tif"))) != instances_hash(first)


def test_without_ids_objects_are_components_in_3_d(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the slices are read in slabs of two."""
    labels = labels_of(folder)
    for voxels in (1, 2**22):
        monkeypatch.setattr(instances, "_SLAB_VOXELS", voxels)
        objects = objects_of(described(folder, names="mitochondrion er"))
        masked = np.where(np.isin(labels, (1, 3)), labels, 0)
        assert same_partition(objects, cc3d.connected_components(masked, connectivity=26))


def test_ignored_pixels_are_in_no_object(folder: Path) -> None:
    tifffile.imwrite(folder / "ids.tif", halves(folder).astype(np.uint64))
    mask = np.ones(labels_of(folder).shape, np.uint8)
    mask[:, :, :40] = 0
    tifffile.imwrite(folder / "mask.tif", mask)
    for value in ("ids.tif", None):
        description = described(folder, value)
        description.volumes[0].mask = "mask.tif"
        slices = load_slices(description)["train"]
        for entry in slices:
            assert not entry.objects[:, :40].any() and (entry.labels[:, :40] == IGNORE).all()
            assert ((entry.objects > 0) == (entry.labels == 1)).all()


def test_pixels_without_an_id_and_ids_outside_of_the_class(folder: Path) -> None:
    ids = halves(folder)
    labels = labels_of(folder)
    row, column = np.argwhere(labels[0] == 1)[0]
    ids[0, row, column] = 0
    ids[:, 0, :] = 99
    tifffile.imwrite(folder / "ids.tif", ids.astype(np.uint64))
    entry = load_slices(described(folder, "ids.tif"))["train"][0]
    assert entry.objects[row, column] == UNKNOWN
    assert not entry.objects[labels[0] != 1].any()
    texts = [finding.text for finding in survey(described(folder, "ids.tif")).findings]
    assert any("1 pixels of class mitochondrion have no id" in text for text in texts)


def test_a_file_for_each_class(folder: Path) -> None:
    labels = labels_of(folder)
    tifffile.imwrite(folder / "er.tif", (labels == 3).astype(np.uint8))
    objects = objects_of(described(folder, {"er": "er.tif"}, "mitochondrion er"))
    # All ER is one object, and the mitochondria are components.
    assert len(np.unique(objects[labels == 3])) == 1
    components = cc3d.connected_components(labels == 1, connectivity=26)
    assert same_partition(np.where(labels == 1, objects, 0), components)


@pytest.mark.parametrize(
    ("value", "names", "sentence"),
    [
        ("ids.tif", "", "given, but no class has objects; say so by instances: true"),
        (["ids.tif"], "er", "expected the path of a stack of ids, or a mapping"),
        ({"membrane": "ids.tif"}, "er", "membrane is no class of instances: true"),
        ("short.tif", "er", r"short.tif is of shape \(8, 96, 96\), but the labels are of"),
        ("gone.tif", "er", "gone.tif: no such file"),
        ("minus.tif", "er", "minus.tif, slice 0: id -4; expected 0 or more"),
        (
            "half.tif",
            "er",
            "half.tif, slice 0: value 0.5 of type float32; labels are whole numbers",
        ),
    ],
)
def test_mistakes_get_a_sentence(folder: Path, value: Any, names: str, sentence: str) -> None:
    ids = np.ones(labels_of(folder).shape, np.int32)
    tifffile.imwrite(folder / "ids.tif", ids)
    tifffile.imwrite(folder / "short.tif", ids[1:])
    tifffile.imwrite(folder / "minus.tif", ids - 5)
    tifffile.imwrite(folder / "half.tif", ids.astype(np.float32) / 2)
    with pytest.raises(FibsegError, match=sentence):
        load_slices(described(folder, value, names))


def test_a_class_without_objects_leaves_hashes_as_they_are() -> None:
    content = yaml.safe_load(TINY)
    config: dict[str, Any] = {"data": content, "model": {"architecture": "unet"}}
    young = yaml.safe_load(TINY)
    for entry in young["classes"].values():
        entry["instances"] = False
    young["volumes"][0]["instances"] = None
    model = {"architecture": "unet", "head": "none", "head_weight": 1.0}
    assert config_hash({"data": young, "model": model}) == config_hash(config)
    young["classes"]["er"]["instances"] = True
    assert config_hash({"data": young, "model": model}) != config_hash(config)
    assert ClassDescription(1, 1.0).instances is False


def findings_of(folder: Path, ids: np.ndarray, labels: np.ndarray) -> list[str]:
    tifffile.imwrite(folder / "labels.tif", labels.astype(np.uint8))
    tifffile.imwrite(folder / "ids.tif", ids.astype(np.uint32))
    return [finding.text for finding in survey(described(folder, "ids.tif")).findings]


def test_a_check_says_where_objects_touch_or_are_parted(folder: Path) -> None:
    """Two bars that touch, one id in two corners, and one that slice 4 lacks."""
    labels = labels_of(folder)
    labels[labels == 1] = 0
    ids = np.zeros(labels.shape, np.uint32)
    ids[:, 10:20, 10:20] = 5
    ids[:, 10:20, 20:30] = 3
    ids[:, 80:90, 4:9] = 8
    ids[:, 4:9, 80:90] = 8
    ids[:, 60:70, 60:70] = 9
    ids[4, 60:70, 60:70] = 0
    labels[ids > 0] = 1
    texts = findings_of(folder, ids, labels)
    assert (
        "class mitochondrion has 4 objects; 1 pairs touch in a slice, as at z, y, x (0, 10, 19)."
        in texts
    )
    assert any(
        "1 objects of class mitochondrion are split along z: the one at (0, 60, 60) ends in slice "
        "3 and is back in 5" in text
        for text in texts
    )
    assert any(
        "1 ids of class mitochondrion occur in two places that do not touch, as at z, y, x "
        "(0, 4, 80) and (0, 80, 4)" in text
        for text in texts
    )
    components = survey(described(folder)).findings
    assert "class mitochondrion has 5 objects, and none touch in a slice." in [
        finding.text for finding in components
    ]


def test_patches_have_objects_where_a_network_learns_them(folder: Path) -> None:
    tifffile.imwrite(folder / "ids.tif", halves(folder).astype(np.uint64))
    description = described(folder, "ids.tif")
    plain = data_module(folder, description=description)
    data = data_module(folder, description=description, objects=True)
    for before, batch in zip(plain.train_dataloader(), data.train_dataloader(), strict=True):
        assert before.objects is None
        assert torch.equal(before.images, batch.images)
        assert torch.equal(before.labels, batch.labels)
        assert ((batch.objects > 0) == (batch.labels == 1)).all()
    # Patches of whole slices, turned as the labels are.
    numbers = objects_of(description)
    patches = data.draw("train", 0)
    batch = next(iter(data.train_dataloader()))
    side = batch.labels.shape[-1]
    for k, objects in enumerate(batch.objects):
        row = patches.row[k]
        column = patches.column[k]
        cut = numbers[patches.index[k], row : row + side, column : column + side]
        cut = np.rot90(cut, patches.quarter_turns[k])
        cut = cut[:, ::-1] if patches.flip_columns[k] else cut
        cut = cut[::-1] if patches.flip_rows[k] else cut
        np.testing.assert_array_equal(objects.numpy(), cut)
