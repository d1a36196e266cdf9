"""What drift of brightness and contrast along z costs, by how grey values become 8 bits.

python -m benchmarks.drift DATA DIR --stack RUN [RUN ...] --slice RUN [RUN ...]

The test slices of a data description are changed, the same for every run, and labelled by runs that
were trained without drift: a gain and an offset of each slice ("mild", "strong"), a slope of
brightness across the slice ("slope"), and a slice of which a third is empty resin ("resin"; there
nothing is scored). Results are rounded and clipped to the range of the file's type, as a detector
does. The table is printed and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fibseg.arrays import IGNORE, Pixels, Place, UInt8
from fibseg.config.compose import load_description
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.slices import load_slices
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import Compute, choose_device, cores, set_threads
from fibseg.models.trained import load_model
from fibseg.prediction.slices import model_channels, predict_slices
from fibseg.prediction.windows import windows_of
from fibseg.runs.directory import find_checkpoint
from fibseg.scores.pixels import mean_f1
from fibseg.scores.slices import confusions_of, score_slices

CHANGES = ("none", "mild", "strong", "slope", "resin")
STRENGTH = {"mild": (0.1, 0.05), "strong": (0.25, 0.15)}
"""Standard deviations of the gain, and of the offset as a share of the training's grey range."""

SLOPE = 0.3
"""Of that range, from one side of the slice to the other."""


def changed(
    annotated: AnnotatedSlice, change: str, grey: GreyRange, generator: np.random.Generator
) -> tuple[Pixels, UInt8]:
    """Change a slice; gives (H, W) grey values in the type of the file, and labels.

    `grey` is the range of the training slices.
    """
    span = grey.high - grey.low
    middle = (grey.low + grey.high) / 2
    image = annotated.image.astype(np.float64)
    labels = annotated.labels.copy()
    # Drawn whatever the change, so that a slice has the same numbers under each.
    gain, offset = generator.normal(size=2)
    if change in STRENGTH:
        gain_strength, offset_strength = STRENGTH[change]
        image = (image - middle) * (1 + gain * gain_strength) + middle
        image += offset * offset_strength * span
    if change == "slope":
        image += SLOPE * span * np.linspace(-0.5, 0.5, image.shape[1])[None] * np.sign(offset)
    if change == "resin":
        resin = image[: image.shape[0] // 3]
        noise = generator.normal(size=resin.shape) * 0.05 * span
        resin[:] = grey.high - 0.15 * span + noise
        labels[: image.shape[0] // 3] = IGNORE
    if annotated.image.dtype.kind in "ui":
        limits = np.iinfo(annotated.image.dtype)
        image = np.clip(np.rint(image), limits.min, limits.max)
    return image.astype(annotated.image.dtype), labels


def f1_of(
    run: Path, slices: list[AnnotatedSlice], change: str, grey: GreyRange
) -> dict[str, float]:
    """Mean per-slice F1 of each class under a change."""
    model = load_model(find_checkpoint(run))
    generator = np.random.default_rng(0)
    pairs = [changed(annotated, change, grey, generator) for annotated in slices]
    images = [to_8bit(image, model.grey_range) for image, _ in pairs]
    truths = [labels for _, labels in pairs]
    compute = Compute(
        device=choose_device("cpu"),
        precision=model.precision,
        batch_size=16,
        filter_threads=cores(),
    )
    channels = model_channels(model, images, None, compute.filter_threads)
    labels = list(predict_slices(model, channels, windows_of(model, "paper"), compute))
    places = [Place(annotated.volume, annotated.z) for annotated in slices]
    score = score_slices(places, truths, labels, len(model.class_names))
    confusions = confusions_of(score.slices, len(model.class_names))
    return dict(zip(model.class_names[1:], mean_f1(confusions)[1:].tolist(), strict=True))


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("root")
    parser.add_argument(
        "--stack", nargs="+", type=Path, required=True, help="runs with data.intensity.per=stack"
    )
    parser.add_argument(
        "--slice", nargs="+", type=Path, required=True, help="runs with data.intensity.per=slice"
    )
    parser.add_argument("--every", type=int, default=1, help="take every so many test slices")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    set_threads(None)
    description = load_description(options.data)
    description.root = options.root
    by_split = load_slices(description)
    slices = by_split["test"][:: options.every]
    training_images = [annotated.image for annotated in by_split["train"]]
    grey = grey_range(training_images, description.intensity)
    work = [
        (per, run, change)
        for per in ("stack", "slice")
        for run in getattr(options, per)
        for change in CHANGES
    ]
    rows: list[dict[str, Any]] = []
    for per, run, change in track(work, "predicting", console=Console(stderr=True)):
        f1 = f1_of(run, slices, change, grey)
        rows.append({"per": per, "run": run.name, "drift": change, "f1": f1})
    names = list(rows[0]["f1"])
    table = Table(
        "window per",
        "change",
        *names,
        title=f"{options.data}, {len(slices)} test slices: mean F1 over runs (range)",
    )
    for per in ("stack", "slice"):
        for change in CHANGES:
            scores = [row["f1"] for row in rows if (row["per"], row["drift"]) == (per, change)]
            values = [[f1[name] for f1 in scores] for name in names]
            cells = [f"{np.mean(f1):.3f} ({min(f1):.3f} to {max(f1):.3f})" for f1 in values]
            table.add_row(per, change, *cells)
    Console(width=110).print(table)
    if options.json:
        facts = {
            "device": platform.processor() or platform.machine(),
            "data": options.data,
            "slices": len(slices),
        }
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
