"""Spans of time with a label: what they are, and their files: json, csv, jsonl, SRT and WebVTT.

``json`` holds everything::

    {"format": "paddlevideo.spans", "version": 1,
     "videos": {"a.mp4": {"duration_s": 12.0, "fps": 25.0, "width": 640, "height": 360}},
     "classes": ["run", "walk"],
     "settings": {"window_s": 2.0},
     "spans": [{"video": "a.mp4", "start_s": 0.5, "end_s": 3.25, "label": "run", "score": 0.91, "person": "3"}]}

``csv`` (``video,start_s,end_s,label``, and ``score``, ``person`` where a span has one) and ``jsonl`` (an object of
``spans`` per line; lines may replace others, see ``journals``) hold the spans alone; subtitles hold those of one video
without its name and without scores.  All of them hold times to the millisecond.  ``write_spans`` returns what the form
of a file cannot hold.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from paddlevideo import subtitles
from paddlevideo.errors import CONTROL, UserError
from paddlevideo.findings import Findings
from paddlevideo.journals import current
from paddlevideo.safe_io import read_json, reading, write_atomic

FORMAT = "paddlevideo.spans"
VERSION = 1
LONGEST_S = 1e8  # three years; more is no second of a recording
REQUIRED = ("start_s", "end_s", "label")
COLUMNS = ("video", *REQUIRED, "score", "person")
FORMS = {".json": "json", ".csv": "csv", ".jsonl": "jsonl", ".srt": "srt", ".vtt": "vtt"}
_WAY = "expected a json, csv, jsonl, srt or vtt file of spans"
_LEAST_FPS, _ROUNDING_S = 5.0, 0.001
_FACTS = ("duration_s", "read_to_s", "fps", "width", "height")
_BYTES = re.compile(r"[\ud800-\udfff]")  # surrogates: bytes that are no UTF-8, and those that stand for none
_NO_BYTES = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Span:
    """A stretch of time with a label.

    Attributes:
        start_s, end_s: seconds of the video's clock, 0 at its first frame; rounded to milliseconds; the end is no part.
        label: class name.
        score: 0..1; None: annotated.
        person: an id within the video; None: of the whole picture.
        video: name of the file, any that a file can have; None: the one video at hand.

    Raises:
        ValueError: no stretch of time, no label, a score outside 0..1, a name that no file can have.
    """

    start_s: float
    end_s: float
    label: str
    score: float | None = None
    person: str | None = None
    video: str | None = None

    def __post_init__(self) -> None:
        for name in ("start_s", "end_s"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= LONGEST_S:
                raise ValueError(f"{name}: expected seconds from 0, got {value!r}")
            object.__setattr__(self, name, round(float(value), 3) + 0.0)  # -0.0 becomes 0.0
        if not self.start_s < self.end_s:
            raise ValueError(
                f"expected an end at least 0.001 s after the start, got {self.start_s:.3f} to {self.end_s:.3f}"
            )
        if self.score is not None and not (_is_number(self.score) and 0 <= self.score <= 1):
            raise ValueError(f"score: expected 0 to 1, got {self.score!r}")
        for name in ("label", "person"):
            value = getattr(self, name)
            if value is None and name != "label":
                continue
            if not isinstance(value, str) or not value.strip() or CONTROL.search(value) or _BYTES.search(value):
                raise ValueError(f"{name}: expected a text of UTF-8 without control characters, got {value!r}")
            if value != value.strip():
                raise ValueError(f"{name}: {value!r} begins or ends with a blank")
        if self.video is not None and not _is_file_name(self.video):
            raise ValueError(f"video: expected the name of a file, got {self.video!r}")

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    def order(self) -> tuple:
        """The key by which spans are sorted: video, start, end, person, label."""
        return self.video or "", self.start_s, self.end_s, self.person or "", self.label

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without what is None."""
        values = asdict(self)
        return {key: values[key] for key in COLUMNS if values[key] is not None}


