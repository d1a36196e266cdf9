"""predict.py in processes that are killed, interrupted, resumed and shared out."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from fibseg.models.trained import load_model
from fibseg.prediction.windows import chosen_windows
from fibseg.stack import read_notes, write_stack
from tests.support import Commands, hear_the_keyboard
from tests.support.forked import start_prediction
from tests.support.labelling import files_of


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A folder with a stack of 60 slices."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 64, 80)).astype(np.uint8)
    write_stack(tmp_path / "image.tif", pixels, [20, 5, 5])
    return tmp_path


def arguments(commands: Commands, output: Path) -> list[str]:
    return [
        f"checkpoint={commands.run_directory()}",
        f"image={output.parent / 'image.tif'}",
        f"output={output}",
        "device=cpu",
        "threads=1",
        "processes=1",
    ]


def predict(commands: Commands, output: Path, *more: str) -> str:
    """What a prediction in this process prints."""
    result = commands.run("predict.py", *arguments(commands, output), *more)
    assert result.returncode == 0, result.stderr
    return result.stdout


def kept_slices(output: Path) -> list[Path]:
    return list(output.parent.glob(f".{output.name}.started/0*.tif"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_killed_at_random_moments_and_resumed(finished: Commands, cell: Path, ending: str) -> None:
    """Six times for both formats together; the bytes are those of an undisturbed prediction."""
    whole = cell / f"whole.{ending}"
    out = cell / f"out.{ending}"
    predict(finished, whole)
    chance = random.Random(ending)
    for kill in range(3):
        # Three kills in 60 slices: a few are labelled between two of them.
        goal = len(kept_slices(out)) + chance.randint(0, 12)
        log = cell / f"log-{kill}.txt"
        process = start_prediction(arguments(finished, out), log)
        end = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < end and len(kept_slices(out)) < goal:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, log.read_text()
    assert re.search(r"\d+ of 60 slices are labelled already", predict(finished, out))
    assert files_of(out) == files_of(whole)
    assert not [path for path in cell.iterdir() if path.name.startswith(".")]
    assert "finished already" in predict(finished, out)


@pytest.mark.slow
def test_an_interrupted_prediction_and_one_of_another_model(finished: Commands, cell: Path) -> None:
    out = cell / "out.tif"
    process = finished.start(
        "predict.py",
        *arguments(finished, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_the_keyboard,
    )
    while process.poll() is None and not kept_slices(out):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and len(errors.splitlines()) == 1, errors
    blend = finished.run("predict.py", *arguments(finished, out), "windows=blend")
    finished.refused(blend, "was begun with other windows")
    predict(finished, out, "shards=2", "shard=0")
    again = predict(finished, out, "shards=2", "shard=0")
    assert "30 of 30 slices are labelled already" in again
    # Slices over the whole stack come first: some of the other half were labelled before Ctrl-C.
    missing = re.search(r"(\d+) of 60 are missing", again)
    assert missing is not None and 25 <= int(missing[1]) <= 30
    assert not out.exists()
    assert "labels of 60 slices" in predict(finished, out)
    notes = read_notes(out)
    model = load_model(finished.run_directory() / "checkpoints" / "best.ckpt")
    assert notes is not None and notes["classes"]["1"] == "mitochondrion"
    assert notes["windows"] == str(chosen_windows(model)) and notes["measured"] == model.windows


@pytest.mark.slow
def test_shards_side_by_side_by_one_command(finished: Commands, cell: Path) -> None:
    """One of them is killed: it is started again, and the bytes are those of one process."""
    whole = cell / "whole.tif"
    out = cell / "out.tif"
    predict(finished, whole)
    shards = ["shards=2", "shard=range(2)", "hydra.launcher.at_once=2"]
    driver = finished.start(
        "predict.py",
        "-m",
        *arguments(finished, out),
        *shards,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cell,
    )
    end = time.monotonic() + 120
    while not (cell / ".out.tif.started" / "000000.tif").exists() and time.monotonic() < end:
        time.sleep(0.02)
    first = subprocess.run(
        ["pgrep", "-f", f"output={out}.* shard=0"], capture_output=True, text=True, check=True
    )
    os.kill(int(first.stdout.split()[-1]), signal.SIGKILL)
    printed, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors
    assert "shard=0: its process died; it is started again" in printed
    assert "labels of 60 slices" in printed
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in cell.iterdir()} == {"image.tif", "whole.tif", "out.tif"}
