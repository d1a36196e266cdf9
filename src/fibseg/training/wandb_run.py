"""How a run of W&B begins: with an account, without one, without a network."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def start(
    folder: Path, given: dict[str, Any], resume: bool, say: Callable[[str], None]
) -> tuple[Any, bool]:
    """The run, and whether it is online; `given` is for wandb.init, `resume` takes up an online run of the same id.

    Offline without a key, without a network, or with WANDB_MODE=offline; files lie in `folder`/wandb.
    """
    import wandb

    online = os.environ.get("WANDB_MODE", "online") == "online" and bool(wandb.login(prompt=False))
    logging.getLogger("wandb").setLevel(logging.ERROR)
    settings = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)
    every: dict[str, Any] = {"dir": str(folder), "settings": settings, **given}
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if online else "offline")
    try:
        run = wandb.init(mode=mode, resume="allow" if online and resume else None, **every)
    except wandb.Error as error:
        say(f"W&B cannot be reached ({str(error).splitlines()[0]}); going on offline")
        mode, run = "offline", wandb.init(mode="offline", **every)
    if mode == "offline":
        say(f"W&B: offline; upload later by `wandb sync {folder}/wandb/offline-run-*`")
    return run, online
