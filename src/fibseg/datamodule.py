"""The LightningDataModule: annotated slices -> filter channels -> batches of patches, on the training device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from fibseg.dataset import AnnotatedSlice, to_8bit
from fibseg.grain_filter import filter_slices
from fibseg.patches import Patches, PatchSampler

Report = Callable[[int, int], None]


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


def slice_channels(
    images: Sequence[NDArray[np.uint8]],
    areas: Sequence[int],
    cache: Path | None,
    processes: int,
    report: Report | None = None,
) -> list[NDArray[np.uint8]]:
    """8-bit slices (H, W) -> their channels (1 + len(areas), H, W): the slice, then one filtered version per area."""
    if not areas:
        return [image[None] for image in images]
    filtered = filter_slices(images, areas, cache, processes, report)
    return [np.concatenate([image[None], more]) for image, more in zip(images, filtered, strict=True)]


def cut(images: Sequence[Tensor], labels: Sequence[Tensor], patches: Patches, size: int) -> Batch:
    """Cut, turn and mirror patches of `size` pixels a side out of slices (C, H, W) uint8 and (H, W) uint8."""
    cut_images, cut_labels = [], []
    for i in range(len(patches)):
        index, row, column = patches.index[i], int(patches.row[i]), int(patches.column[i])
        turns, mirrored = int(patches.quarter_turns[i]), []
        mirrored = [axis for axis, on in ((-1, patches.flip_columns[i]), (-2, patches.flip_rows[i])) if on]
        image = images[index][:, row : row + size, column : column + size]
        label = labels[index][row : row + size, column : column + size]
        cut_images.append(image.rot90(turns, (-2, -1)).flip(mirrored))
        cut_labels.append(label.rot90(turns, (-2, -1)).flip(mirrored))
    pixels, classes = torch.stack(cut_images), torch.stack(cut_labels)
    drawn = torch.as_tensor(patches.drawn_class, device=classes.device)
    return Batch(pixels.float().mul_(1 / 255), classes.long(), drawn)


class PatchBatches(IterableDataset[Batch]):
    """Batches of one pass; `draw` gives the patches of that pass."""

    def __init__(
        self, images: list[Tensor], labels: list[Tensor], draw: Callable[[], Patches], size: int, batches: int
    ):
        self.images, self.labels, self.draw, self.size, self.batches = images, labels, draw, size, batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        patches = self.draw()
        for part in np.array_split(np.arange(len(patches)), self.batches):
            yield cut(self.images, self.labels, take(patches, part), self.size)


def take(patches: Patches, which: NDArray[np.int64]) -> Patches:
    """Some of the patches, in the order of `which`."""
    return Patches(**{name: values[which] for name, values in vars(patches).items()})


class StackDataModule(LightningDataModule):
    """Training patches drawn anew each epoch from (seed, epoch), and validation patches drawn once.

    The patch stream depends on the seed, the epoch, the labels and the patch size alone, so that runs of other models
    and filters see the same patches and can be compared in pairs. Slices stay on the training device as uint8.
    """

    def __init__(
        self,
        train: Sequence[AnnotatedSlice],
        validation: Sequence[AnnotatedSlice],
        window: tuple[float, float],
        areas: Sequence[int],
        patch_size: int,
        class_share: float,
        batch_size: int,
        batches: int,
        validation_batches: int,
        validation_seed: int,
        seed: int,
        cache: Path | None = None,
        processes: int = 1,
        report: Report | None = None,
    ):
        """Keep the slices; nothing is filtered before `setup`.

        Args:
            train: annotated slices.
            validation: annotated slices.
            window: grey values that become 0 and 255, see dataset.intensity_window.
            areas: of the grain filter in pixels, one channel each.
            patch_size: side of a patch in pixels.
            class_share: share of patches that are centred on a class (.8 in the paper).
            batch_size: patches in a mini-batch.
            batches: training mini-batches of one epoch.
            validation_batches: validation mini-batches of one epoch.
            validation_seed: of the fixed validation patches; the same for every run that shall be compared.
            seed: of the training patches.
            cache: folder of filtered slices.
            processes: that filter slices.
            report: called with (slices done, slices in all) while filtering.

        Raises:
            FibsegError: a patch is larger than a slice.
        """
        super().__init__()
        self._slices = {"train": train, "validation": validation}
        self._window, self._areas, self._cache, self._processes, self._report = window, areas, cache, processes, report
        self._samplers = {
            split: PatchSampler([one.labels for one in slices], patch_size, class_share)
            for split, slices in self._slices.items()
        }
        self._patch_size, self._batch_size, self._seed = patch_size, batch_size, seed
        self._batches = {"train": batches, "validation": validation_batches}
        self._validation_seed = validation_seed
        self._on_device: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def setup(self, stage: str) -> None:
        """Filter the slices and put them on the training device."""
        if self._on_device:
            return
        images = {s: [to_8bit(one.image, self._window) for one in slices] for s, slices in self._slices.items()}
        flat = [image for split in images.values() for image in split]
        channels = iter(slice_channels(flat, self._areas, self._cache, self._processes, self._report))
        device = self._device(sum(image.nbytes for image in flat) * (2 + len(self._areas)))
        for split, slices in self._slices.items():
            pixels = [torch.from_numpy(next(channels)).to(device) for _ in slices]
            self._on_device[split] = pixels, [torch.from_numpy(one.labels).to(device) for one in slices]

    def _device(self, needed: int) -> torch.device:
        """The training device, or the host where `needed` bytes would take over half of its free memory."""
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] / 2:
            return torch.device("cpu")
        return device

    def draw(self, split: str, epoch: int) -> Patches:
        """The patches of one epoch; those of validation do not depend on it."""
        count = self._batches[split] * self._batch_size
        if split == "train":
            return self._samplers[split].draw(count, (0, self._seed, epoch), augment=True)
        return self._samplers[split].draw(count, (1, self._validation_seed), augment=False)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the trainer's current epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """The fixed validation batches."""
        return self._loader("validation")

    def _loader(self, split: str) -> DataLoader[Batch]:
        images, labels = self._on_device[split]
        draw = lambda: self.draw(split, self.trainer.current_epoch if self.trainer is not None else 0)  # noqa: E731
        batches = PatchBatches(images, labels, draw, self._patch_size, self._batches[split])
        own = torch.Generator()  # a DataLoader draws a number per pass, else from the global generator of the dropout
        return DataLoader(batches, batch_size=None, generator=own)
