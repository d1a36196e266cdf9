"""Sampling, the forest against scikit-learn's own, its file, and its runs beside those of networks."""

from __future__ import annotations

import json
import re
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import RandomForestClassifier

from fibseg.arrays import IGNORE
from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.models.features import FEATURES, feature_names, pixel_features
from fibseg.models.forest import ForestNetwork
from fibseg.models.trained import TrainedModel, load_model, save_model
from fibseg.phantom.cell import make_phantom
from fibseg.prediction.ensemble import common_precision, common_windows
from fibseg.prediction.slices import deciding, predict_slice
from fibseg.prediction.windows import windows_of
from fibseg.stack import open_stack, write_stack
from fibseg.training.forest import from_scikit_learn, sample_pixels, train_forest
from tests.support import Commands
from tests.support.models import trained

CPU = torch.device("cpu")
NAMES = ("background", "a", "b")


def test_pixels_of_every_class_and_never_an_unknown_one() -> None:
    labels = [np.zeros((40, 50), np.uint8), np.zeros((30, 20), np.uint8)]
    labels[0][:5], labels[1][3, 3:10], labels[0][20:] = 1, 2, IGNORE
    pixels = np.array([15 * 50 + 600 - 7, 250, 7])
    drawn = sample_pixels(labels, NAMES, 300, 0.75, seed=0)
    values = np.concatenate([values for _, values in drawn])
    assert (
        np.bincount(values).tolist() == np.round(300 * pixels**0.75 / (pixels**0.75).sum()).tolist()
    )
    by_share = np.concatenate(
        [values for _, values in sample_pixels(labels, NAMES, 300, 1.0, seed=0)]
    )
    assert np.bincount(by_share).tolist() == np.round(300 * pixels / pixels.sum()).tolist()
    evenly = np.concatenate([values for _, values in sample_pixels(labels, NAMES, 21, 0.0, seed=0)])
    assert np.bincount(evenly).tolist() == [7, 7, 7]
    most = sample_pixels(labels, NAMES, 10**6, 0.75, seed=0)
    assert sum(len(positions) for positions, _ in most) == pixels.sum()
    for (positions, own), whole in zip(drawn, labels, strict=True):
        np.testing.assert_array_equal(whole.ravel()[positions], own)
        assert len(set(positions.tolist())) == len(positions)
    again, other = (
        sample_pixels(labels, NAMES, 300, 0.75, seed=0),
        sample_pixels(labels, NAMES, 300, 0.75, seed=1),
    )
    assert all((a[0] == b[0]).all() for a, b in zip(drawn, again, strict=True))
    assert any(
        len(a[0]) != len(b[0]) or (a[0] != b[0]).any() for a, b in zip(drawn, other, strict=True)
    )
    assert (
        sum(len(own) for own, _ in sample_pixels(labels, NAMES, 1, 0.75, seed=0)) == 3
    )  # one of each
    with pytest.raises(FibsegError, match="no pixel of c in the slices to train on"):
        sample_pixels(labels, (*NAMES, "c"), 300, 0.75, seed=0)


Made = tuple[np.ndarray, np.ndarray, RandomForestClassifier]


@pytest.fixture(scope="module")
def made() -> Made:
    """A phantom's slice, its labels, and a forest of scikit-learn trained on a tenth of it."""
    image, labels = make_phantom((2, 96, 110), seed=0)
    rows = pixel_features(image[:1]).reshape(FEATURES, -1).T
    trainer = RandomForestClassifier(40, random_state=0, n_jobs=2).fit(
        rows[::10], labels[0].ravel()[::10]
    )
    return image[0], labels[0], trainer


def described(network: ForestNetwork) -> TrainedModel:
    names = ["background", "mitochondrion", "membrane", "er"]
    windows = {"kind": "tiles", "size": 1024, "loss": 0.0, "flipped": 0.0, "slices": 0}
    return TrainedModel(
        network,
        "forest",
        network.arguments,
        names,
        [0, 1, 2, 3],
        [],
        "slice",
        GreyRange(0, 255),
        [[20, 5, 5]],
        64,
        "32",
        windows,
    )


