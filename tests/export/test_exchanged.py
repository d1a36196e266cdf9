"""Exported networks, opened by the libraries of the other side."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.export import exchanged as exporting
from fibseg.export.exchanged import ExchangedModel, onnx_bytes, open_exchanged, program_bytes
from fibseg.models.kinds import create_model
from fibseg.models.trained import Decision, save_model
from tests.support.forests import phantom_forest
from tests.support.models import SMALL_NETWORKS, trained

SHAPES = [(1, 33, 47), (3, 64, 64), (2, 100, 129)]
"""Images, rows and columns."""

SLOW = [
    pytest.param(name, marks=pytest.mark.slow(seconds=15)) for name in ("eunet", "encoder_unet")
]


def exported(folder: Path, architecture: str) -> ExchangedModel:
    """A network of three channels and classes with running statistics of its own."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = SMALL_NETWORKS[architecture] | {"channels": 3, "classes": 3}
    if architecture == "encoder_unet":
        # Of few layers: an exporter takes its time for each.
        arguments["encoder"] = "resnet10t"
    network = create_model(architecture, **arguments)
    # A pass in training mode moves the statistics of the batch norms.
    network.train()(torch.rand(2, 3, 64, 64))
    model = replace(
        trained([20, 200], 3),
        network=network.eval(),
        architecture=architecture,
        arguments=arguments,
        decision=Decision("validation", [0.0, 0.3, -0.2], 1.5),
    )
    save_model(model, folder / "model.safetensors")
    return open_exchanged(folder / "model.safetensors")


def expected_probabilities(exchanged: ExchangedModel, levels: np.ndarray) -> np.ndarray:
    """What the network itself computes of grey levels, with its decision."""
    with torch.inference_mode():
        logits = exchanged.model.network(torch.from_numpy(levels) * (1 / 255))
    offsets = torch.tensor([0.0, 0.3, -0.2])[:, None, None]
    return np.asarray(((logits + offsets) / 1.5).softmax(dim=1).numpy())


def levels_of(shape: tuple[int, int, int]) -> np.ndarray:
    images, height, width = shape
    generator = np.random.default_rng(height)
    return generator.integers(0, 256, (images, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("architecture", ["unet", *SLOW])
def test_other_libraries_compute_the_same_of_slices_of_any_size(
    tmp_path: Path, architecture: str
) -> None:
    exchanged = exported(tmp_path, architecture)
    content = onnx_bytes(exchanged)
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["images", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["images", 3, "height", "width"]
    for shape in SHAPES:
        levels = levels_of(shape)
        expected = expected_probabilities(exchanged, levels)
        (computed,) = session.run(None, {"channels": levels})
        assert np.abs(computed - expected).max() < 1e-4
        assert (computed.argmax(1) == expected.argmax(1)).all()
    # No path of this machine leaves with it.
    assert b"site-packages" not in content and b".py" not in content


def test_a_program_computes_the_same_of_slices_of_any_size(tmp_path: Path) -> None:
    exchanged = exported(tmp_path, "unet")
    program = torch.export.load(io.BytesIO(program_bytes(exchanged))).module()
    for shape in SHAPES:
        levels = levels_of(shape)
        with torch.inference_mode():
            computed = program(torch.from_numpy(levels)).numpy()
        assert np.abs(computed - expected_probabilities(exchanged, levels)).max() < 1e-5


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanged = exported(tmp_path, "unet")
    with pytest.raises(FibsegError, match=r"a library computes other probabilities .*not written"):
        exporting.check_equal(exchanged, lambda levels: levels * np.nan, "a library")
    # As an exporter with an error in an operator.
    with torch.no_grad():
        exchanged.model.network.head.bias += 1.0  # type: ignore[union-attr]
    with pytest.raises(FibsegError, match="PyTorch computes other probabilities of the exported"):
        broken = replace(exchanged, program=torch.export.export(_Half(), (torch.zeros(1),)))
        monkeypatch.setattr(exporting, "_TRIAL_SIDES", ((1, 64, 64),))
        program_bytes(broken)


class _Half(torch.nn.Module):
    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        return levels * 0.5


def test_a_forest_and_an_encoder_that_cannot_be_traced_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = tmp_path / "model.safetensors"
    save_model(phantom_forest().model, forest)
    with pytest.raises(FibsegError, match="a forest, whose features other programs do not compute"):
        open_exchanged(forest)
    with pytest.raises(FibsegError, match="no such checkpoint"):
        open_exchanged(tmp_path / "nothing.ckpt")
    save_model(trained([], 1), tmp_path / "model.safetensors")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("data-dependent\nmore")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(FibsegError, match=r"cannot export this unet .*: data-dependent\)"):
        open_exchanged(tmp_path / "model.safetensors")
