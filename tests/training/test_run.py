"""Whole trainings through the command: what they leave, the same twice, the same after kills."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from sklearn.metrics import confusion_matrix

from fibseg.config.compose import CONF, register, train_config
from fibseg.data.slices import load_slices
from fibseg.models.checkpoints import load_whole, save_whole
from fibseg.models.trained import load_model
from fibseg.runs.components import COMPONENT_COLUMNS
from fibseg.scores.slices import score_slices
from fibseg.stack import read_pages
from tests.support import PROJECT, Commands, describe, hear_the_keyboard
from tests.support.trainings import best_weights, history, same_weights

LEFT = {
    "config.yaml",
    "scores.json",
    "metrics.csv",
    "components.csv",
    "labels",
    "figures",
    "checkpoints",
    ".lock",
}


def assert_same_run(ours: Path, theirs: Path) -> None:
    assert same_weights(ours, theirs)
    assert history(ours) == history(theirs)
    scores = [json.loads((run / "scores.json").read_text())["splits"] for run in (ours, theirs)]
    assert scores[0] == scores[1]
    for run in (ours, theirs):
        assert {path.name for path in run.iterdir()} == LEFT
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["best.ckpt"]


def test_a_finished_run_holds_what_the_contract_says(finished: Commands) -> None:
    run = finished.run_directory()
    assert run.name.startswith("unet-on-areas_20x200-")
    assert {path.name for path in run.iterdir()} == LEFT
    assert {path.name for path in (run / "figures").iterdir()} == {
        "validation.png",
        "test.png",
        "curves.png",
    }
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["filter"] == {"name": "on", "areas": [20, 200], "scope": "slice"}
    assert config["provenance"]["threads"] == 1
    content = json.loads((run / "scores.json").read_text())
    assert content["classes"] == ["background", "mitochondrion", "membrane", "er"]
    facts = content["run"]
    assert (facts["model"], facts["filter"], facts["seed"], facts["windows"]) == (
        "unet",
        "on",
        0,
        "paper",
    )
    assert facts["config_hash"] == run.name[-8:] == config["provenance"]["config_hash"]
    assert {
        "data_hash",
        "seconds",
        "device",
        "threads",
        "versions",
        "overrides",
        "precision",
    } <= facts.keys()
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    shares = [float(rows[0][f"share_{name}"]) for name in content["classes"]]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert float(rows[0]["share_patches_centred"]) == pytest.approx(0.8, abs=0.3)
    model = load_model(run / "checkpoints" / "best.ckpt")
    assert model.areas == [20, 200]
    assert model.arguments["channels"] == 3


def test_scores_and_components_follow_from_the_written_labels(finished: Commands) -> None:
    run = finished.run_directory()
    truth = run.parent / "truth" / json.loads((run / "scores.json").read_text())["run"]["data_hash"]
    content = json.loads((run / "scores.json").read_text())
    with (run / "components.csv").open() as file:
        reader = csv.DictReader(file)
        components = list(reader)
        assert tuple(reader.fieldnames or ()) == COMPONENT_COLUMNS
    for split, slices in (
        ("validation", load_slices(describe(finished.data))["validation"]),
        ("test", None),
    ):
        labels = read_pages(run / "labels" / f"{split}.tif")
        truths = read_pages(truth / f"{split}-labels.tif")
        places = [(one["volume"], one["slice"]) for one in content["splits"][split]]
        again = score_slices(places, truths, labels, 4)
        for one, truth_page, page in zip(content["splits"][split], truths, labels, strict=True):
            expected = confusion_matrix(truth_page.ravel(), page.ravel(), labels=range(4))
            np.testing.assert_array_equal(one["confusion"], expected)
        assert sum(map(len, again.components)) == sum(row["split"] == split for row in components)
        if slices is not None:
            np.testing.assert_array_equal(truths, [one.labels for one in slices])


def test_the_same_command_again_skips_a_finished_run(finished: Commands) -> None:
    before = (finished.run_directory() / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    result = finished.train("filter=on", "filter.areas=[20,200]")
    assert result.returncode == 0
    assert "finished already" in result.stdout
    assert "mitochondrion" in result.stdout
    assert (finished.run_directory() / "checkpoints" / "best.ckpt").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Path:
    """A run of 24 epochs that nobody disturbed, one more time for being the same twice."""
    runs = []
    for name in ("first", "second"):
        commands = Commands(tmp_path_factory.mktemp(name), phantom_folder)
        result = commands.train("training.epochs=24", "seed=5", "training.schedule=cosine")
        assert result.returncode == 0, result.stderr
        runs.append(commands.run_directory())
    assert_same_run(*runs)
    assert len(history(runs[0])) == 24
    return runs[0]


LONG = ("training.epochs=24", "seed=5", "training.schedule=cosine")


@pytest.mark.slow
def test_killed_five_times_at_random_moments(commands: Commands, undisturbed: Path) -> None:
    generator = random.Random(0)
    kills = 0
    for epoch in (1, 5, 9, 13, 17):
        process = subprocess.Popen(
            commands.line("train.py", *commands.recipe, *LONG),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            found = list(commands.folder.glob("runs/tiny/*/metrics.csv"))
            if found and len(history(found[0].parent)) >= epoch:
                time.sleep(generator.uniform(0, 0.08))
                process.kill()
                break
            time.sleep(0.005)
        process.wait()
        kills += process.returncode == -signal.SIGKILL
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert kills == 5
    assert_same_run(commands.run_directory(), undisturbed)


SCRIPT = """
import os, runpy, signal, sys, torch
save, count = torch.save, 0
def dies(content, file):
    global count
    count += 1
    save(content, file)
    if {when}:
        file.truncate(file.tell() // 2)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = dies
sys.argv = {arguments}
sys.path.insert(0, {folder})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_killed_in_checkpoint_writes(commands: Commands, undisturbed: Path) -> None:
    """Every write of a checkpoint is one that best.ckpt or last.ckpt could have lost."""
    arguments = commands.line("train.py", *commands.recipe, *LONG)[1:]
    for number in (1, 2, 5, 8):
        script = SCRIPT.format(
            when=f"count == {number}", arguments=arguments, folder=repr(str(PROJECT))
        )
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
        assert result.returncode == -signal.SIGKILL, result.stderr
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert_same_run(commands.run_directory(), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [(), ("filter=on", "filter.scope=patch", "machine.processes=2")]
)
def test_interrupted_by_the_keyboard(commands: Commands, arguments: tuple[str, ...]) -> None:
    """Ctrl-C, which reaches every process of a terminal, ends at once with a sentence; the run is not finished."""
    process = subprocess.Popen(
        commands.line("train.py", *commands.recipe, "training.epochs=2000", *arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_the_keyboard,
    )
    while not list(commands.folder.glob("runs/tiny/*/checkpoints/last.ckpt")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert text == "interrupted; the same command goes on where it stopped.\n"
    assert not (commands.run_directory() / "scores.json").exists()


@pytest.mark.slow
def test_sigterm_lets_the_epoch_end_and_saves_it(commands: Commands, undisturbed: Path) -> None:
    """Nothing of the epochs that have begun is lost, and the run goes on to the same weights."""
    line = commands.line("train.py", *commands.recipe, *LONG)
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(commands.folder.glob("runs/tiny/*/checkpoints/previous.ckpt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert text == "interrupted; the same command goes on where it stopped.\n"
    run = commands.run_directory()
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] + 1 == len(history(run)) < len(history(undisturbed))
    result = commands.run(*line[1:])
    assert result.returncode == 0, result.stderr
    assert same_weights(run, undisturbed)
    assert history(run) == history(undisturbed)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip(folder / "last.ckpt"), "resuming from previous.ckpt"),
        (lambda folder: flip(folder / "best.ckpt"), "epoch 1/24"),
    ],
    ids=["last", "best"],
)
def test_a_damaged_checkpoint_is_found_and_an_older_one_used(
    commands: Commands, undisturbed: Path, damage: Callable[[Path], None], said: str
) -> None:
    arguments = commands.line("train.py", *commands.recipe, *LONG)[1:]
    when = "count > 10 and 'best' in file.name"  # then last.ckpt and previous.ckpt are both there
    script = SCRIPT.format(when=when, arguments=arguments, folder=repr(str(PROJECT)))
    subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    damage(commands.run_directory() / "checkpoints")
    result = commands.train(*LONG)
    assert result.returncode == 0, result.stderr
    assert said in result.stdout
    assert_same_run(commands.run_directory(), undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system at /dev/shm")
def test_temporary_files_on_another_file_system(commands: Commands, undisturbed: Path) -> None:
    elsewhere = Path("/dev/shm") / f"fibseg-{os.getpid()}"
    elsewhere.mkdir()
    try:
        result = commands.run(
            "train.py", *commands.recipe, *LONG, env=os.environ | {"TMPDIR": str(elsewhere)}
        )
        assert result.returncode == 0, result.stderr
        assert_same_run(commands.run_directory(), undisturbed)
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.slow
def test_a_sweep_by_hydras_own_launcher(commands: Commands) -> None:
    result = commands.run_process(
        "train.py",
        "-m",
        *commands.recipe,
        "hydra/launcher=basic",
        "seed=0,1",
        "training.epochs=1",
        "training.precision=auto",
    )
    assert result.returncode == 0, result.stderr
    runs = sorted(path.parent for path in commands.folder.glob("runs/tiny/*/scores.json"))
    assert [run.name.rsplit("-", 2)[1] for run in runs] == ["s0", "s1"]
    assert runs[0].name.rsplit("-", 1)[1] == runs[1].name.rsplit("-", 1)[1]
    assert not torch.equal(
        best_weights(runs[0])["head.weight"], best_weights(runs[1])["head.weight"]
    )


EUNET = (
    "model=eunet",
    "model.encoder=efficientnet_b0",
    "patches.size=64",
    "filter=on",
    "filter.areas=[20,200]",
    "filter.scope=patch",
    "machine.processes=2",
    "training.epochs=2",
)


@pytest.mark.slow
def test_efficient_unet_with_the_filter_on_patches(
    commands: Commands, phantom_folder: Path, tmp_path: Path
) -> None:
    """Killed after an epoch and resumed, it is the run that nobody disturbed; its labels are those of predict.py."""
    disturbed = Commands(tmp_path / "disturbed", phantom_folder)
    process = subprocess.Popen(
        disturbed.line("train.py", *disturbed.recipe, *EUNET),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(
        disturbed.folder.glob("runs/tiny/*/checkpoints/last.ckpt")
    ):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    resumed, undisturbed = (one.train(*EUNET) for one in (disturbed, commands))
    assert (resumed.returncode, undisturbed.returncode) == (0, 0), (
        resumed.stderr + undisturbed.stderr
    )
    assert "resuming from last.ckpt" in resumed.stdout
    run = commands.run_directory()
    assert run.name.startswith("eunet-on-")
    assert_same_run(disturbed.run_directory(), run)
    image, output = phantom_folder / "image.tif", tmp_path / "labels.tif"
    result = commands.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={image}",
        f"output={output}",
        "device=cpu",
        "threads=1",
        "windows=paper",
    )
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read_pages(output)[7:], read_pages(run / "labels" / "test.tif"))


@pytest.mark.slow
def test_a_run_starts_from_another(finished: Commands, commands: Commands) -> None:
    """Without a step of training worth the name, the second run is the first one; its channel less is told."""
    source = commands.folder / "source" / "checkpoints" / "best.ckpt"
    source.parent.mkdir(parents=True)
    command = (f"init_from={source}", "training.epochs=1", "training.learning_rate=1e-12")
    source.write_text("no checkpoint")
    commands.refused(commands.train(*command), "no checkpoint of fibseg")
    assert not list(
        commands.folder.glob("runs/tiny/*/config.yaml")
    )  # so that the same command works once it is mended
    shutil.copy(finished.run_directory() / "checkpoints" / "best.ckpt", source)
    result = commands.train(*command)
    assert result.returncode == 0, result.stderr
    assert "channel grain 20 of that run is left out" in result.stdout
    run = commands.run_directory()
    ours, theirs = best_weights(run), best_weights(finished.run_directory())
    torch.testing.assert_close(ours["down.0.0.weight"], theirs["down.0.0.weight"][:, :1])
    torch.testing.assert_close(ours["head.weight"], theirs["head.weight"])
    assert len(yaml.safe_load((run / "config.yaml").read_text())["provenance"]["start_hash"]) == 16
    content = load_whole(source)
    content["weights"]["head.bias"] += 1
    save_whole(content, source)
    commands.refused(commands.train(*command), "began with other weights")
    source.unlink()
    assert "finished already" in commands.train(*command).stdout


def test_the_papers_recipe() -> None:
    """As METHOD of the paper has it: sections 2.1, 2.3 and 3.2."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for model, momentum in (("unet", 0.01), ("eunet", 0.01)):
            config, _ = train_config(
                compose("train", [f"model={model}", "experiment=paper", "filter=on"])
            )
            t, p = config.training, config.patches
            assert (t.epochs, t.batches, t.validation_batches, t.batch_size, p.size) == (
                100,
                256,
                64,
                4,
                256,
            )
            assert (t.learning_rate, t.betas, t.eps, t.schedule) == (
                1e-3,
                [0.9, 0.999],
                1e-7,
                "constant",
            )
            assert (t.cross_entropy, p.class_share, config.filter.areas) == (0.0, 0.8, [650, 3200])
            assert (config.model.norm_momentum, config.model.norm_eps, config.model.width) == (
                momentum,
                1e-3,
                64,
            )
            assert (config.data.intensity.low, config.data.intensity.high) == (0, 100)
            assert [one.weight for one in config.data.classes.values()] == [0.7, 1.0, 0.9]
            assert config.data.background.weight == 0.1
    assert (config.model.encoder, config.model.drop_path) == ("efficientnet_b4", 0.2)
