"""`fibseg filter`: the grain filter alone."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from rich.progress import track

from fibseg.errors import FibsegError
from fibseg.files import clear_leftovers, replacing_together
from fibseg.filters.grain import grain_filter
from fibseg.machine import plain_console, print_line, print_warnings
from fibseg.stack import StackHeader, StackWriter, check_output, open_stack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("input", help="stack to filter")
    parser.add_argument(
        "output", help="TIFF or .zarr to write; with several areas each adds its number to the name"
    )
    parser.add_argument(
        "--area",
        type=int,
        action="append",
        required=True,
        metavar="PIXELS",
        help="remove grains smaller than this; repeat it for several areas",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def run(options: argparse.Namespace) -> None:
    """Write a filtered stack for each area."""
    areas: list[int] = options.area
    # Two equal areas would be written to one file.
    if len(set(areas)) < len(areas):
        raise FibsegError(f"--area: {areas} names an area twice.")
    outputs = _output_paths(Path(options.output), areas)
    clear_leftovers(outputs)
    for path in outputs:
        # Every output before the first slice is filtered, since a stack takes minutes.
        check_output(path, options.overwrite, "--overwrite")
    stack = open_stack(options.input)
    header = StackHeader(stack.shape, str(stack.dtype), stack.voxel_size)
    # Progress goes to stderr, so that stdout can be a pipe.
    console = plain_console(stderr=True)
    print_warnings(console, stack.doubts)
    # As many writers as areas, all of which drop their partial files if one slice fails.
    with replacing_together(outputs) as partials, ExitStack() as files:
        writers = [
            files.enter_context(StackWriter(path, header, partial))
            for path, partial in zip(outputs, partials, strict=True)
        ]
        slices = track(
            stack,
            description="filtering",
            total=stack.shape[0],
            console=console,
            disable=not console.is_terminal,
        )
        for image in slices:
            # All areas of a slice come from one tree, so the slice is the outer loop.
            for writer, filtered in zip(writers, grain_filter(image, areas), strict=True):
                writer.write(filtered)
    for path in outputs:
        print_line(console, f"{path}: {stack.shape[0]} slices")


def _output_paths(output: Path, areas: list[int]) -> list[Path]:
    """One path per area; the area stands in the name where there are several."""
    if len(areas) == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{area}") for area in areas]
