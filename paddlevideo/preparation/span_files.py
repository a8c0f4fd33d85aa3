"""Spans of any file that holds them to any other: of this suite, of subtitles, of annotation tools; and whole videos
to training and validation."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings, plural
from paddlevideo.loader.decode import open_video
from paddlevideo.loader.decode.part import last_picture_s
from paddlevideo.preparation.importers.cvat import cvat_video
from paddlevideo.preparation.importers.label_studio import label_studio_tasks
from paddlevideo.preparation.importers.people import (
    ImportOptions,
    ImportSummary,
    PersonBox,
    Segment,
    is_name,
    parts_of,
    video_name,
)
from paddlevideo.preparation.importers.tables import names_boxes
from paddlevideo.preparation.importers.tracks import WrittenTracks
from paddlevideo.preparation.person_annotations import (
    TABLES,
    VideoFolder,
    guess_form,
    read_people,
    spellings,
    split_names,
)
from paddlevideo.preparation.person_tracks import action_segments
from paddlevideo.safe_io import instead_of_a_file, write_atomic
from paddlevideo.spans import FORMS as OWN
from paddlevideo.spans import Span, SpanTable, behind_end, holds_spans, read_spans, write_spans

TOOLS = ("label_studio", "cvat")
FORMS = (*OWN.values(), *TOOLS)
BOXES = "people"
_ROUNDING_S = 0.001


@dataclass
class SpanContent:
    """The content of a file.

    Attributes:
        table: the spans; videos are named with the ending that the file gives them.
        people: boxes of persons over time, where the file has them.
        lines: what was read, dropped, and read in one of several ways.
        times_s: of every frame, float64 [frames], of the videos whose frames are not evenly spaced.
    """

    table: SpanTable
    people: list[PersonBox] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    times_s: Mapping[str, np.ndarray] = field(default_factory=dict)


def read_any(
    path: Path, form: str = "auto", options: ImportOptions | None = None, from_boxes: bool = False
) -> SpanContent:
    """The spans of a file of ``FORMS``, or of another form of ``prepare people`` that holds segments or tracks; of a
    table of persons their boxes alone.

    Args:
        form: ``auto``: by ending and content.
        options: for annotation tools: rates of videos, names that are not parted.
        from_boxes: a table of persons gives the spans of their actions, too (``action_segments``).

    Raises:
        UserError, ConfigError: no such file, not of that form, bad entries, or none that is a span.
    """
    content = read_content(path, form, options, from_boxes)
    if not content.table.spans and content.people and all(person.person is None for person in content.people):
        raise UserError(f"{path}: no segment and no track with an action in it")
    return content


def read_content(
    path: Path, form: str = "auto", options: ImportOptions | None = None, from_boxes: bool = False
) -> SpanContent:
    """``read_any``, also of files that hold nothing but boxes without a person.

    Args:
        form: also ``people``: a file of boxes of persons, in any form of ``prepare people``.
    """
    if not path.is_file():
        raise UserError(f"{path}: {instead_of_a_file(path)}")
    if is_own_form(path, form):
        return SpanContent(read_spans(path, None if form == "auto" else form))
    summary = ImportSummary()
    form = guess_form(path) if form in ("auto", BOXES) else form
    people = read_people(path, form, options or ImportOptions(_no_rate, own_rate=True), summary)
    if from_boxes and people and form not in TABLES:
        raise UserError(
            f"{path}: --from_boxes is for tables of persons ({', '.join(TABLES)}), and it is of form {form}"
        )
    if from_boxes:
        summary.track_segments += action_segments(people, summary)
    segments = [*summary.segments, *_joined(summary.track_segments)]
    findings = Findings(str(path))
    spans = []
    for segment in segments:
        video = segment.video + summary.endings.get(segment.video, "")
        try:
            spans.append(Span(segment.start_s, segment.end_s, segment.label.strip(), None, segment.person, video))
        except ValueError as error:
            findings.add(segment.where, str(error))
    findings.raise_if_any()
    lines = [f"dropped: {count} {why}" for why, count in summary.dropped.items()]
    lines += [f"note: {count} {what}" for what, count in summary.remarks.items()]
    return SpanContent(SpanTable(spans, source=str(path)), people, lines)


def is_own_form(path: Path, form: str = "auto") -> bool:
    """Whether ``read_content`` reads a file as spans, and not as a tool's annotation or a table of persons."""
    if form != "auto":
        return form in OWN.values()
    named = path.suffix.lower() in (".srt", ".vtt") or holds_spans(path) or _names_no_box(path)
    return named and not holds_boxes(path)


