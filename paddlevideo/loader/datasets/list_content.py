"""A whole list as columns: regular lines from a table, the others one by one, in the order of the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.errors import printable
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.list_lines import MULTI_LABEL
from paddlevideo.loader.datasets.list_table import ListTable, read_table
from paddlevideo.loader.datasets.lists import Labels, Row, locate, read_list, rows_of
from paddlevideo.loader.datasets.records import MultiHot, Numbers, Texts

_SHOWN = 5  # lines


@dataclass
class ListContent:
    """The content of a list.

    Args:
        lines: the line of every sample.
        paths: on disk.
        labels: a class index, or a multi-hot float32 [K], per line.
        num_frames: of lists that state it.
        remarks: its format, and lines that come twice.
    """

    lines: Numbers
    paths: Texts
    labels: Numbers | MultiHot
    num_frames: Numbers | None
    remarks: list[str]


def read_content(
    file: str,
    columns: tuple[str, ...],
    labels: Labels,
    data_prefix: str | None,
    allow_outside_root: bool,
    suffix: str = "",
    check: Callable[[Row, Findings], None] = lambda row, problems: None,
) -> ListContent:
    """A whole list, every mistake of it reported at once.

    Args:
        columns: the fields of a line, in order, the path first.
        suffix: appended to every path.
        check: notes mistakes of the other columns.

    Raises:
        UserError: the list is missing or empty.
        ConfigError: bad lines; one clip with two labels.
    """

    def exists(name: str) -> bool:
        path = os.path.join(data_prefix, name) if data_prefix else os.path.expanduser(name)
        return os.path.exists(path + suffix)

    problems, fields = Findings(file), labels.fields(columns)
    table = read_table(file, fields, labels.count, bool(data_prefix))
    if table is None:
        rows, title = read_list(file, fields, problems, exists)
    else:
        rows, title = list(rows_of(table.form, table.others, problems, exists)), table.form.title
    paths, classes = [], []
    for row in rows:
        paths.append(locate(row, data_prefix, allow_outside_root, problems) + suffix)
        check(row, problems)
        classes.append(labels.of(row, problems))
    both = _Joined(table, rows, exists)
    found = both.paths(paths, os.path.join(data_prefix, "") if data_prefix else "", suffix)
    doubles, others = _doubles(found, both.labels(labels, classes), both.row, problems)
    problems.raise_if_any()
    remarks = [f"{printable(file)} is read as {title}: {len(found)} lines"]
    for lines, what in ((doubles, "the same label"), (others, "other labels")):
        if lines:
            shown = ", ".join(map(str, lines[:_SHOWN])) + (", ..." if len(lines) > _SHOWN else "")
            many = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
            what = f"{many} of a clip that comes twice, with {what}; each line counts (line {shown})"
            remarks.append(f"{printable(file)}: {what}")
    num_frames = both.num_frames() if "num_frames" in columns else None
    return ListContent(both.lines(), found, both.labels(labels, classes), num_frames, remarks)


class _Joined:
    """Regular lines and others in the order of the file.

    Args:
        table: the regular ones; None: there are none.
        rows: the others.
        exists: as in ``list_lines.choose``.
    """

    def __init__(self, table: ListTable | None, rows: Sequence[Row], exists: Callable[[str], bool]):
        self._table, self._rows, self._exists = table, rows, exists
        own = np.array([row.line for row in rows], np.int32)
        self._lines = own if table is None else np.concatenate([table.line, own]) if rows else table.line
        self._order = np.argsort(self._lines, kind="stable") if table is not None and rows else None

    def row(self, i: int) -> Row:
        """The row of sample i."""
        place = i if self._order is None else int(self._order[i])
        table = self._table
        if table is None:
            return self._rows[place]
        if place >= len(table.line):
            return self._rows[place - len(table.line)]
        text = table.text_at(int(table.begin[place]))
        return next(rows_of(table.form, [(int(table.line[place]), text)], Findings(""), self._exists))

    def lines(self) -> Numbers:
        return Numbers(self._sorted(self._lines))

    def paths(self, own: Sequence[str], head: str, tail: str) -> Texts:
        """The column of paths.

        Args:
            own: of the rows.
            head, tail: around every path of the table.
        """
        if self._table is None:
            return Texts.of(own)
        table = self._table
        others = Texts.of(own, len(table.data))
        begin, length = self._joined(table.begin, others.begin), self._joined(table.length, others.length)
        return Texts(table.data, begin, length, head, tail, others.own)

    def labels(self, labels: Labels, own: Sequence[int | tuple[int, ...]]) -> Numbers | MultiHot:
        """The column of labels, ``own`` of the rows."""
        if self._table is None:
            return labels.column(own)
        if not labels.several:
            return Numbers(self._joined(self._table.label, Numbers(own).array))
        both = [*((label,) for label in self._table.label.tolist()), *own]
        return labels.column(both if self._order is None else [both[i] for i in self._order])

    def num_frames(self) -> Numbers:
        own = Numbers([int(row.fields["num_frames"]) for row in self._rows]).array
        return Numbers(own if self._table is None else self._joined(self._table.num_frames, own))

    def _joined(self, regular: np.ndarray, own: np.ndarray) -> np.ndarray:
        return self._sorted(np.concatenate([regular, own])) if self._rows else regular

    def _sorted(self, values: np.ndarray) -> np.ndarray:
        return values if self._order is None else values[self._order]


def _doubles(
    paths: Texts, labels: Numbers | MultiHot, row_of: Callable[[int], Row], problems: Findings
) -> tuple[list[int], list[int]]:
    """Lines of a clip that an earlier line holds as well: with the same labels, and with others, which is a mistake
    where a clip has one."""
    several = isinstance(labels, MultiHot)
    label_of = labels.of if several else labels.__getitem__
    first: dict[str, int] = {}
    doubles, others = [], []
    for i in repeated(paths.keys()).tolist():
        k = first.setdefault(os.path.normpath(paths[i]), i)
        if k == i:
            continue
        if label_of(k) == label_of(i):
            doubles.append(row_of(i).line)
            continue
        here, there = (printable(row_of(n).fields["label"]) or "none" for n in (i, k))
        what = f"{printable(paths[i])} has the label {here} here and {there} in line {row_of(k).line}"
        if several:
            others.append(row_of(i).line)
        else:
            problems.add(row_of(i).line, f"{what}; take one of them out{MULTI_LABEL}")
    return doubles, others


def repeated(keys: np.ndarray) -> np.ndarray:
    """The places of values that come more than once, ascending."""
    found = np.sort(keys)
    twice = found[1:][found[1:] == found[:-1]]
    return np.flatnonzero(np.isin(keys, twice)) if len(twice) else np.zeros(0, np.int64)
