"""Packages of bioimage.io: 2-D models that give each pixel a class, run by onnxruntime.

The format: https://github.com/bioimage-io/spec-bioimage-io. Its own library reads the description
and computes what precedes and follows the network; it looks nothing up, and imports nothing that a
package names.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.models.foreign.archive import LARGEST_WEIGHTS, Archive
from fibseg.models.foreign.graph import ProbabilityGraph
from fibseg.models.foreign.onnx_file import OnnxGraph
from fibseg.models.foreign.running import (
    ArrayNetwork,
    Floats32,
    RunElsewhere,
    counted,
    export_library,
    first_line,
)
from fibseg.models.foreign.slices import SliceNetwork, tensor_axes
from fibseg.models.foreign.steps import Package, check_steps
from fibseg.models.kinds import FOREIGN
from fibseg.models.trained import TrainedModel, load_model
from fibseg.rules import brief
from fibseg.stack.units import voxel_size_in_nm

_TOLERANCE = 1e-3
_MOST_DIFFERING = 1e-4
"""How far, absolutely and relatively, and in which share of its numbers a test output may differ:
the format's own limits."""

_USUAL_SIDE = 256
"""Side of windows that overlap, where a network takes any."""


def open_package(path: Path) -> TrainedModel:
    """Read a package of bioimage.io as a trained model; one of fibseg by fibseg's own weights.

    Another program's network sees one slice, in 8 bits or in the grey values of an 8-bit stack.

    Raises:
        FibsegError: it is damaged, no 2-D model of classes, needs another program, or its test
            output is not what it computes.
    """
    with closing(Archive(path)) as archive:
        content = archive.description()
        package = described_package(archive, content)
        checkpoint = _own_checkpoint(content)
        if checkpoint is not None:
            model = _own_model(archive, package, checkpoint)
            _tested(archive, package, ProbabilityGraph(model).of_array)
            return model
        graph, digest = _graph(archive, package)
        test_output = _tested(archive, package, graph.run)
    return _foreign_model(package, graph, digest, test_output)


def described_package(archive: Archive, content: dict[str, Any]) -> Package:
    """Check the description of a package by bioimageio.spec, and that fibseg can run it.

    Raises:
        FibsegError: it does not fit the format, or is no 2-D model of known steps.
    """
    spec = export_library("bioimageio.spec")
    context = spec.ValidationContext(
        root=archive.zip, file_name=archive.name, perform_io_checks=False, log_warnings=False
    )
    try:
        model = spec.build_description(content, context=context, format_version="latest")
    # A validator of another library may meet any value.
    except Exception as error:
        raise FibsegError(f"{archive.path}: {archive.name}: {first_line(error)}.") from error
    if isinstance(model, spec.InvalidDescr):
        errors = [part for step in model.validation_summary.details for part in step.errors]
        where = ".".join(map(str, errors[0].loc)) if errors else "it"
        reason = errors[0].msg if errors else "is invalid"
        raise FibsegError(
            f"{archive.path}: {archive.name} does not fit bioimage.io's format: "
            f"{brief(where)}: {brief(first_line(reason))}."
        )
    if model.type != "model":
        raise FibsegError(f"{archive.path}: a {brief(model.type)} of bioimage.io, and no model.")
    inputs = [tensor for tensor in model.inputs if not tensor.optional]
    if len(inputs) != 1 or len(model.outputs) != 1:
        raise FibsegError(
            f"{archive.path}: {counted(len(inputs), 'input')} and "
            f"{counted(len(model.outputs), 'output')}; expected one of each."
        )
    package = Package(archive.path, model, inputs[0], model.outputs[0])
    for tensor in (package.input, package.output):
        _check_axes(archive.path, tensor)
    check_steps(package)
    return package


def _check_axes(path: Path, tensor: Any) -> None:
    """Refuse a tensor whose axes are not those of a single slice."""
    axes = tensor_axes(tensor)
    if sorted(set(axes) - {"N", "C"}) != ["x", "y"] or len(set(axes)) < len(axes):
        extra = ", ".join(axis for axis in axes if axis not in ("N", "C", "x", "y"))
        reason = f"the axis {extra}" if extra else f"the axes {', '.join(axes)}"
        raise FibsegError(
            f"{path}: {tensor.id} has {reason}; fibseg runs 2-D models, which see single slices."
        )


def _own_checkpoint(content: dict[str, Any]) -> str | None:
    """Name of fibseg's own weights in a package; None where another program made it."""
    config = content.get("config")
    described = config.get("fibseg") if isinstance(config, dict) else None
    name = described.get("checkpoint") if isinstance(described, dict) else None
    return name if isinstance(name, str) else None


