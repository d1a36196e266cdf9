"""Shards of a prediction side by side on one machine: a process each, on a GPU or some cores of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Thread
from typing import IO

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from fibseg.errors import FibsegError

PR_SET_PDEATHSIG = 1


def launch_shards(
    config: DictConfig, job_overrides: Sequence[Sequence[str]], at_once: int | None, retries: int
) -> list[JobReturn]:
    """Start `predict.py` once per job, `at_once` together: as many as there are GPUs, or else one per two cores.

    A shard that dies is started again, up to `retries` times: it goes on where it was. Results of those that fail hold
    a FibsegError.
    """
    import torch

    command = [sys.executable, sys.argv[0], *_sources(config)]
    gpus, cores = torch.cuda.device_count(), len(os.sched_getaffinity(0))
    slots = min(at_once or gpus or max(1, cores // 2), len(job_overrides))
    places: Queue[int] = Queue()
    for number in range(slots):
        places.put(number)

    def run(overrides: Sequence[str]) -> JobReturn:
        place = places.get()
        try:
            return _run(
                command, overrides, place % gpus if gpus else None, max(1, cores // slots), retries
            )
        finally:
            places.put(place)

    with ThreadPoolExecutor(slots) as pool:
        return list(pool.map(run, job_overrides))


def _sources(config: DictConfig) -> list[str]:
    """Flags that make a shard read its configuration where this command read its own."""
    places = {"main": "--config-path", "command-line": "--config-dir"}
    found = [(places.get(one.provider), one.path) for one in config.hydra.runtime.config_sources]
    flags = [
        f"--config-name={config.hydra.job.config_name}",
        *(f"{flag}={path}" for flag, path in found if flag),
    ]
    return [
        *flags,
        *(one for one in config.hydra.overrides.hydra if one.startswith("hydra.searchpath")),
    ]


def _run(
    command: Sequence[str], overrides: Sequence[str], gpu: int | None, threads: int, retries: int
) -> JobReturn:
    name = next((one for one in overrides if one.startswith("shard=")), "shard")
    given = [] if any(one.startswith("threads=") for one in overrides) else [f"threads={threads}"]
    line = [*command, *overrides, *given]
    variables = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": _visible(gpu)})
    result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
    for attempt in range(retries + 1):
        process = subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
            preexec_fn=_end_with_parent,
        )
        errors: list[str] = []
        assert process.stdout is not None and process.stderr is not None
        teller = Thread(target=_tell, args=(name, process.stdout))
        teller.start()
        errors += process.stderr.read().splitlines()
        teller.join()
        if process.wait() == 0:
            result.status, result.return_value = JobStatus.COMPLETED, None
            return result
        died = process.returncode < 0
        reason = (
            errors[-1].removeprefix("error: ") if errors else f"ended with {process.returncode}"
        )
        result.return_value = FibsegError(f"{name}: {'killed by a signal' if died else reason}")
        if not died or attempt == retries:
            break
        print(f"{name}: died, started again", flush=True)
    return result


def _end_with_parent() -> None:
    """In a shard before it begins, on Linux: end when this process ends, however it does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _visible(gpu: int) -> str:
    """What CUDA_VISIBLE_DEVICES must name, so that a process sees this one of the GPUs that are seen here."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return seen.split(",")[gpu] if seen else str(gpu)


def _tell(name: str, lines: IO[str]) -> None:
    """What a shard prints, with its name before it."""
    for line in lines:
        print(f"{name}: {line}", end="", flush=True)
