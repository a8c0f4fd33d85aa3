"""Official annotation files: what they say about clips, checked against the suite's class ids."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo import safe_io
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings


@dataclass(frozen=True)
class Clip:
    """One annotated clip.

    Attributes:
        names: what its file or frame folder may be called below the data folder, without ending, the surest first;
            a name with folders matches only there, a plain one anywhere.
        label: class id.
        where: ``file:line`` of the annotation, for messages.
    """

    names: tuple[str, ...]
    label: int
    where: str


class Classes:
    """Class names with their ids, and the mistakes met while annotations are translated to ids.

    Args:
        names: in class-id order.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._ids = {name: k for k, name in enumerate(self.names)}
        self._findings = Findings("")
        self._files: set[str] = set()

    def id_of(self, name: str, where: str) -> int:
        """The id of a class name; an unknown name is noted and gives -1."""
        label = self._ids.get(name)
        if label is None:
            self.note(where, f"class {printable(repr(name))} is not in the class list")
            return -1
        return label

    def check_id(self, label: Any, where: str) -> int:
        """The same for an annotation that gives ids."""
        if isinstance(label, int) and 0 <= label < len(self.names):
            return label
        self.note(where, f"label {label!r} is not one of 0..{len(self.names) - 1}")
        return -1

    def check_order(self, official: Sequence[str], file: Path) -> None:
        """Notes where the data set's own class file has other ids than the suite's list."""
        if len(official) != len(self.names):
            self.note(str(file), f"{len(official)} classes, but the class list has {len(self.names)}")
        for k, (theirs, ours) in enumerate(zip(official, self.names)):
            if theirs != ours:
                self.note(str(file), f"class {k} is {printable(repr(theirs))}, but {ours!r} in the class list")

    def note(self, where: str, text: str) -> None:
        self._findings.add(where, text)
        self._files.add(where.rsplit(":", 1)[0])

    def raise_if_any(self) -> None:
        """
        Raises:
            ConfigError: everything noted, at most 20 lines; an unknown class is one line with its count.
        """
        self._findings.source = ", ".join(sorted(self._files))
        self._findings.raise_if_any()


def find_file(folder: Path, *names: str) -> Path:
    """The first of these files that the folder has.

    Raises:
        UserError: it has none of them.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    what = "no such folder" if not folder.is_dir() else "none of these annotation files is there"
    raise UserError(f"{folder}: {what}; expected {' or '.join(names)} (--annotations)")


def text_lines(file: Path) -> Iterator[tuple[str, str]]:
    """(``file:line``, text) of all lines that are not blank, ends stripped."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"{file}:{number}", line.strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error


def id_and_name(file: Path) -> Iterator[tuple[str, str, str]]:
    """(``file:line``, clip id, class name) of ``id;class name`` lines.

    Raises:
        UserError: a line without the semicolon, e.g. one of a test list, which has no labels.
    """
    for where, text in text_lines(file):
        clip, mark, name = text.partition(";")
        if not (clip and mark and name):
            raise UserError(f"{where}: expected 'id;class name', has {printable(repr(text[:80]))}")
        yield where, clip.strip(), name.strip()


def csv_rows(file: Path, columns: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(``file:line``, row by column name) of a CSV file with a header.

    Raises:
        UserError: a column is missing.
    """
    columns = list(columns)
    lines = list(text_lines(file))
    with safe_io.reading(file, "a csv"):
        header, *rows = list(csv.reader([text for _, text in lines])) or [[]]
    header = [name.strip() for name in header]
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(f"{file}: the header has no {', '.join(missing)}; expected {','.join(columns)}")
    for (where, _), cells in zip(lines[1:], rows):
        if len(cells) < len(columns):
            raise UserError(f"{where}: expected {','.join(header)}, has {len(cells)} fields")
        yield where, dict(zip(header, (cell.strip() for cell in cells)))


def read_json(file: Path, kind: type) -> Any:
    """A JSON file whose outermost value is a ``kind`` (list or dict).

    Raises:
        UserError: it is not.
    """
    value = safe_io.read_json(file)
    if not isinstance(value, kind):
        raise UserError(f"{file}: expected a JSON {kind.__name__}, has a {type(value).__name__}")
    return value


def json_records(file: Path, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(``file: entry n``, record) of a JSON list of objects that have these keys.

    Raises:
        UserError: an entry is no such object.
    """
    for number, record in enumerate(read_json(file, list), 1):
        where = f"{file}: entry {number}"
        if not isinstance(record, dict) or any(key not in record for key in keys):
            raise UserError(f"{where}: expected an object with {', '.join(keys)}, has {printable(repr(record)[:80])}")
        yield where, record
