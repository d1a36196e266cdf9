"""The page of a comparison: one HTML file that works from a disk, without network or server."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from fibseg.comparison.report import Report
from fibseg.comparison.text import Table
from fibseg.files import write_whole
from fibseg.pages.comparison_assets import COMPARISON_SCRIPT, COMPARISON_STYLE
from fibseg.pages.gallery import GalleryPicture, gallery
from fibseg.runs.finished import FinishedRun


def write_comparison_page(
    path: Path,
    reports: Sequence[Report],
    charts: Sequence[Mapping[str, str]],
    left_out: Sequence[tuple[Path, str]],
) -> None:
    """Write the tables, charts and pictures of each data set as one page.

    Args:
        path: the HTML file.
        reports: tables and sentences, one for each data set.
        charts: title -> SVG of the charts of each data set.
        left_out: run directories that could not be read, with the reason.
    """
    pictures = [gallery(report.dataset) for report in reports]
    parts = [
        _dataset_part(
            name=f"set{number}",
            folder=path.parent,
            report=report,
            charts=of_dataset,
            pictures=pictures[number],
        )
        for number, (report, of_dataset) in enumerate(zip(reports, charts, strict=True))
    ]
    # A page of several data sets is long.
    links = "".join(
        f'<a href="#set{number}">{html.escape(report.dataset.name)}</a> '
        + (f'<a href="#set{number}-slices">its slices</a> ' if pictures[number] else "")
        + f'<a href="#set{number}-runs">its runs</a> '
        for number, report in enumerate(reports)
    )
    runs = sum(len(report.dataset.runs) for report in reports)
    write_whole(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Comparison of runs</title>'
        f"<style>{COMPARISON_STYLE}</style></head><body><h1>Comparison of {runs} runs</h1>"
        f'<nav aria-label="Parts of this page">{links}</nav><main>'
        f"{''.join(parts)}{_left_out_part(left_out)}</main>"
        f"<script>{COMPARISON_SCRIPT}</script></body></html>\n",
    )


def _left_out_part(left_out: Sequence[tuple[Path, str]]) -> str:
    if not left_out:
        return ""
    items = "".join(f"<li>{html.escape(f'{path}: {reason}')}</li>" for path, reason in left_out)
    return f"<h2>Left out</h2><ul>{items}</ul>"


def _dataset_part(
    name: str,
    folder: Path,
    report: Report,
    charts: Mapping[str, str],
    pictures: Sequence[GalleryPicture],
) -> str:
    """Everything of one data set; `name` begins the anchors, `folder` is where the page lies."""
    groups = report.dataset.configurations
    # By numbers: a name may hold letters that an anchor must not.
    anchors = {label: f"{name}-runs{number}" for number, label in enumerate(groups)}
    answers = "".join(f"<li>{_linked(text, anchors)}</li>" for text in report.answers)
    sentences = "".join(f"<li>{_linked(text, anchors)}</li>" for text in report.sentences)
    figures = "".join(
        f"<h3>{title}</h3><figure>{chart}</figure>" for title, chart in charts.items()
    )
    run_links = {
        (label, str(run.seed)): _run_link(run, folder)
        for label, runs in groups.items()
        for run in runs
    }
    tables = "".join(
        _table(table, anchors, run_links) for table in (*report.tables, *report.written_only)
    )
    in_words = f"<h3>Every contrast in words</h3><ul>{sentences}</ul>" if sentences else ""
    return (
        f'<h2 id="{name}">{html.escape(report.dataset.name)}</h2>'
        f"{_table(report.answer, anchors, run_links)}<ul>{answers}</ul>"
        f"<details><summary>All tables</summary>{tables}{in_words}</details>{figures}"
        f'<div id="{name}-slices">{_gallery(pictures)}</div>'
        f'<h3 id="{name}-runs">The runs behind every number</h3>'
        f"<ul>{_run_list(groups, anchors, folder)}</ul>"
    )


def _run_list(
    groups: Mapping[str, Sequence[FinishedRun]], anchors: Mapping[str, str], folder: Path
) -> str:
    """The runs of each configuration, with links to their directories."""
    items = []
    for label, runs in groups.items():
        links = ", ".join(_run_link(run, folder) for run in runs)
        items.append(f'<li id="{anchors[label]}">{html.escape(label)}: seeds {links}</li>')
    return "".join(items)


def _run_link(run: FinishedRun, folder: Path) -> str:
    """A link to the directory of a run, relative to where the page lies."""
    # Relative, so that the page works when it is moved or copied with the runs.
    target = quote(os.path.relpath(run.path, folder))
    return f'<a href="{target}/">{run.seed}</a>'


def _linked(text: str, anchors: Mapping[str, str]) -> str:
    """Escaped text in which every name of a configuration leads to its runs."""
    if not anchors:
        return html.escape(text)
    # The longest first, since a name may begin another: unet-on, unet-on-quick.
    names = "|".join(re.escape(name) for name in sorted(anchors, key=len, reverse=True))
    # Splitting by a group gives text and names in turn.
    parts = re.split(rf"(?<![\w.-])({names})(?![\w.-])", text)
    return "".join(
        f'<a href="#{anchors[part]}">{html.escape(part)}</a>' if k % 2 else html.escape(part)
        for k, part in enumerate(parts)
    )


def _table(
    table: Table, anchors: Mapping[str, str], run_links: Mapping[tuple[str, str], str]
) -> str:
    """A sortable table; `run_links` lead from configuration and seed of a row to the run."""
    heads = "".join(
        f'<th scope="col"><button>{html.escape(column)}</button></th>' for column in table.columns
    )
    rows = []
    for row in table.rows:
        cells = [_linked(cell, anchors) for cell in row]
        # In the table of runs, the second column leads to the run itself.
        if table.columns[1] == "seed":
            cells[1] = run_links.get((row[0], row[1]), cells[1])
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    title = html.escape(table.title)
    return (
        # A wide table scrolls by itself; tabindex lets a keyboard reach and scroll it.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table class="sortable"><caption>{title}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{notes}"
    )


def _gallery(pictures: Sequence[GalleryPicture]) -> str:
    """Controls, three images on top of each other, and their content for the script."""
    if not pictures:
        return ""
    layers = list(dict.fromkeys(name for picture in pictures for name in picture.layers))
    slices = "".join(
        f'<option value="{k}">volume {picture.place.volume}, slice {picture.place.z}</option>'
        for k, picture in enumerate(pictures)
    )
    content = json.dumps(
        [{"image": picture.image, "layers": picture.layers} for picture in pictures]
    )
    # A name with </script> in it would end the element.
    content = content.replace("<", "\\u003c")
    return (
        '<h3>Slices</h3><div class="gallery"><div class="controls">'
        f"<label>slice <select>{slices}</select></label>"
        f"<label>left <select>{_layer_options(layers, 0)}</select></label>"
        f"<label>right <select>{_layer_options(layers, 1)}</select></label>"
        '<label>swipe <input type="range" value="50"></label></div>'
        '<p class="note">one layer left of the swipe, another right of it; '
        "seeds disagree: red where runs differ</p>"
        '<div class="view"><img alt=""><img class="layer" alt=""><img class="layer" alt=""></div>'
        f'<script type="application/json">{content}</script></div>'
    )


def _layer_options(layers: Sequence[str], selected: int) -> str:
    """Options of a choice of layers; the first one shows none of them."""
    # Truth on the left and the first run on the right; without runs, truth on both sides.
    selected_layer = layers[min(selected, len(layers) - 1)]
    options = []
    for layer in ["", *layers]:
        mark = " selected" if layer == selected_layer else ""
        name = html.escape(layer) or "image"
        options.append(f'<option value="{html.escape(layer)}"{mark}>{name}</option>')
    return "".join(options)
