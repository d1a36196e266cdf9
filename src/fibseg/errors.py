"""The one exception that is shown to a user as a sentence, without a traceback."""


class FibsegError(Exception):
    """A mistake that the user can mend: the value, what was expected, what to do."""
