"""Broken links of ``link`` on boxes with known persons:  python -m benchmarks.tracking walkers.csv

The csv has columns frame, x1, y1, x2, y2, score and person (-1: unknown; such boxes are tracked, not counted).
Every K-th frame is taken and its boxes are linked.  A link is a pair of consecutive appearances of one person among
the frames taken; it is broken if the two have different ids.  Merged is the other way round: consecutive boxes of one
id that belong to different persons, per link.

The first column takes frames 0, K, 2K, ...; the others add those of all K offsets, and the halves of the time span
stand apart: the tracker's constants were chosen on the first.  Rows such as ``0.2 -> 1`` link every 0.2 s and count the
links between frames 1 s apart, as between two key frames.  No randomness.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

# seconds between the frames that are linked, and between those whose links are counted
ROWS = ((0.1, 0.1), (0.2, 0.2), (0.4, 0.4), (0.5, 0.5), (0.8, 0.8), (1.0, 1.0), (0.1, 1.0), (0.2, 1.0))
Link = Callable[[Sequence[np.ndarray], Sequence[float]], list[np.ndarray]]


@dataclass(frozen=True)
class Boxes:
    """Boxes per frame, float [n, 5] (x1, y1, x2, y2, score in pixels), and their persons, int [n]."""

    found: list[np.ndarray]
    persons: list[np.ndarray]


@dataclass
class Count:
    """Links between appearances, how many are broken, and boxes that follow another person's under one id."""

    links: int = 0
    broken: int = 0
    merged: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.links + other.links, self.broken + other.broken, self.merged + other.merged)


def read_boxes(path: str | Path) -> Boxes:
    """The csv; frames without boxes are empty arrays."""
    with open(path, newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    count = int(max(row["frame"] for row in rows)) + 1
    table = np.array([[row[name] for name in ("x1", "y1", "x2", "y2", "score", "person", "frame")] for row in rows])
    parts = [table[table[:, 6] == frame] for frame in range(count)]
    return Boxes([part[:, :5] for part in parts], [part[:, 5].astype(int) for part in parts])


def count_links(
    boxes: Boxes, fps: float, link: Link, step: int, every: int, span: range, offsets: range | None = None
) -> Count:
    """Links between every ``every``-th frame of ``span`` where every ``step``-th is linked, over all offsets."""
    total = Count()
    for offset in offsets or range(every):
        frames = list(span)[offset % step :: step]
        ids = dict(zip(frames, link([boxes.found[i] for i in frames], [i / fps for i in frames])))
        total += _count({i: ids[i] for i in list(span)[offset::every]}, boxes.persons)
    return total


def _count(ids: dict[int, np.ndarray], persons: list[np.ndarray]) -> Count:
    count, id_of, person_of = Count(), {}, {}
    for frame, own in ids.items():
        for number, person in zip(own.tolist(), persons[frame].tolist()):
            if person < 0:
                continue
            if person in id_of:
                count.links += 1
                count.broken += id_of[person] != number
            count.merged += person_of.get(number, person) != person
            id_of[person], person_of[number] = number, person
    return count


def main(argv: list[str] | None = None) -> int:
    """Prints a Markdown table."""
    from paddlevideo.inference.tracking import link

    parser = argparse.ArgumentParser(description="Count the links that the tracker breaks.")
    parser.add_argument("csv", help="boxes with persons")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second of the csv (%(default)s)")
    args = parser.parse_args(argv)
    boxes = read_boxes(args.csv)
    frames = len(boxes.found)
    whole, first = range(frames), range(1)
    columns = {
        "from frame 0": (whole, first),
        "all offsets": (whole, None),
        "first half": (range(frames // 2), None),
        "second half": (range(frames // 2, frames), None),
    }
    print("| boxes every, s | " + " | ".join(f"{name}: links, broken, merged" for name in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for linked_s, every_s in ROWS:
        step, every = round(linked_s * args.fps), round(every_s * args.fps)
        cells = []
        for span, offsets in columns.values():
            got = count_links(boxes, args.fps, link, step, every, span, offsets)
            cells.append(f"{got.links}, {100 * got.broken / got.links:.1f} %, {100 * got.merged / got.links:.1f} %")
        print(f"| {linked_s:g}{'' if step == every else f' -> {every_s:g}'} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
