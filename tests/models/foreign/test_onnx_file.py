"""ONNX files that say how they were trained, and those that are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.models.foreign.onnx_file import sealed
from fibseg.models.foreign.opening import open_model
from fibseg.models.trained import Decision, save_model
from tests.support.models import content_of, trained
from tests.support.packages import linear_graph

SLOPES = [[0.0, 0.0, 0.0], [0.01, 0.0, 0.0], [0.0, 0.01, -0.01]]
"""Of three classes, for three channels of 0 to 255."""


def described(tmp_path: Path, **changes: Any) -> dict[str, str]:
    """What `fibseg export` writes of a UNet of three channels and classes, with some changes."""
    model = trained([20, 200], 3)
    decision = Decision("validation", [0.0, 0.5, -0.5], 2.0, smallest=[0, 3, 4])
    grey = GreyRange(3.0, 234.0, (0.1, 99.9))
    save_model(replace(model, decision=decision, grey_range=grey), tmp_path / "model.safetensors")
    content = content_of(tmp_path / "model.safetensors")
    del content["weights"]
    return {"fibseg": json.dumps(content | changes)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_probabilities_are_those_of_the_graph(path: Path, tmp_path: Path) -> None:
    path.write_bytes(linear_graph(SLOPES, "Softmax", described(tmp_path)))
    model = open_model(path)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 50)).astype(np.float32)
    with torch.inference_mode():
        scores = model.network(torch.from_numpy(images) / 255)
    expected = np.exp(np.einsum("kc,nchw->nkhw", SLOPES, images.astype(np.float64)))
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(scores.softmax(dim=1).numpy() - expected).max() < 1e-5
    # The graph holds the offsets and the temperature; objects are removed after it.
    assert model.decision == Decision("validation", [0.0] * 3, 1.0, smallest=[0, 3, 4])
    assert model.grey_range == GreyRange(3.0, 234.0, (0.1, 99.9))
    assert hash(model.grey_range)
    assert model.label_values == [0, 7, 9]


def test_a_sealed_file_that_was_changed_is_refused(path: Path, tmp_path: Path) -> None:
    content = sealed(linear_graph(SLOPES, "Softmax", described(tmp_path)))
    path.write_bytes(content)
    assert open_model(path).file_sha256 == hashlib.sha256(content).hexdigest()
    onnx.checker.check_model(onnx.load(path), full_check=True)
    # Labels of two classes change places.
    assert content.count(b"[0, 7, 9]") == 1
    proto = onnx.load(path)
    (checksum,) = (entry for entry in proto.metadata_props if entry.key == "fibseg_sha256")
    checksum.value = "0" * 64
    changed = content.replace(b"[0, 7, 9]", b"[0, 9, 7]")
    for wrong in (changed, content[:-1] + b"!", proto.SerializeToString()):
        path.write_bytes(wrong)
        with pytest.raises(FibsegError, match="or a changed one: its SHA-256 differs"):
            open_model(path)


def test_files_that_are_refused(path: Path, tmp_path: Path) -> None:
    def refused(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(FibsegError, match=message) as refusal:
            open_model(path)
        assert "\n" not in str(refusal.value)

    with pytest.raises(FibsegError, match=r"model\.onnx: no such file"):
        open_model(path)
    with pytest.raises(FibsegError, match=r"model\.pt2: a program of PyTorch, for other programs"):
        open_model(path.with_suffix(".pt2"))
    metadata = described(tmp_path)
    refused(b"hello", "no ONNX file, or a damaged one")
    refused(b"", "onnxruntime cannot run it|no ONNX file")
    refused(linear_graph(SLOPES, "Softmax"), "does not say how it was trained .* bioimage.io pac")
    refused(linear_graph(SLOPES, None, {"fibseg": "[" * 9999}), "does not say how it was trained")
    other = linear_graph([[1.0]] * 3, "Softmax", metadata)
    refused(
        other,
        r"its input is of shape \['n', 1, 'h', 'w'\], but its description has 3 channels; "
        r"expected \[N, 3, H, W\]",
    )
    refused(
        linear_graph(SLOPES[:2], "Softmax", metadata),
        r"its output is of shape .* but its description has 3 classes",
    )
    refused(
        linear_graph(SLOPES, "Softmax", described(tmp_path, class_names=["background", "a"])),
        "do not fit each other",
    )
    refused(
        linear_graph(SLOPES, "Softmax", described(tmp_path, architecture="os.system")),
        "architecture is os.system",
    )
    refused(linear_graph(SLOPES, "Softmax", described(tmp_path, window=[5, 3])), "window is ")


def test_graphs_of_other_types_and_counts(path: Path) -> None:
    def value(name: str, kind: int) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, kind, ["n", 3, "h", "w"])

    half = onnx.TensorProto.FLOAT16
    for kind, outputs, message in (
        (half, 1, r"1 input \(float16\) and 1 output \(float16\); expected one of each, of type f"),
        (onnx.TensorProto.FLOAT, 2, r"1 input \(float32\) and 2 outputs \(float32, float32\)"),
    ):
        names = [f"out{k}" for k in range(outputs)]
        nodes = [onnx.helper.make_node("Relu", ["in"], [name]) for name in names]
        given = [value("in", kind)]
        graph = onnx.helper.make_graph(nodes, "graph", given, [value(name, kind) for name in names])
        opset = [onnx.helper.make_opsetid("", 18)]
        model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(FibsegError, match=message):
            open_model(path)


def test_a_graph_whose_weights_are_elsewhere_is_refused(path: Path, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(linear_graph(SLOPES, "Softmax", described(tmp_path)))
    (tmp_path / "weights.bin").write_bytes(model.graph.initializer[0].raw_data)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FibsegError, match="keeps weights in other files; expected one ONNX file"):
        open_model(path)


def test_a_graph_that_does_not_take_a_size_is_a_sentence(path: Path, tmp_path: Path) -> None:
    path.write_bytes(linear_graph(SLOPES, "Softmax", described(tmp_path), sides=(32, 32)))
    model = open_model(path)
    with pytest.raises(FibsegError, match=r"does not take an input of shape \(1, 3, 40, 32\)"):
        model.network(torch.zeros(1, 3, 40, 32))
