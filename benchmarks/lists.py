"""Start of a data set from its list:  python -m benchmarks.lists [--root OTHER] [--lines 1000 100000 1000000]

Lists of video files, of folders of frames, and an AVA csv of 852,000 rows; every file of the lists exists.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.side_by_side import Contestant, compare, head, header, row

_FOLDERS = 700
_VIDEOS, _SECONDS, _ROWS = 235, 897, 852_424


def write_list(folder: Path, num_lines: int, frames: bool) -> dict:
    """Empty files and their shuffled list; the section of the data set."""
    rng, lines, root = random.Random(0), [], folder / f"{'frames' if frames else 'videos'}_{num_lines}"
    for k in range(num_lines):
        name = f"class_{k % _FOLDERS:03d}/{rng.getrandbits(44):011x}_{k % 300:06d}_{k % 300 + 10:06d}"
        if k < _FOLDERS:
            (root / name).parent.mkdir(parents=True)
        name += "" if frames else ".mp4"
        os.mknod(root / name)  # for a folder, too: nothing of it is read
        lines.append(f"{name} {'300 ' if frames else ''}{k % 400}\n")
    rng.shuffle(lines)
    root.with_suffix(".list").write_text("".join(lines))
    kind = "FrameDataset" if frames else "VideoDataset"
    return {"format": kind, "file_path": str(root.with_suffix(".list")), "data_prefix": str(root)}


def write_ava(folder: Path) -> dict:
    """A csv in the proportions of AVA 2.2's training list; the section of the data set."""
    rng, frames = np.random.default_rng(0), _VIDEOS * _SECONDS
    counts = rng.multinomial(_ROWS - frames, np.full(frames, 1 / frames)) + 1
    with (folder / "ava.csv").open("w") as stream:
        for k, count in enumerate(counts.tolist()):
            video, second = divmod(k, _SECONDS)
            corners = np.sort(rng.random((max(1, round(count / 1.6)), 2, 2)), axis=1).reshape(-1, 4)
            for i in range(count):
                x1, y1, x2, y2 = corners[i % len(corners)]
                box = f"{x1:.3f},{y1:.3f},{min(x2 + 0.001, 1):.3f},{min(y2 + 0.001, 1):.3f}"
                stream.write(f"vid_{video:03d}xYz,{902 + second:04d},{box},{rng.integers(1, 81)},{i % len(corners)}\n")
    for video in range(_VIDEOS):
        (folder / "ava" / f"vid_{video:03d}xYz").mkdir(parents=True)
    return {"format": "AVADataset", "file_path": str(folder / "ava.csv"), "data_prefix": str(folder / "ava")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="another checkout, beside this one")
    parser.add_argument("--lines", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(header("python -m benchmarks.lists"))
    head("list", "checkout", "CPU s", "resident MB after", "peak MB", "private MB of a worker")
    checkouts = {"this": peers.ours(), **({"other": peers.ours(args.root)} if args.root else {})}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sections = {f"{n:,} videos": write_list(folder, n, False) for n in args.lines}
        sections |= {f"{n:,} folders of frames": write_list(folder, n, True) for n in args.lines}
        sections[f"AVA, {_ROWS:,} rows"] = write_ava(folder)
        for title, section in sections.items():
            target = "benchmarks/contestants/lists.py:start"
            contestants = [Contestant(key, own, target, {"section": section}) for key, own in checkouts.items()]
            for key, result in compare(contestants, rounds=args.rounds).items():
                cpu_s, *memory = result.value or [float("nan")] * 4
                row(title, key, result.error or f"{cpu_s:.2f}", *(f"{value:.0f}" for value in memory))


if __name__ == "__main__":
    main()
