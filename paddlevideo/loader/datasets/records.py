"""The records of a data set as columns: one array per key, and a dict when a record is accessed.

A million dicts take 400 MB and seconds in every rank, and worker processes copy them by counting references.  Columns
take about 30 bytes and the path per record, and processes made by fork share them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

_CHUNK = 8192  # records that are made together where all are read


class Column(Sequence):
    """The values of one key.  An index gives a value, a slice a list of values."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Sequence:
        """The column of these rows, int64 [M]."""

    def json_texts(self, part: slice) -> Iterable[str]:
        """The values of a part as ``json.dumps(value, default=str)`` gives them."""
        return (json.dumps(value, default=str, sort_keys=True) for value in self[part])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None


class Numbers(Column):
    """Whole numbers.

    Args:
        values: an array, or ints; those beyond int64 are kept as they are.
    """

    def __init__(self, values: np.ndarray | Sequence[int]):
        if not isinstance(values, np.ndarray):
            small = all(-(1 << 63) <= value < 1 << 63 for value in values)
            values = np.array(values, np.int64 if small else object)
        if values.dtype == np.int64 and (not len(values) or np.abs(values).max() < 1 << 31):
            values = values.astype(np.int32)
        self.array = values

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, i: Any) -> Any:
        return self.array[i].tolist() if isinstance(i, slice) else int(self.array[i])

    def take(self, rows: np.ndarray) -> Numbers:
        return Numbers(self.array[rows])

    def json_texts(self, part: slice) -> Iterable[str]:
        return map(int.__repr__, self[part])


class Texts(Column):
    """Texts as spans of bytes: of a list file with what is before and after each of them, or of a second buffer.

    Args:
        data: UTF-8; bytes that are not UTF-8 stay as they are (``surrogateescape``).
        begin: int64 [N], first byte; from ``len(data)`` on it counts in ``own``.
        length: int32 [N], bytes.
        head, tail: around every text of ``data``.
        own: texts that have neither.
    """

    def __init__(
        self, data: bytes, begin: np.ndarray, length: np.ndarray, head: str = "", tail: str = "", own: bytes = b""
    ):
        self.data, self.begin, self.length, self.head, self.tail, self.own = data, begin, length, head, tail, own
        self._keys: np.ndarray | None = None

    @classmethod
    def of(cls, texts: Iterable[str], after: int = 0) -> Texts:
        """A column of these texts, each with neither head nor tail.

        Args:
            after: bytes of the buffer that this one follows.
        """
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        length = np.fromiter(map(len, encoded), np.int32, len(encoded))
        begin = after + np.cumsum(length, dtype=np.int64) - length
        return cls(b"", begin, length, own=b"".join(encoded))

    def __len__(self) -> int:
        return len(self.begin)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return list(map(self._text, self.begin[i].tolist(), self.length[i].tolist()))
        return self._text(int(self.begin[i]), int(self.length[i]))

    def spans(self) -> Iterator[Iterator[tuple[int, int]]]:
        """(first byte, byte after the last) of the texts, a part after the other."""
        for part in _parts(len(self)):
            begin, length = self.begin[part], self.length[part]
            yield zip(begin.tolist(), (begin + length).tolist())

    def keys(self) -> np.ndarray:
        """int64 [N]: hashes, equal for texts that are one path (``os.path.normpath``); of this process.

        A text of ``data`` must be a normal path without its head, and its hash is of this alone.
        """
        if self._keys is None:
            self._keys = self._hashed()
        return self._keys

    def repeated(self) -> tuple[np.ndarray, np.ndarray]:
        """The places, ascending, of paths that an earlier place holds as well, and the first of each: int64 [M]."""
        keys = self.keys()
        ordered = np.sort(keys)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(twice):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        places = np.flatnonzero(np.isin(keys, twice))
        places = places[np.argsort(keys[places], kind="stable")]
        new = np.diff(keys[places], prepend=~keys[places[:1]]) != 0
        first = places[np.flatnonzero(new)[np.cumsum(new) - 1]]
        order = np.argsort(places)
        places, first = places[order], first[order]
        later = places != first
        places, first = places[later], first[later]
        if not all(map(operator.eq, self._normal(places), self._normal(first))):  # two paths of one hash
            return self._repeated_by_comparing()
        return places, first

    def _repeated_by_comparing(self) -> tuple[np.ndarray, np.ndarray]:
        known: dict[str, int] = {}
        first = np.array([known.setdefault(os.path.normpath(path), i) for i, path in enumerate(self)])
        places = np.flatnonzero(first != np.arange(len(first)))
        return places, first[places]

    def _normal(self, places: np.ndarray) -> Iterator[bytes | str]:
        """A path of each place, equal where the paths are."""
        data, before, whole = self.data, len(self.data), "/" in self.tail or len(self.own) > 0
        for part in _parts(len(places)):
            begin, length = self.begin[places[part]], self.length[places[part]]
            for start, count in zip(begin.tolist(), length.tolist()):
                if whole or start >= before:
                    yield os.path.normpath(self._text(start, count))
                else:
                    yield data[start : start + count]

    def _hashed(self) -> np.ndarray:
        data, before = self.data, len(self.data)
        head = os.path.normpath(self.head + "x")[:-1].encode("utf-8", "surrogateescape")
        tail = self.tail.encode("utf-8", "surrogateescape")

        def own(begin: int, end: int) -> int:
            path = os.path.normpath(self._text(begin, end - begin)).encode("utf-8", "surrogateescape")
            inside = path.startswith(head) and path.endswith(tail) and len(path) > len(head) + len(tail)
            return hash(path[len(head) : len(path) - len(tail)] if inside else b"\0" + path)

        keys = np.empty(len(self), np.int64)
        for part, spans in zip(_parts(len(self)), self.spans()):
            if "/" not in self.tail and (self.begin[part] < before).all():
                keys[part] = [hash(data[begin:end]) for begin, end in spans]
            elif "/" not in self.tail:
                keys[part] = [hash(data[begin:end]) if begin < before else own(begin, end) for begin, end in spans]
            else:
                keys[part] = [own(begin, end) for begin, end in spans]
        return keys

    def take(self, rows: np.ndarray) -> Texts:
        return Texts(self.data, self.begin[rows], self.length[rows], self.head, self.tail, self.own)

    def json_texts(self, part: slice) -> Iterable[str]:
        return map(json.encoder.encode_basestring_ascii, self[part])

    def _text(self, begin: int, length: int) -> str:
        before = len(self.data)
        if begin < before:
            return self.head + self.data[begin : begin + length].decode("utf-8", "surrogateescape") + self.tail
        return self.own[begin - before : begin - before + length].decode("utf-8", "surrogateescape")


