"""The page of object measures: a histogram of each measure and class."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fibseg.pages.objects import write_object_page
from fibseg.scores.bodies.table import ObjectTable


def page_of(tmp_path: Path, **columns: list) -> str:
    count = len(next(iter(columns.values())))
    fixed = {
        "object": list(range(count)),
        "class": ["a<b"] * count,
        "touches_border": ["no"] * count,
    }
    table = ObjectTable(fixed | columns | {"rule": ["all"] * count, "centre_z_nm": [1.0] * count})
    write_object_page(tmp_path / "page.html", "T", table, ["a<b", "empty"], ["5 voxels & more"])
    return (tmp_path / "page.html").read_text()


def counts_in(page: str) -> list[int]:
    return [int(count) for count in re.findall(r"<title>[^<]*: (\d+)</title></rect>", page)]


def test_bars_count_the_objects(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(10, 1, 200).tolist()
    page = page_of(tmp_path, sphericity=values)
    counts = counts_in(page)
    assert counts == np.histogram(values, 24)[0].tolist()
    assert f"median {np.median(values):.4g}" in page and "logarithmic" not in page
    assert "a&lt;b: 200 objects" in page and "a<b" not in page
    assert "empty: 0 objects" in page and "no object" in page
    assert "5 voxels &amp; more" in page
    # Where objects are is no measure of their shape.
    assert "centre" not in page.split("</style>")[1]


def test_wide_ranges_are_logarithmic_and_missing_values_left_out(tmp_path: Path) -> None:
    page = page_of(tmp_path, volume_um3=[1.0, 10.0, 1000.0, None, float("nan")])
    assert sum(counts_in(page)) == 3
    assert "logarithmic" in page and "3 objects" in page


def test_equal_values_are_one_bar_and_none_no_chart(tmp_path: Path) -> None:
    assert counts_in(page_of(tmp_path, branches=[2, 2, 2])) == [3]
    assert counts_in(page_of(tmp_path, branches=[None, None])) == []
