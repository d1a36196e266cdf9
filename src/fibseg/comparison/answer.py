"""The answer first: which configuration is best, by how much, and whether that is chance."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fibseg.comparison.contrast_tables import SCOPE, p_in_text, score_in_text, signed_score
from fibseg.comparison.contrasts import Contrast
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import (
    SEEDS_FOR_TEST,
    TEST_LEVEL,
    Interval,
    family_test,
    t_interval,
)
from fibseg.comparison.score_tables import stated_mark, stated_note
from fibseg.comparison.sides.texts import runs_text, side_text
from fibseg.comparison.text import Table
from fibseg.runs.identity import name_words


def answer_table(dataset: Dataset) -> Table:
    """Configurations by classes, the best mean first: F1, its interval over seeds, its rank.

    A star marks what is below the best of its class by more than chance.
    """
    scores = {
        label: {name: [run.f1("test")[name] for run in runs] for name in dataset.foreground}
        for label, runs in dataset.configurations.items()
    }
    means = {
        label: [float(np.mean(values)) for values in of_class.values()]
        for label, of_class in scores.items()
    }
    overall = {
        label: float(np.mean(known)) if (known := [m for m in of if not math.isnan(m)]) else -1.0
        for label, of in means.items()
    }
    order = sorted(scores, key=lambda label: -overall[label])
    below, tests = _below_the_best(dataset, means)
    rows = []
    for label in order:
        runs = dataset.configurations[label]
        cells = []
        for column, name in enumerate(dataset.foreground):
            # Equal means share a rank, though their last bits differ.
            better = means[label][column] + 1e-12
            rank = 1 + sum(other[column] > better for other in means.values())
            star = "*" if (label, name) in below else ""
            cells.append(_cell(t_interval(scores[label][name]), f"#{rank}{star}"))
        rows.append([label, *cells, *_cost_cells(dataset, label), str(len(runs))])
    return Table(
        name=f"answer-{dataset.name}",
        title=f"{dataset.name}: test F1 (95 % interval over seeds), rank",
        columns=["configuration", *dataset.foreground, "minutes", "parameters", "runs"],
        rows=rows,
        notes=[
            *_star_notes(dataset, tests),
            f"minutes: of training and scoring a run, mean over runs{stated_note(dataset)}",
            *_left_out_notes(dataset),
            *_mixture_notes(dataset),
        ],
    )


def _below_the_best(
    dataset: Dataset, means: dict[str, list[float]]
) -> tuple[set[tuple[str, str]], int]:
    """Configuration and class of what is below the best by more than chance; number of tests.

    All pairs of configurations and all classes are one family, since the best is chosen by the same
    scores.
    """
    pairs = [
        (first, second, column)
        for first, second in itertools.combinations(means, 2)
        for column in range(len(dataset.foreground))
        if not math.isnan(means[first][column])
    ]
    by_seed = {
        # Seeds of another program are no pairs with ours.
        label: {run.seed: run.f1("test") for run in runs if not run.adopted}
        for label, runs in dataset.configurations.items()
    }
    differences = []
    for first, second, column in pairs:
        name = dataset.foreground[column]
        seeds = by_seed[first].keys() & by_seed[second].keys()
        differences.append({s: by_seed[second][s][name] - by_seed[first][s][name] for s in seeds})
    adjusted = family_test(differences).adjusted_p
    below = set()
    for (first, second, column), p in zip(pairs, adjusted, strict=True):
        best = max(means, key=lambda label: means[label][column])
        if p <= TEST_LEVEL and best in (first, second):
            other = second if best == first else first
            below.add((other, dataset.foreground[column]))
    return below, sum(not math.isnan(p) for p in adjusted)


def _star_notes(dataset: Dataset, tests: int) -> list[str]:
    notes = []
    if tests:
        notes.append(
            "*: below the best of its class by more than chance over seeds (joint sign flips, "
            f"{tests} tests of all pairs); where seeds scatter more, a lower mean may have none"
        )
    elif len(dataset.adopted) < len(dataset.configurations):
        notes.append(f"no marks against the best: those need {SEEDS_FOR_TEST} seeds or more")
    if dataset.adopted:
        names = ", ".join(dataset.adopted)
        notes.append(f"no marks for {names}, whose runs are no pairs with the others")
    return notes


def _left_out_notes(dataset: Dataset) -> list[str]:
    """How many runs are in no number here, with the first of them."""
    if not dataset.left_out:
        return []
    others = len(dataset.left_out) - 1
    more = f"; and {others} more, below Table 1" if others else ""
    return [f"not among them: {dataset.left_out[0]}{more}"]


_ALIKE = ("device", "device_name", "precision", "tf32", "windows")
"""Facts of a run that may change its scores a little, and its minutes."""


_NAMED_CONFIGURATIONS = 3
"""Configurations that a note lists by name."""


def _mixture_notes(dataset: Dataset) -> list[str]:
    """In which of _ALIKE and in which versions the runs differ."""
    notes = []
    for fact in _ALIKE:
        counts = Counter(str(run.facts[fact]) for run in dataset.runs if fact in run.facts)
        if len(counts) > 1:
            notes.append(f"runs differ in {fact}: {_values_text(dataset, fact, counts)}")
    versions = [run.facts.get("versions") or {} for run in dataset.runs]
    for package in ("fibseg", "torch", "lightning", "timm"):
        counts = Counter(str(of[package]) for of in versions if package in of)
        if len(counts) > 1:
            notes.append(f"runs differ in the version of {package}: {_counts_text(counts)}")
    return notes


def _values_text(dataset: Dataset, fact: str, counts: Counter[str]) -> str:
    """Values of a fact with their runs: configurations by name where that takes few names."""
    values = {
        label: {str(run.facts.get(fact)) for run in runs}
        for label, runs in dataset.configurations.items()
    }
    if any(len(of_label) > 1 for of_label in values.values()):
        return _counts_text(counts)
    texts = []
    for value, count in counts.most_common():
        labels = [label for label, of_label in values.items() if value in of_label]
        named = len(labels) <= _NAMED_CONFIGURATIONS
        texts.append(f"{value} ({', '.join(labels) if named else f'{count} runs'})")
    return ", ".join(texts)


def _counts_text(counts: Counter[str]) -> str:
    """Values with how many runs have them, the most frequent first.

    >>> _counts_text(Counter(["32", "bf16", "32"]))
    '32 (2 runs), bf16 (1 run)'
    """
    return ", ".join(
        f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in counts.most_common()
    )


def _cell(interval: Interval, rank: str) -> str:
    """A score, its interval and its rank.

    >>> _cell(Interval(0.9031, 0.8849, 0.9144), "#2*")
    '.903 (.885 to .914) #2*'
    """
    if math.isnan(interval.mean):
        return "-"
    ends = ""
    if not math.isnan(interval.low):
        ends = f" ({score_in_text(interval.low)} to {score_in_text(interval.high)})"
    return f"{score_in_text(interval.mean)}{ends} {rank}"


def _cost_cells(dataset: Dataset, label: str) -> list[str]:
    """Minutes and parameters of a configuration; "-" where its runs do not say them."""
    runs = dataset.configurations[label]
    seconds = [run.facts["seconds"] for run in runs if "seconds" in run.facts]
    # A forest has none.
    parameters = {run.facts["parameters"] for run in runs if run.facts.get("parameters")}
    return [
        f"{np.mean(seconds) / 60:.1f}{stated_mark(runs)}" if seconds else "-",
        f"{parameters.pop():,}" if len(parameters) == 1 else "-",
    ]


def answers(dataset: Dataset) -> list[str]:
    """A sentence for each question: main effects where there are some, else each contrast."""
    sentences = []
    # A difference of differences has no plain sentence.
    contrasts = [c for c in dataset.contrasts if c.question != "interaction"]
    for question in dict.fromkeys(contrast.question for contrast in contrasts):
        of_question = [c for c in contrasts if c.question == question]
        main_effects = [contrast for contrast in of_question if contrast.is_main_effect]
        sides: dict[str, list[Contrast]] = {}
        for contrast in main_effects or of_question:
            sides.setdefault(contrast.name, []).append(contrast)
        sentences += [_answer(of_side, dataset.questions.margin) for of_side in sides.values()]
    return [*sentences, SCOPE] if sentences else []


def _answer(contrasts: Sequence[Contrast], margin: float) -> str:
    """What one side scored above another one, class by class: the verdicts first."""
    some = contrasts[0]
    by_class = "; ".join(_verdict(contrast, margin) for contrast in contrasts)
    seeds = runs_text(some.runs, some.paired)
    has_interval = min(some.runs) > 1
    basis = f"95 % intervals of each over {seeds}" if has_interval else seeds
    if has_interval and not some.is_tested:
        basis += "; too few seeds for a test" if some.paired else "; not paired, no test"
    if some.is_tested:
        joint = f", jointly for {some.family} tests" if some.family > 1 else ""
        basis = f"95 % intervals over {seeds}{joint}"
    second = side_text(some.second, some.question)
    first = side_text(some.first, some.question)
    words = _what_differs(some.second, some.first)
    if words is None:
        return f"{some.question}, {second} against {first}: {by_class} ({basis})."
    return (
        f"{some.question}, {words[0]} against {words[1]}: {by_class} ({second} less {first}; "
        f"{basis})."
    )


def _what_differs(second: Sequence[str], first: Sequence[str]) -> tuple[str, str] | None:
    """The words that all names of one side have and those of the other lack; None without any.

    >>> _what_differs(["unet-on-quick", "eunet-on-quick"], ["unet-off-quick", "eunet-off-quick"])
    ('on', 'off')
    >>> _what_differs(["unet-on-lr_1e-4"], ["unet-on-lr_1e-3"])
    ('lr_1e-4', 'lr_1e-3')
    """
    sides = [[name_words(name) for name in side] for side in (second, first)]
    shared = [set.intersection(*map(set, side)) for side in sides]
    texts = [
        "-".join(word for word in side[0] if word in of_all and word not in of_other)
        for side, of_all, of_other in zip(sides, shared, shared[::-1], strict=True)
    ]
    return (texts[0], texts[1]) if all(texts) else None


def _verdict(contrast: Contrast, margin: float) -> str:
    """The difference of one class, as "er +.055 (+.020 to +.090), more than chance (p = .016)"."""
    interval = contrast.joint_interval if contrast.is_tested else contrast.interval
    text = f"{contrast.class_name} {signed_score(interval.mean)}"
    if not math.isnan(interval.low):
        text += f" ({signed_score(interval.low)} to {signed_score(interval.high)})"
    if contrast.is_tested:
        chance = "more than chance" if contrast.joint_p <= TEST_LEVEL else "may be chance"
        text += f", {chance} (p {p_in_text(contrast.joint_p)})"
    if contrast.equivalence_p <= TEST_LEVEL:
        text += f", a difference below {margin:g}"
    return text
