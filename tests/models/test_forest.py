"""A forest's labels against scikit-learn's own, its early votes, and its file."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.filters.channels import Channels
from fibseg.machine import Compute
from fibseg.models.checkpoints import save_arrays
from fibseg.models.features import feature_names
from fibseg.models.forest import DEEPEST, ForestNetwork
from fibseg.models.trained import load_model, save_model
from fibseg.prediction.ensemble import common_windows, sources_of
from fibseg.prediction.slices import WindowedNetwork, deciding
from fibseg.prediction.windows import windows_of
from tests.support.forests import PhantomForest, phantom_forest
from tests.support.models import content_of, trained

COMPUTE = Compute(device=torch.device("cpu"), precision="32", batch_size=2, filter_threads=1)


@pytest.fixture(scope="module")
def forest() -> PhantomForest:
    """Read only."""
    return phantom_forest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the tests save a forest."""
    return tmp_path / "model.safetensors"


@pytest.mark.slow(seconds=4)
def test_labels_and_shares_are_those_of_scikit_learn_also_after_loading(
    forest: PhantomForest, path: Path
) -> None:
    model = forest.model
    expected = forest.trainer.predict(forest.features).reshape(forest.labels.shape)
    assert (expected == forest.labels).mean() > 0.9
    assert len(np.unique(expected)) == 4
    save_model(model, path)
    loaded = load_model(path)
    assert loaded.windows == model.windows
    assert loaded.class_names == model.class_names
    for either in (model, loaded):
        for kind, size in (("whole", 0), ("tiles", 50)):
            windowed = WindowedNetwork(
                deciding(either, COMPUTE.device), windows_of(either, kind, size), COMPUTE
            )
            labels = windowed.labels(forest.image[None])
            np.testing.assert_array_equal(labels, expected, err_msg=kind)
        with pytest.raises(FibsegError, match="windows=paper: a forest looks further"):
            windows_of(either, "paper")
    pixels = torch.from_numpy(forest.image[None, None]).float() / 255
    shares = loaded.network(pixels).softmax(1)[0].numpy()
    by_scikit_learn = forest.trainer.predict_proba(forest.features).T.reshape(shares.shape)
    np.testing.assert_allclose(shares, by_scikit_learn, atol=1e-5)
    importances = forest.trainer.feature_importances_
    np.testing.assert_array_equal(loaded.network.importances, importances)
    assert path.stat().st_size < 25 * len(loaded.network.left) + 2**16
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("first", "votes"),
    [(0, (30, 0)), (19, (21, 19)), (20, (20, 20)), (21, (9, 21)), (40, (0, 30))],
)
def test_a_pixel_is_decided_only_when_the_rest_of_the_trees_cannot_change_it(
    first: int, votes: tuple[int, int]
) -> None:
    """Of forty trees of one leaf, the `first` ones vote for class 1 and the rest for class 0.

    With a lead of more than ten before the last ten trees, these are not asked.
    """
    network = ForestNetwork(channels=1, classes=2, trees=40, nodes=40, rows=2)
    network.starts.copy_(torch.arange(41))
    network.left.fill_(-1)
    network.right.fill_(-1)
    network.shares.copy_(torch.eye(2))
    network.row[:first] = 1
    image = torch.zeros(1, 1, 64, 64)
    assert tuple(network.votes(image)[0, :, 5, 5].tolist()) == votes
    shares = network(image)[0, :, 5, 5].exp().tolist()
    assert shares == pytest.approx([(40 - first) / 40, first / 40], abs=1e-6)


Arrays = dict[str, torch.Tensor]


def set_value(name: str, place: int | tuple[int, int], value: float) -> Callable[[Arrays], None]:
    """A change of one number of a forest."""

    def change(arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def shorten(name: str, part: slice | tuple[slice, slice]) -> Callable[[Arrays], None]:
    """A change of a forest that leaves a part of an array."""

    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name][part].contiguous()

    return change


def lead_nowhere(arrays: Arrays) -> None:
    leaf = int((arrays["left"] < 0).nonzero()[0])
    arrays["left"][leaf] = -7


def move_a_start(arrays: Arrays) -> None:
    arrays["starts"][1] = arrays["starts"][2] + 1


