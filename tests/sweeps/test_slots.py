"""Places on a machine: no two runs on one core, whatever sweeps they belong to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fibseg.errors import FibsegError
from fibseg.sweeps import slots as _slots
from fibseg.sweeps.ray_pool import RayPool
from fibseg.sweeps.slots import own_place, require_gpu

HOLD = """
import sys, time
from hydra_plugins.fibseg_launcher import _slots
import os
os.sched_getaffinity = lambda _: set(range(4))
os.sched_setaffinity = lambda *_: None
gpu, *numbers = eval(sys.argv[1])
with _slots.own_place(gpu, *numbers) as place:
    print(place, flush=True)
    sys.stdin.read()
"""


class Machine:
    """Four cores that processes of their own take, each as own_place is told."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def take(
        self, gpu: str | None, runs_per_gpu: int, runs_here: int, cores: int
    ) -> subprocess.Popen[str]:
        arguments = repr((gpu, runs_per_gpu, runs_here, cores))
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
def machine(tmp_path: Path) -> Any:
    found = Machine(tmp_path)
    yield found
    for process in found.processes:
        process.kill()
        process.communicate()


def place(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_sweeps_with_other_numbers_of_cores_do_not_meet(machine: Machine) -> None:
    assert place(machine.take(None, 1, 1, 1)) == "cores [0]"
    assert place(machine.take(None, 1, 1, 2)) == "cores [1, 2]"
    waits = machine.take(None, 1, 1, 2)
    assert place(machine.take(None, 1, 1, 1)) == "cores [3]"
    time.sleep(0.5)
    assert waits.poll() is None
    machine.processes[1].kill()  # a killed process gives its place back
    assert place(waits) == "cores [1, 2]"


def test_more_runs_than_cores_share_them_evenly(machine: Machine) -> None:
    """Six runs on one GPU of a machine with four cores: one core each, two of them twice."""
    places = [place(machine.take("0", 6, 6, 1)) for _ in range(6)]
    assert places == [f"GPU 0, cores [{core}]" for core in (0, 1, 2, 3, 0, 1)]


def test_a_gpu_has_so_many_places_and_no_more(machine: Machine) -> None:
    assert [place(machine.take("1", 2, 4, 1)) for _ in range(2)] == [
        "GPU 1, cores [0]",
        "GPU 1, cores [1]",
    ]
    waits = machine.take("1", 2, 4, 1)
    assert place(machine.take("0", 2, 4, 1)) == "GPU 0, cores [2]"
    machine.processes[0].kill()
    assert place(waits) == "GPU 1, cores [0]"


def test_a_run_stays_on_its_cores_and_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_slots.tempfile, "gettempdir", lambda: str(tmp_path))
    before = os.sched_getaffinity(0)
    for _ in range(2):
        with own_place(None, 1, 1, 1) as text:
            assert os.sched_getaffinity(0) == {min(before)}
            assert text == f"cores [{min(before)}]"
        assert os.sched_getaffinity(0) == before
    with own_place(None, 1, 1, 1000):
        assert os.sched_getaffinity(0) == before


def test_a_gpu_that_torch_does_not_see_is_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_gpu("cpu")
    with pytest.raises(FibsegError, match="torch sees no GPU here, though this run was given one"):
        require_gpu("auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    require_gpu("auto")


@pytest.mark.parametrize(
    ("nodes", "asked", "slots", "cores"),
    [
        ([{"CPU": 64, "GPU": 8}], None, 24, 1),
        ([{"CPU": 4}, {"CPU": 64, "GPU": 8}, {"CPU": 16, "GPU": 2}], None, 30, 1),
        ([{"CPU": 4}, {"CPU": 64, "GPU": 8}], 0, 17, 4),  # no GPU wanted: 1 + 16 runs of four cores
        ([{"CPU": 4}], 6, 18, 1),  # a cluster that grows
        ([{"CPU": 2}, {"CPU": 7}, {}], None, 1, 4),
        ([{}], None, 1, 1),
    ],
)
def test_slots_of_clusters_of_any_nodes(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, int]],
    asked: int | None,
    slots: int,
    cores: int,
) -> None:
    listed = [{"Alive": True, "Resources": node} for node in nodes] + [
        {"Alive": False, "Resources": {"CPU": 99}}
    ]
    monkeypatch.setattr("fibseg.sweeps.ray_pool.ray", SimpleNamespace(nodes=lambda: listed))
    monkeypatch.setattr(RayPool, "_connect", lambda *_: None)
    monkeypatch.setattr("fibseg.sweeps.ray_pool.told", lambda _: nullcontext())
    pool = RayPool(
        runs_per_gpu=3,
        cores_per_run=None if cores == 1 else 4,
        gpus=asked,
        retries=1,
        address="x:1",
    )
    assert (pool.slots(), pool.cores_needed) == (slots, cores)
