"""Decoding of files from outside in a process of its own, with limits of time, memory and size of what it writes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddlevideo

_GB = 1 << 30
_STUDIO = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Bounds:
    """What a process may take.

    Args:
        time_s: of the clock, and of processor time.
        memory_bytes: of address space.
        file_bytes: of each file that it writes.
    """

    time_s: int = 120
    memory_bytes: int = 4 * _GB
    file_bytes: int = 64 << 20


def bounded(bounds: Bounds) -> None:
    """Sets the limits of this process; called by the process itself, before it opens a file."""
    limits = {
        resource.RLIMIT_AS: bounds.memory_bytes,
        resource.RLIMIT_CPU: bounds.time_s,
        resource.RLIMIT_FSIZE: bounds.file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error of the write


def environment() -> dict[str, str]:
    """The environment of child processes: they import the same packages as this one, and one thread computes."""
    folders = [str(Path(paddlevideo.__file__).resolve().parents[1]), str(_STUDIO.parent)]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = dict.fromkeys([*folders, *(folder for folder in inherited if folder)])
    hidden = {key: value for key, value in os.environ.items() if key != "PADDLEVIDEO_STUDIO_TOKEN"}
    return {**hidden, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_module(module: str, words: Sequence[str | os.PathLike], time_s: float) -> dict[str, Any]:
    """Runs a module of the studio that prints one JSON object as its last line.

    Returns:
        The object; ``{"error": "..."}`` where the process ended otherwise.
    """
    command = [sys.executable, "-m", f"paddlevideo_studio.{module}", *map(str, words)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment(), timeout=time_s,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"reading it takes longer than {time_s:g} s"}
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"error": "reading it takes too much processor time or memory"}
    return {"error": f"the decoder failed (exit code {done.returncode})"}
