"""Annotation files of public data sets and a folder of videos to list files, with a count of what is missing."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddlevideo import safe_io
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.lists import read_rows
from paddlevideo.safe_io import write_atomic
from paddlevideo.video_files import VIDEO_ENDINGS, videos_below


@dataclass(frozen=True)
class AnnotatedClip:
    """One annotated clip.

    Attributes:
        names: what its file or frame folder may be called below the data folder, without ending, the likeliest first;
            a name with folders matches only there, a plain one anywhere.
        label: class id.
        where: ``file:line`` of the annotation, for messages.
    """

    names: tuple[str, ...]
    label: int
    where: str


class ClassList:
    """Class names with their ids, and the mistakes found while annotations are translated to ids.

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


def text_lines(file: Path, ends: str | None = None) -> Iterator[tuple[str, str]]:
    """(``file:line``, text) of all lines that are not blank, ends stripped.

    Args:
        ends: the characters that are stripped; None: all blanks.  A tab at the end may stand before an empty field.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"{file}:{number}", line.strip(ends)
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
    (_, header), *rows = list(csv_cells(lines)) or [("", [])]
    header = [name.strip() for name in header]
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(f"{file}: the header has no {', '.join(missing)}; expected {','.join(columns)}")
    for where, cells in rows:
        if len(cells) < len(columns):
            raise UserError(f"{where}: expected {','.join(header)}, has {len(cells)} fields")
        yield where, dict(zip(header, (cell.strip() for cell in cells)))


def csv_cells(lines: Sequence[tuple[str, str]], separator: str = ",") -> Iterator[tuple[str, list[str]]]:
    """(``file:line``, cells) of ``text_lines`` of a CSV file, quotes honoured.

    Raises:
        UserError: a quote that is not closed in its line, or a cell of more than 131,072 letters.
    """
    texts = [*(text for _, text in lines), ""]  # a last quote that is not closed takes the line after it, too
    reader, first = csv.reader(texts, delimiter=separator), 0
    while first < len(lines):
        where = lines[first][0]
        try:
            cells = next(reader)
        except csv.Error as error:
            raise UserError(f"{where}: damaged, or no csv ({error})") from None
        if reader.line_num > first + 1:
            raise UserError(f"{where}: a quote is not closed in its line; close it, or put the cell onto one line")
        first = reader.line_num
        yield where, cells


def read_json(file: Path, kind: type) -> Any:
    """A JSON file with a ``kind`` (list or dict) as its outermost value.

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


class FrameNames:
    """File names of frames, e.g. ``img_{:05}.jpg``: one place for the number, which counts from 1.

    Raises:
        UserError: the template has no such place.
    """

    def __init__(self, template: str):
        self.template = template
        head, mark, rest = template.partition("{")
        _, end, tail = rest.partition("}")
        try:
            fits = bool(mark and end) and template.format(12345) == f"{head}12345{tail}"
        except (IndexError, KeyError, ValueError):
            fits = False
        if not fits or "/" in template:
            raise UserError(
                f"frame name {template!r}: expected one place for the number, e.g. 'img_{{:05}}.jpg', and no folder"
            )
        self._head, self._tail = head, tail

    def number(self, name: str) -> int | None:
        """The number in a file name, or None if the name is none of a frame's."""
        digits = name[len(self._head) : len(name) - len(self._tail)]
        fits = name.startswith(self._head) and name.endswith(self._tail) and digits.isascii() and digits.isdigit()
        return int(digits) if fits and self.template.format(int(digits)) == name else None

    def numbers(self, names: Sequence[str]) -> set[int]:
        return {number for number in map(self.number, names) if number is not None}


