"""The index of shards: which sample is where, so that one is read without reading those before it.

``shards.npz`` beside the shards: ``about`` (JSON: per shard name, bytes, samples and SHA-256; class names) and columns.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.addresses import is_address, without_secrets
from paddlevideo.errors import DamagedFileError, UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.loader.labels import refuse_control_characters
from paddlevideo.loader.shards.storage import Storage
from paddlevideo.loader.shards.tar import ShardContent, scan_shard
from paddlevideo.safe_io import read_npz, write_atomic

INDEX_NAME = "shards.npz"
ENDING = ".tar"
_FORMAT = 1
_AGAIN = "write it again with paddlevideo prepare shards --index"
_COLUMNS = {
    "shard": np.int32, "offset": np.int64, "size": np.int64, "name_end": np.int64, "names": np.uint8,
    "label_end": np.int64, "labels": np.int32, "digest": np.uint8,
}  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """One shard.

    Attributes:
        name: of the file.
        bytes: of the file.
        samples: in it.
        sha256: of the file; empty: unknown.
        other: members that are neither a video nor a label.
    """

    name: str
    bytes: int
    samples: int
    sha256: str = ""
    other: int = 0


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where the samples are; those of a shard follow each other, in its order.

    Attributes:
        shards: in the order of the samples.
        class_names: in class-id order; None: unknown.
        shard, offset, size: [N] of each sample: number of its shard, first byte of the video, bytes.
        label_end: [N] end of its labels in ``labels`` (class indices).
        name_end: [N] end of its member's name in ``names`` (UTF-8).
        digest: [N, 32] SHA-256 of each video, or [0]: unknown.
    """

    shards: Sequence[Shard]
    class_names: Sequence[str] | None
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    name_end: np.ndarray
    names: np.ndarray
    label_end: np.ndarray
    labels: np.ndarray
    digest: np.ndarray

    def __len__(self) -> int:
        return len(self.shard)

    def name(self, index: int) -> str:
        """Of the sample's member."""
        start = self.name_end[index - 1] if index else 0
        return self.names[start : self.name_end[index]].tobytes().decode("utf-8", "surrogateescape")

    def labels_of(self, index: int) -> np.ndarray:
        """Class indices of a sample, int32 [labels]."""
        start = self.label_end[index - 1] if index else 0
        return self.labels[start : self.label_end[index]]

    @property
    def one_label_each(self) -> bool:
        return np.array_equal(self.label_end, np.arange(1, len(self) + 1))

    def write(self, path: str | os.PathLike) -> None:
        """Writes it; the same content gives the same bytes."""
        write_atomic(path, self.as_bytes())

    def as_bytes(self) -> bytes:
        """The content of the file."""
        about = {
            "format": _FORMAT,
            "samples": len(self),
            "class_names": None if self.class_names is None else list(self.class_names),
            "shards": [vars(shard) for shard in self.shards],
        }
        stream = io.BytesIO()
        text = np.frombuffer(json.dumps(about, indent=1).encode(), np.uint8)
        np.savez(stream, about=text, **{key: getattr(self, key) for key in _COLUMNS})
        return stream.getvalue()


def index_of(
    storage: Storage, names: Sequence[str], contents: Iterable[ShardContent], class_names: Sequence[str] | None
) -> ShardIndex:
    """The index of scanned shards.

    Args:
        names: of the shards.
        class_names: in class-id order, for labels that are names; None: there are none of these.

    Raises:
        ConfigError: names that are no classes.
        UserError: there is no sample.
    """
    contents, ids = list(contents), {name: k for k, name in enumerate(class_names or ())}
    samples = [(k, sample) for k, content in enumerate(contents) for sample in content.samples]
    if not samples:
        raise UserError(f"{without_secrets(storage.root)}: {len(names)} shards without a sample")
    problems, labels = Findings(without_secrets(storage.root)), []
    for k, sample in samples:
        where = f"{storage.place(names[k])}: member {sample.name}"
        labels.append([ids.get(one, -1) if isinstance(one, str) else one for one in sample.labels])
        for one, number in zip(sample.labels, labels[-1]):
            if number < 0 and isinstance(one, str):
                way = "none of the class names" if class_names else "a name; class names need --labels FILE"
                problems.add(where, f"label {one[:80]!r} is {way}")
            elif not 0 <= number < 2**31:
                problems.add(where, f"label {number} is no class index; they count from 0")
    problems.raise_if_any()
    shards = [Shard(name, c.num_bytes, len(c.samples), c.sha256, c.num_other) for name, c in zip(names, contents)]
    texts = [sample.name.encode("utf-8", "surrogateescape") for _, sample in samples]
    whole = all(content.sha256 for content in contents)
    digests = b"".join(bytes.fromhex(sample.digest) for _, sample in samples) if whole else b""
    return ShardIndex(
        shards,
        class_names,
        np.array([k for k, _ in samples], np.int32),
        np.array([sample.offset for _, sample in samples], np.int64),
        np.array([sample.size for _, sample in samples], np.int64),
        np.cumsum([len(text) for text in texts], dtype=np.int64),
        np.frombuffer(b"".join(texts), np.uint8),
        np.cumsum([len(own) for own in labels], dtype=np.int64),
        np.array([one for own in labels for one in own], np.int32),
        np.frombuffer(digests, np.uint8).reshape(-1, 32) if whole else np.empty(0, np.uint8),
    )


