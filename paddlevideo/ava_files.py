"""The files of AVA-style annotation, read and written: csv, label list, excluded key frames, person boxes.

Every mistake is reported with its line, all of a file at once.  A key frame is named ``"video,0902"``: the video, a
comma, the second with four digits.  AVA counts whole seconds; where own videos are annotated in between, the fraction
follows (``"video,0902.5"``), so that a key is never shared by two moments.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.ava_table import PlainTable, read_table
from paddlevideo.errors import CONTROL, UserError
from paddlevideo.findings import Findings
from paddlevideo.safe_io import read_json, read_npz, read_pickle, reading, write_atomic
from paddlevideo.shipped import shipped

RESERVED = "(reserved)"  # the name of class 0, which nothing has
BEYOND_S = 0.5  # annotated seconds are rounded, so one may lie this far beyond a video's last frame
_HEADERS = (b"video_id", b"video")
_KEY = re.compile(r"(?s:.+),([0-9]{4}|[1-9][0-9]{4,7})")  # as ``img_key`` writes whole seconds
_FIRST_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|$)")
_BOX_SUFFIXES = (".pkl", ".npz", ".json")


def time_text(timestamp_s: float) -> str:
    """``902`` and ``902.0`` give ``0902``; ``3.25`` gives ``0003.25``.  Fractions are kept to the millisecond."""
    thousandths = round(float(timestamp_s) * 1000)
    whole, rest = divmod(thousandths, 1000)
    return f"{whole:04d}" + (f".{rest:03d}".rstrip("0") if rest else "")


def img_key(video: str, timestamp_s: float) -> str:
    """The name of a key frame in proposals files, feature banks and records: ``"video,0902"``."""
    return f"{video},{time_text(timestamp_s)}"


def split_key(key: str) -> tuple[str, float]:
    """Video and second of a key, however the second was written (``902``, ``0902``, ``902.0``).

    Raises:
        ValueError: it is no such key.
    """
    video, comma, second = key.rpartition(",")
    timestamp = _number(second)
    if not comma or not video or timestamp is None or timestamp < 0:
        raise ValueError(f"{key!r} is not 'video,second'")
    return video, whole_second(timestamp)


def whole_second(timestamp_s: float) -> float | int:
    """An int where there is no fraction, so that a text of it looks like AVA's."""
    return int(timestamp_s) if float(timestamp_s).is_integer() else float(timestamp_s)


