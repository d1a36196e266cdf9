"""What a model loses on another stack, and what `adapt` of a prediction wins back.

python -m benchmarks.adaptation RUN [RUN ...] --data NAME DIR [--data NAME DIR ...] [--json FILE]

The test slices of each data set are changed as another microscope would (contrast, brightness,
gamma, blur, noise), labelled as wholes by each run with every `adapt`, and scored by mean per-slice
F1 of the classes that run and data set share. The table is printed and written as JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from fibseg.arrays import IGNORE, Pixels
from fibseg.config.compose import load_description
from fibseg.data.description import class_names
from fibseg.data.slices import load_slices
from fibseg.data.volume import AnnotatedSlice
from fibseg.errors import FibsegError
from fibseg.machine import Compute, choose_device, cores, device_name, set_threads
from fibseg.models.kinds import ADAPTATIONS
from fibseg.models.trained import TrainedModel, load_model
from fibseg.prediction.adaptation import Adaptation, adapted, channels_for
from fibseg.prediction.slices import predict_slices
from fibseg.prediction.windows import windows_of
from fibseg.runs.directory import find_checkpoint
from fibseg.stack import Stack, read_neighbours

Grey = np.ndarray[Any, np.dtype[np.float64]]

CHANGES: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    "none": lambda grey, _: grey,
    "dark": lambda grey, _: 0.55 * grey + 10,
    "bright": lambda grey, _: 0.6 * grey + 100,
    "low contrast": lambda grey, _: 0.4 * (grey - 128) + 128,
    "gamma .6": lambda grey, _: 255 * (grey / 255) ** 0.6,
    "gamma 1.7": lambda grey, _: 255 * (grey / 255) ** 1.7,
    "blur": lambda grey, _: gaussian_filter(grey, 1.5),
    "noise": lambda grey, generator: grey + generator.normal(0, 18, grey.shape),
}
"""Name -> what becomes of grey values (H, W) of 8 bits."""


def changed(image: Pixels, change: str, z: int) -> Pixels:
    """Change a slice; the noise of a slice depends on its position alone."""
    grey = CHANGES[change](image.astype(np.float64), np.random.default_rng(z))
    return np.asarray(grey.clip(0, 255).round().astype(np.uint8))


def f1_of(
    model: TrainedModel,
    stack: Stack,
    slices: Sequence[AnnotatedSlice],
    names: Sequence[str],
    compute: Compute,
) -> float:
    """Mean F1 over slices and shared classes; `names` are the classes of the labels."""
    context = model.channels.context
    pictures = [
        np.stack([stack.read(z), *read_neighbours(stack, z, context)])
        for z in range(stack.shape[0])
    ]
    channels = channels_for(model, pictures, (1.0, 1.0), compute)
    scores = []
    for labels, annotated in zip(
        predict_slices(model, channels, windows_of(model, "whole"), compute), slices, strict=True
    ):
        known = annotated.labels != IGNORE
        for name in set(names[1:]) & set(model.class_names):
            predicted = (labels == list(model.class_names).index(name)) & known
            truth = (annotated.labels == names.index(name)) & known
            total = int(predicted.sum() + truth.sum())
            if total:
                scores.append(2 * int((predicted & truth).sum()) / total)
    return float(np.mean(scores))


def row_of(
    model: TrainedModel,
    slices: Sequence[AnnotatedSlice],
    names: Sequence[str],
    change: str,
    compute: Compute,
) -> dict[str, Any]:
    """F1 by each `adapt` under a change, and what auto chose."""
    images = [changed(annotated.image, change, annotated.z) for annotated in slices]
    height, width = images[0].shape
    stack = Stack("changed", (len(images), height, width), images[0].dtype, lambda z: images[z])

    def fitted(adapt: str) -> tuple[TrainedModel, Adaptation]:
        # Without any adaptation the grey values may be refused, and are labelled here all the same.
        if adapt == "none":
            return model, Adaptation("none", "training")
        (member,), adaptation = adapted(
            models=[model],
            adapt=adapt,
            intensity="training",
            stack=stack,
            scale=(1.0, 1.0),
            compute=compute,
            console=Console(file=io.StringIO()),
        )
        return member, adaptation

    row: dict[str, Any] = {"change": change}
    for adapt in ADAPTATIONS:
        try:
            member, adaptation = fitted(adapt)
        # The grey values of the training hold next to nothing of the stack.
        except FibsegError as error:
            row[adapt] = None
            print(f"{change}, adapt={adapt}: {error}")
            continue
        row[adapt] = f1_of(member, stack, slices, names, compute)
    row["chosen"] = adaptation.described()
    return row


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", nargs=2, action="append", required=True)
    parser.add_argument("--every", type=int, default=1, help="take every so many test slices")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    set_threads(None)
    device = choose_device(options.device)
    rows: list[dict[str, Any]] = []
    for name, root in options.data:
        description = load_description(name)
        description.root = root
        slices = load_slices(description)["test"][:: options.every]
        for run in options.runs:
            model = load_model(find_checkpoint(run))
            compute = Compute(device, model.precision, 16, cores())
            for change in CHANGES:
                row = row_of(model, slices, class_names(description), change, compute)
                rows.append({"run": run.name, "data": name, **row})
                print(json.dumps(rows[-1]), flush=True)
    table = Table("run", "data", "change", *ADAPTATIONS, "auto took", "shift")
    for row in rows:
        f1 = ["-" if row[adapt] is None else f"{row[adapt]:.3f}" for adapt in ADAPTATIONS]
        chosen = row["chosen"]
        taken = [
            *(["grey"] if chosen["intensity"] == "own" else []),
            *(["norm"] if chosen["norm"] else []),
        ]
        shift = ", ".join(f"{value:.2g}" for value in chosen["shift"] or [])
        table.add_row(
            row["run"], row["data"], row["change"], *f1, "+".join(taken) or "nothing", shift
        )
    Console(width=140).print(table)
    if options.json:
        name_of_device = device_name(device) or platform.processor() or platform.machine()
        options.json.write_text(
            json.dumps({"device": name_of_device, "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
