"""`fibseg link`: OME-Zarr in Neuroglancer, served from this machine."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from fibseg.commands.finished.watch import until_stopped
from fibseg.pages.neuroglancer.server import serving_pictures
from fibseg.pages.neuroglancer.state import open_picture, viewer_link, viewer_state
from fibseg.rules import Check, require, whole

VIEWER = "https://neuroglancer-demo.appspot.com"
"""Neuroglancer as its authors serve it. The page runs in the browser and sends no pixels away."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `fibseg link`."""
    parser.add_argument(
        "pictures",
        type=Path,
        nargs="+",
        metavar="PICTURE.zarr",
        help="labels, objects, probabilities or the image, as OME-Zarr; each becomes a layer",
    )
    parser.add_argument(
        "--port", type=int, default=8766, help="port on this machine; 0 for a free one"
    )
    parser.add_argument(
        "--viewer", default=VIEWER, metavar="URL", help=f"address of Neuroglancer ({VIEWER})"
    )


def run(options: argparse.Namespace) -> None:
    """Print the state and the link, and serve the pictures until Ctrl-C."""
    require(Check("--port", options.port, whole(0, 65535)))
    pictures = [open_picture(path) for path in options.pictures]
    with until_stopped(options.port), serving_pictures(pictures, options.port) as server:
        state = viewer_state(pictures, server.addresses)
        print(json.dumps(state, indent=1))
        print(f"{viewer_link(options.viewer, state)}\n(Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)
