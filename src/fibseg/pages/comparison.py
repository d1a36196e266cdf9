"""The page of a comparison: one HTML file that works from a disk, without network or server."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from fibseg.comparison.text import Table
from fibseg.files import write_whole
from fibseg.pages import charts
from fibseg.pages.gallery import Picture, gallery
from fibseg.runs.collection import Collection, FinishedRun, configurations

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .15rem .7rem; border-bottom: 1px solid #8885; text-align: left; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
.scroll, figure { overflow-x: auto; } figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
a { color: inherit; text-decoration-style: dotted; } nav a { margin-right: 1rem; }
.note { opacity: .75; font-size: .9em; margin: 0; }
.view { position: relative; display: inline-block; max-width: 100%; }
.view img { display: block; max-width: 100%; image-rendering: pixelated; }
.view img.layer { position: absolute; inset: 0; width: 100%; height: 100%; }
.controls { display: flex; gap: 1rem; flex-wrap: wrap; margin: .5rem 0; } .controls input { width: 20rem; }
"""

SCRIPT = """
for (const table of document.querySelectorAll('table.sortable')) {
  table.querySelectorAll('th button').forEach((button, column) => button.addEventListener('click', () => {
    const head = button.closest('th'), up = head.getAttribute('aria-sort') !== 'ascending';
    table.querySelectorAll('th').forEach(one => one.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const body = table.tBodies[0], cell = row => row.cells[column].textContent;
    const order = (a, b) => {
      const x = parseFloat(cell(a)), y = parseFloat(cell(b));
      return isNaN(x) || isNaN(y) ? cell(a).localeCompare(cell(b)) : x - y;
    };
    [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)).forEach(row => body.append(row));
  }));
}
for (const box of document.querySelectorAll('.gallery')) {
  const pictures = JSON.parse(box.querySelector('script').textContent);
  const [slice, left, right] = box.querySelectorAll('select'), swipe = box.querySelector('input');
  const [image, under, over] = box.querySelectorAll('img');
  const show = () => {
    const one = pictures[slice.value];
    image.src = one.image;
    under.src = one.layers[left.value] || ''; over.src = one.layers[right.value] || '';
    under.hidden = !one.layers[left.value]; over.hidden = !one.layers[right.value];
    under.style.clipPath = `inset(0 ${100 - swipe.value}% 0 0)`; over.style.clipPath = `inset(0 0 0 ${swipe.value}%)`;
    image.alt = `${slice.selectedOptions[0].textContent}: left ${left.value}, right ${right.value}`;
  };
  for (const one of [slice, left, right, swipe]) one.addEventListener('input', show);
  show();
}
"""


def write_dashboard(
    path: Path, found: Collection, tables: Sequence[Sequence[Table]], said: Sequence[Sequence[str]]
) -> None:
    """Tables, charts and pictures of each data set; tables and sentences are those of `fibseg compare`."""
    sets = found.data_sets()
    parts = [
        _data_set(f"set{number}", path.parent, *one)
        for number, one in enumerate(zip(sets, tables, said, strict=True))
    ]
    links = "".join(
        f'<a href="#set{number}">{html.escape(runs[0].data)}</a> <a href="#set{number}-slices">its slices</a> '
        f'<a href="#set{number}-runs">its runs</a> '
        for number, runs in enumerate(sets)
    )
    left = "".join(f"<li>{html.escape(f'{path}: {why}')}</li>" for path, why in found.left_out)
    write_whole(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Comparison of runs</title>'
        f"<style>{STYLE}</style></head><body><h1>Comparison of {len(found.runs)} runs</h1>"
        f'<nav aria-label="Parts of this page">{links}</nav><main>'
        f"{''.join(parts)}{f'<h2>Left out</h2><ul>{left}</ul>' if left else ''}</main>"
        f"<script>{SCRIPT}</script></body></html>\n",
    )


