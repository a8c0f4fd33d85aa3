"""The lines of a list: white space or CSV, and where in a line the path ends and the labels begin.

A path may hold spaces and commas, so a line may have several readings: ``a.mp4 0 1`` is the file ``a.mp4 0`` of class
1, or ``a.mp4`` of the classes 0 and 1.  The files on disk decide; where they do not, the line is a mistake that names
both.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from paddlevideo.errors import UserError, printable
from paddlevideo.video_files import COLUMNS

MAX_FIELDS = 256  # of a line: more are no list of clips
_HEADER_NAMES = {name: column for column, names in COLUMNS.items() for name in names}
_OF_KINETICS = {"label", "youtube_id", "time_start"}
_NUMBER = re.compile(r"[+-]?[0-9]+")
_TOKEN = re.compile(r'"(?:[^"]|"")*"(?!\S)|\S+')
_QUOTES = 'put the path into quotes ("a b.mp4" 0)'


def is_whole(text: str) -> bool:
    """Whether a text is a whole number in ASCII digits; ``int`` takes 1_0 and the digits of all scripts, too."""
    return _NUMBER.fullmatch(text) is not None


@dataclass(frozen=True)
class Fields:
    """What a line holds.

    Args:
        columns: path, perhaps num_frames, label.
        names: class names that may stand for numbers.
        several: whether a clip may have any number of labels.
    """

    columns: tuple[str, ...]
    names: Collection[str] = ()
    several: bool = False

    def is_label(self, text: str) -> bool:
        """Whether it can be one label."""
        return is_whole(text) or text in self.names

    def labels(self, units: Sequence[str], separator: str) -> tuple[str, ...] | None:
        """The labels that these fields are, ``3 17``, ``3;17``, ``;`` for none; None if they are no labels."""
        joined = separator.join(units)
        if joined in self.names:
            return (joined,)
        if not joined or ";" in joined:
            parts = tuple(part for part in map(str.strip, joined.split(";")) if part)
            return parts if all(map(self.is_label, parts)) else None
        return tuple(units) if all(map(self.is_label, units)) else None


@dataclass(frozen=True)
class LineReading:
    """One way to read a line."""

    path: str
    labels: tuple[str, ...]
    num_frames: str | None = None

    def __str__(self) -> str:
        frames = f"{self.num_frames} frames and " if self.num_frames else ""
        labels = ", ".join(map(printable, self.labels))
        return f"{printable(repr(self.path))} with {frames}the label{'s' * (len(self.labels) != 1)} {labels}"


class WhiteSpace:
    """Fields parted by white space; a path or a label in quotes ends with them.

    Args:
        fields: what a line holds.
    """

    title = "white space"
    separator = " "

    def __init__(self, fields: Fields):
        self.fields = fields

    def is_header(self, number: int) -> bool:
        """Whether the line of this number holds no sample."""
        return False

    def splits(self, text: str) -> Iterator[tuple[str, list[str]]]:
        """Paths and the fields after them, the longest path first."""
        tokens = list(_TOKEN.finditer(text))
        fields = [_unquoted(token[0]) for token in tokens]
        if len(tokens) > MAX_FIELDS:
            return
        if len(tokens) > 1 and _is_quoted(tokens[0][0]):
            yield fields[0], fields[1:]
            return
        for i in range(len(tokens) - 1, 0, -1):
            yield text[: tokens[i - 1].end()], fields[i:]

    def readings(self, text: str) -> list[LineReading]:
        """Every way to read a line as a path and labels, the longest path first."""
        return list(self._readings(self.splits(text)))

    def _readings(self, splits: Iterable[tuple[str, list[str]]]) -> Iterator[LineReading]:
        counted = "num_frames" in self.fields.columns
        for path, rest in splits:
            count = rest.pop(0) if counted and rest else None
            labels = self.fields.labels(rest, self.separator) if rest else None
            if labels is not None and (count is None or count.isdecimal()):
                yield LineReading(path, labels, count)

    def plain(self, text: str) -> LineReading | None:
        """The path and as many fields as there are columns, whatever they are; None if there are too few."""
        for path, rest in self.splits(text):
            if len(rest) >= len(self.fields.columns) - 1:
                *count, label = rest
                return LineReading(path, (label,), count[0] if count else None)
        return None

    def mistake(self, text: str) -> str:
        """Why a line has no ``plain`` reading."""
        columns = self.fields.columns
        if max(len(text.split()), len(_cells(text))) > MAX_FIELDS:
            return f"has more than {MAX_FIELDS} fields: {printable(repr(text[:80]))}, ..."
        fields = f"{len(columns)} fields ({' '.join(columns)}), parted by white space or commas"
        return f"needs {fields}, has {printable(repr(text[:80]))}"


def _is_quoted(token: str) -> bool:
    return len(token) > 1 and token[0] == token[-1] == '"'


def _unquoted(token: str) -> str:
    return token[1:-1].replace('""', '"') if _is_quoted(token) else token


class Csv(WhiteSpace):
    """Cells parted by commas, with quotes, in the order of the columns."""

    title = "CSV"
    separator = ";"

    def splits(self, text: str) -> Iterator[tuple[str, list[str]]]:
        cells = _cells(text)
        if len(cells) > MAX_FIELDS:
            return
        if text.startswith('"'):
            yield cells[0], cells[1:]
            return
        for i in range(len(cells) - 1, 0, -1):
            yield ",".join(cells[:i]), cells[i:]

    def readings(self, text: str) -> list[LineReading]:
        cells = _cells(text)
        inner = () if text.startswith('"') or len(cells) < 2 else WhiteSpace.splits(self, cells[0])  # 'a.mp4 0,1'
        return [*super().readings(text), *self._readings((path, rest + cells[1:]) for path, rest in inner)]


class CsvWithHeader(Csv):
    """Cells with the columns that the first line names.

    Args:
        header: the first line.
        number: its number.
    """

    title = "CSV with a header"

    def __init__(self, fields: Fields, header: str, number: int):
        super().__init__(fields)
        self.order = [_HEADER_NAMES.get(cell.lower()) for cell in _cells(header)]
        self.number = number

    def is_header(self, number: int) -> bool:
        return number == self.number

    def splits(self, text: str) -> Iterator[tuple[str, list[str]]]:
        cells, last = _cells(text), len(self.order) - 1
        if len(cells) > last + 1 and self.fields.several and self.order[last] == "label":
            cells[last:] = [";".join(cells[last:])]
        if len(cells) == last + 1:
            row = dict(zip(self.order, cells))
            yield row["path"], [row[column] for column in self.fields.columns[1:]]

    def readings(self, text: str) -> list[LineReading]:
        return list(self._readings(self.splits(text)))

    def mistake(self, text: str) -> str:
        return (
            f"has {len(_cells(text))} fields, the header names {len(self.order)}; a path that holds a comma goes "
            "into quotes"
        )


def format_of(lines: Sequence[tuple[int, str]], fields: Fields, file: str) -> tuple[WhiteSpace, str]:
    """The format of a list, by all of its lines, and how many have it, as the end of a sentence.

    Args:
        lines: (number, text) of those that are not blank.

    Raises:
        UserError: a header names two columns of one meaning.
    """
    header = header_of(lines[0], fields, file)
    if header is not None:
        return header, header.title
    white, comma = WhiteSpace(fields), Csv(fields)
    texts = [text for _, text in lines]
    with_commas = [text for text in texts if "," in text]
    as_csv = _fitting(comma, with_commas)
    if not with_commas or as_csv[0] == len(lines):
        chosen = comma if with_commas else white
        return chosen, chosen.title
    as_white = _fitting(white, texts)
    chosen, counts = (comma, as_csv) if as_csv > as_white else (white, as_white)
    if not counts[0]:
        return chosen, f"{chosen.title}, and none of its lines is a sample; a header begins with path,label"
    many = "" if counts[0] == len(lines) else f", as {counts[0]} of {len(lines)} lines are"
    return chosen, chosen.title + many


def _fitting(form: WhiteSpace, texts: Sequence[str]) -> tuple[int, int]:
    """How many lines are samples, and how many have enough fields at least."""
    readable = [bool(form.readings(text)) for text in texts]
    return sum(readable), sum(fits or form.plain(text) is not None for fits, text in zip(readable, texts))


def choose(readings: Sequence[LineReading], several: bool, exists: Callable[[str], bool] | None) -> LineReading | str:
    """The right reading of a line, or what is wrong with the line.

    Args:
        readings: the longest path first; not empty.
        several: whether a clip may have any number of labels.
        exists: whether a path of the list is there; None: unknown, and the longest path with one label counts.
    """
    sound = [reading for reading in readings if several or len(reading.labels) == 1]
    if exists is None and sound:
        return sound[-1] if several else sound[0]
    there = readings if len(readings) == 1 else [reading for reading in readings if exists and exists(reading.path)]
    if len(there) > 1:
        return f"may be {there[0]}, or {there[1]}, and both are there; {_QUOTES}"
    if there:
        return there[0] if there[0] in sound else _several(there[0])
    if several:
        return readings[-1]
    first = (sound or readings)[0]
    other = next(reading for reading in readings if reading is not first)
    return f"may be {first}, or {other}, and neither is there; {_QUOTES}, or check data_prefix and suffix{MULTI_LABEL}"


MULTI_LABEL = "; several labels per clip need multi_label: True in this section of DATASET"


def _several(reading: LineReading) -> str:
    path, labels = printable(repr(reading.path)), ", ".join(map(printable, reading.labels))
    if not labels:
        return f"{path} has no label"
    return f"{path} has {len(reading.labels)} labels ({labels}), where one is expected{MULTI_LABEL}"


def header_of(line: tuple[int, str], fields: Fields, file: str) -> CsvWithHeader | None:
    """The form that a first line states if it names all columns; None: it is a sample.

    Raises:
        UserError: it names two columns of one meaning; it is that of Kinetics' annotations, which name no files.
    """
    number, text = line
    cells = _cells(text)
    if {cell.lower() for cell in cells} >= _OF_KINETICS:
        raise UserError(
            f"{printable(file)}:{number}: the header is that of Kinetics' annotations, which name no files; lists of "
            "them: paddlevideo prepare kinetics --annotations FOLDER --videos FOLDER"
        )
    columns = [_HEADER_NAMES.get(cell.lower()) for cell in cells]
    if not set(fields.columns) <= set(columns):
        return None
    for column in fields.columns:
        names = [cell for cell, meaning in zip(cells, columns) if meaning == column]
        if len(names) > 1:
            raise UserError(
                f"{printable(file)}:{number}: the header names {' and '.join(map(printable, names))}, which both mean "
                f"the {column}; rename the one that is not meant"
            )
    return CsvWithHeader(fields, text, number)


@functools.lru_cache(maxsize=4)
def _split_cells(text: str) -> tuple[str, ...]:
    try:
        return tuple(cell.strip() for cell in next(csv.reader([text], skipinitialspace=True)))
    except csv.Error:  # a field beyond the module's limit
        return (text,)


def _cells(text: str) -> list[str]:
    return list(_split_cells(text))
