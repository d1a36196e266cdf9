"""`fibseg compare`: scores of runs, their differences, and whether these are more than chance."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from fibseg.commands.arguments import whole_numbers
from fibseg.comparison.dataset import datasets_of
from fibseg.comparison.pairings import QUESTIONS, Questions
from fibseg.comparison.report import (
    ComparisonOptions,
    Report,
    check_thin_classes,
    report_on,
    write_tables,
)
from fibseg.errors import FibsegError
from fibseg.machine import print_line, table_console
from fibseg.pages.charts import charts_of
from fibseg.pages.comparison import write_comparison_page
from fibseg.pages.wandb_report import report_library, report_place, save_wandb_report
from fibseg.rules import Check, among, number, require
from fibseg.runs.collection import collect
from fibseg.scores.components import PAPER_BINS, Bins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fibseg compare`."""
    parser.add_argument("runs", nargs="+", help="run directories, or folders of them")
    parser.add_argument(
        "--output",
        default="comparison",
        metavar="DIR",
        help="folder to write the tables to (default: comparison)",
    )
    parser.add_argument(
        "--pair",
        nargs=2,
        action="append",
        default=[],
        metavar=("FIRST", "SECOND"),
        help="add the contrast of two configurations, FIRST less SECOND",
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="compare every other configuration with this one"
    )
    parser.add_argument(
        "--primary",
        metavar="QUESTION",
        help="question that was asked before the runs: filter, model, interaction, key or pair",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=0.01,
        metavar="F1",
        help="difference below which it does not matter (default: .01)",
    )
    parser.add_argument(
        "--paper-style",
        action="store_true",
        help="print the population standard deviation and cut digits off, as the paper does",
    )
    parser.add_argument(
        "--high",
        type=float,
        default=PAPER_BINS.high,
        help="share of a component above which it is detected",
    )
    parser.add_argument(
        "--low",
        type=float,
        default=PAPER_BINS.low,
        help="share of a component below which it is missed",
    )
    parser.add_argument(
        "--smallest",
        type=int,
        default=PAPER_BINS.smallest,
        metavar="PIXELS",
        help="leave out smaller components",
    )
    parser.add_argument(
        "--strata",
        type=whole_numbers,
        default=[],
        metavar="A,B",
        help="also count components by area: below A, A to B, and so on",
    )
    parser.add_argument(
        "--objects", action="store_true", help="also count 3-D objects over consecutive test slices"
    )
    parser.add_argument(
        "--thin",
        action="append",
        default=[],
        metavar="CLASS",
        help="also print boundary F1 and clDice of this class",
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="NM", help="tolerance of a boundary (default: 2 pixels)"
    )
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="also log the result as a run of W&B, offline if there is no account",
    )
    parser.add_argument(
        "--wandb-report",
        metavar="ENTITY/PROJECT",
        help="also make a report of W&B about the runs that were logged to this project",
    )


def run(options: argparse.Namespace) -> None:
    """Print the tables, and write them as CSV, Markdown and LaTeX, with the page."""
    # Before any run is read: a hundred of them take seconds.
    comparison = _comparison_options(options)
    questions = _questions(options)
    if options.wandb_report:
        report_place(options.wandb_report)
        report_library()
    console = table_console()
    collection = collect(options.runs)
    for path, reason in collection.left_out:
        print_line(console, f"left out: {path}: {reason}")
    if not collection.runs:
        raise FibsegError("no finished run among these folders; name folders of finished runs.")
    datasets = datasets_of(collection, questions)
    # Of all data sets together: a class may be in one of them only.
    check_thin_classes(datasets, comparison.thin_classes)
    reports = []
    # Each data set is printed when it is computed, since label files may take a minute.
    for dataset in datasets:
        report = report_on(dataset, comparison)
        for sentence in report.answers:
            print_line(console, sentence)
        console.print(report.answer.rich())
        for table in report.tables:
            console.print(table.rich())
        reports.append(report)
    output = Path(options.output)
    charts = [charts_of(dataset) for dataset in datasets]
    write_tables(output, reports, collection.left_out)
    write_comparison_page(output / "index.html", reports, charts, collection.left_out)
    if options.wandb:
        _log_to_wandb(
            project=options.wandb,
            output=output,
            reports=reports,
            console=console,
        )
    if options.wandb_report:
        print_line(console, save_wandb_report(options.wandb_report, reports))
    print_line(console, f"{output}: index.html, comparison.md, each table as CSV and LaTeX")


