"""`fibseg new`: what it writes is loaded and passes the check."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from fibseg.commands.main import main
from fibseg.config.compose import load_description
from fibseg.data.slices import load_slices
from fibseg.data.splits import parse_slices
from fibseg.stack import write_stack
from tests.support import Commands
from tests.support.label_files import write_ilastik
from tests.support.painted import painted_stacks

Capture = pytest.CaptureFixture[str]
Write = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write image and labels into files; gives the arguments of `fibseg new`."""

    def write_files(
        image: np.ndarray, labels: np.ndarray, with_voxel_size: bool = True
    ) -> list[str]:
        files = [str(tmp_path / "image.tif"), str(tmp_path / "labels.tif")]
        write_stack(files[0], image, [20, 5, 4] if with_voxel_size else None)
        tifffile.imwrite(files[1], labels, photometric="minisblack")
        return ["new", "mine", *files, "--output", description_path(tmp_path)]

    return write_files


def description_path(folder: Path) -> str:
    return str(folder / "conf" / "data" / "mine.yaml")


def check(folder: Path) -> int:
    """Exit code of `fibseg check`."""
    return main(["check", description_path(folder), "--page", str(folder / "page.html")])


@pytest.mark.parametrize(
    ("slices", "train", "validation", "test"),
    [
        (list(range(12)), [0, 1, 2, 3, 4, 5], [7, 8], [10, 11]),
        ([0, 2, 4, 6, 8, 10], [0, 2, 4, 6], [8], [10]),
        ([0, 1, 5, 6, 11], [0, 1, 5], [6], [11]),
        ([3, 4], [3], [4], []),
        ([3, 4, 9], [3], [4], [9]),
    ],
)
def test_a_new_description_is_loaded_and_passes_the_check(
    slices: list[int],
    train: list[int],
    validation: list[int],
    test: list[int],
    write: Write,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    image, labels = painted_stacks(slices)
    assert main([*write(image, labels), "--class", "mito=2"]) == 0
    text = capsys.readouterr().out
    assert f"slices with labels: {len(slices)} of 12; {len(train)} train" in text
    assert f"label values: 0 ({(labels == 0).mean():.2%}), 1 ({(labels == 1).mean():.2%})" in text
    description = load_description(description_path(tmp_path))
    assert (description.name, description.ignore) == ("mine", None)
    values = {name: entry.label for name, entry in description.classes.items()}
    assert values == {"class1": 1, "mito": 2}
    (volume,) = description.volumes
    assert (volume.offset, volume.voxel_size) == ([0, 0, 0], [20, 5, 4])
    positions = {split: parse_slices(items, 12, "") for split, items in volume.split.items()}
    expected = {"train": train, "validation": validation} | ({"test": test} if test else {})
    assert positions == expected
    assert [entry.z for entry in load_slices(description)["train"]] == train
    assert check(tmp_path) == 0


def test_labels_of_a_part_of_the_image(write: Write, tmp_path: Path) -> None:
    _, labels = painted_stacks([1, 2, 3, 4])
    image = np.random.default_rng(0).integers(0, 200, (30, 50, 60)).astype(np.uint8)
    labels[4, 0, 0] = 255
    assert main([*write(image, labels), "--offset", "10,9,7"]) == 0
    description = load_description(description_path(tmp_path))
    assert (description.volumes[0].offset, description.ignore) == ([10, 9, 7], 255)
    assert parse_slices(description.volumes[0].split["train"], 30, "") == [11, 12]
    test_slice = load_slices(description)["test"][0]
    assert test_slice.z == 14
    np.testing.assert_array_equal(test_slice.labels[9:41, 7:39], labels[4])
    assert check(tmp_path) == 0


def test_a_missing_voxel_size_must_be_filled_in(
    write: Write, tmp_path: Path, capsys: Capture
) -> None:
    arguments = write(*painted_stacks([1, 2]), with_voxel_size=False)
    assert main(arguments) == 0
    assert "voxel size: neither file has one" in capsys.readouterr().out
    assert check(tmp_path) == 2
    assert "voxel_size: must be given, in its file, in place of ???" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "mine.yaml: exists already" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--voxel-size", "20,5,4.5"]) == 0
    assert load_description(description_path(tmp_path)).volumes[0].voxel_size == [20, 5, 4.5]


@pytest.mark.parametrize(
    "name", ["rough ER", "Mito #1", "a: b", "no", "null", "12", "[er]", "{er}", "*er", 'a"b', "é"]
)
def test_any_name_of_a_class(name: str, write: Write, tmp_path: Path) -> None:
    assert main([*write(*painted_stacks([1, 2, 3])), "--class", f"{name}=2"]) == 0
    classes = load_description(description_path(tmp_path)).classes
    assert {key: entry.label for key, entry in classes.items()} == {"class1": 1, name: 2}


@pytest.mark.parametrize("folder", ["a b", "a #1", "a: b", "a, [b]", 'a"b, c', "a'b"])
def test_any_folder(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    image, labels = painted_stacks([1, 2, 3])
    files = [str(tmp_path / folder / name) for name in ("image.tif", "labels.tif")]
    write_stack(files[0], image, [20, 5, 5])
    write_stack(files[1], labels)
    assert main(["new", "mine", *files, "--output", str(tmp_path / "mine.yaml")]) == 0
    (volume,) = load_description(str(tmp_path / "mine.yaml")).volumes
    assert [volume.image, volume.labels] == files


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["er=7"], "er=7: no label has this value; there are [0, 1, 2]"),
        (["er"], "expected NAME=VALUE"),
        (["=1"], "no name of a class"),
        (["er=1,2"], "several values"),
        (["er=1", "mito=1"], "the value is taken"),
        (["er=0"], "the value is taken"),
    ],
)
def test_names_that_no_class_can_take(
    entries: list[str], message: str, write: Write, tmp_path: Path, capsys: Capture
) -> None:
    arguments = write(*painted_stacks([1, 2, 3]))
    for entry in entries:
        arguments += ["--class", entry]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path(description_path(tmp_path)).exists()


