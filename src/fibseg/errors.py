"""Exceptions that are shown to a user as a sentence, without a traceback."""


class FibsegError(Exception):
    """A mistake that the user can mend: the value, what was expected, what to do."""


class RunTakenError(FibsegError):
    """Another process is in the run."""


class DiskFullError(FibsegError, OSError):
    """A file cannot be written for lack of room; the message names it and says what to do.

    An OSError too: what can be done without, as a cache, goes on after any failed write.
    """


class DivergedError(FibsegError):
    """A training whose loss became infinite or no number: its weights are of no use."""