class VideoIndex:
    """The video files, or folders of frames, below a folder, by name.

    Args:
        root: the folder.
        frames: template of frame names; None: videos.
        ignore_case: take a file with a name that differs in case only, where no name fits exactly.

    Raises:
        UserError: there is no such folder, or nothing of that kind in it.
    """

    def __init__(self, root: Path, frames: str | None = None, ignore_case: bool = False):
        self.root, self.num_frames = root, {}
        self.broken: dict[str, str] = {}  # frame folder -> what is wrong with its numbers
        self._ignore_case = ignore_case
        self._lower: dict[str, list[str]] = {}  # the same in lower case, once it is needed
        self._paths: dict[str, list[str]] = {}  # name of a file without ending, or of a folder -> paths below root
        if not root.is_dir():
            raise UserError(f"{root}: no such folder ({'--frames' if frames else '--videos'})")
        for path in self._scan_frames(FrameNames(frames)) if frames else videos_below(root):
            self._paths.setdefault(self._key(path), []).append(path)
        self._endings = frames is None
        if not self._paths:
            wanted = f"folder with frames {frames!r}" if frames else f"video ({', '.join(VIDEO_ENDINGS)})"
            raise UserError(f"{root}: no {wanted} in it or below")

    def __len__(self) -> int:
        return sum(len(paths) for paths in self._paths.values())

    def find(self, clip: AnnotatedClip) -> list[str]:
        """Paths below the folder that fit the first name of the clip that any fits; sorted, mostly one or none."""
        for name in clip.names:
            base = name.rpartition("/")[2]
            for path in self._paths.get(base, []):
                if self._is_called(path, name):
                    return [p for p in self._paths[base] if self._is_called(p, name)]
        if self._ignore_case:
            return self._find_in_any_case(clip)
        return []

    def _find_in_any_case(self, clip: AnnotatedClip) -> list[str]:
        if not self._lower:
            for base, paths in self._paths.items():
                self._lower.setdefault(base.lower(), []).extend(paths)
        for name in clip.names:
            near = self._lower.get(name.rpartition("/")[2].lower(), [])
            found = [path for path in near if self._is_called(path.lower(), name.lower())]
            if found:
                return sorted(found)
        return []

    def _is_called(self, path: str, name: str) -> bool:
        stem = os.path.splitext(path)[0] if self._endings else path
        return stem == name or stem.endswith("/" + name)

    def _key(self, path: str) -> str:
        base = path.rpartition("/")[2]
        return base if path in self.num_frames or path in self.broken else os.path.splitext(base)[0]

    def _scan_frames(self, names: FrameNames) -> list[str]:
        found = []
        from tqdm import tqdm

        walk = os.walk(self.root, followlinks=True)
        for folder, folders, files in tqdm(walk, desc="folders", unit="", disable=None):
            folders[:] = [name for name in folders if not name.startswith(".")]  # an extraction that was cut off
            numbers = names.numbers(files)
            if not numbers:
                continue
            path = os.path.relpath(folder, self.root).replace(os.sep, "/")
            count = max(numbers)
            if len(numbers) == count and 0 not in numbers:
                self.num_frames[path] = count
            elif 0 in numbers:
                self.broken[path] = "its frames count from 0; the suite's count from 1"
            else:
                first = next(n for n in range(1, count + 1) if n not in numbers)
                self.broken[path] = f"{len(numbers)} frames, numbered up to {count}; frame {first} is missing"
            found.append(path)
        return sorted(found)


@dataclass
class Listing:
    """A list that was written, and what was left out of it."""

    file: Path
    num_annotated: int
    num_listed: int = 0
    missing: list[str] = field(default_factory=list)  # one line per clip that is not on disk
    remarks: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # paths below the data folder


@dataclass(frozen=True)
class PathStyle:
    """How list files write paths.

    Args:
        relative: below the data folder (for ``DATASET.*.data_prefix``) instead of as the folder was given.
        ending: with the file's ending; without, for ``DATASET.*.suffix``.
    """

    relative: bool = False
    ending: bool = True

    def write(self, index: VideoIndex, path: str) -> str:
        text = path if self.ending or path in index.num_frames else os.path.splitext(path)[0]
        return text if self.relative else Path(index.root, text).as_posix()


