"""`fibseg filter`, against the grain filter of single slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.commands.main import main
from fibseg.filters.grain import grain_filter
from tests.support import Commands


@pytest.mark.slow(seconds=3)
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


def test_what_is_odd_in_a_folder_is_printed_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slice 3 is missing: every command that reads the folder says so."""
    for z in (1, 2, 4):
        (tmp_path / "raw").mkdir(exist_ok=True)
        pixels = np.random.default_rng(z).integers(0, 3, (24, 24)).astype(np.uint8)
        tifffile.imwrite(tmp_path / "raw" / f"z{z}.tif", pixels)
    folder = str(tmp_path / "raw")
    for arguments in (
        ["filter", folder, str(tmp_path / "f.tif"), "--area", "5"],
        ["score", folder, folder],
        ["measure", folder, "--voxel-size", "20,5,5", "--output", str(tmp_path / "m.csv")],
        ["import", folder, str(tmp_path / "i.tif"), "--class", "a=1,2", "--image", folder],
        ["new", "cell", folder, folder, "--output", str(tmp_path / "c.yaml")],
    ):
        assert main(arguments) == 0
        printed = capsys.readouterr()
        warnings = [
            line
            for line in (printed.out + printed.err).splitlines()
            if line.startswith("warning: ") and "z2.tif is followed by z4.tif" in line
        ]
        assert len(warnings) == 1, arguments[0]
