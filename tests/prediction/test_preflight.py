"""What a prediction will take: memory against what torch has at one time, seconds, disk."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from fibseg import files
from fibseg.errors import FibsegError
from fibseg.filters.shapes import TREE_BYTES
from fibseg.models.kinds import create_model
from fibseg.models.trained import Decision, TrainedModel
from fibseg.prediction.memory import memory_errors_as_sentences
from fibseg.prediction.output.outputs import Output
from fibseg.prediction.output.staging import Staging
from fibseg.prediction.preflight import activations, trial
from fibseg.prediction.preflight.activations import LiveBytes, activation_bytes, affordable
from fibseg.prediction.preflight.report import report_needs
from fibseg.prediction.preflight.trial import Needs, tried
from fibseg.prediction.stack import label_stack
from fibseg.prediction.windows import windows_of
from tests.support.labelling import (
    CPU,
    IMAGE_SHAPE,
    label_into,
    labeller,
    random_image,
    stack_of,
    staged,
)
from tests.support.models import SMALL_NETWORKS, trained


def test_bytes_of_a_chain_by_hand() -> None:
    """Each layer holds its input and its output; a tensor that was freed does not count."""
    chain = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 4, 1)).to("meta")
    with torch.inference_mode(), LiveBytes() as counted:
        pixels = torch.empty(1, 1, 10, 10, device="meta")
        first = chain[0](pixels)
        second = chain[1](first)
        del first
        third = chain[2](second).relu_()
        view = third[:, :1]
    assert counted.peak == 4 * 100 * (1 + 8 + 2)
    assert counted.live == 4 * 100 * (1 + 2 + 4) and view.shape == (1, 1, 10, 10)
    del view, third, second, pixels
    assert counted.live == 0


def unet() -> TrainedModel:
    return trained([], 1)


def eunet() -> TrainedModel:
    arguments = SMALL_NETWORKS["eunet"]
    return replace(
        trained([], 1),
        network=create_model("eunet", **arguments),
        architecture="eunet",
        arguments=arguments,
    )


@pytest.mark.parametrize("make", [unet, eunet])
def test_bytes_grow_with_the_windows_and_are_those_of_real_tensors(
    make: Callable[[], TrainedModel],
) -> None:
    model = make()
    whole = labeller(model)
    channels = int(model.arguments["channels"])
    expected = activation_bytes(whole, 128, 160)
    with torch.inference_mode(), LiveBytes() as counted:
        model.network(torch.zeros(1, channels, 128, 160))
    assert expected == pytest.approx(counted.peak, rel=1e-3) and expected > 4 * 128 * 160
    assert activation_bytes(whole, 256, 320) == pytest.approx(4 * expected, rel=0.1)
    half = labeller(model, compute=replace(CPU, precision="bf16"))
    assert activation_bytes(half, 128, 160) == pytest.approx(expected / 2, rel=0.1)
    two_windows = replace(CPU, batch_size=2)
    paper = labeller(model, compute=two_windows, windows=windows_of(model, "paper"))
    assert activation_bytes(paper, 128, 160) < expected


def test_what_is_too_much_is_cut_into_tiles_or_refused_before_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = labeller(unet())
    said: list[str] = []
    assert affordable(whole, 700, 900, said.append).first_load == whole.first_load and not said
    needed = activation_bytes(whole, 700, 900)
    monkeypatch.setattr(activations, "memory_of", lambda _: needed // 2)
    lighter = affordable(whole, 700, 900, said.append)
    # What the output was made with stays the same, since the labels are.
    assert lighter.windows == whole.windows
    assert lighter.first_load.windows.kind == "tiles"
    assert activation_bytes(lighter, 700, 900) <= needed // 2
    assert "which give the same labels" in said[0]
    # As a fourth of a machine, with twice the memory that is needed.
    monkeypatch.setattr(activations, "memory_of", lambda _: 2 * needed)
    shared = labeller(unet(), compute=replace(CPU, memory_share=0.25))
    assert affordable(shared, 700, 900, said.append).first_load == lighter.first_load
    monkeypatch.setattr(activations, "memory_of", lambda _: 1000)
    with pytest.raises(
        FibsegError, match=r"^cpu: windows tiles .* and 1e-06 GB are free; not even"
    ):
        affordable(whole, 700, 900, said.append)
    other = labeller(eunet())
    with pytest.raises(FibsegError, match=r"windows whole need .*; take windows=tiles tile=512\.$"):
        affordable(other, 700, 900, said.append)


@pytest.mark.parametrize(
    ("name", "smallest", "voxel_size"),
    [
        ("out.tif", [], None),
        ("out.tif", [0, 40, 40], None),
        ("out.zarr", [], None),
        ("out.zarr", [], [20.0, 5.0, 5.0]),
    ],
)
def test_the_disk_that_a_prediction_takes(
    tmp_path: Path, name: str, smallest: list[int], voxel_size: list[float] | None
) -> None:
    """The bytes of a slice are those that come out, since noise looks the same everywhere."""
    decision = Decision("argmax", [0.0, 0.0, 0.0], smallest=smallest)
    plain = labeller(replace(unet(), decision=decision))
    # Of five slices, the coarser resolutions of voxels that are cubes keep three and two.
    stack = stack_of(random_image((5, 600, 600)))
    output = Output(tmp_path / name, "uint8", {})
    needs = tried(plain, stack, z=1, outputs=[output], voxel_size=voxel_size)
    label_into(Staging([output], stack.shape, voxel_size), plain, stack)
    path = tmp_path / name
    written = [path] if path.is_file() else [*path.glob("*/*/*/*")]
    came = sum(-(-file.stat().st_size // 4096) * 4096 for file in written)
    assert 5 * needs.disk[0] == pytest.approx(came, rel=0.1)
    assert needs.seconds > 0 and needs.memory > 1e8


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = stack_of(random_image())
    stream = io.StringIO()
    staging = staged(tmp_path / "out.tif")
    console = Console(file=stream, width=300)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(FibsegError, match=r"the labels needs .* GB, but 1e-08 GB are free"):
        report_needs(staging, labeller(unet()), stack, missing=range(12), console=console)
    assert re.match(r"about \S+ s a slice, \d+ s in all", stream.getvalue())
    assert stream.getvalue().endswith(" GB to write\n")
    assert not list(tmp_path.iterdir())


def test_what_goes_on_side_by_side_takes_the_time_of_the_slowest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The filter alone takes 8 s a slice here, on one of many cores or on all of two."""
    filtering = labeller(trained([20], 2), compute=replace(CPU, filter_threads=4))
    stack = stack_of(random_image())
    make_channels = trial._channels
    monkeypatch.setattr(trial, "_channels", lambda *arguments: (make_channels(*arguments)[0], 8.0))
    for count, seconds in ((64, 2.0), (2, 4.0)):
        monkeypatch.setattr(trial, "cores", lambda count=count: count)
        outputs = [Output(Path("out.tif"), "uint8", {})]
        needs = tried(filtering, stack, z=5, outputs=outputs, voxel_size=None)
        assert needs.seconds == pytest.approx(seconds, abs=1.5)


