"""Render long videos of scenes: the motions of the demo, each going on for as long as its scene lasts.

    python -m demo.scenes --out demo/long --seed 0

A scene has one motion of ``demo.motion.LABELS`` at one pace on one background.  Shapes and digits cross the picture one
after the other (left, right, up, down), grow or shrink until the next one takes their place (approach, recede), or turn
(clockwise, anticlockwise), so every stretch of a scene shows its motion, wherever that stretch begins.

Written to --out: long.mp4, 12 minutes of 5 scenes, with truth.json, their spans; and with --train N and --val N, N
videos of 16 short scenes below train/ and val/, with train.json and val.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from demo.motion import (
    LABELS,
    QUANTISER,
    choose_colour,
    choose_colours,
    choose_frame,
    draw_scene,
    draw_sprite,
    load_digits,
    place,
)
from paddlevideo.cli.command import run_command
from paddlevideo.safe_io import write_atomic
from paddlevideo.spans import Span, SpanTable, write_spans
from paddlevideo.video_files import each_frame_alone, write_video

LONG = (("left", 150.0), ("clockwise", 110.0), ("approach", 165.0), ("down", 135.0), ("recede", 160.0))  # 12 minutes
SHORT_S = (3.0, 5.0)  # least and longest scene of a training video
LONG_FPS, SHORT_FPS = 15, (10, 12, 15, 20)
SIZE_PX = (80, 112)  # least and largest shorter side
PACES = (0.75, 1.25)  # least and largest factor on the three rates below, which are those of the demo's clips in 2 s
SHIFT_PER_S, GROWTH_PER_S, TURN_PER_S = 0.31, 0.63, np.pi / 2  # shorter sides, logarithm of the size, radians
SIZES = (0.18, 1.3)  # of what grows, in shorter sides
FADE = 0.2  # share of the time of what grows in which it appears, and in which it goes
_ALWAYS_S = 1e6

Scenes = Sequence[tuple[str, float]]  # label and seconds


@dataclass(frozen=True)
class Motion:
    """Shapes that follow one another: one begins every ``every_s`` seconds and is there for ``life_s``.

    Lengths are in units of the frame's shorter side.
    """

    pair: int
    backwards: bool
    pace: float
    life_s: float
    every_s: float
    side: float
    path: float  # that a shape goes
    across: float  # its place on the other axis

    @classmethod
    def draw(cls, label: str, rng: np.random.Generator, width: int, height: int) -> Motion:
        """A motion of a class."""
        pair, backwards = divmod(LABELS.index(label), 2)
        pace, across = rng.uniform(*PACES), rng.uniform(-0.2, 0.2)
        side, path, life_s, every_s = rng.uniform(0.34, 0.55), 0.0, _ALWAYS_S, _ALWAYS_S
        if pair < 2:
            path = (width, height)[pair] / min(width, height) + 1.4 * side  # from outside to outside
            life_s = path / (SHIFT_PER_S * pace)
            every_s = life_s / 2
        elif pair == 2:
            life_s = np.log(SIZES[1] / SIZES[0]) / (GROWTH_PER_S * pace)
            every_s = (1 - FADE) * life_s
        else:
            side = rng.uniform(0.6, 0.85)
        return cls(pair, bool(backwards), pace, life_s, every_s, side, path, across)

    def pose(self, age_s: float) -> tuple[list[float], float]:
        """Of a shape of this age: its centre's x and y from the middle, its side, its turn (rad); and its opacity."""
        share = age_s / self.life_s
        share = 1 - share if self.backwards else share
        along = self.path * (0.5 - share)
        if self.pair == 0:
            return [along, self.across, self.side, 0.0], 1.0
        if self.pair == 1:
            return [self.across, along, self.side, 0.0], 1.0
        if self.pair == 2:
            size = SIZES[0] * (SIZES[1] / SIZES[0]) ** share
            return [self.across, 0.0, size, 0.0], min(1.0, share / FADE, (1 - share) / FADE)
        turn = TURN_PER_S * self.pace * (age_s % (4 * np.pi))
        return [self.across, 0.0, self.side, -turn if self.backwards else turn], 1.0


