"""The files of a data set that are not there, found before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.lists import path_hint
from paddlevideo.loader.datasets.records import Choices, Records, Texts, paths_of

_SHOWN = 5  # files
_PART = 1 << 15  # paths


def drop_missing(dataset: Any, policy: str, where: str) -> str | None:
    """Checks that all files of a data set exist, before the first step.

    Args:
        dataset: has ``file_path``, ``records`` and ``lines``.
        policy: ``raise``, or ``skip``: the records without a file are removed, and the others renumbered.
        where: key path of the data set's section.

    Returns:
        What was taken out, as a log line.

    Raises:
        ConfigError: files are missing, each with its line.
        UserError: there is not one.
    """
    records, exists = dataset.records, _Existing()
    absent = dict.fromkeys(name for name in dict.fromkeys(_doubtful(records)) if not exists(name))
    if not absent:
        return None
    names = list(paths_of(records))
    lines = dict(zip(reversed(names), reversed(dataset.lines or [0] * len(names))))  # the first of each
    if policy == "raise":
        problems = Findings(dataset.file_path)
        for name in absent:
            problems.add(lines[name], f"{printable(name)} does not exist{path_hint(name)}")
        counted = f"{len(absent)} of {len(set(names))} files are missing"
        problems.raise_if_any(f"{counted} (is data_prefix right? -o {where}.missing=skip goes on without them)")
    if len(absent) == len(set(names)):
        raise UserError(f"{dataset.file_path}: not one of its files is there; is {where}.data_prefix right?")
    kept = np.array([i for i, name in enumerate(names) if name not in absent])
    gone = [f"{printable(name)} (line {lines[name]})" for name in list(absent)[:_SHOWN]]
    line = (
        f"{where}: missing: skip: {len(names) - len(kept)} of {len(names)} samples are left out, since their files do "
        f"not exist: {', '.join(gone)}{', ...' if len(absent) > _SHOWN else ''}"
    )
    dataset.lines = [dataset.lines[i] for i in kept] if len(dataset.lines) else []
    if isinstance(records, Records):
        dataset.records = records.take(kept)
        return line
    dataset.records = [records[i] for i in kept]
    for i, record in enumerate(dataset.records):
        record["index"] = i
    return line


def _doubtful(records: Any) -> Iterable[str]:
    """The paths that are not seen to be there by one look into each folder."""
    column = next(iter(records.columns.values())) if isinstance(records, Records) else None
    if isinstance(column, Choices):
        return column.values
    return (column[i] for i in _unlisted(column).tolist()) if isinstance(column, Texts) else paths_of(records)


def _unlisted(paths: Texts) -> np.ndarray:
    """The texts whose file is no entry of its folder, or a link: int64 [M].

    Entries and texts are compared by 64-bit hashes, in 8 bytes each: that a missing file is taken for another one has
    a chance below 1e-7 for a million of them, and it is then found missing when it is read.
    """
    if "/" in paths.tail or not paths.data:
        return np.arange(len(paths))
    data, keys, tail = paths.data, paths.keys(), paths.tail.encode("utf-8", "surrogateescape")
    head, scanned = paths.head.encode("utf-8", "surrogateescape"), set()
    pending, doubtful = np.flatnonzero(paths.begin < len(data)), [np.flatnonzero(paths.begin >= len(data))]
    while len(pending):
        # a part of the paths names most of the folders; what these do not hold is in others
        spans = zip(paths.begin[pending[:_PART]].tolist(), paths.length[pending[:_PART]].tolist())
        folders = {data[begin : data.rfind(b"/", begin, begin + length) + 1] for begin, length in spans} - scanned
        scanned |= folders
        seen = _among(keys[pending], [_entries(head, folder, tail) for folder in folders])
        doubtful.append(pending[:_PART][~seen[:_PART]])
        pending = pending[_PART:][~seen[_PART:]]
    return np.sort(np.concatenate(doubtful))


def _among(keys: np.ndarray, entries: list[np.ndarray]) -> np.ndarray:
    """Whether each key is one of the entries; quick if all are."""
    found = np.sort(np.concatenate([*entries, keys[:0]]))
    if not len(found):
        return np.zeros(len(keys), bool)
    ordered = np.sort(keys)
    absent = ordered[found[np.minimum(np.searchsorted(found, ordered), len(found) - 1)] != ordered]
    return ~np.isin(keys, absent) if len(absent) else np.ones(len(keys), bool)


def _entries(head: bytes, folder: bytes, tail: bytes) -> np.ndarray:
    """The hashes of ``folder`` and the names in it that end with ``tail``, without it; of what is no link."""
    cut = -len(tail) or None
    try:
        with os.scandir(head + folder or b".") as entries:
            found = [
                hash(folder + entry.name[:cut])
                for entry in entries
                if entry.name.endswith(tail) and not entry.is_symlink()
            ]
    except (OSError, ValueError):
        found = []
    return np.array(found, np.int64)


class _Existing:
    """``os.path.exists`` that reads each folder once: lists name many files of few folders."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, bool]] = {}  # folder -> name -> is a link

    def __call__(self, path: str) -> bool:
        folder, name = os.path.split(path.rstrip(os.sep))
        if folder not in self._folders:
            try:
                with os.scandir(folder or ".") as entries:
                    self._folders[folder] = {entry.name: entry.is_symlink() for entry in entries}
            except (OSError, ValueError):
                self._folders[folder] = {}
        # a file that is not there by this name may be by another spelling of it
        return self._folders[folder].get(name, True) is False or os.path.exists(path)
