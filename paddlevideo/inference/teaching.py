"""A new linear head on the frozen backbone of an exported model, trained on annotated spans within a minute.

- Samples are the windows of ``paddlevideo timeline``, labelled as ``window_labels`` states; their features are computed
  once (``window_features``).
- Classes are those of the model, then new ones in the order of the training list.  A class of the model without a
  sample keeps its weights.
- Windows in ignored time that the model is sure of (0.9) rehearse its classes: else a class without an annotated
  window would be lost to those that have some.
- Unmarked time of the annotated videos is the background class: the one that is named, or that of the model, or, where
  at least 10 windows and a twentieth of all are unmarked, a new one called ``background``.  Of a model with several
  labels per clip it is none of the classes.
- The head is pulled to the old one, and to zero where it is new (``linear_head``).
- Both models are measured on the held-out videos, by the rule from scores to spans of ``timeline``.  A found span with
  more than half of its time in ignored time, which is not annotated, does not count.
- Where the model has a threshold for each of several labels, a class that was taught gets the one of highest F1 on the
  held-out windows; the others keep theirs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import plural
from paddlevideo.inference.export import export
from paddlevideo.inference.exported import MULTI_LABEL, read_description
from paddlevideo.inference.formats import lacking
from paddlevideo.inference.linear_head import PULL, LinearHead, Samples, fit, rehearsal
from paddlevideo.inference.runtimes.base import BACKENDS, Say
from paddlevideo.inference.runtimes.choice import form_files
from paddlevideo.inference.timeline import TimelineSettings, spans_of
from paddlevideo.inference.window_features import FeatureFolder, TaughtFrom, WindowFeatures
from paddlevideo.inference.window_labels import WindowLabels, label_windows, time_without
from paddlevideo.metrics.several_labels import DEFAULT_THRESHOLD, best_thresholds
from paddlevideo.metrics.spans import SpanFigures, score_spans, with_names_of
from paddlevideo.network_input import KEY as INPUT
from paddlevideo.safe_io import sha256
from paddlevideo.spans import Span, SpanTable
from paddlevideo.weight_names import CLASSIFIER

BACKGROUND = "background"
_LEAST_UNMARKED, _LEAST_SHARE = 10, 0.05  # windows that make a background class
_HEADLINE = {"f1@50": "F1@50", "mAP": "mAP"}  # the first one that there is


@dataclass(frozen=True)
class Lesson:
    """What is taught, and how.

    Args:
        train, val: annotated spans; videos are named as below ``videos``.
        ignored: spans that no person has checked.
        videos: the folder of the videos.
        rule: ``TimelineSettings`` of held-out figures, but for ``exclusive``.
        background: name of the class of unmarked time; None: see the module.
        no_background: unmarked time is not used.
        device, batch_size: of the network.
    """

    train: SpanTable
    val: SpanTable
    ignored: SpanTable
    videos: Path
    rule: Mapping[str, Any]
    background: str | None = None
    no_background: bool = False
    device: str = "auto"
    batch_size: int = 8


@dataclass(frozen=True)
class _Video:
    """A video of a list with its features and labels, and its ignored time in seconds."""

    name: str
    features: WindowFeatures
    labels: WindowLabels
    ignored_s: Sequence[tuple[float, float]]


def teach(
    model: TaughtFrom,
    lesson: Lesson,
    out: Path,
    folder: FeatureFolder,
    say: Say,
    on_time: Callable[[float], None] = lambda time_s: None,
) -> dict[str, Any]:
    """Writes an export with a new head, and gives its figures.

    Args:
        out: the export's folder.
        folder: of the features.
        on_time: receives how many seconds of all videos have features.

    Returns:
        ``held_out`` and ``previous``: ``{"name", "value", "videos", "spans"}`` of the new and of the old model on the
        held-out videos;
        ``figures``, ``classes`` and counts.

    Raises:
        UserError: a video that is trained on is held out, too; too few windows or classes; see ``TaughtFrom`` and
            ``FeatureNetwork``.
    """
    from paddlevideo.inference.feature_network import FeatureNetwork

    description = model.export.description
    multi_label, old = description.score_type == MULTI_LABEL, tuple(description.labels)
    files = {part: _files(table, lesson.videos) for part, table in (("train", lesson.train), ("val", lesson.val))}
    _refuse_both(files)
    lesson = replace(lesson, ignored=_named_ignored(lesson, say))
    network = FeatureNetwork(model, lesson.device, lesson.batch_size, say)
    old_head = network.head
    features, features_s = _features(files, folder, network, say, on_time)
    _refuse_behind_end(features["train"], lesson.train)
    start = time.monotonic()
    classes = [*old, *_labels(lesson.train, old)]
    train = _labelled(features["train"], lesson.train, lesson.ignored, classes)
    background = _background(lesson, description.background, multi_label, train, say)
    if background is not None and background not in classes:
        classes.append(background)
        train = _labelled(features["train"], lesson.train, lesson.ignored, classes)
    _say_left_out(train, lesson.val, classes, say)
    samples = _samples(train, classes, background, multi_label)
    _check(samples, classes, multi_label, lesson.train)
    prior = old_head.with_classes(len(classes), multi_label)
    if not multi_label:  # of several labels a class without a sample keeps its row, and its scores with it
        repeated = _repeated(train, samples, prior, len(old), say)
        samples = _samples(train, classes, background, multi_label, repeated)
    head = fit(samples, prior, PULL, multi_label)
    head_s = time.monotonic() - start
    say(f"head of {len(classes)} classes on {len(samples.features)} windows in {head_s:.1f} s")
    val = _labelled(features["val"], lesson.val, lesson.ignored, [*classes, *_labels(lesson.val, classes)])
    rule = {**lesson.rule, "exclusive": not multi_label}
    old_background = background if background in old else description.background
    new_figures = _measure(head, classes, val, lesson.val, {**rule, "background": background}, background)
    old_figures = _measure(old_head, old, val, lesson.val, {**rule, "background": old_background}, background)
    is_taught = samples.taught(multi_label)
    thresholds = _thresholds(description.thresholds, head, is_taught, val, classes, background, say)
    _export(model, network, head, classes, out, background, thresholds, say)
    taught = [name for name, chosen in zip(classes, is_taught) if chosen]
    return {
        **_compared(new_figures, old_figures, lesson.val),
        "classes": classes, "taught": taught, "new_classes": classes[len(old) :], "background": background,
        "windows": {name: int(count) for name, count in zip(classes, (samples.targets * samples.counts).sum(0))},
        "features_s": round(features_s, 2), "head_s": round(head_s, 2),
        "videos": {part: len(names) for part, names in files.items()}, "settings": rule,
    }  # fmt: skip


def _features(
    files: Mapping[str, Mapping[str, Path]], folder: FeatureFolder, network: Any, say: Say,
    on_time: Callable[[float], None],
) -> tuple[dict[str, dict[str, WindowFeatures]], float]:  # fmt: skip
    """The features of all videos of both lists, by part and name, and the seconds that they took."""
    start = time.monotonic()
    paths = [path for part in files.values() for path in part.values()]
    found = iter([*folder.all_of(paths, lambda: network, on_time)])
    features = {part: {name: next(found) for name in files[part]} for part in files}
    seconds = time.monotonic() - start
    num_windows = sum(len(each.features) for part in features.values() for each in part.values())
    say(f"features of {len(paths)} videos, {num_windows} windows, in {seconds:.1f} s "
        f"({folder.num_read} from {folder.folder})")  # fmt: skip
    return features, seconds


def _repeated(
    videos: Sequence[_Video], samples: Samples, prior: LinearHead, num_old: int, say: Say
) -> list[np.ndarray]:
    """Of each video int [W]: the class that a window in ignored time rehearses; -1: none."""
    found = rehearsal(samples, prior, num_old, [each.features.features for each in videos])
    found = [np.where(each.labels.is_free, k, -1) for each, k in zip(videos, found)]
    say(f"{sum(int((each >= 0).sum()) for each in found)} windows in ignored time rehearse the model's classes")
    return found


def _files(table: SpanTable, folder: Path) -> dict[str, Path]:
    """The videos of a list, by name.

    Raises:
        UserError: a span names no video, or a person.
    """
    for span in table.spans:
        if span.video is None or span.person is not None:
            what = "a span without the name of its video" if span.video is None else "spans of persons"
            raise UserError(f"{table.source}: {what}; expected spans of whole pictures, each with its video")
    names = dict.fromkeys([*table.videos, *(span.video for span in table.spans)])
    if not names:
        raise UserError(f"{table.source}: names no video")
    return {name: folder / name for name in sorted(names)}


def _refuse_both(files: Mapping[str, Mapping[str, Path]]) -> None:
    """
    Raises:
        UserError: a video is in both lists, by its name or by its content.
    """
    twice = sorted(files["train"].keys() & files["val"].keys())
    if not twice:
        sizes = {path.stat().st_size for path in files["train"].values() if path.is_file()}
        same = [name for name, path in files["val"].items() if path.is_file() and path.stat().st_size in sizes]
        digests = {sha256(path) for path in files["train"].values() if same and path.is_file()}
        twice = [name for name in same if sha256(files["val"][name]) in digests]
    if twice:
        raise UserError(
            f"--val: {printable(twice[0])}: is a video of --train, too; a held-out video must not be trained on"
        )


def _named_ignored(lesson: Lesson, say: Say) -> SpanTable:
    """The ignored spans with the names that their videos have in the lists.

    Raises:
        UserError: a span without the name of its video.
    """
    listed = {name: {} for table in (lesson.train, lesson.val) for name in table.video_names()}
    if any(span.video is None for span in lesson.ignored.spans):
        raise UserError(f"{lesson.ignored.source}: a span without the name of its video; write it as json or csv")
    notes: list[str] = []
    ignored = with_names_of(SpanTable([], listed, source="the lists"), lesson.ignored, notes)
    for note in notes:
        say(f"{ignored.source}: {note}")
    if other := [name for name in ignored.video_names() if name not in listed]:
        say(f"{ignored.source}: {plural(len(other), 'video')} of neither list; the first is {printable(other[0])}")
    return ignored


def _refuse_behind_end(features: Mapping[str, WindowFeatures], table: SpanTable) -> None:
    """
    Raises:
        UserError: spans of another cut of a video.
    """
    late = [span for span in table.spans if span.start_s >= features[span.video].end_s]
    if late:
        raise UserError(
            f"{table.source}: {plural(len(late), 'span')} behind the end of the video; the first begins at "
            f"{late[0].start_s:.3f} s of {printable(late[0].video)}, which ends at {features[late[0].video].end_s:.3f} "
            "s; give the spans of this video"
        )


def _labels(table: SpanTable, known: Sequence[str]) -> list[str]:
    """Labels of spans that are not known, in the order of the table's classes, then of time."""
    used = dict.fromkeys(span.label for span in table.spans)
    ordered = [*(name for name in table.classes if name in used), *used]
    return [name for name in dict.fromkeys(ordered) if name not in known]


