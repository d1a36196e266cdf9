"""Contrasts in each test volume, and over volumes where there are enough."""

from __future__ import annotations

from collections.abc import Sequence

from fibseg.comparison.contrast_tables import interval_cells
from fibseg.comparison.contrasts import Contrast
from fibseg.comparison.dataset import Dataset
from fibseg.comparison.inference import t_interval
from fibseg.comparison.text import Table

VOLUMES_FOR_INTERVAL = 6
"""Test volumes from which an interval over volumes is given: with fewer, each is listed."""


def volume_table(dataset: Dataset) -> Table | None:
    """Every contrast in each test volume, with an interval over volumes where there are enough.

    None for a data set of one test volume, or without contrasts.
    """
    volumes = sorted({place.volume for place in dataset.places})
    contrasts = dataset.contrasts
    # The difference in a single volume is the contrast itself.
    if len(volumes) < 2 or not contrasts:
        return None
    return Table(
        name=f"volumes-{dataset.name}",
        title=f"Volumes: {dataset.name}, test F1",
        columns=[
            "question",
            "contrast",
            "class",
            *(f"volume {volume}" for volume in volumes),
            "from",
            "to",
        ],
        rows=[_volume_row(contrast, volumes) for contrast in contrasts],
        notes=[
            "test F1, mean over seeds, of the slices of each volume",
            f"from, to: 95 % interval over volumes, from {VOLUMES_FOR_INTERVAL} of them on",
            "it speaks of other volumes only where these are independent cells",
        ],
    )


def _volume_row(contrast: Contrast, volumes: Sequence[int]) -> list[str]:
    by_volume = contrast.by_volume
    cells = [f"{by_volume[volume]:+.3f}" if volume in by_volume else "-" for volume in volumes]
    ends = ["-", "-"]
    # Student's interval of five values or fewer is so wide that the values tell more.
    if len(by_volume) >= VOLUMES_FOR_INTERVAL:
        ends = interval_cells(t_interval(list(by_volume.values())))[1:]
    return [contrast.question, contrast.name, contrast.class_name, *cells, *ends]
