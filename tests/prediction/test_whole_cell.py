"""predict.py on whole stacks: stopped and resumed, shared out, averaged, and what it says when something fails."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from rich.console import Console

from fibseg.data.grey import GreyRange
from fibseg.errors import FibsegError
from fibseg.models.trained import load_model
from fibseg.prediction.ensemble import Ensemble, common_precision, common_windows, sources_of
from fibseg.prediction.slices import predict_scores, probabilities
from fibseg.prediction.stack import Labeller, identity, label_stack
from fibseg.prediction.staging import Kept, Output, Staging
from fibseg.prediction.whole_cell import label_stack_into
from fibseg.prediction.windows import Windows, chosen_windows, windows_of
from fibseg.stack import TiffWriter, open_stack, read_notes, write_stack
from fibseg.stack.base import Stack
from tests.support import Commands
from tests.support.labelling import CPU, IMAGE_SHAPE, labeller, random_image
from tests.support.models import trained


def stack_of(pixels: np.ndarray, broken: tuple[int, ...] = ()) -> Stack:
    def read(z: int) -> np.ndarray:
        if z in broken:
            raise FibsegError(f"here, slice {z}: damaged.")
        return np.asarray(pixels[z])

    return Stack("here", pixels.shape, pixels.dtype, read)


def staged(path: Path, dtype: str = "uint8") -> Staging:
    return Staging(
        [Output(path, dtype, {"classes": {"0": "background"}})], IMAGE_SHAPE, [20.0, 5.0, 5.0]
    )


def run(
    staging: Staging,
    ours: Labeller,
    stack: Stack,
    shard: tuple[int, int] = (0, 1),
    skip: bool = False,
) -> None:
    label_stack_into(staging, ours, stack, {"made": "here"}, shard, skip, Console(quiet=True))


@pytest.mark.parametrize("name", ["out.tif", "out.zarr"])
@pytest.mark.parametrize("areas", [[], [20, 200]])
def test_labels_are_those_of_each_slice_by_itself(
    tmp_path: Path, name: str, areas: list[int]
) -> None:
    model = trained(areas, 1 + len(areas))
    stack = stack_of(random_image())
    run(staged(tmp_path / name), labeller(model, processes=2), stack)
    found = open_stack(tmp_path / name)
    expected = [one.labels for one in label_stack(labeller(model), stack, range(12))]
    values = np.array(model.label_values, np.uint8)
    np.testing.assert_array_equal([found.read(z) for z in range(12)], values[np.stack(expected)])
    assert len(np.unique(values[np.stack(expected)])) > 1
    assert list(found.voxel_size or ()) == [20.0, 5.0, 5.0]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_shards_in_any_order_make_the_same_bytes(tmp_path: Path) -> None:
    ours, stack = labeller(trained([], 1)), stack_of(random_image())
    run(staged(tmp_path / "one.tif"), ours, stack)
    for number in (2, 0, 4, 1):
        run(staged(tmp_path / "many.tif"), ours, stack, (number, 5))
        assert not (tmp_path / "many.tif").exists()
    run(staged(tmp_path / "many.tif"), ours, stack, (3, 5))
    assert (tmp_path / "many.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()


def test_a_slice_that_cannot_be_read_is_named_and_the_rest_kept(tmp_path: Path) -> None:
    ours = labeller(trained([], 1))
    with pytest.raises(
        FibsegError,
        match=r"here, slice 5: damaged\. Slices 5, 7 could not be read; the rest is kept in",
    ):
        run(staged(tmp_path / "out.tif"), ours, stack_of(random_image(), (5, 7)))
    assert not (tmp_path / "out.tif").exists()
    kept = staged(tmp_path / "out.tif")
    assert kept.missing(range(12)) == [5, 7]
    seen: list[int] = []
    whole = stack_of(random_image())
    run(
        kept,
        ours,
        Stack("here", IMAGE_SHAPE, np.dtype(np.uint8), lambda z: seen.append(z) or whole.read(z)),
    )  # type: ignore[func-returns-value]
    assert (
        seen[-2:] == [5, 7] and len(seen) == 6
    )  # three are looked at: is it the same image? One is tried for the time
    run(staged(tmp_path / "whole.tif"), ours, whole)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    with pytest.raises(FibsegError, match="Slices 5 could not be read; they are 0 in the output"):
        run(staged(tmp_path / "zeros.tif"), ours, stack_of(random_image(), (5,)), skip=True)
    labels = tifffile.imread(tmp_path / "zeros.tif")
    assert (
        not labels[5].any()
        and (
            np.delete(labels, 5, 0) == np.delete(tifffile.imread(tmp_path / "whole.tif"), 5, 0)
        ).all()
    )


def test_another_model_into_a_started_output_is_refused(tmp_path: Path) -> None:
    staging = staged(tmp_path / "out.tif")
    digests = {z: f"{z}" for z in range(12)}
    staging.begin({"models": ["a"]}, digests.get)
    for z in range(4):
        staging.write(z, [random_image()[z]], Kept(0.0, digests[z], False))
    staging.begin({"models": ["a"]}, digests.get)
    with pytest.raises(
        FibsegError, match=r"was begun with other models; give another name, or delete"
    ):
        staging.begin({"models": ["c"]}, digests.get)
    with pytest.raises(FibsegError, match="was begun with other images"):
        staging.begin({"models": ["a"]}, lambda z: "other" if z == 3 else digests[z])
    staging.begin(
        {"models": ["a"]}, lambda z: None if z == 3 else digests[z]
    )  # it cannot be read now, and says nothing
    again = pytest.raises(FibsegError, match="another process labels these slices")
    with staging.shard(0, 1), again, staging.shard(0, 1):
        pass


def test_identity_tells_models_and_settings_apart() -> None:
    ours, stack = labeller(trained([], 1)), stack_of(random_image())
    first = identity(ours, stack, None)
    assert first == identity(ours, stack, None) == json.loads(json.dumps(first))
    told = replace(
        trained([], 1), windows={"kind": "whole"}
    )  # what a prediction costs is no part of the model
    assert identity(labeller(told), stack, None) == first
    other = trained([], 1)
    torch.nn.init.zeros_(next(iter(other.network.parameters())))
    others = [
        identity(labeller(other), stack, None),
        identity(labeller(replace(trained([], 1), window=GreyRange(0, 1))), stack, None),
        identity(replace(ours, turned=True), stack, None),
        identity(replace(ours, windows=windows_of(trained([], 1), "paper")), stack, None),
        identity(ours, stack, [20.0, 5.0, 5.0]),
        identity(ours, stack_of(random_image((12, 70, 91))), None),
    ]
    assert all(one != first for one in others)


def test_what_a_kill_or_a_bad_disk_leaves_is_no_slice(tmp_path: Path) -> None:
    """Slices without an identity, empty and cut files, partial outputs."""
    ours, stack = labeller(trained([], 1)), stack_of(random_image())
    run(staged(tmp_path / "whole.tif"), ours, stack)
    staging = staged(tmp_path / "out.tif")
    staging.begin({"made": "here"}, lambda _: None)
    for z in range(12):
        staging.write(z, [np.ones(IMAGE_SHAPE[1:], np.uint8)], Kept(0.0, "of another model", False))
    (staging.folder / "identity.json").unlink()  # as a kill within its removal may leave it
    (tmp_path / ".out.tif.99.partial").write_bytes(b"half")
    run(staging, ours, stack)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out.tif", "whole.tif"}
    with pytest.raises(FibsegError):
        run(staged(tmp_path / "again.tif"), ours, stack_of(random_image(), (11,)))
    staging = staged(tmp_path / "again.tif")
    staging.file(3).write_bytes(b"")
    staging.file(4).write_bytes(staging.file(4).read_bytes()[:40])
    assert staging.missing(range(12)) == [3, 4, 11]
    run(staging, ours, stack)
    assert (tmp_path / "again.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from fibseg.stack import {writer}
from fibseg.staging import Output, Staging
write = {writer}.write
def killed(self, pixels):
    write(self, pixels)
    if self._written == 7:
        os.kill(os.getpid(), signal.SIGKILL)
{writer}.write = killed
Staging([Output(Path(sys.argv[1]), "uint8", {{}})], {shape}, None).assemble()
"""