def test_a_trial_that_fails_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()

    def fails(**_: object) -> None:
        raise OSError("no room for temporary files")

    monkeypatch.setattr("fibseg.prediction.preflight.report.tried", fails)
    report_needs(
        staging=staged(tmp_path / "out.tif"),
        labeller=labeller(unet()),
        stack=stack_of(random_image()),
        missing=range(12),
        console=Console(file=stream, width=300),
    )
    assert stream.getvalue() == "what this will take is not known: no room for temporary files\n"


def test_each_disk_is_asked_for_its_own_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TIFF beside a Zarr store on another disk."""
    asked: dict[Path, float] = {}
    report = "fibseg.prediction.preflight.report"
    monkeypatch.setattr(
        f"{report}.require_disk", lambda place, size, _: asked.update({place: size})
    )
    monkeypatch.setattr(f"{report}.tried", lambda **_: Needs(1.0, 1e9, [1000.0, 10.0]))
    monkeypatch.setattr(f"{report}._disk", lambda place: "b" in place.parts)
    outputs = [
        Output(tmp_path / "a" / "out.tif", "uint8", {}),
        Output(tmp_path / "b" / "out.zarr", "uint8", {}),
    ]
    report_needs(
        staging=Staging(outputs, IMAGE_SHAPE, None),
        labeller=labeller(unet()),
        stack=stack_of(random_image()),
        missing=range(5),
        console=Console(quiet=True),
    )
    # Five slices kept in files, and all in the output.
    depth = IMAGE_SHAPE[0]
    assert sorted(asked.values()) == [50.0, 1000.0 * (5 + depth)]


def test_fewer_slices_are_filtered_at_a_time_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filtering = labeller(trained([20], 2), compute=replace(CPU, filter_threads=8))
    enough = affordable(filtering, 64, 80, print)
    assert enough.compute.filter_threads == 8
    # Room for three trees in half of it.
    monkeypatch.setattr(activations, "free_memory", lambda: 7 * TREE_BYTES * 64 * 80)
    said: list[str] = []
    assert affordable(filtering, 64, 80, said.append).compute.filter_threads == 3
    assert said[0].startswith("3 slices are filtered at a time, and not 8: each takes ")


def test_a_filter_without_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    filtering = labeller(trained([20], 2))
    monkeypatch.setattr("fibseg.prediction.stack.grain_filter", fails)
    with (
        pytest.raises(FibsegError, match="too little memory to read and filter slices"),
        memory_errors_as_sentences(filtering.compute.device, filtering.windows, filtering.models),
    ):
        list(label_stack(filtering, stack_of(random_image()), range(3)))
