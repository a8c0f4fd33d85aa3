"""Render the demo data set: H.264 clips with a motion as class, which no single frame shows.

    python -m demo.motion --out demo/motion --train 640 --val 128 --test 128 --seed 0

Eight classes in four pairs (left / right, up / down, approach / recede, clockwise / anticlockwise).  Three rules keep a
picture from naming its class, so that only a model with temporal modelling separates the two of a pair:

* Every clip has a twin in the same set: the same frames, backwards, under the other label of the pair.
* Every frame is coded by itself (all-intra) at a fixed quantiser, so a decoded frame does not depend on its place in
  the stream: twins decode to the same pictures, bit for bit.  Time stamps are the same in both.
* Lengths are odd multiples of 8 frames.  Then 8-segment sampling takes the same pictures of a clip as of its twin (at
  test) or takes them with the same probability (in training).

Written to --out: train.list, val.list and test.list (``path label``, paths relative to --out), labels.txt (class names
in class-id order), contact_sheet.png (eight frames of one clip per class), README.md and the clips.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from paddlevideo.cli.command import run_command
from paddlevideo.errors import UserError
from paddlevideo.safe_io import write_atomic
from paddlevideo.video_files import each_frame_alone, require_encoder, write_video

# (a clip as drawn, the same clip played backwards)
PAIRS = (("left", "right"), ("up", "down"), ("approach", "recede"), ("clockwise", "anticlockwise"))
LABELS = tuple(name for pair in PAIRS for name in pair)
SPLITS = ("train", "val", "test")
LENGTHS = (24, 40, 56)  # frames; odd multiples of 8, see above
FRAME_RATES = (10, 12, 15, 20, 24, 25, 30)  # frames per second
ASPECTS = ((1, 1), (5, 4), (4, 3), (3, 4))  # width : height
SPRITE_PX = 96  # side of the picture of a shape, before it is scaled, turned and placed
BACKGROUNDS = ((32, 32, 36), (70, 78, 92), (96, 64, 48), (52, 96, 72), (150, 150, 142), (214, 206, 190))
FOREGROUNDS = (
    (235, 70, 60),
    (60, 170, 240),
    (250, 210, 60),
    (245, 245, 245),
    (20, 20, 20),
    (140, 230, 110),
    (220, 110, 230),
)
QUANTISER = 18
MIN_CONTRAST = 90  # smallest difference of luma between a shape and its background, in grey levels

# Outlines in [-1, 1], y downwards.  None looks the same after a turn or in a mirror, so that a turn can be seen.
OUTLINES = {
    "letter_l": ((-0.6, -0.9), (-0.1, -0.9), (-0.1, 0.4), (0.8, 0.4), (0.8, 0.9), (-0.6, 0.9)),
    "flag": ((-0.7, -0.95), (0.85, -0.5), (-0.35, 0.0), (-0.35, 0.95), (-0.7, 0.95)),
    "wedge": ((-0.9, 0.7), (0.9, 0.9), (-0.3, -0.9)),
    "arrow": ((-0.9, -0.2), (0.1, -0.2), (0.1, -0.75), (0.95, 0.0), (0.1, 0.75), (0.1, 0.2), (-0.9, 0.2)),
    "half_disc": tuple((float(np.cos(a)), float(np.sin(a)) + 0.4) for a in np.linspace(np.pi, 2 * np.pi, 24)),
    "hook": ((-0.8, -0.9), (0.7, -0.9), (0.7, 0.2), (0.2, 0.2), (0.2, -0.4), (-0.3, -0.4), (-0.3, 0.9), (-0.8, 0.9)),
}


@dataclass(frozen=True)
class Style:
    """What every clip of a data set has in common.

    Args:
        seed: of all draws.
        short_px: least and largest shorter side of a frame.
        variety: up to so many shapes at rest behind the moving one, on a shaded ground; 0: a plain one.
    """

    seed: int = 0
    short_px: tuple[int, int] = (80, 128)
    variety: int = 0


@dataclass(frozen=True)
class Clip:
    """One clip as the lists name it: its twin differs in ``backwards`` alone and comes from the same random draws."""

    split: str
    pair: int
    number: int
    backwards: bool

    @property
    def label(self) -> int:
        return 2 * self.pair + int(self.backwards)

    @property
    def path(self) -> str:
        return f"{self.split}/{LABELS[self.label]}_{self.number:05d}.mp4"


def plan(split: str, num_clips: int) -> list[Clip]:
    """The clips of one split, twins side by side and the classes evenly filled.

    Raises:
        UserError: ``num_clips`` cannot be shared evenly by the classes.
    """
    if num_clips < 0 or num_clips % len(LABELS):
        raise UserError(f"--{split} {num_clips}: expected a multiple of {len(LABELS)}, as many clips of every class")
    pairs, numbers = range(len(PAIRS)), range(num_clips // len(LABELS))
    return [Clip(split, pair, number, backwards) for number in numbers for pair in pairs for backwards in (False, True)]


def rng_of(seed: int, clip: Clip) -> np.random.Generator:
    """The generator of a clip's draws; a twin's is the same."""
    return np.random.default_rng([seed, SPLITS.index(clip.split), clip.pair, clip.number])


def load_digits() -> np.ndarray:
    """scikit-learn's bundled hand-written digits, float32 [1797, 8, 8] in [0, 1].

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise UserError("the digits come with scikit-learn: python -m pip install scikit-learn") from error
    return (datasets.load_digits().images / 16.0).astype(np.float32)