DAMAGES: dict[str, tuple[Callable[[Arrays], object], str]] = {
    "a child far away": (set_value("left", 0, 10**6), "leads out of its tree"),
    "a loop": (set_value("right", 0, 0), "leads out"),
    "a child before the tree": (lead_nowhere, "leads "),
    "an unknown feature": (set_value("feature", 0, 49), "asks for a feature"),
    "an unknown row": (set_value("row", 3, 10**5), "has no shares"),
    "starts out of order": (move_a_start, "do not fit their nodes"),
    "a huge start": (set_value("starts", 1, 2**62), "do not fit their"),
    "a negative start": (set_value("starts", 2, -(2**63)), "not fit their nodes"),
    "a threshold of NaN": (set_value("threshold", 0, float("nan")), "no number|no finite number"),
    "a share above 1": (set_value("shares", (0, 0), 1.5), "more than a whole"),
    "a share below 0": (set_value("shares", (0, 0), -0.1), "than a whole"),
    "an infinite share": (set_value("shares", (0, 0), float("inf")), "no number|no finite number"),
    "no shares": (lambda arrays: arrays.pop("shares"), "do not fit each other"),
    "too few classes": (shorten("shares", (slice(None), slice(2))), "not fit each other"),
    "too few starts": (shorten("starts", slice(1)), "fit each other"),
    "too few rows": (shorten("row", slice(-1)), "do not fit its forest"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=list(DAMAGES))
def test_a_forest_that_leads_out_of_its_trees_is_refused(
    forest: PhantomForest, path: Path, damage: Callable[[Arrays], object], message: str
) -> None:
    """Compiled code would follow an index anywhere."""
    save_model(forest.model, path)
    arrays = content_of(path)["weights"]
    content = json.loads(metadata(path)["fibseg"])
    damage(arrays)
    # With a checksum that fits: what is made to do harm has one.
    save_arrays(arrays, content, path)
    with pytest.raises(FibsegError, match=message):
        load_model(path)


def test_other_arrays_and_other_features(forest: PhantomForest) -> None:
    network = forest.network
    pixels = torch.from_numpy(forest.image[None, None]).float() / 255
    before = network.votes(pixels)
    network.load_state_dict(network.state_dict() | {"shares": network.shares.flip(1)})
    assert torch.equal(network.votes(pixels), before.flip(1))
    with pytest.raises(ValueError, match="98 features of a pixel, but the forest asks for 49"):
        network.votes(pixels.expand(1, 2, -1, -1))


def metadata(path: Path) -> dict[str, str]:
    return load_metadata(path.read_bytes())


def load_metadata(content: bytes) -> dict[str, str]:
    (size,) = struct.unpack("<Q", content[:8])
    return dict(json.loads(content[8 : 8 + size])["__metadata__"])


def test_a_file_that_is_no_forest_is_refused(forest: PhantomForest, path: Path) -> None:
    with pytest.raises(FibsegError, match="no such checkpoint"):
        load_model(path)
    for content in (b"", b"hello", b"\x10\0\0\0\0\0\0\0{}              "):
        path.write_bytes(content)
        with pytest.raises(FibsegError, match="no model of fibseg, or a damaged one"):
            load_model(path)
    save_model(forest.model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(FibsegError, match="damaged"):
        load_model(path)
    save_model(forest.model, path)
    content = json.loads(metadata(path)["fibseg"]) | {"architecture": "unet"}
    save_arrays(content_of(path)["weights"], content, path)
    with pytest.raises(FibsegError, match="arguments"):
        load_model(path)


def test_a_file_whose_parts_do_not_fit_is_refused(forest: PhantomForest, path: Path) -> None:
    model = forest.model
    save_model(replace(model, channels=Channels((30,))), path)
    with pytest.raises(FibsegError, match="a network of 1 channels, but filter areas"):
        load_model(path)
    # No memory is taken for what a file claims.
    for arguments, message in (
        ({**model.arguments, "nodes": 10**9}, "do not fit each other"),
        ({**model.arguments, "nodes": 10**15}, "arguments.nodes is 1000000000000000; expected a"),
        ({**model.arguments, "nodes": -1}, "arguments.nodes is -1; expected a whole number"),
        ([1], r"arguments is \[1\]; expected values by name"),
    ):
        save_model(replace(model, arguments=arguments), path)
        with pytest.raises(FibsegError, match=message):
            load_model(path)
    save_model(replace(model, class_names=model.class_names[:2]), path)
    with pytest.raises(FibsegError, match="do not fit each other"):
        load_model(path)
    save_model(model, path)
    arrays = content_of(path)["weights"]
    content = json.loads(metadata(path)["fibseg"])
    assert content["features"] == feature_names([])
    for names in (content["features"][::-1], None):
        save_arrays(arrays, content | {"features": names}, path)
        with pytest.raises(FibsegError, match="its features are not those that this fibseg"):
            load_model(path)


def test_flipped_bits_are_found_and_files_without_a_checksum_are_read(
    forest: PhantomForest, path: Path
) -> None:
    save_model(forest.model, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for offset in rng.integers(0, len(whole), 60):
        flipped = bytearray(whole)
        flipped[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(FibsegError, match=r"damaged|format"):
            load_model(path)
    content = json.loads(load_metadata(whole)["fibseg"])
    path.write_bytes(whole)
    arrays = content_of(path)["weights"]
    save_file(arrays, path, {"fibseg": json.dumps(content | {"format": 4})})
    assert torch.equal(load_model(path).network.shares, forest.network.shares)
    for number in (5, 9, 10):
        save_file(arrays, path, {"fibseg": json.dumps(content | {"format": number})})
        with pytest.raises(FibsegError, match="a damaged model: it has no checksum"):
            load_model(path)


def test_a_forest_of_format_9_is_read_by_the_checksum_in_its_metadata(
    forest: PhantomForest, path: Path
) -> None:
    save_model(forest.model, path)
    arrays = content_of(path)["weights"]
    content = json.loads(metadata(path)["fibseg"])
    text = json.dumps(
        {name: content[name] for name in content.keys() - {"training"}} | {"format": 9}
    )
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        values = arrays[name].numpy()
        digest.update(f"{name} torch.{values.dtype} {values.shape} ".encode() + values.tobytes())
    save_file(arrays, path, {"fibseg": text, "sha256": digest.hexdigest()})
    model = load_model(path)
    assert torch.equal(model.network.shares, forest.network.shares)
    assert model.file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    arrays["shares"][0, 0] += 0.25
    save_file(arrays, path, {"fibseg": text, "sha256": digest.hexdigest()})
    with pytest.raises(FibsegError, match="its SHA-256 differs"):
        load_model(path)


def chained(nodes: int) -> Arrays:
    """A tree whose nodes lead to one after the other."""
    inner = np.arange(0, nodes - 1, 2)
    left = np.full(nodes, -1, np.int32)
    right = left.copy()
    left[inner] = inner + 1
    right[inner] = inner + 2
    return {
        "starts": torch.tensor([0, nodes]),
        "left": torch.from_numpy(left),
        "right": torch.from_numpy(right),
        "feature": torch.zeros(nodes, dtype=torch.int32),
        "threshold": torch.zeros(nodes),
        "row": torch.zeros(nodes, dtype=torch.int32),
        "shares": torch.full((1, 4), 0.25, dtype=torch.float64),
        "importances": torch.zeros(49, dtype=torch.float64),
    }


def test_a_forest_that_would_be_walked_for_ever_is_refused(
    forest: PhantomForest, path: Path
) -> None:
    save_model(forest.model, path)
    content = json.loads(metadata(path)["fibseg"])

    def load(arrays: Arrays) -> None:
        save_arrays(arrays, content | {"arguments": ForestNetwork.sizes(arrays)}, path)
        load_model(path)

    load(chained(2 * DEEPEST + 1))
    for nodes in (2 * DEEPEST + 3, 200_001):
        with pytest.raises(FibsegError, match=f"a tree of more than {DEEPEST} levels"):
            load(chained(nodes))
    for child in (4, 6):
        # Two ways to one node, and none to another.
        arrays = chained(9)
        arrays["left"][2] = child
        with pytest.raises(FibsegError, match="a node has no parent, or several"):
            load(arrays)


def test_a_network_that_needs_the_papers_windows_and_a_forest(forest: PhantomForest) -> None:
    model = forest.model
    network = replace(trained([], 1), patch_size=64)
    whole = replace(network, windows={"kind": "whole", "size": 0})
    assert str(common_windows([model, whole], "auto", 0, 100)) == "tiles 1024"
    with pytest.raises(FibsegError, match="needs windows=paper, by which a forest cannot be cut"):
        common_windows([model, network], "auto", 0, 100)


def test_the_estimate_of_memory_is_near_what_numpy_takes(forest: PhantomForest) -> None:
    network = forest.network
    pixels = torch.rand(1, 1, 400, 500)
    # The walk is compiled at its first use.
    network.votes(pixels[..., :64, :64])
    tracemalloc.start()
    network.votes(pixels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 * peak < network.bytes_for(400 * 500) < 2 * peak


def test_grey_ranges_of_single_slices_are_read_again(forest: PhantomForest, path: Path) -> None:
    grey = GreyRange(0.0, 200.0, (1.0, 99.0))
    save_model(replace(forest.model, grey_range=grey), path)
    # As a prediction groups models; a list of JSON could be no key.
    assert sources_of([load_model(path)]) == {(grey, (), 0): [0]}
