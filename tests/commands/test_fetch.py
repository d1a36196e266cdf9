"""`fibseg fetch` as a person types it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibseg.data.public import sets
from tests.support import Commands
from tests.support.http_files import serving


def test_an_unknown_set_is_one_sentence(commands: Commands, tmp_path: Path) -> None:
    result = commands.fail("fetch", "lucci", "--to", str(tmp_path))
    print(result)
