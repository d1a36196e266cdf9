"""The network of a run in other formats: a program of PyTorch, and an ONNX graph."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import METADATA_KEY
from fibseg.models.foreign.graph import ProbabilityGraph
from fibseg.models.foreign.onnx_file import INPUT, OUTPUT, OnnxGraph, sealed
from fibseg.models.foreign.running import export_library, first_line
from fibseg.models.trained import TrainedModel, load_model, model_content
from fibseg.runs.directory import find_checkpoint

OPSET = 18
"""Version of ONNX's operators: of December 2022, which programs of others know."""

LARGEST_DIFFERENCE = 1e-4
"""By which a probability may differ between a file and the network."""

_TRIAL_SIDES = ((1, 70, 101), (2, 128, 96), (1, 65, 160))
"""Images, rows and columns by which a file is compared with the network; of no common shape."""


@dataclass(frozen=True)
class ExchangedModel:
    """A network of a run that is about to leave.

    Attributes:
        checkpoint: the file of its model.
        model: the model.
        graph: what an exported file computes.
        program: the same, traced by PyTorch for images of any number and size.
    """

    checkpoint: Path
    model: TrainedModel
    graph: ProbabilityGraph
    program: torch.export.ExportedProgram


def open_exchanged(run: Path) -> ExchangedModel:
    """Open the network of a run directory or a model file, and trace it.

    Raises:
        FibsegError: there is none, it is a forest, or PyTorch cannot trace its encoder.
    """
    checkpoint = find_checkpoint(run)
    model = load_model(checkpoint)
    if model.kind.compiled:
        raise FibsegError(
            f"{run}: a forest, whose features other programs do not compute; only networks are "
            "exported."
        )
    graph = ProbabilityGraph(model).eval()
    # Two images, since a length of 1 would be taken for a fixed one.
    levels = torch.zeros(2, model.channels.count, 3 * graph.stride, 4 * graph.stride)
    any_length = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    try:
        with _quiet():
            program = torch.export.export(graph, (levels,), dynamic_shapes=(any_length,))
    # torch raises many kinds of exceptions on what it cannot trace.
    except Exception as error:
        encoder = model.arguments.get("encoder", "network")
        raise FibsegError(
            f"{run}: PyTorch cannot export this {model.architecture} for slices of any size "
            f"({encoder}: {first_line(error)})."
        ) from error
    return ExchangedModel(checkpoint, model, graph, program)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters of PyTorch warn of from a person, who cannot change it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def program_bytes(exchanged: ExchangedModel) -> bytes:
    """The program as a .pt2 file, which `torch.export.load` opens.

    Raises:
        FibsegError: what PyTorch reads of it computes something else.
    """
    described = json.dumps(model_description(exchanged))
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(
            exchanged.program, buffer, extra_files={f"{METADATA_KEY}.json": described}
        )
        buffer.seek(0)
        module = torch.export.load(buffer).module()

    def run(levels: Any) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(levels)).numpy()

    check_equal(exchanged, run, "PyTorch")
    return buffer.getvalue()


def onnx_bytes(exchanged: ExchangedModel) -> bytes:
    """The network as an ONNX file, with what a prediction needs as JSON in its metadata.

    Raises:
        FibsegError: the network has no such graph, or onnxruntime computes something else of it.
    """
    onnx = export_library("onnx")
    export_library("onnxscript")
    try:
        with _quiet():
            exported: Any = torch.onnx.export(
                exchanged.program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        proto = exported.model_proto
        _strip(proto)
        _name_axes(proto.graph.input[0], ("images", None, "height", "width"))
        _name_axes(proto.graph.output[0], ("images", None, "height", "width"))
        onnx.helper.set_model_props(
            proto, {METADATA_KEY: json.dumps(model_description(exchanged), sort_keys=True)}
        )
        onnx.checker.check_model(proto, full_check=True)
    # The exporter raises many kinds of exceptions on what it does not know.
    except Exception as error:
        raise FibsegError(
            f"{exchanged.checkpoint}: cannot be written as ONNX ({first_line(error)})."
        ) from error
    content = sealed(proto.SerializeToString(deterministic=True))
    check_equal(exchanged, OnnxGraph(content, str(exchanged.checkpoint)).run, "onnxruntime")
    return content


def _strip(proto: Any) -> None:
    """Remove notes on the code that a graph was traced from, with its paths on this machine."""
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for part in (proto, graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    # Lengths of the traces between the nodes; a runtime finds them itself.
    graph.ClearField("value_info")


def _name_axes(tensor: Any, names: tuple[str | None, ...]) -> None:
    """Name the axes of any length of an input or output."""
    for axis, name in zip(tensor.type.tensor_type.shape.dim, names, strict=True):
        if name is not None:
            axis.dim_param = name


def model_description(exchanged: ExchangedModel) -> dict[str, Any]:
    """All that a prediction needs beside the weights, as plain values."""
    # The file that the export is made of, to tell which model it is.
    return model_content(exchanged.model) | {"model_sha256": exchanged.model.file_sha256}


def check_equal(exchanged: ExchangedModel, run: Any, library: str) -> None:
    """Compare what a library computes of random images of several sizes with the network.

    Args:
        exchanged: the network.
        run: (N, C, H, W) float32 -> (N, K, H, W), by the library.
        library: its name, for the message.

    Raises:
        FibsegError: a probability differs by more than LARGEST_DIFFERENCE.
    """
    generator = np.random.default_rng(0)
    for images, height, width in _TRIAL_SIDES:
        shape = (images, exchanged.model.channels.count, height, width)
        levels = generator.integers(0, 256, shape).astype(np.float32)
        expected = exchanged.graph.of_array(levels)
        computed = run(levels)
        difference = float(np.abs(computed - expected).max())
        # NaN differs, too.
        if computed.shape != expected.shape or not difference <= LARGEST_DIFFERENCE:
            raise FibsegError(
                f"{exchanged.checkpoint}: {library} computes other probabilities of the exported "
                f"network (by {difference:.2g}); it is not written."
            )
