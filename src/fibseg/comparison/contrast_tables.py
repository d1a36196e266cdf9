"""Contrasts as tables and sentences: over seeds, and over seeds and slices."""

from __future__ import annotations

import math

from fibseg.comparison.contrasts import Contrast
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import (
    FEWEST_SLICES,
    MOST_SEEDS,
    SEEDS_FOR_SLICES,
    SEEDS_FOR_TEST,
    SLICES_FOR_INTERVAL,
    TEST_LEVEL,
    Interval,
)
from fibseg.comparison.pairings import unpaired
from fibseg.comparison.sides.texts import runs_cell, runs_text, side_text
from fibseg.comparison.text import Table

SCOPE = "This covers training randomness only, not other slices, cells or annotators."
_SCOPE_OF_BOTH = (
    "The first interval covers training randomness only, the second other slices of the same "
    "volumes, too; neither covers other cells or annotators."
)


def contrast_table(dataset: Dataset) -> Table:
    """Every contrast with its interval, and p where there are enough seeds.

    A contrast with collapsed runs has a second row without them.
    """
    contrasts = dataset.contrasts
    rows: list[list[str]] = []
    for contrast in contrasts:
        rows.append(_contrast_row(contrast))
        # Below the row of all runs and never instead of it: leaving failed runs out is a choice.
        if contrast.collapsed_seeds:
            rows.append(_row_without_collapsed(contrast))
    margin = dataset.questions.margin
    return Table(
        name=f"contrasts-{dataset.name}",
        title=f"Contrasts: {dataset.name}",
        columns=[
            *("question", "contrast", "class", "test F1", "from", "to"),
            *("p", f"p, within {margin:g}", "seeds"),
        ],
        rows=rows,
        notes=[
            *_family_notes(dataset),
            f"p, within {margin:g}: of the claim that the mean difference is smaller, by two "
            "one-sided t tests of each row by itself",
            SCOPE,
            *unpaired(dataset.configurations, dataset.pairings),
        ],
    )


def _contrast_row(contrast: Contrast) -> list[str]:
    interval = contrast.joint_interval if contrast.is_tested else contrast.interval
    return [
        _family_name(contrast),
        contrast.name,
        contrast.class_name,
        *interval_cells(interval),
        _p_text(contrast.joint_p) if contrast.is_tested else _why_untested(contrast),
        _p_text(contrast.equivalence_p),
        runs_cell(contrast.runs, contrast.paired),
    ]


def _why_untested(contrast: Contrast) -> str:
    # No outcome of five seeds could be significant.
    return "too few seeds for a 5 % test" if contrast.paired else "not paired by seed"


def _row_without_collapsed(contrast: Contrast) -> list[str]:
    collapsed = contrast.collapsed_seeds
    return [
        # Without pairs, a seed does not say of which side the run is.
        f"less collapsed seeds {', '.join(map(str, collapsed))}"
        if contrast.paired
        else f"less collapsed runs ({len(collapsed)})",
        contrast.name,
        contrast.class_name,
        *interval_cells(contrast.standing_interval),
        *("", ""),
        runs_cell(contrast.standing_runs, contrast.paired),
    ]


def _family_notes(dataset: Dataset) -> list[str]:
    """What the intervals and p of the table hold for."""
    tested = {_family_name(c): c for c in dataset.contrasts if c.is_tested}
    notes = []
    if any(contrast.paired for contrast in dataset.contrasts):
        notes.append("paired by seed, all finished runs")
    if not all(contrast.paired for contrast in dataset.contrasts):
        notes.append(
            "not paired by seed: seeds of another program mean something else than ours; from, to "
            "are Welch's 95 % interval of the row by itself over all runs of both sides, and there "
            "is no test; seeds: runs of the first and of the second name"
        )
    if tested:
        families = ", ".join(
            f"{family} {contrast.family} (smallest possible p {contrast.smallest_p:.2g})"
            for family, contrast in tested.items()
        )
        notes.append(
            "from, to, p: the tests of a question are one family, its main effects another, by "
            "joint sign flips (Westfall and Young); 95 % hold for all of a family; "
            f"tests: {families}"
        )
    if not all(contrast.is_tested for contrast in dataset.contrasts if contrast.paired):
        notes.append(
            f"below {SEEDS_FOR_TEST} seeds, and without collapsed ones: from, to are Student's "
            "95 % interval over seeds of the row by itself"
        )
    if dataset.questions.primary is not None:
        notes.append(
            f"the primary question is {dataset.questions.primary}; the p of the others explore"
        )
    return notes


