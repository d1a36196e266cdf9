"""Turn a report of `pip install --dry-run` into lines for `pip install --require-hashes`.

python .ci/lock.py REPORT > requirements.lock
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


if __name__ == "__main__":
    version = ".".join(platform.python_version_tuple()[:2])
    print(f"# Files that CI installs on CPython {version}, {sys.platform}, {platform.machine()}.")
    print("# Made by `make lock`, for `make LOCKED=1`.")
    print("\n".join(lock_lines(json.loads(Path(sys.argv[1]).read_text()))))
