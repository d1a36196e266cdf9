"""Packages of bioimage.io that other programs made: run as its own library does, or refused."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import bioimageio.core
import bioimageio.spec
import numpy as np
import pytest
import tifffile
import torch
import yaml

from fibseg.errors import FibsegError
from fibseg.machine import Compute
from fibseg.models.foreign.opening import open_model
from fibseg.prediction.slices import WindowedNetwork, predict_slices, scores_of
from fibseg.prediction.slices import probabilities as probabilities_of
from fibseg.prediction.windows import windows_of
from tests.support import Commands
from tests.support.labelling import random_image
from tests.support.packages import (
    SLOPES,
    TEST_INPUT,
    axes_of,
    expected_scores,
    linear_graph,
    npy,
    probabilities,
    softmax,
    standardised,
    write_package,
)


def library_probabilities(path: Path, image: np.ndarray) -> np.ndarray:
    """(K, H, W) of an 8-bit image (H, W), as the library of bioimage.io computes them."""
    with zipfile.ZipFile(path) as archive:
        context = bioimageio.spec.ValidationContext(
            root=archive, file_name="bioimageio.yaml", perform_io_checks=False
        )
        content = yaml.safe_load(archive.read("bioimageio.yaml"))
        model = bioimageio.spec.build_description(content, context=context)
        sample = bioimageio.core.predict(model=model, inputs={"raw": image[None, None]})
    return np.asarray(sample.members["scores"].to_numpy()[0])


@pytest.mark.parametrize("shape", [(64, 48), (96, 160)])
def test_probabilities_are_those_of_its_own_library(path: Path, shape: tuple[int, int]) -> None:
    write_package(path)
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    expected = library_probabilities(path, image)
    assert np.abs(probabilities(path, image) - expected).max() < 1e-6
    # And by numpy, without any of its code.
    assert np.abs(softmax(expected_scores(image))[0] - expected).max() < 1e-5


def test_a_slice_of_another_size_is_repeated_at_its_border(path: Path) -> None:
    write_package(path)
    image = random_image((1, 50, 70))[0]
    # Measured before the border is repeated, as its own library measures a sample.
    expected = softmax(expected_scores(image))[0]
    assert np.abs(probabilities(path, image) - expected).max() < 1e-5


@pytest.mark.parametrize("kind", ["whole", "tiles", "blend"])
@pytest.mark.parametrize("step", ["zero_mean_unit_variance", "scale_range"])
def test_windows_are_prepared_by_the_statistics_of_their_slice(
    path: Path, kind: str, step: str
) -> None:
    kwargs = {"axes": ["y", "x"]}
    if step == "scale_range":
        kwargs |= {"min_percentile": 1.0, "max_percentile": 99.0}  # type: ignore[dict-item]
    # Bright on the left, so that the statistics of a part are others.
    image = random_image((1, 160, 224))[0] // 4 + np.linspace(180, 0, 224).astype(np.uint8)
    slopes = [[0.0], [1.0], [-1.0]]
    given = TEST_INPUT[0, 0].astype(np.float64)
    low, high = np.quantile(given, [0.01, 0.99], method="inverted_cdf")
    scaled = (given - low) / (high - low + 1e-6) if step == "scale_range" else standardised(given)
    output = softmax(np.array(slopes)[None, :, :1, None] * scaled[None, None])
    write_package(
        path,
        test_output=output.astype(np.float32),
        inputs__0__preprocessing=[{"id": step, "kwargs": kwargs}],
    )
    expected = library_probabilities(path, image)
    ours = open_model(path)
    size = None if kind == "whole" else 64
    windows = replace(windows_of(ours, kind, size), size=size or 0, halo=32)
    compute = Compute(torch.device("cpu"), "32", batch_size=4, filter_threads=1)
    (labels,) = predict_slices(ours, [image[None]], windows, compute)
    assert (labels == expected.argmax(0)).all()
    if kind == "blend":
        scores = WindowedNetwork(
            probabilities_of(scores_of(ours, compute.device)), windows, compute
        )
        assert np.abs(scores.scores(image[None]) - expected).max() < 1e-5


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
    expected = [expected_scores(image)[0].argmax(0) for image in stack]
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


@pytest.mark.parametrize(
    "name", ["rdf.yaml", "model.yaml", "bioimageio.yaml", "mitochondria.rdf.yaml"]
)
def test_every_name_of_a_description_is_read(path: Path, name: str) -> None:
    write_package(path)
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in files.items():
            archive.writestr(name if entry == "bioimageio.yaml" else entry, content)
    assert open_model(path).class_names == ["background", "bright", "dark"]


def test_pixel_sizes_come_from_the_axes(path: Path) -> None:
    def axes(**of_x: object) -> list[dict[str, object]]:
        given = axes_of("input", ["grey"], {"min": 32, "step": 16})
        given[2] |= {"unit": "micrometer", "scale": 0.008}
        given[3] |= of_x
        return given

    def outputs(**of_x: object) -> list[dict[str, object]]:
        given = axes_of("output", ["background", "bright", "dark"], None)
        given[2] |= {"unit": "micrometer", "scale": 0.008}
        given[3] |= of_x
        return given

    size = {"unit": "nanometer", "scale": 4.0}
    write_package(path, inputs__0__axes=axes(**size), outputs__0__axes=outputs(**size))
    ((z, y, x),) = open_model(path).voxel_sizes
    assert np.isnan(z) and (y, x) == pytest.approx((8.0, 4.0))
    # Ensembles compare them.
    assert list(open_model(path).voxel_sizes) == list(open_model(path).voxel_sizes)
    write_package(path, inputs__0__axes=axes(), outputs__0__axes=outputs())
    assert open_model(path).voxel_sizes == []


def test_a_lack_of_memory_is_passed_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction then takes smaller parts of a slice."""
    write_package(path)
    model = open_model(path)

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer")

    monkeypatch.setattr("onnxruntime.InferenceSession.run", fail)
    with pytest.raises(MemoryError, match="allocate memory"):
        model.network(torch.zeros(1, 1, 64, 48))


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
