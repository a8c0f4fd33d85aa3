"""Videos of a list or of class folders to tar shards, and the index of shards.

A shard is written under another name and then renamed, so one that is there is whole.  The same videos give the same
bytes.  What a stopped command was doing is in ``shards.plan``, so that it continues when it is rerun.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from paddlevideo.addresses import is_address, without_secrets
from paddlevideo.errors import DamagedFileError, UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.shards.index import (
    ENDING,
    INDEX_NAME,
    ShardIndex,
    mark_compared,
    newest_change,
    read_index,
    scan_shards,
)
from paddlevideo.loader.shards.storage import Storage
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.safe_io import sweep_temporary, write_atomic
from paddlevideo.video_files import is_video

PLAN_NAME = "shards.plan"
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_MIB = 1 << 20
_RESERVE_BYTES = 64 * _MIB  # left free on the disk
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class ShardSettings:
    """How shards are written.

    Args:
        prefix: of their names: ``train`` gives ``train-000000.tar``.
        max_bytes: a shard ends before it would be larger, unless it holds one video.
        max_samples: a shard has at most so many; None: any number.
        mixed: in random order, the same every time; neighbours are read together, and should be of any class.
        jobs: processes that open the videos before anything is written.
    """

    prefix: str
    max_bytes: int = 256 * _MIB
    max_samples: int | None = None
    mixed: bool = True
    jobs: int = 1
    quiet: bool = False


@dataclass(frozen=True)
class Item:
    """One sample to write."""

    path: str
    key: str
    size: int
    labels: tuple[int, ...]

    def label_json(self, names: Sequence[str] | None) -> bytes:
        """The content of ``key.json``."""
        value: dict = {"label": self.labels[0]} if len(self.labels) == 1 else {"labels": list(self.labels)}
        if names:
            value["classes"] = [names[k] for k in self.labels]
        return json.dumps({**value, "file": os.path.basename(self.path)}, ensure_ascii=True).encode()

    @property
    def video_name(self) -> str:
        """Of its member."""
        return self.key + os.path.splitext(self.path)[1].lower()


def write_shards(dataset: Dataset, class_names: Sequence[str] | None, out: Path, settings: ShardSettings) -> ShardIndex:
    """Writes the videos of a data set, and the index.

    Args:
        dataset: its records have "filename" and "label".
        class_names: in class-id order, for the index; None: unknown.
        out: folder for the shards; empty, or that of the same command before.

    Raises:
        ConfigError: videos that cannot be read, all at once; nothing is written then.
        UserError: the folder holds something else; there is not enough space; a video changed meanwhile.
    """
    items = _items(dataset, settings.mixed)
    shards = _parts(items, settings)
    plan = _plan(shards, class_names, settings)
    names = [f"{settings.prefix}-{number:06d}{ENDING}" for number in range(len(shards))]
    _begin(out, plan)
    _check_videos(items, settings)
    left = [k for k, name in enumerate(names) if not (out / name).exists()]
    _check_space(out, sum(_shard_bytes(shards[k], class_names) for k in left))
    write_atomic(out / PLAN_NAME, plan)
    write = partial(_write_shard, shards=shards, names=names, classes=class_names, out=out)
    deque(run_tasks(write, left, 1, "shards", settings.quiet), maxlen=0)
    index = scan_shards(Storage(str(out)), names, class_names, whole=True)
    index.write(out / INDEX_NAME)
    (out / PLAN_NAME).unlink()
    return index


def write_index(source: str, out: Path | None, class_names: Sequence[str] | None) -> tuple[ShardIndex, Path]:
    """The index of existing shards, every byte of them read once.

    Args:
        source: a folder, or an address, or a pattern of names in one (``.../train-{000000..000127}.tar``) where it
            cannot be listed.
        out: file for the index; None: beside the shards.
        class_names: in class-id order, for labels that are names; None: those of the index that is replaced.

    Returns:
        The index, and where it was written.

    Raises:
        UserError: a shard is missing or damaged; shards at an address without ``out``.
    """
    folder, names = _named(source)
    storage = Storage(folder)
    if out is None and not storage.is_local:
        raise UserError(f"{without_secrets(source)}: an address is not written to; name a file for the index (--out)")
    names = storage.names(ENDING) if names is None else names
    target = Path(folder) / INDEX_NAME if out is None else out
    if class_names is None and target.is_file():
        with contextlib.suppress(DamagedFileError):
            class_names = read_index(str(target)).class_names
    newest = newest_change(storage, names)
    index = scan_shards(storage, names, class_names, whole=True)
    index.write(target)
    if newest:
        mark_compared(target, newest)
    return index, target


def _named(source: str) -> tuple[str, list[str] | None]:
    """Folder and names of a pattern; None: all shards of the folder."""
    if not source.endswith(ENDING):
        return source if is_address(source) else os.path.expanduser(source), None
    folder, _, pattern = source.rpartition("/")
    match = _BRACES.search(pattern)
    if not match:
        return folder or ".", [pattern]
    first, last = match.groups()
    numbers = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    return folder or ".", [pattern[: match.start()] + number + pattern[match.end() :] for number in numbers]


def _items(dataset: Dataset, mixed: bool) -> list[Item]:
    """The samples in the order in which they are written."""
    problems, items = Findings(printable(dataset.file_path)), []
    count = len(dataset.records)
    order = np.random.default_rng(0).permutation(count).tolist() if mixed else range(count)
    for number in order:
        record = dataset.records[number]
        if "filename" not in record or dataset.has_boxes or dataset.in_archives:
            raise UserError(
                f"{printable(dataset.file_path)}: shards hold video files with classes, and this lists none"
            )
        path, label = str(record["filename"]), record["label"]
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", os.path.splitext(os.path.basename(path))[0])[:60]
        labels = np.flatnonzero(label).tolist() if isinstance(label, np.ndarray) else [label]
        line = dataset.lines[number] if len(dataset.lines) else 0
        if not is_video(f"x{os.path.splitext(path)[1]}"):
            problems.add(line, f"{printable(path)}: its ending is none of a video; give the file one, e.g. .mp4")
            continue
        try:
            items.append(Item(path, f"{len(items):08d}-{stem}", os.path.getsize(path), tuple(map(int, labels))))
        except OSError as error:
            problems.add(line, f"{printable(path)}: {error.strerror}")
    problems.raise_if_any("videos that cannot be written")
    return items


def _parts(items: Sequence[Item], settings: ShardSettings) -> list[list[Item]]:
    """The items of each shard."""
    parts: list[list[Item]] = []
    held = 0
    for item in items:
        taken = _padded(item.size) + 3 * _BLOCK  # two headers and the label
        full = parts and (held + taken > settings.max_bytes or len(parts[-1]) == settings.max_samples)
        if not parts or full:
            parts.append([])
            held = 0
        parts[-1].append(item)
        held += taken
    return parts


def _plan(shards: Sequence[Sequence[Item]], class_names: Sequence[str] | None, settings: ShardSettings) -> str:
    """What is written, as a JSON text with a digest."""
    content = [[(item.path, item.key, item.size, item.labels) for item in shard] for shard in shards]
    digest = hashlib.sha256(json.dumps([content, list(class_names or ())]).encode()).hexdigest()
    return json.dumps({"prefix": settings.prefix, "shards": len(shards), "sha256": digest}) + "\n"


def _begin(out: Path, plan: str) -> None:
    """Makes the folder, or clears up after the same command that was stopped.

    Raises:
        UserError: the folder holds something else.
    """
    way = "choose another folder (--out), or remove it"
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is not a folder; {way}")
    out.mkdir(parents=True, exist_ok=True)
    found = [entry for entry in sorted(os.listdir(out)) if not entry.startswith(".")]
    if (out / PLAN_NAME).is_file():
        sweep_temporary(out)
        if (out / PLAN_NAME).read_text(encoding="utf-8") == plan:
            return
        raise UserError(f"{out}: holds shards that were begun from other videos, labels or sizes; {way}")
    if (out / INDEX_NAME).is_file():
        raise UserError(f"{out}: already holds {len(read_index(str(out / INDEX_NAME)).shards)} shards; {way}")
    if found:
        raise UserError(f"{out}: is not empty ({printable(found[0])}); {way}")


def _check_videos(items: Sequence[Item], settings: ShardSettings) -> None:
    problems = Findings("videos")
    for k, error in run_tasks(_opening_error, [item.path for item in items], settings.jobs, "videos", settings.quiet):
        if error is not None:
            problems.add(printable(items[k].path), error.detail if isinstance(error, Crashed) else error)
    problems.raise_if_any("some cannot be read, and nothing was written; take them out of the list")


def _opening_error(path: str) -> str | None:
    try:
        open_video(path).close()
    except VideoReadError as error:
        return f"{error.reason} ({error.detail})"
    return None


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed + _RESERVE_BYTES > free:
        raise UserError(
            f"{out}: {needed / 1e9:.1f} GB are to be written, {free / 1e9:.1f} GB are free there; free some, or choose "
            "another folder (--out)"
        )


def _write_shard(
    number: int, shards: Sequence[Sequence[Item]], names: Sequence[str], classes: Sequence[str] | None, out: Path
) -> None:
    write_atomic(out / names[number], partial(_write_members, shards[number], classes))


def _write_members(items: Sequence[Item], classes: Sequence[str] | None, stream: BinaryIO) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for item in items:
            with open(item.path, "rb") as video:
                if os.fstat(video.fileno()).st_size != item.size:
                    raise UserError(f"{printable(item.path)}: has changed since the command began; rerun it")
                archive.addfile(_member(item.video_name, item.size), video)
            text = item.label_json(classes)
            archive.addfile(_member(f"{item.key}.json", len(text)), io.BytesIO(text))


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A header without time and owner, so that equal content gives equal bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, 0, 0o644
    return member


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _shard_bytes(items: Sequence[Item], classes: Sequence[str] | None) -> int:
    content = sum(2 * _BLOCK + _padded(item.size) + _padded(len(item.label_json(classes))) for item in items)
    return -(-(content + 2 * _BLOCK) // _RECORD) * _RECORD