def holds_boxes(path: Path) -> bool:
    """Whether a ``.jsonl`` file is of boxes of persons and not of spans: by its first line."""
    if path.suffix.lower() != ".jsonl":
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "")
    try:
        entry = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and "box" in entry


def _names_no_box(path: Path) -> bool:
    """Whether a csv is neither of a tool nor of boxes: read as a file of spans, its error names what it lacks."""
    return path.suffix.lower() == ".csv" and guess_form(path) == "csv" and not names_boxes(path)


def _no_rate(video: str) -> float:
    raise UserError(
        f"the frame rate of {printable(video)!r} is not known, and this form counts frames (--videos or --fps)"
    )


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    """Adjoining stretches of one action of one person as one; of no person, those of one track."""
    joined: dict[tuple, list[Segment]] = defaultdict(list)
    for segment in sorted(segments, key=lambda segment: segment.start_s):
        own = joined[segment.video, segment.person or (segment.where,), segment.label]
        if own and segment.start_s <= own[-1].end_s + 1e-6:
            own[-1] = replace(own[-1], end_s=max(own[-1].end_s, segment.end_s))
        else:
            own.append(segment)
    return [segment for own in joined.values() for segment in own]


def write_any(path: Path, content: SpanContent, form: str | None = None) -> list[str]:
    """Writes ``FORMS``: by the ending (``.xml``: cvat), Label Studio's where ``form`` states it.

    A file for an annotation tool is read again, and compared.

    Returns:
        What the form cannot hold, and what is read back otherwise, a line each.

    Raises:
        UserError: an unknown ending, or the form cannot hold the spans.
    """
    table = content.table
    form = form or {".xml": "cvat"}.get(path.suffix.lower())
    if form not in TOOLS:
        lost = write_spans(path, table, form)
        return lost + ([f"{path}: {len(content.people)} boxes of persons are left out"] if content.people else [])
    # Label Studio counts frames at an even rate whatever the video's are
    tracks = WrittenTracks(table, content.people, content.times_s if form == "cvat" else None)
    if any(span.video is None for span in table.spans):
        raise UserError(f"{path}: {form} names the video of a span, which is not known (--video)")
    if form == "cvat":
        write_atomic(path, cvat_video(table, tracks))
    else:
        text = json.dumps(label_studio_tasks(table, tracks), indent=1, ensure_ascii=False) + "\n"
        write_atomic(path, text.encode("utf-8", "backslashreplace"))
    lost = []
    if any(span.score is not None for span in table.spans):
        lost.append(f"{path}: {form} holds no scores")
    if boxless := tracks.without_boxes():
        lost.append(f"{path}: {boxless} spans of persons have no box: they are written as spans of the picture")
    if acting := _without_span(table, content.people):
        lost.append(f"{path}: {form} has the actions of spans: {acting} boxes of persons have actions without a span; "
                    "a form of boxes holds them")  # fmt: skip
    if form == "label_studio" and (idle := tracks.idle()):
        lost.append(f"{path}: {idle} boxes of persons who do nothing then are left out; cvat holds them")
    if form == "cvat" and any(span.person and not span.person.isdecimal() for span in table.spans):
        lost.append(f"{path}: cvat numbers tracks: names of persons are not kept")
    tracked = [span.label for span in table.spans if form == "cvat" or tracks.keys(span)]
    if parted := [label for label in sorted({*tracked}) if len(parts_of(label)) > 1]:
        lost.append(f"{path}: {parted[0]!r} and the like are read back as several actions, unless --labels names them")
    moved = max((_shift_s(span, tracks) for span in table.spans), default=0.0)
    if moved > 0.0005:
        lost.append(f"{path}: {form} counts frames: times moved by up to {moved:.3f} s")
    ticked = sorted({span.label for span in table.spans if form == "cvat" and not is_name(span.label)})
    if ticked:
        lost.append(f"{path}: cvat: {', '.join(map(repr, ticked))}: each is a checkbox of the label person, as its "
                    "name is also a value")  # fmt: skip
    return lost + [f"{path}: {line}" for line in _misread(path, form, table, tracks)]


