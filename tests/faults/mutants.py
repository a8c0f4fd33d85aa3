"""Damaged video files of many kinds against every reader: no death, no hang, and nothing that FFmpeg reports goes
unnoticed.

    python -m tests.faults.mutants [--seed 0] [--rounds 4]

Clips of numbered frames are written in many formats and damaged by rule.  A mutant counts as *reported* if a plain
decoding of it with PyAV raises, logs an error or marks a frame as corrupt; a reader must then refuse it or give the
frames of the undamaged clip.  What is damaged and reported by nobody is counted as *not detectable*.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.loader.decode import VideoReadError, open_video
from tests.clips import numbered_frames, write_clip

NUM_FRAMES = 40
MAX_SECONDS = 10.0
SOURCES = {
    "h264.mp4": {"muxer_options": {"movflags": "faststart"}},
    "open_gop.mp4": {"open_gop": True, "muxer_options": {"movflags": "faststart"}},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "h264.avi": {},
    "h265.mp4": {"codec": "libx265", "muxer_options": {"movflags": "faststart"}},
    "h265.mkv": {"codec": "libx265"},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4.mp4": {"codec": "mpeg4", "muxer_options": {"movflags": "faststart"}},
    "mpeg2.ts": {"codec": "mpeg2video"},
}
DAMAGES = ("cut", "cut_late", "flip_one", "flip_many", "zero", "noise", "remove", "double")
READERS = ("pyav", "pyav_sequential", "cv2", "decord")


def mutate(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """The same file, damaged behind its first hundredth."""
    size = len(data)
    low = size // 100 + 64
    start = int(rng.integers(low, size * 9 // 10))
    count = int(rng.integers(size // 100 + 1, size // 10))
    if kind == "cut":
        return data[: int(rng.integers(size // 4, size * 9 // 10))]
    if kind == "cut_late":
        return data[: size - int(rng.integers(1, size // 20))]
    if kind == "remove":
        return data[:start] + data[start + count :]
    if kind == "double":
        return data[: start + count] + data[start:]
    mutant = bytearray(data)
    if kind in ("flip_one", "flip_many"):
        for at in rng.integers(low, size, 1 if kind == "flip_one" else 20):
            mutant[at] ^= 1 << int(rng.integers(8))
    else:
        end = min(start + count, size)
        mutant[start:end] = bytes(end - start) if kind == "zero" else rng.bytes(end - start)
    return bytes(mutant)


def reported(path: Path) -> str:
    """What FFmpeg reports while a file is read and decoded from its beginning; empty: nothing."""
    import av

    level, skip_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines, av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for packet in container.demux(stream):
                for frame in packet.decode():
                    if frame.is_corrupt:
                        return "a corrupt frame"
    except (av.error.FFmpegError, AttributeError, IndexError, ValueError) as error:
        return f"{type(error).__name__}"
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip_repeated)
    return f"{lines[0][1]}: {lines[0][2].strip()}" if lines else ""


@dataclass(frozen=True)
class Outcome:
    """Of one mutant and reader: ``refused``, ``equal``, ``missed`` (FFmpeg reports it) or ``silent`` (nobody does)."""

    name: str
    reader: str
    kind: str
    detail: str
    seconds: float


def compare(path: Path, reader: str, clean: np.ndarray, report: str) -> Outcome:
    start = time.monotonic()
    try:
        with open_video(path, reader) as source:
            frames = source.get(range(len(source)))
    except VideoReadError as error:
        assert error.path == str(path)
        return Outcome(path.name, reader, "refused", f"{error.reason} ({error.detail})", time.monotonic() - start)
    # without its first key picture, a transport stream is one that somebody began to record a little later
    later = path.suffix == ".ts" and 0 < len(frames) < len(clean)
    wanted = clean[-len(frames) :] if later else clean
    same = frames.shape == wanted.shape and np.abs(frames.astype(int) - wanted).max() <= 16
    kind = "equal" if same else "missed" if report else "silent"
    detail = f"{len(frames)} of {len(clean)} frames; {report}"
    return Outcome(path.name, reader, kind, detail, time.monotonic() - start)


def run(folder: Path, seed: int, rounds: int, sources: list[str], readers: list[str]) -> list[Outcome]:
    """``rounds`` mutants of every kind of each source, through every reader."""
    frames = numbered_frames(NUM_FRAMES)
    outcomes = []
    for number, name in enumerate(sources):
        source = write_clip(folder / name, frames, **SOURCES[name])
        data = source.read_bytes()
        clean = {}
        for reader in [reader for reader in readers if not (reader == "decord" and name.endswith(".ts"))]:
            with open_video(source, reader) as opened:
                clean[reader] = opened.get(range(len(opened)))
        for kind_number, kind in enumerate(DAMAGES):
            for k in range(rounds):
                rng = np.random.default_rng([seed, number, kind_number, k])
                path = folder / f"{kind}{k}_{name}"
                path.write_bytes(mutate(data, kind, rng))
                report = reported(path)
                outcomes += [compare(path, reader, clean[reader], report) for reader in clean]
                path.unlink()
    return outcomes


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3, help="mutants per format and kind of damage")
    parser.add_argument("--readers", nargs="+", default=list(READERS))
    parser.add_argument("--sources", nargs="+", default=list(SOURCES))
    parser.add_argument("--show", nargs="+", default=["missed"], help="kinds of outcomes that are listed")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), args.seed, args.rounds, args.sources, args.readers)
    for outcome in outcomes:
        if outcome.kind in args.show:
            print(f"{outcome.kind}: {outcome.reader} {outcome.name}: {outcome.detail}")
    for reader in args.readers:
        counts = collections.Counter(outcome.kind for outcome in outcomes if outcome.reader == reader)
        print(f"{reader}: {sum(counts.values())} mutants: {dict(sorted(counts.items()))}")
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    print(f"slowest: {slowest.seconds:.1f} s ({slowest.reader} {slowest.name})")
    return int(any(o.kind == "missed" for o in outcomes) or slowest.seconds > MAX_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
