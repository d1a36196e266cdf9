"""The data module of the tiny phantom data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibseg.data.grey import grey_range
from fibseg.data.module import StackDataModule
from fibseg.data.slices import load_slices
from tests.support.data import describe

PATCH_SIZE = 32


def data_module(folder: Path, **changes: Any) -> StackDataModule:
    slices = load_slices(describe(folder))
    window = grey_range([one.image for one in slices["train"]], describe(folder).intensity)
    options: dict[str, Any] = {
        "areas": [],
        "filter_scope": "slice",
        "patch_size": PATCH_SIZE,
        "class_share": 0.8,
        "batch_size": 3,
        "batches": 5,
        "validation_batches": 2,
        "validation_seed": 0,
        "fresh_validation": False,
        "seed": 7,
    }
    data = StackDataModule(slices["train"], slices["validation"], window, **(options | changes))
    data.setup("fit")
    return data
