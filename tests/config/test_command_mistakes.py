"""Mistakes in a prediction, and in the commands of `fibseg`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.stack import StackHeader, StackWriter
from tests.support import Commands
from tests.support.mistakes import check_mistakes, check_row
from tests.support.models import content_of, save_content


def changed_checkpoint(finished: Commands, path: Path, **change: object) -> Path:
    save_content(
        content_of(finished.run_directory() / "checkpoints" / "model.safetensors") | change, path
    )
    return path


PREDICT = {
    "no run": ({"checkpoint": "nowhere"}, ["nowhere", "no such checkpoint"]),
    "empty run": ({"checkpoint": "."}, ["no run directory, and none in it"]),
    "no checkpoint": ({"checkpoint": "text.ckpt"}, ["text.ckpt", "no checkpoint of fibseg"]),
    "newer": ({"checkpoint": "newer.ckpt"}, ["format 99", "update it"]),
    "other channels": (
        {"checkpoint": "channels.ckpt"},
        ["network of 3 channels", "filter areas [650] and context 0 make 2"],
    ),
    "output there": ({"output": "there.tif"}, ["there.tif", "exists already", "overwrite=true"]),
    "NaN": ({"image": "nan.tif"}, ["nan.tif, slice 0", "NaN"]),
    "output under a file": ({"output": "there.tif/x.tif"}, ["there.tif"]),
    "output no TIFF": ({"output": "labels.png"}, ["labels.png", ".tif"]),
    "no permission": (
        {"output": "/sys/labels.tif"},
        ["/sys", "no permission to read or write there"],
    ),
    "cut off": ({"image": "cut.tif"}, ["cut.tif"]),
    "no image": ({"image": "nowhere.tif"}, ["nowhere.tif", "no such file"]),
    "no argument": ({"image": "???"}, ["image: must be given"]),
    "intensity": ({"intensity": "mine"}, ["intensity: mine", "training, own or slice"]),
    "version of OME-Zarr": ({"zarr": "0.6"}, ["zarr: 0.6", "0.4 or 0.5"]),
    "adapt": ({"adapt": "all"}, ["adapt: all", "none, grey, norm, both or auto"]),
    "other grey values": ({"image": "bits16.tif"}, ["uint16", "intensity=own takes the stack's"]),
    "objects of classes without": (
        {"instances": "objects.tif"},
        ["no class of this model has objects", "fibseg measure --instances"],
    ),
    "output is image": (
        {"image": "nan.tif", "output": "nan.tif", "overwrite": "true"},
        ["nan.tif", "is the image"],
    ),
}


@pytest.mark.parametrize("case", PREDICT)
def test_mistakes_in_a_prediction(finished: Commands, tmp_path: Path, case: str) -> None:
    change, fragments = PREDICT[case]
    if case == "no permission" and not Path("/sys").is_dir():
        pytest.skip("no folder here that root too may not write into")
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "there.tif").write_text("precious")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((2, 40, 40), np.nan, np.float32))
    whole = (finished.data / "image.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    pixels = tifffile.imread(finished.data / "image.tif")
    tifffile.imwrite(tmp_path / "bits16.tif", pixels.astype(np.uint16) * 257)
    changed_checkpoint(finished, tmp_path / "newer.ckpt", format=99)
    changed_checkpoint(finished, tmp_path / "channels.ckpt", areas=[650])
    usual = {
        "checkpoint": finished.run_directory(),
        "image": finished.data / "image.tif",
        "output": "out.tif",
    }
    result = finished.run(
        "predict.py", *(f"{key}={value}" for key, value in (usual | change).items()), cwd=tmp_path
    )
    check_row(f"`predict.py`: {case}", finished.refused(result, *fragments))
    assert (tmp_path / "there.tif").read_text() == "precious"
    assert not list(tmp_path.glob("*out.tif*"))


MODELS = {
    "precision": ({"precision": "fp8"}, ["precision is fp8; expected 32 or bf16"]),
    "side of its patches": ({"patch_size": 0}, ["patch_size is 0; expected a whole number"]),
    "voxels": ({"voxel_sizes": [[0, 5, 5]]}, ["voxel_sizes is [[0, 5, 5]]"]),
    "windows": ({"windows": {"kind": "spiral"}}, ["windows is a dict; expected null, or kind"]),
    "decision": ({"decision": {"kind": "best"}}, ["decision is a dict; expected null, or kind"]),
    "objects": ({"objects": {"head": "none"}}, ["objects is a dict; expected null, or head"]),
    "classes": ({"class_names": [1, 2, 3, 4]}, ["class_names is [1, 2, 3, 4]"]),
    "weights": ({"weights": {}}, ["its weights do not fit its unet"]),
}


@pytest.mark.parametrize("case", MODELS)
def test_mistakes_in_a_model(finished: Commands, tmp_path: Path, case: str) -> None:
    change, fragments = MODELS[case]
    changed_checkpoint(finished, tmp_path / "changed.ckpt", **change)
    image = finished.data / "image.tif"
    result = finished.run(
        "predict.py", "checkpoint=changed.ckpt", f"image={image}", "output=out.tif", cwd=tmp_path
    )
    check_row(f"model: {case}", finished.refused(result, *fragments))
    assert not list(tmp_path.glob("*out.tif*"))


def test_the_docs_have_these_mistakes() -> None:
    check_mistakes("`predict.py`", [f"`predict.py`: {case}" for case in PREDICT])
    check_mistakes("model:", [f"model: {case}" for case in MODELS])


def test_mistakes_of_the_fibseg_command(finished: Commands, tmp_path: Path) -> None:
    image = finished.data / "image.tif"
    labels = finished.data / "labels.tif"
    (tmp_path / "there.tif").write_text("precious")
    for name, pixels in (
        ("small.tif", np.zeros((2, 5, 5), np.uint8)),
        ("nothing.tif", np.zeros((9, 96, 96), np.uint8)),
        ("objects.tif", np.arange(9 * 96 * 96, dtype=np.uint16).reshape(9, 96, 96)),
    ):
        tifffile.imwrite(tmp_path / name, pixels, photometric="minisblack")
    mask = np.zeros((9, 96, 96), np.uint8)
    mask[:, 20:40, 20:40] = 255
    signed = mask.astype(np.int16)
    signed[:, 60:] = -1
    signed[:, :9] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    tifffile.imwrite(tmp_path / "signed.tif", signed, photometric="minisblack")
    header = StackHeader(mask.shape, "uint8", None, {"identity": {}, "classes": {}})
    with StackWriter(tmp_path / "predicted.tif", header) as writer:
        for page in mask // 255:
            writer.write(page)
    (tmp_path / "old.model").write_text("MATLAB 5.0")
    (tmp_path / "a.nrrd").write_text("NRRD0005")
    (tmp_path / "c.jpg").write_text("no picture")
    cases = {
        f"score no.tif {labels}": ["no.tif", "no such file"],
        f"score small.tif {labels}": ["(2, 5, 5)", "one shape"],
        f"score {labels} small.tif --offset 8,0,0": ["leaves the stack", "along z"],
        f"score {labels} {labels} --slices 5:99": ["--slices", "leaves the image"],
        f"score {labels} {labels} --data nope": ["nope", "vnc"],
        f"score {image} {labels} --data phantom": ["claimed by no class"],
        "score nothing.tif nothing.tif": ["nothing to score"],
        f"filter {image} x.tif --area 0": ["0"],
        f"filter {image} there.tif --area 5": ["exists already"],
        f"filter {image} there.tif/x.tif --area 5": ["there.tif"],
        f"filter {image} x.tif --area 5 --area 5": ["names an area twice"],
        f"filter {image} x.png --area 5": ["x.png", ".zarr"],
        "filter a.nrrd x.tif --area 5": ["a.nrrd", "save it as NIfTI"],
        "filter c.jpg x.tif --area 5": ["c.jpg", "save it as PNG"],
        "check nope": ["nope", "vnc"],
        "import old.model x.tif": ["older .model of MIB", "7.3"],
        f"import {labels} x.tif": ["names no classes", "--class mitochondrion=1"],
        f"import {labels} x.tif --class er=1": ["values 2, 3 belong to no class"],
        f"import {labels} x.tif --class er=x": ["--class er=x", "expected NAME=VALUE"],
        "link .": [".: no OME-Zarr", "multiscales"],
        "link labels.zarr": ["labels.zarr: no such folder"],
        f"import {labels} there.tif --class er=1": ["exists already", "--overwrite"],
        f"new cell {image} objects.tif --output c.yaml": ["objects with a number each"],
        f"new cell {image} nothing.tif --output c.yaml": ["there is no annotation"],
        f"new cell small.tif {labels} --output c.yaml": ["say where the labels start", "--offset"],
        "score mask.tif mask.tif": ["nothing but 0 and 255", "fibseg import"],
        "import mask.tif x.tif --class er=1": ["none of the classes' values", "--class NAME=255"],
        "import predicted.tif x.tif --class er=1": ["a prediction of fibseg", "--slices 8,15"],
        f"new cell {image} predicted.tif --output c.yaml": ["a prediction of fibseg"],
        f"new cell {image} signed.tif --output c.yaml": ["-1 and 255 both mean unannotated"],
        f"new cell {image} {labels} --class er=77 --output c.yaml": ["no label has this value"],
        f"new ../cell {image} {labels}": ["NAME: ../cell is impossible", "letters, digits"],
        f"new cell {image} {labels} --class {'x' * 101}=1": ["--class: xxx", "100"],
    }
    mistakes: list[str] = []
    for line, fragments in cases.items():
        sentence = finished.refused(finished.run("fibseg", *line.split(), cwd=tmp_path), *fragments)
        mistake = line.replace(str(image), "image.tif").replace(str(labels), "labels.tif")
        mistakes.append(f"`fibseg {mistake}`")
        check_row(mistakes[-1], sentence)
    check_mistakes("`fibseg", mistakes)
    assert (tmp_path / "there.tif").read_text() == "precious"
    assert not list(tmp_path.glob("*x.tif*")) + list(tmp_path.glob("*c.yaml*"))
    assert finished.run("fibseg", "segment").returncode == 2
