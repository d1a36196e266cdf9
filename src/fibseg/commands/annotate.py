"""`fibseg annotate`: a project of one image that is painted, trained on and corrected in turns."""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.arguments import (
    add_offset,
    add_reviewed,
    nanometre_sizes,
    open_region,
    parse_classes,
    slice_items,
)
from fibseg.data.splits import parse_slices
from fibseg.errors import FibsegError
from fibseg.machine import plain_console, print_warnings
from fibseg.stack import StackHeader, StackWriter, check_output, open_stack

if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.annotation.project import AnnotationProject
    from fibseg.annotation.rounds import Round
    from fibseg.machine import Compute


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
        help="keep these slices for a test: no round trains on them or looks at them",
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
        default="annotations",
        metavar="DIR",
        help="folder of projects (default: annotations)",
    )


def run(options: argparse.Namespace) -> None:
    """Make or open a project, do what was asked for, and print where it stands."""
    from fibseg.annotation.project import create_project, open_project

    console = plain_console(soft_wrap=True, highlight=False)
    folder = Path(options.folder) / options.name
    named = parse_classes(options.classes)
    if not folder.exists():
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
    with open_project(folder, options.image) as project:
        _change(project, options, console)
        if not options.train:
            _print_state(project, options, console)
            return
    _train(folder, options, console)


def _change(project: AnnotationProject, options: argparse.Namespace, console: Console) -> None:
    """Do what changes the project, in an order that makes sense where several are asked for."""
    fresh = [name for name in parse_classes(options.classes) if name not in project.state.classes]
    if fresh:
        project.add_classes(fresh)
        console.print(f"new classes: {', '.join(fresh)}")
    if options.model is not None:
        project.update(model=str(_checked_model(options.model)))
    if options.test is not None:
        _set_test(project, options.test)
    if options.undo is not None or options.undo_to is not None:
        lines = (
            project.undo(options.undo)
            if options.undo is not None
            else project.undo_to(options.undo_to)
        )
        for line in lines:
            console.print(f"took back {line.strip()}")
    if options.add is not None:
        _add(project, options, console)
    if options.propose is not None:
        _propose(project, options, console)
    if options.accept is not None:
        for z in parse_slices(options.accept, project.image.shape[0], "--accept"):
            project.accept(z)
    if options.log:
        for heading in project.journal.headings():
            console.print(heading.line())


def _checked_model(path: str) -> Path:
    from fibseg.models.trained import load_model
    from fibseg.runs.directory import find_checkpoint

    load_model(find_checkpoint(Path(path)))
    return Path(path).absolute()


def _set_test(project: AnnotationProject, items: Sequence[str]) -> None:
    """Keep slices for a test that no round has used."""
    slices = parse_slices(items, project.image.shape[0], "--test")
    splits = project.state.splits
    for split in ("train", "validation"):
        used = sorted(set(slices) & set(splits.get(split, ())))
        if used:
            raise FibsegError(
                f"--test: slice {used[0]} is in {split} already; a slice that a round has used "
                "cannot test it."
            )
    project.update(splits=splits | {"test": sorted({*splits.get("test", ()), *slices})})


def _add(project: AnnotationProject, options: argparse.Namespace, console: Console) -> None:
    from fibseg.annotation.adding import AddRequest, add_labels

    values = {name: given for name, given in parse_classes(options.classes).items() if given}
    depth = open_stack(options.add).shape[0]
    slices = options.slices and parse_slices(options.slices, depth, "--slices")
    request = AddRequest(
        path=options.add,
        slices=slices,
        values=values,
        offset=options.offset,
        reviewed=open_region(options.reviewed, project.image.shape),
        against=None if options.against is None else open_stack(options.against),
    )
    added = add_labels(project, request)
    print_warnings(console, added.doubts)
    taken = ", ".join(map(str, added.slices)) or "none"
    console.print(
        f"{options.add}: {len(added.slices)} slices taken ({taken}), {len(added.same)} as they "
        f"were proposed, {len(added.empty)} empty"
    )
    for z, split in added.judging.items():
        console.print(f"slice {z} stays in {split}: no round trains on it")