@pytest.mark.parametrize(
    ("name", "writer"), [("out.tif", "TiffWriter"), ("out.zarr", "ZarrWriter")]
)
def test_killed_while_the_output_is_made_of_the_slices(
    tmp_path: Path, name: str, writer: str
) -> None:
    outputs = []
    for folder in ("whole", "killed"):
        staging = Staging([Output(tmp_path / folder / name, "uint8", {})], IMAGE_SHAPE, None)
        staging.begin({"made": "here"}, lambda _: None)
        for z, one in enumerate(random_image()):
            staging.write(z, [one], Kept(0.0, str(z), False))
        outputs.append(staging)
    whole, killed = outputs
    assert whole.assemble()
    script = KILLED.format(writer=writer, shape=IMAGE_SHAPE)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "killed" / name)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / name).exists() and list(
        (tmp_path / "killed").glob("*.partial")
    )
    assert killed.assemble()
    assert files_of(tmp_path / "killed" / name) == files_of(tmp_path / "whole" / name)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [name]


def test_shards_of_another_count_wait_for_those_at_work(tmp_path: Path) -> None:
    """Their slices overlap; once the others have ended they may go on."""
    first, second = staged(tmp_path / "out.tif"), staged(tmp_path / "out.tif")
    first.begin({"made": "here"}, lambda _: None)
    with first.shard(1, 4):
        with second.shard(2, 4):
            pass
        with (
            pytest.raises(FibsegError, match="is labelled in 4 parts now, not in 8"),
            second.shard(7, 8),
        ):
            pass
    with second.shard(7, 8):
        pass


