"""Tracks of boxes: looked up at key frames, and written."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paddlevideo.ava_files import BEYOND_S
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import Clock, PersonBox, PersonCollector, video_name
from paddlevideo.spans import Span, SpanTable

WHOLE = (0.0, 0.0, 1.0, 1.0)  # the box around the whole picture
_SAME = 1e-6  # of a frame
_CLOSE = 1e-4  # of the picture's side


@dataclass(frozen=True)
class TrackKey:
    """A person at a frame that was drawn.

    Attributes:
        frame: from 0.
        shown: there is a person at this frame.
        stays: and after it, up to the next key.
    """

    frame: int
    box: tuple[float, float, float, float]
    actions: tuple[str, ...]
    shown: bool = True
    stays: bool = True


@dataclass(frozen=True)
class PersonTrack:
    """One person's keys, by frame.  Boxes are interpolated between two keys, actions held."""

    person: str | None
    keys: Sequence[TrackKey]
    where: str

    def at(self, frame: float) -> tuple[tuple[float, ...], tuple[str, ...]] | None:
        """Box and actions at a frame; None: the person is not shown."""
        place = bisect_right(self._pieces, frame, key=lambda piece: piece[0]) - 1
        if place < 0 or frame >= self._pieces[place][1]:
            return None
        _, _, key, following = self._pieces[place]
        if following is None or not following.shown:
            return key.box, key.actions
        share = min(max((frame - key.frame) / (following.frame - key.frame), 0.0), 1.0)
        return tuple(a + (b - a) * share for a, b in zip(key.box, following.box)), key.actions

    def is_whole(self, size: tuple[int, int] | None) -> bool:
        """Whether every box is around the whole picture, which is no person but what happens in it."""
        if size is None or not all(size):
            return False
        shares = [value / size[k % 2] for key in self.keys for k, value in enumerate(key.box)]
        return all(abs(share - WHOLE[k % 4]) < _CLOSE for k, share in enumerate(shares))

    def stretches(self) -> list[tuple[float, float, tuple[str, ...]]]:
        """First and last of the frames with the same actions, and these actions."""
        found: list[tuple[float, float, tuple[str, ...]]] = []
        for start, stop, key, _ in self._pieces:
            if found and found[-1][1] == start and found[-1][2] == key.actions:
                start = found.pop()[0]
            found.append((start, stop, key.actions))
        return found

    @cached_property
    def _pieces(self) -> list[tuple[float, float, TrackKey, TrackKey | None]]:
        """From and up to which frame a key counts, and the next one that it is interpolated to.  A frame reaches from
        half a frame before it to half a frame after it."""
        pieces: list[tuple[float, float, TrackKey, TrackKey | None]] = []
        for key, following in zip(self.keys, [*self.keys[1:], None]):
            if key.shown and key.stays and following is not None:
                pieces.append((key.frame - 0.5, following.frame - 0.5, key, following))
            elif key.shown:
                pieces.append((key.frame - 0.5, key.frame + 0.5, key, None))
        return pieces


def add_tracks(
    tracks: Sequence[PersonTrack],
    video: str,
    clock: Clock,
    found: PersonCollector,
    in_pixels: bool = True,
    size_px: tuple[int, int] | None = None,
    step: int = 1,
    at_even_rate: bool = False,
) -> None:
    """Everybody of one video at every multiple of ``every_s``.

    An action that begins and ends between two multiples gets a key frame in its middle, and so have all others then.

    Args:
        step: every so many frames were annotated; a person may be gone so many frames after the last.
        at_even_rate: the tool counts frames at an even rate whatever the video's is, so its last one is not sure.
    """
    last_s = found.options.last_s_of(video)
    beyond_s = BEYOND_S if at_even_rate else 0.5 / clock.fps
    sound = []
    for track in tracks:
        mistake = _mistake(track, video, clock, last_s + beyond_s, step)
        if mistake:
            found.findings.add(track.where, mistake)
        else:
            sound.append(track)
    for track in sound:
        person = None if track.is_whole(size_px if in_pixels else (1, 1)) else track.person
        for start, stop, actions in track.stretches():  # of half frames
            times_s = clock.second(start + 0.5), clock.second(stop + 0.5)
            found.add_track_segments(track.where, video, *times_s, actions, person)
    if found.options.key_frames:
        _add_keys(sound, video, clock, found, in_pixels, size_px)
        return
    every_s = max(found.options.every_s, 1 / clock.fps)  # never finer than frames
    moments, num_between, num_lost = moments_of(sound, clock, every_s)
    taken = 0
    for frame, second in sorted(moments.items()):
        if second > last_s + BEYOND_S:  # before a key at which the person is gone
            break
        for track in sound:
            seen = track.at(frame)
            if seen is not None:
                taken += 1
                where = f"{track.where}, frame {round(frame)}"
                found.add(where, video, round(second, 6), *seen, track.person, in_pixels, size_px)
    every = f"{found.options.every_s:g} s"
    found.note(f"boxes were resampled from tracks, one every {every} (--every)", taken)
    if num_between:
        found.note(f"key frames lie between, where an action is shorter than {every}", num_between)
    if num_lost:
        found.drop(f"stretches of tracks without an action, shorter than {every}", num_lost)


