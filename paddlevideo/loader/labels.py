"""Class names: a text file, one name per line in class-id order, or ``id name`` / ``id: name`` lines in any order."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from paddlevideo.errors import CONTROL, UserError, printable
from paddlevideo.safe_io import reading
from paddlevideo.shipped import shipped

log = logging.getLogger("paddlevideo")
_NUMBERED = re.compile(r"^(\d+)\s*[:\s,]\s*(\S.*)$")


def read_labels(path: str | Path, num_classes: int | None = None) -> list[str]:
    """The class names of a file, indexed by class id.

    A file counts as numbered if every line begins with a number and the numbers are 0 .. K-1, each once.  Other lists
    that begin with ascending numbers are names as they stand (``1 finger``, ``2 fingers``); in no order they are
    refused.

    Args:
        path: the text file; UTF-8, with or without BOM, any line ending; blank lines are skipped.  Without such a
            file, the one of this path that comes with the package (``data/k400/labels.txt``).
        num_classes: K that the model has; None: not checked.

    Raises:
        UserError: no such file, not text, numbered in no order, or not K names.
    """
    path = shipped(path)
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    with reading(path, "a list of class names"):
        names = _numbered(path, lines) or lines
    refuse_control_characters(path, names)
    if twice := doubled(names):
        _warn_once(f"{path}: {twice}; results that are named by class show both alike")
    if num_classes is not None and len(names) != num_classes:
        raise UserError(
            f"{path}: {len(names)} class names, but the model has {num_classes} classes; "
            "expected one name per line in class-id order"
        )
    return names


def refuse_control_characters(path: str | Path, names: Iterable[str]) -> None:
    """Class names are printed, drawn and stored in many files.

    Raises:
        UserError: a name holds a control character.
    """
    bad = next((name for name in names if CONTROL.search(name)), None)
    if bad is not None:
        raise UserError(f"{path}: the class name {ascii(bad)} holds a control character; rename the class")


def refuse_doubled(path: str | Path, names: Sequence[str]) -> None:
    """A list by whose names data or columns are found.

    Raises:
        UserError: two classes have one name.
    """
    if twice := doubled(names):
        raise UserError(f"{path}: {twice}; expected each name once")


def doubled(names: Sequence[str], name: str | None = None) -> str:
    """Which classes have one name, as a text; "" where each has its own.

    Args:
        name: the one that counts; None: any.
    """
    first: dict[str, int] = {}
    for k, own in enumerate(names):
        if first.setdefault(own, k) != k and name in (None, own):
            return f"{printable(repr(own))} is the name of two classes, {first[own]} and {k}"
    return ""


@functools.cache
def _warn_once(line: str) -> None:
    log.warning("%s", line)


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such label-name file; expected a text file with one class name per line")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _numbered(path: Path, lines: list[str]) -> list[str] | None:
    """Names by their numbers, or None if the lines are plain names."""
    matches = [_NUMBERED.match(line) for line in lines]
    if not lines or not all(matches):
        return None
    ids = [int(match.group(1)) for match in matches]
    if sorted(ids) == list(range(len(ids))):
        return [match.group(2) for _, match in sorted(zip(ids, matches))]
    if ids != sorted(set(ids)):  # names out of class-id order: reading them as they stand would name classes wrongly
        raise UserError(
            f"{path}: numbered, with {len(ids)} lines from {min(ids)} to {max(ids)} in no order; expected each of "
            f"0 to {len(ids) - 1} once, or names in class-id order without numbers"
        )
    return None
