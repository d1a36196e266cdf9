"""`fibseg export`: the network of a run for other programs."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from fibseg.errors import FibsegError
from fibseg.files import write_whole
from fibseg.rules import Check, among, require

ENDINGS = {"bioimageio": ".zip", "onnx": ".onnx", "torch": ".pt2"}
"""Format -> how its file's name ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("run", type=Path, help="run directory, or a model file")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="bioimageio (a package, with a test), onnx, or torch (a program of torch.export)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write (default: the run's name with .zip, .onnx or .pt2)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="author of a package; repeat it for several",
    )
    parser.add_argument(
        "--license",
        metavar="ID",
        help="licence of a package as SPDX names it, such as CC-BY-4.0",
    )


def run(options: argparse.Namespace) -> None:
    """Write the file, and print its size and its SHA-256."""
    require(Check("--to", options.to, among(*ENDINGS)))
    directory = _directory_of(options.run)
    output = _output(options, directory.name)
    if options.to != "bioimageio" and (options.author or options.license):
        raise FibsegError("--author and --license: only a package of bioimageio holds them.")
    # torch is imported here, so that --help answers at once.
    from fibseg.export.exchanged import onnx_bytes, open_exchanged, program_bytes
    from fibseg.machine import plain_console, print_line

    publication = None
    if options.to == "bioimageio":
        from fibseg.export.description import Publication
        from fibseg.export.package import check_publication, package_bytes
        from fibseg.runs.directory import RunDirectory

        publication = Publication(options.author, options.license)
        check_publication(publication)
    exchanged = open_exchanged(options.run)
    console = plain_console()
    if options.to == "onnx":
        content = onnx_bytes(exchanged)
    elif options.to == "torch":
        content = program_bytes(exchanged)
    else:
        assert publication is not None
        content = package_bytes(exchanged, RunDirectory(directory), publication)
        lacking = [f"--{name}" for name in ("author", "license") if not getattr(options, name)]
        if lacking:
            options_text = " and ".join(lacking)
            text = f"bioimage.io takes no package without: give {options_text} before you upload it"
            print_line(console, text)
    write_whole(output, content)
    digest = hashlib.sha256(content).hexdigest()
    print_line(console, f"{output}: {len(content) / 1e6:.3g} MB, SHA-256 {digest}")


def _directory_of(path: Path) -> Path:
    """The run directory of a path; for a model file outside of a run it has a name alone."""
    directory = path.absolute()
    if not path.is_file():
        return directory
    in_run = directory.parent.name == "checkpoints"
    return directory.parents[1] if in_run else directory.with_suffix("")


def _output(options: argparse.Namespace, name: str) -> Path:
    """The file to write, which has the ending of its format."""
    ending = ENDINGS[options.to]
    # The name of a run holds points, of which none begins an ending.
    output: Path = options.output or Path(f"{name}{ending}")
    if output.suffix.lower() != ending:
        raise FibsegError(f"--output: {output}; expected a name that ends in {ending}.")
    if output.exists() and not (options.overwrite and output.is_file()):
        raise FibsegError(f"{output}: exists already; give another name, or --overwrite.")
    return output
