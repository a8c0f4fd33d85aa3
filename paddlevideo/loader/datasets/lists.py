"""List files: one sample per line, all mistakes reported at once with their line numbers."""

from __future__ import annotations

import csv
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.decode.reader import VideoReadError
from paddlevideo.loader.labels import refuse_control_characters
from paddlevideo.memory import OutOfMemoryError, is_out_of_memory, reason
from paddlevideo.safe_io import reading
from paddlevideo.video_files import VIDEO_ENDINGS, is_video, printable

MAX_SHOWN = 20
LOWER = "lower DATASET.num_workers, the batch size, or the frames and the size that PIPELINE gives"
_MAX_CHECKED = 20_000  # files looked for before the first step; the others are met when they are read
_COLUMNS = {
    "path": ("path", "filename", "file", "video", "frame_dir", "dir"),
    "num_frames": ("num_frames", "total_frames", "frames"),
    "label": ("label", "class"),
}
_HEADER_NAMES = {name: column for column, names in _COLUMNS.items() for name in names}


class ClassCount(int):
    """A number of classes, and the key of the configuration that states it."""

    key = "MODEL.head.num_classes"

    def __new__(cls, value: int, key: str = key) -> ClassCount:
        number = super().__new__(cls, value)
        number.key = key
        return number


@dataclass(frozen=True)
class Row:
    """One line: its number, and its fields by column name (not stripped of meaning, not yet checked)."""

    line: int
    fields: dict[str, str]


class Problems:
    """Collects the mistakes of a file; ``raise_if_any`` reports them together."""

    def __init__(self, file: str):
        self._file = file
        self._lines: list[str] = []

    def add(self, line: int, text: str) -> None:
        self._lines.append(f"{printable(self._file)}:{line}: {text}")

    def raise_if_any(self) -> None:
        """Raises ConfigError with at most 20 lines and a count of the rest."""
        if self._lines:
            rest = len(self._lines) - MAX_SHOWN
            shown = self._lines[:MAX_SHOWN] + ([f"... and {rest} more"] if rest > 0 else [])
            error = ConfigError(self._file, shown)
            raise error if rest <= 0 else ConfigError(f"{self._file}: {len(self._lines)} mistakes, of which", shown)


def read_rows(file: str, columns: tuple[str, ...], problems: Problems | None = None) -> list[Row]:
    """Rows of a list (fields separated by white space, counted from the right, so that paths may hold spaces) or of a
    CSV file (commas, quotes, optional header).  UTF-8 with or without a byte-order mark, any line ends, blank lines
    skipped.

    Args:
        columns: the fields of a line, in order, the path first.
        problems: where lines with too few fields are noted; None: they are raised here.

    Raises:
        UserError: the file is missing, empty, not text, or a line has too few fields.
    """
    lines = list(_lines(file))
    if not lines:
        raise UserError(f"{file}: the list is empty; each line must hold: {' '.join(columns)}")
    problems = problems or Problems(file)
    with reading(file, "a list of samples"):
        split = _csv_splitter(lines, columns) or _whitespace_splitter(columns)
        cut = [(number, text, split(text)) for number, text in lines]
    rows = []
    for number, text, fields in cut:
        if fields is None:
            problems.add(number, f"needs {len(columns)} fields ({' '.join(columns)}), has {printable(repr(text[:80]))}")
        elif fields:
            rows.append(Row(number, fields))
    problems.raise_if_any()
    if not rows:
        raise UserError(f"{file}: the list holds a header and no samples")
    return rows


def parse_label(row: Row, num_classes: int | None, problems: Problems) -> int:
    """The class index of a row; a mistake is noted and gives -1."""
    text = row.fields["label"]
    try:
        label = int(text)
    except ValueError:
        problems.add(row.line, f"label {printable(repr(text))} is not a whole number")
        return -1
    if label < 0:
        problems.add(row.line, f"label {label} is negative; labels count from 0")
    elif num_classes is not None and label >= num_classes:
        key = num_classes.key if isinstance(num_classes, ClassCount) else ClassCount.key
        wanted = f"labels must be in 0..{num_classes - 1}, since {key} is {num_classes}"
        problems.add(row.line, f"label {label} is out of range; {wanted}")
    return label


def locate(row: Row, data_prefix: str | None, allow_outside_root: bool, problems: Problems) -> str:
    """The path of a row below ``data_prefix``.  Without a prefix the list's own paths stand, absolute ones too."""
    name = row.fields["path"]
    if "\0" in name or not name:
        problems.add(row.line, "the path is empty or holds a NUL character")
        return name
    if not data_prefix:
        return name
    data_prefix = os.path.expanduser(data_prefix)
    path = os.path.join(data_prefix, name)
    if not allow_outside_root and not _is_inside(os.path.abspath(path), os.path.abspath(data_prefix)):
        problems.add(row.line, f"{printable(repr(name))} lies outside data_prefix {data_prefix!r}{_WAY_OUT}")
    return path


def check_inside(path: str, data_prefix: str | None, allow_outside_root: bool) -> None:
    """The same rule with symbolic links followed, when a file is about to be read.

    Raises:
        UserError: a link leads out of ``data_prefix``.
    """
    if data_prefix and not allow_outside_root:
        real, root = os.path.realpath(path), os.path.realpath(os.path.expanduser(data_prefix))
        if not _is_inside(real, root):
            raise UserError(
                f"{printable(path)} leads to {printable(real)}, outside data_prefix {data_prefix!r}{_WAY_OUT}"
            )


_WAY_OUT = "; if that is wanted, set allow_outside_root: True in this section of DATASET"


