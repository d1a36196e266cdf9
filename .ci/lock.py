"""Turn a report of `pip install --dry-run` into lines for `pip install --require-hashes`.

python .ci/lock.py REPORT > requirements.lock

With a lock instead of a report it ends with 1, and says why, where the lock is of another Python.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path


def lock_lines(report: dict) -> list[str]:
    """A line for each package of a report but the project itself: name, version, SHA-256."""
    lines = []
    for package in report["install"]:
        archive = package["download_info"].get("archive_info")
        # The project itself is a folder, of which there is no archive.
        if archive is None:
            continue
        name = package["metadata"]["name"].lower()
        version = package["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{archive['hashes']['sha256']}")
    return sorted(lines)


def head() -> str:
    """The first line of a lock of this Python."""
    version = ".".join(platform.python_version_tuple()[:2])
    return f"# Files that CI installs on CPython {version}, {sys.platform}, {platform.machine()}."


def other_python(name: str, text: str) -> str | None:
    """Why this Python cannot install a lock of this text; None where it can."""
    first = text.partition("\n")[0]
    if first == head():
        return None
    theirs, ours = (line.removeprefix("# Files that CI installs on ") for line in (first, head()))
    return f"{name} is of {theirs.rstrip('.')}, but this is {ours}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    if path.suffix == ".lock":
        sys.exit(other_python(path.name, path.read_text()))
    print(head())
    print("# Made by `make lock`, for `make LOCKED=1`.")
    print("\n".join(lock_lines(json.loads(path.read_text()))))