def _family_name(contrast: Contrast) -> str:
    return f"{contrast.question}, main effect" if contrast.is_main_effect else contrast.question


def detail_table(dataset: Dataset) -> Table:
    """Every contrast by itself: sizes, intervals of other kinds, seeds that it needs."""
    return Table(
        name=f"details-{dataset.name}",
        title=f"Each contrast by itself: {dataset.name}",
        columns=[
            *("question", "contrast", "class", "paired from", "to", "p", "unpaired from", "to"),
            *("effect size", "correlation", "seeds for .01"),
            *("pooled F1", "over seeds and slices from", "to", "slices"),
        ],
        rows=[_detail_row(contrast) for contrast in dataset.contrasts],
        notes=[
            "paired: Student's 95 % interval over seeds; p: exact sign-flip test; both of this row "
            "alone; no pairs with runs of other programs",
            "unpaired: Welch's 95 % interval; it is narrower where scores of one seed have nothing "
            "in common (correlation)",
            "effect size: difference over the deviation of a score over seeds (Cohen's d)",
            "seeds for .01: to see a difference of .01 with 80 % power, and the range from the "
            "deviation's own interval",
            "over seeds and slices: 95 % interval of the difference of pooled F1, of this row "
            "alone, for other seeds and other slices of the same volumes; descriptive below "
            f"{SLICES_FOR_INTERVAL} slices with the class or {SEEDS_FOR_SLICES} seeds, none below "
            f"{FEWEST_SLICES} slices",
        ],
    )


def _detail_row(contrast: Contrast) -> list[str]:
    needed = "-"
    if contrast.seeds_needed is not None:
        seeds, lower, upper = contrast.seeds_needed
        needed = f"{_seed_count(seeds)} ({lower} to {_seed_count(upper)})"
    claim = "" if contrast.covers_slices or not contrast.paired else ", descriptive"
    return [
        contrast.question,
        contrast.name,
        contrast.class_name,
        *(interval_cells(contrast.interval)[1:] if contrast.paired else ("-", "-")),
        _p_text(contrast.p),
        *interval_cells(contrast.welch)[1:],
        "-" if math.isnan(contrast.effect_size) else f"{contrast.effect_size:+.2f}",
        "-" if math.isnan(contrast.correlation) else f"{contrast.correlation:+.2f}",
        needed,
        *interval_cells(contrast.pooled_interval),
        f"{contrast.slices}{claim}",
    ]


def _p_text(p: float) -> str:
    return "-" if math.isnan(p) else f"{p:.3f}"


def interval_cells(interval: Interval) -> list[str]:
    """Mean, lower and upper end."""
    return [
        "-" if math.isnan(value) else f"{value:+.3f}"
        for value in (interval.mean, interval.low, interval.high)
    ]


def _seed_count(count: int) -> str:
    return f"{MOST_SEEDS} or more" if count >= MOST_SEEDS else str(count)


def contrast_sentences(dataset: Dataset) -> list[str]:
    """A sentence for each contrast, main effects first."""
    contrasts = sorted(dataset.contrasts, key=lambda contrast: not contrast.is_main_effect)
    return [
        contrast_sentence(contrast, dataset.questions.margin)
        for contrast in contrasts
        # A difference of differences has no plain sentence.
        if contrast.question != "interaction"
    ]


