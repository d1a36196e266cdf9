"""The LightningDataModule: annotated slices -> filter channels -> batches of patches, on the training device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.sampling import Patches, PatchSampler
from fibseg.data.slices import AnnotatedSlice
from fibseg.filters.patches import PatchFilter, channels_of
from fibseg.filters.slices import slice_channels

Report = Callable[[int, int], None]
FILTER_SCOPES = ("slice", "patch")


class Batch(NamedTuple):
    """N patches.

    Attributes:
        images: (N, C, H, W) float32 in [0, 1]; channel 0 is the image, the others its grain-filtered versions.
        labels: (N, H, W) int64 class indices, IGNORE where nobody annotated.
        drawn_class: (N,) the class each patch was centred on, 0 for a random place.
    """

    images: Tensor
    labels: Tensor
    drawn_class: Tensor


def cut_patches(
    images: Sequence[Tensor], labels: Sequence[Tensor], patches: Patches, size: int
) -> Batch:
    """Cut, turn and mirror patches of `size` pixels a side out of slices (C, H, W) uint8 and (H, W) uint8.

    The images of the batch are uint8 still.
    """
    cut_images, cut_labels = [], []
    for i in range(len(patches)):
        index, row, column = patches.index[i], int(patches.row[i]), int(patches.column[i])
        turns, mirrored = int(patches.quarter_turns[i]), []
        mirrored = [
            axis for axis, on in ((-1, patches.flip_columns[i]), (-2, patches.flip_rows[i])) if on
        ]
        image = images[index][:, row : row + size, column : column + size]
        label = labels[index][row : row + size, column : column + size]
        cut_images.append(image.rot90(turns, (-2, -1)).flip(mirrored))
        cut_labels.append(label.rot90(turns, (-2, -1)).flip(mirrored))
    pixels, classes = torch.stack(cut_images), torch.stack(cut_labels)
    drawn = torch.as_tensor(patches.drawn_class, device=classes.device)
    return Batch(pixels, classes.long(), drawn)


def filtered_ahead(batches: Iterator[Batch], patch_filter: PatchFilter) -> Iterator[Batch]:
    """Batches of one channel, uint8 on the host -> the same with their filtered channels, in the same order.

    The workers are kept busy with the next batches while one is in use.
    """
    waiting: deque[tuple[Batch, Future[NDArray[np.uint8]]]] = deque()
    for batch in batches:
        waiting.append((batch, patch_filter.submit(batch.images[:, 0].numpy())))
        if len(waiting) > 2 * patch_filter.processes:
            yield _with_channels(*waiting.popleft())
    while waiting:
        yield _with_channels(*waiting.popleft())


def _with_channels(batch: Batch, future: Future[NDArray[np.uint8]]) -> Batch:
    return batch._replace(images=torch.from_numpy(channels_of(future)))


class PatchBatches(IterableDataset[Batch]):
    """Batches of one pass; `draw` gives the patches of that pass."""

    def __init__(
        self,
        images: list[Tensor],
        labels: list[Tensor],
        draw: Callable[[], Patches],
        size: int,
        batches: int,
        patch_filter: PatchFilter | None,
    ):
        self.images, self.labels, self.draw, self.size, self.batches = (
            images,
            labels,
            draw,
            size,
            batches,
        )
        self.patch_filter = patch_filter

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        patches = self.draw()
        parts = np.array_split(np.arange(len(patches)), self.batches)
        raw = (
            cut_patches(self.images, self.labels, take(patches, part), self.size) for part in parts
        )
        for batch in raw if self.patch_filter is None else filtered_ahead(raw, self.patch_filter):
            yield batch._replace(images=batch.images.float().mul_(1 / 255))


def take(patches: Patches, which: NDArray[np.int64]) -> Patches:
    """Some of the patches, in the order of `which`."""
    return Patches(**{name: values[which] for name, values in vars(patches).items()})


class StackDataModule(LightningDataModule):
    """Training patches drawn anew each epoch from (seed, epoch), and validation patches drawn once (unless fresh).

    The patch stream depends on the seed, the epoch, the labels and the patch size alone, so that runs of other models
    and filters see the same patches and can be compared in pairs. Slices stay on the training device as uint8.
    """

    def __init__(
        self,
        train: Sequence[AnnotatedSlice],
        validation: Sequence[AnnotatedSlice],
        window: GreyRange,
        areas: Sequence[int],
        filter_scope: str,
        patch_size: int,
        class_share: float,
        batch_size: int,
        batches: int,
        validation_batches: int,
        validation_seed: int,
        fresh_validation: bool,
        seed: int,
        cache: Path | None = None,
        processes: int = 1,
        report: Report | None = None,
    ):
        """Keep the slices; nothing is filtered before `setup`.

        Args:
            train: annotated slices.
            validation: annotated slices.
            window: grey values that become 0 and 255, see intensity.Window.
            areas: of the grain filter in pixels, one channel each.
            filter_scope: what is filtered: "slice", once, or "patch", each patch anew (by worker processes).
            patch_size: side of a patch in pixels.
            class_share: share of patches that are centred on a class (.8 in the paper).
            batch_size: patches in a mini-batch.
            batches: training mini-batches of one epoch.
            validation_batches: validation mini-batches of one epoch.
            validation_seed: of the fixed validation patches; the same for every run that shall be compared.
            fresh_validation: draw and turn other validation patches in each epoch, as the authors' code does.
            seed: of the training patches.
            cache: folder of filtered slices.
            processes: that filter.
            report: called with (slices done, slices in all) while filtering.

        Raises:
            FibsegError: a patch is larger than a slice.
        """
        super().__init__()
        self._slices = {"train": train, "validation": validation}
        self._window, self._areas, self._cache = window, list(areas), cache
        self._processes, self._report = processes, report
        self._by_patch = bool(areas) and filter_scope == "patch"
        self._patch_filter: PatchFilter | None = None
        self._samplers = {
            split: PatchSampler([one.labels for one in slices], patch_size, class_share)
            for split, slices in self._slices.items()
        }
        self._patch_size, self._batch_size, self._seed = patch_size, batch_size, seed
        self._batches = {"train": batches, "validation": validation_batches}
        self._validation_seed, self._fresh_validation = validation_seed, fresh_validation
        self._on_device: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def setup(self, stage: str) -> None:
        """Filter the slices and put them on the training device."""
        if self._by_patch and self._patch_filter is None:
            self._patch_filter = PatchFilter(self._areas, self._processes)
        if self._on_device:
            return
        images = {
            s: [to_8bit(one.image, self._window) for one in slices]
            for s, slices in self._slices.items()
        }
        flat = [image for split in images.values() for image in split]
        areas = [] if self._by_patch else self._areas
        channels = iter(slice_channels(flat, areas, self._cache, self._processes, self._report))
        device = self._device(sum(image.nbytes for image in flat) * (2 + len(self._areas)))
        for split, slices in self._slices.items():
            pixels = [torch.from_numpy(next(channels)).to(device) for _ in slices]
            self._on_device[split] = (
                pixels,
                [torch.from_numpy(one.labels).to(device) for one in slices],
            )

    def teardown(self, stage: str) -> None:
        """End the processes that filter patches."""
        if self._patch_filter is not None:
            self._patch_filter.close()
            self._patch_filter = None

    def on_exception(self, exception: BaseException) -> None:
        """Lightning tears no data module down after an error."""
        self.teardown("fit")

    def _device(self, needed: int) -> torch.device:
        """The training device; the host for patches still to filter, or if half its free memory is too little."""
        if self._by_patch:
            return torch.device("cpu")
        device = (
            self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        )
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] / 2:
            return torch.device("cpu")
        return device

    def draw(self, split: str, epoch: int) -> Patches:
        """The patches of one epoch; those of validation do not depend on it, unless they shall be fresh."""
        count = self._batches[split] * self._batch_size
        if split == "train":
            return self._samplers[split].draw(count, (0, self._seed, epoch), augment=True)
        fresh = self._fresh_validation
        seed = (1, self._validation_seed, epoch) if fresh else (1, self._validation_seed)
        return self._samplers[split].draw(count, seed, augment=fresh)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the trainer's current epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation batches."""
        return self._loader("validation")

    def _loader(self, split: str) -> DataLoader[Batch]:
        images, labels = self._on_device[split]
        draw = lambda: self.draw(
            split, self.trainer.current_epoch if self.trainer is not None else 0
        )  # noqa: E731
        size, count = self._patch_size, self._batches[split]
        batches = PatchBatches(images, labels, draw, size, count, self._patch_filter)
        own = (
            torch.Generator()
        )  # a DataLoader draws a number per pass, else from the global generator of the dropout
        return DataLoader(batches, batch_size=None, generator=own)
