from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from sklearn.metrics import f1_score

from fibseg.commands.main import main
from fibseg.filters.grain import grain_filter
from tests.support import PROJECT, Commands, printed_rows


def test_predicted_stack_scores_what_the_run_scored(finished: Commands, tmp_path: Path) -> None:
    """The labels of the whole stack by predict.py, scored by fibseg, against scores.json as train.py prints it."""
    run, out = finished.run_directory(), tmp_path / "out.tif"
    image = finished.data / "image.tif"
    result = finished.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={image}",
        f"output={out}",
        "precision=32",
        "device=cpu",
        "threads=1",
        "windows=paper",
    )
    assert result.returncode == 0, result.stderr
    labels = tifffile.imread(out)
    assert (labels.shape, labels.dtype) == ((9, 96, 96), np.uint8)
    np.testing.assert_array_equal(labels[7:9], tifffile.imread(run / "labels" / "test.tif"))
    description = finished.folder / "conf" / "data" / "tiny.yaml"
    command = (
        "fibseg",
        "score",
        out,
        finished.data / "labels.tif",
        "--data",
        description,
        "--slices",
        "7:9",
    )
    scored = printed_rows(finished.run(*command).stdout)
    trained = printed_rows(finished.train("filter=on", "filter.areas=[20,200]").stdout)
    for name in ("mitochondrion", "membrane", "er"):
        assert scored[name][0] == trained[name][1].split()[0]


def test_score_without_a_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, (2, 2, 20, 20)).astype(np.uint8)
    truth[truth == 2] = prediction[prediction == 2] = 40
    tifffile.imwrite(tmp_path / "t.tif", truth)
    tifffile.imwrite(tmp_path / "p.tif", prediction)
    assert main(["score", str(tmp_path / "p.tif"), str(tmp_path / "t.tif")]) == 0
    table = printed_rows(capsys.readouterr().out)
    for value in (1, 40):
        scores = [
            f1_score((t == value).ravel(), (p == value).ravel())
            for t, p in zip(truth, prediction, strict=True)
        ]
        assert table[str(value)][0] == f"{np.mean(scores):.3f}"
        assert table[str(value)][1] == "2"


def test_filter_writes_a_file_per_area(finished: Commands, tmp_path: Path) -> None:
    image = finished.data / "image.tif"
    pixels = tifffile.imread(image)
    assert (
        main(["filter", str(image), str(tmp_path / "f.tif"), "--area", "30", "--area", "300"]) == 0
    )
    for area in (30, 300):
        expected = [grain_filter(one, [area])[0] for one in pixels]
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f"f-{area}.tif"), expected)
    assert main(["filter", str(image), str(tmp_path / "f.tif"), "--area", "30"]) == 0
    assert main(["filter", str(image), str(tmp_path / "f.tif"), "--area", "30"]) == 2
    assert main(["filter", str(image), str(tmp_path / "f.tif"), "--area", "30", "--overwrite"]) == 0


def test_prediction_warns_of_other_grey_values_and_voxels(
    finished: Commands, tmp_path: Path
) -> None:
    pixels = tifffile.imread(finished.data / "image.tif")[:2]
    tifffile.imwrite(
        tmp_path / "bright.tif", np.minimum(pixels.astype(np.uint16) * 2, 255).astype(np.uint8)
    )
    result = finished.run(
        "predict.py",
        f"checkpoint={finished.run_directory() / 'checkpoints' / 'best.ckpt'}",
        "voxel_size=[20,8,8]",
        f"image={tmp_path / 'bright.tif'}",
        f"output={tmp_path / 'out.tif'}",
    )
    assert result.returncode == 0, result.stderr
    assert "2 of 2 slices have over 5% of their pixels outside the grey values" in result.stdout
    assert (
        "voxels of [20.0, 8.0, 8.0] nm, but the training had [[20.0, 5.0, 5.0]] nm" in result.stdout
    )


@pytest.mark.parametrize(
    "program", ["train.py --help", "predict.py --help", "-m fibseg.cli --help"]
)
def test_help_loads_nothing_heavy(program: str) -> None:
    """`-X importtime` lists what was imported."""
    command = [sys.executable, "-X", "importtime", *program.split()]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    imported = {
        line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if "|" in line
    }
    assert not imported & {
        "torch",
        "pytorch_lightning",
        "matplotlib",
        "higra",
        "pylena",
        "timm",
        "scipy.ndimage",
    }
    assert "usage" in result.stdout.lower() or "Configuration groups" in result.stdout
