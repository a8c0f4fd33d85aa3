"""Measures what a timeline of a long video costs frame by frame and by windows:

    python -m benchmarks.online_timeline --video CLIP.mp4

``paddlevideo timeline`` with TSM ResNet-50 of 8 frames at 224 x 224 and ``shift_mode: online``, random weights, one
thread, windows of 4 s; one every 1 s and a frame every 0.5 s, the defaults of both.
The clip is repeated up to a minute without encoding it again.  CPU seconds are those of the whole command, of both of
its processes; those of the clip alone are subtracted, so that starting does not count.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.run import ROOT, TSM, row

REPEATS = 6
OVERRIDES = ("MODEL.backbone.pretrained=null", "MODEL.backbone.shift_mode=online")
WAYS = {"windows every 1 s": ("--by", "windows"), "frames every 0.5 s": ("--by", "frames")}


def repeat(clip: Path, path: Path, times: int) -> None:
    """The clip several times over, its packets as they are."""
    import av

    with av.open(str(path), "w") as out:
        track, start = None, 0
        for _ in range(times):
            with av.open(str(clip)) as container:
                source = container.streams.video[0]
                track = track or out.add_stream_from_template(source)
                end = start
                for packet in container.demux(source):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.stream = track
                    out.mux(packet)
                start = end


def write_weights(path: Path) -> None:
    """Random weights of the network."""
    import paddle

    from paddlevideo.build import deployed_network
    from paddlevideo.config import load_config
    from paddlevideo.safe_io import write_pickle

    paddle.seed(0)
    framework = deployed_network(load_config(ROOT / TSM, OVERRIDES, uses=("test",)))
    write_pickle(path, {name: value.numpy() for name, value in framework.state_dict().items()})


def cost(weights: Path, video: Path, words: tuple[str, ...]) -> tuple[float, int]:
    """CPU seconds of the command, and how many windows or frames it scored."""
    options = [word for override in OVERRIDES for word in ("-o", override)]
    command = [
        sys.executable, "-m", "paddlevideo", "timeline", "-c", ROOT / TSM, *options, "-w", weights, "-i", video,
        "--window_s", "4", *words,
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(re.search(r"spans of (\d+) ", done.stderr)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True, help="a clip of some seconds")
    args = parser.parse_args()
    from paddlevideo.environment import set_cpu_environment

    set_cpu_environment()
    os.environ["OMP_NUM_THREADS"] = "1"
    day, load = datetime.date.today().isoformat(), os.getloadavg()[0]
    print(f"{args.video.name} x {REPEATS}, {day}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}\n")
    row("timeline", "scored", "CPU s", "CPU s each")
    row(*["---"] * 4)
    with tempfile.TemporaryDirectory() as folder:
        weights, long = Path(folder) / "random.pdparams", Path(folder) / f"long{args.video.suffix}"
        write_weights(weights)
        repeat(args.video, long, REPEATS)
        for name, words in WAYS.items():
            short_s, short = cost(weights, args.video, words)
            long_s, count = cost(weights, long, words)
            row(name, count, f"{long_s:.1f}", f"{(long_s - short_s) / (count - short):.3f}")


if __name__ == "__main__":
    main()
