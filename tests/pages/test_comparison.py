"""The page of a comparison: whole in one file, and safe from what configurations are called."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from fibseg.commands.main import main
from fibseg.pages.gallery import SIDE, gallery
from fibseg.runs.collection import collect
from fibseg.runs.directory import RunDirectory
from fibseg.stack import write_pages
from tests.support.runs import make_run


class Tags(HTMLParser):
    """Tags with their attributes, and the texts of table cells."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def a_sweep(folder: Path, pictures: bool, shape: tuple[int, int] = (40, 50)) -> None:
    """Three configurations of three seeds on four test slices."""
    generator = np.random.default_rng(0)
    truth = [generator.integers(0, 2, shape).astype(np.uint8) for _ in range(4)]
    truth[0][:3] = 255
    for name, f1 in (("unet-off", 0.7), ("unet-on", 0.8), ("eunet-on-x", 0.6)):
        for seed in range(3):
            path = make_run(
                folder,
                name,
                seed,
                [f1] * 2,
                [f1 + seed / 100] * 4,
                classes=["background", "<b>er$x$"],
            )
            rows = "".join(f"{epoch},{0.5 - epoch / 10},{0.2 + epoch / 10}\n" for epoch in range(3))
            (path / "metrics.csv").write_text(f"epoch,val_loss,val_f1\n{rows}")
            if pictures:
                labels = [
                    np.where(generator.random(shape) < 0.1, 1 - one % 2, one % 2).astype(np.uint8)
                    for one in truth
                ]
                write_pages(RunDirectory(path).labels("test"), labels)
    if pictures:
        write_pages(
            folder / "truth" / "d" / "test-images.tif",
            [generator.integers(0, 255, shape).astype(np.uint8)] * 4,
        )
        write_pages(folder / "truth" / "d" / "test-labels.tif", truth)


@pytest.mark.parametrize("pictures", [True, False])
def test_the_page_is_whole_and_safe(
    pictures: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_sweep(tmp_path / "runs", pictures)
    assert main(["compare", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 0
    assert "index.html" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text()
    tags = Tags(page).tags
    for _, attributes in tags:
        for name in ("src", "href", "xlink:href"):
            assert not re.match(r"\w+://|//", attributes.get(name) or "")
    names = [tag for tag, _ in tags]
    assert names.count("table") == 5  # two tables, contrasts, scores, runs
    assert names.count("svg") == 6
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "svg")
    assert "b" not in names and "&lt;b&gt;er$x$" in page
    assert names.count("select") == (3 if pictures else 0)
    assert "This covers training randomness only" in page
    links = [attributes["href"] or "" for tag, attributes in tags if tag == "a"]
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= {attributes.get("id") for _, attributes in tags}
    assert {"set0", "set0-runs", "set0-runs0", "set0-slices"} <= inside
    assert (
        len([link for link in links if not link.startswith("#")]) == 18
    )  # from the list and from the table
    runs = {
        (tmp_path / "out" / unquote(link)).resolve() for link in links if not link.startswith("#")
    }
    assert runs == {path.parent for path in (tmp_path / "runs").glob("*/scores.json")}


def test_the_gallery_shows_truth_a_median_run_and_where_seeds_disagree(tmp_path: Path) -> None:
    a_sweep(tmp_path, True, (30, 2 * SIDE))
    runs = collect([tmp_path]).runs
    pictures = gallery(runs)
    assert [one.place for one in pictures] == [(0, z) for z in range(4)]
    layers = list(pictures[0].layers)
    assert layers[0] == "truth" and len(layers) == 7
    assert {"unet-off, seed 1", "unet-off: seeds disagree"} <= set(layers)
    for url in (pictures[0].image, *pictures[0].layers.values()):
        content = base64.b64decode(url.partition(",")[2])
        assert Image.open(io.BytesIO(content)).size == (SIDE, 15)
    heat = np.asarray(
        Image.open(io.BytesIO(_png(pictures[1].layers["unet-off: seeds disagree"]))).convert("RGBA")
    )
    labels = [np.asarray(Image.open(io.BytesIO(_png(pictures[1].layers["truth"]))).convert("RGBA"))]
    assert heat[..., 3].max() > 100 and heat[..., 3].min() == 0
    assert labels[0][..., 3].max() > 100
    assert json.dumps([one.layers for one in pictures])


def _png(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def test_runs_without_pictures_or_with_others_have_no_gallery(tmp_path: Path) -> None:
    a_sweep(tmp_path, False)
    runs = collect([tmp_path]).runs
    assert gallery(runs) == []
    for kind in ("images", "labels"):
        write_pages(tmp_path / "truth" / "d" / f"test-{kind}.tif", [np.zeros((4, 4), np.uint8)] * 3)
    assert gallery(runs) == []  # three pages for four slices


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
TRIED = """
<script>
  const table = document.querySelector('table.sortable'), head = table.querySelectorAll('th button')[2];
  const column = () => [...table.tBodies[0].rows].map(row => row.cells[2].textContent);
  head.click(); const up = column(), sorted = head.closest('th').getAttribute('aria-sort'); head.click();
  const [, left, right] = document.querySelectorAll('select'), swipe = document.querySelector('input[type=range]');
  left.value = 'truth'; right.value = 'unet-on, seed 1'; swipe.value = 30;
  for (const one of [left, right, swipe]) one.dispatchEvent(new Event('input'));
  const layers = [...document.querySelectorAll('img.layer')].map(one => [one.style.clipPath, one.naturalWidth > 0]);
  document.title = JSON.stringify({up, sorted, down: column(), layers, alt: document.querySelector('img').alt});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: the page's script is not tried")
def test_sorting_and_swiping_in_a_browser(tmp_path: Path) -> None:
    a_sweep(tmp_path / "runs", True)
    assert main(["compare", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 0
    page = tmp_path / "out" / "tried.html"
    page.write_text(
        (tmp_path / "out" / "index.html").read_text().replace("</body>", f"{TRIED}</body>")
    )
    line = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*line, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout)[1]))  # type: ignore[index]
    assert found["sorted"] == "ascending" and found["up"] == sorted(found["up"])
    assert found["down"] == sorted(found["up"], reverse=True) != found["up"]
    assert [clip for clip, _ in found["layers"]] == [
        "inset(0px 70% 0px 0px)",
        "inset(0px 0px 0px 30%)",
    ]
    assert found["alt"].endswith("left truth, right unet-on, seed 1")
