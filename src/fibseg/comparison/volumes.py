"""What config.yaml says of the volumes of a data set: voxel sizes and training slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fibseg.data.folds import MOST_SLICES, fold_splits
from fibseg.data.splits import nested_order, parse_slices
from fibseg.errors import FibsegError


@dataclass(frozen=True)
class VolumeFacts:
    """Facts of each volume of a data set, in the order of its description.

    Attributes:
        voxel_sizes: (z, y, x) in nm.
        trained_slices: z of the slices that the run was trained on.
    """

    voxel_sizes: list[tuple[float, float, float]]
    trained_slices: list[list[int]]


def volume_facts(config: dict[str, Any] | None) -> VolumeFacts | None:
    """Facts of the volumes from the content of config.yaml; None if any is missing or damaged."""
    if config is None:
        return None
    try:
        volumes = config["data"]["volumes"]
        voxel_sizes = [
            (float(z), float(y), float(x))
            # Unpacking refuses a size that has not three numbers.
            for z, y, x in (volume["voxel_size"] for volume in volumes)
        ]
        # Charts mark these slices: test slices near them score higher.
        trained_slices = [
            parse_slices(split["train"], MOST_SLICES, "split") for split in splits_in(config)
        ]
        trained_slices = _used(trained_slices, config["data"].get("annotated"))
    # A comparison is complete without these facts; only a tolerance in nm insists on them.
    except (FibsegError, KeyError, TypeError, ValueError):
        return None
    return VolumeFacts(voxel_sizes, trained_slices)


def splits_in(config: Mapping[str, Any]) -> list[Mapping[str, Sequence[Any]]]:
    """Splits of each volume from the content of config.yaml: those of its fold, if it has one.

    Raises:
        KeyError, TypeError, FibsegError: the configuration does not say them.
    """
    data = config["data"]
    splits = [volume["split"] for volume in data["volumes"]]
    if data.get("fold") is None:
        return splits
    return list(fold_splits(splits, data["fold"], data["folds"], guard=data["guard"]))


def _used(slices: list[list[int]], count: int | None) -> list[list[int]]:
    """Keep the slices of `data.annotated`, as a training does; all where it is not given."""
    if count is None:
        return slices
    places = [(volume, z) for volume, positions in enumerate(slices) for z in positions]
    kept = {places[position] for position in nested_order(len(places), count)}
    return [
        [z for z in positions if (volume, z) in kept] for volume, positions in enumerate(slices)
    ]