def _without_span(table: SpanTable, people: Iterable[PersonBox]) -> int:
    """Number of boxes with an action of which their person has no span then."""
    ranges: dict[tuple, list[tuple[float, float]]] = defaultdict(list)
    for span in table.spans:
        ranges[video_name(span.video or ""), span.person, span.label].append((span.start_s, span.end_s))

    def is_in(person: PersonBox, action: str) -> bool:
        own = ranges.get((video_name(person.video), person.person, action), ())
        return any(start - _ROUNDING_S <= person.time_s <= end + _ROUNDING_S for start, end in own)

    return sum(not all(is_in(person, action) for action in person.actions) for person in people)


_Read = tuple[str, str, int, int, str | None]  # video, label, first frame and the one behind the last, person


def _misread(path: Path, form: str, table: SpanTable, tracks: WrittenTracks) -> list[str]:
    """What reading the file gives otherwise than it was written, but for what ``form`` never holds: a line per label.

    Times are compared by their frames, persons where the form has their names.
    """
    if not table.spans:
        return []
    names = {_base(name, form): name for name in table.video_names()}
    full = {video_name(name): name for name in names.values()} | names
    options = ImportOptions(
        lambda video: tracks.rate(full[video]),
        times_of=lambda video: tracks.clock(full[video]).times_s,
        labels=dict(enumerate(table.labels())),
        own_rate=True,
    )
    try:
        found = read_any(path, form, options).table.spans
    except (UserError, KeyError) as error:
        return [f"it cannot be read back ({' '.join(str(error).split())})"]
    kept = {span.person for span in table.spans if span.person and (form != "cvat" or span.person.isdecimal())}

    def read_of(span: Span, frames: tuple[int, int], has_boxes: bool) -> _Read:
        return _base(span.video, form), span.label, *frames, span.person if has_boxes and span.person in kept else None

    def frames_of(span: Span) -> tuple[int, int]:
        clock = tracks.clock(names.get(_base(span.video, form), next(iter(names.values()))))
        return round(clock.frame(span.start_s)), round(clock.frame(span.end_s))

    written = Counter(read_of(span, tracks.frames_of(span), bool(tracks.keys(span))) for span in table.spans)
    read = Counter(read_of(span, frames_of(span), True) for span in found)
    missing, others = [*(written - read).elements()], [*(read - written).elements()]
    lines = []
    for label in sorted({row[1] for row in missing}):
        rows = [row for row in missing if row[1] == label]
        near = sorted(
            (row for row in others if row[2] < rows[0][3] and row[3] > rows[0][2]), key=lambda row: row[1] != label
        )
        instead = f"{_frames(near[0])} of {near[0][1]!r}" if near else "nothing"
        lines.append(
            f"{len(rows)} spans of {label!r} are read back otherwise; the first: {_frames(rows[0])}; read: {instead}"
        )
    return lines


def _frames(row: _Read) -> str:
    who = f"{row[0]!r}, " + (f"person {row[4]}, " if row[4] else "")
    return f"{who}frames {row[2]} to {row[3] - 1}"


def _base(video: str | None, form: str) -> str:
    """The name by which a file of a tool has a video; CVAT's has no folders."""
    name = video_name(video or "")
    return name.rpartition("/")[2] if form == "cvat" else name


def _shift_s(span: Span, tracks: WrittenTracks) -> float:
    first, behind = tracks.frames_of(span)
    clock = tracks.clock(span.video)
    return max(abs(clock.second(first) - span.start_s), abs(clock.second(behind) - span.end_s))


def merged(contents: Sequence[SpanContent], video: str | None = None) -> SpanContent:
    """Several files as one.

    Args:
        video: of spans whose file does not name it.

    Raises:
        UserError: boxes of persons and no file of spans.
    """
    spans = [replace(s, video=s.video or video) for content in contents for s in content.table.spans]
    facts: dict[str, Mapping[str, float]] = {}
    for content in contents:
        facts |= content.table.videos
    classes = dict.fromkeys(name for content in contents for name in content.table.classes)
    if classes:  # files without the list of their classes add those that occur
        classes |= dict.fromkeys(sorted(span.label for span in spans))
    with_settings = [content.table.settings for content in contents if content.table.spans]
    settings = with_settings[0] if len(with_settings) == 1 else {}
    if not spans and not facts and any(content.people for content in contents):
        source = contents[0].table.source
        raise UserError(
            f"{source}: boxes of persons without spans; name the file of spans, too, or give --from_boxes, which makes "
            "spans of the boxes' actions"
        )
    table = SpanTable(spans, facts, list(classes), settings, contents[0].table.source)
    return SpanContent(table, [p for c in contents for p in c.people], [line for c in contents for line in c.lines])


