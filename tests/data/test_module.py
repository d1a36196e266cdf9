from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.slices import load_slices
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.filters.grain import grain_filter
from fibseg.filters.slices import slice_channels
from fibseg.stack import open_stack
from tests.support import describe
from tests.support.data_module import PATCH_SIZE, data_module

AREAS = (20, 200)


def test_channels_are_the_slice_and_its_filtered_versions(phantom_folder: Path) -> None:
    slices = load_slices(describe(phantom_folder))["train"][:2]
    images = [to_8bit(annotated.image, GreyRange(0, 255)) for annotated in slices]
    channels = slice_channels(images, list(AREAS), cache=None, threads=1)
    for image, channels_of_slice in zip(images, channels, strict=True):
        np.testing.assert_array_equal(channels_of_slice[0], image)
        np.testing.assert_array_equal(channels_of_slice[1:], grain_filter(image, list(AREAS)))


def test_batches_of_an_epoch(phantom_folder: Path, tmp_path: Path) -> None:
    data = data_module(phantom_folder, Channels(AREAS), cache=tmp_path)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 5
    assert batches[0].images.shape == (3, 3, PATCH_SIZE, PATCH_SIZE)
    assert 0 <= batches[0].images.min() < batches[0].images.max() <= 1
    assert len(list(data.val_dataloader())) == 2
    # Two areas of 4 training and 2 validation slices.
    assert len(list(tmp_path.glob("*.npy"))) == 2 * 6


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("filter_threads", [1, 2])
def test_patches_are_filtered_by_themselves_where_the_scope_says_so(
    phantom_folder: Path, filter_threads: int
) -> None:
    by_patch = data_module(phantom_folder, Channels(AREAS, "patch"), filter_threads=filter_threads)
    plain = data_module(phantom_folder)
    for split in ("train", "val"):
        loaders = [getattr(data, f"{split}_dataloader")() for data in (by_patch, plain)]
        for filtered, raw in zip(*loaders, strict=True):
            assert torch.equal(filtered.labels, raw.labels)
            images = (raw.images[:, 0] * 255).round().numpy().astype(np.uint8)
            expected = [
                np.concatenate([image[None], grain_filter(image, list(AREAS))]) for image in images
            ]
            pixels = (filtered.images * 255).round().numpy()
            np.testing.assert_array_equal(pixels, np.stack(expected))
    by_patch.on_exception(KeyboardInterrupt())
    # The threads have ended.
    assert by_patch._patch_filter is None


def test_fresh_validation_patches(phantom_folder: Path) -> None:
    data = data_module(phantom_folder, fresh_validation=True)
    assert data.draw("validation", 0).quarter_turns.any()
    assert not np.array_equal(data.draw("validation", 0).row, data.draw("validation", 1).row)
    images = []
    for epoch in (0, 1):
        # Lightning sets the trainer of a data module.
        data.trainer = SimpleNamespace(current_epoch=epoch)
        images.append(torch.cat([batch.images for batch in data.val_dataloader()]))
    assert not torch.equal(*images)
    other_seed = data_module(phantom_folder, fresh_validation=True, seed=1)
    np.testing.assert_array_equal(
        data.draw("validation", 2).row, other_seed.draw("validation", 2).row
    )


def test_the_stream_depends_on_seed_and_epoch_and_not_on_the_filter(phantom_folder: Path) -> None:
    plain = data_module(phantom_folder)
    filtered = data_module(phantom_folder, Channels((20,)))
    for raw, with_channels in zip(
        plain.train_dataloader(), filtered.train_dataloader(), strict=True
    ):
        assert torch.equal(raw.labels, with_channels.labels)
        assert torch.equal(raw.images[:, 0], with_channels.images[:, 0])
    first_rows = plain.draw("train", 0).row
    assert not np.array_equal(first_rows, plain.draw("train", 1).row)
    other_seed = data_module(phantom_folder, seed=0)
    assert not np.array_equal(first_rows, other_seed.draw("train", 0).row)


def test_validation_patches_stay_and_are_not_turned(phantom_folder: Path) -> None:
    first = data_module(phantom_folder)
    other_seed = data_module(phantom_folder, seed=1)
    for batch, again in zip(first.val_dataloader(), other_seed.val_dataloader(), strict=True):
        assert torch.equal(batch.images, again.images)
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
    with pytest.raises(FibsegError, match=f"{size} is larger than a slice of 96 x 96"):
        data_module(phantom_folder, size=size)


@pytest.mark.parametrize("scope", ["slice", "patch"])
def test_neighbouring_slices_are_the_last_channels(phantom_folder: Path, scope: str) -> None:
    """Image, grain-filtered image, then the slices before and behind, unfiltered."""
    data = data_module(phantom_folder, Channels((50,), scope, context=1))
    plain = data_module(phantom_folder, Channels((50,), scope))
    description = describe(phantom_folder)
    stack = open_stack(phantom_folder / "image.tif")
    train = load_slices(description)["train"]
    grey = grey_range([annotated.image for annotated in train], description.intensity)
    for annotated, pixels in zip(train, data.pixels("train").images, strict=True):
        around = [to_8bit(stack.read(z), grey) for z in stack.neighbours(annotated.z, 1)]
        np.testing.assert_array_equal(pixels[-2:], around)
    for seen, alone in zip(data.train_dataloader(), plain.train_dataloader(), strict=True):
        assert seen.images.shape[1] == 4
        assert torch.equal(seen.images[:, :2], alone.images)
        assert torch.equal(seen.labels, alone.labels)
        assert not torch.equal(seen.images[:, 2], seen.images[:, 0])
