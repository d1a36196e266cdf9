"""The table of what kinds of model there are, and what each one is.

A new network is one module with an `nn.Module`, one entry in KINDS, and one YAML in conf/model.
Everything that depends on the kind of a model asks its entry: how it is trained, how slices may be
cut for it, whether a file keeps it.

The class of a network has three attributes that predictions and starting weights ask for:

- `stride`: how many times shorter than the input's a side of the deepest activations is. Tiles
  start at multiples of it.
- `halo`: how many pixels around its used part a tile must show to the network.
- `entry`: name of the weights that see the channels first; a forest has none.

Its last layer, the 1x1 convolution to the classes, is called `head`: `init_from` matches its rows
by the names of the classes. Beside it `maps`, where a training asks for one, gives maps of objects.

Its module is imported when the network is made: the table alone is read without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fibseg.errors import FibsegError
from fibseg.models.objects.rules import HEADS
from fibseg.rules import BELOW_ONE, COUNT, MOMENTUM, NOT_NEGATIVE, POSITIVE, SHARE, among

if TYPE_CHECKING:
    from fibseg.models.efficient_unet import EfficientUNet
    from fibseg.models.encoder_unet import EncoderUNet
    from fibseg.models.foreign.running import RunElsewhere
    from fibseg.models.forest import ForestNetwork
    from fibseg.models.unet import UNet

    Model = UNet | EfficientUNet | EncoderUNet | ForestNetwork | RunElsewhere

BYTES_PER_NUMBER = 4
"""Weights, and numbers of a forest, in a file."""

ALL_WINDOWS = ("paper", "whole", "tiles", "blend")
DECISIONS = ("argmax", "prior", "validation")
"""What is added to the scores of the classes: nothing, or offsets of known shares, or those by
which validation slices are labelled best."""

ADAPTATIONS = ("none", "grey", "norm", "both", "auto")
"""What a prediction takes of the stack itself: nothing, its grey values, its statistics of batch
norms, both, or what its shift calls for."""

INTENSITIES = ("training", "own", "slice")
"""Whose grey values become 0 and 255 in a prediction: the training's, the stack's, each slice's."""

ARGUMENT_RULES = {
    "width": COUNT,
    "norm_momentum": MOMENTUM,
    "norm_eps": POSITIVE,
    "dropout": BELOW_ONE,
    "drop_path": BELOW_ONE,
    "encoder_rate": POSITIVE,
    "frozen_epochs": NOT_NEGATIVE,
    "trees": COUNT,
    "pixels": COUNT,
    "balance": SHARE,
    "slices": among("every_other", "all"),
    "head": among(*HEADS),
    "head_weight": POSITIVE,
}
"""Rule of each key in conf/model, and argument of a network, that has one."""


@dataclass(frozen=True)
class Kind:
    """What one kind of model is.

    Attributes:
        network: module and class of the network, as "fibseg.models.unet:UNet"; None where another
            program labels the slices, and there is no model to keep.
        arguments: name -> type of the constructor's arguments that stand in conf/model, without
            `channels` and `classes`, which follow from the data.
        settings: name -> type of further keys in conf/model.
        by_gradient: whether it is a network that is trained by gradient descent.
        encoder_weights: module and function that puts weights of timm into its encoder
            (`model.pretrained` and `model.weights`); None where it has no such encoder.
        any_encoder: whether its encoder may be any of timm's, of which some take one size only.
        takes_channels: whether it takes filter channels beside the image.
        keeps_model: whether a run has a file of the trained model.
        windows: kinds of windows by which a slice may be cut for it; the first needs no check.
        depthwise: whether its convolutions see one channel each; bf16 trains those slowly on a CPU.
        exact_tiles: whether tiles with the network's halo get the labels of the whole slice.
        compiled: whether compiled code of our own classifies pixels, on the CPU and with 32 bits.
            It may stop early for labels alone, and it follows indices of its file.
    """

    network: str | None
    arguments: Mapping[str, type]
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_gradient: bool = True
    encoder_weights: str | None = None
    any_encoder: bool = False
    takes_channels: bool = True
    keeps_model: bool = True
    windows: tuple[str, ...] = ALL_WINDOWS
    depthwise: bool = False
    exact_tiles: bool = True
    compiled: bool = False

    @property
    def keys(self) -> dict[str, Any]:
        """Name -> type of every key in conf/model, but for `architecture`."""
        return {**self.arguments, **self.settings}

    @property
    def has_encoder(self) -> bool:
        """Whether its encoder takes weights of timm."""
        return self.encoder_weights is not None

    def network_class(self) -> Any:
        """Import the class of the network."""
        assert self.network is not None
        return _imported(self.network)

    def start_encoder(self, network: Any, weights: Mapping[str, Any], encoder: str) -> list[str]:
        """Put weights of timm's network of this name into the encoder; gives sentences on it."""
        assert self.encoder_weights is not None
        sentences: list[str] = _imported(self.encoder_weights)(network, weights, encoder)
        return sentences


def _imported(place: str) -> Any:
    """Import "module:name"."""
    module, _, name = place.partition(":")
    # Imported by name, so that `--help` and the table do without torch.
    return getattr(importlib.import_module(module), name)