def cleaned(content: SpanContent, classes: Sequence[str]) -> SpanContent:
    """The spans with one spelling for names that differ in case or spaces only (``spellings``), and each once."""
    table = content.table
    found = Counter(span.label for span in table.spans)
    chosen = spellings(found, classes)
    lines = [
        f"note: {plural(count, 'span')} of {name!r} {'is' if count == 1 else 'are'} taken as of {chosen[name]!r}"
        for name, count in found.items()
        if chosen[name] != name
    ]
    spans = list(dict.fromkeys(replace(span, label=chosen[span.label]) for span in table.spans))
    if twice := len(table.spans) - len(spans):
        lines.append(f"dropped: {plural(twice, 'span')} that another one equals")
    if not lines:
        return content
    return replace(content, table=replace(table, spans=spans, lines=()), lines=[*content.lines, *lines])


def with_videos(content: SpanContent, folder: VideoFolder) -> SpanContent:
    """The spans with their videos as paths below the folder, and those videos' durations, rates and sizes.

    Raises:
        ConfigError: there is no such video, or it ends before the end of a span.
    """
    findings = Findings(content.table.source)
    lines = content.table.lines or [0] * len(content.table.spans)
    line_of = {span.video: line for line, span in zip(reversed(lines), reversed(content.table.spans))}
    names: dict[str, str] = {}
    facts: dict[str, dict[str, float]] = {}
    times_s: dict[str, np.ndarray] = {}
    for video in content.table.video_names():
        name = folder.name_of(_stem(video, folder))
        if name is None:
            findings.add(line_of.get(video, 0), folder.missing(_stem(video, folder), video))
            continue
        names[video] = name + folder.endings[name]
        with open_video(folder.root / names[video]) as reader:
            times, (height, width) = reader.times(), reader.get([0]).shape[1:3]
            fps = folder.fps_of(name)
            end_s = len(reader) / fps if times is None else float(times[-1]) + last_picture_s(times, fps)
            duration_s = round(end_s, 3)
            facts[names[video]] = {"duration_s": duration_s, "fps": fps, "width": width, "height": height}
        if (uneven := folder.times_s(name)) is not None:
            times_s[names[video]] = uneven
    findings.raise_if_any()
    notes = folder.taken_by_name(_stem(video, folder) for video in names)
    content = replace(content, lines=[*content.lines, *(f"note: {text}" for text in notes)])
    spans = []
    for line, span in zip(lines, content.table.spans):
        if span.video is None:
            findings.add(line, "a span names no video (--video)")
            continue
        name = names[span.video]
        if late := behind_end(span, facts[name]):
            findings.add(line, f"{name}: {late}")
        spans.append(replace(span, video=name))
    findings.raise_if_any()
    return replace(content, table=replace(content.table, spans=spans, videos=facts, lines=()), times_s=times_s)


def _stem(video: str, folder: VideoFolder) -> str:
    """The name without its ending, as the folder has it."""
    return video if folder.name_of(video) else video_name(video)


def split_by_video(table: SpanTable, shares: Mapping[str, float], seed: int) -> dict[str, SpanTable]:
    """Whole videos to ``train`` and the sets of ``shares``; of many random splits the one that spreads classes best.

    Raises:
        UserError: too few videos.
    """
    videos = table.video_names()
    labels = {name: {span.label for span in table.spans if span.video == name} for name in videos}
    parts = split_names(labels, shares, seed)
    return {
        split: replace(
            table,
            spans=[span for span in table.spans if span.video in part],
            videos={name: facts for name, facts in table.videos.items() if name in part},
            classes=table.labels(),
            lines=(),
        )
        for split, part in parts.items()
    }


def import_options(fps: float | None, folder: VideoFolder | None) -> ImportOptions:
    """Options that time frames by ``fps``, by the videos, or by what a file states itself."""
    if folder is None:
        return ImportOptions(_no_rate if fps is None else lambda _: fps, own_rate=fps is None)
    return ImportOptions(folder.fps_of, last_s_of=folder.last_s, times_of=folder.times_s)
