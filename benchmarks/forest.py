"""A forest's slice beside scikit-image and scikit-learn, and F1 by pixels to learn from.

python -m benchmarks.forest [--root DIR] [--curve] [--output benchmarks/forest_cpu.json]

DIR holds the vnc stack. The peer makes as many features with `multiscale_basic_features` and
classifies with scikit-learn's `predict`; labels of both classifiers are compared on the same
features and trees. Compiling the walk (a second or two, once a process) is not counted. `--curve`
times nothing, but trains on 10 thousand to a million pixels, and on pixels drawn in several ways,
and scores them; rows that the output has already are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from fibseg.arrays import Floats, UInt8
from fibseg.config.compose import load_description
from fibseg.data.description import class_names
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.slices import load_slices
from fibseg.data.volume import AnnotatedSlice
from fibseg.filters.slices import slice_channels
from fibseg.machine import Compute, choose_device, cores, set_threads
from fibseg.models.features import FEATURES_PER_CHANNEL, pixel_features
from fibseg.models.forest import ForestNetwork
from fibseg.prediction.slices import WindowedNetwork
from fibseg.prediction.windows import Windows
from fibseg.scores.pixels import confusion_counts, mean_f1
from fibseg.training.forest import (
    Sample,
    from_scikit_learn,
    sample_pixels,
    train_forest,
    used_slices,
)

TREES = 100
PIXELS = 100_000
BALANCE = 0.75
TIMES = 3
PAPER_AREAS = (650, 3200)
WAYS_TO_DRAW = [
    *((PIXELS, balance) for balance in (0.0, 0.5, 1.0)),
    *((pixels, BALANCE) for pixels in (10_000, 30_000, 100_000, 300_000, 1_000_000)),
]
"""Pixels to learn from, and how much more small classes are drawn than their share."""


@dataclass(frozen=True)
class DataSet:
    """Annotated slices by split, the range of grey values, and the names of the classes."""

    slices: dict[str, list[AnnotatedSlice]]
    grey: GreyRange
    classes: list[str]

    @property
    def used(self) -> list[AnnotatedSlice]:
        """Every other training slice."""
        return used_slices(self.slices["train"], every_other=True)

    def samples(self, pixels: int, balance: float) -> list[Sample]:
        """Pixels to learn from, by seed 0."""
        labels = [annotated.labels for annotated in self.used]
        return sample_pixels(labels, self.classes, pixels, balance, seed=0)

    def eight_bit(self, annotated: AnnotatedSlice) -> UInt8:
        """A slice (H, W) as the forest sees it."""
        return to_8bit(annotated.image, self.grey)


def timed(step: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a step, and the least seconds of TIMES."""
    seconds = []
    for _ in range(TIMES):
        start = perf_counter()
        result = step()
        seconds.append(perf_counter() - start)
    return result, min(seconds)


def project_features(image: UInt8) -> Floats:
    """The project's features (H * W, FEATURES_PER_CHANNEL) of a slice (H, W)."""
    return pixel_features(image[None], cores()).reshape(FEATURES_PER_CHANNEL, -1).T


def peer_features(image: UInt8) -> Floats:
    """scikit-image's features (H, W, F) of a slice (H, W), and the slice itself.

    They are intensity, edge and two eigenvalues at twelve scales.
    """
    features = multiscale_basic_features(  # type: ignore[no-untyped-call]
        image, sigma_min=0.7, sigma_max=10, num_sigma=12, workers=cores()
    )
    return np.concatenate([image[..., None].astype(np.float32), features], axis=2)


def trained_on(data: DataSet, features: Callable[[UInt8], Floats]) -> RandomForestClassifier:
    """scikit-learn's forest, from these features of the sampled pixels."""
    samples = data.samples(PIXELS, BALANCE)
    rows = [
        features(data.eight_bit(annotated))[positions]
        for annotated, (positions, _) in zip(data.used, samples, strict=True)
    ]
    labels = np.concatenate([values for _, values in samples])
    trainer = RandomForestClassifier(TREES, random_state=0, n_jobs=cores())
    return trainer.fit(np.concatenate(rows), labels)


def slice_rows(data: DataSet) -> dict[str, Any]:
    """Seconds of a slice by both, each with its own features, and whether their labels agree.

    The labels are of the same features and trees.
    """
    image = data.eight_bit(data.slices["test"][0])
    trainer = trained_on(data, project_features)
    network = from_scikit_learn(trainer, 1, len(data.classes))
    pixels = torch.from_numpy(image[None, None]).float() / 255
    # The walk is compiled, and its trees are made, at the first use.
    network.votes(pixels[..., :64, :64])
    labels, seconds = timed(lambda: network.votes(pixels).argmax(1)[0].numpy())
    features, feature_seconds = timed(lambda: project_features(image))
    rows = features.copy()
    expected, predict_seconds = timed(lambda: trainer.predict(rows).reshape(labels.shape))
    peer = trained_on(data, lambda pixels: peer_features(pixels).reshape(pixels.size, -1))
    of_peer, peer_feature_seconds = timed(lambda: peer_features(image))
    peer_rows = np.ascontiguousarray(of_peer.reshape(image.size, -1))
    _, peer_predict_seconds = timed(lambda: peer.predict(peer_rows))
    peer_seconds = peer_feature_seconds + peer_predict_seconds
    return {
        "features": [FEATURES_PER_CHANNEL, peer_rows.shape[1]],
        "trees": TREES,
        "pixels": PIXELS,
        "ours_s": round(seconds, 2),
        "of_it_features_s": round(feature_seconds, 2),
        "scikit_learn_on_our_features_s": round(predict_seconds, 2),
        "peer_s": round(peer_seconds, 2),
        "of_it_peer_features_s": round(peer_feature_seconds, 2),
        "times_faster": round(peer_seconds / seconds, 2),
        "equal_labels": bool((labels == expected).all()),
    }


