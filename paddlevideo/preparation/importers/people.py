"""What all importers share: boxes and segments, options, a summary, and the collector of one file."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.findings import Findings
from paddlevideo.loader.decode.part import last_picture_s
from paddlevideo.video_files import VIDEO_ENDINGS, is_video

LONGEST_S = 86400.0  # of a video that is not there
IDENTITIES = frozenset({"person", "person_id", "id", "track", "track_id", "instance_id"})
PICTURE_NEEDED = "expected names as video/img_00031.jpg or video_00031.jpg; --video names the video of frame_000031.PNG"

_PEOPLE = {"person", "people", "human", "actor", "pedestrian", "player"}  # labels that name whom, not what they do
_TRUE, _FALSE = {"true", "yes", "1"}, {"", "false", "no", "none", "null", "0", "__undefined__", "_default"}
_NAMELIKE = {"none", "null", "0"}  # of _FALSE, what a class may be called, too
_PARTS = re.compile(r"[;|,](?![^()]*\))")  # "talk to (e.g., self)" is one name
_WORD = r"(?:img|image|frame|pic)"
_NUMBER_ONLY = re.compile(rf"(?:{_WORD}[_-]?)?(?P<number>\d{{1,9}})", re.IGNORECASE)
_PICTURE = re.compile(rf"(?P<video>.+?)[/_.-](?:{_WORD}[_-]?)?(?P<number>\d{{1,9}})", re.IGNORECASE)


@dataclass(frozen=True)
class PersonBox:
    """One person at one moment.

    Attributes:
        video: its name, without the ending of a video file.
        time_s: seconds since the video's first frame.
        box: x1, y1, x2, y2; pixels of a picture of ``size_px``, or of the video where that is None and ``in_pixels``.
        actions: names; empty: no action of interest.
        person: an id within the video, or None.
        where: ``file:line`` or ``file: entry``.
        as_shown: pixels of the video as a player shows it, whose pixels are square.
    """

    video: str
    time_s: float
    box: tuple[float, float, float, float]
    actions: tuple[str, ...]
    person: str | None
    where: str
    in_pixels: bool = True
    size_px: tuple[int, int] | None = None
    as_shown: bool = False


class NoSuchVideo(UserError):
    """An annotation names a video that is not there, or may be several."""


class NoSuchFrame(ValueError):
    """A video has fewer frames than an annotation counts."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with a label, without boxes; of a track, an action and who does it (None: no person, but a
    box around the whole picture)."""

    video: str
    start_s: float
    end_s: float
    label: str
    where: str
    person: str | None = None


@dataclass(frozen=True)
class Clock:
    """Which second a frame is at, and back.

    Args:
        fps: frames per second.
        times_s: of every frame, float64 [frames], where they are not evenly spaced; after them all are as long as the
            last one (``last_picture_s``).
    """

    fps: float
    times_s: np.ndarray | None = None

    def second(self, frame: float) -> float:
        if self.times_s is None:
            return frame / self.fps
        last = len(self.times_s) - 1
        return float(np.interp(frame, np.arange(last + 1), self.times_s)) + max(frame - last, 0.0) * self._last_s

    def frame(self, second: float) -> float:
        if self.times_s is None:
            return second * self.fps
        late_s = max(second - float(self.times_s[-1]), 0.0)
        return float(np.interp(second, self.times_s, np.arange(len(self.times_s)))) + late_s / self._last_s

    @cached_property
    def _last_s(self) -> float:
        return last_picture_s(self.times_s, self.fps)


@dataclass(frozen=True)
class ImportOptions:
    """How to read.

    Args:
        fps_of: frames per second of a video by name; called only where an annotation counts frames.
        picture_fps: of pictures' numbers (``video_00031.jpg``); None: the video's.
        first_number: of a video's first picture; None: 0 where CVAT named the pictures of a video, else 1.
        every_s: tracks are looked up every so many seconds.
        attribute: the attribute that holds the actions; None: all of them do.
        units: of tables: ``pixels``, ``fractions``, or ``auto``: a row with a coordinate above 2 is in pixels.
        box_format: of tables: ``xyxy`` or ``xywh``.
        video: the video of files that do not name theirs.
        labels: names of action ids; a name among them is never split at its commas.
        start_s: the second at which annotation counts a video's first frame.
        last_s_of: the second of a video's last frame.
        times_of: the seconds of a video's frames, if they are not evenly spaced.
        own_rate: the rate that a file states counts, and not that of ``fps_of``.
        key_frames: tracks give the boxes that were drawn, and are not looked up every ``every_s``.
        own_names: names in the file stay, and ``video`` is that of what names none.
    """

    fps_of: Callable[[str], float]
    picture_fps: float | None = None
    first_number: int | None = None
    every_s: float = 1.0
    attribute: str | None = None
    units: str = "auto"
    box_format: str = "xyxy"
    video: str | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    start_s: float = 0.0
    last_s_of: Callable[[str], float] = lambda _: LONGEST_S
    times_of: Callable[[str], np.ndarray | None] = lambda _: None
    own_rate: bool = False
    key_frames: bool = False
    own_names: bool = False


@dataclass
class ImportSummary:
    """Counts of what was read, dropped and merged.

    Attributes:
        read: boxes by file.
        dropped: what was left out and why, and how often.
        remarks: what was read in one of several possible ways, resampled or merged, and how often.
        origins: where the classes come from.
        segments: labelled stretches of videos, without boxes.
        track_segments: actions of tracks from their first to their last frame.
        endings: of the videos that a file names with one, by the name without it.
    """

    read: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    origins: dict[str, set[str]] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    track_segments: list[Segment] = field(default_factory=list)
    endings: dict[str, str] = field(default_factory=dict)

    def lines(self, people: Iterable[PersonBox]) -> list[str]:
        """The summary for a terminal; ``people`` are those that are left in the end."""
        people = list(people)
        classes = Counter(name for person in people for name in person.actions)
        idle = sum(not person.actions for person in people)
        lines = [f"read: {count} boxes of {file}" for file, count in self.read.items()]
        lines += [f"dropped: {count} {why}" for why, count in self.dropped.items()]
        lines += [f"note: {count} {what}" for what, count in self.remarks.items()]
        lines.append(f"kept: {len(people)} boxes of people, {idle} of them without an action")
        for name, count in sorted(classes.items()):
            origin = sorted(self.origins.get(name.casefold(), ()))
            lines.append(f"class {name!r}: {count}" + (f" (from {', '.join(origin)})" if origin else ""))
        return lines


class PersonCollector:
    """Takes what an importer finds in one file, and checks what every form must obey.

    Args:
        path: the file.
        form: its form, for the summary.
    """

    def __init__(self, path: Path, form: str, options: ImportOptions, summary: ImportSummary):
        self.path, self.form, self.options, self.summary = path, form, options, summary
        self.findings = Findings(str(path))
        self.people: list[PersonBox] = []
        self._named: set[str] = set()
        self._clocks: dict[str, Clock] = {}
        self._whole_names = {name.casefold() for name in options.labels.values()}

    @contextmanager
    def element(self, where: str) -> Iterator[None]:
        """Turns whatever reading one element raises into a mistake of it; those after it are read."""
        try:
            yield
        except NoSuchVideo as error:
            self.findings.add(where, str(error))
        except UserError:
            raise
        except KeyError as error:
            self.findings.add(where, f"has no {error}")
        except NoSuchFrame as error:
            self.findings.add(where, str(error))
        except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
            self.findings.add(where, f"not as expected in a {self.form} file ({' '.join(str(error).split()):.200})")

    def count(self, boxes: int = 1) -> None:
        """Adds to the boxes that were read."""
        self.summary.read[f"{self.path} ({self.form})"] += boxes

    def drop(self, why: str, count: int = 1) -> None:
        """Notes what is left out: ``polygons: only boxes are people``."""
        self.summary.dropped[why] += count

    def note(self, what: str, count: int = 1) -> None:
        """Notes what is read in one of several possible ways."""
        self.summary.remarks[what] += count

    def video(self, named: str | None) -> str | None:
        """The annotated video: ``--video`` if given, else the one that the file names."""
        if named:
            self._named.add(video_name(named))
            if is_video(named):
                self.summary.endings[video_name(named)] = os.path.splitext(named)[1]
        own = video_name(named) if named else None
        return own or self.options.video if self.options.own_names else self.options.video or own

    def clock(self, video: str) -> Clock:
        """Seconds of a video's frames, or of pictures that were taken of it at another rate."""
        if self.options.picture_fps:
            return Clock(self.options.picture_fps)
        if video not in self._clocks:
            self._clocks[video] = Clock(self.options.fps_of(video), self.options.times_of(video))
            if self._clocks[video].times_s is not None:
                self.note("videos have a variable frame rate: frames are timed by their time stamps (not with --fps)")
        return self._clocks[video]

    def add(
        self,
        where: str,
        video: str,
        time_s: float,
        box: tuple[float, ...],
        actions: tuple[str, ...],
        person: Any = None,
        in_pixels: bool = True,
        size_px: tuple[int, int] | None = None,
        as_shown: bool = False,
    ) -> None:
        """Takes a person; a moment or box that no video can have is a mistake."""
        time_s -= self.options.start_s
        if not all(map(math.isfinite, (time_s, *box))) or len(box) != 4:
            self.findings.add(where, f"second {time_s:g} or box {shown(box)}: expected finite numbers, four for a box")
        elif not 0 <= time_s <= LONGEST_S:
            counted = f" (annotation counts from {self.options.start_s:g}: --start_s)" if self.options.start_s else ""
            self.findings.add(where, f"second {time_s:g} is not within any video{counted}")
        else:
            identity = None if person in (None, "") else str(person)
            x1, y1, x2, y2 = box
            corners = x1, y1, x2, y2
            self.people.append(
                PersonBox(video, time_s, corners, actions, identity, where, in_pixels, size_px, as_shown)
            )

    def add_segment(self, where: str, video: str, start_s: float, end_s: float, label: str) -> None:
        """Takes a labelled stretch of time."""
        start_s, end_s = start_s - self.options.start_s, end_s - self.options.start_s
        if not 0 <= start_s <= end_s <= LONGEST_S:  # also false for nan
            self.findings.add(where, f"expected a segment from a second to a later one, has {start_s:g} to {end_s:g}")
        else:
            self.summary.segments.append(Segment(video, start_s, end_s, label, where))

    def add_track_segments(
        self, where: str, video: str, start_s: float, end_s: float, actions: Iterable[str], person: str | None
    ) -> None:
        """Takes the actions of a track, in a stretch of time in which they are the same."""
        start_s, end_s = max(start_s - self.options.start_s, 0.0), end_s - self.options.start_s
        new = [Segment(video, start_s, end_s, action, where, person) for action in actions if start_s < end_s]
        self.summary.track_segments += new

    def moment_of_picture(self, name: str, named: str | None = None, number_from: int = 1) -> tuple[str, float] | None:
        """Video and second of a picture by its file name; None: the name does not contain them.

        Args:
            named: the video, where the file names it elsewhere.
            number_from: the number of a video's first picture.
        """
        stem = _stem(name)
        match = _NUMBER_ONLY.fullmatch(stem) or _PICTURE.fullmatch(stem)
        video = match and self.video(named or match.groupdict().get("video"))
        if not match or not video:
            return None
        if self.options.first_number is not None:
            number_from = self.options.first_number
        elif number_from == 0 or re.fullmatch(r"(.*/)?frame_\d{6}(\.PNG)?", name):  # CVAT's pictures of a video
            number_from = 0
            self.note("boxes on pictures that are counted from 0 (--first_number)")
        if int(match["number"]) < number_from:
            text = f"picture {name} is number {int(match['number'])}, and pictures count from {number_from}"
            raise NoSuchFrame(f"{text}; --first_number {int(match['number'])}")
        return video, self.second(video, int(match["number"]) - number_from)

    def counts_from(self, names: Iterable[str]) -> int:
        """The number of the first picture: 0 where one of these names has it, else 1."""
        numbers = (_NUMBER_ONLY.fullmatch(stem) or _PICTURE.fullmatch(stem) for stem in map(_stem, names))
        return 0 if any(match and int(match["number"]) == 0 for match in numbers) else 1

    def second(self, video: str, frame: int) -> float:
        """The second of a frame, counted from 0.

        Raises:
            NoSuchFrame: the video ends before it.
        """
        clock, last_s = self.clock(video), self.options.last_s_of(video)
        if not self.options.picture_fps and last_s < LONGEST_S and frame > (last := round(clock.frame(last_s))):
            raise NoSuchFrame(f"frame {frame}, but {video} has frames 0 to {last}")
        return frame / clock.fps if frame < 0 else clock.second(frame)

    def described(
        self, attributes: Mapping[str, Any], label: str = "", bookkeeping: frozenset[str] = frozenset()
    ) -> tuple[tuple[str, ...], str | None]:
        """Actions and identity among the attributes of a box; its label too, unless that only means a person.

        A value may be a name, several (a list, or parted by ``;``, ``|`` or ``,``), or true / false under the action's
        name.  What a tool keeps for itself (``bookkeeping``) is no action, unless ``--attribute`` names it.
        """
        wanted, found = self.options.attribute, list[str]()
        person = next((v for k, v in attributes.items() if k.lower() in IDENTITIES - {wanted} and v != ""), None)
        if label and label.lower() not in _PEOPLE and wanted is None:
            found += self.names(label, "the label")
        for name, value in attributes.items():
            if name != wanted and (wanted is not None or name.lower() in IDENTITIES | bookkeeping):
                continue
            if isinstance(value, Mapping):  # VIA 2's checkboxes
                value = [key for key, ticked in value.items() if ticked]
            for text in value if isinstance(value, list) else [value]:
                for word in self.names(str(text), f"attribute {name!r}"):
                    if word.lower() in _TRUE and (wanted is None or word != "1"):
                        found += self.names(name, f"attribute {name!r}")
                    elif word.lower() in _FALSE and (wanted is None or word != "0"):
                        if word.lower() in _NAMELIKE:
                            self.note(f"values of {name!r} are {word!r} and taken for no action")
                    elif wanted is None and is_number(word):
                        self.note(f"values of {name!r} are numbers and taken for no action (--attribute {name})")
                    else:
                        found.append(word)
        return tuple(dict.fromkeys(found)), None if person is None else str(person)

    def names(self, text: str, origin: str) -> list[str]:
        """The action names in a text, parted by ``;``, ``|`` or ``,`` outside of brackets."""
        text = " ".join(text.split())
        if self.is_listed(text):
            parts = [text]
        else:
            parts = parts_of(text)
            if len(parts) > 1 and "," in text:
                self.note("values with commas are several actions (a name listed in --labels stays whole)")
        for part in parts:
            self.summary.origins.setdefault(part.casefold(), set()).add(origin)
        return parts

    def is_listed(self, word: str) -> bool:
        """Whether ``--labels`` has a class of that name."""
        return word.casefold() in self._whole_names

    def finish(self) -> list[PersonBox]:
        """Everybody in the file.

        Raises:
            ConfigError: mistakes were found.
            UserError: ``--video`` is one name for several videos.
        """
        self.findings.raise_if_any()
        if self.options.own_names:
            return self.people
        if self.options.video and len(self._named) > 1:
            several = ", ".join(sorted(self._named)[:5])
            raise UserError(f"{self.path}: --video {self.options.video}, but it names {len(self._named)}: {several}")
        for named in self._named - {self.options.video}:
            if self.options.video:
                self.note(f"file that names {named!r} is taken as of {self.options.video!r} (--video)")
        return self.people


