"""The page of a comparison: one HTML file that works from a disk, without network or server."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

from fibseg import dashboard_charts as charts
from fibseg.comparison import Collection, Run, configurations
from fibseg.gallery import Picture, gallery
from fibseg.runs import write_whole
from fibseg.tables import Table

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .15rem .7rem; border-bottom: 1px solid #8885; text-align: left; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
.scroll, figure { overflow-x: auto; } figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
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
    parts = [
        _data_set(runs, own, sentences) for runs, own, sentences in zip(found.data_sets(), tables, said, strict=True)
    ]
    left = "".join(f"<li>{html.escape(f'{path}: {why}')}</li>" for path, why in found.left_out)
    write_whole(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Comparison of runs</title>'
        f"<style>{STYLE}</style></head><body><h1>Comparison of {len(found.runs)} runs</h1>"
        f"{''.join(parts)}{f'<h2>Left out</h2><ul>{left}</ul>' if left else ''}"
        f"<script>{SCRIPT}</script></body></html>\n",
    )


def _data_set(runs: Sequence[Run], tables: Sequence[Table], said: Sequence[str]) -> str:
    name = html.escape(runs[0].data)
    told = "".join(f"<p>{html.escape(one)}</p>" for one in said)
    drawn = (
        ("Every run", charts.dots(runs)),
        ("While they trained", charts.curves(runs)),
        ("Slice by slice", charts.along_z(runs)),
        ("What is taken for what", charts.confusion(runs)),
        ("Small and large components", charts.recall_by_size(runs)),
    )
    figures = "".join(f"<h3>{title}</h3><figure>{picture}</figure>" for title, picture in drawn if picture)
    links = "".join(
        f"<li>{html.escape(label)}: {', '.join(html.escape(str(run.path)) for run in own)}</li>"
        for label, own in configurations(runs).items()
    )
    return (
        f"<h2>{name}</h2>{told}{''.join(map(_table, tables))}{figures}{_gallery(gallery(runs))}"
        f"<details><summary>The runs behind every number</summary><ul>{links}</ul></details>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"><button>{html.escape(one)}</button></th>' for one in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{html.escape(one)}</p>' for one in table.notes)
    return (
        f'<div class="scroll"><table class="sortable"><caption>{html.escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def _gallery(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    layers = list(dict.fromkeys(name for one in pictures for name in one.layers))
    slices = "".join(
        f'<option value="{k}">volume {one.place[0]}, slice {one.place[1]}</option>' for k, one in enumerate(pictures)
    )
    data = json.dumps([{"image": one.image, "layers": one.layers} for one in pictures]).replace("<", "\\u003c")

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
        '<div class="view"><img alt=""><img class="layer" alt=""><img class="layer" alt=""></div>'
        f'<script type="application/json">{data}</script></div>'
    )
