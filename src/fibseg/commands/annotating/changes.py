"""What `fibseg annotate` changes in a project: classes, test slices, labels, proposals, undo."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.commands.arguments import open_region, parse_classes
from fibseg.data.splits import parse_slices
from fibseg.errors import FibsegError
from fibseg.machine import print_warnings
from fibseg.stack import StackHeader, StackWriter, check_output, located, open_stack

DEFAULT_FOLDER = "annotations"
"""Folder of projects below the current one."""

if TYPE_CHECKING:
    from rich.console import Console

    from fibseg.annotation.project import AnnotationProject
    from fibseg.machine import Compute


def change_project(
    project: AnnotationProject, options: argparse.Namespace, console: Console
) -> None:
    """Do what changes the project, in an order that makes sense where several are asked for."""
    # With values, a name says what is in the file of --add, and may be misspelt.
    fresh = [
        name
        for name, values in parse_classes(options.classes).items()
        if not values and name not in project.state.classes
    ]
    if fresh:
        project.add_classes(fresh)
        console.print(f"new classes: {', '.join(fresh)}")
    if options.model is not None:
        model = _checked_model(options.model)
        project.update(model=str(model))
        print_warnings(console, _known_slices(project, model))
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


def _known_slices(project: AnnotationProject, model: Path) -> list[str]:
    """Say that a model was trained on the image of the project, where its run says so."""
    from fibseg.runs.directory import RunDirectory
    from fibseg.runs.identity import read_config

    config = read_config(RunDirectory(model))
    if config is None:
        return []
    root = config["data"]["root"]
    volumes = config["data"]["volumes"]
    if not any(_same_file(located(root, entry["image"]), project) for entry in volumes):
        return []
    return [
        f"{model}: was trained on slices of this image, and labels those too well; review others "
        "for validation and test."
    ]


def _same_file(path: str, project: AnnotationProject) -> bool:
    return Path(path).resolve() == Path(project.state.image).resolve()


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
        f"{options.add}: slices taken: {taken}; {len(added.same)} as they were, "
        f"{len(added.empty)} empty"
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
            f"{options.output}: the proposals; correct them, then {command_of(options)} --add "
            f"{shlex.quote(options.output)}"
        )


def _write_proposals(project: AnnotationProject, output: Path) -> None:
    """Write the proposals as a label stack of the image's shape, 0 where there is none."""
    import numpy as np

    from fibseg.annotation.adding import labels_digest

    names = {"0": "background"} | {
        str(index): name for index, name in enumerate(project.state.classes, 1)
    }
    depth, height, width = project.image.shape
    size = tuple(project.state.voxel_size)
    # So that an untouched slice is known, whatever is proposed until the file comes back.
    digests = {
        str(z): labels_digest(proposal)
        for z in range(depth)
        if (proposal := project.layers.proposed(z)) is not None
    }
    notes = {"classes": names, "proposed": digests}
    header = StackHeader((depth, height, width), "uint8", size, notes)
    with StackWriter(output, header) as writer:
        for z in range(depth):
            proposal = project.layers.proposed(z)
            writer.write(np.zeros((height, width), np.uint8) if proposal is None else proposal)


def command_of(options: argparse.Namespace) -> str:
    """The command that works on the same project."""
    is_usual = options.folder == DEFAULT_FOLDER
    place = "" if is_usual else f" --folder {shlex.quote(options.folder)}"
    return f"fibseg annotate {options.name}{place}"


def compute_of(device: str) -> Compute:
    """Device, precision and cores for labels of single slices."""
    from fibseg.machine import Compute, choose_device, cores, set_threads

    set_threads(None)
    return Compute(choose_device(device), "32", 16, cores())
