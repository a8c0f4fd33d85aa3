"""Who does what in a video: people at key frames, their ids, and the scores of their actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.ava_clips import ClipMaker, ForwardReader, KeyMoment, person_rows, shot_until
from paddlevideo.inference.ava_settings import DetectionSettings, settings_of_description
from paddlevideo.inference.bank_windows import WINDOW, Window, with_windows_from, without_windows
from paddlevideo.inference.description import FILE_NAME, Description, check_files
from paddlevideo.inference.model_files import find_params, find_program
from paddlevideo.inference.people import PersonDetector, ProposalFile
from paddlevideo.inference.predictor import description_of, pipeline_for_export, program_of_folder
from paddlevideo.inference.runtime import ExportedModel, Runtime, Say, finite_scores
from paddlevideo.inference.tracks import MAX_GAP_S, Track, link, tracks_of
from paddlevideo.loader.pipelines import Pipeline

# a batch as the loader's, without ground truth -> probabilities float32 [R, K]
Scorer = Callable[[dict[str, np.ndarray]], np.ndarray]
Progress = Callable[[int, int], None]

_USED = ("imgs", "sizes", "boxes", "boxes_num", "long_term", "long_term_filled")


@dataclass(frozen=True, eq=False)
class Person:
    """A person at a key frame.

    Args:
        id: the same person has it at other key frames.
        box_norm: float32 [4], x1, y1, x2, y2 as fractions of the picture.
        score: how sure the person is one.
        scores: float32 [K], of the actions; column 0 means nothing.
    """

    id: int
    box_norm: np.ndarray
    score: float
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A key frame and the people in it."""

    moment: KeyMoment
    persons: list[Person]


@dataclass(frozen=True, eq=False)
class VideoActions:
    """What was found in one video.

    Args:
        size: height and width of its pictures.
        times_s: of every frame, since the first one.
        tracks: of every person id: where the person was found, also between the key frames; fractions of the picture.
        looks_s: seconds of the frames in which people were looked for.
    """

    path: str
    video_id: str
    size: tuple[int, int]
    times_s: np.ndarray
    key_frames: list[KeyFrame]
    settings: DetectionSettings
    tracks: Mapping[int, Track]
    looks_s: np.ndarray

    def actions(self, person: Person, threshold: float, most: int | None = None) -> list[tuple[int, str, float]]:
        """(action id, name, score) of the scores from ``threshold`` on, best first."""
        order = 1 + np.argsort(-person.scores[1:], kind="stable")
        kept = [int(k) for k in order if person.scores[k] >= threshold][:most]
        return [(self.settings.class_ids[k], self.settings.names[k], float(person.scores[k])) for k in kept]


