"""ONNX files: run by onnxruntime, and read as trained models where fibseg wrote them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import METADATA_KEY
from fibseg.models.foreign.running import (
    Floats32,
    RunElsewhere,
    counted,
    export_library,
    first_line,
)
from fibseg.models.trained import TrainedModel, model_from

INPUT = "channels"
OUTPUT = "probabilities"
"""Names of the tensors in a file that fibseg writes."""

_CHECKSUM = "fibseg_sha256"
"""Key of the checksum among the texts of a file."""


class OnnxGraph:
    """A graph of one input and one output, of float32.

    Attributes:
        metadata: texts by name, as the file holds them.
        input_shape: a number for each axis, or a name where it may have any length.
        output_shape: likewise.
    """

    def __init__(self, content: bytes, name: str):
        """Open a graph from the bytes of its file; `name` is for messages.

        Raises:
            FibsegError: it is no graph, of other files too, or of other inputs and outputs.
        """
        onnx = export_library("onnx")
        runtime = export_library("onnxruntime")
        try:
            proto = onnx.load_model_from_string(content)
            outside = any(tensor.data_location == tensor.EXTERNAL for tensor in _tensors(proto))
        # protobuf raises an error of its own on bytes that it did not write.
        except Exception as error:
            raise FibsegError(f"{name}: no ONNX file, or a damaged one.") from error
        # A path of the file's choice would be read.
        if outside:
            raise FibsegError(f"{name}: keeps weights in other files; expected one ONNX file.")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Errors alone; they are raised as well.
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime raises many kinds of exceptions, of no common class.
        except Exception as error:
            raise FibsegError(
                f"{name}: onnxruntime cannot run it ({first_line(error)})."
            ) from error
        inputs = self._session.get_inputs()
        outputs = self._session.get_outputs()
        if [tensor.type for tensor in (*inputs, *outputs)] != ["tensor(float)"] * 2:
            raise FibsegError(
                f"{name}: {_typed(inputs, 'input')} and {_typed(outputs, 'output')}; expected one "
                "of each, of type float32."
            )
        self._name = name
        self._input = inputs[0].name
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.input_shape: list[int | str] = list(inputs[0].shape)
        self.output_shape: list[int | str] = list(outputs[0].shape)

    def run(self, values: Floats32) -> Floats32:
        """Run the graph.

        Raises:
            FibsegError: it does not take this shape.
        """
        try:
            (result,) = self._session.run(None, {self._input: values})
        except Exception as error:
            # A prediction then takes smaller parts of a slice.
            if "allocate memory" in str(error) or isinstance(error, MemoryError):
                raise MemoryError(first_line(error)) from error
            raise FibsegError(
                f"{self._name}: does not take an input of shape {values.shape} "
                f"({first_line(error)})."
            ) from error
        return np.asarray(result, np.float32)


def _typed(tensors: Sequence[Any], noun: str) -> str:
    """How many inputs or outputs there are, and of which types."""
    # As onnxruntime writes them: tensor(float16).
    types = [tensor.type.removeprefix("tensor(").removesuffix(")") for tensor in tensors]
    names = [{"float": "float32", "double": "float64"}.get(name, name) for name in types]
    return f"{counted(len(tensors), noun)} ({', '.join(names)})"


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor that a message of an ONNX file holds, in subgraphs and functions, too."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                yield from _tensors(part)


def sealed(content: bytes) -> bytes:
    """Give the bytes of an ONNX file its SHA-256, as a text behind all others."""
    onnx = export_library("onnx")
    # Messages of protobuf that stand one behind the other are read as one.
    end = onnx.ModelProto()
    onnx.helper.set_model_props(end, {_CHECKSUM: hashlib.sha256(content).hexdigest()})
    return content + bytes(end.SerializeToString(deterministic=True))


def _check_seal(path: Path, content: bytes) -> None:
    """Compare a file with the checksum at its end."""
    length = len(sealed(b""))
    if sealed(content[:-length]) != content:
        raise FibsegError(f"{path}: a damaged model, or a changed one: its SHA-256 differs.")


def open_onnx(path: Path) -> TrainedModel:
    """Read an ONNX file of `fibseg export` as a trained model.

    Raises:
        FibsegError: it is missing, damaged, of another program, or its parts do not fit.
    """
    if not path.is_file():
        raise FibsegError(f"{path}: no such file.")
    content = path.read_bytes()
    graph = OnnxGraph(content, str(path))
    try:
        described = dict(json.loads(graph.metadata[METADATA_KEY]))
    # JSON may be nested deeper than Python's stack.
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise FibsegError(
            f"{path}: does not say how it was trained (grey values, filter, classes); expected a "
            "file of fibseg export, or a bioimage.io package."
        ) from error
    # Files of earlier versions have none.
    if _CHECKSUM in graph.metadata:
        _check_seal(path, content)
    digest = hashlib.sha256(content).hexdigest()
    network = RunElsewhere(graph.run, digest)
    model = model_from(path, {**described, "weights": {}}, network)
    if model.kind.compiled or not model.kind.by_gradient:
        raise FibsegError(f"{path}: a {model.architecture} is not kept in such a file.")
    _check_shape(f"{path}: its input", graph.input_shape, model.channels.count, "channels")
    _check_shape(f"{path}: its output", graph.output_shape, len(model.class_names), "classes")
    # The graph has the offsets and the temperature of the decision in it.
    decision = model.decision
    if decision is not None:
        decision = replace(decision, offsets=[0.0] * len(model.class_names), temperature=1.0)
    # The maps of a head are not in it; without one, objects are connected components.
    objects = model.objects
    if objects is not None and objects.head != "none":
        objects = None
    return replace(model, decision=decision, objects=objects, precision="32", file_sha256=digest)


def _check_shape(tensor: str, shape: list[int | str], count: int, what: str) -> None:
    if len(shape) == 4 and shape[1] == count:
        return
    raise FibsegError(
        f"{tensor} is of shape {shape}, but its description has {count} {what}; "
        f"expected [N, {count}, H, W]."
    )
