"""Annotated people, as annotation tools write them, to the files that action detection trains on."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paddlevideo import safe_io
from paddlevideo.ava_files import (
    BEYOND_S,
    AVARows,
    img_key,
    labels_text,
    read_proposals,
    split_key,
    time_text,
    write_ava_csv,
    write_proposals,
)
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.preparation.importers.coco import read_coco
from paddlevideo.preparation.importers.cvat import read_cvat
from paddlevideo.preparation.importers.label_studio import is_label_studio, read_label_studio
from paddlevideo.preparation.importers.people import (
    ImportOptions,
    ImportSummary,
    PersonBox,
    PersonCollector,
    Segment,
    shown,
    video_name,
)
from paddlevideo.preparation.importers.tables import is_ava, read_ava, read_csv, read_jsonl
from paddlevideo.preparation.importers.via import CSV_2, CSV_3, is_via, read_via
from paddlevideo.preparation.list_files import read_json, text_lines
from paddlevideo.preparation.probing import Probe
from paddlevideo.preparation.video_folder import VideoFolder
from paddlevideo.registry import suggest
from paddlevideo.safe_io import write_atomic

_READERS: dict[str, Callable[[Path, PersonCollector], None]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "ava": read_ava,
    "coco": read_coco,
    "via": read_via,
    "cvat": read_cvat,
    "label_studio": read_label_studio,
}
FORMS = tuple(_READERS)
TABLES = ("csv", "jsonl", "ava")  # whose rows are boxes at any moments
_COMMENTS = 20  # lines at the head of VIA's csv
_MIN_SIDE_PX = 2.0  # of a person's box, in the video's pixels
_MIN_INSIDE = 0.5  # share of a box that must lie within the picture
_ROUNDING = 1e-6
_SQUARE = 0.01  # pixels are square up to here
_MOST_STRETCH = 0.05  # by which the sides of annotated pictures may differ from the video's: rounded to even numbers
_TRIES = 200  # random splits, of which the one that spreads the classes best is taken


def read_people(path: Path, form: str, options: ImportOptions, summary: ImportSummary | None = None) -> list[PersonBox]:
    """All annotated persons of a file.

    Args:
        form: one of ``FORMS``, or ``auto``: by the file's ending and content.
        summary: counts of the file's boxes are added to it.

    Raises:
        UserError, ConfigError: no such file, not of that form, or bad entries.
    """
    form = guess_form(path) if form == "auto" else form
    found = PersonCollector(path, form, options, summary or ImportSummary())
    with safe_io.reading(path, f"a {form} file as expected"):
        _READERS[form](path, found)
    people = found.finish()
    if not people and not found.summary.segments and not found.summary.track_segments:
        raise UserError(f"{path}: no person is annotated in it (read as {form})")
    return people


def guess_form(path: Path) -> str:
    """The form of an annotation file.

    Raises:
        UserError: none that is known.
    """
    ending = path.suffix.lower()
    if ending == ".jsonl":
        return "jsonl"
    if ending == ".xml":
        return "cvat"
    if ending == ".csv":
        first = [text for _, text in zip(range(_COMMENTS), (text for _, text in text_lines(path)))]
        if any(CSV_2 in text for text in first[:1]) or any(CSV_3 in text for text in first):
            return "via"
        return "ava" if is_ava(path) else "csv"
    if ending == ".json":
        content = read_json(path, object)
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            return "coco"
        if isinstance(content, dict) and is_via(content):
            return "via"
        if is_label_studio(content):
            return "label_studio"
    raise UserError(
        f"{path}: unknown form; expected .csv, .jsonl, COCO, VIA or Label Studio .json, CVAT .xml (--format names one)"
    )


@dataclass
class Annotation:
    """People with boxes in fractions of the picture, all of videos that are there."""

    people: list[PersonBox]

    def videos(self) -> list[str]:
        return sorted({person.video for person in self.people})


def _name_of(row: PersonBox | Segment, folder: VideoFolder, findings: Findings) -> str | None:
    """The video of the folder that an annotation names; None, and a finding, where there is none or several."""
    name = folder.name_of(row.video)
    if name is None:
        findings.add(row.where, folder.missing(row.video))
    elif set(name) & set(',"\r\n'):
        findings.add(row.where, f"{name!r}: AVA's csv has no name with a comma, a quote or a line end: rename the file")
    return name


def resolve(people: Sequence[PersonBox], folder: VideoFolder, summary: ImportSummary) -> Annotation:
    """Names of videos, boxes as fractions within the picture, moments within the video; each person once.

    Raises:
        ConfigError: no such video, a second after its end, or no box of a person, each with its line.
    """
    findings = Findings(people[0].where.split(":")[0] if people else "")
    for note in folder.taken_by_name(person.video for person in people):
        summary.remarks[note] += 1
    kept = []
    for person in people:
        name = _name_of(person, folder, findings)
        if name is None:
            continue
        seen = folder.probe(name)
        if seen.reason is not None:
            findings.add(person.where, f"{name}: {seen.detail or seen.reason}")
            continue
        last_s = folder.last_s(name)
        if not 0 <= person.time_s <= last_s + BEYOND_S:
            text = f"second {person.time_s:g}, but {name} lasts from 0 to {last_s:.2f} s"
            findings.add(person.where, text)
            continue
        named, there = summary.endings.get(person.video, ""), folder.endings[name]
        if named and there and named.lower() != there.lower():
            summary.remarks[f"boxes of {person.video}{named}: {name}{there} is the video that is there"] += 1
        box = _box_norm(person, seen, findings, summary)
        if box is not None:
            kept.append(replace(person, video=name, box=box, in_pixels=False, size_px=None))
    findings.raise_if_any()
    return Annotation(_without_doubles(kept, summary))


def _box_norm(
    person: PersonBox, seen: Probe, findings: Findings, summary: ImportSummary
) -> tuple[float, float, float, float] | None:
    """The box in fractions, to three digits, clipped to the picture; None: no person's box, which is noted."""
    sides = _sides(person, seen, summary) if person.in_pixels else (1, 1)
    if sides is None:
        text = f"boxes are of pictures of {person.size_px[0]} x {person.size_px[1]}, the video has {seen.width} x "
        findings.add(person.where, f"{text}{seen.height}: cut or turned, so boxes of one do not fit the other")
        return None
    box = np.array(person.box) / np.array([*sides, *sides])
    unit = f"pixels of {sides[0]} x {sides[1]}" if person.in_pixels else "fractions (0..1)"
    size_px = (box[2:] - box[:2]) * (seen.width, seen.height)
    inside = np.clip(box, 0.0, 1.0)
    if (box[2:] <= box[:2]).any():
        way = "expected x1 < x2 and y1 < y2 (--box-format xywh: x, y, width, height)"
        findings.add(person.where, f"box {shown(person.box)} has no area; {way}")
    elif np.prod(inside[2:] - inside[:2]) < _MIN_INSIDE * np.prod(box[2:] - box[:2]) - _ROUNDING:
        text = f"box {shown(person.box)} is by more than half not in the picture, in {unit} (--units, --box-format)"
        findings.add(person.where, text)
    elif (size_px < _MIN_SIDE_PX - _ROUNDING).any():
        text = f"box {shown(person.box)} is {size_px[0]:.1f} x {size_px[1]:.1f} pixels, below 2, in {unit} (--units)"
        findings.add(person.where, text)
    elif (np.round(inside[2:], 3) <= np.round(inside[:2], 3)).any():
        text = f"box {shown(person.box)} is too small for AVA's three digits: below a thousandth of the picture"
        findings.add(person.where, text)
    else:
        if (np.abs(inside - box) > _ROUNDING).any():
            summary.remarks["boxes reached out of the picture and were clipped"] += 1
        x1, y1, x2, y2 = (float(value) for value in np.round(inside, 3))
        return x1, y1, x2, y2
    return None


