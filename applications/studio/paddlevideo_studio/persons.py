"""Persons of a video as they are merged, split, and found again: what becomes of the boxes of their tracks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from paddlevideo.boxes import paired_iou
from paddlevideo_studio.journal import HUMAN, Entry, Journal
from paddlevideo_studio.project import content_of

_MOMENT_S = 0.001  # moments are told apart by the millisecond
_SAME_IOU = 0.5  # mean overlap of the tracks of one person
_SHARED = 0.5  # share of the shorter track's boxes at which both are there


def renamed_boxes(current: Sequence[Entry], person: str, to: str, from_s: float) -> list[Entry]:
    """Lines of the journal that give a person's boxes from a second on to another person.

    Where the second lies between two boxes, the person ends and the other one begins with the box between them and the
    actions that hold there: the first a millisecond earlier, so that there is one box at every moment.  Where both have
    a box at one moment, one box stays, by a person where one of them is, with the actions of both.

    Args:
        current: boxes of the video.
    """
    from_s = round(from_s, 3)
    track = sorted((entry for entry in current if entry["person"] == person), key=lambda entry: entry["time_s"])
    earlier = [entry for entry in track if entry["time_s"] < from_s]
    moved = [entry for entry in track if entry["time_s"] >= from_s]
    others = {round(entry["time_s"], 3): entry for entry in current if entry["person"] == to}
    lines: list[Entry] = []
    added: list[Entry] = []
    if earlier and moved:
        ends = earlier[-1], moved[0]
        if (last_s := round(from_s - _MOMENT_S, 3)) > ends[0]["time_s"]:
            lines.append(_between(*ends, last_s))
        if moved[0]["time_s"] > from_s:
            added.append(_between(*ends, from_s))
    for entry in [*added, *moved]:
        other = others.get(round(entry["time_s"], 3))
        replaces = {"replaces": entry["id"]} if "id" in entry else {}
        if other is None:
            lines.append({**content_of(entry), "person": to, **replaces, "by": HUMAN})
            continue
        kept = entry if entry["by"] == HUMAN != other["by"] else other
        actions = list(dict.fromkeys([*other["actions"], *entry["actions"]]))
        lines.append({**content_of(kept), "person": to, "actions": actions, "replaces": other["id"], "by": HUMAN})
        if replaces:
            lines.append({"video": entry["video"], "removed": True, **replaces, "by": HUMAN})
    return lines


def _between(one: Entry, other: Entry, time_s: float) -> Entry:
    """The interpolated box, with the actions of the first one, which hold until the second."""
    share = (time_s - one["time_s"]) / (other["time_s"] - one["time_s"])
    box = [round(a + share * (b - a), 6) for a, b in zip(one["box"], other["box"])]
    return {**content_of(one), "time_s": time_s, "box": box, "held": True, "by": HUMAN}


def decided_lines(journal: Journal, video: str) -> Iterator[Entry]:
    """Lines of runs that a person has changed, removed or given to another person."""
    for line in journal.lines(video):
        newest = journal.newest(line["id"])
        if line["by"] != HUMAN and newest is not line and newest["by"] == HUMAN and "person" in line:
            yield line


def found_again(journal: Journal, video: str, boxes: Sequence[Entry], corrected: set[str]) -> dict[str, str]:
    """Persons of a run that are persons whose boxes a person has corrected, by the overlap of their tracks over time.

    Args:
        boxes: of the run.
        corrected: names in earlier runs.

    Returns:
        Name in the run -> the name that the corrected person has now.
    """
    known = _tracks_of_runs(journal, video, corrected)
    same: dict[str, str] = {}
    for person, track in _by_person(boxes).items():
        overlaps = [(_overlap(track, own), name) for own, name in known]
        best, name = max(overlaps, default=(0.0, ""))
        if best >= _SAME_IOU:
            same[person] = name
    return same


def _tracks_of_runs(journal: Journal, video: str, corrected: set[str]) -> list[tuple[list[Entry], str]]:
    """The boxes that runs found of corrected persons, each track with its person's present name."""
    decided = {(line.get("run"), line["person"]) for line in decided_lines(journal, video)}
    groups: dict[tuple, list[Entry]] = defaultdict(list)
    for line in journal.lines(video):
        if line["by"] != HUMAN and line.get("person") in corrected:
            groups[line.get("run"), line["person"]].append(line)
    tracks = []
    for key, lines in groups.items():
        if key not in decided and not any(journal.stands(line["id"]) for line in lines):
            continue  # a later run took its place before a person corrected it
        newest = (journal.newest(line["id"]) for line in lines)
        names = Counter(entry["person"] for entry in newest if not entry.get("removed"))
        tracks.append((sorted(lines, key=lambda line: line["time_s"]), max(names, key=names.get, default=key[1])))
    return tracks


def _by_person(boxes: Sequence[Entry]) -> dict[str, list[Entry]]:
    tracks: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(boxes, key=lambda entry: entry["time_s"]):
        tracks[entry["person"]].append(entry)
    return tracks


def _overlap(track: Sequence[Entry], other: Sequence[Entry]) -> float:
    """Mean IoU at the moments of the first track at which the second one, interpolated, is there; 0: too few."""
    times_s, other_s = (np.array([entry["time_s"] for entry in each]) for each in (track, other))
    boxes, other_boxes = (np.array([entry["box"] for entry in each], float) for each in (track, other))  # [T, 4]
    shared = (times_s >= other_s[0] - _MOMENT_S) & (times_s <= other_s[-1] + _MOMENT_S)
    if shared.sum() < max(_SHARED * min(len(track), len(other)), 1):
        return 0.0
    there = np.stack([np.interp(times_s[shared], other_s, column) for column in other_boxes.T], axis=1)
    return float(paired_iou(boxes[shared], there).mean())
