"""Spans and boxes of persons to and from the files of other programs."""

from __future__ import annotations

import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import Clock, PersonBox, video_name
from paddlevideo.preparation.person_files import PERSON_FORMS, write_person_file
from paddlevideo.preparation.span_files import BOXES, FORMS, TOOLS, SpanContent, write_any
from paddlevideo.spans import Span, SpanTable
from paddlevideo_studio.boxes import people_of, with_free_names
from paddlevideo_studio.importing import read_import
from paddlevideo_studio.journal import HUMAN, Entry
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.videos import Video, clean_name

router = APIRouter(prefix="/api", tags=["export and import"])
_ENDINGS = {"label_studio": ".json", "cvat": ".xml", **PERSON_FORMS}
_TYPES = {".json": "application/json", ".xml": "application/xml", ".csv": "text/csv", ".jsonl": "application/x-ndjson",
          ".srt": "application/x-subrip", ".vtt": "text/vtt", ".zip": "application/zip"}  # fmt: skip
_ALL = (*FORMS, *PERSON_FORMS)
_READERS = threading.BoundedSemaphore(2)  # files that are read at once; further ones wait


@router.get("/export")
def export(
    studio: State,
    form: str,
    video: str | None = None,
    by: Literal["human"] | None = None,
    names: Literal["own", "id"] = "own",
) -> Response:
    """A file of the current spans, or of the boxes of persons."""
    if form not in _ALL:
        raise UserError(f"form: expected one of {', '.join(_ALL)}, got {form!r:.40}")
    with studio.project.lock:
        chosen = [studio.video(video)] if video is not None else [v for v in studio.project.videos if v.file]
        named = _names_of(chosen, names == "own", form)
        of_human = by == HUMAN and form in PERSON_FORMS  # spans of a person keep the boxes that a model found
        people = people_of(studio.project, named, lambda entry: not of_human or entry["by"] == HUMAN)
        content = _content(studio, named, by == HUMAN, people) if form in FORMS else None
    ending = _ENDINGS.get(form, f".{form}")
    with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as folder:
        file = Path(folder) / f"spans{ending}"
        try:
            if content is not None:
                lost = write_any(file, content, form)
            else:
                clocks = {named[v.file]: _clock(v) for v in chosen}
                sizes_px = {named[v.file]: (v.width, v.height) for v in chosen}
                lost = write_person_file(file, people, form, clocks, sizes_px, studio.project.class_names())
        except UserError as error:  # without the temporary folder
            raise UserError(str(error).replace(f"{folder}/", "")) from None
        body = file.read_bytes()
        lost = [line.removeprefix(f"{file}: ") for line in lost]
    stem = Path(chosen[0].name).stem if video is not None else studio.project.settings.name
    name = quote(f"{stem}{ending}", safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "X-Lost": quote("; ".join(lost), safe=" ;,:()"),
    }
    return Response(body, media_type=_TYPES[ending], headers=headers)


def _names_of(videos: list[Video], own: bool, form: str) -> dict[str, str]:
    """File -> the name that an export has."""
    named = {video.file: video.name if own else video.file for video in videos}
    without_endings = form in (*PERSON_FORMS, *TOOLS)
    if len({video_name(name) if without_endings else name for name in named.values()}) < len(named):
        why = "; this form has names without their endings" if without_endings else ""
        raise HTTPException(409, f"two videos have the same name{why}; rename one, or export with names=id")
    return named


def _clock(video: Video) -> Clock:
    return Clock(video.fps, None if video.times_s is None else np.array(video.times_s))


def _content(studio: Studio, named: dict[str, str], by_human: bool, people: list[PersonBox]) -> SpanContent:
    spans = []
    for entry in studio.project.spans.current():
        if entry["video"] in named and (not by_human or entry["by"] == HUMAN):
            values = (entry.get(key) for key in ("score", "person"))
            spans.append(Span(entry["start_s"], entry["end_s"], entry["label"], *values, named[entry["video"]]))
    videos = [video for video in studio.project.videos if video.file in named]
    facts = {named[video.file]: video.facts() for video in videos}
    used = {span.label for span in spans}
    classes = [name for name in studio.project.class_names() if name in used or not used]
    times_s = {named[video.file]: np.array(video.times_s) for video in videos if video.times_s is not None}
    return SpanContent(SpanTable(spans, facts, classes, source=studio.project.settings.name), people, times_s=times_s)


