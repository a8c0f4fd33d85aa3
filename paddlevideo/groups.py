"""Groups of clips that belong together (cut from one video, of one camera or person), and splits that keep them whole.

A network recognises the place and the people of a video that it was trained on.  Clips of one source on both sides of a
split therefore make every figure too good.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.safe_io import reading


def read_groups(file: Path, videos: Sequence[str]) -> list[str]:
    """The group of every video, by a list of ``path group`` lines (white space or a comma between them).

    Args:
        videos: paths.  A line is of a video where its path is that, or its end from a folder's name on, or its file
            name.

    Raises:
        UserError: no such file, no text.
        ConfigError: bad lines; videos without a line, or with lines of several groups.
    """
    problems = Findings(str(file))
    found: dict[str, set[str]] = {}
    with reading(file, "a list of groups"):
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        fields = [part for part in re.split(r"[\s,]+", line.strip()) if part]
        if len(fields) >= 2:
            path = line.strip()[: -len(fields[-1])].rstrip(" \t,").strip('"')
            found.setdefault(os.path.normpath(path), set()).add(fields[-1])
        elif fields:
            problems.add(number, f"expected 'path group', got {printable(line.strip())}")
    groups = []
    for video in videos:
        own = found.get(_key_of(video, found), set())
        if len(own) != 1:
            what = "has no line" if not own else f"has the groups {', '.join(sorted(own))}"
            problems.add(0, f"{printable(video)} {what}; expected one line 'path group'")
        groups.append(next(iter(own), ""))
    problems.raise_if_any()
    return groups


def _key_of(video: str, found: dict[str, set[str]]) -> str:
    """The longest end of a path, from a folder's name on, that the list has."""
    parts = Path(os.path.normpath(video)).parts
    ends = (os.path.join(*parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if end in found), video)


def groups_by_pattern(pattern: str, videos: Sequence[str]) -> list[str]:
    """The group of every video: what the first parenthesis of a regular expression finds in its path.

    Args:
        pattern: for UCF101's ``v_Archery_g07_c02.avi`` e.g. ``_(g\\d+)_``.

    Raises:
        UserError: no expression, without a parenthesis, or one that finds nothing in a path.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group_by {pattern!r}: no regular expression ({error})") from None
    if expression.groups != 1:
        raise UserError(f"--group_by {pattern!r}: expected one part in parentheses, the group: e.g. '_(g[0-9]+)_'")
    groups = []
    for video in videos:
        match = expression.search(video)
        if match is None or match.group(1) is None:
            raise UserError(f"--group_by {pattern!r}: finds no group in {printable(video)}")
        groups.append(match.group(1))
    return groups


def folds_of(groups: Sequence[str], labels: np.ndarray, num_folds: int) -> np.ndarray:
    """int64 [N]: the fold of every clip, 0 to ``num_folds`` - 1: groups stay whole, classes are spread evenly.

    Groups are placed largest first (equal ones by name), each where it makes the class counts most even, so that equal
    input gives equal folds.

    Args:
        groups: of N clips.
        labels: int [N], or multi-hot [N, K].

    Raises:
        UserError: fewer groups than folds.
    """
    names = sorted(set(groups))
    if not 2 <= num_folds <= len(names):
        raise UserError(
            f"{num_folds} folds of {len(names)} groups: expected 2 folds at least, and at most one per group; clips of "
            "one source stay together"
        )
    hot = np.asarray(labels, np.float64) if np.ndim(labels) == 2 else np.eye(int(np.max(labels)) + 1)[labels]
    hot = np.concatenate([hot, np.ones((len(hot), 1))], 1)  # clips count, too
    places = {name: number for number, name in enumerate(names)}
    member = np.array([places[group] for group in groups])
    counts = np.zeros((len(names), hot.shape[1]))
    np.add.at(counts, member, hot)
    totals, sums, fold = np.maximum(counts.sum(0), 1), np.zeros((num_folds, hot.shape[1])), np.zeros(len(names), int)
    for group in sorted(range(len(names)), key=lambda number: (-counts[number, -1], names[number])):
        after = (((sums + counts[group]) / totals) ** 2).sum(1) - ((sums / totals) ** 2).sum(1)
        fold[group] = int(np.argmin(after))
        sums[fold[group]] += counts[group]
    return fold[member]
