"""What W&B wrote without a connection, read from its files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7
"""Bytes of a block of a LevelDB log, and of the header of a record in it."""

WHOLE = 1
LAST = 4
"""Kinds of a record that end a message; 2 and 3 begin one and continue it."""


def records(path: Path) -> Iterator[Any]:
    """Messages of an offline run: records of a LevelDB log, each a protobuf message or a part."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = path.read_bytes()
    place = HEADER
    parts = b""
    while place + HEADER <= len(content):
        rest = BLOCK - place % BLOCK
        # A block that has no room for a header is filled up.
        if rest < HEADER:
            place += rest
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + HEADER])
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def read_wandb(folder: Path) -> dict[str, Any]:
    """The only W&B run of a folder: its start, configuration, history by step, and summary."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content: dict[str, Any] = {"history": {}, "summary": {}, "config": {}}
    for record in records(path):
        if record.HasField("run"):
            content["run"] = record.run
            for item in record.run.config.update:
                content["config"][item.key] = json.loads(item.value_json)
        if record.HasField("history"):
            step = content["history"].setdefault(record.history.step.num, {})
            step.update({_key(item): json.loads(item.value_json) for item in record.history.item})
        if record.HasField("summary"):
            for item in record.summary.update:
                content["summary"][_key(item)] = json.loads(item.value_json)
    return content


def _key(item: Any) -> str:
    """The key of a value, levels joined by slashes."""
    return "/".join([item.key, *item.nested_key]).strip("/")
