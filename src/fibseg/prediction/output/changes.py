"""What has changed since slices were labelled: the image, the model, a setting."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from fibseg.arrays import Pixels
from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.prediction.intensity import tissue_outside
from fibseg.stack import Stack, read_finite, read_neighbours, read_notes

# The labeller asks this module for digests.
if TYPE_CHECKING:
    from fibseg.models.trained import TrainedModel
    from fibseg.prediction.labeller import Labeller

_MOST_NAMED = 10
"""Slices that a message names."""

_LONGEST_VALUE = 40
"""Letters of a value that a message repeats."""

OLDER_IDENTITY = {"intensity": "training", "zarr": "0.4"}
"""What held of an output that was begun before identities said it."""

READER_THREADS = 2
"""Threads that read slices, ahead of the network or to compare them."""


@dataclass(frozen=True)
class SliceChanges:
    """Slices of an image against the digests that were kept when they were labelled.

    Attributes:
        same: slices with the pixels that were labelled -> share of them outside the grey range.
        changed: slices that have other pixels, or whose neighbours have.
        unreadable: slices that cannot be read now, about which nothing is known.
        own_pixels: number of those changed ones that have the pixels that were labelled.
    """

    same: dict[int, float]
    changed: list[int]
    unreadable: list[int]
    own_pixels: int = 0

    @property
    def other_image(self) -> bool:
        """Whether no slice is what it was: the image is another one, not one that was mended."""
        return bool(self.changed) and not self.same and not self.own_pixels


def compare_slices(
    digests: Mapping[int, str], stack: Stack, grey_range: GreyRange, context: int = 0
) -> SliceChanges:
    """Compare slices with their digests, position -> `slice_digest`; each of them is read.

    Size and time of a file say too little: a copy may keep the time, and a slice that is replaced
    by its neighbour keeps the size.

    Args:
        digests: of the slices, and of `context` neighbours on each side.
        stack: the image.
        grey_range: outside of which pixels are counted.
        context: slices on each side that a network saw with a slice.

    """

    def read(z: int) -> tuple[str, float] | None:
        try:
            image = read_finite(stack, z)
        except FibsegError:
            return None
        around = read_neighbours(stack, z, context, stand_in=image)
        return slice_digest(image, around), tissue_outside(image, grey_range)

    same: dict[int, float] = {}
    changed = []
    unreadable = []
    own_pixels = 0
    with ThreadPoolExecutor(READER_THREADS) as readers:
        # `map` drops what is waiting when this thread is interrupted.
        for z, facts in zip(digests, readers.map(read, digests), strict=True):
            if facts is None:
                unreadable.append(z)
            elif facts[0] == digests[z]:
                same[z] = facts[1]
            else:
                changed.append(z)
                own_pixels += facts[0].split("+")[0] == digests[z].split("+")[0]
    return SliceChanges(same, changed, unreadable, own_pixels)


def pixel_digest(image: Pixels) -> str:
    """Hash a slice's pixels to 16 hexadecimal digits."""
    # The same bytes for a view as for its copy.
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def slice_digest(image: Pixels, around: Sequence[Pixels]) -> str:
    """Hash a slice, and behind a + the neighbours that a network sees with it, where it does."""
    alone = pixel_digest(image)
    return f"{alone}+{pixel_digest(np.stack(around))}" if around else alone


def report_changes(changes: SliceChanges, console: Console) -> None:
    """Print which slices have changed since they were labelled, and which could not be compared."""
    if changes.changed:
        console.print(
            f"slices {brief_list(changes.changed)} have changed since they were labelled; "
            "they are labelled again"
        )
    if changes.unreadable:
        console.print(
            f"warning: slices {brief_list(changes.unreadable)} cannot be read now; "
            "their labels stay as they were."
        )


def brief_list(positions: Sequence[int]) -> str:
    """Write positions for a message, the first ones where there are many.

    >>> brief_list([3, 5]), brief_list(range(100))
    ('3, 5', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 others')
    """
    names = ", ".join(str(z) for z in positions[:_MOST_NAMED])
    left = len(positions) - _MOST_NAMED
    return f"{names} and {left} others" if left > 0 else names


