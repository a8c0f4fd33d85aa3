"""Spans of one video as SRT and WebVTT.

``from_*`` gives the line and the entry of every span of a text; ``to_*`` the text of a ``spans.SpanTable``, in parts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from paddlevideo.findings import Findings

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMING = re.compile(rf"{_TIME}\s*-->\s*{_TIME}(?:[ \t].*)?", re.ASCII)
_PERSON = re.compile(r"\[person ([^\]]*)\] (.+)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)*\s+([^>]*)>")
_TAG = re.compile(r"</?[A-Za-z0-9][^>]*>")
_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


class _Cue(NamedTuple):
    line: int  # of its timing
    start_s: float
    end_s: float
    text: str


def _cues(text: str, findings: Findings) -> Iterator[_Cue]:
    """Blocks with a timing line; the lines of a cue are joined by a blank."""
    lines = [line.strip() for line in text.split("\n")]
    block_of = [(number, line) for number, line in enumerate(lines, 1)]
    for is_blank, group in itertools.groupby(block_of, key=lambda item: not item[1]):
        if is_blank:
            continue
        block = list(group)
        if re.match(r"(WEBVTT|NOTE|STYLE|REGION)\b", block[0][1]):
            continue
        place = next((k for k, (_, line) in enumerate(block[:2]) if "-->" in line), None)
        match = None if place is None else _TIMING.fullmatch(block[place][1])
        if match is None:
            findings.add(
                block[place or 0][0], f"expected 'H:MM:SS,mmm --> H:MM:SS,mmm', got {block[place or 0][1][:80]!r}"
            )
            continue
        start_s, end_s = (_seconds(match.groups()[k : k + 4]) for k in (0, 4))
        yield _Cue(block[place][0], start_s, end_s, " ".join(line for _, line in block[place + 1 :]))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, milliseconds = parts
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(milliseconds.ljust(3, "0")) / 1000


def _clock(second: float, mark: str) -> str:
    total = round(second * 1000)
    minutes, milliseconds = divmod(total, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{mark}{milliseconds % 1000:03d}"


def from_srt(text: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    for cue in _cues(text, findings):
        match = _PERSON.fullmatch(cue.text)
        person, label = match.groups() if match else (None, cue.text)
        yield cue.line, {"start_s": cue.start_s, "end_s": cue.end_s, "label": label.strip(), "person": person}


def to_srt(table: Any) -> Iterator[str]:
    for number, span in enumerate(table.spans, 1):
        marked = span.person is not None or _PERSON.fullmatch(span.label)
        text = f"[person {span.person or ''}] {span.label}" if marked else span.label
        yield f"{number}\n{_clock(span.start_s, ',')} --> {_clock(span.end_s, ',')}\n{text}\n\n"


def from_vtt(text: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    if not text.startswith("WEBVTT"):
        findings.add(1, "expected WEBVTT in the first line")
    for cue in _cues(text, findings):
        voice = _VOICE.search(cue.text)
        label, person = _TAG.sub("", cue.text), voice[1].strip() if voice else None
        for plain, escape in reversed(_ESCAPES):
            label, person = label.replace(escape, plain), person and person.replace(escape, plain)
        yield cue.line, {"start_s": cue.start_s, "end_s": cue.end_s, "label": label.strip(), "person": person}


def to_vtt(table: Any) -> Iterator[str]:
    yield "WEBVTT\n"
    for span in table.spans:
        label, person = span.label, span.person
        for plain, escape in _ESCAPES:
            label, person = label.replace(plain, escape), person and person.replace(plain, escape)
        text = label if person is None else f"<v {person}>{label}"
        yield f"\n{_clock(span.start_s, '.')} --> {_clock(span.end_s, '.')}\n{text}\n"