def test_a_mask_of_255_is_a_class_if_it_is_named(write: Write, tmp_path: Path) -> None:
    """ImageJ writes masks as 0 and 255, and 255 without a name means unannotated."""
    image, labels = painted_stacks([1, 2, 3])
    labels[labels > 0] = 255
    assert main([*write(image, labels), "--class", "mito=255"]) == 0
    description = load_description(description_path(tmp_path))
    assert {name: entry.label for name, entry in description.classes.items()} == {"mito": 255}
    assert description.ignore is None


def test_an_image_of_one_grey_value_fails_the_check_as_it_fails_training(
    write: Write, tmp_path: Path
) -> None:
    image, labels = painted_stacks([1, 2, 3])
    assert main(write(image * 0, labels)) == 0
    assert check(tmp_path) == 2


@pytest.mark.parametrize("size", ["0,5,5", "20,-5,5", "nan,5,5"])
def test_impossible_voxel_sizes(size: str, write: Write, tmp_path: Path) -> None:
    assert main([*write(*painted_stacks([1, 2, 3])), "--voxel-size", size]) == 2
    assert not Path(description_path(tmp_path)).exists()


def test_labels_of_another_shape_need_an_offset(write: Write, capsys: Capture) -> None:
    """They fit at 0, 0, 0 too, but only by chance, so a person must say so."""
    image, labels = painted_stacks([1, 2, 3])
    arguments = write(image, labels[:, :30, :30])
    assert main(arguments) == 2
    assert "--offset" in capsys.readouterr().err
    assert main([*arguments, "--offset", "0,0,0"]) == 0


def test_labels_of_other_programs_must_be_imported(tmp_path: Path, capsys: Capture) -> None:
    image, labels = painted_stacks([1, 2, 3])
    write_stack(tmp_path / "image.tif", image)
    path = write_ilastik(tmp_path / "labels.h5", labels)
    assert main(["new", "mine", str(tmp_path / "image.tif"), path]) == 2
    assert "labels of ilastik" in capsys.readouterr().err


def test_names_of_the_package_are_refused(commands: Commands) -> None:
    """A training would find the description of the package in place of the new one."""
    image, labels = painted_stacks([1, 2, 3])
    write_stack(commands.folder / "image.tif", image)
    write_stack(commands.folder / "labels.tif", labels)
    arguments = ["new", "vnc", "image.tif", "labels.tif"]
    result = commands.run("fibseg", *arguments, cwd=commands.folder)
    commands.refused(result, "vnc: a data description of fibseg has this name")
    assert not (commands.folder / "conf" / "data" / "vnc.yaml").exists()


