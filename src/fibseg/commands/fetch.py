"""`fibseg fetch`: a public annotated stack, with a data description of it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    from fibseg.data.public.sets import PUBLIC_SETS

    parser.description = (
        "Download a public annotated stack and describe it. The downloads were tried on files of "
        "the same layout from a local server, not on the addresses themselves."
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help=f"one of {', '.join(PUBLIC_SETS)}",
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("public"),
        metavar="DIR",
        help="folder that takes NAME/ and data/NAME.yaml (default: public)",
    )


def run(options: argparse.Namespace) -> None:
    """Download a data set, and print how to use it."""
    from fibseg.data.public.fetching import fetch_set, public_set
    from fibseg.machine import plain_console, print_line

    record = public_set(options.name)
    console = plain_console(soft_wrap=True)
    print_line(console, f"{options.name}: {record.title}")
    print_line(console, f"terms: {record.terms}; cite {record.citation}")
    fetched = fetch_set(options.name, record, options.to, console)
    print_line(console, f"{fetched.description}: read it, then")
    print_line(console, f"  fibseg check {fetched.description}")
    print_line(console, f"  fibseg train --config-dir={options.to} data={options.name}")
