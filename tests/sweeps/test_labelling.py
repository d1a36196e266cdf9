"""The driver of a prediction with a pool that is made up: who is started, and what is printed."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.utils import JobReturn, JobStatus
from rich.console import Console

from fibseg.config.compose import predict_defaults
from fibseg.config.schemas import PredictConfig
from fibseg.errors import FibsegError
from fibseg.prediction.output.outputs import started_folder
from fibseg.stack import write_stack
from fibseg.sweeps import labelling
from fibseg.sweeps.job import Outcome, failed_outcome
from fibseg.sweeps.labelling import LabellingTask, Prediction

DEPTH = 40


def ended(is_finished: bool) -> Outcome:
    return Outcome(JobReturn(status=JobStatus.COMPLETED, _return_value=is_finished))


class MadeUpPool:
    """Three slots; at each `wait` the tasks end as the next step of a test says."""

    where = "here"
    retries = 1

    def __init__(self, *steps: Callable[[], dict[int, Outcome | str]]):
        self.steps = list(steps)
        self.tasks: list[LabellingTask] = []
        self.counts: list[int] = []

    def slots(self) -> int:
        return 3

    def start(self, task: Any) -> int:
        self.tasks.append(task)
        return len(self.tasks) - 1

    def wait(self, seconds: float) -> dict[int, Outcome | str]:
        self.counts.append(len(self.tasks))
        return self.steps.pop(0)()

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(labelling.time, "sleep", lambda _: None)
    return io.StringIO()


@pytest.fixture
def prediction(tmp_path: Path, printed: io.StringIO) -> Prediction:
    write_stack(tmp_path / "image.tif", np.zeros((DEPTH, 8, 8), np.uint8))
    return Prediction(config_of(tmp_path), Console(file=printed, width=300, soft_wrap=True))


def config_of(folder: Path, **changes: str) -> PredictConfig:
    values = {key: value for key, value in predict_defaults().items() if key != "hydra"}
    del values["defaults"]
    values |= {"checkpoint": "a", "image": str(folder / "image.tif")}
    return PredictConfig(**(values | {"output": str(folder / "out.zarr")} | changes))


def finish_slices(folder: Path, count: int) -> None:
    """The files of slices that are finished, and of a prediction that has begun."""
    started = started_folder(folder / "out.zarr")
    started.mkdir(exist_ok=True)
    (started / "identity.json").touch()
    for z in range(count):
        (started / f"{z:06d}.json").touch()


def test_the_first_process_begins_alone_and_then_all_slots_are_used(
    prediction: Prediction, tmp_path: Path, printed: io.StringIO
) -> None:
    def begin() -> dict[int, Outcome | str]:
        finish_slices(tmp_path, 0)
        pool.tasks[0].log.write_text("--- 2026, process 1\nabout 3 s\nslice 4 of 40\nhalf")
        return {}

    def print_the_same() -> dict[int, Outcome | str]:
        pool.tasks[1].log.write_text("about 3 s\nwarning: doubtful\n")
        with pool.tasks[0].log.open("a") as log:
            log.write(" a line\n40 of 40 slices are labelled already\n")
        return {}

    def nearly_done() -> dict[int, Outcome | str]:
        finish_slices(tmp_path, DEPTH - 1)
        return {0: ended(False)}

    pool = MadeUpPool(begin, print_the_same, nearly_done, lambda: {2: ended(True)})
    result = prediction.drive(pool, ["image=a"])
    assert (result.status, result.overrides) == (JobStatus.COMPLETED, ["image=a"])
    # Nothing is left for a third process to do.
    assert pool.counts == [1, 3, 3, 3]
    lines = printed.getvalue().splitlines()
    assert [line for line in lines if not line.startswith("slice ")] == [
        "about 3 s",
        "half a line",
        "warning: doubtful",
    ]
    assert prediction.folder.exists()
    prediction.remove_logs()
    assert not prediction.folder.exists()


def test_processes_that_die_are_replaced_while_something_comes_of_it(
    prediction: Prediction, tmp_path: Path, printed: io.StringIO
) -> None:
    finish_slices(tmp_path, 0)

    def die_after(count: int, number: int) -> Callable[[], dict[int, Outcome | str]]:
        def step() -> dict[int, Outcome | str]:
            finish_slices(tmp_path, count)
            return {number: "killed"}

        return step

    getting_on = [die_after(count, number) for number, count in enumerate((1, 2, 3, 4))]
    pool = MadeUpPool(*getting_on, die_after(4, 4))
    result = prediction.drive(pool, [])
    assert pool.counts == [3, 4, 5, 6, 7]
    assert printed.getvalue().count("a process died (killed); others take its slices\n") == 5
    with pytest.raises(FibsegError, match=r"^2 processes died one after the other; killed, or out"):
        result.return_value  # noqa: B018
    prediction.remove_logs()
    assert prediction.folder.exists()


def test_a_mistake_is_reported_once_and_a_bad_node_is_left_out(
    prediction: Prediction, tmp_path: Path, printed: io.StringIO
) -> None:
    failed = failed_outcome(FibsegError("torch sees no GPU."))
    result = prediction.drive(MadeUpPool(lambda: {0: failed}), [])
    with pytest.raises(FibsegError, match=r"^torch sees no GPU\.$"):
        result.return_value  # noqa: B018
    finish_slices(tmp_path, 0)
    again = Prediction(config_of(tmp_path), Console(file=printed, width=300))
    pool = MadeUpPool(lambda: {1: failed}, lambda: {}, lambda: {0: ended(True)})
    assert again.drive(pool, []).status == JobStatus.COMPLETED
    assert pool.counts == [3, 3, 3]
    assert "warning: a process failed: torch sees no GPU." in printed.getvalue()


def test_what_is_wrong_is_noticed_before_a_pool_is_made(tmp_path: Path) -> None:
    console = Console(quiet=True)
    with pytest.raises(FibsegError, match=r"image.tif: no such file"):
        Prediction(config_of(tmp_path), console)
    write_stack(tmp_path / "image.tif", np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(FibsegError, match=r"out.png: stacks are written as"):
        Prediction(config_of(tmp_path, output=str(tmp_path / "out.png")), console)


def test_a_job_that_starts_after_the_others_have_finished_reads_nothing(tmp_path: Path) -> None:
    task = LabellingTask(config_of(tmp_path), tmp_path / "gone" / "0.txt", tmp_path)
    outcome = task.run(None)  # type: ignore[arg-type]
    assert outcome.result.return_value is False and not list(tmp_path.iterdir())


def test_one_worker_that_has_finished_is_enough(prediction: Prediction) -> None:
    """Another one comes too late to be the last, and says no in the same breath."""
    pool = MadeUpPool(lambda: {0: ended(True), 1: ended(False)})
    assert prediction.drive(pool, []).status == JobStatus.COMPLETED


def test_workers_that_get_nothing_are_not_started_for_ever(
    prediction: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fibseg.sweeps.labelling._FRUITLESS_PAUSE", 0.0)
    pool = MadeUpPool(*(partial(lambda k: {k: ended(False)}, k) for k in range(20)))
    result = prediction.drive(pool, [])
    assert result.status == JobStatus.FAILED
    with pytest.raises(FibsegError, match="no slice is free"):
        result.return_value  # noqa: B018
    assert pool.counts[-1] < 8


def test_a_bad_node_does_not_take_the_place_of_the_last_block(
    prediction: Prediction, tmp_path: Path
) -> None:
    failed = failed_outcome(FibsegError("torch sees no GPU."))
    finish_slices(tmp_path, 0)

    def all_but_one_block() -> dict[int, Outcome | str]:
        finish_slices(tmp_path, DEPTH - 1)
        return {0: failed, 1: ended(False), 2: ended(False)}

    pool = MadeUpPool(all_but_one_block, lambda: {3: ended(True)})
    assert prediction.drive(pool, []).status == JobStatus.COMPLETED
