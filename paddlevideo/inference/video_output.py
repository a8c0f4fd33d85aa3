"""The results of action detection in a video: the video with boxes and labels, a csv and a JSON file."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.ava_files import whole_second
from paddlevideo.boxes import to_pixels
from paddlevideo.drawing import NUM_COLOURS, Marked, mark
from paddlevideo.errors import UserError
from paddlevideo.inference.person_actions import Person, VideoActions, usual_distance_s
from paddlevideo.inference.tracking import colours_of, free_colour, longest_gap_s
from paddlevideo.loader.decode import FrameReader
from paddlevideo.loader.pipelines.ava_sampling import frames_at
from paddlevideo.safe_io import write_atomic
from paddlevideo.spans import Span, SpanTable
from paddlevideo.video_files import write_video

_SLACK_S = 1e-3
_MOST_FPS = 30.0  # of an output video, unless a rate is given


def write_annotated_video(
    path: str | Path,
    result: VideoActions,
    threshold: float = 0.5,
    top_k: int = 3,
    step: int | None = None,
    fps: float | None = None,
) -> str:
    """Writes the video with the persons, their track ids and their best actions.

    Args:
        path: ends in .mp4, .mov, .mkv or .avi.
        result: with its ``reader``.
        threshold: least score of an action that is named.
        top_k: actions per person.
        step, fps: see ``shown_frames``.

    Returns:
        A line on what was written.

    Raises:
        UserError: the file cannot be written.
    """
    output = OutputVideo(path, threshold, top_k, step, fps)
    indices, fps = shown_frames(result.reader, step, fps)
    count = write_video(path, drawn_frames(result, indices, threshold, top_k), fps)
    return output.account(count, result.times_s[indices], fps)


@dataclass(frozen=True)
class OutputVideo:
    """An output video that is written while a video is read; the arguments are those of ``write_annotated_video``."""

    path: str | Path
    threshold: float = 0.5
    top_k: int = 3
    step: int | None = None
    fps: float | None = None

    def plan(self, reader: FrameReader) -> OutputPlan:
        """Its frames."""
        return OutputPlan(self, *shown_frames(reader, self.step, self.fps))

    def account(self, count: int, times_s: np.ndarray, fps: float) -> str:
        """A line on what was written: ``count`` frames, which are at ``times_s`` of the video."""
        speed = float(times_s[-1] - times_s[0]) * fps / (count - 1) if count > 1 else 1.0
        return f"output video: {self.path}, {count} frames at {fps:.4g} fps, {speed:.2g} times real time"


@dataclass(frozen=True, eq=False)
class OutputPlan:
    """The frames of an output video, and what is drawn into them.

    Args:
        indices: int64 [frames], ascending; repeated ones are shown again.
        fps: of the output video.
    """

    output: OutputVideo
    indices: np.ndarray
    fps: float
    colours: dict[int, int] = field(default_factory=dict)

    def needs(self, times_s: np.ndarray, detected_s: np.ndarray, key_times_s: np.ndarray) -> tuple[np.ndarray, ...]:
        """For each frame: so many frames with detections, and so many key frames, settle what is drawn into it.

        A box moves to the next detection of the person if that is near enough; a person's colour depends on whether
        those before are still tracked, which the two detections after that decide; actions are those of the nearest
        key frame.

        Args:
            times_s: of every frame of the video.
            detected_s, key_times_s: of all frames with detections and of all key frames.
        """
        now = times_s[self.indices]
        after = np.searchsorted(detected_s, now + longest_gap_s(usual_distance_s(detected_s)), side="right")
        near = np.searchsorted(key_times_s, now + 1.5 * usual_distance_s(key_times_s) + _SLACK_S, side="right")
        return np.minimum(after + 2, len(detected_s)), near

    def marks(
        self, result: VideoActions, indices: np.ndarray, first_s: Mapping[int, float], last_s: Mapping[int, float]
    ) -> list[list[Marked]]:
        """What is drawn into some frames, for ``draw``.

        Args:
            result: with the tracks around the frames, and the actions of the key frames around.
            first_s, last_s: of each person's first and last detection so far; persons count from 0 in that order.
        """
        end_s = float(result.times_s[indices[-1]]) + longest_gap_s(result.detected_every_s)
        while (person := len(self.colours)) in first_s and first_s[person] <= end_s:
            self.colours[person] = free_colour(person, first_s[person], self.colours, last_s, NUM_COLOURS)
        shown = (self.output.threshold, self.output.top_k, self.colours)
        return [marked_persons(result, int(index), *shown) for index in indices]

    def draw(self, frame: np.ndarray, pixel_aspect: float, marks: Sequence[Marked]) -> np.ndarray:
        """uint8 [H, W, 3] with its persons."""
        return drawn(frame, pixel_aspect, marks)

    def write(self, frames: Iterator[np.ndarray]) -> int:
        """Writes the file, whole or not at all; gives the number of frames."""
        return write_video(self.output.path, frames, self.fps)

    def account(self, count: int, times_s: np.ndarray) -> str:
        """A line on what was written; ``times_s`` of every frame of the video."""
        return self.output.account(count, times_s[self.indices], self.fps)


def drawn_frames(
    result: VideoActions, indices: Sequence[int] | np.ndarray, threshold: float, top_k: int
) -> Iterator[np.ndarray]:
    """Frames with the persons, their track ids and their best actions: uint8 [H, W, 3] RGB.

    Args:
        indices: which frames, ascending; repeated ones are given again.
        threshold: least score of an action that is named.
        top_k: actions per person.
    """
    colours = colours_of(result.tracks, NUM_COLOURS)
    for index in indices:
        (frame,) = result.reader.get([int(index)])
        persons = marked_persons(result, int(index), threshold, top_k, colours)
        yield drawn(frame, result.reader.pixel_aspect, persons)


def drawn(frame: np.ndarray, pixel_aspect: float, persons: Sequence[Marked]) -> np.ndarray:
    """uint8 [H, W, 3] as players show it, with persons, whose boxes are in pixels of the video."""
    frame, stretch = as_shown(frame, pixel_aspect)
    return mark(frame, [replace(one, box_px=one.box_px * [stretch, 1, stretch, 1]) for one in persons])


def as_shown(frame: np.ndarray, pixel_aspect: float) -> tuple[np.ndarray, float]:
    """uint8 [H, W, 3] with square pixels, as players show it, and by how much it became wider."""
    import cv2

    if abs(pixel_aspect - 1) <= 0.01:
        return frame, 1.0
    width = max(1, round(frame.shape[1] * pixel_aspect))
    return cv2.resize(np.ascontiguousarray(frame), (width, frame.shape[0])), width / frame.shape[1]


def shown_frames(reader: FrameReader, step: int | None, fps: float | None) -> tuple[np.ndarray, float]:
    """Which frames an output video shows, and how many of them per second.

    Without ``step`` it plays at the speed of the video, whatever its rate and even if that varies: it shows the frame
    that is nearest in time.

    Args:
        step: every so many frames; None: by time.
        fps: of the output video; None: the video's, of which every ``step``-th is shown.
    """
    times = reader.times()
    length = float(times[-1] - times[0])
    own = (len(times) - 1) / length if length > 0 else 1.0
    usual = 1 / max(float(np.median(np.diff(times))), 1e-3) if len(times) > 1 else own
    own = usual if usual > 1.1 * own else own  # a rate that varies: no frame of the quick parts is left out
    if step is not None:
        return np.arange(0, len(times), step), own / step if fps is None else fps
    fps = min(own, _MOST_FPS) if fps is None else fps
    if length <= 0:
        return np.zeros(1, np.int64), fps
    wanted = np.arange(round(length * fps) + 1) / fps
    return np.minimum(frames_at(reader, times[0] + wanted), len(times) - 1), fps


def marked_persons(
    result: VideoActions, frame_index: int, threshold: float, top_k: int, colours: Mapping[int, int]
) -> list[Marked]:
    """The persons of one frame as they are drawn, in pixels of the video."""
    height, width = result.size
    marked = []
    for number, box, person in persons_at(result, frame_index):
        actions = result.actions(person, threshold, top_k) if person else []
        lines = [f"{name} {score:.2f}" for _, name, score in actions]
        lines = [f"{number}: {lines[0]}", *lines[1:]] if lines else [f"{number}"]
        marked.append(Marked(colours[number], to_pixels(box, width, height), lines))
    return marked


def persons_at(result: VideoActions, frame_index: int) -> Iterator[tuple[int, np.ndarray, Person | None]]:
    """The persons of a frame: track id, box there (float [4] fractions of the picture), the person at a key frame.

    Boxes follow the track, see ``Track.at``.  The person, hence the actions, are those of the nearest key frame at
    which they were found; None if that is further away than one and a half of the key frames' usual distance.
    """
    now = float(result.times_s[frame_index])
    times, most_s = result.key_times_s, 1.5 * result.key_every_s + _SLACK_S
    first, end = np.searchsorted(times, [now - most_s - _SLACK_S, now + most_s + _SLACK_S])
    near = first + np.flatnonzero(np.abs(times[first:end] - now) <= most_s)
    persons: dict[int, Person] = {}
    for i in near[np.argsort(-np.abs(times[near] - now), kind="stable")]:  # the nearest last
        persons.update({person.track_id: person for person in result.key_frames[i].persons})
    for number, track in result.tracks.items():
        box = track.at(now, result.detected_every_s)
        if box is not None:
            yield number, box, persons.get(number)


def write_csv(path: str | Path, results: Sequence[VideoActions]) -> None:
    """AVA's result format with the person's track id as a ninth field.

    A line is ``video_id,second,x1,y1,x2,y2,action_id,score,person_id``: boxes as fractions and scores with three
    decimals, as the results of ``--test`` have them; every action with a score above the model's ``action_thr``.

    Raises:
        UserError: the video's name holds a comma, a quote or a line end; the file cannot be written.
    """
    lines: list[str] = []
    for result in results:
        if set(result.video_id) & set(',"\r\n'):
            raise UserError(
                f"{path}: the video id {result.video_id!r} holds a comma, a quote or a line end; use --video-id"
            )
        lines += _csv_lines(result)
    write_atomic(path, "".join(lines))


def _csv_lines(result: VideoActions) -> Iterator[str]:
    settings = result.settings
    for key_frame in result.key_frames:
        second = whole_second(round(key_frame.moment.timestamp_s, 3))
        for person in key_frame.persons:
            box = ",".join(f"{x:.3f}" for x in person.box_norm)
            for k in range(1, len(settings.names)):
                if person.scores[k] > settings.action_thr:
                    action, score = settings.class_ids[k], person.scores[k]
                    yield f"{result.video_id},{second},{box},{action},{score:.3f},{person.track_id}\n"


def write_json(path: str | Path, results: Sequence[VideoActions], threshold: float) -> None:
    """A list of key frames: ``{video, time_s, frame_index, persons: [{id, box_px, box_norm, score, actions: [{id,
    label, score}]}]}``; ``time_s`` counts from the first frame, boxes are x1, y1, x2, y2, actions those from
    ``threshold`` on.

    Raises:
        UserError: the file cannot be written.
    """
    records = [
        {
            "video": result.path,
            "time_s": round(key_frame.moment.time_s, 6),
            "frame_index": key_frame.moment.frame_index,
            "persons": [
                {
                    "id": person.track_id,
                    "box_px": [round(float(x), 2) for x in person.box_px],
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
        for result in results
        for key_frame in result.key_frames
    ]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    # bytes of a name that are no UTF-8 become JSON's own escapes
    write_atomic(path, f"[\n{lines}\n]\n".encode("utf-8", "backslashreplace"))


def spans_of_videos(results: Sequence[VideoActions], **rule: Any) -> SpanTable:
    """The spans of several videos in one table; see ``VideoActions.spans``.

    The settings of the table are the first video's; ``window_s`` and ``hop_s`` of others follow their key frames.
    """
    tables = [result.spans(**rule) for result in results]
    spans = [span for table in tables for span in table.spans]
    facts = {name: facts for table in tables for name, facts in table.videos.items()}
    return replace(tables[0], spans=spans, videos=facts)


def write_people(path: str | Path, results: Sequence[VideoActions], table: SpanTable) -> None:
    """A table of all boxes of the tracks: ``video,time_s,x1,y1,x2,y2,actions,person``.

    Boxes are fractions of the picture; ``actions`` are the labels of the person's spans then, parted by ``;``.

    Args:
        table: the spans.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "time_s", "x1", "y1", "x2", "y2", "actions", "person"))
    spans: dict[tuple[str | None, str | None], list[Span]] = defaultdict(list)
    for span in table.spans:
        spans[span.video, span.person].append(span)
    for result in results:
        name, rows = result.path, []
        for person, track in result.tracks.items():
            own = spans[name, str(person)]
            for time_s, box in zip(track.times_s.tolist(), track.boxes.tolist()):
                labels = [span.label for span in own if span.start_s <= time_s < span.end_s]
                rows.append((name, f"{time_s:.3f}", *(f"{x:.5f}" for x in box), ";".join(labels), person))
        writer.writerows(sorted(rows, key=lambda row: (float(row[1]), row[-1])))
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
