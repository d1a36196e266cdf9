"""Measurements of fibseg, one in each module."""

# Before torch is loaded: how its threads wait, as in every command.
import fibseg  # noqa: F401
