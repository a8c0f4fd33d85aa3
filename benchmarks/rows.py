"""Results of long benchmarks, a line of JSON per run: what one session measured is not measured again by the next."""

from __future__ import annotations

import fcntl
import json
import platform
import re
from pathlib import Path
from typing import Any


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a file; none if it is not there."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def append(file: Path, row: dict[str, Any]) -> None:
    """Adds a row; processes that write at once wait for one another."""
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(json.dumps(row) + "\n")


def cpu() -> str:
    """The processor's name: on another one the same seed gives other roundings, and a clip or two change sides."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return names[0] if names else platform.processor()