def test_zeros_for_a_slice_are_tried_again_and_told_again(tmp_path: Path) -> None:
    ours = labeller(trained([], 1))
    with pytest.raises(FibsegError, match="Slices 2 could not be read; they are 0"):
        run(staged(tmp_path / "out.tif"), ours, stack_of(random_image(), (2,)), (0, 2), skip=True)
    assert staged(tmp_path / "out.tif").missing(range(6)) == [2]
    with pytest.raises(FibsegError, match="Slices 2 could not be read; the rest is kept"):
        run(staged(tmp_path / "out.tif"), ours, stack_of(random_image(), (2,)))
    assert not (tmp_path / "out.tif").exists()
    run(staged(tmp_path / "out.tif"), ours, stack_of(random_image()))  # it was mended
    notes = read_notes(tmp_path / "out.tif")
    assert notes is not None and notes["zeroed"] == [] and len(notes["pixels"]) == 3
    with pytest.raises(FibsegError, match="they are 0 in the output"):
        run(staged(tmp_path / "zeros.tif"), ours, stack_of(random_image(), (2,)), skip=True)
    notes = read_notes(tmp_path / "zeros.tif")
    assert notes is not None and notes["zeroed"] == [2]


def test_a_filter_worker_that_dies_is_no_unreadable_slice(tmp_path: Path) -> None:
    """It ends the prediction with its own sentence, and what was labelled is kept."""
    ours, stack = labeller(trained([20], 2), processes=2), stack_of(random_image())
    found = label_stack(ours, stack, range(12))
    next(found)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(FibsegError, match="a process that filters patches died"):
        list(found)
    assert not list(tmp_path.iterdir())


