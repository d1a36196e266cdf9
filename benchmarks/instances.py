"""Objects of a head against connected components, on the test slices of finished runs.

    python -m benchmarks.instances RUNS... --output benchmarks/instances.json
    python -m benchmarks.instances --table benchmarks/instances.json

RUNS are folders of runs whose data description has a class of instances: true; some have a head
(model.head), some have none. Of each run, the objects of the test slices are found by the rules in
its model file: in 3-D over blocks of consecutive slices. The figures are those of
`fibseg.scores.instances`, pooled over the classes that have objects. In the kept file "distance" is
a head that was tried once and deleted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fibseg.config.compose import description_of
from fibseg.data.scoring.annotated import score_annotated_objects
from fibseg.data.slices import load_slices
from fibseg.data.volume import AnnotatedSlice
from fibseg.machine import Compute, choose_device, set_threads
from fibseg.models.trained import TrainedModel, load_model
from fibseg.prediction.instances.blocks import objects_of_slices, slice_maps
from fibseg.prediction.slices import model_channels, predict_slices
from fibseg.prediction.windows import chosen_windows
from fibseg.runs.directory import RunDirectory
from fibseg.runs.identity import read_config
from fibseg.scores.instances import InstanceFigures, instance_figures, pooled_matches


def main() -> None:
    """Measure runs, or print the table of earlier figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/instances.json"))
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table is not None:
        print(table(json.loads(options.table.read_text())))
        return
    rows = [
        measured(run)
        for folder in options.runs
        for run in sorted(path.parent for path in folder.rglob("scores.json"))
    ]
    options.output.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


def measured(run: Path) -> dict[str, Any]:
    """Score the objects of a run's test slices."""
    directory = RunDirectory(run)
    config = read_config(directory)
    path = directory.model()
    assert config is not None and path is not None
    description = description_of(config["data"], str(directory.config))
    model = load_model(path)
    assert model.objects is not None, f"{run}: no class has objects"
    set_threads(config["provenance"]["threads"])
    slices = load_slices(description)["test"]
    figures = scored(model, slices)
    return {
        "data": description.name,
        "head": model.objects.head,
        "seed": config["seed"],
        "level": model.objects.level,
        "overlap": model.objects.overlap,
        "smallest": model.objects.smallest,
        "truth": figures.truth,
        "objects": figures.predicted,
        "sa50": round(figures.at_50.accuracy, 4),
        "f1": round(figures.at_50.f1, 4),
        "msa": round(figures.msa, 4),
        "voi_split": round(figures.voi_split, 4),
        "voi_merge": round(figures.voi_merge, 4),
    }


def scored(model: TrainedModel, slices: Sequence[AnnotatedSlice]) -> InstanceFigures:
    """Find the objects of slices as a prediction does, and score them in 3-D."""
    assert model.objects is not None
    compute = Compute(choose_device("cpu"), model.precision, batch_size=4, filter_threads=1)
    windows = chosen_windows(model)
    images = [entry.pictures(model.grey_range) for entry in slices]
    channels = model_channels(model, images, None, 1)
    labels = list(predict_slices(model, channels, windows, compute))
    objects = objects_of_slices(
        model=model,
        places=[entry.place for entry in slices],
        labels=labels,
        maps=slice_maps(model, channels, windows, compute),
    )
    classes = {name: list(model.class_names).index(name) for name in model.objects.classes}
    blocks = score_annotated_objects(slices, labels, classes, objects)["blocks"]
    return instance_figures(
        pooled_matches(c for block in blocks for c in block["classes"].values())
    )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, and their range, in Markdown."""
    lines = [
        "| data | objects by | seeds | SA50 | mSA | VOI split | VOI merge | objects (true) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data, head in sorted({(row["data"], row["head"]) for row in rows}):
        group = [row for row in rows if (row["data"], row["head"]) == (data, head)]
        cells = [_range(group, key) for key in ("sa50", "msa", "voi_split", "voi_merge")]
        count = f"{np.mean([row['objects'] for row in group]):.1f} ({group[0]['truth']})"
        name = "components" if head == "none" else f"head, {head}"
        seeds = ", ".join(str(row["seed"]) for row in group)
        lines.append(f"| {data} | {name} | {seeds} | {' | '.join(cells)} | {count} |")
    return "\n".join(lines)


def _range(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows]
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
