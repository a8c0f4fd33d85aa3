"""Figures of predicted spans against annotated ones: frame accuracy, edit score, F1@IoU and segment mAP.

Spans of one video, or of one person of a video, are a sequence.  All is computed on times in milliseconds, not on
frames; where boundaries lie on frames both are the same.

- **frame_accuracy**: the share of the time of all videos with the right label.  Time without a span is the
  background, which counts: right where both have none.
- **edit**: ``1 - d / max(n, m)`` of each sequence, the mean of all; d is the Levenshtein distance of the labels of its
  n predicted and m annotated segments in their order, whatever their times; 1 where both have none.
- **f1@10, f1@25, f1@50**: predicted segments in order of time; each is right if the annotated segment of its label
  with the highest IoU reaches 0.10, 0.25 or 0.50 and no earlier one took it.  ``F1 = 2 TP / (2 TP + FP + FN)`` of the
  counts of all sequences.
- **mAP@0.3 ... mAP@0.7**, and **mAP**, their mean: the average precision of each annotated class, the mean of those.
  Predictions of all videos in the order of their scores; each takes the free annotated span of its video with the
  highest IoU, if that reaches the threshold, else it is false.  Precision is interpolated at all points: at every
  recall the highest of this and all higher recalls.

The background class is left out of all but the frame accuracy.  For the first three a moment has one label: of
predictions that overlap the one with the higher score holds, then the earlier one; adjoining spans of one label are one
segment.  Annotations that overlap have no such figures.

Videos are the same where their names are, or where one name is the end of the other's path (``a/b.mp4`` of
``/data/a/b.mp4``), of several the longest; a note states it.

*Source*: edit and F1: Lea et al. 2016, 2017; Farha and Gall 2019 (MS-TCN), in 0..1 rather than per cent.  Segment mAP:
ActivityNet's evaluation; THUMOS14's own does not interpolate.  Predictions of equal score are in the order of video and
time; in ActivityNet's they are in any order.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.spans import Span, SpanTable, behind_end

F1_IOU = (0.10, 0.25, 0.50)
MAP_IOU = (0.3, 0.4, 0.5, 0.6, 0.7)
_SHOWN = 3
_SAME_S = 0.5  # by which two durations of one video may differ: one is to its last frame's end, one its container's

Segment = tuple[int, int, str]  # start and end in milliseconds, label
Sequences = dict[tuple[str, str], list[Span]]  # (video, person)


@dataclass
class SpanFigures:
    """What ``score_spans`` gives.

    Attributes:
        figures: by name, 0..1.
        classes: name -> AP@0.3, ..., number of annotated and of predicted spans.
        notes: what is left out and what was taken for granted, a line each.
    """

    figures: dict[str, float] = field(default_factory=dict)
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def score_spans(predicted: SpanTable, truth: SpanTable, background: str | None = None) -> SpanFigures:
    """All figures of the module.

    Args:
        background: the label of spans that are no action.

    Raises:
        UserError: no annotated span, a predicted video that is not among the annotated ones or may be several of them,
            or spans of persons against spans of none.
    """
    result = SpanFigures()
    predicted = with_names_of(truth, predicted, result.notes)
    found, true = (_sequences(table, background) for table in (predicted, truth))
    if not any(true.values()):
        raise UserError(f"{truth.source}: no annotated span" + (f" but of {background!r}" if background else ""))
    found = _matched(found, true, predicted, truth)
    if any(person for _, person in (*found, *true)):  # of persons, a video without spans has no sequence to be right in
        found, true = ({key: spans for key, spans in side.items() if key[1] or spans} for side in (found, true))
    _note_times(predicted, truth, result.notes)
    empty = [key for key in true if not found.get(key) and true[key]]
    if empty:
        result.notes.append(f"{len(empty)} of {len(true)} annotated videos have no predicted span: {_some(empty)}")
    unknown = [key for key, spans in found.items() if key[1] and spans and key not in true]
    if unknown:
        result.notes.append(
            f"{len(unknown)} predicted persons are not annotated: {_some(unknown)}; persons are compared by their ids"
        )
    overlapping = [key for key, spans in true.items() if _overlap(spans)]
    if overlapping:
        names = f"frame_accuracy, edit and f1 need one label per moment; annotations overlap in {_some(overlapping)}"
        result.notes.append(names)
    else:
        _sequence_figures(found, true, _durations(predicted, truth, result.notes), result.figures)
    unscored = [span for spans in found.values() for span in spans if span.score is None]
    if unscored:
        result.notes.append(f"mAP needs scores; {len(unscored)} predicted spans have none")
    _class_figures(found, true, result, scored=not unscored)
    return result


def _sequences(table: SpanTable, background: str | None) -> Sequences:
    """The spans of actions by video and person, in order; videos without any are there too."""
    sequences: Sequences = defaultdict(list)
    for name in table.videos:
        sequences[name, ""] = []
    for span in table.spans:
        spans = sequences[span.video or "", span.person or ""]
        if span.label != background:
            spans.append(span)
    return dict(sequences)


def with_names_of(truth: SpanTable, predicted: SpanTable, notes: list[str]) -> SpanTable:
    """The predictions with the names of the annotated videos, where one name is the end of the other's path.

    Raises:
        UserError: a name that fits several annotated videos, or several names that fit one.
    """
    annotated: dict[str, list[str]] = defaultdict(list)  # file name -> names
    for name in truth.video_names():
        annotated[_parts(name)[-1]].append(name)
    names = {name: _fitting(name, annotated[_parts(name)[-1]]) for name in predicted.video_names()}
    origins: dict[str, list[str]] = defaultdict(list)
    for name, others in names.items():
        origins[others[0]].append(name)
    for source, target, several in (
        *((predicted.source, truth.source, [name, *others]) for name, others in names.items() if len(others) > 1),
        *((truth.source, predicted.source, [other, *found]) for other, found in origins.items() if len(found) > 1),
    ):
        texts = ", ".join(map(repr, several[1 : 1 + _SHOWN]))
        raise UserError(
            f"{source}: the video {several[0]!r} may be any of {len(several) - 1} of {target}: {texts}; give both "
            "files the same names"
        )
    changed = [name for name, (other,) in names.items() if name != other]
    if not changed:
        return predicted
    text = f"{len(changed)} videos have another path in the annotations; the first is {changed[0]!r}, there "
    notes.append(text + repr(names[changed[0]][0]))
    spans = [span if span.video is None else replace(span, video=names[span.video][0]) for span in predicted.spans]
    videos = {names[name][0]: facts for name, facts in predicted.videos.items()}
    return SpanTable(spans, videos, predicted.classes, predicted.settings, predicted.source)


def _fitting(name: str, candidates: Sequence[str]) -> list[str]:
    """The name itself where it is a candidate or none fits; else those that share the most parts with it."""
    if name in candidates:
        return [name]
    shared = {other: _shared_end(_parts(name), _parts(other)) for other in candidates}
    most = max(shared.values(), default=0)
    return [other for other in candidates if shared[other] == most] if most else [name]


def _shared_end(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """The parts of the shorter path where the longer one ends with it, else 0."""
    count = min(len(a), len(b))
    return count if a[-count:] == b[-count:] else 0


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts or (name,)


def _matched(found: Sequences, true: Sequences, predicted: SpanTable, truth: SpanTable) -> Sequences:
    """The predictions under the names of the annotated videos; a file of one video need not name it."""
    videos, annotated = ({video for video, _ in sequences} for sequences in (found, true))
    if "" in videos | annotated and len(videos) <= 1 and len(annotated) == 1:
        (name,) = annotated
        found = {(name, person): spans for (_, person), spans in found.items()}
    unknown = sorted({video for video, _ in found} - annotated)
    if unknown:
        raise UserError(
            f"{predicted.source}: {len(unknown)} videos that are not in {truth.source}, the first is {unknown[0]!r}; "
            f"expected names as {sorted(annotated)[0]!r}; name a video without spans below videos of its json"
        )
    persons = [any(spans and person for (_, person), spans in sequences.items()) for sequences in (found, true)]
    if any(found.values()) and persons[0] != persons[1]:
        with_, without = (truth, predicted) if persons[1] else (predicted, truth)
        raise UserError(f"{with_.source} has spans of persons, {without.source} has spans of whole pictures")
    return found


def _some(keys: Sequence[tuple[str, str]]) -> str:
    texts = [f"{video or 'the video'}{f' (person {person})' if person else ''}" for video, person in keys]
    return ", ".join(texts[:_SHOWN]) + (", ..." if len(texts) > _SHOWN else "")


def _overlap(spans: Sequence[Span]) -> bool:
    ordered = sorted(spans, key=lambda span: span.start_s)
    return any(_ms(a.end_s) > _ms(b.start_s) for a, b in zip(ordered, ordered[1:]))


def _ms(second: float) -> int:
    return round(second * 1000)


def _note_times(predicted: SpanTable, truth: SpanTable, notes: list[str]) -> None:
    """Notes spans behind the end of their video, videos that were predicted in part, and durations that differ."""
    names = {*predicted.videos, *truth.videos}
    single = next(iter(names)) if len(names) == 1 else None  # which spans need not name
    facts = {name: {**predicted.videos.get(name, {}), **truth.videos.get(name, {})} for name in names}
    for table in (predicted, truth):
        late = [(span, behind_end(span, facts.get(span.video or single, {}))) for span in table.spans]
        found = [f"{span.video or single}: {text}" for span, text in late if text]
        if found:
            notes.append(f"{len(found)} spans of {table.source} are behind the end of their video; {found[0]}")
    read_to_s = {name: own.get("read_to_s", math.inf) for name, own in predicted.videos.items()}
    part = [name for name, end_s in read_to_s.items() if end_s < facts[name].get("duration_s", 0)]
    if part:
        what = f"{len(part)} videos of {predicted.source} were read in part, {part[0]} to {read_to_s[part[0]]:g} s"
        notes.append(f"{what}; what is annotated after that counts as missed")
    both = [
        (name, predicted.videos[name], truth.videos[name]) for name in sorted({*predicted.videos} & {*truth.videos})
    ]
    differ = [
        f"{name} lasts {a['duration_s']:g} and {b['duration_s']:g} s"
        for name, a, b in both
        if "duration_s" in a and "duration_s" in b and abs(a["duration_s"] - b["duration_s"]) > _SAME_S
    ]
    if differ:
        notes.append(f"the durations of {len(differ)} videos differ between the files; {differ[0]}, the second counts")


def _durations(predicted: SpanTable, truth: SpanTable, notes: list[str]) -> dict[str, int]:
    """Milliseconds of every video; of one whose duration no file has, up to its last span."""
    names = {*truth.video_names(), *(span.video or "" for span in truth.spans)}
    facts_of = [item for table in (predicted, truth) for item in table.videos.items()]
    stated = {name: facts["duration_s"] for name, facts in facts_of if "duration_s" in facts}
    ends: dict[str, float] = defaultdict(float)
    single = next(iter(names)) if len(names) == 1 else None
    if single is not None:  # which one of the files need not name
        stated = {single: next((facts["duration_s"] for _, facts in reversed(facts_of) if "duration_s" in facts), 0)}
    for span in (*predicted.spans, *truth.spans):
        name = single if single is not None else span.video or ""
        ends[name] = max(ends[name], span.end_s)
    unknown = [name for name in names if not stated.get(name)]
    if unknown:
        what = f"{len(unknown)} of {len(names)} videos have no duration_s in the files"
        notes.append(f"{what}: frame_accuracy is of the time up to their last span")
    return {name: _ms(stated.get(name) or ends[name]) for name in names}


def segments_of(spans: Sequence[Span]) -> list[Segment]:
    """One label per moment, in order of time: of spans that overlap the highest score, then the earliest start."""
    edges = sorted({_ms(t) for span in spans for t in (span.start_s, span.end_s)})
    waiting = sorted(range(len(spans)), key=lambda i: spans[i].start_s, reverse=True)
    active: list[tuple[float, float, int]] = []
    segments: list[Segment] = []
    for start, end in zip(edges, edges[1:]):
        while waiting and _ms(spans[waiting[-1]].start_s) <= start:
            i = waiting.pop()
            heapq.heappush(active, (-(spans[i].score or 0.0), spans[i].start_s, i))
        while active and _ms(spans[active[0][2]].end_s) <= start:
            heapq.heappop(active)
        if not active:
            continue
        label = spans[active[0][2]].label
        if segments and segments[-1][1:] == (start, label):
            start = segments.pop()[0]
        segments.append((start, end, label))
    return segments


def _sequence_figures(found: Sequences, true: Sequences, durations: Mapping[str, int], figures: dict) -> None:
    right = total = 0
    edits: list[float] = []
    counts = {least: np.zeros(3, int) for least in F1_IOU}
    for key in sorted({*found, *true}):
        predicted, annotated = segments_of(found.get(key, ())), segments_of(true.get(key, ()))
        duration = max(durations[key[0]], *(end for _, end, _ in (*predicted, *annotated)), 0)
        right += agreement(predicted, annotated, duration)
        total += duration
        edits.append(edit_score([s[2] for s in predicted], [s[2] for s in annotated]))
        for least, count in counts.items():
            count += segment_counts(predicted, annotated, least)
    figures["frame_accuracy"] = right / total
    figures["edit"] = float(np.mean(edits))
    for least, (tp, fp, fn) in counts.items():
        figures[f"f1@{round(100 * least)}"] = float(2 * tp / (2 * tp + fp + fn))


def agreement(predicted: Sequence[Segment], annotated: Sequence[Segment], duration: int) -> int:
    """Milliseconds with the same label, or without one on both sides."""
    same = both = 0
    i = j = 0
    while i < len(predicted) and j < len(annotated):
        (a, b, label), (c, d, other) = predicted[i], annotated[j]
        shared = max(0, min(b, d) - max(a, c))
        both += shared
        same += shared * (label == other)
        i, j = (i + 1, j) if b <= d else (i, j + 1)
    covered = sum(end - start for start, end, _ in (*predicted, *annotated)) - both
    return same + duration - covered


def edit_score(predicted: Sequence[str], annotated: Sequence[str]) -> float:
    """1 - the Levenshtein distance of the labels by the length of the longer list; 1 where both are empty."""
    row = list(range(len(annotated) + 1))
    for i, label in enumerate(predicted, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(annotated, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (label != other))
    longest = max(len(predicted), len(annotated))
    return 1 - row[-1] / longest if longest else 1.0


def segment_counts(predicted: Sequence[Segment], annotated: Sequence[Segment], least: float) -> tuple[int, int, int]:
    """True and false positives, and false negatives, at an IoU of ``least``."""
    taken = [False] * len(annotated)
    hits = 0
    for segment in predicted:
        overlaps = [span_iou(segment, other) * (segment[2] == other[2]) for other in annotated]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if overlaps and overlaps[best] >= least and not taken[best]:
            taken[best] = True
            hits += 1
    return hits, len(predicted) - hits, len(annotated) - hits


def span_iou(a: tuple, b: tuple) -> float:
    """Intersection over union of two stretches of time: start and end first."""
    shared = min(a[1], b[1]) - max(a[0], b[0])
    return shared / (a[1] - a[0] + b[1] - b[0] - shared) if shared > 0 else 0.0


def _class_figures(found: Sequences, true: Sequences, result: SpanFigures, scored: bool) -> None:
    labels = sorted({span.label for spans in true.values() for span in spans})
    by_class: dict[str, list[tuple[Span, tuple[str, str]]]] = defaultdict(list)
    for key in sorted(found):
        for span in found[key]:
            by_class[span.label].append((span, key))
    for label in labels:
        of_class = {key: [s for s in spans if s.label == label] for key, spans in true.items()}
        row: dict[str, float] = {"annotated": sum(map(len, of_class.values())), "predicted": len(by_class[label])}
        if scored:
            row |= {f"AP@{least:g}": average_precision(by_class[label], of_class, least) for least in MAP_IOU}
        result.classes[label] = row
    others = {label: len(spans) for label, spans in by_class.items() if spans and label not in labels}
    if others:
        names = ", ".join(sorted(others)[:_SHOWN])
        result.notes.append(f"{sum(others.values())} predicted spans are of classes that are not annotated: {names}")
    if scored:
        for least in MAP_IOU:
            result.figures[f"mAP@{least:g}"] = float(np.mean([row[f"AP@{least:g}"] for row in result.classes.values()]))
        result.figures["mAP"] = float(np.mean([result.figures[f"mAP@{least:g}"] for least in MAP_IOU]))


def average_precision(
    predicted: Sequence[tuple[Span, tuple[str, str]]], annotated: Mapping[tuple[str, str], Sequence[Span]], least: float
) -> float:
    """Of one class.

    Args:
        predicted: spans with the key of their sequence.
        annotated: the spans of every sequence.
        least: IoU of a match.
    """
    times = {key: [(_ms(s.start_s), _ms(s.end_s)) for s in spans] for key, spans in annotated.items()}
    taken = {key: [False] * len(spans) for key, spans in times.items()}
    number = sum(map(len, times.values()))
    right = np.zeros(len(predicted))
    for place, i in enumerate(np.argsort([-(span.score or 0.0) for span, _ in predicted], kind="stable")):
        span, key = predicted[i]
        own = (_ms(span.start_s), _ms(span.end_s))
        overlaps = [0.0 if taken[key][j] else span_iou(own, other) for j, other in enumerate(times.get(key, ()))]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if overlaps and overlaps[best] >= least:
            taken[key][best] = True
            right[place] = 1
    recalls = np.cumsum(right) / number
    precisions = np.cumsum(right) / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precisions[::-1])[::-1]  # of this recall and all higher ones
    return float(np.sum(np.diff(recalls, prepend=0.0) * highest))