class MultiHot(Column):
    """Any number of classes per record; a value is float32 [K], 1 at each of them, read only.

    Args:
        classes: sorted class indices of each record.
        num_classes: K.
    """

    def __init__(self, classes: Sequence[Sequence[int]], num_classes: int):
        self.num_classes = num_classes
        self.ends = np.cumsum([len(own) for own in classes], dtype=np.int64)
        self.classes = Numbers([k for own in classes for k in own]).array

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        return multi_hot(self.of(range(len(self))[i]), self.num_classes)

    def of(self, i: int) -> tuple[int, ...]:
        """The classes of record i."""
        return tuple(self.classes[self.ends[i - 1] if i else 0 : self.ends[i]].tolist())

    def take(self, rows: np.ndarray) -> MultiHot:
        return MultiHot([self.of(i) for i in rows.tolist()], self.num_classes)

    def json_texts(self, part: slice) -> Iterable[str]:
        @functools.lru_cache(maxsize=4096)
        def text(own: tuple[int, ...]) -> str:
            return json.dumps(str(multi_hot(own, self.num_classes)))

        return (text(self.of(i)) for i in range(len(self))[part])


class Choices(Column):
    """One of a few values for each record.

    Args:
        values: the different ones.
        codes: int [N], the place in ``values``.
    """

    def __init__(self, values: Sequence[Any], codes: np.ndarray):
        self.values, self.codes = values, codes

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self.values[code] for code in self.codes[i].tolist()]
        return self.values[self.codes[i]]

    def take(self, rows: np.ndarray) -> Choices:
        return Choices(self.values, self.codes[rows])


class Record(dict):
    """One record, made when it was accessed: a change would be lost, and is refused."""

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise TypeError(
            "a record is made when it is accessed, so a change of it would be lost; give the data set records of its "
            "own: self.records = [dict(record) for record in self.records]"
        )

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


