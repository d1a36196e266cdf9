"""Boards that show the figures of a run while it trains: TensorBoard and Weights & Biases.

Here: how each board takes figures, pictures and final scores. Not here: what is shown, and when
(`fibseg.training.tracking`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from fibseg.arrays import UInt8
from fibseg.config.schemas import TrainConfig
from fibseg.errors import FibsegError
from fibseg.runs.directory import RunDirectory
from fibseg.training.wandb_run import check_wandb_mode, own_places, start_wandb_run

ScoresBySplit = dict[str, dict[str, float]]
"""Split -> class -> mean F1 of the slices."""


class Board(Protocol):
    """A place where figures are shown."""

    def row(self, metrics: dict[str, float], epoch: int) -> None:
        """Add the figures of an epoch."""

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Add an RGB picture (H, W, 3)."""

    def close(self, scores: ScoresBySplit) -> None:
        """Add the final scores, if there are any, and close the board."""


class TensorBoard:
    """Writes event files of TensorBoard."""

    def __init__(self, folder: Path):
        """Open an empty folder; files of an earlier start of the run are deleted."""
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))

    def row(self, metrics: dict[str, float], epoch: int) -> None:
        """Add one scalar per figure."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, epoch)
        # After a kill the epochs up to this one are on the disk.
        self._writer.flush()

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Add a picture (H, W, 3) under the name "panel"."""
        self._writer.add_image("panel", pixels, epoch, dataformats="HWC")

    def close(self, scores: ScoresBySplit) -> None:
        """Add the scores as scalars at step 0, and close the files."""
        for split, f1_by_class in scores.items():
            for name, f1 in f1_by_class.items():
                self._writer.add_scalar(f"{split}_f1/{name}", f1, 0)
        self._writer.close()