def _is_file_name(value: Any) -> bool:
    """Blanks at the ends, line breaks and bytes that are no UTF-8 (``surrogateescape``) may be in it."""
    return isinstance(value, str) and value != "" and "\0" not in value and not _NO_BYTES.search(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class SpanTable:
    """The spans of a file, sorted (``Span.order``).

    Attributes:
        spans: in any order when it is made.
        videos: name -> duration_s, fps, width, height, as far as known; read_to_s: the spans are of a part, which ends
            there.
        classes: names, in class-id order; empty: unknown.
        settings: how the spans were made.
        source: the file, for messages.
        lines: line of ``source`` of each span; empty: unknown.

    Raises:
        ValueError: a label is not among the classes.
    """

    spans: Sequence[Span]
    videos: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)
    lines: Sequence[int] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        order = sorted(range(len(self.spans)), key=lambda i: self.spans[i].order())
        object.__setattr__(self, "lines", tuple(self.lines[i] for i in order) if self.lines else ())
        object.__setattr__(self, "spans", tuple(self.spans[i] for i in order))
        object.__setattr__(self, "classes", tuple(self.classes))
        if unnamed := sorted({span.label for span in self.spans} - {*self.classes}) if self.classes else []:
            raise ValueError(f"label {unnamed[0]!r} is not among the {len(self.classes)} classes")

    def labels(self) -> list[str]:
        """The classes, or the labels that occur, sorted; as numbers if all of them are."""
        occurring = sorted({span.label for span in self.spans})
        if all(label.isascii() and label.isdecimal() for label in occurring):
            occurring.sort(key=int)
        return list(self.classes) or occurring

    def colours(self) -> dict[str, int]:
        """Label -> number of its colour in pictures: the labels that occur, in the order of the classes."""
        occurring = {span.label for span in self.spans}
        return {label: k for k, label in enumerate(label for label in self.labels() if label in occurring)}

    def video_names(self) -> list[str]:
        """Those of the spans and those without any, sorted."""
        return sorted({*self.videos, *(span.video for span in self.spans if span.video is not None)})


def behind_end(span: Span, facts: Mapping[str, float]) -> str | None:
    """What is wrong with a span that begins at its video's end, or ends more than a frame after it.

    Args:
        facts: of the video; without ``duration_s`` nothing is wrong, without ``fps`` a frame is 0.2 s.
    """
    length_s = facts.get("duration_s", math.inf)
    if span.start_s < length_s and span.end_s <= length_s + 1 / facts.get("fps", _LEAST_FPS) + _ROUNDING_S:
        return None
    return f"a span is from {span.start_s:.3f} to {span.end_s:.3f} s, but the video lasts {length_s:.3f} s"


def form_of(path: str | os.PathLike, form: str | None = None) -> str:
    """The form of a file by its ending.

    Raises:
        UserError: another ending.
    """
    found = form or FORMS.get(Path(path).suffix.lower())
    if found not in FORMS.values():
        raise UserError(f"{path}: {_WAY}")
    return found


def holds_spans(path: str | os.PathLike) -> bool:
    """Whether an existing file is one of spans: by its ending, a json by its ``format``, a csv by its header."""
    ending = Path(path).suffix.lower()
    if ending in (".jsonl", ".srt", ".vtt"):
        return True
    if ending == ".csv" and Path(path).is_file():
        with open(path, encoding="utf-8-sig", errors="replace") as stream:
            line = stream.readline()
        header = next(csv.reader([line], delimiter=_separator(line)), [])
        return set(REQUIRED) <= {name.strip() for name in header}
    if ending == ".json" and Path(path).is_file():
        with open(path, encoding="utf-8-sig", errors="replace") as stream:
            if stream.read(1 << 10).lstrip()[:1] != "{":
                return False
        try:
            return read_json(path).get("format") == FORMAT
        except UserError:  # which the reader of results explains
            return False
    return False


def read_spans(path: str | os.PathLike, form: str | None = None) -> SpanTable:
    """A file of spans.

    Args:
        form: json, csv, jsonl, srt or vtt; None: by the ending.

    Raises:
        UserError: no such file, or of another form.
        ConfigError: entries that are no spans, each with its line.
    """
    form, source = form_of(path, form), os.fspath(path)
    findings = Findings(source)
    if form == "json":
        table = _from_json(source, findings)
        findings.raise_if_any()
        return table
    names = form == "csv"  # which holds names of files as they are, line breaks and odd bytes among them
    with (
        reading(source, f"a {form} file of spans"),
        open(
            source, encoding="utf-8-sig", errors="surrogateescape" if names else None, newline="" if names else None
        ) as stream,
    ):
        text = stream.read()
    entries = list(_READERS[form](text, findings))
    if form == "jsonl":
        entries = current(entries, findings.add)
    spans = [(line, span) for line, entry in entries if (span := span_of(entry, line, findings)) is not None]
    findings.raise_if_any()
    return SpanTable([span for _, span in spans], source=source, lines=[line for line, _ in spans])


