"""Boxes of persons as key frames: looked up at a rate, and the spans of what the persons do.

Between two boxes of a person the box is interpolated, and the actions of the first one hold until the next.  There is
no person before the first box and after the last one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from paddlevideo.errors import UserError
from paddlevideo.findings import Findings
from paddlevideo.preparation.importers.people import Clock, ImportSummary, PersonBox, Segment
from paddlevideo.preparation.importers.tracks import PersonTrack, TrackKey, moments_of

_CLOCK = Clock(1000.0)  # moments are told apart by the millisecond


@dataclass(frozen=True)
class KeyFrames:
    """The key frames of one person in one video.

    Attributes:
        first: the earliest of its boxes: video, person, units of the boxes.
        track: the same with the milliseconds as frames.
    """

    first: PersonBox
    track: PersonTrack

    @property
    def range_ms(self) -> tuple[int, int]:
        """The first and the last key frame."""
        return self.track.keys[0].frame, self.track.keys[-1].frame

    def at(self, time_s: float) -> PersonBox | None:
        """The person at a second; None: before the first or after the last key frame."""
        found = self.track.at(_CLOCK.frame(time_s))
        if found is None:
            return None
        return replace(self.first, time_s=time_s, box=found[0], actions=found[1])


def key_frames_of(people: Iterable[PersonBox]) -> list[KeyFrames]:
    """The key frames of every person; boxes without a person are left out.

    Raises:
        ConfigError: a person has two boxes at one moment, or boxes in several units.
    """
    people = [person for person in people if person.person is not None]
    findings = Findings(people[0].where.split(":")[0] if people else "")
    rows: dict[tuple[str, str | None], dict[int, PersonBox]] = defaultdict(dict)
    for person in sorted(people, key=lambda person: person.time_s):
        own, moment = rows[person.video, person.person], round(_CLOCK.frame(person.time_s))
        known = own.setdefault(moment, person)
        units = next(iter(own.values()))
        if known.box != person.box:
            findings.add(person.where, f"person {person.person!r} has two boxes at second {person.time_s:g}")
        elif (units.in_pixels, units.size_px) != (person.in_pixels, person.size_px):
            text = "pixels here and fractions, or pixels of another size, elsewhere; expected the same units for all"
            findings.add(person.where, f"the boxes of person {person.person!r} are {text}")
        elif known is not person:  # a line per action
            own[moment] = replace(known, actions=tuple(dict.fromkeys(known.actions + person.actions)))
    findings.raise_if_any()
    found = []
    for (_, name), own in rows.items():
        keys = [TrackKey(moment, person.box, person.actions) for moment, person in own.items()]
        first = next(iter(own.values()))
        found.append(KeyFrames(first, PersonTrack(name, keys, first.where)))
    return found


def sampled(people: Sequence[PersonBox], every_s: float, summary: ImportSummary) -> list[PersonBox]:
    """Everybody of a file at every multiple of ``every_s`` between their first and last key frame.

    A person with no such multiple gives one sample, at the first key frame; an action that begins and ends between two
    multiples gives one in its middle.  All persons who are there then are sampled with it.  Boxes without a person are
    as they were.

    Args:
        summary: what was interpolated and dropped is added to it.

    Raises:
        ConfigError: see ``key_frames_of``.
        UserError: ``every_s`` is below a millisecond.
    """
    if every_s < 1 / _CLOCK.fps:
        raise UserError(f"expected samples at least 0.001 s apart, got {every_s:g} s")
    by_video: dict[str, list[KeyFrames]] = defaultdict(list)
    for found in key_frames_of(people):
        by_video[found.first.video].append(found)
    samples = [person for person in people if person.person is None]
    for tracks in by_video.values():
        moments, num_between, num_lost = moments_of([found.track for found in tracks], _CLOCK, every_s)
        times_s = _with_all(tracks, moments.values())
        own = [person for found in tracks for person in _within(found, times_s)]
        samples += sorted(own, key=lambda person: person.time_s)
        summary.remarks[f"boxes were sampled from key frames, one every {every_s:g} s (--every_s)"] += len(own)
        if num_between:
            summary.remarks[f"samples lie between, where an action is shorter than {every_s:g} s"] += num_between
        if num_lost:
            summary.dropped[f"stretches of persons without an action, shorter than {every_s:g} s"] += num_lost
    return samples


def _within(found: KeyFrames, times_s: Sequence[float]) -> list[PersonBox]:
    """A person at those of some ascending moments that are between the first and the last key frame."""
    first_s, last_s = (moment / _CLOCK.fps for moment in found.range_ms)
    part = times_s[bisect_left(times_s, first_s) : bisect_right(times_s, last_s)]
    return [person for time_s in part if (person := found.at(time_s)) is not None]


def _with_all(tracks: Sequence[KeyFrames], times_s: Iterable[float]) -> list[float]:
    """The moments, and the first key frame of each person who is there at none of them."""
    known = sorted(round(time_s, 3) for time_s in times_s)
    more = set()
    for found in tracks:
        first_s, last_s = (moment / _CLOCK.fps for moment in found.range_ms)
        place = bisect_left(known, first_s)
        if place == len(known) or known[place] > last_s:
            more.add(first_s)
    return sorted({*known, *more})


def action_segments(people: Iterable[PersonBox], summary: ImportSummary) -> list[Segment]:
    """What persons do from when to when, as their key frames have it: a segment per action and stretch.

    Args:
        summary: actions of a last key frame, which last no time, are counted in it.

    Raises:
        ConfigError: see ``key_frames_of``.
    """
    segments = []
    for found in key_frames_of(people):
        last_ms = found.range_ms[1]
        for start, stop, actions in found.track.stretches():  # of half milliseconds
            times_s = (start + 0.5) / _CLOCK.fps, min(stop + 0.5, last_ms) / _CLOCK.fps
            if times_s[0] < times_s[1]:
                segments += [
                    Segment(found.first.video, *times_s, action, found.first.where, found.first.person)
                    for action in actions
                ]
            elif actions:
                summary.dropped["actions of a person's last key frame, which last no time"] += len(actions)
    return segments
