"""How a run of W&B begins: with an account, without an account, without a network."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def start_wandb_run(
    folder: Path, arguments: dict[str, Any], resume: bool, report: Callable[[str], None]
) -> tuple[Any, bool]:
    """Start a run of W&B, whose files lie in `folder`/wandb.

    The run is offline without an account, without a network, or with WANDB_MODE=offline.

    Args:
        folder: takes the files.
        arguments: for `wandb.init`, beside those that this function sets.
        resume: whether an online run of the same id is resumed.
        report: prints what a person should know.

    Returns:
        The run, and whether it is online.
    """
    import wandb

    mode: Any = os.environ.get("WANDB_MODE")
    # Asked first: without a key and without a terminal, an online start raises.
    online = mode in (None, "online") and bool(wandb.login(prompt=False))
    mode = mode or ("online" if online else "offline")
    logging.getLogger("wandb").setLevel(logging.ERROR)
    settings = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)
    every_start: dict[str, Any] = {"dir": str(folder), "settings": settings, **arguments}
    try:
        # Only online: offline, the same id opens one more folder and begins at step 0.
        run = wandb.init(mode=mode, resume="allow" if online and resume else None, **every_start)
    except wandb.Error as error:
        reason = str(error).splitlines()[0]
        report(f"W&B cannot be reached ({reason}); the run is logged offline")
        mode = "offline"
        online = False
        run = wandb.init(mode=mode, **every_start)
    if mode == "offline":
        report(f"W&B: offline; upload later with `wandb sync {folder}/wandb/offline-run-*`")
    return run, online
