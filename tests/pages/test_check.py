"""The page of `fibseg check`: it needs no other file, and shows names as they are."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fibseg.data.grey import GreyRange
from fibseg.data.inspection import Finding, Inspector
from fibseg.data.inspection.survey import Survey
from fibseg.data.volume import AnnotatedSlice
from fibseg.pages.check import THUMBNAIL_SIDE, write_check_page
from tests.support import describe
from tests.support.page_tags import Tags


@pytest.mark.parametrize(
    "shape",
    [
        (40, 40),
        (THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        (THUMBNAIL_SIDE + 1, 301),
        (7, 3 * THUMBNAIL_SIDE - 1),
    ],
)
def test_the_page_needs_no_other_file(shape: tuple[int, int], tmp_path: Path) -> None:
    image = np.zeros(shape, np.uint8)
    labels = np.zeros(shape, np.uint8)
    labels[: shape[0] // 2] = 1
    slices = [AnnotatedSlice(0, z, image, labels) for z in (0, 4)]
    inspector = Inspector(describe(Path()))
    survey = Survey(
        findings=[Finding("warning", "class <script> is <b>rare</b>"), Finding("error", "x < y")],
        names=["background", "<script>alert(1)</script>", 'b" & <i>'],
        slices=[inspector.add(annotated_slice, "train") for annotated_slice in slices],
        grey_range=GreyRange(0, 255),
        places_to_show=[annotated_slice.place for annotated_slice in slices],
    )
    path = tmp_path / "new" / "page.html"
    write_check_page(path, "Data <u>", survey, slices)
    text = path.read_text(encoding="utf-8")
    page = Tags(text)
    assert not {"script", "b", "i", "u", "link"} & {tag for tag, _ in page.tags}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "http" not in text
    assert not [attributes for _, attributes in page.tags if "href" in attributes]
    sources = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 2
    for source in sources:
        kind, content = source.split(",", 1)
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            step = -(-max(shape) // THUMBNAIL_SIDE)
            assert picture.size == (2 * -(-shape[1] // step), -(-shape[0] // step))
    assert page.count("tr") == 3
    levels = [attributes["class"] for tag, attributes in page.tags if tag == "li"]
    assert levels == ["warning", "error"]
