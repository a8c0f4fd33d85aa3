"""The persons of a video and their tracks, by a person detector alone: no model of actions is needed.

found = track_persons("clip.mp4", open_detector("yolo.onnx"))
for person, track in found.tracks.items(): track.times_s, track.boxes
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.frame_pass import DetectPersons, LinkPersons, run_pass
from paddlevideo.inference.key_frames import moments_by_time, open_forward
from paddlevideo.inference.person_detectors import PersonDetector
from paddlevideo.inference.runtimes.base import Say, to_stderr
from paddlevideo.inference.tracking import MAX_GAP_S, Track, longest_gap_s, tracks_of
from paddlevideo.inference.video_stage import open_stage
from paddlevideo.safe_io import write_atomic

COLUMNS = ("video", "time_s", "x1", "y1", "x2", "y2", "actions", "person", "units")


@dataclass(frozen=True)
class TrackedPersons:
    """The persons of one video.

    Attributes:
        path: of the video.
        tracks: person id -> detections; boxes are fractions of the picture.
        every_s: seconds between two frames in which persons were detected.
        num_frames: so many frames.
    """

    path: str
    tracks: dict[int, Track]
    every_s: float
    num_frames: int

    def key_frames(self, every_s: float) -> Iterator[tuple[float, int, np.ndarray]]:
        """Second, person and box float [4] of each person's first and last detection and of every multiple of
        ``every_s`` between them; in order of person and time."""
        for person, track in sorted(self.tracks.items()):
            first_s, last_s = float(track.times_s[0]), float(track.times_s[-1])
            between = range(math.floor(first_s / every_s) + 1, math.ceil(last_s / every_s))
            for time_s in sorted({first_s, *(number * every_s for number in between), last_s}):
                box = track.at(time_s, self.every_s)
                if box is not None:
                    yield time_s, person, box


def track_persons(
    video: str | Path,
    persons: PersonDetector,
    every_s: float = 0.2,
    max_gap_s: float = MAX_GAP_S,
    say: Say = to_stderr,
    on_second: Callable[[float], None] = lambda time_s: None,
) -> TrackedPersons:
    """Detects persons in a video and joins the boxes of each over time.

    Args:
        every_s: seconds from detection to detection.
        max_gap_s: a person may be missed for so long and keeps the id.
        on_second: called with the second of each frame in which persons were detected.

    Raises:
        VideoReadError: the video cannot be read.
        UserError: ``every_s`` is too long for tracks, or the detector fails.
    """
    if not 0 < every_s <= longest_gap_s(0):
        raise UserError(f"persons are tracked by detections at most {longest_gap_s(0):g} s apart, got {every_s:g} s")
    reader = open_forward(video, say)
    moments = moments_by_time(reader, every_s)
    num_remarks = len(reader.remarks)
    with open_stage(reader, None, say) as stage:
        found = DetectPersons(stage, persons, moments, lambda done, total: on_second(moments[done - 1].time_s))
        links = LinkPersons(found, moments, stage.size(), max_gap_s)
        run_pass(stage, [found, links])
    for remark in (*persons.account(), *(f"{video}: {remark}" for remark in reader.remarks[num_remarks:])):
        say(remark)
    tracks = tracks_of([boxes[:, :4] for boxes in links.boxes], [moment.time_s for moment in moments], links.ids)
    return TrackedPersons(str(video), tracks, every_s, len(moments))


def write_key_frames(path: str | Path, results: Sequence[TrackedPersons], every_s: float) -> int:
    """A table of the persons' key frames without actions: ``video,time_s,x1,y1,x2,y2,actions,person,units``.

    Boxes are fractions of the picture, between two of them a box is interpolated; ``paddlevideo prepare people`` reads
    it.  Returns the number of boxes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for result in results:
        for time_s, person, box in result.key_frames(every_s):
            corners = (f"{value:.5f}" for value in box.tolist())
            writer.writerow((result.path, f"{time_s:.3f}", *corners, "", person, "fractions"))
            count += 1
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return count
