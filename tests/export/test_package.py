"""Packages of networks that see no filter channels, which take grey values as they are in files."""

from __future__ import annotations

import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import bioimageio.core
import bioimageio.spec
import numpy as np
import pytest
import torch
import yaml

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.errors import FibsegError
from fibseg.export import description as description_module
from fibseg.export import package as package_module
from fibseg.export.description import (
    CHECKPOINT_NAME,
    ONNX_NAME,
    Publication,
    package_description,
)
from fibseg.export.exchanged import open_exchanged
from fibseg.export.package import package_bytes
from fibseg.export.texts import package_name, short_description
from fibseg.filters.channels import Channels
from fibseg.models.foreign.archive import Archive
from fibseg.models.foreign.package import described_package
from fibseg.models.trained import save_model
from fibseg.runs.directory import RunDirectory
from tests.support.models import trained
from tests.support.packages import linear_graph


@pytest.mark.slow(seconds=8)
def test_grey_values_are_scaled_as_a_prediction_scales_them(tmp_path: Path) -> None:
    # Many grey values of this range lie halfway between two of the 256 levels.
    grey = GreyRange(20.0, 200.0)
    model = trained([], 3)
    model = replace(model, channels=Channels(context=1), grey_range=grey)
    save_model(model, tmp_path / "model.safetensors")
    exchanged = open_exchanged(tmp_path / "model.safetensors")
    content = package_bytes(exchanged, RunDirectory(tmp_path / "no run"), Publication())
    path = tmp_path / "package.zip"
    path.write_bytes(content)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 270, 285)).astype(np.uint8)
    with zipfile.ZipFile(path) as archive:
        described = yaml.safe_load(archive.read("bioimageio.yaml"))
        context = bioimageio.spec.ValidationContext(root=archive, perform_io_checks=False)
        description = bioimageio.spec.build_description(described, context=context)
        given = {"channels": pictures[None].astype(np.float32)}
        with bioimageio.core.create_prediction_pipeline(description) as pipeline:
            sample = bioimageio.core.digest_spec.create_sample_for_model(description, inputs=given)
            # Whole slices need no border around them.
            sample = pipeline.predict_sample_without_blocking(
                sample, skip_input_padding=True, skip_output_cropping=True
            )
        readme = archive.read("README.md").decode()
    channels = np.stack([to_8bit(picture, grey) for picture in pictures])
    with torch.inference_mode():
        logits = exchanged.model.network(torch.from_numpy(channels)[None].float() * (1 / 255))
    computed = sample.members["probabilities"].to_numpy()
    assert np.abs(computed - logits.softmax(dim=1).numpy()).max() < 1e-4
    assert (computed.argmax(1) == logits.argmax(dim=1).numpy()).all()
    assert described["inputs"][0]["axes"][1]["channel_names"] == ["image", "image -1", "image +1"]
    assert "the package scales them: 20 becomes 0 and 200 becomes 255" in readme


@pytest.mark.slow(seconds=12)
def test_blocks_of_its_own_library_have_no_seams(tmp_path: Path) -> None:
    model = replace(trained([], 1), grey_range=GreyRange(0.0, 255.0))
    save_model(model, tmp_path / "model.safetensors")
    exchanged = open_exchanged(tmp_path / "model.safetensors")
    content = package_bytes(exchanged, RunDirectory(tmp_path / "no run"), Publication())
    path = tmp_path / "package.zip"
    path.write_bytes(content)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 336, 400)).astype(np.float32)
    with zipfile.ZipFile(path) as archive:
        described = yaml.safe_load(archive.read("bioimageio.yaml"))
        context = bioimageio.spec.ValidationContext(root=archive, perform_io_checks=False)
        description = bioimageio.spec.build_description(described, context=context)
        given = {"channels": image}
        whole = bioimageio.core.predict(model=description, inputs=given)
        blocks = bioimageio.core.predict(
            model=description,
            inputs=given,
            input_block_shape={"channels": {"batch": 1, "channel": 1, "y": 288, "x": 304}},
        )
    expected = whole.members["probabilities"].to_numpy()
    computed = blocks.members["probabilities"].to_numpy()
    assert computed.shape[2:] == (336, 400)
    assert np.abs(computed - expected).max() < 1e-4
    # What lies a halo from the border is what the network itself computes.
    halo = exchanged.model.network.halo
    own = exchanged.graph.of_array(image)
    inside = (..., slice(halo, -halo), slice(halo, -halo))
    assert np.abs(computed[inside] - own[inside]).max() < 1e-4
    axes = described["outputs"][0]["axes"][2:]
    assert [axis["halo"] for axis in axes] == [halo, halo]


