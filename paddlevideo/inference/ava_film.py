"""The results of a video as a film, a csv and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from paddlevideo.ava_files import whole_second
from paddlevideo.errors import UserError
from paddlevideo.inference.ava_clips import ForwardReader
from paddlevideo.inference.ava_predictor import Person, VideoActions
from paddlevideo.inference.render import Marked, mark
from paddlevideo.safe_io import write_atomic

_LONE_S = 0.5  # how far from a single key frame its people are drawn
_SLACK_S = 1e-3


def drawn_frames(
    result: VideoActions, reader: ForwardReader, step: int, threshold: float, top_k: int
) -> Iterator[np.ndarray]:
    """Every ``step``-th frame with the people, their ids and their best actions: uint8 [H, W, 3] RGB.

    Args:
        threshold: least score of an action that is named.
        top_k: actions per person.
    """
    for index in range(0, len(reader), step):
        (frame,) = reader.get([index])
        frame, stretch = as_shown(frame, reader.pixel_aspect)
        people = marked_people(result, index, threshold, top_k)
        yield mark(frame, [replace(one, box_px=one.box_px * [stretch, 1, stretch, 1]) for one in people])


def as_shown(frame: np.ndarray, pixel_aspect: float) -> tuple[np.ndarray, float]:
    """uint8 [H, W, 3] with square pixels, as players show it, and by how much it became wider."""
    import cv2

    if abs(pixel_aspect - 1) <= 0.01:
        return frame, 1.0
    width = max(1, round(frame.shape[1] * pixel_aspect))
    return cv2.resize(np.ascontiguousarray(frame), (width, frame.shape[0])), width / frame.shape[1]


def marked_people(result: VideoActions, frame_index: int, threshold: float, top_k: int) -> list[Marked]:
    """What is drawn on one frame, in pixels of the video."""
    height, width = result.size
    marked = []
    for person, box in moved_people(result, frame_index):
        lines = [f"{name} {score:.2f}" for _, name, score in result.actions(person, threshold, top_k)]
        lines = [f"{person.id}: {lines[0]}", *lines[1:]] if lines else [f"{person.id}"]
        marked.append(Marked(person.id, box * [width, height, width, height], lines))
    return marked


def moved_people(result: VideoActions, frame_index: int) -> Iterator[tuple[Person, np.ndarray]]:
    """The people of any frame: each with their box there, float [4] fractions of the picture.

    Between two key frames a box moves straight from the one to the other, and the person, hence the actions, are those
    of the nearer one.  Who is at one of the two only is there for half of the way, as are all before the first and
    behind the last key frame.  Where key frames are missing (more than one and a half of their usual distance), nobody
    is drawn further than half of that distance away.
    """
    frames = result.key_frames
    if not frames:
        return
    times, now = np.array([k.moment.time_s for k in frames]), float(result.times_s[frame_index])
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 2 * _LONE_S
    after = int(np.searchsorted(times, now, side="right"))
    before = after - 1
    if before >= 0 and after < len(frames) and times[after] - times[before] <= 1.5 * usual:
        share = (now - times[before]) / (times[after] - times[before])
        pairs = ({p.id: p for p in frames[before].persons}, {p.id: p for p in frames[after].persons})
        nearer = pairs[int(share >= 0.5)]
        for person in nearer.values():
            ends = [pair.get(person.id, person).box_norm for pair in pairs]
            yield person, ends[0] * (1 - share) + ends[1] * share
        return
    reach = usual / 2 + _SLACK_S
    near = [i for i in (before, after) if 0 <= i < len(frames) and abs(times[i] - now) <= reach]
    for i in sorted(near, key=lambda i: abs(times[i] - now))[:1]:
        for person in frames[i].persons:
            yield person, person.box_norm


def write_csv(path: str | Path, result: VideoActions) -> None:
    """AVA's result format with the person's id as a ninth field.

    A line is ``video_id,second,x1,y1,x2,y2,action_id,score,person_id``: boxes as fractions and scores with three
    decimals, as the results of ``--test`` have them; every action whose score is above the model's ``action_thr``.

    Raises:
        UserError: the video's name holds a comma, a quote or a line end; the file cannot be written.
    """
    if set(result.video_id) & set(',"\r\n'):
        raise UserError(
            f"{path}: the video id {result.video_id!r} holds a comma, a quote or a line end; use --video-id"
        )
    settings, lines = result.settings, []
    for key_frame in result.key_frames:
        second = whole_second(round(key_frame.moment.timestamp_s, 3))
        for person in key_frame.persons:
            box = ",".join(f"{x:.3f}" for x in person.box_norm)
            for k in range(1, len(settings.names)):
                if person.scores[k] > settings.action_thr:
                    action, score = settings.class_ids[k], person.scores[k]
                    lines.append(f"{result.video_id},{second},{box},{action},{score:.3f},{person.id}\n")
    write_atomic(path, "".join(lines))


def write_json(path: str | Path, result: VideoActions, threshold: float) -> None:
    """A list of key frames: ``{time_s, frame_index, persons: [{id, box_px, box_norm, score, actions: [{id, label,
    score}]}]}``; ``time_s`` counts from the first frame, boxes are x1, y1, x2, y2, actions those from ``threshold`` on.

    Raises:
        UserError: the file cannot be written.
    """
    height, width = result.size
    records = [
        {
            "time_s": round(key_frame.moment.time_s, 6),
            "frame_index": key_frame.moment.frame_index,
            "persons": [
                {
                    "id": person.id,
                    "box_px": [round(float(x), 2) for x in person.box_norm * [width, height, width, height]],
                    "box_norm": [round(float(x), 6) for x in person.box_norm],
                    "score": float(person.score),
                    "actions": [
                        {"id": action, "label": name, "score": score}
                        for action, name, score in result.actions(person, threshold)
                    ],
                }
                for person in key_frame.persons
            ],
        }
        for key_frame in result.key_frames
    ]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    write_atomic(path, f"[\n{lines}\n]\n")
