"""One prediction as a user asks for it: sizes of pixels, and runs that are averaged."""

from __future__ import annotations

import io
import json
import math
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
from rich.console import Console

from fibseg.config.compose import predict_defaults
from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.models.trained import load_model
from fibseg.prediction.output.changes import refuse_place_of_image
from fibseg.prediction.voxels import known_voxel_size, pixel_scale
from fibseg.stack import (
    StackHeader,
    StackWriter,
    open_channels,
    open_stack,
    picture_attributes,
    write_stack,
)
from tests.support import Commands
from tests.support.labelling import random_image


def scale_of(
    voxel_size: list[float] | None, trained_sizes: list[list[float]], resample: bool
) -> tuple[tuple[float, float], str]:
    """The scale, and what is printed."""
    stream = io.StringIO()
    console = Console(file=stream, width=300)
    return pixel_scale(voxel_size, trained_sizes, resample, console), stream.getvalue()


def test_the_scale_is_the_pixel_size_over_that_of_the_nearest_training() -> None:
    scale, text = scale_of([20, 10, 2.5], [[20, 5, 5]], resample=True)
    assert scale == (2.0, 0.5)
    assert (
        "voxels of [20, 10, 2.5] nm, training [20, 5, 5] nm: "
        "slices are shown to the network 2 times as high" in text
    )
    scale, text = scale_of([20, 10, 10], [[20, 5, 5], [20, 8, 8]], resample=True)
    assert scale == (1.25, 1.25) and "training [20, 8, 8] nm" in text


def test_an_unknown_voxel_size_is_not_compared() -> None:
    scale, text = scale_of(None, [[20, 5, 5]], resample=False)
    assert scale == (1.0, 1.0)
    assert "does not tell its voxel size; it was not compared" in text
    assert "the training had [20,5,5])" in text
    with pytest.raises(
        FibsegError, match=r"does not tell its voxel size; give voxel_size=\[z,y,x\] in nm"
    ):
        scale_of(None, [[20, 5, 5]], resample=True)


def test_slices_stay_as_they_are_where_resampling_does_not_help_or_is_not_asked_for() -> None:
    for resample in (False, True):
        assert scale_of([20, 5.4, 5], [[20, 5, 5]], resample) == ((1.0, 1.0), "")
    scale, text = scale_of([20, 10, 10], [[20, 5, 5], [20, 8, 8]], resample=False)
    assert scale == (1.0, 1.0)
    assert text == (
        "warning: voxels of [20, 10, 10] nm, but the training had [[20, 5, 5], [20, 8, 8]] nm; "
        "resample=true brings them together.\n"
    )
    # Thicker slices cannot be resampled within slices.
    scale, text = scale_of([40, 5, 5], [[20, 5, 5]], resample=False)
    assert scale == (1.0, 1.0) and text.endswith("the training had [[20, 5, 5]] nm.\n")


def test_prediction_of_a_stack_of_larger_pixels(finished: Commands, tmp_path: Path) -> None:
    image = tifffile.imread(finished.data / "image.tif")[:2, ::2, :95:2]
    tifffile.imwrite(tmp_path / "coarse.tif", image)
    fixed = (
        f"checkpoint={finished.run_directory()}",
        f"image={tmp_path / 'coarse.tif'}",
        "precision=32",
        "device=cpu",
        "threads=1",
    )
    refused = finished.run("predict.py", *fixed, f"output={tmp_path / 'a.tif'}", "resample=true")
    finished.refused(refused, "does not tell its voxel size", "voxel_size=[z,y,x]")
    assert not (tmp_path / "a.tif").exists()
    size = "voxel_size=[20,10,10]"
    result = finished.run(
        "predict.py", *fixed, f"output={tmp_path / 'b.tif'}", "resample=true", size
    )
    assert result.returncode == 0, result.stderr
    assert "2 times as high and 2 times as wide" in result.stdout
    labels = tifffile.imread(tmp_path / "b.tif")
    assert labels.shape == image.shape == (2, 48, 48)
    result = finished.run("predict.py", *fixed, f"output={tmp_path / 'c.tif'}", size)
    assert "resample=true brings them together" in result.stdout


