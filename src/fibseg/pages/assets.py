"""Style and scripts of pages, which stand in the page itself: it opens from a disk, years later."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def asset(name: str) -> str:
    """Text of a file in `assets/`.

    `vega.min.js` and `vega-lite.min.js` are the released files of Vega 6.4.0 and Vega-Lite 6.4.3,
    whose licence is in VEGA_LICENSE.
    """
    return files("fibseg.pages").joinpath("assets", name).read_text(encoding="utf-8")


def embedded_json(content: Any) -> str:
    """JSON that may stand in a script element, which a name with </script> in it would end."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
