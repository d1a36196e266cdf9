"""Slots of a machine: no two runs on one core, whatever sweeps they belong to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.sweeps import slots
from fibseg.sweeps.slots import require_gpu, reserved_slot

HOLD = """
import json, os, sys
from fibseg.sweeps.slots import reserved_slot
os.sched_getaffinity = lambda _: set(range(4))
os.sched_setaffinity = lambda *_: None
with reserved_slot(*json.loads(sys.argv[1])) as description:
    print(description, flush=True)
    sys.stdin.read()
"""


class Machine:
    """Four cores, which processes take as if they were runs of several sweeps."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def take(
        self, gpu: str | None, runs_per_gpu: int, runs_here: int, cores: int
    ) -> subprocess.Popen[str]:
        arguments = json.dumps([gpu, runs_per_gpu, runs_here, cores])
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(self.folder)},
        )
        self.processes.append(process)
        return process


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    four_cores = Machine(tmp_path)
    yield four_cores
    for process in four_cores.processes:
        process.kill()
        process.communicate()


def slot_of(process: subprocess.Popen[str]) -> str:
    """Its description, as soon as the process has it."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_sweeps_with_different_numbers_of_cores_share_none(machine: Machine) -> None:
    assert slot_of(machine.take(None, 1, 1, 1)) == "cores [0]"
    assert slot_of(machine.take(None, 1, 1, 2)) == "cores [1, 2]"
    waits = machine.take(None, 1, 1, 2)
    assert slot_of(machine.take(None, 1, 1, 1)) == "cores [3]"
    time.sleep(0.5)
    assert waits.poll() is None
    # A killed process gives its cores back.
    machine.processes[1].kill()
    assert slot_of(waits) == "cores [1, 2]"


def test_more_runs_than_cores_share_them_evenly(machine: Machine) -> None:
    """Six runs on one GPU of a machine with four cores: one core each, two of them twice."""
    descriptions = [slot_of(machine.take("0", 6, 6, 1)) for _ in range(6)]
    assert descriptions == [f"GPU 0, cores [{core}]" for core in (0, 1, 2, 3, 0, 1)]


def test_a_gpu_takes_so_many_runs_and_no_more(machine: Machine) -> None:
    assert [slot_of(machine.take("1", 2, 4, 1)) for _ in range(2)] == [
        "GPU 1, cores [0]",
        "GPU 1, cores [1]",
    ]
    waits = machine.take("1", 2, 4, 1)
    assert slot_of(machine.take("0", 2, 4, 1)) == "GPU 0, cores [2]"
    machine.processes[0].kill()
    assert slot_of(waits) == "GPU 1, cores [0]"


def test_a_run_stays_on_its_cores_and_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    before = os.sched_getaffinity(0)
    for _ in range(2):
        with reserved_slot(None, 1, 1, 1) as description:
            assert os.sched_getaffinity(0) == {min(before)}
            assert description == f"cores [{min(before)}]"
        assert os.sched_getaffinity(0) == before
    with reserved_slot(None, 1, 1, 1000):
        assert os.sched_getaffinity(0) == before


def test_a_gpu_that_torch_does_not_see_is_not_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_gpu("cpu")
    with pytest.raises(FibsegError, match="torch sees no GPU, though this run was given one"):
        require_gpu("auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require_gpu("auto")
