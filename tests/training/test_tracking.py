"""What W&B and TensorBoard hold is read back from their files."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fibseg.training.tracking import Panel
from tests.support import Commands
from tests.support.tracking import read_wandb

OFFLINE = {"WANDB_MODE": "offline"}
BOARDS = (
    "logger=[wandb,tensorboard]",
    "tracking.images_every=2",
    "tracking.tags=[trial]",
    "filter=on",
)


def rows(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def check_boards(run: Path, epochs: int) -> None:
    """Both boards hold what metrics.csv holds, each epoch once, with pictures and scores."""
    expected = rows(run)
    assert [row["epoch"] for row in expected] == list(range(epochs))
    found = read_wandb(run)
    shown = {step: row for step, row in found["history"].items() if "val_loss" in row}
    assert sorted(shown) == list(range(epochs))
    for row in expected:
        for name, value in row.items():
            assert shown[int(row["epoch"])][name] == pytest.approx(value, rel=1e-4)
    pictures = {
        step
        for step, row in found["history"].items()
        if any(name.startswith("panel") for name in row)
    }
    assert pictures == set(range(1, epochs, 2))
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    for name in (
        "train_loss",
        "val_f1_membrane",
        "learning_rate",
        "patches_per_second",
        "share_er",
    ):
        scalars = board.Scalars(name)
        assert [one.step for one in scalars] == list(range(epochs))
        assert [one.value for one in scalars] == pytest.approx(
            [row[name] for row in expected], rel=1e-4
        )
    assert [one.step for one in board.Images("panel")] == list(range(1, epochs, 2))


@pytest.mark.slow
def test_a_run_on_every_board(commands: Commands) -> None:
    result = commands.run_process("train.py", *commands.recipe, *BOARDS, env=os.environ | OFFLINE)
    assert result.returncode == 0, result.stderr
    assert "W&B: offline; upload later" in result.stdout
    run = commands.run_directory()
    check_boards(run, 3)
    found = read_wandb(run)
    told = found["run"]
    assert (told.project, told.display_name) == ("fibseg", "seed 0")
    assert told.run_group == run.name.replace("-s0-", "-")
    assert list(told.tags) == ["tiny", "unet", "filter on", "trial"]
    assert found["config"]["training"]["epochs"] == 3
    assert found["config"]["provenance"]["data_hash"]
    scores = json.loads((run / "scores.json").read_text())
    assert "test_f1/membrane" in found["summary"]
    assert any(name.startswith("scores") for row in found["history"].values() for name in row)
    assert scores["run"]["tracking_id"] == told.run_id
    assert (run / "figures" / "panel-0001.png").exists()


@pytest.mark.slow
def test_a_killed_run_stays_one_run(commands: Commands) -> None:
    """Killed after its third epoch, resumed: no gap, no double row, one run of W&B."""
    longer = (*commands.recipe, *BOARDS, "training.epochs=6")
    process = subprocess.Popen(
        commands.line("train.py", *longer),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | OFFLINE,
    )
    while process.poll() is None:
        metrics = list(commands.folder.glob("runs/tiny/*/metrics.csv"))
        if metrics and len(metrics[0].read_text().splitlines()) > 3:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    result = commands.run_process("train.py", *longer, env=os.environ | OFFLINE)
    assert result.returncode == 0, result.stderr
    check_boards(commands.run_directory(), 6)


def test_a_panel_shows_the_middle() -> None:
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    truth = np.zeros((10, 10), np.uint8)
    truth[4:6, 4:6] = 1
    panel = Panel(image, truth, lambda one: np.stack([one, 255 - one]), side=4)

    def all_background(pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape == (1, 2, 4, 4)
        return torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)

    shown = panel(all_background, torch.device("cpu"))
    assert (shown.shape, shown.dtype) == ((4, 4 * 4, 3), np.uint8)
    middle = image[3:7, 3:7]
    np.testing.assert_array_equal(shown[:, :4, 0], middle)
    np.testing.assert_array_equal(shown[:, 8:12, 1], middle)  # nothing was predicted
    np.testing.assert_array_equal(shown[:, 12:, 2], 255 - middle)
    assert (shown[1:3, 5:7] != shown[1:3, 1:3]).any()  # the truth is coloured
    np.testing.assert_array_equal(shown[0, 4:8], shown[0, :4])
