"""`fibseg suggest`: which regions of an annotation project to paint next."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.annotating.annotate import add_folder
from fibseg.commands.annotating.changes import compute_of
from fibseg.commands.arguments import whole_numbers
from fibseg.errors import FibsegError
from fibseg.machine import plain_console, table_console
from fibseg.rules import Check, among, require, whole

if TYPE_CHECKING:
    from rich.table import Table

    from fibseg.annotation.suggestion import Region


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("name", help="name of the project")
    add_folder(parser)
    parser.add_argument("--count", type=int, default=2, metavar="N", help="regions (default: 2)")
    parser.add_argument(
        "--by",
        default="foreground",
        metavar="KIND",
        help="foreground: random regions where the last model sees a class (default); "
        "disagreement: where it is least sure; random: any",
    )
    parser.add_argument(
        "--size",
        type=whole_numbers,
        metavar="H,W",
        help="rows and columns of a region (default: half a slice)",
    )
    parser.add_argument(
        "--look-at", type=int, default=16, metavar="N", help="slices that are looked at"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")


def run(options: argparse.Namespace) -> None:
    """Print regions to paint next."""
    from fibseg.annotation.opening import opened_project
    from fibseg.annotation.proposing import judged_slices
    from fibseg.annotation.rounds import current_model
    from fibseg.annotation.suggestion import (
        AT_RANDOM,
        BY_DISAGREEMENT,
        STRATEGIES,
        suggest_regions,
        unreviewed_regions,
        unreviewed_slices,
    )

    require(
        Check("--by", options.by, among(*STRATEGIES)),
        Check("--count", options.count, whole(1, 1000)),
        Check("--look-at", options.look_at, whole(1, 10_000)),
    )
    console = plain_console(soft_wrap=True, highlight=False)
    with opened_project(Path(options.folder) / options.name) as project:
        _, height, width = project.image.shape
        size = options.size or [height, max(1, width // 2)]
        if len(size) != 2 or min(size) < 1:
            raise FibsegError(f"--size: {size} is impossible; expected rows,columns, each above 0.")
        slices = unreviewed_slices(project, options.look_at)
        run_path = current_model(project)
        kind = options.by
        judge = None
        if run_path is None:
            console.print("no model yet: regions at random")
            kind = AT_RANDOM
        elif kind != AT_RANDOM:
            compute = compute_of(options.device)
            measured = {
                z: (labels, uncertainty)
                for z, labels, uncertainty in judged_slices(
                    project, run_path, slices, compute, turned=kind == BY_DISAGREEMENT
                )
            }
            judge = measured.__getitem__
        candidates = unreviewed_regions(project, slices, size, judge)
        chosen = suggest_regions(candidates, options.count, kind, options.seed)
    table_console().print(_table(chosen, kind, is_judged=judge is not None))


def _table(regions: Sequence[Region], kind: str, is_judged: bool) -> Table:
    """A row for each region; `is_judged` says whether a model has looked at them."""
    from rich.table import Table

    table = Table("slice", "rows", "columns", "classes", "unsure", title=f"to paint next: {kind}")
    for region in regions:
        table.add_row(
            str(region.z),
            f"{region.y}:{region.y + region.height}",
            f"{region.x}:{region.x + region.width}",
            f"{region.foreground:.1%}" if is_judged else "-",
            f"{region.disagreement:.3f}" if is_judged else "-",
        )
    return table
