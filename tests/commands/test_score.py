"""`fibseg score`: against scikit-learn, by hand, and against what a run scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from sklearn.metrics import f1_score

from fibseg.commands.main import main
from fibseg.stack import StackHeader, StackWriter
from tests.support import TINY, Commands, printed_rows

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


def write(path: Path, labels: np.ndarray, classes: dict[str, str] | None = None) -> str:
    """Write a label stack, with names of its classes as fibseg writes them."""
    notes = None if classes is None else {"classes": classes}
    with StackWriter(path, StackHeader(labels.shape, str(labels.dtype), None, notes)) as writer:
        for page in labels:
            writer.write(page)
    return str(path)


MASK = np.zeros((4, 64, 64), np.uint8)
MASK[:, 10:30, 10:30] = 1


@pytest.mark.parametrize("masked", ["prediction", "truth", "both"])
def test_masks_of_0_and_255_have_no_score_before_they_are_imported(
    masked: str, tmp_path: Path, capsys: Capture
) -> None:
    truth = write(tmp_path / "t.tif", MASK * (1 if masked == "prediction" else 255))
    prediction = write(tmp_path / "p.tif", MASK * (1 if masked == "truth" else 255))
    assert main(["score", prediction, truth]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "nothing but" in error and "255" in error and "fibseg import" in error


def test_255_as_a_class_by_a_description_and_by_an_import(tmp_path: Path, capsys: Capture) -> None:
    predicted = MASK.copy()
    predicted[:, :, 29] = 0
    prediction = write(tmp_path / "p.tif", predicted)
    truth = write(tmp_path / "t.tif", MASK * 255)
    imported = str(tmp_path / "imported.tif")
    assert main(["import", truth, imported, "--class", "mito=255"]) == 0
    capsys.readouterr()
    assert main(["score", prediction, imported]) == 0
    # By hand: 2 * 1520 / (1520 + 1600) in each slice.
    assert printed_rows(capsys.readouterr().out)["mito"][0] == "0.974"


def test_a_truth_without_the_class_has_no_score(tmp_path: Path, capsys: Capture) -> None:
    truth = write(tmp_path / "t.tif", MASK * 0)
    assert main(["score", write(tmp_path / "p.tif", MASK), truth]) == 2
    assert "t.tif: no pixel of any class in these slices" in capsys.readouterr().err
    # A class of some slices alone is scored there, and one that the truth lacks has no F1.
    other = MASK.copy()
    other[0, 40:50, 40:50] = 2
    truth = write(tmp_path / "t2.tif", MASK)
    assert main(["score", write(tmp_path / "p2.tif", other), truth]) == 0
    rows = printed_rows(capsys.readouterr().out)
    assert (rows["1"][0], rows["2"][:3]) == ("1.000", ["-", "0", "-"])


def test_negative_and_large_values(tmp_path: Path, capsys: Capture) -> None:
    """-1 is unannotated; ids of a segmentation may need all 64 bits."""
    signed = MASK.astype(np.int16)
    signed[:, :, 40:] = -1
    prediction = MASK.copy()
    prediction[:, :, 40:] = 1
    assert (
        main(["score", write(tmp_path / "p.tif", prediction), write(tmp_path / "t.tif", signed)])
        == 0
    )
    assert printed_rows(capsys.readouterr().out)["1"][0] == "1.000"
    large = MASK.astype(np.uint64) * np.uint64(2**63 + 5)
    stacks = [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    for path in stacks:
        write(path, large)
    assert main(["score", *map(str, stacks)]) == 0
    assert printed_rows(capsys.readouterr().out)[str(2**63 + 5)][0] == "1.000"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"1": "membrane"}, "value 1 is membrane, but mito in"),
        ({"2": "mito"}, "class mito has the value 2, and 1 in"),
    ],
)
def test_names_of_two_files_that_disagree(
    names: dict[str, str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    background = {"0": "background"}
    prediction = write(tmp_path / "p.tif", MASK, background | {"1": "mito"})
    same = write(tmp_path / "t.tif", MASK, background | {"1": "mito"})
    assert main(["score", prediction, same]) == 0
    assert printed_rows(capsys.readouterr().out)["mito"][0] == "1.000"
    other = write(tmp_path / "o.tif", MASK, background | names)
    assert main(["score", prediction, other]) == 2
    assert f"o.tif: {message}" in capsys.readouterr().err


def test_names_of_a_description_that_a_prediction_does_not_have(
    tmp_path: Path, capsys: Capture
) -> None:
    content = yaml.safe_load(TINY) | {"ignore": 255}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    truth = write(tmp_path / "t.tif", MASK)
    arguments = [truth, "--data", str(tmp_path / "tiny.yaml")]
    renamed = write(tmp_path / "p.tif", MASK, {"1": "mito"})
    assert main(["score", renamed, *arguments]) == 0
    assert "warning: " in capsys.readouterr().out
    # The er of the prediction is the mitochondrion of the description.
    moved = write(tmp_path / "m.tif", MASK, {"1": "er", "3": "mitochondrion"})
    assert main(["score", moved, *arguments]) == 2
    assert (
        "m.tif: class er has the value 1, and 3 in the data description" in capsys.readouterr().err
    )


def test_sparse_slices_are_scored_by_their_names(tmp_path: Path, capsys: Capture) -> None:
    moving = np.zeros((12, 40, 90), np.uint8)
    for z in range(12):
        moving[z, 10:20, 5 * z : 5 * z + 10] = 1
    (tmp_path / "truth").mkdir()
    (tmp_path / "predicted").mkdir()
    for z in range(12):
        tifffile.imwrite(tmp_path / "predicted" / f"s{z}.tif", moving[z])
        if z % 3 == 0:
            tifffile.imwrite(tmp_path / "truth" / f"s{z:03d}.tif", moving[z])
    assert main(["score", str(tmp_path / "predicted"), str(tmp_path / "truth")]) == 0
    assert printed_rows(capsys.readouterr().out)["1"][:2] == ["1.000", "4"]


def test_objects_by_their_ids(tmp_path: Path, capsys: Capture) -> None:
    """Three objects of 4 x 4 in two slices: one whole, half of another, nothing of the third."""
    truth = np.zeros((2, 12, 40), np.uint64)
    for k, column in enumerate((2, 12, 22)):
        truth[:, 4:8, column : column + 4] = 2**40 + k
    prediction = np.zeros((2, 12, 40), np.uint16)
    prediction[:, 4:8, 2:6] = 7
    prediction[:, 4:6, 12:16] = 300
    paths = [write(tmp_path / "p.tif", prediction), write(tmp_path / "t.tif", truth)]
    assert main(["score", *paths, "--instances"]) == 0
    table = printed_rows(capsys.readouterr().out)
    assert table["objects of the truth"] == ["6", "3"]
    assert table["predicted"] == ["4", "2"]
    assert table["recall, IoU .50"] == ["0.667", "0.667"]
    assert table["precision, IoU .50"] == ["1.000", "1.000"]
    assert table["panoptic quality, IoU .50"] == ["0.600", "0.600"]
    assert table["SA50"] == ["0.667", "0.667"]
    # One pair, a predicted object too many, two missed: 1 / 4.
    assert table["SA75"] == ["0.250", "0.250"]
    # .5 alone has both pairs: (2 / 3 + 9 / 4) / 10
    assert table["mSA"] == ["0.292", "0.292"]
    # Object 2 is cut in halves, one of them background; that holds object 3, too, in each slice.
    merges = (8 * np.log2(24 / 8) + 16 * np.log2(24 / 16)) / 48
    assert table["VOI, splits"] == [f"{16 / 48:.3f}"] * 2
    assert table["VOI, merges"] == [f"{merges:.3f}"] * 2


def test_components_in_place_of_ids(tmp_path: Path, capsys: Capture) -> None:
    """Two objects that touch are one component of the prediction."""
    ids = np.zeros((3, 10, 20), np.uint16)
    ids[:, 2:6, 2:8] = 1
    ids[:, 2:6, 8:12] = 2
    classes = np.where(ids > 0, 5, 0).astype(np.uint8)
    truth = write(tmp_path / "t.tif", ids)
    named = write(tmp_path / "n.tif", classes, {"0": "background", "5": "mito"})
    options = ["--instances", "--components", "prediction"]
    assert main(["score", named, truth, *options]) == 0
    table = printed_rows(capsys.readouterr().out)
    assert table["objects of the truth"] == ["6", "2"] and table["predicted"] == ["3", "1"]
    assert table["F1, IoU .50"] == ["0.667", "0.667"]
    plain = write(tmp_path / "p.tif", classes)
    assert main(["score", plain, truth, *options]) == 2
    assert "which class are the ids of?" in capsys.readouterr().err
    for chosen in (["--class", "5"], ["--class", "mito"]):
        path = plain if chosen[1] == "5" else named
        assert main(["score", path, truth, *options, *chosen]) == 0
        assert printed_rows(capsys.readouterr().out)["predicted"] == ["3", "1"]
    assert main(["score", named, truth, *options, "--class", "er"]) == 2
    assert "the classes are mito (5)" in capsys.readouterr().err
    assert main(["score", named, named, "--instances", "--components", "both"]) == 0
    assert printed_rows(capsys.readouterr().out)["mSA"] == ["1.000", "1.000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--components", "both"], "--components: only with --instances"),
        (["--instances", "--class", "a"], "--class: only with"),
        (["--instances", "--data", "phantom"], "--data: ids have no classes"),
        (["--instances"], "no object in these slices"),
    ],
)
def test_options_for_objects_that_say_nothing(
    options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    path = write(tmp_path / "t.tif", np.zeros((2, 8, 8), np.uint8))
    assert main(["score", path, path, *options]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
