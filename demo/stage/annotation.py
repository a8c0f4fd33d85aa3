"""Scenes of the synthetic stage to the files of an AVA-style data set: rows, person boxes, labels, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from demo.stage.actors import BASIC_LABELS, LONG_LABELS, Scene, labels_at, plan_long, plan_short
from demo.stage.drawing import Room, boxes_at, draw, make_room
from paddlevideo.ava_files import AVARows, img_key

SPLITS = ("train", "val", "test")
EXCLUDED_SHARE = 0.01
MISSED_SHARE, FALSE_SHARE = 0.03, 0.15  # of people; per key frame: the imitated detector's, in val and test


@dataclass(frozen=True)
class Settings:
    """What all videos of a data set have in common.

    Args:
        seed: of all draws.
        size_px: width and height.
        length_s: seconds per video; ``length_s * fps + 1`` frames, so that both ends are whole seconds.
        timestamp_start: AVA's second of the first frame.
        long: the profile with actions that earlier ones decide.
    """

    seed: int = 0
    size_px: tuple[int, int] = (128, 96)
    length_s: int = 16
    fps: int = 30
    timestamp_start: int = 900
    long: bool = False

    @property
    def siblings(self) -> int:
        """Videos that come from one scene's draws."""
        return 4 if self.long else 2

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; ids count from 1."""
        return BASIC_LABELS[:-1] + LONG_LABELS if self.long else BASIC_LABELS  # no bar is held in the long one


@dataclass(frozen=True)
class Video:
    """One video.  ``sibling`` of a short scene: 1 is played backwards; of a long one: bit 0 taken, bit 1 returns."""

    split: str
    number: int  # of the scene
    sibling: int

    def name(self, settings: Settings) -> str:
        return f"{self.split}_{self.number * settings.siblings + self.sibling:05d}"


@dataclass
class KeyFrames:
    """The annotation of one video: parallel lists, one entry per key frame."""

    video: str
    timestamp: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)  # float64 [P, 4]
    labels: list[list[list[str]]] = field(default_factory=list)  # by person
    proposals: list[np.ndarray] = field(default_factory=list)  # float32 [n, 5]
    excluded: list[int] = field(default_factory=list)  # timestamps


def rng_of(settings: Settings, video: Video, *more: int) -> np.random.Generator:
    """The generator of a scene; siblings share it."""
    return np.random.default_rng([settings.seed, int(settings.long), SPLITS.index(video.split), video.number, *more])


def make_scene(settings: Settings, video: Video) -> tuple[Scene, Room, bool]:
    """The script, the room, and whether the video plays them backwards."""
    rng = rng_of(settings, video)
    width_px, height_px = settings.size_px
    width = 96.0 * width_px / height_px
    if settings.long:
        scene = plan_long(rng, settings.length_s, width, bool(video.sibling & 1), bool(video.sibling & 2))
    else:
        scene = plan_short(rng, settings.length_s, width)
    return scene, make_room(rng, scene, width_px, height_px), not settings.long and video.sibling == 1


def frames_of(settings: Settings, scene: Scene, room: Room, backwards: bool) -> Iterator[np.ndarray]:
    """All frames in the order of play, uint8 [H, W, 3] RGB."""
    for index in range(settings.length_s * settings.fps + 1):
        time_s = index / settings.fps
        yield draw(scene, room, settings.length_s - time_s if backwards else time_s)


def annotate(settings: Settings, video: Video) -> KeyFrames:
    """Boxes, labels and an imitated detector's boxes for every whole second that has one on either side."""
    scene, room, backwards = make_scene(settings, video)
    found = KeyFrames(video.name(settings))
    detector = rng_of(settings, video, 1 + video.sibling)
    drawn = rng_of(settings, video, 0).random(settings.length_s + 1)  # the same moments in all siblings
    for second in range(1, settings.length_s):
        moment = settings.length_s - second if backwards else second
        boxes = np.round(boxes_at(scene, room, moment), 3)  # as the csv holds them
        found.timestamp.append(settings.timestamp_start + second)
        found.boxes.append(boxes)
        found.labels.append(labels_at(scene, moment, backwards))
        found.proposals.append(detect(detector, boxes, video.split != "train"))
        if drawn[moment] < EXCLUDED_SHARE:
            found.excluded.append(settings.timestamp_start + second)
    return found


def detect(rng: np.random.Generator, boxes: np.ndarray, faulty: bool) -> np.ndarray:
    """Boxes of an imitated person detector: a little off, with scores; ``faulty``: some missed, some made up.

    Returns:
        float32 [n, 5], best score first.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    moved = boxes + rng.normal(0.0, 0.018, boxes.shape) * np.concatenate([sides, sides], axis=1)
    scores = 1.0 - 0.08 * rng.random(len(boxes)) ** 2
    keep = rng.random(len(boxes)) >= (MISSED_SHARE if faulty else 0.0)
    found = [np.column_stack([moved, scores])[keep]]
    if faulty and rng.random() < FALSE_SHARE:
        width, height = rng.uniform(0.1, 0.25), rng.uniform(0.25, 0.45)
        x, y = rng.uniform(0.0, 1.0 - width), rng.uniform(0.0, 1.0 - height)
        found.append(np.array([[x, y, x + width, y + height, rng.uniform(0.3, 0.98)]]))
    table = np.concatenate(found)
    table[:, :4] = np.clip(table[:, :4], 0.0, 1.0)
    return table[np.argsort(-table[:, 4], kind="stable")].astype(np.float32)


def rows_of(path: str, parts: Iterable[KeyFrames], labels: Sequence[str]) -> AVARows:
    """The csv's columns: a line per person and action."""
    ids = {name: number for number, name in enumerate(labels, 1)}
    parts = list(parts)
    cells = [
        (index, timestamp, *box, ids[name], person)
        for index, part in enumerate(parts)
        for timestamp, boxes, people in zip(part.timestamp, part.boxes, part.labels)
        for person, (box, names) in enumerate(zip(boxes.tolist(), people))
        for name in names
    ]
    table = np.array(cells, np.float64).reshape(-1, 8)
    return AVARows(
        path,
        [part.video for part in parts],
        table[:, 0].astype(np.int32),
        table[:, 1],
        table[:, 2:6],
        table[:, 6].astype(np.int32),
        table[:, 7].astype(np.int32),
        line=np.arange(1, len(table) + 1, dtype=np.int32),
    )


def proposals_of(parts: Iterable[KeyFrames]) -> dict[str, np.ndarray]:
    """Detected boxes by key frame."""
    return {
        img_key(part.video, timestamp): boxes
        for part in parts
        for timestamp, boxes in zip(part.timestamp, part.proposals)
    }


@dataclass(frozen=True)
class Counts:
    """People of one split, and the number of people per action."""

    videos: int
    key_frames: int
    people: int
    by_label: Mapping[str, int]

    def chance(self, names: Iterable[str] | None = None) -> float:
        """Mean share of people with a label, over those labels that occur: the mAP of constant scores."""
        shares = [n / self.people for name, n in self.by_label.items() if n and (names is None or name in names)]
        return sum(shares) / len(shares) if shares else float("nan")


def count(parts: Sequence[KeyFrames]) -> Counts:
    """Counts what the csv of ``parts`` holds, excluded key frames left out."""
    by_label: Counter[str] = Counter()
    key_frames = people = 0
    for part in parts:
        for timestamp, found in zip(part.timestamp, part.labels):
            if timestamp not in part.excluded:
                key_frames += 1
                people += len(found)
                by_label.update(name for names in found for name in names)
    return Counts(len(parts), key_frames, people, by_label)
