"""Runs that can be compared, found among folders, read and checked; what cannot be is named with the reason."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fibseg.runs.components import components_of

pass
import math
from typing import Any

from numpy.typing import NDArray

from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory, is_run
from fibseg.runs.results import SCORED_SPLITS, read_scores
from fibseg.scores.pixels import f1_scores, mean_f1

NAME = re.compile(r"[A-Za-z0-9._-]+")
"""Of a run directory: train.py gives no other, so another one did not come from it."""

FACTS = ("model", "filter", "seed", "data", "config_hash", "data_hash")
"""What scores.json must tell of a run."""


@dataclass(frozen=True)
class Collection:
    """Runs of one or several data sets, and those that were left out, with the reason."""

    runs: list[FinishedRun]
    left_out: list[tuple[Path, str]] = field(default_factory=list)

    def data_sets(self) -> list[list[FinishedRun]]:
        """Runs that were scored on the same slices with the same classes, in order of name."""
        groups: dict[tuple[str, str], list[FinishedRun]] = {}
        for run in self.runs:
            groups.setdefault((run.data, run.data_hash), []).append(run)
        return [groups[key] for key in sorted(groups)]

    def left_beside(self, runs: Sequence[FinishedRun]) -> list[str]:
        """Run directories that were left out and lie in a folder of these runs, with the reason."""
        folders = {run.path.parent for run in runs}
        return [
            f"{path.name}: {why}"
            for path, why in self.left_out
            if path.parent in folders and is_run(path)
        ]


def collect(paths: Iterable[str | Path]) -> Collection:
    """Read what can be read; a run that is damaged, unfinished, doubled or does not fit the others is left out.

    Raises:
        FibsegError: a path does not exist, or none holds a run directory.
    """
    found, left_out = find_runs(paths)
    runs: list[FinishedRun] = []
    seen: dict[tuple[str, str, int], Path] = {}
    shapes: dict[str, tuple[object, ...]] = {}
    for path in found:
        try:
            run = read_run(path)
            check_components(run)
        except (FibsegError, OSError) as error:
            left_out.append((path, _reason(path, error)))
            continue
        before = seen.setdefault((*run.key, run.seed), path)
        if before != path:
            left_out.append((path, f"the same configuration, data and seed as {before}"))
            continue
        shape = shapes.setdefault(run.data_hash, (run.names, run.places))
        if shape != (run.names, run.places):
            left_out.append((path, "scored on other slices or classes than the runs before it"))
            continue
        runs.append(run)
    return Collection(named_apart(runs), left_out)


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Run directories among these paths and one level below them, each once, in order of name; and what is none.

    A path may hold * and ?, as a shell that finds nothing leaves it.
    """
    found: dict[Path, None] = {}
    others: list[tuple[Path, str]] = []
    for path in itertools.chain.from_iterable(_expanded(Path(one)) for one in paths):
        if not path.exists():
            raise FibsegError(f"{path}: no such folder.")
        inside = sorted(path.iterdir()) if path.is_dir() else []
        own = [path] if is_run(path) else [one for one in inside if is_run(one)]
        if not own:
            others.append((path, "no run directory, and none in it"))
        found |= dict.fromkeys(own)
    if not found and others:
        raise FibsegError(f"{others[0][0]}: {others[0][1]}.")
    return list(found), others


def _expanded(path: Path) -> list[Path]:
    """What a pattern names; the path itself where it exists or is none."""
    if path.exists() or not any(letter in str(path) for letter in "*?["):
        return [path]
    return sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))) or [path]


def read_run(path: Path) -> FinishedRun:
    """A run directory; FibsegError where it is unfinished, damaged or of a newer schema."""
    if not NAME.fullmatch(path.name):
        raise FibsegError(f"{path}: a name that no run is given by train.py.")
    content = read_scores(RunDirectory(path))
    try:
        facts, splits = content["run"], content["splits"]
        classes = len(content["classes"])
        confusions = {
            split: np.array([one["confusion"] for one in splits[split]], np.int64).reshape(
                -1, classes, classes
            )
            for split in SCORED_SPLITS
        }
        places = {
            split: [(int(one["volume"]), int(one["slice"])) for one in splits[split]]
            for split in SCORED_SPLITS
        }
        told = {name: str(facts[name]) for name in FACTS} | {"seed": int(facts["seed"])}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FibsegError(f"{path}: scores.json is damaged ({error}).") from error
    if any((counts < 0).any() for counts in confusions.values()):
        raise FibsegError(f"{path}: scores.json is damaged (negative counts).")
    configuration = re.sub(r"-s\d+-[0-9a-f]{8}$", "", path.name)
    names = [str(name) for name in content["classes"]]
    key = str(told["config_hash"]), str(told["data_hash"])
    return FinishedRun(
        path, configuration, key, str(told["data"]), key[1], facts | told, names, confusions, places
    )


