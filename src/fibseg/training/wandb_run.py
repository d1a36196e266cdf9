"""How a run of W&B begins: with an account, without an account, without a network, without a home.

Here too: where W&B keeps its own files, and the modes that it can be asked for.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fibseg.errors import FibsegError

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""Values of WANDB_MODE that W&B knows."""


def check_wandb_mode() -> None:
    """Look at WANDB_MODE, which W&B itself would refuse by a page of text, and after minutes.

    Raises:
        FibsegError: W&B has no such mode.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode is not None and mode not in MODES:
        raise FibsegError(
            f"WANDB_MODE={mode}: W&B has no such mode; expected online, offline or disabled."
        )


@contextmanager
def own_places(folder: Path) -> Iterator[None]:
    """Let W&B keep its data and its cache in `folder`/wandb within a block, and not in the home.

    The home may be missing, read-only or full. Places that the user set stay, and so does the
    configuration in the home, where it can be had: it may name a server.
    """
    places = {
        "WANDB_DATA_DIR": folder / "wandb" / "data",
        "WANDB_CACHE_DIR": folder / "wandb" / "cache",
    }
    if not _home_is_usable():
        places["WANDB_CONFIG_DIR"] = folder / "wandb" / "config"
    before = dict(os.environ)
    for name, place in places.items():
        os.environ.setdefault(name, str(place.absolute()))
    try:
        yield
    finally:
        for name in places.keys() - before.keys():
            os.environ.pop(name, None)


def _home_is_usable() -> bool:
    """Whether W&B's configuration lies in the home, or could."""
    try:
        Path("~/.config/wandb").expanduser().mkdir(parents=True, exist_ok=True)
    # RuntimeError: the system knows no home of this user.
    except (OSError, RuntimeError):
        return False
    return True


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

    Raises:
        FibsegError: WANDB_MODE is none of W&B's.
    """
    import wandb

    check_wandb_mode()

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
