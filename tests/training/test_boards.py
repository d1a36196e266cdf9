"""Boards that fail: one warning, and the run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fibseg.arrays import UInt8
from fibseg.errors import FibsegError
from fibseg.training.boards import Board, CarefulBoard, ScoresBySplit, check_boards
from fibseg.training.wandb_run import own_places
from tests.support import Commands


class Broken:
    """A board of which one method fails; keeps what was called."""

    def __init__(self, method: str):
        self.method = method
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.method:
            raise OSError("no place\nsecond line")

    def row(self, metrics: dict[str, float], epoch: int) -> None:
        self._call("row")

    def picture(self, pixels: UInt8, epoch: int) -> None:
        self._call("picture")

    def close(self, scores: ScoresBySplit) -> None:
        self._call("close")


def use(board: Board) -> None:
    """Two epochs, as a training does."""
    for epoch in range(2):
        board.row({"val_loss": 1.0}, epoch)
        board.picture(np.zeros((2, 2, 3), np.uint8), epoch)
    board.close({"test": {"a": 1.0}})


@pytest.mark.parametrize(
    ("method", "calls"),
    [
        ("row", ["row", "close"]),
        ("picture", ["row", "picture", "close"]),
        ("close", ["row", "picture", "row", "picture", "close", "close"]),
        ("none", ["row", "picture", "row", "picture", "close"]),
    ],
)
def test_a_board_that_fails_is_one_warning(method: str, calls: list[str]) -> None:
    broken = Broken(method)
    warnings: list[str] = []
    use(CarefulBoard("W&B", lambda: broken, warnings.append))
    # A board is closed whatever happened to it.
    assert broken.calls == calls
    assert len(warnings) == (method != "none")
    for warning in warnings:
        assert warning.startswith("warning: W&B ")
        assert "(no place); the run goes on without it" in warning


def test_a_board_that_cannot_be_opened_is_one_warning() -> None:
    def fail() -> Board:
        raise RuntimeError

    warnings: list[str] = []
    use(CarefulBoard("TensorBoard", fail, warnings.append))
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: TensorBoard cannot be opened (RuntimeError)")


def test_ctrl_c_is_no_failure_of_a_board() -> None:
    def interrupt() -> Board:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CarefulBoard("W&B", interrupt, print)


def test_boards_that_could_never_be_written_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "banana")
    check_boards(["csv", "tensorboard"])
    with pytest.raises(FibsegError, match=r"WANDB_MODE=banana: .*online, offline or disabled"):
        check_boards(["wandb"])
    for mode in ("online", "offline", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        check_boards(["wandb"])
    monkeypatch.setattr("fibseg.training.boards.find_spec", lambda _: None)
    with pytest.raises(FibsegError, match="pip install"):
        check_boards(["tensorboard"])


def test_a_wrong_mode_is_refused_before_the_training(commands: Commands) -> None:
    environment = os.environ | {"WANDB_MODE": "banana"}
    arguments = ["train.py", *commands.recipe, "logger=[wandb]"]
    commands.refused(commands.run(*arguments, env=environment), "WANDB_MODE=banana")
    assert not (commands.folder / "runs").exists()


def test_places_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CACHE_DIR", "/my/cache")
    monkeypatch.setenv("HOME", "/proc/nohome")
    before = dict(os.environ)
    with own_places(tmp_path):
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "wandb" / "data")
        assert os.environ["WANDB_CONFIG_DIR"] == str(tmp_path / "wandb" / "config")
        # What the user says goes.
        assert os.environ["WANDB_CACHE_DIR"] == "/my/cache"
    assert dict(os.environ) == before
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with own_places(tmp_path):
        # The user's own settings are read from there.
        assert "WANDB_CONFIG_DIR" not in os.environ
