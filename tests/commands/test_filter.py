"""`fibseg filter`, against the grain filter of single slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.commands.main import main
from fibseg.filters.grain import grain_filter
from tests.support import Commands


def test_a_file_per_area_by_the_installed_program(commands: Commands) -> None:
    image = commands.data / "image.tif"
    arguments = ["filter", image, "f.tif", "--area", "30", "--area", "300"]
    result = commands.run_process("fibseg", *arguments, cwd=commands.folder)
    assert result.returncode == 0, result.stderr
    for area in (30, 300):
        expected = [grain_filter(pixels, [area])[0] for pixels in tifffile.imread(image)]
        filtered = tifffile.imread(commands.folder / f"f-{area}.tif")
        np.testing.assert_array_equal(filtered, expected)


def test_files_are_replaced_on_request(
    phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["filter", str(phantom_folder / "image.tif"), str(tmp_path / "f.tif")]
    arguments += ["--area", "30"]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "f.tif: exists already; give another name, or --overwrite." in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert main([*arguments, "--area", "30", "--overwrite"]) == 2
    assert "names an area twice" in capsys.readouterr().err
