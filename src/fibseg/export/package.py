"""A package of bioimage.io: ONNX weights, fibseg's own, a test of both, and what a reader needs.

The format: https://github.com/bioimage-io/spec-bioimage-io, model description 0.5. A package has
taken the test of bioimageio.core before it takes its name.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError
from fibseg.export.description import (
    CHECKPOINT_NAME,
    ONNX_NAME,
    Publication,
    least_side,
    package_description,
    takes_grey_values,
)
from fibseg.export.exchanged import ExchangedModel, onnx_bytes
from fibseg.export.texts import readme
from fibseg.filters.slices import slice_channels
from fibseg.models.foreign.archive import DESCRIPTION_NAME, Archive
from fibseg.models.foreign.package import described_package
from fibseg.models.foreign.running import Floats32, export_library, first_line
from fibseg.models.trained import TrainedModel, save_model
from fibseg.pages.figures import overlay
from fibseg.phantom.cell import make_phantom
from fibseg.rules import brief
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import read_config
from fibseg.stack import read_pages
from fibseg.stack.output.pages import count_pages

_SIDE = 256
"""Of the test input, in pixels, at least."""

_OPACITY = 0.45
"""Of the labels on the cover picture."""


def check_publication(publication: Publication) -> None:
    """Check what a person typed, before a network is traced.

    Raises:
        FibsegError: the licence is none of SPDX's list, or a library is missing.
    """
    spec = export_library("bioimageio.spec.generic.v0_3")
    if publication.license is None:
        return
    try:
        spec.LicenseId(publication.license)
    # pydantic's ValidationError is one.
    except ValueError as error:
        raise FibsegError(
            f"--license: {brief(publication.license)} is not on the list of SPDX "
            "(https://spdx.org/licenses); expected one of it, such as CC-BY-4.0 or MIT."
        ) from error


def package_bytes(exchanged: ExchangedModel, run: RunDirectory, publication: Publication) -> bytes:
    """Make the zip of a package.

    Args:
        exchanged: the network.
        run: its run directory; what it does not hold is left out of the package.
        publication: what the run cannot say.

    Raises:
        FibsegError: a library is missing, or the package does not pass bioimageio.core's test.
    """
    export_library("bioimageio.core")
    levels = channel_levels(exchanged.model, _example_slice(exchanged, run))
    given = package_input(exchanged.model, levels)
    labels = np.asarray(exchanged.graph.of_array(levels)[0].argmax(0), np.uint8)
    files = {
        ONNX_NAME: onnx_bytes(exchanged),
        CHECKPOINT_NAME: _own_weights(exchanged.model),
        "README.md": readme(exchanged.model, run, publication.license).encode(),
        "cover.png": _cover(np.asarray(levels[0, 0], np.uint8), labels),
        "test_input.npy": _npy(given),
        # The shape alone: the package itself computes it below.
        "test_output.npy": _npy(exchanged.graph.of_array(levels)),
    }
    with tempfile.TemporaryDirectory(prefix="fibseg-") as folder:
        path = Path(folder) / "package.zip"
        path.write_bytes(_zipped(files, exchanged, run, publication))
        try:
            with closing(Archive(path)) as archive:
                package = described_package(archive, archive.description())
                output = package.processed(given, exchanged.graph.of_array)
            files["test_output.npy"] = _npy(output)
            path.write_bytes(_zipped(files, exchanged, run, publication))
            _test(path)
        except FibsegError as error:
            # The file is gone by the time that its name is read.
            reason = str(error).removeprefix(f"{path}: ")
            raise FibsegError(f"{run.path}: its package: {reason}") from error
        return path.read_bytes()


def _own_weights(model: TrainedModel) -> bytes:
    """The model file of fibseg; the same bytes as in a run, unless an older version wrote that."""
    with tempfile.TemporaryDirectory(prefix="fibseg-") as folder:
        path = Path(folder) / CHECKPOINT_NAME
        save_model(model, path)
        return path.read_bytes()


def channel_levels(model: TrainedModel, image: UInt8) -> Floats32:
    """The channels (1, C, H, W) of an 8-bit slice (H, W), which also stands for its neighbours."""
    pictures = np.stack([image] * (1 + 2 * model.channels.context))
    (channels,) = slice_channels([pictures], model.channels.areas, None, 1)
    return channels[None].astype(np.float32)


def package_input(model: TrainedModel, levels: Floats32) -> Floats32:
    """The test input of a package (1, C, H, W), whose channels in 8 bits are `levels`."""
    grey = model.grey_range
    if not takes_grey_values(model) or grey.percentiles is not None:
        return levels
    return np.asarray(grey.low + levels * ((grey.high - grey.low) / 255), np.float32)


def _example_slice(exchanged: ExchangedModel, run: RunDirectory) -> UInt8:
    """The middle of a validation slice of the run, in 8 bits; of a synthetic cell without one.

    A slice that is too small is mirrored at its border.
    """
    config = read_config(run) if run.config.exists() else None
    image = None
    if config is not None:
        folder = run.path.parent / "truth" / str(config["provenance"]["data_hash"])
        pages = folder / "validation-images.tif"
        if pages.is_file():
            (image,) = read_pages(pages, [count_pages(pages) // 2])
    side = max(_SIDE, least_side(exchanged.model))
    if image is None:
        image = make_phantom((1, side, side), seed=0)[0][0]
    short = [max(0, side - length) for length in image.shape]
    image = np.pad(
        image, [(missing // 2, missing - missing // 2) for missing in short], "symmetric"
    )
    top, left = ((length - side) // 2 for length in image.shape)
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def _cover(image: UInt8, labels: UInt8) -> bytes:
    """A picture: the slice (H, W), and beside it the slice with its labels (H, W)."""
    both = np.concatenate([np.stack([image] * 3, -1), overlay(image, labels, _OPACITY)], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(both).save(buffer, "PNG")
    return buffer.getvalue()


def _npy(array: Floats32) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _zipped(
    files: Mapping[str, bytes],
    exchanged: ExchangedModel,
    run: RunDirectory,
    publication: Publication,
) -> bytes:
    """The zip of the files and their description."""
    description = package_description(files, exchanged.model, run, publication)
    text = yaml.safe_dump(description, sort_keys=False, width=100, allow_unicode=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {DESCRIPTION_NAME: text.encode(), **files}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _test(path: Path) -> None:
    """Let bioimageio.core test a package, without a network.

    Raises:
        FibsegError: it does not pass.
    """
    core = export_library("bioimageio.core")
    with closing(Archive(path)) as archive:
        model = described_package(archive, archive.description()).model
        try:
            summary = core.test_model(model, weight_format="onnx", devices=["cpu"])
        # Of any step of another library.
        except Exception as error:
            raise FibsegError(
                f"bioimageio.core cannot test it ({first_line(error)}); it is not written."
            ) from error
    errors = [part for step in summary.details for part in step.errors]
    if errors or summary.status == "failed":
        reason = errors[0].msg if errors else summary.status
        raise FibsegError(
            f"bioimageio.core's test fails ({first_line(reason)}); it is not written."
        )
