"""Exceptions that are shown to a user as a sentence, without a traceback."""


class FibsegError(Exception):
    """A mistake that the user can mend: the value, what was expected, what to do."""


class RunTakenError(FibsegError):
    """Another process is in the run."""
