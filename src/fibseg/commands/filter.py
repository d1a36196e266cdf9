"""`fibseg filter`: the grain filter alone."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.errors import FibsegError

if TYPE_CHECKING:
    pass


def filter_command(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from fibseg.filters.grain import grain_filter
    from fibseg.stack import check_output, open_stack, stack_writer

    output = Path(options.output)
    if len(set(options.area)) < len(options.area):
        raise FibsegError(f"--area: {options.area} names an area twice.")
    names = [
        output if len(options.area) == 1 else output.with_stem(f"{output.stem}-{a}")
        for a in options.area
    ]
    for path in names:
        check_output(path, options.overwrite, "--overwrite")
    stack, console = open_stack(options.input), Console(stderr=True)
    size = list(stack.voxel_size) if stack.voxel_size else None
    with ExitStack() as files:
        writers = [stack_writer(path, stack.shape, str(stack.dtype), size) for path in names]
        for writer in writers:
            files.enter_context(writer)
        for image in track(
            stack, "filtering", stack.shape[0], console=console, disable=not console.is_terminal
        ):
            for writer, filtered in zip(writers, grain_filter(image, options.area), strict=True):
                writer.write(filtered)
    for path in names:
        console.print(
            f"{path}: {stack.shape[0]} slices", markup=False, highlight=False, soft_wrap=True
        )
