"""The page of a comparison: whole in one file, and safe from what configurations are called."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from fibseg.comparison.dataset import datasets_of
from fibseg.comparison.report import ComparisonOptions, report_on
from fibseg.pages.charts import charts_of
from fibseg.pages.comparison import write_comparison_page
from fibseg.runs.collection import collect
from tests.support.page_runs import make_page_runs
from tests.support.page_tags import Tags


def write_page(runs: Path, page: Path) -> str:
    """Write the page of these runs, and give its text."""
    collection = collect([runs])
    datasets = datasets_of(collection)
    reports = [report_on(dataset, ComparisonOptions()) for dataset in datasets]
    charts = [charts_of(dataset) for dataset in datasets]
    write_comparison_page(page, reports, charts, collection.left_out)
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("pictures", [True, False])
def test_the_page_is_whole(pictures: bool, tmp_path: Path) -> None:
    make_page_runs(tmp_path / "runs", pictures)
    page = write_page(tmp_path / "runs", tmp_path / "out" / "index.html")
    tags = Tags(page)
    # The answer, Table 1, scores, costs, Table 2, contrasts, details, runs.
    assert tags.count("table") == 8
    assert page.count('<div class="chart">') == 7
    assert tags.count("select") == (3 if pictures else 0)
    assert "This covers training randomness only" in page
    assert "Comparison of 9 runs" in page and "Left out" not in page


def test_the_page_loads_nothing_and_escapes_names(tmp_path: Path) -> None:
    make_page_runs(tmp_path / "runs", pictures=True)
    page = write_page(tmp_path / "runs", tmp_path / "out" / "index.html")
    tags = Tags(page)
    for _, attributes in tags.tags:
        for name in ("src", "href", "xlink:href"):
            assert not re.match(r"\w+://|//", attributes.get(name) or "")
    assert tags.count("b") == 0 and "&lt;b&gt;er$x$" in page


def test_links_lead_to_parts_of_the_page_and_to_run_directories(tmp_path: Path) -> None:
    make_page_runs(tmp_path / "runs", pictures=True)
    tags = Tags(write_page(tmp_path / "runs", tmp_path / "out" / "index.html"))
    ids = tags.ids()
    assert len(set(ids)) == len(ids)
    anchors = {link[1:] for link in tags.links() if link.startswith("#")}
    assert anchors <= set(ids)
    assert {"set0", "set0-runs", "set0-runs0", "set0-slices"} <= anchors
    outside = [link for link in tags.links() if not link.startswith("#")]
    # Nine runs, each in the list and in the table of runs.
    assert len(outside) == 18
    runs = {(tmp_path / "out" / unquote(link)).resolve() for link in outside}
    assert runs == {path.parent for path in (tmp_path / "runs").glob("*/scores.json")}


def test_runs_that_are_left_out_are_listed(tmp_path: Path) -> None:
    make_page_runs(tmp_path / "runs", pictures=False)
    (tmp_path / "runs" / "unet-off-s9-00000000").mkdir()
    (tmp_path / "runs" / "unet-off-s9-00000000" / "config.yaml").write_text("a: 1")
    page = write_page(tmp_path / "runs", tmp_path / "out" / "index.html")
    assert re.search(r"<h2>Left out</h2><ul><li>[^<]*unet-off-s9-00000000: no scores.json", page)


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
TRIAL = """
<script>
  const pause = () => new Promise(resolve => setTimeout(resolve, 50));
  (async () => {
  const table = document.querySelector('table.sortable');
  const head = table.querySelectorAll('th button')[1];
  const column = () => [...table.tBodies[0].rows].map(row => row.cells[1].textContent);
  head.click();
  const up = column();
  const sorted = head.closest('th').getAttribute('aria-sort');
  head.click();
  const [, left, right] = document.querySelectorAll('.gallery select');
  const swipe = document.querySelector('input[type=range]');
  left.value = 'truth';
  right.value = 'unet-on, seed 1';
  swipe.value = 30;
  for (const control of [left, right, swipe]) control.dispatchEvent(new Event('input'));
  const images = [...document.querySelectorAll('img.layer')];
  const layers = images.map(image => [image.style.clipPath, image.naturalWidth > 0]);
  const alt = document.querySelector('img').alt;
  dispatchEvent(new Event('beforeprint'));
  const drawn = async () => {
    await pause();
    return [...document.querySelectorAll('.chart')].map(
      chart => chart.querySelectorAll('.mark-symbol path, .mark-line path').length);
  };
  const dots = [await drawn()];
  document.querySelector('.panel input').click();
  dots.push(await drawn());
  document.querySelector('.panel input').click();
  const choice = document.querySelector('.panel select');
  choice.value = 1;
  choice.dispatchEvent(new Event('change'));
  dots.push(await drawn());
  const rows = [...document.querySelectorAll('tr[data-run]')].filter(row => !row.hidden);
  const run = [choice.selectedOptions[0].textContent, rows.map(row => row.dataset.run)];
  document.title = JSON.stringify({up, sorted, down: column(), layers, alt, dots, run});
  })();
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: the page's script is not tried")
def test_sorting_swiping_and_filtering_in_a_browser(tmp_path: Path) -> None:
    make_page_runs(tmp_path / "runs", pictures=True)
    text = write_page(tmp_path / "runs", tmp_path / "out" / "index.html")
    page = tmp_path / "out" / "trial.html"
    page.write_text(text.replace("</body>", f"{TRIAL}</body>"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", finished.stdout)
    assert title is not None
    outcome = json.loads(html.unescape(title[1]))
    assert outcome["sorted"] == "ascending" and outcome["up"] == sorted(outcome["up"])
    assert outcome["down"] == sorted(outcome["up"], reverse=True) != outcome["up"]
    clips = [clip for clip, _ in outcome["layers"]]
    assert clips == ["inset(0px 70% 0px 0px)", "inset(0px 0px 0px 30%)"]
    assert outcome["alt"].endswith("left truth, right unet-on, seed 1")
    everything, without_first, of_run = outcome["dots"]
    # Nine runs; three of each configuration; a curve for each of them.
    assert [everything[k] for k in (0, 1, 2)] == [9, 9, 9]
    assert [without_first[k] for k in (0, 1, 2)] == [6, 6, 6]
    assert [of_run[k] for k in (0, 1, 2)] == [1, 1, 1]
    name, rows = outcome["run"]
    assert rows == [name]
