"""Tracks of boxes, looked up at key frames."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from paddlevideo.ava_files import BEYOND_S
from paddlevideo.preparation.importers.people import Clock, PersonCollector


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
) -> None:
    """Everybody of one video at every multiple of ``every_s``.

    An action that begins and ends between two multiples gets a key frame in its middle, and so have all others then.

    Args:
        step: every so many frames were annotated; a person may be gone so many frames after the last.
    """
    last_s = found.options.last_s_of(video)
    sound = []
    for track in tracks:
        mistake = _mistake(track, video, clock, last_s, step)
        if mistake:
            found.findings.add(track.where, mistake)
        else:
            sound.append(track)
    every_s = max(found.options.every_s, 1 / clock.fps)  # never finer than frames
    moments, num_between, num_lost = _moments(sound, clock, every_s)
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


def _mistake(track: PersonTrack, video: str, clock: Clock, last_s: float, step: int) -> str | None:
    """What is wrong with a track: two boxes at one frame, or a key after the video's end."""
    shown = [key for key in track.keys if key.shown]
    double = next((a for a, b in zip(shown, shown[1:]) if a.frame == b.frame and a != b), None)
    if double is not None:
        return f"frame {double.frame} has two boxes that differ, expected one: its actions belong to one box"
    ends = ((key, key.frame if key.shown else key.frame - step) for key in track.keys)
    late = next((key for key, frame in ends if clock.second(frame) > last_s + BEYOND_S), None)
    if late is None:
        return None
    return f"frame {late.frame} is second {clock.second(late.frame):g}, but {video} lasts from 0 to {last_s:.2f} s"


def _moments(tracks: Sequence[PersonTrack], clock: Clock, every_s: float) -> tuple[dict[float, float], int, int]:
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