def draw_sprite(rng: np.random.Generator, digits: np.ndarray) -> np.ndarray:
    """A shape or a digit as opacity, float32 [SPRITE_PX, SPRITE_PX] in [0, 1]."""
    import cv2

    inner = SPRITE_PX * 3 // 4  # what the outline fills; the rest is room for soft edges
    if len(digits) and rng.random() < 0.5:
        digit = np.pad(digits[rng.integers(len(digits))], 3)  # 14 cells, the strokes on 8
        whole = inner * len(digit) // 8
        digit = cv2.resize(digit, (whole, whole), interpolation=cv2.INTER_CUBIC)
        margin = (whole - SPRITE_PX) // 2
        digit = digit[margin : margin + SPRITE_PX, margin : margin + SPRITE_PX]
        return np.clip((digit - 0.25) * 4.0, 0.0, 1.0)  # strokes with clear edges
    mask = np.zeros((SPRITE_PX, SPRITE_PX), np.float32)
    outline = np.array(list(OUTLINES.values())[rng.integers(len(OUTLINES))])
    points = np.round((outline * inner / 2 + SPRITE_PX / 2) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1.0, lineType=cv2.LINE_AA, shift=4)
    return mask


def choose_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Background and shape, float32 [3] RGB in 0..255, of different luma."""
    ground = np.array(BACKGROUNDS[rng.integers(len(BACKGROUNDS))], np.float32)
    return ground, choose_colour(rng, ground)


def choose_colour(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A shape's colour on this background."""
    luma = np.array([0.299, 0.587, 0.114])
    clear = [c for c in FOREGROUNDS if abs(float((np.array(c) - ground) @ luma)) >= MIN_CONTRAST]
    return np.array(clear[rng.integers(len(clear))], np.float32)


