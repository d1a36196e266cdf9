"""`fibseg annotate`: a project of one image that is painted, trained on and corrected in turns."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.annotating.changes import DEFAULT_FOLDER, change_project, command_of
from fibseg.commands.annotating.training import result_lines, train_round
from fibseg.commands.arguments import (
    add_offset,
    add_reviewed,
    nanometre_sizes,
    parse_classes,
    slice_items,
)
from fibseg.errors import FibsegError
from fibseg.machine import plain_console

if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.annotation.project import AnnotationProject


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("name", help="name of the project")
    parser.add_argument(
        "image", nargs="?", help="stack of grey values, to make the project or where it lies now"
    )
    add_folder(parser)
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="NAME[=VALUES]",
        help="a class of the project; with --add also its values in FILE, as in er=3,4",
    )
    parser.add_argument(
        "--voxel-size", type=nanometre_sizes, metavar="Z,Y,X", help="in nm, if the image has none"
    )
    parser.add_argument("--model", metavar="RUN", help="a trained run to begin with")
    parser.add_argument(
        "--add",
        metavar="FILE",
        help="take labels that were painted or corrected in another program: the slices that "
        "differ from what was proposed",
    )
    parser.add_argument(
        "--slices", type=slice_items, metavar="A,B:C", help="take these slices of FILE instead"
    )
    parser.add_argument(
        "--against", metavar="FILE", help="the labels as they were before they were corrected"
    )
    add_offset(parser)
    add_reviewed(parser, "the image")
    parser.add_argument(
        "--test",
        type=slice_items,
        metavar="A,B:C",
        help="keep these slices for a test: rounds are scored on them, and never trained or chosen",
    )
    parser.add_argument("--train", action="store_true", help="train a round on what is reviewed")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a key of train.py for the round, as in training.epochs=5",
    )
    parser.add_argument(
        "--propose",
        type=slice_items,
        metavar="A,B:C",
        help="label these slices (or all) by the last model, to correct or accept them",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="with --propose: a label stack to correct elsewhere"
    )
    parser.add_argument(
        "--accept", type=slice_items, metavar="A,B:C", help="take proposals as they are"
    )
    parser.add_argument("--undo", type=int, metavar="N", help="take back the last N changes")
    parser.add_argument(
        "--undo-to", type=int, metavar="N", help="take back every change after change N"
    )
    parser.add_argument("--log", action="store_true", help="list the changes")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:0")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Declare the folder of projects."""
    parser.add_argument(
        "--folder",
        default=DEFAULT_FOLDER,
        metavar="DIR",
        help=f"folder of projects (default: {DEFAULT_FOLDER})",
    )


def run(options: argparse.Namespace) -> None:
    """Make or open a project, do what was asked for, and print where it stands."""
    from fibseg.annotation.opening import create_project, opened_project
    from fibseg.annotation.state import STATE_FILE

    console = plain_console(soft_wrap=True, highlight=False)
    folder = Path(options.folder) / options.name
    named = parse_classes(options.classes)
    if not (folder / STATE_FILE).exists():
        if options.image is None or not named:
            raise FibsegError(
                f"{folder}: no annotation project; to make one, give its image and its classes: "
                f"fibseg annotate {options.name} IMAGE --class CLASS"
            )
        create_project(
            folder=folder,
            name=options.name,
            image=options.image,
            classes=list(named),
            voxel_size=options.voxel_size,
        )
    with opened_project(folder, options.image) as project:
        change_project(project, options, console)
        if not options.train:
            _print_state(project, options, console)
            return
    train_round(folder, options, console)


def _print_state(project: AnnotationProject, options: argparse.Namespace, console: Console) -> None:
    """Where the project stands, and what to do next."""
    from fibseg.annotation.rounds import rounds_of

    state = project.state
    reviewed = project.reviewed_slices()
    console.print(f"{project.folder}: {state.image} {tuple(state.shape)}")
    console.print(f"classes: {', '.join(f'{k} {n}' for k, n in enumerate(state.classes, 1))}")
    console.print(f"reviewed slices: {', '.join(map(str, sorted(reviewed))) or 'none'}")
    for split, slices in state.splits.items():
        if slices:
            console.print(f"  {split}: {', '.join(map(str, slices))}")
    finished = [entry for entry in rounds_of(project.folder) if entry.state != "begun"]
    if finished:
        for line in result_lines(finished[-1]):
            console.print(line)
    command = command_of(options)
    if len(reviewed) < 2:
        console.print(f"paint parts of two slices or more, then {command} --add FILE")
    else:
        console.print(f"to train: {command} --train")
