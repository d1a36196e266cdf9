"""Whole trainings through the command: what they leave, where they start, the paper's recipe."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from sklearn.metrics import confusion_matrix

from fibseg.arrays import Place
from fibseg.config.compose import CONF, register, train_config
from fibseg.config.schemas import TrainConfig
from fibseg.data.slices import load_slices
from fibseg.filters.channels import Channels
from fibseg.models.trained import load_model
from fibseg.runs.components import COMPONENT_COLUMNS
from fibseg.scores.slices import score_slices
from fibseg.stack import read_pages
from fibseg.training.run import forget_peak, peak_gib
from tests.support import Commands, describe
from tests.support.models import content_of, save_content
from tests.support.trainings import FILES_OF_A_RUN, best_weights, history


def test_a_finished_run_holds_what_the_contract_says(finished: Commands) -> None:
    run = finished.run_directory()
    assert run.name.startswith("unet-on-areas_20x200-")
    assert {path.name for path in run.iterdir()} == FILES_OF_A_RUN
    figures = {path.name for path in (run / "figures").iterdir()}
    assert figures == {"validation.png", "test.png", "curves.png"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["filter"] == {"name": "on", "areas": [20, 200], "scope": "slice"}
    assert config["provenance"]["threads"] == 1
    content = json.loads((run / "scores.json").read_text())
    assert content["classes"] == ["background", "mitochondrion", "membrane", "er"]
    facts = content["run"]
    assert facts["model"] == "unet"
    assert facts["filter"] == "on"
    assert facts["seed"] == 0
    assert facts["windows"] == "paper"
    network = load_model(run / "checkpoints" / "model.safetensors").network
    assert facts["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert facts["config_hash"] == run.name[-8:] == config["provenance"]["config_hash"]
    assert {
        "data_hash",
        "seconds",
        "peak_gib",
        "device",
        "threads",
        "versions",
        "overrides",
        "precision",
    } <= facts.keys()
    # A process with torch and Lightning has more than .1 GiB.
    assert 0.1 < facts["peak_gib"] < 100
    model = load_model(run / "checkpoints" / "model.safetensors")
    assert model.channels == Channels((20, 200))
    assert model.training is not None and "torch" in model.training["versions"]
    for name in ("config_hash", "data_hash"):
        assert model.training[name] == config["provenance"][name]
    file = (run / "checkpoints" / "model.safetensors").read_bytes()
    assert facts["model_sha256"] == model.file_sha256 == hashlib.sha256(file).hexdigest()
    assert model.arguments["channels"] == 3


def test_metrics_of_each_epoch(finished: Commands) -> None:
    rows = history(finished.run_directory())
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    classes = ("background", "mitochondrion", "membrane", "er")
    shares = [float(rows[0][f"share_{name}"]) for name in classes]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert float(rows[0]["share_patches_centred"]) == pytest.approx(0.8, abs=0.3)


def test_scores_and_components_follow_from_the_written_labels(finished: Commands) -> None:
    run = finished.run_directory()
    content = json.loads((run / "scores.json").read_text())
    truth = run.parent / "truth" / content["run"]["data_hash"]
    with (run / "components.csv").open() as file:
        reader = csv.DictReader(file)
        components = list(reader)
        assert tuple(reader.fieldnames or ()) == COMPONENT_COLUMNS
    for split in ("validation", "test"):
        labels = read_pages(run / "labels" / f"{split}.tif")
        truths = read_pages(truth / f"{split}-labels.tif")
        scores = content["splits"][split]
        places = [Place(score["volume"], score["slice"]) for score in scores]
        again = score_slices(places, truths, labels, 4)
        for score, truth_page, page in zip(scores, truths, labels, strict=True):
            expected = confusion_matrix(truth_page.ravel(), page.ravel(), labels=range(4))
            np.testing.assert_array_equal(score["confusion"], expected)
        assert sum(map(len, again.components)) == sum(row["split"] == split for row in components)
        if split == "validation":
            slices = load_slices(describe(finished.data))[split]
            np.testing.assert_array_equal(truths, [annotated.labels for annotated in slices])


def test_the_same_command_again_skips_a_finished_run(finished: Commands) -> None:
    checkpoint = finished.run_directory() / "checkpoints" / "model.safetensors"
    before = checkpoint.stat().st_mtime_ns
    result = finished.train("filter=on", "filter.areas=[20,200]")
    assert result.returncode == 0
    assert "finished already" in result.stdout
    assert "mitochondrion" in result.stdout
    assert checkpoint.stat().st_mtime_ns == before


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
    heads = [best_weights(run)["head.weight"] for run in runs]
    assert not torch.equal(*heads)


@pytest.mark.slow
def test_a_run_starts_from_another(finished: Commands, commands: Commands) -> None:
    """With a tiny learning rate the second run is the first one, less the channel that it lacks."""
    source = commands.folder / "source" / "checkpoints" / "model.safetensors"
    source.parent.mkdir(parents=True)
    command = (f"init_from={source}", "training.epochs=1", "training.learning_rate=1e-12")
    source.write_text("no checkpoint")
    commands.refused(commands.train(*command), "no model of fibseg")
    # So that the same command works once the file is mended.
    assert not list(commands.folder.glob("runs/tiny/*/config.yaml"))
    shutil.copy(finished.run_directory() / "checkpoints" / "model.safetensors", source)
    result = commands.train(*command)
    assert result.returncode == 0, result.stderr
    assert "channel grain 20 of that run is left out" in result.stdout
    run = commands.run_directory()
    weights = best_weights(run)
    start = best_weights(finished.run_directory())
    torch.testing.assert_close(weights["down.0.0.weight"], start["down.0.0.weight"][:, :1])
    torch.testing.assert_close(weights["head.weight"], start["head.weight"])
    provenance = yaml.safe_load((run / "config.yaml").read_text())["provenance"]
    assert len(provenance["start_hash"]) == 16
    content = content_of(source)
    content["weights"]["head.bias"] += 1
    save_content(content, source)
    commands.refused(commands.train(*command), "began with other weights")
    source.unlink()
    assert "finished already" in commands.train(*command).stdout


def paper_config(model: str) -> TrainConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", [f"model={model}", "experiment=paper", "filter=on"])
    config, _ = train_config(composed)
    return config


@pytest.mark.parametrize("model", ["unet", "eunet"])
def test_the_papers_recipe(model: str) -> None:
    """As METHOD of the paper has it: sections 2.1, 2.3 and 3.2."""
    config = paper_config(model)
    training = config.training
    assert training.epochs == 100
    assert training.batches == 256
    assert training.validation_batches == 64
    assert training.batch_size == 4
    assert training.learning_rate == 1e-3
    assert training.betas == [0.9, 0.999]
    assert training.eps == 1e-7
    assert training.schedule == "constant"
    assert training.cross_entropy == 0.0
    assert config.patches.size == 256
    assert config.patches.class_share == 0.8
    assert config.filter.areas == [650, 3200]
    assert config.model.norm_momentum == 0.01
    assert config.model.norm_eps == 1e-3
    assert config.model.width == 64
    intensity = config.data.intensity
    assert (intensity.low, intensity.high) == (0, 100)
    assert [entry.weight for entry in config.data.classes.values()] == [0.7, 1.0, 0.9]
    assert config.data.background.weight == 0.1


def test_the_papers_encoder() -> None:
    model = paper_config("eunet").model
    assert model.encoder == "efficientnet_b4"
    assert model.drop_path == 0.2


def test_the_peak_of_a_gpu_begins_anew_with_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = [3 * 2**30]
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: peak[0])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: peak.__setitem__(0, 2**29))
    forget_peak("cpu")
    assert peak_gib("cuda") == 3
    forget_peak("cuda")
    assert peak_gib("cuda") == 0.5
