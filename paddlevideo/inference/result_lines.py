"""A file of results to which lines are appended while a run lasts, and from which the run is continued.

    {"run": {...}}                                                        what decides the results; the first line
    {"path": "a.mp4", "input": "a.mp4 3", "label": 3, "top": [...], "scores": [...]}
    {"path": "b.mp4", "error": "b.mp4: missing (no such file)"}

``input`` is the text of the list where it is not the path, ``occurrence`` is there from the second input of a text on.
A line is complete where it ends with a line break: what a killed process left half written is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from paddlevideo.errors import DamagedFileError, UserError
from paddlevideo.inference.inputs import VideoInput, key_of
from paddlevideo.inference.predictions import Prediction, Threshold, record_of

FORMAT = "paddlevideo.predictions"
Head = tuple[bytes, str, bool]  # key and path of an input, and whether its line is a result
_SYNC_S = 5.0  # interval at which lines are stored on the disk
_NUM_LOCK_TRIES, _LOCK_RETRY_S = 20, 0.1
_TEXT = rb'("(?:[^"\\]|\\.)*")'
_HEAD = re.compile(
    rb'\{"path": ' + _TEXT + rb'(?:, "input": ' + _TEXT + rb')?(?:, "occurrence": (\d+))?(?:, "label": [^"]+)?, "(\w+)"'
)
_BEGIN = b'{"run": {"format": "paddlevideo.predictions"'
_MAX_FIRST_LINE = 1 << 16
_written_here: set[str] = set()  # by this process, within which a record lock excludes nothing
_threads = threading.Lock()
_OTHERS = "give another --out, or the model and options that it was begun with"


def is_file_of_results(path: str | Path) -> bool:
    """Whether a file begins as one of ``predict --out FILE.jsonl`` does."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(_BEGIN)) == _BEGIN
    except OSError:
        return False


def part_path(out: Path, rank: int, num_ranks: int) -> Path:
    """The file of a rank: ``out`` itself of one, else ``results.rank-0-of-2.jsonl``."""
    return out if num_ranks == 1 else out.with_name(f"{out.stem}.rank-{rank}-of-{num_ranks}{out.suffix}")


def parts_of(out: Path) -> dict[Path, int]:
    """The files of all ranks, of this run and of earlier ones -> number of ranks that wrote them."""
    pattern = re.compile(re.escape(out.stem) + r"\.rank-\d+-of-(\d+)" + re.escape(out.suffix))
    names = sorted(os.listdir(out.parent)) if out.parent.is_dir() else []
    found = {out.with_name(name): int(match[1]) for name in names if (match := pattern.fullmatch(name))}
    return ({out: 1} if out.exists() else {}) | found


def line_of(
    listed: VideoInput, prediction: Prediction, top_k: int | None, threshold: Threshold | None, scores: bool
) -> bytes:
    """The line of one input; a name that is not UTF-8 is escaped as JSON does it."""
    record: dict[str, Any] = {"path": listed.path}
    if listed.text != listed.path:
        record["input"] = listed.text
    if listed.occurrence > 1:
        record["occurrence"] = listed.occurrence
    if listed.label is not None:
        record["label"] = listed.label
    record |= record_of(prediction, top_k, threshold)
    if not scores:
        record.pop("scores", None)
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


