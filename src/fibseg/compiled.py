"""Functions that numba compiles at their first call, and keeps on disk for later processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import njit
from numba.core.caching import FunctionCache


class _Cache(FunctionCache):
    """Numba's cache, of which nothing is missed: what cannot be read or written is compiled."""

    def load_overload(self, *arguments: Any) -> Any:
        # A file that a power cut has shortened raises whatever unpickling finds in it.
        try:
            return super().load_overload(*arguments)  # type: ignore[no-untyped-call]
        except Exception:
            with suppress(Exception):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, *arguments: Any) -> None:
        # Machines that share a disk would give code for unlike processors one name. A full disk
        # leaves nothing.
        with suppress(Exception), FileLock(Path(self.cache_path) / "fibseg.lock"):
            super().save_overload(*arguments)  # type: ignore[no-untyped-call]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let numba compile a function at its first call, to run without the interpreter lock."""
    dispatcher: Any = njit(nogil=True)(function)
    # No folder can be written: each process compiles.
    with suppress(RuntimeError):
        dispatcher._cache = _Cache(function)  # type: ignore[no-untyped-call]
    return dispatcher  # type: ignore[no-any-return]
