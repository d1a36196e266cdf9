"""The page of `fibseg check`: slices as a network will see them, in one HTML file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fibseg.arrays import Pixels, UInt8
from fibseg.colors import class_color
from fibseg.data.grey import GreyRange, to_8bit
from fibseg.data.inspection import Finding, SliceFacts
from fibseg.data.inspection.survey import Survey
from fibseg.data.volume import AnnotatedSlice
from fibseg.files import write_whole
from fibseg.pages.figures import overlay

THUMBNAIL_SIDE = 640
"""Longest side of a picture in pixels; larger slices are reduced to it."""

_LABEL_OPACITY = 0.45

# Style stands in the page: it must open from a disk or a mail, without a network.
_PAGE_STYLE = """
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


def write_check_page(
    path: Path, title: str, survey: Survey, annotated_slices: Iterable[AnnotatedSlice]
) -> None:
    """Write a page of findings, of slices beside their labels, and of each slice's class shares.

    `annotated_slices` are those that the survey picked for show; they are read one by one.
    """
    # Slices come without their split, which the survey has noted.
    split_of_place = {facts.place: facts.split for facts in survey.slices}
    pictures = "".join(
        _figure(annotated_slice, split_of_place[annotated_slice.place], survey.grey_range)
        for annotated_slice in annotated_slices
    )
    write_whole(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_PAGE_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<h2>Findings</h2><ul>{_finding_list(survey.findings)}</ul>"
        f"<h2>Is this what you painted?</h2><p>{_color_key(survey.names)}; dark: unannotated.</p>"
        f"{pictures}<h2>Slices</h2>{_slice_table(survey.names, survey.slices)}</html>\n",
    )


def _finding_list(findings: Sequence[Finding]) -> str:
    items = [
        f'<li class="{finding.level}">{finding.level}: {html.escape(finding.text)}</li>'
        for finding in findings
    ]
    return "".join(items) or "<li>no errors, no doubts</li>"


def _color_key(names: Sequence[str]) -> str:
    """Color and name of every class but the background."""
    return "".join(
        f'<span class="key" style="background:{_css_color(index)}"></span>{html.escape(name)}'
        for index, name in enumerate(names)
        # The background has no color.
        if index > 0
    )


def _css_color(class_index: int) -> str:
    red, green, blue = (255 * part for part in class_color(class_index))
    return f"rgb({red:.0f} {green:.0f} {blue:.0f})"


def reduced_pair(image: Pixels, labels: UInt8) -> tuple[Pixels, UInt8]:
    """Reduce image and labels (H, W) to THUMBNAIL_SIDE pixels at most.

    Grey values are averaged. Of the labels pixels are left out, since the mean of two classes is a
    third one.
    """
    # Rounded up, so that the longer side fits.
    step = -(-max(image.shape) // THUMBNAIL_SIDE)
    # PIL reduces floats, but no 16-bit images.
    smaller = np.asarray(Image.fromarray(image.astype(np.float32)).reduce(step))
    return smaller, labels[::step, ::step]


def _figure(annotated_slice: AnnotatedSlice, split: str, grey_range: GreyRange) -> str:
    """The image, and the image with its labels, side by side."""
    image, labels = reduced_pair(annotated_slice.image, annotated_slice.labels)
    # The grey range of the training, so that drift is seen as the network will see it.
    image = to_8bit(image, grey_range)
    # Without labels beside with labels: thin ones hide what they lie on.
    plain = overlay(image, np.zeros_like(labels), 0)
    pair = np.concatenate([plain, overlay(image, labels, _LABEL_OPACITY)], axis=1)
    # As a data URL, so that the page can be sent or moved as one file.
    buffer = io.BytesIO()
    Image.fromarray(pair).save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    volume, z = annotated_slice.place
    text = f"volume {volume}, slice {z}, {split or 'in no split'}"
    return (
        f'<figure><img alt="{text}: image and labels" src="data:image/png;base64,{picture}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _slice_table(names: Sequence[str], slices: Sequence[SliceFacts]) -> str:
    head = "".join(
        f"<th>{html.escape(name)}</th>" for name in ("slice", "split", "annotated", *names)
    )
    rows = "".join(_slice_row(facts) for facts in slices)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _slice_row(facts: SliceFacts) -> str:
    cells = [
        f"volume {facts.volume}, slice {facts.z}",
        facts.split,
        f"{facts.annotated:.1%}",
        *(f"{share:.2%}" for share in facts.shares),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
