"""What persons do in a video: persons at key frames, their track ids, and the scores of their actions.

result = detect("clip.mp4", "inference/AVA", detector="yolo.onnx")
for key_frame in result.key_frames:
    for person in key_frame.persons: key_frame.time_s, person.track_id, person.box_px, result.actions(person, 0.5)
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paddlevideo.ava_files import read_ava_labels
from paddlevideo.boxes import to_pixels
from paddlevideo.classes import RESERVED, UNKNOWN, Classes
from paddlevideo.config import Config, load_config
from paddlevideo.environment import set_cpu_environment
from paddlevideo.errors import UserError
from paddlevideo.inference.exported import Export
from paddlevideo.inference.frame_pass import DetectPersons, LinkPersons, ScoreClips, ShowFrames, run_pass
from paddlevideo.inference.key_frames import (
    BYTES_PER_PIXEL,
    ClipMaker,
    ForwardReader,
    KeyMoment,
    PersonRows,
    moments_at,
    moments_between,
    moments_by_step,
    moments_by_time,
    open_forward,
    shot_until,
)
from paddlevideo.inference.network import TrainedNetwork, config_of, damaged_of
from paddlevideo.inference.person_detectors import HOG, PersonDetector, ProposalFile, open_detector
from paddlevideo.inference.runtimes.base import Backend, ExportedModel, Runtime, Say, refuse_backend, to_stderr
from paddlevideo.inference.tracking import MAX_GAP_S, Track, longest_gap_s, tracks_of
from paddlevideo.inference.video_bank import (
    WINDOW,
    BankDetector,
    FirstPass,
    Window,
    bank_of_video,
    bank_rows,
    moments_of_seconds,
    no_detector,
    window_of,
    with_windows_from,
    without_windows,
)
from paddlevideo.inference.video_stage import VideoStage, open_stage
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.ranges import Positive, PositiveInt
from paddlevideo.safe_io import sha256
from paddlevideo.settings import Checked

if TYPE_CHECKING:
    from paddlevideo.inference.video_output import OutputPlan, OutputVideo

_PROGRESS_STEP = 10  # key frames between two lines of progress
_HELD_BYTES = 1 << 30  # of frames that wait for what is drawn into them


# ---- settings


@dataclass(frozen=True)
class DetectionSettings:
    """What a detection model needs besides its pixels: names of the actions, and how key frames and persons are chosen.

    Args:
        class_ids: the action id of every column of the scores; column 0 is reserved.
        names: a name for every column.
        clip_fps: frames per second of the videos that it was trained on.
        timestamp_start: the second that the first frame shows, where boxes come from a file.
        timestamp_end: the second at which videos end; None: each where it ends.
        person_det_score_thr: least score of a person of a file.
        num_max_proposals: boxes per key frame of a file.
        action_thr: least score that the csv lists.
    """

    class_ids: Sequence[int]
    names: Sequence[str]
    clip_fps: float = 30.0
    timestamp_start: float = 900.0
    timestamp_end: float | None = 1800.0
    person_det_score_thr: float = 0.9
    num_max_proposals: int = 1000
    action_thr: float = 0.002

    @classmethod
    def of_config(cls, config: Config, framework: Any, classes: Classes = UNKNOWN) -> DetectionSettings:
        """From DATASET.test (or .valid, .train) and METRIC of a configuration.

        Args:
            framework: the network: ``num_classes`` (K, the reserved column among them) and ``action_thr``.
            classes: the weights' own, which take precedence over the configuration's.

        Raises:
            UserError: custom classes that do not make K, a label file that is missing.
        """
        content, num_classes = config.to_dict(), framework.num_classes
        splits = content.get("DATASET") or {}
        places = [(f"DATASET.{split}", splits.get(split)) for split in ("test", "valid", "train")]
        places = [(where, s) for where, s in [*places, ("METRIC", content.get("METRIC"))] if isinstance(s, Mapping)]
        sections = [section for _, section in places]

        def first(key: str, default: Any) -> Any:
            return next((section[key] for section in sections if section.get(key) is not None), default)

        custom = next((s["custom_classes"] for s in sections if isinstance(s.get("custom_classes"), Sequence)), None)
        class_ids = list(classes.ids or [0, *(custom if custom is not None else range(1, num_classes))])
        if len(class_ids) != num_classes:
            raise UserError(
                f"{config.source}: custom_classes: {len(class_ids) - 1} and the reserved 0 make {len(class_ids)}, but "
                f"the network has {num_classes} classes"
            )
        where, label_file = next(((where, s["label_file"]) for where, s in places if "label_file" in s), ("", None))
        try:
            names = list(classes.names or names_of(class_ids, label_file))
        except UserError as error:
            way_out = f"override {where}.label_file=null to go without names"
            raise UserError(f"{config.source}: {where}.label_file: {error}; {way_out}") from None
        ends = [section["timestamp_end"] for section in sections if "timestamp_end" in section]  # None is an end, too
        return cls(
            class_ids=class_ids,
            names=names,
            clip_fps=float(first("fps", cls.clip_fps)),
            timestamp_start=first("timestamp_start", cls.timestamp_start),
            timestamp_end=ends[0] if ends else cls.timestamp_end,
            person_det_score_thr=first("person_det_score_thr", cls.person_det_score_thr),
            num_max_proposals=first("num_max_proposals", cls.num_max_proposals),
            action_thr=framework.action_thr,
        )

    @classmethod
    def of_description(cls, values: Mapping[str, Any], where: str) -> DetectionSettings:
        """From ``inference.yml``, as ``describe`` gave them.

        Raises:
            UserError: a key is missing.
        """
        known = [field.name for field in fields(cls)]
        missing = [key for key in known if key not in values]
        if missing:
            raise UserError(f"{where}: detection lacks {', '.join(missing)}; export the model again")
        return cls(**{key: values[key] for key in known})

    def describe(self) -> dict[str, Any]:
        """Plain data for ``inference.yml``."""
        return {**asdict(self), "class_ids": list(self.class_ids), "names": list(self.names)}

    def with_labels(self, path: str | Path) -> DetectionSettings:
        """The same with the names of a label file, by action id; e.g. in another language.

        Raises:
            UserError: a bad file, one that names none of the model's actions, or one that gives an action the name of
                another one.
        """
        names = names_of(self.class_ids, path)
        for action, own, name in zip(self.class_ids, self.names, names):
            if name != own and name in self.names:
                other = self.class_ids[list(self.names).index(name)]
                raise UserError(
                    f"{path}: calls action {action} {name!r}, which is action {other} of the model; use the label file "
                    "of the training, or leave it out: the model carries its names"
                )
        return replace(self, names=names)


def names_of(class_ids: Sequence[int], label_file: str | Path | None) -> list[str]:
    """A name for every column: the file's, ``class 7`` where it has none, as AVA's list of 60 has none for 20.

    Raises:
        UserError: a bad file, or one that names none of the actions.
    """
    known = read_ava_labels(label_file) if label_file else {}
    if known and not set(known) & set(class_ids[1:]):
        raise UserError(
            f"{label_file}: names actions {min(known)} to {max(known)}, but none of the model's {len(class_ids) - 1}"
        )
    return [RESERVED, *(known.get(i, f"class {i}") for i in class_ids[1:])]


# ---- results


@dataclass(frozen=True, eq=False)
class Person:
    """A person at a key frame.

    Args:
        track_id: the same at every key frame of one person.
        box_px: float64 [4], x1, y1, x2, y2 in pixels of the video.
        box_norm: float32 [4], the same as fractions of the picture.
        score: of the person detector, 0..1.
        scores: float32 [K] probabilities of the actions; column 0 is reserved.
    """

    track_id: int
    box_px: np.ndarray
    box_norm: np.ndarray
    score: float
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A key frame and its persons."""

    moment: KeyMoment
    persons: list[Person]

    @property
    def time_s(self) -> float:
        """Seconds since the first frame."""
        return self.moment.time_s


