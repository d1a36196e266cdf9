"""The table of objects, worked out by hand, as CSV and Parquet."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from fibseg.errors import FibsegError
from fibseg.scores.bodies.numbered import NumberedObjects
from fibseg.scores.bodies.shapes import ObjectShapes
from fibseg.scores.bodies.skeletons import Skeleton
from fibseg.scores.bodies.table import MoreMeasures, check_parquet, object_table_of
from fibseg.scores.measures import VOXELS
from tests.support.bodies import SPACING, TWO_OBJECTS

NAMES = ["mitochondrion", "er"]
MORE = MoreMeasures(
    shapes=ObjectShapes(
        surface=np.array([2e6, 1e6]),
        contact=np.array([[5e5, 0.0], [0.0, 0.0]]),
        axes=np.array([[6.0, 3.0, 2.0], [4.0, 4.0, 4.0]]),
    ),
    skeletons={1: Skeleton(123.45, 3)},
    distances=np.array([[40.04, np.nan], [np.inf, np.nan]]),
)


def rows_of(more: MoreMeasures, spacing: tuple[float, ...] = SPACING, **units: object) -> list:
    objects = NumberedObjects(TWO_OBJECTS, (4, 5, 5), spacing, lambda _: np.zeros((5, 5)))
    text = object_table_of(objects, NAMES, "all of them", more, **units).csv()
    assert "\r" not in text
    return list(csv.DictReader(text.splitlines()))


def test_a_row_per_object() -> None:
    rows = rows_of(MoreMeasures())
    # 8 voxels of 20 x 5 x 4 nm are 3200 nm^3; the centre lies on the corner of four voxels.
    assert rows[0] == {
        "object": "1",
        "class": "er",
        "voxels": "8",
        "volume_um3": "3.2e-06",
        "surface_um2": "3",
        "extent_z_nm": "40.0",
        "extent_y_nm": "10.0",
        "extent_x_nm": "8.0",
        "centre_z_nm": "40.0",
        "centre_y_nm": "15.0",
        "centre_x_nm": "16.0",
        "touches_border": "no",
        "rule": "all of them",
    }
    assert rows[1]["touches_border"] == "yes"


def test_further_measures_and_cells_without_a_value() -> None:
    first, second = rows_of(MORE)
    assert first["sphericity"] == f"{np.cbrt(36 * np.pi * 3200.0**2) / 2e6:.6g}"
    assert (first["elongation"], second["elongation"]) == ("3", "1")
    assert (first["skeleton_nm"], first["branches"]) == ("123.5", "3")
    assert (second["skeleton_nm"], second["branches"]) == ("", "")
    assert (first["contact_mitochondrion_um2"], first["contact_er_um2"]) == ("0.5", "0")
    assert first["distance_mitochondrion_nm"] == "40.0"
    # No object has a distance to the class of all objects.
    assert "distance_er_nm" not in first


def test_voxels_where_their_size_is_unknown() -> None:
    first, _ = rows_of(MORE, (1.0, 1.0, 1.0), units=VOXELS)
    assert (first["volume_voxels"], first["extent_z_voxels"]) == ("8", "2")
    assert first["surface_voxel_faces"] == "3e+06"
    assert "skeleton_voxels" in first and "contact_er_voxel_faces" in first
    assert not any(name.endswith(("_nm", "_um2", "_um3")) for name in first)


def test_parquet_is_read_back(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    objects = NumberedObjects(TWO_OBJECTS, (4, 5, 5), SPACING, lambda _: np.zeros((5, 5)))
    table = object_table_of(objects, NAMES, "all", MORE)
    check_parquet()
    table.write_parquet(tmp_path / "t.parquet")
    content = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert list(content) == list(table.columns)
    assert content["voxels"] == [8, 2] and content["class"] == ["er", "er"]
    assert content["skeleton_nm"] == [123.45, None]


def test_without_pyarrow_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in its place is Python's sign of a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FibsegError, match="needs pyarrow, which is not installed"):
        check_parquet()