def test_labels_and_shares_are_those_of_scikit_learn_also_after_loading(
    made: Made, tmp_path: Path
) -> None:
    image, truth, trainer = made
    model = described(from_scikit_learn(trainer, 1, 4))
    rows = pixel_features(image[None]).reshape(FEATURES, -1).T
    expected = trainer.predict(rows).reshape(truth.shape)
    assert (expected == truth).mean() > 0.9 and len(np.unique(expected)) == 4
    path = tmp_path / "forest.safetensors"
    save_model(model, path)
    back = load_model(path)
    assert back.windows == model.windows and back.class_names == model.class_names
    for one in (model, back):
        for kind, size in (("whole", 0), ("tiles", 50)):
            found = predict_slice(
                deciding(one.network), image[None], windows_of(one, kind, size), 2, CPU
            )
            np.testing.assert_array_equal(found, expected, err_msg=kind)
        with pytest.raises(FibsegError, match="windows=paper: a forest looks further"):
            windows_of(one, "paper")
    shares = back.network(torch.from_numpy(image[None, None]).float() / 255).softmax(1)[0].numpy()
    own = trainer.predict_proba(rows).T.reshape(shares.shape)
    np.testing.assert_allclose(shares, own, atol=1e-5)
    np.testing.assert_array_equal(back.network.importances, trainer.feature_importances_)
    assert path.stat().st_size < 25 * len(back.network.left) + 2**16
    assert [found.name for found in tmp_path.iterdir()] == ["forest.safetensors"]


def test_a_pixel_is_decided_only_when_the_rest_of_the_trees_cannot_change_it() -> None:
    """Forty trees of one leaf; the first of them say b, the rest a."""
    image = torch.zeros(1, 1, 64, 64)
    for first, votes in (
        (0, (30, 0)),
        (19, (21, 19)),
        (20, (20, 20)),
        (21, (9, 21)),
        (40, (0, 30)),
    ):
        network = ForestNetwork(channels=1, classes=2, trees=40, nodes=40, rows=2)
        network.starts.copy_(torch.arange(41))
        network.left.fill_(-1)
        network.right.fill_(-1)
        network.shares.copy_(torch.eye(2))
        network.row[:first] = 1
        found = network.votes(image)[0, :, 5, 5]
        assert (
            tuple(found.tolist()) == votes
        )  # a lead of more than ten before the last ten: they are not asked
        assert network(image)[0, :, 5, 5].exp().tolist() == pytest.approx(
            [(40 - first) / 40, first / 40], abs=1e-6
        )


def test_same_seed_same_forest() -> None:
    image, labels = make_phantom((2, 64, 64), seed=1)
    names = ["background", "mitochondrion", "membrane", "er"]

    def forest(seed: int, threads: int = 2) -> dict[str, torch.Tensor]:
        samples = sample_pixels(list(labels), names, 2000, 0.75, seed)
        return train_forest(
            (one[None] for one in image), samples, 4, 10, seed, threads
        ).state_dict()

    first, again, other = forest(3), forest(3, threads=1), forest(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["importances"], other["importances"])


BREAK: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "leads out of its tree": lambda a: a["left"].__setitem__(0, 10**6),
    "leads out": lambda a: a["right"].__setitem__(0, 0),  # a loop
    "leads ": lambda a: a["left"].__setitem__(int((a["left"] < 0).nonzero()[0]), -7),
    "asks for a feature": lambda a: a["feature"].__setitem__(0, 49),
    "has no shares": lambda a: a["row"].__setitem__(3, 10**5),
    "do not fit their nodes": lambda a: a["starts"].__setitem__(1, a["starts"][2] + 1),
    "do not fit their": lambda a: a["starts"].__setitem__(1, 2**62),
    "not fit their nodes": lambda a: a["starts"].__setitem__(2, -(2**63)),
    "is no number": lambda a: a["threshold"].__setitem__(0, float("nan")),
    "more than a whole": lambda a: a["shares"].__setitem__((0, 0), 1.5),
    "than a whole": lambda a: a["shares"].__setitem__((0, 0), -0.1),
    "no number": lambda a: a["shares"].__setitem__((0, 0), float("inf")),
    "do not fit each other": lambda a: a.pop("shares"),
    "not fit each other": lambda a: a.__setitem__("shares", a["shares"][:, :2].contiguous()),
    "fit each other": lambda a: a.__setitem__("starts", a["starts"][:1].contiguous()),
    "do not fit its forest": lambda a: a.__setitem__("row", a["row"][:-1].contiguous()),
}


