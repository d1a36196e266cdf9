"""The page of `fibseg check`: what a network will see, as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.inspection import Finding, SliceFacts
from fibseg.files import write_whole
from fibseg.pages.figures import class_color, overlay

UInt8 = NDArray[np.uint8]
SIDE = 640
"""Pixels; larger slices are shown smaller, by leaving pixels out, so that labels stay labels."""


@dataclass(frozen=True)
class Thumbnail:
    """A slice to show: its facts, and (h, w) grey values and class indices of at most SIDE pixels."""

    facts: SliceFacts
    image: NDArray[Any]
    labels: UInt8


def thumbnail(facts: SliceFacts, image: NDArray[Any], labels: UInt8) -> Thumbnail:
    """Make (H, W) pixels fit: grey values by their mean, labels by leaving pixels out."""
    step = -(-max(image.shape) // SIDE)
    smaller = np.asarray(Image.fromarray(image.astype(np.float32)).reduce(step))
    return Thumbnail(facts, smaller, labels[::step, ::step])


STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 1320px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: .4rem; vertical-align: top; }
figure img { max-width: 100%; image-rendering: pixelated; }
.error { color: #c22; } .warning { color: #b60; }
.key { display: inline-block; width: .9em; height: .9em; margin: 0 .3em 0 1em; }
"""


def write_page(
    path: Path,
    title: str,
    names: Sequence[str],
    slices: Sequence[SliceFacts],
    shown: Sequence[Thumbnail],
    findings: Sequence[Finding],
    window: GreyRange,
) -> None:
    """Findings, the classes' shares of every slice, and slices with labels beside them, as the network sees them."""
    told = "".join(
        f'<li class="{one.level}">{one.level}: {html.escape(one.text)}</li>' for one in findings
    )
    keys = "".join(
        f'<span class="key" style="background:{_css(index)}"></span>{html.escape(name)}'
        for index, name in enumerate(names)
        if index > 0
    )
    pictures = "".join(_figure(one, window) for one in shown)
    write_whole(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<h2>Found</h2><ul>{told or '<li>nothing to doubt</li>'}</ul>"
        f"<h2>Is this what you painted?</h2><p>{keys}; dark: nobody looked at it.</p>{pictures}"
        f"<h2>Slices</h2>{_table(names, slices)}</html>\n",
    )


def _css(index: int) -> str:
    return "rgb({:.0f} {:.0f} {:.0f})".format(*(255 * part for part in class_color(index)))


def _figure(one: Thumbnail, window: GreyRange) -> str:
    image = to_8bit(one.image, window)
    pair = np.concatenate(
        [overlay(image, one.labels * 0, 0), overlay(image, one.labels, 0.45)], axis=1
    )
    buffer = io.BytesIO()
    Image.fromarray(pair).save(buffer, "PNG")
    text = f"volume {one.facts.volume}, slice {one.facts.z}, {one.facts.split or 'in no split'}"
    picture = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{text}: image and labels" src="data:image/png;base64,{picture}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _table(names: Sequence[str], slices: Sequence[SliceFacts]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><td>volume {one.volume}, slice {one.z}</td><td>{one.split}</td><td>{one.annotated:.1%}</td>"
        + "".join(f"<td>{share:.2%}</td>" for share in one.shares)
        + "</tr>"
        for one in slices
    )
    return f"<table><tr><th>slice</th><th>split</th><th>annotated</th>{head}</tr>{rows}</table>"