def differences(before: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Name what differs between the identity of an output and that of now, with short values."""
    # A file of an older version says nothing of the type of the image.
    before = {"dtype": identity.get("dtype"), **OLDER_IDENTITY, **before}
    now = {**OLDER_IDENTITY, **identity}
    texts = []
    for key in sorted(before.keys() | now.keys()):
        values = [before.get(key), now.get(key)]
        if values[0] == values[1]:
            continue
        is_short = key != "models" and max(len(str(value)) for value in values) <= _LONGEST_VALUE
        texts.append(f"{key} ({values[0]}, now {values[1]})" if is_short else key)
    return texts


def refuse_place_of_image(output: Path, image: str) -> None:
    """Refuse an output that would replace the image, or become one of its slices.

    Raises:
        FibsegError: the output is the image or lies within it.
    """
    place = Path(image).resolve()
    target = output.resolve()
    # A Zarr store holds its arrays, and may be named by one of them.
    inside = place in target.parents and place.suffix.lower() == ".zarr"
    if target == place or inside or target in place.parents:
        raise FibsegError(f"{output}: is the image {image}, or lies in it; give another place.")
    is_file = target.suffix.lower() != ".zarr"
    # A name with brackets in it may be a file, and no pattern.
    in_pattern = not place.exists() and fnmatch(str(target), str(place))
    if is_file and (target.parent == place or in_pattern):
        raise FibsegError(
            f"{output}: would be one of the slices of {image} the next time; give another place."
        )


def notes_of(path: Path) -> dict[str, Any]:
    """Read the notes of an output that exists; none otherwise."""
    return (read_notes(path) or {}) if path.exists() else {}


def labeller_identity(
    labeller: Labeller,
    stack: Stack,
    voxel_size: list[float] | None,
    intensity: str = "training",
    originals: Sequence[TrainedModel] = (),
    sampled: str = "",
) -> dict[str, Any]:
    """List what outputs depend on beside the pixels; another identity is not resumed.

    Args:
        labeller: what labels a slice.
        stack: the image.
        voxel_size: (z, y, x) in nm; None where it is unknown.
        intensity: whose grey range the models have, one of `fibseg.models.kinds.INTENSITIES`.
        originals: the models before they took statistics of the stack; none where they did not.
        sampled: digest of the pixels whose statistics they took.
    """
    # Ranges of single slices follow from the pixels, which are compared by themselves.
    own_range = intensity == "own"
    identity = {
        "models": [model_digest(model, not own_range) for model in originals or labeller.models],
        "windows": str(labeller.windows),
        "turned": labeller.turned,
        "precision": labeller.compute.precision,
        "scale": list(labeller.scale),
        "layers": list(labeller.layers),
        "shape": list(stack.shape),
        "dtype": str(stack.dtype),
        "voxel_size": voxel_size,
        "intensity": intensity,
    }
    if labeller.objects is not None:
        identity["objects"] = asdict(labeller.objects)
    if sampled:
        identity["statistics"] = sampled
    if own_range:
        ranges = [model.grey_range for model in labeller.models]
        # A sample of the stack gave them: a slice that is replaced may change them, and all labels.
        identity["grey"] = [[grey.low, grey.high] for grey in ranges]
    return identity


def model_digest(model: TrainedModel, with_grey: bool = True) -> str:
    """Hash weights, filter and label values, and the grey range, to 16 hexadecimal digits."""
    grey = model.grey_range
    # The text of earlier versions, so that an output that they began is resumed.
    window = f"Window(low={grey.low!r}, high={grey.high!r}, percentiles={grey.percentiles!r})"
    facts = (
        f"({window if with_grey else grey.percentiles}, {list(model.channels.areas)!r}, "
        f"{model.channels.scope!r}, {list(model.label_values)!r})"
    )
    # Not for a plain one, so that outputs that earlier versions began are resumed.
    if model.decision is not None and not model.decision.is_plain:
        facts += f"({list(model.decision.offsets)!r}, {model.decision.temperature!r})"
    if model.decision is not None and any(model.decision.smallest):
        facts += f"(smallest {list(model.decision.smallest)!r})"
    if model.channels.context:
        facts += f"(context {model.channels.context})"
    digest = hashlib.sha256(facts.encode())
    for name, weights in model.network.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