@dataclass(frozen=True, eq=False)
class VideoActions:
    """What was found in one video.

    Args:
        size: height and width of its pictures.
        times_s: of every frame, since the first one.
        settings: of the model; its names.
        tracks: track id -> where the person was found, also between the key frames; fractions of the picture.
        detected_s: seconds of the frames in which persons were detected.
        reader: the open video, for drawing.
        written: a line on the output video, where one was asked for.
        not_written: why it could not be.
    """

    path: str
    video_id: str
    size: tuple[int, int]
    times_s: np.ndarray
    key_frames: list[KeyFrame]
    settings: DetectionSettings
    tracks: Mapping[int, Track]
    detected_s: np.ndarray
    reader: ForwardReader | None = None
    written: str | None = None
    not_written: UserError | None = None

    @functools.cached_property
    def key_times_s(self) -> np.ndarray:
        """Of the key frames, since the first frame."""
        return np.array([key_frame.moment.time_s for key_frame in self.key_frames])

    @property
    def names(self) -> Sequence[str]:
        """K names, of every column of a person's scores."""
        return self.settings.names

    def actions(self, person: Person, threshold: float, most: int | None = None) -> list[tuple[int, str, float]]:
        """(action id, name, score) of the scores from ``threshold`` on, best first."""
        order = 1 + np.argsort(-person.scores[1:], kind="stable")
        kept = [int(k) for k in order if person.scores[k] >= threshold][:most]
        return [(self.settings.class_ids[k], self.settings.names[k], float(person.scores[k])) for k in kept]