class ResultLines:
    """The file of this process, locked: lines are appended to it.

    Args:
        path: of the file.
        run: what decides the results.

    Raises:
        UserError: another run writes it; it is of another run, or no such file, and is left as it is; it cannot be
            written.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]):
        self.path, self._synced_at = path, time.monotonic()
        with _writing(path, "give another --out"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream, self._place = _open_locked(path)
        try:
            with _writing(path, "give another --out"):
                end = _end_of_run(self._stream, path, run)
                self._stream.truncate(end)
            if not end:
                self.append(json.dumps({"run": run}, ensure_ascii=False).encode() + b"\n")
        except BaseException:
            self._free()
            raise

    def heads(self) -> Iterator[Head]:
        """The head of each line."""
        with open(self._stream.fileno(), "rb", closefd=False) as lines:  # closing another one frees the lock
            lines.seek(0)
            lines.readline()
            yield from _heads(lines, self.path)

    def append(self, line: bytes) -> None:
        """Writes a line; every few seconds all are stored on the disk.

        Raises:
            UserError: the disk is full, or gone.
        """
        with _writing(self.path):
            rest = memoryview(line)
            while rest:
                rest = rest[self._stream.write(rest) :]
        if time.monotonic() - self._synced_at > _SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Stores what is written on the disk.

        Raises:
            UserError: as ``append``.
        """
        with _writing(self.path):
            os.fsync(self._stream.fileno())
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Stores everything, and frees the lock.

        Raises:
            UserError: as ``append``.
        """
        try:
            self.sync()
        finally:
            self._free()

    def _free(self) -> None:
        self._stream.close()
        _written_here.discard(self._place)


def heads_of(path: Path, run: Mapping[str, Any], others_write: bool) -> Iterator[Head]:
    """``ResultLines.heads`` of the file of another rank.

    Args:
        others_write: whether its rank may be running; else its lock must be free.

    Raises:
        UserError: a run with another number of ranks writes it; it is of another run, and is left as it is.
    """
    with _writing(path, "give another --out"):
        stream = path.open("rb" if others_write else "r+b")
    with stream:
        if not others_write and not _lock_left(stream, path, run):
            raise UserError(f"{path}: a run with another number of ranks is writing it; end that one first")
        if _end_of_run(stream, path, run):
            stream.seek(0)
            stream.readline()
            yield from _heads(stream, path)


@contextlib.contextmanager
def _writing(path: Path, way_out: str = "the same command continues it") -> Iterator[None]:
    """Names the file in an error of the system."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); {way_out}") from error


def _end_of_run(stream: BinaryIO, path: Path, run: Mapping[str, Any]) -> int:
    """Bytes up to the last line break of a file of this run; 0 where not even the first line is complete.

    Raises:
        UserError: it is of another run, or another file.
    """
    end = _end_of_lines(stream)
    stream.seek(0)
    first = stream.readline(_MAX_FIRST_LINE)
    if end:
        check_run(first, path, run)
    elif first[: len(_BEGIN)] != _BEGIN[: len(first)]:
        raise _another_file(path)
    return end


def check_run(first_line: bytes, path: Path, run: Mapping[str, Any]) -> None:
    """Compares the first line of a file with this run.

    Raises:
        UserError: they differ, or it is another file.
    """
    try:
        noted = json.loads(first_line)["run"]
        known = noted["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise _another_file(path)
    for key in (*run, *noted):
        if noted.get(key) != run.get(key):
            raise UserError(f"{path}: begun with {key} {noted.get(key)}, this run has {run.get(key)}; {_OTHERS}")


def _another_file(path: Path) -> UserError:
    return DamagedFileError(f"{path}: not a file of results of paddlevideo predict; give another --out")


def _open_locked(path: Path) -> tuple[FileIO, str]:
    """The file, and its place among those that this process writes."""
    place, held = os.path.realpath(path), f"{path}: another run is writing it; give this run another --out"
    with _threads:
        if place in _written_here:
            raise UserError(held)
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+b", buffering=0)
        try:
            # a record lock is of this process alone: decoding processes that outlive a kill do not hold it
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise UserError(held) from None
        _written_here.add(place)
    return stream, place


def _lock_left(stream: BinaryIO, path: Path, run: Mapping[str, Any]) -> bool:
    """Locks a file that no run writes, together with the other ranks; the first one cuts off a half-written line."""
    if os.path.realpath(path) in _written_here:
        return False
    for _ in range(_NUM_LOCK_TRIES):
        for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            with contextlib.suppress(OSError):
                fcntl.lockf(stream, kind | fcntl.LOCK_NB)
                if kind == fcntl.LOCK_EX:
                    stream.truncate(_end_of_run(stream, path, run))
                    fcntl.lockf(stream, fcntl.LOCK_SH)
                return True
        time.sleep(_LOCK_RETRY_S)
    return False


def _end_of_lines(stream: BinaryIO, block: int = 1 << 16) -> int:
    """Bytes up to the last line break."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - block)
        stream.seek(begin)
        found = stream.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _heads(stream: BinaryIO, path: Path) -> Iterator[Head]:
    for number, line in enumerate(stream, 2):
        if not line.endswith(b"\n"):
            return  # another rank is writing it, or was killed in it
        match = _HEAD.match(line)
        if not match or not line.endswith(b"}\n"):
            raise DamagedFileError(
                f"{path}, line {number}: not a result; remove the line, its video is predicted again"
            )
        path_text, text, occurrence, key = match.groups()
        path_text = json.loads(path_text)
        yield (
            key_of(os.fsencode(json.loads(text) if text else path_text), int(occurrence or 1)),
            path_text,
            key != b"error",
        )
