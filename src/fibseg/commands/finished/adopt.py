"""`fibseg adopt`: labels of another program as a run, which comparisons list beside ours."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "predictions",
        nargs="+",
        metavar="prediction",
        help="label stack, in the label values of the data set; one for each of its volumes",
    )
    parser.add_argument(
        "--data", required=True, help="data description: a name in conf/data or a YAML file"
    )
    parser.add_argument(
        "--root", metavar="DIR", help="folder of the images, instead of the description's root"
    )
    parser.add_argument(
        "--model", required=True, metavar="NAME", help="what made the labels, such as nnunet"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of its training (default: 0)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="folder of runs (default: runs)",
    )
    parser.add_argument(
        "--name", help="name of the folder in it (default: that of the data description)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="seconds of its training and of the labels that are scored; comparisons mark them as "
        "stated",
    )
    parser.add_argument("--device", metavar="NAME", help="device of its training, such as cuda")
    parser.add_argument(
        "--parameters", type=int, metavar="N", help="number of parameters of its network"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="largest memory of its training in GiB"
    )


def run(options: argparse.Namespace) -> None:
    """Score the labels, and write the run directory."""
    from fibseg.config.compose import load_description
    from fibseg.machine import plain_console, print_line
    from fibseg.rules import NAME, Check, require
    from fibseg.training.foreign.adoption import Adoption, adopt_labels

    description = load_description(options.data)
    if options.root is not None:
        description.root = options.root
    name = options.name or description.name
    require(Check("--name", name, NAME))
    adoption = Adoption(
        predictions=options.predictions,
        model=options.model,
        seed=options.seed,
        seconds=options.seconds,
        device=options.device,
        parameters=options.parameters,
        peak_gib=options.memory,
    )
    console = plain_console(soft_wrap=True)
    directory = adopt_labels(adoption, description, options.runs / name, console)
    print_line(console, f"{directory.path}: compare it with fibseg compare {options.runs / name}")
