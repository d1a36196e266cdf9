"""The LightningDataModule: annotated slices -> filter channels -> batches of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from fibseg.data.augmentation import Generators, augmentation_generators, augmented
from fibseg.data.grey import GreyRange
from fibseg.data.patches import Batch, PatchBatches, SlicePixels, bytes_of_pixel
from fibseg.data.sampling import Augmentation, Patches, PatchSampler
from fibseg.data.volume import AnnotatedSlice
from fibseg.filters.channels import Channels
from fibseg.filters.patches import PatchFilter
from fibseg.filters.slices import Progress, slice_channels


@dataclass(frozen=True)
class PatchPlan:
    """Which patches a training sees.

    Attributes:
        size: side of a patch in pixels.
        class_share: share of the patches that are centred on a class (.8 in the paper).
        batch_size: patches in a mini-batch.
        batches: training mini-batches of one epoch.
        validation_batches: validation mini-batches of one epoch.
        seed: of the training patches.
        validation_seed: of the validation patches; the same for runs that shall be compared.
        fresh_validation: draw and turn new validation patches in each epoch, as the authors' code
            does; else they are drawn once.
        augmentation: how training patches are changed; None for turns and flips alone.
        objects: whether patches have the numbers of their objects.
    """

    size: int
    class_share: float
    batch_size: int
    batches: int
    validation_batches: int
    seed: int
    validation_seed: int
    fresh_validation: bool
    augmentation: Augmentation | None = None
    objects: bool = False


class StackDataModule(LightningDataModule):
    """Training patches drawn anew each epoch from (seed, epoch), and validation patches.

    The patch stream depends on the seed, the epoch, the labels and the patch size alone, so that
    runs of other models and filters see the same patches and can be compared in pairs. Slices stay
    on the training device as uint8.
    """

    def __init__(
        self,
        slices: dict[str, Sequence[AnnotatedSlice]],
        grey_range: GreyRange,
        channels: Channels,
        plan: PatchPlan,
        cache: Path | None = None,
        filter_threads: int = 1,
        progress: Progress = None,
    ):
        """Keep the slices; nothing is filtered before `setup`.

        Args:
            slices: annotated slices under "train" and "validation".
            grey_range: grey values that become 0 and 255.
            channels: what the network sees of a slice.
            plan: which patches are drawn.
            cache: folder of filtered slices; None keeps none.
            filter_threads: slices or patches that are filtered at a time.
            progress: called with (slices done, slices in all) while slices are filtered.

        Raises:
            FibsegError: a patch is larger than a slice.
        """
        super().__init__()
        self._slices = {split: slices[split] for split in ("train", "validation")}
        self._grey_range = grey_range
        self._channels = channels
        self._plan = plan
        self._cache = cache
        self._filter_threads = filter_threads
        self._progress = progress
        self._patch_filter: PatchFilter | None = None
        self._samplers = {
            split: PatchSampler(
                [annotated.labels for annotated in split_slices], plan.size, plan.class_share
            )
            for split, split_slices in self._slices.items()
        }
        self._batches = {"train": plan.batches, "validation": plan.validation_batches}
        self._on_device: dict[str, SlicePixels] = {}
        self._generators: Generators | None = None

    def setup(self, stage: str) -> None:
        """Filter the slices and put them on the training device."""
        if self._channels.by_patch and self._patch_filter is None:
            self._patch_filter = PatchFilter(self._channels.areas, self._filter_threads)
        # Lightning may call this more than once.
        if self._on_device:
            return
        images = [
            annotated.pictures(self._grey_range)
            for split_slices in self._slices.values()
            for annotated in split_slices
        ]
        channels = slice_channels(
            images,
            self._channels.slice_areas,
            self._cache,
            threads=self._filter_threads,
            progress=self._progress,
        )
        pixels = iter(channels)
        pixel_bytes = bytes_of_pixel(self._channels.count) + 4 * self._plan.objects
        needed = sum(image[0].size for image in images) * pixel_bytes
        device = self._device(needed)
        for split, split_slices in self._slices.items():
            self._on_device[split] = SlicePixels(
                images=[next(pixels) for _ in split_slices],
                labels=[item.labels for item in split_slices],
                device=device,
                objects=[item.objects for item in split_slices if item.objects is not None]
                if self._plan.objects
                else None,
            )

    def pixels(self, split: str) -> SlicePixels:
        """Give the slices of a split as they lie on the device, after `setup`."""
        return self._on_device[split]

    def teardown(self, stage: str) -> None:
        """End the threads that filter patches."""
        if self._patch_filter is not None:
            self._patch_filter.close()
            self._patch_filter = None

    def on_exception(self, exception: BaseException) -> None:
        """Tear down after an error too, which Lightning does not do for data modules."""
        self.teardown("fit")

    def _device(self, needed: int) -> torch.device:
        """Choose the device of the slices: the training device, unless it has too little memory.

        Patches that are still to be filtered stay on the host.
        """
        if self._channels.by_patch or self.trainer is None:
            return torch.device("cpu")
        device = self.trainer.strategy.root_device
        # Half of what is free: the other half is for the network.
        if device.type == "cuda" and needed > torch.cuda.mem_get_info(device)[0] / 2:
            return torch.device("cpu")
        return device

    def draw(self, split: str, epoch: int) -> Patches:
        """Draw the patches of an epoch; fixed validation patches do not depend on it."""
        count = self._batches[split] * self._plan.batch_size
        if split == "train":
            # 0 and 1 keep the streams apart where both seeds are equal.
            return self._samplers[split].draw(count, (0, self._plan.seed, epoch), augment=True)
        fresh = self._plan.fresh_validation
        seed = (1, self._plan.validation_seed, *([epoch] if fresh else []))
        return self._samplers[split].draw(count, seed, augment=fresh)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Change the patches of a training batch, on the device."""
        settings = self._plan.augmentation
        if settings is None or self.trainer is None or not self.trainer.training:
            return batch
        if self._generators is None:
            seeds = (self._plan.seed, self.trainer.current_epoch)
            self._generators = augmentation_generators(batch.images.device, *seeds)
        return augmented(batch, settings, self._generators)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Load the batches of the trainer's current epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Load the validation batches."""
        return self._loader("validation")

    def _loader(self, split: str) -> DataLoader[Batch]:
        def draw() -> Patches:
            self._generators = None  # each pass has one of its own
            return self.draw(split, self.trainer.current_epoch if self.trainer is not None else 0)

        batches = PatchBatches(
            slices=self._on_device[split],
            draw=draw,
            size=self._plan.size,
            batches=self._batches[split],
            patch_filter=self._patch_filter,
        )
        # A DataLoader draws a number for each pass, from the generator of the dropout unless it has
        # its own. batch_size=None hands batches on as they are, without a copy.
        return DataLoader(batches, batch_size=None, generator=torch.Generator())
