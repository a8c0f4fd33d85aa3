"""Videos in tar shards with one class each, in a folder or at an address."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddlevideo.addresses import is_address, without_secrets
from paddlevideo.errors import ConfigError, UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.lists import ClassCount, expanded
from paddlevideo.loader.datasets.records import Column, MultiHot, Numbers, Records
from paddlevideo.loader.labels import refuse_doubled
from paddlevideo.loader.shards.index import (
    ENDING,
    INDEX_NAME,
    Shard,
    ShardIndex,
    changed_since,
    mark_compared,
    newest_change,
    read_index,
    scan_shards,
)
from paddlevideo.loader.shards.reading import ShardReader
from paddlevideo.loader.shards.storage import MissingFileError, Storage
from paddlevideo.loader.shards.tar import digest_of
from paddlevideo.ranges import PositiveInt
from paddlevideo.registry import DATASETS

log = logging.getLogger("paddlevideo")
_LANES = 8  # numbers of workers that divide it read whole windows
_MIB = 1 << 20


@DATASETS.register
class ShardDataset(Dataset):
    """Samples ``{"filename", "content", "label", "index"}`` from tar shards in WebDataset's layout: ``key.mp4`` (or
    another video), and its label in ``key.json`` (``label``), ``key.cls`` or ``key.txt``, beside each other.

    A training epoch reads windows of neighbours in a random order, many at a time (``shuffled``), so that every process
    reads large pieces.  Any sample can be read by itself, so that a resumed run reads nothing twice.

    Args:
        file_path: folder of the shards, or an address that fsspec opens (``s3://bucket/train``, ``http://...``).
        shard_index: file or address of the index (``paddlevideo prepare shards``); None: ``shards.npz`` beside them.
            Where a local folder has none, the headers are read once and it is written; again where shards changed.
        window: neighbouring samples of a shard that are read together and shuffled among each other.
        per_window: samples that a batch takes from one window, where its size is a multiple (``batch_size`` below it
            makes ranks share windows).  Shards that are sorted by class need 1, and hold more.
        read_ahead_mb: MiB that each process holds of what it reads next.  Below ``window * 8 * batch_size / per_window
            / num_workers`` samples, it reads in smaller pieces.
        storage_options: of fsspec's file system, e.g. ``{anon: True}``.  Keys and passwords belong into the
            environment or fsspec's own configuration, since a configuration is stored with the run.
        class_names: in class-id order.  Where the index has names, its labels are mapped to these by name.
        multi_label: a sample has any number of labels; they become multi-hot, float32 [K].
        num_classes: given by the loader; labels are checked against it.

    Raises:
        UserError: shards or the index are missing, damaged, or do not fit each other; fsspec is missing; a sample with
            several labels without ``multi_label``; a class that is none of ``class_names``.
        ConfigError: labels out of range, all at once.

    Source: the layout is WebDataset's.  There each worker reads shards of its own, so that the batches depend on the
    number of workers, and a stopped epoch is read again; here they depend on (seed, epoch) alone.
    """

    in_archives = True

    def __init__(
        self,
        file_path: str,
        shard_index: str | None = None,
        window: PositiveInt = 16,
        per_window: PositiveInt = 4,
        read_ahead_mb: PositiveInt = 128,
        storage_options: dict | None = None,
        class_names: list[str] | None = None,
        multi_label: bool = False,
        num_classes: int | None = None,
    ):
        self.file_path = file_path if is_address(file_path) else expanded(file_path)
        self.multi_label, self._window, self._per_window = multi_label, window, per_window
        self.remarks: list[str] = []
        self._storage = Storage(self.file_path, storage_options or {})
        self._index = self._read_index(shard_index, storage_options)
        self.class_names = self._index.class_names if class_names is None else class_names
        labels = _mapped(self._index, class_names, without_secrets(self.file_path))
        if not multi_label and not self._index.one_label_each:
            ends = np.diff(self._index.label_end, prepend=0)
            self._refuse(int(np.flatnonzero(ends != 1)[0]), "has several labels, or none; set multi_label: True")
        if multi_label and num_classes is None and not self.class_names:
            raise UserError("multi_label: True needs the number of classes: num_classes, or class_names")
        _check_labels(self._storage, self._index, labels, num_classes)
        self._reader = ShardReader(self._index, self._storage, read_ahead_mb * _MIB)
        size = (num_classes or len(self.class_names)) if multi_label else None
        self.records = _records(self._reader, self._index, labels, size)
        count, num_bytes = len(self._index.shards), sum(shard.bytes for shard in self._index.shards)
        other = sum(shard.other for shard in self._index.shards)
        self.remarks.append(
            f"{len(self._index)} samples in {count} shards, {num_bytes / 1e6:,.1f} MB"
            + (f"; {other} members that are neither a video nor a label are not read" if other else "")
        )

    def sample(self, index: int) -> dict[str, Any]:
        """A new sample dict with the video's bytes, ready for the pipeline."""
        return {**self.records[index], "content": self._reader.read(index)}

    def shuffled(self, rng: np.random.Generator, num_together: int) -> np.ndarray:
        """Windows of neighbours in random order, each shuffled, dealt out to lanes, from which the order takes
        ``per_window`` samples each in turn.

        There are as many lanes as 8 batches take turns.  So batch b draws from windows at random places, the same ones
        as batch b + 8: ranks, and up to 8 workers, have lanes of their own.  The order depends on the batch of all
        ranks together, not on how many ranks and workers share it.
        """
        # number of the window of each sample: a shard begins with a new one
        counts = np.array([shard.samples for shard in self._index.shards])
        windows = -(-counts // self._window)
        place = np.arange(len(self._index)) - np.repeat(np.cumsum(counts) - counts, counts)
        window = place // self._window + np.repeat(np.cumsum(windows) - windows, counts)
        sequence = np.lexsort((rng.random(len(window)), rng.permutation(int(windows.sum()))[window]))
        turn = math.gcd(num_together, self._per_window)
        lanes = num_together // turn * _LANES
        while lanes * turn > num_together and lanes * self._window > len(window):
            lanes //= 2
        length = len(sequence) // (lanes * turn) * turn
        dealt = sequence[: lanes * length].reshape(lanes, -1, turn).swapaxes(0, 1).ravel()
        return np.concatenate([dealt, sequence[lanes * length :]]).astype(np.int64)

    def expect(self, order: np.ndarray) -> None:
        self._reader.expect(order)

    def stamp(self, index: int) -> list[int] | None:
        shard = self._index.shards[self._index.shard[index]]
        content = int(shard.sha256[:12], 16) if shard.sha256 else 0
        return [int(self._index.size[index]), int(self._index.offset[index]), shard.bytes, content]

    @classmethod
    def class_names_in(cls, section: Mapping[str, Any]) -> list[str] | None:
        path, folder = _index_path(section), section.get("file_path") or ""
        if path is None or not (is_address(path) or os.path.isfile(path)):
            return None  # building the data set reports it, or makes the index of labels that are numbers
        if is_address(folder) or os.path.isdir(expanded(folder)):
            names = read_index(path, section.get("storage_options")).class_names
            return None if names is None else list(names)
        return None

    @classmethod
    def findings(cls, section: Mapping[str, Any], num_classes: int | None) -> list[str]:
        folder, path = section.get("file_path") or "", _index_path(section)
        if not is_address(folder) and not os.path.isdir(expanded(folder)):
            return []  # as for lists: whether the data are there shows when they are read
        try:
            if is_address(folder):
                Storage(folder, section.get("storage_options") or {}).require()
            if path is not None and (is_address(path) or os.path.isfile(path)):
                keys = ("shard_index", "storage_options", "class_names", "multi_label")
                cls(folder, **{key: section[key] for key in keys if key in section}, num_classes=num_classes)
        except ConfigError as error:
            return error.problems
        except UserError as error:
            return [str(error)]
        return []

    def _refuse(self, index: int, what: str) -> None:
        shard = self._index.shards[self._index.shard[index]]
        raise UserError(f"{self._storage.place(shard.name)}: member {printable(self._index.name(index))} {what}")

    def _read_index(self, given: str | None, options: Mapping[str, Any] | None) -> ShardIndex:
        path = _index_path({"file_path": self.file_path, "shard_index": given})
        shown = without_secrets(path)
        if given is not None and not is_address(path) and not os.path.isfile(path):
            raise UserError(
                f"{shown}: no such index; paddlevideo prepare shards --index FOLDER --out {shown} writes it"
            )
        index = None
        try:
            if is_address(path) or os.path.isfile(path):
                index = read_index(path, options)
        except MissingFileError:
            folder = without_secrets(self.file_path)
            raise UserError(
                f"{shown}: no index beside these shards; write one with paddlevideo prepare shards --index {folder} "
                "--out FILE and name it: shard_index: FILE"
            ) from None
        if index is not None and not self._is_outdated(index, path):
            remark = _check_shards(self._storage, index, path)
            self.remarks += [remark] if remark else []
            return index
        why = "" if index is None else " again, since some changed after it was written"
        names = self._storage.names(ENDING)
        newest = newest_change(self._storage, names)
        index = scan_shards(self._storage, names, None, whole=False)
        try:
            index.write(path)
            mark_compared(path, newest)
            self.remarks.append(f"{shown}: written from the headers of {len(index.shards)} shards{why}")
        except UserError as error:
            self.remarks.append(f"{error}; the headers are read at every start")
        return index

    def _is_outdated(self, index: ShardIndex, path: str) -> bool:
        """Whether an index that was written from the headers of the same shards lacks their latest content."""
        if not self._storage.is_local or is_address(path) or all(shard.sha256 for shard in index.shards):
            return False
        if self._storage.names(ENDING) != sorted(shard.name for shard in index.shards):
            return False
        sizes = [self._storage.size(shard.name) for shard in index.shards]
        return sizes != [shard.bytes for shard in index.shards] or bool(changed_since(self._storage, index, path))


class _Names(Column):
    """Shard and member of each sample."""

    def __init__(self, reader: ShardReader, rows: np.ndarray):
        self._reader, self._rows = reader, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: Any) -> Any:
        return (
            list(map(self._reader.name, self._rows[i].tolist()))
            if isinstance(i, slice)
            else self._reader.name(int(self._rows[i]))
        )

    def take(self, rows: np.ndarray) -> Column:
        return _Names(self._reader, self._rows[rows])


def _records(reader: ShardReader, index: ShardIndex, labels: np.ndarray, num_classes: int | None) -> Records:
    """The records of shards.

    Args:
        labels: class indices of all samples, as ``index.label_end`` parts them.
        num_classes: K of multi-hot labels; None: one class index per sample.
    """
    column: Column = Numbers(labels)
    if num_classes is not None:
        column = MultiHot([own.tolist() for own in np.split(labels, index.label_end[:-1])], num_classes)
    rows = np.arange(len(index))
    return Records({"filename": _Names(reader, rows), "label": column, "index": range(len(index))})


def _index_path(section: Mapping[str, Any]) -> str | None:
    """Where the index of a section of DATASET is."""
    given, folder = section.get("shard_index"), section.get("file_path")
    if given:
        return given if is_address(given) else expanded(given)
    if not folder:
        return None
    return f"{(folder if is_address(folder) else expanded(folder)).rstrip('/')}/{INDEX_NAME}"


def _check_shards(storage: Storage, index: ShardIndex, path: str) -> str | None:
    """Compares a local folder with its index; at an address the samples are compared when they are read.

    Returns:
        A remark on shards that were put there after the index and are those that it describes.

    Raises:
        ConfigError: shards that are missing, of another size or content, or not in the index, all at once.
    """
    if not storage.is_local:
        return None
    newer = {shard.name for shard in changed_since(storage, index, path) if shard.sha256}
    newest = newest_change(storage, newer)
    if newer:
        num_bytes = sum(shard.bytes for shard in index.shards if shard.name in newer)
        reading = "%s: %d shards are newer than their index; their SHA-256 is compared (%.1f GB are read)"
        log.info(reading, printable(storage.root), len(newer), num_bytes / 1e9)
    problems, known = Findings(printable(storage.root)), {shard.name for shard in index.shards}
    for shard in index.shards:
        try:
            size = storage.size(shard.name)
        except UserError as error:
            problems.add(shard.name, str(error))
            continue
        if size != shard.bytes:
            what = "truncated, or written again since" if size < shard.bytes else "written again since"
            problems.add(shard.name, f"{size} bytes, {shard.bytes} in the index: {what}")
        elif shard.name in newer and _content(storage, shard) != shard.sha256:
            way = f"paddlevideo prepare shards --index {printable(storage.root)} writes the index again"
            problems.add(
                shard.name, f"written again since: not the SHA-256 in the index, {size} bytes as before; {way}"
            )
    for name in storage.names(ENDING):
        if name not in known:
            problems.add(name, "a shard that the index lacks; paddlevideo prepare shards --index writes it again")
    problems.raise_if_any()
    if not newer:
        return None
    known = "" if mark_compared(path, newest) else ", which cannot be noted: they are read whole at every start"
    return f"{len(newer)} shards are newer than {printable(path)} and have the SHA-256 in it{known}"


def _content(storage: Storage, shard: Shard) -> str:
    """SHA-256 of a shard's file."""
    with storage.open(shard.name) as stream:
        return digest_of(stream)


def _mapped(index: ShardIndex, class_names: Sequence[str] | None, shown: str) -> np.ndarray:
    """Class indices of all samples, in the order of ``class_names`` where the index has names.

    Raises:
        UserError: a class of a sample that is none of ``class_names``, or a name that two of them have.
    """
    if class_names is None or index.class_names is None or list(class_names) == list(index.class_names):
        return index.labels
    refuse_doubled("the class names of the training", class_names)
    ids = {name: k for k, name in enumerate(class_names)}
    used = np.unique(index.labels)
    order = np.full(int(used.max(initial=-1)) + 1, -1, np.int32)
    for k in used.tolist():
        name = index.class_names[k] if k < len(index.class_names) else None
        if name not in ids:
            few = ", ".join(map(printable, class_names[:5])) + (", ..." if len(class_names) > 5 else "")
            called = printable(repr(name)) if name is not None else f"{k}, which has no name,"
            raise UserError(
                f"{shown}: the class {called} of these shards is none of the {len(class_names)} classes of the "
                f"training ({few}); write them with the training's --labels, or take it out"
            )
        order[k] = ids[name]
    return order[index.labels]


def _check_labels(storage: Storage, index: ShardIndex, labels: np.ndarray, num_classes: int | None) -> None:
    """
    Raises:
        ConfigError: class indices beyond the network's.
    """
    if num_classes is None:
        return
    wrong = np.flatnonzero(labels >= num_classes)
    problems = Findings(without_secrets(storage.root))
    rows = np.searchsorted(index.label_end, wrong, side="right")
    key = num_classes.key if isinstance(num_classes, ClassCount) else ClassCount.key
    places = [f"{storage.place(index.shards[index.shard[r]].name)}: member {index.name(r)}" for r in rows[:20]]

    def text(k: int) -> str:
        wanted = f"labels must be in 0..{num_classes - 1}, since {key} is {num_classes}"
        return f"label {labels[wrong[k]]} is out of range; {wanted}"

    problems.add_rows(range(len(wrong)), places, text)
    problems.raise_if_any()
