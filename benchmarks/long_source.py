"""Measures what a long video, a slow model and a camera that is cut cost:  python -m benchmarks.long_source

``paddlevideo timeline`` runs in a process of its own on a small TSM with random weights: on a file of ``--hours``, on
an MJPEG camera whose pictures arrive faster than they are processed, and on one that is cut for 5 s.  The resident
memory of its process and of the one that decodes is sampled; the slope is that of a line through the samples after the
first third, in KB per 1000 windows.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FPS, CLASSES = 5, 4
SLOW_S, CUT_S = 120, 5.0
_SAMPLE_S = 0.5
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def write_video(path: Path, num_frames: int) -> Path:
    """64 x 48, ``FPS`` frames a second; the picture moves."""
    import av
    import numpy as np

    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 64, 48, "yuv420p", 50
        for k in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, k % 64, axis=1))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_model(folder: Path) -> list[str]:
    """The flags of a TSM with 4 channels on 4 frames of 32 pixels, with random weights."""
    import paddle

    from paddlevideo.build import deployed_network
    from paddlevideo.config import Config
    from paddlevideo.safe_io import write_pickle
    from tests.tiny import save, tsm_config

    names = folder / "labels.txt"
    names.write_text("\n".join(f"class {k}" for k in range(CLASSES)))
    config = tsm_config(folder / "none.list", folder)
    config["MODEL"]["head"]["num_classes"] = CLASSES
    config["DATASET"]["label_names"] = str(names)
    path = save(config, folder / "tsm.yaml")
    paddle.seed(0)
    state = deployed_network(Config(config)).state_dict()
    write_pickle(folder / "tsm.pdparams", {name: value.numpy() for name, value in state.items()})
    return ["-c", str(path), "-w", str(folder / "tsm.pdparams")]


@dataclass
class Run:
    """The command in a process of its own, its lines, and its memory over time.

    Args:
        words: of ``paddlevideo timeline``.
    """

    words: list[str]
    lines: list[str] = field(default_factory=list)
    samples: list[tuple[float, int, int]] = field(default_factory=list)  # seconds, KB of the process, of its child

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "paddlevideo", "timeline", *self.words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.begun = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._threads = [threading.Thread(target=target) for target in (self._read, self._sample)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Until it ends."""
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self.begun
        if self._process.wait():
            raise SystemExit("".join(self.lines))

    def wait_for(self, text: str, limit_s: float = 120.0) -> None:
        """Until a line holds the text."""
        end = time.monotonic() + limit_s
        while not any(text in line for line in self.lines):
            if time.monotonic() > end or self._process.poll() is not None:
                raise SystemExit(f"no line with {text!r}:\n{''.join(self.lines)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ctrl-C, as a terminal sends it, and the end."""
        os.killpg(self._process.pid, signal.SIGINT)
        self.wait()

    @property
    def windows(self) -> int:
        return int(re.search(r"spans of (\d+) windows", self.lines[-1])[1])

    def memory(self) -> list[str]:
        """Of the process and of its child: MB at the most, and KB per 1000 windows after the first third."""
        import numpy as np

        rows = np.array([sample for sample in self.samples if sample[2]], float)
        rows = rows[len(rows) // 3 :]
        found = []
        for column in (1, 2):
            slope = np.polyfit(rows[:, 0], rows[:, column], 1)[0]
            found += [f"{rows[:, column].max() / 1024:.0f}", f"{slope * self.seconds / self.windows * 1000:.0f}"]
        return found

    def _read(self) -> None:
        self.lines.extend(iter(self._process.stdout.readline, ""))

    def _sample(self) -> None:
        pid = self._process.pid
        while self._process.poll() is None:
            try:
                child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[:1]
                sizes = [_resident_kb(number) for number in (pid, *child)]
            except (OSError, IndexError, ValueError):  # it has just ended
                continue
            self.samples.append((time.monotonic() - self.begun, *(sizes + [0])[:2]))
            time.sleep(_SAMPLE_S)


def _resident_kb(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE // 1024


def pictures() -> list[bytes]:
    from tests.servers import jpegs

    return jpegs(20)


def long_file(folder: Path, model: list[str], hours: float) -> list[str]:
    """A file: memory, and frames decoded against frames there."""
    num_frames = round(hours * 3600 * FPS)
    path = write_video(folder / "long.mp4", num_frames)
    run = Run([*model, "-i", str(path), "--window_s", "4", "--hop_s", "1", "-b", "16", "--out", str(folder / "a.json")])
    run.wait()
    decoded = re.search(r"; (\d+) frames", run.lines[-1])[1]
    return [f"file of {hours:g} h", num_frames, decoded, 0, run.windows, f"{run.seconds:.0f}", *run.memory()]


def slow_model(folder: Path, model: list[str]) -> list[str]:
    """A camera of 400 pictures a second, a window every 2.5 ms, held for 2 s: memory, and frames dropped."""
    from tests.servers import http_server, mjpeg

    with http_server(mjpeg(pictures(), fps=400, endless=True)) as port:
        address = f"http://127.0.0.1:{port}/"
        run = Run([*model, "-i", address, "--window_s", "1", "--hop_s", "0.0025", "--buffer_s", "2"])
        run.wait_for("windows of 1 s")
        time.sleep(SLOW_S)
        run.stop()
    frames, dropped = (re.search(rf"(\d+) {what}", run.lines[-1]) for what in ("frames", "dropped"))
    given = frames[1], dropped[1] if dropped else 0
    return [f"camera, {SLOW_S} s", "endless", *given, run.windows, f"{run.seconds:.0f}", *run.memory()]


def cut_camera(folder: Path, model: list[str]) -> list[str]:
    """A camera of 25 pictures a second that is cut for 5 s after 10 s: the lines that the command prints."""
    from tests.servers import http_server, mjpeg

    handler = mjpeg(pictures(), fps=25, endless=True, cut_after=250, cut_s=CUT_S)
    with http_server(handler) as port:
        address = f"http://user:secret@127.0.0.1:{port}/"
        low = ["--on", "0.1", "--off", "0.05"]  # so that there is always a class
        run = Run([*model, "-i", address, "--window_s", "1", "--hop_s", "0.5", *low, "--out", str(folder / "b.json")])
        run.wait_for("connected again")
        time.sleep(6)
        run.stop()
    return run.lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0, help="of the file (%(default)s)")
    args = parser.parse_args()
    from benchmarks.run import row
    from paddlevideo.environment import set_cpu_environment

    set_cpu_environment()
    print(f"{datetime.date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, load "
          f"{os.getloadavg()[0]:.1f}\n")  # fmt: skip
    row("source", "frames", "decoded", "dropped", "windows", "seconds", "model, MB", "KB per 1000 windows",
        "decoder, MB", "KB per 1000 windows")  # fmt: skip
    row(*["---"] * 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder)
        row(*long_file(folder, model, args.hours))
        row(*slow_model(folder, model))
        print(f"\nA camera that is cut for {CUT_S:g} s after 10 s, and Ctrl-C 6 s after it is back:\n")
        print("".join(cut_camera(folder, model)), end="")


if __name__ == "__main__":
    main()
