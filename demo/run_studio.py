"""Videos and a model for the studio, in about a minute: what ``make studio`` opens, and what its tests use.

The model is the demo's TSM on smaller pictures and with three of the demo's classes, trained by the suite's own
commands.  The videos below ``new/`` have scenes of a fourth class, which it was never shown: a head has to be taught.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo.motion import QUANTISER, choose_frame, load_digits
from demo.run import ROOT
from demo.scenes import scene_frames
from paddlevideo.safe_io import write_atomic
from paddlevideo.spans import Span, SpanTable, read_spans, write_spans
from paddlevideo.video_files import each_frame_alone, write_video

CONFIG = ROOT / "demo" / "scenes.yaml"
CLASSES = ("left", "clockwise", "approach")  # that the model is trained on
NEW_CLASS = "blink"
# Windows are as long as clip_s of the configuration; the rest is for scenes that follow one another without a pause.
SETTINGS = {"window_s": 2, "hop_s": 1, "smooth_s": 3, "on": 0.5, "off": 0.2}
FPS = 10
TRAINING_PX, SHOWN_PX = (64, 72), (128, 144)  # least and largest shorter side of videos to train on, and to look at
INPUT_PX = 40  # side of the network's input; the demo's is 64
NUM_TRAINING, TRAINING_SCENES, TRAINING_S = 8, 16, (3.0, 4.0)  # videos, scenes of each, seconds of a scene
NUM_VIDEOS, NUM_SCENES, SCENE_S = 2, 5, (8.0, 10.0)
NUM_NEW, NEW_SCENES, NEW_SCENE_S = 4, 6, (5.0, 7.0)
EPOCHS = 12
_PARTS = ("train", "videos", "new")


@dataclass(frozen=True)
class DemoFiles:
    """What ``make_demo`` writes into a folder."""

    folder: Path
    seed: int = 0

    @property
    def export(self) -> Path:
        """The exported model."""
        return self.folder / "export"

    def videos(self, part: str) -> list[tuple[Path, list[Span]]]:
        """Path and true spans of each video of ``train``, ``videos`` or ``new``."""
        table = read_spans(self.folder / f"{part}.json")
        return [
            (self.folder / name, [span for span in table.spans if span.video == name]) for name in table.video_names()
        ]


def make_demo(folder: Path, seed: int = 0) -> DemoFiles:
    """Renders, trains and exports: about 50 s on one core.

    Args:
        folder: is made.
        seed: of all draws; the model finds most spans with those that were tried (0, 1, 2).
    """
    files = DemoFiles(folder, seed)
    folder.mkdir(parents=True, exist_ok=True)
    render_videos(files, "train", CLASSES, NUM_TRAINING, TRAINING_SCENES, TRAINING_S)
    render_videos(files, "videos", CLASSES, NUM_VIDEOS, NUM_SCENES, SCENE_S)
    render_videos(files, "new", (*CLASSES, NEW_CLASS), NUM_NEW, NEW_SCENES, NEW_SCENE_S)
    write_atomic(folder / "labels.txt", "".join(f"{name}\n" for name in CLASSES))
    changes = [word for change in _changes(folder) for word in ("-o", change)]
    run_command("train", "-c", CONFIG, "--seed", seed, *changes)
    weights = folder / "output" / f"TSM_epoch_{EPOCHS:05}.pdparams"
    run_command("export", "-c", CONFIG, "-w", weights, "--out", files.export, "--timing", "none", *changes)
    return files


def render_videos(
    files: DemoFiles, part: str, classes: Sequence[str], count: int, num_scenes: int, scene_s: tuple[float, float]
) -> None:
    """Writes ``count`` videos below ``PART/``, and their spans as ``PART.json``; two scenes in a row differ."""
    images, number = load_digits(), _PARTS.index(part)
    digits = images[:1200] if part == "train" else images[1400:]
    spans, videos = [], {}
    for index in range(count):
        key, name = [files.seed, number, index], f"{part}/{part}-{index}.mp4"
        parts = draw_scenes(np.random.default_rng([*key, 1]), classes, num_scenes, scene_s)
        lengths = [(label, round(seconds * FPS)) for label, seconds in parts]
        (files.folder / part).mkdir(exist_ok=True)
        frames = draw_frames(lengths, np.random.default_rng(key), digits, TRAINING_PX if part == "train" else SHOWN_PX)
        write_video(files.folder / name, frames, FPS, each_frame_alone(QUANTISER))
        ends = [*itertools.accumulate((length for _, length in lengths), initial=0)]
        spans += [Span(a / FPS, b / FPS, label, video=name) for (label, _), a, b in zip(lengths, ends, ends[1:])]
        videos[name] = {"duration_s": ends[-1] / FPS, "fps": FPS}
    write_spans(files.folder / f"{part}.json", SpanTable(spans, videos, tuple(classes)))


def draw_frames(
    lengths: Sequence[tuple[str, int]], rng: np.random.Generator, digits: np.ndarray, side_px: tuple[int, int]
) -> Iterator[np.ndarray]:
    """The frames, uint8 [H, W, 3], of scenes of so many frames each."""
    size = choose_frame(rng, side_px)
    for label, length in lengths:
        if label == NEW_CLASS:
            yield from blink_frames(length, size)
        else:
            yield from scene_frames(label, length, FPS, rng, size, digits)


def blink_frames(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """A chequered picture that is inverted every half second: what no motion of the demo looks like."""
    width, height = size
    cell = min(size) // 4
    board = (np.add.outer(np.arange(height) // cell, np.arange(width) // cell) % 2)[..., None]
    for index in range(num_frames):
        inverted = index * 2 // FPS % 2
        yield np.where(board == inverted, 20, 235).repeat(3, axis=2).astype(np.uint8)


def draw_scenes(
    rng: np.random.Generator, classes: Sequence[str], num_scenes: int, scene_s: tuple[float, float]
) -> list[tuple[str, float]]:
    """Label and seconds of each scene: all classes in turn, in an order that is drawn anew for each turn."""
    labels: list[str] = []
    while len(labels) < num_scenes:
        turn = [str(name) for name in rng.permutation(classes)]
        if labels and turn[0] == labels[-1]:
            turn.append(turn.pop(0))
        labels += turn
    return [(label, float(rng.uniform(*scene_s))) for label in labels[:num_scenes]]


def _changes(folder: Path) -> Iterator[str]:
    yield from (f"DATASET.label_names={folder}/labels.txt", f"output_dir={folder}/output", "DATASET.num_workers=0")
    yield from (f"MODEL.head.num_classes={len(CLASSES)}", f"epochs={EPOCHS}", f"save_interval={EPOCHS}")
    for section, part in (("train", "train"), ("valid", "videos"), ("test", "videos")):
        yield f"DATASET.{section}.file_path={folder}/{part}.json"
        yield f"DATASET.{section}.data_prefix={folder}"
        crop = "RandomCrop" if section == "train" else "CenterCrop"
        yield f"PIPELINE.{section}.transform.0.Scale.short_size={INPUT_PX * 9 // 8}"
        yield f"PIPELINE.{section}.transform.1.{crop}.target_size={INPUT_PX}"


def run_command(*words: object) -> str:
    """What a command of the package prints.

    Raises:
        SystemExit: it fails; with the end of what it printed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "paddlevideo", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout


def main() -> int:
    """Makes the files, unless they are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "studio", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.folder / "export" / "inference.yml").is_file():
        return 0
    print(f"rendering videos and training a small model into {args.folder}: about a minute", flush=True)
    for part in (*_PARTS, "output", "export"):
        shutil.rmtree(args.folder / part, ignore_errors=True)
    make_demo(args.folder, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