def _labelled(
    features: Mapping[str, WindowFeatures], table: SpanTable, ignored: SpanTable, classes: Sequence[str]
) -> list[_Video]:
    """The videos of a list, with labels of these classes."""
    videos = []
    for name, each in features.items():
        spans, unchecked = ([span for span in part.spans if span.video == name] for part in (table, ignored))
        labels = label_windows(each.windows_s, spans, unchecked, classes)
        videos.append(_Video(name, each, labels, time_without(unchecked, spans)))
    return videos


def _say_left_out(train: Sequence[_Video], val: SpanTable, classes: Sequence[str], say: Say) -> None:
    lost = sum(video.labels.num_lost for video in train)
    if lost:
        say(f"{lost} spans are too short for a window of their own, and are not trained on; a smaller --hop_s has more")
    unknown = _labels(val, classes)
    if unknown:
        say(f"{len(unknown)} classes of the held-out videos are not taught, so none of them is found: "
            f"{', '.join(map(printable, unknown[:5]))}")  # fmt: skip


def _background(lesson: Lesson, own: str | None, multi_label: bool, train: Sequence[_Video], say: Say) -> str | None:
    """The class of unmarked time; see the module."""
    unmarked = sum(int((video.labels.unmarked & video.labels.used).sum()) for video in train)
    total = sum(len(video.labels.used) for video in train)
    if lesson.no_background:
        say(f"unmarked time ({unmarked} windows) is not used")
        return None
    name = lesson.background or own
    if name is None and not multi_label and unmarked >= max(_LEAST_UNMARKED, _LEAST_SHARE * total):
        name = BACKGROUND
    if name is not None:
        say(f"unmarked time ({unmarked} windows) is the class {name!r}, which is no span")
    elif multi_label:
        say(f"unmarked time ({unmarked} windows) is none of the classes")
    else:
        say(f"unmarked time ({unmarked} of {total} windows) is too short for a background class, and is not used")
    return name


