"""Runs the steps of a job, one after the other, and notes how they ended.  Runs as a process of its own:

    python -m paddlevideo_studio.runner runs/7

Reads ``steps`` of job.json, writes log.txt and last exit.json.  A descriptor that it inherits holds the lock of the
folder as long as it runs, by which a restarted server finds it.  Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

_NICE = 5  # the pages come first
_OOM_SCORE = "500"


def main() -> int:
    """The process; 0 whatever the steps return."""
    folder = Path(sys.argv[1])
    steps = json.loads((folder / "job.json").read_text(encoding="utf-8"))["steps"]
    stopped = False

    def stop(*_: object) -> None:  # the step gets the signal, too: it is of the same process group
        nonlocal stopped
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # where memory is full, Linux ends the job and not the server
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    code = 0
    with open(folder / "log.txt", "ab", buffering=0) as log:
        for words in steps:
            if stopped or code:
                break
            code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder).returncode
    temporary = folder / ".exit.json.tmp"
    temporary.write_text(json.dumps({"code": code, "stopped": stopped}))
    os.replace(temporary, folder / "exit.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