def _sides(person: PersonBox, seen: Probe, summary: ImportSummary) -> tuple[float, float] | None:
    """Width and height of the picture whose pixels a box counts; None: the video's cannot be scaled to it."""
    aspect = seen.pixel_aspect
    if person.size_px and all(person.size_px):
        width, height = person.size_px
        shapes = (width * seen.height / (height * seen.width * each) for each in (1.0, aspect))
        return (width, height) if min(abs(shape - 1) for shape in shapes) < _MOST_STRETCH else None
    if abs(aspect - 1) <= _SQUARE:
        return seen.width, seen.height
    way = "pixels as a player shows them" if person.as_shown else "the stored ones, of which a player makes square ones"
    summary.remarks[f"boxes are in pixels of a video whose pixels are not square: taken as {way}"] += 1
    if not person.as_shown:
        return seen.width, seen.height
    return seen.width * max(aspect, 1.0), seen.height * max(1 / aspect, 1.0)  # browsers make no side smaller


def _without_doubles(people: Sequence[PersonBox], summary: ImportSummary) -> list[PersonBox]:
    """Each person at a moment once, with all the actions that lines of the same box give."""
    merged: dict[tuple, PersonBox] = {}
    for person in people:
        key = (person.video, time_text(person.time_s), person.box, person.person)
        known = merged.setdefault(key, person)
        if known is person:
            continue
        if set(person.actions) <= set(known.actions):
            summary.dropped["lines occur twice (same video, second, box, person and actions)"] += 1
        else:
            summary.remarks["lines of the same box were joined: their actions are one person's"] += 1
            merged[key] = replace(known, actions=tuple(dict.fromkeys(known.actions + person.actions)))
    places: dict[tuple, set] = {}
    for person in merged.values():
        if person.person is not None:
            places.setdefault((person.video, time_text(person.time_s), person.person), set()).add(person.box)
    if several := sum(len(boxes) > 1 for boxes in places.values()):
        summary.remarks["times a person id has several boxes at one moment"] += several
    return list(merged.values())


