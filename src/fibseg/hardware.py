"""What this machine is: device, threads, and whether half precision pays."""

from __future__ import annotations

import platform
from importlib.metadata import version
from statistics import median
from time import perf_counter

import torch
from torch.nn import functional

from fibseg.errors import FibsegError

WORTH = 1.25
"""bf16 is chosen where it is at least this many times faster."""


def choose_device(wanted: str) -> torch.device:
    """The device of a configuration: "auto" is the first GPU, else the CPU.

    Raises:
        FibsegError: a GPU is asked for that is not there.
    """
    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise FibsegError(f"device {wanted}: {torch.cuda.device_count()} GPUs are visible here; use cpu or auto.")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def set_threads(wanted: int | None) -> int:
    """Let torch use this many cores of the CPU, all for None; gives the number in force."""
    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()


def choose_precision(wanted: str, device: torch.device) -> str:
    """The precision of a configuration: "auto" is "bf16" where the GPU has it or the CPU gains from it, else "32"."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    return "bf16" if _seconds(torch.float32) / _seconds(torch.bfloat16) > WORTH else "32"


def _seconds(dtype: torch.dtype) -> float:
    """Median time of a convolution forward and backward on this CPU."""
    images = torch.zeros(4, 32, 96, 96, dtype=dtype)
    weight = torch.zeros(32, 32, 3, 3, dtype=dtype, requires_grad=True)
    times = []
    for _ in range(7):
        start = perf_counter()
        functional.conv2d(images, weight, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        times.append(perf_counter() - start)
    return median(times[2:])


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    return {
        "fibseg": version("fibseg"),
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("pytorch-lightning"),
    }
