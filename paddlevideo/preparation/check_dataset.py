"""Checks a data set before training; every finding with its list file and line."""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings, Report, plural, table
from paddlevideo.loader.datasets.lists import (
    Labels,
    Row,
    check_inside,
    class_folders,
    expanded,
    locate,
    parse_label,
    read_list,
    scan_folder,
)
from paddlevideo.loader.decode.index import place_of
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.preparation.probing import Depth, Probe, VideoSource, identities, probe
from paddlevideo.preparation.video_indexes import VideoIndexes
from paddlevideo.spans import read_spans
from paddlevideo.video_files import left_out_files, left_out_text

# kind of finding -> what it means; the order of the report
ERRORS = {
    "list": "the list cannot be used at all",
    "line": "the line cannot be read",
    "path": "the path leads out of data_prefix",
    "label": "the label is no class id",
    "missing": "there is no such file or folder",
    "unreadable": "cut off, damaged, empty, or no video",
    "frames": "the folder has fewer frames than the list states",
    "short": "fewer frames than the model samples",
    "duplicate": "twice in one list",
    "conflict": "the same video under different labels",
    "leak": "the same video in two sets",
    "source": "clips of one recording in two sets",
}
WARNINGS = {
    "left_out": "files of a data folder that are no samples",
    "read_as": "read in another way than one might expect",
    "more_frames": "the folder has more frames than the list states, or a gap after them",
    "no_samples": "a class without a sample",
    "imbalance": "the largest class is many times the smallest",
    "no_source": "clips whose recording is unknown, which may be in two sets",
}
SAME = " = "  # between the names of sets that are one list
IMBALANCE = 10.0  # largest class / smallest class, above which a list is remarked on


@dataclass(frozen=True)
class ListSource:
    """A list to check.

    Args:
        split: the word for it in the report, e.g. ``train``.
        file: the list, or a folder with one sub-folder of videos per class.
        frame_name: of frame folders; None: a list of videos.
        ending: appended to videos' paths (``DATASET.*.suffix``).
        num_seg: frames that a sample needs.
        several: any number of labels per clip (``DATASET.*.multi_label``).
        spans: a file of spans of time.
        fps: of spans of frame folders.
        index: where the index of its videos goes (``DATASET.*.index``).
    """

    split: str
    file: str
    data_prefix: str | None = None
    frame_name: str | None = None
    ending: str = ""
    allow_outside_root: bool = False
    num_seg: int = 1
    several: bool = False
    spans: bool = False
    fps: float = 0.0
    index: str = "auto"

    def exists(self, name: str) -> bool:
        """Whether a path of the list is there."""
        path = os.path.join(self.data_prefix, name) if self.data_prefix else os.path.expanduser(name)
        return os.path.exists(path if self.frame_name else path + self.ending)


@dataclass(frozen=True)
class ListEntry:
    """One line of a list; ``num_frames`` as in the list; ``labels`` lacks those that are no class id; ``part_s``: start
    and end of a span."""

    split: str
    file: str
    line: int
    source: VideoSource
    labels: tuple[int, ...]
    num_seg: int
    num_frames: int | None = None
    part_s: tuple[float, float] | None = None
    fps: float = 0.0

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Check(Report):
    """All that was found in lists."""

    errors, notes = ERRORS, WARNINGS

    entries: list[ListEntry] = field(default_factory=list)
    probes: dict[VideoSource, Probe] = field(default_factory=dict)
    num_lines: dict[str, int] = field(default_factory=dict)  # by split
    names: Sequence[str] | None = None  # of the classes
    indexes: VideoIndexes = field(default_factory=VideoIndexes)

    def note(self, kind: str, entry: ListEntry, detail: str) -> None:
        """Notes a finding about a line."""
        self.add(kind, entry.split, entry.file, entry.line, detail, entry.source.path)

    def lines(self, max_shown: int = 10) -> list[str]:
        """A row per list, then the findings of each kind, at most ``max_shown`` of them, then a verdict."""
        header = ["set", "lines", "classes", "per class", "frames", "seconds", *self.kinds]
        rows = []
        for split in self.num_lines:
            facts = self.facts(split)
            spreads = map(_range, (facts["per_class"], facts["num_frames"], facts["seconds"]))
            counts = (str(self.counts[kind, split] or "-") for kind in self.kinds)
            rows.append([split, str(facts["num_lines"]), str(len(facts["samples_by_class"])), *spreads, *counts])
        verdict = f"{plural(self.num_errors, 'error')} in {plural(sum(self.num_lines.values()), 'line')}"
        lines = [*table([header, *rows]), *self.kind_lines(max_shown)]
        return [*lines, "", "nothing is wrong" if self.is_sound else verdict]

    def as_json(self) -> dict[str, Any]:
        """Everything: ``sound``, ``sets`` (counts by class, frames, sizes), ``findings``."""
        sets = {split: self.facts(split) for split in self.num_lines}
        return self.stored(sets, list(self.names) if self.names else None, {"split": "set", "file": "list"})

    def facts(self, split: str) -> dict[str, Any]:
        """Counts of a set, and the spread of its classes, frames, seconds and sizes."""
        entries = [entry for entry in self.entries if entry.split == split]
        probes = [self.probes[entry.source] for entry in entries]
        good = [probe for probe in probes if probe.reason is None]
        counts = Counter(label for entry in entries for label in entry.labels)
        return {
            "num_lines": self.num_lines[split],
            "num_readable": len(good),
            "samples_by_class": {str(label): counts[label] for label in sorted(counts)},
            "per_class": _spread(list(counts.values())),
            "num_frames": _spread([probe.num_frames for probe in good]),
            "seconds": _spread([round(probe.num_frames / probe.fps, 2) for probe in good if probe.fps]),
            "short_side_px": _spread([min(probe.width, probe.height) for probe in good if probe.width]),
            "num_bytes": sum(probe.num_bytes for probe in good),
        }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _range(values: dict[str, float] | None) -> str:
    return "-" if values is None else " / ".join(f"{values[key]:g}" for key in ("min", "median", "max"))