# ---- the detector


@dataclass(frozen=True)
class Search(Checked):
    """In which frames persons are detected, and at which of them their actions are scored.

    Args:
        step: frames from key frame to key frame.
        every_s: seconds from key frame to key frame, instead of ``step``.
        detect_every_s: largest gap between detections of persons, for their tracks.
        video_id: name of the video in files of boxes and in results; None: its file name without the ending.
        timestamp_start: second that the first frame shows; None: 0, with boxes of a file the model's.
    """

    step: PositiveInt = 8
    every_s: Positive | None = None
    detect_every_s: Positive = 0.2
    video_id: str | None = None
    timestamp_start: float | None = None


@dataclass
class ActionDetector:
    """A detection model with its preprocessing.

    Args:
        model: a trained network, or an exported model.
        pipeline: PIPELINE.test.
        settings: of its training.
        window: of a network that takes a feature bank.
        bank_detector: makes the feature bank; None: it must be there.
        batch_size: key frames per run.
        max_gap_s: seconds for which a person may be missed and keep the track id.
        say: receives remarks.
        announce: receives the steps and their progress, ``10 / 37``.
    """

    model: TrainedNetwork | ExportedModel
    pipeline: Pipeline
    settings: DetectionSettings
    window: Window | None = None
    bank_detector: BankDetector | None = None
    batch_size: int = 1
    max_gap_s: float = MAX_GAP_S
    say: Say = to_stderr
    announce: Say = lambda line: None

    def __post_init__(self) -> None:
        self.pipeline.refuse_boxes()
        if self.window is None:
            self.pipeline = without_windows(self.pipeline)

    @classmethod
    def from_config(
        cls, config: Config, weights: str | Path, device: str = "auto", labels: str | Path | None = None,
        say: Say = to_stderr, **more: Any,
    ) -> ActionDetector:  # fmt: skip
        """A network as testing builds it; if it takes a feature bank, its own backbone makes it.

        Args:
            labels: label file of the names shown; None: the weights' own, or the configuration's.
            more: further arguments of the class.

        Raises:
            UserError: weights that do not fit, a network of whole videos, no such device, a bad label file.
        """
        model = TrainedNetwork(config, weights, device, of_persons=True, say=say)
        # the configuration's own label file may not be on this machine
        named = _without_labels(model.config) if labels else model.config
        settings = DetectionSettings.of_config(named, model.framework, model.classes)
        window = window_of(model.pipeline, model.framework)
        bank_detector = bank_detector_of(model) if window else None
        settings = settings.with_labels(labels) if labels else settings
        return cls(model, model.pipeline, settings, window, bank_detector, say=say, **more)

    @classmethod
    def from_export(
        cls, path: str | Path, params: str | Path | None = None, config: Config | None = None,
        overrides: Sequence[str] = (), runtime: Runtime | None = None, labels: str | Path | None = None,
        say: Say = to_stderr, **more: Any,
    ) -> ActionDetector:  # fmt: skip
        """An exported model.

        Args:
            path: its folder or program.
            params: its weights; None: beside the program.
            config: is compared with ``inference.yml``; its PIPELINE.test is used where ``overrides`` change it.
            runtime: where it runs; None: on the CPU.
            labels: label file of the names shown; None: the model's own.
            more: further arguments of the class.

        Raises:
            UserError: files missing, damaged or of several exports; a model of whole videos; a bad label file.
        """
        export = Export.find(path, params, say)
        if export.description is None:
            raise UserError(
                f"{export.file}: not there, so the pipeline of {export.program.name} is unknown; export the model again"
            )
        noted = export.description.detection
        if not noted:
            raise UserError(f"{export.program}: names whole videos, not people; use paddlevideo predict")
        pipeline = export.pipeline(export.section(config, overrides, say))
        settings = DetectionSettings.of_description(noted, str(export.file))
        settings = settings.with_labels(labels) if labels else settings
        window = Window(**noted[WINDOW]) if noted.get(WINDOW) else None
        return cls(export.load(runtime or Runtime(), say), pipeline, settings, window, say=say, **more)

    def predict(
        self,
        video: str | Path | ForwardReader,
        persons: PersonDetector,
        search: Search | None = None,
        bank: str | Path | None = None,
        output: OutputVideo | None = None,
    ) -> VideoActions:
        """The persons of a video and their actions.

        Args:
            video: a file, or one that is open.
            persons: gives the boxes of persons.
            search: which frames; None: the defaults.  The key frames of a file of boxes are its seconds.
            bank: file of the feature bank, for a model that takes one; None: ``<video id>.bank`` in this folder.
            output: video with the persons and their actions, written on the way; if it cannot be written, the result
                has the reason in ``not_written``.

        Raises:
            VideoReadError: the video cannot be read.
            UserError: no second of the file of boxes lies in the video; no feature bank and nothing that makes it.
        """
        search = search or Search()
        reader = video if isinstance(video, ForwardReader) else open_forward(video, self.say)
        num_remarks = len(reader.remarks)
        video_id = search.video_id or Path(reader.path).stem
        start, end = search.timestamp_start, None
        if isinstance(persons, ProposalFile):  # its seconds are the data set's
            start, end = self.settings.timestamp_start if start is None else start, self.settings.timestamp_end
        start = start or 0.0
        self.announce(f"Frame Number: {len(reader)}")
        moments, detected, seconds = self._moments(reader, persons, search, start)
        self.announce(f"timestamps number: {len(moments)}")
        self.announce(f"Performing Human Detection for each frame ({persons.name})")
        plan = output.plan(reader) if output else None
        with open_stage(reader, plan, self.say) as stage:
            run = _Run(self, stage, plan, persons, moments, detected, start, end, video_id)
            if self.window:
                path = Path(bank or bank_name(video_id))
                result = run.with_bank(path, seconds)
            else:
                result = run.at_once()
            result = run.finished(result, reader)
        if result.written is None and result.not_written is None and output is not None:
            result = _written_later(result, output)
        for remark in reader.remarks[num_remarks:]:
            self.say(f"{reader.path}: {remark}")
        return result

    def _moments(
        self, reader: ForwardReader, persons: PersonDetector, search: Search, start: float
    ) -> tuple[list[KeyMoment], list[KeyMoment], list[KeyMoment]]:
        """The key frames, the frames in which persons are detected, and the key frames of the feature bank."""
        if not isinstance(persons, ProposalFile):
            if search.every_s:
                moments = moments_by_time(reader, search.every_s, start)
            else:
                moments = moments_by_step(reader, search.step, start)
            detected = moments_between(reader, moments, search.detect_every_s, start)
            return moments, detected, moments_of_seconds(reader, start) if self.window else []
        if search.every_s:
            self.say("--action-every is not used: the key frames are the seconds of --proposals")
        moments, outside = moments_at(reader, persons.timestamps_s, start)
        last = start + float(reader.times()[-1])
        where = f"the video shows seconds {start:g} to {last:.1f}; --timestamp-start is the second of its first frame"
        if not moments:
            raise UserError(f"{persons.path}: no second of {persons.video_id!r} lies in the video; {where}")
        if outside:
            self.say(f"{persons.path}: {len(outside)} seconds are left out, the first is {outside[0]:g}: {where}")
        return moments, moments, moments if self.window else []

    def _scores(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        rows = self.model.run(batch)
        if rows.shape != (len(batch["boxes"]), len(self.settings.names)):
            raise UserError(
                f"the model gives scores {list(rows.shape)} for {len(batch['boxes'])} people, expected "
                f"{len(self.settings.names)} columns; its labels and classes are those of another model"
            )
        return rows

    def _progress(self, done: int, total: int) -> None:
        if done % _PROGRESS_STEP == 0 or done == total:
            self.announce(f"{done} / {total}")


class _Run:
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
        self._shows = False

    def at_once(self) -> VideoActions:
        """One pass: detection, scores and the output video."""
        found = self._detection([*self._moments, *self._detected_at])
        scored = self._scored(found, self._detector.pipeline)
        links = self._links(found)
        self._run([found, links, scored], links, scored)
        self._close_detection()
        self._announce_scores(scored.rows.runs)
        return self._result(links, scored)

    def with_bank(self, path: Path, seconds: Sequence[KeyMoment]) -> VideoActions:
        """Two passes, since a key frame reads the features of others after it: detection with the features of the
        bank, unless there is one already, and then the scores with the output video.

        Args:
            path: of the bank.
            seconds: its key frames.
        """
        detector = self._detector
        found = self._detection([*self._moments, *seconds, *self._detected_at])
        links, stages = self._links(found), []
        bounded, maker = isinstance(self._persons, ProposalFile), detector.bank_detector
        if maker is not None and not path.exists():
            rows = bank_rows(maker, self._stage, seconds, self._start, bounded, detector.batch_size)
            frames = [rows.maker.frames(number, moment) for number, moment in enumerate(seconds)]
            stages = [ScoreClips(found, seconds, frames, rows)]
        run_pass(self._stage, [found, links, *stages])
        self._close_detection()
        detector.announce(f"Looking for a feature bank of the video ({path})")
        boxes = [found.boxes(moment) for moment in seconds]
        first = FirstPass(self._stage, self._video_id, seconds, boxes, self._start, bounded)
        features = stages[0].rows if stages else None
        made = bank_of_video(
            path, first, maker, detector.window, detector.batch_size, detector._progress, detector.say, features
        )
        scored = self._scored(found, with_windows_from(detector.pipeline, made))
        self._run([scored], links, scored)
        self._announce_scores(scored.rows.runs)
        return self._result(links, scored)

    def finished(self, result: VideoActions, reader: ForwardReader) -> VideoActions:
        """The result with what became of the output video."""
        if not self._shows:
            return replace(result, reader=reader)
        try:
            return replace(result, reader=reader, written=self._plan.account(self._stage.finish(), result.times_s))
        except UserError as error:  # raised by the caller when the other results are kept
            return replace(result, reader=reader, not_written=error)

    def _detection(self, moments: Sequence[KeyMoment]) -> DetectPersons:
        return DetectPersons(self._stage, self._persons, moments, self._detector._progress)

    def _links(self, found: DetectPersons) -> LinkPersons:
        return LinkPersons(found, self._detected_at, self._size, self._detector.max_gap_s)

    def _scored(self, found: DetectPersons, pipeline: Pipeline) -> ScoreClips:
        detector, fps = self._detector, self._detector.settings.clip_fps
        shot = shot_until(self._end, self._start, fps)
        maker = ClipMaker(pipeline, self._stage, fps, self._start, shot, self._video_id, filename=self._stage.path)
        frames = [maker.frames(number, moment) for number, moment in enumerate(self._moments)]
        width = len(detector.settings.names)
        rows = PersonRows(maker, self._moments, detector._scores, width, detector.batch_size)
        return ScoreClips(found, self._moments, frames, rows)

    def _run(self, stages: Sequence[Any], links: LinkPersons, scored: ScoreClips) -> None:
        """A pass with the output video, if there is one and its frames need not be held for too long."""
        plan = self._plan
        if plan is None:
            run_pass(self._stage, stages)
            return
        reaches = {index: index for stage in stages for index in stage.at}
        reaches |= {index: max(index, last) for index, last in scored.reaches.items()}
        needs = plan.needs(self._stage.times(), self._detected_s, self._key_times_s)
        height, width = self._size
        most = int(_HELD_BYTES / (height * width * BYTES_PER_PIXEL))
        marks = functools.partial(self._marks, links, scored)
        shown = ShowFrames(self._stage, reaches, plan.indices, *needs, links, scored, marks, most)
        run_pass(self._stage, [*stages, shown])
        self._shows = not shown.given_up

    @property
    def _key_times_s(self) -> np.ndarray:
        return np.array([moment.time_s for moment in self._moments])

    def _marks(self, links: LinkPersons, scored: ScoreClips, indices: np.ndarray) -> list[Any]:
        """What is drawn into frames of the output video, from the detections around them."""
        times_s = self._stage.times()
        gap_s = longest_gap_s(float(np.median(np.diff(self._detected_s))) if len(self._detected_s) > 1 else 0.0)
        first = int(np.searchsorted(self._detected_s[: len(links.ids)], times_s[indices[0]] - gap_s))
        return self._plan.marks(self._result(links, scored, first), indices, links.first_s, links.last_s)

    def _result(self, links: LinkPersons, scored: ScoreClips, first: int = 0) -> VideoActions:
        """The result of what is done so far.

        Args:
            first: detection from which tracks begin.
        """
        height, width = self._size
        num_linked = len(links.ids)
        tracks = tracks_of(
            [found[:, :4] for found in links.boxes[first:]],
            [moment.time_s for moment in self._detected_at[first:num_linked]],
            links.ids[first:],
        )
        ids_at = dict(zip(self._detected_at, links.ids))
        key_frames = [KeyFrame(moment, []) for moment in self._moments]
        for number in range(scored.rows.num_settled):
            moment = self._moments[number]
            persons = zip(ids_at[moment], scored.boxes[number], scored.rows.rows[number], strict=True)
            key_frames[number] = KeyFrame(
                moment,
                [
                    Person(int(i), to_pixels(box[:4], width, height), box[:4], float(box[4]), row)
                    for i, box, row in persons
                ],
            )
        return VideoActions(
            self._stage.path, self._video_id, self._size, self._stage.times(), key_frames, self._detector.settings,
            dict(sorted(tracks.items())), self._detected_s,
        )  # fmt: skip

    def _close_detection(self) -> None:
        for line in self._persons.account():
            self._detector.say(line)
        self._detector.announce("finish object detection")

    def _announce_scores(self, runs: Sequence[int]) -> None:
        """The progress of the scores, of which the total is known when all persons are."""
        self._detector.announce("Performing SpatioTemporal Action Detection for each clip")
        for done in runs:
            self._detector._progress(done, runs[-1])


def _written_later(result: VideoActions, output: OutputVideo) -> VideoActions:
    """The result with the output video, which is written in a pass of its own."""
    from paddlevideo.inference.video_output import write_annotated_video

    shown = (output.threshold, output.top_k, output.step, output.fps)
    try:
        return replace(result, written=write_annotated_video(output.path, result, *shown))
    except UserError as error:
        return replace(result, not_written=error)


def bank_detector_of(model: TrainedNetwork) -> BankDetector:
    """What makes feature banks with a network; also with one that takes a bank itself: its backbone needs none."""
    config, pipeline = _without_labels(model.config), without_windows(model.pipeline)
    settings = DetectionSettings.of_config(config, model.framework)
    pipeline.refuse_boxes()
    described = [config.section("MODEL"), pipeline.describe(), settings.clip_fps, settings.timestamp_end]
    origin = {
        "weights_sha256": sha256(Path(model.name).expanduser()),
        "settings_sha256": hashlib.sha256(json.dumps(described, default=str, sort_keys=True).encode()).hexdigest(),
        "model": str(config["model_name"]),
        "config": str(config.source),
    }
    return BankDetector(model.features, pipeline, settings, model.framework.backbone.out_channels, origin)


def detect(
    video: str | Path | ForwardReader,
    model: str | Path | Config,
    weights: str | Path | None = None,
    *,
    detector: str | Path | PersonDetector | None = None,
    detector_config: str | Path | None = None,
    proposals: str | Path | None = None,
    min_person_score: float | None = None,
    labels: str | Path | None = None,
    bank: str | Path | None = None,
    bank_folder: str | Path = "",
    bank_config: str | Path | None = None,
    bank_weights: str | Path | None = None,
    device: str = "auto",
    backend: Backend | None = None,
    cpu_threads: int | None = None,
    batch_size: int = 1,
    say: Say = to_stderr,
    announce: Say = lambda line: None,
    params: str | Path | None = None,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    output: OutputVideo | None = None,
    **search: Any,
) -> VideoActions:
    """The persons of one video, their tracks and the scores of their actions.

    Args:
        video: a file, or one that is open.
        model: an exported model (its folder or program), or with ``weights`` a configuration.
        weights: ``.pdparams`` that were trained with the configuration.
        detector: finds persons: an ``.onnx`` file, a folder that PaddleDetection exported, ``hog``, or an object; None:
            OpenCV's HOG.
        detector_config: file about the detector's inputs and outputs; None: the one beside it.
        proposals: file of boxes (``.pkl``, ``.npz``, ``.json``) instead of a detector; key frames are its seconds.
        min_person_score: least score of a person; None: 0.5, of a file of boxes the model's own.
        labels: label file of the names shown; None: the model's own.
        bank: file of the feature bank, for a model that takes one: made where it is not there, used again where it is
            of this video; None: ``<video id>.bank`` in ``bank_folder``.
        bank_config, bank_weights: the detector that makes it, best the one that made the banks of training; None: the
            model's own backbone.
        device: ``cpu``, ``gpu``, ``gpu:N`` or ``auto``.
        backend, cpu_threads: of an exported model, see ``Runtime``; None: as timed at its export.
        batch_size: key frames per run.
        say: receives remarks.
        announce: receives the steps and their progress.
        params: weights of the exported model; None: beside its program.
        config: of an exported model, is compared with its ``inference.yml``.
        overrides: ``KEY=VALUE`` that change the configuration.
        imports: modules or .py files with registered classes of your own.
        output: video with the persons and their actions, written on the way; see ``ActionDetector.predict``.
        search: the arguments of ``Search``: ``step``, ``every_s``, ``detect_every_s``, ``video_id``,
            ``timestamp_start``.

    Raises:
        VideoReadError: the video cannot be read.
        UserError: a model, a detector, boxes or a feature bank that are missing or do not fit.
    """
    set_cpu_environment()
    overrides = [overrides] if isinstance(overrides, str) else overrides
    where, chosen = Search(**search), config_of(model, weights, overrides, imports)
    reader = video if isinstance(video, ForwardReader) else open_forward(video, say, damaged_of(chosen))
    video_id = where.video_id or Path(reader.path).stem
    more = {"labels": labels, "batch_size": batch_size, "say": say, "announce": announce}
    if chosen is None:
        runtime = Runtime.on(device, backend, cpu_threads)
        found = ActionDetector.from_export(model, params, config, overrides, runtime, **more)
    else:
        refuse_backend(backend)
        found = ActionDetector.from_config(chosen, weights, device, **more)
    bank_path = Path(bank or Path(bank_folder) / bank_name(video_id))
    if found.window is None and (bank or bank_config):
        raise UserError("--bank: the model reads no feature bank; leave --bank, --bank-config, --bank-weights out")
    if bank_config:
        maker = _without_labels(load_config(bank_config, uses=("test",)))
        found.bank_detector = bank_detector_of(TrainedNetwork(maker, bank_weights, device, True, say))
    elif found.bank_detector:
        say(
            "the model's own backbone makes the feature bank; the banks of training usually come from the detector "
            "before it, which --bank-config CFG --bank-weights FILE name"
        )
    elif found.window and not bank_path.exists():  # announced now rather than after the detection of persons
        raise no_detector(bank_path)
    if proposals and detector:
        raise UserError("--proposals and a detector are both named; leave one of them out")
    if isinstance(detector, PersonDetector):
        persons = detector
    elif proposals:
        least = found.settings.person_det_score_thr if min_person_score is None else min_person_score
        persons = ProposalFile(proposals, video_id, least, found.settings.num_max_proposals)
    else:
        least = 0.5 if min_person_score is None else min_person_score
        persons = open_detector(str(detector or HOG), least, detector_config, Runtime.on(device), say)
    return found.predict(reader, persons, where, bank_path, output)


def bank_name(video_id: str) -> str:
    """Name of the file of a video's feature bank."""
    return f"{video_id.replace('/', '_')}.bank"


def _without_labels(config: Config) -> Config:
    """The configuration with every ``label_file`` taken out."""
    data = config.to_dict()
    for section in (*(data.get("DATASET") or {}).values(), data.get("METRIC")):
        if isinstance(section, dict):
            section.pop("label_file", None)
    return Config(data, config.source)
