"""What each entry of a model file must be: a table, asked before anything is made of the file.

A file may be damaged, of another program, or made to do harm: nothing of it is trusted, and memory
is taken for a network only once its weights are known to fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fibseg.arrays import IGNORE
from fibseg.data.grey import SUMMARY_PERCENTILES, GreyRange
from fibseg.errors import FibsegError
from fibseg.filters.channels import MOST_CONTEXT, SCOPES
from fibseg.models.kinds import ALL_WINDOWS, ARGUMENT_RULES, DECISIONS, KINDS
from fibseg.models.objects.rules import has_object_rules
from fibseg.rules import Rule, among, brief, list_of, number, whole

LARGEST_PATCH = 8192
"""Side in pixels of the largest training patch, and so of a window of the paper."""

_LARGEST_WIDTH = 4096
"""Channels of a network's first level; the paper has 64."""

_MOST_AREAS = 64
_MOST_VOLUMES = 100_000
_MOST_VALUES = 10_000
"""Values of an entry that has no rule of its own."""

_LONGEST_LIST = 8
"""Values of a list that a sentence repeats."""


def _is_window(value: Any) -> bool:
    """Whether these are the fields of a GreyRange: low, high, and percentiles or None."""
    ends = number(-1e300, 1e300)
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= len(fields(GreyRange)):
        return False
    low, high, *rest = value
    return (
        ends.holds(low) and ends.holds(high) and low < high and (not rest or _percentiles(rest[0]))
    )


def _percentiles(value: Any) -> bool:
    return value is None or (
        list_of(number(0, 100), 2, 2).holds(value) and bool(value[0] < value[1])
    )


def _is_choice_of_windows(value: Any) -> bool:
    """Whether this says how slices are cut, and what that cost."""
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    share = number(-1, 1)
    return (
        value.get("kind") in ALL_WINDOWS
        and whole(0, 2 * LARGEST_PATCH).holds(value.get("size"))
        and share.holds(value.get("loss"))
        and share.holds(value.get("flipped", 0.0))
        and whole(0, _MOST_VALUES).holds(value.get("slices", 0))
    )


def _is_grey_summary(value: Any) -> bool:
    """Whether this is None, or the fields of a GreySummary."""
    grey = number(-1e300, 1e300)
    share = number(0, 1)
    count = len(SUMMARY_PERCENTILES)
    rules = {
        "quantiles": list_of(grey, count, count),
        "smallest": grey,
        "largest": grey,
        "commonest": share,
        "padding": share,
        "dtype": _TEXT,
    }
    return value is None or _holds_all(value, rules)


def _is_decision(value: Any) -> bool:
    """Whether this is None, or the fields of a Decision."""
    rules = {
        "kind": among(*DECISIONS),
        "offsets": list_of(number(-100, 100), 2, IGNORE),
        "temperature": number(0.01, 100),
        "gain": Rule(lambda gain: gain is None or number(-1, 1).holds(gain), ""),
        "slices": whole(0, _MOST_VALUES),
        "smallest": list_of(whole(0, 2**40), 0, IGNORE),
    }
    # Files of format 6 have no smallest objects.
    return value is None or (
        isinstance(value, dict) and _holds_all({"smallest": [], **value}, rules)
    )


def _holds_all(value: Any, rules: Mapping[str, Rule]) -> bool:
    """Whether this has a value for each rule, which holds it, and no others."""
    return (
        isinstance(value, dict)
        and value.keys() == rules.keys()
        and all(rule.holds(value[name]) for name, rule in rules.items())
    )


def _is_reference(value: Any) -> bool:
    """Whether this is None, or ranges over slices: shares by class, confidence and shift or None.

    Files older than format 7 have no shift.
    """
    if value is None:
        return True
    if not isinstance(value, dict) or set(value) - {"shift"} != {"shares", "confidence"}:
        return False
    shift = value.get("shift")
    positive = list_of(number(0, 1e6), 2, 2)
    if shift is not None and not (positive.holds(shift) and shift[0] <= shift[1]):
        return False
    shares = value["shares"]
    if not isinstance(shares, dict) or not all(isinstance(name, str) for name in shares):
        return False
    ranges = [known for known in (*shares.values(), value["confidence"]) if known is not None]
    pair = list_of(number(0, 1), 2, 2)
    return all(pair.holds(ends) and ends[0] <= ends[1] for ends in ranges)


def _is_plain(value: Any) -> bool:
    """Whether this holds texts, finite numbers, lists and mappings alone, and not too many."""
    waiting = [value]
    count = 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            return False
        if isinstance(node, dict):
            waiting += [*node, *node.values()]
        elif isinstance(node, list | tuple):
            waiting += node
        elif type(node) is float:
            if not math.isfinite(node):
                return False
        elif type(node) not in (str, int, bool, type(None)):
            return False
    return True


def _are_tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout is torch.strided
        for name, tensor in value.items()
    )


_TEXT = Rule(
    lambda value: isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable(),
    "a text of 1 to 200 letters",
)

