"""Boxes of persons: from the package's tables into the journal, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.boxes import to_pixels
from paddlevideo.errors import UserError
from paddlevideo.inference.tracking import link
from paddlevideo.preparation.importers.people import ImportOptions, PersonBox
from paddlevideo.preparation.person_annotations import read_people
from paddlevideo_studio.journal import HUMAN, Entry
from paddlevideo_studio.persons import decided_lines, found_again
from paddlevideo_studio.project import Project
from paddlevideo_studio.videos import Video

DETECTOR = "detector"  # who found boxes without a model of actions
_INSIDE = 0.5  # share of a box that must lie within the picture
_LATE_S = 0.5  # after the video's end, for seconds that were rounded
_LONGEST_PERSON = 64


def read_boxes(file: Path, video: Video, classes: Sequence[str]) -> list[Entry]:
    """The boxes of a table of people, as ``paddlevideo detect`` and ``paddlevideo persons`` write it."""
    with open(file, encoding="utf-8") as stream:
        if len([line for _, line in zip(range(2), stream)]) < 2:  # a header alone: no person was found
            return []
    people = read_people(file, "csv", ImportOptions(lambda name: video.fps, labels=dict(enumerate(classes))))
    return [entry_of(person, video) for person in people if person.person is not None]


def entry_of(person: PersonBox, video: Video) -> Entry:
    """A line of the journal without its bookkeeping.

    Raises:
        UserError: the box is by more than half not in the picture, has no area, or lies after the video's end.
    """
    sides = person.size_px if person.size_px and all(person.size_px) else (video.width, video.height)
    box = [value / side if person.in_pixels else value for value, side in zip(person.box, (*sides, *sides))]
    inside = [round(min(max(value, 0.0), 1.0), 6) for value in box]
    area = (box[2] - box[0]) * (box[3] - box[1])
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise UserError(f"{person.where}: the box {_shown(person)} has no area within the picture")
    if (inside[2] - inside[0]) * (inside[3] - inside[1]) < _INSIDE * area:
        raise UserError(f"{person.where}: the box {_shown(person)} is by more than half not in the picture")
    if person.time_s > video.duration_s + _LATE_S:
        raise UserError(f"{person.where}: a box is at {person.time_s:.3f} s, after the end of its video")
    return {
        "video": video.file, "time_s": round(min(person.time_s, video.duration_s), 3), "box": inside,
        "units": "fractions", "person": person.person, "actions": list(person.actions),
    }  # fmt: skip


def _shown(person: PersonBox) -> str:
    units = "pixels" if person.in_pixels else "fractions"
    return f"{', '.join(f'{value:g}' for value in person.box)} ({units})"


def joined_rows(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for rows of the same box: tables may have a row per action.

    Raises:
        UserError: two boxes of a person at one moment.
    """
    rows: dict[tuple, Entry] = {}
    for entry in entries:
        known = rows.setdefault((entry["video"], entry["person"], entry["time_s"]), entry)
        if known["box"] != entry["box"]:
            raise UserError(f"person {entry['person']!r} has two boxes at second {entry['time_s']:g}")
        known["actions"] = list(dict.fromkeys(known["actions"] + entry["actions"]))
    return list(rows.values())


def link_persons(people: Sequence[PersonBox], video: Video) -> list[tuple[PersonBox, int | None]]:
    """Boxes of one video with the number of their track where they have no person, else None: by place and time, as
    ``paddlevideo detect`` links them."""
    rows: dict[float, list[PersonBox]] = defaultdict(list)
    for person in people:
        if person.person is None:
            rows[person.time_s].append(person)
    times_s = sorted(rows)
    sides = (video.width, video.height)
    boxes = [np.array([_pixels(person, sides) for person in rows[time_s]]) for time_s in times_s]
    linked: list[tuple[PersonBox, int | None]] = [(person, None) for person in people if person.person is not None]
    for time_s, ids in zip(times_s, link(boxes, times_s)):
        linked += zip(rows[time_s], ids.tolist())
    return linked


def with_free_names(entries: Sequence[Entry], taken: Iterable[str]) -> list[Entry]:
    """Entries of one video, where a number in ``track`` stands for a person without a name yet.

    Args:
        taken: persons that the video has.
    """
    names = _free_names({*taken} | {entry["person"] for entry in entries})
    given: dict[int, str] = {}
    named = []
    for entry in entries:
        track = entry.get("track")
        if track is not None and track not in given:
            given[track] = next(names)
        content = {key: value for key, value in entry.items() if key != "track"}
        named.append(content if track is None else {**content, "person": given[track]})
    return named


