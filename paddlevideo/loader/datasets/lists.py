"""List files: one sample per line, all mistakes reported at once with their line numbers."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import MAX_SHOWN, Findings
from paddlevideo.loader.datasets.list_lines import Csv, Fields, WhiteSpace, choose, format_of, header_of, is_whole
from paddlevideo.loader.datasets.records import MultiHot, Numbers
from paddlevideo.loader.decode.reader import VideoReadError
from paddlevideo.loader.labels import doubled, read_labels, refuse_control_characters, refuse_doubled
from paddlevideo.memory import OutOfMemoryError, is_out_of_memory, reason
from paddlevideo.ranges import suggest
from paddlevideo.safe_io import reading
from paddlevideo.video_files import VIDEO_ENDINGS, is_video, videos_below

LOWER = "lower DATASET.num_workers, the batch size, or the frames and the size that PIPELINE gives"


class ClassCount(int):
    """A number of classes, and the key of the configuration that states it."""

    key = "MODEL.head.num_classes"

    def __new__(cls, value: int, key: str = key) -> ClassCount:
        number = super().__new__(cls, value)
        number.key = key
        return number


@dataclass(frozen=True)
class Row:
    """One line: its number, its fields by column name (not yet checked), its labels as texts, and the end of a message
    on a mistake in them."""

    line: int
    fields: dict[str, str]
    labels: tuple[str, ...] = ()
    note: str = ""


def read_rows(
    file: str,
    columns: tuple[str, ...],
    problems: Findings | None = None,
    names: Collection[str] = (),
    exists: Callable[[str], bool] | None = None,
) -> list[Row]:
    """The rows of ``read_list`` with one label each."""
    return read_list(file, Fields(columns, names), problems, exists)[0]


def read_list(
    file: str, fields: Fields, problems: Findings | None = None, exists: Callable[[str], bool] | None = None
) -> tuple[list[Row], str]:
    """The rows of a list, and the format that it was read as, which all of its lines decide.

    Fields are parted by white space, or by commas (CSV, with quotes and perhaps a header); paths may hold spaces.
    UTF-8 with or without a byte-order mark, any line ends, blank lines skipped.

    Args:
        fields: what a line holds.
        problems: where lines that do not fit are noted; None: they are raised here.
        exists: whether a path of the list is there, for lines that may be read in several ways; None: the last fields
            are those of the columns, whatever comes before them.

    Raises:
        UserError: the file is missing, empty or not text.
        ConfigError: lines that do not fit.
    """
    lines = list(_lines(file))
    if not lines:
        raise UserError(f"{file}: the list is empty; each line must hold: {' '.join(fields.columns)}")
    noted = problems if problems is not None else Findings(file)
    with reading(file, "a list of samples"):
        form, title = format_of(lines, fields, file)
    mixed = "" if title == form.title else f" (the list is read as {title})"
    rows = list(rows_of(form, lines, noted, exists, mixed))
    if problems is None:
        noted.raise_if_any()
    if len(lines) == 1 and form.is_header(lines[0][0]):
        raise UserError(f"{file}: the list holds a header and no samples")
    return rows, title


def rows_of(
    form: WhiteSpace,
    lines: Iterable[tuple[int, str]],
    problems: Findings,
    exists: Callable[[str], bool] | None,
    mixed: str = "",
) -> Iterator[Row]:
    """The rows that (number, text) of lines hold in one form; lines that do not fit are noted.

    Args:
        mixed: end of a message where not all lines have this form.
    """
    for number, text in lines:
        if form.is_header(number):
            continue
        readings = form.readings(text)
        found = choose(readings, form.fields.several, exists) if readings else form.plain(text) or form.mistake(text)
        if isinstance(found, str):
            problems.add(number, found + mixed)
            continue
        row = {"path": found.path, "label": found.labels[0] if len(found.labels) == 1 else ";".join(found.labels)}
        if found.num_frames is not None:
            row["num_frames"] = found.num_frames
        yield Row(number, row, found.labels, "" if readings else mixed)


LABEL_FILES = ("classes.txt", "labels.txt")


@dataclass(frozen=True)
class NamedRows:
    """The rows of a list with one label per clip, and its class names.

    Attributes:
        rows: in the order of the list.
        names: in class-id order: of a label file beside the list, else the sorted labels; None: labels are numbers.
        label_file: ``classes.txt`` or ``labels.txt`` beside the list, where it is used.
        unused: such a file that lacks labels of the list.
    """

    rows: list[Row]
    names: list[str] | None
    label_file: Path | None = None
    unused: Path | None = None


def read_named_rows(file: Path, exists: Callable[[str], bool]) -> NamedRows:
    """A list whose labels are numbers, or names that nothing has declared.

    Args:
        exists: as of ``read_list``.

    Raises:
        UserError: the list is missing, empty or not text, or its clips have several labels.
        ConfigError: lines that do not fit.
    """
    found = next((file.parent / name for name in LABEL_FILES if (file.parent / name).is_file()), None)
    known = read_labels(found) if found else []
    fields = Fields(("path", "label"))
    fields = replace(fields, names=frozenset([*known, *_names_in(list(_lines(str(file))), fields, file, exists)]))
    for row in read_list(str(file), replace(fields, several=True), Findings(str(file)), exists)[0]:
        if exists(row.fields["path"]) and (len(row.labels) != 1 or ";" in row.labels[0]):
            labels = printable(row.fields["label"]) or "none"
            raise UserError(
                f"{printable(file)}:{row.line}: expected one label per clip, has {labels}; "
                "several: configs/recognition/tsm/README.md (Several labels per clip)"
            )
    rows, _ = read_list(str(file), fields, exists=exists)
    texts = sorted({row.fields["label"] for row in rows})
    if all(text.isascii() and text.isdecimal() for text in texts):
        fits = max(map(len, texts)) < 10 and len(known) > max(map(int, texts))
        return NamedRows(rows, known if fits else None, found if fits else None, None if fits else found)
    if known and set(texts) <= set(known):
        refuse_doubled(found, known)
        return NamedRows(rows, known, found)
    return NamedRows(rows, texts, None, found)


def _names_in(lines: Sequence[tuple[int, str]], fields: Fields, file: Path, exists: Callable[[str], bool]) -> set[str]:
    """The labels of a list that are no numbers, each with all of its words.

    A path ends where a file of that name is there, or else after a video's ending; a line with neither has a label of
    one word.  Several words that are each a label of another line are several labels, unless they are one cell of a
    CSV or in quotes.
    """
    header = header_of(lines[0], fields, str(file)) if lines else None
    forms = [header] if header else [WhiteSpace(fields), Csv(fields)]
    words: set[str] = set()
    phrases: list[list[str]] = []
    for number, text in lines:
        if not (header and header.is_header(number)):
            form, label = _label_after_path(text, forms, exists)
            if form is forms[0] and len(label) > 1:
                phrases.append(label)
            else:
                words.update(label)
    words |= {" ".join(phrase) for phrase in phrases if not words.issuperset(phrase)}
    return {word for word in words if ";" not in word and not all(part.isdecimal() for part in word.split())}


def _label_after_path(
    text: str, forms: Sequence[WhiteSpace], exists: Callable[[str], bool]
) -> tuple[WhiteSpace, list[str]]:
    """The fields after the path of a line, and the form in which they are."""
    splits = [(form, path, rest) for form in forms for path, rest in form.splits(text) if rest]
    ending = [split for split in splits if is_video(split[1])]
    for form, path, rest in ending or splits:
        if exists(path):
            return form, rest
    return (ending[0][0], ending[0][2]) if ending else (forms[-1], re.split(r"[\s,;]+", text)[-1:])


def parse_label(row: Row, num_classes: int | None, problems: Findings, names: Sequence[str] | None = None) -> int:
    """The class index of a row with one label, which is a name if a class is called so, else a number; a mistake is
    noted and gives -1.

    Args:
        names: in class-id order.
    """
    text = row.fields["label"]
    if names and text in names:
        return _named_index(text, row, problems, names)
    return _class_index(text, row, num_classes, problems, names)


def _named_index(text: str, row: Row, problems: Findings, names: Sequence[str]) -> int:
    if names.count(text) > 1:
        wanted = "expected a number, or a label file with each name once"
        problems.add(row.line, f"{doubled(names, text)}; {wanted}{row.note}")
    return names.index(text)


def _class_index(
    text: str,
    row: Row,
    num_classes: int | None,
    problems: Findings,
    names: Sequence[str] | None,
    names_key: str = "DATASET.label_names",
) -> int:
    if is_whole(text):
        label = int(text)
    else:
        if names and text in names:
            return _named_index(text, row, problems, names)
        shown = printable(repr(text[:80]))
        if names:
            found = suggest(text, names, listed=len(names) <= MAX_SHOWN)
            what = f"label {shown} is neither a whole number nor one of the {len(names)} class names{found}"
        else:
            what = f"label {shown} is not a whole number; class names need {names_key}"
        problems.add(row.line, what + row.note)
        return -1
    if label < 0:
        problems.add(row.line, f"label {label} is negative; labels count from 0")
    elif num_classes is not None and label >= num_classes:
        key = num_classes.key if isinstance(num_classes, ClassCount) else ClassCount.key
        wanted = f"labels must be in 0..{num_classes - 1}, since {key} is {num_classes}"
        problems.add(row.line, f"label {label} is out of range; {wanted}")
    return label


@dataclass(frozen=True)
class Labels:
    """How the labels of a list are read.

    Args:
        num_classes: K; None: not checked.
        names: class names in class-id order, which may stand for their numbers; None: unknown.
        several: any number of labels per clip, which become a multi-hot vector; else one, a class index.
        names_key: what gives the names, for messages.

    Raises:
        UserError: several labels of unknown classes.
    """

    num_classes: int | None = None
    names: Sequence[str] | None = None
    several: bool = False
    names_key: str = "DATASET.label_names"

    def __post_init__(self) -> None:
        if self.several and self.num_classes is None and not self.names:
            raise UserError("multi_label: True needs the number of classes: num_classes, or class_names")

    def fields(self, columns: tuple[str, ...]) -> Fields:
        """What a line holds."""
        return Fields(columns, frozenset(self.names or ()), self.several)

    @property
    def count(self) -> int | None:
        """Labels from here on are mistakes; None: any is right."""
        if self.several and self.num_classes is None:
            return ClassCount(len(self.names), "the number of class_names")
        return self.num_classes

    def of(self, row: Row, problems: Findings) -> int | tuple[int, ...]:
        """The class index of a row, or the sorted indices; mistakes are noted."""
        if not self.several:
            return _class_index(row.fields["label"], row, self.count, problems, self.names, self.names_key)
        given = self.count, problems, self.names, self.names_key
        return tuple(sorted({_class_index(text, row, *given) for text in row.labels}))

    def column(self, labels: Sequence[int | tuple[int, ...]]) -> Numbers | MultiHot:
        """The column of class indices, or of tuples of them."""
        return MultiHot(labels, self.num_classes or len(self.names)) if self.several else Numbers(labels)


def locate(row: Row, data_prefix: str | None, allow_outside_root: bool, problems: Findings) -> str:
    """The path of a row below ``data_prefix``.  Without a prefix the list's own paths are used, absolute ones too."""
    name = row.fields["path"]
    if "\0" in name or not name:
        problems.add(row.line, "the path is empty or holds a NUL character")
        return name
    if not data_prefix:
        return os.path.expanduser(name)
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