ENTRIES: Mapping[str, Rule] = {
    "architecture": Rule(
        # Looked up at each use: a kind may be added to the table.
        lambda name: name in KINDS and KINDS[name].keeps_model,
        among(*(name for name, kind in KINDS.items() if kind.keeps_model)).expected,
    ),
    "arguments": Rule(
        lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value),
        "values by name",
    ),
    "class_names": list_of(_TEXT, 2, IGNORE, distinct=True),
    # Of the types of label files.
    "label_values": list_of(whole(-(2**31), 2**63 - 1), 2, IGNORE, distinct=True),
    "voxel_sizes": list_of(list_of(number(1e-6, 1e9), 3, 3), 1, _MOST_VOLUMES),
    # Below 3 pixels, the centre third of a window of the paper is empty.
    "patch_size": whole(3, LARGEST_PATCH),
    "precision": among("32", "bf16"),
    "windows": Rule(
        _is_choice_of_windows, f"null, or kind ({', '.join(ALL_WINDOWS)}), size and loss"
    ),
    "areas": list_of(whole(1, 2**40), 0, _MOST_AREAS),
    "filter_scope": among(*SCOPES),
    "context": whole(0, MOST_CONTEXT),
    "window": Rule(_is_window, "two finite grey values, the lower first, and two percentiles"),
    "grey_percentiles": Rule(_percentiles, "null, or two percentiles, the lower first"),
    "grey_summary": Rule(_is_grey_summary, "null, or a summary of finite grey values"),
    "reference": Rule(
        _is_reference, "null, or ranges of 0 to 1: shares by class, confidence, and a shift"
    ),
    "decision": Rule(
        _is_decision, f"null, or kind ({', '.join(DECISIONS)}), offsets, temperature, smallest"
    ),
    "objects": Rule(has_object_rules, "null, or head, classes, level and overlap of objects"),
    "weights": Rule(_are_tensors, "arrays by name"),
}
"""Rule of each entry."""

_PLAIN = Rule(_is_plain, f"texts, finite numbers, lists and mappings, {_MOST_VALUES} at most")
"""Rule of every other entry, which an older or a newer fibseg may have written."""

_ARGUMENT_TYPES: Mapping[type, Callable[[Any], bool]] = {
    float: lambda value: type(value) in (int, float),
    str: lambda value: isinstance(value, str),
}


def check_entries(path: Path, content: Mapping[str, Any]) -> None:
    """Check every entry of a model file, and the arguments of its network.

    Raises:
        FibsegError: an entry is not what it must be; the message gives its name and its value.
    """
    for name, value in content.items():
        _require(path, name, value, ENTRIES.get(name, _PLAIN))
    kind = KINDS[content["architecture"]]
    arguments = content["arguments"]
    for name, value in arguments.items():
        # Sizes of a forest, and channels and classes, are compared with its arrays.
        _require(path, f"arguments.{name}", value, _argument_rule(name, kind.arguments.get(name)))


def _argument_rule(name: str, kind: type | None) -> Rule:
    """The rule of a network's argument: its type, and what conf/model allows."""
    if kind is None or kind is int:
        # An int of a file has any number of digits.
        return whole(1, _LARGEST_WIDTH) if name == "width" else whole(0, 2**32)
    fits = _ARGUMENT_TYPES[kind]
    rule = ARGUMENT_RULES.get(name)
    if rule is None:
        return Rule(fits, f"of type {kind.__name__}")
    return Rule(lambda value: fits(value) and rule.holds(value), rule.expected)


def _require(path: Path, name: str, value: Any, rule: Rule) -> None:
    try:
        holds = rule.holds(value)
    # Values of any type reach a rule, and `in` asks some of them for a hash.
    except (TypeError, ValueError, RuntimeError, OverflowError):
        holds = False
    if not holds:
        raise FibsegError(
            f"{path}: {name} is {_in_sentence(value)}; expected {rule.expected}. The file is "
            "damaged, or no model of fibseg."
        )


def _in_sentence(value: Any) -> str:
    """A value in a sentence; what is large by its type alone."""
    if isinstance(value, str | int | float | bool | None) or (
        isinstance(value, list | tuple) and len(value) <= _LONGEST_LIST
    ):
        return brief(value)
    return f"a {type(value).__name__}"


def check_weights(
    path: Path, architecture: str, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    """Check that weights are those of a network, and numbers.

    Args:
        path: of the file, for the message.
        architecture: of the network, for the message.
        expected: tensors of the network, which need no memory: names, shapes and types are asked.
        weights: of the file.

    Raises:
        FibsegError: a tensor is missing, of another shape or type, unknown, or no number.
    """
    for name in sorted(expected.keys() | weights.keys()):
        want = _outline(expected.get(name))
        have = _outline(weights.get(name))
        if want != have:
            raise FibsegError(
                f"{path}: its weights do not fit its {architecture}: {brief(name)} is {have}, "
                f"expected {want}."
            )
    # After the shapes: a tensor of a file may claim any size without having it.
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise FibsegError(
                f"{path}: weights that are no finite numbers ({name}): its training diverged; "
                "train again with a lower training.learning_rate."
            )


def _outline(tensor: Tensor | None) -> str:
    """Shape and type of a tensor, as float32 (3, 3)."""
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} {brief(tuple(tensor.shape))}"