@pytest.mark.parametrize("said", list(BREAK))
def test_a_forest_that_leads_out_of_its_trees_is_refused(
    made: Made, tmp_path: Path, said: str
) -> None:
    """Compiled code would follow an index anywhere."""
    path = tmp_path / "forest.safetensors"
    save_model(described(from_scikit_learn(made[2], 1, 4)), path)
    arrays, told = load_file(path), metadata(path)
    BREAK[said](arrays)
    save_file(arrays, path, told)
    with pytest.raises(FibsegError, match=said):
        load_model(path)


def test_other_arrays_and_other_features(made: Made) -> None:
    image, _, trainer = made
    network = from_scikit_learn(trainer, 1, 4)
    pixels = torch.from_numpy(image[None, None]).float() / 255
    before = network.votes(pixels)
    network.load_state_dict(network.state_dict() | {"shares": network.shares.flip(1)})
    assert torch.equal(network.votes(pixels), before.flip(1))
    with pytest.raises(ValueError, match="98 features of a pixel, but the forest asks for 49"):
        network.votes(pixels.expand(1, 2, -1, -1))


def metadata(path: Path) -> dict[str, str]:
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    return dict(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"])


def test_a_file_that_is_no_forest_is_refused(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "forest.safetensors"
    with pytest.raises(FibsegError, match="no such checkpoint"):
        load_model(path)
    for content in (b"", b"hello", b"\x10\0\0\0\0\0\0\0{}              "):
        path.write_bytes(content)
        with pytest.raises(FibsegError, match="no forest of fibseg, or a damaged one"):
            load_model(path)
    model = described(from_scikit_learn(made[2], 1, 4))
    save_model(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(FibsegError, match="damaged"):
        load_model(path)
    save_model(replace(model, areas=[30]), path)
    with pytest.raises(FibsegError, match="a network of 1 channels, but filter areas"):
        load_model(path)
    for arguments in ({**model.arguments, "nodes": 10**15}, {**model.arguments, "nodes": -1}, [1]):
        save_model(
            replace(model, arguments=arguments), path
        )  # no memory is taken for what a file says
        with pytest.raises(FibsegError, match="do not fit each other"):
            load_model(path)
    save_model(replace(model, class_names=model.class_names[:2]), path)
    with pytest.raises(FibsegError, match="do not fit each other"):
        load_model(path)
    save_model(model, path)
    arrays, told = load_file(path), json.loads(metadata(path)["fibseg"])
    assert told["features"] == feature_names([])
    for names in (told["features"][::-1], None):
        save_file(arrays, path, {"fibseg": json.dumps(told | {"features": names})})
        with pytest.raises(
            FibsegError, match="its features are not those that this fibseg computes"
        ):
            load_model(path)
    save_model(replace(model, architecture="unet"), path)
    with pytest.raises(FibsegError, match="a unet is not kept in such a file"):
        load_model(path)


def recipe(commands: Commands) -> list[str]:
    own = [one for one in commands.recipe if not one.startswith("model.")]
    return [*own, "model=forest", "model.trees=20", "model.pixels=4000"]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Commands:
    """A folder with a finished run of a forest with the filter; read only."""
    commands = Commands(tmp_path_factory.mktemp("grown"), phantom_folder)
    done = commands.run("train.py", *recipe(commands), "filter=on", "filter.areas=[20,200]")
    assert done.returncode == 0, done.stderr
    assert (
        re.search(r"4000 pixels of 2 of 4 training slices", done.stdout)
        and "what counted most: " in done.stdout
    )
    return commands


@pytest.mark.slow
def test_a_run_holds_what_that_of_a_network_holds(grown: Commands) -> None:
    run = grown.run_directory()
    assert run.name.startswith("forest-on-")
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names == {
        ".lock",
        "config.yaml",
        "checkpoints/forest.safetensors",
        "features.csv",
        "labels/validation.tif",
        "labels/test.tif",
        "components.csv",
        "figures/validation.png",
        "figures/test.png",
        "scores.json",
    }
    scores = json.loads((run / "scores.json").read_text())
    assert (scores["run"]["model"], scores["run"]["windows"], scores["run"]["precision"]) == (
        "forest",
        "whole",
        "32",
    )
    confusion = np.sum([one["confusion"] for one in scores["splits"]["test"]], axis=0)
    assert confusion.sum() == 2 * 96 * 96 and np.trace(confusion) > 0.8 * confusion.sum()
    lines = (run / "features.csv").read_text().splitlines()
    assert lines[0] == "feature,importance" and len(lines) == 1 + 3 * 49
    shares = [float(line.rsplit(",", 1)[1]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1, abs=1e-3)
    assert any(line.startswith("area 200: ") for line in lines)
    again = grown.run("train.py", *recipe(grown), "filter=on", "filter.areas=[20,200]")
    assert again.returncode == 0 and "finished already" in again.stdout


@pytest.mark.slow
def test_its_labels_of_a_stack_are_those_of_the_run(grown: Commands, tmp_path: Path) -> None:
    """Also in tiles and turned."""
    run, out = grown.run_directory(), tmp_path / "labels.tif"
    line = [
        "predict.py",
        f"checkpoint={run}",
        f"image={grown.data / 'image.tif'}",
        "threads=1",
        "device=cpu",
    ]
    done = grown.run(*line, f"output={out}")
    assert done.returncode == 0, done.stderr
    labels = tifffile.imread(out)
    np.testing.assert_array_equal(labels[[7, 8]], tifffile.imread(run / "labels" / "test.tif"))
    assert (
        grown.run(*line, f"output={tmp_path / 't.tif'}", "windows=tiles", "tile=40").returncode == 0
    )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "t.tif"), labels)
    more = [f"output={tmp_path / 'p.tif'}", f"probabilities={tmp_path / 'share.tif'}", "tta=d4"]
    assert grown.run(*line, *more).returncode == 0
    layers = [
        open_stack(tmp_path / f"share-{name}.tif").read(7)
        for name in ("background", "mitochondrion")
    ]
    assert layers[0].mean() > layers[1].mean() > 0
    assert (tifffile.imread(tmp_path / "p.tif") == labels).mean() > 0.95


@pytest.mark.slow
def test_shards_and_the_mean_of_a_forest_and_a_network(
    grown: Commands, finished: Commands, tmp_path: Path
) -> None:
    """Networks that need the paper's windows cannot be averaged with a forest; by whole slices they can."""
    line = [
        "predict.py",
        f"image={grown.data / 'image.tif'}",
        "threads=1",
        "device=cpu",
        "voxel_size=[20,5,5]",
    ]
    forest = f"checkpoint={grown.run_directory()}"
    for shard in ("shard=1", "shard=0"):
        done = grown.run(*line, forest, f"output={tmp_path / 'shards.tif'}", "shards=2", shard)
        assert done.returncode == 0, done.stderr
    assert grown.run(*line, forest, f"output={tmp_path / 'one.tif'}").returncode == 0
    assert (tmp_path / "shards.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()
    both = tmp_path / "both"
    for commands in (grown, finished):
        shutil.copytree(commands.run_directory(), both / commands.run_directory().name)
    arguments = [
        *line,
        f"checkpoint={both}",
        f"output={tmp_path / 'mean.tif'}",
        f"disagreement={tmp_path / 'd.tif'}",
    ]
    done = grown.run(*arguments, "windows=whole")
    assert done.returncode == 0, done.stderr
    assert "the mean of 2 of 2 runs" in done.stdout and " s a slice, " in done.stdout
    mean, own = tifffile.imread(tmp_path / "mean.tif"), tifffile.imread(tmp_path / "one.tif")
    differs = tifffile.imread(tmp_path / "d.tif")
    assert 0.5 < (mean == own).mean() < 1
    assert {0, 128} <= set(np.unique(differs)) <= {0, 128, 255}  # both may differ from their mean
    refused = grown.run(*arguments, "windows=paper", "overwrite=true")
    grown.refused(refused, "windows=paper: a forest looks further than such windows show it")
    grown.refused(
        grown.run("fibseg", "exactness", str(grown.run_directory())), "nothing to measure"
    )


def test_a_network_that_needs_the_papers_windows_and_a_forest(made: Made) -> None:
    forest, network = (
        described(from_scikit_learn(made[2], 1, 4)),
        replace(trained([], 1), patch_size=64),
    )
    assert str(
        common_windows(
            [forest, replace(network, windows={"kind": "whole", "size": 0})], "auto", 0, 100
        )
    ) == ("tiles 1024")
    with pytest.raises(FibsegError, match="needs windows=paper, by which a forest cannot be cut"):
        common_windows([forest, network], "auto", 0, 100)
    assert common_precision([forest, replace(network, precision="bf16")]) == "bf16"


def test_the_estimate_of_memory_is_near_what_numpy_takes(made: Made) -> None:
    network = from_scikit_learn(made[2], 1, 4)
    pixels = torch.rand(1, 1, 400, 500)
    network.votes(pixels[..., :64, :64])
    tracemalloc.start()
    network.votes(pixels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 * peak < network.bytes_for(400 * 500) < 2 * peak


@pytest.mark.slow
def test_in_a_sweep_beside_a_network_and_compared(commands: Commands) -> None:
    """Two seeds; one that was killed begins again, a finished one is skipped."""
    line = ["train.py", "-m", *recipe(commands), "filter=off", "seed=0,1"]
    done = commands.run_process(*line, "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    (first,) = (path.parent for path in commands.folder.glob("runs/tiny/forest-*-s0-*/scores.json"))
    forest = (first / "checkpoints" / "forest.safetensors").read_bytes()
    (first / "scores.json").unlink()  # as after a kill
    (first / "checkpoints" / "forest.safetensors").write_bytes(b"half")
    again = commands.run_process(*line, "hydra/launcher=basic")
    assert again.returncode == 0, again.stderr
    assert (first / "checkpoints" / "forest.safetensors").read_bytes() == forest
    assert commands.train("seed=0").returncode == 0
    told = commands.run(
        "fibseg", "compare", str(commands.folder / "runs" / "tiny"), cwd=commands.folder
    )
    assert told.returncode == 0, told.stderr
    assert "forest-off" in told.stdout and "unet-off" in told.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.trees=0"], "model.trees: 0 is impossible; expected 1 or more"),
        (["model.slices=some"], "model.slices: some is impossible; expected every_other or all"),
        (["model.width=3"], "width: no such key"),
        (
            ["filter=on", "filter.scope=patch"],
            "filter.scope: patch is impossible; expected slice with this model",
        ),
        (
            ["seed=4294967296"],
            "seed: 4294967296 is impossible; expected below 2^32 with this model",
        ),
        (["init_from=."], "init_from: . is impossible; expected null with this model"),
    ],
)
def test_mistakes(commands: Commands, arguments: list[str], said: str) -> None:
    result = commands.run("train.py", *recipe(commands), *arguments)
    commands.refused(result, said)
    assert not (commands.folder / "runs").exists()


@pytest.mark.slow
def test_a_class_that_every_other_slice_lacks_and_slices_that_are_too_small(
    commands: Commands,
) -> None:
    labels, folder = tifffile.imread(commands.data / "labels.tif"), commands.folder / "data"
    folder.mkdir()
    shutil.copy(commands.data / "image.tif", folder)
    labels[[0, 2]] = np.where(labels[[0, 2]] == 3, 0, labels[[0, 2]])
    write_stack(folder / "labels.tif", labels)
    commands.data = folder
    refused = commands.run("train.py", *recipe(commands))
    commands.refused(refused, "no pixel of er in the slices to train on; take model.slices=all")
    assert not (commands.folder / "runs").exists()
    done = commands.run("train.py", *recipe(commands), "model.slices=all")
    assert done.returncode == 0 and "4000 pixels of 4 of 4 training slices" in done.stdout, (
        done.stderr
    )
    for name in ("image.tif", "labels.tif"):
        write_stack(folder / name, tifffile.imread(folder / name)[:, :40])
    refused = commands.run("train.py", *recipe(commands), "model.slices=all", "name=small")
    assert not (commands.folder / "runs" / "small").exists()
    commands.refused(refused, "a slice of 40 x 96 pixels is smaller than the largest feature")