def test_the_printed_commands_run_as_they_are(commands: Commands) -> None:
    """Without --output the description is written where the next commands find it."""
    folder = commands.folder
    image, labels = painted_stacks([1, 2, 3, 4, 5])
    write_stack(folder / "image.tif", image, [20, 5, 5])
    write_stack(folder / "labels.tif", labels)
    result = commands.run_process(
        "fibseg", "new", "cell", "image.tif", "labels.tif", "--class", "er=1", cwd=folder
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert (folder / "conf" / "data" / "cell.yaml").is_file()
    check_line, train_line = (line.strip() for line in result.stdout.splitlines()[-2:])
    assert check_line == "fibseg check conf/data/cell.yaml"
    assert train_line == "fibseg train data=cell experiment=quick"
    for line in (check_line, "fibseg check cell", f"{train_line} --cfg job"):
        result = commands.run(*shlex.split(line), cwd=folder)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("own/data/cell.yaml", "fibseg train --config-dir=own data=cell experiment=quick"),
        ("a b/data/cell.yaml", "fibseg train --config-dir='a b' data=cell experiment=quick"),
        ("cell.yaml", "move it into a folder DIR/data"),
    ],
)
def test_the_next_command_fits_where_the_description_lies(
    path: str, command: str, commands: Commands
) -> None:
    folder = commands.folder
    image, labels = painted_stacks([1, 2, 3])
    write_stack(folder / "image.tif", image, [20, 5, 5])
    write_stack(folder / "labels.tif", labels)
    arguments = ["new", "cell", "image.tif", "labels.tif", "--output", path]
    result = commands.run("fibseg", *arguments, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert command in result.stdout


def test_a_negative_value_is_unannotated(write: Write, tmp_path: Path, capsys: Capture) -> None:
    image, labels = painted_stacks([1, 2, 3, 4])
    signed = labels.astype(np.int16)
    signed[:, :, 20:] = -1
    arguments = write(image, signed)
    assert main(arguments) == 0
    assert "value -1: unannotated pixels" in capsys.readouterr().out
    description = load_description(description_path(tmp_path))
    assert description.ignore == -1
    assert -1 not in [entry.label for entry in description.classes.values()]
    assert check(tmp_path) == 0
    # A name makes a class of it.
    assert main([*arguments, "--class", "er=-1", "--overwrite"]) == 0
    description = load_description(description_path(tmp_path))
    assert (description.classes["er"].label, description.ignore) == (-1, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({-1: (0, 0), 255: (0, 1)}, "-1 and 255 both mean unannotated"),
        ({-1: (0, 0), -2: (0, 1)}, "-2 and -1 both mean unannotated"),
        ({65535: (0, 0)}, "value 65535 is -1 in unsigned numbers: unannotated?"),
    ],
)
def test_values_that_a_person_has_to_explain(
    values: dict[int, tuple[int, int]], message: str, write: Write, capsys: Capture
) -> None:
    image, labels = painted_stacks([1, 2, 3, 4])
    wide = labels.astype(np.int32)
    for value, place in values.items():
        wide[(slice(None), *place)] = value
    assert main(write(image, wide)) == 2
    assert message in capsys.readouterr().err


def write_numbered(folder: Path, slices: dict[int, np.ndarray]) -> str:
    folder.mkdir()
    for z, pixels in slices.items():
        tifffile.imwrite(folder / f"slice_{z:03d}.tif", pixels)
    return str(folder)


def test_labels_of_single_slices_lie_where_their_names_say(tmp_path: Path, capsys: Capture) -> None:
    image, labels = painted_stacks(range(12))
    raw = write_numbered(tmp_path / "raw", dict(enumerate(image)))
    some = write_numbered(tmp_path / "labels", {z: labels[z] for z in (0, 3, 6, 9)})
    arguments = ["new", "mine", raw, some, "--voxel-size", "20,5,5"]
    arguments += ["--output", description_path(tmp_path)]
    assert main(arguments) == 0
    assert "the numbers in the names say slices 0, 3, 6, 9" in capsys.readouterr().out
    slices = load_slices(load_description(description_path(tmp_path)))
    places = {split: [entry.z for entry in slices[split]] for split in slices if slices[split]}
    assert places == {"train": [0, 3], "validation": [6], "test": [9]}
    np.testing.assert_array_equal(slices["test"][0].image, image[9])
    np.testing.assert_array_equal(slices["test"][0].labels, labels[9])
    # An offset of 0 is that of the description, and no other pairing.
    assert main([*arguments, "--offset", "0,0,0", "--overwrite"]) == 0
    assert main([*arguments, "--offset", "1,0,0", "--overwrite"]) == 2
    assert "give an offset of 0 along z" in capsys.readouterr().err
    stack = tmp_path / "stack.tif"
    write_stack(stack, image)
    assert main(["new", "mine", str(stack), some, "--output", str(tmp_path / "o.yaml")]) == 2
    error = capsys.readouterr().err
    assert "the labels are of single slices, 0, 3, 6, 9" in error and "--offset" not in error


