"""Checks an AVA-style data set for the usual causes of an mAP of 0 or NaN; each finding with its file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from paddlevideo.ava_files import (
    BEYOND_S,
    AVARows,
    img_key,
    read_ava_csv,
    read_ava_labels,
    read_excluded,
    read_proposals,
)
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.findings import Report, plural, table
from paddlevideo.loader.datasets.ava import VideoPaths, select_persons
from paddlevideo.loader.datasets.lists import expanded
from paddlevideo.loader.decode.index import place_of
from paddlevideo.metrics.ava import proposal_recall
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.preparation.probing import Depth, Probe, VideoSource, identities, probe
from paddlevideo.preparation.video_indexes import VideoIndexes

# kind of finding -> what it means; the order of the report
ERRORS = {
    "file": "a file cannot be used at all",
    "line": "the line cannot be read",
    "label": "the action id is none of the model's",
    "box": "not a box in fractions of the picture",
    "time": "the second is not in timestamp_start .. timestamp_end",
    "video": "the video, or its folder of frames, is missing or unreadable",
    "short": "the video ends before that second",
    "keys": "person boxes of other key frames than the annotated ones",
    "recall": "the person boxes miss the people",
    "excluded": "no key frame is left to train on",
    "leak": "the same key frames in two sets, or a video under two names",
}
NOTES = {
    "outside": "boxes reach a little outside the picture and are clipped",
    "unnamed": "action ids that the label file does not name: trained on, not evaluated",
    "missing_keys": "key frames without person boxes: evaluated on one box, the whole picture",
    "loose": "few person boxes are within IoU 0.9 of the people; in training only those count (the annotated boxes do)",
    "duplicate": "the same video under two names in one set",
    "shared": "the same video in two sets, at other seconds: its people occur in training",
    "no_samples": "classes without a sample",
    "unseen": "classes that are evaluated and never trained on: their AP is chance at best",
    "imbalance": "the largest class is many times the smallest; see sample_by_class and custom_classes",
}
_IMBALANCE = 20.0
LEAST_RECALL, LEAST_CLOSE = 0.5, 0.3  # of people at IoU 0.5 and 0.9


@dataclass(frozen=True)
class AvaSource:
    """One split, with the arguments of ``AVADataset`` of the same names."""

    split: str
    file_path: str
    data_prefix: str | None = None
    exclude_file: str | None = None
    proposal_file: str | None = None
    label_file: str | None = None
    person_det_score_thr: float = 0.9
    num_max_proposals: int = 1000
    timestamp_start: float = 900
    timestamp_end: float | None = 1800
    fps: float = 30
    suffix: str = "{:05}.jpg"
    videos: bool = False
    video_suffix: str = ""
    custom_classes: tuple[int, ...] | None = None
    index: str = "auto"
    num_classes: int | None = None


@dataclass
class SplitFacts:
    """What one csv holds; recall is of annotated people by person boxes, None where there is no proposals file."""

    lines: int = 0
    videos: int = 0
    key_frames: int = 0
    people: int = 0
    by_label: dict[int, int] = field(default_factory=dict)
    recall_50: float | None = None
    recall_90: float | None = None


@dataclass
class AvaCheck(Report):
    """All that was found in key frames, boxes and actions."""

    errors, notes, most = ERRORS, NOTES, 50

    facts: dict[str, SplitFacts] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # of the actions
    indexes: VideoIndexes = field(default_factory=VideoIndexes)

    def lines(self, max_shown: int = 10) -> list[str]:
        """A row per set, a row per class, the findings of each kind, a verdict."""
        header = ["set", "lines", "videos", "key frames", "people", "classes", "recall@0.5", "recall@0.9"]
        rows = [
            [split, *map(str, (f.lines, f.videos, f.key_frames, f.people, len(f.by_label)))]
            + ["-" if share is None else f"{100 * share:.1f} %" for share in (f.recall_50, f.recall_90)]
            for split, f in self.facts.items()
        ]
        lines = table([header, *rows])
        labels = sorted({label for f in self.facts.values() for label in f.by_label} | set(self.names))
        if labels:
            counts = {label: [str(f.by_label.get(label, 0)) for f in self.facts.values()] for label in labels}
            rows = [[str(label), self.names.get(label, "-"), *counts[label]] for label in labels]
            lines += ["", *table([["id", "class", *self.facts], *rows])]
        verdict = "nothing is wrong" if self.is_sound else plural(self.num_errors, "error")
        return [*lines, *self.kind_lines(max_shown), "", verdict]

    def as_json(self) -> dict[str, Any]:
        """Everything: ``sound``, ``sets``, ``findings``."""
        sets = {split: vars(facts) for split, facts in self.facts.items()}
        return self.stored(sets, {str(label): name for label, name in self.names.items()}, {})


def check_ava(sources: Sequence[AvaSource], jobs: int = 1, depth: Depth = "open", quiet: bool = True) -> AvaCheck:
    """Reads every file once and opens every video.

    Args:
        jobs: processes that open videos.
        depth: how much of each video is decoded: nothing (``open``), three frames, or everything.
        quiet: no progress bar.
    """
    check, videos_of, seen_of = AvaCheck(), {}, []
    for source in sources:
        try:
            rows = read_ava_csv(source.file_path)
        except UserError as error:
            _note_error(check, source, source.file_path, error)
            continue
        names = _names(check, source)
        check.names |= names
        _check_labels(check, source, rows, names)
        good = _check_boxes(check, source, rows)
        _check_times(check, source, rows)
        seen_of += _check_videos(check, source, rows, jobs, depth, quiet)
        facts = check.facts[source.split] = _facts(rows)
        _check_persons(check, source, rows, good, facts)
        _check_excluded(check, source, rows)
        _check_counts(check, source, facts, names)
        videos_of[source.split] = (source, rows)
    _compare(check, videos_of)
    _compare_content(check, seen_of, jobs, quiet)
    check.sort()
    return check


def _note_error(check: AvaCheck, source: AvaSource, file: str, error: UserError) -> None:
    """An error of reading becomes findings, with the lines that it names."""
    if not isinstance(error, ConfigError):
        check.add("file", source.split, file, 0, str(error).removeprefix(f"{file}: "))
        return
    for problem in error.problems:
        place, _, text = problem.removeprefix(f"{file}:").partition(": ")
        line = int(place) if place.isdecimal() else 0
        check.add("line", source.split, file, line, text if line else problem)


def _names(check: AvaCheck, source: AvaSource) -> dict[int, str]:
    if not source.label_file:
        return {}
    try:
        return read_ava_labels(source.label_file)
    except UserError as error:
        _note_error(check, source, source.label_file, error)
        return {}


def _check_labels(check: AvaCheck, source: AvaSource, rows: AVARows, names: Mapping[int, str]) -> None:
    if source.custom_classes is not None:
        most = max(source.custom_classes)
        for label in sorted(set(source.custom_classes) - set(rows.label.tolist())):
            check.add("no_samples", source.split, source.file_path, 0, f"custom class {label} is in no line")
    else:
        most = source.num_classes - 1 if source.num_classes else max(names, default=0) or None
    for i in np.flatnonzero(rows.label == 0):
        text = "action id 0: ids count from 1, as 0 is reserved; were they counted from 0? Then add 1 to all of them"
        check.add("label", source.split, source.file_path, int(rows.line[i]), text)
    if most is not None and source.custom_classes is None:
        for i in np.flatnonzero(rows.label > most):
            text = f"action id {rows.label[i]}, the model has 1..{most} (num_classes: {most + 1}, 0 is reserved)"
            check.add("label", source.split, source.file_path, int(rows.line[i]), text)
    unnamed = np.flatnonzero((rows.label > 0) & ~np.isin(rows.label, list(names)))
    if names and len(unnamed):
        ids = ", ".join(map(str, sorted(set(rows.label[unnamed].tolist()))[:20]))
        text = f"ids {ids} in {len(unnamed)} lines, none in {source.label_file}"
        check.add("unnamed", source.split, source.file_path, int(rows.line[unnamed[0]]), text)


def _check_boxes(check: AvaCheck, source: AvaSource, rows: AVARows) -> np.ndarray:
    """Which rows have a box with area in fractions of the picture, bool [M]."""
    far = (np.abs(rows.boxes - 0.5) > 1.0).any(axis=1)
    flat = ~far & ((rows.boxes[:, 0] >= rows.boxes[:, 2]) | (rows.boxes[:, 1] >= rows.boxes[:, 3]))
    for wrong, why in (
        (far, "it is not in fractions of the picture (0..1); in pixels? Divide x by the width, y by the height"),
        (flat, "it has no area; expected x1 < x2 and y1 < y2 (corners, not x, y, width, height)"),
    ):
        for i in np.flatnonzero(wrong):
            box = ", ".join(f"{x:g}" for x in rows.boxes[i])
            check.add("box", source.split, source.file_path, int(rows.line[i]), f"box {box}: {why}")
    outside = np.flatnonzero(~far & ((rows.boxes < 0) | (rows.boxes > 1)).any(axis=1))
    if len(outside):
        text = f"{len(outside)} boxes, the first here"
        check.add("outside", source.split, source.file_path, int(rows.line[outside[0]]), text)
    return ~far & ~flat


def _check_times(check: AvaCheck, source: AvaSource, rows: AVARows) -> None:
    start, end = source.timestamp_start, np.inf if source.timestamp_end is None else source.timestamp_end
    wrong = np.flatnonzero((rows.timestamp < start) | (rows.timestamp > end))
    if not len(wrong):
        return
    low, high = rows.timestamp.min(), rows.timestamp.max()
    hint = f"the file has {low:g} .. {high:g}"
    if len(wrong) == len(rows):
        hint += "; for whole videos: timestamp_start: 0, timestamp_end: null"
    for i in wrong:
        text = f"second {rows.timestamp[i]:g} is not in {start:g} .. {end:g}; {hint}"
        check.add("time", source.split, source.file_path, int(rows.line[i]), text)


@dataclass(frozen=True)
class _Seen:
    """A readable video of a set, and its first line there."""

    of: AvaSource
    name: str
    line: int
    source: VideoSource
    probe: Probe


def _check_videos(
    check: AvaCheck, source: AvaSource, rows: AVARows, jobs: int, depth: Depth, quiet: bool
) -> Iterator[_Seen]:
    """Opens the videos of a set; gives those that can be read."""
    places = VideoPaths(source.data_prefix, source.videos, source.video_suffix)
    wanted, lines = [], [int(rows.line[np.argmax(rows.video == k)]) for k in range(len(rows.videos))]
    for number, name in enumerate(rows.videos):
        try:
            path = places.of(name)
        except UserError as error:
            check.add("video", source.split, source.file_path, lines[number], str(error))
            continue
        wanted.append((number, VideoSource(path, None if places.kind == "filename" else source.suffix)))
    place = place_of(expanded(source.file_path), expanded(source.data_prefix), source.index)
    task = partial(probe, depth=depth, backend="pyav")
    for index, seen in run_tasks(task, [item for _, item in wanted], jobs, source.split, quiet):
        number, item = wanted[index]
        if isinstance(seen, Crashed):
            seen = Probe("crashed", seen.detail)
        if seen.reason is not None:
            text = f"{item.path}: {seen.detail or seen.reason}"
            check.add("video", source.split, source.file_path, lines[number], text)
            continue
        check.indexes.add(place, item.path, seen.entry)
        yield _Seen(source, rows.videos[number], lines[number], item, seen)
        last_s = source.timestamp_start + max(seen.num_frames - 1, 0) / (seen.fps or source.fps)
        mine = np.flatnonzero((rows.video == number) & (rows.timestamp > last_s + BEYOND_S))
        for i in mine[:3]:
            more = f" ({len(mine)} lines of it so)" if len(mine) > 1 else ""
            text = f"second {rows.timestamp[i]:g}, {item.path} shows {source.timestamp_start:g} .. {last_s:.1f}{more}"
            check.add("short", source.split, source.file_path, int(rows.line[i]), text)


def _facts(rows: AVARows) -> SplitFacts:
    keys, frame = rows.keys()
    people = np.unique(np.column_stack([frame, rows.boxes]), axis=0)
    labels = Counter(rows.label[rows.label > 0].tolist())
    return SplitFacts(len(rows), len(rows.videos), len(keys), len(people), dict(sorted(labels.items())))


def _check_persons(check: AvaCheck, source: AvaSource, rows: AVARows, good: np.ndarray, facts: SplitFacts) -> None:
    if not source.proposal_file or not len(rows):
        return
    file = source.proposal_file
    try:
        found = read_proposals(file)
        persons = select_persons(file, found, source.person_det_score_thr, source.num_max_proposals)
    except UserError as error:
        _note_error(check, source, file, error)
        return
    keys, frame = rows.keys()
    missing = [k for k, key in enumerate(keys) if key not in persons]
    if len(missing) == len(keys):
        has = f"it has {next(iter(found))!r} and the like" if found else "it is empty"
        text = f"none of the {len(keys)} key frames of {source.file_path}, {keys[0]!r} for one; {has}"
        check.add("keys", source.split, file, 0, text)
        return
    if missing:
        line = int(rows.line[np.argmax(frame == missing[0])])
        text = f"{len(missing)} of {len(keys)} key frames, the first {keys[missing[0]]!r}, are not in {file}"
        check.add("missing_keys", source.split, source.file_path, line, text)
    best = proposal_recall(persons, [keys[k] for k in frame[good]], rows.boxes[good]).iou
    if not len(best):
        return
    facts.recall_50, facts.recall_90 = float((best >= 0.5).mean()), float((best >= 0.9).mean())
    if facts.recall_50 < LEAST_RECALL:
        i = int(np.flatnonzero(good)[np.argmin(best)])
        text = (
            f"{100 * facts.recall_50:.1f} % of the annotated people have a box with IoU 0.5 in {file}; the first "
            f"missed stands here. Another order of x and y, other pictures, or person_det_score_thr "
            f"{source.person_det_score_thr:g} too high?"
        )
        check.add("recall", source.split, source.file_path, int(rows.line[i]), text)
    elif facts.recall_90 < LEAST_CLOSE and source.split == "train":
        check.add("loose", source.split, file, 0, f"{100 * facts.recall_90:.1f} % of the annotated people")


def _check_excluded(check: AvaCheck, source: AvaSource, rows: AVARows) -> None:
    if not source.exclude_file or source.split != "train":
        return
    try:
        excluded = {img_key(*pair) for pair in read_excluded(source.exclude_file)}
    except UserError as error:
        _note_error(check, source, source.exclude_file, error)
        return
    keys, _ = rows.keys()
    if keys and excluded.issuperset(keys):
        check.add("excluded", source.split, source.exclude_file, 0, f"it names all {len(keys)} key frames")


def _check_counts(check: AvaCheck, source: AvaSource, facts: SplitFacts, names: Mapping[int, str]) -> None:
    wanted = source.custom_classes or tuple(names)
    empty = [_called(label, names) for label in wanted if label not in facts.by_label]
    if empty and source.split == "train":
        shown = ", ".join(empty[:20]) + (" ..." if len(empty) > 20 else "")
        check.add("no_samples", source.split, source.file_path, 0, f"{plural(len(empty), 'class', 'classes')}: {shown}")
    counts = {label: n for label, n in facts.by_label.items() if not wanted or label in wanted}
    if counts and source.split == "train" and max(counts.values()) > _IMBALANCE * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        text = f"{_called(most, names)} {counts[most]} times, {_called(least, names)} {counts[least]} times"
        check.add("imbalance", source.split, source.file_path, 0, text)


def _called(label: int, names: Mapping[int, str]) -> str:
    return f"{label} {names[label]}" if label in names else str(label)


def _compare(check: AvaCheck, splits: Mapping[str, tuple[AvaSource, AVARows]]) -> None:
    """Training against what is evaluated: videos in both, and classes in one."""
    if "train" not in splits:
        return
    source, rows = splits["train"]
    for split, (other, held_out) in splits.items():
        if split == "train" or other.file_path == source.file_path:
            continue
        for name in sorted(set(rows.videos) & set(held_out.videos)):
            line = int(held_out.line[np.argmax(held_out.video == held_out.videos.index(name))])
            same = set(_seconds(rows, name)) & set(_seconds(held_out, name))
            text = f"{name} is also in {source.file_path}" + (f", {len(same)} key frames of it" if same else "")
            check.add("leak" if same else "shared", split, other.file_path, line, text)
        unseen = sorted(set(check.facts[split].by_label) - set(check.facts["train"].by_label))
        if other.custom_classes is not None:
            unseen = [label for label in unseen if label in other.custom_classes]
        if unseen:
            named = ", ".join(_called(label, check.names) for label in unseen[:20])
            check.add("unseen", split, other.file_path, 0, named)


def _compare_content(check: AvaCheck, seen: Sequence[_Seen], jobs: int, quiet: bool) -> None:
    """One content under two names, which ``_compare`` cannot see; a set that is only evaluated may have what another
    has."""
    identity = identities({video.source: video.probe for video in seen}, jobs, quiet)
    first: dict[tuple[str, str], _Seen] = {}  # by content and set
    for video in seen:
        content = identity[video.source]
        earlier = first.setdefault((content, video.of.split), video)
        if earlier.name != video.name:
            text = f"{video.name} has the content of {earlier.name}"
            check.add("duplicate", video.of.split, video.of.file_path, video.line, text)
        training = first.get((content, "train"))
        if training is not None and video.of.split != "train" and earlier is video and training.name != video.name:
            text = f"{video.name} has the content of {training.name} in {training.of.file_path}"
            check.add("leak", video.of.split, video.of.file_path, video.line, text)


def _seconds(rows: AVARows, name: str) -> Iterable[float]:
    return rows.timestamp[rows.video == rows.videos.index(name)].tolist()