def contrast_sentence(contrast: Contrast, margin: float) -> str:
    """What may be concluded from a contrast over its seeds and test slices, and no more."""
    mean = contrast.interval.mean
    volumes = len(contrast.by_volume)
    # A volume may be another cell, but one stack is one cell: the sentence must not say more.
    where = "this stack" if volumes < 2 else f"these {volumes} volumes"
    slices = contrast.slices
    test_slices = "this 1 test slice" if slices == 1 else f"these {slices} test slices"
    distance = f"{score_in_text(abs(mean))} {'above' if mean >= 0 else 'below'}"
    if round(abs(mean), 3) == 0:
        distance = "within .0005 of"
    sentences = [
        f"On {test_slices} of {where}, {side_text(contrast.second, contrast.question)} scored "
        f"{distance} {side_text(contrast.first, contrast.question)} for {contrast.class_name} "
        f"({_evidence(contrast)})."
    ]
    if contrast.equivalence_p <= TEST_LEVEL:
        sentences.append(
            f"The difference is smaller than {margin:g} "
            f"(two one-sided tests, p {p_in_text(contrast.equivalence_p)})."
        )
    # Of one seed there is no interval of any kind.
    if min(contrast.runs) > 1:
        sentences.append(_slices_sentence(contrast))
    return " ".join([*sentences, _SCOPE_OF_BOTH if contrast.covers_slices else SCOPE])


def _slices_sentence(contrast: Contrast) -> str:
    """The interval over seeds and slices, which is not of 95 % where either are few."""
    interval = contrast.pooled_interval
    mean, low, high = map(signed_score, (interval.mean, interval.low, interval.high))
    if not contrast.paired:
        return f"Pooled F1 differs by {mean}."
    if math.isnan(interval.low):
        few = "1 slice is" if contrast.slices == 1 else f"{contrast.slices} slices are"
        return f"Pooled F1 differs by {mean}; {few} too few for an interval over slices, too."
    if contrast.covers_slices:
        return f"Pooled F1 differs by {mean} (95 % interval over seeds and slices {low} to {high})."
    few = f"{contrast.slices} slices"
    if contrast.slices >= SLICES_FOR_INTERVAL:
        few = f"{len(contrast.seeds)} seeds"
    return (
        f"Pooled F1 differs by {mean} (over seeds and slices {low} to {high}; descriptive, since "
        f"{few} are too few for a 95 % interval)."
    )


def _evidence(contrast: Contrast) -> str:
    """Interval, p and seeds, in the direction in which the sentence gives the difference."""
    count = runs_text(contrast.runs, contrast.paired)
    if not contrast.paired:
        count += ", not paired"
    if min(contrast.runs) < 2:
        return f"{count}, no interval"
    interval = contrast.joint_interval if contrast.is_tested else contrast.interval
    ends = [interval.low, interval.high]
    # The size of the difference is given, so that a negative one is turned around with its ends.
    if interval.mean < 0:
        ends = [-interval.high, -interval.low]
    low, high = map(score_in_text, ends)
    joint = f", jointly for {contrast.family} tests" if contrast.family > 1 else ""
    p = f" and p {p_in_text(contrast.joint_p)}{joint}" if contrast.is_tested else ""
    return f"95 % interval over seeds {low} to {high}{p}; {count}"


def p_in_text(p: float) -> str:
    """P in a sentence.

    >>> p_in_text(0.015625), p_in_text(0.0002)
    ('= .016', '< .001')
    """
    return "< .001" if p < 0.001 else f"= {score_in_text(p)}"


def score_in_text(value: float) -> str:
    """A score or a difference without the leading zero.

    >>> score_in_text(0.0124), score_in_text(-0.004)
    ('.012', '-.004')
    """
    # As the paper prints F1.
    return f"{value:.3f}".replace("0.", ".", 1)


def signed_score(value: float) -> str:
    """A difference with its sign and without the leading zero.

    >>> signed_score(0.0124), signed_score(-0.004), signed_score(-0.0001)
    ('+.012', '-.004', '+.000')
    """
    # What rounds to 0 is no negative number.
    return f"{'-' if round(value, 3) < 0 else '+'}{score_in_text(abs(value))}"