def _data_set(
    name: str,
    folder: Path,
    runs: Sequence[FinishedRun],
    tables: Sequence[Table],
    said: Sequence[str],
) -> str:
    """Everything of one data set; `name` begins the anchors, `folder` is where the page will lie."""
    groups = configurations(runs)
    anchors = {label: f"{name}-runs{number}" for number, label in enumerate(groups)}
    told = "".join(f"<li>{_linked(one, anchors)}</li>" for one in said)
    figures = "".join(
        f"<h3>{title}</h3><figure>{picture}</figure>"
        for title, picture in charts_of(runs)
        if picture
    )
    listed = "".join(
        f'<li id="{anchors[label]}">{html.escape(label)}: seeds {", ".join(_run_link(run, folder) for run in own)}</li>'
        for label, own in groups.items()
    )
    links = {
        (label, str(run.seed)): _run_link(run, folder)
        for label, own in groups.items()
        for run in own
    }
    return (
        f'<h2 id="{name}">{html.escape(runs[0].data)}</h2><ul>{told}</ul>'
        f"{''.join(_table(table, anchors, links) for table in tables)}{figures}"
        f'<div id="{name}-slices">{_gallery(gallery(runs))}</div>'
        f'<h3 id="{name}-runs">The runs behind every number</h3><ul>{listed}</ul>'
    )


def charts_of(runs: Sequence[FinishedRun]) -> list[tuple[str, str]]:
    """Title and SVG of each chart of one data set; empty text where there is nothing to draw."""
    return [
        ("Every run", charts.dots(runs)),
        ("While they trained", charts.curves(runs)),
        ("Slice by slice", charts.along_z(runs)),
        ("Differences slice by slice", charts.differences(runs)),
        ("What is taken for what", charts.confusion(runs)),
        ("Small and large components", charts.recall_by_size(runs)),
    ]


def _run_link(run: FinishedRun, folder: Path) -> str:
    """To the run's directory, from where the page lies."""
    where = quote(os.path.relpath(run.path, folder))
    return f'<a href="{where}/">{run.seed}</a>'


def _linked(text: str, anchors: dict[str, str]) -> str:
    """Escaped text in which every name of a configuration leads to its runs."""
    if not anchors:
        return html.escape(text)
    names = "|".join(re.escape(name) for name in sorted(anchors, key=len, reverse=True))
    parts = re.split(rf"(?<![\w.-])({names})(?![\w.-])", text)
    return "".join(
        f'<a href="#{anchors[part]}">{html.escape(part)}</a>' if k % 2 else html.escape(part)
        for k, part in enumerate(parts)
    )


def _table(table: Table, anchors: dict[str, str], links: dict[tuple[str, str], str]) -> str:
    """`links` lead from a configuration and a seed, where a row begins with them, to the run."""
    head = "".join(
        f'<th scope="col"><button>{html.escape(one)}</button></th>' for one in table.columns
    )
    lines = []
    for row in table.rows:
        cells = [_linked(cell, anchors) for cell in row]
        cells[1] = links.get((row[0], row[1]), cells[1]) if table.columns[1] == "seed" else cells[1]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    rows = "".join(lines)
    notes = "".join(f'<p class="note">{html.escape(one)}</p>' for one in table.notes)
    title = html.escape(table.title)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table class="sortable">'
        f"<caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def _gallery(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    layers = list(dict.fromkeys(name for one in pictures for name in one.layers))
    slices = "".join(
        f'<option value="{k}">volume {one.place[0]}, slice {one.place[1]}</option>'
        for k, one in enumerate(pictures)
    )
    data = json.dumps([{"image": one.image, "layers": one.layers} for one in pictures]).replace(
        "<", "\\u003c"
    )

    def options(number: int) -> str:
        chosen = layers[min(number, len(layers) - 1)]
        marks = {one: " selected" if one == chosen else "" for one in ["", *layers]}
        return "".join(
            f'<option value="{html.escape(one)}"{mark}>{html.escape(one) or "image"}</option>'
            for one, mark in marks.items()
        )

    return (
        '<h3>Slices</h3><div class="gallery"><div class="controls">'
        f"<label>slice <select>{slices}</select></label><label>left <select>{options(0)}</select></label>"
        f'<label>right <select>{options(1)}</select></label><label>swipe <input type="range" value="50"></label></div>'
        '<p class="note">one layer left of the swipe, another right of it; seeds disagree: red where runs differ</p>'
        '<div class="view"><img alt=""><img class="layer" alt=""><img class="layer" alt=""></div>'
        f'<script type="application/json">{data}</script></div>'
    )
