"""What a detection model needs besides its pixels, and what it finds: persons at key frames and their actions."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.ava_files import read_ava_labels
from paddlevideo.classes import RESERVED, UNKNOWN, Classes
from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.inference.key_frames import ForwardReader, KeyMoment
from paddlevideo.inference.timeline import PersonTimelines, TimelineSettings
from paddlevideo.inference.tracking import Track
from paddlevideo.spans import SpanTable

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
        multi_label: a person may do several things at once (sigmoid); False: one of all (softmax).
    """

    class_ids: Sequence[int]
    names: Sequence[str]
    clip_fps: float = 30.0
    timestamp_start: float = 900.0
    timestamp_end: float | None = 1800.0
    person_det_score_thr: float = 0.9
    num_max_proposals: int = 1000
    action_thr: float = 0.002
    multi_label: bool = True

    @classmethod
    def of_config(cls, config: Config, framework: Any, classes: Classes = UNKNOWN) -> DetectionSettings:
        """From DATASET.test (or .valid, .train) and METRIC of a configuration.

        Args:
            framework: the network: ``num_classes`` (K, the reserved column among them), ``action_thr`` and
                ``one_action``.
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
            multi_label=not framework.one_action,
        )

    @classmethod
    def of_description(cls, values: Mapping[str, Any], where: str) -> DetectionSettings:
        """From ``inference.yml``, as ``describe`` gave them.

        Raises:
            UserError: a key is missing.
        """
        known = [field.name for field in fields(cls)]
        missing = [key for key in known if key not in values and key != "multi_label"]  # older files lack it
        if missing:
            raise UserError(f"{where}: detection lacks {', '.join(missing)}; export the model again")
        return cls(**{key: values[key] for key in known if key in values})

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

_LONE_S = 0.5  # how far from a single key frame its persons are drawn


def usual_distance_s(times_s: np.ndarray) -> float:
    """The median distance between neighbours in seconds; a second where there are none.

    Args:
        times_s: ascending; equal ones are one, as two seconds of a file of boxes may show the same frame.
    """
    times_s = np.unique(times_s)
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 2 * _LONE_S


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
        clip_s: seconds of the clip around a key frame that the model scores; None: unknown.
        is_part: detection was interrupted; ``key_frames`` end earlier than the video.
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
    clip_s: float | None = None
    is_part: bool = False

    @functools.cached_property
    def key_times_s(self) -> np.ndarray:
        """Of the key frames, since the first frame."""
        return np.array([key_frame.moment.time_s for key_frame in self.key_frames])

    @functools.cached_property
    def key_every_s(self) -> float:
        """The usual distance between two key frames."""
        return usual_distance_s(self.key_times_s)

    @functools.cached_property
    def detected_every_s(self) -> float:
        """The usual distance between two frames in which persons were detected."""
        return usual_distance_s(self.detected_s)

    @property
    def names(self) -> Sequence[str]:
        """K names, of every column of a person's scores."""
        return self.settings.names

    @property
    def fps(self) -> float:
        """Frames per second on average; 1 of a single frame."""
        length_s = float(self.times_s[-1] - self.times_s[0])
        return (len(self.times_s) - 1) / length_s if length_s > 0 else 1.0

    @property
    def duration_s(self) -> float:
        """Of the video; the last frame counts as long as the others do on average."""
        return round(float(self.times_s[-1]) + 1 / self.fps, 3)

    def spans(self, **rule: Any) -> SpanTable:
        """What each person does over time: spans with ``person``, the track id, and ``video``, the path.

        A key frame's scores stand for the time around it (``PersonTimelines``); the classes of a model of one action
        per person (softmax) exclude one another.  A person who is lost and found again under the same id continues
        within ``gap_s``.

        Args:
            rule: fields of ``TimelineSettings``: on, off, smoothing, smooth_s, min_s, gap_s, background; ``hop_s`` is
                the usual distance of key frames, ``window_s`` the length of the clip around each (unknown: hop_s).

        Raises:
            UserError: values that cannot be, or a background that is no class.
        """
        every_s, name = self.key_every_s, self.path
        own = {"window_s": self.clip_s or every_s, "hop_s": every_s, "exclusive": not self.settings.multi_label}
        settings = TimelineSettings(**{**own, **rule})
        classes = self.names[1:]
        timelines, found, last_s = PersonTimelines(settings, classes, name, self.duration_s), [], -1.0
        for key_frame in self.key_frames:
            if key_frame.time_s > last_s:  # two seconds of a file of boxes may share a frame
                last_s = key_frame.time_s
                found += timelines.push(last_s, {str(p.track_id): p.scores[1:] for p in key_frame.persons})
        height, width = self.size
        facts = {"duration_s": self.duration_s, "fps": round(self.fps, 6), "width": width, "height": height}
        facts |= {"read_to_s": round(last_s + every_s / 2, 3)} if self.is_part and last_s >= 0 else {}
        return SpanTable(found + timelines.finish(), {name: facts}, classes, settings.to_dict())

    def actions(self, person: Person, threshold: float, most: int | None = None) -> list[tuple[int, str, float]]:
        """(action id, name, score) of the scores from ``threshold`` on, best first."""
        order = 1 + np.argsort(-person.scores[1:], kind="stable")
        kept = [int(k) for k in order if person.scores[k] >= threshold][:most]
        return [(self.settings.class_ids[k], self.settings.names[k], float(person.scores[k])) for k in kept]
