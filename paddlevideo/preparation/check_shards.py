"""Checks shards: every byte of them is read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from paddlevideo.addresses import is_address, without_secrets
from paddlevideo.errors import UserError
from paddlevideo.findings import Report, plural, table
from paddlevideo.loader.decode import MemoryVideo, VideoReadError, open_video
from paddlevideo.loader.shards.index import ENDING, INDEX_NAME, ShardIndex, read_index
from paddlevideo.loader.shards.reading import ShardReader
from paddlevideo.loader.shards.storage import Storage
from paddlevideo.loader.shards.tar import scan_shard
from paddlevideo.preparation.convert_videos import read_all
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.preparation.probing import Depth
from paddlevideo.preparation.video_indexes import VideoIndexes

_CHUNK = 16  # samples that one task reads

ERRORS = {
    "index": "the index is missing, damaged, or does not fit the shards",
    "shard": "the shard is missing, cut off, damaged, or has changed since it was indexed",
    "label": "the label is no class id",
    "unreadable": "cut off, damaged, empty, or no video",
    "short": "fewer frames than the model samples",
    "duplicate": "twice in one set",
    "conflict": "the same video under different labels",
    "leak": "the same video in two sets",
}
NOTES = {
    "no_digest": "the index has no SHA-256; paddlevideo prepare shards --index writes one",
    "read_as": "read in another way than one might expect",
    "no_samples": "a class without a sample",
}


@dataclass(frozen=True)
class ShardSource:
    """Shards to check.

    Args:
        split: the word for them in the report.
        file_path, shard_index, storage_options: as of ``ShardDataset``.
        num_seg: frames that a sample needs.
    """

    split: str
    file_path: str
    shard_index: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    num_seg: int = 1

    @property
    def storage(self) -> Storage:
        """Their folder."""
        return Storage(self.file_path if is_address(self.file_path) else os.path.expanduser(self.file_path),
                       self.storage_options)  # fmt: skip

    def read_index(self) -> ShardIndex:
        """Their index."""
        place = self.shard_index or f"{self.storage.root.rstrip('/')}/{INDEX_NAME}"
        return read_index(place if is_address(place) else os.path.expanduser(place), self.storage_options)


@dataclass
class ShardCheck(Report):
    """All that was found in shards."""

    errors, notes = ERRORS, NOTES
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)  # split -> facts
    indexes: VideoIndexes = field(default_factory=VideoIndexes)  # none: shards have their own

    def lines(self, max_shown: int = 10) -> list[str]:
        """A row per set, then the findings of each kind, at most ``max_shown`` of them, then a verdict."""
        keys = ("num_samples", "num_shards", "num_bytes", "num_classes")
        rows = [[split, *(str(facts[key]) for key in keys)] for split, facts in self.sets.items()]
        verdict = "nothing is wrong" if self.is_sound else plural(self.num_errors, "error")
        header = ["set", "samples", "shards", "bytes", "classes"]
        return [*table([header, *rows]), *self.kind_lines(max_shown), "", verdict]

    def as_json(self) -> dict[str, Any]:
        """Everything: ``sound``, ``sets``, ``findings``."""
        return self.stored(self.sets, None, {"split": "set", "file": "shards"})


def check_shards(
    sources: Sequence[ShardSource], num_classes: int | None, depth: Depth, backend: str, jobs: int, quiet: bool = False
) -> ShardCheck:
    """Compares shards with their index and digests, opens every video, and compares the sets.

    Args:
        num_classes: labels must be below; None: not checked.
        depth: ``open``, ``sample`` (first, middle and last frame) or ``full``.
        jobs: processes that open videos.
    """
    check, seen = ShardCheck(), {}
    named: dict[tuple[str, str | None], ShardSource] = {}
    for source in sources:
        other = named.setdefault((source.file_path, source.shard_index), source)
        if other is source:
            _check_set(source, check, num_classes, depth, backend, jobs, quiet, seen)
        elif other.split == "train":
            check.add("leak", source.split, without_secrets(source.file_path), 0, "the same shards as train")
    check.sort()
    return check


def _check_set(
    source: ShardSource, check: ShardCheck, num_classes: int | None, depth: Depth, backend: str, jobs: int, quiet: bool,
    seen: dict[bytes, tuple[str, str, tuple[int, ...]]],
) -> None:  # fmt: skip
    place = without_secrets(source.file_path)
    try:
        source.storage.require()
        index = source.read_index()
    except UserError as error:
        check.add("index", source.split, place, 0, str(error))
        return
    counts = Counter(index.labels.tolist())
    check.sets[source.split] = {
        "num_samples": len(index),
        "num_shards": len(index.shards),
        "num_bytes": sum(shard.bytes for shard in index.shards),
        "num_classes": len(counts),
        "samples_by_class": {str(label): counts[label] for label in sorted(counts)},
    }
    sound = _check_files(source, index, check)
    for number in np.flatnonzero(index.labels >= num_classes) if num_classes is not None else ():
        row = int(np.searchsorted(index.label_end, number, side="right"))
        name = ShardReader(index, source.storage, 0).name(row)
        detail = f"label {index.labels[number]}: expected 0 to {num_classes - 1}"
        check.add("label", source.split, place, 0, detail, name)
    empty = sorted(set(range(num_classes or max(counts, default=0) + 1)) - set(counts))
    if empty:
        shown = ", ".join(map(str, empty[:20])) + (" ..." if len(empty) > 20 else "")
        check.add("no_samples", source.split, place, 0, f"{plural(len(empty), 'class', 'classes')}: {shown}")
    samples = np.flatnonzero(np.isin(index.shard, sound))
    groups = [samples[k : k + _CHUNK].tolist() for k in range(0, len(samples), _CHUNK)]
    task = partial(_probe, source=source, depth=depth, backend=backend)
    for number, result in run_tasks(task, groups, jobs, "videos", quiet):
        lines = [("unreadable", str(groups[number]), result.detail)] if isinstance(result, Crashed) else result
        for kind, name, detail in lines:
            check.add(kind, source.split, place, 0, detail, name)
    _compare(source, index, check, seen)


def _check_files(source: ShardSource, index: ShardIndex, check: ShardCheck) -> list[int]:
    """Compares each shard with the index; numbers of those that fit."""
    storage, sound = source.storage, []
    place, ids = without_secrets(source.file_path), {name: k for k, name in enumerate(index.class_names or ())}
    for number, shard in enumerate(index.shards):
        try:
            content = scan_shard(storage, shard.name, whole=True)
        except UserError as error:
            check.add("shard", source.split, place, 0, str(error))
            continue
        if not shard.sha256:
            check.add("no_digest", source.split, place, 0, shard.name)
        rows = np.flatnonzero(index.shard == number)
        places = [(sample.name, sample.offset, sample.size) for sample in content.samples]
        if shard.sha256 not in ("", content.sha256):
            check.add("shard", source.split, place, 0, f"{storage.place(shard.name)}: SHA-256 mismatch with the index")
        elif places != [(index.name(row), int(index.offset[row]), int(index.size[row])) for row in rows.tolist()]:
            check.add("shard", source.split, place, 0, f"{storage.place(shard.name)}: other samples than in the index")
        elif [_class_indices(sample.labels, ids) for sample in content.samples] != [
            index.labels_of(row).tolist() for row in rows.tolist()
        ]:
            check.add("shard", source.split, place, 0, f"{storage.place(shard.name)}: other labels than in the index")
        else:
            sound.append(number)
    if storage.is_local:
        for name in sorted(set(storage.names(ENDING)) - {shard.name for shard in index.shards}):
            check.add("shard", source.split, place, 0, f"{storage.place(name)}: not in the index")
    return sound


def _class_indices(labels: Sequence[int | str], ids: Mapping[str, int]) -> list[int]:
    """-1: a name that is no class."""
    return [ids.get(one, -1) if isinstance(one, str) else one for one in labels]


def _probe(rows: list[int], source: ShardSource, depth: Depth, backend: str) -> list[tuple[str, str, str]]:
    """Kind, name and detail of what is wrong with some samples."""
    reader = ShardReader(source.read_index(), source.storage, 1 << 28)
    reader.expect(np.array(rows, np.int64))
    found = []
    for row in rows:
        name = reader.name(row)
        try:
            with open_video(MemoryVideo(name, reader.read(row)), backend) as video:
                count = len(video)
                if depth == "sample":
                    video.get(sorted({0, count // 2, count - 1}))
                elif depth == "full":
                    for _ in read_all(video):
                        pass
                found += [("read_as", name, remark) for remark in video.remarks]
        except VideoReadError as error:
            found.append(("unreadable", name, f"{error.reason}: {error.detail}"))
            continue
        if count < source.num_seg:
            found.append(("short", name, f"{count} frames, where {source.num_seg} are sampled"))
    return found


def _compare(
    source: ShardSource, index: ShardIndex, check: ShardCheck, seen: dict[bytes, tuple[str, str, tuple[int, ...]]]
) -> None:
    """Notes videos of equal content, in this set and in those before."""
    reader, place = ShardReader(index, source.storage, 0), without_secrets(source.file_path)
    for row, digest in enumerate(map(bytes, index.digest) if index.digest.ndim == 2 else ()):
        labels, name = tuple(index.labels_of(row).tolist()), reader.name(row)
        split, other, others = seen.setdefault(digest, (source.split, name, labels))
        if other == name and split == source.split:
            continue
        if {split, source.split} == {"valid", "test"}:
            continue
        if labels != others and source.split == split:
            check.add("conflict", source.split, place, 0, f"{other} has the label {others}, here {labels}", name)
        elif split == source.split:
            check.add("duplicate", source.split, place, 0, f"the same as {other}", name)
        else:
            check.add("leak", source.split, place, 0, f"also in {split}: {other}", name)
