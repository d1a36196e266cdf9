"""`fibseg link`: what it prints and serves, mistakes in one sentence, and its end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from fibseg.commands.main import main
from fibseg.stack import StackHeader, StackWriter
from tests.support.commands import hear_the_keyboard

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.zarr"
    notes = {"classes": {"0": "background", "1": "mitochondrion"}}
    with StackWriter(path, StackHeader((2, 30, 30), "uint8", (5, 5, 5), notes)) as writer:
        for _ in range(2):
            writer.write(np.ones((30, 30), np.uint8))
    return path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing.zarr"], "missing.zarr: no such folder."),
        (["."], ".: no OME-Zarr; expected a folder whose .zattrs or zarr.json lists multiscales."),
        (["labels.zarr", "--port", "70000"], "--port: 70000"),
    ],
)
def test_mistakes(
    words: list[str],
    sentence: str,
    labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.chdir(labels.parent)
    assert main(["link", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}") and error.count("\n") == 1


def test_an_address_that_is_taken(labels: Path, capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["link", str(labels), "--port", str(port)]) == 2
    sentence = "another program has it; name another one, or 0 for a free one."
    assert capsys.readouterr().err == f"error: --port {port}: {sentence}\n"


@pytest.mark.slow(seconds=3)
def test_it_serves_until_ctrl_c(labels: Path) -> None:
    options = ["--port", "0", "--viewer", "http://localhost:8080/v/"]
    command = [sys.executable, "-m", "fibseg.commands.main", "link", str(labels), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell in the background may have left Ctrl-C ignored.
        preexec_fn=hear_the_keyboard,
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            while not lines or not lines[-1].startswith("http://localhost:8080/v/#!%7B"):
                lines.append(process.stdout.readline())
                assert lines[-1]
            (layer,) = json.loads("".join(lines[:-1]))["layers"]
            address = layer["source"][0].partition("|")[0]
            with urllib.request.urlopen(f"{address}.zattrs", timeout=60) as answer:
                assert json.loads(answer.read())["multiscales"][0]["version"] == "0.4"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0 and not errors
