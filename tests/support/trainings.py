"""What two trainings are compared by: their weights and their metrics."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch

from tests.support.models import content_of

FILES_OF_A_RUN = {
    "config.yaml",
    "scores.json",
    "metrics.csv",
    "components.csv",
    "labels",
    "figures",
    "checkpoints",
    ".lock",
}
"""What a finished run of a network leaves in its directory."""


def best_weights(run: Path) -> dict[str, torch.Tensor]:
    """Weights of the model that a run keeps."""
    return content_of(run / "checkpoints" / "model.safetensors")["weights"]


def history(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv, without the column that is a speed."""
    with (run / "metrics.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name != "patches_per_second"}
            for row in csv.DictReader(file)
        ]


def same_weights(first_run: Path, second_run: Path) -> bool:
    """Whether two runs keep the same model, bit for bit."""
    first = best_weights(first_run)
    second = best_weights(second_run)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, metrics and scores of two finished runs are equal, and nothing else is left."""
    assert same_weights(first, second)
    assert history(first) == history(second)
    scores = [json.loads((run / "scores.json").read_text())["splits"] for run in (first, second)]
    assert scores[0] == scores[1]
    for run in (first, second):
        assert {path.name for path in run.iterdir()} == FILES_OF_A_RUN
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["model.safetensors"]
