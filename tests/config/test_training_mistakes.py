"""Mistakes in the command line of a training, and in what an earlier run left."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import timm
import torch
import yaml

from fibseg.runs.directory import RunDirectory
from tests.support import Commands
from tests.support.mistakes import change_data, change_pixels, check_mistakes, check_row

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
    "model=encoder_unet model.encoder=resnet81": ["timm has no 'resnet81'", "resnet"],
    "model=encoder_unet model.encoder=beit_base_patch16_224": ["not take images of any size"],
    "model=encoder_unet model.encoder_rate=0": ["model.encoder_rate: 0", "above 0"],
    "model=encoder_unet model.frozen_epochs=-1": ["model.frozen_epochs: -1", "0 or more"],
    "model=encoder_unet": ["patches.size: 32 is too small for encoder_unet; expected 64 or more"],
    "data.annotated=0": ["data.annotated: 0", "expected 1 to"],
    "data.annotated=99": ["data.annotated: 99", "expected 1 to"],
    "data.fold=1": ["data.fold: 1 of how many"],
    "data.fold=3 data.folds=3": ["data.fold: 3", "0 to 2"],
    "data.fold=0 data.folds=2": ["data.folds: 2", "3 or more"],
    "data.context=-1": ["data.context: -1", "0 to 16"],
    "data.context=16": ["image.tif: ", "data.context=16 needs 17 or more"],
    "loss=focal": ["focal", "dice", "dice_ce"],
    "decision=best": ["decision: best", "argmax, prior or validation"],
    "smallest=10": ["smallest: 10", "none or validation"],
    "training.select=best": ["training.select: best", "loss or slices"],
    "augmentation=weak": ["weak", "paper", "standard", "strong"],
    "augmentation=strong augmentation.noise=-1": ["augmentation.noise: -1", "0 to 1"],
    "training.ema=1": ["training.ema: 1", "0 to below 1"],
    "windows=whole": ["windows: whole", "paper or auto"],
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
    "training.epochs=(3)": ["cannot be read", """'training.epochs="(3)"'"""],
    "training.epochs": ["cannot be read", "expected KEY=VALUE"],
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_mistakes_on_the_command_line(commands: Commands, override: str) -> None:
    result = commands.train(*override.split())
    check_row(f"`train.py {override}`", commands.refused(result, *OVERRIDES[override]))


WITHOUT_NETWORK = {
    "model.head=eyes": ["model.head: eyes", "none or contour"],
    "model.head=contour": ["model.head: contour", "none without a class of instances: true"],
    "model.head_weight=0": ["model.head_weight: 0", "above 0"],
    "model=forest model.head=contour": ["head", "no such key", "trees"],
    "model=forest model.pixels=0": ["model.pixels: 0", "1 or more"],
    "model=forest model.width=3": ["width", "no such key", "trees"],
    "model=forest filter=on filter.scope=patch": ["filter.scope: patch", "slice with this model"],
    "model=forest data.context=1": ["data.context: 1", "0 with this model"],
    "model=forest decision=prior": ["decision: prior", "argmax or validation"],
    "model=forest init_from=.": ["init_from: .", "null with this model"],
    "model=ilastik": ["model.project: must be given"],
    "model=ilastik model.project=cell.ilp": [
        "Ilastik is not on the PATH",
        "https://www.ilastik.org/download",
    ],
}


@pytest.mark.parametrize("override", WITHOUT_NETWORK)
def test_mistakes_of_pixel_classification(commands: Commands, override: str) -> None:
    recipe = [argument for argument in commands.recipe if not argument.startswith("model.")]
    result = commands.run("train.py", *recipe, *override.split())
    check_row(f"`train.py {override}`", commands.refused(result, *WITHOUT_NETWORK[override]))


def test_the_docs_have_these_mistakes() -> None:
    overrides = [*OVERRIDES, *WITHOUT_NETWORK]
    check_mistakes("`train.py", [f"`train.py {override}`" for override in overrides])


SMALL_EUNET = ("model=eunet", "model.encoder=efficientnet_b0", "patches.size=64")


def test_weights_of_another_network(commands: Commands) -> None:
    torch.save({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, commands.folder / "other.pth")
    result = commands.train(*SMALL_EUNET, f"model.weights={commands.folder / 'other.pth'}")
    commands.refused(result, "no weights of efficientnet_b0", "missing")


def test_pretrained_weights_that_cannot_be_had(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_model = timm.create_model

    def offline(name: str, pretrained: bool = False, **arguments: Any) -> Any:
        if pretrained:
            raise OSError("no route to host")
        return create_model(name, **arguments)

    monkeypatch.setattr(timm, "create_model", offline)
    result = commands.run("train.py", *commands.recipe, *SMALL_EUNET, "model.pretrained=true")
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
    change_data(commands, change_pixels("image.tif", lambda pixels: pixels[:, ::-1]))
    commands.refused(
        commands.train("filter=on", "filter.areas=[20,200]"), "made with other images or labels"
    )


def test_a_run_that_another_process_is_in(finished: Commands) -> None:
    with RunDirectory(finished.run_directory()).lock():
        finished.refused(
            finished.train("filter=on", "filter.areas=[20,200]"), "another process is in this run"
        )
