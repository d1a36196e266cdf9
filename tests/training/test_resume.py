"""Trainings that are killed, interrupted or damaged end as the one that nothing disturbed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fibseg.models.trained import load_model
from fibseg.runs.directory import RunDirectory
from fibseg.stack import read_pages, write_stack
from tests.support import Commands, hear_the_keyboard
from tests.support.forked import DieInSave, start_training
from tests.support.models import save_older
from tests.support.trainings import assert_same_run, history, same_weights

EPOCHS = 6
KILLS = int(os.environ.get("FIBSEG_KILLS", "3"))
LONG = (f"training.epochs={EPOCHS}", "seed=5", "training.schedule=cosine")
INTERRUPTED = "interrupted; the same command goes on where it stopped.\n"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Path:
    """The run that all others must equal."""
    commands = Commands(tmp_path_factory.mktemp("undisturbed"), phantom_folder)
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert len(history(commands.run_directory())) == EPOCHS
    return commands.run_directory()


def finished_epochs(commands: Commands) -> int:
    """Epochs in metrics.csv of the only run."""
    paths = list(commands.folder.glob("runs/tiny/*/metrics.csv"))
    return len(history(paths[0].parent)) if paths else 0


def test_killed_at_random_moments(commands: Commands, undisturbed: Path) -> None:
    generator = random.Random(0)
    kills = 0
    for kill in range(KILLS):
        # After its first epochs, and after later ones, but before the last of them.
        epoch = 1 + kill * (EPOCHS - 2) // KILLS
        process = start_training([*commands.recipe, *LONG], commands.folder / "log.txt")
        while process.is_alive() and finished_epochs(commands) < epoch:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.08))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert kills == KILLS
    assert_same_run(commands.run_directory(), undisturbed)


def test_killed_in_checkpoint_writes(commands: Commands, undisturbed: Path) -> None:
    """Every write of a checkpoint is one that the model or last.ckpt could have lost."""
    for number in (1, 2, 4):
        log = commands.folder / "log.txt"
        process = start_training([*commands.recipe, *LONG], log, DieInSave(first=number))
        process.join()
        assert process.exitcode == -signal.SIGKILL, log.read_text()
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert_same_run(commands.run_directory(), undisturbed)


def wait_for_checkpoint(commands: Commands, name: str) -> None:
    """Return once the only run has a checkpoint of this name."""
    deadline = time.monotonic() + 120
    while not list(commands.folder.glob(f"runs/tiny/*/checkpoints/{name}")):
        assert time.monotonic() < deadline, f"no {name}"
        time.sleep(0.01)


def test_interrupted_by_the_keyboard(commands: Commands) -> None:
    """The training ends at once, with a sentence, and is not finished."""
    log = commands.folder / "log.txt"
    process = start_training([*commands.recipe, "training.epochs=2000"], log)
    wait_for_checkpoint(commands, "last.ckpt")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=60)
    assert process.exitcode == 130
    assert log.read_text().endswith(f"\n{INTERRUPTED}")
    assert not (commands.run_directory() / "scores.json").exists()


def test_interrupted_by_the_keyboard_with_workers(commands: Commands) -> None:
    """Ctrl-C reaches every process of a terminal, those that filter patches too."""
    process = commands.start(
        "train.py",
        *commands.recipe,
        "training.epochs=2000",
        "filter=on",
        "filter.scope=patch",
        "machine.processes=2",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hear_the_keyboard,
    )
    wait_for_checkpoint(commands, "last.ckpt")
    os.killpg(process.pid, signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert text == INTERRUPTED
    assert not (commands.run_directory() / "scores.json").exists()


def test_sigterm_lets_the_epoch_end_and_saves_it(commands: Commands, undisturbed: Path) -> None:
    """No epoch that has begun is lost, and the run resumes to the same weights."""
    log = commands.folder / "log.txt"
    process = start_training([*commands.recipe, *LONG], log)
    wait_for_checkpoint(commands, "previous.ckpt")
    process.terminate()
    process.join(timeout=60)
    assert process.exitcode == 143
    assert log.read_text().endswith(f"s left\n{INTERRUPTED}")
    run = commands.run_directory()
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] + 1 == len(history(run)) < EPOCHS
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert same_weights(run, undisturbed)
    assert history(run) == history(undisturbed)


def test_begun_by_an_older_version(commands: Commands, undisturbed: Path) -> None:
    """Its model is a zip of torch, which the next better epoch or the end replaces."""
    log = commands.folder / "log.txt"
    process = start_training([*commands.recipe, *LONG], log, DieInSave(first=5, name="last"))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run = RunDirectory(commands.run_directory())
    save_older(load_model(run.model_file), run.older_models[0])
    run.model_file.unlink()
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert "resuming from" in result.stdout
    digest = hashlib.sha256(run.model_file.read_bytes()).hexdigest()
    assert f"model: {run.model_file}, SHA-256 {digest}\n" in result.stdout
    assert_same_run(run.path, undisturbed)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: flip_a_bit(folder / "last.ckpt"), "resuming from previous.ckpt"),
        (lambda folder: flip_a_bit(folder / "model.safetensors"), f"epoch 1/{EPOCHS}"),
    ],
    ids=["last", "model"],
)
def test_a_damaged_checkpoint_is_found_and_an_older_one_used(
    commands: Commands, undisturbed: Path, damage: Callable[[Path], None], message: str
) -> None:
    # An epoch saves two files at most: after four there are both last.ckpt and previous.ckpt.
    death = DieInSave(first=5, name="model")
    process = start_training([*commands.recipe, *LONG], commands.folder / "log.txt", death)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    damage(commands.run_directory() / "checkpoints")
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert message in result.stdout
    assert_same_run(commands.run_directory(), undisturbed)


def test_the_same_twice_with_temporary_files_on_another_file_system(
    commands: Commands, undisturbed: Path
) -> None:
    """Where there is no second file system, that the same command gives the same run is left."""
    parent = Path("/dev/shm") if Path("/dev/shm").is_dir() else commands.folder
    elsewhere = parent / f"fibseg-{os.getpid()}"
    elsewhere.mkdir()
    try:
        environment = os.environ | {"TMPDIR": str(elsewhere)}
        result = commands.run("train.py", *commands.recipe, *LONG, env=environment)
        assert result.returncode == 0, result.stderr
        assert_same_run(commands.run_directory(), undisturbed)
    finally:
        shutil.rmtree(elsewhere)


EUNET = (
    "model=eunet",
    "model.encoder=efficientnet_b0",
    "patches.size=64",
    "filter=on",
    "filter.areas=[20,200]",
    "filter.scope=patch",
    "training.epochs=2",
    "training.batch_size=1",
    "training.ema=0.9",
    "training.select=slices",
    "augmentation=strong",
)


def test_efficient_unet_with_the_filter_on_patches(
    commands: Commands, phantom_folder: Path, tmp_path: Path
) -> None:
    """Killed after an epoch and resumed, it is the run that nothing disturbed.

    Its labels are those of predict.py. Neither depends on the number of worker processes.
    """
    disturbed = Commands(tmp_path / "disturbed", phantom_folder)
    arguments = [*disturbed.recipe, *EUNET, "machine.processes=2"]
    process = start_training(arguments, tmp_path / "log.txt")
    wait_for_checkpoint(disturbed, "last.ckpt")
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = disturbed.train(*EUNET, "machine.processes=1")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from last.ckpt" in resumed.stdout
    result = commands.train(*EUNET, "machine.processes=1")
    assert result.returncode == 0, result.stderr
    run = commands.run_directory()
    assert run.name.startswith("eunet-on-")
    assert_same_run(disturbed.run_directory(), run)
    test_slices = np.stack(read_pages(phantom_folder / "image.tif")[7:])
    write_stack(tmp_path / "image.tif", test_slices, [20, 5, 5])
    result = commands.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={tmp_path / 'image.tif'}",
        f"output={tmp_path / 'labels.tif'}",
        "device=cpu",
        "threads=1",
        "processes=1",
        "windows=paper",
    )
    assert result.returncode == 0, result.stderr
    labels = read_pages(tmp_path / "labels.tif")
    np.testing.assert_array_equal(labels, read_pages(run / "labels" / "test.tif"))
