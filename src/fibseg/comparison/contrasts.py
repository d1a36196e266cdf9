"""Which configuration scored higher, and is it more than the luck of training? Paired by seed, over every run."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibseg.comparison.paired import (
    DRAWS,
    ENOUGH,
    Interval,
    holm,
    seeds_needed_range,
    sign_flip_p,
    t_interval,
)
from fibseg.comparison.rows import collapsed
from fibseg.errors import FibsegError
from fibseg.runs.collection import FinishedRun, configurations
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import read_config, scientific

AREAS = re.compile(r"-(areas_[0-9x_.]+|scope_\w+)")
"""What the name of a filtered configuration has that its plain peer has not."""


@dataclass(frozen=True)
class Contrast:
    """Configuration `second` less configuration `first`, for one class, over seeds that both have.

    Attributes:
        kind: "filter", "model", "interaction" or "pair".
        first, second, class_name, seeds: what is compared; an interaction has two labels in each.
        differences: per seed, of the test F1.
        interval: Student's, 95 %.
        fallen: seeds that collapsed on one side, and `standing`, the interval without them.
        p, adjusted: of the sign-flip test, and by Holm over the family; NaN with fewer than ENOUGH seeds.
        needed: seeds to see a difference of .01 with 80 % power, and its range; None below three seeds.
        by_slice: mean difference over seeds on each test slice; NaN without the class.
        blocks: smallest and largest mean difference where one of BLOCKS blocks of slices is left out; descriptive,
            since slices of a stack are not independent. None below BLOCKS slices that hold the class.
        volumes: mean difference over seeds in each test volume that holds the class.
    """

    kind: str
    first: str
    second: str
    class_name: str
    seeds: list[int]
    differences: list[float]
    interval: Interval
    fallen: list[int]
    standing: Interval
    p: float = math.nan
    adjusted: float = math.nan
    needed: tuple[int, int, int] | None = None
    by_slice: list[float] = field(default_factory=list)
    blocks: tuple[float, float] | None = None
    volumes: dict[int, float] = field(default_factory=dict)


VOLUMES = 6
"""Test volumes from which an interval over volumes is given: with fewer, each is listed."""

BLOCKS = 5
"""Parts of the test slices along z, of which each is left out once."""


def contrasts(runs: Sequence[FinishedRun], pairs: Sequence[tuple[str, str]] = ()) -> list[Contrast]:
    """Every contrast of one data set: filter, model, their interaction, and the pairs that are named.

    Raises:
        FibsegError: a pair names a configuration that is not there.
    """
    groups = configurations(runs)
    found = [
        contrast
        for kind, first, second in pairings(groups, pairs)
        for name in runs[0].names[1:]
        if (contrast := _contrast(kind, groups, first, second, name)) is not None
    ]
    adjusted = holm([one.p for one in found])
    return [replace(one, adjusted=value) for one, value in zip(found, adjusted, strict=True)]


Pairing = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Kind, first side, second side: the second less the first."""


def pairings(
    groups: dict[str, list[FinishedRun]], pairs: Sequence[tuple[str, str]]
) -> list[Pairing]:
    """What is compared with what; a pair that is a contrast already is none more. A pair (A, B) is A less B.

    Raises:
        FibsegError: a pair names a configuration that is not there, or one twice.
    """
    for label in itertools.chain(*pairs):
        if label not in groups:
            raise FibsegError(f"{label}: no such configuration; there are {', '.join(groups)}.")
    for first, second in pairs:
        if first == second:
            raise FibsegError(f"--pair {first} {second}: one configuration twice.")
    ordered, once = list(itertools.permutations(groups, 2)), list(itertools.combinations(groups, 2))
    by_filter: list[Pairing] = [
        ("filter", (one,), (two,)) for one, two in ordered if _filtered(groups, one, two)
    ]
    by_model: list[Pairing] = [
        ("model", (one,), (two,)) for one, two in once if _models(groups, one, two)
    ]
    both: list[Pairing] = [
        ("interaction", (*one[1], *two[2]), (*one[2], *two[1]))
        for one, two in itertools.combinations(by_filter, 2)
        if _models(groups, one[1][0], two[1][0]) and _models(groups, one[2][0], two[2][0])
    ]
    known = {frozenset((one[0], two[0])) for _, one, two in (*by_filter, *by_model)}
    named = dict.fromkeys(pair for pair in pairs if frozenset(pair) not in known)
    more: list[Pairing] = []
    for first, second in named:
        if ("pair", (first,), (second,)) not in more:
            more.append(("pair", (second,), (first,)))
    return [*by_filter, *by_model, *both, *more]


