"""Slices that are files of their own: their order, their numbers, and whether they are alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

from fibseg.errors import FibsegError
from fibseg.stack.base import COLOUR_LABELS, LEAST_GAP, Stack
from fibseg.stack.ome import ome_planes
from fibseg.stack.tiff_header import read_tiff_header

_NUMBER = r"(?:(?<==)-)?\d+(?:[.,]\d+)?"
"""A number in a name; a point may separate two counters, or a number and its decimals."""

_LENGTH = r"(?=\s?(?:nm|um|µm|μm|mm)(?![a-z]))"


@dataclass(frozen=True)
class _Name:
    """The name of a slice's file without its ending, cut into texts and numbers.

    Attributes:
        path: the file.
        texts: what stands before, between and after the numbers.
        numbers: the numbers.
    """

    path: Path
    texts: tuple[str, ...]
    numbers: tuple[float, ...]


def natural_key(path: Path, decimal: bool = False) -> list[tuple[float, str]]:
    """Return a sort key that puts z2 before z10, and with `decimal` 0.05 before 0.1.

    >>> sorted([Path("z10.png"), Path("z2.png")], key=natural_key)[0].name
    'z2.png'
    """
    parts = re.split(rf"({_NUMBER})" if decimal else r"(\d+)", str(path))
    # Pairs of one type, since Python does not compare a number with a text.
    return [
        (float(part.replace(",", ".")), "") if position % 2 else (-1, part)
        for position, part in enumerate(parts)
    ]


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Sort the files of a stack by the numbers in their names."""
    decimal = _are_decimal(paths)
    return sorted(paths, key=lambda path: natural_key(path, decimal))


def open_slices(name: str, paths: list[Path], read: Callable[[Path], Stack]) -> Stack:
    """Open a stack of one file per slice; only headers are read here.

    Args:
        name: the folder or glob, for messages.
        paths: the files in natural order.
        read: opens a file.

    Raises:
        FibsegError: two files have one number, or differ in size, type or palette.
    """
    names = _cut_names(paths)
    _check_numbers(name, names)
    ordered = _in_order_of_set(paths)
    # Headers are read at once, so that a slice of another size is reported before hours of work.
    slices = [read(path) for path in ordered]
    _check_alike(ordered, slices)
    first = slices[0]
    by_path = dict(zip(paths, slice_numbers(names) or (), strict=False))
    odd = [opened for opened in slices if opened.doubts]
    doubts = [*odd[0].doubts] if odd else []
    if len(odd) > 1:
        doubts.append(f"{name}: {len(odd)} of its files give such a warning.")
    # Each read opens its own file: thousands of open files exceed a process's limit.
    return Stack(
        name=name,
        shape=(len(slices), *first.shape[1:]),
        dtype=first.dtype,
        read=lambda z: slices[z].read(0),
        voxel_size=first.voxel_size if len({opened.voxel_size for opened in slices}) == 1 else None,
        slice_numbers=tuple(by_path[path] for path in ordered) if by_path else None,
        doubts=(*_name_doubts(name, names), *doubts),
        palette=max((opened.palette for opened in slices), key=len),
    )


def slice_numbers(names: Sequence[_Name]) -> tuple[int, ...] | None:
    """Read the number of each slice; None unless the names differ in a single whole number."""
    if len({name.texts for name in names}) != 1:
        return None
    columns = list(zip(*(name.numbers for name in names), strict=True))
    # A lone file has no other to differ from: its only number is meant.
    varying = columns if len(names) == 1 else [column for column in columns if len(set(column)) > 1]
    if len(varying) != 1 or any(number != int(number) for number in varying[0]):
        return None
    return tuple(int(number) for number in varying[0])


def _are_decimal(paths: Sequence[Path]) -> bool:
    """Whether points in names are decimal points: z=0.05um and z=0.1um, but not z1.9 and z1.10."""
    stems = [path.stem for path in paths]
    decimals = [
        (
            match[1],
            bool(re.match(_LENGTH, stem[match.end() :])) or stem[: match.start()].endswith("="),
        )
        for stem in stems
        for match in re.finditer(r"(?<![\d.])\d+[.,](\d+)(?![.,]?\d)", stem)
    ]
    unequal = len({len(digits) for digits, _ in decimals}) > 1
    leading = any(digits.startswith("0") for digits, _ in decimals)
    return any(measure for _, measure in decimals) or (unequal and leading)


def _cut_names(paths: Sequence[Path]) -> list[_Name]:
    """Cut the names of files into texts and numbers."""
    pattern = rf"({_NUMBER})" if _are_decimal(paths) else r"(\d+)"
    names = []
    for path in paths:
        parts = re.split(pattern, path.stem)
        numbers = tuple(float(part.replace(",", ".")) for part in parts[1::2])
        # Folders belong to the name where a glob takes files of several.
        names.append(_Name(path, (str(path.parent), *parts[::2]), numbers))
    return names


