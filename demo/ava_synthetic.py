"""Render the demo data set of action detection: videos of several actors with boxes and actions in AVA's formats.

    python -m demo.ava_synthetic --out demo/ava --train 192 --val 12 --test 24 --seed 0
    python -m demo.ava_synthetic --out demo/ava_long --long --train 128 --val 8 --test 32

Every person has a pose (walk left or right, jump, spin, stand, and the rare crouch and wave) and may do something with
the other one on their lane: approach, flee, follow, hold a thing together.  No single picture separates walk_left from
walk_right or approach from flee: every video has a twin in the same set that plays its frames backwards, each coded by
itself at one quantiser, so that a key frame of the one is, bit for bit, a key frame of the other under other labels.

With --long come actions that only earlier ones decide, up to half a minute before: whether the ball that someone
carries was taken from another or their own (seen at the pick-up), and whether they came back to the place that they had
marked.  Four videos share their pictures from second 12 on, and differ in what happened before.

Written to --out: <split>.csv, <split>_excluded.csv, <split>_proposals.pkl (an imitated detector's boxes), labels.pbtxt,
videos/, frames/ (with --frames), contact_sheet.png and README.md with the counts and the mAP of chance.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from demo.stage.actors import LONG_CONTEXT, MIN_LONG_S
from demo.stage.annotation import (
    SPLITS,
    Counts,
    KeyFrames,
    Settings,
    Video,
    annotate,
    count,
    frames_of,
    make_scene,
    proposals_of,
    rows_of,
)
from demo.stage.drawing import draw
from paddlevideo.ava_files import labels_text, write_ava_csv, write_proposals
from paddlevideo.cli.command import run_command
from paddlevideo.errors import UserError
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.safe_io import write_atomic
from paddlevideo.video_files import each_frame_alone, require_encoder, write_video

FRAME_NAME = "img_{:05}.jpg"
QUANTISER = 24


def plan(split: str, num_videos: int, settings: Settings) -> list[Video]:
    """The videos of one split, those of one scene side by side.

    Raises:
        UserError: ``num_videos`` does not fill the scenes.
    """
    if num_videos < 0 or num_videos % settings.siblings:
        raise UserError(f"--{split} {num_videos}: expected a multiple of {settings.siblings}, the videos of one scene")
    return [
        Video(split, number, k) for number in range(num_videos // settings.siblings) for k in range(settings.siblings)
    ]


def make_video(video: Video, out: Path, settings: Settings, with_frames: bool) -> KeyFrames:
    """Renders one video, and its frames as pictures with ``frames``; returns its annotation."""
    scene, room, backwards = make_scene(settings, video)
    name = video.name(settings)
    frames = frames_of(settings, scene, room, backwards)
    write_video(out / "videos" / f"{name}.mp4", frames, settings.fps, each_frame_alone(QUANTISER))
    if with_frames:
        import cv2

        folder = out / "frames" / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames_of(settings, scene, room, backwards), 1):
            cv2.imwrite(str(folder / FRAME_NAME.format(number)), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return annotate(settings, video)


def contact_sheet(settings: Settings, videos: Sequence[Video], parts: Sequence[KeyFrames]) -> np.ndarray:
    """A row per class: eight moments around a key frame, the actor's box drawn in; uint8 [H, W, 3] RGB."""
    import cv2

    width, height = settings.size_px
    rows = []
    for label in settings.labels:
        found = next(
            (
                (video, second, boxes[person])
                for video, part in zip(videos, parts)
                for second, (boxes, people) in enumerate(zip(part.boxes, part.labels), 1)
                for person, names in enumerate(people)
                if label in names
            ),
            None,
        )
        tiles = [np.full((height, 118, 3), 255, np.uint8)]
        cv2.putText(tiles[0], label, (2, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.34, (0, 0, 0), 1, cv2.LINE_AA)
        for step in range(8):
            if found is None:
                tiles.append(np.full((height, width, 3), 255, np.uint8))
                continue
            video, second, box = found
            scene, room, backwards = make_scene(settings, video)
            time_s = second + (step - 4) / 4
            picture = draw(scene, room, settings.length_s - time_s if backwards else time_s)
            if step == 4:
                corners = np.round(box * np.array([width, height, width, height])).astype(int).tolist()
                cv2.rectangle(picture, tuple(corners[:2]), tuple(corners[2:]), (255, 255, 0), 1)
            tiles.append(picture)
        rows.append(np.concatenate([np.pad(t, ((1, 1), (1, 1), (0, 0)), constant_values=255) for t in tiles], axis=1))
    return np.concatenate(rows)


def card(counts: dict[str, Counts], settings: Settings) -> str:
    """The data set's README."""
    width, height = settings.size_px
    lines = [
        "# Synthetic AVA" + (", long context" if settings.long else ""),
        "",
        "Rendered by `demo/ava_synthetic.py`; no camera, no people.",
        "",
        "| set | videos | key frames | people | chance mAP |",
        "|---|---|---|---|---|",
        *(
            f"| {split} | {c.videos} | {c.key_frames} | {c.people} | {100 * c.chance():.2f} |"
            for split, c in counts.items()
        ),
        "",
        f"Seed {settings.seed}; {width} x {height} pixels, {settings.length_s} s at {settings.fps} frames per second, "
        f"the first frame is second {settings.timestamp_start}; key frames once a second; H.264, all frames "
        "intra-coded.",
        "",
        "Chance is the mean share of people that have a label: the mAP of scores that do not depend on the picture.",
        "",
        "| id | class | train | val | test | share of test |",
        "|---|---|---|---|---|---|",
    ]
    for number, name in enumerate(settings.labels, 1):
        found = [counts[split].by_label.get(name, 0) for split in SPLITS]
        share = 100 * found[2] / counts["test"].people if counts["test"].people else 0.0
        lines.append(f"| {number} | {name} | {' | '.join(map(str, found))} | {share:.2f} % |")
    lines += ["", *(LONG_NOTE if settings.long else SHORT_NOTE), ""]
    return "\n".join(lines)


SHORT_NOTE = (
    "Every video has a twin in the same set, its frames backwards: walk_left is then walk_right, approach is flee.  A",
    "model without temporal modelling gives both the same answer.  approach, flee, follow and hold_together depend",
    "on another actor; crouch and wave are rare.",
)
LONG_NOTE = (
    "Four videos share their pictures from second 12 on.  " + ", ".join(LONG_CONTEXT) + " come in pairs that a",
    "clip cannot separate there: of who carries a ball, or stands on their mat, half are of either, so that a model",
    "without memory reaches an AP of about one half on these.  What decides lies within 30 seconds: take, mark_place.",
)


def make_dataset(out: Path, counts: dict[str, int], settings: Settings, jobs: int, with_frames: bool = False) -> str:
    """Renders all splits, then writes the annotation, which so names only what is there; returns the data card.

    Raises:
        UserError: a count that does not fill the scenes, a size or length that cannot be, the encoder missing, a folder
            that cannot be written to.
    """
    import cv2

    _check(settings, jobs)
    require_encoder()
    videos = {split: plan(split, counts[split], settings) for split in SPLITS}
    everything = [video for split in SPLITS for video in videos[split]]
    parts: dict[Video, KeyFrames] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        task = partial(make_video, out=out, settings=settings, with_frames=with_frames)
        for index, result in run_tasks(task, everything, jobs, "videos"):
            if isinstance(result, Crashed):
                raise UserError(f"{everything[index].name(settings)}: not rendered; {result.detail}")
            parts[everything[index]] = result
    except OSError as error:
        raise UserError(f"{out}: cannot write the videos: {error}") from error
    for split in SPLITS:
        found = [parts[video] for video in videos[split]]
        write_ava_csv(out / f"{split}.csv", rows_of(f"{split}.csv", found, settings.labels))
        excluded = "".join(f"{part.video},{second:04d}\n" for part in found for second in part.excluded)
        write_atomic(out / f"{split}_excluded.csv", excluded)
        write_proposals(out / f"{split}_proposals.pkl", proposals_of(found))
    text = card({split: count([parts[video] for video in videos[split]]) for split in SPLITS}, settings)
    write_atomic(out / "labels.pbtxt", labels_text(settings.labels))
    write_atomic(out / "README.md", text)
    shown = next((videos[split] for split in SPLITS if videos[split]), [])
    sheet = contact_sheet(settings, shown, [parts[video] for video in shown])
    write_atomic(out / "contact_sheet.png", cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return text


def _check(settings: Settings, jobs: int) -> None:
    width, height = settings.size_px
    if width % 2 or height % 2 or height < 48 or width < 1.2 * height or width > 4 * height:
        raise UserError(f"--size {width} {height}: expected even numbers, HEIGHT >= 48, WIDTH 1.2 to 4 times HEIGHT")
    least = MIN_LONG_S if settings.long else 2
    if not least <= settings.length_s <= 600:
        raise UserError(
            f"--length {settings.length_s}: expected {least} to 600 seconds" + " with --long" * settings.long
        )
    if jobs < 1 or settings.fps < 1 or settings.timestamp_start < 0:
        raise UserError(
            f"--jobs {jobs} --fps {settings.fps} --timestamp_start {settings.timestamp_start}: expected 1 or more, 1 "
            "or more, and 0 or more"
        )


def main(argv: list[str] | None = None) -> int:
    """Renders; 0 if all videos and files are written."""
    parser = argparse.ArgumentParser(description="Render the demo data set of action detection, in AVA's formats.")
    add = parser.add_argument
    add("--out", type=Path, help="folder to write (demo/ava, or demo/ava_long)")
    add("--long", action="store_true", help="actions that only earlier ones decide, up to half a minute before")
    for split, number in zip(SPLITS, (192, 12, 24)):
        add(f"--{split}", type=int, default=number, metavar="N", help=f"videos in the {split} set (%(default)s)")
    add("--size", type=int, nargs=2, default=(128, 96), metavar=("WIDTH", "HEIGHT"), help="pixels (128 96)")
    add("--length", type=int, metavar="S", help="seconds per video (16, or 40 with --long)")
    add("--fps", type=int, default=30, help="frames per second (%(default)s)")
    add("--timestamp_start", type=int, default=900, metavar="S", help="second of the first frame (%(default)s, AVA's)")
    add("--frames", action="store_true", help=f"write frame folders too, {FRAME_NAME} from 1")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    args = parser.parse_args(argv)
    out = args.out or Path("demo/ava_long" if args.long else "demo/ava")
    length = args.length or (40 if args.long else 16)
    settings = Settings(args.seed, tuple(args.size), length, args.fps, args.timestamp_start, args.long)
    counts = {split: getattr(args, split) for split in SPLITS}
    print(make_dataset(out, counts, settings, args.jobs, args.frames))
    print(f"{sum(counts.values())} videos in {out}: {', '.join(f'{n} {s}' for s, n in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