def _add_keys(
    tracks: Sequence[PersonTrack], video: str, clock: Clock, found: PersonCollector, in_pixels: bool,
    size_px: tuple[int, int] | None,
) -> None:  # fmt: skip
    """The boxes that were drawn, and where a person leaves the last frame before."""
    for track in tracks:
        if track.is_whole(size_px if in_pixels else (1, 1)):
            continue
        frames = {key.frame for key in track.keys if key.shown}
        for key, following in zip(track.keys, track.keys[1:]):
            if key.shown and key.stays and not following.shown and following.frame - 1 > key.frame:
                frames.add(following.frame - 1)
        gaps = sum(not key.shown for key in track.keys[:-1] if key.frame > min(frames, default=0))
        if gaps:
            found.note("times a person was gone between two boxes: the box is interpolated there", gaps)
        for frame in sorted(frames):
            seen = track.at(frame)
            if seen is not None:
                second = round(clock.second(frame), 6)
                found.add(f"{track.where}, frame {frame}", video, second, *seen, track.person, in_pixels, size_px)


def _mistake(track: PersonTrack, video: str, clock: Clock, last_s: float, step: int) -> str | None:
    """What is wrong with a track: two boxes at one frame, or a key after ``last_s``, the last second it may have."""
    shown = [key for key in track.keys if key.shown]
    double = next((a for a, b in zip(shown, shown[1:]) if a.frame == b.frame and a != b), None)
    if double is not None:
        return f"frame {double.frame} has two boxes that differ, expected one: its actions belong to one box"
    ends = ((key, key.frame if key.shown else key.frame - step) for key in track.keys)
    late = next((key for key, frame in ends if clock.second(frame) > last_s), None)
    if late is None:
        return None
    last = math.floor(clock.frame(last_s))
    return f"frame {late.frame} is second {clock.second(late.frame):g}, but {video} has frames 0 to {last}"