def check_components(run: FinishedRun) -> None:
    """FibsegError where components.csv is missing or damaged, or its pixels are not those of scores.json."""
    for split, (index, name) in itertools.product(SCORED_SPLITS, enumerate(run.names)):
        if index == 0:
            continue
        total, found = run.confusions[split].sum(axis=0), components_of(run.path, split, name)
        areas = [int(found.area[side].sum()) for side in (found.of_truth, ~found.of_truth)]
        overlaps = [int(found.overlap[side].sum()) for side in (found.of_truth, ~found.of_truth)]
        if (
            areas != [total[index].sum(), total[:, index].sum()]
            or overlaps != [total[index, index]] * 2
        ):
            raise FibsegError(
                f"{run.path}: components.csv does not fit scores.json; is it cut off?"
            )


def _reason(path: Path, error: Exception) -> str:
    """Without the path that stands before it; of a run that failed, what its error.txt says last."""
    text = str(error)
    for head in (f"{path}: ", f"{path / 'scores.json'}: ", f"{path}/"):
        text = text.removeprefix(head)
    try:
        lines = RunDirectory(path).error.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError):
        return text
    return f"{text} It failed: {lines[-1]}" if lines else text


def named_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """With a name of the data set that fits a file name; where two sets share one, a piece of their hashes."""
    hashes: dict[str, set[str]] = {}
    for run in runs:
        hashes.setdefault(_file_name(run.data), set()).add(run.data_hash)
    return [
        replace(
            run, data=name if len(hashes[name]) == 1 else f"{name}-{_file_name(run.data_hash)[:6]}"
        )
        for run, name in ((run, _file_name(run.data)) for run in runs)
    ]


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "_"


Counts = NDArray[np.int64]


@dataclass(frozen=True)
class FinishedRun:
    """One finished run.

    Attributes:
        path: its directory.
        configuration: its name without seed and hash, as unet-on-quick.
        key: hashes of configuration and data: runs with one key differ in the seed only.
        data: name of the data set, and `data_hash`, of its pixels and labels.
        facts: of scores.json: model, filter, seed and more.
        names: of the classes, background first.
        confusions: split -> (S, K, K) counts per slice, rows truth.
        places: split -> (volume, slice) of each.
    """

    path: Path
    configuration: str
    key: tuple[str, str]
    data: str
    data_hash: str
    facts: dict[str, Any]
    names: list[str]
    confusions: dict[str, Counts]
    places: dict[str, list[tuple[int, int]]]

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.facts["seed"])

    def f1(self, split: str) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class; NaN where no slice holds it."""
        return dict(zip(self.names[1:], mean_f1(self.confusions[split])[1:].tolist(), strict=True))

    def f1_by_slice(self, split: str) -> NDArray[np.float64]:
        """(S, K); NaN where the slice does not hold the class."""
        return f1_scores(self.confusions[split])

    def on_slices(self, split: str, places: Sequence[tuple[int, int]]) -> dict[str, float]:
        """Mean per-slice F1 of each foreground class over some (volume, slice) of a split."""
        chosen = [self.places[split].index(place) for place in places]
        return dict(
            zip(self.names[1:], mean_f1(self.confusions[split][chosen])[1:].tolist(), strict=True)
        )

    @property
    def validation_sum(self) -> float:
        """Sum of the validation F1 over the foreground classes, by which the paper chose its runs."""
        return float(np.nansum(list(self.f1("validation").values())))


def configurations(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Label -> runs of one configuration, in order of seed; a hash tells apart what a name does not."""
    groups: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    labels: dict[str, list[FinishedRun]] = {}
    names = [own[0].configuration for own in groups.values()]
    for key, own in groups.items():
        name = own[0].configuration
        label = name if names.count(name) == 1 else f"{name}-{key[0]}"
        labels[label] = sorted(own, key=lambda run: run.seed)
    return dict(sorted(labels.items()))


def best_runs(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """The best ceil(2n / 3) by the sum of validation scores, 10 of 15 as the paper has it; ties by seed."""
    ordered = sorted(runs, key=lambda run: (-run.validation_sum, run.seed))
    return ordered[: math.ceil(2 * len(runs) / 3)]


def median_run(runs: Sequence[FinishedRun]) -> FinishedRun:
    """The one to show: in the middle by the sum of validation scores."""
    return sorted(runs, key=lambda run: (run.validation_sum, run.seed))[len(runs) // 2]
