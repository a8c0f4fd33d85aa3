"""Spans to and from the files of other programs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError, printable
from paddlevideo.preparation.importers.people import PersonBox
from paddlevideo.preparation.span_files import FORMS, SpanContent, import_options, read_any, write_any
from paddlevideo.spans import Span, SpanTable
from paddlevideo_studio.journal import HUMAN
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.videos import Video, clean_name

router = APIRouter(prefix="/api", tags=["export and import"])
_ENDINGS = {"label_studio": ".json", "cvat": ".xml"}
_TYPES = {"json": "application/json", "label_studio": "application/json", "cvat": "application/xml", "csv": "text/csv",
          "jsonl": "application/x-ndjson", "srt": "application/x-subrip", "vtt": "text/vtt"}  # fmt: skip


@router.get("/export")
def export(
    studio: State,
    form: str,
    video: str | None = None,
    by: Literal["human"] | None = None,
    names: Literal["own", "id"] = "own",
) -> Response:
    """A file of the current spans."""
    if form not in FORMS:
        raise UserError(f"form: expected one of {', '.join(FORMS)}, got {form!r:.40}")
    with studio.project.lock:
        chosen = [studio.video(video)] if video is not None else [v for v in studio.project.videos if v.file]
        content = _content(studio, chosen, by == HUMAN, names == "own")
    ending = _ENDINGS.get(form, f".{form}")
    with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as folder:
        file = Path(folder) / f"spans{ending}"
        lost = write_any(file, content, form)
        text = file.read_bytes()
        lost = [line.removeprefix(f"{file}: ") for line in lost]
    stem = Path(chosen[0].name).stem if video is not None else studio.project.settings.name
    name = quote(f"{stem}{ending}", safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "X-Lost": quote("; ".join(lost), safe=" ;,:()"),
    }
    return Response(text, media_type=_TYPES[form], headers=headers)


def _content(studio: Studio, videos: list[Video], by_human: bool, own: bool) -> SpanContent:
    named = {video.file: video.name if own else video.file for video in videos}
    if len({*named.values()}) < len(named):
        raise HTTPException(409, "two videos have the same name; rename one, or export with names=id")
    spans, people = [], []
    for entry in studio.project.spans.current():
        if entry["video"] in named and (not by_human or entry["by"] == HUMAN):
            values = (entry.get(key) for key in ("score", "person"))
            spans.append(Span(entry["start_s"], entry["end_s"], entry["label"], *values, named[entry["video"]]))
    for entry in studio.project.people.current():
        if entry["video"] in named:
            box, actions, person = tuple(entry["box"]), tuple(entry["actions"]), entry["person"]
            people.append(PersonBox(named[entry["video"]], entry["time_s"], box, actions, person, "", in_pixels=False))
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
    """The body is a file of spans; they are added as by a person."""
    if form != "auto" and form not in FORMS:
        raise UserError(f"form: expected auto or one of {', '.join(FORMS)}, got {form!r:.40}")
    body = await request.body()
    return await run_in_threadpool(_take, studio, body, clean_name(filename), video, form)


def _take(studio: Studio, body: bytes, filename: str, key: str | None, form: str) -> dict[str, Any]:
    project = studio.project
    given = studio.ready(key) if key is not None else None
    with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as folder:
        file = Path(folder) / f"spans{Path(filename).suffix.lower()}"
        file.write_bytes(body)
        options = replace(import_options(None, None), fps_of=lambda name: _named(studio, name, given).fps)
        try:
            table = read_any(file, form, options).table
        except UserError as error:
            raise UserError(str(error).replace(str(file), printable(filename)).replace("\n", " ")) from None
    with project.lock:
        found = [(_named(studio, span.video, given), span) for span in table.spans]
        late = next((s for v, s in found if s.start_s >= v.duration_s), None)
        if late is not None:
            raise UserError(f"a span begins at {late.start_s:.3f} s, after the end of its video")
        project.add_classes([span.label for _, span in found])
        entries = [replace(span, score=None, video=v.file).to_dict() for v, span in found]
        if entries:
            project.spans.append(entries, HUMAN, project.new_change())
    videos = {v.id for v, _ in found}
    for each in videos:
        project.announce("spans", {"video": each})
        project.announce("video", each)
    return {"added": len(entries), "videos": sorted(videos)}


def _named(studio: Studio, name: str | None, given: Video | None) -> Video:
    """The video that a file names, by its id or by a name that one video has."""
    if given is not None:
        return given
    stem = Path(name or "").stem
    found = [
        v
        for v in studio.project.videos
        if v.file and (name in (v.file, v.name, v.id, Path(v.name).stem) or stem == v.id)
    ]
    if len(found) != 1:
        why = "no video" if not found else "several videos"
        raise UserError(f"the project has {why} named {printable(name or '')!r}; choose the video of this file")
    return found[0]
