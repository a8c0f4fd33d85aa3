"""Is a data set sound?  Every finding with its list file and line, before training meets it."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations

from paddlevideo.errors import UserError, printable
from paddlevideo.loader.datasets.lists import (
    Labels,
    Problems,
    check_inside,
    class_folders,
    expanded,
    locate,
    read_list,
    scan_folder,
)
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.preparation.probing import Depth, Probe, Source, digest, probe
from paddlevideo.video_files import left_out_files, left_out_text

# kind of finding -> what it means; the order of the report
ERRORS = {
    "list": "the list cannot be used at all",
    "line": "the line cannot be read",
    "path": "the path leads out of data_prefix",
    "label": "the label is no class id",
    "missing": "there is no such file or folder",
    "unreadable": "cut off, damaged, empty, or no video",
    "frames": "the folder has fewer frames than the list says",
    "short": "fewer frames than the model samples",
    "duplicate": "twice in one list",
    "conflict": "the same video under different labels",
    "leak": "the same video in two sets",
    "source": "clips of one recording in two sets",
}
WARNINGS = {
    "left_out": "files of a data folder that are no samples",
    "read_as": "read in another way than one might expect",
    "more_frames": "the folder has more frames than the list says, or a gap after them",
    "no_samples": "a class without a sample",
    "imbalance": "the largest class is many times the smallest",
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
    """

    split: str
    file: str
    data_prefix: str | None = None
    frame_name: str | None = None
    ending: str = ""
    allow_outside_root: bool = False
    num_seg: int = 1
    several: bool = False

    def exists(self, name: str) -> bool:
        """Whether a path of the list is there."""
        path = os.path.join(self.data_prefix, name) if self.data_prefix else os.path.expanduser(name)
        return os.path.exists(path if self.frame_name else path + self.ending)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or, for the kinds of ``WARNINGS``, worth a look)."""

    kind: str
    split: str
    file: str
    line: int
    path: str
    detail: str

    @property
    def is_error(self) -> bool:
        return self.kind in ERRORS


@dataclass(frozen=True)
class Entry:
    """One line of a list; ``num_frames`` is what the list says; ``labels`` lacks those that are no class id."""

    split: str
    file: str
    line: int
    source: Source
    labels: tuple[int, ...]
    num_seg: int
    num_frames: int | None = None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Check:
    """All that was found."""

    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    probes: dict[Source, Probe] = field(default_factory=dict)
    num_lines: dict[str, int] = field(default_factory=dict)  # by split

    @property
    def is_sound(self) -> bool:
        return not any(finding.is_error for finding in self.findings)

    def note(self, kind: str, entry: Entry, detail: str) -> None:
        place = (entry.split, entry.file, entry.line, entry.source.path)
        self.findings.append(Finding(kind, *place, detail))


@dataclass(frozen=True)
class Settings:
    """How to check.

    Args:
        num_classes: labels must be below; None: not checked.
        names: class names by id, for messages.
        depth: ``open``, ``sample`` (first, middle and last frame) or ``full``.
        source: regular expression; clips whose paths give the same match (its groups, if it has any) are of one
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


def check_lists(lists: Sequence[ListSource], settings: Settings) -> Check:
    """Reads the lists, looks at every file once, and compares the lists.

    Raises:
        UserError: ``source`` is no regular expression, or there is no such decode backend.
    """
    pattern = _compiled(settings.source)
    check = Check()
    lists = [replace(s, file=expanded(s.file), data_prefix=expanded(s.data_prefix)) for s in lists]
    lists = _merged(lists, check)
    classes = _folder_classes(lists)
    for source in lists:
        _read(source, check, settings, classes)
    _probe_all(check, settings)
    for entry in check.entries:
        _judge(entry, check.probes[entry.source], check)
    _compare_content(check, settings)
    if pattern:
        _compare_recordings(check, pattern)
    _compare_classes(check, settings)
    order = [*ERRORS, *WARNINGS]
    files = [source.file for source in lists]
    check.findings.sort(key=lambda f: (order.index(f.kind), files.index(f.file), f.line))
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
            check.findings.append(Finding("leak", source.split, source.file, 0, "", "one list for both"))
    return list(merged.values())


