"""Spans and boxes of persons to and from the files of other programs."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError, printable
from paddlevideo.preparation.importers.people import Clock, PersonBox, video_name
from paddlevideo.preparation.importers.tables import is_ava
from paddlevideo.preparation.person_files import PERSON_FORMS, read_ava_archive, write_person_file
from paddlevideo.preparation.span_files import BOXES, FORMS, SpanContent, import_options, read_content, write_any
from paddlevideo.spans import Span, SpanTable
from paddlevideo_studio.boxes import entry_of, joined_rows, people_of, with_persons
from paddlevideo_studio.journal import HUMAN, Entry
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.videos import Video, clean_name

router = APIRouter(prefix="/api", tags=["export and import"])
_ENDINGS = {"label_studio": ".json", "cvat": ".xml", **PERSON_FORMS}
_TYPES = {".json": "application/json", ".xml": "application/xml", ".csv": "text/csv", ".jsonl": "application/x-ndjson",
          ".srt": "application/x-subrip", ".vtt": "text/vtt", ".zip": "application/zip"}  # fmt: skip
_ALL = (*FORMS, *PERSON_FORMS)


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
        named = _names_of(chosen, names == "own")
        of_human = by == HUMAN and form in PERSON_FORMS  # spans of a person keep the boxes that a model found
        people = people_of(studio.project, named, lambda entry: not of_human or entry["by"] == HUMAN)
        content = _content(studio, named, by == HUMAN, people) if form in FORMS else None
    ending = _ENDINGS.get(form, f".{form}")
    with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as folder:
        file = Path(folder) / f"spans{ending}"
        if content is not None:
            lost = write_any(file, content, form)
        else:
            clocks = {named[v.file]: _clock(v) for v in chosen}
            sizes_px = {named[v.file]: (v.width, v.height) for v in chosen}
            lost = write_person_file(file, people, form, clocks, sizes_px, studio.project.class_names())
        body = file.read_bytes()
        lost = [line.removeprefix(f"{file}: ") for line in lost]
    stem = Path(chosen[0].name).stem if video is not None else studio.project.settings.name
    name = quote(f"{stem}{ending}", safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "X-Lost": quote("; ".join(lost), safe=" ;,:()"),
    }
    return Response(body, media_type=_TYPES[ending], headers=headers)


def _names_of(videos: list[Video], own: bool) -> dict[str, str]:
    """File -> the name that an export has."""
    named = {video.file: video.name if own else video.file for video in videos}
    if len({*named.values()}) < len(named):
        raise HTTPException(409, "two videos have the same name; rename one, or export with names=id")
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
    return SpanContent(SpanTable(spans, facts, classes, source=studio.project.settings.name), people)


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
    given = studio.ready(key) if key is not None else None
    content = _read(studio, body, filename, given, form)
    with project.lock:
        found = [(_named(studio, span.video, given), span) for span in content.table.spans]
        late = next((s for v, s in found if s.start_s >= v.duration_s), None)
        if late is not None:
            raise UserError(f"a span begins at {late.start_s:.3f} s, after the end of its video")
        boxes = _boxes(studio, content.people, given)
        actions = [action for entry in boxes for action in entry["actions"]]
        project.add_classes([*(span.label for _, span in found), *actions])
        entries = [replace(span, score=None, video=v.file).to_dict() for v, span in found]
        change = project.new_change()
        for journal, new in ((project.spans, entries), (project.people, boxes)):
            if new:
                journal.append(new, HUMAN, change)
        of_spans = {v.id for v, _ in found}
        files = {box["video"] for box in boxes}
        of_boxes = {video.id for video in project.videos if video.file in files}
    for what, videos in (("spans", of_spans), ("people", of_boxes)):
        for each in videos:
            project.announce(what, {"video": each})
            project.announce("video", each)
    videos = sorted(of_spans | of_boxes)
    notes = [line for line in content.lines if "(--video)" not in line]  # the person has named the video
    return {"added": len(entries), "boxes": len(boxes), "videos": videos, "notes": notes}


def _read(studio: Studio, body: bytes, filename: str, given: Video | None, form: str) -> SpanContent:
    """The content of a file; messages have the name that the person gave it."""

    def clock(name: str) -> Clock:
        return _clock(_named(studio, name, given))

    labels = dict(enumerate(studio.project.class_names(), 1))
    options = replace(
        import_options(None, None), fps_of=lambda name: clock(name).fps, times_of=lambda name: clock(name).times_s,
        labels=labels, key_frames=True, video=given.file if given is not None else None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as folder:
        file = Path(folder) / f"spans{Path(filename).suffix.lower()}"
        file.write_bytes(body)
        try:
            if file.suffix == ".zip":
                file, labels = read_ava_archive(file, Path(folder))
                content = read_content(file, BOXES, replace(options, labels=labels))
            elif file.suffix == ".csv" and form not in FORMS and is_ava(file):
                raise UserError(f"{file}: AVA's csv has numbers of classes; put it into a .zip with their list, "
                                "labels.pbtxt, and import that")  # fmt: skip
            else:
                content = read_content(file, BOXES if form in PERSON_FORMS else form, options)
        except UserError as error:
            text = str(error).replace(str(file), printable(filename)).replace(folder, printable(filename))
            raise UserError(text.replace("\n", " ")) from None
    own = printable(filename)
    people = [replace(p, where=f"{own}{p.where.removeprefix(str(file))}") for p in content.people]
    return replace(content, people=people, table=SpanTable([]) if form in (BOXES, *PERSON_FORMS) else content.table)


def _boxes(studio: Studio, people: list[PersonBox], given: Video | None) -> list[Entry]:
    """Lines of the journal; a box of a person at a moment that has one replaces it."""
    by_video: dict[str, list[PersonBox]] = defaultdict(list)
    for person in people:
        by_video[_named(studio, person.video, given).id].append(person)
    entries: list[Entry] = []
    for key, own in by_video.items():
        video = studio.ready(key)
        current = studio.project.people.current(video.file)
        known = {(entry["person"], entry["time_s"]): entry["id"] for entry in current}
        named = with_persons(own, video, {entry["person"] for entry in current})
        for entry in joined_rows(entry_of(person, video) for person in named):
            before = known.get((entry["person"], entry["time_s"]))
            entries.append({**entry, "replaces": before} if before else entry)
    return entries


def _named(studio: Studio, name: str | None, given: Video | None) -> Video:
    """The video that a file names, by its id or by a name that one video has."""
    if given is not None:
        return given
    base = Path(name or "").name  # a file may name it with its folders
    wanted = {name, base, video_name(base)}
    found = [v for v in studio.project.videos if v.file and wanted & {v.file, v.name, v.id, video_name(v.name)}]
    if len(found) != 1:
        why = "no video" if not found else "several videos"
        raise UserError(f"the project has {why} named {printable(name or '')!r}; choose the video of this file")
    return found[0]
