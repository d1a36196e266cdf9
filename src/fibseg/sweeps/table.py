"""What a person sees of a sweep: the live table, a line per event, and the tables at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.table import Column, Table

from fibseg.runs.results import SCORED_SPLITS, RunScores, read_scores
from fibseg.sweeps.progress import ENDED_STATES, SweepRun, estimate_outlook

LIVE_ORDER = (
    "running",
    "elsewhere",
    "failed",
    "diverged",
    "resumed",
    "finished",
    "waiting",
    "skipped",
)
"""States in the order of the live table, which may be too short for all runs."""


def duration_text(seconds: float | None) -> str:
    """A duration in the two units that matter.

    >>> duration_text(8050), duration_text(250), duration_text(9), duration_text(None)
    ('2 h 14 min', '4 min', '9 s', '?')
    """
    if seconds is None:
        return "?"
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


_OTHER_COLUMNS = 68
"""Characters of the live table beside the names of the runs."""


def live_table(
    runs: Sequence[SweepRun], slots: int, now: float, height: int, width: int = 160
) -> Table:
    """Running runs first, then failed, ended and waiting ones.

    Args:
        runs: all runs of the sweep.
        slots: how many of them train at once.
        now: seconds since 1970.
        height: lines for the runs; those that have no room are counted.
        width: characters of the terminal.
    """
    outlook = estimate_outlook(runs, slots, now)
    time_left = duration_text(outlook.seconds)
    title = f"{outlook.ended} of {len(runs)} runs ended; about {time_left} left"
    # A long name in several lines would push the runs below it off the screen.
    longest = max(12, width - _OTHER_COLUMNS)
    group = Column("run", no_wrap=True, overflow="ellipsis", max_width=longest)
    table = Table(group, "seed", "epoch", "val loss", "val F1", "left", "state", title=title)
    # Stable, so that the runs of one state stay in the order of the command line.
    in_order = sorted(runs, key=lambda run: LIVE_ORDER.index(run.state))
    rows = max(1, height)
    if len(runs) > rows:
        # The line of this text is that of a run.
        rows = max(1, rows - 1)
        table.caption = f"and {len(runs) - rows} more runs"
    for run in in_order[:rows]:
        seconds_left = (
            outlook.seconds_by_run.get(run.key) if run.state in ("running", "elsewhere") else None
        )
        table.add_row(*_live_row(run, seconds_left))
    return table


def _live_row(run: SweepRun, seconds_left: float | None) -> list[str]:
    metrics = run.last_metrics() if run.state != "waiting" else {}
    state = run.state
    # Started, but the cluster or another sweep has its slot.
    if state == "running" and run.began_at() is None:
        state = "queued"
    # After the last epoch, the best weights label the validation and test slices.
    elif state == "running" and run.epochs_done() == run.epochs:
        state = "scoring"
    return [
        run.group,
        str(run.seed),
        f"{int(metrics['epoch']) + 1 if metrics else 0}/{run.epochs}",
        f"{metrics['val_loss']:.4f}" if metrics else "",
        f"{metrics['val_f1']:.3f}" if metrics else "",
        "" if seconds_left is None else duration_text(seconds_left),
        f"{state}, try {run.tries}" if run.tries > 1 else state,
    ]


def event_line(run: SweepRun, runs: Sequence[SweepRun], slots: int, now: float) -> str:
    """One plain line for a run that has just started or ended."""
    outlook = estimate_outlook(runs, slots, now)
    line = f"[{outlook.ended}/{len(runs)}] {run.state} {run.directory.path.name}"
    if run.state == "running":
        first_epoch = f", from epoch {run.epochs_before + 1}" if run.epochs_before else ""
        attempt = f" (try {run.tries})" if run.tries > 1 else ""
        return line + first_epoch + attempt
    metrics = run.last_metrics()
    if run.error:
        line += f": {run.error}"
    elif metrics:
        line += f", val loss {metrics['val_loss']:.4f}, val F1 {metrics['val_f1']:.3f}"
    if run.state in ("finished", "resumed"):
        line += f", {run.seconds:.0f} s"
    if outlook.ended < len(runs):
        line += f"; about {duration_text(outlook.seconds)} left"
    return line


def state_counts(runs: Sequence[SweepRun]) -> str:
    """How many runs are in which state, as "11 finished, 1 failed"."""
    number_by_state = Counter(run.state for run in runs)
    return ", ".join(
        f"{number_by_state[state]} {state}"
        for state in (*ENDED_STATES, "running", "interrupted", "elsewhere", "waiting")
        if number_by_state[state]
    )


def ending_table(runs: Sequence[SweepRun]) -> Table:
    """A row per run that says how it ended; its seconds are those of all its attempts here."""
    table = Table(Column("run", overflow="fold"), "state", "tries", "epochs", "seconds", "why")
    for run in runs:
        table.add_row(
            run.directory.path.name,
            run.state,
            str(run.tries) if run.tries else "",
            f"{run.epochs_done()}/{run.epochs}",
            # A skipped run took no time here, and its earlier time is not known.
            f"{run.seconds:.0f}" if run.tries else "",
            run.error,
        )
    return table


def group_table(runs: Sequence[SweepRun]) -> Table:
    """Mean and sample standard deviation of the per-slice F1 over the seeds of each group.

    Only runs that have scores count.
    """
    scores_by_group: dict[str, list[RunScores]] = {}
    for run in runs:
        if run.state in ("finished", "resumed", "skipped"):
            scores_by_group.setdefault(run.group, []).append(read_scores(run.directory))
    f1_columns = [f"{split} F1" for split in SCORED_SPLITS]
    table = Table("group", "runs", "class", *f1_columns, title="mean (sd) over seeds")
    for group, scores in scores_by_group.items():
        for number, class_name in enumerate(scores[0].f1("validation")):
            cells = [
                _mean_and_deviation([run_scores.f1(split).get(class_name) for run_scores in scores])
                for split in SCORED_SPLITS
            ]
            first_cells = [group, str(len(scores))] if number == 0 else ["", ""]
            table.add_row(*first_cells, class_name, *cells)
        table.add_section()
    return table


def _mean_and_deviation(values: Sequence[float | None]) -> str:
    """As "0.500 (0.354)"; a single value has no deviation."""
    # numpy makes NaN of None, so that a missing class shows.
    numbers = np.array(values, dtype=float)
    # No slice of the split holds the class.
    if np.isnan(numbers).all():
        return "in no slice"
    # Of a sample, as in `fibseg compare`.
    deviation = f" ({numbers.std(ddof=1):.3f})" if len(numbers) > 1 else ""
    return f"{numbers.mean():.3f}{deviation}"