class Records(Sequence):
    """A sequence of records in columns.

    Args:
        columns: the columns of one length by key, in the order of a record's keys; "index" is a range.
    """

    def __init__(self, columns: Mapping[str, Sequence]):
        self.columns = dict(columns)
        (self._length,) = {len(column) for column in self.columns.values()}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [Record(zip(self.columns, values)) for values in zip(*(c[i] for c in self.columns.values()))]
        return Record((key, column[i]) for key, column in self.columns.items())

    def __iter__(self) -> Iterator[Record]:
        for part in _parts(len(self)):
            yield from self[part]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None

    def take(self, rows: np.ndarray) -> Records:
        """The records of these rows, int64 [M]; "index" counts anew."""
        return Records(
            {
                key: range(len(rows)) if isinstance(column, range) else column.take(rows)
                for key, column in self.columns.items()
            }
        )

    def relabelled(self, order: Sequence[int]) -> Records:
        """The records with ``order[label]`` for every label."""
        label = self.columns["label"]
        if isinstance(label, MultiHot):
            changed: Sequence = MultiHot(
                [[order[k] for k in label.of(i)] for i in range(len(label))], label.num_classes
            )
        else:
            changed = Numbers([order[k] for k in label])
        return Records({**self.columns, "label": changed})

    def json_texts(self, part: slice) -> Iterator[str]:
        """The records of a part as ``json.dumps(record, default=str, sort_keys=True)`` gives them."""
        keys = sorted(self.columns)
        template = "{" + ", ".join(f"{json.dumps(key)}: %s" for key in keys) + "}"
        texts = (
            map(str, self.columns[key][part])
            if isinstance(self.columns[key], range)
            else self.columns[key].json_texts(part)
            for key in keys
        )
        return map(template.__mod__, zip(*texts))


def _parts(length: int) -> Iterator[slice]:
    return (slice(begin, begin + _CHUNK) for begin in range(0, length, _CHUNK))


def digest_of(records: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of ``json.dumps(list(records), default=str, sort_keys=True)``, which is not made as a whole."""
    digest, joint = hashlib.sha256(b"["), ""
    for part in _parts(len(records)):
        if isinstance(records, Records):
            text = ", ".join(records.json_texts(part))
        else:
            text = json.dumps(records[part], default=str, sort_keys=True)[1:-1]
        digest.update((joint + text).encode())
        joint = ", "
    digest.update(b"]")
    return digest.hexdigest()


def values_of(records: Sequence[Mapping[str, Any]], key: str) -> Iterator[Any]:
    """The value of a key, of each record; None where a record lacks it."""
    if not isinstance(records, Records):
        return (record.get(key) for record in records)
    column = records.columns.get(key, Choices([None], np.zeros(len(records), np.uint8)))
    return (value for part in _parts(len(records)) for value in column[part])


def paths_of(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The file or the folder of each record."""
    if isinstance(records, Records):
        return values_of(records, "filename" if "filename" in records.columns else "frame_dir")
    return (record.get("filename") or record["frame_dir"] for record in records)


def class_counts(records: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Class index -> records, ascending; a record of several labels counts for each."""
    if isinstance(records, Records) and isinstance(column := records.columns.get("label"), Numbers | MultiHot):
        classes = column.array if isinstance(column, Numbers) else column.classes
        return dict(zip(*map(np.ndarray.tolist, np.unique(classes, return_counts=True))))
    labels = list(values_of(records, "label"))
    several = [k for label in labels if isinstance(label, np.ndarray) for k in np.flatnonzero(label).tolist()]
    return Counter(sorted([*(label for label in labels if isinstance(label, int)), *several]))


def label_pairs(records: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """(place of a record, class) of each label, int64 [M] twice, places ascending; class -1 of records without one."""
    column = records.columns.get("label") if isinstance(records, Records) else None
    if isinstance(column, Numbers):
        return np.arange(len(column)), column.array.astype(np.int64)
    own = [
        (label,) if not isinstance(label, np.ndarray) else tuple(np.flatnonzero(label).tolist()) or (-1,)
        for label in values_of(records, "label")
    ]
    which = np.repeat(np.arange(len(own)), [len(labels) for labels in own])
    return which, np.array([k for labels in own for k in labels], np.int64)


def num_unlabelled(records: Sequence[Mapping[str, Any]]) -> int:
    """Records of several labels that have none."""
    if isinstance(records, Records):
        column = records.columns.get("label")
        return int((np.diff(column.ends, prepend=0) == 0).sum()) if isinstance(column, MultiHot) else 0
    return sum(isinstance(label, np.ndarray) and not label.any() for label in values_of(records, "label"))


def multi_hot(label: Sequence[int], num_classes: int) -> np.ndarray:
    """float32 [K], 1 at each class of ``label``, read only."""
    hot = np.zeros(num_classes, np.float32)
    hot[list(label)] = 1.0
    hot.setflags(write=False)
    return hot
