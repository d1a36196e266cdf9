"""The `fibseg` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fibseg.commands.filter import filter_command
from fibseg.commands.score import score_command
from fibseg.errors import FibsegError

if TYPE_CHECKING:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; gives the exit code, 2 with one sentence on stderr after a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (FibsegError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fibseg", description="Organelle segmentation of FIB-SEM stacks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    score = commands.add_parser("score", help="scores of one label stack against another")
    score.add_argument(
        "prediction", help="label stack to judge: a prediction, or another person's labels"
    )
    score.add_argument("labels", help="label stack taken as the truth")
    score.add_argument(
        "--data",
        help="data description (a name in conf/data or a YAML file) that names the classes",
    )
    score.add_argument(
        "--slices", default=[], action="append", metavar="A:B", help="only these slices of LABELS"
    )
    score.add_argument(
        "--offset",
        type=_numbers(int),
        metavar="Z,Y,X",
        help="where LABELS lie in PREDICTION, if smaller",
    )
    score.set_defaults(run=score_command)
    filtering = commands.add_parser("filter", help="the grain filter alone")
    filtering.add_argument("input", help="stack to filter")
    filtering.add_argument(
        "output", help="TIFF or .zarr to write; several areas put their number into the name"
    )
    filtering.add_argument(
        "--area", type=int, action="append", required=True, metavar="PIXELS", help="grains below go"
    )
    filtering.add_argument("--overwrite", action="store_true", help="replace files that exist")
    filtering.set_defaults(run=filter_command)
    _add_data_commands(commands)
    _add_compare(commands)
    _add_figure(commands)
    _add_label_commands(commands)
    return parser


def _add_compare(commands: Any) -> None:
    comparing = commands.add_parser(
        "compare", help="tables and contrasts over runs, with honest statistics"
    )
    comparing.add_argument("runs", nargs="+", help="run directories, or folders of them")
    comparing.add_argument(
        "--output", default="comparison", metavar="DIR", help="folder of the tables"
    )
    comparing.add_argument(
        "--pair", nargs=2, action="append", default=[], metavar=("FIRST", "SECOND"), help="contrast"
    )
    comparing.add_argument(
        "--paper-style", action="store_true", help="population deviation, digits cut off"
    )
    comparing.add_argument(
        "--high", type=float, default=0.8, help="share of a component above which it is found"
    )
    comparing.add_argument("--low", type=float, default=0.1, help="share below which it is missed")
    comparing.add_argument(
        "--smallest", type=int, default=1, metavar="PIXELS", help="leave out smaller components"
    )
    comparing.add_argument(
        "--strata",
        type=_areas,
        default=[],
        metavar="A,B",
        help="components by area: below A, A to B",
    )
    comparing.add_argument(
        "--objects", action="store_true", help="also 3-D objects over consecutive test slices"
    )
    comparing.add_argument(
        "--thin", action="append", default=[], metavar="CLASS", help="boundary F1 and clDice of it"
    )
    comparing.add_argument(
        "--tolerance", type=float, metavar="NM", help="of a boundary (default: 2 pixels)"
    )
    comparing.add_argument(
        "--wandb", metavar="PROJECT", help="also as a run of W&B, offline without an account"
    )
    comparing.set_defaults(run=_compare)


def _add_figure(commands: Any) -> None:
    drawing = commands.add_parser("figure", help="figures for a paper, as PDF and PNG")
    kinds = drawing.add_subparsers(required=True, metavar="KIND")
    of_slices = kinds.add_parser(
        "slices", help="crops of test slices: image, truth, second expert, every method"
    )
    of_slices.add_argument(
        "runs", nargs="+", help="run directories, or folders of them, of one data set"
    )
    of_slices.add_argument(
        "--crop", type=_crop, action="append", default=[], metavar="Z,Y,X", help="a row"
    )
    of_slices.add_argument(
        "--count", type=int, default=3, metavar="ROWS", help="without --crop: rows that are drawn"
    )
    of_slices.add_argument("--seed", type=int, default=0, help="of the rows that are drawn")
    of_filter = kinds.add_parser("filter", help="a patch, and the patch by the grain filter")
    of_filter.add_argument("image", help="stack of grey values")
    of_filter.add_argument(
        "--crop", type=_crop, required=True, metavar="Z,Y,X", help="where the patch begins"
    )
    of_filter.add_argument(
        "--area", type=int, action="append", required=True, metavar="PIXELS", help="grains below go"
    )
    for one, side, run in ((of_slices, 500, "slices"), (of_filter, 256, "filtered")):
        one.add_argument(
            "--side", type=int, default=side, metavar="PIXELS", help=f"of a crop (default: {side})"
        )
        one.add_argument(
            "--width", type=float, default=183, metavar="MM", help="of the figure (default: 183)"
        )
        one.add_argument(
            "--output", required=True, metavar="NAME", help="NAME.pdf and NAME.png are written"
        )
        one.set_defaults(run=lambda options, run=run: _figure(run, options))


def _add_label_commands(commands: Any) -> None:
    """Measure and exactness."""
    measuring = commands.add_parser(
        "measure", help="3-D objects of a label stack: count, volume, surface"
    )
    measuring.add_argument("labels", help="label stack, as predict.py writes it")
    measuring.add_argument(
        "--data",
        help="data description (a name in conf/data or a YAML file) that names the classes",
    )
    measuring.add_argument(
        "--voxel-size",
        type=_numbers(float),
        metavar="Z,Y,X",
        help="in nm, where the file is silent",
    )
    measuring.add_argument(
        "--smallest", type=int, default=1, metavar="VOXELS", help="leave out smaller objects"
    )
    measuring.add_argument(
        "--fill-holes",
        action="store_true",
        help="background that one class alone encloses is of it",
    )
    measuring.add_argument(
        "--output", metavar="FILE", help="CSV to write (default: LABELS-objects.csv)"
    )
    measuring.add_argument(
        "--instances", metavar="FILE", help="also a stack with the number of each object"
    )
    measuring.add_argument("--overwrite", action="store_true", help="replace files that exist")
    measuring.set_defaults(run=_measure)
    comparing = commands.add_parser(
        "exactness", help="what larger windows cost a run, on its validation slices"
    )
    comparing.add_argument("directory", help="run directory")
    comparing.add_argument(
        "--root", metavar="DIR", help="where the images lie, in place of the root of the run's data"
    )
    comparing.add_argument("--device", default="auto", help="auto, cpu or cuda:0")
    comparing.add_argument(
        "--batch", type=int, default=16, metavar="WINDOWS", help="windows at once"
    )
    comparing.add_argument(
        "--store",
        action="store_true",
        help="tell the run's checkpoint which windows are good enough",
    )
    comparing.set_defaults(run=_exactness)


def _measure(options: argparse.Namespace) -> None:
    from fibseg.commands.measure import measure_labels

    measure_labels(options)


def _exactness(options: argparse.Namespace) -> None:
    from fibseg.commands.exactness import exactness

    exactness(options)


def _figure(name: str, options: argparse.Namespace) -> None:
    from fibseg.commands import figure as figure_command

    getattr(figure_command, name)(options)


def _crop(text: str) -> list[int]:
    parts = [int(part) for part in text.split(",")]
    if len(parts) not in (3, 4):
        raise argparse.ArgumentTypeError(f"{text}: expected z,y,x or volume,z,y,x")
    return parts


def _areas(text: str) -> list[int]:
    """Whole numbers with commas between."""
    return [int(part) for part in text.split(",")]


def _compare(options: argparse.Namespace) -> None:
    from fibseg.commands.compare import compare

    compare(options)


def _add_data_commands(commands: Any) -> None:
    """check, new and import; their code is imported when one of them runs."""
    checking = commands.add_parser(
        "check", help="what a data description holds, what is wrong, and a picture of it"
    )
    checking.add_argument("data", help="a name in conf/data, or a YAML file")
    checking.add_argument("--root", metavar="DIR", help="in place of the root of the description")
    checking.add_argument(
        "--page", metavar="FILE", help="HTML page to write (default: check-NAME.html)"
    )
    checking.set_defaults(run=lambda options: _data_command("check", options))
    making = commands.add_parser(
        "new", help="a commented data description from an image and its labels"
    )
    making.add_argument("name", help="of the description: data=NAME")
    making.add_argument("image", help="stack of grey values")
    making.add_argument("labels", help="stack of label values; may be smaller than the image")
    making.add_argument(
        "--class", dest="classes", action="append", metavar="NAME=VALUE", help="name a value: er=3"
    )
    making.add_argument(
        "--output", metavar="FILE", help="YAML to write (default: conf/data/NAME.yaml)"
    )
    making.set_defaults(run=lambda options: _data_command("new", options))
    bringing = commands.add_parser(
        "import", help="labels of ilastik, napari or MIB as class numbers"
    )
    bringing.add_argument(
        "labels", help="HDF5 of ilastik, .model of MIB, or a stack, as napari writes it"
    )
    bringing.add_argument("output", help="TIFF or .zarr to write")
    bringing.add_argument(
        "--image", help="the stack that the labels belong to, for the entry that is printed"
    )
    bringing.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="NAME=VALUES",
        help="what is a class: er=3 or er=3,4",
    )
    bringing.add_argument(
        "--background",
        type=int,
        action="append",
        default=[],
        metavar="VALUE",
        help="looked at, and no class",
    )
    bringing.add_argument(
        "--unlabelled", type=int, action="append", metavar="VALUE", help="nobody looked at it"
    )
    bringing.add_argument(
        "--empty-slices", choices=["unlabelled", "background"], help="what all-0 slices mean"
    )
    bringing.set_defaults(run=lambda options: _data_command("bring", options))
    for one in (making, bringing):
        one.add_argument(
            "--offset",
            type=_numbers(int),
            metavar="Z,Y,X",
            help="where the labels start in the image, in pixels",
        )
        one.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    making.add_argument(
        "--voxel-size",
        type=_numbers(float),
        metavar="Z,Y,X",
        help="in nm, where the file is silent",
    )


def _data_command(name: str, options: argparse.Namespace) -> None:
    from fibseg.commands import check, import_labels, new

    programs = {"check": check.check, "new": new.new, "bring": import_labels.import_labels_command}
    programs[name](options)


def _numbers(kind: type[int] | type[float]) -> Callable[[str], list[float]]:
    """Reader of Z,Y,X."""

    def read(text: str) -> list[float]:
        parts = [kind(part) for part in text.split(",")]
        if len(parts) != 3:
            raise argparse.ArgumentTypeError(f"{text}: expected three numbers, z,y,x")
        return parts

    read.__name__ = "z,y,x"
    return read


if __name__ == "__main__":
    sys.exit(main())