@dataclass
class AVAPredictor:
    """A detection model with its preprocessing.

    Args:
        scorer: the network, or its exported program.
        pipeline: PIPELINE.test.
        settings: what else it was trained with.
        batch_size: key frames per run.
        progress: called with (key frames done, all of them).
        max_gap_s: seconds for which a person may be missed and keep their id.
        window: of a network that looks into a feature bank; see ``with_bank``.
    """

    scorer: Scorer
    pipeline: Pipeline
    settings: DetectionSettings
    batch_size: int = 1
    progress: Progress = field(default=lambda done, total: None)
    max_gap_s: float = MAX_GAP_S
    window: Window | None = None

    def __post_init__(self) -> None:
        self.pipeline.refuse_boxes()
        if self.window is None:
            self.pipeline = without_windows(self.pipeline)

    def with_bank(self, bank: Path) -> AVAPredictor:
        """The same, looking into this feature bank instead of those that PIPELINE.test names."""
        return replace(self, pipeline=with_windows_from(self.pipeline, bank))

    def find_people(
        self, reader: ForwardReader, moments: Sequence[KeyMoment], detector: PersonDetector
    ) -> list[np.ndarray]:
        """Per key frame float32 [n, 5]: boxes as fractions of the picture, and scores."""
        if isinstance(detector, ProposalFile):  # fractions already; pixels and back would round them
            return [detector.boxes_norm(moment.timestamp_s) for moment in moments]
        found = []
        for number, moment in enumerate(moments):
            frame = reader.get([moment.frame_index])
            height, width = frame.shape[1:3]
            (boxes,) = detector.detect(frame, [moment.timestamp_s])
            found.append((boxes / np.array([width, height, width, height, 1])).astype(np.float32))
            self.progress(number + 1, len(moments))
        return found

    def find_people_of(
        self, reader: ForwardReader, passes: Sequence[Sequence[KeyMoment]], detector: PersonDetector
    ) -> list[list[np.ndarray]]:
        """``find_people`` of several lists of key frames, going through the video once."""
        if isinstance(detector, ProposalFile):
            return [self.find_people(reader, moments, detector) for moments in passes]
        moments = {moment.frame_index: moment for part in passes for moment in part}
        found = dict(zip(sorted(moments), self.find_people(reader, [moments[i] for i in sorted(moments)], detector)))
        return [[found[moment.frame_index] for moment in part] for part in passes]

    def classify(
        self,
        reader: ForwardReader,
        moments: Sequence[KeyMoment],
        people: Sequence[np.ndarray],
        timestamp_start: float,
        timestamp_end: float | None = None,
        video_id: str = "",
    ) -> list[np.ndarray]:
        """Per key frame the scores of its people's actions, float32 [n, K].

        A key frame without people is not looked at.

        Args:
            people: per key frame float32 [n, 5], as ``find_people`` gives them.
            timestamp_start: second of the first frame.
            timestamp_end: None: clips may reach to the end of the video.
            video_id: what the feature bank calls the video.
        """
        s = self.settings
        shot = shot_until(timestamp_end, timestamp_start, s.clip_fps)
        maker = ClipMaker(self.pipeline, reader, s.clip_fps, timestamp_start, shot, video_id)
        return person_rows(maker, moments, people, self._scores, len(s.names), self.batch_size, self.progress)

    def results(
        self,
        reader: ForwardReader,
        video_id: str,
        moments: Sequence[KeyMoment],
        people: Sequence[np.ndarray],
        scores: Sequence[np.ndarray],
        looks: Sequence[KeyMoment] | None = None,
        seen: Sequence[np.ndarray] | None = None,
    ) -> VideoActions:
        """Ids for everybody, and everything in one place.

        Args:
            moments: the key frames.
            people, scores: per key frame, as ``find_people`` and ``classify`` give them.
            looks: all frames in which people were looked for, the key frames among them, in order of time; None: the
                key frames.
            seen: the people of ``looks``.
        """
        looks, seen = (moments, people) if looks is None or seen is None else (looks, seen)
        size = reader.size()
        scale = np.array([size[1], size[0]] * 2, np.float32)
        times = [look.time_s for look in looks]
        linked = link([boxes[:, :4] * scale for boxes in seen], times, max_gap_s=self.max_gap_s)
        tracks = tracks_of([boxes[:, :4] for boxes in seen], times, linked)
        ids_at = dict(zip(looks, linked))
        ids = [ids_at[moment] for moment in moments]
        key_frames = [
            KeyFrame(
                moment,
                [Person(int(i), box[:4], float(box[4]), row) for i, box, row in zip(own, boxes, rows, strict=True)],
            )
            for moment, own, boxes, rows in zip(moments, ids, people, scores, strict=True)
        ]
        return VideoActions(
            reader.path, video_id, size, reader.times(), key_frames, self.settings, tracks, np.array(times)
        )

    def _scores(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        rows = self.scorer(batch)
        if rows.shape != (len(batch["boxes"]), len(self.settings.names)):
            raise UserError(
                f"the model gives scores {list(rows.shape)} for {len(batch['boxes'])} people, expected "
                f"{len(self.settings.names)} columns; its labels and classes are those of another model"
            )
        return finite_scores(rows, "the detection model")


def scorer_of_network(framework: Any) -> Scorer:
    """The network itself, as ``--test`` runs it."""
    return rows_of_network(framework, "predict")


def rows_of_network(framework: Any, mode: str) -> Scorer:
    """A row per person: with "predict" scores [R, K], with "features" what a feature bank holds of them, [R, C]."""
    import paddle

    framework.eval()
    key = {"predict": "scores", "features": "features"}[mode]

    def rows(batch: dict[str, np.ndarray]) -> np.ndarray:
        with paddle.no_grad():
            tensors = {name: paddle.to_tensor(batch[name]) for name in _USED if name in batch}
            return framework(tensors, mode=mode)[key].astype("float32").numpy()

    return rows


def predictor_of_export(
    model_file: Path,
    params_file: str | Path | None,
    pipeline_for: Callable[[Description], Mapping[str, Any] | None],
    runtime: Runtime,
    batch_size: int,
    say: Say,
) -> AVAPredictor:
    """An exported detection model.

    Args:
        model_file: its program, or the folder that export wrote.
        params_file: None: beside it.
        pipeline_for: gives another PIPELINE.test than the exported one, or None.
        runtime: where it runs.
        say: receives remarks.

    Raises:
        UserError: files missing, damaged or of several exports; a model that takes no boxes.
    """
    program = find_program(program_of_folder(model_file) if model_file.is_dir() else model_file, say)
    params, description = find_params(params_file, program), description_of(program, say)
    here = program.parent / FILE_NAME
    if description is None:
        raise UserError(f"{here}: not there, so how {program.name} wants its clips is unknown; export the model again")
    if not description.detection:
        raise UserError(f"{program}: names whole videos, not people; use tools/predict.py")
    check_files(description, program, params)
    pipeline = pipeline_for_export(description, pipeline_for(description), here)
    settings = settings_of_description(description.detection, str(here))
    noted = description.detection.get(WINDOW)
    window = Window(**noted) if noted else None
    model = ExportedModel(program, params, runtime, say)
    return AVAPredictor(scorer_of_export(model), pipeline, settings, batch_size, window=window)


def scorer_of_export(model: ExportedModel) -> Scorer:
    """An exported program.  Its pictures are of one size, as those of one video are; none, or no people, are fine."""
    return model.run
