"""Packages that cannot be run: each is refused in one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.packages import (
    TEST_INPUT,
    axes_of,
    expected_scores,
    linear_graph,
    npy,
    refused,
    softmax,
    write_package,
)

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "other test output": (
        {"test_output": np.zeros((1, 3, 64, 48), np.float32)},
        r"differs from its test output in 100\.00% of the numbers",
    ),
    "test output of another shape": (
        {"test_output": np.zeros((1, 3, 64, 47), np.float32)},
        r"its test output is of shape \(1, 3, 64, 47\), but it computes \(1, 3, 64, 48\)",
    ),
    "pickled test input": (
        {"test_input": npy(TEST_INPUT, pickled=True)},
        r"input\.npy is no array of numbers",
    ),
    "volumes": (
        {
            "inputs__0__axes": [
                *axes_of("input", ["grey"], 32),
                {"type": "space", "id": "z", "size": 16},
            ]
        },
        r"raw has the axis z; fibseg runs 2-D models, which see single slices",
    ),
    "colours": (
        {
            "inputs__0__axes": axes_of("input", ["r", "g", "b"], {"min": 32, "step": 16}),
            "graph": linear_graph([[0.0] * 3] * 2, "Softmax"),
            "outputs__0__axes": axes_of("output", ["background", "bright"], None),
            "test_input": npy(TEST_INPUT.repeat(3, axis=1)),
            "test_output": np.full((1, 2, 64, 48), 0.5, np.float32),
        },
        r"takes 3 channels; a stack has one",
    ),
    "a distance": (
        {
            "graph": linear_graph([[2.0]], "Sigmoid"),
            "test_output": (1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[2.0]])))).astype(
                np.float32
            ),
            "outputs__0__axes": axes_of("output", ["distance_transform"], None),
        },
        r"its only channel \(distance_transform\) is no probability of a class, by its name",
    ),
    "no classes": (
        {
            "graph": linear_graph([[1.0], [2.0]], "Sigmoid"),
            "test_output": (
                1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[1.0], [2.0]])))
            ).astype(np.float32),
            "outputs__0__axes": axes_of("output", ["inside", "boundary"], None),
        },
        r"the 2 channels of its output \(inside, boundary\) are no probabilities of classes t",
    ),
    "logits of maps": (
        {
            "graph": linear_graph([[1.0], [2.0]], None),
            "test_output": expected_scores(TEST_INPUT[0, 0], [[1.0], [2.0]]).astype(np.float32),
            "outputs__0__axes": axes_of("output", ["inside", "boundary"], None),
        },
        r"the 2 channels of its output \(inside, boundary\) are no probabilities of classes",
    ),
    "logits of distances": (
        {
            "graph": linear_graph([[1.0], [2.0], [3.0]], None),
            "test_output": expected_scores(TEST_INPUT[0, 0], [[1.0], [2.0], [3.0]]).astype("f4"),
            "outputs__0__axes": axes_of("output", ["background", "cell", "distance_y"], None),
        },
        r"the 3 channels of its output .* are no probabilities of classes",
    ),
    "grey values": (
        {
            "graph": linear_graph([[2.0]], None),
            "test_output": expected_scores(TEST_INPUT[0, 0], [[2.0]]).astype(np.float32),
            "outputs__0__axes": axes_of("output", ["denoised"], None),
        },
        r"its only channel leaves 0 to 1, and is no probability of a class",
    ),
    "a denoiser": (
        {
            "tags": ["2d", "denoising"],
            "graph": linear_graph([[2.0]], "Sigmoid"),
            "test_output": (1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[2.0]])))).astype(
                np.float32
            ),
            "outputs__0__axes": axes_of("output", ["denoised"], None),
        },
        r"its tag denoising says that it gives no classes",
    ),
    "statistics of a data set": (
        {
            "inputs__0__preprocessing": [
                {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["batch", "y", "x"]}}
            ]
        },
        r"needs statistics of a whole data set \(zero_mean_unit_variance\)",
    ),
    "statistics of the output": (
        {
            "outputs__0__postprocessing": [
                {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}
            ]
        },
        r"needs statistics of its output \(zero_mean_unit_variance\)",
    ),
    "too many classes": (
        {
            "graph": linear_graph([[float(k)] for k in range(256)], "Softmax"),
            "test_output": softmax(
                expected_scores(TEST_INPUT[0, 0], [[float(k)] for k in range(256)])
            ).astype(np.float32),
            "outputs__0__axes": axes_of("output", [f"c{k}" for k in range(256)], None),
        },
        r"has 256 classes; expected at most 255",
    ),
    "sides that differ": (
        {
            "inputs__0__axes": [
                {**axis, "size": size} if axis["type"] == "space" else axis
                for axis, size in zip(
                    axes_of("input", ["grey"], 64), (None, None, 64, 48), strict=True
                )
            ]
        },
        r"takes only images of one size, which is not square",
    ),
    "no test input": (
        {"inputs__0__test_tensor": None},
        r"has no test tensor for raw, and is therefore not run|does not fit",
    ),
    "steps of a file": (
        {
            "outputs__0__postprocessing": [
                {"id": "custom", "callable": "steps", "source": "steps.py", "kwargs": {}}
            ],
            "more": {"steps.py": b"raise SystemExit('imported')"},
            "format_version": "0.5.12",
        },
        r"needs custom, which fibseg does not run",
    ),
    "a network of a file": (
        {
            "weights": {
                "pytorch_state_dict": {
                    "source": "weights.pt",
                    "sha256": "0" * 64,
                    "architecture": {
                        "callable": "Net",
                        "source": "steps.py",
                        "sha256": hashlib.sha256(b"raise SystemExit('imported')").hexdigest(),
                    },
                    "pytorch_version": "2.0",
                }
            },
            "more": {"steps.py": b"raise SystemExit('imported')", "weights.pt": b""},
        },
        r"has weights for pytorch_state_dict alone; fibseg runs onnx",
    ),
    "weights elsewhere": (
        {"weights__onnx__source": "https://example.com/weights.onnx"},
        r"'https://example\.com/weights\.onnx' is not in the package; nothing is read from elsewh",
    ),
    "other weights": (
        {"weights__onnx__sha256": "0" * 64},
        r"weights\.onnx does not fit its SHA-256; it was changed",
    ),
    "no graph": ({"graph": b"\x08\x01hello"}, r"weights\.onnx: no ONNX file, or a damaged one"),
    "no such format": ({"format_version": "9.1.0"}, r"does not fit bioimage\.io's format"),
    "no model": ({"type": "dataset"}, r"a dataset of bioimage\.io, and no model|does not fit"),
    "damaged": ({"inputs": []}, r"does not fit bioimage\.io's format: .*inputs"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_package_that_cannot_be_run_is_refused_in_a_sentence(path: Path, name: str) -> None:
    changes, message = BAD[name]
    write_package(path, **changes)
    refused(path, message)
