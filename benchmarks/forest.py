"""A forest's slice beside scikit-image and scikit-learn, and what its F1 gains from more pixels to learn from.

python -m benchmarks.forest [--root DIR] [--curve] [--output benchmarks/forest_cpu.json]

DIR holds the vnc stack. The peer makes as many features with `multiscale_basic_features` and classifies with
scikit-learn's `predict`; labels of both classifiers are compared on the same features and trees. Compiling the walk (a
second or two, once a process) is not counted. `--curve` times nothing, but trains on 10 thousand to a million pixels,
and on pixels drawn in several ways, and scores them; rows that the output has already are kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from fibseg.config.compose import load_description
from fibseg.data.description import class_names
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.slices import load_slices
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import cores, set_threads
from fibseg.models.features import FEATURES_PER_CHANNEL, pixel_features
from fibseg.models.forest import ForestNetwork
from fibseg.models.trained import TrainedModel
from fibseg.prediction.slices import deciding, predict_slice
from fibseg.prediction.windows import windows_of
from fibseg.scores.pixels import confusion_counts, mean_f1
from fibseg.training.forest import fit_forest, from_scikit_learn, sample_pixels

TREES, PIXELS, BALANCE, TIMES = 100, 100_000, 0.75, 3
AREAS = [650, 3200]
DRAWN = [
    *((PIXELS, balance) for balance in (0.0, 0.5, 1.0)),
    *((pixels, BALANCE) for pixels in (10_000, 30_000, 100_000, 300_000, 1_000_000)),
]
"""Pixels to learn from, and how much more small classes are drawn than their share."""


def timed(step: Any) -> tuple[Any, float]:
    """Its result, and the least seconds of TIMES."""
    found = []
    for _ in range(TIMES):
        start = perf_counter()
        result = step()
        found.append(perf_counter() - start)
    return result, min(found)


def peer_features(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) -> (H, W, FEATURES_PER_CHANNEL): intensity, edge and two eigenvalues at twelve scales, and the image itself."""
    found = multiscale_basic_features(
        image, sigma_min=0.7, sigma_max=10, num_sigma=12, workers=cores()
    )
    return np.concatenate([image[..., None].astype(np.float32), found], axis=2)


