"""The page of a comparison: one HTML file that works from a disk, without network or server."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from fibseg.comparison.dataset import Dataset
from fibseg.comparison.report import Report
from fibseg.comparison.text import Table
from fibseg.files import write_whole
from fibseg.pages.assets import asset
from fibseg.pages.gallery import gallery, gallery_part
from fibseg.pages.vega import Chart, ChartedRun, charts_part
from fibseg.runs.finished import FinishedRun


def write_comparison_page(
    path: Path,
    reports: Sequence[Report],
    charts: Sequence[Sequence[Chart]],
    left_out: Sequence[tuple[Path, str]],
) -> None:
    """Write the tables, charts and pictures of each data set as one page.

    Args:
        path: the HTML file.
        reports: tables and sentences, one for each data set.
        charts: those of each data set.
        left_out: run directories that could not be read, with the reason.
    """
    galleries = [gallery_part(gallery(report.dataset), report.dataset) for report in reports]
    parts = [
        _dataset_part(
            name=f"set{number}",
            folder=path.parent,
            report=report,
            charts=of_dataset,
            slices=galleries[number],
        )
        for number, (report, of_dataset) in enumerate(zip(reports, charts, strict=True))
    ]
    # A page of several data sets is long.
    links = "".join(
        f'<a href="#set{number}">{html.escape(report.dataset.name)}</a> '
        + (f'<a href="#set{number}-slices">its slices</a> ' if galleries[number] else "")
        + f'<a href="#set{number}-runs">its runs</a> '
        for number, report in enumerate(reports)
    )
    runs = sum(len(report.dataset.runs) for report in reports)
    scripts = ("vega.min.js", "vega-lite.min.js", "comparison.js", "charts.js")
    write_whole(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Comparison of runs</title>'
        f"<style>{asset('comparison.css')}</style></head><body><main>"
        f"<h1>Comparison of {runs} runs</h1>"
        f'<nav aria-label="Parts of this page">{links}</nav>'
        f"{''.join(parts)}{_left_out_part(left_out)}</main>"
        + "".join(f"<script>{asset(name)}</script>" for name in scripts)
        + "</body></html>\n",
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
    charts: Sequence[Chart],
    slices: str,
) -> str:
    """Everything of one data set.

    `name` begins the anchors, `folder` is where the page lies, `slices` is the gallery.
    """
    groups = report.dataset.configurations
    # By numbers: a name may hold letters that an anchor must not.
    anchors = {label: f"{name}-runs{number}" for number, label in enumerate(groups)}
    answers = "".join(f"<li>{_linked(text, anchors)}</li>" for text in report.answers)
    sentences = "".join(f"<li>{_linked(text, anchors)}</li>" for text in report.sentences)
    runs = {(label, str(run.seed)): run for label, of in groups.items() for run in of}
    as_html = partial(
        _table, anchors=anchors, runs=runs, folder=folder, class_names=report.dataset.foreground
    )
    tables = "".join(map(as_html, (*report.tables, *report.written_only)))
    in_words = f"<h3>Every contrast in words</h3><ul>{sentences}</ul>" if sentences else ""
    return (
        f'<section><h2 id="{name}">{html.escape(report.dataset.name)}</h2>'
        f"<ul>{answers}</ul>{as_html(report.answer)}"
        f"<details><summary>All tables</summary>{tables}{in_words}</details>"
        f"{_charts(report.dataset, charts)}"
        f'<div id="{name}-slices">{slices}</div>'
        f'<h3 id="{name}-runs">The runs behind every number</h3>'
        f"<ul>{_run_list(groups, anchors, folder)}</ul></section>"
    )


def _charts(dataset: Dataset, charts: Sequence[Chart]) -> str:
    numbers = {
        run.path: number
        for number, runs in enumerate(dataset.configurations.values())
        for run in runs
    }
    runs = [
        ChartedRun(name=run.path.name, seed=run.seed, configuration=numbers[run.path])
        for run in dataset.runs
    ]
    return charts_part(charts, list(dataset.configurations), dataset.foreground, runs)


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
    table: Table,
    anchors: Mapping[str, str],
    runs: Mapping[tuple[str, str], FinishedRun],
    folder: Path,
    class_names: Sequence[str],
) -> str:
    """A sortable table; `runs` are by configuration and seed, `folder` is where the page lies.

    Rows say of which run, configuration or class they are, so that the charts' controls hide them.
    """
    heads = "".join(
        f'<th scope="col"><button>{html.escape(column)}</button></th>' for column in table.columns
    )
    rows = []
    for row in table.rows:
        cells = [_linked(cell, anchors) for cell in row]
        # In the table of runs, the second column leads to the run itself.
        run = runs.get((row[0], row[1])) if table.columns[1] == "seed" else None
        if run is not None:
            cells[1] = _run_link(run, folder)
        marks = {"configuration": row[0].partition(", seed ")[0]}
        if run is not None:
            marks["run"] = run.path.name
        named = [cell.partition(" (")[0] for cell in row[1:3]]
        marks["class"] = next((name for name in named if name in class_names), "")
        texts = "".join(f' data-{key}="{html.escape(text)}"' for key, text in marks.items() if text)
        rows.append(f"<tr{texts}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    title = html.escape(table.title)
    return (
        # A wide table scrolls by itself; tabindex lets a keyboard reach and scroll it.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table class="sortable"><caption>{title}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{notes}"
    )