def scan_shards(storage: Storage, names: Sequence[str], class_names: Sequence[str] | None, whole: bool) -> ShardIndex:
    """Reads shards once, for their index.

    Args:
        names: of the shards.
        whole: read every byte, for digests; else headers and labels only.

    Raises:
        UserError: as ``scan_shard`` and ``index_of``; there are no shards.
    """
    if not names:
        raise UserError(f"{without_secrets(storage.root)}: no shards in it (looked for *{ENDING})")
    return index_of(storage, names, (scan_shard(storage, name, whole) for name in names), class_names)


def newest_change(storage: Storage, names: Iterable[str]) -> int:
    """When the newest of some files of a local folder was written or put there, ns; 0: an address, or none is there."""
    return max(_change_times(storage, names).values(), default=0)


def changed_since(storage: Storage, index: ShardIndex, path: str | os.PathLike) -> list[Shard]:
    """Shards of a local folder that were written, or put there, after the index file."""
    if not storage.is_local or is_address(str(path)):
        return []
    times, written = _change_times(storage, [shard.name for shard in index.shards]), os.stat(path).st_mtime_ns
    return [shard for shard in index.shards if times.get(shard.name, 0) > written]


def mark_compared(path: str | os.PathLike, newest: int) -> bool:
    """Gives an index file the time of the newest shard that it was compared with; whether this was possible."""
    try:
        os.utime(path, ns=(newest, newest))
    except OSError:
        return False
    return True


def _change_times(storage: Storage, names: Iterable[str]) -> dict[str, int]:
    """Per file that is there, the later of the times of its content and of its entry: the first can be carried over
    from another file (``cp -p``, ``rsync -a``), the second cannot."""
    times = {}
    for name in names if storage.is_local else ():
        with contextlib.suppress(OSError):
            status = os.stat(os.path.join(storage.root, name))
            times[name] = max(status.st_mtime_ns, status.st_ctime_ns)
    return times


def read_index(path: str, options: Mapping[str, Any] | None = None) -> ShardIndex:
    """The index in a file or at an address; kept by this process as long as a local file is unchanged.

    Raises:
        UserError: the file is missing or damaged.
    """
    stamp: Any = None
    if not is_address(path):
        path = os.path.abspath(path)
        status = os.stat(path) if os.path.isfile(path) else None
        stamp = status and (status.st_size, status.st_mtime_ns)
    return _read(path, stamp, json.dumps(dict(options or {}), sort_keys=True, default=repr))


@functools.lru_cache(maxsize=4)
def _read(path: str, stamp: Any, options: str) -> ShardIndex:
    shown = without_secrets(path)
    if not is_address(path):
        return _parsed(read_npz(path), shown)
    folder, _, name = path.rpartition("/")
    content = Storage(folder, json.loads(options)).read_all(name)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(content)
        file.flush()
        try:
            return _parsed(read_npz(file.name), shown)
        except DamagedFileError as error:
            raise DamagedFileError(str(error).replace(file.name, shown)) from None


def _parsed(arrays: dict[str, np.ndarray], shown: str) -> ShardIndex:
    """The index, its columns compared with each other.

    Raises:
        DamagedFileError: they do not fit.
    """

    def refuse(what: str) -> DamagedFileError:
        return DamagedFileError(f"{shown}: damaged, or no index of shards ({what}); {_AGAIN}")

    try:
        about = json.loads(arrays["about"].tobytes())
        columns = {key: arrays[key] for key in _COLUMNS}
        shards = [Shard(**{key: entry[key] for key in ("name", "bytes", "samples", "sha256", "other")})
                  for entry in about["shards"]]  # fmt: skip
        version, names = about["format"], about["class_names"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise refuse(f"{type(error).__name__}: {printable(str(error))}") from None
    if version != _FORMAT:
        raise UserError(f"{shown}: an index of format {version}, this version reads {_FORMAT}; {_AGAIN}")
    count = len(columns["shard"])
    for key, kind in _COLUMNS.items():
        if columns[key].dtype != kind:
            raise refuse(f"{key} is {columns[key].dtype}")
    if any(columns[key].shape != (count,) for key in ("shard", "offset", "size", "name_end", "label_end")) or not count:
        raise refuse("columns of different lengths")
    if not all(
        isinstance(s.name, str) and isinstance(s.bytes, int) and isinstance(s.sha256, str) and isinstance(s.other, int)
        for s in shards
    ):
        raise refuse("shards")
    if [s.samples for s in shards] != np.bincount(columns["shard"], minlength=len(shards)).tolist() or (
        np.diff(columns["shard"]) < 0
    ).any():
        raise refuse("numbers of samples")
    ends = columns["offset"] + columns["size"]
    if columns["offset"].min() < 512 or (ends > np.array([s.bytes for s in shards])[columns["shard"]]).any():
        raise refuse("a sample outside of its shard")
    if ((columns["offset"][1:] < ends[:-1]) & (np.diff(columns["shard"]) == 0)).any() or columns["size"].min() < 0:
        raise refuse("samples that overlap")
    for key, values in (("name_end", columns["names"]), ("label_end", columns["labels"])):
        if (np.diff(columns[key], prepend=0) < 0).any() or columns[key][-1] != len(values):
            raise refuse(key)
    if columns["digest"].shape not in ((0,), (count, 32)) or (columns["labels"] < 0).any():
        raise refuse("digests or labels")
    if names is not None and not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise refuse("class names")
    refuse_control_characters(shown, names or ())
    outside = next((s.name for s in shards if not s.name or set(s.name) & set("/\\\0") or s.name[0] == "."), None)
    if outside is not None:
        raise refuse(f"{printable(outside)!r} is no file of the folder")
    for value in columns.values():
        value.setflags(write=False)
    return ShardIndex(shards, names, **columns)