class _Noted(Problems):
    """Mistakes of a list become findings of one kind instead of an error."""

    def __init__(self, kind: str, source: ListSource, check: Check):
        self._kind, self._source, self._check = kind, source, check

    def add(self, line: int, text: str) -> None:
        self._check.findings.append(Finding(self._kind, self._source.split, self._source.file, line, "", text))

    def raise_if_any(self) -> None:
        pass


def _folder_classes(lists: Sequence[ListSource]) -> list[str] | None:
    """As in training: the first folder of class folders names the classes of all."""
    folders = [source.file for source in lists if os.path.isdir(source.file)]
    try:
        return class_folders(folders[0]) if folders else None
    except UserError:
        return None  # reading that folder says it again, as a finding


def _read(source: ListSource, check: Check, settings: Settings, classes: list[str] | None) -> None:
    lines, paths, labels, whole = (_Noted(kind, source, check) for kind in ("line", "path", "label", "list"))
    check.num_lines[source.split] = 0
    try:
        if os.path.isdir(source.file):
            _read_folder(source, check, settings.num_classes, classes, labels)
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
        item = Source(path + ending, source.frame_name)
        try:
            check_inside(item.path, source.data_prefix, source.allow_outside_root)
        except UserError as error:
            paths.add(row.line, str(error))
            continue
        said = int(count) if source.frame_name else None
        known = tuple(k for k in (label if source.several else (label,)) if k >= 0)
        check.entries.append(Entry(source.split, source.file, row.line, item, known, source.num_seg, said))


def _read_folder(
    source: ListSource, check: Check, num_classes: int | None, classes: list[str] | None, labels: Problems
) -> None:
    files, names = scan_folder(source.file, classes)
    if num_classes is not None and len(names) > num_classes:
        labels.add(0, f"{len(names)} class folders, but the model has {num_classes} classes")
    counts = {reason: len(names) for reason, names in left_out_files(source.file).items()}
    if counts:
        check.findings.append(Finding("left_out", source.split, source.file, 0, "", left_out_text(counts)))
    check.num_lines[source.split] = len(files)
    check.entries += [
        Entry(source.split, source.file, 0, Source(path), (label,), source.num_seg) for path, label in files
    ]


def _probe_all(check: Check, settings: Settings) -> None:
    sources = list(dict.fromkeys(entry.source for entry in check.entries))
    task = partial(probe, depth=settings.depth, backend=settings.backend)
    for index, result in run_tasks(task, sources, settings.jobs, "files", settings.quiet):
        if isinstance(result, Crashed):
            result = Probe("crashed", result.detail)
        check.probes[sources[index]] = result


def _judge(entry: Entry, seen: Probe, check: Check) -> None:
    if seen.reason is not None:
        kind = "missing" if seen.reason == "missing" else "unreadable"
        check.note(kind, entry, seen.detail if kind == "missing" else f"{seen.reason}: {seen.detail}")
        return
    for remark in seen.remarks:
        check.note("read_as", entry, remark)
    if entry.num_frames is not None and entry.num_frames > seen.num_frames:
        check.note("frames", entry, f"the list says {entry.num_frames}, the folder has {seen.num_frames} without a gap")
        return
    if entry.num_frames is not None and (entry.num_frames < seen.num_frames or seen.extra):
        more = seen.extra or f"the folder has {seen.num_frames}"
        check.note("more_frames", entry, f"the list says {entry.num_frames}; {more}")
    count = min(seen.num_frames, entry.num_frames or seen.num_frames)
    if count < entry.num_seg:
        check.note("short", entry, f"{count} frames, where {entry.num_seg} are sampled")


