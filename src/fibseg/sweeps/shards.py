"""Shards of a prediction side by side on one machine: a process each, on a GPU or some cores."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import Queue
from threading import Lock, Thread
from typing import IO

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from fibseg.errors import FibsegError, Terminated

PREDICT_MODULE = "fibseg.commands.predict"
"""Started by its name: `python predict.py` and `fibseg predict` are different files, and where one
of them stands says nothing about how Python was started."""

PR_SET_PDEATHSIG = 1
"""Number of an operation of Linux's prctl, from <sys/prctl.h>."""


class ShardProcesses:
    """The processes of the shards, which end together once the launcher is told to end."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self.is_stopped = False

    def start(self, line: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        """Start a process; FibsegError after `stop`."""
        # Under the lock, so that none starts after `stop` has gone through all of them.
        with self._lock:
            if self.is_stopped:
                raise FibsegError("the launcher was stopped.")
            process = subprocess.Popen(
                line,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                preexec_fn=_end_with_parent,
            )
            self._processes.append(process)
            return process

    def stop(self) -> None:
        """End all of them, each with its slices kept."""
        with self._lock:
            self.is_stopped = True
            for process in self._processes:
                process.terminate()


@dataclass(frozen=True)
class ShardCommand:
    """How the process of a shard is started.

    Attributes:
        line: the command line without the overrides of the shard.
        threads: cores of a shard, unless its overrides name a number.
        retries: how often a shard is started again after its process died.
        processes: those of the shards.
    """

    line: list[str]
    threads: int
    retries: int
    processes: ShardProcesses = field(default_factory=ShardProcesses)


def launch_shards(
    config: DictConfig, job_overrides: Sequence[Sequence[str]], at_once: int | None, retries: int
) -> list[JobReturn]:
    """Start a prediction per job, `at_once` together: by default one per GPU or per two cores.

    A shard that dies is started again up to `retries` times, and continues with the slices that are
    missing. Results of shards that fail hold a FibsegError.
    """
    import torch

    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0))
    slots = min(at_once or gpus or max(1, cores // 2), len(job_overrides))
    # -P: a file of the user's folder must not be imported in place of a library.
    line = [sys.executable, "-P", "-m", PREDICT_MODULE, *_configuration_flags(config)]
    command = ShardCommand(line, max(1, cores // slots), retries)
    free_slots: Queue[int] = Queue()
    # A slot is a number; it says which GPU the shard gets.
    for number in range(slots):
        free_slots.put(number)

    def run(overrides: Sequence[str]) -> JobReturn:
        slot = free_slots.get()
        try:
            # With more slots than GPUs, shards share them evenly.
            return _run_shard(command, overrides, slot % gpus if gpus else None)
        finally:
            free_slots.put(slot)

    # Threads suffice, since each one only waits for a process.
    with ThreadPoolExecutor(slots) as pool:
        try:
            futures = [pool.submit(run, overrides) for overrides in job_overrides]
            # With a timeout: a signal that comes just before a wait begins does not end it.
            while wait(futures, timeout=1).not_done:
                pass
            return [future.result() for future in futures]
        # SIGTERM reaches this process alone, and the pool would wait for shards that go on.
        except BaseException:
            command.processes.stop()
            raise


def _configuration_flags(config: DictConfig) -> list[str]:
    """Flags by which a shard reads its configuration where this command has read its own."""
    flag_by_provider = {"main": "--config-path", "command-line": "--config-dir"}
    folders = [
        f"{flag_by_provider[source.provider]}={source.path}"
        for source in config.hydra.runtime.config_sources
        if source.provider in flag_by_provider
    ]
    search_paths = [
        override
        for override in config.hydra.overrides.hydra
        if override.startswith("hydra.searchpath")
    ]
    return [f"--config-name={config.hydra.job.config_name}", *folders, *search_paths]


def _run_shard(command: ShardCommand, overrides: Sequence[str], gpu: int | None) -> JobReturn:
    """Run a shard to its end, as often as it takes."""
    name = next((override for override in overrides if override.startswith("shard=")), "shard")
    has_threads = any(override.startswith("threads=") for override in overrides)
    threads = [] if has_threads else [f"threads={command.threads}"]
    line = [*command.line, *overrides, *threads]
    environment = dict(os.environ)
    if gpu is not None:
        # A shard then sees one GPU, which is number 0 for it.
        environment["CUDA_VISIBLE_DEVICES"] = _visible_device(gpu)
    result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
    for attempt in range(command.retries + 1):
        code, errors = _run_process(name, command.processes.start(line, environment))
        if code == 0:
            result.status = JobStatus.COMPLETED
            result.return_value = None
            return result
        # Python gives the negative number of the signal that killed a process, and a shard itself
        # answers SIGTERM by an exit code.
        has_died = code < 0 or code == Terminated.exit_code
        reason = errors[-1].removeprefix("error: ") if errors else f"ended with exit code {code}"
        result.return_value = FibsegError(f"{name}: {'killed by a signal' if has_died else reason}")
        # An error would come again with every attempt.
        if not has_died or command.processes.is_stopped or attempt == command.retries:
            break
        print(f"{name}: its process died; it is started again", flush=True)
    return result


def _run_process(name: str, process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Exit code and lines of stderr; lines of stdout are printed with the name before them."""
    assert process.stdout is not None and process.stderr is not None
    with process:
        # Both pipes are read at once: a process stops when one of them is full.
        printer = Thread(target=_print_lines, args=(name, process.stdout))
        printer.start()
        errors = process.stderr.read().splitlines()
        printer.join()
    return process.returncode, errors


def _end_with_parent() -> None:
    """In the process of a shard, on Linux: end as soon as the launcher ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _visible_device(gpu: int) -> str:
    """The name in CUDA_VISIBLE_DEVICES of the GPU that has this index here."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    # A scheduler may have granted GPUs 2 and 3: index 0 here is then GPU 2.
    return visible.split(",")[gpu] if visible else str(gpu)


def _print_lines(name: str, lines: IO[str]) -> None:
    for line in lines:
        print(f"{name}: {line}", end="", flush=True)
