"""What `predict.py` tells a user about a stack that differs from the training's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from tests.support import Commands


def test_warnings_of_other_grey_values_and_voxels(finished: Commands, tmp_path: Path) -> None:
    pixels = tifffile.imread(finished.data / "image.tif")[:2]
    bright = np.minimum(pixels.astype(np.uint16) * 2, 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "bright.tif", bright)
    result = finished.run(
        "predict.py",
        f"checkpoint={finished.run_directory() / 'checkpoints' / 'model.safetensors'}",
        "voxel_size=[20,8,8]",
        f"image={tmp_path / 'bright.tif'}",
        f"output={tmp_path / 'out.tif'}",
        "threads=1",
    )
    assert result.returncode == 0, result.stderr
    warning = "2 of 2 sampled slices have over 5% of their pixels outside the grey values of the"
    before, _, after = result.stdout.partition(warning)
    assert "a slice" not in before and "about" in after
    assert "2 of 2 slices have over 5% of their pixels outside the grey" in after
    voxels = "voxels of [20.0, 8.0, 8.0] nm, but the training had [[20.0, 5.0, 5.0]] nm"
    assert voxels in result.stdout
