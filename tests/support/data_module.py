"""The data module of the tiny phantom data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.data.description import DataDescription
from fibseg.data.grey import grey_range
from fibseg.data.module import PatchPlan, StackDataModule
from fibseg.data.slices import load_slices
from fibseg.filters.channels import Channels
from tests.support.data import describe

PATCH_SIZE = 32


def data_module(
    folder: Path,
    channels: Channels | None = None,
    cache: Path | None = None,
    filter_threads: int = 1,
    description: DataDescription | None = None,
    **changes: Any,
) -> StackDataModule:
    """A data module that is set up; `changes` are to the plan of its patches."""
    channels = channels or Channels()
    description = description or describe(folder)
    description.context = channels.context
    slices = load_slices(description)
    plan: dict[str, Any] = {
        "size": PATCH_SIZE,
        "class_share": 0.8,
        "batch_size": 3,
        "batches": 5,
        "validation_batches": 2,
        "seed": 7,
        "validation_seed": 0,
        "fresh_validation": False,
    }
    data = StackDataModule(
        slices={**slices},
        grey_range=grey_range(
            [annotated.image for annotated in slices["train"]], description.intensity
        ),
        channels=channels,
        plan=PatchPlan(**(plan | changes)),
        cache=cache,
        filter_threads=filter_threads,
    )
    data.setup("fit")
    return data
