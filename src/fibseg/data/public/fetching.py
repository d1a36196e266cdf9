"""A public data set as files and a data description: all of it, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from fibseg.data.public.crops import fetch_crop
from fibseg.data.public.download import download
from fibseg.data.public.preparing import PreparedVolume, prepare_volume
from fibseg.data.public.sets import PUBLIC_SETS, PublicFile, PublicSet
from fibseg.data.public.unpacking import unpack
from fibseg.errors import FibsegError
from fibseg.files import clear_leftovers, remove, replacing_together, writing
from fibseg.machine import print_line, print_warnings


@dataclass(frozen=True)
class FetchedSet:
    """Where a data set is.

    Attributes:
        folder: of its files.
        description: the YAML file.
    """

    folder: Path
    description: Path


def public_set(name: str) -> PublicSet:
    """Look up a record.

    Raises:
        FibsegError: there is none of that name.
    """
    if name not in PUBLIC_SETS:
        raise FibsegError(f"'{name}' is no public data set; expected {', '.join(PUBLIC_SETS)}.")
    return PUBLIC_SETS[name]


def fetch_set(name: str, record: PublicSet, parent: Path, console: Console) -> FetchedSet:
    """Download a data set, bring it into order and describe it; nothing is done twice.

    Args:
        name: of the set.
        record: what is known of it.
        parent: folder that takes `NAME/` and `data/NAME.yaml`.
        console: takes what a person reads.

    Raises:
        FibsegError: a file cannot be had, is another one than its checksum says, or does not hold
            what the record says; another process fetches the same set; or the folder is there
            without its description, or the reverse. What was downloaded is kept for the next call.
    """
    fetched = FetchedSet(parent / name, parent / "data" / f"{name}.yaml")
    downloads = parent / f"{name}.downloads"
    if fetched.folder.exists() and fetched.description.exists():
        print_line(console, f"{fetched.folder}: is there already")
        if downloads.exists():
            print_line(console, f"{downloads}: is not needed any more")
        return fetched
    with _alone(downloads):
        # Before the check: a kill between two renames leaves half a set.
        clear_leftovers([fetched.folder, fetched.description])
        _require_both_or_none(fetched)
        other = _make(name, record, fetched, downloads=downloads, console=console)
        remove(downloads)
    if other:
        print_warnings(
            console,
            [f"{other} pixels of the label files have values without meaning: background here"],
        )
    return fetched


@contextmanager
def _alone(downloads: Path) -> Iterator[None]:
    """Keep other processes from a folder of downloads within a block.

    Raises:
        FibsegError: another one is at work there.
    """
    lock = FileLock(downloads / ".lock", timeout=0)
    try:
        with writing(downloads):
            downloads.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise FibsegError(
            f"{downloads}: another command fetches the same set; wait until that has ended."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _require_both_or_none(fetched: FetchedSet) -> None:
    """Refuse to write over a folder or a description that is there alone: a person may need it."""
    pair = (fetched.folder, fetched.description)
    for path, other in (pair, pair[::-1]):
        if path.exists() and not other.exists():
            raise FibsegError(
                f"{path}: exists already, but {other} does not; delete or rename the first, or "
                "give another --to."
            )


def _make(
    name: str, record: PublicSet, fetched: FetchedSet, downloads: Path, console: Console
) -> int:
    """Download a set and bring it into order; return how many label pixels have other values."""
    checksums = _download_all(record, downloads, console)
    prepared: list[PreparedVolume] = []
    with replacing_together([fetched.folder, fetched.description]) as (staged, staged_description):
        staged.mkdir()
        unpacked = staged / ".unpacked"
        for file in record.files:
            if file.name.endswith(".zip"):
                globs = [(volume.images, volume.labels) for volume in record.volumes]
                patterns = [pattern for pair in globs for pattern in pair]
                unpack(downloads / file.name, patterns, unpacked)
        for volume in record.volumes:
            source = unpacked if "*" in volume.images else downloads
            prepared.append(prepare_volume(volume, source, staged))
        for crop in record.crops:
            print_line(console, f"{crop.labels}: reading")
            prepared.append(fetch_crop(crop, staged))
        remove(unpacked)
        text = _description(name, record, fetched.folder, prepared) + _record_text(
            record, checksums
        )
        with writing(fetched.description):
            staged_description.write_text(text, encoding="utf-8")
    return sum(volume.other_pixels for volume in prepared)


def _download_all(record: PublicSet, folder: Path, console: Console) -> dict[str, str]:
    """Download the files of a record; name -> SHA-256."""
    checksums = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    for file in record.files:
        with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as progress:
            show = partial(_show, progress, progress.add_task(file.name, total=None))
            checksums[file.name] = download(file, folder, show)
        print_line(console, f"{file.name}: SHA-256 {checksums[file.name]}, {_whose(file)}")
    return checksums


def _show(progress: Progress, task: TaskID, done: int, total: int | None) -> None:
    progress.update(task, completed=done, total=total)


def _whose(file: PublicFile) -> str:
    """Say what a checksum was compared with."""
    if file.sha256 is None:
        return "which nobody published: note it, to know the file again"
    return f"as {file.checksum_by} published it"


def _description(
    name: str, record: PublicSet, folder: Path, prepared: Sequence[PreparedVolume]
) -> str:
    """The data description as YAML."""
    splits = [volume.split for volume in record.volumes]
    splits += [crop.split for crop in record.crops]
    content = {
        "name": name,
        "root": str(folder.resolve()),
        "classes": {
            # Objects are told apart where the record numbers them.
            label: {"label": value, "weight": 1.0}
            | ({"instances": True} if prepared[0].instances else {})
            for label, value in record.classes.items()
        },
        "background": {"labels": list(record.background), "weight": 0.1},
        "ignore": record.ignore,
        "intensity": {"low": 0.1, "high": 99.9},
        "volumes": [
            {
                "image": volume.image,
                "labels": volume.labels,
                **({"instances": volume.instances} if volume.instances else {}),
                "voxel_size": list(record.voxel_size),
                "split": split_by_shares(shares, volume.depth),
            }
            for volume, shares in zip(prepared, splits, strict=True)
        ],
        "phantom": None,
    }
    head = (
        f"# {record.title}.\n# {record.citation}. Terms: {record.terms}.\n# {record.page}\n"
        "# Written by `fibseg fetch`. Validation slices were chosen by fibseg.\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def split_by_shares(shares: Mapping[str, tuple[float, float]], depth: int) -> dict[str, list[str]]:
    """Turn shares of a volume into slices.

    >>> split_by_shares({"train": (0.0, 0.8), "validation": (0.8, 1.0)}, 165)
    {'train': ['0:132'], 'validation': ['132:165']}
    """
    return {
        split: [f"{round(first * depth)}:{round(last * depth)}"]
        for split, (first, last) in shares.items()
    }


def _record_text(record: PublicSet, checksums: Mapping[str, str]) -> str:
    """Where the files came from, as comments of the description."""
    lines = ["# Files of the record:"]
    for file in record.files:
        lines += [f"# {file.url}", f"#   SHA-256 {checksums[file.name]}, {_whose(file)}"]
    lines += [f"# {crop.image} at {crop.labels}" for crop in record.crops]
    return "\n".join(re.sub(r"[^\x20-\x7e]", "?", line) for line in lines) + "\n"
