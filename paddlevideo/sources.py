"""Which clips are of one recording, by their names; splits and folds that leave every recording on one side.

Clips of one recording share people, place and light: in training and validation both, they make the figures of a
validation higher than those of other videos.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.video_files import is_video, lines_of_list

_WORDS = "person|subject|subj|actor|user|group|scene|camera|cam|source|src|session|video|vid|day|g|s|p"
_NAMED = re.compile(rf"(?:^|[^a-zA-Z])((?:{_WORDS})[-_]?\d+)(?![a-zA-Z0-9])", re.IGNORECASE)
_NUMBER = re.compile(r"[-_ .]*(?:(?<![a-zA-Z])(?:clip|part|seg|segment|take|c|t))?[-_ .]*\(?\d+\)?$", re.IGNORECASE)
_LINE = re.compile(r"(.+?)[\s,]+([^\s,]+)")  # of a file of sources: name source
_FEWEST = 3  # sources of a class, for names to count as a hint
_RUNS = 10  # of a class
_LARGEST = 0.5  # share of a class's clips that one source may have then
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_SPLITS = {  # split -> names of its folder, in lower case
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_MORE_WORDS = {"train": ("trainset",), "val": ("valset", "dev"), "test": ("testset",)}


@dataclass(frozen=True)
class Clip:
    """A clip as far as its source goes.

    Attributes:
        name: path below the folder of its class, with ``/``.
        label: class index.
    """

    name: str
    label: int


@dataclass(frozen=True)
class Sources:
    """The source of every clip.

    Attributes:
        names: in the order of the clips.
        rule: how they were found, for people; "": every clip is a source of its own.
    """

    names: tuple[str, ...]
    rule: str = ""


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones do not count.

    Raises:
        UserError: it cannot be listed.
    """
    return sorted(entry.name for entry in _entries(folder) if not entry.name.startswith(".") and entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{printable(folder)}: cannot be read ({error.strerror}); give yourself access to it") from None


def split_folders(place: Path) -> dict[str, str]:
    """Split (train, val, test) -> its folder among the sub-folders of ``place``; empty: they are classes.

    Upper and lower case do not count.  A folder ``train`` with videos directly in it is a class.

    Raises:
        UserError: two folders of one split; names that only resemble those of splits; a folder that cannot be listed.
    """
    folders = subfolders(place)
    found = {split: [name for name in folders if name.lower() in names] for split, names in _SPLITS.items()}
    if found["train"] and not any(is_video(entry.name) for entry in _entries(place / found["train"][0])):
        twice = next((names for names in found.values() if len(names) > 1), None)
        if twice:
            raise UserError(f"{printable(place)}: {' and '.join(twice)} mean the same split; rename or remove one")
        return {split: names[0] for split, names in found.items() if names}
    alike = [_splits_in(name) for name in folders]
    if all(alike) and len(set().union(*alike)) > 1:
        names = ", ".join(map(printable, folders[:_FEWEST])) + (", ..." if len(folders) > _FEWEST else "")
        raise UserError(
            f"{printable(place)}: its folders ({names}) have names of splits, not of classes; expected train/<class>, "
            "val/<class> and perhaps test/<class> with the videos: rename them"
        )
    return {}


def _splits_in(name: str) -> set[str]:
    """The splits that words of a folder's name stand for."""
    words = {word.lower() for word in _WORD.findall(name)}
    return {split for split, names in _SPLITS.items() if words & {*names, *_MORE_WORDS[split]}}


def refuse_split_folders(place: Path) -> None:
    """
    Raises:
        UserError: the sub-folders of a folder are splits, where classes are expected.
    """
    found = [printable(name) for name in split_folders(place).values()]
    if found:
        what = "are splits" if len(found) > 1 else "is a split"
        raise UserError(
            f"{printable(place)}: expected a sub-folder per class; {', '.join(found)} {what}; give "
            f"{printable(place / found[0])}"
        )


def sources_of(clips: Sequence[Clip], pattern: str | None = None) -> Sources:
    """The sources by a pattern, by sub-folders, or by what file names have in common.

    Args:
        pattern: regular expression; clips with the same match in their names (its groups, if it has any) are of one
            source, a clip without a match is one by itself.  Or a file of ``name source`` lines, a name being the end
            of a clip's path.  "none": every clip is one.  None: names are searched for hints; one counts if each class
            has at least three sources, and none has more than half of a class; else runs of neighbouring numbers are.

    Raises:
        UserError: no regular expression, or it matches nothing.
    """
    alone = Sources(tuple(f"{clip.label}/{clip.name}" for clip in clips))
    if pattern == "none":
        return Sources(alone.names, "each clip is one (--source none)")
    if pattern is not None:
        return _by_file(clips, Path(pattern)) if Path(pattern).is_file() else _by_pattern(clips, pattern)
    hints: list[tuple[str, Callable[[Clip], str | None]]] = [
        ("by sub-folder", lambda clip: clip.name.rpartition("/")[0] or None),
        ("by a part of their names", _named_part),
        ("by the beginnings of their names", lambda clip: _beginning(clip.name)),
    ]
    for rule, hint in hints:
        found = [hint(clip) for clip in clips]
        if all(found) and _is_useful(clips, found):
            return Sources(tuple(map(str, found)), f"{rule}, e.g. {found[0]}")
    return _runs(clips) or alone


def _by_pattern(clips: Sequence[Clip], pattern: str) -> Sources:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--source {pattern!r}: neither a file nor a regular expression ({error})") from None
    matches = [compiled.search(clip.name) for clip in clips]
    if not any(matches):
        raise UserError(f"--source {pattern!r}: no such file, and it matches none of the names, e.g. {clips[0].name!r}")
    names = (
        "/".join(map(str, match.groups() or [match.group()])) if match else f"{clip.label}/{clip.name}"
        for clip, match in zip(clips, matches)
    )
    alone = sum(match is None for match in matches)
    rest = f"; {alone} of {len(clips)} names have no match, each is one by itself" if alone else ""
    return Sources(tuple(names), f"by --source{rest}")


def _by_file(clips: Sequence[Clip], file: Path) -> Sources:
    table: dict[str, str] = {}
    for number, line in lines_of_list(file):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{printable(file)}:{number}: expected 'name source', got {printable(repr(line[:80]))}")
        name = match[1].strip('"').lstrip("/")
        if table.setdefault(name, match[2]) != match[2]:
            text = f"{printable(name)} is of source {printable(table[name])} above, here of {printable(match[2])}"
            raise UserError(f"{printable(file)}:{number}: {text}")
    names = []
    for clip in clips:
        parts = clip.name.split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        found = next((table[end] for end in ends if end in table), None)
        if found is None:
            raise UserError(f"{file}: has no line for {printable(clip.name)}; expected 'name source' for every clip")
        names.append(found)
    return Sources(tuple(names), f"by {printable(file)}")


def _stem(name: str) -> str:
    base = name.rpartition("/")[2]
    return base.rpartition(".")[0] or base


def _named_part(clip: Clip) -> str | None:
    """``person01`` of ``person01_walk_03.mp4``."""
    found = _NAMED.search(_stem(clip.name))
    return found[1].lower() if found else None


def _beginning(name: str) -> str | None:
    """The name without the numbers at its end: ``abc`` of ``abc_000010_000020.mp4``; one number at least."""
    stem = _stem(name)
    while (shorter := _NUMBER.sub("", stem, count=1)) and shorter != stem:
        stem = shorter
    return stem if stem != _stem(name) else None


def _runs(clips: Sequence[Clip]) -> Sources | None:
    """Runs of neighbouring numbers, a tenth of a class each: neighbours are the likeliest to be of one recording.

    None: names without numbers, or classes of too few clips.
    """
    numbers = [re.search(r"\d+(?=\D*$)", _stem(clip.name)) for clip in clips]
    if not all(numbers):
        return None
    order = sorted(
        range(len(clips)), key=lambda i: (clips[i].label, _beginning(clips[i].name) or "", int(numbers[i][0]))
    )
    sizes, places = Counter(clip.label for clip in clips), Counter[int]()
    names = [""] * len(clips)
    for i in order:
        label = clips[i].label
        names[i] = f"{label}/run {places[label] * _RUNS // max(sizes[label], _RUNS)}"
        places[label] += 1
    if len(set(names)) == len(clips):
        return None
    return Sources(
        tuple(names), "runs of neighbouring numbers, as the names do not show recordings (--source names them)"
    )


def _is_useful(clips: Sequence[Clip], sources: Sequence[str | None]) -> bool:
    counts: dict[int, Counter[str | None]] = defaultdict(Counter)
    for clip, source in zip(clips, sources):
        counts[clip.label][source] += 1
    several = len(set(sources)) < len(clips)
    return several and all(
        len(own) >= _FEWEST and max(own.values()) <= max(1.0, _LARGEST * own.total()) for own in counts.values()
    )


def joined(sources: Sequence[str], same: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """The sources, those of equal clips made one.

    Args:
        same: groups of clips, by their numbers, that have the same content.
    """
    parent = {source: source for source in sources}

    def root(source: str) -> str:
        while parent[source] != source:
            source = parent[source]
        return source

    for group in same:
        for number in group[1:]:
            parent[root(sources[number])] = root(sources[group[0]])
    return tuple(root(source) for source in sources)


def split_by_source(labels: Sequence[int], sources: Sequence[str], share: float, seed: int) -> set[int]:
    """The clips for validation: whole sources, about ``share`` of every class, and never all of a class.

    The order in which sources are tried follows from the seed and their names alone, so that a new source changes
    little.  A class of one source stays in training.

    Args:
        labels, sources: of every clip.
        share: 0 .. 1 of the clips.
    """
    clips = Counter(labels)
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for label, source in zip(labels, sources):
        counts[source][label] += 1
    need = {k: max(1, round(share * count)) for k, count in clips.items()}
    left = Counter({k: sum(k in own for own in counts.values()) for k in clips})  # sources of a class in training
    order = sorted(counts, key=lambda source: _key(source, seed))
    chosen: set[str] = set()
    taken: Counter[int] = Counter()
    for source in _candidates(order, counts, need, taken, chosen):
        if all(left[k] > 1 for k in counts[source]):
            chosen.add(source)
            taken.update(counts[source])
            left.subtract(dict.fromkeys(counts[source], 1))
    return {i for i, source in enumerate(sources) if source in chosen}


def folds_of(sources: Sequence[str], labels: np.ndarray, num_folds: int) -> np.ndarray:
    """int64 [N]: the fold of every clip, 0 to ``num_folds`` - 1: sources stay whole, classes are spread evenly.

    Sources are placed largest first (equal ones by name), each where it makes the class counts most even, so that equal
    input gives equal folds.

    Args:
        sources: of N clips.
        labels: int [N], or multi-hot [N, K].

    Raises:
        UserError: fewer sources than folds.
    """
    names = sorted(set(sources))
    if not 2 <= num_folds <= len(names):
        raise UserError(
            f"{num_folds} folds of {len(names)} sources: expected at least 2, and at most one per source, whose clips "
            "stay together"
        )
    hot = np.asarray(labels, np.float64) if np.ndim(labels) == 2 else np.eye(int(np.max(labels)) + 1)[labels]
    hot = np.concatenate([hot, np.ones((len(hot), 1))], 1)  # clips count, too
    places = {name: number for number, name in enumerate(names)}
    member = np.array([places[source] for source in sources])
    counts = np.zeros((len(names), hot.shape[1]))
    np.add.at(counts, member, hot)
    totals, sums, fold = np.maximum(counts.sum(0), 1), np.zeros((num_folds, hot.shape[1])), np.zeros(len(names), int)
    for own in sorted(range(len(names)), key=lambda number: (-counts[number, -1], names[number])):
        after = (((sums + counts[own]) / totals) ** 2).sum(1) - ((sums / totals) ** 2).sum(1)
        fold[own] = int(np.argmin(after))
        sums[fold[own]] += counts[own]
    return fold[member]


def _candidates(
    order: Sequence[str], counts: Mapping[str, Counter[int]], need: Mapping[int, int], taken: Counter[int],
    chosen: set[str],
) -> Iterator[str]:  # fmt: skip
    """Sources in their order: first those that fit into what classes need, then the smallest of a class without any."""
    for source in order:
        if all(taken[k] + count <= need[k] for k, count in counts[source].items()):
            yield source
    for label in sorted(need):
        for source in sorted(order, key=lambda source: counts[source].total()):
            if not taken[label] and counts[source][label] and source not in chosen:
                yield source


def _key(source: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{source}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