@dataclass(frozen=True)
class CheckSettings:
    """How to check.

    Args:
        num_classes: labels must be below; None: not checked.
        names: class names by id, for messages.
        depth: ``open``, ``sample`` (first, middle and last frame) or ``full``.
        source: regular expression; clips with the same match in their paths (its groups, if it has any) are of one
            recording, which must not be in two sets.
        jobs: processes.
    """

    num_classes: int | None = None
    names: Sequence[str] | None = None
    depth: Depth = "sample"
    source: str | None = None
    backend: str = "pyav"
    jobs: int = 1
    quiet: bool = False


def check_lists(lists: Sequence[ListSource], settings: CheckSettings) -> Check:
    """Reads the lists, opens every file once, and compares the lists.

    Raises:
        UserError: ``source`` is no regular expression, or there is no such decode backend.
    """
    pattern = _compiled(settings.source)
    check = Check(names=settings.names)
    lists = [replace(s, file=expanded(s.file), data_prefix=expanded(s.data_prefix)) for s in lists]
    lists = _merged(lists, check)
    classes = _folder_classes(lists)
    for source in lists:
        _read(source, check, settings, classes)
    _probe_all(check, settings)
    places = {(s.split, s.file): place_of(s.file, s.data_prefix, s.index) for s in lists}
    for entry in check.entries:
        _check_entry(entry, check.probes[entry.source], check)
        check.indexes.add(places[entry.split, entry.file], entry.source.path, check.probes[entry.source].entry)
    _compare_content(check, settings)
    if pattern:
        _compare_recordings(check, pattern)
    _compare_classes(check, settings)
    check.sort([source.file for source in lists])
    return check


def _merged(lists: Sequence[ListSource], check: Check) -> list[ListSource]:
    """Sets that name the same list are one; training on what is evaluated is a finding."""
    merged: dict[tuple, ListSource] = {}
    for source in lists:
        key = (os.path.realpath(source.file), source.data_prefix, source.ending, source.frame_name)
        if key in merged:
            split = merged[key].split + SAME + source.split
            num_seg = max(source.num_seg, merged[key].num_seg)
            merged[key] = replace(merged[key], split=split, num_seg=num_seg)
        else:
            merged[key] = source
    for source in merged.values():
        names = source.split.split(SAME)
        if "train" in names and len(names) > 1:
            check.add("leak", source.split, source.file, 0, "one list for both")
    return list(merged.values())


class _IntoReport(Findings):
    """Mistakes of a list become findings of one kind instead of an error."""

    def __init__(self, kind: str, source: ListSource, check: Check):
        super().__init__(source.file)
        self._kind, self._source, self._check = kind, source, check

    def add(self, where: str | int, text: str) -> None:
        self._check.add(self._kind, self._source.split, self._source.file, int(where), text)


def _folder_classes(lists: Sequence[ListSource]) -> list[str] | None:
    """As in training: the first folder of class folders names the classes of all."""
    folders = [source.file for source in lists if os.path.isdir(source.file)]
    try:
        return class_folders(folders[0]) if folders else None
    except UserError:
        return None  # reading that folder reports it again, as a finding


