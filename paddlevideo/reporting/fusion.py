"""Results joined with the labels of a list, with other names, and with other networks' results."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paddlevideo.classes import Classes, order_in
from paddlevideo.errors import UserError
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.list_lines import Fields
from paddlevideo.loader.datasets.lists import ClassCount, Labels, Row, read_list
from paddlevideo.metrics import topk
from paddlevideo.reporting.results import Results, check_labels
from paddlevideo.video_files import is_video

log = logging.getLogger("paddlevideo")

_SHOWN = 10  # paths named in a message
_SUM_OF_PROBABILITIES = 1e-3  # by which it may differ from 1


def by_name(results: Results, names: Sequence[str], of_names: str) -> Results:
    """The same results with the classes in the order of ``names``; results without names as they are.

    Raises:
        UserError: they are of other classes.
    """
    if results.names is None:
        return results
    check_labels(results)
    order = order_in(Classes(tuple(names)), Classes(tuple(results.names)), of_names, results.source)
    if order is None:
        return results
    log.warning("%s: the classes are in another order than in %s; mapped by name", results.source, of_names)
    scores, labels = np.empty_like(results.scores), results.labels
    scores[:, order] = results.scores
    if results.multi_hot:
        labels = np.empty_like(results.labels)
        labels[:, order] = results.labels
    elif labels is not None:
        labels = np.array(order)[labels]
    return replace(results, scores=scores, labels=labels, names=list(names))


def annotate(results: Results, list_file: str, names: Sequence[str] | None = None) -> Results:
    """The results with the labels of a list, and its paths if they lack.

    A line is ``path label``, or of a folder of frames ``path num_frames label``; lines of several labels make them
    multi-hot.  Results with paths are joined by path, others by order.

    Args:
        names: of the classes; they may stand for numbers in the list.

    Raises:
        UserError: the results have labels, or the list does not hold these clips.
    """
    if results.labels is not None:
        raise UserError(f"--annotations {list_file}: {results.source} has labels of its own")
    rows = _rows_of_list(results.paths, list_file, names or ())
    several = any(len(row.labels) != 1 for row in rows)
    classes = results.scores.shape[1]
    reader = Labels(ClassCount(classes, "the number of scores"), names, several, "--labels FILE")
    problems = Findings(list_file)
    found = [reader.of(row, problems) for row in rows]
    problems.raise_if_any()
    column = reader.column(found)
    labels = np.stack([column[i] for i in range(len(rows))]) if several else np.array(found, dtype="int64")
    paths = [row.fields["path"] for row in rows]
    if not results.paths:
        if len(paths) != len(results.scores):
            raise UserError(f"{list_file}: {len(paths)} clips, {results.source} has {len(results.scores)}")
        return replace(results, paths=paths, labels=labels)
    listed = Results(paths, None, np.zeros((len(paths), results.scores.shape[1])), list_file)
    here, there = _places(results), _places(listed)
    _same_clips(results, listed, here, there)
    return replace(results, labels=labels[[there[key] for key in here]])


def _rows_of_list(paths: Sequence[str], list_file: str, names: Sequence[str]) -> list[Row]:
    """The lines as those of videos or, where their paths are none, of folders of frames.

    Without paths, several labels are read of lines whose paths end as videos do, and of others one.
    """
    known = set(paths)
    exists = known.__contains__ if known else is_video
    of_videos = Fields(("path", "label"), frozenset(names), several=True)
    of_frames = Fields(("path", "num_frames", "label"), frozenset(names), several=True)
    folders = bool(known) and not any(is_video(path) for path in known)
    for fields in (of_frames, of_videos) if folders else (of_videos, of_frames):
        problems = Findings(list_file)
        rows, _ = read_list(list_file, fields, problems, exists)
        if not len(problems) and all(exists(row.fields["path"]) for row in rows):
            return rows
    if not known:
        return read_list(list_file, replace(of_videos, several=False), None, None)[0]
    return read_list(list_file, of_frames if folders else of_videos, None, exists)[0]


def fuse(files: Sequence[Results], weights: Sequence[float], softmax: bool = False) -> Results:
    """Late fusion: the weighted mean of the files' scores, clip by clip, in the first file's order.

    Clips are joined by path (a path that is listed n times, by path and place).  A clip that one network could not
    read counts as unreadable.

    Args:
        weights: one per file, from 0; those of a sum of 0 are refused.
        softmax: turn each file's scores into probabilities first, for files of logits.

    Raises:
        UserError: the files hold other clips, labels or numbers of classes; a softmax of probabilities.
    """
    if len(weights) != len(files):
        raise UserError(f"--weights: expected {len(files)}, one per results file, got {len(weights)}")
    if not (all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0):
        raise UserError(f"--weights: expected numbers from 0, one of them above it, got {' '.join(map(str, weights))}")
    named = next((results for results in files if results.names), None)
    if named is not None:
        if unknown := [results.source for results in files if not results.names]:
            log.info("%s: without class names; its classes count as those of %s", unknown[0], named.source)
        files = [by_name(results, named.names, named.source) for results in files]
    first = files[0]
    order = _places(first)
    total = np.zeros_like(first.scores)
    for results, weight in zip(files, weights):
        places = _places(results)
        _same_clips(first, results, order, places)
        rows = [places[key] for key in order]
        if results.labels is not None and first.labels is not None:
            _same_labels(first, results, rows)
        scores = results.scores[rows]
        if softmax and _are_probabilities(scores):
            raise UserError(f"{results.source}: its scores are probabilities already; leave out --softmax")
        if weight:  # 0 times a score that is infinite, or of a clip that could not be read, is no 0
            total = total + weight * (topk.softmax(scores) if softmax else scores)
    if first.labels is None and any(f.labels is not None for f in files):
        raise UserError(f"{first.source}: has no labels, other files do; name a file with labels first")
    return Results(
        first.paths,
        first.labels,
        total / sum(weights),
        " + ".join(f.source for f in files),
        named.names if named else None,
    )


def _are_probabilities(scores: np.ndarray) -> bool:
    """Whether each row [N, K] is of one sum of 1; a row of NaN is of a clip that could not be read."""
    rows = scores[~np.isnan(scores).any(1)]
    return len(rows) > 0 and (rows >= 0).all() and np.abs(rows.sum(1) - 1).max() < _SUM_OF_PROBABILITIES


def _places(results: Results) -> dict[Any, int]:
    """(path, how often it came before) -> row; without paths the rows themselves."""
    if not results.paths:
        return {i: i for i in range(len(results.scores))}
    seen: Counter[str] = Counter()
    places = {}
    for i, path in enumerate(results.paths):
        places[path, seen[path]] = i
        seen[path] += 1
    return places


def _same_clips(first: Results, other: Results, order: dict[Any, int], places: dict[Any, int]) -> None:
    if bool(first.paths) != bool(other.paths):
        raise UserError(f"{other.source}: one of the files has no paths, so they cannot be joined")
    if first.scores.shape[1] != other.scores.shape[1]:
        raise UserError(f"{other.source}: {other.scores.shape[1]} classes, {first.source} has {first.scores.shape[1]}")
    for here, there, only in ((first, other, order.keys() - places.keys()), (other, first, places.keys() - order)):
        if only:
            named = [str(key[0]) if isinstance(key, tuple) else f"row {key}" for key in sorted(only)]
            raise UserError(
                f"{len(only)} clips of {here.source} are not in {there.source}: {', '.join(named[:_SHOWN])}"
                + (", ..." if len(named) > _SHOWN else "")
            )


def _same_labels(first: Results, other: Results, rows: list[int]) -> None:
    theirs = other.labels[rows]
    if theirs.shape != first.labels.shape:
        raise UserError(f"{other.source}: labels of another kind than {first.source}'s")
    differ = np.flatnonzero((theirs != first.labels).reshape(len(rows), -1).any(axis=1))
    if len(differ):
        i = int(differ[0])
        name = first.paths[i] if first.paths else f"row {i}"
        raise UserError(
            f"{other.source}: {len(differ)} labels differ from {first.source}'s, first {name}: "
            f"{theirs[i].tolist()} and {first.labels[i].tolist()}"
        )
