"""Memory of a process and of all that it started."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found = [pid]
    for each in found:  # grows
        found += children[each]
    return found


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; pages that several of them share count for each."""
    total = 0
    for each in tree(pid):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):  # it has ended
            continue
    return total


def tree_bytes_over(pid: int, seconds: float, every_s: float = 1.0) -> list[int]:
    """``tree_bytes`` now and every ``every_s`` seconds, until ``seconds`` have gone by."""
    found, begun = [tree_bytes(pid)], time.monotonic()
    while (left_s := begun + seconds - time.monotonic()) > 0:
        time.sleep(min(every_s, left_s))
        found.append(tree_bytes(pid))
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            yield int(folder.name), int(fields[1])