def _read(source: ListSource, check: Check, settings: CheckSettings, classes: list[str] | None) -> None:
    lines, paths, labels, whole = (_IntoReport(kind, source, check) for kind in ("line", "path", "label", "list"))
    check.num_lines[source.split] = 0
    try:
        if os.path.isdir(source.file):
            _read_folder(source, check, settings.num_classes, classes, labels)
            return
        if source.spans:
            _read_parts(source, check, settings, paths, labels)
            return
        columns = ("path", "num_frames", "label") if source.frame_name else ("path", "label")
        before = len(check.findings)
        kinds = Labels(settings.num_classes, settings.names, source.several)
        ending = "" if source.frame_name else source.ending
        rows, _ = read_list(source.file, kinds.fields(columns), lines, source.exists)
    except UserError as error:
        whole.add(0, str(error))
        return
    check.num_lines[source.split] = len(rows) + len(check.findings) - before
    for row in rows:
        before = len(check.findings)
        path = locate(row, source.data_prefix, source.allow_outside_root, paths)
        if len(check.findings) > before:
            continue
        label = kinds.of(row, labels)
        count = row.fields.get("num_frames", "")
        if source.frame_name and (not count.isdecimal() or int(count) < 1):
            lines.add(row.line, f"number of frames {count!r} is not a whole number above 0")
            continue
        item = VideoSource(path + ending, source.frame_name)
        try:
            check_inside(item.path, source.data_prefix, source.allow_outside_root)
        except UserError as error:
            paths.add(row.line, str(error))
            continue
        stated = int(count) if source.frame_name else None
        known = tuple(k for k in (label if source.several else (label,)) if k >= 0)
        check.entries.append(ListEntry(source.split, source.file, row.line, item, known, source.num_seg, stated))


def _read_parts(source: ListSource, check: Check, settings: CheckSettings, paths: Findings, labels: Findings) -> None:
    table = read_spans(source.file)
    check.num_lines[source.split] = len(table.spans)
    for line, span in zip(table.lines or [0] * len(table.spans), table.spans):
        row = Row(line, {"path": span.video or "", "label": span.label})
        before = len(check.findings)
        path = locate(row, source.data_prefix, source.allow_outside_root, paths)
        if len(check.findings) > before:
            continue
        label = parse_label(row, settings.num_classes, labels, settings.names)
        item = VideoSource(path + ("" if source.frame_name else source.ending), source.frame_name)
        try:
            check_inside(item.path, source.data_prefix, source.allow_outside_root)
        except UserError as error:
            paths.add(line, str(error))
            continue
        known, part_s = (label,) if label >= 0 else (), (span.start_s, span.end_s)
        where = (source.split, source.file, line)
        check.entries.append(ListEntry(*where, item, known, source.num_seg, part_s=part_s, fps=source.fps))


def _read_folder(
    source: ListSource, check: Check, num_classes: int | None, classes: list[str] | None, labels: Findings
) -> None:
    files, names = scan_folder(source.file, classes)
    if num_classes is not None and len(names) > num_classes:
        labels.add(0, f"{len(names)} class folders, but the model has {num_classes} classes")
    counts = {reason: len(names) for reason, names in left_out_files(source.file).items()}
    if counts:
        check.add("left_out", source.split, source.file, 0, left_out_text(counts))
    check.num_lines[source.split] = len(files)
    check.entries += [
        ListEntry(source.split, source.file, 0, VideoSource(path), (label,), source.num_seg) for path, label in files
    ]


def _probe_all(check: Check, settings: CheckSettings) -> None:
    sources = list(dict.fromkeys(entry.source for entry in check.entries))
    task = partial(probe, depth=settings.depth, backend=settings.backend)
    for index, result in run_tasks(task, sources, settings.jobs, "files", settings.quiet):
        if isinstance(result, Crashed):
            result = Probe("crashed", result.detail)
        check.probes[sources[index]] = result


def _check_entry(entry: ListEntry, seen: Probe, check: Check) -> None:
    if seen.reason is not None:
        kind = "missing" if seen.reason == "missing" else "unreadable"
        check.note(kind, entry, seen.detail if kind == "missing" else f"{seen.reason}: {seen.detail}")
        return
    for remark in seen.remarks:
        check.note("read_as", entry, remark)
    if entry.num_frames is not None and entry.num_frames > seen.num_frames:
        check.note(
            "frames", entry, f"the list states {entry.num_frames}, the folder has {seen.num_frames} without a gap"
        )
        return
    if entry.num_frames is not None and (entry.num_frames < seen.num_frames or seen.extra):
        more = seen.extra or f"the folder has {seen.num_frames}"
        check.note("more_frames", entry, f"the list states {entry.num_frames}; {more}")
    count = min(seen.num_frames, entry.num_frames or seen.num_frames)
    fps = entry.fps or seen.fps
    if entry.part_s is not None and fps:
        (start_s, end_s), length_s = entry.part_s, count / fps
        if start_s >= length_s:
            check.note("short", entry, f"the span begins at {start_s:.3f} s, and it lasts {length_s:.3f} s")
            return
        count = max(round((min(end_s, length_s) - start_s) * fps), 1)
    if count < entry.num_seg:
        check.note("short", entry, f"{count} frames, where {entry.num_seg} are sampled")


