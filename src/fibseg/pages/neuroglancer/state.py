"""The state of a Neuroglancer that shows pictures and labels: layers, colours, names, windows.

Keys are those of https://neuroglancer-docs.web.app/json/api, sources those of its "datasource".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from fibseg.errors import FibsegError
from fibseg.stack import Stack, damage_named, open_channels, picture_attributes, read_finite

SHOWN_PERCENTILES = (0.1, 99.9)
"""Percentiles of the middle slice that become black and white."""

_GREY_SHADER = "#uicontrol invlerp normalized\nvoid main() {\n  emitGrayscale(normalized());\n}\n"

_COLOR_SHADER = (
    "#uicontrol invlerp normalized\n"
    '#uicontrol vec3 color color(default="{color}")\n'
    "void main() {{\n  emitRGBA(vec4(color, normalized()));\n}}\n"
)


@dataclass(frozen=True)
class ShownChannel:
    """A channel of a picture, and what its metadata state of it.

    Attributes:
        stack: its values.
        name: of the channel.
        color: as #rrggbb.
        window: the values that become black and full colour; None where they are not stated.
        active: whether it is shown at first.
    """

    stack: Stack
    name: str
    color: str = "#ffffff"
    window: tuple[float, float] | None = None
    active: bool = True


@dataclass(frozen=True)
class ShownPicture:
    """An OME-Zarr picture that is shown.

    Attributes:
        path: of its folder.
        channels: one where it has none.
        is_labels: whether its values are labels.
        names: label value -> name of the class, the background left out.
        colors: label value -> its colour as #rrggbb, the background left out.
    """

    path: Path
    channels: list[ShownChannel]
    is_labels: bool
    names: dict[str, str]
    colors: dict[str, str]


def open_picture(path: Path) -> ShownPicture:
    """Open an OME-Zarr picture with its metadata.

    Raises:
        FibsegError: it is none, or cannot be read.
    """
    attributes = picture_attributes(path)
    stacks = open_channels(path)
    # Keys may be missing or of another type, as in files of other programs.
    with damage_named(path):
        labels = attributes.get("image-label", {})
        stated = attributes.get("omero", {}).get("channels", [])
        # The background may have another value than 0; its colour is transparent then, too.
        background = {0} | {
            entry["label-value"]
            for entry in labels.get("colors", [])
            if "rgba" in entry and entry["rgba"][3:] == [0]
        }
        return ShownPicture(
            # With a name for "." too.
            path=path.resolve(),
            channels=[
                _channel(stack, str(number), stated[number] if number < len(stated) else {})
                for number, stack in enumerate(stacks)
            ],
            is_labels="image-label" in attributes,
            names={
                str(int(entry["label-value"])): str(entry["class"])
                for entry in labels.get("properties", [])
                if entry["label-value"] not in background and "class" in entry
            },
            colors={
                str(int(entry["label-value"])): "#" + bytes(entry["rgba"][:3]).hex()
                for entry in labels.get("colors", [])
                if entry["label-value"] not in background and "rgba" in entry
            },
        )


def _channel(stack: Stack, number: str, stated: dict[str, Any]) -> ShownChannel:
    """Read what the metadata (NGFF 0.4, "omero") state of a channel."""
    color = str(stated.get("color", ""))
    window = stated.get("window", {})
    return ShownChannel(
        stack=stack,
        name=str(stated.get("label", number)),
        # It becomes a part of a program.
        color=f"#{color.lower()}" if re.fullmatch("[0-9a-fA-F]{6}", color) else "#ffffff",
        window=(float(window["start"]), float(window["end"])) if "start" in window else None,
        active=bool(stated.get("active", True)),
    )


def viewer_state(pictures: Sequence[ShownPicture], addresses: Sequence[str]) -> dict[str, Any]:
    """Describe what Neuroglancer shows, images below labels.

    Args:
        pictures: that are shown.
        addresses: of each, where its folder and its `segment_names` are served, with a slash at
            the end.

    Raises:
        FibsegError: a slice cannot be read, or some pictures have a voxel size and others none.
    """
    unknown = [entry.path for entry in pictures if entry.channels[0].stack.voxel_size is None]
    if unknown and len(unknown) < len(pictures):
        raise FibsegError(
            f"{unknown[0]}: has no voxel size, but another picture has one, so that they would not "
            "lie on each other."
        )
    first = pictures[0].channels[0].stack
    # In metres; without a voxel size, Neuroglancer counts voxels.
    size = first.voxel_size
    scales = [[1, ""]] * 3 if size is None else [_in_metres(length) for length in size[::-1]]
    layers = [
        layer
        for picture, address in sorted(
            zip(pictures, addresses, strict=True), key=lambda pair: pair[0].is_labels
        )
        for layer in _layers(picture, address)
    ]
    return {
        # x and y first, so that the first panel shows slices.
        "dimensions": dict(zip("xyz", scales, strict=True)),
        "position": [side / 2 for side in first.shape[::-1]],
        "layers": layers,
        "layout": "4panel",
    }


def _in_metres(length: float) -> list[Any]:
    # In decimal digits, without those of the binary fraction: 7 nm are 7e-09.
    return [float(Decimal(str(length)).scaleb(-9)), "m"]


def viewer_link(viewer: str, state: dict[str, Any]) -> str:
    """The address that opens a state in a viewer at the address `viewer`."""
    text = json.dumps(state, separators=(",", ":"))
    return f"{viewer.rstrip('/')}/#!{quote(text, safe=_PLAIN)}"


_PLAIN = "/:,'()*!-._~"
"""Signs of JSON that may stand in an address as they are."""


def segment_names(picture: ShownPicture) -> dict[str, Any]:
    """Names of label values, as Neuroglancer reads them from a file `info`."""
    values = list(picture.names.values())
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": list(picture.names),
            "properties": [{"id": "label", "type": "label", "values": values}],
        },
    }


def _layers(picture: ShownPicture, address: str) -> list[dict[str, Any]]:
    """The layers of a picture: one of its labels or its grey values, or one for each channel."""
    place = quote(picture.path.name)
    # NGFF 0.4 is of Zarr 2. Naming the version saves Neuroglancer from asking for files of both.
    kind = "zarr3" if (picture.path / "zarr.json").is_file() else "zarr2"
    source = f"{address}{place}/|{kind}:"
    name = picture.path.name
    if picture.is_labels:
        return [_label_layer(picture, name, source, f"{address}names/|neuroglancer-precomputed:")]
    if len(picture.channels) == 1:
        low, high = _shown_range(picture.channels[0].stack)
        return [
            {
                "type": "image",
                "name": name,
                "source": source,
                "shader": _GREY_SHADER,
                "shaderControls": {"normalized": {"range": [low, high]}},
            }
        ]
    return [
        _channel_layer(channel, number, name, source)
        for number, channel in enumerate(picture.channels)
    ]


def _label_layer(picture: ShownPicture, name: str, source: str, names: str) -> dict[str, Any]:
    """The layer of labels, whose classes are all shown; objects without classes are, too."""
    return {
        "type": "segmentation",
        "name": name,
        "source": [source, names] if picture.names else source,
        "segments": list(picture.colors),
        "segmentColors": picture.colors,
        "selectedAlpha": 0.4,
    }


def _channel_layer(channel: ShownChannel, number: int, name: str, source: str) -> dict[str, Any]:
    """The layer of a channel, with the colour and the window that the metadata state."""
    return {
        "type": "image",
        "name": f"{name} {channel.name}",
        "source": source,
        # Neuroglancer writes a dash behind the axis of channels, which belong to one layer alone.
        "localDimensions": {"c'": [1, ""]},
        "localPosition": [number],
        "blend": "additive",
        "shader": _COLOR_SHADER.format(color=channel.color),
        "shaderControls": {
            "normalized": {"range": list(channel.window or _shown_range(channel.stack))}
        },
        "visible": channel.active,
    }


def _shown_range(stack: Stack) -> tuple[float, float]:
    """The grey values that become black and white, from the middle slice."""
    pixels = read_finite(stack, stack.shape[0] // 2)
    low, high = (float(value) for value in np.percentile(pixels, SHOWN_PERCENTILES))
    # A flat slice has no range.
    return low, max(high, low + 1)
