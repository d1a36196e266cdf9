"""Labels of other programs: what is refused, and the case without any annotation."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from fibseg.data.labels.files import open_labels
from fibseg.data.labels.importing import LabelMeaning, import_labels
from fibseg.errors import FibsegError
from fibseg.stack import Stack
from tests.support.label_files import write_mib

SHAPE = (4, 6, 8)


def test_models_of_mib_that_cannot_be_read(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "old.mat", {"mibModel": np.zeros((6, 8, 4), np.uint8)})
    (tmp_path / "old.mat").rename(tmp_path / "old.model")
    with h5py.File(tmp_path / "other.model", "w") as file:
        file["something"] = np.zeros(SHAPE, np.uint8)
    write_mib(tmp_path / "float.model", np.zeros(SHAPE, np.float32), [], None)
    write_mib(tmp_path / "four.model", np.zeros(SHAPE, np.uint8), [], None)
    with h5py.File(tmp_path / "four.model", "a") as file:
        del file["mibModel"]
        file["mibModel"] = np.zeros((2, *SHAPE), np.uint8)
    for name, message in (
        ("none.model", "no such file"),
        ("old.model", "older .model of MIB; save it there as Matlab 7.3"),
        ("other.model", "holds no mibModel"),
        ("float.model", "type float32; expected labels"),
        ("four.model", r"shape \(2, 4, 6, 8\)"),
    ):
        with pytest.raises(FibsegError, match=message) as raised:
            open_labels(str(tmp_path / name))
        assert len(str(raised.value).splitlines()) == 1


def test_nothing_annotated_at_all(tmp_path: Path) -> None:
    empty = Stack("empty", SHAPE, np.dtype("uint8"), np.zeros(SHAPE, np.uint8).__getitem__)
    meaning = LabelMeaning({"a": [1]}, [], [], empty_is_unlabelled=True)
    imported = import_labels(empty, meaning, tmp_path / "out.tif")
    assert (imported.annotated, imported.ignored, imported.shares[1]) == (0, 1.0, 0.0)
