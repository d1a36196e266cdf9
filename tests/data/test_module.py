from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.module import cut_patches
from fibseg.data.sampling import PatchSampler
from fibseg.data.slices import load_slices
from fibseg.filters.grain import grain_filter
from fibseg.filters.slices import slice_channels
from tests.support import describe
from tests.support.data_module import PATCH_SIZE, data_module


def test_patches_are_cut_turned_and_mirrored_like_numpy_does() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (3, 40, 50)).astype(np.uint8) for _ in range(2)]
    labels = [rng.integers(0, 4, (40, 50)).astype(np.uint8) for _ in range(2)]
    patches = PatchSampler(labels, PATCH_SIZE, 0.5).draw(64, seed=(0,), augment=True)
    batch = cut_patches(
        [torch.from_numpy(i) for i in images],
        [torch.from_numpy(one) for one in labels],
        patches,
        PATCH_SIZE,
    )
    assert (batch.images.shape, batch.images.dtype) == (
        (64, 3, PATCH_SIZE, PATCH_SIZE),
        torch.uint8,
    )
    assert (batch.labels.shape, batch.labels.dtype) == ((64, PATCH_SIZE, PATCH_SIZE), torch.int64)
    for i in range(64):
        where = np.s_[
            ...,
            patches.row[i] : patches.row[i] + PATCH_SIZE,
            patches.column[i] : patches.column[i] + PATCH_SIZE,
        ]
        for source, result in ((images, batch.images[i]), (labels, batch.labels[i])):
            expected = np.rot90(
                source[patches.index[i]][where], patches.quarter_turns[i], axes=(-2, -1)
            )
            expected = expected[..., ::-1] if patches.flip_columns[i] else expected
            expected = expected[..., ::-1, :] if patches.flip_rows[i] else expected
            np.testing.assert_array_equal(result.numpy(), expected)


def test_channels_are_the_slice_and_its_filtered_versions(phantom_folder: Path) -> None:
    slices = load_slices(describe(phantom_folder))["train"][:2]
    images = [to_8bit(one.image, GreyRange(0, 255)) for one in slices]
    channels = slice_channels(images, [20, 200], cache=None, processes=1)
    for image, found in zip(images, channels, strict=True):
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1:], grain_filter(image, [20, 200]))


def test_batches_of_an_epoch(phantom_folder: Path, tmp_path: Path) -> None:
    data = data_module(phantom_folder, areas=[20, 200], cache=tmp_path)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 5
    assert batches[0].images.shape == (3, 3, PATCH_SIZE, PATCH_SIZE)
    assert 0 <= batches[0].images.min() < batches[0].images.max() <= 1
    assert len(list(data.val_dataloader())) == 2
    assert len(list(tmp_path.glob("*.npy"))) == 2 * 6  # two areas of 4 + 2 slices


@pytest.mark.parametrize("processes", [1, 2])
def test_patches_are_filtered_by_themselves_where_the_scope_says_so(
    phantom_folder: Path, processes: int
) -> None:
    by_patch = data_module(
        phantom_folder, areas=[20, 200], filter_scope="patch", processes=processes
    )
    plain = data_module(phantom_folder)
    for split in ("train", "val"):
        loaders = (getattr(one, f"{split}_dataloader")() for one in (by_patch, plain))
        for found, raw in zip(*loaders, strict=True):
            assert torch.equal(found.labels, raw.labels)
            images = (raw.images[:, 0] * 255).round().numpy().astype(np.uint8)
            expected = [
                np.concatenate([one[None], grain_filter(one, [20, 200], backend="higra")])
                for one in images
            ]
            np.testing.assert_array_equal((found.images * 255).round().numpy(), np.stack(expected))
    by_patch.on_exception(KeyboardInterrupt())
    assert by_patch._patch_filter is None  # its processes are gone


def test_fresh_validation_patches(phantom_folder: Path) -> None:
    data = data_module(phantom_folder, fresh_validation=True)
    assert data.draw("validation", 0).quarter_turns.any()
    assert not np.array_equal(data.draw("validation", 0).row, data.draw("validation", 1).row)
    shown = []
    for epoch in (0, 1):
        data.trainer = SimpleNamespace(current_epoch=epoch)  # what Lightning sets
        shown.append(torch.cat([batch.images for batch in data.val_dataloader()]))
    assert not torch.equal(*shown)
    other_seed = data_module(phantom_folder, fresh_validation=True, seed=1)
    np.testing.assert_array_equal(
        data.draw("validation", 2).row, other_seed.draw("validation", 2).row
    )


def test_the_stream_depends_on_seed_and_epoch_and_not_on_the_filter(phantom_folder: Path) -> None:
    plain, filtered = data_module(phantom_folder), data_module(phantom_folder, areas=[20])
    for ours, theirs in zip(plain.train_dataloader(), filtered.train_dataloader(), strict=True):
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.images[:, 0], theirs.images[:, 0])
    assert not np.array_equal(plain.draw("train", 0).row, plain.draw("train", 1).row)
    assert not np.array_equal(
        plain.draw("train", 0).row, data_module(phantom_folder, seed=0).draw("train", 0).row
    )


def test_validation_patches_stay_and_are_not_turned(phantom_folder: Path) -> None:
    first, second = data_module(phantom_folder), data_module(phantom_folder, seed=1)
    for ours, theirs in zip(first.val_dataloader(), second.val_dataloader(), strict=True):
        assert torch.equal(ours.images, theirs.images)
    assert not first.draw("validation", 0).quarter_turns.any()
    np.testing.assert_array_equal(first.draw("validation", 0).row, first.draw("validation", 9).row)


def test_global_random_numbers_are_not_touched(phantom_folder: Path) -> None:
    data = data_module(phantom_folder)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(data.train_dataloader())
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("size", [97, 1000])
def test_patch_larger_than_a_slice(phantom_folder: Path, size: int) -> None:
    with pytest.raises(Exception, match=f"{size} is larger than a slice of 96 x 96"):
        data_module(phantom_folder, patch_size=size)