def path_hint(path: str) -> str:
    """The likely mistake in a path that does not exist."""
    if "\\" not in path:
        return ""
    turned = path.replace("\\", "/")
    return f" (it holds backslashes; folders are parted by / here{', and so it exists' * os.path.exists(turned)})"


def expanded(path: str | None) -> str | None:
    """A path with ``~`` as the home folder."""
    return os.path.expanduser(path) if path else path


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
    root = expanded((section.get("train") or {}).get("file_path"))
    return class_folders(root) if root and os.path.isdir(root) else None


def folders_without_videos(root: str) -> list[str]:
    """The class folders of ``root`` that hold no video."""
    return [name for name in class_folders(root) if not videos_below(os.path.join(root, name), follow_links=False)]


def scan_folder(
    root: str, classes: list[str] | None = None, left_out: Collection[str] = ()
) -> tuple[list[tuple[str, int]], list[str]]:
    """Videos below a folder with one sub-folder per class: ([(path, label)], class names), both sorted by name.

    Args:
        classes: names in class-id order, where the folder's own do not decide; it may lack some of them.
        left_out: sub-folders that do not count.

    Raises:
        UserError: there are no sub-folders, one that is not among ``classes``, or no videos in one; a name comes
            twice in ``classes``.
    """
    folders = [name for name in class_folders(root) if name not in left_out]
    classes = folders if classes is None else classes
    refuse_doubled("the class names of the training", classes)
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise UserError(
            f"{root}: the class folder {printable(repr(unknown[0]))} is none of the {len(classes)} classes of the "
            f"training ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}); rename it to what it was "
            "called then, or take it out"
        )
    if not folders:
        raise UserError(f"{root}: no videos in its class folders (looked for {', '.join(VIDEO_ENDINGS)})")
    found = []
    for name in folders:
        files = [os.path.join(root, name, file) for file in videos_below(os.path.join(root, name), follow_links=False)]
        if not files:
            raise UserError(
                f"{os.path.join(root, name)}: no videos in this class folder (looked for {', '.join(VIDEO_ENDINGS)})"
            )
        found += [(file, classes.index(name)) for file in files]
    return found, classes


def clip_name(record: Mapping[str, Any]) -> str:
    """The file or folder of a sample; of a span with its seconds, as a media fragment: ``a.mp4#t=1.5,3.25``."""
    name = str(record.get("filename") or record.get("frame_dir") or f"sample {record.get('index')}")
    return f"{name}#t={record['start_s']:.10g},{record['end_s']:.10g}" if "start_s" in record else name


def describe(record: dict[str, Any]) -> str:
    """The name of a sample for messages."""
    return printable(clip_name(record))


def sample_error(record: dict[str, Any], error: Exception) -> UserError:
    """An error that names the sample it happened at; lack of memory or of a module is not the sample's."""
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
        raise UserError(f"{printable(file)}: no such list file (DATASET file_path){path_hint(file)}")
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
