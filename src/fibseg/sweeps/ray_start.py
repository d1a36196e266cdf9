"""Ray as a sweep wants it: imported, started on this machine or joined, its errors as sentences."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fibseg.errors import DiskFullError, FibsegError, Terminated
from fibseg.files import writing
from fibseg.sweeps.job import output_to
from fibseg.sweeps.ray_session import MARK_VARIABLE, RaySession

# Ray reads these when it is imported: no telemetry, and no change of CUDA_VISIBLE_DEVICES for
# tasks without a GPU.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    ray: Any = importlib.import_module("ray")
except ImportError as error:
    raise FibsegError(
        f"hydra/launcher=ray needs Ray ({error}); `pip install ray`, or use hydra/launcher=basic."
    ) from error

OBJECT_STORE_BYTES = 78_643_200
"""The minimum that Ray accepts: only configurations and results pass through the object store."""

CONNECT_SECONDS = 10

RESUME_ADVICE = "run the same command again to resume"


@contextmanager
def ray_subdued() -> Iterator[None]:
    """Keep Ray from the terminal and from SIGTERM in a block in which it starts or ends.

    Its answer to SIGTERM is a dump of the stack and an abort; what it warns of is of no use here.
    """
    with output_to(Path(os.devnull)):
        if threading.current_thread() is not threading.main_thread():
            # Python allows handlers in the main thread alone, and Ray sets none elsewhere.
            yield
            return
        answer = signal.getsignal(signal.SIGTERM)
        try:
            yield
        # Ray's answer while it starts.
        except SystemExit as end:
            if end.code == signal.SIGTERM:
                raise Terminated from None
            raise
        finally:
            signal.signal(signal.SIGTERM, answer)


def start_ray(session: RaySession, gpus: int | None, options: dict[str, Any]) -> None:
    """Start a Ray on this machine for one sweep."""
    # Every process that Ray starts inherits the mark. SPT_NOENV: Ray otherwise writes the title of
    # a process over its environment, where `kill_marked` reads the mark.
    os.environ |= {MARK_VARIABLE: session.mark, "SPT_NOENV": "1"}
    try:
        with writing(session.folder):
            ray.init(
                address="local",
                # Not those of the machine, of which a container or a scheduler may grant a part.
                num_cpus=len(os.sched_getaffinity(0)),
                num_gpus=gpus,
                # The dashboard would cost a process and open a port.
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(session.folder),
                # Not /dev/shm, which containers make tiny or not at all, and others may fill.
                _plasma_directory=str(session.folder),
                **options,
            )
    except DiskFullError:
        raise
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise FibsegError(
            f"hydra/launcher=ray: Ray does not start ({first_sentence(error)})."
        ) from error


def connect_to_cluster(address: str, options: dict[str, Any]) -> None:
    """Join a Ray that somebody else has started."""
    try:
        if ":" in address:
            # Ray itself would try for minutes where no port is open.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, **options)
    except ray.exceptions.AuthenticationError as error:
        raise FibsegError(
            f"hydra.launcher.address: the Ray cluster at {address} asks for a token; set "
            "RAY_AUTH_MODE=token, and copy the cluster's token to ~/.ray/auth_token."
        ) from error
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise FibsegError(
            f"hydra.launcher.address: no Ray cluster at {address} ({first_sentence(error)})."
        ) from error


def first_sentence(error: Exception) -> str:
    """What an error of Ray says, without its advice and its traceback."""
    return (str(error).strip() or type(error).__name__).partition(". ")[0].splitlines()[0]


@contextmanager
def ray_errors_as_sentences(failure: str) -> Iterator[None]:
    """Turn an error of Ray itself, not of a task, into a FibsegError."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise FibsegError(f"Ray {failure} ({first_sentence(error)}); {RESUME_ADVICE}.") from error