def _samples(
    videos: Sequence[_Video],
    classes: Sequence[str],
    background: str | None,
    multi_label: bool,
    repeated: Sequence[np.ndarray] | None = None,
) -> Samples:
    """All windows that are used.

    Args:
        repeated: of each video int [W], the class that a window without a label rehearses; -1: none.
    """
    place = classes.index(background) if background is not None else None
    parts: list[tuple[np.ndarray, ...]] = []
    for number, video in enumerate(videos):
        if multi_label:
            targets, counts = video.labels.several(place)
            chosen = counts.any(1)
        else:
            single = video.labels.single(place)
            again = np.full(len(single), -1) if repeated is None else np.where(single < 0, repeated[number], -1)
            single = np.where(again >= 0, again, single)
            chosen = single >= 0
            targets = np.eye(len(classes), dtype=np.float32)[single]
            counts = np.ones_like(targets)
        rehearsed = np.zeros(len(chosen), bool) if multi_label else again >= 0
        columns = (video.features.features, targets, counts, rehearsed)
        parts.append(tuple(column[chosen] for column in columns))
    return Samples(*(np.concatenate(column) for column in zip(*parts)))


def _check(samples: Samples, classes: Sequence[str], multi_label: bool, table: SpanTable) -> None:
    """
    Raises:
        UserError: nothing can be learned from the samples.
    """
    if not len(samples.features):
        raise UserError(
            f"{table.source}: no window of its videos is in a span; give longer spans, or a shorter --window_s and "
            "--hop_s"
        )
    taught = [name for name, is_taught in zip(classes, samples.taught(multi_label)) if is_taught]
    if len(taught) < (1 if multi_label else 2):
        only = f"only of {taught[0]!r}" if taught else "of classes that every window has"
        raise UserError(
            f"{table.source}: all windows are {only}; a head needs spans of two classes, or unmarked time "
            "(--background NAME)"
        )


