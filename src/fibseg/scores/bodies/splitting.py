"""Objects divided at their necks, with the numbers of their parts on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from fibseg.arrays import Pixels
from fibseg.files import require_disk
from fibseg.scores.bodies.boxes import LARGEST_BOX, object_masks
from fibseg.scores.bodies.necks import split_at_necks
from fibseg.scores.bodies.numbered import NumberedObjects


def split_objects(
    objects: NumberedObjects, share: float, folder: Path, largest: int = LARGEST_BOX
) -> Callable[[int], Pixels]:
    """Divide objects at necks of at most `share` of their thickness; see `split_at_necks`.

    Args:
        objects: connected ones.
        share: between 0 and 1.
        folder: for a file without a name of 4 bytes for each voxel, which ends with its last use.
        largest: voxels of the largest box of an object that is divided; larger ones stay whole.

    Returns:
        z -> (H, W) uint32 numbers of the parts.

    Raises:
        FibsegError: the disk has no room for the file.
    """
    require_disk(folder, 4.0 * float(np.prod(objects.shape)), "dividing objects")
    # It has no name, so that nothing is left of it, however the process ends.
    with TemporaryFile(dir=folder) as file:
        # Numbers of whole objects first, of which the parts take others: too large ones stay.
        # Written and not only mapped, so that a full disk is an error and no crash.
        for numbers in objects.instances():
            file.write(numbers.astype(np.uint32).tobytes())
        file.flush()
        # The map keeps the file when it is closed.
        parts = np.memmap(file, np.uint32, "r+", shape=objects.shape)
    highest = objects.count
    for entry in object_masks(objects, largest):
        divided = split_at_necks(entry.mask, objects.spacing, share)
        count = int(divided.max())
        if count < 2:
            continue
        place = tuple(
            slice(start, start + size)
            for start, size in zip(entry.low, entry.mask.shape, strict=True)
        )
        box = parts[place]
        box[entry.mask] = divided[entry.mask] + highest
        highest += count

    def read(z: int) -> Pixels:
        return np.array(parts[z])

    return read
