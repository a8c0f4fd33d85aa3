"""The regular lines of a list, found in arrays of its bytes: a million lines take a quarter of a second.

A line is regular where it can be read in one way only and holds no mistake: a path without quotes, spaces, ``..`` and
empty parts, then whole numbers of the right range.  All others are left to ``list_lines``, one by one, so that what a
line means, and what is said about it, is decided in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.line_blocks import characters, line_blocks
from paddlevideo.loader.datasets.list_lines import Csv, CsvWithHeader, Fields, WhiteSpace, header_of

_MAX_PATH = 1 << 16
_MAX_DIGITS = 9
_LF, _CR, _QUOTE, _COMMA, _DOT, _SLASH, _TILDE, _ZERO = b'\n\r",./~0'
_BOM = b"\xef\xbb\xbf"
# what Python takes for white space beyond ASCII, in UTF-8
_WIDE_SPACE = re.compile(rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80")


@dataclass
class ListTable:
    """The lines of a list.

    Attributes:
        data: the file, UTF-8, its lines ended by LF.
        form: how a line is read.
        line: int32 [M], number of each regular line, from 1.
        begin, length: int64 [M], int32 [M]: its path in ``data``.
        label: int32 [M].
        num_frames: int32 [M]; None: the list has none.
        others: (number, text) of the lines that are not regular and not blank.
    """

    data: bytes
    form: WhiteSpace
    line: np.ndarray
    begin: np.ndarray
    length: np.ndarray
    label: np.ndarray
    num_frames: np.ndarray | None
    others: list[tuple[int, str]]

    def text_at(self, place: int) -> str:
        """The line around a byte of ``data``."""
        begin, end = self.data.rfind(b"\n", 0, place) + 1, self.data.find(b"\n", place)
        return self.data[begin : end if end >= 0 else None].decode().strip()


def read_table(file: str, fields: Fields, num_classes: int | None, relative: bool) -> ListTable | None:
    """The lines of a list; None if its lines must all be looked at together, or the file cannot be read.

    Args:
        num_classes: labels from here on are mistakes; None: any is right.
        relative: whether paths must be relative.
    """
    data = _text_of(file)
    form = None if data is None else _form_of(data, fields, file)
    if form is None:
        return None
    order = form.order if isinstance(form, CsvWithHeader) else list(fields.columns)
    layout = _Layout(isinstance(form, Csv), len(order), {name: order.index(name) for name in fields.columns},
                     num_classes, relative)  # fmt: skip
    parts, others, number = [], [], 0
    for begin, block in line_blocks(data):
        try:
            part = layout.read(block)
        except UnicodeDecodeError:
            return None
        parts.append((part.row + np.int32(number + 1), part.begin + begin, part.length, part.label, part.num_frames))
        for row, text in part.others:
            if not form.is_header(number + row + 1):
                others.append((number + row + 1, text))
        number += part.num_lines
    columns = [np.concatenate(column) if column[0] is not None else None for column in zip(*parts)]
    if not len(columns[0]):
        return None
    if type(form) is Csv and not all("," in text and form.readings(text) for _, text in others):
        return None  # the lines have several forms, and all of them decide
    return ListTable(data, form, *columns, others)


def _text_of(file: str) -> bytes | None:
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    if data.startswith(_BOM):
        data = data[len(_BOM) :]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def _form_of(data: bytes, fields: Fields, file: str) -> WhiteSpace | None:
    """The form that the first line has and, where it decides nothing, the commas."""
    end, number, text = -1, 0, ""
    while not text:
        begin, number = end + 1, number + 1
        if begin >= len(data):
            return None
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        try:
            text = data[begin:end].decode().strip()
        except UnicodeDecodeError:
            return None
    if b"," not in data:
        return WhiteSpace(fields)
    try:
        return header_of((number, text), fields, file) or Csv(fields)
    except UserError:
        return None


@dataclass
class _Part:
    """The lines of a block; places count from its beginning."""

    num_lines: int
    row: np.ndarray
    begin: np.ndarray
    length: np.ndarray
    label: np.ndarray
    num_frames: np.ndarray | None
    others: list[tuple[int, str]]


@dataclass
class _Layout:
    """What a regular line looks like.

    Args:
        commas: whether its cells are parted by commas, else by white space.
        num_cells: how many there are.
        places: of path, label and perhaps num_frames among them.
        num_classes, relative: as in ``read_table``.
    """

    commas: bool
    num_cells: int
    places: dict[str, int]
    num_classes: int | None
    relative: bool

    def read(self, block: bytes) -> _Part:
        """
        Raises:
            UnicodeDecodeError: the block is not UTF-8.
        """
        a = np.frombuffer(block, np.uint8)
        line_end = np.flatnonzero(a == _LF)
        gap = a <= 32
        if self.commas:
            gap |= a == _COMMA
        edges = np.flatnonzero(gap[1:] != gap[:-1]) + 1
        edges = edges if gap[0] else np.concatenate([[0], edges])
        starts, ends = edges[::2], edges[1::2]  # of the cells; the last byte is a gap
        first = np.searchsorted(starts, line_end)
        first, count = np.concatenate([[0], first[:-1]]), np.diff(first, prepend=0)
        regular = count == self.num_cells
        regular[np.searchsorted(line_end, self._odd(a, gap, block))] = False
        blank = (count == 0) & (np.diff(line_end, prepend=-1) == 1)
        rows = np.flatnonzero(regular)
        cells = first[rows, None] + np.arange(self.num_cells)
        starts, ends = starts[cells], ends[cells]
        fits = self._fits_path(a, starts, ends)
        if self.commas:
            fits &= _parted(np.flatnonzero(a == _COMMA), line_end, rows, starts, ends)
        numbers = {}
        for name, place in self.places.items():
            if name != "path":
                numbers[name], sound = _whole_numbers(a, starts[:, place], ends[:, place])
                fits &= sound
        if self.num_classes is not None:
            fits &= numbers["label"] < self.num_classes
        if "num_frames" in numbers:
            fits &= numbers["num_frames"] > 0
        regular[rows] = fits
        begin, end = starts[fits, self.places["path"]], ends[fits, self.places["path"]]
        return _Part(
            len(line_end), rows[fits].astype(np.int32), begin, (end - begin).astype(np.int32), numbers["label"][fits],
            numbers["num_frames"][fits] if "num_frames" in numbers else None,
            list(_texts(block, line_end, np.flatnonzero(~regular & ~blank))),
        )  # fmt: skip

    def _odd(self, a: np.ndarray, gap: np.ndarray, block: bytes) -> np.ndarray:
        """Bytes that a regular line does not have."""
        odd = (a == _QUOTE) | (a == 127) | ((a < 32) & (a != 9) & (a != _LF))
        slash, dot = a == _SLASH, a == _DOT
        odd[:-1] |= slash[:-1] & (slash | dot | gap)[1:]
        odd[:-1] |= dot[:-1] & dot[1:]
        places = np.flatnonzero(odd)
        if not block.isascii():
            block.decode()
            wide = [match.start() for match in _WIDE_SPACE.finditer(block)]
            places = np.concatenate([places, np.array(wide, np.int64)])
        return places

    def _fits_path(self, a: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        place = self.places["path"]
        head = a[starts[:, place]]
        fits = (head != _DOT) & (head != _TILDE) & (ends[:, place] - starts[:, place] < _MAX_PATH)
        return fits & (head != _SLASH) if self.relative else fits


def _parted(
    comma: np.ndarray, line_end: np.ndarray, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Whether there is one comma between two cells of each row, and no other."""
    num_cells = starts.shape[1]
    first = np.searchsorted(comma, line_end)
    count = np.diff(first, prepend=0)[rows]
    own = np.minimum((first[rows] - count)[:, None] + np.arange(num_cells - 1), max(len(comma) - 1, 0))
    if not len(comma):
        return np.zeros(len(rows), bool)
    between = (ends[:, :-1] <= comma[own]) & (comma[own] < starts[:, 1:])
    return (count == num_cells - 1) & between.all(axis=1)


def _whole_numbers(a: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int32 [M]: the numbers, and whether they are such: one to nine digits."""
    length = ends - starts
    values, sound = np.zeros(len(starts), np.int32), length <= _MAX_DIGITS
    for here, char in characters(a, starts, length, _MAX_DIGITS):
        digit = char.astype(np.int32) - _ZERO
        sound &= ~here | ((digit >= 0) & (digit <= 9))
        values = np.where(here, values * 10 + np.clip(digit, 0, 9), values)
    return values, sound


def _texts(block: bytes, line_end: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, str]]:
    """(row, text) of these lines, without blank ones."""
    for row, end in zip(rows.tolist(), line_end[rows].tolist()):
        text = block[block.rfind(b"\n", 0, end) + 1 : end].decode().strip()
        if text:
            yield row, text
