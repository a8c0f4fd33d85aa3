"""The passes of action detection over one video: one, or two where a feature bank is made before the scores."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paddlevideo.boxes import to_pixels
from paddlevideo.errors import UserError
from paddlevideo.inference.frame_pass import DetectPersons, LinkPersons, ScoreClips, ShowFrames, run_pass
from paddlevideo.inference.key_frames import (
    BYTES_PER_PIXEL,
    ClipMaker,
    ForwardReader,
    KeyMoment,
    PersonRows,
    shot_until,
)
from paddlevideo.inference.person_actions import KeyFrame, Person, VideoActions
from paddlevideo.inference.person_detectors import PersonDetector, ProposalFile
from paddlevideo.inference.tracking import Track, longest_gap_s, tracks_of
from paddlevideo.inference.video_bank import FirstPass, bank_of_video, bank_rows, check_channels, with_windows_from
from paddlevideo.inference.video_stage import VideoStage
from paddlevideo.loader.pipelines import Pipeline

if TYPE_CHECKING:
    from paddlevideo.inference.detector import ActionDetector
    from paddlevideo.inference.video_output import OutputPlan

_HELD_BYTES = 1 << 30  # of frames that wait for what is drawn into them


class DetectionRun:
    """The passes over one video.

    Args:
        stage: the video.
        plan: of the output video; None: there is none.
        moments, detected: the key frames, and all frames in which persons are detected.
        start: second of the first frame.
        end: last second of the data set's videos; None: each where it ends.
    """

    def __init__(
        self, detector: ActionDetector, stage: VideoStage, plan: OutputPlan | None, persons: PersonDetector,
        moments: Sequence[KeyMoment], detected: Sequence[KeyMoment], start: float, end: float | None, video_id: str,
    ):  # fmt: skip
        self._detector, self._stage, self._plan, self._persons = detector, stage, plan, persons
        self._moments, self._detected_at, self._start, self._end = moments, detected, start, end
        self._video_id, self._detected_s = video_id, np.array([moment.time_s for moment in detected])
        self._size = stage.size()
        self._position = {moment: number for number, moment in enumerate(detected)}
        self._shows = False
        self._pass: tuple[LinkPersons, ScoreClips] | None = None  # whose steps give the result
        # filled in place, so that a key frame is built once and the result keeps what it derives from the times
        self._tracks: dict[int, Track] = {}
        self._key_frames, self._num_built = [KeyFrame(moment, []) for moment in moments], 0
        self._result = VideoActions(
            stage.path, video_id, self._size, stage.times(), self._key_frames, detector.settings, self._tracks,
            self._detected_s, clip_s=detector.clip_s,
        )  # fmt: skip

    def at_once(self) -> VideoActions:
        """One pass: detection, scores and the output video."""
        found = self._detection([*self._moments, *self._detected_at])
        scored = self._scored(found, self._detector.pipeline)
        links = self._links(found)
        self._pass = links, scored

        def announce() -> None:
            self._close_detection()
            self._announce_scores(found, scored)

        found.on_end = announce
        self._run([found, links, scored], links, scored)
        return self._updated(links, scored)

    def with_bank(self, path: Path, seconds: Sequence[KeyMoment]) -> VideoActions:
        """Two passes, since a key frame reads the features of others after it: detection with the features of the
        bank, unless there is one already, and then the scores with the output video.

        Args:
            path: of the bank.
            seconds: its key frames.
        """
        detector = self._detector
        found = self._detection([*self._moments, *seconds, *self._detected_at])
        links, scores_bank = self._links(found), []
        bounded, maker = isinstance(self._persons, ProposalFile), detector.bank_detector
        features: PersonRows | None = None
        if maker is not None and not path.exists():
            check_channels(maker.channels, detector.window, str(maker.origin["config"]))
            features = bank_rows(maker, self._stage, seconds, self._start, bounded, detector.batch_size)
            frames = [features.maker.frames(number, moment) for number, moment in enumerate(seconds)]
            scores_bank = [ScoreClips(found, seconds, frames, features)]

        def announce() -> None:
            self._close_detection()
            detector.announce(f"Looking for a feature bank of the video ({path})")
            if features is not None:
                features.report(detector.progress, found.num_busy(seconds))

        found.on_end = announce
        run_pass(self._stage, [found, links, *scores_bank])
        boxes = [found.boxes(moment) for moment in seconds]
        first = FirstPass(self._stage, self._video_id, seconds, boxes, self._start, bounded)
        made = bank_of_video(
            path, first, maker, detector.window, detector.batch_size, detector.progress, detector.say, features
        )
        scored = self._scored(found, with_windows_from(detector.pipeline, made))
        self._pass = links, scored
        self._announce_scores(found, scored)
        self._run([scored], links, scored)
        return self._updated(links, scored)

    def finished(self, result: VideoActions, reader: ForwardReader) -> VideoActions:
        """The result with what became of the output video."""
        if not self._shows:
            return replace(result, reader=reader)
        try:
            return replace(result, reader=reader, written=self._plan.account(self._stage.finish(), result.times_s))
        except UserError as error:  # raised by the caller when the other results are kept
            return replace(result, reader=reader, not_written=error)

    def so_far(self, reader: ForwardReader) -> VideoActions:
        """The result of a run that was interrupted: the key frames up to the last one that is scored."""
        if self._pass is None:
            return replace(self._result, reader=reader, key_frames=[], is_part=True)
        result = self._updated(*self._pass)
        return replace(result, reader=reader, key_frames=self._key_frames[: self._num_built], is_part=True)

    def _detection(self, moments: Sequence[KeyMoment]) -> DetectPersons:
        return DetectPersons(self._stage, self._persons, moments, self._detector.progress)

    def _links(self, found: DetectPersons) -> LinkPersons:
        return LinkPersons(found, self._detected_at, self._size, self._detector.max_gap_s)

    def _scored(self, found: DetectPersons, pipeline: Pipeline) -> ScoreClips:
        detector, fps = self._detector, self._detector.settings.clip_fps
        shot = shot_until(self._end, self._start, fps)
        maker = ClipMaker(pipeline, self._stage, fps, self._start, shot, self._video_id, filename=self._stage.path)
        frames = [maker.frames(number, moment) for number, moment in enumerate(self._moments)]
        width = len(detector.settings.names)
        rows = PersonRows(maker, self._moments, detector.scores, width, detector.batch_size)
        return ScoreClips(found, self._moments, frames, rows, detector.on_second)

    def _run(self, steps: Sequence[Any], links: LinkPersons, scored: ScoreClips) -> None:
        """A pass with the output video, if there is one and its frames need not be held for too long."""
        plan = self._plan
        if plan is None:
            run_pass(self._stage, steps)
            return
        reaches = {index: index for step in steps for index in step.at}
        reaches |= {index: max(index, last) for index, last in scored.reaches.items()}
        needs = plan.needs(self._stage.times(), self._detected_s, self._result.key_times_s)
        height, width = self._size
        most = int(_HELD_BYTES / (height * width * BYTES_PER_PIXEL))
        marks = functools.partial(self._marks, links, scored)
        shown = ShowFrames(self._stage, reaches, plan.indices, *needs, links, scored, marks, most)
        run_pass(self._stage, [*steps, shown])
        self._shows = not shown.given_up

    def _marks(self, links: LinkPersons, scored: ScoreClips, indices: np.ndarray) -> list[Any]:
        """What is drawn into frames of the output video, from the detections around them."""
        earliest_s = self._result.times_s[indices[0]] - longest_gap_s(self._result.detected_every_s)
        first = int(np.searchsorted(self._detected_s[: len(links.ids)], earliest_s))
        return self._plan.marks(self._updated(links, scored, first), indices, links.first_s, links.last_s)

    def _updated(self, links: LinkPersons, scored: ScoreClips, first: int = 0) -> VideoActions:
        """The result with what is done so far.

        Args:
            first: detection from which tracks begin.
        """
        num_linked = len(links.ids)
        tracks = tracks_of(
            [found[:, :4] for found in links.boxes[first:num_linked]],
            [moment.time_s for moment in self._detected_at[first:num_linked]],
            links.ids[first:],
        )
        self._tracks.clear()
        self._tracks.update(sorted(tracks.items()))
        height, width = self._size
        for number in range(self._num_built, scored.rows.num_settled):
            ids = links.ids[self._position[self._moments[number]]]
            self._key_frames[number].persons[:] = [  # at once, since an interrupted run is continued by ``so_far``
                Person(int(i), to_pixels(box[:4], width, height), box[:4], float(box[4]), row)
                for i, box, row in zip(ids, scored.boxes[number], scored.rows.rows[number], strict=True)
            ]
        self._num_built = scored.rows.num_settled
        return self._result

    def _close_detection(self) -> None:
        for line in self._persons.account():
            self._detector.say(line)
        self._detector.announce("finish object detection")

    def _announce_scores(self, found: DetectPersons, scored: ScoreClips) -> None:
        """The progress of the scores, of which the total is known when all persons are."""
        self._detector.announce("Performing SpatioTemporal Action Detection for each clip")
        scored.rows.report(self._detector.progress, found.num_busy(self._moments))
