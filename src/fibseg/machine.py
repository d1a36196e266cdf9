"""What this machine is: device, threads, and whether half precision pays."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from fibseg.errors import FibsegError


def choose_device(wanted: str) -> torch.device:
    """The device of a configuration: "auto" is the first GPU, else the CPU.

    Raises:
        FibsegError: a GPU is asked for that is not there.
    """
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
    """Let torch use this many cores of the CPU, for None all that this process may use; gives the number."""
    torch.set_num_threads(wanted or cores())
    return torch.get_num_threads()


def choose_precision(wanted: str, device: torch.device, depthwise: bool) -> str:
    """The precision of a configuration: "auto" is "bf16" where the device gains from it, else "32".

    A CPU gains with AVX512-BF16 or AMX, on others bf16 is emulated; and none gains with depthwise convolutions, whose
    backward pass is twice as slow in bf16 (`python -m benchmarks.networks` measures both). The choice follows from the
    device and the network alone, not from a timing at the start, so that a command repeated on a busy machine takes the
    same arithmetic.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    able = torch.cpu.get_capabilities()
    return "bf16" if not depthwise and (able.get("avx512_bf16") or able.get("amx_bf16")) else "32"


def versions() -> dict[str, str]:
    """Of what the numbers depend on; "commit" where fibseg runs from a git checkout, with "-dirty" if it is changed."""
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
    try:
        for command in (
            ["ls-files", "--error-unmatch", here.name],
            ["describe", "--always", "--dirty", "--abbrev=12"],
        ):
            told = subprocess.run(
                ["git", *command],
                cwd=here.parent,
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": told.stdout.strip()}
