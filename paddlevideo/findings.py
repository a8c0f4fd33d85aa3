"""The one collector of mistakes in a user's files: all at once, each with its place, twenty shown and the rest counted.

``Findings`` ends in an error.  ``Report`` is what a check prints and stores: kinds of findings, of which some are
errors and some are notes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from paddlevideo.errors import ConfigError, printable

MAX_SHOWN = 20


def cut(lines: Sequence[str], most: int = MAX_SHOWN, total: int | None = None) -> list[str]:
    """The first lines, and a count of the others.

    Args:
        total: how many there are, where ``lines`` does not hold all of them.
    """
    more = max(0, (len(lines) if total is None else total) - most)
    return [*lines[:most], *([f"... and {more} more"] if more else [])]


def plural(count: int, one: str, many: str = "") -> str:
    """``1 clip``, ``2 clips``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


class Findings:
    """Mistakes of one input.

    Args:
        source: the input, for the first line of the error.
    """

    def __init__(self, source: str):
        self.source = source
        self._found: dict[tuple[int, str], tuple[str, int]] = {}  # (line or 0, text) -> first place, how often
        self._uncounted = 0

    def __len__(self) -> int:
        return sum(count for _, count in self._found.values()) + self._uncounted

    def add(self, where: str | int, text: str) -> None:
        """Notes a mistake.

        Args:
            where: a line number of ``source``, 0 for all of it; or ``file:line``, ``file: element`` or a key path.  The
                same mistake at several of those is one line of the error.
            text: what is wrong, what was expected, and the way out.
        """
        line, place = 0, where
        if not isinstance(where, str):
            line, place = int(where), f"{self.source}:{where}" if where else self.source
        first, count = self._found.get((line, text), (place, 0))
        self._found[line, text] = (first, count + 1)

    def add_rows(self, rows: Iterable[int], line_of: Sequence[int], text_of: Callable[[int], str]) -> None:
        """Notes rows of a table in ascending order: the first twenty with a text, the others as a number."""
        rows = list(rows)
        for row in rows[:MAX_SHOWN]:
            self.add(line_of[row], text_of(row))
        self._uncounted += max(0, len(rows) - MAX_SHOWN)

    def raise_if_any(self, summary: str = "") -> None:
        """
        Args:
            summary: follows the source in the error's first line.

        Raises:
            ConfigError: everything noted, in order of lines.
        """
        if not self._found:
            return
        found = sorted(self._found.items(), key=lambda item: item[0][0])
        lines = [
            printable(f"{where}: {text}" + (f" ({count} times, this is the first)" if count > 1 else ""))
            for (_, text), (where, count) in found
        ]
        total = len(lines) + self._uncounted
        source = ": ".join(filter(None, (printable(self.source), summary)))
        raise ConfigError(source, cut(lines, total=total), total)


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        kind: one of the check's kinds.
        level: ``error``, or ``note`` for what is worth a look.
        split: the set it is in.
        line: of ``file``; 0: of no line.
        path: the video or folder that it is about; empty: none.
    """

    kind: str
    level: str
    split: str
    file: str
    line: int
    path: str
    detail: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return printable(": ".join(filter(None, (place, self.path, self.detail))))


@dataclass
class Report:
    """All that a check found.

    Attributes:
        errors, notes: kind of finding -> what it means, in the order of the report.
        most: findings of a kind in one set that are kept; all are counted.
    """

    errors: ClassVar[Mapping[str, str]] = {}
    notes: ClassVar[Mapping[str, str]] = {}
    most: ClassVar[float] = math.inf

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, split) -> findings, kept or not

    @property
    def num_errors(self) -> int:
        return sum(count for (kind, _), count in self.counts.items() if kind in self.errors)

    @property
    def is_sound(self) -> bool:
        return not self.num_errors

    @property
    def kinds(self) -> list[str]:
        """The kinds that were found, in the order of the report."""
        found = {kind for kind, _ in self.counts}
        return [kind for kind in (*self.errors, *self.notes) if kind in found]

    def add(self, kind: str, split: str, file: str, line: int, detail: str, path: str = "") -> None:
        """Notes a finding; ``line`` 0: of no line."""
        self.counts[kind, split] += 1
        if self.counts[kind, split] <= self.most:
            level = "error" if kind in self.errors else "note"
            self.findings.append(Finding(kind, level, split, file, line, path, detail))

    def sort(self, files: Sequence[str] | None = None) -> None:
        """By kind, file (in the order of ``files``, or by name) and line."""
        order = [*self.errors, *self.notes]
        place = files.index if files else str
        self.findings.sort(key=lambda f: (order.index(f.kind), place(f.file), f.line))

    def kind_lines(self, max_shown: int) -> list[str]:
        """The findings of each kind below its meaning, at most ``max_shown`` of them."""
        lines = []
        for kind in self.kinds:
            found = [finding for finding in self.findings if finding.kind == kind]
            total = sum(count for (k, _), count in self.counts.items() if k == kind)
            meaning = {**self.errors, **self.notes}[kind]
            lines += ["", f"{found[0].level}: {kind} ({total}): {meaning}"]
            lines += [f"  {line}" for line in cut([str(finding) for finding in found], max_shown, total)]
        return lines

    def stored(self, sets: Mapping[str, Any], classes: Any, names: Mapping[str, str]) -> dict[str, Any]:
        """A JSON object of everything: ``sound``, ``num_errors``, ``sets``, ``classes``, ``counts``, ``findings``.

        Args:
            sets: facts by set.
            names: attributes of ``Finding`` that are stored under another name.
        """
        counts: Counter[str] = Counter()
        for (kind, _), number in self.counts.items():
            counts[kind] += number
        about = {"sound": self.is_sound, "num_errors": self.num_errors, "sets": dict(sets), "classes": classes}
        findings = [{names.get(key, key): value for key, value in vars(finding).items()} for finding in self.findings]
        return {**about, "counts": dict(counts), "findings": findings}


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