def check_person(text: str) -> str:
    """A person's name.

    Raises:
        UserError: empty, longer than 64 characters, with control characters, or with a blank at an end.
    """
    if not text.strip() or text != text.strip() or len(text) > _LONGEST_PERSON or not text.isprintable():
        wanted = f"1 to {_LONGEST_PERSON} printable characters without a blank at the ends"
        raise UserError(f"person: expected {wanted}, got {text!a:.80}")
    return text


def _pixels(person: PersonBox, sides: tuple[int, int]) -> np.ndarray:
    box = np.array([person.box], float)
    if not person.in_pixels:
        return to_pixels(box, *sides)[0]
    own = person.size_px if person.size_px and all(person.size_px) else sides
    return box[0] * np.tile(np.array(sides) / own, 2)


def _free_names(taken: set[str | None]) -> Iterable[str]:
    return (str(number) for number in range(1, 10**9) if str(number) not in taken)


def take_boxes(
    project: Project, video: Video, boxes: Sequence[Entry], by: str, run: int, id_of: Callable[[int, str], str]
) -> dict[str, Any]:
    """The boxes of a run in place of those of earlier ones, but of persons whose boxes a person has made or corrected:
    both would be one track.

    Args:
        boxes: with the names of ``with_own_names``.
    """
    current = project.people.current(video.file)
    kept, by_hand = _corrected(project, video, current)
    added = [
        {**entry, "id": key, "run": run}
        for number, entry in enumerate(boxes)
        if entry["person"] not in kept | by_hand and project.people.entry(key := id_of(run, f"box {number}")) is None
    ]
    gone = [
        {"video": video.file, "removed": True, "replaces": entry["id"]}
        for entry in current
        if entry["by"] != HUMAN and entry["person"] not in kept and entry.get("run") != run
    ]
    project.add_classes([action for entry in added for action in entry["actions"]])
    project.people.append([*gone, *added], by)
    return {"boxes": len(boxes), "boxes_added": len(added)}


def _corrected(project: Project, video: Video, current: Sequence[Entry]) -> tuple[set[str], set[str]]:
    """The persons of runs that a person has corrected, removed or named otherwise; those that only a person made."""
    found = {line["person"] for line in project.people.lines(video.file) if line["by"] != HUMAN and "person" in line}
    by_hand = {entry["person"] for entry in current if entry["by"] == HUMAN}
    decided = {line["person"] for line in decided_lines(project.people, video.file)}
    return (by_hand & found) | decided, by_hand - found


def with_own_names(
    project: Project, video: Video, boxes: Sequence[Entry], spans: Sequence[Entry] = ()
) -> tuple[list[Entry], list[Entry]]:
    """Boxes and spans of a run, with the project's names of persons.

    A track at the place of a corrected one has the name of that person; others whose names corrected persons or persons
    made by hand have get free ones: names of runs are numbers in the order of appearance.
    """
    kept, own = _corrected(project, video, project.people.current(video.file))
    same = found_again(project.people, video.file, boxes, kept)
    persons = dict.fromkeys(entry.get("person") for entries in (boxes, spans) for entry in entries)
    names = _free_names({*persons} | own | kept)
    taken = own | kept | {*same.values()}
    others = {person: same.get(person) or next(names) for person in persons if person in same or person in taken}

    def named(entries: Sequence[Entry]) -> list[Entry]:
        return [{**e, "person": others[e["person"]]} if e.get("person") in others else e for e in entries]

    return named(boxes), named(spans)


def people_of(project: Project, names: dict[str, str], wanted: Callable[[Entry], bool]) -> list[PersonBox]:
    """The current boxes of some videos, one of a person at a moment: of several the newest.

    Args:
        names: of the videos, by their files.
        wanted: which boxes.
    """
    rows: dict[tuple, Entry] = {}
    for entry in project.people.current():
        if entry["video"] in names and wanted(entry):
            rows[entry["video"], entry["person"], round(entry["time_s"], 3)] = entry
    return [
        PersonBox(names[entry["video"]], entry["time_s"], tuple(entry["box"]), tuple(entry["actions"]),
                  entry["person"], entry["id"], in_pixels=False)
        for entry in rows.values()
    ]  # fmt: skip
