"""Model files that are damaged, of another kind, or made to do harm: a sentence for each."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import save_arrays
from fibseg.models.trained import load_model, save_model
from fibseg.models.weight_files import read_weights
from tests.support.models import content_of, save_content, trained

NAN = float("nan")
HUGE = 10**400
NOTHING: list[Any] = [None, "", [], {}, NAN, -1, True, HUGE, torch.zeros(3), "\x1b[31m"]
"""What no entry may be, but for those that are named below."""

ALLOWED = {"windows": None, "areas": [], "arguments": {}, "weights": {}}
"""Of NOTHING, what the rule of an entry lets pass: other checks refuse or take it."""

ENTRIES = (
    "architecture",
    "arguments",
    "class_names",
    "label_values",
    "areas",
    "filter_scope",
    "window",
    "voxel_sizes",
    "patch_size",
    "precision",
    "windows",
    "weights",
    "format",
)

WRONG: dict[str, list[Any]] = {
    "architecture": ["os.system", "ilastik", ["unet"]],
    "class_names": [
        ["background"],
        ["background", "a", "a"],
        ["background", "a", 3],
        ["background", "a", "b\n"],
        [f"c{k}" for k in range(256)],
    ],
    "label_values": [[0, 7, 7], [0, 7.5, 9], [0, 7, 2**70], [0, True, 9], [0, NAN, 9]],
    "areas": [[0], [1.5], ["650"], [650, None], list(range(1, 100)), [2**50]],
    "filter_scope": ["image", ["slice"]],
    "context": [-1, 1.5, 17, "1", True, None],
    "window": [
        (234.0, 3.0),
        (NAN, 3.0),
        (0.0, float("inf")),
        (0.0,),
        (0, 1, (99.0, 1.0)),
        (0, 1, (0.0, NAN)),
        (0, 1, 5),
        ("0", "1"),
    ],
    "voxel_sizes": [
        [[0, 5, 5]],
        [[NAN, 5, 5]],
        [[20, 5]],
        [20, 5, 5],
        [["a", 5, 5]],
        [[1e300] * 3],
    ],
    "patch_size": [0, 2, 10**9, 32.0, "32"],
    "precision": ["fp8", "16", 32, "auto"],
    "windows": [
        {"kind": "spiral", "size": 0, "loss": 0.0},
        {"kind": "tiles", "size": 10**9, "loss": 0.0},
        {"kind": "tiles", "size": -1, "loss": 0.0},
        {"kind": "tiles", "size": 512, "loss": NAN},
        {"kind": "tiles", "size": 512},
        {"kind": ["tiles"], "size": 512, "loss": 0.0},
    ],
    "format": [0, 99, 1.0, "4", None],
}
"""Values of the right type, or nearly, that an entry may not have."""


def _cases() -> list[tuple[str, Any]]:
    cases = []
    for name in ENTRIES:
        cases += [(name, value) for value in NOTHING if str(value) != str(ALLOWED.get(name, ...))]
        cases += [(name, value) for value in WRONG.get(name, [])]
    return cases


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    save_model(trained([], 1), path)
    return content_of(path)


def sentence_of(path: Path) -> str:
    with pytest.raises(FibsegError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text and "\x1b" not in text
    assert len(text) < len(str(path)) + 400
    return text


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_no_sense_is_named(content: dict[str, Any], tmp_path: Path, entry: str) -> None:
    """About 180 values in all."""
    for number, value in enumerate(value for name, value in _cases() if name == entry):
        path = tmp_path / f"{number}.ckpt"
        save_content(content | {entry: value}, path)
        text = sentence_of(path)
        # A format that is no number may be that of any program.
        assert entry in text or (entry == "format" and "not of fibseg" in text)
    assert number >= len(NOTHING) - 2


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("width", 3000, "its weights do not fit its unet: deepest.0.0.bias is float32 (32,)"),
        ("width", 10**9, "arguments.width is 1000000000; expected a whole number from 1 to 4096"),
        ("width", HUGE, "arguments.width is 1000000"),
        ("width", 0, "arguments.width is 0; expected a whole number from 1 to 4096"),
        ("width", True, "arguments.width is True"),
        ("width", "2", "arguments.width is 2"),
        ("width", None, "arguments.width is None"),
        (
            "channels",
            10**9,
            "a network of 1000000000 channels, but filter areas [] and context 0 make 1",
        ),
        ("channels", -1, "arguments.channels is -1"),
        ("channels", 1.0, "arguments.channels is 1.0"),
        ("classes", 4, "do not fit each other"),
        ("dropout", 5.0, "arguments.dropout is 5.0; expected 0 to below 1"),
        ("dropout", NAN, "arguments.dropout is nan"),
        ("norm_eps", -1.0, "arguments.norm_eps is -1.0; expected above 0"),
        ("norm_eps", NAN, "arguments.norm_eps is nan"),
        ("norm_momentum", 7.0, "arguments.norm_momentum is 7.0"),
        ("block_order", "relu", "'relu' is not known"),
        ("block_order", ["relu"], "arguments.block_order is ['relu']; expected of type str"),
        ("depth", 3, "no unet can be made of its arguments"),
    ],
)
def test_arguments_are_asked_before_memory_is_taken(
    content: dict[str, Any], tmp_path: Path, argument: str, value: Any, message: str
) -> None:
    path = tmp_path / "x.ckpt"
    save_content(content | {"arguments": content["arguments"] | {argument: value}}, path)
    tracemalloc.start()
    text = sentence_of(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in text
    assert peak < 50e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.double(), "is float64 (3,), expected float32 (3,)"),
        (lambda tensor: tensor[:2].clone(), "is float32 (2,), expected float32 (3,)"),
        (lambda _: torch.zeros(1).expand(10**6, 10**6), "is float32 (1000000, 1000000)"),
        (lambda tensor: tensor * NAN, "weights that are no finite numbers (head.bias)"),
        (lambda tensor: tensor / 0, "weights that are no finite numbers (head.bias)"),
        (lambda _: 3, "weights is a "),
    ],
)
def test_weights_are_compared_with_the_network(
    content: dict[str, Any], tmp_path: Path, change: Any, message: str
) -> None:
    path = tmp_path / "x.ckpt"
    weights = dict(content["weights"])
    weights["head.bias"] = change(torch.ones(3))
    save_content(content | {"weights": weights}, path)
    assert message in sentence_of(path)


@pytest.mark.parametrize("name", [7, "more", "\x1b[31m"])
def test_weights_of_other_names(content: dict[str, Any], tmp_path: Path, name: Any) -> None:
    path = tmp_path / "x.ckpt"
    save_content(content | {"weights": content["weights"] | {name: torch.ones(3)}}, path)
    assert "weights" in sentence_of(path)


def test_entries_of_a_newer_or_an_older_fibseg_are_plain(
    content: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "x.ckpt"
    save_content(content | {"noted": {"by": ["a", 1, 0.5, None, True]}}, path)
    load_model(path)
    for value in (NAN, torch.zeros(2), {"a": [float("inf")]}, [0] * 10_001):
        save_content(content | {"noted": value}, path)
        assert "noted is " in sentence_of(path)


def test_a_checkpoint_that_unpacks_to_more_than_its_size(
    content: dict[str, Any], tmp_path: Path
) -> None:
    whole = tmp_path / "whole.ckpt"
    save_content(content | {"weights": {"zeros": torch.zeros(5_000_000)}}, whole)
    path = tmp_path / "bomb.ckpt"
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in source.infolist():
            packed.writestr(entry.filename, source.read(entry))
    assert path.stat().st_size < 100_000
    assert "unpack to 20" in sentence_of(path)
    with pytest.raises(FibsegError, match="unpack to 20"):
        read_weights(path)


@pytest.mark.parametrize(
    "metadata",
    [
        "[" * 100_000,
        "1" * 5000,
        "null",
        '{"format": NaN}',
        '{"format": 4, "architecture": "forest", "arguments": null}',
    ],
)
def test_metadata_of_a_forest(tmp_path: Path, metadata: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"left": torch.zeros(3)}, path, {"fibseg": metadata})
    sentence_of(path)


def test_a_forest_of_another_kind(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    plain = {key: value for key, value in content.items() if key != "weights"}
    changes = {"architecture": "forest", "arguments": {"channels": 1, "classes": 3}}
    save_content(content | changes, tmp_path / "forest.ckpt")
    assert "a forest is not kept in such a file" in sentence_of(tmp_path / "forest.ckpt")
    save_arrays({"left": torch.zeros(3)}, plain | {"architecture": "forest"}, path)
    assert "arguments.dropout is 0.5; expected a whole number" in sentence_of(path)
    arguments = {"channels": 1, "classes": 3}
    save_arrays(
        {"left": torch.zeros(3)}, plain | {"architecture": "forest", "arguments": arguments}, path
    )
    assert "do not fit each other" in sentence_of(path)
