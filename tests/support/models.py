"""Networks of a few weights, and a model as a training leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fibseg.data.grey import GreyRange
from fibseg.filters.channels import Channels
from fibseg.models.checkpoints import load_content, save_arrays, save_whole
from fibseg.models.kinds import create_model
from fibseg.models.trained import TrainedModel, model_content

PAPER_NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {
        "classes": 4,
        "width": 64,
        "dropout": 0.5,
        "norm_momentum": 0.01,
        "norm_eps": 1e-3,
        "block_order": "relu_norm",
    },
    "eunet": {
        "classes": 4,
        "encoder": "efficientnet_b4",
        "width": 64,
        "drop_path": 0.2,
        "norm_momentum": 0.01,
        "norm_eps": 1e-3,
    },
}


SMALL_NETWORKS: dict[str, dict[str, Any]] = {
    "unet": PAPER_NETWORKS["unet"] | {"width": 4, "channels": 1},
    "eunet": PAPER_NETWORKS["eunet"] | {"encoder": "efficientnet_b0", "width": 4, "channels": 1},
    "encoder_unet": {
        "channels": 1,
        "classes": 4,
        "encoder": "mobilenetv3_small_050",
        "width": 4,
        "norm_momentum": 0.1,
        "norm_eps": 1e-3,
    },
}


def save_content(content: dict[str, Any], path: Path) -> None:
    """Write a model file of any content; one that ends in .ckpt as older versions did."""
    if path.suffix == ".ckpt":
        save_whole(content, path)
    else:
        rest = {name: value for name, value in content.items() if name != "weights"}
        save_arrays(content["weights"], rest, path)


def content_of(path: Path) -> dict[str, Any]:
    """Read a model file without a check of its entries."""
    return load_content(path)[0]


def save_older(model: TrainedModel, path: Path) -> None:
    """Write a network as format 9 did: as a zip of torch, without the facts of the training."""
    content = model_content(model) | {"format": 9, "weights": model.network.state_dict()}
    del content["training"]
    save_whole(content, path)


def trained(areas: list[int], channels: int) -> TrainedModel:
    """A UNet of width 2 at a random start, for patches of 32 pixels; classes 0, a (7) and b (9)."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "channels": channels,
        "classes": 3,
        "width": 2,
        "dropout": 0.5,
        "norm_momentum": 0.1,
        "norm_eps": 1e-3,
        "block_order": "relu_norm",
    }
    network = create_model("unet", **arguments)
    return TrainedModel(
        network=network,
        architecture="unet",
        arguments=arguments,
        class_names=["background", "a", "b"],
        label_values=[0, 7, 9],
        channels=Channels(tuple(areas)),
        grey_range=GreyRange(3.0, 234.0),
        voxel_sizes=[[20, 5, 5]],
        patch_size=32,
        precision="32",
    )