@dataclass
class AVARows:
    """The columns of an AVA csv, one entry per line (M lines).

    Attributes:
        path: the file.
        videos: the different video ids, in order of their first line.
        video: int32 [M], index into ``videos``.
        timestamp: float64 [M], seconds.
        boxes: float64 [M, 4], x1, y1, x2, y2 as fractions of the picture; not yet checked.
        label: int32 [M], action id; -1 where the field is empty (a person without an action).
        entity: int32 [M], person id, -1 where there is none; None in a scored file.
        score: float64 [M] in a scored file, else None.
        line: int32 [M], line number, from 1.
    """

    path: str
    videos: list[str] = field(default_factory=list)
    video: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    timestamp: np.ndarray = field(default_factory=lambda: np.zeros(0))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    label: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    entity: np.ndarray | None = None
    score: np.ndarray | None = None
    line: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.video)

    def frames(self) -> tuple[np.ndarray, np.ndarray]:
        """The row of each key frame's first line, in the order of lines, and int64 [M]: the key frame of every line."""
        code = frame_code(self.video, milliseconds(self.timestamp))
        new = np.ones(len(code), bool)
        new[1:] = code[1:] != code[:-1]
        runs = np.flatnonzero(new)  # lines of a key frame mostly follow each other
        _, first, group = np.unique(code[runs], return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return runs[first[order]], np.repeat(place[group.reshape(-1)], np.diff(runs, append=len(code)))

    def keys(self) -> tuple[list[str], np.ndarray]:
        """The different key frames, in order of their first line, and int64 [M]: the key frame of every line."""
        first, group = self.frames()
        return [img_key(self.videos[self.video[i]], self.timestamp[i]) for i in first], group


def milliseconds(timestamp_s: np.ndarray) -> np.ndarray:
    """int64: what ``time_text`` keeps of seconds."""
    return np.round(timestamp_s * 1000).astype(np.int64)


def frame_code(video: np.ndarray, thousandths: np.ndarray) -> np.ndarray:
    """int64: a pair of numbers as one; exact, because videos are few and milliseconds fit."""
    return video.astype(np.int64) * (1 << 40) + thousandths


def read_ava_csv(path: str | os.PathLike, scored: bool = False) -> AVARows:
    """Lines ``video_id,second,x1,y1,x2,y2,action_id,person_id``; the last field is a score where ``scored``.

    No header is needed; one that begins with ``video_id`` or ``video`` is skipped.  The action may be empty; the
    person may be empty or absent, and after a score it is passed over.  A million lines take about half a second.

    Raises:
        UserError: no such file, or not text.
        ConfigError: bad lines, each with its number.
    """
    path = os.fspath(path)
    data = _read_bytes(path, "annotation")
    first = _FIRST_LINE.match(data)
    has_header = first[1].partition(b",")[0].strip().lower() in _HEADERS
    data = data[first.end() :] if has_header else data
    table = read_table(data)
    if table is not None:
        numbers = np.arange(1, len(table.name) + 1, dtype=np.int32) + np.int32(has_header)
    else:
        lines = data.splitlines()
        numbers = np.arange(1, len(lines) + 1, dtype=np.int32) + np.int32(has_header)
        if has_header or not all(lines):
            filled = [i for i, line in enumerate(lines) if line.strip()]
            lines, numbers = [lines[i] for i in filled], numbers[filled]
        if not lines:
            return AVARows(path, **({"score": np.zeros(0)} if scored else {"entity": np.zeros(0, np.int32)}))
        table = read_table(b"\n".join(lines)) or _parse_slowly(path, lines, numbers, scored)
    del data
    return _checked(AVARows(path, _texts(path, table.names), table.name, line=numbers), table.values, scored)


def _read_bytes(path: str, what: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what} file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return data.removeprefix(b"\xef\xbb\xbf")  # a byte-order mark


def _texts(path: str, names: Iterable[bytes]) -> list[str]:
    try:
        return [name.decode("utf-8") for name in names]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a UTF-8 text file ({error.reason})") from error


def _parse_slowly(path: str, lines: list[bytes], numbers: np.ndarray, scored: bool) -> PlainTable:
    """The table by a real csv reader, with an empty action or person as -1, and a message for every bad line."""
    wanted = "video_id, second, x1, y1, x2, y2, action_id, " + ("score" if scored else "person_id")
    names, values, findings = [], np.full((len(lines), 7), -1.0), Findings(path)
    with reading(path, "a csv"):
        table = list(csv.reader(_texts(path, lines), skipinitialspace=True))
    for row, (number, cells) in enumerate(zip(numbers, table)):
        cells = [cell.strip() for cell in cells]
        names.append(cells[0].encode() if cells else b"")
        if scored and len(cells) == 9:  # ``detect --csv``: the person follows the score
            del cells[8]
        if len(cells) != 8 and not (len(cells) == 7 and not scored):
            findings.add(number, f"{len(cells)} fields, expected 8: {wanted}")
            continue
        if not cells[0]:
            findings.add(number, "the video id is empty")
        for column, cell in enumerate(cells[1:]):
            value = _number(cell) if cell or column < 5 or (scored and column == 6) else -1.0
            if value is None:
                findings.add(number, f"field {column + 2} of ({wanted}) is {cell!r}, not a number")
                break
            values[row, column] = value
    if len(names) < len(lines):
        findings.add(len(names), "a quote is opened and never closed")
    findings.raise_if_any()
    codes: dict[bytes, int] = {}
    return PlainTable(codes, np.array([codes.setdefault(name, len(codes)) for name in names], np.int32), values)


def _checked(rows: AVARows, values: np.ndarray, scored: bool) -> AVARows:
    """Puts the seven columns of numbers into ``rows``."""
    findings = Findings(rows.path)

    def refuse(bad: np.ndarray, text: str, column: int) -> None:
        findings.add_rows(np.flatnonzero(bad), rows.line, lambda i: text.format(values[i, column]))

    for column, name in enumerate(("second", "x1", "y1", "x2", "y2")):
        refuse(~np.isfinite(values[:, column]), f"{name} is {{}}, expected a number", column)
    refuse((values[:, 0] < 0) | (values[:, 0] > 1e8), "second {} is out of range (0 .. 1e8)", 0)
    whole = [(5, "action id"), *([] if scored else [(6, "person id")])]
    for column, name in whole:
        part = values[:, column]
        bad = ~np.isfinite(part) | (part != np.floor(part)) | (part < -1) | (np.abs(part) > 2**31 - 1)
        refuse(bad, f"{name} {{}} is not a whole number from 0 on", column)
    if scored:
        refuse(~np.isfinite(values[:, 6]), "score is {}, expected a number", 6)
    findings.raise_if_any()
    rows.timestamp = values[:, 0].copy()
    rows.boxes = values[:, 1:5].copy()
    rows.label = values[:, 5].astype(np.int32)
    if scored:
        rows.score = values[:, 6].copy()
    else:
        rows.entity = values[:, 6].astype(np.int32)
    return rows


def write_ava_csv(path: str | os.PathLike, rows: AVARows) -> None:
    """Writes AVA's eight columns: coordinates and scores with three decimals, seconds with four digits (plain in a
    scored file, as the references write results), an empty action for -1.  Atomic.

    Raises:
        UserError: a video id holds a comma, quote or line end; the file cannot be written.
    """
    bad = next((name for name in rows.videos if set(name) & set(',"\r\n')), None)
    if bad is not None:
        raise UserError(f"{os.fspath(path)}: the video id {bad!r} holds a comma, a quote or a line end")
    scored = rows.score is not None
    if scored:
        last: Iterable[str] = [f"{score:.3f}" for score in rows.score.tolist()]
    else:
        last = map(str, rows.entity.tolist() if rows.entity is not None else [-1] * len(rows))
    seconds = [f"{whole_second(t)}" if scored else time_text(t) for t in rows.timestamp.tolist()]
    template = "{},{},{:.3f},{:.3f},{:.3f},{:.3f},{},{}\n".format
    columns = zip(rows.video.tolist(), seconds, rows.boxes.tolist(), rows.label.tolist(), last)
    text = "".join(
        template(rows.videos[video], second, *box, "" if label < 0 else label, tail)
        for video, second, box, label, tail in columns
    )
    write_atomic(path, text)


def read_excluded(path: str | os.PathLike) -> set[tuple[str, float]]:
    """Lines ``video_id,second``: the pairs, the second an int where it is whole.

    Raises:
        UserError, ConfigError: no such file; bad lines.
    """
    path = os.fspath(path)
    found, findings = set(), Findings(path)
    for number, line in enumerate(_texts(path, _read_bytes(path, "exclusion").splitlines()), 1):
        if line.strip():
            try:
                found.add(split_key(line.strip()))
            except ValueError:
                findings.add(number, f"{line.strip()!r} is not 'video_id,second'")
    findings.raise_if_any()
    return found


_ITEM = re.compile(r"\bitem\s*\{((?:[^{}\"']|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')*)\}")
_NAME = re.compile(r"\b(?:label_)?name\s*:\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)')")
_ID = re.compile(r"\b(?:label_)?id\s*:\s*(-?\d+)")
_MOST_DAMAGED = 20  # items without an end: each may be looked for through the whole file; so many are shown
_NUMBERED = re.compile(r"(\d+)\s*:\s*(.+)")


def read_ava_labels(path: str | os.PathLike) -> dict[int, str]:
    """Class names by action id, in the file's order.

    Three forms: pbtxt (``item { name: "stand" id: 12 }`` on one line or several, ``label_id`` too), ``12: stand``
    lines, or plain names, which count from 1 because id 0 is reserved.

    Raises:
        UserError, ConfigError: no such file, no labels in it, an item without name or id, an id below 1 or given twice.
    """
    path = os.fspath(shipped(path))
    (text,) = _texts(path, [_read_bytes(path, "label")])
    with reading(path, "a list of action names"):
        pairs = _labels(text)
    labels: dict[int, str] = {}
    findings = Findings(path)
    for number, label, name in pairs:
        if label is None or name is None:
            wanted = 'item { name: "..." id: N }, as the file\'s other items' if "item" in text else "'id: name'"
            findings.add(number, f"no name or no id; expected {wanted}")
        elif CONTROL.search(name):
            findings.add(number, f"the name {ascii(name)} holds a control character; rename the action")
        elif label < 1:
            findings.add(number, f"id {label} of {name!r}: ids count from 1 (0 is reserved)")
        elif label in labels:
            findings.add(number, f"id {label} is given twice: {labels[label]!r} and {name!r}")
        else:
            labels[label] = name
    findings.raise_if_any()
    if not labels:
        raise UserError(f'{path}: no labels; expected item {{ name: "..." id: N }} blocks or "N: name" lines')
    return labels


def _labels(text: str) -> list[tuple[int, int | None, str | None]]:
    """(line, id, name) of every label; None for what is missing."""
    if re.search(r"\bitem\s*\{", text):
        return list(_pbtxt_items(text))
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    matches = [(number, _NUMBERED.fullmatch(line)) for number, line in lines]
    if any(match for _, match in matches):
        return [(n, int(m[1]), m[2].strip()) if m else (n, None, None) for n, m in matches]
    return [(number, position, line) for position, (number, line) in enumerate(lines, 1)]


def _pbtxt_items(text: str) -> Iterator[tuple[int, int | None, str | None]]:
    end, line, counted, damaged = 0, 1, 0, 0
    for start in re.finditer(r"\bitem\s*\{", text):
        if start.start() < end:  # the word is inside a name
            continue
        line += text.count("\n", counted, start.start())
        counted = start.start()
        item = _ITEM.match(text, start.start())
        if item is None:
            yield line, None, None
            damaged += 1
            if damaged == _MOST_DAMAGED:
                return
            continue
        end = item.end()
        name = _NAME.search(item[1])
        rest = item[1] if name is None else item[1][: name.start()] + item[1][name.end() :]
        number = _ID.search(rest)
        label = int(number[1]) if number else None
        yield line, label, None if name is None else re.sub(r"\\(.)", r"\1", name[1] or name[2] or "")


def read_proposals(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Person boxes by key frame: float32 [n, 4] (x1, y1, x2, y2 as fractions of the picture) or [n, 5] (and a score).

    ``.pkl`` (MMAction2's and PaddleVideo's; read by an allow-list, nothing in it is run), ``.npz`` (as
    ``write_proposals`` writes it, or one array per key) or ``.json``, each a mapping from ``"video,0902"`` to boxes.
    Keys are brought into that form, however the second was written.

    Raises:
        UserError: no such file, an unknown ending, a damaged file, something that is not boxes, with its key.
    """
    path = os.fspath(path)
    suffix = Path(path).suffix.lower()
    if suffix not in _BOX_SUFFIXES:
        raise UserError(f"{path}: person boxes come as {', '.join(_BOX_SUFFIXES)}, not {suffix or 'without an ending'}")
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file of person boxes (proposals)")
    if suffix == ".pkl":
        content = read_pickle(path)
    elif suffix == ".npz":
        content = _read_npz(path)
    else:
        content = read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, expected a mapping from 'video,0902' to boxes")
    found: dict[str, np.ndarray] = {}
    for key, value in content.items():
        name = _key(path, key)
        if name in found:
            raise UserError(f"{path}: {key!r}: the key frame {name!r} is there twice, in two spellings; join its boxes")
        found[name] = _boxes(path, key, value)
    return found


def _read_npz(path: str) -> dict[str, Any]:
    arrays = read_npz(path)
    if not {"img_keys", "num_boxes", "boxes"} <= set(arrays):
        return arrays
    keys, counts, boxes = arrays["img_keys"], arrays["num_boxes"], arrays["boxes"]
    if keys.ndim != 1 or counts.ndim != 1 or boxes.ndim != 2 or counts.dtype.kind not in "iu":
        shapes = f"img_keys {list(keys.shape)}, num_boxes {list(counts.shape)}, boxes {list(boxes.shape)}"
        raise UserError(f"{path}: {shapes}; expected [K] texts, [K] whole numbers and [n, 4 or 5]")
    counts = counts.astype(np.int64)
    if len(keys) != len(counts) or counts.sum() != len(boxes) or (counts < 0).any():
        raise UserError(f"{path}: {len(keys)} keys, {counts.sum()} boxes announced, {len(boxes)} there; make it again")
    ends = np.cumsum(counts)
    return {str(key): boxes[end - n : end] for key, n, end in zip(keys, counts, ends)}


def _key(path: str, key: Any) -> str:
    if isinstance(key, str) and _KEY.fullmatch(key):
        return key
    try:
        return img_key(*split_key(key))
    except (ValueError, AttributeError):
        raise UserError(f"{path}: the key {key!r} is not 'video,second', as 'video,0902'") from None


def _boxes(path: str, key: str, value: Any) -> np.ndarray:
    try:
        boxes = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        boxes = np.zeros(1)
    if boxes.size == 0:
        return np.zeros((0, boxes.shape[1] if boxes.ndim == 2 and boxes.shape[1] in (4, 5) else 5), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise UserError(f"{path}: {key!r} holds an array {list(boxes.shape)}, expected [n, 4] boxes or [n, 5] + score")
    if not np.isfinite(boxes).all():
        raise UserError(f"{path}: {key!r} holds a box with {boxes[~np.isfinite(boxes)][0]}")
    return boxes


class _PlainPickler(pickle.Pickler):
    """Arrays as ``numpy.ndarray(shape, dtype, bytes)``: the same names in every version of numpy, old readers too."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.ndarray, (value.shape, value.dtype, value.tobytes())
        return NotImplemented


def write_proposals(path: str | os.PathLike, boxes: Mapping[str, np.ndarray]) -> None:
    """Writes what ``read_proposals`` reads, by the ending of ``path``; atomic.

    Args:
        path: ``.pkl`` for MMAction2 and PaddleVideo, ``.npz`` (compact: img_keys, num_boxes, boxes) or ``.json``.
        boxes: [n, 4] or [n, 5] arrays by key frame; all of one width for ``.npz``.

    Raises:
        UserError: another ending, a value that is not boxes, or the file cannot be written.
    """
    path = os.fspath(path)
    content = {_key(path, key): _boxes(path, key, value) for key, value in boxes.items()}
    suffix, stream = Path(path).suffix.lower(), io.BytesIO()
    if suffix == ".pkl":
        _PlainPickler(stream, protocol=4).dump(content)
    elif suffix == ".json":
        text = {key: [[round(float(x), 6) for x in box] for box in value] for key, value in content.items()}
        stream.write(json.dumps(text, indent=0).encode())
    elif suffix == ".npz":
        filled = [value for value in content.values() if len(value)]
        if len({value.shape[1] for value in filled}) > 1:
            raise UserError(f"{path}: boxes with and without scores do not go into one .npz; give all of them scores")
        table = np.concatenate(filled) if filled else np.zeros((0, 5), np.float32)
        counts = np.array([len(value) for value in content.values()], np.int32)
        np.savez_compressed(stream, img_keys=np.array(list(content), str), num_boxes=counts, boxes=table)
    else:
        raise UserError(f"{path}: person boxes are written as {', '.join(_BOX_SUFFIXES)}")
    write_atomic(path, stream.getvalue())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def labels_text(labels: Sequence[str]) -> str:
    """A label file as AVA's: one ``item`` block per class, ids from 1."""
    return "".join(f'item {{\n  name: "{name}"\n  id: {number}\n}}\n' for number, name in enumerate(labels, 1))
