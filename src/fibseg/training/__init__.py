"""One training run from an opened directory to its scores.

Here: opening a run, fitting networks, growing forests, losses, callbacks, boards, evaluation.
Not here: composing a configuration (`fibseg.commands`), many runs (`fibseg.sweeps`).
"""
