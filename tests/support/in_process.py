"""The project's programs called inside the test process, each as if in an interpreter of its own.

A program in a process of its own imports torch, Lightning and Hydra for 4 to 6 seconds. What such a
process would take with it at its end is put back here: the working directory, the environment, the
answers to signals, loggers, warning filters, torch's threads and Hydra's global state.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

_look_up_mode = Hydra.get_mode
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def call_program(
    line: list[str],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Call `train.py`, `predict.py` or `fibseg`; the result is that of `subprocess.run`.

    `line` is a command line without the interpreter: the program, and its arguments.
    """
    stdout = _text_stream()
    stderr = _text_stream()
    with ExitStack() as stack:
        stack.enter_context(kept_process_state())
        stack.enter_context(redirect_stdout(stdout))
        stack.enter_context(redirect_stderr(stderr))
        stack.enter_context(log_handlers_write_to(stderr))
        if cwd is not None:
            os.chdir(cwd)
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        sys.argv = line
        code = _exit_code(Path(line[0]).name, line[1:])
    return subprocess.CompletedProcess(line, code, _content(stdout), _content(stderr))


def _exit_code(name: str, arguments: list[str]) -> int:
    """Exit code of a program, with the traceback on stderr that an interpreter would print."""
    try:
        if name == "train.py":
            from fibseg.commands import train

            return train.main()
        if name == "predict.py":
            from fibseg.commands import predict

            return predict.main()
        from fibseg.commands.main import main

        return main(arguments)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
            return 1
        return leaving.code or 0
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return 1


@contextmanager
def kept_process_state() -> Iterator[None]:
    """Puts back at the end what a program sets for its whole process."""
    with ExitStack() as stack:
        for keep in (_kept_system, _kept_signals, _kept_loggers, _kept_torch, _kept_hydra):
            stack.enter_context(keep())
        stack.enter_context(warnings.catch_warnings())
        yield


@contextmanager
def _kept_system() -> Iterator[None]:
    directory = Path.cwd()
    variables = dict(os.environ)
    arguments = sys.argv
    temporary = tempfile.tempdir
    try:
        # Python looks up TMPDIR once; a program in a process of its own would do so anew.
        tempfile.tempdir = None
        yield
    finally:
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv = arguments
        tempfile.tempdir = temporary


@contextmanager
def _kept_signals() -> Iterator[None]:
    answers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, answer in answers.items():
            signal.signal(number, answer)


def _loggers() -> list[logging.Logger]:
    """The root logger and every logger with a name."""
    named = [
        logger
        for logger in logging.Logger.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    ]
    return [logging.getLogger(), *named]


@contextmanager
def _kept_loggers() -> Iterator[None]:
    before = [
        (logger, logger.level, logger.disabled, logger.propagate, list(logger.handlers))
        for logger in _loggers()
    ]
    try:
        yield
    finally:
        for logger, level, disabled, propagate, handlers in before:
            # Each call empties the caches of all loggers.
            if logger.level != level:
                logger.setLevel(level)
            logger.disabled = disabled
            logger.propagate = propagate
            logger.handlers[:] = handlers


@contextmanager
def log_handlers_write_to(stderr: io.TextIOWrapper) -> Iterator[None]:
    """Handlers made at an import hold the stderr of that time, which may be closed by now."""
    handlers = {
        handler: handler.stream
        for logger in _loggers()
        for handler in logger.handlers
        if type(handler) is logging.StreamHandler
    }
    for handler in handlers:
        handler.setStream(stderr)
    try:
        yield
    finally:
        for handler, stream in handlers.items():
            handler.setStream(stream)


@contextmanager
def _kept_torch() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _kept_hydra() -> Iterator[None]:
    """Hydra without a configuration, before and after; results of cached functions forgotten.

    A configuration that fibseg remembers by the names of its choices would be found again by the
    next program, whose folder may have another file of that name.
    """
    _forget()
    try:
        with mock.patch.object(Hydra, "get_mode", _mode):
            yield
    finally:
        _forget()


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """What Hydra composes the whole configuration for once more: None where no key is the mode's.

    Only a command line sets it in the tests; programs in processes of their own look it up.
    """
    if any("hydra.mode" in override for override in overrides):
        return _look_up_mode(hydra, config_name, overrides)
    return None


def _forget() -> None:
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    compose = sys.modules.get("fibseg.config.compose")
    for value in vars(compose).values() if compose else ():
        if callable(getattr(value, "cache_clear", None)):
            value.cache_clear()


def _text_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True)


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()
