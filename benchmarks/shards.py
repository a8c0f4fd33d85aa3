"""Training clips from tar shards, beside loose files and webdataset with torchcodec:  python -m benchmarks.shards

Videos of 10 s (340 x 256, group of 12) in shards of 32; TSM's training pipeline, batches of 8, one process.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import peers
from benchmarks.side_by_side import Contestant, compare, head, header, row
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.preparation.write_shards import ShardSettings, write_shards
from tests.clips import write_clip
from tests.shard_files import http_server

OURS, THEIRS = "benchmarks/contestants/shard_clips.py", "benchmarks/contestants/webdataset_clips.py"
BATCH, PER_SHARD, DELAY_S, WORKERS = 8, 32, 0.02, 4


def render(folder: Path, count: int) -> tuple[Path, Path]:
    """Class folders of videos, and their shards."""
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 255, (80, 90, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    clip = np.stack([canvas[t : t + 256, t : t + 340] for t in range(300)])
    video = write_clip(folder / "video.mp4", clip, options={"crf": "33"})
    for number in range(count):
        target = folder / "videos" / f"class{number % 2}" / f"{number:05d}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    dataset = VideoDataset(str(folder / "videos"))
    settings = ShardSettings("train", max_samples=PER_SHARD, mixed=False, quiet=True)
    write_shards(dataset, dataset.class_names, folder / "shards", settings)
    return folder / "videos", folder / "shards"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=512, help="number of videos (%(default)s)")
    parser.add_argument("--batches", type=int, default=8, help="that are decoded in a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        videos, shards = render(Path(temporary), args.videos)
        size_mb = sum(file.stat().st_size for file in shards.glob("*.tar")) / 1e6
        print(f"\n{header('python -m benchmarks.shards')}; {args.videos} videos, {size_mb:.0f} MB\n")
        pattern = f"{shards}/train-{{000000..{args.videos // PER_SHARD - 1:06d}}}.tar"
        with http_server(shards, delay_s=DELAY_S) as (address, requests):
            sections = {
                "loose files": {"format": "VideoDataset", "file_path": str(videos)},
                "shards": {"format": "ShardDataset", "file_path": str(shards)},
                f"shards, HTTP, {DELAY_S * 1000:.0f} ms per request": {"format": "ShardDataset", "file_path": address},
            }
            _clips(sections, pattern, args)
            _starts(sections, pattern, args)
            _reading(address, requests, args)


def _clips(sections: dict[str, dict], pattern: str, args: argparse.Namespace) -> None:
    count, theirs = {"count": args.batches}, peers.python_of("webdataset")
    contestants = [
        Contestant(name, peers.ours(), f"{OURS}:batches", {"section": section, "split": split, **count})
        for split in ("train", "test")
        for name, section in ((f"{name}{' (in order)' * (split == 'test')}", s) for name, s in sections.items())
    ] + [
        Contestant(f"webdataset, torchcodec {mode}", theirs, f"{THEIRS}:batches",
                   {"pattern": pattern, "mode": mode, **count})
        for mode in ("exact", "approximate")
    ]  # fmt: skip
    results = compare(contestants, args.rounds)
    loose, in_order = results["loose files"], results["loose files (in order)"]
    head(
        f"{args.batches} batches of {BATCH}",
        "CPU ms per clip",
        "times loose files",
        "clips/s",
        "peak MB",
        "equal clips",
    )
    for name, result in results.items():
        if result.error:
            row(name, result.error, "", "", "", "")
            continue
        number = result.value[0]
        same = str(result.value == in_order.value) if "in order" in name else ""
        row(name, f"{result.cpu_s / number * 1000:.1f}", f"{result.cpu_s / loose.cpu_s:.2f}",
            f"{number / result.wall_s:.1f}", f"{result.peak_mb:.0f}", same)  # fmt: skip
    print()


def _starts(sections: dict[str, dict], pattern: str, args: argparse.Namespace) -> None:
    last = args.videos // BATCH - 1
    theirs, contestants = peers.python_of("webdataset"), []
    for what, start in (("first batch", 0), ("resumed at the last batch", last)):
        contestants += [
            Contestant(f"{name}: {what}", peers.ours(), f"{OURS}:first_batch", {"section": section, "start": start})
            for name, section in sections.items()
        ]
        given = {"pattern": pattern, "start": start}
        contestants.append(Contestant(f"webdataset: {what}", theirs, f"{THEIRS}:first_batch", given))
    head(f"building the loader and one batch of {BATCH}", "wall s", "CPU s")
    for name, result in compare(contestants, args.rounds).items():
        row(name, result.error or f"{result.wall_s:.2f}", f"{result.cpu_s:.2f}")
    print()


def _reading(address: str, requests: list[tuple[str, str | None]], args: argparse.Namespace) -> None:
    """What one of four workers reads in an epoch, without decoding."""
    head(f"reading, HTTP, {DELAY_S * 1000:.0f} ms per request, one of {WORKERS} workers", "clips", "MB", "requests",
         "wall ms per clip", "CPU ms per clip")  # fmt: skip
    for window in (1, 4, 16):
        section = {"format": "ShardDataset", "file_path": address, "window": window}
        given = {"section": section, "num_workers": WORKERS}
        before = len(requests)
        (result,) = compare([Contestant("reading", peers.ours(), f"{OURS}:contents", given)], args.rounds).values()
        count = sum(path.endswith(".tar") for path, _ in requests[before:]) - 1  # one when the loader is built
        number, num_bytes = result.value
        row(f"window: {window}", number, f"{num_bytes / 1e6:.0f}", count // (args.rounds + 1),
            f"{result.wall_s / number * 1000:.1f}", f"{result.cpu_s / number * 1000:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
