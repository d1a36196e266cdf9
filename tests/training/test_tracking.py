"""What W&B and TensorBoard hold is read back from their files."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fibseg.training.tracking import Panel
from tests.support import Commands
from tests.support.forked import start_training
from tests.support.tracking import read_wandb

OFFLINE = {"WANDB_MODE": "offline"}
BOARDS = (
    "logger=[wandb,tensorboard]",
    "tracking.images_every=2",
    "tracking.tags=[trial]",
    "filter=on",
)


def metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def check_wandb(run: Path, epochs: int) -> None:
    """W&B holds what metrics.csv holds, each epoch once, with pictures."""
    history = read_wandb(run)["history"]
    logged = {step: row for step, row in history.items() if "val_loss" in row}
    assert sorted(logged) == list(range(epochs))
    for row in metrics(run):
        for name, value in row.items():
            assert logged[int(row["epoch"])][name] == pytest.approx(value, rel=1e-4)
    with_picture = {
        step for step, row in history.items() if any(name.startswith("panel") for name in row)
    }
    assert with_picture == set(range(1, epochs, 2))


def check_tensorboard(run: Path, epochs: int) -> None:
    """TensorBoard holds what metrics.csv holds, each epoch once, with pictures."""
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    names = ("train_loss", "val_f1_membrane", "learning_rate", "patches_per_second", "share_er")
    for name in names:
        scalars = board.Scalars(name)
        assert [scalar.step for scalar in scalars] == list(range(epochs))
        expected = [row[name] for row in metrics(run)]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected, rel=1e-4)
    pictures = board.Images("panel")
    assert [picture.step for picture in pictures] == list(range(1, epochs, 2))


def check_boards(run: Path, epochs: int) -> None:
    assert [row["epoch"] for row in metrics(run)] == list(range(epochs))
    check_wandb(run, epochs)
    check_tensorboard(run, epochs)


def train_on_boards(commands: Commands, *overrides: str) -> str:
    """Train in a process of its own; gives what it printed."""
    log = commands.folder / "log.txt"
    arguments = [*commands.recipe, *BOARDS, *overrides]
    process = start_training(arguments, log, environment=OFFLINE)
    process.join()
    assert process.exitcode == 0, log.read_text()
    return log.read_text()


@pytest.mark.slow
def test_a_run_on_every_board(commands: Commands) -> None:
    printed = train_on_boards(commands)
    assert "W&B: offline; upload later" in printed
    run = commands.run_directory()
    check_boards(run, 3)
    wandb = read_wandb(run)
    identity = wandb["run"]
    assert identity.project == "fibseg"
    assert identity.display_name == run.name
    assert identity.run_group == run.name.replace("-s0-", "-")
    assert list(identity.tags) == ["tiny", "unet", "filter on", "trial"]
    assert wandb["config"]["training"]["epochs"] == 3
    assert wandb["config"]["provenance"]["data_hash"]
    assert "test_f1/membrane" in wandb["summary"]
    assert any(name.startswith("scores") for row in wandb["history"].values() for name in row)
    scores = json.loads((run / "scores.json").read_text())
    assert scores["run"]["tracking_id"] == identity.run_id
    assert (run / "figures" / "panel-0001.png").exists()


@pytest.mark.slow
def test_a_killed_run_stays_one_run(commands: Commands) -> None:
    """Killed after its third epoch, resumed: no gap, no double row, one run of W&B."""
    longer = "training.epochs=6"
    arguments = [*commands.recipe, *BOARDS, longer]
    process = start_training(arguments, commands.folder / "log.txt", environment=OFFLINE)
    while process.is_alive():
        paths = list(commands.folder.glob("runs/tiny/*/metrics.csv"))
        if paths and len(paths[0].read_text().splitlines()) > 3:
            break
        time.sleep(0.02)
    process.kill()
    process.join()
    train_on_boards(commands, longer)
    check_boards(commands.run_directory(), 6)


def test_a_panel_shows_the_middle() -> None:
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    truth = np.zeros((10, 10), np.uint8)
    truth[4:6, 4:6] = 1
    panel = Panel(image[None], truth, lambda pixels: np.concatenate([pixels, 255 - pixels]), side=4)

    def all_background(pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.shape == (1, 2, 4, 4)
        return torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)

    picture = panel(all_background, torch.device("cpu"))
    assert picture.shape == (4, 4 * 4, 3)
    assert picture.dtype == np.uint8
    middle = image[3:7, 3:7]
    np.testing.assert_array_equal(picture[:, :4, 0], middle)
    # Nothing was predicted.
    np.testing.assert_array_equal(picture[:, 8:12, 1], middle)
    np.testing.assert_array_equal(picture[:, 12:, 2], 255 - middle)
    # The truth is coloured where there is a class, and grey elsewhere.
    assert (picture[1:3, 5:7] != picture[1:3, 1:3]).any()
    np.testing.assert_array_equal(picture[0, 4:8], picture[0, :4])
