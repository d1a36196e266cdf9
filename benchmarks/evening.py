"""An evening with a cell: rounds of painting and training, where the truth plays the painter.

python -m benchmarks.evening DIR --data epfl --seed 0 --folder FOLDER --output evening.json

In each round `fibseg suggest`'s default chooses two half slices, the labels of the data set stand
in for the person, and a round of `fibseg annotate` goes on from the last model. Some rounds are
trained from nothing, too, on the same painted pixels, by the recipe of the first round. F1 is that
of whole test slices, which no round looks at. What is in the output file already is not computed
again; with `--kinds` the choice of regions is compared in the same way; the seeds that were played
so far are in benchmarks/suggestion.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.annotation.opening import create_project, opened_project
from fibseg.annotation.project import AnnotationProject
from fibseg.annotation.proposing import fast_windows, judged_slices
from fibseg.annotation.rounds import (
    begin_round,
    current_model,
    rounds_of,
    training_command,
)
from fibseg.annotation.suggestion import (
    AT_RANDOM,
    BY_DISAGREEMENT,
    BY_FOREGROUND,
    Judge,
    Region,
    candidate_slices,
    measured_candidates,
    suggest_regions,
)
from fibseg.annotation.validation import finish_round
from fibseg.arrays import IGNORE, Floats, UInt8
from fibseg.config.compose import load_description
from fibseg.data.splits import parse_slices
from fibseg.data.volume import VolumeReader
from fibseg.files import write_whole
from fibseg.machine import Compute, choose_device, set_threads
from fibseg.runs.directory import is_run

LOOKED_AT = 10
"""Slices of which a round judges the regions."""


class Painter:
    """Paints what a data set says, in the slices that are meant for training and validation.

    Attributes:
        classes: names.
        shape: of the image.
        slices: that may be painted.
        test: slices that are scored.
    """

    def __init__(self, data: str, root: Path):
        self.description = load_description(data)
        self.description.root = str(root)
        volume = self.description.volumes[0]
        self._reader = VolumeReader(self.description, 0)
        self.image = str(root / volume.image)
        self.voxel_size = volume.voxel_size
        self.classes = list(self.description.classes)
        self.shape = self._reader.image.shape
        split = {
            name: parse_slices(items, self.shape[0], name) for name, items in volume.split.items()
        }
        self.slices = sorted(split["train"] + split["validation"])
        self.test = split["test"]

    def truth(self, z: int) -> UInt8:
        """Class indices of a slice."""
        return self._reader.read(z).labels

    def paint(self, project: AnnotationProject, region: Region) -> None:
        """Paint one region as reviewed."""
        box = np.zeros(self.shape[1:], bool)
        rows = slice(region.y, region.y + region.height)
        box[rows, region.x : region.x + region.width] = True
        labels = np.where(box, self.truth(region.z), project.layers.labels(region.z))
        project.paint(region.z, labels, project.layers.reviewed(region.z) | box)


def test_scores(painter: Painter, run: Path, compute: Compute) -> dict[str, float]:
    """F1 of each class on whole test slices, the mean over the slices that hold it."""
    from fibseg.models.trained import load_model
    from fibseg.prediction.slices import model_channels, predict_slices
    from fibseg.runs.directory import find_checkpoint
    from fibseg.scores.pixels import confusion_counts, mean_f1

    model = load_model(find_checkpoint(run))
    reader = VolumeReader(painter.description, 0)
    slices = [reader.read(z) for z in painter.test]
    channels = model_channels(
        model, [entry.pictures(model.grey_range) for entry in slices], None, compute.filter_threads
    )
    names = model.class_names[1:]
    table = np.array([0, *(painter.classes.index(name) + 1 for name in names)], np.uint8)
    labels = predict_slices(model, channels, fast_windows(model, painter.shape), compute)
    counts = [
        confusion_counts(entry.labels, table[predicted], len(painter.classes) + 1)
        for entry, predicted in zip(slices, labels, strict=True)
    ]
    values = mean_f1(np.stack(counts))
    return {name: float(value) for name, value in zip(painter.classes, values[1:], strict=True)}


def regions(
    painter: Painter,
    project: AnnotationProject,
    kind: str,
    seed: int,
    compute: Compute,
    count: int,
) -> list[Region]:
    """Choose half slices among the paintable ones."""
    used = list(project.reviewed_slices())
    depth = painter.shape[0]
    free = [z for z in candidate_slices(depth, used, depth) if z in painter.slices]
    generator = np.random.default_rng(seed)
    looked_at = sorted(generator.permutation(free)[:LOOKED_AT].tolist())
    run = current_model(project)
    judge: Judge | None = None
    if run is None:
        # A person begins where there is something to paint.
        kind = BY_FOREGROUND

        def judge(z: int) -> tuple[UInt8, Floats]:
            return painter.truth(z) % IGNORE, np.zeros(painter.shape[1:])

    elif kind != AT_RANDOM:
        judged = judged_slices(project, run, looked_at, compute, kind == BY_DISAGREEMENT)
        measured = {z: (labels, uncertainty) for z, labels, uncertainty in judged}
        judge = measured.__getitem__
    height, width = painter.shape[1:]
    candidates = measured_candidates(looked_at, (height, width), (height, width // 2), judge)
    return suggest_regions(candidates, count, kind, seed)


def trained(command: list[str], log: Path) -> float:
    """Run a training; gives its seconds."""
    start = time.monotonic()
    with log.open("a") as file:
        subprocess.run(command, stdout=file, stderr=file, check=True)
    return time.monotonic() - start


def main() -> None:
    """Play the evening."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--data", default="epfl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--count", type=int, default=2, help="half slices of a round")
    parser.add_argument("--kinds", default="foreground", help="how regions are chosen, by commas")
    parser.add_argument("--nothing", default="3,6", help="rounds trained from nothing, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, required=True, help="for the projects")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    set_threads(1)
    compute = Compute(choose_device("cpu"), "32", 16, 1)
    painter = Painter(options.data, options.root)
    for kind in options.kinds.split(","):
        play(painter, kind, options, compute)


def play(painter: Painter, kind: str, options: argparse.Namespace, compute: Compute) -> None:
    """Play the rounds of one way to choose regions."""
    rows: list[dict[str, Any]] = []
    if options.output.exists():
        rows = json.loads(options.output.read_text())
    name = f"{options.data}-{kind}-{options.seed}"
    folder = options.folder / name
    options.folder.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        create_project(folder, name, painter.image, painter.classes, painter.voxel_size)
    settings = [f"seed={options.seed}", "machine.threads=1", "machine.device=cpu", *options.set]
    from_nothing = {int(number) for number in options.nothing.split(",") if number}
    for number in range(1, options.rounds + 1):
        key = {"data": options.data, "kind": kind, "seed": options.seed, "round": number}
        row = next((entry for entry in rows if entry.items() >= key.items()), None)
        if row is not None and ("nothing_test" in row or number not in from_nothing):
            continue
        if row is None:
            row = key | round_scores(painter, folder, key, settings, compute, options.count)
            rows.append(row)
        if number in from_nothing:
            row |= scores_from_nothing(painter, folder, number, settings, compute)
        print(json.dumps(row), flush=True)
        write_whole(options.output, json.dumps(rows, indent=1) + "\n")


def round_scores(
    painter: Painter,
    folder: Path,
    key: dict[str, Any],
    settings: list[str],
    compute: Compute,
    count: int,
) -> dict[str, Any]:
    """Paint, train and score one round; what a killed evening has begun goes on as it was."""
    number = key["round"]
    log = folder.with_suffix(".log")
    with opened_project(folder) as project:
        if len(rounds_of(folder)) < number:
            draw = 100 * key["seed"] + number
            for region in regions(painter, project, key["kind"], draw, compute, count):
                painter.paint(project, region)
            begin_round(project)
        entry = rounds_of(folder)[number - 1]
    if entry.state == "begun":
        seconds = trained(training_command(folder, entry, settings), log)
        with opened_project(folder) as project:
            entry = finish_round(project, entry, seconds, compute)
    with opened_project(folder) as project:
        kept = current_model(project)
        painted = sum(int(project.layers.reviewed(z).sum()) for z in project.reviewed_slices())
    assert kept is not None
    return {
        "pixels": painted,
        "seconds": entry.seconds,
        "state": entry.state,
        "before": entry.before,
        "after": entry.after,
        "test": test_scores(painter, kept, compute),
        "slices": entry.slices,
    }


def scores_from_nothing(
    painter: Painter, folder: Path, number: int, settings: list[str], compute: Compute
) -> dict[str, Any]:
    """Train a round from nothing, on the pixels that were painted by then, and score it."""
    entry = replace(rounds_of(folder)[number - 1], start=None)
    place = folder / "nothing" / f"{number:03d}"
    command = [
        f"machine.runs={place.absolute()}" if word.startswith("machine.runs=") else word
        for word in training_command(folder, entry, settings)
    ]
    seconds = trained(command, folder.with_suffix(".log"))
    (run,) = (path for path in place.glob("*/*") if is_run(path))
    return {
        "nothing_seconds": round(seconds, 1),
        "nothing_test": test_scores(painter, run, compute),
    }


if __name__ == "__main__":
    main()
