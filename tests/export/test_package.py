"""Packages of networks that see no filter channels, which take grey values as they are in files."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import bioimageio.core
import bioimageio.spec
import numpy as np
import pytest
import torch
import yaml

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.export.description import Publication
from fibseg.export.exchanged import open_exchanged
from fibseg.export.package import package_bytes
from fibseg.filters.channels import Channels
from fibseg.models.trained import save_model
from fibseg.runs.directory import RunDirectory
from tests.support.models import trained


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
    pictures = np.random.default_rng(0).integers(0, 256, (3, 70, 85)).astype(np.uint8)
    with zipfile.ZipFile(path) as archive:
        described = yaml.safe_load(archive.read("bioimageio.yaml"))
        context = bioimageio.spec.ValidationContext(root=archive, perform_io_checks=False)
        description = bioimageio.spec.build_description(described, context=context)
        given = {"channels": pictures[None].astype(np.float32)}
        sample = bioimageio.core.predict(model=description, inputs=given)
        readme = archive.read("README.md").decode()
    channels = np.stack([to_8bit(picture, grey) for picture in pictures])
    with torch.inference_mode():
        logits = exchanged.model.network(torch.from_numpy(channels)[None].float() * (1 / 255))
    computed = sample.members["probabilities"].to_numpy()
    assert np.abs(computed - logits.softmax(dim=1).numpy()).max() < 1e-4
    assert (computed.argmax(1) == logits.argmax(dim=1).numpy()).all()
    assert described["inputs"][0]["axes"][1]["channel_names"] == ["image", "image -1", "image +1"]
    assert "the package scales them: 20 becomes 0 and 200 becomes 255" in readme
