"""Devices and precision as configured, and worker processes that outlive nobody."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from fibseg.machine import (
    cores,
    rounds_to_tf32,
    set_threads,
    versions,
    worker_pool,
)
from tests.support.processes import has_ended, start_python, worker_dies


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, fibseg.machine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_threads_default_to_the_cores_of_this_process() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        assert cores() == len(os.sched_getaffinity(0))
        assert set_threads(None) == cores() == torch.get_num_threads()
        assert set_threads(1) == 1 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_versions_name_what_results_depend_on() -> None:
    found = versions()
    assert {"fibseg", "python", "torch", "lightning", "timm", "scikit-learn", "numba"} <= set(found)
    assert all(value for value in found.values())


def test_workers_compute_in_other_processes_and_end_with_the_block() -> None:
    with worker_pool(2) as pool:
        numbers = {future.result() for future in [pool.submit(os.getpid) for _ in range(4)]}
        assert os.getpid() not in numbers
    assert all(has_ended(number) for number in numbers)


def test_an_exception_in_the_block_ends_the_workers() -> None:
    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        number = pool.submit(os.getpid).result()
        raise KeyboardInterrupt
    assert has_ended(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_workers_leave_signals_to_their_parent(number: signal.Signals) -> None:
    """Ctrl-C reaches every process of a terminal, and a scheduler signals a whole job."""
    with worker_pool(1) as pool:
        worker = pool.submit(os.getpid).result()
        os.kill(worker, number)
        assert pool.submit(os.getpid).result() == worker


PARENT = """
import os, time
from fibseg.machine import worker_pool
if __name__ == "__main__":
    with worker_pool(2) as pool:
        busy = [pool.submit(time.sleep, 60) for _ in range(2)]
        print(*pool._processes, flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_when_their_parent_is_killed(end: signal.Signals) -> None:
    """Idle or busy, and even while they are still starting."""
    with start_python(PARENT) as parent:
        assert parent.stdout is not None
        workers = [int(number) for number in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert not any(has_ended(number, 0.1) for number in workers)
        parent.send_signal(end)
        parent.wait()
    assert all(has_ended(number) for number in workers)


def test_a_broken_pool_stops() -> None:
    """The worker that is left is at work and ignores SIGTERM, with which a broken pool ends it."""
    with worker_pool(2) as pool:
        number = pool.submit(os.getpid).result()
        start = time.monotonic()
        busy = pool.submit(time.sleep, 60)
        with pytest.raises(BrokenProcessPool):
            pool.submit(worker_dies).result()
        workers = list(pool._processes)
        assert number in workers and len(workers) == 2
    assert time.monotonic() - start < 30
    assert busy.done()
    assert all(has_ended(worker) for worker in workers)


def test_jobs_that_have_not_begun_are_dropped() -> None:
    with worker_pool(1) as pool:
        pool.submit(os.getpid).result()
        jobs = [pool.submit(os.getpid) for _ in range(200)]
    assert any(job.cancelled() for job in jobs)


@pytest.mark.parametrize(
    ("device", "precision", "generation", "allowed", "rounds"),
    [
        ("cuda", "32", 8, True, True),
        ("cuda", "32", 9, True, True),
        ("cuda", "32", 7, True, False),
        ("cuda", "32", 8, False, False),
        ("cuda", "bf16", 8, True, False),
        ("cpu", "32", 8, True, False),
    ],
)
def test_what_32_bits_are_on_a_device(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    precision: str,
    generation: int,
    allowed: bool,
    rounds: bool,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (generation, 0))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert rounds_to_tf32(torch.device(device), precision) == rounds
