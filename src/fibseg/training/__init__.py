"""One training run, from an opened directory to its scores.

Here: opening a run, training networks and forests, losses, callbacks, boards, evaluation.
Not here: composing a configuration (`fibseg.commands`), many runs (`fibseg.sweeps`).
"""

from fibseg.training.opened import OpenedRun, Request, check_model, open_run, read_earlier
from fibseg.training.run import train

__all__ = ["OpenedRun", "Request", "check_model", "open_run", "read_earlier", "train"]