def check_present(dataset: Any, every: bool) -> None:
    """Looks for the files of a list before the first step.

    Args:
        dataset: has ``file_path``, ``records`` and ``lines``.
        every: one missing file is an error; otherwise only if all of the first hundred are missing (a wrong
            data_prefix).

    Raises:
        ConfigError: files are missing, each with its line.
    """
    limit = _MAX_CHECKED if every else 100
    problems, found, seen = Problems(dataset.file_path), False, set()
    for record, line in zip(dataset.records, dataset.lines):
        path = record.get("filename") or record["frame_dir"]
        if path in seen:  # key frames of one video
            continue
        seen.add(path)
        if len(seen) > limit:
            break
        if os.path.exists(path):
            found = True
            if not every:
                return
        else:
            problems.add(line, f"{printable(path)} does not exist; is data_prefix right?")
    if every or not found:
        problems.raise_if_any()


def class_folders(root: str) -> list[str]:
    """The classes of a folder with one sub-folder per class: their names, sorted; as numbers if all of them are.

    Raises:
        UserError: there are none.
    """
    names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if all(name.isascii() and name.isdecimal() for name in names):
        names.sort(key=int)
    if not names:
        raise UserError(f"{root}: a data folder needs one sub-folder per class; there are none")
    refuse_control_characters(root, names)
    return names


def training_classes(section: Mapping[str, Any]) -> list[str] | None:
    """Class names of a DATASET section whose ``train`` is a folder of class folders; None for lists."""
    root = (section.get("train") or {}).get("file_path")
    return class_folders(root) if root and os.path.isdir(root) else None


def scan_folder(root: str, classes: list[str] | None = None) -> tuple[list[tuple[str, int]], list[str]]:
    """Videos below a folder with one sub-folder per class: ([(path, label)], class names), both sorted by name.

    Args:
        classes: names in class-id order, where the folder's own do not decide; it may lack some of them.

    Raises:
        UserError: there are no sub-folders, one that is not among ``classes``, or no videos in one.
    """
    folders = class_folders(root)
    classes = folders if classes is None else classes
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise UserError(
            f"{root}: the class folder {printable(repr(unknown[0]))} is none of the {len(classes)} classes of the "
            f"training ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}); rename it to what it was "
            "called then, or take it out"
        )
    found = []
    for name in folders:
        files = sorted(
            os.path.join(folder, file)
            for folder, _, files in os.walk(os.path.join(root, name))
            for file in files
            if is_video(file)
        )
        if not files:
            raise UserError(
                f"{os.path.join(root, name)}: no videos in this class folder (looked for {', '.join(VIDEO_ENDINGS)})"
            )
        found += [(file, classes.index(name)) for file in files]
    return found, classes


def describe(record: dict[str, Any]) -> str:
    """The name of a sample for messages."""
    return printable(record.get("filename") or record.get("frame_dir") or f"sample {record.get('index')}")


def sample_error(record: dict[str, Any], error: Exception) -> UserError:
    """An error that names the sample it happened at; what the machine lacks is not laid at the sample's door."""
    if isinstance(error, VideoReadError):
        return error
    if isinstance(error, UserError):
        return error if describe(record) in str(error) else UserError(f"{describe(record)}: {error}")
    if is_out_of_memory(error):
        return OutOfMemoryError(f"out of memory while {describe(record)} was read ({reason(error)}); {LOWER}")
    if isinstance(error, ImportError):
        return UserError(
            f"a Python module cannot be imported ({error}), which was noticed while {describe(record)} was read; the "
            "installation or its memory limit is at fault, not this file"
        )
    place = traceback.extract_tb(error.__traceback__)
    at = f" (at {os.path.basename(place[-1].filename)}:{place[-1].lineno})" if place else ""
    return UserError(f"{describe(record)}: {type(error).__name__}: {error}{at}")


def _lines(file: str) -> Iterator[tuple[int, str]]:
    if not os.path.exists(file):
        raise UserError(f"{file}: no such list file (DATASET file_path)")
    try:
        with open(file, encoding="utf-8-sig", newline=None) as stream:
            for number, line in enumerate(stream, 1):
                text = line.strip()
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a UTF-8 text file ({error.reason}); a list holds 'path label' lines") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error


def _is_inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _whitespace_splitter(columns: tuple[str, ...]) -> Callable[[str], dict[str, str] | None]:
    def split(text: str) -> dict[str, str] | None:
        fields = text.rsplit(None, len(columns) - 1)
        return dict(zip(columns, fields)) if len(fields) == len(columns) else None

    return split


def _csv_splitter(
    lines: list[tuple[int, str]], columns: tuple[str, ...]
) -> Callable[[str], dict[str, str] | None] | None:
    """A function from a line to its fields ({} for the header), or None if the first line is not CSV."""
    first = _cells(lines[0][1])
    header = [_HEADER_NAMES.get(cell.lower()) for cell in first]
    if set(columns) <= set(header):
        order = header
    elif len(first) >= len(columns) and _is_int(first[-1]):
        order = list(columns)
    else:
        return None
    width = len(order)

    def split(text: str) -> dict[str, str] | None:
        if text == lines[0][1] and order is header:
            return {}
        cells = _cells(text)
        if len(cells) > width:  # a comma inside the path, not quoted
            cells = [",".join(cells[: len(cells) - width + 1]), *cells[len(cells) - width + 1 :]]
        return {key: cell for key, cell in zip(order, cells) if key} if len(cells) == width else None

    return split


def _cells(text: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True))]


def _is_int(text: str) -> bool:
    return text.lstrip("+-").isdigit()