def write_crop(path: Path, size: float, start: float, pixels: np.ndarray) -> str:
    """Write an OME-Zarr of cubic voxels that begins at a place in nm."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("s0", data=pixels, chunks=(4, 32, 32))
    steps = [
        {"type": "scale", "scale": [size] * 3},
        {"type": "translation", "translation": [start] * 3},
    ]
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    datasets = [{"path": "s0", "coordinateTransformations": steps}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return str(path)


def test_an_offset_from_places_in_nm(tmp_path: Path, capsys: Capture) -> None:
    image, labels = painted_stacks(range(12))
    whole = write_crop(tmp_path / "em.zarr", 4.0, 100.0, image)
    crop = write_crop(tmp_path / "gt.zarr", 4.0, 108.0, labels[2:8, 2:22, 2:22])
    arguments = ["new", "mine", whole, crop, "--output", description_path(tmp_path)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "offset: the labels start at [2, 2, 2] in the image" in text and "warning" not in text
    (volume,) = load_description(description_path(tmp_path)).volumes
    assert (volume.offset, volume.voxel_size) == ([2, 2, 2], [4, 4, 4])
    assert main([*arguments, "--offset", "2,2,0", "--overwrite"]) == 0
    doubt = "warning: " + crop + ": by the places in the files the labels start at [2, 2, 2]"
    assert doubt in capsys.readouterr().out
    assert check(tmp_path) == 0
    assert doubt in capsys.readouterr().out
    # The size of a voxel of the labels is not that of the image.
    fine = write_crop(tmp_path / "fine.zarr", 2.0, 108.0, labels)
    assert main(["new", "mine", whole, fine, "--output", str(tmp_path / "f.yaml")]) == 2
    assert "2 x 2 x 2 nm" in capsys.readouterr().err
    content = Path(description_path(tmp_path)).read_text()
    Path(description_path(tmp_path)).write_text(content.replace(crop, fine))
    assert check(tmp_path) == 2
    assert "bring them to one size" in capsys.readouterr().out


def test_names_of_an_import_are_kept_and_others_doubted(
    tmp_path: Path, write: Write, capsys: Capture
) -> None:
    arguments = write(*painted_stacks([1, 2, 3, 4]))
    imported = str(tmp_path / "imported.tif")
    classes = ["--class", "mito=1", "--class", "er=2"]
    assert main(["import", arguments[3], imported, *classes]) == 0
    arguments[3] = imported
    assert main(arguments) == 0
    written = load_description(description_path(tmp_path)).classes
    assert {name: entry.label for name, entry in written.items()} == {"mito": 1, "er": 2}
    capsys.readouterr()
    swapped = ["--class", "mito=2", "--class", "er=1", "--overwrite"]
    assert main([*arguments, *swapped]) == 0
    doubt = f"warning: {imported}: value 2 is er by the notes of the file, but is called mito."
    assert doubt in capsys.readouterr().out
    assert check(tmp_path) == 0
    assert doubt in capsys.readouterr().out


def test_values_above_63_bits(tmp_path: Path) -> None:
    image, labels = painted_stacks([1, 2, 3, 4])
    write_stack(tmp_path / "image.tif", image, [20, 5, 5])
    ids = np.array([0, 2**63 + 1, 2**33], np.uint64)[labels]
    zarr.create_array(tmp_path / "ids.zarr", data=ids, chunks=(1, 32, 32))
    files = [str(tmp_path / "image.tif"), str(tmp_path / "ids.zarr")]
    arguments = ["new", "mine", *files, "--output", description_path(tmp_path)]
    assert main([*arguments, "--class", f"mito={2**63 + 1}", "--class", f"er={2**33}"]) == 0
    assert check(tmp_path) == 0
    (entry,) = load_slices(load_description(description_path(tmp_path)))["test"]
    np.testing.assert_array_equal(entry.labels == 2, labels[entry.z] == 1)
    np.testing.assert_array_equal(entry.labels == 1, labels[entry.z] == 2)