_OBJECT_SETTINGS: dict[str, Any] = {"head": str, "head_weight": float}
"""Keys in conf/model of a network that may learn maps of objects."""

_ENCODER_SETTINGS: dict[str, Any] = {
    **_OBJECT_SETTINGS,
    "pretrained": bool,
    "weights": str | None,
    "encoder_rate": float,
    "frozen_epochs": int,
}
"""Keys in conf/model of a network with an encoder of timm."""


KINDS: dict[str, Kind] = {
    "unet": Kind(
        network="fibseg.models.unet:UNet",
        arguments={
            "width": int,
            "dropout": float,
            "norm_momentum": float,
            "norm_eps": float,
            "block_order": str,
        },
        settings=_OBJECT_SETTINGS,
    ),
    "eunet": Kind(
        network="fibseg.models.efficient_unet:EfficientUNet",
        arguments={
            "encoder": str,
            "width": int,
            "drop_path": float,
            "norm_momentum": float,
            "norm_eps": float,
        },
        settings=_ENCODER_SETTINGS,
        encoder_weights="fibseg.models.pretrained:load_encoder",
        depthwise=True,
        # Squeeze-and-excitation averages over the whole input.
        exact_tiles=False,
    ),
    "encoder_unet": Kind(
        network="fibseg.models.encoder_unet:EncoderUNet",
        arguments={"encoder": str, "width": int, "norm_momentum": float, "norm_eps": float},
        settings=_ENCODER_SETTINGS,
        encoder_weights="fibseg.models.pretrained:load_features",
        any_encoder=True,
        # Those of most encoders; of others, as resnet50, bf16 is asked for by training.precision.
        depthwise=True,
        # Most encoders see more than any halo, some the whole input.
        exact_tiles=False,
    ),
    "forest": Kind(
        network="fibseg.models.forest:ForestNetwork",
        arguments={"trees": int, "pixels": int, "balance": float, "slices": str},
        by_gradient=False,
        # A forest looks further than the paper's windows show it.
        windows=("tiles", "whole"),
        depthwise=True,
        compiled=True,
    ),
    "ilastik": Kind(
        network=None,
        arguments={},
        settings={"project": str, "executable": str | None, "labels": list[str] | None},
        by_gradient=False,
        takes_channels=False,
        keeps_model=False,
        windows=(),
    ),
}
"""Name in `model=` and in checkpoints -> what it is."""

FOREIGN = "bioimageio"
"""Architecture of another program's network, which onnxruntime runs."""

_FOREIGN_KIND = Kind(
    network="fibseg.models.foreign.running:RunElsewhere",
    arguments={},
    by_gradient=False,
    keeps_model=False,
    exact_tiles=False,
)


def model_kind(name: str) -> Kind:
    """Look up the entry of a kind of model.

    Raises:
        FibsegError: there is no such kind.
    """
    if name == FOREIGN:
        return _FOREIGN_KIND
    if name not in KINDS:
        raise FibsegError(f"model '{name}' is not known; expected one of {', '.join(KINDS)}.")
    return KINDS[name]


def create_model(architecture: str, **arguments: Any) -> Model:
    """Make a network from its name and its constructor's arguments, as a checkpoint has them.

    It maps (N, channels, H, W) in [0, 1] to logits (N, classes, H, W), for any H and W.

    Raises:
        FibsegError: no such architecture, or arguments that it does not know.
    """
    kind = model_kind(architecture)
    if kind.network is None:
        raise FibsegError(f"model '{architecture}' is another program's and keeps no network.")
    try:
        network: Model = kind.network_class()(**arguments)
    # A checkpoint may come from another version, with other arguments.
    except TypeError as error:
        raise FibsegError(
            f"model '{architecture}' does not fit its arguments {sorted(arguments)}: {error}."
        ) from error
    return network


def network_size(architecture: str, arguments: dict[str, Any], patch_size: int) -> int:
    """Count a model's numbers without making them; an estimate for a forest, 0 for Ilastik.

    Raises:
        FibsegError: it cannot be made, or patches of this side are too small for it.
    """
    import torch

    kind = model_kind(architecture)
    if kind.network is None:
        return 0
    if not kind.by_gradient:
        return int(kind.network_class().expected_size(arguments["trees"], arguments["pixels"]))
    # Without memory: a width of 30000 is to be refused, not to be tried.
    with torch.device("meta"):
        network: Any = create_model(architecture, **arguments)
    # Encoders of timm may want images of one size, which no slice has. Only where that can be: on
    # this device a batch norm is computed in Python, and a hundred of them take a second.
    try:
        if kind.any_encoder:
            network(torch.empty(1, arguments["channels"], 96, 160, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise FibsegError(
            f"model.encoder: '{arguments['encoder']}' does not take images of any size."
        ) from error
    # Below this side the deepest activations are a single pixel.
    smallest = 2 * network.stride
    if patch_size < smallest:
        raise FibsegError(
            f"patches.size: {patch_size} is too small for {architecture}; "
            f"expected {smallest} or more."
        )
    return sum(parameter.numel() for parameter in network.parameters())
