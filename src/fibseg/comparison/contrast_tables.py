"""Contrasts as tables and sentences: over seeds, over blocks of slices, over volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fibseg.comparison.contrasts import (
    BLOCKS,
    VOLUMES,
    Contrast,
    contrast_sentence,
    smallest_adjusted_p,
)
from fibseg.comparison.paired import ENOUGH, MOST, Interval, t_interval
from fibseg.comparison.rows import score_rows
from fibseg.comparison.text import Table
from fibseg.runs.collection import FinishedRun


def contrast_table(
    runs: Sequence[FinishedRun], found: Sequence[Contrast], left_out: Sequence[str] = ()
) -> Table:
    """Every contrast with its interval; p only where there are seeds enough. `left_out` tells what is in none."""
    rows = []
    for one in found:
        few = math.isnan(one.p)
        p = "too few seeds for a 5 % test" if few else f"{one.p:.3f}"
        needed = (
            "-"
            if one.needed is None
            else f"{_seeds(one.needed[0])} ({one.needed[1]} to {_seeds(one.needed[2])})"
        )
        blocks = ["-", "-"] if one.blocks is None else [f"{value:+.3f}" for value in one.blocks]
        name = f"{one.second} less {one.first}"
        tests = [p, "" if few else f"{one.adjusted:.3f}", str(len(one.seeds)), needed, *blocks]
        rows.append([one.kind, name, one.class_name, *_ends(one.interval), *tests])
        if one.fallen:
            without = f"less collapsed seeds {', '.join(map(str, one.fallen))}"
            count = str(len(one.seeds) - len(one.fallen))
            rows.append(
                [without, name, one.class_name, *_ends(one.standing), "", "", count, "", "", ""]
            )
    family = sum(not math.isnan(one.p) for one in found)
    least = f"; no adjusted p can be below {smallest_adjusted_p(found):.3g} here" if family else ""
    columns = [
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
    ]
    columns += ["least less a block", "most"]
    notes = [
        "paired by seed, all finished runs; from, to: 95 % interval over seeds",
        f"p: exact sign-flip test from {ENOUGH} seeds on; Holm over {family} tests{least}",
        "seeds for .01: to see a difference of .01 with 80 % power, and the range from the deviation's own interval",
        f"less a block: range of the difference without one of {BLOCKS} blocks of slices along z; descriptive, no test",
        "this covers training randomness only, not other slices, cells or annotators",
        *left_out,
    ]
    return Table(f"contrasts-{runs[0].data}", f"Contrasts: {runs[0].data}", columns, rows, notes)


def _ends(interval: Interval) -> list[str]:
    """Mean, low and high."""
    return [
        "-" if math.isnan(value) else f"{value:+.3f}"
        for value in (interval.mean, interval.low, interval.high)
    ]


def _seeds(count: int) -> str:
    return f"{MOST} or more" if count >= MOST else str(count)


def volume_table(runs: Sequence[FinishedRun], found: Sequence[Contrast]) -> Table | None:
    """The difference in every test volume, from VOLUMES on with an interval over volumes; None for one volume."""
    volumes = sorted({volume for volume, _ in runs[0].places["test"]})
    if len(volumes) < 2 or not found:
        return None
    rows = []
    for one in found:
        values = [one.volumes[volume] for volume in volumes if volume in one.volumes]
        cells = [
            f"{one.volumes[volume]:+.3f}" if volume in one.volumes else "-" for volume in volumes
        ]
        interval = t_interval(values)
        over = _ends(interval)[1:] if len(values) >= VOLUMES else ["-", "-"]
        rows.append([one.kind, f"{one.second} less {one.first}", one.class_name, *cells, *over])
    columns = [
        "what",
        "contrast",
        "class",
        *(f"volume {volume}" for volume in volumes),
        "from",
        "to",
    ]
    notes = [
        "test F1, mean over seeds, of the slices of each volume",
        f"from, to: 95 % interval over volumes, from {VOLUMES} of them on",
        "it speaks of other volumes only where these are independent cells",
    ]
    return Table(
        f"volumes-{runs[0].data}", f"Volumes: {runs[0].data}, test F1", columns, rows, notes
    )


def contrast_sentences(runs: Sequence[FinishedRun], found: Sequence[Contrast]) -> list[str]:
    """One sentence per contrast of two configurations."""
    slices = {row.class_name: row.slices for row in score_rows(runs, "test")}
    return [
        contrast_sentence(one, slices[one.class_name]) for one in found if one.kind != "interaction"
    ]
