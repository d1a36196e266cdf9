"""Tasks on Ray: a cluster of one node that has two GPUs on paper, and a Ray that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibseg.errors import FibsegError
from fibseg.sweeps import ray_pool
from fibseg.sweeps.job import Outcome, Task
from fibseg.sweeps.ray_pool import RayPool
from fibseg.sweeps.ray_session import FOLDER_PREFIX, MARK_VARIABLE
from tests.support import Commands
from tests.support.ray_tasks import end_badly, meeting, plan_tasks, processes_that_met
from tests.support.sweeps import (
    children_of,
    is_alive,
    processes_with,
    wait_until,
    wait_until_ended,
)

HEAD = """
import sys, ray
ray.init(
    address="local", num_cpus=3, num_gpus=2, include_dashboard=False, logging_level="ERROR",
    log_to_driver=False,
)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""

DRIVER = """
import sys
from pathlib import Path
from fibseg.config.messages import run_with_sentences
from fibseg.errors import FibsegError
from fibseg.sweeps.ray_pool import RayPool, ray

def drive():
    task = ray.cloudpickle.loads(Path(sys.argv[1]).read_bytes())
    pool = RayPool(runs_per_gpu=1, cores_per_run=None, gpus=0, retries=1, address=None)
    try:
        pool.start(task)
        while not pool.wait(pool.slots()):
            pass
    finally:
        pool.close()

sys.exit(run_with_sentences(drive, list))
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For TMPDIR: Ray's sockets lie below it, and paths of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="fs", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a Ray that somebody else has started."""
    with tempfile.TemporaryDirectory(prefix="fs", dir="/tmp") as name:
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": name, "RAY_AUTH_MODE": "disabled"},
            start_new_session=True,
        )
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.communicate("", timeout=60)


