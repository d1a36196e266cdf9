"""A data description from what is in the files, with comments, for a person to finish."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from fibseg.arrays import IGNORE
from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.stack import Stack

KNOWN = {"train": 0.6, "validation": 0.2, "test": 0.2}
"""Share of the annotated slices that each split is offered, in the order of z."""

MANY = 24
"""Values in the labels; more are instances, not classes."""


@dataclass(frozen=True)
class Sketch:
    """What was found: slices of image and labels, values with their shares, annotated slices, an offer of splits."""

    depth: int
    labelled: int
    offset: list[int]
    voxel_size: list[float] | None
    values: dict[int, float]
    annotated: list[int]
    positions: dict[str, list[int]]


def sketch(
    image: Stack,
    labels: Stack,
    offset: Sequence[int],
    size: Sequence[float] | None,
    names: Container[int] = (),
) -> Sketch:
    """Read the labels slice by slice; a slice counts as annotated where any class is in it.

    A class is any value but 0, and but 255 where `names` does not hold it.

    Raises:
        FibsegError: the labels lie outside the image, hold nothing, or hold instances.
    """
    if size is not None and not all(0 < one < float("inf") for one in size):
        raise FibsegError(f"--voxel-size: {list(size)}; expected three sizes above 0, in nm.")
    if labels.dtype.kind not in "uib":
        raise FibsegError(f"{labels.name}: values of type {labels.dtype}; labels are integers.")
    for axis, start, length, whole in zip("zyx", offset, labels.shape, image.shape, strict=True):
        if start < 0 or start + length > whole:
            raise FibsegError(
                f"{labels.name}: shape {labels.shape} at offset {list(offset)} lies outside the image {image.shape} "
                f"along {axis}; say where the labels start with --offset z,y,x."
            )
    counts: dict[int, int] = {}
    annotated = []
    for z in range(labels.shape[0]):
        values, number = np.unique(labels.read(z), return_counts=True)
        for value, count in zip(values.tolist(), number.tolist(), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + count
        if any(int(value) != 0 and (int(value) != IGNORE or IGNORE in names) for value in values):
            annotated.append(z + offset[0])
        if len(counts) > MANY:
            raise FibsegError(
                f"{labels.name}: over {MANY} label values: objects with a number each, not classes?"
            )
    if not annotated:
        more = f"; if {IGNORE} is a class, give --class NAME={IGNORE}" if IGNORE in counts else ""
        raise FibsegError(
            f"{labels.name}: nothing but 0 and {IGNORE}; there is no annotation{more}."
        )
    if len(annotated) < 2:
        raise FibsegError(
            f"{labels.name}: one annotated slice; at least two are needed, to train and to validate."
        )
    total = sum(counts.values())
    found = list(size or image.voxel_size or labels.voxel_size or []) or None
    shares = {value: counts[value] / total for value in sorted(counts)}
    return Sketch(
        image.shape[0],
        labels.shape[0],
        list(offset),
        found,
        shares,
        annotated,
        offered_splits(annotated),
    )


def offered_splits(annotated: Sequence[int]) -> dict[str, list[int]]:
    """Blocks along z: training, validation, test; with two slices no test.

    >>> offered_splits([0, 5, 10, 15, 20])
    {'train': [0, 5, 10], 'validation': [15], 'test': [20]}
    """
    count = len(annotated)
    validation = max(1, round(KNOWN["validation"] * count))
    test = max(1, round(KNOWN["test"] * count)) if count > 2 else 0
    train = count - validation - test
    parts = {"train": annotated[:train], "validation": annotated[train : train + validation]}
    parts |= {"test": annotated[train + validation :]} if test else {}
    return {split: list(own) for split, own in parts.items()}


def in_words(positions: Sequence[int]) -> str:
    """Slices as a description has them.

    >>> in_words([0, 5, 10]), in_words([3, 4, 5]), in_words([7]), in_words([1, 2, 9])
    ('["0:11:5"]', '["3:6"]', '[7]', '[1, 2, 9]')
    """
    steps = set(np.diff(positions).tolist())
    if len(positions) < 3 or len(steps) != 1:
        return str(list(positions))
    (step,) = steps
    return f'["{positions[0]}:{positions[-1] + 1}{"" if step == 1 else f":{step}"}"]'


def write_description(
    path: Path, name: str, image: str, labels: str, found: Sketch, names: dict[int, str]
) -> None:
    """Write the YAML; paths are made absolute, since the description may lie anywhere. `names`: of label values."""
    classes = [
        value for value in found.values if value != 0 and (value != IGNORE or IGNORE in names)
    ]
    lines = "".join(
        f"  {in_yaml(names.get(value, f'class{k}'))}: {{label: {value}, weight: 1.0}}   # "
        f"{found.values[value]:.2%} of all label pixels\n"
        for k, value in enumerate(classes, 1)
    )
    split = ", ".join(f"{one}: {in_words(own)}" for one, own in found.positions.items())
    size = found.voxel_size or "???"
    ignore = IGNORE if IGNORE in found.values and IGNORE not in names else "null"
    write_whole(
        path,
        f"# {name}: made from the files by `fibseg new`; read every line, then `fibseg check {path}`.\n"
        f"name: {in_yaml(name)}\n"
        "root: .                         # of paths that do not begin with /\n"
        "classes:                        # rename them; weight: of the class in the loss, rare classes may take more\n"
        f"{lines}"
        "background: {labels: [0], weight: 0.1}     # values that you looked at and that are none of the classes\n"
        f"ignore: {ignore}                      # value of pixels that nobody looked at, or null\n"
        "intensity: {low: 0.1, high: 99.9, per: stack}   # per: slice where brightness drifts along z\n"
        "volumes:\n"
        f"  - image: {_absolute(image)}\n"
        f"    labels: {_absolute(labels)}\n"
        f"    offset: {found.offset}           # where the labels start in the image: z, y, x\n"
        f"    voxel_size: {size}       # z, y, x in nm\n"
        f"    # {len(found.annotated)} slices hold labels. Neighbours look alike: leave slices between the splits.\n"
        f"    split: {{{split}}}\n"
        "phantom: null\n",
    )


def _absolute(path: str) -> str:
    return in_yaml(path if "://" in path else str(Path(path).absolute()))


def in_yaml(text: str) -> str:
    """Text as YAML takes it as text: plain where that is safe, else in quotes.

    >>> in_yaml("er"), in_yaml("no"), in_yaml("a: b")
    ('er', '"no"', '"a: b"')
    """
    try:
        plain = bool(re.fullmatch(r"[\w./ -]+", text)) and yaml.safe_load(f"{text}: 0") == {text: 0}
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