def moments_of(tracks: Sequence[PersonTrack], clock: Clock, every_s: float) -> tuple[dict[float, float], int, int]:
    """When tracks are looked up.

    Returns:
        Frame -> second; how many of them lie between multiples of ``every_s``; how many stretches without an action
        are shorter than it, and so not looked up.
    """
    stretches = sorted((stretch for track in tracks for stretch in track.stretches()), key=lambda stretch: stretch[1])
    count = math.floor(clock.second(stretches[-1][1]) / every_s) + 1 if stretches else 0
    regular = [clock.frame(n * every_s) for n in range(count + 1)]
    moments: dict[float, float] = {}
    between: list[float] = []
    num_lost = 0
    for start, stop, actions in stretches:
        first, behind = bisect_left(regular, start), bisect_left(regular, stop)
        moments.update((regular[n], n * every_s) for n in range(first, behind))
        place = bisect_left(between, start)
        if first < behind:
            continue
        if not actions:
            num_lost += 1
        elif place == len(between) or between[place] >= stop:
            insort(between, float((math.ceil(start) + math.ceil(stop) - 1) // 2))
    moments.update((frame, clock.second(frame)) for frame in between)
    return moments, len(between), num_lost


class WrittenTracks:
    """Spans in frames and the boxes of their persons, as annotation tools have them.

    Args:
        table: with ``fps`` of every video, and its ``width`` and ``height`` where boxes are in its pixels.
        people: boxes of persons over time, by the names that the spans have; others are left out.
        times_s: of every frame, float64 [frames], of the videos whose frames are not evenly spaced.

    Raises:
        UserError: a video without a rate, or boxes in pixels without the size of the picture.
    """

    def __init__(
        self, table: SpanTable, people: Sequence[PersonBox] = (), times_s: Mapping[str, np.ndarray] | None = None
    ):
        self._table, self._times_s = table, times_s or {}
        self._boxes: dict[tuple[str, str | None], list[tuple[float, tuple[float, ...]]]] = defaultdict(list)
        self._videos = {video_name(name): name for name in table.video_names()}
        for person in sorted(people, key=lambda person: person.time_s):
            name = self._videos.get(video_name(person.video))
            if name is not None and person.person is not None:
                self._boxes[name, person.person].append((person.time_s, self._fractions(name, person)))

    def rate(self, video: str) -> float:
        """Frames per second."""
        fps = self._table.videos.get(video, {}).get("fps")
        if not fps:
            raise UserError(
                f"the frame rate of {video!r} is not known, and this form counts frames (--videos or --fps)"
            )
        return float(fps)

    def clock(self, video: str) -> Clock:
        """Seconds of its frames."""
        return Clock(self.rate(video), self._times_s.get(video))

    def size_px(self, video: str) -> tuple[int, int]:
        """Width and height."""
        facts = self._table.videos.get(video, {})
        if not (facts.get("width") and facts.get("height")):
            raise UserError(f"the size of the pictures of {video!r} is not known, and this form has pixels (--videos)")
        return int(facts["width"]), int(facts["height"])

    def num_frames(self, video: str) -> int:
        """Of the video, or up to its last span where the duration is not known."""
        ends = [span.end_s for span in self._table.spans if span.video == video]
        return round(self.clock(video).frame(max([self._table.videos.get(video, {}).get("duration_s", 0.0), *ends])))

    def frames_of(self, span: Span) -> tuple[int, int]:
        """The first frame and the one behind the last; at least one frame."""
        clock = self.clock(span.video)
        start, end = clock.frame(span.start_s), clock.frame(span.end_s)
        first = min(round(start), math.ceil(end - _SAME) - 1)  # never behind the frame at which it ends
        return first, max(round(end), first + 1)

    def keys(self, span: Span) -> list[tuple[int, tuple[float, ...]]]:
        """Frames and boxes (fractions) of the span's person: its first and last frame, and those with a box between."""
        shown = self.frames(span.video, span.person)
        if not shown:
            return []
        first, behind = self.frames_of(span)
        frames = sorted({first, behind - 1, *shown})
        return [(frame, self.box_at(span.video, span.person, frame)) for frame in frames if first <= frame < behind]

    def persons(self, video: str) -> list[str]:
        """The persons with boxes, in the order of appearance."""
        return [person for name, person in self._boxes if name == video]

    def frames(self, video: str, person: str | None) -> list[int]:
        """The frames with a box of a person, ascending; none of None."""
        boxes = self._boxes.get((video, person), []) if person is not None else []
        clock = self.clock(video) if boxes else None
        return sorted({round(clock.frame(time_s)) for time_s, _ in boxes})

    def box_at(self, video: str, person: str | None, frame: int) -> tuple[float, ...]:
        """The box of a person at a frame; of one without boxes, and of None, the whole picture."""
        boxes = self._boxes.get((video, person)) if person is not None else None
        if not boxes:
            return WHOLE
        times_s, second = [time_s for time_s, _ in boxes], self.clock(video).second(frame)
        return tuple(float(np.interp(second, times_s, column)) for column in zip(*(box for _, box in boxes)))

    def without_boxes(self) -> int:
        """Number of spans of persons who have no boxes."""
        return sum(span.person is not None and not self.keys(span) for span in self._table.spans)

    def idle(self) -> int:
        """Number of boxes at frames at which their person has no span."""
        ranges: dict[tuple[str, str | None], list[tuple[int, int]]] = defaultdict(list)
        for span in self._table.spans:
            ranges[span.video, span.person].append(self.frames_of(span))
        return sum(
            not any(first <= frame < behind for first, behind in ranges[video, person])
            for video, person in self._boxes
            for frame in self.frames(video, person)
        )

    def _fractions(self, video: str, person: PersonBox) -> tuple[float, ...]:
        if not person.in_pixels:
            return person.box
        width, height = person.size_px or self.size_px(video)
        return tuple(value / side for value, side in zip(person.box, (width, height, width, height)))