def merge_spellings(
    people: Sequence[PersonBox], given: Sequence[str] | None, summary: ImportSummary
) -> list[PersonBox]:
    """One spelling for names that differ in case or spaces only: the list's, or the most frequent one."""
    lines = ((p.video, time_text(p.time_s), p.box, p.person, name) for p in people for name in p.actions)
    found = Counter(name for *_, name in dict.fromkeys(lines))  # lines that occur twice count once
    chosen = spellings(found, given)
    for name, count in found.items():
        if chosen[name] != name:
            summary.remarks[f"actions {name!r} were merged with {chosen[name]!r}"] += count
    return [replace(p, actions=tuple(dict.fromkeys(chosen[name] for name in p.actions))) for p in people]


def spellings(found: Mapping[str, int], given: Sequence[str] | None) -> dict[str, str]:
    """Name -> the one of all names that differ from it in case or spaces only: that of the list, or the most frequent.

    Args:
        found: how often each occurs.
        given: the list, of which each name stays; None: there is none.
    """
    folds: dict[str, list[str]] = {}
    by_fold: dict[str, list[str]] = {}
    for names, into in ((found, folds), (given or (), by_fold)):
        for name in names:
            into.setdefault(" ".join(name.split()).casefold(), []).append(name)
    chosen: dict[str, str] = {}
    for fold, names in folds.items():
        listed = by_fold.get(fold, [])
        best = listed[0] if len(listed) == 1 else min(names, key=lambda name: (-found[name], name))
        chosen |= {name: name if name in listed else best for name in names}
    return chosen


def class_names(annotation: Annotation, given: Sequence[str] | None = None) -> list[str]:
    """Names of the classes 1, 2, ...: those given, or those annotated in alphabetical order.

    Raises:
        UserError: no actions are annotated.
        ConfigError: an action is not among ``given``; each such name once, with its count.
    """
    used = sorted({name for person in annotation.people for name in person.actions})
    if not used:
        raise UserError("no actions in the annotation, only people; where are they? (--attribute names the attribute)")
    if given is None:
        return used
    findings = Findings(annotation.people[0].where.split(":")[0])
    for person in annotation.people:
        for name in set(person.actions) - set(given):
            findings.add(person.where, f"action {name!r} is not in the list of labels{suggest(name, given)}")
    findings.raise_if_any()
    return list(given)


