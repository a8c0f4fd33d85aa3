"""The last step of a full training: its best figure, and that of the one before.  Runs as a process of its own:

    python -m paddlevideo_studio.figures runs/7

Reads ``out/metrics.jsonl``, which the training wrote, and writes ``figures.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from paddlevideo.safe_io import read_json, write_atomic

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
    best, previous = held_out(lines), None
    earlier = sorted((int(p.parent.name), p) for p in folder.parent.glob("*/figures.json") if p.parent.name.isdecimal())
    for number, file in earlier:
        figure = read_json(file).get("held_out")
        if number < int(folder.name) and best and figure and figure["name"] == best["name"]:
            previous = figure
    write_atomic(folder / "figures.json", json.dumps({"held_out": best, "previous": previous}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
