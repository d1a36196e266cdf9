"""Packages of bioimage.io that other programs made: run as its own library does, or refused."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import bioimageio.core
import bioimageio.spec
import numpy as np
import pytest
import tifffile
import torch
import yaml

from fibseg.errors import FibsegError
from fibseg.models.foreign.opening import open_model
from tests.support import Commands
from tests.support.labelling import random_image
from tests.support.packages import (
    SLOPES,
    TEST_INPUT,
    axes_of,
    expected_scores,
    linear_graph,
    no_network,
    npy,
    softmax,
    standardised,
    write_package,
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.zip"


def probabilities(path: Path, image: np.ndarray) -> np.ndarray:
    """(K, H, W) of an 8-bit image (H, W), as a prediction computes them."""
    images = torch.from_numpy(image)[None, None].float() / 255
    with torch.inference_mode():
        scores = open_model(path).network(images)
    return np.asarray(scores.softmax(dim=1)[0].numpy())


@pytest.mark.parametrize("shape", [(64, 48), (96, 160)])
def test_probabilities_are_those_of_its_own_library(path: Path, shape: tuple[int, int]) -> None:
    write_package(path)
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    with zipfile.ZipFile(path) as archive:
        context = bioimageio.spec.ValidationContext(
            root=archive, file_name="bioimageio.yaml", perform_io_checks=False
        )
        content = yaml.safe_load(archive.read("bioimageio.yaml"))
        model = bioimageio.spec.build_description(content, context=context)
        sample = bioimageio.core.predict(model=model, inputs={"raw": image[None, None]})
    expected = sample.members["scores"].to_numpy()[0]
    assert np.abs(probabilities(path, image) - expected).max() < 1e-6
    # And by numpy, without any of its code.
    assert np.abs(softmax(expected_scores(image))[0] - expected).max() < 1e-5


def test_a_slice_of_another_size_is_repeated_at_its_border(path: Path) -> None:
    write_package(path)
    image = random_image((1, 50, 70))[0]
    padded = np.pad(image, ((0, 14), (0, 10)), mode="edge")
    expected = softmax(expected_scores(padded))[0, :, :50, :70]
    assert np.abs(probabilities(path, image) - expected).max() < 1e-5


def test_logits_and_a_single_channel_become_probabilities(path: Path) -> None:
    scores = expected_scores(TEST_INPUT[0, 0])
    write_package(path, graph=linear_graph(SLOPES, None), test_output=scores.astype(np.float32))
    image = random_image((1, 64, 48))[0]
    expected = softmax(expected_scores(image))[0]
    assert np.abs(probabilities(path, image) - expected).max() < 1e-5
    one_class = axes_of("output", ["bright"], None)
    foreground = 1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[2.0]])))
    for end, output in (
        ("Sigmoid", foreground),
        (None, expected_scores(TEST_INPUT[0, 0], [[2.0]])),
    ):
        write_package(
            path,
            graph=linear_graph([[2.0]], end),
            test_output=output.astype(np.float32),
            outputs__0__axes=one_class,
        )
        assert open_model(path).class_names == ["background", "bright"]
        expected = 1 / (1 + np.exp(-2 * standardised(image)))
        assert np.abs(probabilities(path, image)[1] - expected).max() < 1e-5


@pytest.mark.slow(seconds=4)
def test_predict_labels_a_stack(commands: Commands, path: Path, tmp_path: Path) -> None:
    write_package(path)
    stack = random_image((3, 70, 90))
    tifffile.imwrite(tmp_path / "image.tif", stack, photometric="minisblack")
    output = tmp_path / "labels.tif"
    line = [f"checkpoint={path}", f"image={tmp_path / 'image.tif'}", f"output={output}"]
    result = commands.run("predict.py", *line, "processes=1", "threads=1", "device=cpu")
    assert result.returncode == 0, result.stderr
    assert "the model does not tell the voxel size of its training" in result.stdout
    assert "which lost" not in result.stdout
    padded = np.pad(stack, ((0, 0), (0, 10), (0, 6)), mode="edge")
    expected = [expected_scores(image)[0, :, :70, :90].argmax(0) for image in padded]
    assert (tifffile.imread(output) == np.stack(expected)).all()
    again = commands.run("predict.py", *line, "processes=1", "threads=1", "device=cpu")
    assert "finished already, by the same model" in again.stdout


def test_a_network_of_one_size_takes_overlapping_windows(path: Path) -> None:
    square = np.ascontiguousarray(TEST_INPUT[:, :, :32, :32])
    write_package(
        path,
        graph=linear_graph(SLOPES, "Softmax", sides=(32, 32)),
        test_input=npy(square),
        test_output=softmax(expected_scores(square[0, 0])).astype(np.float32),
        inputs__0__axes=axes_of("input", ["grey"], 32),
    )
    model = open_model(path)
    assert model.windows == {"kind": "blend", "size": 32, "loss": None}
    assert model.patch_size == 32
    with pytest.raises(FibsegError, match=r"takes images of 32 x 32 alone; give windows=blend\."):
        probabilities(path, random_image((1, 64, 64))[0])


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
    "no classes": (
        {
            "graph": linear_graph([[1.0], [2.0]], "Sigmoid"),
            "test_output": (
                1 / (1 + np.exp(-expected_scores(TEST_INPUT[0, 0], [[1.0], [2.0]])))
            ).astype(np.float32),
            "outputs__0__axes": axes_of("output", ["inside", "boundary"], None),
        },
        r"the 2 channels of its output are no probabilities of classes that exclude each other",
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
    with pytest.raises(FibsegError, match=message) as refusal:
        open_model(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/weights", "a/../../b", "..\\b", "c:\\b"])
def test_a_name_that_leaves_the_package_is_refused(path: Path, name: str) -> None:
    write_package(path, more={name: b"0"})
    with pytest.raises(FibsegError, match="which leaves the package; it is not read"):
        open_model(path)


def test_links_are_refused(path: Path) -> None:
    write_package(path)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FibsegError, match="'link', which leaves the package"):
        open_model(path)


def test_files_that_are_no_package(path: Path) -> None:
    with pytest.raises(FibsegError, match=r"model\.zip: no such file"):
        open_model(path)
    path.write_bytes(b"hello")
    with pytest.raises(FibsegError, match=r"model\.zip: no zip, or a damaged one"):
        open_model(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FibsegError, match=r"no package of bioimage\.io: it holds no bioimageio\."):
        open_model(path)
    for text in ("- 1", "a: [", "\x00"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bioimageio.yaml", text)
        with pytest.raises(FibsegError, match=r"bioimageio\.yaml (is no YAML|describes nothing)"):
            open_model(path)


def test_aliases_that_multiply_are_refused(path: Path) -> None:
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 30)]
    for text in ("\n".join(lines), "a: &a [*a]"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bioimageio.yaml", text)
        with pytest.raises(FibsegError, match=r"more than 100000 values once its aliases \(\*\)"):
            open_model(path)


def test_a_package_of_the_older_format_is_run(path: Path) -> None:
    files = {
        "weights.onnx": linear_graph(SLOPES, "Softmax"),
        "input.npy": npy(TEST_INPUT.astype(np.float32)),
        "output.npy": npy(softmax(expected_scores(TEST_INPUT[0, 0])).astype(np.float32)),
        "README.md": b"# A model",
    }
    step = {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": "yx"}}
    content = {
        "type": "model",
        "format_version": "0.4.10",
        "name": "bright and dark",
        "description": "classes by brightness",
        "authors": [{"name": "Somebody"}],
        "cite": [{"text": "a paper", "doi": "10.1007/978-3-319-24574-4_28"}],
        "license": "MIT",
        "documentation": "README.md",
        "timestamp": "2022-01-01T00:00:00",
        "inputs": [
            {
                "name": "raw",
                "axes": "bcyx",
                "data_type": "float32",
                "shape": {"min": [1, 1, 32, 32], "step": [0, 0, 16, 16]},
                "preprocessing": [step],
            }
        ],
        "outputs": [
            {
                "name": "scores",
                "axes": "bcyx",
                "data_type": "float32",
                "shape": {
                    "reference_tensor": "raw",
                    "scale": [1, 0, 1, 1],
                    "offset": [0, 1.5, 0, 0],
                },
            }
        ],
        "test_inputs": ["input.npy"],
        "test_outputs": ["output.npy"],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": 18}},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(content))
        for name, data in files.items():
            archive.writestr(name, data)
    image = random_image((1, 64, 48))[0]
    expected = softmax(expected_scores(image))[0]
    assert np.abs(probabilities(path, image) - expected).max() < 1e-4
    assert len(open_model(path).class_names) == 3
