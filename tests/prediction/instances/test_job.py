"""Objects of a whole stack by predict.py: against one made in memory, resumed, shared out."""

from __future__ import annotations

import signal
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest
import tifffile
import torch

from fibseg.models.objects import ObjectRules
from fibseg.models.trained import TrainedModel, save_model
from fibseg.prediction.instances import slice_objects
from fibseg.prediction.output.outputs import KeptSlice, Output
from fibseg.prediction.output.session import StackSession
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.whole_cell import label_and_keep
from fibseg.stack import open_stack, read_notes, write_stack
from tests.support import Commands
from tests.support.forked import start_prediction
from tests.support.instances import RULES, noise, same_partition, slowly_linked, with_head
from tests.support.labelling import files_of, label_into, labeller, stack_of
from tests.support.models import trained

SHAPE = (14, 56, 72)


def image() -> np.ndarray:
    """Smooth grey values, so that neighbouring slices look alike."""
    values = noise(SHAPE, 3, seed=5)
    return np.asarray((128 + 40 * values / values.std()).clip(0, 255), np.uint8)


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A folder with a stack, a model with a head and one without, whose class a has objects."""
    write_stack(tmp_path / "image.tif", image(), [20, 5, 5])
    save_model(model_of_cell(), tmp_path / "head.safetensors")
    components = replace(trained([], 1), objects=ObjectRules("none", ["a"], smallest=4))
    save_model(components, tmp_path / "plain.safetensors")
    save_model(trained([], 1), tmp_path / "old.safetensors")
    return tmp_path


def model_of_cell() -> TrainedModel:
    """A head whose maps lie around the level of seeds."""
    model = with_head(seed=8)
    return replace(model, objects=replace(RULES, level=middle(model), overlap=0.3, smallest=6))


def middle(model: TrainedModel) -> float:
    """A depth that some pixels of the image exceed, and others do not."""
    return float(np.quantile(maps_of(model), 0.6))


def maps_of(model: TrainedModel) -> np.ndarray:
    """Maps (Z, 2, H, W) of the image by the network alone."""
    grey = model.grey_range
    images = np.stack([_in_8bit(page, grey.low, grey.high) for page in image()])
    with torch.inference_mode():
        scores = model.network(torch.from_numpy(images)[:, None] / 255, with_maps=True)
    return np.asarray(scores[:, 3:].sigmoid())


def _in_8bit(page: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint((page - low) / (high - low) * 255).clip(0, 255).astype(np.float32)


def predict(commands: Commands, cell: Path, name: str, *more: str) -> str:
    result = commands.run("predict.py", *arguments(cell, name, *more))
    assert result.returncode == 0, result.stderr
    return result.stdout


def arguments(cell: Path, name: str, *more: str) -> list[str]:
    return [
        f"image={cell / 'image.tif'}",
        f"output={cell / name}.tif",
        f"instances={cell / name}-objects.tif",
        "device=cpu",
        "threads=1",
        "processes=1",
        "windows=whole",
        *more,
    ]


def test_objects_of_a_head_are_those_made_in_memory(commands: Commands, cell: Path) -> None:
    text = predict(commands, cell, "out", f"checkpoint={cell / 'head.safetensors'}")
    assert f"{cell / 'out-objects.tif'}: objects, their numbers from 1" in text
    values = tifffile.imread(cell / "out.tif")
    objects = tifffile.imread(cell / "out-objects.tif")
    assert objects.dtype == np.uint32 and list(open_stack(cell / "out-objects.tif").voxel_size) == [
        20,
        5,
        5,
    ]
    # The labels are those of a prediction without objects.
    result = commands.run(
        "predict.py",
        *(entry for entry in arguments(cell, "plain") if not entry.startswith("instances")),
        f"checkpoint={cell / 'head.safetensors'}",
    )
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(values, tifffile.imread(cell / "plain.tif"))
    model = model_of_cell()
    rules = model.objects
    assert rules is not None
    labels = np.searchsorted([0, 7, 9], values).astype(np.uint8)
    slices = np.stack(
        [
            slice_objects(page, maps, [1, 2], rules.level)
            for page, maps in zip(labels, maps_of(model), strict=True)
        ]
    )
    expected = slowly_linked(labels, slices, rules.overlap)
    numbers, sizes = np.unique(expected, return_counts=True)
    expected[np.isin(expected, numbers[sizes < rules.smallest])] = 0
    assert same_partition(objects, expected)
    found, first = np.unique(objects, return_index=True)
    assert found.tolist() == list(range(objects.max() + 1)) and (np.diff(first[1:]) > 0).all()
    # More than components would give, so that the head has a say.
    assert objects.max() > cc3d.connected_components(labels, connectivity=26).max()
    notes = read_notes(cell / "out-objects.tif") or {}
    assert notes["objects"]["level"] == rules.level and notes["holds"] == "objects"
    again = commands.run(
        "predict.py", *arguments(cell, "out", f"checkpoint={cell / 'head.safetensors'}")
    )
    assert "finished already" in again.stdout


def test_without_a_head_objects_are_components_in_3_d(commands: Commands, cell: Path) -> None:
    predict(commands, cell, "out", f"checkpoint={cell / 'plain.safetensors'}")
    mask = tifffile.imread(cell / "out.tif") == 7
    expected = cc3d.dust(mask, 4, connectivity=26)
    expected = cc3d.connected_components(expected, connectivity=26)
    assert same_partition(tifffile.imread(cell / "out-objects.tif"), expected)
    assert expected.any()


def test_turned_and_averaged_models_have_objects(commands: Commands, cell: Path) -> None:
    for number, more in enumerate(
        (["tta=d4"], ["windows=blend"], [f"probabilities={cell / 'p.tif'}"])
    ):
        name = f"out{number}"
        predict(commands, cell, name, f"checkpoint={cell / 'head.safetensors'}", *more)
        labels = tifffile.imread(cell / f"{name}.tif")
        objects = tifffile.imread(cell / f"{name}-objects.tif")
        assert objects.any() and not objects[labels == 0].any()
        pairs = np.unique(np.stack([objects[objects > 0], labels[objects > 0]]), axis=1)
        # An object has one class.
        assert len(np.unique(pairs[0])) == pairs.shape[1]


def test_mistakes(commands: Commands, cell: Path) -> None:
    result = commands.run(
        "predict.py", *arguments(cell, "out", f"checkpoint={cell / 'old.safetensors'}")
    )
    commands.refused(result, "no class of this model has objects", "fibseg measure --instances")
    same = [f"checkpoint={cell / 'head.safetensors'}", f"instances={cell / 'out.tif'}"]
    result = commands.run(
        "predict.py", *arguments(cell, "out")[:2], *arguments(cell, "out")[3:], *same
    )
    commands.refused(result, "two of them are one file")
    assert not (cell / "out.tif").exists()


def staged(path: Path, shape: tuple[int, int, int] = SHAPE, suffix: str = ".tif") -> Staging:
    """A staging folder of labels and objects; "5.zarr" is OME-Zarr 0.5."""
    rules = model_of_cell().objects
    outputs = [
        Output(path / f"labels{suffix}", "uint8", {"holds": "labels"}),
        Output(path / f"objects{suffix}", "uint32", {"holds": "objects"}, rules),
    ]
    if suffix == "5.zarr":
        outputs = [replace(output, ome_zarr="0.5") for output in outputs]
    return Staging(outputs, shape, [20.0, 5.0, 5.0])


@pytest.mark.parametrize("suffix", [".tif", ".zarr", "5.zarr"])
def test_processes_and_damaged_slices_give_the_same_ids(tmp_path: Path, suffix: str) -> None:
    model = model_of_cell()
    whole = labeller(model, objects=model.objects)
    label_into(staged(tmp_path / "whole", suffix=suffix), whole, stack_of(image()))
    parts = staged(tmp_path / "parts", suffix=suffix)
    # A process that labels some slices, and is killed; one of them is damaged.
    with StackSession(parts.folder):
        parts.begin({"made": "here"})
        for _ in label_and_keep(whole, stack_of(image()), [9, 1, 2], parts):
            pass
    parts.file(1).write_bytes(parts.file(1).read_bytes()[:100])
    label_into(staged(tmp_path / "parts", suffix=suffix), whole, stack_of(image()))
    for name in ("labels", "objects"):
        first = files_of(tmp_path / "whole" / f"{name}{suffix}")
        assert first == files_of(tmp_path / "parts" / f"{name}{suffix}")
    objects = open_stack(tmp_path / "whole" / f"objects{suffix}")
    assert max(page.max() for page in objects) > 10


def test_a_slice_that_changes_gives_the_objects_of_a_new_prediction(
    commands: Commands, cell: Path
) -> None:
    checkpoint = f"checkpoint={cell / 'head.safetensors'}"
    predict(commands, cell, "out", checkpoint)
    pixels = image()
    pixels[5] = pixels[9]
    write_stack(cell / "image.tif", pixels, [20, 5, 5])
    assert "slices 5 have changed" in predict(commands, cell, "out", checkpoint)
    predict(commands, cell, "fresh", checkpoint)
    for kind in ("", "-objects"):
        mended = tifffile.imread(cell / f"out{kind}.tif")
        np.testing.assert_array_equal(mended, tifffile.imread(cell / f"fresh{kind}.tif"))


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(commands: Commands, cell: Path) -> None:
    checkpoint = f"checkpoint={cell / 'head.safetensors'}"
    predict(commands, cell, "whole", checkpoint)
    for kill, goal in enumerate((3, 8)):
        log = cell / f"log-{kill}.txt"
        process = start_prediction(arguments(cell, "out", checkpoint), log)
        end = time.monotonic() + 120
        folder = cell / ".out.tif.started"
        while process.is_alive() and time.monotonic() < end:
            if len(list(folder.glob("0*.tif"))) >= goal:
                break
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, log.read_text()
    predict(commands, cell, "out", checkpoint)
    for kind in ("", "-objects"):
        first = (cell / f"whole{kind}.tif").read_bytes()
        assert first == (cell / f"out{kind}.tif").read_bytes()


@pytest.mark.slow(seconds=8)
def test_memory_of_assembling_does_not_grow_with_the_depth(tmp_path: Path) -> None:
    labels = (noise((8, 720, 720), 20, seed=1) > 0).astype(np.uint8)
    objects = [slice_objects(page, None, [1], 0.5) for page in labels]

    def peak(depth: int) -> int:
        staging = staged(tmp_path / str(depth), (depth, 720, 720))
        staging.begin({})
        for z in range(depth):
            k = min(z % 14, 14 - z % 14)
            staging.write(z, [labels[k], objects[k]], KeptSlice(0.0, "0" * 16, zeroed=False))
        tracemalloc.start()
        assert staging.finish() is not None
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # imports
    assert peak(160) < 1.05 * peak(40)