@pytest.mark.parametrize(
    "grey",
    [
        GreyRange(0.0, 255.0),
        GreyRange(0.0, 200.0),
        GreyRange(5.0, 260.0),
        GreyRange(20.0, 200.0),
        GreyRange(0.0, 255.0, (0.0, 100.0)),
        GreyRange(0.0, 255.0, (0.1, 99.9)),
    ],
)
def test_steps_of_every_grey_range_fit_the_format(tmp_path: Path, grey: GreyRange) -> None:
    model = replace(trained([], 2), grey_range=grey)
    names = ("README.md", "cover.png", "test_input.npy", "test_output.npy")
    files = dict.fromkeys((*names, ONNX_NAME, CHECKPOINT_NAME), b"")
    run = RunDirectory(tmp_path / "no run")
    content = package_description(files, model, run, Publication())
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
        archive.writestr("bioimageio.yaml", yaml.safe_dump(content))
    with closing(Archive(tmp_path / "package.zip")) as archive:
        package = described_package(archive, archive.description())
    # On either side of the range, too.
    image = np.linspace(0, 300, 48 * 64).reshape(48, 64).astype(np.float32)
    given: list[np.ndarray] = []

    def infer(levels: np.ndarray) -> np.ndarray:
        given.append(levels)
        return levels[:, [0, 0]]

    package.processed(image[None, None], infer)
    ends = (grey.low, grey.high)
    if grey.percentiles is not None:
        ends = tuple(np.percentile(image, grey.percentiles))
    expected = (image - ends[0]) * 255 / (ends[1] - ends[0])
    assert given[0][0, 0] == pytest.approx(expected, abs=1e-3)


def test_a_package_that_does_not_pass_names_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(trained([], 1), tmp_path / "model.safetensors")
    exchanged = open_exchanged(tmp_path / "model.safetensors")
    # As after an error of ours.
    graph = linear_graph([[0.0], [1.0]], "Softmax")
    monkeypatch.setattr(package_module, "onnx_bytes", lambda _: graph)
    monkeypatch.setattr(description_module, "_preprocessing", lambda _: [{"id": "scale_linear"}])
    with pytest.raises(
        FibsegError,
        match=r"no run: its package: bioimageio\.yaml does not fit bioimage\.io's format",
    ) as e:
        package_bytes(exchanged, RunDirectory(tmp_path / "no run"), Publication())
    assert "package.zip" not in str(e.value)


@pytest.mark.parametrize(
    ("architecture", "arguments", "name", "words"),
    [
        ("unet", {}, "UNet", "by a UNet:"),
        ("eunet", {"encoder": "efficientnet_b0"}, "EfficientUNet", "by an EfficientUNet:"),
        (
            "encoder_unet",
            {"encoder": "resnet18"},
            "UNet with the encoder resnet18",
            "by a UNet with the encoder resnet18:",
        ),
    ],
)
def test_names_of_networks(
    architecture: str, arguments: dict[str, str], name: str, words: str
) -> None:
    model = replace(trained([], 1), architecture=architecture, arguments=arguments)
    assert package_name(model).startswith(f"{name} FIB-SEM ")
    assert words in short_description(model)
