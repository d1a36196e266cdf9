"""`predict.py` with a model file that was made to do harm, or was changed: a sentence for each."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fibseg.models.trained import model_content, save_model
from tests.support import Commands
from tests.support.models import trained

# Their libraries come with fibseg[export].
onnx = pytest.importorskip("onnx")
pytest.importorskip("bioimageio.core")
from tests.support import packages  # noqa: E402


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, sprung: Path):
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.sprung}'",)


def trap_of_torch(path: Path, sprung: Path) -> None:
    torch.save({"format": 1, "weights": Trap(sprung)}, path)


def trap_of_pickle(path: Path, sprung: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(sprung)))


def changed_byte(path: Path, _: Path) -> None:
    save_model(trained([], 1), path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def lying_header(path: Path, _: Path) -> None:
    path.write_bytes((2**60).to_bytes(8, "little") + b"{}")


def objects_of_numpy(path: Path, sprung: Path) -> None:
    packages.write_package(
        path, test_input=packages.npy(np.array([Trap(sprung)], object), pickled=True)
    )


def name_outside(path: Path, _: Path) -> None:
    packages.write_package(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.py", "import os")


def other_test_output(path: Path, _: Path) -> None:
    packages.write_package(path, test_output=np.zeros((1, 3, 64, 48), np.float32))


def volumes(path: Path, _: Path) -> None:
    axes = packages.axes_of("input", ["grey"], 32)
    axes.append({"type": "space", "id": "z", "size": 16})
    packages.write_package(path, inputs__0__axes=axes)


def graph_of(path: Path, slopes: list[list[float]]) -> Any:
    """An ONNX file of `fibseg export` of a network of one channel, with other weights."""
    metadata = {"fibseg": json.dumps(model_content(trained([], 1)))}
    content = packages.linear_graph(slopes, "Softmax", metadata)
    path.write_bytes(content)
    return onnx.load_model_from_string(content)


def other_channels(path: Path, _: Path) -> None:
    graph_of(path, [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def weights_outside(path: Path, _: Path) -> None:
    proto = graph_of(path, packages.SLOPES)
    weights = proto.graph.initializer[0]
    outside = path.parent.parent / "weights.bin"
    outside.write_bytes(weights.raw_data)
    onnx.external_data_helper.set_external_data(weights, "../weights.bin")
    weights.ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())


FILES: dict[str, tuple[str, Callable[[Path, Path], None], str]] = {
    "code in a zip of torch": ("a.ckpt", trap_of_torch, "no checkpoint of fibseg, or a damaged"),
    "code in a pickle": ("a.ckpt", trap_of_pickle, "no checkpoint of fibseg, or a damaged"),
    "a pickle by another name": ("a.safetensors", trap_of_pickle, "no model of fibseg, or a dam"),
    "a zip by another name": ("a.safetensors", trap_of_torch, "no model of fibseg, or a damaged"),
    "a changed byte": ("a.safetensors", changed_byte, "or a changed one: its SHA-256 differs."),
    "a lying header": ("a.safetensors", lying_header, "no model of fibseg, or a damaged one"),
    "objects of numpy": ("a.zip", objects_of_numpy, "input.npy is no array of numbers"),
    "a name outside": ("a.zip", name_outside, "'../outside.py', which leaves the package"),
    "another test output": ("a.zip", other_test_output, "differs from its test output in 100.00%"),
    "volumes": ("a.zip", volumes, "raw has the axis z; fibseg runs 2-D models"),
    "other channels": ("a.onnx", other_channels, "is of shape ['n', 3, 'h', 'w'], but its desc"),
    "weights outside": ("a.onnx", weights_outside, "keeps weights in other files; expected one"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_model_file_is_refused_by_predict(commands: Commands, name: str) -> None:
    file, write, fragment = FILES[name]
    path = commands.folder / "models" / file
    path.parent.mkdir()
    sprung = commands.folder / "sprung"
    write(path, sprung)
    output = commands.folder / "labels.tif"
    image = commands.data / "image.tif"
    result = commands.run("predict.py", f"checkpoint={path}", f"image={image}", f"output={output}")
    sentence = commands.refused(result, fragment)
    assert sentence.startswith(f"{path}: ") or sentence.startswith(f"{path}, ")
    assert not sprung.exists() and not output.exists()


def test_the_trap_would_spring(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()
