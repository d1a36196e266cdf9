"""Which configurations of a data set are compared: by filter, by model, by both, or by name."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fibseg.errors import FibsegError
from fibseg.runs.finished import FinishedRun

_FILTER_SUFFIX = re.compile(r"-(areas_[0-9x_.]+|scope_\w+)")
"""What the name of a filtered configuration has that the name of its unfiltered peer has not."""


class Pairing(NamedTuple):
    """Two sides of a contrast, which is the second less the first.

    Attributes:
        kind: "filter", "model", "interaction" or "pair".
        first: names of the configurations that are subtracted; two for an interaction.
        second: names of as many configurations that they are subtracted from.
    """

    kind: str
    first: tuple[str, ...]
    second: tuple[str, ...]


class _Arm(NamedTuple):
    """A configuration, with one of its runs and the scientific part of that run's config.yaml."""

    label: str
    run: FinishedRun
    config: dict[str, Any] | None


def pairings(
    configurations: Mapping[str, Sequence[FinishedRun]],
    configs: Mapping[str, dict[str, Any] | None],
    named_pairs: Sequence[tuple[str, str]] = (),
) -> list[Pairing]:
    """What is compared with what.

    Args:
        configurations: name -> runs of each configuration.
        configs: name -> scientific part of config.yaml; None where it is missing or damaged.
        named_pairs: further pairs (A, B), for A less B. One that differs in filter or model only
            is a contrast already and is not tested twice, since that would widen the family.

    Raises:
        FibsegError: a pair names an unknown configuration, or one configuration twice.
    """
    _check_pairs(configurations, named_pairs)
    arms = [_Arm(label, runs[0], configs.get(label)) for label, runs in configurations.items()]
    # Permutations and not combinations: which of the two is filtered decides the sign.
    by_filter = [
        Pairing("filter", (plain.label,), (filtered.label,))
        for plain, filtered in itertools.permutations(arms, 2)
        if _differ_in_filter_only(plain, filtered)
    ]
    # No model comes before another one; the first by name is subtracted.
    by_model = [
        Pairing("model", (first.label,), (second.label,))
        for first, second in itertools.combinations(arms, 2)
        if _differ_in_model_only(first, second)
    ]
    interactions = _interactions(by_filter, {arm.label: arm for arm in arms})
    # As a set, because a pair that is named the other way round is the same test.
    known = {frozenset((*pairing.first, *pairing.second)) for pairing in (*by_filter, *by_model)}
    named: list[Pairing] = []
    for first_label, second_label in dict.fromkeys(named_pairs):
        is_known = frozenset((first_label, second_label)) in known
        # Both orders of a pair are one test.
        is_reversed = Pairing("pair", (first_label,), (second_label,)) in named
        if not is_known and not is_reversed:
            named.append(Pairing("pair", (second_label,), (first_label,)))
    return [*by_filter, *by_model, *interactions, *named]


def _check_pairs(configurations: Iterable[str], named_pairs: Sequence[tuple[str, str]]) -> None:
    names = list(configurations)
    for label in itertools.chain(*named_pairs):
        if label not in names:
            raise FibsegError(
                f"{label}: no such configuration; the configurations are {', '.join(names)}."
            )
    for first, second in named_pairs:
        if first == second:
            raise FibsegError(f"--pair {first} {second}: name two configurations that differ.")


def _interactions(by_filter: Sequence[Pairing], arms: Mapping[str, _Arm]) -> list[Pairing]:
    """What the filter adds to one model, less what it adds to another: two names on each side."""
    pairs = []
    # Filter contrasts of two models that agree in everything else, filter settings included.
    for one_model, other_model in itertools.combinations(by_filter, 2):
        if all(
            _differ_in_model_only(arms[first], arms[second])
            for first, second in (
                (one_model.first[0], other_model.first[0]),
                (one_model.second[0], other_model.second[0]),
            )
        ):
            first = (*one_model.first, *other_model.second)
            second = (*one_model.second, *other_model.first)
            pairs.append(Pairing("interaction", first, second))
    return pairs


def _differ_in_filter_only(plain: _Arm, filtered: _Arm) -> bool:
    # Chained: the first one is not filtered, and the second one is.
    is_filtered = plain.run.facts["filter"] == "off" != filtered.run.facts["filter"]
    is_same_model = plain.run.facts["model"] == filtered.run.facts["model"]
    return is_filtered and is_same_model and _equal_but("filter", plain, filtered)


def _differ_in_model_only(first: _Arm, second: _Arm) -> bool:
    is_other_model = first.run.facts["model"] != second.run.facts["model"]
    is_same_filter = first.run.facts["filter"] == second.run.facts["filter"]
    return is_other_model and is_same_filter and _equal_but("model", first, second)


def _equal_but(key: str, first: _Arm, second: _Arm) -> bool:
    """Whether two configurations are equal but for one group of keys.

    By their names where config.yaml of a run is missing.
    """
    if first.config is not None and second.config is not None:
        # The whole group is left out: with filter=off, areas and scope differ as well.
        kept_first = {name: value for name, value in first.config.items() if name != key}
        kept_second = {name: value for name, value in second.config.items() if name != key}
        return kept_first == kept_second
    # A name holds only what differs from the defaults, so that equal names mean equal keys.
    suffixes = [
        arm.run.configuration.removeprefix(f"{arm.run.facts['model']}-{arm.run.facts['filter']}")
        for arm in (first, second)
    ]
    if key == "filter":
        # An unfiltered peer has no areas in its name, which a filtered one may have.
        suffixes = [_FILTER_SUFFIX.sub("", suffix) for suffix in suffixes]
    return suffixes[0] == suffixes[1]


def unpaired(
    configurations: Mapping[str, Sequence[FinishedRun]], pairs: Iterable[Pairing]
) -> list[str]:
    """Phrases for what contrasts leave out: seeds that one side lacks, classes without pixels.

    An interaction repeats what its two filter contrasts leave out, and is passed over.
    """
    phrases = []
    for pairing in pairs:
        labels = (*pairing.first, *pairing.second)
        seeds = [frozenset(run.seed for run in configurations[label]) for label in labels]
        alone = sorted(frozenset.union(*seeds) - frozenset.intersection(*seeds))
        if alone and pairing.kind != "interaction":
            listed = ", ".join(map(str, alone))
            phrases.append(
                f"{pairing.second[0]} less {pairing.first[0]}: "
                f"without seeds {listed}, which one side lacks"
            )
    some_run = next(iter(configurations.values()))[0]
    # Whether a class is in the test slices depends on the truth alone: any run knows.
    absent = [name for name, score in some_run.f1("test").items() if math.isnan(score)]
    if absent:
        phrases.append(f"in no test slice, so in no contrast: {', '.join(absent)}")
    return phrases
