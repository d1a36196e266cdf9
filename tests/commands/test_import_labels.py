"""`fibseg import`: labels as ilastik, napari and MIB write them, through its command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from PIL import Image

from fibseg.commands.main import main
from fibseg.config.compose import load_description
from fibseg.data.labels.files import open_labels
from fibseg.stack import StackHeader, StackWriter, open_stack
from tests.support import Commands
from tests.support.label_files import write_ilastik, write_mib

Capture = pytest.CaptureFixture[str]
SHAPE = (4, 6, 8)


def random_labels(*values: int) -> np.ndarray:
    return np.random.default_rng(0).choice(values, SHAPE).astype(np.uint8)


def import_labels(tmp_path: Path, *arguments: str, output: str = "out.tif") -> np.ndarray:
    """Run `fibseg import`; gives what it wrote."""
    assert main(["import", *arguments[:1], str(tmp_path / output), *arguments[1:]]) == 0
    return np.stack(list(open_stack(tmp_path / output)))


def with_values(labels: np.ndarray, meaning: dict[int, int]) -> np.ndarray:
    """Replace the values pixel by pixel."""
    values = [meaning[value] for value in labels.ravel().tolist()]
    return np.array(values, np.uint8).reshape(labels.shape)


@pytest.mark.parametrize("axes", ["zyxc", "xyzc", "czyx", "yxzc"])
def test_unpainted_pixels_of_ilastik_are_ignored(
    axes: str, tmp_path: Path, capsys: Capture
) -> None:
    labels = random_labels(0, 1, 2, 3)
    labels[2] = 0
    imported = import_labels(
        tmp_path,
        write_ilastik(tmp_path / "a.h5", labels, axes),
        *("--class", "er=3", "--class", "m=1", "--background", "2"),
    )
    np.testing.assert_array_equal(imported, with_values(labels, {0: 255, 1: 2, 2: 0, 3: 1}))
    text = capsys.readouterr().out
    assert "ilastik" in text and "3 of 4 slices annotated" in text
    share = (labels == 3).sum() / (labels > 0).sum()
    assert f"1  er (was 3): {share:.2%}" in text
    assert f"255  unannotated: {(labels == 0).mean():.2%}" in text


def test_more_unlabelled_values_are_added_to_that_of_ilastik(tmp_path: Path) -> None:
    labels = random_labels(0, 1, 2, 3)
    imported = import_labels(
        tmp_path,
        write_ilastik(tmp_path / "a.h5", labels),
        *("--class", "er=1", "--background", "2", "--unlabelled", "3"),
    )
    np.testing.assert_array_equal(imported, with_values(labels, {0: 255, 1: 1, 2: 0, 3: 255}))


def test_zero_of_ilastik_is_background_on_request(tmp_path: Path) -> None:
    labels = random_labels(0, 1)
    imported = import_labels(
        tmp_path, write_ilastik(tmp_path / "a.h5", labels), "--class", "er=1", "--background", "0"
    )
    np.testing.assert_array_equal(imported, labels)


def every_tenth_slice(depth: int = 25) -> np.ndarray:
    """(depth, 16, 16): every tenth slice is painted, as a person does in napari."""
    labels = np.zeros((depth, 16, 16), np.uint8)
    labels[::10, 4:8, 4:8] = 1
    labels[::10, 10:12, 2:9] = 5
    return labels


@pytest.mark.parametrize("kind", ["a.tif", "a.zarr"])
@pytest.mark.parametrize("output", ["out.tif", "out.zarr"])
def test_every_tenth_slice_in_napari(
    kind: str, output: str, tmp_path: Path, capsys: Capture
) -> None:
    labels = every_tenth_slice()
    path = tmp_path / kind
    if kind == "a.tif":
        tifffile.imwrite(path, labels.astype(np.int32), photometric="minisblack")
    else:
        zarr.create_array(path, data=labels.astype(np.int32), chunks=(1, 16, 16))
    arguments = [str(path), "--class", "mito=5", "--class", "er=1"]
    expected = with_values(labels, {0: 0, 1: 2, 5: 1})
    for z in range(25):
        if z % 10:
            expected[z] = 255
    np.testing.assert_array_equal(import_labels(tmp_path, *arguments, output=output), expected)
    assert "3 of 25 slices annotated" in capsys.readouterr().out
    background = [*arguments, "--empty-slices", "background", "--overwrite"]
    imported = import_labels(tmp_path, *background, output=output)
    np.testing.assert_array_equal(imported, with_values(labels, {0: 0, 1: 2, 5: 1}))
    assert "25 of 25 slices annotated" in capsys.readouterr().out


def test_several_values_of_a_class_and_masks_of_255(tmp_path: Path) -> None:
    labels = random_labels(3, 4, 9, 255)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    imported = import_labels(
        tmp_path,
        str(tmp_path / "a.tif"),
        *("--class", "er=3,4", "--class", "cell=255", "--unlabelled", "9"),
    )
    np.testing.assert_array_equal(imported, with_values(labels, {3: 1, 4: 1, 255: 2, 9: 255}))


BOX = [1.0, 1.0 + 7 * 0.004, 0.0, 5 * 0.005, 2.0, 2.0 + 3 * 0.02]
"""Micrometres, from centre to centre of the outer of 8, 6 and 4 voxels: of 4, 5 and 20 nm."""


@pytest.mark.parametrize("variable", ["mibModel", "myModel"])
def test_names_and_voxels_of_a_model_of_mib(variable: str, tmp_path: Path, capsys: Capture) -> None:
    labels = random_labels(0, 1, 2)
    path = write_mib(tmp_path / "a.model", labels, ["mitochondrion", "rough ER"], BOX, variable)
    source = open_labels(path)
    assert (source.program, source.names) == ("MIB", {"mitochondrion": 1, "rough ER": 2})
    assert (source.stack.shape, source.stack.voxel_size) == (SHAPE, pytest.approx((20.0, 5.0, 4.0)))
    np.testing.assert_array_equal(np.stack(list(source.stack)), labels)
    image = tmp_path / "em.tif"
    tifffile.imwrite(
        image, np.zeros([side + 4 for side in SHAPE], np.uint8), photometric="minisblack"
    )
    np.testing.assert_array_equal(
        import_labels(tmp_path, path, "--offset", "1,2,3", "--image", str(image)), labels
    )
    assert open_stack(tmp_path / "out.tif").voxel_size == pytest.approx((20.0, 5.0, 4.0))
    printed = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")[0])
    values = {name: entry["label"] for name, entry in printed["classes"].items()}
    assert values == {"mitochondrion": 1, "rough ER": 2}
    assert (printed["ignore"], printed["background"]["labels"]) == (255, [0])
    (volume,) = printed["volumes"]
    assert (volume["image"], volume["labels"]) == (str(image), str(tmp_path / "out.tif"))
    assert (volume["offset"], volume["voxel_size"]) == ([1, 2, 3], pytest.approx([20.0, 5.0, 4.0]))


@pytest.mark.parametrize("name", ["Mito #1", "a: b", "no", "[er]", "{er}"])
def test_the_printed_entry_is_yaml_whatever_a_class_is_called(
    name: str, tmp_path: Path, capsys: Capture
) -> None:
    import_labels(tmp_path, write_mib(tmp_path / "a.model", random_labels(0, 1), [name], None))
    printed = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[2])
    assert printed["classes"] == {name: {"label": 1, "weight": 1.0}}


def test_classes_on_the_command_line_win_over_those_of_mib(tmp_path: Path) -> None:
    labels = random_labels(0, 1, 2)
    path = write_mib(tmp_path / "a.model", labels, ["mito", "cytosol"], None)
    assert open_labels(path).stack.voxel_size is None
    np.testing.assert_array_equal(
        import_labels(tmp_path, path, "--class", "er=2", "--background", "1"),
        with_values(labels, {0: 0, 1: 0, 2: 1}),
    )
    imported = import_labels(tmp_path, path, "--background", "2", "--overwrite")
    np.testing.assert_array_equal(imported, with_values(labels, {0: 0, 1: 1, 2: 0}))


def refused(capsys: Capture, *arguments: str | Path) -> str:
    """The sentence with which a command is refused."""
    assert main(list(map(str, arguments))) == 2
    error = str(capsys.readouterr().err)
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1
    return error


def test_an_unknown_value_is_named_with_its_slice_and_nothing_is_left(
    tmp_path: Path, capsys: Capture
) -> None:
    labels = every_tenth_slice()
    labels[20, 0, 0] = 77
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    (tmp_path / "out.tif").write_text("precious")
    arguments = ("import", tmp_path / "a.tif", tmp_path / "out.tif", "--class", "a=1,5")
    assert "out.tif: exists already" in refused(capsys, *arguments)
    error = refused(capsys, *arguments, "--overwrite")
    assert "slice 20: value 77" in error and "known: 0, 1, 5" in error
    assert (tmp_path / "out.tif").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "out.tif"]


@pytest.mark.parametrize(
    "claims",
    [
        ["--class", "a=1", "--class", "b=1"],
        ["--class", "a=1,1"],
        ["--class", "a=1", "--background", "1"],
        ["--class", "a=1", "--unlabelled", "1"],
        ["--class", "a=0", "--class", "b=0"],
        ["--class", "a=1", "--background", "5", "--unlabelled", "5"],
    ],
)
def test_a_value_means_one_thing(claims: list[str], tmp_path: Path, capsys: Capture) -> None:
    tifffile.imwrite(tmp_path / "a.tif", random_labels(0, 1, 5), photometric="minisblack")
    error = refused(capsys, "import", tmp_path / "a.tif", tmp_path / "out.tif", *claims)
    assert "claimed twice" in error
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "names no classes; give them as --class"),
        (["--class", "er"], "expected NAME=VALUE"),
        (["--class", "er=x"], "expected NAME=VALUE"),
        (["--class", "=1"], "names no classes"),
    ],
)
def test_classes_must_be_named(
    options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", random_labels(0, 1), photometric="minisblack")
    arguments = ("import", tmp_path / "a.tif", tmp_path / "out.tif", *options)
    assert message in refused(capsys, *arguments)


def test_grey_values_are_no_labels(tmp_path: Path, capsys: Capture) -> None:
    grey = np.full(SHAPE, 0.5, np.float32)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="minisblack")
    error = refused(capsys, "import", tmp_path / "a.tif", tmp_path / "out.tif", "--class", "a=1")
    assert "slice 0: value 0.5 of type float32; labels are whole numbers" in error
    assert "written as" in refused(
        capsys, "import", tmp_path / "a.tif", tmp_path / "out.png", "--class", "a=1"
    )


@pytest.mark.parametrize("program", ["ilastik", "napari", "mib"])
def test_import_then_new_then_check(program: str, commands: Commands) -> None:
    """Every third slice painted, in a part of the image, through the installed program."""
    folder = commands.folder
    image = np.random.default_rng(0).integers(0, 4000, (20, 48, 40)).astype(np.uint16)
    tifffile.imwrite(folder / "em.tif", image)
    labels = np.zeros((15, 24, 20), np.uint8)
    for z in range(0, 15, 3):
        labels[z, 2:10, 2 : 8 + z] = 1
        labels[z, 14:20, 3:9] = 2
    classes = ["--class", "mito=1", "--class", "er=2"]
    named = classes
    if program == "ilastik":
        # Painted as background; 0 is what is not painted.
        labels[::3][labels[::3] == 0] = 3
        path = write_ilastik(folder / "a.h5", labels)
        named = [*classes, "--background", "3"]
    elif program == "napari":
        path = str(folder / "a.tif")
        tifffile.imwrite(path, labels, photometric="minisblack")
    else:
        path = write_mib(folder / "a.model", labels, ["mito", "er"], None)
        named = []
    arguments = ["import", path, "labels.tif", "--image", "em.tif", *named, "--offset", "2,10,5"]
    result = commands.run_process("fibseg", *arguments, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "5 of 15 slices annotated" in result.stdout
    assert "fibseg new NAME em.tif labels.tif" in result.stdout
    arguments = ["new", "cell", "em.tif", "labels.tif", *classes, "--offset", "2,10,5"]
    result = commands.run("fibseg", *arguments, "--voxel-size", "20,5,5", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "slices with labels: 5 of 20; 3 train, 1 validation, 1 test" in result.stdout
    result = commands.run("fibseg", "check", "cell", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "warning" not in result.stdout
    assert (folder / "check-cell.html").read_text().count("<img") == 5


def write_slices(folder: Path, slices: dict[int, np.ndarray]) -> str:
    folder.mkdir()
    for z, pixels in slices.items():
        tifffile.imwrite(folder / f"s{z:03d}.tif", pixels)
    return str(folder)


@pytest.mark.parametrize("kind", ["out.tif", "out.zarr"])
def test_an_import_of_an_import_changes_nothing(kind: str, tmp_path: Path, capsys: Capture) -> None:
    """255 is unannotated, and a slice of nothing but 0 is background by then."""
    labels = random_labels(0, 1, 2)
    labels[1] = 0
    labels[2] = 9
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    options = ["--class", "m=1", "--class", "er=2"]
    first = import_labels(
        tmp_path,
        str(tmp_path / "a.tif"),
        *options,
        *("--unlabelled", "9", "--empty-slices", "background"),
        output=kind,
    )
    capsys.readouterr()
    again = import_labels(tmp_path, str(tmp_path / kind), *options, output="again.tif")
    np.testing.assert_array_equal(again, first)
    # No advice that would make background of the import unannotated.
    assert "--unlabelled" not in capsys.readouterr().out


def test_255_of_another_program_is_unannotated_and_empty_slices_are_named(
    tmp_path: Path, capsys: Capture
) -> None:
    labels = random_labels(0, 1, 255)
    labels[2] = 0
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    imported = import_labels(tmp_path, str(tmp_path / "a.tif"), "--class", "m=1")
    labels[2] = 255
    np.testing.assert_array_equal(imported, labels)
    assert "1 slices of nothing but 0 became unannotated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ((0, 255), ["--class", "m=1"], "none of the classes' values, but 0, 255; name a class by"),
        ((0, 3, 7), ["--class", "m=1"], "values 3, 7 belong to no class (known: 0, 1, 255)"),
        (
            (-1, 1),
            ["--class", "m=1"],
            "value -1 belongs to no class (known: 0, 1, 255); give --unl",
        ),
    ],
)
def test_values_that_mean_nothing(
    values: tuple[int, ...], options: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    labels = np.random.default_rng(0).choice(values, SHAPE).astype(np.int16)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="minisblack")
    error = refused(capsys, "import", tmp_path / "a.tif", tmp_path / "out.tif", *options)
    assert message in error
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint64])
def test_whole_numbers_of_any_type(dtype: type, tmp_path: Path) -> None:
    labels = random_labels(0, 1, 2)
    values = labels.astype(dtype)
    if dtype is np.uint64:
        values[labels == 2] = 2**63 + 9
    zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(1, 6, 8))
    second = str(2**63 + 9) if dtype is np.uint64 else "2"
    imported = import_labels(
        tmp_path, str(tmp_path / "a.zarr"), "--class", "m=1", "--class", f"er={second}"
    )
    np.testing.assert_array_equal(imported, labels)


def sparse(tmp_path: Path, numbers: tuple[int, ...]) -> tuple[str, str, np.ndarray]:
    """A folder of 12 slices numbered from 20, labels of some of them, and all the labels."""
    labels = np.random.default_rng(1).choice((0, 1), (12, 6, 8)).astype(np.uint8)
    image = write_slices(tmp_path / "raw", {20 + z: page + 50 for z, page in enumerate(labels)})
    painted = write_slices(tmp_path / "painted", {z: labels[z - 20] for z in numbers})
    return image, painted, labels


def test_labels_of_single_slices_keep_their_places(tmp_path: Path, capsys: Capture) -> None:
    image, painted, labels = sparse(tmp_path, (21, 24, 31))
    arguments = ("import", painted, tmp_path / "out.tif", "--class", "m=1")
    assert "labels of single slices, 21, 24, 31 by their names; give" in refused(capsys, *arguments)
    imported = import_labels(tmp_path, painted, "--class", "m=1", "--image", image)
    expected = np.full_like(labels, 255)
    expected[[1, 4, 11]] = labels[[1, 4, 11]]
    np.testing.assert_array_equal(imported, expected)
    assert "3 of 12 slices annotated" in capsys.readouterr().out


def test_a_block_of_numbered_slices_gets_its_offset(tmp_path: Path, capsys: Capture) -> None:
    image, painted, labels = sparse(tmp_path, (25, 26, 27))
    imported = import_labels(tmp_path, painted, "--class", "m=1", "--image", image)
    np.testing.assert_array_equal(imported, labels[5:8])
    text = capsys.readouterr().out
    assert "offset: [5, 0, 0]" in text
    assert f"fibseg new NAME {image} {tmp_path / 'out.tif'} --offset 5,0,0" in text


def test_labels_without_a_place_in_the_image_are_refused(tmp_path: Path, capsys: Capture) -> None:
    tifffile.imwrite(tmp_path / "a.tif", random_labels(0, 1), photometric="minisblack")
    tifffile.imwrite(tmp_path / "em.tif", np.zeros((9, 6, 8), np.uint8))
    arguments = ["import", tmp_path / "a.tif", tmp_path / "out.tif", "--class", "m=1"]
    error = refused(capsys, *arguments, "--image", tmp_path / "em.tif")
    assert "say where the labels start in it with --offset z,y,x" in error


@pytest.mark.parametrize("kind", ["p.tif", "p.zarr", "p.zarr/0"])
def test_a_prediction_is_no_annotation_but_for_corrected_slices(
    kind: str, tmp_path: Path, capsys: Capture
) -> None:
    labels = random_labels(0, 1)
    path = tmp_path / kind.partition("/")[0]
    notes = {"identity": {"models": []}, "classes": {"0": "background", "1": "m"}}
    with StackWriter(path, StackHeader(labels.shape, "uint8", [20, 5, 5], notes)) as writer:
        for page in labels:
            writer.write(page)
    arguments = [str(tmp_path / kind), "--class", "m=1"]
    error = refused(capsys, "import", arguments[0], tmp_path / "out.tif", *arguments[1:])
    assert "a prediction of fibseg and no annotation" in error and "--slices 8,15" in error
    imported = import_labels(tmp_path, *arguments, "--slices", "1,3")
    np.testing.assert_array_equal(imported[[1, 3]], labels[[1, 3]])
    assert (imported[[0, 2]] == 255).all()
    tifffile.imwrite(tmp_path / "em.tif", labels + 90, photometric="minisblack")
    new = ["new", "cell", tmp_path / "em.tif", tmp_path / kind, "--output", tmp_path / "c.yaml"]
    assert "a prediction of fibseg" in refused(capsys, *new)
    assert main([*map(str, new), "--slices", "1,3"]) == 0
    (volume,) = load_description(str(tmp_path / "c.yaml")).volumes
    assert volume.split == {"train": [1], "validation": [3]}
    assert "'9' is empty or leaves" in refused(capsys, *new, "--slices", "1,9", "--overwrite")


COLOURS = {0: (0, 0, 0), 1: (250, 50, 83), 2: (51, 221, 255)}


def write_colours(folder: Path, labels: np.ndarray, mode: str) -> str:
    """Write labels as pictures of COLOURS; a palette has the order in which colours occur."""
    folder.mkdir(parents=True)
    for z, page in enumerate(labels):
        if mode == "P":
            order = list(dict.fromkeys(page.ravel().tolist()))
            picture = Image.fromarray(np.vectorize(order.index)(page).astype(np.uint8), "P")
            picture.putpalette([part for value in order for part in COLOURS[value]])
        else:
            table = np.array([COLOURS[value] for value in range(3)], np.uint8)
            picture = Image.fromarray(table[page]).convert(mode)
        picture.save(folder / f"frame_{z:06d}.png")
    return str(folder)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_labels_in_colours(mode: str, tmp_path: Path, capsys: Capture) -> None:
    labels = random_labels(0, 1, 2)
    # The first colour of each slice, which a palette begins with.
    labels[:, 0, 0] = 2, 0, 1, 2
    folder = write_colours(tmp_path / "task" / "SegmentationClass", labels, mode)
    colours = ["--class", "mitochondrion=#fa3253", "--class", "er=#33ddff"]
    np.testing.assert_array_equal(import_labels(tmp_path, folder, *colours), labels)
    assert "1  mitochondrion (was #fa3253)" in capsys.readouterr().out
    arguments = ("import", folder, tmp_path / "none.tif")
    error = refused(capsys, *arguments, "--class", "m=#fa3253")
    assert "slice 0: value #33ddff belongs to no class (known: #000000, #fa3253)" in error
    assert "#rrggbb" in refused(capsys, *arguments, "--class", "m=1", "--class", "er=2")
    assert "no labelmap.txt" in refused(capsys, *arguments, "--class", "m=#fa3253", "--class", "er")
    error = refused(capsys, *arguments, "--class", "m=#fa32")
    assert "m=#fa32: expected NAME=VALUE" in error


@pytest.mark.parametrize("place", ["task", "task/SegmentationClass"])
def test_names_of_a_label_map(place: str, tmp_path: Path, capsys: Capture) -> None:
    """CVAT writes labelmap.txt beside the folder of the pictures."""
    labels = random_labels(0, 1, 2)
    folder = write_colours(tmp_path / "task" / "SegmentationClass", labels, "RGB")
    label_map = tmp_path / place / "labelmap.txt"
    lines = "# label:color_rgb:parts:actions\nbackground:0,0,0::\n"
    label_map.write_text(f"{lines}mitochondrion:250,50,83::\ner:51,221,255::\n")
    np.testing.assert_array_equal(import_labels(tmp_path, folder), labels)
    named = import_labels(
        tmp_path, folder, *("--class", "er", "--class", "mitochondrion", "--overwrite")
    )
    np.testing.assert_array_equal(named, with_values(labels, {0: 0, 1: 2, 2: 1}))
    arguments = ("import", folder, tmp_path / "none.tif", "--class", "golgi")
    assert "there are: mitochondrion, er" in refused(capsys, *arguments)
    label_map.write_text("er:51,221\n")
    assert "expected lines such as er:51,221,255::" in refused(capsys, *arguments)
