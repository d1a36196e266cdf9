"""A drafted data description as YAML, with comments, for a person to finish."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fibseg.data.draft import Draft
from fibseg.data.splits import compact_slices
from fibseg.files import write_whole


@dataclass(frozen=True)
class DraftNames:
    """What a person calls the parts of a draft.

    Attributes:
        name: of the data description.
        image: path of the image.
        labels: path of the labels.
        classes: label value -> name of its class; the others are called class1, class2, ...
        reviewed: path of the reviewed region, if there is one.
    """

    name: str
    image: str
    labels: str
    classes: Mapping[int, str]
    reviewed: str | None = None


def write_description(path: Path, draft: Draft, names: DraftNames) -> None:
    """Write a draft as YAML.

    Paths of image and labels are made absolute, since the description may lie anywhere.
    """
    split = ", ".join(
        f"{split}: {compact_slices(slices)}" for split, slices in draft.positions.items()
    )
    ignore = "null" if draft.ignore is None else draft.ignore
    reviewed = (
        f"    reviewed: {_absolute(names.reviewed)}   # labels outside are ignored\n"
        if names.reviewed
        else ""
    )
    # Written as text, since yaml.dump writes no comments.
    write_whole(
        path,
        f"# {names.name}: drafted by `fibseg new`; read every line, then `fibseg check {path}`.\n"
        f"name: {yaml_text(names.name)}\n"
        "root: .                         # of paths that do not begin with /\n"
        "classes:                        # weight: of the class in the loss; "
        "a rare class may take more\n"
        f"{_class_lines(draft, names.classes)}"
        "background: {labels: [0], weight: 0.1}     "
        "# annotated values that are none of the classes\n"
        f"ignore: {ignore}                      "
        "# value of unannotated pixels, or null\n"
        "intensity: {low: 0.1, high: 99.9, per: stack}   "
        "# per: slice where brightness drifts along z\n"
        "volumes:\n"
        f"  - image: {_absolute(names.image)}\n"
        f"    labels: {_absolute(names.labels)}\n"
        f"    offset: {draft.offset}           # where the labels start in the image: z, y, x\n"
        f"    voxel_size: {draft.voxel_size or '???'}       # z, y, x in nm\n"
        f"{reviewed}"
        f"    # {_split_hint(draft)}\n"
        f"    split: {{{split}}}\n"
        "phantom: null\n",
    )


def _class_lines(draft: Draft, names: Mapping[int, str]) -> str:
    """A line for each class, with its share of the labels."""
    return "".join(
        f"  {yaml_text(names.get(value, f'class{number}'))}: "
        f"{{label: {value}, weight: 1.0}}   # {draft.values[value]:.2%} of all label pixels\n"
        for number, value in enumerate(draft.class_values, 1)
    )


def _split_hint(draft: Draft) -> str:
    """How many slices can be split, and what to mind between the splits."""
    by_names = "; the numbers in the names of labels and image say which" if draft.notes else ""
    between = (
        f"{draft.left_out} of them between the splits are in none"
        if draft.left_out
        else "leave slices between the splits where you can"
    )
    return f"{len(draft.annotated)} slices hold labels{by_names}. Neighbours look alike: {between}."


def _absolute(path: str) -> str:
    # pathlib would make https:/host of https://host.
    return yaml_text(path if "://" in path else str(Path(path).absolute()))


def yaml_text(text: str) -> str:
    """Write text so that YAML reads it as the same text: plain where that is safe, else in quotes.

    >>> yaml_text("er"), yaml_text("no"), yaml_text("a: b")
    ('er', '"no"', '"a: b"')
    """
    try:
        # YAML reads "no", "null" and "12" as other things than text.
        plain = bool(re.fullmatch(r"[\w./ -]+", text)) and yaml.safe_load(f"{text}: 0") == {text: 0}
    except yaml.YAMLError:
        plain = False
    # Quotes of JSON are quotes of YAML, too.
    return text if plain else json.dumps(text, ensure_ascii=False)
