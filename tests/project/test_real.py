"""Real electron microscopy, where FIBSEG_STACKS names the folder that holds vnc/ and epfl/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fibseg.config.compose import load_description
from fibseg.data.grey import GreyRange, grey_range, to_8bit
from fibseg.data.sampling import PatchSampler
from fibseg.data.slices import load_slices
from fibseg.filters.grain import grain_filter
from fibseg.stack import open_stack, write_stack
from tests.support import Commands


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize(
    ("name", "counts", "shape"),
    [("vnc", (10, 5, 5), (1024, 1024)), ("epfl", (40, 20, 20), (768, 1024))],
)
def test_descriptions_fit_the_files(
    real_stacks: Path, name: str, counts: tuple[int, ...], shape: tuple[int, int]
) -> None:
    description = load_description(name)
    description.root = str(real_stacks / name)
    slices = load_slices(description)
    assert tuple(len(slices[split]) for split in ("train", "validation", "test")) == counts
    assert {annotated.image.shape for split in slices.values() for annotated in split} == {shape}
    training = slices["train"]
    grey = grey_range([annotated.image for annotated in training], description.intensity)
    assert 0 <= grey.low < 60 < 180 < grey.high <= 255
    labels = [annotated.labels for annotated in training]
    patches = PatchSampler(labels, 256, class_share=0.0).draw(300, (0,), augment=False)
    cut = [
        labels[index][row : row + 256, column : column + 256]
        for index, row, column in zip(patches.index, patches.row, patches.column, strict=True)
    ]
    # Random patches of these sets hardly ever miss the classes.
    assert np.mean([patch.any() for patch in cut]) > 0.9


@pytest.mark.slow(seconds=4)
def test_the_filter_gives_higras_pixels_on_a_real_slice(real_stacks: Path) -> None:
    description = load_description("epfl")
    description.root = str(real_stacks / "epfl")
    image = to_8bit(load_slices(description)["train"][0].image[:300, :400], GreyRange(0, 255))
    filtered = grain_filter(image, [650, 3200])
    by_higra = grain_filter(image.astype(np.uint16), [650, 3200])
    np.testing.assert_array_equal(filtered, by_higra)
    assert (filtered[1] != image).mean() > 0.2


@pytest.fixture
def crop_of_vnc(real_stacks: Path, tmp_path: Path) -> Path:
    """A folder with image.tif and labels.tif: a corner of twelve slices of vnc."""
    folder = tmp_path / "crop"
    folder.mkdir()
    for name, file in (("raw", "image.tif"), ("labels", "labels.tif")):
        stack = open_stack(real_stacks / "vnc" / name)
        pixels = np.stack([stack.read(z)[:256, :384] for z in range(12)])
        write_stack(folder / file, pixels, [50, 4.6, 4.6])
    return folder


@pytest.mark.slow(seconds=30)
def test_a_short_training_on_real_slices_learns_membranes(
    crop_of_vnc: Path, commands: Commands
) -> None:
    volume = (
        "{image: image.tif, labels: labels.tif, voxel_size: [50, 4.6, 4.6], "
        'split: {train: ["0:10"], validation: [10], test: [11]}}'
    )
    result = commands.run(
        "train.py",
        "data=vnc",
        f"data.root={crop_of_vnc}",
        f"data.volumes=[{volume}]",
        "experiment=quick",
        "training.epochs=1",
        "training.batches=30",
        "training.validation_batches=4",
        "training.precision=32",
        "model.width=8",
        "machine.threads=1",
        f"machine.runs={commands.folder / 'runs'}",
    )
    assert result.returncode == 0, result.stderr
    (membrane,) = (line for line in result.stdout.splitlines() if "│ membrane" in line)
    assert float(membrane.split("│")[3].split()[0]) > 0.5
