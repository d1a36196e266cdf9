"""What this machine is: device, cores, precision, versions; and the one pool of worker processes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fibseg.errors import FibsegError

if TYPE_CHECKING:  # torch is imported by what needs it: results are read without
    import torch


@dataclass(frozen=True)
class Compute:
    """What a network computes with.

    Attributes:
        device: where the network is.
        precision: "32", or "bf16" for half precision.
        batch_size: windows of 256 x 256 at once, or tiles of as many pixels.
        processes: worker processes that filter slices or windows.
    """

    device: torch.device
    precision: str
    batch_size: int
    processes: int


def choose_device(wanted: str) -> torch.device:
    """The device of a configuration: "auto" is the first GPU, else the CPU.

    Raises:
        FibsegError: a GPU is asked for that is not there.
    """
    import torch

    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise FibsegError(
            f"device {wanted}: {torch.cuda.device_count()} GPUs are visible here; use cpu or auto."
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def cores() -> int:
    """Cores of the CPU that this process may use."""
    return len(os.sched_getaffinity(0))


def set_threads(wanted: int | None) -> int:
    """Let torch use this many cores, for None all that this process may use; gives the number."""
    import torch

    torch.set_num_threads(wanted or cores())
    return torch.get_num_threads()


def choose_precision(wanted: str, device: torch.device, depthwise: bool) -> str:
    """The precision of a configuration: "auto" is "bf16" where the device gains from it, else "32".

    A CPU gains with AVX512-BF16 or AMX, on others bf16 is emulated; and none gains with depthwise
    convolutions, whose backward pass is twice as slow in bf16 (`python -m benchmarks.networks`
    measures both). The choice follows from the device and the network alone, not from a timing at
    the start, so that a command repeated on a busy machine takes the same arithmetic.
    """
    import torch

    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    able = torch.cpu.get_capabilities()
    fast = able.get("avx512_bf16") or able.get("amx_bf16")
    return "bf16" if fast and not depthwise else "32"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on.

    "commit" is there where fibseg runs from a git checkout, with "-dirty" if it is changed.
    """
    return _commit() | {
        "fibseg": version("fibseg"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("pytorch-lightning"),
        "timm": version("timm"),
        "scikit-learn": version("scikit-learn"),
        "numba": version("numba"),
    }


def _commit() -> dict[str, str]:
    here = Path(__file__)
    is_tracked = ["ls-files", "--error-unmatch", here.name]
    describe = ["describe", "--always", "--dirty", "--abbrev=12"]
    try:
        for command in (is_tracked, describe):
            answer = subprocess.run(
                ["git", *command],
                cwd=here.parent,
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": answer.stdout.strip()}


def start_workers(count: int) -> ProcessPoolExecutor:
    """Worker processes that end when this process has ended, however it does; see `stop_workers`.

    For more than one the calling script needs ``if __name__ == "__main__":``, because the workers
    import it.
    """
    # After a fork, a lock that a thread of torch held stays locked in the child for ever.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)


def stop_workers(pool: ProcessPoolExecutor) -> None:
    """End the workers; jobs that have not begun are dropped."""
    if pool._broken:
        # A worker that died may hold a lock that the others wait for, and they ignore SIGTERM.
        for process in list((pool._processes or {}).values()):
            process.kill()
    pool.shutdown(cancel_futures=True)


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """`start_workers` as a context that stops them."""
    pool = start_workers(count)
    try:
        yield pool
    finally:
        stop_workers(pool)


def _end_with_parent() -> None:
    """In a worker: ignore signals, which are the parent's to answer, and end when it has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait = multiprocessing.connection.wait
        sentinel = parent.sentinel
        threading.Thread(target=lambda: wait([sentinel]) and os._exit(1), daemon=True).start()
