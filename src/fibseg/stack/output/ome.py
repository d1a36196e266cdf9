"""Metadata of OME-Zarr that is written: resolutions, channels and labels (NGFF 0.4 and 0.5).

The keys are those of https://ngff.openmicroscopy.org/0.4 and /0.5; the two differ in where they
stand. Not here: metadata that is read (`fibseg.stack.zarr`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fibseg.colors import class_color
from fibseg.stack.base import StackHeader

ZARR_FORMATS: dict[str, Literal[2, 3]] = {"0.4": 2, "0.5": 3}
"""Version of OME-Zarr that is written -> the version of Zarr that it is defined on."""

_SMALLEST_SIDE = 256
"""A pyramid ends where the longer side of a slice has no more pixels than this."""


def pyramid_steps(
    shape: tuple[int, int, int], voxel_size: Sequence[float]
) -> list[tuple[int, int, int]]:
    """Choose how many voxels (z, y, x) of the stack one voxel of each resolution stands for.

    The sides of a slice are halved each time; z is halved too once voxels would be flat, with z
    less than 1.5 times as long as y and x.

    >>> pyramid_steps((100, 1000, 600), (20, 5, 5))
    [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    """
    steps = [(1, 1, 1)]
    depth, height, width = shape
    size_z, size_y, size_x = voxel_size
    while max(height / steps[-1][1], width / steps[-1][2]) > _SMALLEST_SIDE:
        z, y, x = steps[-1]
        # FIB-SEM slices are thicker than their pixels are wide; z is kept until the pixels catch
        # up.
        halve_z = size_z * z < 1.5 * max(size_y * y, size_x * x) and depth > 2 * z
        steps.append((z * 2 if halve_z else z, 2 * y, 2 * x))
    return steps


def steps_of(header: StackHeader) -> list[tuple[int, int, int]]:
    """The `pyramid_steps` of a stack; without a voxel size its voxels are taken for cubes."""
    return pyramid_steps(header.shape, header.voxel_size or (1, 1, 1))


def level_shape(header: StackHeader, step: tuple[int, int, int]) -> tuple[int, int, int]:
    """Voxels (z, y, x) of a resolution: every k-th of n, from the first on."""
    depth, height, width = (
        -(-side // stride) for side, stride in zip(header.shape, step, strict=True)
    )
    return depth, height, width


def picture_metadata(header: StackHeader, name: str) -> dict[str, Any]:
    """Describe the resolutions of a picture, and its channels where it has several.

    Args:
        header: of the stack.
        name: of the picture.
    """
    unit = {} if header.voxel_size is None else {"unit": "nanometer"}
    size = header.voxel_size or (1, 1, 1)
    # Channels have no distance from each other.
    before = [1.0] if header.channels else []
    scales = [
        [*before, *(float(length * stride) for length, stride in zip(size, step, strict=True))]
        for step in steps_of(header)
    ]
    channel_axis = [{"name": "c", "type": "channel"}] if header.channels else []
    multiscale = {
        "name": name,
        "axes": [*channel_axis, *({"name": axis, "type": "space", **unit} for axis in "zyx")],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
            for level, scale in enumerate(scales)
        ],
        # How the coarser resolutions were made, in words for people.
        "type": "nearest",
    }
    # 0.5 states its version once, above all its keys.
    version = {"version": "0.4"} if header.ome_zarr == "0.4" else {}
    metadata: dict[str, Any] = {"multiscales": [version | multiscale]}
    if header.channels:
        metadata["omero"] = version | {"channels": _channels(header.channels)}
    return metadata


def _channels(names: Sequence[str]) -> list[dict[str, Any]]:
    """Describe channels of a class each, whose values are 0 to 255."""
    return [
        {
            "label": name,
            # The background, which comes first, would hide the classes.
            "active": index > 0,
            "color": _hexadecimal(index) if index else "FFFFFF",
            "window": {"min": 0, "max": 255, "start": 0, "end": 255},
        }
        for index, name in enumerate(names)
    ]


def label_metadata(notes: dict[str, Any], version: str) -> dict[str, Any] | None:
    """Describe values of labels, which viewers name and colour; None where pixels are no labels.

    Args:
        notes: of a stack: "classes", label value -> name, the background first, or
            "holds": "objects"; "source", the picture that is labelled, seen from the labels.
        version: of OME-Zarr.
    """
    classes = notes.get("classes", {})
    if not classes and notes.get("holds") != "objects":
        return None
    metadata: dict[str, Any] = {"version": version} if version == "0.4" else {}
    if classes:
        metadata["colors"] = [
            {"label-value": int(value), "rgba": _rgba(index)} for index, value in enumerate(classes)
        ]
        metadata["properties"] = [
            {"label-value": int(value), "class": name} for value, name in classes.items()
        ]
    if "source" in notes:
        metadata["source"] = {"image": notes["source"]}
    return metadata


def _rgba(index: int) -> list[int]:
    """Red, green, blue and opacity in bytes of a class; the background lets the image through."""
    if index == 0:
        return [0, 0, 0, 0]
    return [*(round(255 * part) for part in class_color(index)), 255]


def _hexadecimal(index: int) -> str:
    return bytes(_rgba(index)[:3]).hex().upper()
