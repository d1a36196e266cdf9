"""The tables of `fibseg compare`: scores and components as the paper has them, contrasts, and every run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import numpy as np

from fibseg.compared_components import detections
from fibseg.comparison import Run, chosen, collapsed, configurations, score_rows, second_expert
from fibseg.contrasts import BLOCKS, Contrast, sentence
from fibseg.metrics import mean_f1
from fibseg.scoring import HIGH, LOW
from fibseg.statistics import ENOUGH
from fibseg.tables import Table


def spread(values: Sequence[float], paper_style: bool) -> str:
    """Mean and standard deviation: of a sample, rounded; or the paper's, of a population and cut off.

    >>> spread([0.9379, 0.9399], False), spread([0.9379, 0.9399], True)
    ('0.939 ± 0.001', '0.938 ± 0.001')
    """
    found = np.asarray(values, np.float64)
    if len(found) == 0 or np.isnan(found).any():
        return "-"
    mean = _digits(float(found.mean()), paper_style)
    if len(found) == 1:
        return mean
    return f"{mean} ± {_digits(float(found.std(ddof=0 if paper_style else 1)), paper_style)}"


def _digits(value: float, cut: bool) -> str:
    rounding = ROUND_DOWN if cut else ROUND_HALF_EVEN
    return str(Decimal(f"{value:.12f}").quantize(Decimal("0.001"), rounding=rounding))


def table_1(runs: Sequence[Run], paper_style: bool = False) -> Table:
    """Test F1 of each configuration: of the chosen runs, and below it of all of them."""
    names, rows = runs[0].names[1:], []
    groups = configurations(runs)
    scores = {(row.configuration, row.class_name): row for row in score_rows(runs, "test")}
    for label, own in groups.items():
        of_class = [scores[label, name] for name in names]
        best = [spread(row.best, paper_style) for row in of_class]
        rows.append([label, f"best {len(chosen(own))} of {len(own)}", *best])
        rows.append([label, f"all {len(own)}", *(spread(row.values, paper_style) for row in of_class)])
        failed = sorted({seed for row in of_class for seed in row.seeds_collapsed})
        if failed:
            without = [spread(row.without, paper_style) if row.seeds_collapsed else "" for row in of_class]
            rows.append([label, f"less collapsed seeds {', '.join(map(str, failed))}", *without])
    notes = [
        "F1: mean over the test slices that hold the class; then mean ± standard deviation over runs",
        "best: two thirds of the runs, by the sum of their validation F1; choosing changes the mean",
    ]
    if paper_style:
        notes.append("population standard deviation, digits cut off and not rounded, as in the paper")
    if len({len(own) for own in groups.values()}) > 1:
        notes.append("configurations have unequal numbers of runs")
    columns = ["configuration", "runs", *names]
    return Table(f"table1-{runs[0].data}", f"Table 1: {runs[0].data}, test F1", columns, rows, notes)


def score_table(runs: Sequence[Run]) -> Table:
    """Further scores of all runs: of all pixels of the test slices together."""
    rows = []
    for row in score_rows(runs, "test"):
        numbers = (row.pooled, row.iou, row.precision, row.recall)
        cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in numbers]
        rows.append([row.configuration, row.class_name, *cells, str(row.slices), f"{row.empty:.0f}"])
    columns = ["configuration", "class", "pooled F1", "IoU", "precision", "recall", "slices", "false px, empty slices"]
    notes = ["pooled over the pixels of all test slices, means over all runs; slices: those that hold the class"]
    return Table(f"scores-{runs[0].data}", f"Scores: {runs[0].data}, test slices", columns, rows, notes)


def table_2(runs: Sequence[Run], high: float = HIGH, low: float = LOW, smallest: int = 1) -> Table:
    """Components of the test slices: of the run best by validation, and the range over all runs."""
    rows = []
    for label, own in configurations(runs).items():
        best = chosen(own)[0]
        found = {run.path: detections(run, "test", high, low, smallest) for run in own}
        for name in own[0].names[1:]:
            ours = found[best.path][name]
            total = ours["tp"] + ours["fn"] + ours["ud"]
            cells = [f"{label}, seed {best.seed}", f"{name} ({total})"]
            for kind in ("tp", "fn", "ud"):
                every = [one[name][kind] for one in found.values()]
                count = ours[kind]
                share = f"{count / total:.1%}" if total else "-"
                cells.append(f"{share} ({count}; {min(every)} to {max(every)})")
            cells += [str(ours[kind]) for kind in ("right", "fp", "partly", "merges", "splits")]
            rows.append(cells)
    columns = ["run", "class (components)", "TP", "FN", "UD", "right", "false", "partly", "merges", "splits"]
    notes = [
        f"2-D, 8-connected, of {smallest} pixels or more; TP: over {high:.0%} found, FN: below {low:.0%}, UD: between",
        "right, false, partly: predicted components, by the same shares; in brackets the range over runs",
    ]
    return Table(
        f"table2-{runs[0].data}", f"Table 2: {runs[0].data}, components of the test slices", columns, rows, notes
    )


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


def expert_table(runs: Sequence[Run], paper_style: bool = False) -> Table | None:
    """The second expert against the first, and every configuration on the same slices; None without one."""
    found = second_expert(runs[0])
    if found is None:
        return None
    places, counts = found
    names = runs[0].names[1:]
    rows = [["second expert", *(spread([value], paper_style) for value in mean_f1(counts)[1:])]]
    for label, own in configurations(runs).items():
        scores = [run.on_slices("test", places) for run in own]
        rows.append([label, *(spread([one[name] for one in scores], paper_style) for name in names)])
    title = f"Second expert: {runs[0].data}, F1 on the {len(places)} slices of the second expert"
    notes = [
        "scored against the first expert; configurations on these slices only, mean ± standard deviation over all runs"
    ]
    return Table(f"expert-{runs[0].data}", title, ["", *names], rows, notes)


def run_table(runs: Sequence[Run]) -> Table:
    """Every run with its scores."""
    names = runs[0].names[1:]
    rows = []
    for label, own in configurations(runs).items():
        failed = {name: collapsed(own, name) for name in names}
        for run in own:
            both = [run.f1(split) for split in ("validation", "test")]
            cells = [f"{scores[name]:.3f}" for scores in both for name in names]
            rows.append([label, str(run.seed), *cells, ", ".join(name for name in names if run in failed[name])])
    columns = ["configuration", "seed", *(f"{split} {name}" for split in ("validation", "test") for name in names)]
    return Table(f"runs-{runs[0].data}", f"Runs: {runs[0].data}", [*columns, "collapsed"], rows)


def sentences(runs: Sequence[Run], found: Sequence[Contrast]) -> list[str]:
    """One sentence per contrast of two configurations."""
    slices = {row.class_name: row.slices for row in score_rows(runs, "test")}
    return [sentence(one, slices[one.class_name]) for one in found if one.kind != "interaction"]
