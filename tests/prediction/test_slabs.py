"""OME-Zarr 0.5 by several processes: which of them writes the shards of a slab, and kills."""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr.storage._local as local_store
from rich.console import Console

from fibseg.errors import FibsegError
from fibseg.prediction.job import finished_digests, unchanged_slices
from fibseg.prediction.labeller import Labeller
from fibseg.prediction.output.outputs import KeptSlice, Output, open_layers
from fibseg.prediction.output.session import StackSession
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.whole_cell import label_and_keep
from fibseg.stack import chunked as chunked_module
from fibseg.stack import open_channels, open_stack
from tests.support.forked import start_function
from tests.support.labelling import files_of, label_into, labeller, random_image, stack_of
from tests.support.models import trained

SHAPE = (70, 70, 90)
"""Slabs of 32, 32 and 6 slices."""

CLASSES = ("background", "a", "b")

OUTPUTS = ("labels.zarr", "probabilities.zarr")


def staged_shards(folder: Path) -> Staging:
    """Labels, and two channels beside them."""
    notes: dict[str, Any] = {"identity": {"made": "here"}, "holds": "probabilities"}
    outputs = [
        Output(folder / OUTPUTS[0], "uint8", notes, ome_zarr="0.5"),
        Output(folder / OUTPUTS[1], "uint8", notes, channels=CLASSES[1:], ome_zarr="0.5"),
    ]
    return Staging(outputs, SHAPE, [20.0, 5.0, 5.0])


def label(folder: Path, image: np.ndarray | None = None, broken: tuple[int, ...] = ()) -> bool:
    pixels = random_image(SHAPE) if image is None else image
    return label_into(
        staged_shards(folder), shares(), stack_of(pixels, broken), skip_unreadable=bool(broken)
    )


@cache
def shares() -> Labeller:
    """A labeller with the probabilities of two of its classes, one for all threads."""
    model = trained([], 1)
    return labeller(model, layers=list(model.class_names[1:3]))