@dataclass(frozen=True)
class _Figures:
    spans: SpanFigures
    window_accuracy: float | None
    headline: tuple[str, float]


def _measure(
    head: LinearHead,
    classes: Sequence[str],
    videos: Sequence[_Video],
    truth: SpanTable,
    settings: Mapping[str, Any],
    background: str | None,
) -> _Figures:
    """Figures of a head on held-out videos; it may lack classes of the truth."""
    rule, found, facts = TimelineSettings(**settings), [], {}
    right = total = 0
    for video in videos:
        scores = head.scores(video.features.features, not rule.exclusive)
        spans = spans_of(scores, video.features.windows_s, rule, classes, video.name, video.features.end_s)
        found += [span for span in spans if not _mostly_ignored(span, video.ignored_s)]
        facts[video.name] = {"duration_s": round(video.features.end_s, 3)}
        single, best = video.labels.single(None), scores.argmax(1)
        right += int((best == single)[single >= 0].sum())
        total += int((single >= 0).sum())
    figures = score_spans(SpanTable(found, facts, classes), truth, background)
    key = next((key for key in _HEADLINE if key in figures.figures), "mAP")
    return _Figures(figures, right / total if total else None, (_HEADLINE[key], figures.figures.get(key, 0.0)))


def _thresholds(
    old: Sequence[float], head: LinearHead, is_taught: Sequence[bool], videos: Sequence[_Video],
    classes: Sequence[str], background: str | None, say: Say,
) -> list[float]:  # fmt: skip
    """The least score per class that counts as found; [] where the old model has none."""
    if not old:
        return []
    place = classes.index(background) if background is not None else None
    columns = [(head.scores(video.features.features, True), *video.labels.several(place)) for video in videos]
    scores, targets, counts = (np.concatenate(column)[:, : len(classes)] for column in zip(*columns))
    found = list(old) + [DEFAULT_THRESHOLD] * (len(classes) - len(old))
    changed = [k for k, chosen in enumerate(is_taught) if chosen and (targets[:, k] * counts[:, k]).any()]
    for k in changed:
        chosen = counts[:, k] > 0
        found[k] = best_thresholds(scores[chosen, k : k + 1], targets[chosen, k : k + 1])[0]
    say(f"thresholds: of {len(changed)} classes the best on {len(scores)} held-out windows; the others keep theirs, or "
        f"have {DEFAULT_THRESHOLD:g}")  # fmt: skip
    return found