def _questions(options: argparse.Namespace) -> Questions:
    """What is asked of the runs; FibsegError for what nobody can ask."""
    checks = [Check("--margin", options.margin, number(0, 1))]
    if options.primary is not None:
        checks.append(Check("--primary", options.primary, among(*QUESTIONS)))
    require(*checks)
    return Questions(
        named_pairs=[(first, second) for first, second in options.pair],
        baseline=options.baseline,
        margin=options.margin,
        primary=options.primary,
    )


def _comparison_options(options: argparse.Namespace) -> ComparisonOptions:
    """The options of the command line; FibsegError for numbers out of range."""
    if not 0 <= options.low < options.high <= 1:
        raise FibsegError(
            f"--low {options.low}, --high {options.high}: expected 0 <= low < high <= 1."
        )
    # Argparse checks types; ranges are checked here, where they get a sentence.
    if min([options.smallest, *options.strata]) < 1:
        raise FibsegError(
            f"--smallest {options.smallest}, --strata {options.strata}: expected 1 pixel or more."
        )
    if options.tolerance is not None and not 0 <= options.tolerance < math.inf:
        raise FibsegError(f"--tolerance: {options.tolerance}; expected 0 nm or more.")
    # An option that has no effect is a mistake, and not a thing to pass over.
    if options.tolerance is not None and not options.thin:
        raise FibsegError("--tolerance: name the thin classes too, as in --thin membrane.")
    return ComparisonOptions(
        bins=Bins(high=options.high, low=options.low, smallest=options.smallest),
        strata=tuple(options.strata),
        thin_classes=tuple(options.thin),
        tolerance=options.tolerance,
        objects=options.objects,
        paper_style=options.paper_style,
    )


def numbers_where_possible(rows: Sequence[Sequence[str]]) -> list[list[str | float | None]]:
    """Cells of a table for W&B, which sorts and plots numbers only; "-" becomes nothing.

    >>> numbers_where_possible([["unet", "+0.5"], ["eunet", "-"]])
    [['unet', 0.5], ['eunet', None]]
    """
    columns: list[list[str | float | None]] = []
    for column in zip(*rows, strict=True):
        try:
            columns.append([None if cell in ("-", "") else float(cell) for cell in column])
        except ValueError:
            columns.append(list(column))
    return [list(row) for row in zip(*columns, strict=True)]


def _log_to_wandb(
    project: str,
    output: Path,
    reports: Sequence[Report],
    console: Console,
) -> None:
    """Log every table, the mean scores and the page with its charts as one run of W&B."""
    # W&B is slow to import, and most comparisons are not logged.
    import wandb

    from fibseg.training.wandb_run import own_places, start_wandb_run

    settings = {"project": project, "job_type": "comparison", "name": output.name}
    with own_places(output):
        logged_run, _ = start_wandb_run(
            output, settings, resume=False, report=partial(print_line, console)
        )
        for report in reports:
            for table in report.written_tables:
                rows = numbers_where_possible(table.rows)
                logged_run.log({table.name: wandb.Table(columns=list(table.columns), data=rows)})
            name = report.dataset.name
            for row in report.dataset.score_rows:
                key = f"{name}/{row.configuration}/{row.class_name}"
                logged_run.summary[key] = math.fsum(row.f1) / len(row.f1)
        page = (output / "index.html").read_text(encoding="utf-8")
        # With all charts. inject=False: W&B would add a style of its own.
        logged_run.log({"page": wandb.Html(page, inject=False)})
        logged_run.finish()