def _compare_content(check: Check, settings: CheckSettings) -> None:
    """The same file twice, by path or by content.  Only files of equal size are read for their digest."""
    groups: dict[str, list[ListEntry]] = defaultdict(list)
    readable = [entry for entry in check.entries if check.probes[entry.source].reason is None]
    probes = {entry.source: check.probes[entry.source] for entry in sorted(readable, key=lambda e: e.source.path)}
    identity = identities(probes, settings.jobs, settings.quiet)
    for entry in readable:
        groups[identity[entry.source]].append(entry)
    for entry in check.entries:  # what cannot be read is compared by its path
        if check.probes[entry.source].reason is not None:
            groups[os.path.realpath(entry.source.path)].append(entry)
    for entries in groups.values():
        if len(entries) > 1:
            _compare_group(entries, check)


def _compare_group(entries: list[ListEntry], check: Check) -> None:
    """Findings are at the later line and name the earlier one; a set that is listed as two (val, test) is one."""
    first_in: dict[str, ListEntry] = {}
    parts: dict[tuple, ListEntry] = {}
    for entry in entries:
        first_in.setdefault(entry.file, entry)
        earlier = parts.setdefault((entry.file, entry.part_s), entry)  # several spans of a video are no duplicates
        if earlier is entry:
            continue
        check.note("duplicate", entry, f"the same as {_named(earlier, entry)}")
        _compare_labels(earlier, entry, check)
    for one, other in combinations(first_in.values(), 2):
        if not _evaluates(one, other):
            check.note("leak", other, f"also in {one.split}: {_named(one, other)}")
        if one.part_s == other.part_s:
            _compare_labels(one, other, check)


def _compare_labels(one: ListEntry, other: ListEntry, check: Check) -> None:
    if one.labels != other.labels:
        here, there = (", ".join(map(str, entry.labels)) or "none" for entry in (other, one))
        check.note("conflict", other, f"label {here} here, {there} in {one.place}")


def _evaluates(one: ListEntry, other: ListEntry) -> bool:
    """valid and test may share videos: nothing is learnt from either."""
    return {*one.split.split(SAME), *other.split.split(SAME)} <= {"valid", "test"}


def _named(entry: ListEntry, other: ListEntry) -> str:
    same = os.path.realpath(entry.source.path) == os.path.realpath(other.source.path)
    return entry.place if same else f"{entry.place} ({printable(entry.source.path)}, equal content)"


def _compare_recordings(check: Check, pattern: re.Pattern) -> None:
    first: dict[str, dict[str, ListEntry]] = defaultdict(dict)  # recording -> its first clip in each list
    without: Counter[tuple[str, str]] = Counter()
    for entry in check.entries:
        match = pattern.search(entry.source.path)
        if not match:
            without[entry.split, entry.file] += 1
            continue
        recording = "/".join(map(str, match.groups() or [match.group()]))
        for other in first[recording].values():
            if other.file != entry.file and not _evaluates(other, entry):
                check.note("source", entry, f"{printable(recording)} is also in {other.split}: {other.place}")
        first[recording].setdefault(entry.file, entry)
    if check.entries and not first:
        example = printable(check.entries[0].source.path)
        raise UserError(f"--source {pattern.pattern!r}: matches none of the {len(check.entries)} paths, e.g. {example}")
    for (split, file), count in without.items():
        lines = plural(check.num_lines[split], "line")
        check.add("no_source", split, file, 0, f"--source matches nothing in {count} of {lines}: not compared")


def _compare_classes(check: Check, settings: CheckSettings) -> None:
    for split in check.num_lines:
        entries = [entry for entry in check.entries if entry.split == split]
        counts = Counter(label for entry in entries for label in entry.labels)
        if not counts:
            continue
        file = entries[0].file
        empty = sorted(set(range(settings.num_classes or max(counts) + 1)) - set(counts))
        if empty:
            shown = ", ".join(_called(label, settings) for label in empty[:20]) + (" ..." if len(empty) > 20 else "")
            check.add("no_samples", split, file, 0, f"{plural(len(empty), 'class', 'classes')}: {shown}")
        (most, largest), (least, smallest) = counts.most_common()[0], counts.most_common()[-1]
        if largest > IMBALANCE * smallest:
            detail = f"{_called(most, settings)} has {largest} samples, {_called(least, settings)} has {smallest}"
            check.add("imbalance", split, file, 0, detail)


def _called(label: int, settings: CheckSettings) -> str:
    named = settings.names and label < len(settings.names)
    return f"{label} ({settings.names[label]})" if named else str(label)


def _compiled(pattern: str | None) -> re.Pattern | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise UserError(f"{pattern!r} is not a regular expression ({error})") from None