def _mostly_ignored(span: Span, ignored_s: Sequence[tuple[float, float]]) -> bool:
    shared = sum(max(0.0, min(span.end_s, end_s) - max(span.start_s, start_s)) for start_s, end_s in ignored_s)
    return shared > span.duration_s / 2


def _compared(new: _Figures, old: _Figures, truth: SpanTable) -> dict[str, Any]:
    def headline(figures: _Figures) -> dict[str, Any]:
        name, value = figures.headline
        counts = {"videos": len({span.video for span in truth.spans}), "spans": len(truth.spans)}
        return {"name": name, "value": round(value, 4), **counts}

    def all_of(figures: _Figures) -> dict[str, Any]:
        values = {name: round(value, 4) for name, value in figures.spans.figures.items()}
        accuracy = figures.window_accuracy
        return values | {"window_accuracy": accuracy if accuracy is None else round(accuracy, 4)}

    return {
        "held_out": headline(new), "previous": headline(old),
        "figures": {"held_out": all_of(new), "previous": all_of(old)},
        "per_class": {"held_out": new.spans.classes, "previous": old.spans.classes},
        "notes": [*new.spans.notes, *(f"previous model: {note}" for note in old.spans.notes)],
    }  # fmt: skip


def _export(
    model: TaughtFrom, network: Any, head: LinearHead, classes: Sequence[str], out: Path, background: str | None,
    thresholds: Sequence[float], say: Say,
) -> None:  # fmt: skip
    """Writes the export of the network with another head, in the forms that the old one has; the runtimes are as fast
    as they were, so what was timed holds."""
    from paddlevideo.classes import Classes, count_key, write_weights
    from paddlevideo.config import Config
    from paddlevideo.registry import FRAMEWORKS

    data = network.config.to_dict()
    data["MODEL"] = FRAMEWORKS.get(data["MODEL"]["framework"]).deployed(data["MODEL"])[0]
    *path, last = count_key(Config(data)).split(".")
    table = data
    for key in path:
        table = table[key]
    table[last] = len(classes)
    arrays = {key: tensor.numpy() for key, tensor in network.framework.state_dict().items()}
    arrays |= {f"{CLASSIFIER}weight": head.weight, f"{CLASSIFIER}bias": head.bias}
    stem, name = model.export.program.with_suffix(""), model.export.program.stem
    had = [form for form in BACKENDS[1:] if all(file.is_file() for file in form_files(form, stem))]
    forms = [form for form in had if not lacking(form)]
    for form in had:
        if form not in forms:
            packages = " ".join(lacking(form))
            say(f"{out}: without the form {form} of the old export, which needs {packages}: pip install {packages}")
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        weights = Path(folder) / f"{name}.pdparams"
        about = {"taught_from": model.names.file.name, **({"thresholds": list(thresholds)} if thresholds else {})}
        about |= {INPUT: model.names.input} if model.names.input else {}  # with the frame rates of its own training
        write_weights(weights, arrays, Classes(tuple(classes)), about)
        config = Config(data, network.config.source)
        try:
            export(config, weights, out, name, say=_silent, formats=forms)
        except UserError as error:
            if not forms:
                raise
            say(f"{error}; the new model has Paddle's form alone")
            forms = []
            export(config, weights, out, name, say=_silent)
    runtime = model.export.description.runtime
    replace(read_description(out), background=background, runtime=runtime if forms == had else {}).write(out)


def _silent(line: str) -> None:
    """Of an export whose lines are those of the first one."""
