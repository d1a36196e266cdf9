"""What drift of brightness and contrast along z costs, with a window of grey values for the stack and for each slice.

python -m benchmarks.drift DATA DIR --stack RUN [RUN ...] --slice RUN [RUN ...]

The test slices of a data description are given a gain and an offset each, drawn anew per slice and the same for every
run, and are labelled by runs that were trained without drift. The table is printed and written as JSON.
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

from fibseg.checkpoint import load_model
from fibseg.config import load_description
from fibseg.dataset import AnnotatedSlice, load_slices
from fibseg.hardware import cores, set_threads
from fibseg.intensity import to_8bit
from fibseg.metrics import mean_f1
from fibseg.prediction import model_channels, predict_slices
from fibseg.runs import find_checkpoint
from fibseg.scoring import score_slices

DRIFTS = {"none": (0.0, 0.0), "mild": (0.1, 0.05), "strong": (0.25, 0.15)}
"""Standard deviations of the gain, and of the offset as a share of the range of grey values."""

SPAN = 255.0


def drifted(image: np.ndarray, gain: float, offset: float, span: float) -> np.ndarray:
    """(H, W) float32; nothing is clipped, as in a detector with room."""
    middle = span / 2
    return ((image - middle) * (1 + gain) + middle + offset * span).astype(np.float32)


def f1_of(run: Path, slices: list[AnnotatedSlice], strength: tuple[float, float]) -> dict[str, float]:
    """Mean per-slice F1 of each class under this drift."""
    model, generator = load_model(find_checkpoint(run)), np.random.default_rng(0)
    draws = generator.normal(size=(len(slices), 2)) * strength
    images = [
        to_8bit(drifted(one.image, gain, offset, SPAN), model.window)
        for one, (gain, offset) in zip(slices, draws, strict=True)
    ]
    channels = model_channels(model, images, None, cores())
    labels = list(predict_slices(model, iter(channels), 16, torch.device("cpu"), model.precision, cores()))
    places, truths = [(one.volume, one.z) for one in slices], [one.labels for one in slices]
    score = score_slices(places, truths, labels, len(model.class_names))
    confusion = np.array([one["confusion"] for one in score.slices])
    return dict(zip(model.class_names[1:], mean_f1(confusion)[1:].tolist(), strict=True))


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("root")
    parser.add_argument("--stack", nargs="+", type=Path, required=True, help="runs with data.intensity.per=stack")
    parser.add_argument("--slice", nargs="+", type=Path, required=True, help="runs with data.intensity.per=slice")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    set_threads(None)
    description = load_description(options.data)
    description.root = options.root
    slices = load_slices(description)["test"]
    rows = []
    work = [(per, run, drift) for per in ("stack", "slice") for run in getattr(options, per) for drift in DRIFTS]
    for per, run, drift in track(work, "predicting", console=Console(stderr=True)):
        rows.append({"per": per, "run": run.name, "drift": drift, "f1": f1_of(run, slices, DRIFTS[drift])})
    names = list(rows[0]["f1"])
    table = Table("window per", "drift", *names, title=f"{options.data}: mean test F1 over runs (range)")
    for per in ("stack", "slice"):
        for drift in DRIFTS:
            own = [row["f1"] for row in rows if (row["per"], row["drift"]) == (per, drift)]
            cells = [[one[name] for one in own] for name in names]
            table.add_row(per, drift, *(f"{np.mean(c):.3f} ({min(c):.3f} to {max(c):.3f})" for c in cells))
    Console(width=110).print(table)
    if options.json:
        facts = {"device": platform.processor() or platform.machine(), "drifts": DRIFTS, "data": options.data}
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