class Wandb:
    """Logs to a run of W&B, whose group is the configuration without the seed."""

    def __init__(
        self,
        run: RunDirectory,
        identity: dict[str, Any],
        config: dict[str, Any],
        report: Callable[[str], None],
    ):
        """Start the run of W&B, or resume it where it is online.

        Args:
            run: directory of the run; W&B writes to its folder "wandb".
            identity: project, entity, group, name, id and tags, as `wandb_identity` makes them.
            config: configuration and provenance, shown beside the figures.
            report: prints what a person should know.
        """
        self._folder = run.path
        # An offline run cannot be resumed: it is written again from metrics.csv, in one piece.
        for folder in (run.path / "wandb").glob(f"offline-run-*-{identity['id']}"):
            shutil.rmtree(folder, ignore_errors=True)
        arguments = {"config": config, **identity}
        with own_places(run.path):
            self._run, online = start_wandb_run(run.path, arguments, resume=True, report=report)
        # Epochs that an online run holds already are not sent a second time.
        self._first_epoch = self._run.step if online else 0

    def row(self, metrics: dict[str, float], epoch: int) -> None:
        """Add figures at the step that is the epoch."""
        if epoch >= self._first_epoch:
            with own_places(self._folder):
                self._run.log(metrics, step=epoch)

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Add a picture (H, W, 3) under the name "panel"."""
        import wandb

        if epoch >= self._first_epoch:
            with own_places(self._folder):
                self._run.log({"panel": wandb.Image(Image.fromarray(pixels))}, step=epoch)

    def close(self, scores: ScoresBySplit) -> None:
        """Add the scores as summary and as a table, and finish the run of W&B."""
        try:
            with own_places(self._folder):
                self._add_scores(scores)
        finally:
            # Else the next run of this process would log to this one.
            with own_places(self._folder):
                self._run.finish()

    def _add_scores(self, scores: ScoresBySplit) -> None:
        import wandb

        if scores:
            for split, f1_by_class in scores.items():
                summary = {f"{split}_f1/{name}": f1 for name, f1 in f1_by_class.items()}
                self._run.summary.update(summary)
            table = wandb.Table(columns=["class", *scores])
            for name in next(iter(scores.values())):
                table.add_data(name, *(f1_by_class[name] for f1_by_class in scores.values()))
            self._run.log({"scores": table})


class CarefulBoard:
    """A board that may fail: the first failure is a warning, and the run goes on without it.

    The figures are in metrics.csv and scores.json, so that a board is never worth a run.
    """

    def __init__(self, name: str, open_board: Callable[[], Board], report: Callable[[str], None]):
        """Open a board, if that is possible.

        Args:
            name: of the board, for the warning.
            open_board: opens it.
            report: prints the warning.
        """
        self._name = name
        self._report = report
        self._board: Board | None = None
        with self._only_warn("cannot be opened"):
            self._board = open_board()

    def row(self, metrics: dict[str, float], epoch: int) -> None:
        """Add the figures of an epoch."""
        if self._board is not None:
            with self._only_warn("cannot be written"):
                self._board.row(metrics, epoch)

    def picture(self, pixels: UInt8, epoch: int) -> None:
        """Add an RGB picture (H, W, 3)."""
        if self._board is not None:
            with self._only_warn("cannot be written"):
                self._board.picture(pixels, epoch)

    def close(self, scores: ScoresBySplit) -> None:
        """Add the final scores, if there are any, and close the board."""
        if self._board is not None:
            with self._only_warn("lacks the final scores"):
                self._board.close(scores)
            self._board = None

    @contextmanager
    def _only_warn(self, problem: str) -> Iterator[None]:
        try:
            yield
        # Whatever a library raises: its board is no part of the run.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._report(
                f"warning: {self._name} {problem} ({reason}); the run goes on without it, and its "
                "figures are in metrics.csv and scores.json."
            )
            board = self._board
            self._board = None
            # What was opened ends with the run, even if it cannot say why not.
            if board is not None:
                with suppress(Exception):
                    board.close({})


def check_boards(names: Sequence[str]) -> None:
    """Look for what would keep a board from ever being written, before anything is trained.

    Raises:
        FibsegError: a board is not installed, or WANDB_MODE is none of W&B's.
    """
    if "tensorboard" in names and find_spec("tensorboard") is None:
        raise FibsegError(
            "logger=[tensorboard]: TensorBoard is not installed; pip install 'fibseg[tensorboard]'."
        )
    if "wandb" in names:
        check_wandb_mode()


def open_boards(
    names: Sequence[str],
    run: RunDirectory,
    identity: dict[str, Any],
    config: dict[str, Any],
    report: Callable[[str], None],
) -> list[Board]:
    """Open the boards that the key `logger` names.

    Args:
        names: values of `logger`; "csv" opens no board, because metrics.csv is always written.
        run: directory of the run.
        identity: of the run of W&B, from `wandb_identity`.
        config: configuration and provenance, which W&B shows.
        report: prints what a person should know.

    Returns:
        The boards, without any where `names` holds neither "tensorboard" nor "wandb".
    """
    makers: dict[str, Callable[[], Board]] = {
        "tensorboard": lambda: TensorBoard(run.path / "tensorboard"),
        "wandb": lambda: Wandb(run, identity, config, report),
    }
    titles = {"tensorboard": "TensorBoard", "wandb": "W&B"}
    return [
        CarefulBoard(titles[name], make, report) for name, make in makers.items() if name in names
    ]


def wandb_identity(config: TrainConfig, run_name: str, tracking_id: str) -> dict[str, Any]:
    """Name a run on W&B, as arguments of `wandb.init`.

    The group is the name of the run directory without the seed, so that W&B can show mean and
    spread over seeds. `tracking_id` is the same for every start of a run, which makes them one.
    """
    tracking = config.tracking
    return {
        "project": tracking.project,
        "entity": tracking.entity,
        "id": tracking_id,
        "name": run_name,
        "group": run_name.replace(f"-s{config.seed}-", "-"),
        "tags": [
            config.data.name,
            config.model.architecture,
            f"filter {config.filter.name}",
            *tracking.tags,
        ],
    }
