"""A user's mistake through the command: one sentence, an exit code that is not 0, nothing lost."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.io
import tifffile
import torch
import yaml

from fibseg.models.checkpoints import load_whole, save_whole
from fibseg.runs.directory import RunDirectory
from tests.support import PROJECT, TINY, Commands

TABLE = PROJECT / "docs" / "MISTAKES.md"
HEAD = """# Mistakes, and what the commands say

Every line is what a command printed when a test made the mistake (`FIBSEG_WRITE_DOCS=1 pytest tests/test_bad_input.py`
writes this page again). The exit code is 2, nothing is lost, and no run directory is left behind.

| mistake | sentence |
|---|---|
"""
told: dict[str, str] = {}


def tell(what: str, sentence: str) -> None:
    """Keep a sentence for the table; folders of this machine, hashes and its gigabytes do not belong there."""
    for pattern, shown in (
        (r"(/[^\s:,;'|]*)?/pytest-of-[^/]+/pytest-\d+/(popen-gw\d+/)?[^/\s:,;']+", "DIR"),
        (re.escape(str(PROJECT)), "."),
        (r"but [\d.e+]+ GB are free", "but 100 GB are free"),
        (r"\d+ GPUs are visible", "0 GPUs are visible"),
        (r"\S*runs/tiny/\S+?-[0-9a-f]{8}", "RUN"),
    ):
        sentence = re.sub(pattern, shown, sentence)
    told[what] = sentence.replace("|", "\\|").replace("<", "&lt;")


def edit(commands: Commands, old: str, new: str) -> None:
    """Change the tiny data description."""
    assert old in TINY
    (commands.folder / "conf" / "data" / "tiny.yaml").write_text(TINY.replace(old, new))


def own_data(commands: Commands, change: Callable[[Path], None]) -> None:
    """Change a copy of the data."""
    folder = commands.folder / "data"
    shutil.copytree(commands.data, folder)
    commands.data = folder
    change(folder)


def rewrite(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        pixels = tifffile.imread(folder / name)
        tifffile.imwrite(folder / name, change(pixels.copy()))

    return apply


def truncate(folder: Path) -> None:
    content = (folder / "image.tif").read_bytes()
    (folder / "image.tif").write_bytes(content[: len(content) // 2])


def as_slices(folder: Path) -> list[Path]:
    pixels = tifffile.imread(folder / "image.tif")
    (folder / "image.tif").unlink()
    (folder / "image.tif").mkdir()
    for z, one in enumerate(pixels):
        skimage.io.imsave(folder / "image.tif" / f"z{z}.png", one, check_contrast=False)
    return sorted((folder / "image.tif").iterdir())


def cut_png(folder: Path) -> None:
    path = as_slices(folder)[2]
    path.write_bytes(path.read_bytes()[:200])


def unequal(folder: Path) -> None:
    skimage.io.imsave(as_slices(folder)[3], np.zeros((50, 50), np.uint8), check_contrast=False)


def empty(folder: Path) -> None:
    for path in as_slices(folder):
        path.unlink()


def with_nan(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.astype(np.float32)
    pixels[5, 3, 3] = np.nan
    return pixels


def without_er(labels: np.ndarray) -> np.ndarray:
    labels[:4][labels[:4] == 3] = 0
    return labels


def colours(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels] * 3, -1)


DATA_MISTAKES = {
    "missing file": (
        lambda c: own_data(c, lambda f: (f / "image.tif").unlink()),
        ["image.tif", "no such file"],
    ),
    "empty folder": (lambda c: own_data(c, empty), ["holds no slices"]),
    "unequal slices": (lambda c: own_data(c, unequal), ["z3.png", "50 x 50", "96 x 96"]),
    "labels outside": (
        lambda c: edit(c, "split:", "offset: [2, 0, 0]\n    split:"),
        ["lie outside the image", "along z"],
    ),
    "unclaimed value": (
        lambda c: edit(c, "  er: {label: 3, weight: 0.9}\n", ""),
        ["label value 3", "no class"],
    ),
    "absent class": (
        lambda c: own_data(c, rewrite("labels.tif", without_er)),
        ["class er", "training slices"],
    ),
    "overlap": (
        lambda c: edit(c, '["4:6"]', '["3:6"]'),
        ["slice 3 is in both train and validation"],
    ),
    "split leaves": (
        lambda c: edit(c, "[7, 8]", "[8, 9]"),
        ["'9' is empty or leaves the image", "0 to 8"],
    ),
    "nan": (lambda c: own_data(c, rewrite("image.tif", with_nan)), ["slice 5", "NaN"]),
    "cut tiff": (lambda c: own_data(c, truncate), ["image.tif", "cut off"]),
    "cut png": (lambda c: own_data(c, cut_png), ["z2.png", "cut off"]),
    "rgb": (
        lambda c: own_data(c, rewrite("image.tif", lambda p: np.stack([p] * 3, -1))),
        ["several channels", "[9, 96, 96, 3]"],
    ),
    "broken YAML": (lambda c: edit(c, "[0]", "[0"), ["expected", "line"]),
    "empty labels": (
        lambda c: edit(c, "labels: labels.tif", "labels:"),
        ["labels", "expected a path"],
    ),
    "misspelt in YAML": (
        lambda c: edit(c, "labels: labels.tif", "label: labels.tif"),
        ["label", "no such key"],
    ),
}


@pytest.mark.parametrize("case", DATA_MISTAKES)
def test_mistakes_in_the_data(commands: Commands, case: str) -> None:
    make, fragments = DATA_MISTAKES[case]
    make(commands)
    tell(f"data: {case}", commands.refused(commands.train(), *fragments))


OVERRIDES = {
    "training.epoch=3": ["training.epoch", "no such key", "Did you mean epochs?"],
    "+speed=3": ["speed", "no such key"],
    "training.epochs=many": ["training.epochs", "many", "Integer"],
    "training.epochs=0": ["training.epochs: 0", "1 or more"],
    "training.schedule=linear": ["training.schedule: linear", "constant or cosine"],
    "training.betas=[0.9]": ["training.betas", "two of"],
    "patches.size=500": ["500 is larger than a slice of 96 x 96"],
    "patches.class_share=1.5": ["patches.class_share: 1.5", "0 to 1"],
    "filter.areas=[650]": ["filter.areas", "areas with filter=on"],
    "filter=of": ["of", "filter"],
    "model=resnet": ["resnet", "unet"],
    "filter.scope=image": ["filter.scope: image", "slice or patch"],
    "patches.size=16": ["patches.size: 16 is too small for unet; expected 32 or more"],
    "model.block_order=relu": ["model.block_order: 'relu'", "relu_norm, norm_relu"],
    "init_from=nowhere": ["nowhere", "no such checkpoint"],
    "init_from=.": ["no run directory with a trained model"],
    "model=eunet": ["patches.size: 32 is too small for eunet; expected 64 or more"],
    "model=eunet model.encoder=efficientnet_b44": [
        "'efficientnet_b44' is not known",
        "efficientnet_b4",
    ],
    "model=eunet model.dropout=0.5": ["model.dropout", "no such key", "drop_path"],
    "model=eunet patches.size=64 model.weights=none.pth": ["none.pth", "does not exist"],
    "model=eunet patches.size=64 model.pretrained=true init_from=a": [
        "init_from: a",
        "null beside model.pretrained",
    ],
    "model=eunet model.pretrained=true model.weights=a.pth": [
        "model.pretrained",
        "false beside model.weights",
    ],
    "seed=-1": ["seed: -1"],
    "seed=1.5": ["seed", "1.5"],
    "name=a/b": ["name: a/b"],
    "model.width=30000": ["GB", "are free"],
    "machine.device=cuda:77": ["cuda:77", "GPUs are visible"],
    "machine.device=tpu": ["machine.device: tpu"],
    "logger=[mlflow]": ["logger: mlflow", "csv, wandb or tensorboard"],
    "data=nothing": ["nothing", "phantom"],
    "data=lw4": ["data.volumes[0].labels: must be given"],
    "data=template data.root=here": ["data.volumes[0].image: must be given"],
    "data.root=a=b": ["a=b"],
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_mistakes_on_the_command_line(commands: Commands, override: str) -> None:
    tell(
        f"`train.py {override}`",
        commands.refused(commands.train(*override.split()), *OVERRIDES[override]),
    )


WITHOUT_NETWORK = {
    "model=forest model.pixels=0": ["model.pixels: 0", "1 or more"],
    "model=forest model.width=3": ["width", "no such key", "trees"],
    "model=forest filter=on filter.scope=patch": ["filter.scope: patch", "slice with this model"],
    "model=forest init_from=.": ["init_from: .", "null with this model"],
    "model=ilastik": ["model.project: must be given"],
    "model=ilastik model.project=cell.ilp": [
        "Ilastik is not on the PATH",
        "https://www.ilastik.org/download",
    ],
}


@pytest.mark.parametrize("override", WITHOUT_NETWORK)
def test_mistakes_of_pixel_classification(commands: Commands, override: str) -> None:
    own = [one for one in commands.recipe if not one.startswith("model.")]
    result = commands.run("train.py", *own, *override.split())
    tell(f"`train.py {override}`", commands.refused(result, *WITHOUT_NETWORK[override]))


SMALL_EUNET = ("model=eunet", "model.encoder=efficientnet_b0", "patches.size=64")


def test_weights_of_another_network(commands: Commands) -> None:
    torch.save({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, commands.folder / "other.pth")
    result = commands.train(*SMALL_EUNET, f"model.weights={commands.folder / 'other.pth'}")
    commands.refused(result, "no weights of efficientnet_b0", "missing")


@pytest.mark.slow
def test_pretrained_weights_that_cannot_be_had(commands: Commands) -> None:
    """In a process of its own: the library that fetches weights reads its variables once."""
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(commands.folder / "hub")}
    result = commands.run_process(
        "train.py", *commands.recipe, *SMALL_EUNET, "model.pretrained=true", env=offline
    )
    commands.refused(result, "weights of efficientnet_b0 cannot be had", "model.weights=FILE")


def test_start_from_another_network(finished: Commands, commands: Commands) -> None:
    result = commands.train("model.width=3", f"init_from={finished.run_directory()}")
    commands.refused(result, "init_from", "model.width=2, this one 3")


def test_run_directory_of_another_configuration(finished: Commands, commands: Commands) -> None:
    shutil.copytree(finished.folder / "runs", commands.folder / "runs")
    run = commands.run_directory()
    (run / "scores.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["training"]["batch_size"] = 7
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    arguments = ("filter=on", "filter.areas=[20,200]")
    commands.refused(
        commands.train(*arguments),
        "made with another configuration",
        "training.batch_size was 7, now 4",
    )
    (run / "config.yaml").write_text("{")
    commands.refused(commands.train(*arguments), "config.yaml: damaged")


def test_run_directory_of_other_data(finished: Commands, commands: Commands) -> None:
    """A finished run too: its scores are not those of these labels."""
    shutil.copytree(finished.folder / "runs", commands.folder / "runs")
    own_data(commands, rewrite("image.tif", lambda pixels: pixels[:, ::-1]))
    commands.refused(
        commands.train("filter=on", "filter.areas=[20,200]"), "made with other images or labels"
    )


def test_a_run_that_another_process_is_in(finished: Commands) -> None:
    with RunDirectory(finished.run_directory()).lock():
        finished.refused(
            finished.train("filter=on", "filter.areas=[20,200]"), "another process is in this run"
        )


def changed_checkpoint(finished: Commands, path: Path, **change: object) -> Path:
    save_whole(load_whole(finished.run_directory() / "checkpoints" / "best.ckpt") | change, path)
    return path


PREDICT = {
    "no run": ({"checkpoint": "nowhere"}, ["nowhere", "no such checkpoint"]),
    "empty run": ({"checkpoint": "."}, ["no run directory, and none in it"]),
    "no checkpoint": ({"checkpoint": "text.ckpt"}, ["text.ckpt", "no checkpoint of fibseg"]),
    "newer": ({"checkpoint": "newer.ckpt"}, ["format 99", "update it"]),
    "other channels": (
        {"checkpoint": "channels.ckpt"},
        ["network of 3 channels", "filter areas [650] make 2"],
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
    changed_checkpoint(finished, tmp_path / "newer.ckpt", format=99)
    changed_checkpoint(finished, tmp_path / "channels.ckpt", areas=[650])
    usual = {
        "checkpoint": finished.run_directory(),
        "image": finished.data / "image.tif",
        "output": "out.tif",
    }
    result = finished.run(
        "predict.py", *(f"{k}={v}" for k, v in (usual | change).items()), cwd=tmp_path
    )
    tell(f"`predict.py`: {case}", finished.refused(result, *fragments))
    assert (tmp_path / "there.tif").read_text() == "precious"
    assert not list(tmp_path.glob("*out.tif*"))


def test_mistakes_of_the_fibseg_command(finished: Commands, tmp_path: Path) -> None:
    image, labels = finished.data / "image.tif", finished.data / "labels.tif"
    (tmp_path / "there.tif").write_text("precious")
    for name, pixels in (
        ("small.tif", np.zeros((2, 5, 5), np.uint8)),
        ("nothing.tif", np.zeros((9, 96, 96), np.uint8)),
        ("objects.tif", np.arange(9 * 96 * 96, dtype=np.uint16).reshape(9, 96, 96)),
    ):
        tifffile.imwrite(tmp_path / name, pixels, photometric="minisblack")
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
        f"import {labels} x.tif --class er=1": ["value", "belongs to no class"],
        f"import {labels} x.tif --class er=x": ["--class er=x", "expected NAME=VALUE"],
        f"import {labels} there.tif --class er=1": ["exists already", "--overwrite"],
        f"new cell {image} objects.tif --output c.yaml": ["objects with a number each"],
        f"new cell {image} nothing.tif --output c.yaml": ["there is no annotation"],
        f"new cell small.tif {labels} --output c.yaml": ["say where the labels start", "--offset"],
        f"new cell {image} {labels} --class er=77 --output c.yaml": ["no label has this value"],
    }
    for line, fragments in cases.items():
        sentence = finished.refused(finished.run("fibseg", *line.split(), cwd=tmp_path), *fragments)
        shown = line.replace(str(image), "image.tif").replace(str(labels), "labels.tif")
        tell(f"`fibseg {shown}`", sentence)
    assert (tmp_path / "there.tif").read_text() == "precious"
    assert not list(tmp_path.glob("*x.tif*")) + list(tmp_path.glob("*c.yaml*"))
    assert finished.run("fibseg", "segment").returncode == 2


def test_the_table_in_the_docs_is_what_the_commands_say() -> None:
    """Runs last, over what the tests above were told."""
    expected = len(DATA_MISTAKES) + len(OVERRIDES) + len(PREDICT) + 24
    if len(told) < expected:
        pytest.skip(f"only {len(told)} of {expected} mistakes were made in this process")
    page = HEAD + "".join(f"| {what} | {sentence} |\n" for what, sentence in told.items())
    if os.environ.get("FIBSEG_WRITE_DOCS"):
        TABLE.write_text(page)
    assert TABLE.read_text() == page
