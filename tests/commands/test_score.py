"""`fibseg score`: against scikit-learn, by hand, and against what a run scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from sklearn.metrics import f1_score

from fibseg.commands.main import main
from tests.support import Commands, printed_rows

Capture = pytest.CaptureFixture[str]


def test_a_predicted_stack_scores_what_the_run_scored(finished: Commands, tmp_path: Path) -> None:
    """The installed program on the labels by predict.py, against what train.py prints."""
    run = finished.run_directory()
    output = tmp_path / "out.tif"
    result = finished.run(
        "predict.py",
        f"checkpoint={run}",
        f"image={finished.data / 'image.tif'}",
        f"output={output}",
        "precision=32",
        "device=cpu",
        "threads=1",
        "windows=paper",
    )
    assert result.returncode == 0, result.stderr
    labels = tifffile.imread(output)
    assert (labels.shape, labels.dtype) == ((9, 96, 96), np.uint8)
    np.testing.assert_array_equal(labels[7:9], tifffile.imread(run / "labels" / "test.tif"))
    description = finished.folder / "conf" / "data" / "tiny.yaml"
    truth = finished.data / "labels.tif"
    command = ["fibseg", "score", output, truth, "--data", description, "--slices", "7:9"]
    scores = printed_rows(finished.run_process(*command).stdout)
    run_scores = printed_rows(finished.train("filter=on", "filter.areas=[20,200]").stdout)
    for name in ("mitochondrion", "membrane", "er"):
        assert scores[name][0] == run_scores[name][1].split()[0]


def test_score_without_a_description(tmp_path: Path, capsys: Capture) -> None:
    truth, prediction = np.random.default_rng(0).integers(0, 3, (2, 2, 20, 20)).astype(np.uint8)
    truth[truth == 2] = 40
    prediction[prediction == 2] = 40
    tifffile.imwrite(tmp_path / "t.tif", truth)
    tifffile.imwrite(tmp_path / "p.tif", prediction)
    assert main(["score", str(tmp_path / "p.tif"), str(tmp_path / "t.tif")]) == 0
    table = printed_rows(capsys.readouterr().out)
    for value in (1, 40):
        scores = [
            f1_score((truth_slice == value).ravel(), (predicted_slice == value).ravel())
            for truth_slice, predicted_slice in zip(truth, prediction, strict=True)
        ]
        assert table[str(value)][0] == f"{np.mean(scores):.3f}"
        assert table[str(value)][1] == "2"


def test_stacks_without_labels_are_refused(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "empty.tif")
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint8), photometric="minisblack")
    assert main(["score", path, path]) == 2
    assert "nothing but 0 in these slices" in capsys.readouterr().err


def test_labels_of_a_part_of_the_prediction(tmp_path: Path, capsys: Capture) -> None:
    """The truth is 4 x 4 at (1, 2, 3); half of it is predicted, and a false spot outside it."""
    truth = np.zeros((2, 6, 8), np.uint8)
    truth[:, 1:5, 1:5] = 1
    prediction = np.zeros((5, 12, 16), np.uint8)
    prediction[1:3, 3:5, 4:8] = 1
    prediction[1:3, 10:12, 0:4] = 1
    prediction[0] = 1
    for name, labels in (("t", truth), ("p", prediction)):
        tifffile.imwrite(tmp_path / f"{name}.tif", labels, photometric="minisblack")
    arguments = ["score", str(tmp_path / "p.tif"), str(tmp_path / "t.tif")]
    assert main(arguments) == 2
    assert "with --offset z,y,x" in capsys.readouterr().err
    assert main([*arguments, "--offset", "1,2,3"]) == 0
    # 2 * 8 / (8 + 16)
    assert printed_rows(capsys.readouterr().out)["1"][0] == "0.667"
    assert main([*arguments, "--offset", "0,2,3", "--slices", "0:1"]) == 0
    # All 48 pixels are predicted as class 1: 2 * 16 / (48 + 16)
    assert printed_rows(capsys.readouterr().out)["1"][0] == "0.500"
    assert main([*arguments, "--offset", "4,0,0"]) == 2
    assert "leaves the stack (5, 12, 16) along z" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--offset", "4,0"])
    assert "4,0: expected three numbers, z,y,x" in capsys.readouterr().err