def slice_rows(
    slices: dict[str, list[AnnotatedSlice]], window: GreyRange, classes: list[str]
) -> dict[str, Any]:
    """Seconds of a slice by both, each with its own features; and whether both classify alike on the same ones."""
    used = slices["train"][::2]
    samples = sample_pixels([one.labels for one in used], classes, PIXELS, BALANCE, seed=0)
    image = to_8bit(slices["test"][0].image, window)

    def learned(features: Any) -> RandomForestClassifier:
        rows = [
            features(to_8bit(one.image, window))[own]
            for one, (own, _) in zip(used, samples, strict=True)
        ]
        values = np.concatenate([values for _, values in samples])
        return RandomForestClassifier(TREES, random_state=0, n_jobs=cores()).fit(
            np.concatenate(rows), values
        )

    def ours_flat(one: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixel_features(one[None], cores()).reshape(FEATURES_PER_CHANNEL, -1).T

    trainer = learned(ours_flat)
    network = from_scikit_learn(trainer, 1, len(classes))
    pixels = torch.from_numpy(image[None, None]).float() / 255
    network.votes(pixels[..., :64, :64])  # its trees are made at the first use
    labels, ours = timed(lambda: network.votes(pixels).argmax(1)[0].numpy())
    features, own_features = timed(lambda: pixel_features(image[None], cores()))
    rows = features.reshape(FEATURES_PER_CHANNEL, -1).T.copy()
    by_sklearn, own_predict = timed(lambda: trainer.predict(rows).reshape(labels.shape))
    other = learned(lambda one: peer_features(one).reshape(one.size, -1))
    seen, peer_seconds = timed(lambda: peer_features(image))
    flat = np.ascontiguousarray(seen.reshape(image.size, -1))
    _, peer_predict = timed(lambda: other.predict(flat))
    return {
        "features": [FEATURES_PER_CHANNEL, flat.shape[1]],
        "trees": TREES,
        "pixels": PIXELS,
        "ours_s": round(ours, 2),
        "of_it_features_s": round(own_features, 2),
        "scikit_learn_on_our_features_s": round(own_predict, 2),
        "peer_s": round(peer_seconds + peer_predict, 2),
        "of_it_peer_features_s": round(peer_seconds, 2),
        "times_faster": round((peer_seconds + peer_predict) / ours, 2),
        "equal_labels": bool((labels == by_sklearn).all()),
    }


def scores(
    network: ForestNetwork, found: list[AnnotatedSlice], window: GreyRange, classes: list[str]
) -> dict[str, float]:
    """Mean F1 per slice of each class."""
    windows = windows_of(
        TrainedModel(network, "forest", {}, classes, [], [], "slice", window, [], 64, "32"), "whole"
    )
    counts = [
        confusion_counts(
            one.labels,
            predict_slice(
                deciding(network), to_8bit(one.image, window)[None], windows, 1, torch.device("cpu")
            ),
            len(classes),
        )
        for one in found
    ]
    return dict(
        zip(
            classes[1:],
            [round(float(one), 4) for one in mean_f1(np.stack(counts))[1:]],
            strict=True,
        )
    )


def drawn_row(
    slices: dict[str, list[AnnotatedSlice]],
    window: GreyRange,
    classes: list[str],
    pixels: int,
    balance: float,
) -> dict[str, Any]:
    """F1 of a forest by the pixels that it learned from; seed 0, every other training slice.

    Test slices are looked at with BALANCE only, which was chosen by validation slices.
    """
    network = fit_forest(
        slices["train"],
        classes[1:],
        window,
        [],
        True,
        pixels,
        balance,
        TREES,
        0,
        cores(),
        1,
        None,
        print,
    )
    splits = ("validation", "test") if balance == BALANCE else ("validation",)
    f1 = {split: scores(network, slices[split], window, classes) for split in splits}
    return {"pixels": pixels, "balance": balance, "nodes": len(network.left), **f1}


def training_rows(
    slices: dict[str, list[AnnotatedSlice]], window: GreyRange, classes: list[str]
) -> dict[str, float]:
    """Seconds to train with and without the filtered slices, which are filtered anew."""
    rows = {}
    for name, areas in (("off", []), ("on", AREAS)):
        start = perf_counter()
        fit_forest(
            slices["train"],
            classes[1:],
            window,
            areas,
            True,
            PIXELS,
            BALANCE,
            TREES,
            0,
            cores(),
            cores(),
            None,
            print,
        )
        rows[name] = round(perf_counter() - start, 1)
    return rows


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
    slices, classes = load_slices(description), class_names(description)
    window = grey_range([one.image for one in slices["train"]], description.intensity)
    set_threads(None)
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    if not options.curve:
        found |= {"device": f"{cores()} cores", "slice": slice_rows(slices, window, classes)}
        found["training_s"] = training_rows(slices, window, classes)
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    rows = found.setdefault("drawn", [])
    for how in DRAWN if options.curve else ():
        if how not in [(row["pixels"], row["balance"]) for row in rows]:
            rows.append(drawn_row(slices, window, classes, *how))
            options.output.write_text(json.dumps(found, indent=1) + "\n")
    table = Table("", "", title=f"a slice of 1024 x 1024, {found.get('device', '')}")
    for name, value in found.get("slice", {}).items():
        table.add_row(name, str(value))
    for name, seconds in found.get("training_s", {}).items():
        table.add_row(f"training, filter={name}, s", str(seconds))
    console = Console(width=120)
    console.print(table)
    places = [(split, name) for split in ("validation", "test") for name in classes[1:]]
    table = Table("pixels", "balance", *(f"{split} F1 {name}" for split, name in places))
    for row in rows:
        cells = [f"{row[split][name]:.3f}" if split in row else "" for split, name in places]
        table.add_row(f"{row['pixels']:,}", str(row["balance"]), *cells)
    console.print(table)


if __name__ == "__main__":
    main()