def scene_frames(
    label: str, num_frames: int, fps: float, rng: np.random.Generator, size: tuple[int, int], digits: np.ndarray
) -> Iterator[np.ndarray]:
    """The frames of a scene: uint8 [H, W, 3] RGB each.

    Args:
        label: of ``LABELS``.
        size: width and height in pixels.
        digits: float32 [N, 8, 8], see ``demo.motion.load_digits``.
    """
    width, height = size
    ground, _ = choose_colours(rng)
    scene = draw_scene(rng, ground, width, height, 0, digits)
    motion = Motion.draw(label, rng, width, height)
    begun_s = motion.life_s + rng.uniform(0, motion.every_s)  # shapes are on their way already
    shapes: dict[int, tuple[np.ndarray, np.ndarray, float]] = {}  # number -> sprite, colour, turn
    for index in range(num_frames):
        time_s, picture = begun_s + index / fps, scene
        for number in itertools.count(int(time_s // motion.every_s), -1):
            age_s = time_s - number * motion.every_s
            if age_s >= motion.life_s:
                break
            if number not in shapes:
                shapes[number] = (draw_sprite(rng, digits), choose_colour(rng, ground), rng.uniform(0, 2 * np.pi))
            sprite, colour, turn = shapes[number]
            pose, opacity = motion.pose(age_s)
            pose[3] += turn
            picture = picture + opacity * place(sprite, np.array(pose), width, height) * (colour - picture)
        yield np.round(picture).astype(np.uint8)


def render_scenes(path: Path, scenes: Scenes, seed: Sequence[int], fps: float, digits: np.ndarray) -> SpanTable:
    """Writes a video of scenes, and gives their spans.

    Args:
        seed: of all draws.
        digits: float32 [N, 8, 8].
    """
    import cv2

    cv2.setNumThreads(0)  # processes share the cores
    rng = np.random.default_rng(seed)
    size = choose_frame(rng, SIZE_PX)
    edges = [round(end * fps) for end in itertools.accumulate((seconds for _, seconds in scenes), initial=0.0)]
    parts = [(label, first, end) for (label, _), first, end in zip(scenes, edges, edges[1:])]
    frames = (
        frame for label, first, end in parts for frame in scene_frames(label, end - first, fps, rng, size, digits)
    )
    write_video(path, frames, fps, each_frame_alone(QUANTISER))
    name = f"{path.parent.name}/{path.name}"
    spans = [Span(first / fps, end / fps, label, video=name) for label, first, end in parts]
    return SpanTable(spans, {name: {"duration_s": round(edges[-1] / fps, 3), "fps": fps}}, LABELS)


def short_scenes(rng: np.random.Generator, count: int = 16) -> Scenes:
    """Scenes of a training video: as many of every class, in any order."""
    labels = [LABELS[k % len(LABELS)] for k in rng.permutation(count)]
    return [(label, rng.uniform(*SHORT_S)) for label in labels]


def _render_short(number: int, out: Path, split: str, seed: int, digits: np.ndarray) -> SpanTable:
    key = [seed, ("train", "val").index(split), number]
    rng = np.random.default_rng([*key, 1])
    fps = SHORT_FPS[rng.integers(len(SHORT_FPS))]
    return render_scenes(out / split / f"{number:03d}.mp4", short_scenes(rng), key, fps, digits)


def main(argv: list[str] | None = None) -> int:
    """Renders; 0 if all is written."""
    parser = argparse.ArgumentParser(description="Render long videos of scenes, and their spans.")
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo/long"), help="folder to write (%(default)s)")
    add("--train", type=int, default=0, metavar="N", help="videos to train on (%(default)s)")
    add("--val", type=int, default=0, metavar="N", help="videos to validate on (%(default)s)")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    args = parser.parse_args(argv)
    images = load_digits()
    digits = {"train": images[:1200], "val": images[1200:1400], "test": images[1400:]}  # as in demo.motion
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        long = pool.submit(render_scenes, args.out / "long.mp4", LONG, [args.seed, 2], LONG_FPS, digits["test"])
        for split, count in (("train", args.train), ("val", args.val)):
            task = partial(_render_short, out=args.out, split=split, seed=args.seed, digits=digits[split])
            tables = list(pool.map(task, range(count)))
            if tables:
                spans = [span for table in tables for span in table.spans]
                videos = {name: facts for table in tables for name, facts in table.videos.items()}
                write_spans(args.out / f"{split}.json", SpanTable(spans, videos, LABELS))
        truth = long.result()
    (name,) = truth.videos
    spans = [Span(span.start_s, span.end_s, span.label, video="long.mp4") for span in truth.spans]
    write_atomic(args.out / "labels.txt", "".join(f"{name}\n" for name in LABELS))
    write_spans(args.out / "truth.json", SpanTable(spans, {"long.mp4": truth.videos[name]}, LABELS))
    print(f"{args.out}: long.mp4 and {args.train} + {args.val} videos")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