def _check_numbers(name: str, names: Sequence[_Name]) -> None:
    """Raise a FibsegError where two files have one number, as an image and its mask do."""
    owners: dict[tuple[object, ...], _Name] = {}
    kinds: dict[tuple[str, ...], list[_Name]] = defaultdict(list)
    for entry in names:
        kinds[entry.texts].append(entry)
    for texts, entries in kinds.items():
        columns = list(zip(*(entry.numbers for entry in entries), strict=True))
        varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
        for entry in entries:
            numbers = tuple(entry.numbers[place] for place in varying) or entry.numbers
            # Names without a number are compared as they are.
            key = (texts[0], numbers or texts[1:])
            if (other := owners.setdefault(key, entry)) is not entry:
                _refuse_pair(name, *sorted((other, entry), key=lambda item: len(item.path.stem)))


def _refuse_pair(name: str, first: _Name, second: _Name) -> None:
    number = ", ".join(f"{number:g}" for number in first.numbers)
    purpose = f"two files for number {number}" if number else "two files of one name"
    ending = first.path.suffix
    # The longer pattern fits every number of digits, the shorter these alone.
    patterns = [
        f"{first.texts[1]}*{first.texts[-1] or '[0-9]'}{ending}" if first.numbers else f"*{ending}",
        re.sub(r"\d", "[0-9]", first.path.stem) + ending,
    ]
    kept = next((kept for kept in patterns if not fnmatch(second.path.name, kept)), f"*{ending}")
    raise FibsegError(
        f"{name}: {first.path.name} and {second.path.name} are {purpose}; images and masks, or two "
        f"kinds of files, lie together: name the files of each, as '{first.path.with_name(kept)}'."
    )


def _in_order_of_set(paths: list[Path]) -> list[Path]:
    """Sort the files of an OME set as their description says; others stay as they are."""
    first = paths[0]
    if not first.suffix.lower().startswith(".tif"):
        return paths
    description = read_tiff_header(first).ome
    planes = ome_planes(first, description) if description else None
    if planes is None or not planes.files:
        return paths
    places = {name or first.name: z for z, (name, _) in enumerate(planes.pages)}
    if not all(path.name in places for path in paths):
        return paths
    return sorted(paths, key=lambda path: places[path.name])


def _check_alike(paths: list[Path], slices: list[Stack]) -> None:
    """Raise a FibsegError unless every file is one slice, and all are alike."""
    first = slices[0]
    for path, opened in zip(paths, slices, strict=True):
        if opened.shape[0] != 1:
            raise FibsegError(
                f"{path}: holds {opened.shape[0]} slices; "
                "in a folder or glob every file is one slice."
            )
        if opened.shape != first.shape or opened.dtype != first.dtype:
            raise FibsegError(
                f"{path}: {_size_and_type(opened)}, but {paths[0].name} is "
                f"{_size_and_type(first)}; all slices of a stack must have one size and type."
            )
        shorter, longer = sorted((opened.palette, first.palette), key=len)
        # A palette that goes on where the other ends says the same of their common indices.
        if not longer.startswith(shorter) or bool(longer) != bool(shorter):
            raise FibsegError(
                f"{path}: its palette is not that of {paths[0].name}, so that an index means two "
                f"colours; save all slices with a single palette, or {COLOUR_LABELS}."
            )


def _name_doubts(name: str, names: Sequence[_Name]) -> list[str]:
    """Say what is odd in the names: numbers that are missing, or files of several kinds."""
    kinds = {entry.texts: entry.path.name for entry in names}
    if len(kinds) > 1:
        # Names of a word or a random code each have no kinds.
        few = 2 * len(kinds) <= len(names)
        listing = ", ".join(list(kinds.values())[:4])
        return [f"{name}: files of {len(kinds)} kinds, as {listing}; are all slices?"] * few
    columns = zip(*(entry.numbers for entry in names), strict=True)
    varying = [column for column in columns if len(set(column)) > 1]
    if len(varying) != 1:
        return []
    steps = [round(after - before, 9) for before, after in pairwise(varying[0])]
    usual = min(abs(step) for step in steps)
    gaps = [place for place, step in enumerate(steps) if abs(step) > LEAST_GAP * usual]
    if not gaps:
        return []
    before, after = (names[gaps[0] + k].path.name for k in (0, 1))
    return [
        f"{name}: numbers are missing in its names, {before} is followed by {after}"
        f"{f' ({len(gaps)} gaps)' if len(gaps) > 1 else ''}; the slices on both sides follow "
        "each other here, and data.context reaches across no gap."
    ]


def _size_and_type(stack: Stack) -> str:
    _, height, width = stack.shape
    return f"{height} x {width} pixels of {stack.dtype}"