@pytest.fixture
def address(
    head: tuple[str, subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    short_folder: Path,
) -> str:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("TMPDIR", str(short_folder))
    return head[0]


def make_pool(address: str | None, **options: Any) -> RayPool:
    usual = {"runs_per_gpu": 1, "cores_per_run": None, "gpus": None, "retries": 1}
    return RayPool(address=address, **(usual | options))


def finish(pool: RayPool, tasks: list[Task]) -> list[Outcome | str]:
    """How each task ended."""
    numbers = [pool.start(task) for task in tasks]
    ended: dict[int, Outcome | str] = {}
    wait_until(lambda: ended.update(pool.wait(1)) or len(ended) == len(tasks))
    return [ended[number] for number in numbers]


def gpus_in_logs(tasks: list[Task]) -> list[str]:
    found = [re.search(r", GPU (.*), cores \[", task.directory.log.read_text()) for task in tasks]
    return sorted(match[1] for match in found if match)


@pytest.mark.slow
def test_each_run_gets_a_gpu_and_two_may_share_one(
    commands: Commands, address: str, tmp_path: Path
) -> None:
    for runs_per_gpu, expected in ((1, ["0", "1"]), (2, ["0", "0", "1", "1"])):
        pool = make_pool(address, runs_per_gpu=runs_per_gpu)
        try:
            assert pool.where == "2 GPUs, an even share of the cores each"
            assert pool.slots() == len(expected)
            function = meeting(tmp_path / str(runs_per_gpu), len(expected))
            tasks = plan_tasks(commands, function, len(expected))
            outcomes = finish(pool, tasks)
        finally:
            pool.close()
        errors = [outcome.result._return_value for outcome in outcomes]
        assert errors == [None] * len(tasks)
        assert gpus_in_logs(tasks) == expected
        for task in tasks:
            task.directory.log.unlink()


@pytest.mark.slow
def test_ends_of_tasks_on_a_cluster_that_stays(
    commands: Commands, head: tuple[str, subprocess.Popen[str]], address: str, tmp_path: Path
) -> None:
    pool = make_pool(address, gpus=0)
    try:
        assert (pool.slots(), pool.where) == (3, "3 cores, 1 cores each")
        killed, interrupted, failed = finish(pool, plan_tasks(commands, end_badly, 3))
        assert isinstance(killed, str) and "died" in killed
        assert interrupted == "stopped by a signal"
        assert isinstance(failed, Outcome)
        with pytest.raises(FibsegError, match=r"^no such value$"):
            failed.result.return_value  # noqa: B018
        (endless,) = plan_tasks(commands, meeting(tmp_path / "endless", 2), 1)
        pool.start(endless)
        wait_until(lambda: any(processes_that_met(tmp_path / "endless")))
    finally:
        pool.close()
    wait_until_ended(list(processes_that_met(tmp_path / "endless")))
    raylets = [number for number, name in children_of(head[1].pid).items() if "raylet" in name]
    assert raylets and all(map(is_alive, raylets))
    assert head[1].poll() is None


@contextmanager
def started_driver(
    commands: Commands, temporary: Path, folder: Path
) -> Iterator[subprocess.Popen[str]]:
    """A driver whose only task has begun to wait in vain; nothing of it is left behind."""
    (task,) = plan_tasks(commands, meeting(folder / "endless", 2), 1)
    (folder / "task").write_bytes(ray_pool.ray.cloudpickle.dumps(task))
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, folder / "task"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        wait_until(lambda: any(processes_that_met(folder / "endless")))
        (worker,) = processes_that_met(folder / "endless")
        variables = Path(f"/proc/{worker}/environ").read_text().split("\0")
        (mark,) = (text.partition("=")[2] for text in variables if text.startswith(MARK_VARIABLE))
        sessions = [place / f"{FOLDER_PREFIX}{mark}" for place in (temporary, Path("/tmp"))]
        assert sum(session.is_dir() for session in sessions) == 1
        yield driver
    finally:
        driver.kill()
        driver.communicate()
    wait_until(lambda: not processes_with(temporary), 20)
    assert not any(session.exists() for session in sessions)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_ray_itself_killed(
    commands: Commands, short_folder: Path, tmp_path: Path, name: str
) -> None:
    with started_driver(commands, short_folder, tmp_path) as driver:
        (target,) = (n for n, program in children_of(driver.pid).items() if name in program)
        os.kill(target, signal.SIGKILL)
        _, errors = driver.communicate(timeout=60)
    assert errors.startswith("error: Ray was stopped")
    assert errors.endswith("; run the same command again to resume.\n")
    assert len(errors.splitlines()) == 1
    assert driver.returncode == 2


@pytest.mark.slow(seconds=8)
def test_a_driver_that_is_told_to_end(
    commands: Commands, short_folder: Path, tmp_path: Path
) -> None:
    """Ray's own answer to SIGTERM is a dump of the stack and an abort.

    The temporary folder has the name that a cluster gives, too long for sockets.
    """
    temporary = short_folder / f"slurm_jobdir_1355700_{'x' * 60}"
    temporary.mkdir()
    with started_driver(commands, temporary, tmp_path) as driver:
        driver.terminate()
        _, errors = driver.communicate(timeout=60)
    assert errors == "interrupted; the same command goes on where it stopped.\n"
    assert driver.returncode == 143


def test_no_run_is_blamed_where_ray_itself_was_stopped() -> None:
    """On this machine every attempt would die at once; on a cluster other nodes are left."""
    exceptions = ray_pool.ray.exceptions
    raylet_died = exceptions.LocalRayletDiedError()
    node_died = exceptions.NodeDiedError("gone")
    for local, errors in ((True, [raylet_died, node_died]), (False, [raylet_died])):
        pool = object.__new__(RayPool)
        pool.local = local
        for error in errors:
            with pytest.raises(FibsegError, match=r"Ray was stopped .*; run the same command"):
                pool._require_not_lost(error)
        pool._require_not_lost(exceptions.WorkerCrashedError())
    pool._require_not_lost(node_died)


@pytest.mark.parametrize(
    ("nodes", "gpus", "slots", "cores"),
    [
        ([{"CPU": 64, "GPU": 8}], None, 24, 1),
        ([{"CPU": 4}, {"CPU": 64, "GPU": 8}, {"CPU": 16, "GPU": 2}], None, 30, 1),
        # No GPU is wanted: one and 16 runs of four cores.
        ([{"CPU": 4}, {"CPU": 64, "GPU": 8}], 0, 17, 4),
        # A cluster that grows.
        ([{"CPU": 4}], 6, 18, 1),
        ([{"CPU": 2}, {"CPU": 7}, {}], None, 1, 4),
        ([{}], None, 1, 1),
    ],
)
def test_slots_of_clusters_of_any_nodes(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, int]],
    gpus: int | None,
    slots: int,
    cores: int,
) -> None:
    listed = [{"Alive": True, "Resources": node} for node in nodes]
    listed.append({"Alive": False, "Resources": {"CPU": 99}})
    monkeypatch.setattr(ray_pool, "ray", SimpleNamespace(nodes=lambda: listed))
    monkeypatch.setattr(ray_pool, "ray_errors_as_sentences", lambda _: nullcontext())
    monkeypatch.setattr(RayPool, "_connect", lambda *_: None)
    cores_per_run = None if cores == 1 else 4
    pool = make_pool("x:1", runs_per_gpu=3, cores_per_run=cores_per_run, gpus=gpus)
    assert (pool.slots(), pool.cores_needed) == (slots, cores)
