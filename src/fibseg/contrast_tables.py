"""Contrasts as tables and sentences: over seeds, over blocks of slices, over volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fibseg.comparison import Run, score_rows
from fibseg.contrasts import BLOCKS, VOLUMES, Contrast, sentence
from fibseg.statistics import ENOUGH, t_interval
from fibseg.tables import Table


def contrast_table(runs: Sequence[Run], found: Sequence[Contrast]) -> Table:
    """Every contrast with its interval; p only where there are seeds enough."""
    rows = []
    for one in found:
        low, high = one.interval.low, one.interval.high
        interval = "-" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
        few = math.isnan(one.p)
        p = "too few seeds for a 5 % test" if few else f"{one.p:.3f}"
        needed = "-" if one.needed is None else f"{one.needed[0]} ({one.needed[1]} to {one.needed[2]})"
        adjusted = "" if few else f"{one.adjusted:.3f}"
        cells = [one.kind, f"{one.second} less {one.first}", one.class_name, f"{one.interval.mean:+.3f}", interval]
        blocks = "-" if one.blocks is None else f"{one.blocks[0]:+.3f} to {one.blocks[1]:+.3f}"
        rows.append([*cells, p, adjusted, str(len(one.seeds)), needed, blocks])
    family = sum(not math.isnan(one.p) for one in found)
    columns = [
        "what",
        "contrast",
        "class",
        "test F1",
        "95 % interval",
        "p",
        "p, Holm",
        "seeds",
        "seeds for .01",
        "less a block",
    ]
    notes = [
        f"paired by seed, all finished runs; exact sign-flip test from {ENOUGH} seeds on; Holm over {family} tests",
        "seeds for .01: to see a difference of .01 with 80 % power, and the range from the deviation's own interval",
        f"less a block: range of the difference without one of {BLOCKS} blocks of slices along z; descriptive, no test",
        "this covers training randomness only, not other slices, cells or annotators",
    ]
    return Table(f"contrasts-{runs[0].data}", f"Contrasts: {runs[0].data}", columns, rows, notes)


def volume_table(runs: Sequence[Run], found: Sequence[Contrast]) -> Table | None:
    """The difference in every test volume, from VOLUMES on with an interval over volumes; None for one volume."""
    volumes = sorted({volume for volume, _ in runs[0].places["test"]})
    if len(volumes) < 2 or not found:
        return None
    rows = []
    for one in found:
        values = [one.volumes[volume] for volume in volumes if volume in one.volumes]
        cells = [f"{one.volumes[volume]:+.3f}" if volume in one.volumes else "-" for volume in volumes]
        interval = t_interval(values)
        over = f"{interval.low:+.3f} to {interval.high:+.3f}" if len(values) >= VOLUMES else f"{len(values)} volumes"
        rows.append([one.kind, f"{one.second} less {one.first}", one.class_name, *cells, over])
    columns = ["what", "contrast", "class", *(f"volume {volume}" for volume in volumes), "95 % interval over volumes"]
    notes = [
        "test F1, mean over seeds, of the slices of each volume",
        f"an interval from {VOLUMES} volumes on; it speaks of other volumes only where these are independent cells",
    ]
    return Table(f"volumes-{runs[0].data}", f"Volumes: {runs[0].data}, test F1", columns, rows, notes)


def sentences(runs: Sequence[Run], found: Sequence[Contrast]) -> list[str]:
    """One sentence per contrast of two configurations."""
    slices = {row.class_name: row.slices for row in score_rows(runs, "test")}
    return [sentence(one, slices[one.class_name]) for one in found if one.kind != "interaction"]
