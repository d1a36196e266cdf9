"""Small ONNX graphs and packages of bioimage.io, as other programs make them."""

from __future__ import annotations

import copy
import hashlib
import io
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from fibseg.errors import FibsegError
from fibseg.models.foreign.opening import open_model


def no_network(patch: pytest.MonkeyPatch) -> None:
    """Let every connection fail, to any machine."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was asked for")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)


def linear_graph(
    slopes: list[list[float]],
    end: str | None,
    metadata: dict[str, str] | None = None,
    sides: tuple[int | str, int | str] = ("h", "w"),
) -> bytes:
    """An ONNX file: (N, C, H, W) -> slopes (K, C) times the channels, then Softmax or Sigmoid."""
    weights = np.array(slopes, np.float32)[:, :, None, None]
    classes, channels = weights.shape[:2]
    last = "scores" if end else "out"
    nodes = [helper.make_node("Conv", ["in", "weights"], [last])]
    if end:
        attributes = {"axis": 1} if end == "Softmax" else {}
        nodes.append(helper.make_node(end, [last], ["out"], **attributes))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", channels, *sides])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", classes, *sides])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    """An array as a file of numpy."""
    buffer = io.BytesIO()
    np.save(buffer, array.astype(object) if pickled else array, allow_pickle=pickled)
    return buffer.getvalue()


SLOPES = [[0.0], [1.0], [-1.0]]
"""Of three classes: neither, the bright one, the dark one."""

TEST_INPUT = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 48)).astype(np.uint8)


def axes_of(kind: str, names: list[str], size: Any) -> list[dict[str, Any]]:
    """Axes b, c, y, x of an input or output of 0.5."""
    space = [
        {"type": "space", "id": axis, "size": size if kind == "input" else reference(axis)}
        for axis in ("y", "x")
    ]
    return [{"type": "batch"}, {"type": "channel", "channel_names": names}, *space]


def reference(axis: str) -> dict[str, str]:
    """The size of an output's axis: that of the input."""
    return {"tensor_id": "raw", "axis_id": axis}


DESCRIPTION: dict[str, Any] = {
    "type": "model",
    "format_version": "0.5.4",
    "name": "bright and dark",
    "description": "classes by brightness",
    "authors": [{"name": "Somebody"}],
    "cite": [{"text": "a paper", "doi": "10.1007/978-3-319-24574-4_28"}],
    "license": "MIT",
    "timestamp": "2024-01-01T00:00:00",
    "inputs": [
        {
            "id": "raw",
            "axes": axes_of("input", ["grey"], {"min": 32, "step": 16}),
            "data": {"type": "float32"},
            "preprocessing": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}],
        }
    ],
    "outputs": [
        {
            "id": "scores",
            "axes": axes_of("output", ["background", "bright", "dark"], None),
            "data": {"type": "float32"},
        }
    ],
}


def standardised(image: np.ndarray) -> np.ndarray:
    """What the preprocessing of DESCRIPTION does."""
    values = image.astype(np.float64)
    return (values - values.mean()) / (values.std() + 1e-6)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Of (N, K, H, W) over the classes."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def expected_scores(image: np.ndarray, slopes: list[list[float]] = SLOPES) -> np.ndarray:
    """(1, K, H, W) of an image (H, W), by numpy."""
    return np.array(slopes)[None, :, :1, None] * standardised(image)[None, None]


def probabilities(path: Path, image: np.ndarray) -> np.ndarray:
    """(K, H, W) of an 8-bit image (H, W), as a prediction computes them."""
    images = torch.from_numpy(image)[None, None].float() / 255
    with torch.inference_mode():
        scores = open_model(path).network(images)
    return np.asarray(scores.softmax(dim=1)[0].numpy())


def write_package(
    path: Path,
    graph: bytes | None = None,
    test_output: np.ndarray | None = None,
    test_input: bytes | None = None,
    more: dict[str, bytes] | None = None,
    **changes: Any,
) -> Path:
    """Write a package of three classes, with some of its parts changed; gives its path."""
    files = {
        "weights.onnx": linear_graph(SLOPES, "Softmax") if graph is None else graph,
        "input.npy": npy(TEST_INPUT) if test_input is None else test_input,
        "output.npy": npy(
            softmax(expected_scores(TEST_INPUT[0, 0])).astype(np.float32)
            if test_output is None
            else test_output
        ),
    }

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    content = copy.deepcopy(DESCRIPTION)
    content["weights"] = {"onnx": {**file("weights.onnx"), "opset_version": 18}}
    for name, side in (("input.npy", "inputs"), ("output.npy", "outputs")):
        content[side][0]["test_tensor"] = file(name)
    for keys, value in changes.items():
        *groups, last = keys.split("__")
        node = content
        for group in groups:
            node = node[int(group)] if isinstance(node, list) else node[group]  # type: ignore[assignment]
        node[last] = value
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bioimageio.yaml", yaml.safe_dump(content))
        for name, bytes_of_file in {**files, **(more or {})}.items():
            archive.writestr(name, bytes_of_file)
    return path


def refused(path: Path, message: str) -> None:
    """Opening a package fails with a sentence that names it and matches the message."""
    with pytest.raises(FibsegError, match=message) as refusal:
        open_model(path)
    assert "\n" not in str(refusal.value) and str(path) in str(refusal.value)
