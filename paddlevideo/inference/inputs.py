"""The videos that a command names, a million of them in the memory of their texts."""

from __future__ import annotations

import functools
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from paddlevideo.safe_io import address_scheme
from paddlevideo.video_files import (
    LIST_SUFFIXES,
    ListLine,
    Say,
    address_refused,
    lines_of_videos,
    paths_of_line,
    read_line,
    videos_of_folder,
)

_NUM_RECENT = 256  # inputs whose paths are not looked up again
KEY_BYTES = 16  # of a digest; two of a million are equal with a probability of 1e-27


@dataclass(frozen=True)
class VideoInput:
    """One input.

    Args:
        text: as it is listed.
        path: of the video.
        label: the whole numbers after it in a list; None: none.
        occurrence: 1, 2, ... of inputs with the same text, in lists of one folder.
    """

    text: str
    path: str
    label: int | list[int] | None = None
    occurrence: int = 1


class VideoInputs(Sequence[str]):
    """Paths of the videos in files, folders and lists, by ``find_videos``' rules.

    Lines of a list are looked up when they are used: a video that is not there is an error of that video.

    Attributes:
        at: the input of an index, its path looked up.

    Args:
        inputs: files, folders and list files.
        say: receives a line per folder and list.

    Raises:
        UserError: a folder without videos, an empty list, one that is not UTF-8, an address.
    """

    def __init__(self, inputs: Sequence[str | Path], say: Say):
        self._data, self._ends = bytearray(), array("q")
        self._parts: list[tuple[int, Path | None]] = []  # first input of each part, and its list
        for name in inputs:
            self._add(name, say)
        self._occurrences = self._count()
        self.at = functools.lru_cache(maxsize=_NUM_RECENT)(self._look_up)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        return self.at(index).path

    def _look_up(self, index: int) -> VideoInput:
        text, file, occurrence = self.row(index)
        return read_input(os.fsdecode(text), file, occurrence)

    def row(self, index: int) -> tuple[bytes, Path | None, int]:
        """An input as it is listed, its list, and which of the inputs with this text it is."""
        return self._bytes(index), self._list_of(index), int(self._occurrences[index])

    def keys(self) -> np.ndarray:
        """Digests, S16 [M], of each input's text, and which of the inputs with this text it is.

        Inputs with equal keys are in lists of different folders; ``can_be_at`` tells their videos apart.
        """
        texts = (key_of(self._bytes(i), int(n)) for i, n in enumerate(self._occurrences))
        return np.fromiter(texts, f"S{KEY_BYTES}", len(self))

    def can_be_at(self, index: int, path: str) -> bool:
        """Whether a path is one that an input can mean; nothing is looked up."""
        text, file = os.fsdecode(self._bytes(index)), self._list_of(index)
        if file is None:
            paths = [text, os.path.expanduser(text)]
        else:
            paths = [each for each, _ in paths_of_line(text, file)]
        return path in paths or os.path.abspath(path) in map(os.path.abspath, paths)

    def _bytes(self, index: int) -> bytes:
        return bytes(self._data[self._ends[index - 1] if index else 0 : self._ends[index]])

    def _list_of(self, index: int) -> Path | None:
        return next(file for first, file in reversed(self._parts) if first <= index)

    def _count(self) -> np.ndarray:
        """int32 [M]: 1, 2, ... of inputs with the same text, in lists of one folder."""
        folders = {file: os.fsencode(os.path.abspath(file.parent)) + b"\0" if file else b"" for _, file in self._parts}
        places = (key_of(folders[self._list_of(i)] + self._bytes(i)) for i in range(len(self)))
        texts = np.fromiter(places, f"S{KEY_BYTES}", len(self))
        order = np.argsort(texts, kind="stable")
        texts = texts[order]
        first = np.flatnonzero(np.concatenate([[True], texts[1:] != texts[:-1]])) if len(texts) else order
        sizes = np.diff(first, append=len(texts))
        counts = np.empty(len(self), np.int32)
        counts[order] = np.arange(len(texts)) - np.repeat(first, sizes) + 1
        return counts

    def _add(self, name: str | Path, say: Say) -> None:
        if address_scheme(name):
            raise address_refused(name)
        entry, first = Path(name).expanduser(), len(self)
        if entry.is_dir():
            self._parts.append((first, None))
            videos, left_out = videos_of_folder(entry)
            for video in videos:
                self._append(os.fsencode(video))
        elif entry.suffix.lower() in LIST_SUFFIXES and entry.is_file():
            self._parts.append((first, entry))
            for _, line in lines_of_videos(entry):
                self._append(line.encode())
            left_out = ""
        else:
            self._parts.append((first, None))
            self._append(os.fsencode(name))
            return
        count = len(self) - first
        say(f"{count} video{'s' if count != 1 else ''} found in {entry}{left_out}")

    def _append(self, text: bytes) -> None:
        self._data += text
        self._ends.append(len(self._data))


def read_input(text: str, file: Path | None, occurrence: int = 1) -> VideoInput:
    """An input, its path looked up; see ``VideoInputs.row``."""
    line = ListLine(Path(text).expanduser()) if file is None else read_line(text, file)
    return VideoInput(text, str(line.path), line.label, occurrence)


def key_of(text: bytes, occurrence: int = 1) -> bytes:
    """What identifies an input: 16 bytes."""
    more = b"\0%d" % occurrence if occurrence > 1 else b""
    return blake2b(text + more, digest_size=KEY_BYTES).digest()
