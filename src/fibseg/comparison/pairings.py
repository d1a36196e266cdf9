"""Which configurations of a data set are compared: the questions that its runs can answer."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fibseg.errors import FibsegError
from fibseg.runs.finished import FinishedRun
from fibseg.runs.identity import flatten

_FILTER_SUFFIX = re.compile(r"-(areas_[0-9x_.]+|scope_\w+)")
"""What the name of a filtered configuration has that the name of its unfiltered peer has not."""


QUESTIONS = ("filter", "model", "interaction", "key", "pair")
"""What a contrast asks; the contrasts of one question are one family of tests.

"key" is any other single key of the configuration; "pair" is named by a person."""


class Pairing(NamedTuple):
    """Two sides of a contrast, which is the second less the first.

    Attributes:
        question: of QUESTIONS.
        first: names of the configurations that are subtracted: several for a main effect, which is
            between means, and two for an interaction, which is between sums.
        second: names of as many configurations that they are subtracted from.
    """

    question: str
    first: tuple[str, ...]
    second: tuple[str, ...]


@dataclass(frozen=True)
class Questions:
    """What a person asks of the runs.

    Attributes:
        named_pairs: pairs (A, B) of configurations to compare beside filter and model: A less B.
        baseline: configuration with which every other one is compared; None for none.
        margin: F1 below which a difference does not matter.
        primary: the question that was asked before the runs, of QUESTIONS; None for none.
    """

    named_pairs: Sequence[tuple[str, str]] = ()
    baseline: str | None = None
    margin: float = 0.01
    primary: str | None = None


USUAL_QUESTIONS = Questions()

_CLASSIC = ("forest", "ilastik")
"""Models that are no networks: what a filter adds to them says nothing of networks."""


class _Arm(NamedTuple):
    """A configuration, with one of its runs and the scientific part of that run's config.yaml."""

    label: str
    run: FinishedRun
    config: dict[str, Any] | None


def pairings(
    configurations: Mapping[str, Sequence[FinishedRun]],
    configs: Mapping[str, dict[str, Any] | None],
    questions: Questions = USUAL_QUESTIONS,
) -> list[Pairing]:
    """What is compared with what, the primary question first, main effects before their parts.

    Two configurations that differ in filter, model or a single key are a contrast whether they are
    named or not, and are not tested twice, since that would widen the family.

    Args:
        configurations: name -> runs of each configuration.
        configs: name -> scientific part of config.yaml; None where it is missing or damaged.
        questions: what else is asked.

    Raises:
        FibsegError: a pair names an unknown configuration, or one configuration twice.
    """
    _check_pairs(configurations, questions.named_pairs)
    arms = {
        label: _Arm(label, runs[0], configs.get(label)) for label, runs in configurations.items()
    }
    # Permutations and not combinations: which of the two is filtered decides the sign.
    by_filter = [
        Pairing("filter", (plain.label,), (filtered.label,))
        for plain, filtered in itertools.permutations(arms.values(), 2)
        if _differ_in_filter_only(plain, filtered)
    ]
    # No model comes before another one; the first by name is subtracted.
    by_model = [
        Pairing("model", (first.label,), (second.label,))
        for first, second in itertools.combinations(arms.values(), 2)
        if _differ_in_model_only(first, second)
    ]
    pairs = [
        *_main_effects(by_filter, arms, _differ_in_model_only),
        *by_filter,
        *_main_effects(by_model, arms, _differ_in_filter_only),
        *by_model,
        *_interactions(by_filter, arms),
        *_by_key(arms, [*by_filter, *by_model]),
    ]
    pairs += _named(pairs, questions, list(arms))
    # A stable sort: the others keep their order.
    return sorted(pairs, key=lambda pairing: pairing.question != questions.primary)


def _named(pairs: Sequence[Pairing], questions: Questions, labels: Sequence[str]) -> list[Pairing]:
    """The pairs that are named, and those with the baseline, unless they are compared already."""
    asked = [(second, first) for first, second in questions.named_pairs]
    baseline = questions.baseline
    if baseline is not None and baseline in labels:
        asked += [(baseline, label) for label in labels if label != baseline]
    # As sets, because a pair that is named the other way round is the same test.
    known = {frozenset((*pairing.first, *pairing.second)) for pairing in pairs}
    named = []
    for first, second in asked:
        if frozenset((first, second)) not in known:
            known.add(frozenset((first, second)))
            named.append(Pairing("pair", (first,), (second,)))
    return named


def _main_effects(
    pairs: Sequence[Pairing], arms: Mapping[str, _Arm], differ_in_other: Callable[..., bool]
) -> list[Pairing]:
    """The mean of contrasts that ask the same of networks, beside other settings of the rest."""
    groups: list[list[Pairing]] = []
    networks = [
        pairing
        for pairing in pairs
        if not any(
            arms[label].run.facts["model"] in _CLASSIC
            for label in (*pairing.first, *pairing.second)
        )
    ]
    for pairing in networks:
        for group in groups:
            sides = ((pairing.first, group[0].first), (pairing.second, group[0].second))
            # Either of the two may be the filtered one.
            if all(
                differ_in_other(arms[this], arms[that]) or differ_in_other(arms[that], arms[this])
                for (this,), (that,) in sides
            ):
                group.append(pairing)
                break
        else:
            groups.append([pairing])
    return [
        Pairing(
            group[0].question,
            tuple(pairing.first[0] for pairing in group),
            tuple(pairing.second[0] for pairing in group),
        )
        for group in groups
        if len(group) > 1
    ]


def _by_key(arms: Mapping[str, _Arm], asked: Sequence[Pairing]) -> list[Pairing]:
    """Configurations that differ in one key: the others less the first, by its value."""
    flat = {arm.label: flatten(arm.config) for arm in arms.values() if arm.config is not None}
    known = {frozenset((*pairing.first, *pairing.second)) for pairing in asked}
    # A curve is drawn over the number of annotated slices.
    sweeps: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    for label, other in itertools.combinations(flat, 2):
        differing = _differing_keys(flat[label], flat[other])
        is_asked = {frozenset((label, other))} & known
        if len(differing) != 1 or is_asked or differing[0] == "data.annotated":
            continue
        (key,) = differing
        rest = str(sorted((name, str(value)) for name, value in flat[label].items() if name != key))
        sweep = sweeps.setdefault((key, rest), [])
        for name in (label, other):
            if (flat[name].get(key), name) not in sweep:
                sweep.append((flat[name].get(key), name))
    pairs = []
    for sweep in sweeps.values():
        (_, first), *others = sorted(sweep, key=_by_value)
        pairs += [Pairing("key", (first,), (label,)) for _, label in others]
    return pairs


def _differing_keys(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    missing = object()
    return [
        key
        for key in first.keys() | second.keys()
        if first.get(key, missing) != second.get(key, missing)
    ]


def _by_value(entry: tuple[Any, str]) -> tuple[bool, Any, str]:
    """Numbers by size before anything else by its text."""
    value, label = entry
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else str(value), label


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
        # All runs of another program are compared with all of ours.
        adopted = any(run.adopted for label in labels for run in configurations[label])
        if alone and pairing.question != "interaction" and not adopted:
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