def _own_model(archive: Archive, package: Package, name: str) -> TrainedModel:
    """Load fibseg's own weights of a package, one of its attachments."""
    digests = {str(file.source): file.sha256 for file in package.model.attachments}
    if digests.get(name) is None:
        raise FibsegError(f"{archive.path}: {name!r} is no attachment with a SHA-256.")
    content = archive.read(name, LARGEST_WEIGHTS, digests[name])
    with tempfile.TemporaryDirectory(prefix="fibseg-") as folder:
        # Packages of older versions hold a zip of torch.
        file = Path(folder) / f"model{Path(name).suffix}"
        file.write_bytes(content)
        try:
            return load_model(file)
        except FibsegError as error:
            raise FibsegError(str(error).replace(str(file), f"{archive.path}, {name}")) from error


def _graph(archive: Archive, package: Package) -> tuple[OnnxGraph, str]:
    """Open the ONNX weights of a package; gives their SHA-256, too."""
    weights = package.model.weights.onnx
    if weights is None:
        formats = [name for name, entry in package.model.weights if entry is not None]
        raise FibsegError(
            f"{archive.path}: has weights for {', '.join(formats)} alone; fibseg runs onnx."
        )
    if weights.external_data is not None:
        raise FibsegError(f"{archive.path}: keeps weights beside its ONNX file; expected one file.")
    name = str(weights.source)
    content = archive.read(name, LARGEST_WEIGHTS, weights.sha256)
    graph = OnnxGraph(content, f"{archive.path}, {name}")
    return graph, hashlib.sha256(content).hexdigest()


def _tested(archive: Archive, package: Package, infer: ArrayNetwork) -> Floats32:
    """Run a package on its test input; gives the output, which must be that of the package."""
    arrays = []
    for tensor in (package.input, package.output):
        if tensor.test_tensor is None:
            raise FibsegError(
                f"{archive.path}: has no test tensor for {tensor.id}, and is therefore not run."
            )
        file = tensor.test_tensor
        arrays.append(archive.array(str(file.source), file.sha256))
    given, expected = arrays
    if given.ndim != len(package.input.axes):
        raise FibsegError(f"{archive.path}: its test input has {given.ndim} axes.")
    computed = package.processed(given, infer)
    if computed.shape != expected.shape:
        raise FibsegError(
            f"{archive.path}: its test output is of shape {expected.shape}, but it computes "
            f"{computed.shape}."
        )
    limits = _TOLERANCE + _TOLERANCE * np.abs(expected)
    # NaN differs from everything.
    differs = ~(np.abs(computed - expected) <= limits)
    if differs.mean() > _MOST_DIFFERING:
        raise FibsegError(
            f"{archive.path}: what it computes of its test input differs from its test output in "
            f"{differs.mean():.2%} of the numbers; it is damaged, or needs another program."
        )
    return computed


def _foreign_model(
    package: Package, graph: OnnxGraph, digest: str, test_output: Floats32
) -> TrainedModel:
    """The model of another program's package, whose classes its test output shows."""
    network = SliceNetwork(package, graph.run, test_output)
    side = network.fixed_side
    windows = {"kind": "whole" if side is None else "blend", "size": side or 0, "loss": None}
    return TrainedModel(
        network=RunElsewhere(network.run, digest).eval(),
        architecture=FOREIGN,
        arguments={},
        class_names=network.class_names,
        label_values=list(range(len(network.class_names))),
        channels=Channels(),
        # As they are in a stack of 8 bits; intensity=own brings others to it.
        grey_range=GreyRange(0.0, 255.0),
        voxel_sizes=_voxel_sizes(package),
        patch_size=side or _USUAL_SIDE,
        precision="32",
        windows=windows,
        file_sha256=digest,
        notes=network.notes,
    )


def _voxel_sizes(package: Package) -> list[list[float]]:
    """Voxel size (z, y, x) in nm as the axes tell it, of which z is not known; [] without it."""
    axes = {str(axis.id): axis for axis in package.input.axes if axis.type == "space"}
    units = [axes[name].unit for name in ("y", "x")]
    if None in units:
        return []
    # A depth of 1 nm stands in.
    size = voxel_size_in_nm([1.0, axes["y"].scale, axes["x"].scale], ["nm", *units])
    # The constant, which is the same object in every model, and so equal to itself in lists.
    return [] if size is None else [[math.nan, *size[1:]]]
