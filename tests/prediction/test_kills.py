"""predict.py in processes that are killed, interrupted, resumed and shared out."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fibseg.models.trained import load_model
from fibseg.prediction.windows import chosen_windows
from fibseg.stack import read_notes, write_stack
from tests.support import Commands, hear_the_keyboard
from tests.support.forked import start_prediction
from tests.support.labelling import files_of
from tests.support.sweeps import processes_with, wait_until


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
    return list(output.parent.glob(f".{output.name}.started/0*"))


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
    assert not out.exists()
    blend = finished.run("predict.py", *arguments(finished, out), "windows=blend")
    finished.refused(blend, "was begun with other windows")
    assert "labels of 60 slices" in predict(finished, out)
    notes = read_notes(out)
    model = load_model(finished.run_directory() / "checkpoints" / "model.safetensors")
    assert notes is not None and notes["classes"]["1"] == "mitochondrion"
    assert notes["model_sha256"] == [model.file_sha256]
    assert notes["windows"] == str(chosen_windows(model)) and notes["measured"] == model.windows


@contextmanager
def processes_together(
    commands: Commands, output: Path, *more: str
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Processes that share a prediction, and their temporary folder; none is left at the end."""
    # A short path: Ray's sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="fs", dir="/tmp") as temporary:
        driver = commands.start(
            "predict.py",
            "-m",
            *arguments(commands, output),
            *more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=output.parent,
            env=os.environ | {"TMPDIR": temporary},
            start_new_session=True,
        )
        try:
            yield driver, Path(temporary)
        finally:
            driver.kill()
            driver.communicate()
        wait_until(lambda: not processes_with(Path(temporary)), 60)


def wait_for_worker(output: Path, slices: int) -> int:
    """Wait until some slices are labelled; gives the number of the last process that came."""
    wait_until(lambda: len(kept_slices(output)) >= slices)
    logs = sorted(output.parent.glob(f".{output.name}.workers.*/*.txt"))
    text = "".join(log.read_text() for log in logs)
    return [int(number) for number in re.findall(r"^--- .*, process (\d+)", text, re.M)][-1]


@pytest.mark.slow(seconds=9)
def test_a_worker_of_ray_is_killed(finished: Commands, cell: Path) -> None:
    """Others take its slices, in the place that they have in the store already."""
    whole = cell / "whole.zarr"
    out = cell / "out.zarr"
    predict(finished, whole)
    with processes_together(finished, out) as (driver, temporary):
        os.kill(wait_for_worker(out, 1), signal.SIGKILL)
        printed, errors = driver.communicate(timeout=120)
        assert driver.returncode == 0, errors
        assert "a process died (" in printed and "labels of 60 slices" in printed
        assert not processes_with(temporary)
    assert files_of(out) == files_of(whole)
    assert {path.name for path in cell.iterdir()} == {"image.tif", "whole.zarr", "out.zarr"}


@pytest.mark.slow(seconds=20)
def test_a_node_of_a_ray_cluster_is_lost(finished: Commands, cell: Path) -> None:
    """Two nodes, which are processes here, with four workers each."""
    from ray.cluster_utils import Cluster

    whole = cell / "whole" / "out.zarr"
    whole.parent.mkdir()
    (whole.parent / "image.tif").symlink_to(cell / "image.tif")
    predict(finished, whole)
    out = cell / "out.zarr"
    node = {"num_cpus": 4, "object_store_memory": 80_000_000}
    # A cluster puts its own in the place of this process's.
    handler = signal.getsignal(signal.SIGTERM)
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        lost = cluster.add_node(**node)
        address = f"hydra.launcher.address={cluster.address}"
        with processes_together(finished, out, address) as (driver, _):
            wait_for_worker(out, 9)
            cluster.remove_node(lost, allow_graceful=False)
            printed, errors = driver.communicate(timeout=120)
            assert driver.returncode == 0, errors
            assert "labels of 60 slices" in printed
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, handler)
    assert files_of(out) == files_of(whole)


@pytest.mark.slow(seconds=8)
def test_jobs_of_slurm_go_on_without_the_command(finished: Commands, cell: Path) -> None:
    """They need no driver: the last one finishes the output."""
    out = cell / "out.tif"
    options = ("cluster=local", "gpus_per_node=0", "cpus_per_task=1")
    launcher = [f"hydra.launcher.{option}" for option in options]
    with processes_together(finished, out, "hydra/launcher=slurm", *launcher) as (driver, _):
        os.kill(wait_for_worker(out, 1), signal.SIGKILL)
        wait_for_worker(out, 9)
        driver.kill()
    whole = cell / "whole.tif"
    predict(finished, whole)
    predict(finished, out)
    assert out.read_bytes() == whole.read_bytes()