def write_spans(path: str | os.PathLike, table: SpanTable, form: str | None = None) -> list[str]:
    """Writes a file of spans; it is whole or not there.

    Returns:
        What the form cannot hold, a line each.

    Raises:
        UserError: subtitles of several videos, or with a person that they cannot hold; the folder is read only.
    """
    form = form_of(path, form)
    videos = {span.video for span in table.spans}
    if form in ("srt", "vtt") and len(videos) > 1:
        raise UserError(
            f"{path}: subtitles are of one video, and the spans are of {len(videos)}; write a file for each"
        )
    bracket = next((span.person for span in table.spans if form == "srt" and "]" in (span.person or "")), None)
    if bracket is not None:
        raise UserError(f"{path}: srt cannot hold the person {bracket!r}, which has a bracket; write vtt")
    # bytes of a name that are no UTF-8: JSON has escapes for them
    errors = "surrogateescape" if form == "csv" else "backslashreplace"
    write_atomic(path, "".join(_WRITERS[form](table)).encode("utf-8", errors))
    held = _HELD[form]
    lost = {
        "scores": "score" not in held and any(span.score is not None for span in table.spans),
        "names of videos": "video" not in held and videos not in (set(), {None}),
        "classes": bool(table.classes),
        "settings": bool(table.settings),
        "durations and rates of videos": any(table.videos.values()),
    }
    missing = [what for what, is_lost in lost.items() if is_lost and form != "json"]
    return [f"{path}: {form} holds no {', '.join(missing)}"] if missing else []


def span_of(entry: Mapping[str, Any], where: str | int, findings: Findings) -> Span | None:
    """A span of ``COLUMNS``; None, and a finding, where it is none.  Further keys are of others and ignored."""
    missing = [key for key in REQUIRED if entry.get(key) in (None, "")]
    if missing:
        findings.add(where, f"has no {', '.join(missing)}; expected {', '.join(REQUIRED)}")
        return None
    person, video = (None if entry.get(key) in (None, "") else entry[key] for key in ("person", "video"))
    if isinstance(person, int) and not isinstance(person, bool):
        person = str(person)
    try:
        return Span(entry["start_s"], entry["end_s"], _text(entry["label"]), entry.get("score"), person, video)
    except ValueError as error:
        findings.add(where, str(error))
        return None


def _text(label: Any) -> Any:
    """A class index is its digits."""
    return str(label) if isinstance(label, int) and not isinstance(label, bool) else label


# ---- json


def _from_json(source: str, findings: Findings) -> SpanTable:
    content = read_json(source, "a json file of spans")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f'{source}: {_WAY}; a json of spans has "format": "{FORMAT}"')
    if content.get("version") != VERSION:
        raise UserError(f"{source}: version {content.get('version')!r} of the format, expected {VERSION}")
    kinds = {"videos": dict, "classes": list, "settings": dict, "spans": list}
    for key, kind in kinds.items():
        if not isinstance(content.get(key, kind()), kind):
            raise UserError(f"{source}: {key}: expected a JSON {kind.__name__}")
    unknown = sorted(content.keys() - {"format", "version", *kinds})
    if unknown:
        findings.add(f"{source}: {unknown[0]}", f"unknown key; expected {', '.join(kinds)}")
    for name, facts in content.get("videos", {}).items():
        good = isinstance(facts, dict) and all(
            key in _FACTS and _is_number(value) and value > 0 for key, value in facts.items()
        )
        if not good:
            findings.add(f"{source}: videos.{name}", f"expected numbers above 0 of {', '.join(_FACTS)}, got {facts!r}")
    classes = content.get("classes", [])
    if not all(isinstance(name, str) and name for name in classes) or len(set(classes)) < len(classes):
        findings.add(f"{source}: classes", "expected names, each once")
    spans = []
    for number, entry in enumerate(content.get("spans", [])):
        where = f"{source}: spans[{number}]"
        if not isinstance(entry, dict):
            findings.add(where, f"expected an object with {', '.join(REQUIRED)}, got {str(entry)[:80]!r}")
            continue
        span = span_of(entry, where, findings)
        if span is not None and classes and span.label not in classes:
            findings.add(where, f"label {span.label!r} is not in classes")
        spans += [span] if span is not None else []
    findings.raise_if_any()
    return SpanTable(spans, content.get("videos", {}), classes, content.get("settings", {}), source)


