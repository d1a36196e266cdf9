"""Finished runs that can be compared: found among folders, read and checked.

What cannot be compared is named with the reason.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from fibseg.arrays import Place
from fibseg.errors import DivergedError, FibsegError
from fibseg.runs.directory import RunDirectory, is_run
from fibseg.runs.finished import FinishedRun, check_components, read_run


class LeftOut(NamedTuple):
    """A path that cannot be compared, and the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collection:
    """Runs of one or several data sets, and what was left out."""

    runs: list[FinishedRun]
    left_out: list[LeftOut] = field(default_factory=list)

    def data_sets(self) -> list[list[FinishedRun]]:
        """Runs that were scored on the same slices with the same classes, in order of name."""
        groups: dict[tuple[str, str], list[FinishedRun]] = {}
        for run in self.runs:
            # By the hash, too: a description may keep its name while its files change.
            groups.setdefault((run.data, run.data_hash), []).append(run)
        return [groups[key] for key in sorted(groups)]

    def left_beside(self, runs: Sequence[FinishedRun]) -> list[str]:
        """Name and reason of each run that was left out and lies in a folder of these runs."""
        # A run that cannot be read does not say of which data set it is; its folder is the best
        # guess.
        folders = {run.path.parent for run in runs}
        return [
            f"{path.name}: {reason}"
            for path, reason in self.left_out
            if path.parent in folders and is_run(path)
        ]


def collect(paths: Iterable[str | Path]) -> Collection:
    """Read the runs among these paths and one level below them.

    A run is left out if it is damaged or unfinished, if it repeats another one or its adopted
    labels, or if it was scored on other slices or classes than the runs of its data set before it.

    Raises:
        FibsegError: a path does not exist, or none holds a run directory.
    """
    directories, left_out = find_runs(paths)
    # The first run sets what those after it must fit, so the order of the paths decides.
    runs: list[FinishedRun] = []
    first_of: dict[tuple[str, str, int], Path] = {}
    first_adopted: dict[tuple[str, str, str], Path] = {}
    scored_on: dict[str, tuple[list[str], dict[str, list[Place]]]] = {}
    for path in directories:
        try:
            run = read_run(path)
            # Here and not in a table, so that a damaged file leaves out its run and not the
            # comparison.
            check_components(run)
        # One damaged run of a hundred is no reason to compare none.
        except (FibsegError, OSError) as error:
            left_out.append(LeftOut(path, _reason(path, error)))
            continue
        # A copy of a run would count as a second seed and make every interval too narrow.
        first = first_of.setdefault((*run.key, run.seed), path)
        if first != path:
            reason = f"the same configuration, data and seed as {first}"
            left_out.append(LeftOut(path, reason))
            continue
        # Nor are the labels of another program a second training under a second number.
        if run.adopted and run.facts.get("start_hash"):
            labels = (str(run.facts["model"]), run.data_hash, str(run.facts["start_hash"]))
            first = first_adopted.setdefault(labels, path)
            if first != path:
                left_out.append(LeftOut(path, f"the same labels as {first}"))
                continue
        # Runs are compared slice by slice and class by class, so their order must be the same, too.
        expected = scored_on.setdefault(run.data_hash, (run.class_names, run.places))
        if expected != (run.class_names, run.places):
            reason = "scored on other slices or classes than the runs before it"
            left_out.append(LeftOut(path, reason))
            continue
        runs.append(run)
    return Collection(named_apart(runs), left_out)


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Path], list[LeftOut]]:
    """Find the run directories among these paths and one level below them.

    A path may hold * and ?, as a shell passes them on where they match nothing.

    Returns:
        The run directories, each once; and the paths that hold none.

    Raises:
        FibsegError: a path does not exist, or none holds a run directory.
    """
    # A dictionary for its keys: a set that keeps the order.
    directories: dict[Path, None] = {}
    left_out: list[LeftOut] = []
    for path in itertools.chain.from_iterable(_expanded(Path(given)) for given in paths):
        if not path.exists():
            raise FibsegError(f"{path}: no such folder.")
        inside = sorted(path.iterdir()) if path.is_dir() else []
        in_path = [path] if is_run(path) else [entry for entry in inside if is_run(entry)]
        if not in_path:
            left_out.append(LeftOut(path, "no run directory, and none in it"))
        directories |= dict.fromkeys(in_path)
    if not directories and left_out:
        raise FibsegError(f"{left_out[0].path}: {left_out[0].reason}.")
    return list(directories), left_out


def _expanded(path: Path) -> list[Path]:
    """Paths that a pattern matches; the path itself where it exists, is no pattern or has none."""
    if path.exists() or not any(letter in str(path) for letter in "*?["):
        return [path]
    # pathlib refuses absolute patterns, so that the search starts at the root of the path.
    return sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))) or [path]


def _reason(path: Path, error: Exception) -> str:
    """The message without the path before it; of a run that failed, the end of error.txt too."""
    text = str(error)
    # Of a run that diverged, the message is the whole reason.
    is_whole = isinstance(error, DivergedError)
    for head in (f"{path}: ", f"{path}/"):
        text = text.removeprefix(head)
    try:
        lines = RunDirectory(path).error.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError):
        return text
    return f"{text} It failed: {lines[-1]}" if lines and not is_whole else text


def named_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Give each data set a name that fits a file name and that no other data set has.

    A fold is a data set of its own, and its number is added. Where two data sets have one name
    still, the first digits of their hashes are added.
    """
    hashes: dict[str, set[str]] = {}
    for run in runs:
        hashes.setdefault(_data_name(run), set()).add(run.data_hash)
    renamed = []
    for run in runs:
        name = _data_name(run)
        if len(hashes[name]) > 1:
            name = f"{name}-{_file_name(run.data_hash)[:6]}"
        renamed.append(replace(run, data=name))
    return renamed


def _data_name(run: FinishedRun) -> str:
    name = _file_name(run.data)
    return name if run.fold is None else f"{name}-fold{run.fold}of{run.facts['folds']}"


def _file_name(text: str) -> str:
    """The text with other letters replaced, and without dots in front, which would hide a file."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "_"


def configurations(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Group runs by configuration: label -> runs in order of seed.

    The label is the configuration's name, with its hash where two configurations share a name.
    """
    groups: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        # By the hashes: names are cut off after 120 letters, and two configurations may share one.
        groups.setdefault(run.key, []).append(run)
    names = [of_key[0].configuration for of_key in groups.values()]
    labels: dict[str, list[FinishedRun]] = {}
    for (config_hash, _), of_key in groups.items():
        name = of_key[0].configuration
        label = name if names.count(name) == 1 else f"{name}-{config_hash}"
        labels[label] = sorted(of_key, key=lambda run: run.seed)
    return dict(sorted(labels.items()))


def best_runs(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The best ceil(2n / 3) runs by the sum of validation scores; ties by seed.

    Meyer et al., ISBI 2021, choose 10 of 15.
    """
    # By validation and never by test scores, which would choose the runs by their result.
    ordered = sorted(runs, key=lambda run: (-run.validation_sum, run.seed))
    return ordered[: math.ceil(2 * len(runs) / 3)]


def median_run(runs: Sequence[FinishedRun]) -> FinishedRun:
    """The run in the middle by the sum of validation scores, to show as an example."""
    return sorted(runs, key=lambda run: (run.validation_sum, run.seed))[len(runs) // 2]
