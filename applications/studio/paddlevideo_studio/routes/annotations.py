"""Spans and boxes of persons: read, changed in steps, taken back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError
from paddlevideo.spans import LONGEST_S, Span
from paddlevideo_studio.boxes import check_person
from paddlevideo_studio.journal import HUMAN, Entry, Journal
from paddlevideo_studio.persons import renamed_boxes
from paddlevideo_studio.project import content_of
from paddlevideo_studio.routes.body import Body
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.videos import Video
from paddlevideo_studio.views import people_view, spans_view
from paddlevideo_studio.work import run_spans

router = APIRouter(prefix="/api/videos/{key}", tags=["annotations"])
_MOST = 10_000  # changes of one request


class _Change(Body):
    id: str | None = None
    removed: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> _Change:
        if self.removed and self.id is None:
            raise ValueError("removed needs an id")
        return self


class SpanChange(_Change):
    """A new span, one in the place of ``id``, or ``removed``."""

    start_s: float | None = None
    end_s: float | None = None
    label: str | None = None
    person: str | None = None


class BoxChange(_Change):
    """A new box, one in the place of ``id``, or ``removed``; ``hold``: the boxes after it get its actions, too."""

    time_s: float | None = None
    box: tuple[float, float, float, float] | None = None
    person: str | None = None
    actions: list[str] = Field(default_factory=list, max_length=100)
    hold: bool = False


class _HeldBox(BoxChange):
    """A box that has the actions of an earlier one."""


class SpanChanges(Body):
    """One step of undo."""

    changes: list[SpanChange] = Field(min_length=1, max_length=_MOST)


class BoxChanges(Body):
    """One step of undo."""

    changes: list[BoxChange] = Field(min_length=1, max_length=_MOST)


class Undo(Body):
    """Which journal."""

    what: Literal["spans", "people"]


class PersonChange(Body):
    """Another name of a person, from a second on."""

    person: str
    to: str
    from_s: float = 0.0


@router.get("/spans")
def get_spans(studio: State, key: str, run: int | None = None) -> dict[str, Any]:
    """The current spans; those of a run as the model found them, with the present names of its classes."""
    video = studio.video(key)
    if run is not None:
        job = studio.jobs.get(run)
        if job is None or job.kind != "analyse" or job.video != video.id:
            raise HTTPException(404, "there is no such analysis of this video")
        return {"run": run, "model": job.model, "spans": run_spans(studio.project, job, studio.jobs.folder(job))}
    with studio.project.lock:
        return spans_view(studio.project, video)


@router.put("/spans")
def change_spans(studio: State, key: str, body: SpanChanges) -> dict[str, Any]:
    """Changes spans, all of them or none."""
    with studio.project.lock:
        video = studio.ready(key)
        names = set(studio.project.class_names())

        def entry(change: SpanChange) -> Entry:
            if change.start_s is None or change.end_s is None or change.label is None:
                raise UserError("a span needs start_s, end_s and label")
            try:
                span = Span(change.start_s, change.end_s, change.label, None, change.person or None, video.file)
            except ValueError as error:
                raise UserError(str(error)) from None
            _check_class(span.label, names)
            return {**span.to_dict(), "end_s": video.checked_end(span.start_s, span.end_s)}

        _apply(studio, studio.project.spans, video, body.changes, entry)
        _tell(studio, video, "spans")
        return spans_view(studio.project, video)


@router.get("/people")
def get_people(studio: State, key: str, from_s: float = 0.0, to_s: float = LONGEST_S) -> dict[str, Any]:
    """The current boxes between two seconds; of each person also the one before and the one after."""
    video = studio.video(key)
    with studio.project.lock:
        return people_view(studio.project, video, from_s, to_s)


@router.put("/people")
def change_people(
    studio: State, key: str, body: BoxChanges, from_s: float = 0.0, to_s: float = LONGEST_S
) -> dict[str, Any]:
    """Changes boxes, all of them or none; answers as ``get_people``."""
    with studio.project.lock:
        video = studio.ready(key)
        names = set(studio.project.class_names())

        def entry(change: BoxChange) -> Entry:
            if change.time_s is None or change.box is None or change.person is None:
                raise UserError("a box needs time_s, box and person")
            if not 0 <= change.time_s <= LONGEST_S:
                raise UserError(f"time_s: expected seconds from 0, got {change.time_s!r}")
            _check_time(change.time_s, video)
            x1, y1, x2, y2 = (round(value, 6) for value in change.box)
            if not (all(map(math.isfinite, change.box)) and 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
                raise UserError(f"box: expected fractions x1 < x2 and y1 < y2 from 0 to 1, got {list(change.box)}")
            for action in change.actions:
                _check_class(action, names)
            return {
                "video": video.file, "time_s": round(min(change.time_s, video.duration_s), 3), "box": [x1, y1, x2, y2],
                "units": "fractions", "person": check_person(change.person),
                "actions": list(dict.fromkeys(change.actions)),
                **({"held": True} if isinstance(change, _HeldBox) else {}),
            }  # fmt: skip

        current = studio.project.people.current(video.file)
        _apply(studio, studio.project.people, video, [*body.changes, *_held(body.changes, current)], entry)
        _tell(studio, video, "people")
        return people_view(studio.project, video, from_s, to_s)


def _held(changes: Sequence[BoxChange], current: Sequence[Entry]) -> list[_HeldBox]:
    """The boxes after those with ``hold``: of the same person, up to the next one by a person, or by a model with
    another action than the one before."""
    own = {change.id for change in changes}
    following: dict[str, _HeldBox] = {}
    for change in changes:
        if not change.hold or change.time_s is None:
            continue
        start_s = change.time_s
        track = sorted((e for e in current if e["person"] == change.person), key=lambda entry: entry["time_s"])
        others = (each.time_s for each in changes if each is not change and each.person == change.person)
        end_s = min((time_s for time_s in others if time_s is not None and time_s > start_s), default=LONGEST_S)
        before: list[str] = []
        for entry in track:
            if entry["id"] == change.id or entry["time_s"] <= start_s:
                before = entry["actions"]
                continue
            by_person = entry["id"] in own or (entry["by"] == HUMAN and not entry.get("held"))
            other_action = bool(entry["actions"]) and {*entry["actions"]} != {*before}
            if by_person or other_action or entry["time_s"] >= end_s:
                break
            keys = ("id", "time_s", "box", "person")
            following[entry["id"]] = _HeldBox(**{key: entry[key] for key in keys}, actions=change.actions)
    return [*following.values()]


@router.post("/undo")
def undo(studio: State, key: str, body: Undo) -> dict[str, Any]:
    """Takes the last step back, in both journals where it is of both."""
    with studio.project.lock:
        project, video = studio.project, studio.video(key)
        journals = {"spans": project.spans, "people": project.people}
        change = journals[body.what].last_change(video.file) if video.file else None
        if change is None:
            raise HTTPException(409, "nothing is left to undo")
        own = {what: journal for what, journal in journals.items() if journal.has_change(video.file, change)}
        for what, journal in own.items():
            if journal.changed_since(video.file, change):
                named = {"spans": "spans", "people": "boxes of persons"}[what]
                raise HTTPException(409, f"{named} of this step were changed since; undo that first")
        for journal in own.values():
            journal.undo(video.file, change, project.with_present_names)
            names = [[e["label"]] if "label" in e else e["actions"] for e in journal.current(video.file)]
            project.add_classes([name for each in names for name in each])  # of a class that was removed since
        _tell(studio, video, *own)
        return {"spans": spans_view, "people": people_view}[body.what](project, video)


@router.post("/persons")
def rename_person(studio: State, key: str, body: PersonChange) -> dict[str, Any]:
    """Merges a person with another, or splits one at a second."""
    with studio.project.lock:
        project, video = studio.project, studio.ready(key)
        to, change = check_person(body.to), project.new_change()
        if to == body.person:
            raise UserError(f"to: expected another name than {to!r}")
        boxes = renamed_boxes(project.people.current(video.file), body.person, to, body.from_s)
        spans = [
            {**content_of(entry), "person": to, "replaces": entry["id"], "by": HUMAN}
            for entry in project.spans.current(video.file)
            if entry.get("person") == body.person and entry["start_s"] >= body.from_s
        ]
        if not boxes and not spans:
            raise HTTPException(404, "no box and no span of this person begins there")
        project.people.append(boxes, HUMAN, change)
        project.spans.append(spans, HUMAN, change)
        _tell(studio, video, "people", "spans")
        return people_view(project, video)


def _apply(studio: Studio, journal: Journal, video: Video, changes: list, entry_of: Callable[[Any], Entry]) -> None:
    """Writes changes as one step."""
    entries = []
    for change in changes:
        entry = {"video": video.file, "removed": True} if change.removed else entry_of(change)
        if change.id is not None:
            before = journal.entry(change.id)
            if before is None or before["video"] != video.file:
                raise HTTPException(409, "it was changed or removed since; load again")
            entry["replaces"] = change.id
        entries.append(entry)
    _check_once(entries, journal.current(video.file))
    journal.append(entries, HUMAN, studio.project.new_change())


def _check_once(entries: Sequence[Entry], current: Sequence[Entry]) -> None:
    """
    Raises:
        UserError: a person would have two boxes at one moment, or a video two equal spans, one of them new.
    """
    replaced = {entry.get("replaces") for entry in entries}
    there = {_place(entry) for entry in current if entry["id"] not in replaced}
    for entry in entries:
        if entry.get("removed"):
            continue
        if _place(entry) in there:
            if "box" in entry:
                text = f"person {entry['person']!r} has a box at {entry['time_s']:.3f} s already"
            else:
                text = f"{entry['label']!r} from {entry['start_s']:.3f} to {entry['end_s']:.3f} s is there already"
            raise UserError(f"{text}; change that one (with its id)")
        there.add(_place(entry))


def _place(entry: Entry) -> tuple[Any, ...]:
    """What no two entries of a video have in common."""
    if "box" in entry:
        return entry["person"], round(entry["time_s"], 3)
    return entry["label"], entry.get("person"), round(entry["start_s"], 3), round(entry["end_s"], 3)


def _tell(studio: Studio, video: Video, *journals: str) -> None:
    """Events of a change: the journals', and the video's, whose counts are others now."""
    for what in journals:
        studio.project.announce(what, {"video": video.id})
    studio.project.announce("video", video.id)


def _check_time(second: float, video: Video) -> None:
    if second > video.duration_s + video.slack_s:
        raise UserError(f"the video lasts {video.duration_s:.2f} s, and the change is at {second:.2f} s")


def _check_class(label: str, names: set[str]) -> None:
    if label not in names:
        raise UserError(f"there is no class {label!r:.80} in this project; add it first (PATCH /api/project)")