def test_a_second_process_that_comes_too_late_to_assemble_has_nothing_to_do(tmp_path: Path) -> None:
    ours, stack = labeller(trained([], 1)), stack_of(random_image())
    first, second = staged(tmp_path / "out.tif"), staged(tmp_path / "out.tif")
    run(first, ours, stack, (0, 2))
    second.begin({"made": "here"}, lambda _: None)
    run(first, ours, stack, (1, 2))
    assert (tmp_path / "out.tif").exists() and second.assemble() == {}


def test_a_full_disk_is_one_sentence_and_what_was_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, stack = labeller(trained([], 1)), stack_of(random_image())
    write, written = tifffile.TiffWriter.write, []

    def full(self: tifffile.TiffWriter, *arguments: object, **options: object) -> object:
        written.append(1)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return write(self, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(tifffile.TiffWriter, "write", full)
        with pytest.raises(FibsegError, match=r"slice 5 could not be written .*is the disk full"):
            run(staged(tmp_path / "out.tif"), ours, stack)
        assert staged(tmp_path / "out.tif").missing(range(12)) == list(range(5, 12))
        assert not list(tmp_path.rglob("*.partial"))
    run(staged(tmp_path / "out.tif"), ours, stack)
    run(staged(tmp_path / "whole.tif"), ours, stack)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(
            TiffWriter,
            "write",
            lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        with pytest.raises(
            FibsegError, match=r"could not be written .*disk full\? All slices are kept in"
        ):
            run(staged(tmp_path / "later.tif"), ours, stack)
    assert not (tmp_path / "later.tif").exists() and not list(tmp_path.glob("*.partial"))
    seen: list[int] = []
    run(
        staged(tmp_path / "later.tif"),
        ours,
        Stack(
            "here", IMAGE_SHAPE, np.dtype(np.uint8), lambda z: seen.append(z) or random_image()[z]
        ),
    )  # type: ignore[func-returns-value]
    assert set(seen) == {0, 6, 11}  # looked at, not labelled again
    assert (tmp_path / "later.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_batches_are_halved_until_they_fit(tmp_path: Path) -> None:
    """A network that bears three windows at once; and one that bears none ends with a sentence."""
    model, most, sizes = trained([], 1), 3, list[int]()

    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError
            return torch.asarray(network(images))

    network, windows = model.network, windows_of(model, "paper")
    expected = next(
        label_stack(labeller(model, windows=windows, batch_size=16), stack_of(random_image()), [0])
    )
    small = labeller(replace(model, network=Small()), windows=windows, batch_size=16)
    found = list(label_stack(small, stack_of(random_image()), [0, 1]))
    np.testing.assert_array_equal(found[0].labels, expected.labels)
    assert sizes[:4] == [16, 8, 4, 2] and max(sizes[4:]) == 2  # kept for the slices that follow
    most = 0
    with pytest.raises(FibsegError, match="too little memory for windows=paper 32"):
        run(staged(tmp_path / "out.tif"), small, stack_of(random_image()))


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    """Of other grey windows and filters too, each with its own channels."""
    torch.manual_seed(1)
    plain, filtered = trained([], 1), replace(trained([30], 2), window=GreyRange(0.0, 255.0))
    for parameter in plain.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pixels = random_image()
    found = next(
        label_stack(labeller(plain, filtered, layers=["a", "disagreement"]), stack_of(pixels), [3])
    )
    each = []
    for model in (plain, filtered):
        single = labeller(model, layers=["background", "a", "b"])
        one = next(label_stack(single, stack_of(pixels), [3]))
        each.append(np.stack(one.layers).astype(float) / 255)
    mean = (each[0] + each[1]) / 2
    clear = (
        np.sort(mean, axis=0)[-1] - np.sort(mean, axis=0)[-2] > 0.02
    )  # not within the rounding of a layer
    assert found.labels is not None and clear.mean() > 0.5
    np.testing.assert_array_equal(found.labels[clear], mean.argmax(0)[clear])
    np.testing.assert_allclose(found.layers[0] / 255, mean[1], atol=0.006)
    votes = np.stack([one.argmax(0) != found.labels for one in each]).mean(0)
    sure = (
        np.all([np.sort(one, axis=0)[-1] - np.sort(one, axis=0)[-2] > 0.02 for one in each], axis=0)
        & clear
    )
    np.testing.assert_allclose(found.layers[1][sure] / 255, votes[sure], atol=0.003)


def test_windows_of_several_are_those_of_the_most_careful() -> None:
    """Tiles as small as one needs, with the larger halo; and what cannot be averaged is named."""
    whole, small, large = (
        replace(trained([], 1), windows={"kind": kind, "size": size})
        for kind, size in (("whole", 0), ("tiles", 512), ("tiles", 1024))
    )
    assert common_windows([whole, large, small], "auto", 0, 100) == windows_of(whole, "tiles", 512)
    assert str(common_windows([whole, trained([], 1)], "auto", 0, 100)) == "paper 32"
    assert (
        str(common_windows([whole], "auto", 0, 5 * 10**6)) == "tiles 1024"
    )  # a slice that is too large
    eunet = replace(whole, architecture="eunet")
    found = common_windows([whole, eunet], "tiles", 512, 100)
    assert (found.halo, found.grid) == (128, 32)
    with pytest.raises(FibsegError, match="different patch sizes"):
        common_windows([whole, replace(whole, patch_size=64)], "auto", 0, 100)
    with pytest.raises(FibsegError, match="different voxel sizes"):
        common_windows([whole, replace(whole, voxel_sizes=[[1, 2, 3]])], "auto", 0, 100)
    assert common_precision([whole, whole]) == "32"
    half = replace(whole, precision="bf16")
    assert (common_precision([half, half]), common_precision([whole, half])) == ("bf16", "32")


def test_members_must_fit() -> None:
    with pytest.raises(FibsegError, match="other classes: background, x, b and background, a, b"):
        sources_of([trained([], 1), replace(trained([], 1), class_names=["background", "x", "b"])])
    with pytest.raises(FibsegError, match=r"filter\.scope=patch cannot be averaged"):
        sources_of([trained([], 1), replace(trained([9], 2), filter_scope="patch")])
    two = [
        trained([], 1),
        replace(trained([9], 2), window=GreyRange(0, 1)),
        trained([9], 2),
        trained([], 1),
    ]
    assert list(sources_of(two).values()) == [[0], [1, 2], [3, 4]]


def test_eight_turns_of_a_network_commute_with_turning_the_image() -> None:
    torch.manual_seed(0)
    network = trained([], 1).network.eval()
    ensemble = Ensemble([(network, [0])], turned=True, disagreement=False)
    images = torch.rand(1, 1, 48, 64)
    with torch.no_grad():
        found, plain = ensemble(images), probabilities(network)(images)
        for quarter, flip in ((1, False), (2, True), (3, True), (0, True)):
            turned = images.rot90(quarter, (-2, -1))
            turned = turned.flip(-1) if flip else turned
            expected = found.rot90(quarter, (-2, -1))
            expected = expected.flip(-1) if flip else expected
            torch.testing.assert_close(ensemble(turned), expected, atol=1e-5, rtol=1e-4)
    assert (found - plain).abs().max() > 1e-3
    torch.testing.assert_close(found.sum(1), torch.ones(1, 48, 64))


def test_layers_of_probabilities_hold_the_scores() -> None:
    model, pixels = trained([], 1), random_image()
    ours = labeller(model, layers=["a"])
    one = next(label_stack(ours, stack_of(pixels), [0]))
    grey = (
        np.clip((pixels[0].astype(np.float32) - 3) * (255 / 231), 0, 255).round().astype(np.uint8)
    )
    scores = predict_scores(
        probabilities(model.network), grey[None], Windows("whole", 0, 0, 1), 1, CPU
    )
    np.testing.assert_allclose(one.layers[0] / 255, scores[1], atol=0.003)


def prediction(commands: Commands, output: Path, *more: str) -> list[str]:
    arguments = [
        f"checkpoint={commands.run_directory()}",
        f"image={output.parent / 'image.tif'}",
        f"output={output}",
    ]
    return commands.line("predict.py", *arguments, "device=cpu", "threads=1", "processes=1", *more)


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A stack of 60 slices."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 128, 160)).astype(np.uint8)
    write_stack(tmp_path / "image.tif", pixels, [20, 5, 5])
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_killed_at_random_moments_and_resumed(finished: Commands, cell: Path, ending: str) -> None:
    """Ten times for both formats together; the bytes are those of an undisturbed prediction."""
    undisturbed, out = cell / f"whole.{ending}", cell / f"out.{ending}"
    subprocess.run(prediction(finished, undisturbed), check=True, capture_output=True, timeout=120)
    line, kills, chance = prediction(finished, out), 0, random.Random(ending)
    started = cell / f".{out.name}.started"
    while kills < 5:
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        before = len(list(started.glob("0*.tif"))) if started.is_dir() else 0
        end = time.monotonic() + 60
        goal = before + chance.randint(0, 12)
        while process.poll() is None and time.monotonic() < end:
            if started.is_dir() and len(list(started.glob("0*.tif"))) >= goal:
                break
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ of 60 slices are labelled already", done.stdout)
    assert files_of(out) == files_of(undisturbed)
    assert not [path for path in cell.iterdir() if path.name.startswith(".")]
    again = subprocess.run(line, check=True, capture_output=True, text=True, timeout=120)
    assert "finished already" in again.stdout


def files_of(path: Path) -> dict[str, bytes]:
    """Bytes of a file, or of every file in a store; the name of a store stands in one of its files."""
    if path.is_file():
        return {"": path.read_bytes()}
    found = {
        str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()
    }
    found[".zattrs"] = found[".zattrs"].replace(f'"{path.stem}"'.encode(), b'"name"')
    return found


@pytest.mark.slow
def test_an_interrupted_prediction_and_one_of_another_model(finished: Commands, cell: Path) -> None:
    line = prediction(finished, cell / "out.tif")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(cell.glob(".out.tif.started/0*.tif")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and len(errors.splitlines()) == 1, errors
    other = subprocess.run(
        [*line, "windows=blend"], capture_output=True, text=True, check=False, timeout=60
    )
    finished.refused(other, "was begun with other windows")
    assert subprocess.run(
        [*line, "shards=2", "shard=0"], check=True, capture_output=True, timeout=60
    )
    told = subprocess.run(
        [*line, "shards=2", "shard=0"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert "30 of 30 slices are labelled already" in told and "30 of 60 are missing" in told
    assert not (cell / "out.tif").exists()
    done = subprocess.run(line, check=True, capture_output=True, text=True, timeout=60)
    assert "labels of 60 slices" in done.stdout
    notes, model = (
        read_notes(cell / "out.tif"),
        load_model(finished.run_directory() / "checkpoints" / "best.ckpt"),
    )
    assert notes is not None and notes["classes"]["1"] == "mitochondrion"
    assert notes["windows"] == str(chosen_windows(model)) and notes["measured"] == model.windows


@pytest.mark.slow
def test_a_folder_of_runs_is_averaged(finished: Commands, cell: Path) -> None:
    """Copies of one run with other seeds: the mean is the run itself; configurations are named."""
    first = finished.run_directory()
    write_stack(cell / "image.tif", random_image((3, 96, 128)), [20, 5, 5])
    for seed in (1, 2):
        copy = cell / "runs" / first.name.replace("-s0-", f"-s{seed}-")
        shutil.copytree(first, copy)
        content = json.loads((copy / "scores.json").read_text())
        content["run"]["seed"] = seed
        (copy / "scores.json").write_text(json.dumps(content))
    arguments = [
        "predict.py",
        f"image={cell / 'image.tif'}",
        "device=cpu",
        "threads=1",
        f"checkpoint={cell / 'runs'}",
    ]
    more = [f"probabilities={cell / 'p.zarr'}", f"disagreement={cell / 'd.tif'}", "tta=d4"]
    done = finished.run(*arguments, f"output={cell / 'many.tif'}", "best=2", *more)
    assert done.returncode == 0, done.stderr
    assert "the mean of 2 of 2 runs" in done.stdout and "2 models, windows " in done.stdout
    assert (
        finished.run(
            *arguments[:-1], f"checkpoint={first}", f"output={cell / 'one.tif'}", "tta=d4"
        ).returncode
        == 0
    )
    labels = tifffile.imread(cell / "one.tif")
    np.testing.assert_array_equal(tifffile.imread(cell / "many.tif"), labels)
    assert not tifffile.imread(cell / "d.tif").any()
    layers = np.stack(
        [
            np.stack([stack.read(z) for z in range(3)])
            for name in ("background", "mitochondrion", "membrane", "er")
            if (stack := open_stack(cell / f"p-{name}.zarr"))
        ]
    )
    assert (np.abs(layers.sum(0).astype(int) - 255) <= 2).all()
    clear = np.sort(layers, axis=0)[-1] > np.sort(layers, axis=0)[-2]
    values = np.array(load_model(first / "checkpoints" / "best.ckpt").label_values)
    np.testing.assert_array_equal(values[layers.argmax(0)][clear], labels[:3][clear])
    refused = finished.run(*arguments, f"output={cell / 'x.tif'}", "configuration=none")
    finished.refused(refused, "configuration=none: there are unet-on")


@pytest.mark.slow
def test_shards_side_by_side_by_one_command(finished: Commands, cell: Path) -> None:
    """And one of them killed on the way: it is started again, and the bytes are those of one process."""
    undisturbed, out = cell / "whole.tif", cell / "out.tif"
    subprocess.run(prediction(finished, undisturbed), check=True, capture_output=True, timeout=120)
    python, program, *arguments = prediction(finished, out)
    line = [
        python,
        program,
        "-m",
        *arguments,
        "shards=3",
        "shard=range(3)",
        "hydra.launcher.at_once=2",
    ]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cell
    )
    end = time.monotonic() + 60
    while not list(cell.glob(".out.tif.started/00000*.tif")) and time.monotonic() < end:
        time.sleep(0.02)
    first = subprocess.run(
        ["pgrep", "-f", f"output={out}.* shard=0"], capture_output=True, text=True, check=True
    )
    os.kill(int(first.stdout.split()[-1]), signal.SIGKILL)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "shard=0: died, started again" in told and "labels of 60 slices" in told
    assert out.read_bytes() == undisturbed.read_bytes()
    assert {path.name for path in cell.iterdir()} == {"image.tif", "whole.tif", "out.tif"}
    preset = (
        cell / "own" / "preset" / "gone.yaml"
    )  # shards read the configuration where the command does
    preset.parent.mkdir(parents=True)
    preset.write_text("# @package _global_\nimage: nowhere.tif\n")
    line = [python, program, f"--config-dir={cell / 'own'}", *line[2:], "+preset=gone"]
    line = [one for one in line if not one.startswith("image=")]
    broken = subprocess.run(line, capture_output=True, text=True, check=False, cwd=cell)
    finished.refused(broken, "nowhere.tif: no such file")


def test_many_shards_may_begin_at_once(tmp_path: Path) -> None:
    """The first makes the folder; none takes it for what a killed process left."""
    ours, stack = labeller(trained([], 1)), stack_of(random_image())
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(
                lambda number: run(staged(tmp_path / "out.tif"), ours, stack, (number, 6)), range(6)
            )
        )
    run(staged(tmp_path / "whole.tif"), ours, stack)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
