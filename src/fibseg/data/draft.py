"""A data description drafted from files, with comments, for a person to finish."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.stack import Stack

_SPLIT_SHARES = {"validation": 0.2, "test": 0.2}
"""Share of the annotated slices that is proposed for a split; the rest are for training."""

MOST_LABEL_VALUES = 24
"""Labels with more values than this hold objects with a number each, not classes."""


@dataclass(frozen=True)
class Draft:
    """What is in the files of a data description.

    Attributes:
        depth: slices of the image.
        label_depth: slices of the labels.
        offset: (z, y, x) in pixels where the labels start in the image.
        voxel_size: (z, y, x) in nm, None where neither file has it.
        values: label value -> its share of all label pixels.
        annotated: slices of the image in which there is a class.
        positions: split -> proposed slices.
    """

    depth: int
    label_depth: int
    offset: list[int]
    voxel_size: list[float] | None
    values: dict[int, float]
    annotated: list[int]
    positions: dict[str, list[int]]


def draft_from_stacks(
    image: Stack,
    labels: Stack,
    offset: Sequence[int],
    voxel_size: Sequence[float] | None,
    named_values: Container[int] = (),
) -> Draft:
    """Read labels slice by slice and propose splits.

    A slice counts as annotated where any class is in it.

    Args:
        image: stack of grey values.
        labels: stack of label values; it may be smaller than the image.
        offset: (z, y, x) in pixels where the labels start in the image.
        voxel_size: (z, y, x) in nm; without it, that of the image, else that of the labels.
        named_values: label values that have a class name. Every value but 0 and 255 is a class, and
            255 if it is named.

    Returns:
        What a description of these files says.

    Raises:
        FibsegError: the labels lie outside the image, hold nothing, or hold instances.
    """
    # NaN fails this as well: it compares false with everything.
    if voxel_size is not None and not all(0 < size < float("inf") for size in voxel_size):
        raise FibsegError(f"--voxel-size: {list(voxel_size)}; expected three sizes above 0, in nm.")
    if labels.dtype.kind not in "uib":
        raise FibsegError(f"{labels.name}: values of type {labels.dtype}; labels are integers.")
    _check_inside_image(image, labels, offset)
    values, annotated = _read_values(labels, named_values)
    # Slices are counted in the image from here on, as in a description.
    annotated = [z + offset[0] for z in annotated]
    # Label programs often lose the voxel size, so the image's goes first.
    known_size = voxel_size or image.voxel_size or labels.voxel_size
    return Draft(
        depth=image.shape[0],
        label_depth=labels.shape[0],
        offset=list(offset),
        voxel_size=list(known_size) if known_size else None,
        values=values,
        annotated=annotated,
        positions=proposed_splits(annotated),
    )


def _check_inside_image(image: Stack, labels: Stack, offset: Sequence[int]) -> None:
    sides = zip("zyx", offset, labels.shape, image.shape, strict=True)
    for axis, start, size, image_size in sides:
        if start < 0 or start + size > image_size:
            raise FibsegError(
                f"{labels.name}: shape {labels.shape} at offset {list(offset)} lies outside "
                f"the image {image.shape} along {axis}; say where the labels start with "
                "--offset z,y,x."
            )


def _read_values(labels: Stack, named_values: Container[int]) -> tuple[dict[int, float], list[int]]:
    """Read the share of each label value, and the slices of the labels that hold a class."""
    counts: dict[int, int] = {}
    annotated = []
    for z in range(labels.shape[0]):
        values, numbers = np.unique(labels.read(z), return_counts=True)
        slice_counts = {
            int(value): count
            for value, count in zip(values.tolist(), numbers.tolist(), strict=True)
        }
        for value, count in slice_counts.items():
            counts[value] = counts.get(value, 0) + count
        if _class_values(slice_counts, named_values):
            annotated.append(z)
        # Within the loop: labels with millions of objects would fill the memory.
        if len(counts) > MOST_LABEL_VALUES:
            raise FibsegError(
                f"{labels.name}: over {MOST_LABEL_VALUES} label values: "
                "objects with a number each, not classes?"
            )
    if not annotated:
        hint = f"; if {IGNORE} is a class, give --class NAME={IGNORE}" if IGNORE in counts else ""
        raise FibsegError(
            f"{labels.name}: nothing but 0 and {IGNORE}; there is no annotation{hint}."
        )
    if len(annotated) < 2:
        raise FibsegError(
            f"{labels.name}: one annotated slice; "
            "at least two are needed, to train and to validate."
        )
    total = sum(counts.values())
    return {value: counts[value] / total for value in sorted(counts)}, annotated


def _class_values(values: Mapping[int, float], named_values: Container[int]) -> list[int]:
    """Keep the values of classes: 0 is background, and 255 is unannotated unless it has a name."""
    return [value for value in values if value != 0 and (value != IGNORE or IGNORE in named_values)]


def proposed_splits(annotated: Sequence[int]) -> dict[str, list[int]]:
    """Divide slices into blocks along z: training, validation, and test from three slices on.

    >>> proposed_splits([0, 5, 10, 15, 20])
    {'train': [0, 5, 10], 'validation': [15], 'test': [20]}
    """
    # Blocks and not every third slice: neighbours look alike, so mixed splits would leak.
    count = len(annotated)
    # At least one slice to validate on, since a training keeps the weights of its best validation.
    validation = max(1, round(_SPLIT_SHARES["validation"] * count))
    test = max(1, round(_SPLIT_SHARES["test"] * count)) if count > 2 else 0
    train = count - validation - test
    positions = {
        "train": list(annotated[:train]),
        "validation": list(annotated[train : train + validation]),
    }
    if test:
        positions["test"] = list(annotated[train + validation :])
    return positions


def compact_slices(positions: Sequence[int]) -> str:
    """Write slices as YAML, as short as a description allows.

    >>> compact_slices([0, 5, 10]), compact_slices([3, 4, 5])
    ('["0:11:5"]', '["3:6"]')
    >>> compact_slices([7]), compact_slices([1, 2, 9])
    ('[7]', '[1, 2, 9]')
    """
    # Two slices are shorter as a list than as a range.
    steps = set(np.diff(positions).tolist())
    if len(positions) < 3 or len(steps) != 1:
        return str(list(positions))
    (step,) = steps
    return f'["{positions[0]}:{positions[-1] + 1}{"" if step == 1 else f":{step}"}"]'


@dataclass(frozen=True)
class DraftNames:
    """What a person calls the parts of a draft.

    Attributes:
        name: of the data description.
        image: path of the image.
        labels: path of the labels.
        classes: label value -> name of its class; the others are called class1, class2, ...
    """

    name: str
    image: str
    labels: str
    classes: Mapping[int, str]


def write_description(path: Path, draft: Draft, names: DraftNames) -> None:
    """Write a draft as YAML.

    Paths of image and labels are made absolute, since the description may lie anywhere.
    """
    values = _class_values(draft.values, names.classes)
    classes = "".join(
        f"  {yaml_text(names.classes.get(value, f'class{number}'))}: "
        f"{{label: {value}, weight: 1.0}}   # {draft.values[value]:.2%} of all label pixels\n"
        for number, value in enumerate(values, 1)
    )
    split = ", ".join(
        f"{split}: {compact_slices(slices)}" for split, slices in draft.positions.items()
    )
    has_unannotated = IGNORE in draft.values and IGNORE not in names.classes
    # Written as text, since yaml.dump writes no comments.
    write_whole(
        path,
        f"# {names.name}: drafted by `fibseg new`; read every line, then `fibseg check {path}`.\n"
        f"name: {yaml_text(names.name)}\n"
        "root: .                         # of paths that do not begin with /\n"
        "classes:                        # weight: of the class in the loss; "
        "a rare class may take more\n"
        f"{classes}"
        "background: {labels: [0], weight: 0.1}     "
        "# annotated values that are none of the classes\n"
        f"ignore: {IGNORE if has_unannotated else 'null'}                      "
        "# value of unannotated pixels, or null\n"
        "intensity: {low: 0.1, high: 99.9, per: stack}   "
        "# per: slice where brightness drifts along z\n"
        "volumes:\n"
        f"  - image: {_absolute(names.image)}\n"
        f"    labels: {_absolute(names.labels)}\n"
        f"    offset: {draft.offset}           # where the labels start in the image: z, y, x\n"
        f"    voxel_size: {draft.voxel_size or '???'}       # z, y, x in nm\n"
        f"    # {len(draft.annotated)} slices hold labels. "
        "Neighbours look alike: leave slices between the splits.\n"
        f"    split: {{{split}}}\n"
        "phantom: null\n",
    )


def _absolute(path: str) -> str:
    # pathlib would make https:/host of https://host.
    return yaml_text(path if "://" in path else str(Path(path).absolute()))


def yaml_text(text: str) -> str:
    """Write text so that YAML reads it as the same text: plain where that is safe, else in quotes.

    >>> yaml_text("er"), yaml_text("no"), yaml_text("a: b")
    ('er', '"no"', '"a: b"')
    """
    try:
        # YAML reads "no", "null" and "12" as other things than text.
        plain = bool(re.fullmatch(r"[\w./ -]+", text)) and yaml.safe_load(f"{text}: 0") == {text: 0}
    except yaml.YAMLError:
        plain = False
    # Quotes of JSON are quotes of YAML, too.
    return text if plain else json.dumps(text, ensure_ascii=False)