def write_listing(clips: Sequence[AnnotatedClip], index: VideoIndex, file: Path, style: PathStyle) -> Listing:
    """Writes ``path label`` or ``folder num_frames label`` lines in the annotation's order, and reads them back.

    Clips that are not on disk are left out; their names go to ``<file>.missing``.

    Raises:
        UserError: not one clip was found, or a name cannot be written as one line of a list.
    """
    listing = Listing(file, len(clips))
    rows: list[tuple[str, ...]] = []
    several, broken = 0, 0
    for clip in clips:
        found = index.find(clip)
        if not found:
            listing.missing.append(f"{clip.names[0]} {clip.label}\t{clip.where}")
            continue
        path = found[0]
        listing.used.update(found)
        if path in index.broken:
            broken += 1
            listing.missing.append(f"{clip.names[0]} {clip.label}\t{clip.where}\t{index.broken[path]}")
            continue
        several += len(found) > 1
        count = (str(index.num_frames[path]),) if index.num_frames else ()
        rows.append((style.write(index, path), *count, str(clip.label)))
    if clips and not rows:
        raise UserError(
            f"none of {len(clips)} clips of {clips[0].where.rsplit(':', 1)[0]} is in {index.root}, "
            f"e.g. {printable(' or '.join(clips[0].names))}; is that the right folder?"
        )
    _write_rows(file, rows, bool(index.num_frames))
    _write_missing(file, listing.missing)
    listing.num_listed = len(rows)
    spaces = sum(" " in row[0] for row in rows)
    for count, remark in (
        (broken, "frame folders are incomplete"),
        (several, "names lie in several folders; the first by path is listed"),
        (spaces, "paths hold spaces: fine here, but PaddleVideo's and MMAction2's readers split there"),
    ):
        if count:
            listing.remarks.append(f"{count} {remark}")
    return listing


def _write_rows(file: Path, rows: list[tuple[str, ...]], frames: bool) -> None:
    for row in rows:
        if row[0] != row[0].strip() or not row[0].isprintable():
            raise UserError(
                f"{printable(repr(row[0]))}: a list cannot hold a path with line breaks, or blanks at an end; rename it"
            )
    write_atomic(file, "".join(" ".join(row) + "\n" for row in rows))
    if rows:
        columns = ("path", "num_frames", "label") if frames else ("path", "label")
        again = [tuple(row.fields[c] for c in columns) for row in read_rows(str(file), columns)]
        wrong = next((k for k, pair in enumerate(zip(rows, again)) if pair[0] != pair[1]), None)
        if wrong is not None or len(again) != len(rows):
            raise UserError(f"{file}:{(wrong or 0) + 1}: does not read back as it was written; rename that file")


def _write_missing(file: Path, missing: list[str]) -> None:
    beside = file.with_name(file.name + ".missing")
    if missing:
        write_atomic(beside, "".join(f"{printable_line(line)}\n" for line in missing))
    else:
        beside.unlink(missing_ok=True)  # of an earlier run, when something was missing


def printable_line(line: str) -> str:
    """Tabs stay, as they part the fields."""
    return "\t".join(printable(part) for part in line.split("\t"))


def report_lines(listings: dict[str, Listing], index: VideoIndex) -> list[str]:
    """Counts of what was listed and what is missing, for the terminal."""
    lines = []
    for split, listing in listings.items():
        missing = len(listing.missing)
        lines.append(
            f"{split}: {listing.num_annotated} annotated, {listing.num_listed} found, {missing} missing"
            f" -> {listing.file}"
        )
        if missing:
            lines.append(f"  the missing ones: {listing.file}.missing")
        lines += [f"  {remark}" for remark in listing.remarks]
    unused = len(index) - len(set().union(*(listing.used for listing in listings.values())))
    if unused:
        kind = "frame folders" if index.num_frames else "videos"
        lines.append(f"{unused} of {len(index)} {kind} in {index.root} are in none of these lists")
    return lines