def _propose(project: AnnotationProject, options: argparse.Namespace, console: Console) -> None:
    from fibseg.annotation.proposing import propose_slices
    from fibseg.annotation.rounds import current_model

    run = current_model(project)
    if run is None:
        raise FibsegError(
            f"{project.state.name}: no model yet; train a round (--train), or give one by --model."
        )
    depth = project.image.shape[0]
    items = ["0:" + str(depth)] if options.propose == ["all"] else options.propose
    slices = parse_slices(items, depth, "--propose")
    if options.output is not None:
        check_output(Path(options.output), False, "another --output")
    done = list(propose_slices(project, run, slices, compute_of(options.device)))
    console.print(f"proposed: {len(done)} slices, by {run}")
    if options.output is not None:
        _write_proposals(project, Path(options.output))
        console.print(
            f"{options.output}: the proposals; correct them, then fibseg annotate "
            f"{project.state.name} --add {shlex.quote(options.output)}"
        )


def _write_proposals(project: AnnotationProject, output: Path) -> None:
    """Write the proposals as a label stack of the image's shape, 0 where there is none."""
    import numpy as np

    names = {"0": "background"} | {
        str(index): name for index, name in enumerate(project.state.classes, 1)
    }
    depth, height, width = project.image.shape
    size = tuple(project.state.voxel_size)
    header = StackHeader((depth, height, width), "uint8", size, {"classes": names})
    with StackWriter(output, header) as writer:
        for z in range(depth):
            proposal = project.layers.proposed(z)
            writer.write(np.zeros((height, width), np.uint8) if proposal is None else proposal)


def compute_of(device: str) -> Compute:
    """Device, precision and cores for labels of single slices."""
    from fibseg.machine import Compute, choose_device, cores, set_threads

    set_threads(None)
    return Compute(choose_device(device), "32", 16, cores())


def _train(folder: Path, options: argparse.Namespace, console: Console) -> None:
    """Train a round in a process of its own, and compare it with the model before it."""
    from fibseg.annotation.project import open_project
    from fibseg.annotation.rounds import begin_round, finish_round, run_of, training_command

    with open_project(folder) as project:
        entry = begin_round(project)
        _print_round(entry, console)
    settings = list(options.set)
    if options.device != "auto":
        settings.append(f"machine.device={options.device}")
    start = time.monotonic()
    # The lock is free meanwhile: a person paints on.
    code = run_training(training_command(folder, entry, settings))
    if code != 0:
        raise FibsegError(
            f"round {entry.number}: its training ended with exit code {code}; the same command "
            "goes on from its last epoch, if nothing is painted in between."
        )
    with open_project(folder) as project:
        seconds = time.monotonic() - start
        finished = finish_round(project, entry, seconds, compute_of(options.device))
        run = run_of(folder, finished)
        for line in result_lines(finished):
            console.print(line)
        if finished.state == "kept":
            console.print(
                "labels of the whole stack:\n  "
                + shlex.join(
                    ["fibseg", "predict", f"checkpoint={run}", f"image={project.state.image}"]
                )
                + " output=labels.tif"
            )


def run_training(command: Sequence[str]) -> int:
    """Run a training in a process of its own; gives its exit code."""
    return subprocess.run(command, check=False).returncode


def _print_round(entry: Round, console: Console) -> None:
    counts = ", ".join(f"{len(slices)} {split}" for split, slices in entry.slices.items())
    start = "a random start" if entry.start is None else entry.start
    console.print(f"round {entry.number}: {counts} slices, from {start}")
    if entry.left_out:
        console.print(f"not trained: {', '.join(entry.left_out)}; no training slice shows it yet")
    if entry.new:
        console.print(
            f"new: {', '.join(entry.new)}; the last model is extended by it and trained on"
        )


def result_lines(entry: Round) -> list[str]:
    """What a round was worth, class by class and in all."""
    from fibseg.annotation.rounds import mean_of

    assert entry.after is not None
    lines = [f"round {entry.number}: F1 on {len(entry.slices['validation'])} validation slices"]
    for name, value in entry.after.items():
        before = "" if entry.before is None else f"{entry.before[name]:.3f} -> "
        # NaN: there is nothing to find, and nothing to say of a model.
        text = "no validation slice shows it" if math.isnan(value) else f"{before}{value:.3f}"
        lines.append(f"  {name}: {text}")
    if entry.before is not None:
        change = mean_of(entry.after) - mean_of(entry.before)
        lines.append(f"  mean: {change:+.3f}")
    if entry.state == "aside":
        lines.append(
            "the validation slices became worse: kept aside, and the model before it stays"
        )
    return lines


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
    place = f" --folder {shlex.quote(options.folder)}" if options.folder != "annotations" else ""
    command = f"fibseg annotate {state.name}{place}"
    if len(reviewed) < 2:
        console.print(f"paint parts of two slices or more, then {command} --add FILE")
    else:
        console.print(f"to train: {command} --train")
