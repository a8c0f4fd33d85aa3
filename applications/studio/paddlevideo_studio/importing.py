"""Reading of imported files.  Runs as a process of its own, as files of others may take long and much memory:

    python -m paddlevideo_studio.importing FILE REQUEST

``REQUEST`` is json: ``name`` (of the file), ``form``, ``classes``, ``given`` (id of the chosen video, or null),
``videos`` (descriptions) and ``folder`` (theirs).  Prints ``{"spans", "boxes", "notes"}`` or ``{"error"}``: spans and
boxes as lines of the journal without their bookkeeping; boxes without a person have ``track``, a number, instead.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.preparation.importers.people import Clock, PersonBox, video_name
from paddlevideo.preparation.importers.tables import is_ava
from paddlevideo.preparation.person_files import PERSON_FORMS, read_ava_archive
from paddlevideo.preparation.span_files import BOXES, FORMS, SpanContent, import_options, read_content
from paddlevideo.preparation.video_folder import is_end
from paddlevideo.safe_io import read_json
from paddlevideo.spans import SpanTable
from paddlevideo_studio.boxes import check_person, entry_of, joined_rows, link_persons
from paddlevideo_studio.journal import Entry
from paddlevideo_studio.limited import Bounds, bounded, run_module
from paddlevideo_studio.videos import Video

BOUNDS = Bounds(time_s=30, memory_bytes=2 << 30)
_MOST_ROWS = 100_000  # spans and boxes of one file
_UNPACKED_BYTES = 16 << 20
_ENDING = re.compile(r"\.[a-z0-9]{1,8}")
_SHOWN = 5  # names in a message


def read_import(
    body: bytes, filename: str, form: str, classes: list[str], videos: Iterable[Video], folder: Path,
    given: Video | None,
) -> dict[str, Any]:  # fmt: skip
    """``{"spans", "boxes", "notes"}`` of a file, see above.

    Args:
        folder: of the videos' descriptions.
        given: the video that the person has chosen.

    Raises:
        UserError: the file is not of the form, too large, or names no video of the project.
    """
    described = [
        {key: getattr(v, key) for key in ("id", "name", "file", "fps", "duration_s", "width", "height", "even")}
        for v in videos
        if v.file
    ]
    request = {"name": filename, "form": form, "classes": classes, "given": given.id if given else None}
    request |= {"videos": described, "folder": str(folder)}
    with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as work:
        ending = Path(filename).suffix.lower()
        file, wanted = Path(work) / f"spans{ending if _ENDING.fullmatch(ending) else ''}", Path(work) / "request"
        file.write_bytes(body)
        wanted.write_text(json.dumps(request))
        found = run_module("importing", [file, wanted], 2 * BOUNDS.time_s)
    if "error" in found:
        raise UserError(found["error"] if found.get("named") else f"{printable(filename)}: {found['error']}")
    return found


class VideoNames:
    """Which video a file means by a name.

    Args:
        given: the video that the person has chosen, or None.
    """

    def __init__(self, videos: Iterable[Video], given: Video | None):
        self._videos, self._given = [*videos], given
        self._folders: dict[str, str] = {}  # video id -> a name of it with folders
        self.find = cache(self._find)

    def _find(self, name: str | None) -> Video:
        """The video of that id or name; of a name without its ending where no whole name is the same."""
        if self._given is not None:
            return self._given
        found = [v for v in self._videos if _is_exact(name, v)] or [v for v in self._videos if _fits(name, v)]
        if len(found) != 1:
            why = "no video" if not found else "several videos"
            raise UserError(f"the project has {why} named {printable(name or '')!r}; choose the video of this file")
        path = (name or "").replace("\\", "/").lstrip("/")
        other = self._folders.setdefault(found[0].id, path) if "/" in path else path
        if not is_end(video_name(path), video_name(other)):
            names = " and ".join(sorted(repr(printable(each)) for each in (path, other)))
            raise UserError(f"{names} would both be {found[0].name!r}; import a file for each")
        return found[0]

    def left_out(self, names: Iterable[str | None]) -> tuple[set[str], list[str]]:
        """Of the names in a file those that are not the chosen video, and notes on what is taken.

        Raises:
            UserError: it names several videos, and none is the chosen one.
        """
        named = {name for name in names if name}
        if self._given is None or not named:
            return set(), []
        exact = {name for name in named if _is_exact(name, self._given)}
        fitting = {name for name in named if _fits(name, self._given)}
        if exact:  # a.mov is another video than a.mp4, "a" is not
            fitting = exact | {name for name in fitting if video_name(name) == name.replace("\\", "/").lstrip("/")}
        shown = _listed(named - fitting)
        if fitting:
            return named - fitting, []
        if len({video_name(_base(name)) for name in named}) > 1:
            raise UserError(
                f"the file names {len(named)} videos, and none of them is {self._given.name!r}: {shown}; import it "
                "without a chosen video, or rename the video"
            )
        return set(), [f"note: the file names {shown}; taken as of the chosen video, {self._given.name!r}"]


def _base(name: str) -> str:
    return Path(name.replace("\\", "/")).name  # a file may name it with its folders


def _is_exact(name: str | None, video: Video) -> bool:
    return bool(name) and bool({name, _base(name)} & {video.file, video.name, video.id})


def _fits(name: str | None, video: Video) -> bool:
    base = _base(name or "")
    return bool({name, base, video_name(base)} & {video.file, video.name, video.id, video_name(video.name)})


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(repr(printable(name)) for name in ordered[:_SHOWN]) + rest


def _content(file: Path, request: dict[str, Any], names: VideoNames, given: Video | None) -> SpanContent:
    """What the file has."""
    folder, labels = Path(request["folder"]), dict(enumerate(request["classes"], 1))

    @cache
    def clock(name: str) -> Clock:
        video = names.find(name)
        times_s = None if video.even else read_json(folder / f"{video.id}.json")["times_s"]
        return Clock(video.fps, None if times_s is None else np.array(times_s))

    options = replace(
        import_options(None, None), fps_of=lambda name: clock(name).fps, times_of=lambda name: clock(name).times_s,
        labels=labels, key_frames=True, video=given.file if given is not None else None, own_names=True,
    )  # fmt: skip
    form = request["form"]
    if file.suffix == ".zip":
        file, labels = read_ava_archive(file, file.parent, _UNPACKED_BYTES)
        content = read_content(file, BOXES, replace(options, labels=labels))
    elif file.suffix == ".csv" and form not in FORMS and is_ava(file):
        raise UserError(f"{file}: AVA's csv has numbers of classes; put it into a .zip with their list, "
                        "labels.pbtxt, and import that")  # fmt: skip
    else:
        content = read_content(file, BOXES if form in PERSON_FORMS else form, options)
    boxes_alone = form in (BOXES, *PERSON_FORMS)
    table = SpanTable([]) if boxes_alone else content.table
    if (rows := len(table.spans) + len(content.people)) > _MOST_ROWS:
        raise UserError(f"{file}: {rows:,} spans and boxes, more than {_MOST_ROWS:,}; import it in parts")
    return replace(content, table=table)


def read(file: Path, request: dict[str, Any]) -> dict[str, Any]:
    """``{"spans", "boxes", "notes"}``.

    Raises:
        UserError: see ``read_import``.
    """
    videos = [Video(**facts) for facts in request["videos"]]
    given = next((video for video in videos if video.id == request["given"]), None)
    names = VideoNames(videos, given)
    content = _content(file, request, names, given)
    rows: list = [*content.table.spans, *content.people]
    others, notes = names.left_out(row.video for row in rows)
    if count := sum(row.video in others for row in rows):
        notes.append(f"dropped: {count} spans and boxes of other videos: {_listed(others)}")
    spans = [span for span in content.table.spans if span.video not in others]
    people = [person for person in content.people if person.video not in others]
    notes += [line for line in content.lines if "(--video)" not in line]  # the person has named the video
    return {"spans": _spans(spans, names.find), "boxes": _boxes(people, names.find), "notes": notes}


def _spans(spans: Iterable, video_of: Callable[[str | None], Video]) -> list[Entry]:
    entries: list[Entry] = []
    for span in spans:
        video = video_of(span.video)
        if span.person is not None:
            check_person(span.person)
        entry = replace(span, score=None, video=video.file).to_dict()
        entries.append({**entry, "end_s": video.checked_end(span.start_s, span.end_s)})
    return entries


def _boxes(people: Iterable[PersonBox], video_of: Callable[[str | None], Video]) -> list[Entry]:
    by_video: dict[str, list[PersonBox]] = defaultdict(list)
    videos: dict[str, Video] = {}
    for person in people:
        video = video_of(person.video)
        videos[video.id] = video
        by_video[video.id].append(person)
    entries: list[Entry] = []
    for key, own in by_video.items():
        rows = []
        for person, track in link_persons(own, videos[key]):
            if track is None:
                check_person(person.person)
            entry = entry_of(person, videos[key])
            if track is not None:
                entry |= {"person": f"\n{track}", "track": track}  # apart from every name that a person can have
            rows.append(entry)
        entries += joined_rows(rows)
    return entries


def main() -> int:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("request", type=Path)
    args = parser.parse_args()
    bounded(BOUNDS)
    request = json.loads(args.request.read_text())
    own = printable(request["name"])
    try:
        found = read(args.file, request)
    except UserError as error:
        text = str(error).replace(str(args.file), own).replace(str(args.file.parent), own)
        found = {"error": text.replace("\n", " "), "named": True}
    except MemoryError:
        found = {"error": f"reading it takes more than {BOUNDS.memory_bytes >> 30} GB of memory"}
    print(json.dumps(found))
    return 2 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main())