def test_an_image_of_the_training_has_its_voxel_size(finished: Commands, tmp_path: Path) -> None:
    """The data description states it; another image without one stays without one."""
    run = finished.run_directory()
    copy = tmp_path / "runs" / run.name
    shutil.copytree(run, copy)
    plain = tifffile.imread(finished.data / "image.tif")
    (tmp_path / "data").mkdir()
    for name in ("image.tif", "other.tif"):
        tifffile.imwrite(tmp_path / "data" / name, plain)
    config = (copy / "config.yaml").read_text()
    root = str(tmp_path / "data")
    (copy / "config.yaml").write_text(config.replace(str(finished.data), root))
    config_of = replace_config(image=f"{root}/../data/image.tif")
    stack = open_stack(tmp_path / "data" / "image.tif")
    checkpoint = [copy / "checkpoints" / "model.safetensors"]
    stream = io.StringIO()
    console = Console(file=stream, width=300)
    assert known_voxel_size(config_of, stack, checkpoint, console) == [20, 5, 5]
    assert "voxel size [20,5,5] nm, as the data description of the training" in stream.getvalue()
    other = replace_config(image=f"{root}/other.tif")
    assert known_voxel_size(other, stack, checkpoint, console) is None
    stated = replace_config(image=f"{root}/image.tif", voxel_size=[1.0, 2.0, 3.0])
    assert known_voxel_size(stated, stack, checkpoint, console) == [1.0, 2.0, 3.0]
    alone = tmp_path / "alone" / "model.ckpt"
    assert known_voxel_size(config_of, stack, [alone], console) is None


def replace_config(**values: Any) -> PredictConfig:
    """A prediction as conf/predict.yaml has it, with some values changed."""
    names = [entry.name for entry in fields(PredictConfig)]
    return PredictConfig(**{name: predict_defaults().get(name) for name in names} | values)


@pytest.mark.parametrize(
    ("output", "image", "words"),
    [
        ("cell.tif", "cell.tif", "is the image"),
        ("x/../cell.tif", "cell.tif", "is the image"),
        ("cell.zarr", "cell.zarr/0", "is the image"),
        ("cell.zarr/labels.zarr", "cell.zarr", "or lies in it"),
        ("slices/labels.tif", "slices", "would be one of the slices"),
        ("slices/labels.tif", "slices/*.tif", "would be one of the slices"),
    ],
)
def test_an_output_at_the_place_of_the_image_is_refused(
    tmp_path: Path, output: str, image: str, words: str
) -> None:
    (tmp_path / "slices").mkdir()
    with pytest.raises(FibsegError, match=words):
        refuse_place_of_image(tmp_path / output, str(tmp_path / image))


@pytest.mark.parametrize(
    ("output", "image"),
    [
        ("labels.tif", "cell.tif"),
        ("slices/labels.zarr", "slices"),
        ("labels.tif", "slices"),
        ("slices/labels.tif", "slices/*.png"),
        ("labels.tif", "https://host/cell.zarr"),
    ],
)
def test_other_places_are_free(tmp_path: Path, output: str, image: str) -> None:
    place = image if "://" in image else str(tmp_path / image)
    refuse_place_of_image(tmp_path / output, place)


