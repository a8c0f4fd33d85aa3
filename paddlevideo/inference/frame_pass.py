"""One pass over a video for all that reads it: persons are detected, clips of key frames scored and frames of the
output video shown, each as soon as what it needs is there, so that no more than a window of frames is held.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from paddlevideo.boxes import to_fractions, to_pixels
from paddlevideo.inference.key_frames import KeyMoment, PersonRows
from paddlevideo.inference.person_detectors import PersonDetector, ProposalFile
from paddlevideo.inference.tracking import Linker
from paddlevideo.inference.video_stage import VideoStage

_AT_ONCE = 32  # frames that are shown at once where nothing is read any more


class Step:
    """What is done with the frames of a pass, in ascending order.

    Attributes:
        at: frames at which ``run`` is called.
    """

    at: Sequence[int] = ()

    def run(self, index: int) -> None:
        """Does what is due at one frame."""

    def first_needed(self, index: int) -> int | None:
        """The first frame that is needed after ``run(index)``; None: none."""

    def finish(self) -> None:
        """After the last frame."""


def run_pass(reader: VideoStage, steps: Sequence[Step]) -> None:
    """Runs the steps over a video, at each frame in their order; each frame is decoded once."""
    reader.keep(0)
    for index in sorted({index for step in steps for index in step.at}):
        for step in steps:
            step.run(index)
        needed = [first for step in steps if (first := step.first_needed(index)) is not None]
        reader.keep(min(needed, default=index))
    for step in steps:
        step.finish()
    reader.keep(None)


class DetectPersons(Step):
    """Detects persons in the frames of some moments.

    Args:
        moments: those of all passes, of which each frame is read once.
        progress: called with (frames done, all of them).

    Attributes:
        on_end: called when the boxes of all moments are there.
    """

    def __init__(
        self, reader: VideoStage, persons: PersonDetector, moments: Sequence[KeyMoment],
        progress: Callable[[int, int], None],
    ):  # fmt: skip
        self._reader, self._persons, self._progress = reader, persons, progress
        self._boxes: dict[int, np.ndarray] = {}
        self.on_end: Callable[[], None] = lambda: None
        self._ended = False
        if isinstance(persons, ProposalFile):  # fractions already; pixels and back would round them
            return
        self._timestamps = {moment.frame_index: moment.timestamp_s for moment in moments}
        self.at = sorted(self._timestamps)

    def run(self, index: int) -> None:
        if len(self._boxes) < len(self.at) and index == self.at[len(self._boxes)]:
            self._detect(index)
        if not self._ended and len(self._boxes) == len(self.at):
            self._ended = True
            self.on_end()

    def _detect(self, index: int) -> None:
        frame = self._reader.get([index])
        height, width = frame.shape[1:3]
        (boxes,) = self._persons.detect(frame, [self._timestamps[index]])
        self._boxes[index] = to_fractions(boxes, width, height).astype(np.float32)
        self._progress(len(self._boxes), len(self.at))

    def first_needed(self, index: int) -> int | None:
        return self.at[len(self._boxes)] if len(self._boxes) < len(self.at) else None

    def boxes(self, moment: KeyMoment) -> np.ndarray:
        """float32 [n, 5]: boxes as fractions of the picture, and scores, of a moment whose frame was read."""
        if isinstance(self._persons, ProposalFile):
            return self._persons.boxes_norm(moment.timestamp_s)
        return self._boxes[moment.frame_index]

    def num_busy(self, moments: Sequence[KeyMoment]) -> int:
        """How many of some moments have persons."""
        return sum(len(self.boxes(moment)) > 0 for moment in moments)


class LinkPersons(Step):
    """Gives persons their track ids.

    Args:
        moments: of the frames in which persons are detected, in order of time.

    Attributes:
        boxes, ids: per moment that was reached.
        first_s, last_s: of each person's first and last detection so far.
    """

    def __init__(self, detected: DetectPersons, moments: Sequence[KeyMoment], size: tuple[int, int], max_gap_s: float):
        self.moments, self.boxes, self.ids = moments, [], []
        self.first_s: dict[int, float] = {}
        self.last_s: dict[int, float] = {}
        self.at = sorted({moment.frame_index for moment in moments})
        self._detected, self._size, self._linker = detected, size, Linker(max_gap_s=max_gap_s)

    def run(self, index: int) -> None:
        height, width = self._size
        while len(self.ids) < len(self.moments) and self.moments[len(self.ids)].frame_index <= index:
            moment = self.moments[len(self.ids)]
            found = self._detected.boxes(moment)
            boxes_px = to_pixels(found[:, :4], width, height).astype(np.float32)
            self.boxes.append(found)
            self.ids.append(self._linker.add(boxes_px, moment.time_s))
            for person in self.ids[-1].tolist():
                self.first_s.setdefault(person, moment.time_s)
                self.last_s[person] = moment.time_s

    def first_needed(self, index: int) -> int | None:
        return None


class ScoreClips(Step):
    """Gives the persons of key frames their rows, on the clip around each.

    Args:
        moments: the key frames, in order of time.
        frames: the frames that the clip of each reads.
        on_second: called with the second of each key frame when its clip is made.
    """

    def __init__(
        self, detected: DetectPersons, moments: Sequence[KeyMoment], frames: Sequence[np.ndarray], rows: PersonRows,
        on_second: Callable[[float], None] = lambda time_s: None,
    ):  # fmt: skip
        self._on_second = on_second
        self.rows, self._detected, self._moments, self._done = rows, detected, moments, 0
        self.boxes: list[np.ndarray] = []
        self.at = sorted({moment.frame_index for moment in moments})
        firsts = np.array([indices.min() for indices in frames], int)
        self.reaches: dict[int, int] = {}  # key frame -> last frame that its clip reads
        for moment, indices in zip(moments, frames, strict=True):
            self.reaches[moment.frame_index] = max(int(indices.max()), self.reaches.get(moment.frame_index, 0))
        self._first_of_rest = np.minimum.accumulate(firsts[::-1])[::-1]  # of this clip and all after it

    def run(self, index: int) -> None:
        while len(self.boxes) < len(self._moments) and self._moments[len(self.boxes)].frame_index <= index:
            number = len(self.boxes)
            self.boxes.append(self._detected.boxes(self._moments[number]))
            self.rows.add(number, self.boxes[number])
            self._on_second(self._moments[number].time_s)

    def first_needed(self, index: int) -> int | None:
        return int(self._first_of_rest[len(self.boxes)]) if len(self.boxes) < len(self._moments) else None

    def finish(self) -> None:
        self.rows.finish()


class ShowFrames(Step):
    """Gives the output video its frames, each when nothing that comes later changes what is drawn into it.

    Args:
        reaches: frames at which something may be settled, and the last frame that is read there.
        indices: the frames of the output video, ascending.
        num_detected, num_scored: for each, how many moments must have been linked and scored.
        links, clips: the steps that do so.
        marks: called with frames of the output video, gives what is drawn into each.
        most_held: frames; where more would have to be held, the pass shows none and ``given_up`` is set.
    """

    def __init__(
        self, reader: VideoStage, reaches: Mapping[int, int], indices: np.ndarray, num_detected: np.ndarray,
        num_scored: np.ndarray, links: LinkPersons, clips: ScoreClips, marks: Callable[[np.ndarray], list[Any]],
        most_held: int,
    ):  # fmt: skip
        self.at, self.given_up = sorted(reaches), False
        self._reaches = [reaches[index] for index in self.at]
        self._reader, self._indices, self._num_detected, self._num_scored = reader, indices, num_detected, num_scored
        self._links, self._clips, self._marks, self._most_held = links, clips, marks, most_held
        self._done = 0
        self._give_up_before(0)

    def run(self, index: int) -> None:
        ready = min(
            int(np.searchsorted(self._num_detected, len(self._links.ids), side="right")),
            int(np.searchsorted(self._num_scored, self._clips.rows.num_settled, side="right")),
        )
        self._show(ready)
        self._give_up_before(bisect_right(self.at, index))

    def first_needed(self, index: int) -> int | None:
        return None if self.given_up or self._done == len(self._indices) else int(self._indices[self._done])

    def finish(self) -> None:
        for ready in range(self._done + _AT_ONCE, len(self._indices) + _AT_ONCE, _AT_ONCE):
            self._show(min(ready, len(self._indices)))
            self._reader.keep(int(self._indices[min(ready, len(self._indices)) - 1]))

    def _give_up_before(self, position: int) -> None:
        """Ends the output video if reading at ``at[position]`` would hold too many of its frames."""
        if self.given_up or position == len(self.at) or self._done == len(self._indices):
            return
        self.given_up = self._reaches[position] - int(self._indices[self._done]) > self._most_held
        if self.given_up:
            self._reader.abandon()

    def _show(self, ready: int) -> None:
        if ready > self._done and not self.given_up:
            indices = self._indices[self._done : ready]
            self._reader.show(list(zip(indices.tolist(), self._marks(indices), strict=True)))
            self._done = ready
