"""Contrasts as tables and sentences: over seeds, over blocks of slices, over volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fibseg.comparison.contrasts import SLICE_BLOCKS, Contrast, smallest_adjusted_p
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.paired import MOST_SEEDS, SEEDS_FOR_TEST, Interval, t_interval
from fibseg.comparison.pairings import unpaired
from fibseg.comparison.text import Table

VOLUMES_FOR_INTERVAL = 6
"""Test volumes from which an interval over volumes is given: with fewer, each is listed."""

_CONTRAST_COLUMNS = [
    "what",
    "contrast",
    "class",
    "test F1",
    "from",
    "to",
    "p",
    "p, Holm",
    "seeds",
    "seeds for .01",
    "least less a block",
    "most",
]


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
    return Table(
        name=f"contrasts-{dataset.name}",
        title=f"Contrasts: {dataset.name}",
        columns=_CONTRAST_COLUMNS,
        rows=rows,
        notes=[
            *_contrast_notes(contrasts),
            *unpaired(dataset.configurations, dataset.pairings),
        ],
    )


def _contrast_row(contrast: Contrast) -> list[str]:
    # p is NaN below SEEDS_FOR_TEST seeds: with three, no outcome could be significant.
    is_tested = not math.isnan(contrast.p)
    needed = "-"
    if contrast.seeds_needed is not None:
        seeds, lower, upper = contrast.seeds_needed
        needed = f"{_seed_count(seeds)} ({lower} to {_seed_count(upper)})"
    blocks = ["-", "-"]
    if contrast.block_range is not None:
        blocks = [f"{end:+.3f}" for end in contrast.block_range]
    return [
        contrast.kind,
        contrast.name,
        contrast.class_name,
        *_interval_cells(contrast.interval),
        f"{contrast.p:.3f}" if is_tested else "too few seeds for a 5 % test",
        # The phrase in the column before it says why.
        f"{contrast.adjusted_p:.3f}" if is_tested else "",
        str(len(contrast.seeds)),
        needed,
        *blocks,
    ]


def _row_without_collapsed(contrast: Contrast) -> list[str]:
    listed = ", ".join(map(str, contrast.collapsed_seeds))
    return [
        f"less collapsed seeds {listed}",
        contrast.name,
        contrast.class_name,
        *_interval_cells(contrast.standing_interval),
        "",
        "",
        str(len(contrast.seeds) - len(contrast.collapsed_seeds)),
        "",
        "",
        "",
    ]


def _contrast_notes(contrasts: Sequence[Contrast]) -> list[str]:
    # Only contrasts with a p are a test, and widen the family of Holm.
    tests = sum(not math.isnan(contrast.p) for contrast in contrasts)
    smallest = ""
    if tests:
        smallest = f"; no adjusted p can be below {smallest_adjusted_p(contrasts):.3g} here"
    return [
        "paired by seed, all finished runs; from, to: 95 % interval over seeds",
        f"p: exact sign-flip test from {SEEDS_FOR_TEST} seeds on; "
        f"Holm over {tests} tests{smallest}",
        "seeds for .01: to see a difference of .01 with 80 % power, and the range from the "
        "deviation's own interval",
        f"less a block: range of the difference without one of {SLICE_BLOCKS} blocks of slices "
        "along z; descriptive, no test",
        "this covers training randomness only, not other slices, cells or annotators",
    ]


def _interval_cells(interval: Interval) -> list[str]:
    """Mean, lower and upper end."""
    return [
        "-" if math.isnan(value) else f"{value:+.3f}"
        for value in (interval.mean, interval.low, interval.high)
    ]


def _seed_count(count: int) -> str:
    return f"{MOST_SEEDS} or more" if count >= MOST_SEEDS else str(count)


def volume_table(dataset: Dataset) -> Table | None:
    """Every contrast in each test volume, with an interval over volumes where there are enough.

    None for a data set of one test volume, or without contrasts.
    """
    volumes = sorted({place.volume for place in dataset.places})
    contrasts = dataset.contrasts
    # The difference in a single volume is the contrast itself.
    if len(volumes) < 2 or not contrasts:
        return None
    return Table(
        name=f"volumes-{dataset.name}",
        title=f"Volumes: {dataset.name}, test F1",
        columns=[
            "what",
            "contrast",
            "class",
            *(f"volume {volume}" for volume in volumes),
            "from",
            "to",
        ],
        rows=[_volume_row(contrast, volumes) for contrast in contrasts],
        notes=[
            "test F1, mean over seeds, of the slices of each volume",
            f"from, to: 95 % interval over volumes, from {VOLUMES_FOR_INTERVAL} of them on",
            "it speaks of other volumes only where these are independent cells",
        ],
    )


def _volume_row(contrast: Contrast, volumes: Sequence[int]) -> list[str]:
    by_volume = contrast.by_volume
    cells = [f"{by_volume[volume]:+.3f}" if volume in by_volume else "-" for volume in volumes]
    ends = ["-", "-"]
    # Student's interval of five values or fewer is so wide that the values tell more.
    if len(by_volume) >= VOLUMES_FOR_INTERVAL:
        ends = _interval_cells(t_interval(list(by_volume.values())))[1:]
    return [contrast.kind, contrast.name, contrast.class_name, *cells, *ends]


def contrast_sentences(dataset: Dataset) -> list[str]:
    """A sentence for each contrast of two configurations."""
    # Every configuration was scored on the same slices, so that any of its rows gives the number.
    slices = {row.class_name: row.slices for row in dataset.score_rows}
    return [
        contrast_sentence(contrast, slices[contrast.class_name])
        for contrast in dataset.contrasts
        # A difference of differences has no plain sentence.
        if contrast.kind != "interaction"
    ]


def contrast_sentence(contrast: Contrast, slices: int) -> str:
    """What may be concluded from a contrast over a number of test slices, and no more."""
    interval = contrast.interval
    # The size of the difference is given, so that a negative one is turned around with its ends.
    is_above = interval.mean >= 0
    low = interval.low if is_above else -interval.high
    high = interval.high if is_above else -interval.low
    count = len(contrast.seeds)
    evidence = "1 seed, no interval"
    if count > 1:
        evidence = (
            f"95 % interval over seeds {_short_score(low)} to {_short_score(high)}; {count} seeds"
        )
    volumes = len(contrast.by_volume)
    # A volume may be another cell, but one stack is one cell: the sentence must not say more.
    where = "this stack" if volumes < 2 else f"these {volumes} volumes"
    test_slices = "this 1 test slice" if slices == 1 else f"these {slices} test slices"
    return (
        f"On {test_slices} of {where}, {contrast.second} scored "
        f"{_short_score(abs(interval.mean))} {'above' if is_above else 'below'} {contrast.first} "
        f"for {contrast.class_name} ({evidence}). "
        "This covers training randomness only, not other slices, cells or annotators."
    )


def _short_score(value: float) -> str:
    """A score or a difference without the leading zero.

    >>> _short_score(0.0124), _short_score(-0.004)
    ('.012', '-.004')
    """
    # As the paper prints F1.
    return f"{value:.3f}".replace("0.", ".", 1)
