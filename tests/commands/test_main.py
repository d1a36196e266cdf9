"""The `fibseg` program: its table of commands, exit codes, and what `--help` imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibseg.commands import main as main_module
from fibseg.commands.main import COMMANDS, Command, main
from fibseg.errors import FibsegError
from fibseg.files import replacing
from tests.support import PROJECT, Commands

HEAVY = {"torch", "pytorch_lightning", "matplotlib", "higra", "numba", "timm", "scipy.ndimage"}

Capture = pytest.CaptureFixture[str]


def test_the_installed_program_lists_its_commands(commands: Commands) -> None:
    result = commands.run_process("fibseg", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for name, command in COMMANDS.items():
        assert name in result.stdout
        assert command.help in result.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if not COMMANDS[name].is_program])
def test_each_command_has_help(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    assert f"usage: fibseg {name}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["--nothing"]])
def test_unknown_commands_are_refused(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "usage: fibseg" in capsys.readouterr().err


class Failing(SimpleNamespace):
    """A command whose run ends with an error."""

    def add_arguments(self, parser: Any) -> None:
        pass

    def run(self, options: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FibsegError("no such class."), 2, "error: no such class.\n"),
        (FileNotFoundError(2, "No such file", "a.tif"), 2, "error: [Errno 2] No such file"),
        (OSError(28, "No space", "a.tif"), 2, "error: a.tif: cannot be written: the disk is full;"),
        (OSError(28, "No space"), 2, "error: a file: cannot be written: the disk is full; make"),
        (KeyboardInterrupt(), 130, "interrupted.\n"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setitem(COMMANDS, "fail", Command("fail", "always fails"))
    monkeypatch.setattr(main_module, "_module", {"fail": Failing(error=error)}.get)
    assert main(["fail"]) == code
    assert capsys.readouterr().err.startswith(message)


def test_sigterm_is_ctrl_c_with_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    """Files that are begun are removed, and the answer to the signal is put back."""

    def write(_: Any) -> None:
        with replacing(tmp_path / "a") as partial:
            partial.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    monkeypatch.setitem(COMMANDS, "write", Command("write", "writes"))
    module = SimpleNamespace(add_arguments=lambda _: None, run=write)
    monkeypatch.setattr(main_module, "_module", {"write": module}.get)
    assert main(["write"]) == 143
    assert capsys.readouterr().err == "terminated.\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("name", ["train", "predict"])
def test_programs_read_the_rest_of_the_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads sys.argv, in which the program is named as the user called it."""
    lines: list[list[str]] = []
    program = SimpleNamespace(main=lambda: lines.append(sys.argv) or 7)
    monkeypatch.setattr(main_module, "_module", {name: program}.get)
    monkeypatch.setattr(sys, "argv", ["fibseg"])
    assert main([name, "data=vnc", "--help"]) == 7
    assert lines == [[f"fibseg {name}", "data=vnc", "--help"]]


@pytest.mark.parametrize(
    "program",
    [
        "train.py --help",
        "predict.py --help",
        "-m fibseg.commands.main --help",
        "-m fibseg.commands.main check --help",
    ],
)
def test_help_imports_nothing_heavy(program: str) -> None:
    """`-X importtime` lists what was imported."""
    command = [sys.executable, "-X", "importtime", *program.split()]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    lines = [line for line in result.stderr.splitlines() if "|" in line]
    imported = {line.rsplit("|", 1)[1].strip() for line in lines}
    assert not imported & HEAVY
    assert "usage" in result.stdout.lower() or "Configuration groups" in result.stdout
