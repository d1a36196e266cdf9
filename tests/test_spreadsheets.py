"""Texts in CSV that spreadsheets leave alone."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibseg.spreadsheets import text_cell, text_of_cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_becomes_a_text(start: str) -> None:
    assert text_cell(f"{start}cmd|' /C calc'!A0").startswith(f"'{start}")


@pytest.mark.parametrize("text", ["er", "-3.5", "+1e9", "-", "=", "", "'quoted'", "a=b", "-inf"])
def test_other_texts_and_numbers_stay(text: str) -> None:
    assert text_cell(text) == text


@given(st.text("='+-@\t1a ,\n\"", max_size=6))
def test_a_text_is_read_back_through_a_file(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([text_cell(text), "end"])
    ((cell, _),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert text_of_cell(cell) == text
