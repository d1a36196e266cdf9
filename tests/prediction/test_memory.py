"""Memory that is too short: smaller batches, then tiles in place of whole slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fibseg.models.trained import TrainedModel
from fibseg.prediction.memory import Load, fitting, has_exact_tiles, lighter
from fibseg.prediction.stack import label_stack
from fibseg.prediction.windows import Windows, windows_of
from tests.support.labelling import CPU, labeller, stack_of
from tests.support.models import trained

WHOLE = Windows("whole", 0, 112, 16)


def loads(first: Load, side: int, exact_tiles: bool = True) -> list[Load]:
    """The load and all that are tried after it, for a slice of side x side."""
    tried = [first]
    while (after := lighter(tried[-1], side, side, exact_tiles)) is not None:
        tried.append(after)
    return tried


def most_pixels(load: Load, side: int) -> int:
    """Pixels that the network sees at once, at most."""
    batches = load.windows.batches(side, side, load.batch_size)
    return max(rows * columns * count for (rows, columns), count in batches.items())


def test_a_whole_slice_becomes_smaller_and_smaller_tiles() -> None:
    tried = loads(Load(WHOLE, 16), 4000)
    assert [str(load.windows) for load in tried] == [
        "whole",
        "tiles 1024",
        "tiles 512",
        "tiles 256",
        "tiles 128",
    ]
    pixels = [most_pixels(load, 4000) for load in tried]
    assert pixels[0] == 4000**2 and pixels == sorted(set(pixels), reverse=True)
    # Tiles of 1024 are no smaller than this slice.
    assert [str(load.windows) for load in loads(Load(WHOLE, 16), 900)][1] == "tiles 512"


def test_no_load_is_tried_twice() -> None:
    """A batch of one stays one, whatever its size in windows of the paper is halved to."""
    tried = loads(Load(Windows("paper", 256, 112, 16), 16), 400)
    assert [load.batch_size for load in tried] == [16, 8, 4, 2, 1]
    assert [load.batch_size for load in loads(Load(Windows("paper", 256, 112, 16), 64), 400)] == [
        64,
        16,
        8,
        4,
        2,
        1,
    ]
    # Two tiles of a corner are more than one of the middle, of which there is no batch.
    tiles = Load(Windows("tiles", 512, 112, 16), 16)
    assert [load.batch_size for load in loads(tiles, 2000, exact_tiles=False)] == [16, 8]


def test_only_networks_whose_tiles_are_exact_get_other_windows() -> None:
    model = trained([], 1)
    assert has_exact_tiles([model])
    assert not has_exact_tiles([model, replace(model, architecture="eunet")])


def test_errors_of_a_cpu_count_and_others_do_not() -> None:
    def step(load: Load) -> str:
        if load.batch_size > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return "done"

    load = Load(Windows("paper", 256, 112, 16), 16)
    result, fitted = fitting(step, load, lambda load: lighter(load, 400, 400, True))
    assert (result, fitted.batch_size) == ("done", 1)

    def fail(_: Load) -> str:
        raise RuntimeError("sizes of tensors must match")

    with pytest.raises(RuntimeError, match="must match"):
        fitting(fail, load, lambda load: lighter(load, 400, 400, True))


class Narrow(torch.nn.Module):
    """A network that bears so many pixels at once."""

    def __init__(self, network: torch.nn.Module, most: int):
        super().__init__()
        self.network = network
        self.most = most
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(images.numel())
        if images.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.asarray(self.network(images))


def narrow(model: TrainedModel, most: int) -> tuple[TrainedModel, Narrow]:
    """The model on a device of little memory, and its network."""
    network = Narrow(model.network, most)
    return replace(model, network=network), network


@pytest.mark.slow(seconds=3)
def test_labels_by_tiles_are_those_of_the_whole_slice() -> None:
    model = trained([], 1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 600, 520)).astype(np.uint8)
    whole = labeller(model, windows=windows_of(model, "whole"), compute=replace(CPU, batch_size=16))
    expected = [labelled.labels for labelled in label_stack(whole, stack_of(pixels), [0, 1])]
    small, network = narrow(model, 350 * 350)
    lines: list[str] = []
    slices = label_stack(replace(whole, models=[small]), stack_of(pixels), [0, 1], say=lines.append)
    labels = [labelled.labels for labelled in slices]
    differing = np.mean([a != b for a, b in zip(labels, expected, strict=True)])
    assert differing < 1e-4
    assert lines == [
        "cpu: too little memory for windows whole; from here on tiles 512, which give the same "
        "labels",
        "cpu: too little memory for windows tiles 512; from here on tiles 128, which give the same "
        "labels",
    ]
    # What fitted is kept for the second slice.
    assert network.sizes[0] == 600 * 520 and max(network.sizes[2:]) <= 350 * 350
