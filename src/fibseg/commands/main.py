"""The `fibseg` program: a table of commands, of which only the requested one is imported."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from fibseg.errors import FibsegError, Terminated
from fibseg.files import full_disk_sentence
from fibseg.machine import sigterm_is_ctrl_c


class Command(NamedTuple):
    """A command of the table.

    Attributes:
        module: where `add_arguments(parser)` and `run(options)` stand; for a program, `main()`.
        help: a line for `fibseg --help`.
        is_program: whether Hydra reads the command line of the command, not argparse.
    """

    module: str
    help: str
    is_program: bool = False


# In the order of the work, as `fibseg --help` lists them.
COMMANDS = {
    "new": Command("new", "write a commented data description from an image and its labels"),
    "import": Command("import_labels", "turn labels of ilastik, napari or MIB into class numbers"),
    "fetch": Command("fetch", "download a public annotated stack, and describe it"),
    "check": Command("check", "find mistakes in a data description, and draw pictures of it"),
    "train": Command("train", "train one run, or a sweep of runs with -m", is_program=True),
    "annotate": Command(
        "annotating.annotate", "paint, train, correct and train again on one image"
    ),
    "suggest": Command(
        "annotating.suggest", "say which regions of an annotation project to paint next"
    ),
    "predict": Command("predict", "label a whole stack with a trained model", is_program=True),
    "link": Command("link", "show OME-Zarr in Neuroglancer, a viewer in the browser"),
    "compare": Command("finished.compare", "compare runs by tables and contrasts with statistics"),
    "watch": Command("finished.watch", "show the runs of a folder in a browser while they train"),
    "score": Command("score", "score one label stack against another"),
    "measure": Command("measure", "count and measure the 3-D objects of a label stack"),
    "filter": Command("filter", "apply the grain filter to a stack"),
    "export": Command("finished.export", "write a network for bioimage.io, ONNX or PyTorch"),
    "adopt": Command("finished.adopt", "make a run of the labels of another program"),
    "figure": Command("finished.figure", "draw figures for a paper, as PDF and PNG"),
    "calibrate": Command(
        "finished.calibrate", "choose offsets and smallest objects of finished runs"
    ),
    "exactness": Command(
        "finished.exactness", "measure what larger windows cost a run, on its validation slices"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 2 with one sentence on stderr after a user's mistake, 130 after Ctrl-C,
        143 after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words else ""
    if name in COMMANDS and COMMANDS[name].is_program:
        # Hydra reads sys.argv, and names the program in its help by the first entry.
        sys.argv = [f"fibseg {name}", *words[1:]]
        return int(_module(name).main())
    # Unknown names, and options such as --help, are left to the parser of `fibseg`.
    options = command_parser(name).parse_args(words)
    try:
        with sigterm_is_ctrl_c():
            _module(name).run(options)
    # An OSError names its file and its reason; other errors are defects and show a traceback.
    except (FibsegError, OSError) as error:
        print(f"error: {full_disk_sentence(error) or error}", file=sys.stderr)
        return 2
    except Terminated as end:
        print("terminated.", file=sys.stderr)
        return end.exit_code
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        # 128 plus the number of SIGINT, as shells report it.
        return 130
    return 0


def command_parser(name: str = "") -> argparse.ArgumentParser:
    """The parser of `fibseg`, which knows the arguments of the command `name` alone.

    The module of a command imports numpy and more, so the others are listed and not imported.
    """
    parser = argparse.ArgumentParser(
        prog="fibseg", description="Organelle segmentation of FIB-SEM stacks."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for entry, command in COMMANDS.items():
        subparser = subparsers.add_parser(entry, help=command.help)
        if entry == name:
            _module(name).add_arguments(subparser)
    return parser


def _module(name: str) -> Any:
    return import_module(f"fibseg.commands.{COMMANDS[name].module}")


if __name__ == "__main__":
    sys.exit(main())
