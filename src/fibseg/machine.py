"""The machine that fibseg runs on: device, cores, precision, versions, worker processes.

Here: the one pool of worker processes of the project. Not here: what the workers compute, slots and
machines of a sweep (`fibseg.sweeps`).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fibseg.errors import FibsegError, Terminated

# Results are read, and `--help` is printed, without the seconds that importing torch takes.
if TYPE_CHECKING:
    import torch
    from rich.console import Console


@dataclass(frozen=True)
class Compute:
    """What a network computes with.

    Attributes:
        device: the device of the network.
        precision: "32", or "bf16" for half precision.
        batch_size: windows of 256 x 256 pixels in a batch, or tiles of as many pixels.
        filter_threads: slices or windows that are filtered at a time.
        memory_share: share of the machine's memory that the process may plan with, where others
            work beside it.
    """

    device: torch.device
    precision: str
    batch_size: int
    filter_threads: int
    memory_share: float = 1.0


def choose_device(setting: str) -> torch.device:
    """Choose the device of a configuration: "auto" is the first GPU, or the CPU without one.

    Raises:
        FibsegError: the configuration names a GPU that is not there.
    """
    import torch

    if setting == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(setting)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise FibsegError(
            f"device {setting}: {torch.cuda.device_count()} GPUs are visible here; use cpu or auto."
        )
    # With its index: torch takes "cuda" and "cuda:0" for two devices when it compares them.
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def device_name(device: torch.device) -> str | None:
    """What the maker calls a GPU; None for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def cores() -> int:
    """Count the CPU cores that this process may use."""
    # os.cpu_count counts the machine's cores, which a container or a scheduler may not grant.
    return len(os.sched_getaffinity(0))


def free_memory() -> int:
    """Count the bytes of memory that a process can still take here."""
    # In kB. What the cache of files occupies counts as free.
    free = _numbers(Path("/proc/meminfo"))["MemAvailable:"] * 1024
    # A container or a scheduler may grant less than the machine has (cgroup, version 2).
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        files = _numbers(group / "memory.stat")
    # There is no group, or its limit is "max".
    except (OSError, ValueError):
        return free
    cache = files.get("active_file", 0) + files.get("inactive_file", 0)
    return max(0, min(free, limit - used + cache))


def _numbers(table: Path) -> dict[str, int]:
    """Read a table of the kernel: a name and a number in each line."""
    lines = [line.split() for line in table.read_text(encoding="ascii").splitlines()]
    return {cells[0]: int(cells[1]) for cells in lines}


def set_threads(count: int | None) -> int:
    """Let torch use `count` cores, or all that this process may use for None; return the number."""
    import torch

    torch.set_num_threads(count or cores())
    return torch.get_num_threads()


def choose_precision(setting: str, device: torch.device, depthwise: bool) -> str:
    """Choose the precision of a configuration: "auto" is "bf16" where that is faster, else "32".

    A CPU gains with AVX512-BF16 or AMX, on others bf16 is emulated; and none gains with depthwise
    convolutions (`depthwise`), whose backward pass is twice as slow in bf16 (`python -m
    benchmarks.networks` measures both). The choice follows from the device and the network alone,
    not from a timing at the start, so that a command repeated on a busy machine takes the same
    arithmetic.
    """
    import torch

    if setting != "auto":
        return setting
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return "bf16" if fast and not depthwise else "32"


def rounds_to_tf32(device: torch.device, precision: str) -> bool:
    """Whether convolutions of precision "32" round their factors to TF32 on a device.

    That is torch's default on GPUs from Ampere on (`torch.backends.cudnn.allow_tf32`): 10 bits of
    mantissa in place of 23, added up in float32. Matrix products keep 23 bits, and CPUs all bits.
    """
    import torch

    # The variable tells NVIDIA's libraries what torch's setting cannot.
    allowed = torch.backends.cudnn.allow_tf32 and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"
    if precision != "32" or device.type != "cuda" or not allowed:
        return False
    generation, _ = torch.cuda.get_device_capability(device)
    return generation >= _FIRST_WITH_TF32


_FIRST_WITH_TF32 = 8
"""Compute capability of Ampere."""


def arithmetic(device: torch.device, precision: str) -> str:
    """Say with what numbers a network computes: "32" may be less than 32 bits on a GPU."""
    return "32, convolutions in TF32" if rounds_to_tf32(device, precision) else precision


def versions() -> dict[str, str]:
    """Return the versions of the libraries that results depend on.

    "commit" is among them where fibseg runs from a git checkout, with "-dirty" if it was changed.
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
    """Return {"commit": ...} of the checkout that this file is tracked in, else {}."""
    source = Path(__file__)
    # Installed into a folder of some other project, fibseg must not take that one's commit.
    is_tracked = ["git", "ls-files", "--error-unmatch", source.name]
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        for command in (is_tracked, describe):
            answer = subprocess.run(
                command, cwd=source.parent, capture_output=True, text=True, timeout=20, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": answer.stdout.strip()}


TABLE_WIDTH = 140
"""Columns of a table where the output is a file or a pipe, which has no width."""


def table_console(width: int = TABLE_WIDTH, **options: Any) -> Console:
    """A Rich console for tables: as wide as the terminal, and `width` columns in a file.

    Rich takes 80 columns for a file, into which most tables do not fit. `options` are those of
    `rich.console.Console`.
    """
    console = plain_console(**options)
    if not console.is_terminal:
        console.width = width
    return console


def plain_console(**options: Any) -> Console:
    """A Rich console that prints a text as it is: names of users may look like its markup.

    `options` are those of `rich.console.Console`.
    """
    from rich.console import Console

    return Console(**{"markup": False, **options})


def print_line(console: Console, text: str) -> None:
    """Print a line as it is: a path is not coloured, broken or taken for markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_warnings(console: Console, doubts: Iterable[str]) -> None:
    """Print each doubt about a file or a result as a line that begins with "warning: "."""
    # Image and labels in one store may have the same doubt.
    for doubt in dict.fromkeys(doubts):
        print_line(console, f"warning: {doubt}")


def raise_terminated(*_: object) -> NoReturn:
    """Answer SIGTERM by an exception, so that files are removed as after Ctrl-C."""
    raise Terminated


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in a block; a process that has its own answer keeps it."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    # Python allows handlers in the main thread alone.
    if not is_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes for a block and stop them after it, whatever happens in it.

    They end when this process has ended, however it does; jobs that have not begun are dropped. The
    calling script needs ``if __name__ == "__main__":``, because the workers import it.
    """
    # After a fork, a lock that a thread of torch held stays locked in the child for ever.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)
    # All workers start with the first job. Started one by one, as jobs come in, a worker that dies
    # in its first job may go unnoticed: the pool's thread watches those that were there when it
    # last woke up, and whoever waits for the job waits for ever.
    pool._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined]
    try:
        yield pool
    finally:
        if pool._broken:
            # A worker that died may hold a lock that the others wait for, and they ignore SIGTERM,
            # with which a broken pool would end them: the shutdown below would wait for ever.
            for process in list((pool._processes or {}).values()):
                process.kill()
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Make this worker ignore signals, which the parent answers, and end once that has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_end() -> None:
        # A killed parent closes no pipe that a worker reads from: the workers hold its other end.
        multiprocessing.connection.wait([parent.sentinel])
        # sys.exit would end this thread alone.
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
