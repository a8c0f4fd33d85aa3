"""A csv of a name and seven numbers per line, parsed in arrays of its bytes: 850,000 lines in a third of a second."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from paddlevideo.line_blocks import characters, line_blocks

_COLUMNS = 7
_MAX_NAME = 64  # bytes of a name that are compared as an array
_MAX_CHARS = 16  # of a number: up to 15 digits and a power of ten are exact, and so is their quotient
_LF, _COMMA, _DOT, _ZERO = b"\n,.0"


@dataclass
class PlainTable:
    """The lines of a file.

    Attributes:
        names: the different names, in order of their first line.
        name: int32 [M], index into ``names``.
        values: float64 [M, 7].
    """

    names: Collection[bytes]
    name: np.ndarray
    values: np.ndarray


def read_table(data: bytes) -> PlainTable | None:
    """The content if every line has eight plain filled fields; None: look closer.

    Values are those of ``float(text)``, bit by bit.
    """
    if b'"' in data or not data:
        return None
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    codes: dict[bytes, int] = {}
    num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
    names, values, done = np.empty(num_lines, np.int32), np.empty((num_lines, _COLUMNS)), 0
    try:
        for _, block in line_blocks(data):
            name, part = _read(block, codes)
            names[done : done + len(name)], values[done : done + len(name)] = name, part
            done += len(name)
    except ValueError:
        return None
    return PlainTable(codes, names, values)


def _read(block: bytes, codes: dict[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """Names as int32 [M] by ``codes``, which grows, and values float64 [M, 7].

    Raises:
        ValueError: a line is not plain.
    """
    a = np.frombuffer(block, np.uint8)
    line_end, comma = np.flatnonzero(a == _LF), np.flatnonzero(a == _COMMA)
    if len(comma) != _COLUMNS * len(line_end):
        raise ValueError
    begin, comma = np.concatenate([[0], line_end[:-1] + 1]), comma.reshape(-1, _COLUMNS)
    first, starts, ends = comma[:, 0], comma + 1, np.concatenate([comma[:, 1:], line_end[:, None]], axis=1)
    if (first <= begin).any() or (ends <= starts).any() or (a[begin] <= 32).any() or (a[first - 1] <= 32).any():
        raise ValueError
    return _names(block, a, begin, first, codes), _numbers(block, a, starts.ravel(), ends.ravel()).reshape(comma.shape)


def _names(block: bytes, a: np.ndarray, begin: np.ndarray, end: np.ndarray, codes: dict[bytes, int]) -> np.ndarray:
    """The code of each name; names mostly equal the one before."""
    length = end - begin
    new = np.ones(len(begin), bool)
    width = int(length.max())
    if width <= _MAX_NAME:
        place = np.arange(width)
        text = a[np.minimum(begin[:, None] + place, len(a) - 1)] * (place < length[:, None])
        new[1:] = (length[1:] != length[:-1]) | (text[1:] != text[:-1]).any(axis=1)
    at = np.flatnonzero(new)
    found = [codes.setdefault(block[i:k], len(codes)) for i, k in zip(begin[at].tolist(), end[at].tolist())]
    return np.repeat(np.array(found, np.int32), np.diff(at, append=len(begin)))


def _numbers(block: bytes, a: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """float64 [M]."""
    length = ends - starts
    mantissa, decimals = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    dots, sound = np.zeros(len(starts), np.int64), length <= _MAX_CHARS
    for here, char in characters(a, starts, length, _MAX_CHARS):
        digit = char - np.uint8(_ZERO)  # wraps round
        is_digit, is_dot = here & (digit <= 9), here & (char == _DOT)
        sound &= ~here | is_digit | is_dot
        mantissa = np.where(is_digit, mantissa * 10 + digit, mantissa)
        decimals += is_digit & (dots > 0)
        dots += is_dot
    sound &= (dots <= 1) & (length > dots) & (length - dots <= _MAX_CHARS - 1)
    values = mantissa / 10.0**decimals
    for i in np.flatnonzero(~sound).tolist():
        text = block[starts[i] : ends[i]]
        if b"_" in text:  # Python's float takes it
            raise ValueError
        values[i] = float(text)
    return values
