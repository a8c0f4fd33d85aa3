"""The last step of a full training: its best figure.  Runs as a process of its own:

    python -m paddlevideo_studio.figures runs/7

Reads ``out/metrics.jsonl``, which the training wrote, and writes ``figures.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from paddlevideo.safe_io import write_atomic

_NAMES = ("top1", "mAP", "mAP@0.5IOU")  # of the metrics of clips, and of persons


def held_out(lines: list[dict]) -> dict | None:
    """The best validation figure of a training."""
    for name in _NAMES:
        values = [line[name] for line in lines if line.get("mode") == "val" and line.get(name) is not None]
        if values:
            return {"name": name, "value": round(max(values), 4)}
    return None


def main() -> int:
    """The process."""
    folder = Path(sys.argv[1])
    log = folder / "out" / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    figures = {"held_out": held_out(lines), "previous": None}  # with what it is compared is known when it is used
    write_atomic(folder / "figures.json", json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