def _compare_content(check: Check, settings: Settings) -> None:
    """The same file twice, by path or by content.  Only files of equal size are read for their digest."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    readable = [entry for entry in check.entries if check.probes[entry.source].reason is None]
    identity = _identities(sorted({entry.source for entry in readable}, key=lambda s: s.path), check, settings)
    for entry in readable:
        groups[identity[entry.source]].append(entry)
    for entry in check.entries:  # what cannot be read is compared by its path
        if check.probes[entry.source].reason is not None:
            groups[os.path.realpath(entry.source.path)].append(entry)
    for entries in groups.values():
        if len(entries) > 1:
            _judge_group(entries, check)


def _identities(sources: Sequence[Source], check: Check, settings: Settings) -> dict[Source, str]:
    """A key per source that is equal for equal content."""
    sizes: dict[tuple[int, int], list[Source]] = defaultdict(list)
    for source in sources:
        seen = check.probes[source]
        sizes[seen.num_bytes, seen.num_frames].append(source)
    alike = [source for group in sizes.values() if len(group) > 1 for source in group]
    identity = {source: os.path.realpath(source.path) for source in sources}
    for index, value in run_tasks(digest, alike, settings.jobs, "equal sizes", settings.quiet):
        if value and not isinstance(value, Crashed):
            identity[alike[index]] = value
    return identity


def _judge_group(entries: list[Entry], check: Check) -> None:
    """Findings stand at the later line and name the earlier one; a set that is listed as two (val, test) is one."""
    first_in: dict[str, Entry] = {}
    for entry in entries:
        earlier = first_in.setdefault(entry.file, entry)
        if earlier is entry:
            continue
        check.note("duplicate", entry, f"the same as {_named(earlier, entry)}")
        _judge_labels(earlier, entry, check)
    for one, other in combinations(first_in.values(), 2):
        if not _evaluates(one, other):
            check.note("leak", other, f"also in {one.split}: {_named(one, other)}")
        _judge_labels(one, other, check)


def _judge_labels(one: Entry, other: Entry, check: Check) -> None:
    if one.labels != other.labels:
        here, there = (", ".join(map(str, entry.labels)) or "none" for entry in (other, one))
        check.note("conflict", other, f"label {here} here, {there} in {one.place}")


def _evaluates(one: Entry, other: Entry) -> bool:
    """valid and test may share videos: nothing is learnt from either."""
    return {*one.split.split(SAME), *other.split.split(SAME)} <= {"valid", "test"}


def _named(entry: Entry, other: Entry) -> str:
    same = os.path.realpath(entry.source.path) == os.path.realpath(other.source.path)
    return entry.place if same else f"{entry.place} ({printable(entry.source.path)}, equal content)"


def _compare_recordings(check: Check, pattern: re.Pattern) -> None:
    first: dict[str, dict[str, Entry]] = defaultdict(dict)  # recording -> its first clip in each list
    for entry in check.entries:
        match = pattern.search(entry.source.path)
        if not match:
            continue
        recording = "/".join(map(str, match.groups() or [match.group()]))
        for other in first[recording].values():
            if other.file != entry.file and not _evaluates(other, entry):
                check.note("source", entry, f"{printable(recording)} is also in {other.split}: {other.place}")
        first[recording].setdefault(entry.file, entry)


def _compare_classes(check: Check, settings: Settings) -> None:
    for split in check.num_lines:
        entries = [entry for entry in check.entries if entry.split == split]
        counts = Counter(label for entry in entries for label in entry.labels)
        if not counts:
            continue
        file = entries[0].file
        empty = sorted(set(range(settings.num_classes or max(counts) + 1)) - set(counts))
        if empty:
            shown = ", ".join(_called(label, settings) for label in empty[:20]) + (" ..." if len(empty) > 20 else "")
            check.findings.append(Finding("no_samples", split, file, 0, "", f"{len(empty)} classes: {shown}"))
        (most, largest), (least, smallest) = counts.most_common()[0], counts.most_common()[-1]
        if largest > IMBALANCE * smallest:
            detail = f"{_called(most, settings)} has {largest} samples, {_called(least, settings)} has {smallest}"
            check.findings.append(Finding("imbalance", split, file, 0, "", detail))


def _called(label: int, settings: Settings) -> str:
    named = settings.names and label < len(settings.names)
    return f"{label} ({settings.names[label]})" if named else str(label)


def _compiled(pattern: str | None) -> re.Pattern | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error as error:
        raise UserError(f"{pattern!r} is not a regular expression ({error})") from None
