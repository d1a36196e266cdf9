"""Models in files: whole, of older formats, damaged, or no model at all."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fibseg.data.grey import GreyRange, summarise_grey
from fibseg.errors import FibsegError
from fibseg.models.trained import load_model, save_model
from tests.support.models import content_of, save_content, trained


def test_a_model_comes_back_whole_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    model = trained([650], 2)
    save_model(model, tmp_path / "model.safetensors")
    back = load_model(tmp_path / "model.safetensors")
    assert not back.network.training
    image = torch.rand(1, 2, 32, 32)
    torch.testing.assert_close(
        back.network(image), model.network.eval()(image), rtol=1e-4, atol=1e-4
    )
    for name in (
        "class_names",
        "label_values",
        "channels",
        "grey_range",
        "voxel_sizes",
        "patch_size",
        "architecture",
        "precision",
    ):
        assert getattr(back, name) == getattr(model, name)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["head.bias", "down.0.1.running_var"])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, name: str, wrong: float) -> None:
    path = tmp_path / "model.safetensors"
    save_model(trained([], 1), path)
    content = content_of(path)
    match = next(key for key in content["weights"] if key.endswith(name.rsplit(".", 1)[-1]))
    content["weights"][match][0] = wrong
    save_content(content, path)
    with pytest.raises(FibsegError, match=r"no finite numbers.*diverged.*learning_rate"):
        load_model(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "trapped",))

    torch.save({"format": 1, "weights": Trap()}, tmp_path / "trap.ckpt")
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.ckpt", "trap.pkl"):
        with pytest.raises(FibsegError, match="no checkpoint of fibseg"):
            load_model(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, but this fibseg reads up to 10"),
        ({"format": None}, "not of fibseg"),
        (
            {"areas": [650, 3200]},
            r"network of 1 channels, but filter areas \[650, 3200\] and context 0 make 3",
        ),
        (
            {"architecture": "os.system"},
            "architecture is os.system; expected unet",
        ),
        ({"weights": {}}, "weights do not fit"),
        ({"weights": None}, "weights is None; expected arrays by name"),
        ({"window": ...}, "no window"),
    ],
)
def test_unfit_checkpoints_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save_model(trained([], 1), tmp_path / "model.safetensors")
    content = content_of(tmp_path / "model.safetensors") | change
    path = tmp_path / "x.ckpt"
    save_content({key: value for key, value in content.items() if value is not ...}, path)
    with pytest.raises(FibsegError, match=message):
        load_model(path)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.ckpt")
    for name, message in (
        ("missing", "no such checkpoint"),
        ("text.ckpt", "no checkpoint"),
        ("list.ckpt", "holds a list"),
    ):
        with pytest.raises(FibsegError, match=message):
            load_model(tmp_path / name)


def test_channels_must_fit_the_areas_at_saving_too(tmp_path: Path) -> None:
    save_model(replace(trained([650], 1)), tmp_path / "x.safetensors")
    with pytest.raises(FibsegError, match="network of 1 channels"):
        load_model(tmp_path / "x.safetensors")


def test_a_window_per_slice_comes_back_and_format_2_knew_none(tmp_path: Path) -> None:
    model = replace(trained([], 1), grey_range=GreyRange(3.0, 234.0, (0.5, 99.5)))
    save_model(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").grey_range == model.grey_range
    content = content_of(tmp_path / "model.safetensors")
    save_content(content | {"format": 2, "window": (3.0, 234.0)}, tmp_path / "old.ckpt")
    assert load_model(tmp_path / "old.ckpt").grey_range == GreyRange(3.0, 234.0)


def test_format_1_is_read(tmp_path: Path) -> None:
    """It knew neither the filter's scope nor the order of a block."""
    model = trained([650], 2)
    save_model(model, tmp_path / "model.safetensors")
    content = content_of(tmp_path / "model.safetensors")
    del content["filter_scope"], content["arguments"]["block_order"]
    save_content(content | {"format": 1}, tmp_path / "old.ckpt")
    back = load_model(tmp_path / "old.ckpt")
    assert (back.channels.scope, back.arguments) == ("slice", model.arguments)
    save_content(content | {"format": 2}, tmp_path / "cut.ckpt")
    with pytest.raises(FibsegError, match="incomplete checkpoint: no filter_scope"):
        load_model(tmp_path / "cut.ckpt")


REFERENCE = {"shares": {"background": [0.5, 0.9], "a": [0.1, 0.4]}, "confidence": [0.8, 0.9]}


def test_what_the_training_looks_like_comes_back_and_format_4_knew_none(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    summary = summarise_grey(np.random.default_rng(0).integers(0, 256, (2, 40, 40)))
    known = {"grey_summary": summary, "reference": REFERENCE, "grey_percentiles": [0.0, 100.0]}
    save_model(replace(trained([], 1), **known), path)
    back = load_model(path)
    assert {name: getattr(back, name) for name in known} == known
    content = content_of(path)
    older = {key: value for key, value in content.items() if key not in known}
    save_content(older | {"format": 4}, path)
    assert all(getattr(load_model(path), name) is None for name in known)


@pytest.mark.parametrize(
    "change",
    [
        {"reference": {"shares": {"a": [0.9, 0.1]}, "confidence": None}},
        {"reference": {"shares": {"a": ["x", "y"]}, "confidence": None}},
        {"reference": ["shares"]},
        {"reference": {"shares": {"a": [float("nan"), 0.5]}, "confidence": None}},
        {"grey_percentiles": [99.9, 0.1]},
        {"grey_percentiles": "0.1"},
        {"grey_summary": {"quantiles": []}},
    ],
    ids=str,
)
def test_nonsense_about_the_training_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    save_model(trained([], 1), tmp_path / "model.safetensors")
    save_content(
        content_of(tmp_path / "model.safetensors") | change, tmp_path / "model.safetensors"
    )
    with pytest.raises(FibsegError, match=r"model\.safetensors: \w+ is .*; expected null, or "):
        load_model(tmp_path / "model.safetensors")
