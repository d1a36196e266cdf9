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
from tests.support import Commands


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
    assert {one.image.shape for found in slices.values() for one in found} == {shape}
    window = grey_range([one.image for one in slices["train"]], description.intensity)
    assert 0 <= window.low < 60 < 180 < window.high <= 255
    labels = [one.labels for one in slices["train"]]
    patches = PatchSampler(labels, 256, class_share=0.0).draw(300, (0,), augment=False)
    cut = [
        labels[i][r : r + 256, c : c + 256]
        for i, r, c in zip(patches.index, patches.row, patches.column, strict=True)
    ]
    assert (
        np.mean([one.any() for one in cut]) > 0.9
    )  # random patches of these sets hardly ever miss the classes


def test_backends_of_the_filter_agree_on_a_real_slice(real_stacks: Path) -> None:
    pytest.importorskip("pylena")
    description = load_description("epfl")
    description.root = str(real_stacks / "epfl")
    image = to_8bit(load_slices(description)["train"][0].image[:300, :400], GreyRange(0, 255))
    ours, theirs = (
        grain_filter(image, [650, 3200], backend=backend) for backend in ("pylena", "higra")
    )
    np.testing.assert_array_equal(ours, theirs)
    assert (ours[1] != image).mean() > 0.2


@pytest.mark.slow
def test_a_short_training_on_real_slices_learns_membranes(
    real_stacks: Path, commands: Commands
) -> None:
    result = commands.run(
        "train.py",
        "data=vnc",
        f"data.root={real_stacks / 'vnc'}",
        "experiment=quick",
        "training.epochs=1",
        "training.batches=60",
        "training.validation_batches=4",
        "training.precision=32",
        "model.width=8",
        "data.volumes=[{image: raw, labels: labels, voxel_size: [50,4.6,4.6], "
        'split: {train: ["0:10"], validation: [10], test: [15]}}]',
        f"machine.runs={commands.folder / 'runs'}",
    )
    assert result.returncode == 0, result.stderr
    (membrane,) = (line for line in result.stdout.splitlines() if "│ membrane" in line)
    assert float(membrane.split("│")[3].split()[0]) > 0.5
