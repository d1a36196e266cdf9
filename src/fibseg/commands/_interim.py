"""Parsers of the commands whose modules have no `add_arguments` and `run` yet."""

from __future__ import annotations

import argparse
from types import SimpleNamespace


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


def _run_exactness(options: argparse.Namespace) -> None:
    from fibseg.commands.exactness import exactness

    exactness(options)


UNMOVED = {
    "fibseg.commands.exactness": SimpleNamespace(add_arguments=_add_exactness, run=_run_exactness),
}