def split_videos(annotation: Annotation, shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Whole videos to ``train`` and the sets of ``shares``; of many random splits the one that spreads classes best.

    Raises:
        UserError: too few videos.
    """
    done: dict[str, set[str]] = {name: set() for name in annotation.videos()}
    for person in annotation.people:
        done[person.video].update(person.actions)
    return split_names(done, shares, seed)


def split_names(labels: Mapping[str, set[str]], shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Names to ``train`` and the sets of ``shares``; of many random splits the one that spreads the labels best.

    Args:
        labels: of every name, sorted.

    Raises:
        UserError: too few of them.
    """
    videos = list(labels)
    sizes = {name: max(1, round(share * len(videos))) for name, share in shares.items() if share > 0}
    if sum(sizes.values()) >= len(videos):
        raise UserError(
            f"{len(videos)} videos cannot be parted into train and {' and '.join(sizes)}; annotate more videos, or "
            "--val 0 to evaluate on the training videos, which shows little"
        )
    everything = set().union(*labels.values())
    best: tuple[tuple[int, ...], dict[str, list[str]]] | None = None
    rng = np.random.default_rng([seed, len(videos)])
    for _ in range(_TRIES if sizes else 1):
        order = [videos[k] for k in rng.permutation(len(videos))]
        parts, place = {}, 0
        for name, size in sizes.items():
            parts[name] = sorted(order[place : place + size])
            place += size
        parts = {"train": sorted(order[place:]), **parts}
        lacking = tuple(len(everything - set().union(*(labels[v] for v in part))) for part in parts.values())
        if best is None or lacking < best[0]:
            best = (lacking, parts)
    assert best is not None
    return best[1]


def excluded_frames(
    listed: Iterable[tuple[str, float]], annotation: Annotation, folder: VideoFolder, start_s: float = 0.0
) -> tuple[set[tuple[str, float]], list[str]]:
    """Key frames to leave out, by the names of the videos, and the lines that are of none of the annotated ones.

    Args:
        listed: videos, perhaps with an ending, and seconds, as of ``read_excluded``.
        start_s: the second at which these count a video's first frame.
    """
    annotated = {(person.video, time_text(person.time_s)) for person in annotation.people}
    found, others = set(), []
    for video, time_s in sorted(listed):
        name, own_s = folder.name_of(video_name(video)), round(time_s - start_s, 3)
        if name is not None and (name, time_text(own_s)) in annotated:
            found.add((name, own_s))
        else:
            others.append(f"{video},{time_s:g}")
    return found, others


def write_split(
    annotation: Annotation, videos: Sequence[str], names: Sequence[str], stem: Path, excluded: set[tuple[str, float]]
) -> Counter[str]:
    """Writes ``<stem>.csv``, ``<stem>_excluded.csv`` and ``<stem>_proposals.pkl`` of some videos.

    The csv has a line per person and action; people without an action are in the proposals only.  Returns how many
    people do what.
    """
    chosen = [person for person in annotation.people if person.video in set(videos)]
    chosen.sort(key=lambda p: (p.video, p.time_s))
    ids = {name: number for number, name in enumerate(names, 1)}
    cells, identities = [], {}
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for person in chosen:
        known = identities.setdefault(person.video, {})
        entity = -1 if person.person is None else known.setdefault(person.person, len(known))
        boxes.setdefault(img_key(person.video, person.time_s), []).append((*person.box, 1.0))
        cells += [(videos.index(person.video), person.time_s, *person.box, ids[a], entity) for a in person.actions]
    table = np.array(cells, np.float64).reshape(-1, 8)
    columns = (table[:, 0].astype(np.int32), table[:, 1], table[:, 2:6])
    rows = AVARows(str(stem), list(videos), *columns, table[:, 6].astype(np.int32), table[:, 7].astype(np.int32))
    write_ava_csv(f"{stem}.csv", rows)
    lines = sorted(f"{video},{time_text(time_s)}\n" for video, time_s in excluded if video in set(videos))
    write_atomic(f"{stem}_excluded.csv", "".join(lines))
    merged = {key: np.unique(np.array(found, np.float32), axis=0) for key, found in boxes.items()}
    write_proposals(f"{stem}_proposals.pkl", merged)
    return Counter(action for person in chosen for action in person.actions)


def write_detected(file: Path, detected: Mapping[str, np.ndarray], videos: Sequence[str], target: Path) -> int:
    """The boxes of some videos from a detector's file; returns how many key frames they are of.

    Raises:
        UserError: none of these videos is in it.
    """
    chosen = {key: boxes for key, boxes in detected.items() if key.rpartition(",")[0] in set(videos)}
    if not chosen:
        example = next(iter(detected), "nothing")
        raise UserError(f"{file}: no boxes of {videos[0]!r} or the like; it has {example!r}")
    write_proposals(target, chosen)
    return len(chosen)


def read_detected(file: Path, start_s: float = 0.0) -> dict[str, np.ndarray]:
    """A detector's boxes by key frame, in seconds of the video.

    Args:
        start_s: the second at which the file counts a video's first frame.
    """
    boxes = read_proposals(file)
    if not start_s:
        return boxes
    moments = {key: split_key(key) for key in boxes}
    later = {key: (video, round(float(time_s) - start_s, 3)) for key, (video, time_s) in moments.items()}
    return {img_key(*later[key]): found for key, found in boxes.items() if later[key][1] >= 0}


def resolve_segments(segments: Sequence[Segment], folder: VideoFolder) -> list[Segment]:
    """Segments of videos that are there.

    Raises:
        ConfigError: there is no such video, or it is shorter.
    """
    findings = Findings(segments[0].where.split(":")[0] if segments else "")
    folder.taken_by_name(segment.video for segment in segments)
    kept = []
    for segment in segments:
        name = _name_of(segment, folder, findings)
        if name is None:
            continue
        if segment.end_s > folder.last_s(name) + BEYOND_S:
            text = f"ends at second {segment.end_s:g}, but {name} lasts from 0 to {folder.last_s(name):.2f} s"
            findings.add(segment.where, text)
        else:
            kept.append(replace(segment, video=name))
    findings.raise_if_any()
    return kept


def write_segments(path: Path, segments: Sequence[Segment]) -> None:
    """Labelled stretches of videos as a csv: ``video,start_s,end_s,label``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "start_s", "end_s", "label"))
    writer.writerows((s.video, f"{s.start_s:.3f}", f"{s.end_s:.3f}", s.label) for s in segments)
    write_atomic(path, text.getvalue())


def write_labels(path: Path, names: Sequence[str]) -> None:
    """A label file as AVA's."""
    bad = next((name for name in names if '"' in name or "\\" in name or not name.isprintable()), None)
    if bad is not None:
        raise UserError(f"the action {printable(repr(bad))} cannot be written to a label file; rename it")
    write_atomic(path, labels_text(names))
