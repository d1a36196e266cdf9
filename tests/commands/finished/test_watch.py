"""`fibseg watch`: mistakes in one sentence, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from fibseg.commands.main import main
from tests.support.commands import hear_the_keyboard

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing"], "missing: no such folder."),
        ([".", "--port", "70000"], "--port: 70000"),
        ([".", "--every", "0"], "--every: 0"),
    ],
)
def test_mistakes(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}") and error.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path, capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["watch", str(tmp_path), "--port", str(port)]) == 2
    sentence = "another program has it; name another one, or 0 for a free one."
    assert capsys.readouterr().err == f"error: --port {port}: {sentence}\n"


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_ends_by_ctrl_c_and_leaves_nothing(end: int, code: int, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    temporary = tmp_path / "temporary"
    runs.mkdir()
    temporary.mkdir()
    command = [sys.executable, "-m", "fibseg.commands.main", "watch", str(runs), "--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        # A shell in the background may have left Ctrl-C ignored.
        preexec_fn=hear_the_keyboard,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"<h1>Runs</h1>" in answer.read()
            assert list(temporary.iterdir())
            time.sleep(0.1)
            process.send_signal(end)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code and "Traceback" not in errors
    assert list(temporary.iterdir()) == [] and list(runs.iterdir()) == []