def without(runs: Sequence[FinishedRun], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What a contrast leaves out: seeds that one side lacks, classes that no test slice holds."""
    groups, told = configurations(runs), list[str]()
    for kind, first, second in pairings(groups, pairs):
        seeds = [{run.seed for run in groups[label]} for label in (*first, *second)]
        alone = sorted(set[int]().union(*seeds) - seeds[0].intersection(*seeds[1:]))
        if alone and kind != "interaction":
            which = ", ".join(map(str, alone))
            told.append(f"{second[0]} less {first[0]}: without seeds {which}, which one side lacks")
    absent = [name for name, score in runs[0].f1("test").items() if math.isnan(score)]
    return [
        *told,
        *([f"in no test slice, so in no contrast: {', '.join(absent)}"] if absent else []),
    ]


def _filtered(groups: dict[str, list[FinishedRun]], plain: str, filtered: str) -> bool:
    """Whether two configurations differ in the filter only."""
    one, two = groups[plain][0], groups[filtered][0]
    if (
        one.facts["model"] != two.facts["model"]
        or one.facts["filter"] != "off"
        or two.facts["filter"] == "off"
    ):
        return False
    return _same_but("filter", one, two)


def _models(groups: dict[str, list[FinishedRun]], first: str, second: str) -> bool:
    """Whether two configurations differ in the model only."""
    one, two = groups[first][0], groups[second][0]
    if one.facts["model"] == two.facts["model"] or one.facts["filter"] != two.facts["filter"]:
        return False
    return _same_but("model", one, two)


def _same_but(key: str, one: FinishedRun, two: FinishedRun) -> bool:
    """Whether the configurations are equal but for one part; from the names where a run tells no configuration."""
    configs = [_config(run) for run in (one, two)]
    if None not in configs:
        ours, theirs = (
            {name: value for name, value in (own or {}).items() if name != key} for own in configs
        )
        return ours == theirs
    rests = [
        run.configuration.removeprefix(f"{run.facts['model']}-{run.facts['filter']}")
        for run in (one, two)
    ]
    return (
        AREAS.sub("", rests[0]) == AREAS.sub("", rests[1])
        if key == "filter"
        else rests[0] == rests[1]
    )


def _config(run: FinishedRun) -> dict[str, Any] | None:
    """The scientific part of config.yaml."""
    try:
        found = read_config(RunDirectory(run.path))
        return None if found is None else scientific(found)
    except (FibsegError, KeyError, TypeError, AttributeError):
        return None


def _contrast(
    kind: str,
    groups: dict[str, list[FinishedRun]],
    first: tuple[str, ...],
    second: tuple[str, ...],
    name: str,
) -> Contrast | None:
    """Of one class; None where no seed is in all of them, or the class is in no test slice."""
    scores = {
        label: {run.seed: run.f1("test")[name] for run in groups[label]}
        for label in (*first, *second)
    }
    seeds = sorted(set.intersection(*(set(one) for one in scores.values())))
    values = [
        math.fsum(scores[label][seed] for label in second)
        - math.fsum(scores[label][seed] for label in first)
        for seed in seeds
    ]
    if not values or any(math.isnan(value) for value in values):
        return None
    fallen = {run.seed for label in (*first, *second) for run in collapsed(groups[label], name)}
    places = groups[first[0]][0].places["test"]
    differences = _by_slice([groups[label] for label in second], seeds, name)
    differences -= _by_slice([groups[label] for label in first], seeds, name)
    rest = [value for seed, value in zip(seeds, values, strict=True) if seed not in fallen]
    return Contrast(
        kind=kind,
        first=" + ".join(first),
        second=" + ".join(second),
        class_name=name,
        seeds=seeds,
        differences=values,
        interval=t_interval(values),
        fallen=sorted(fallen & set(seeds)),
        standing=t_interval(rest),
        p=sign_flip_p(values) if len(values) >= ENOUGH else math.nan,
        needed=seeds_needed_range(values) if len(values) > 2 else None,
        by_slice=differences.tolist(),
        blocks=_blocks(differences, places),
        volumes=_by_volume(differences, [volume for volume, _ in places]),
    )


def _by_slice(
    side: Sequence[list[FinishedRun]], seeds: list[int], name: str
) -> NDArray[np.float64]:
    """Test F1 (S,) of each slice, mean over seeds, summed over the configurations; NaN where none holds the class."""
    column = side[0][0].names.index(name)
    chosen = [
        [run.f1_by_slice("test")[:, column] for run in own if run.seed in seeds] for own in side
    ]
    return np.asarray(np.sum([np.mean(own, axis=0) for own in chosen], axis=0), np.float64)


def _blocks(
    differences: NDArray[np.float64], places: Sequence[tuple[int, int]]
) -> tuple[float, float] | None:
    """Range of the mean difference without one block of slices along z, volume after volume."""
    ordered = differences[sorted(range(len(places)), key=lambda k: places[k])]
    ordered = ordered[~np.isnan(ordered)]
    if len(ordered) < BLOCKS:
        return None
    parts = np.array_split(np.arange(len(ordered)), BLOCKS)
    means = [float(np.delete(ordered, part).mean()) for part in parts]
    return min(means), max(means)


def _by_volume(differences: NDArray[np.float64], volumes: Sequence[int]) -> dict[int, float]:
    found = {}
    for volume in sorted(set(volumes)):
        own = differences[np.array(volumes) == volume]
        if not np.isnan(own).all():
            found[volume] = float(np.nanmean(own))
    return found


def smallest_adjusted_p(found: Sequence[Contrast]) -> float:
    """What no data could go below: the smallest p of the contrast with most seeds, times the size of the family."""
    tests = [len(one.seeds) for one in found if not math.isnan(one.p)]
    return min(1.0, len(tests) * max(2 / 2 ** max(tests), 1 / (DRAWS + 1))) if tests else math.nan


def contrast_sentence(one: Contrast, slices: int) -> str:
    """What may be said of a contrast, and no more."""
    up = one.interval.mean >= 0
    low, high = (
        (one.interval.low, one.interval.high) if up else (-one.interval.high, -one.interval.low)
    )
    seeds = f"{len(one.seeds)} seeds" if len(one.seeds) > 1 else "1 seed"
    ends = f"95 % interval over seeds {_digits(low)} to {_digits(high)}; {seeds}"
    where = "this stack" if len(one.volumes) < 2 else f"these {len(one.volumes)} volumes"
    return (
        f"On these {slices} test slices of {where}, {one.second} scored {_digits(abs(one.interval.mean))} "
        f"{'above' if up else 'below'} {one.first} for {one.class_name} "
        f"({ends if len(one.seeds) > 1 else f'{seeds}, no interval'}). "
        "This covers training randomness only, not other slices, cells or annotators."
    )


def _digits(value: float) -> str:
    """.012 of a score.

    >>> _digits(0.0124), _digits(-0.004)
    ('.012', '-.004')
    """
    return f"{value:.3f}".replace("0.", ".", 1)
