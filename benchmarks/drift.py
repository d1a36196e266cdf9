"""What drift of brightness and contrast along z costs, with a window of grey values for the stack and for each slice.

python -m benchmarks.drift DATA DIR --stack RUN [RUN ...] --slice RUN [RUN ...]

The test slices of a data description are changed, the same for every run, and labelled by runs that were trained
without drift: a gain and an offset of each slice ("mild", "strong"), a slope of brightness across the slice ("slope"),
and a slice of which a third is empty resin ("resin"; there nothing is scored). Results are rounded and clipped to the
range of the file's type, as a detector does. The table is printed and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from fibseg.arrays import IGNORE
from fibseg.config.compose import load_description
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.slices import AnnotatedSlice, load_slices
from fibseg.machine import cores, set_threads
from fibseg.models.trained import load_model
from fibseg.prediction.slices import model_channels, predict_slices
from fibseg.prediction.windows import windows_of
from fibseg.runs.directory import find_checkpoint
from fibseg.scores.pixels import mean_f1
from fibseg.scores.slices import score_slices

KINDS = ("none", "mild", "strong", "slope", "resin")
STRENGTH = {"mild": (0.1, 0.05), "strong": (0.25, 0.15)}
"""Standard deviations of the gain, and of the offset as a share of the training's range of grey values."""

SLOPE = 0.3
"""Of that range, from one side of the slice to the other."""


def changed(
    one: AnnotatedSlice, kind: str, window: GreyRange, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) grey values in the type of the file, and labels."""
    span, middle = window.high - window.low, (window.low + window.high) / 2
    image, labels = one.image.astype(np.float64), one.labels.copy()
    gain, offset = generator.normal(size=2)
    if kind in STRENGTH:
        image = (
            (image - middle) * (1 + gain * STRENGTH[kind][0])
            + middle
            + offset * STRENGTH[kind][1] * span
        )
    if kind == "slope":
        image += SLOPE * span * np.linspace(-0.5, 0.5, image.shape[1])[None] * np.sign(offset)
    if kind == "resin":
        empty = image[: image.shape[0] // 3]
        empty[:] = window.high - 0.15 * span + generator.normal(size=empty.shape) * 0.05 * span
        labels[: image.shape[0] // 3] = IGNORE
    if one.image.dtype.kind in "ui":
        limits = np.iinfo(one.image.dtype)
        image = np.clip(np.rint(image), limits.min, limits.max)
    return image.astype(one.image.dtype), labels


def f1_of(
    run: Path, slices: list[AnnotatedSlice], kind: str, window: GreyRange
) -> dict[str, float]:
    """Mean per-slice F1 of each class under this change."""
    model, generator = load_model(find_checkpoint(run)), np.random.default_rng(0)
    pairs = [changed(one, kind, window, generator) for one in slices]
    images, truths = (
        [to_8bit(image, model.window) for image, _ in pairs],
        [labels for _, labels in pairs],
    )
    channels = model_channels(model, images, None, cores())
    labels = list(
        predict_slices(
            model,
            channels,
            windows_of(model, "paper"),
            16,
            torch.device("cpu"),
            model.precision,
            cores(),
        )
    )
    score = score_slices(
        [(one.volume, one.z) for one in slices], truths, labels, len(model.class_names)
    )
    confusion = np.array([one["confusion"] for one in score.slices])
    return dict(zip(model.class_names[1:], mean_f1(confusion)[1:].tolist(), strict=True))


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
    found = load_slices(description)
    slices = found["test"][:: options.every]
    window = grey_range([one.image for one in found["train"]], description.intensity)
    rows = []
    work = [
        (per, run, drift)
        for per in ("stack", "slice")
        for run in getattr(options, per)
        for drift in KINDS
    ]
    for per, run, drift in track(work, "predicting", console=Console(stderr=True)):
        rows.append(
            {"per": per, "run": run.name, "drift": drift, "f1": f1_of(run, slices, drift, window)}
        )
    names = list(rows[0]["f1"])
    table = Table(
        "window per",
        "change",
        *names,
        title=f"{options.data}, {len(slices)} test slices: mean F1 over runs (range)",
    )
    for per in ("stack", "slice"):
        for drift in KINDS:
            own = [row["f1"] for row in rows if (row["per"], row["drift"]) == (per, drift)]
            cells = [[one[name] for one in own] for name in names]
            table.add_row(
                per, drift, *(f"{np.mean(c):.3f} ({min(c):.3f} to {max(c):.3f})" for c in cells)
            )
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
