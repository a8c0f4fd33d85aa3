"""A file of JSON lines that only grows: spans or boxes of persons, a line for every change.

What is current follows from ``paddlevideo.journals``, so the package's readers read the file as it is.  Besides the
keys of a span or a box, a line has

- ``id``: 16 hex digits, ``replaces`` and ``removed``: see ``paddlevideo.journals``
- ``by``: ``human``, or ``model N``
- ``change``: the same in all lines of one step of undo, of a person only
- ``undoes``: in lines that take back a step: its ``change``
- ``at``: when it was written, UTC
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from paddlevideo.errors import UserError
from paddlevideo.journals import CurrentEntries

Entry = dict[str, Any]
HUMAN = "human"
BOOKKEEPING = ("id", "replaces", "removed", "change", "undoes", "at")


def is_text(value: Any) -> bool:
    """Whether a value of a line is one."""
    return isinstance(value, str)


def is_time(value: Any) -> bool:
    """Whether it is a number of seconds, 0 or more."""
    return is_number(value) and value >= 0


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_BOOKKEEPING = {"by": is_text, "at": is_text}
SPAN_KEYS = {"start_s": is_time, "end_s": is_time, "label": is_text}
BOX_KEYS = {
    "time_s": is_time,
    "box": lambda value: isinstance(value, list) and len(value) == 4 and all(map(is_number, value)),
    "person": is_text,
    "actions": lambda value: isinstance(value, list) and all(map(is_text, value)),
}


class Changed(Exception):
    """An entry that is to be replaced is not current any more."""


def new_id() -> str:
    """16 hex digits."""
    return secrets.token_hex(8)


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Journal:
    """Not for several threads: the project's lock is held around every call.

    Args:
        path: of the file; made where there is none.  An incomplete last line, of a writer that was killed, is cut off.
        keys: that every line has but those that remove one, each with a check of its value.

    Raises:
        UserError: a line is no entry of a journal.
    """

    def __init__(self, path: Path, keys: Mapping[str, Callable[[Any], bool]] = MappingProxyType({})):
        self.path, self._checks = path, {**_BOOKKEEPING, **keys}
        self._lines: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self._replaced_by: dict[str, str] = {}
        self._current = CurrentEntries[int]()
        self.last_run = 0  # the highest number of a job that found an entry
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            for line in _complete_lines(self._file):
                self._take(line)
        except ValueError as error:
            os.close(self._file)
            raise UserError(f"{path}:{len(self._lines) + 1}: {error}; mend the line, or remove it") from None

    def close(self) -> None:
        """Frees the file."""
        os.close(self._file)

    def current(self, video: str | None = None) -> list[Entry]:
        """The current entries (of a video), in the order in which they were written."""
        return [entry for _, entry in self._current if video is None or entry["video"] == video]

    def lines(self, video: str) -> Iterator[Entry]:
        """All lines of a video, in order."""
        return (entry for entry in self._lines if entry["video"] == video)

    def videos(self) -> set[str]:
        """The files that any line names."""
        return {entry["video"] for entry in self._lines}

    def entry(self, key: str) -> Entry | None:
        """The line of that id."""
        return self._by_id.get(key)

    def stands(self, key: str) -> bool:
        """Whether the line of that id, be it one that removes another, is not replaced."""
        return key in self._current

    def append(self, entries: Sequence[Mapping[str, Any]], by: str, change: str | None = None) -> list[Entry]:
        """Writes entries, all of them or none.

        Args:
            entries: with ``video``, and ``replaces`` where one replaces another; ``id`` and ``by`` are added where they
                are missing.
            change: of all of them, for ``undo``.

        Raises:
            Changed: one of them replaces what is not current.
            UserError: the disk is full.
        """
        stamp = {"change": change} if change else {}
        lines = [{"id": new_id(), **entry, "by": entry.get("by", by), **stamp, "at": now()} for entry in entries]
        replaced = [line["replaces"] for line in lines if "replaces" in line]
        if len({*replaced}) < len(replaced) or any(key not in self._current for key in replaced):
            raise Changed
        if not lines:
            return []
        text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, text)
            if written < len(text):
                raise OSError(f"{written} of {len(text)} bytes could be written")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror or error}); nothing was changed"
            ) from error
        for line in lines:
            self._take(line)
        return lines

    def undo(self, video: str, change: str, restored: Callable[[Entry], Entry] = lambda entry: entry) -> None:
        """Takes back a change of a person.

        Args:
            change: of ``last_change``, or one that is in another journal, too.
            restored: gives the content of an earlier line as it is to be written.
        """
        lines = []
        for entry in reversed([line for line in self.lines(video) if line.get("change") == change]):
            before = self._by_id.get(entry.get("replaces", ""))
            if before is None or before.get("removed"):
                content: Entry = {"video": video, "removed": True, "by": HUMAN}
            else:
                content = {key: value for key, value in restored(before).items() if key not in BOOKKEEPING}
            lines.append({**content, "replaces": self.newest(entry["id"])["id"], "undoes": change})
        self.append(lines, HUMAN)

    def can_undo(self, video: str) -> bool:
        """Whether there is a change to take back."""
        return self.last_change(video) is not None

    def newest(self, key: str) -> Entry:
        """The line that stands where the line of that id was."""
        while key in self._replaced_by:
            key = self._replaced_by[key]
        return self._by_id[key]

    def last_change(self, video: str) -> str | None:
        """The last change of a person that is not taken back."""
        return next(reversed(self._changes(video)), None)

    def changed_since(self, video: str, change: str) -> bool:
        """Whether lines of a change were changed by a later one, which is not taken back."""
        later = self._changes(video).keys() - {change}
        for line in self.lines(video):
            key = line["id"] if line.get("change") == change else ""
            while key in self._replaced_by:
                key = self._replaced_by[key]
                if self._by_id[key].get("change") in later:
                    return True
        return False

    def has_change(self, video: str, change: str) -> bool:
        """Whether a change has lines here, and is not taken back."""
        return change in self._changes(video)

    def _changes(self, video: str) -> dict[str, None]:
        """Those that are not taken back, in order."""
        done: dict[str, None] = {}
        for line in self.lines(video):
            if "undoes" in line:
                done.pop(line["undoes"], None)
            elif "change" in line:
                done[line["change"]] = None
        return done

    def _take(self, entry: Entry) -> None:
        if (
            not isinstance(entry.get("id"), str)
            or entry["id"] in self._by_id
            or not isinstance(entry.get("video"), str)
        ):
            raise ValueError("expected an object with an id that no other line has, and a video")
        checks = _BOOKKEEPING if entry.get("removed") else self._checks
        wrong = next((key for key, is_right in checks.items() if key not in entry or not is_right(entry[key])), None)
        if wrong is not None:
            what = f"got {str(entry[wrong])[:40]!r}" if wrong in entry else "it has none"
            raise ValueError(f"{wrong}: expected as the studio writes it, {what}")
        if not all(isinstance(entry.get(key, ""), str) for key in ("replaces", "change", "undoes")):
            raise ValueError("replaces, change, undoes: expected texts")
        self._current.add(len(self._lines), entry)
        self._lines.append(entry)
        self._by_id[entry["id"]] = entry
        if isinstance(entry.get("run"), int):
            self.last_run = max(self.last_run, entry["run"])
        if "replaces" in entry:
            self._replaced_by[entry["replaces"]] = entry["id"]


def _complete_lines(file: int) -> Iterator[Entry]:
    """The entries of a file, which then ends with a complete line."""
    size = os.fstat(file).st_size
    content, position = bytearray(), 0
    while block := os.pread(file, 1 << 20, position):
        content += block
        position += len(block)
    *lines, rest = bytes(content).split(b"\n")
    if rest:
        try:
            complete = isinstance(json.loads(rest), dict)
        except (ValueError, RecursionError):
            complete = False
        if complete:  # a person's editor wrote no line break at the end
            os.write(file, b"\n")
            lines.append(rest)
        else:
            os.ftruncate(file, size - len(rest))
        os.fsync(file)
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise ValueError(f"expected a JSON object, got {line[:60]!r}")
        yield entry
