"""Training clips from tar shards, beside loose files and webdataset with torchcodec:  python -m benchmarks.shards

256 videos of 10 s (340 x 256, group of 12) in 16 shards; TSM's training pipeline, batches of 8, one process.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from benchmarks import peers
from benchmarks.run import synthetic_video
from benchmarks.side_by_side import Contestant, compare, head, header, row
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.preparation.write_shards import ShardSettings, write_shards
from tests.shard_files import http_server

OURS, THEIRS = "benchmarks/contestants/shard_clips.py", "benchmarks/contestants/webdataset_clips.py"
BATCH, PER_SHARD, DELAY_S = 8, 16, 0.02


def render(folder: Path, count: int) -> tuple[Path, Path]:
    """Class folders of videos, and their shards."""
    video = synthetic_video(folder, 12)
    for number in range(count):
        target = folder / "videos" / f"class{number % 2}" / f"{number:05d}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    dataset = VideoDataset(str(folder / "videos"))
    settings = ShardSettings("train", max_samples=PER_SHARD, quiet=True)
    write_shards(dataset, dataset.class_names, folder / "shards", settings)
    return folder / "videos", folder / "shards"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=128, help="number of videos (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        videos, shards = render(Path(temporary), args.videos)
        with http_server(shards, delay_s=DELAY_S) as (address, requests):
            _epochs(videos, shards, address, requests, args)
            _starts(videos, shards, address, args)


def _sections(videos: Path, shards: Path, address: str) -> dict[str, dict]:
    sharded = {"format": "ShardDataset", "read_ahead_mb": 256}
    remote = f"HTTP, {DELAY_S * 1000:.0f} ms per request"
    return {
        "loose files": {"format": "VideoDataset", "file_path": str(videos)},
        "shards": {**sharded, "file_path": str(shards)},
        f"shards, {remote}": {**sharded, "file_path": address},
        f"shards, {remote}, window 1": {**sharded, "file_path": address, "window": 1},
    }


def _epochs(videos: Path, shards: Path, address: str, requests: list, args: argparse.Namespace) -> None:
    sections = _sections(videos, shards, address)
    pattern = f"{shards}/train-{{000000..{args.videos // PER_SHARD - 1:06d}}}.tar"
    theirs = peers.python_of("webdataset")
    contestants = [Contestant(name, peers.ours(), f"{OURS}:epoch", {"section": s}) for name, s in sections.items()]
    contestants += [
        Contestant(f"webdataset, torchcodec {mode}", theirs, f"{THEIRS}:epoch", {"pattern": pattern, "mode": mode})
        for mode in ("exact", "approximate")
    ]
    results = compare(contestants, args.rounds)
    loose = results["loose files"]
    size_mb = sum(file.stat().st_size for file in shards.glob("*.tar")) / 1e6
    print(f"\n{header('python -m benchmarks.shards')}; {args.videos} clips, {size_mb:.0f} MB\n")
    head("an epoch", "CPU ms per clip", "times loose files", "clips/s", "peak MB", "same clips as loose files")
    for name, result in results.items():
        if result.error:
            row(name, result.error, "", "", "", "")
            continue
        count = result.value[0]
        same = "" if name.startswith("webdataset") else str(result.value == loose.value)
        row(name, f"{result.cpu_s / count * 1000:.1f}", f"{result.cpu_s / loose.cpu_s:.2f}",
            f"{count / result.wall_s:.1f}", f"{result.peak_mb:.0f}", same)  # fmt: skip
    runs = 2 * (args.rounds + 1)  # of both contestants at the address
    of_tars = [span for path, span in requests if path.endswith(".tar")]
    print(f"\n{len(of_tars)} requests for shards in {runs} epochs over HTTP, half of them with window 1\n")


def _starts(videos: Path, shards: Path, address: str, args: argparse.Namespace) -> None:
    sections, last = _sections(videos, shards, address), args.videos // BATCH - 1
    sections.popitem()
    pattern = f"{shards}/train-{{000000..{args.videos // PER_SHARD - 1:06d}}}.tar"
    theirs = peers.python_of("webdataset")
    contestants = []
    for what, start in (("first batch", 0), ("resumed at the last batch", last)):
        contestants += [
            Contestant(f"{name}: {what}", peers.ours(), f"{OURS}:first_batch", {"section": section, "start": start})
            for name, section in sections.items()
        ]
        given = {"pattern": pattern, "start": start}
        contestants.append(Contestant(f"webdataset: {what}", theirs, f"{THEIRS}:first_batch", given))
    head("building the loader and one batch of 8", "wall s", "CPU s")
    for name, result in compare(contestants, args.rounds).items():
        row(name, result.error or f"{result.wall_s:.2f}", f"{result.cpu_s:.2f}")


if __name__ == "__main__":
    main()