def contents(folder: Path) -> list[dict[str, bytes]]:
    return [files_of(folder / name) for name in OUTPUTS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process writes that is not disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert label(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(OUTPUTS)
    return folder


def test_layers_are_channels_of_one_picture(whole: Path) -> None:
    first, second = open_channels(whole / OUTPUTS[1])
    labels = open_stack(whole / OUTPUTS[0])
    assert first.voxel_size == labels.voxel_size == (20, 5, 5)
    model = trained([], 1)
    classes = {value: k for k, value in enumerate(model.label_values)}
    pages = np.array([first.read(50), second.read(50)]).astype(int)
    chosen = np.vectorize(classes.get)(labels.read(50))
    assert len(np.unique(chosen)) > 1
    # Where a class is chosen, no other is more probable.
    assert (pages[0] >= pages[1])[chosen == 1].all() and (pages[1] >= pages[0])[chosen == 2].all()


@pytest.mark.parametrize("count", [1, 2])
def test_layers_that_are_read_side_by_side_share_the_memory(
    whole: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    most = 96 * SHAPE[1] * SHAPE[2]
    monkeypatch.setattr(chunked_module, "_LAYER_BYTES", most)
    layers = open_layers(staged_shards(whole).outputs * count)
    assert len(layers) == 3 * count
    kept = sum(layer.layer * SHAPE[1] * SHAPE[2] for layer in layers)
    assert most / 2 < kept <= most


@pytest.mark.parametrize("count", [2, 4])
def test_threads_as_processes_write_the_same_bytes(tmp_path: Path, whole: Path, count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(lambda _: label(tmp_path), range(count)))
    assert any(results)
    assert len(list(tmp_path.iterdir())) == 2
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow(seconds=9)
def test_four_processes_write_the_same_bytes(tmp_path: Path, whole: Path) -> None:
    processes = [start_function(label, tmp_path) for _ in range(4)]
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert contents(tmp_path) == contents(whole)


def keep_shards(folder: Path, positions: Iterable[int]) -> None:
    """Label and keep a part of the slices, as a process does that is killed then."""
    staging = staged_shards(folder)
    with StackSession(staging.folder):
        staging.begin({"made": "here"})
        for _ in label_and_keep(
            labeller=shares(),
            stack=stack_of(random_image(SHAPE)),
            positions=positions,
            staging=staging,
        ):
            pass


def test_a_slab_is_packed_with_its_last_slice(tmp_path: Path, whole: Path) -> None:
    staging = staged_shards(tmp_path)
    shards = staging.folder / "store" / "0" / "c"
    keep_shards(tmp_path, [40, *range(1, 32), 69])
    assert not shards.exists()
    keep_shards(tmp_path, [0])
    assert [path.name for path in shards.iterdir()] == ["0"]
    # Its slices are kept nowhere else.
    assert not (staging.folder / "store" / ".slices" / "0" / "5").exists()
    assert (staging.folder / "store" / ".slices" / "0" / "40").exists()
    assert label(tmp_path) and contents(tmp_path) == contents(whole)


def test_a_slice_is_labelled_again_that_lies_in_a_shard(tmp_path: Path, whole: Path) -> None:
    """It could not be read before, or its image has changed since."""
    with pytest.raises(FibsegError, match="Slices 3, 66 could not be read; they are 0"):
        label(tmp_path / "zeros", broken=(3, 66))
    assert not open_stack(tmp_path / "zeros" / OUTPUTS[0]).read(3).any()
    keep_shards(tmp_path / "started", range(32))
    staging = staged_shards(tmp_path / "started")
    changed = random_image(SHAPE)
    changed[3] = changed[9]
    assert label(tmp_path / "started", changed)
    assert label(tmp_path / "fresh", changed)
    assert contents(tmp_path / "started") == contents(tmp_path / "fresh") != contents(whole)
    assert not staging.folder.exists()


def test_a_finished_picture_gets_new_labels_where_slices_changed(
    tmp_path: Path, whole: Path
) -> None:
    """The other slices come from its shards, those of channels too."""
    changed = random_image(SHAPE)
    changed[3] = changed[9]
    assert label(tmp_path)
    outputs = staged_shards(tmp_path).outputs
    stack = stack_of(changed)
    digests = finished_digests(outputs, {"made": "here"}, stack)
    left = unchanged_slices(digests, shares(), stack, outputs[0].path, Console(quiet=True))
    assert left is not None and sorted(left) == [z for z in range(70) if z != 3]
    assert label_into(staged_shards(tmp_path), shares(), stack, restored=left)
    assert label(tmp_path / "fresh", changed)
    assert contents(tmp_path) == contents(tmp_path / "fresh") != contents(whole)


def test_a_shard_that_is_lost_is_made_again(tmp_path: Path, whole: Path) -> None:
    keep_shards(tmp_path, range(64))
    staging = staged_shards(tmp_path)
    (staging.folder / "store" / "0" / "c" / "1" / "0" / "0").unlink()
    assert sorted(staged_shards(tmp_path).kept()) == list(range(32))
    assert label(tmp_path) and contents(tmp_path) == contents(whole)


def write_all(folder: Path, operations: int) -> None:
    """Write slices, and finish; kill this process while zarr writes a file of the stores."""
    count = itertools.count()
    put = local_store._put

    def put_or_die(path: Path, *arguments: Any, **options: Any) -> Any:
        if next(count) == operations:
            # As zarr names a file that is not whole yet.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".0123.partial").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return put(path, *arguments, **options)

    local_store._put = put_or_die
    staging = staged_shards(folder)
    with StackSession(staging.folder):
        staging.begin({"made": "here"})
        write_missing(staging)
        staging.finish()


def write_missing(staging: Staging) -> None:
    image = random_image(SHAPE)
    for z in staging.missing(range(SHAPE[0])):
        staging.write(z, [image[z]] * 3, KeptSlice(0.0, str(z), zeroed=False))


@pytest.mark.slow(seconds=20)
def test_killed_at_files_of_the_stores(tmp_path: Path) -> None:
    """While slices are kept, slabs packed and notes written; each time the bytes are the same."""
    write_all(tmp_path / "whole", -1)
    chance = random.Random(0)
    # 70 slices of 3 chunks, 3 slabs of 3 shards, 9 files of metadata.
    points = [*chance.sample(range(4, 225), 6), 32 * 3 + 9, 32 * 3 + 10, 32 * 3 + 11, 225, 227, 228]
    killed = 0
    for point in points:
        folder = tmp_path / str(point)
        process = start_function(write_all, folder, point)
        process.join(timeout=120)
        killed += process.exitcode == -signal.SIGKILL
        staging = staged_shards(folder)
        with StackSession(staging.folder):
            if staging.begin({"made": "here"}):
                write_missing(staging)
                assert staging.finish() is not None
        assert contents(folder) == contents(tmp_path / "whole"), point
        assert sorted(path.name for path in folder.iterdir()) == sorted(OUTPUTS)
    assert killed >= 11
