"""Which videos are held out: a video stays on its side in all trainings, so that figures of models compare.

A video that was trained on is never held out later, nor is one with the same content, also where the first one is gone
by then (``trained_on.json``).  Nor is the only video of a class: the class would not be learnt.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError, printable
from paddlevideo.preparation.person_annotations import split_names
from paddlevideo.safe_io import read_json, sha256, write_atomic
from paddlevideo_studio.project import Project

_PART = 1 << 20  # bytes
_HELD_OUT = 0.25  # of the videos


def sides_of(project: Project, labels: Mapping[str, set[str]], learnt: Collection[str] = ()) -> dict[str, bool]:
    """Which videos are held out; stores it, so that it stays.

    Args:
        labels: that each video has, by its file; two videos or more, sorted.
        learnt: classes of the model that is trained on: without a sample they stay as they are.

    Raises:
        UserError: no video can be held out, or none is left to train on.
    """
    videos = {name: video for name in labels if (video := project.videos.of_file(name)) is not None}
    groups, learnt_from = _same_content(project, list(labels)), _LearntFrom(project)
    united = {group[0]: set().union(*(labels[name] for name in group)) - {*learnt} for group in groups}
    sides: dict[str, bool] = {}
    for group in groups:
        known = [videos[name].held_out for name in group if name in videos and videos[name].held_out is not None]
        if known or learnt_from.has(group[0]):  # one copy that was trained on is enough
            sides[group[0]] = all(known) and not learnt_from.has(group[0])
    _assign(project, united, sides)
    found = {name: sides[group[0]] for group in groups for name in group}
    for name, video in videos.items():
        if video.held_out is not found[name]:
            project.videos.write(replace(video, held_out=found[name]))
    learnt_from.add([name for name, is_held_out in found.items() if not is_held_out])
    return found


class _LearntFrom:
    """The files that any training of the project has learnt from, by size, beginning and end: videos of gigabytes are
    not read whole for it."""

    def __init__(self, project: Project):
        self._project, self._file = project, project.root / "trained_on.json"
        self._known: set[str] = set(read_json(self._file)) if self._file.is_file() else set()

    def has(self, name: str) -> bool:
        """Whether a video's file is one of them."""
        return self._mark(name) in self._known

    def add(self, names: Collection[str]) -> None:
        self._known |= {mark for name in names if (mark := self._mark(name))}
        write_atomic(self._file, json.dumps(sorted(self._known), indent=1) + "\n")

    def _mark(self, name: str) -> str:
        """Empty: there is no file."""
        file = _source(self._project, name)
        if not file.is_file():
            return ""
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            parts = []
            for place in (0, max(size - _PART, 0)):
                stream.seek(place)
                parts.append(stream.read(_PART))
        return f"{size}-{hashlib.sha256(b''.join(parts)).hexdigest()}"


def digest_of(content: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _same_content(project: Project, names: list[str]) -> list[list[str]]:
    """The videos in groups of those that are one and the same file."""
    files = {name: _source(project, name) for name in names}
    by_size: dict[int, list[str]] = defaultdict(list)
    for name, file in files.items():
        by_size[file.stat().st_size if file.is_file() else -1].append(name)
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    for size, same in by_size.items():
        for name in same:  # most sizes are of one file, which is not read then
            groups[size, _digest(files[name]) if size >= 0 and len(same) > 1 else name].append(name)
    return sorted(groups.values())


def _source(project: Project, name: str) -> Path:
    """The file as it was uploaded."""
    video = project.videos.of_file(name)
    if video is not None and video.original and (project.videos.originals / video.original).is_file():
        return project.videos.originals / video.original
    return project.videos.folder / name


def _digest(file: Path) -> str:
    status = file.stat()
    return _digest_at(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _digest_at(file: Path, size: int, changed_ns: int) -> str:
    return sha256(file)


def _assign(project: Project, labels: Mapping[str, set[str]], sides: dict[str, bool]) -> None:
    """Gives a side to every video that has none."""
    names = list(labels)
    if len(names) < 2:
        raise UserError("the videos to train on are one and the same file; check or mark spans in another one")
    new = [name for name in names if name not in sides]

    def is_learnt(name: str) -> bool:  # all of its classes, without it
        others = (labels[other] for other in names if other != name and not sides.get(other, False))
        return labels[name] <= set().union(*others)

    if not sides:
        wanted = split_names(labels, {"val": _HELD_OUT}, 0)["val"]
        for name in [*wanted, *(name for name in new if name not in wanted)]:
            sides[name] = sum(sides.values()) < len(wanted) and is_learnt(name)
    for name in new:
        if name not in sides:
            sides[name] = sum(sides.values()) / len(sides) < _HELD_OUT and is_learnt(name)
    if all(sides[name] for name in names):  # what was trained on is gone, or is not annotated any more
        sides[names[-1]] = False
    if not any(sides[name] for name in names):
        last = next((name for name in reversed(new) if is_learnt(name)), None)
        if last is None:
            raise UserError(_why_none(project, labels, new))
        sides[last] = True


def _why_none(project: Project, labels: Mapping[str, set[str]], new: list[str]) -> str:
    if not new:
        return (
            "no held-out video is left to measure models on, and every annotated video has been trained on; check or "
            "mark spans in another video"
        )
    name = new[-1]
    others = set().union(*(labels[other] for other in labels if other != name))
    label, video = min(labels[name] - others, default=""), project.videos.of_file(name)
    return (
        "no video can be held out, as each one has a class that no other one has "
        f"({printable(label)!r} is in {printable(video.name if video else name)} alone); mark it in another video, too"
    )
