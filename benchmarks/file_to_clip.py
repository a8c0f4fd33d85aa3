"""From a video file to the clip of TSM, beside what people would pick instead:

    python -m benchmarks.file_to_clip [--root CHECKOUT] [--files gop12 mjpeg ...] [--rounds 3]

CPU milliseconds per clip, with the ratio to this project with its index; then the peak memory of each process.  All
clips are 8 x 224 x 224, of the same frames in the same rounds; ``clip_plan`` has what is drawn.  Files are 10 s at 30
frames per second of a moving texture (``hour``: its packets 360 times).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.side_by_side import Contestant, Result, compare, head, header, row
from tests.clips import write_clip

# name -> row, file, how it is written, clips per round
FILES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "gop12": ("H.264 340x256, GOP 12", "gop12.mp4", {"gop": 12}, 8),
    "gop250": ("H.264 340x256, GOP 250", "gop250.mp4", {"gop": 250}, 6),
    "720p": ("H.264 1280x720, GOP 250", "hd.mp4", {"gop": 250}, 2),
    "mjpeg": ("MJPEG avi 340x256", "mjpeg.avi", {"codec": "mjpeg"}, 16),
    "vp9": ("VP9 webm 340x256", "vp9.webm", {"codec": "libvpx-vp9", "gop": 128}, 6),
    "hour": ("60 min H.264 340x256, GOP 250", "hour.mp4", {}, 3),
}
SECONDS, REPEATS = 10, 360


def moving_texture(height: int, width: int, frames: int, seed: int = 0) -> np.ndarray:
    """uint8 [frames, height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 8 + 40, width // 8 + 40, 3), dtype=np.uint8)
    canvas = coarse.repeat(8, 0).repeat(8, 1)
    return np.stack([canvas[t % 300 : t % 300 + height, t % 300 : t % 300 + width] for t in range(frames)])


def write(name: str, folder: Path) -> Path:
    """The file of a row."""
    _, file, options, _ = FILES[name]
    path, frames = folder / file, 30 * SECONDS
    if name == "hour":
        return _repeat(write("gop250", folder), path, REPEATS)
    if not path.exists():
        size = (720, 1280) if name == "720p" else (256, 340)
        write_clip(path, moving_texture(*size, frames), fps=30, **options)
    return path


def _repeat(source: Path, target: Path, times: int) -> Path:
    """The same packets again and again, with time stamps that go on."""
    import av

    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        stream = given.streams.video[0]
        packets = [packet for packet in given.demux(stream) if packet.size]
        stamps = [(packet.pts, packet.dts) for packet in packets]
        period = int(len(packets) / stream.average_rate / Fraction(stream.time_base))
        copy = written.add_stream_from_template(stream)
        for number in range(times):
            for packet, (pts, dts) in zip(packets, stamps):
                packet.pts, packet.dts, packet.stream = pts + number * period, dts + number * period, copy
                written.mux_one(packet)
    return target


def contestants(path: Path, name: str, train: bool, root: Path | None) -> list[Contestant]:
    """Those that read a file; the slow ones leave the long file out."""
    given = {"path": str(path), "train": train, "clips": FILES[name][3]}

    def one(label: str, interpreter: Any, function: str, **more: Any) -> Contestant:
        return Contestant(label, interpreter, f"benchmarks/contestants/{function}", {**given, **more})

    torch, decord = peers.python_of("torch"), peers.python_of("decord")
    found = [
        one("ours, index", peers.ours(), "clip_ours.py:tsm", index=True),
        one("ours, index, `backend: cv2`", peers.ours(), "clip_ours.py:tsm", index=True, linear=True),
        one("ours, no index", peers.ours(), "clip_ours.py:tsm"),
        *([one("before", peers.ours(root), "clip_ours.py:tsm")] if root else []),
        one("torchcodec exact", torch, "clip_torchcodec.py:clip", mode="exact"),
        one("torchcodec approximate", torch, "clip_torchcodec.py:clip", mode="approximate"),
        one("decord + cv2", decord, "clip_decord.py:decord_cv2"),
    ]
    if name != "hour":
        found += [
            one("MMAction2, decord", decord, "clip_decord.py:mmaction2"),
            one("MMAction2, PyAV", decord, "clip_decord.py:mmaction2", decoder="pyav"),
            one("PaddleVideo, decord", decord, "clip_decord.py:paddlevideo"),
        ]
    return found


def cell(result: Result | None, ours: Result, clips: int) -> str:
    """CPU ms per clip and the ratio; or why there is none."""
    if result is None:
        return ""
    if result.error:
        return result.error.split(":")[0]
    return f"{1e3 * result.cpu_s / clips:.1f} ({result.cpu_s / ours.cpu_s:.2f})"


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="another checkout, as a contestant: before")
    parser.add_argument("--files", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(arguments)
    print(header("python -m benchmarks.file_to_clip"))
    print()
    peak: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        names: list[str] = []
        for name in args.files:
            path = write(name, Path(folder))
            for train in (True,) if name == "hour" else (True, False):
                found = compare(contestants(path, name, train, args.root), args.rounds)
                if not names:
                    names = list(found)
                    head("file", "pipeline", *(f"{label}, ms" for label in names))
                ours, clips = found["ours, index"], FILES[name][3]
                row(FILES[name][0], "train" if train else "test", *(cell(found.get(n), ours, clips) for n in names))
                for label, result in found.items():
                    peak[label] = max(peak.get(label, 0.0), result.peak_mb if not result.error else 0.0)
    print()
    head("peak memory", *names)
    row("MB", *(f"{peak[label]:.0f}" for label in names))


if __name__ == "__main__":
    main()