@router.post("/import")
async def import_spans(
    studio: State,
    request: Request,
    filename: str = Query(max_length=4096),
    video: str | None = None,
    form: str = "auto",
) -> dict[str, Any]:
    """The body is a file of spans or of boxes of persons; they are added as by a person."""
    if form not in ("auto", BOXES, *_ALL):
        raise UserError(f"form: expected one of auto, {BOXES}, {', '.join(_ALL)}, got {form!r:.40}")
    body = await request.body()
    return await run_in_threadpool(_take, studio, body, clean_name(filename), video, form)


def _take(studio: Studio, body: bytes, filename: str, key: str | None, form: str) -> dict[str, Any]:
    project = studio.project
    with project.lock:
        given = studio.ready(key) if key is not None else None
        known = project.class_names(), [*project.videos], project.videos.folder
    with _READERS:
        found = read_import(body, filename, form, *known, given)
    with project.lock:
        files = {entry["video"]: project.videos.of_file(entry["video"]) for entry in found["spans"] + found["boxes"]}
        for video in files.values():
            if video is None:
                raise HTTPException(409, "a video of this file was removed meanwhile")
            studio.ready(video.id)
        notes = [*found["notes"], *_take_spellings(project.class_names(), found)]
        spans, skipped = _new_spans(studio, found["spans"])
        boxes = _new_boxes(studio, found["boxes"])
        labels = [*(span["label"] for span in spans), *(action for entry in boxes for action in entry["actions"])]
        if new := sorted({*labels} - {*project.class_names()}) if project.class_names() else []:
            notes.append(f"new classes: {', '.join(new)}")
        project.add_classes(labels)
        change = project.new_change()
        for journal, new in ((project.spans, spans), (project.people, boxes)):
            if new:
                journal.append(new, HUMAN, change)
    of = {what: {files[e["video"]].id for e in new} for what, new in (("spans", spans), ("people", boxes))}
    for what, videos in of.items():
        for each in videos:
            project.announce(what, {"video": each})
            project.announce("video", each)
    videos = sorted(video.id for video in files.values())
    return {
        "added": len(spans), "skipped": skipped, "boxes": len(boxes), "videos": videos, "notes": notes,
    }  # fmt: skip


def _take_spellings(classes: Sequence[str], found: dict[str, Any]) -> list[str]:
    """Gives names that differ from a class in case alone the spelling of the class; a line for each."""
    known = {name.casefold(): name for name in classes}
    changed: dict[str, str] = {}

    def own(name: str) -> str:
        if name in classes or name.casefold() not in known:
            return name
        changed[name] = known[name.casefold()]
        return changed[name]

    for span in found["spans"]:
        span["label"] = own(span["label"])
    for box in found["boxes"]:
        box["actions"] = list(dict.fromkeys(map(own, box["actions"])))
    return [f"{name} is taken as {other}, a class of the project" for name, other in sorted(changed.items())]


def _new_spans(studio: Studio, found: list[Entry]) -> tuple[list[Entry], int]:
    """Lines of the journal, and the number of those that a person has stated before: same label, person and times.

    One that a model found takes the place of the model's.
    """
    known: dict[tuple, Entry] = {}
    for file in {entry["video"] for entry in found}:
        for entry in sorted(studio.project.spans.current(file), key=lambda entry: entry["by"] == HUMAN):
            known[_key_of(entry)] = entry
    new, skipped = [], 0
    for entry in found:
        keys = [_key_of(entry, start_ms, end_ms) for start_ms in (0, -1, 1) for end_ms in (0, -1, 1)]
        same = [known[key] for key in keys if key in known]
        if any(other["by"] == HUMAN for other in same):
            skipped += 1
            continue
        if same:
            del known[_key_of(same[0])]
            entry = {**entry, "replaces": same[0]["id"]}
        known[keys[0]] = {**entry, "by": HUMAN}  # a file may have it twice
        new.append(entry)
    return new, skipped


def _key_of(entry: Entry, start_ms: int = 0, end_ms: int = 0) -> tuple:
    """What tells spans apart, with other times by some milliseconds."""
    times = (round(1000 * entry[key]) + more for key, more in (("start_s", start_ms), ("end_s", end_ms)))
    return entry["video"], entry["label"], entry.get("person"), *times


def _new_boxes(studio: Studio, found: list[Entry]) -> list[Entry]:
    """Lines of the journal; a box of a person at a moment that has one replaces it."""
    by_video: dict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        by_video[entry["video"]].append(entry)
    entries: list[Entry] = []
    for file, own in by_video.items():
        current = studio.project.people.current(file)
        known = {(entry["person"], round(entry["time_s"], 3)): entry["id"] for entry in current}
        for entry in with_free_names(own, (entry["person"] for entry in current)):
            before = known.get((entry["person"], entry["time_s"]))
            entries.append({**entry, "replaces": before} if before else entry)
    return entries