def parts_of(text: str) -> list[str]:
    """The names in a text, parted by ``;``, ``|`` or ``,`` outside of brackets."""
    return [part.strip() for part in _PARTS.split(text) if part.strip()]


def is_no_action(word: str) -> bool:
    """Whether a value means that nothing is done: empty, ``none``, ``0`` and the like."""
    return word.lower() in _FALSE


def is_name(word: str) -> bool:
    """Whether an attribute's value is read as the name of an action: not as true or false, and not as a number."""
    return word.lower() not in _TRUE | _FALSE and not is_number(word)


def _stem(name: str) -> str:
    """The name of a picture without its ending."""
    return re.sub(r"\.[A-Za-z]\w*$", "", name.replace("\\", "/").lstrip("/"))


def video_name(name: str) -> str:
    """``a/b.mp4`` -> ``a/b``; other endings stay, as they may be part of a name."""
    name = name.replace("\\", "/").lstrip("/")
    return next((name[: -len(e)] for e in VIDEO_ENDINGS if name.lower().endswith(e)), name)


def shown(box: Iterable[float]) -> str:
    """A box for messages."""
    return ", ".join(f"{value:g}" for value in box)


def upright(box: tuple[float, ...], degrees: float) -> tuple[float, float, float, float]:
    """The upright box around one that is turned about its centre."""
    x1, y1, x2, y2 = box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_w = ((x2 - x1) * cos + (y2 - y1) * sin) / 2
    half_h = ((x2 - x1) * sin + (y2 - y1) * cos) / 2
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    return centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h


def is_number(word: str) -> bool:
    """Whether a text is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
