"""The pages that `fibseg watch` serves, as HTML."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import quote

from fibseg.pages.assets import asset


def live_page() -> str:
    """The page, which reads the states again and again."""
    scripts = ("vega.min.js", "vega-lite.min.js", "charts.js", "live.js")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        "<title>fibseg watch</title>"
        f"<style>{asset('comparison.css')}</style></head><body><main>"
        '<h1>Runs</h1><p id="summary" role="status"></p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs"><table id="runs">'
        "<thead><tr>"
        + "".join(
            f'<th scope="col">{name}</th>'
            for name in ("run", "state", "epoch", "validation loss", "validation F1", "left")
        )
        + "</tr></thead><tbody></tbody></table></div>"
        '<section><h2>Learning curves</h2><div id="curves"></div></section>'
        '<section><h2>Newest picture</h2><div id="picture"></div></section>'
        '<section><h2>Comparison of finished runs</h2><div id="comparison"></div></section></main>'
        + "".join(f"<script>{asset(name)}</script>" for name in scripts)
        + "</body></html>\n"
    )


def listing(folder: Path) -> str:
    """A page of links to what is in a folder."""
    entries = [entry.name + ("/" if entry.is_dir() else "") for entry in sorted(folder.iterdir())]
    links = "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a></li>' for name in entries)
    name = html.escape(folder.name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{name}</title><style>{asset('comparison.css')}</style></head>"
        f'<body><main><h1>{name}</h1><ul><li><a href="../">..</a></li>{links}</ul></main></body>'
        "</html>\n"
    )