def copy_with_seed(run: Path, folder: Path, seed: int) -> None:
    copy = folder / run.name.replace("-s0-", f"-s{seed}-")
    shutil.copytree(run, copy)
    content = json.loads((copy / "scores.json").read_text())
    content["run"]["seed"] = seed
    (copy / "scores.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_a_folder_of_runs_is_averaged(finished: Commands, tmp_path: Path) -> None:
    """The mean of copies of one run is the run itself; an unknown configuration is refused."""
    run = finished.run_directory()
    write_stack(tmp_path / "image.tif", random_image((3, 96, 128)), [20, 5, 5])
    for seed in (1, 2):
        copy_with_seed(run, tmp_path / "runs", seed)
    fixed = ["predict.py", f"image={tmp_path / 'image.tif'}", "device=cpu", "threads=1"]
    many = [*fixed, f"checkpoint={tmp_path / 'runs'}"]
    layers = [f"probabilities={tmp_path / 'p.zarr'}", f"disagreement={tmp_path / 'd.tif'}"]
    result = finished.run(*many, f"output={tmp_path / 'many.tif'}", "best=2", *layers, "tta=d4")
    assert result.returncode == 0, result.stderr
    assert "the mean of 2 of 2 runs" in result.stdout and "2 models, windows " in result.stdout
    single = [*fixed, f"checkpoint={run}", f"output={tmp_path / 'one.tif'}", "tta=d4"]
    assert finished.run(*single).returncode == 0
    labels = tifffile.imread(tmp_path / "one.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "many.tif"), labels)
    assert not tifffile.imread(tmp_path / "d.tif").any()
    names = ("background", "mitochondrion", "membrane", "er")
    stacks = open_channels(tmp_path / "p.zarr")
    assert [stack.voxel_size for stack in stacks] == [(20, 5, 5)] * 4
    channels = picture_attributes(tmp_path / "p.zarr")["omero"]["channels"]
    assert tuple(channel["label"] for channel in channels) == names
    probabilities = np.stack([[stack.read(z) for z in range(3)] for stack in stacks])
    assert (np.abs(probabilities.sum(0).astype(int) - 255) <= 2).all()
    ordered = np.sort(probabilities, axis=0)
    clear = ordered[-1] > ordered[-2]
    values = np.array(load_model(run / "checkpoints" / "model.safetensors").label_values)
    np.testing.assert_array_equal(values[probabilities.argmax(0)][clear], labels[:3][clear])
    refused = finished.run(*many, f"output={tmp_path / 'x.tif'}", "configuration=none")
    finished.refused(refused, "configuration=none: there are unet-on")


@pytest.mark.slow
def test_both_versions_of_ome_zarr_hold_the_same(finished: Commands, tmp_path: Path) -> None:
    """Labels and probabilities, of an image that is OME-Zarr itself."""
    run = ["predict.py", f"checkpoint={finished.run_directory()}", "device=cpu", "threads=1"]
    for version in ("0.4", "0.5"):
        out = tmp_path / version
        header = StackHeader((34, 96, 128), "uint8", (20, 5, 5), ome_zarr=version)
        with StackWriter(out / "cell.zarr", header) as writer:
            for pixels in random_image(header.shape):
                writer.write(pixels)
        outputs = [f"output={out / 'labels.zarr'}", f"probabilities={out / 'p.zarr'}"]
        words = [*run, f"image={out / 'cell.zarr' / '0'}", *outputs, f"zarr={version}"]
        result = finished.run(*words)
        assert result.returncode == 0, result.stderr
        again = finished.run(*words)
        assert "finished already, by the same model on the same image" in again.stdout
        for name in ("labels.zarr", "p.zarr"):
            yaozarrs.validate_zarr_store(out / name)
            assert yaozarrs.open_group(out / name).ome_version() == version
        label = picture_attributes(out / "labels.zarr")["image-label"]
        assert label["source"] == {"image": "../cell.zarr"}
    for name in ("labels.zarr", "p.zarr"):
        pixels = [
            np.array([list(stack) for stack in open_channels(tmp_path / version / name)])
            for version in ("0.4", "0.5")
        ]
        np.testing.assert_array_equal(*pixels)
    image = f"image={tmp_path / '0.4' / 'cell.zarr'}"
    old = f"output={tmp_path / '0.4' / 'labels.zarr'}"
    finished.refused(finished.run(*run, image, old, "zarr=0.5"), "labels.zarr: exists already")
    result = finished.run(*run, image, f"output={tmp_path / 'mixed.zarr'}", "zarr=0.5")
    assert result.returncode == 0, result.stderr
    # A picture of one version has no labels of the other.
    yaozarrs.validate_zarr_store(tmp_path / "mixed.zarr")
    assert "source" not in picture_attributes(tmp_path / "mixed.zarr")["image-label"]


@pytest.mark.slow(seconds=6)
def test_a_run_with_neighbouring_slices_labels_its_own_stack_alike(commands: Commands) -> None:
    """By scope and context: the labels of the scored slices are those of the whole stack."""
    result = commands.train(
        "data.context=2", "windows=auto", "filter=on", "filter.areas=[50]", "training.epochs=1"
    )
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    assert "context_2" in run.name
    assert load_model(run / "checkpoints" / "model.safetensors").channels.count == 6
    output = commands.folder / "out.tif"
    image = commands.data / "image.tif"
    result = commands.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={image}",
        f"output={output}",
        "device=cpu",
        "processes=1",
        "threads=1",
    )
    assert result.returncode == 0, result.stderr
    (written,) = (run / "labels").glob("test*.tif")
    scored = [
        entry["slice"] for entry in json.loads((run / "scores.json").read_text())["splits"]["test"]
    ]
    np.testing.assert_array_equal(tifffile.imread(output)[scored], tifffile.imread(written))
    assert len(np.unique(tifffile.imread(written))) > 1
    thin = commands.folder / "thin.tif"
    tifffile.imwrite(thin, tifffile.imread(image)[:2])
    result = commands.run("predict.py", f"checkpoint={run}", f"image={thin}", "output=thin-out.tif")
    commands.refused(result, "2 slices; a network of data.context=2 needs 3 or more")


def test_a_training_that_does_not_tell_the_thickness_of_slices() -> None:
    trained = [[math.nan, 8.0, 8.0]]
    assert scale_of([50.0, 8.0, 8.0], trained, False) == ((1.0, 1.0), "")
    scale, text = scale_of([50.0, 4.0, 8.0], trained, False)
    assert scale == (1.0, 1.0) and "the training had [[?, 8.0, 8.0]] nm; resample=true" in text
    scale, text = scale_of([50.0, 4.0, 8.0], trained, resample=True)
    assert scale == (0.5, 1.0) and "training [?, 8.0, 8.0] nm: slices are shown" in text
    assert "the training had [?,8,8])" in scale_of(None, trained, False)[1]