def _to_json(table: SpanTable) -> Iterator[str]:
    head = {
        "format": FORMAT, "version": VERSION, "videos": {k: dict(v) for k, v in table.videos.items()},
        "classes": list(table.classes), "settings": dict(table.settings),
    }  # fmt: skip
    text = json.dumps(head, indent=1, ensure_ascii=False)
    rows = ",\n  ".join(_line(span) for span in table.spans)
    yield f'{text[:-2]},\n "spans": [{f"{chr(10)}  {rows}{chr(10)} " if rows else ""}]\n}}\n'


def _line(span: Span) -> str:
    return json.dumps(span.to_dict(), ensure_ascii=False)


# ---- csv and jsonl


def _separator(header: str) -> str:
    """What parts the cells of a csv: commas, or the semicolons or tabs of a spreadsheet."""
    return max(",;\t", key=header.count)


_END = "(end)"  # a row after the last one, which a quote that is not closed takes in


def _from_csv(text: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    with reading(findings.source, "a csv of spans"):
        separator = _separator(text.partition("\n")[0])
        whole = io.StringIO(f"{text}\n{_END}", newline="")
        reader = csv.reader(whole, delimiter=separator, skipinitialspace=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        *rows, (_, last) = rows
    if last != [_END]:
        begin = (rows[-1][0] if rows else 0) + 1
        raise UserError(f"{findings.source}:{begin}: a quote is not closed in this line or after it; close it")
    if not rows:
        raise UserError(f"{findings.source}: is empty; expected a header with {','.join(REQUIRED)}")
    header = [name.strip() for name in rows[0][1]]
    wrong = [name for name in REQUIRED if header.count(name) != 1]
    wrong += [name for name in COLUMNS if header.count(name) > 1]
    if wrong:
        raise UserError(f"{findings.source}:{rows[0][0]}: the header has no {wrong[0]}, or several; expected "
                        f"{','.join(COLUMNS)}, of which video, score and person may lack")  # fmt: skip
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            findings.add(
                line, f"has {len(cells)} fields, the header names {len(header)}; a text with a comma is quoted"
            )
            continue
        entry: dict[str, Any] = {name: cell if name == "video" else cell.strip() for name, cell in zip(header, cells)}
        for key in ("start_s", "end_s", "score"):
            cell = entry.get(key) or None
            entry[key] = _number(cell.replace(",", ".") if cell and separator == ";" else cell)  # a decimal comma
        yield line, entry


def _number(text: str | None) -> Any:
    """A number where the text is one; else the text, which ``Span`` refuses."""
    if text is None or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        return text
    return float(text)


def _to_csv(table: SpanTable) -> Iterator[str]:
    columns = [
        c for c in COLUMNS if c not in ("score", "person") or any(getattr(s, c) is not None for s in table.spans)
    ]
    text = io.StringIO()
    writer, quoting = (csv.writer(text, lineterminator="\n", quoting=q) for q in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer.writerow(columns)
    for span in table.spans:
        cells = {**dict.fromkeys(columns, ""), **span.to_dict()}
        cells |= {"start_s": f"{span.start_s:.3f}", "end_s": f"{span.end_s:.3f}"}
        name = cells["video"]  # of which a reader skips blanks before it, but for quoted ones
        (writer if name == name.strip() and not CONTROL.search(name) else quoting).writerow([cells[c] for c in columns])
    yield text.getvalue()


def _from_jsonl(text: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict):
            yield number, entry
        else:
            findings.add(number, f"expected a JSON object with {', '.join(REQUIRED)}")


def _to_jsonl(table: SpanTable) -> Iterator[str]:
    return (f"{_line(span)}\n" for span in table.spans)


_READERS: dict[str, Callable[[str, Findings], Iterator[tuple[int, dict[str, Any]]]]] = {
    "csv": _from_csv,
    "jsonl": _from_jsonl,
    "srt": subtitles.from_srt,
    "vtt": subtitles.from_vtt,
}
_WRITERS: dict[str, Callable[[SpanTable], Iterable[str]]] = {
    "json": _to_json,
    "csv": _to_csv,
    "jsonl": _to_jsonl,
    "srt": subtitles.to_srt,
    "vtt": subtitles.to_vtt,
}
_HELD = {"json": COLUMNS, "csv": COLUMNS, "jsonl": COLUMNS, "srt": (*REQUIRED, "person"), "vtt": (*REQUIRED, "person")}