def fit(
    data: DataSet, areas: Sequence[int], pixels: int, balance: float, processes: int
) -> ForestNetwork:
    """A forest as train.py makes it, with seed 0; slices are filtered anew."""
    images = [data.eight_bit(annotated) for annotated in data.used]
    return train_forest(
        channels=slice_channels(images, areas, None, processes),
        samples=data.samples(pixels, balance),
        classes=len(data.classes),
        trees=TREES,
        seed=0,
        threads=cores(),
    )


def scores(network: ForestNetwork, data: DataSet, split: str) -> dict[str, float]:
    """Mean F1 per slice of each class."""
    compute = Compute(device=choose_device("cpu"), precision="32", batch_size=1, filter_threads=1)
    windows = Windows("whole", 0, ForestNetwork.halo, ForestNetwork.stride)
    windowed = WindowedNetwork(network.votes, windows, compute)
    counts = []
    for annotated in data.slices[split]:
        labels = windowed.labels(data.eight_bit(annotated)[None])
        counts.append(confusion_counts(annotated.labels, labels, len(data.classes)))
    f1 = [round(float(score), 4) for score in mean_f1(np.stack(counts))[1:]]
    return dict(zip(data.classes[1:], f1, strict=True))


def drawn_row(data: DataSet, pixels: int, balance: float) -> dict[str, Any]:
    """F1 of a forest by the pixels that it learned from.

    Test slices are scored with BALANCE only, which was chosen by validation slices.
    """
    network = fit(data, (), pixels, balance, processes=1)
    splits = ("validation", "test") if balance == BALANCE else ("validation",)
    f1 = {split: scores(network, data, split) for split in splits}
    return {"pixels": pixels, "balance": balance, "nodes": len(network.left), **f1}


def training_rows(data: DataSet) -> dict[str, float]:
    """Seconds to train with and without the filtered slices, which are filtered anew."""
    rows = {}
    for name, areas in (("off", ()), ("on", PAPER_AREAS)):
        start = perf_counter()
        fit(data, areas, PIXELS, BALANCE, processes=cores())
        rows[name] = round(perf_counter() - start, 1)
    return rows


def show(figures: dict[str, Any], classes: list[str]) -> None:
    """Print both tables."""
    table = Table("", "", title=f"a slice of 1024 x 1024, {figures.get('device', '')}")
    for name, value in figures.get("slice", {}).items():
        table.add_row(name, str(value))
    for name, seconds in figures.get("training_s", {}).items():
        table.add_row(f"training, filter={name}, s", str(seconds))
    console = Console(width=120)
    console.print(table)
    columns = [(split, name) for split in ("validation", "test") for name in classes[1:]]
    table = Table("pixels", "balance", *(f"{split} F1 {name}" for split, name in columns))
    for row in figures["drawn"]:
        cells = [f"{row[split][name]:.3f}" if split in row else "" for split, name in columns]
        table.add_row(f"{row['pixels']:,}", str(row["balance"]), *cells)
    console.print(table)


def main() -> None:
    """Print tables and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--root", help="where the vnc stack lies, in place of the root of its description"
    )
    parser.add_argument(
        "--curve", action="store_true", help="in place of timings, F1 by how pixels are drawn"
    )
    parser.add_argument("--output", type=Path, default=Path("benchmarks/forest_cpu.json"))
    options = parser.parse_args()
    description = load_description("vnc")
    description.root = options.root or description.root
    slices = load_slices(description)
    training_images = [annotated.image for annotated in slices["train"]]
    grey = grey_range(training_images, description.intensity)
    data = DataSet(slices, grey, class_names(description))
    set_threads(None)
    figures = json.loads(options.output.read_text()) if options.output.exists() else {}
    if not options.curve:
        figures |= {"device": f"{cores()} cores", "slice": slice_rows(data)}
        figures["training_s"] = training_rows(data)
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    rows = figures.setdefault("drawn", [])
    for pixels, balance in WAYS_TO_DRAW if options.curve else ():
        if (pixels, balance) not in [(row["pixels"], row["balance"]) for row in rows]:
            rows.append(drawn_row(data, pixels, balance))
            options.output.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures, data.classes)


if __name__ == "__main__":
    main()
