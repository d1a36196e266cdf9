"""What W&B wrote without a connection, read from its files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """Records of an offline run: blocks of a LevelDB log after a header of 7 bytes, each a protobuf message."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # too little room for a head: the block is filled up
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def read_wandb(run: Path) -> dict[str, Any]:
    """Of the only W&B run there is: its start, history by step, and summary."""
    (path,) = run.glob("wandb/offline-run-*/*.wandb")
    found: dict[str, Any] = {"history": {}, "summary": {}, "config": {}}
    for record in records(path):
        if record.HasField("run"):
            found["run"] = record.run
            found["config"] |= {
                item.key: json.loads(item.value_json) for item in record.run.config.update
            }
        if record.HasField("history"):
            row = {
                "/".join([item.key, *item.nested_key]).strip("/"): item.value_json
                for item in record.history.item
            }
            found["history"].setdefault(record.history.step.num, {}).update(
                {name: json.loads(value) for name, value in row.items()}
            )
        if record.HasField("summary"):
            for item in record.summary.update:
                found["summary"]["/".join([item.key, *item.nested_key]).strip("/")] = json.loads(
                    item.value_json
                )
    return found
