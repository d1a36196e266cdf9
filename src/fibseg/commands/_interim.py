"""Parsers of the commands whose modules have no `add_arguments` and `run` yet."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

from fibseg.commands.arguments import crop_corner, whole_numbers


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", help="run directories, or folders of them")
    parser.add_argument(
        "--output", default="comparison", metavar="DIR", help="folder of the tables"
    )
    parser.add_argument(
        "--pair", nargs=2, action="append", default=[], metavar=("FIRST", "SECOND"), help="contrast"
    )
    parser.add_argument(
        "--paper-style", action="store_true", help="population deviation, digits cut off"
    )
    parser.add_argument(
        "--high", type=float, default=0.8, help="share of a component above which it is found"
    )
    parser.add_argument("--low", type=float, default=0.1, help="share below which it is missed")
    parser.add_argument(
        "--smallest", type=int, default=1, metavar="PIXELS", help="leave out smaller components"
    )
    parser.add_argument(
        "--strata",
        type=whole_numbers,
        default=[],
        metavar="A,B",
        help="components by area: below A, A to B",
    )
    parser.add_argument(
        "--objects", action="store_true", help="also 3-D objects over consecutive test slices"
    )
    parser.add_argument(
        "--thin", action="append", default=[], metavar="CLASS", help="boundary F1 and clDice of it"
    )
    parser.add_argument(
        "--tolerance", type=float, metavar="NM", help="of a boundary (default: 2 pixels)"
    )
    parser.add_argument(
        "--wandb", metavar="PROJECT", help="also as a run of W&B, offline without an account"
    )


def _add_figure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    of_slices = kinds.add_parser(
        "slices", help="crops of test slices: image, truth, second expert, every method"
    )
    of_slices.add_argument(
        "runs", nargs="+", help="run directories, or folders of them, of one data set"
    )
    of_slices.add_argument(
        "--crop", type=crop_corner, action="append", default=[], metavar="Z,Y,X", help="a row"
    )
    of_slices.add_argument(
        "--count", type=int, default=3, metavar="ROWS", help="without --crop: rows that are drawn"
    )
    of_slices.add_argument("--seed", type=int, default=0, help="of the rows that are drawn")
    of_filter = kinds.add_parser("filter", help="a patch, and the patch by the grain filter")
    of_filter.add_argument("image", help="stack of grey values")
    of_filter.add_argument(
        "--crop", type=crop_corner, required=True, metavar="Z,Y,X", help="where the patch begins"
    )
    of_filter.add_argument(
        "--area", type=int, action="append", required=True, metavar="PIXELS", help="grains below go"
    )
    for one, side, kind in ((of_slices, 500, "slices"), (of_filter, 256, "filtered")):
        one.add_argument(
            "--side", type=int, default=side, metavar="PIXELS", help=f"of a crop (default: {side})"
        )
        one.add_argument(
            "--width", type=float, default=183, metavar="MM", help="of the figure (default: 183)"
        )
        one.add_argument(
            "--output", required=True, metavar="NAME", help="NAME.pdf and NAME.png are written"
        )
        one.set_defaults(kind=kind)


def _add_exactness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", help="run directory")
    parser.add_argument(
        "--root", metavar="DIR", help="where the images lie, in place of the root of the run's data"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    parser.add_argument("--batch", type=int, default=16, metavar="WINDOWS", help="windows at once")
    parser.add_argument(
        "--store",
        action="store_true",
        help="tell the run's checkpoint which windows are good enough",
    )


def _run_compare(options: argparse.Namespace) -> None:
    from fibseg.commands.compare import compare

    compare(options)


def _run_figure(options: argparse.Namespace) -> None:
    from fibseg.commands import figure

    {"slices": figure.slices, "filtered": figure.filtered}[options.kind](options)


def _run_exactness(options: argparse.Namespace) -> None:
    from fibseg.commands.exactness import exactness

    exactness(options)


UNMOVED = {
    "fibseg.commands.compare": SimpleNamespace(add_arguments=_add_compare, run=_run_compare),
    "fibseg.commands.figure": SimpleNamespace(add_arguments=_add_figure, run=_run_figure),
    "fibseg.commands.exactness": SimpleNamespace(add_arguments=_add_exactness, run=_run_exactness),
}