def choose_frame(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels, both even (for 4:2:0), the shorter side within ``size``."""
    short = int(rng.integers(size[0], size[1] + 1))
    ratio = ASPECTS[rng.integers(len(ASPECTS))]
    width, height = (short * r / min(ratio) for r in ratio)
    return int(width) // 2 * 2, int(height) // 2 * 2


def choose_motion(pair: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Where the shape is at each frame: float64 [T, 4], its centre's x and y from the middle, its side, its turn (rad).

    Lengths are in units of the frame's shorter side.  The pace wavers a little around an even one, so that twins do not
    differ from other clips by being mirrored in time.
    """
    t = np.linspace(0.0, 1.0, num_frames)
    t = t + rng.uniform(-0.1, 0.1) * np.sin(np.pi * t) + rng.uniform(-0.06, 0.06) * np.sin(2 * np.pi * t)
    go = t - 0.5  # -0.5 .. 0.5
    side, turn = rng.uniform(0.34, 0.55), rng.uniform(0, 2 * np.pi)
    x, y = rng.uniform(-0.12, 0.12, 2)
    zero = np.zeros(num_frames)
    reach = rng.uniform(0.5, 0.75)
    if pair == 0:  # leftwards
        return np.stack([x / 2 - reach * go, y * 2 + zero, side + zero, turn + zero], axis=1)
    if pair == 1:  # upwards
        return np.stack([x * 2 + zero, y / 2 - reach * go, side + zero, turn + zero], axis=1)
    if pair == 2:  # growing, evenly in the logarithm as a thing that comes nearer does
        small, large = rng.uniform(0.2, 0.3), rng.uniform(0.75, 1.0)
        return np.stack([x + zero, y + zero, small * (large / small) ** t, turn + zero], axis=1)
    angle = rng.uniform(0.75, 1.25) * np.pi  # turning clockwise, half a turn or so
    return np.stack([x + zero, y + zero, rng.uniform(0.6, 0.85) + zero, turn + angle * t], axis=1)


def place(sprite: np.ndarray, pose: np.ndarray, width: int, height: int) -> np.ndarray:
    """The sprite's opacity in the frame, float32 [H, W, 1]; ``pose`` as of ``choose_motion``."""
    import cv2

    x, y, side, turn = pose
    short, middle = min(width, height), SPRITE_PX / 2
    scale = side * short / (SPRITE_PX * 0.75)  # the outline fills three quarters of its picture
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    cx, cy = width / 2 + x * short, height / 2 + y * short
    matrix = np.array([[a, -b, cx - (a - b) * middle], [b, a, cy - (a + b) * middle]])
    return cv2.warpAffine(sprite, matrix, (width, height), flags=cv2.INTER_LINEAR)[..., None]


def draw_scene(
    rng: np.random.Generator, ground: np.ndarray, width: int, height: int, variety: int, digits: np.ndarray
) -> np.ndarray:
    """What stays at rest behind the shape: float32 [H, W, 3] in 0..255, with a little grain."""
    scene = ground + rng.normal(0.0, 2.0, (height, width, 1))
    if variety:
        across, down = np.linspace(-1, 1, width)[None, :, None], np.linspace(-1, 1, height)[:, None, None]
        scene = scene + rng.uniform(-15, 15) * across + rng.uniform(-15, 15) * down
        for _ in range(rng.integers(variety + 1)):
            pose = np.array([*rng.uniform(-0.5, 0.5, 2), rng.uniform(0.1, 0.3), rng.uniform(0, 2 * np.pi)])
            opacity = 0.5 * place(draw_sprite(rng, digits), pose, width, height)
            scene = scene + opacity * (np.array(FOREGROUNDS[rng.integers(len(FOREGROUNDS))]) - scene)
    return np.clip(scene, 0, 255).astype(np.float32)


def render(clip: Clip, style: Style, digits: np.ndarray) -> tuple[np.ndarray, int]:
    """Frames uint8 [T, H, W, 3] RGB and frames per second.  A twin has the same frames in reverse order."""
    rng = rng_of(style.seed, clip)
    width, height = choose_frame(rng, style.short_px)
    num_frames, fps = (int(values[rng.integers(len(values))]) for values in (LENGTHS, FRAME_RATES))
    ground, colour = choose_colours(rng)
    sprite = draw_sprite(rng, digits)
    poses = choose_motion(clip.pair, num_frames, rng)
    scene = draw_scene(rng, ground, width, height, style.variety, digits)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for index, pose in enumerate(poses):
        frames[index] = np.round(scene + place(sprite, pose, width, height) * (colour - scene))
    return (frames[::-1] if clip.backwards else frames), fps


def make_clip(clip: Clip, out: Path, style: Style, digits: dict[str, np.ndarray]) -> None:
    """Render one clip into its file."""
    import cv2

    cv2.setNumThreads(0)  # the processes share the cores already
    write_video(out / clip.path, *render(clip, style, digits[clip.split]), each_frame_alone(QUANTISER))


def contact_sheet(style: Style, digits: np.ndarray, side_px: int = 96) -> np.ndarray:
    """Eight frames of one clip per class, a row each, time running to the right: uint8 [H, W, 3] RGB."""
    import cv2

    rows = []
    for label in range(len(LABELS)):
        frames, _ = render(Clip("train", label // 2, label, bool(label % 2)), style, digits)
        height, width = frames.shape[1:3]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        chosen = frames[len(frames) // 16 :: len(frames) // 8][:8, top : top + short, left : left + short]
        tiles = [
            np.pad(cv2.resize(f, (side_px, side_px)), ((2, 2), (2, 2), (0, 0)), constant_values=255) for f in chosen
        ]
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


def card(counts: dict[str, int], style: Style) -> str:
    """The data set's README."""
    lines = [
        "# Motion clips",
        "",
        "Rendered by `demo/motion.py`; no camera, no people.  The digits are those that scikit-learn bundles",
        "(UCI Optical Recognition of Handwritten Digits).",
        "",
        "| set | clips | list |",
        "|---|---|---|",
        *(f"| {split} | {count} | `{split}.list` |" for split, count in counts.items()),
        "",
        f"Seed {style.seed}, variety {style.variety}; shorter side {style.short_px[0]} to {style.short_px[1]} pixels; "
        f"{', '.join(map(str, LENGTHS))} frames at {FRAME_RATES[0]} to {FRAME_RATES[-1]} frames per second; "
        "H.264 in MP4, all frames intra-coded.",
        "",
        f"Classes, in the order of `labels.txt`: {', '.join(LABELS)}.",
        "",
        "Every clip has a twin in the same set: the same frames backwards, under the other label of its pair.  A model",
        "without temporal modelling gives both the same answer, and so is right at most half of the time.",
        "",
    ]
    return "\n".join(lines)


def make_dataset(out: Path, counts: dict[str, int], style: Style, jobs: int) -> None:
    """Render the clips of all splits with ``jobs`` processes, then write the lists, which so name only what is there.

    Raises:
        UserError: a count that the classes cannot share, a frame size that is none, scikit-learn or the encoder
            missing, a folder that cannot be written to.
    """
    import cv2

    if not 16 <= style.short_px[0] <= style.short_px[1]:
        raise UserError(
            f"--size {style.short_px[0]} {style.short_px[1]}: expected MIN and MAX in pixels, 16 <= MIN <= MAX"
        )
    if style.variety < 0 or jobs < 1:
        raise UserError(f"--variety {style.variety} --jobs {jobs}: expected 0 or more, and 1 or more")
    require_encoder()
    clips = {split: plan(split, counts[split]) for split in SPLITS}
    images = load_digits()
    # the sets share no digit: the test set shows handwriting that training has not seen
    digits = {"train": images[:1200], "val": images[1200:1400], "test": images[1400:]}
    task = partial(make_clip, out=out, style=style, digits=digits)
    everything = [clip for split in SPLITS for clip in clips[split]]
    try:
        out.mkdir(parents=True, exist_ok=True)
        if jobs == 1:
            for clip in everything:
                task(clip)
        else:  # spawned, as a fork copies whatever threads the caller has in whatever state they are
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                list(pool.map(task, everything, chunksize=16))
    except OSError as error:
        raise UserError(f"{out}: cannot write the clips: {error}") from error
    files = {f"{split}.list": "".join(f"{c.path} {c.label}\n" for c in clips[split]).encode() for split in SPLITS}
    files["labels.txt"] = "".join(f"{name}\n" for name in LABELS).encode()
    files["README.md"] = card(counts, style).encode()
    files["contact_sheet.png"] = cv2.imencode(".png", contact_sheet(style, digits["train"])[..., ::-1])[1].tobytes()
    for name, content in files.items():
        write_atomic(out / name, content)


def main(argv: list[str] | None = None) -> int:
    """Renders; 0 if all clips and lists are written."""
    parser = argparse.ArgumentParser(description="Render the demo data set: moving shapes and hand-written digits.")
    add = parser.add_argument
    add("--out", type=Path, default=Path("demo/motion"), help="folder to write (%(default)s)")
    for split, count in zip(SPLITS, (640, 128, 128)):
        add(f"--{split}", type=int, default=count, metavar="N", help=f"clips in the {split} set (%(default)s)")
    add("--size", type=int, nargs=2, default=(80, 128), metavar=("MIN", "MAX"), help="shorter side, pixels (80 128)")
    add("--variety", type=int, default=0, metavar="N", help="up to N shapes at rest behind, and shading (%(default)s)")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    args = parser.parse_args(argv)
    counts = {split: getattr(args, split) for split in SPLITS}
    make_dataset(args.out, counts, Style(args.seed, tuple(args.size), args.variety), args.jobs)
    print(f"{sum(counts.values())} clips in {args.out}: {', '.join(f'{n} {s}' for s, n in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
