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
_LIKE_TIMING = re.compile(r"\d+:\d+\S*\s*-+>")
_PERSON = re.compile(r"\[person ([^\]]*)\] (.+)")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)*\s+([^>]*)>")
_TAG = re.compile(r"</?[A-Za-z0-9][^>]*>")
_SRT_TAG = re.compile(r"</?(?:[biu]|font)(?:\s[^>]*)?>", re.IGNORECASE)
_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


class _Cue(NamedTuple):
    line: int  # of its timing
    start_s: float
    end_s: float
    text: str


def _cues(text: str, findings: Findings) -> Iterator[_Cue]:
    """Of blocks between blank lines the timings, each with the lines behind it, joined by a blank."""
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    for is_blank, group in itertools.groupby(lines, key=lambda item: not item[1]):
        block = list(group)
        if is_blank or re.match(r"(NOTE|STYLE|REGION)\b", block[0][1]):
            continue
        places = [k for k, (_, line) in enumerate(block) if _TIMING.fullmatch(line)]
        bad = [item for k, item in enumerate(block) if k not in places and _LIKE_TIMING.match(item[1])]
        if not bad and (not places or places[0] > 1) and not block[0][1].startswith("WEBVTT"):
            bad = [next((item for item in block[:2] if "-->" in item[1]), block[0])]
        for number, line in bad:
            findings.add(number, f"expected 'H:MM:SS,mmm --> H:MM:SS,mmm', got {line[:80]!r}")
        if bad:
            continue
        for place, end in zip(places, [*places[1:], len(block)]):
            match = _TIMING.fullmatch(block[place][1])
            start_s, end_s = (_seconds(match.groups()[k : k + 4]) for k in (0, 4))
            texts = [line for _, line in block[place + 1 : end]]
            if end < len(block) and len(texts) > 1 and texts[-1].isdecimal():  # the next cue's number
                del texts[-1]
            yield _Cue(block[place][0], start_s, end_s, " ".join(texts))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, milliseconds = parts
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(milliseconds.ljust(3, "0")) / 1000


def _clock(second: float, mark: str) -> str:
    total = round(second * 1000)
    minutes, milliseconds = divmod(total, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{mark}{milliseconds % 1000:03d}"


def from_srt(text: str, findings: Findings) -> Iterator[tuple[int, dict[str, Any]]]:
    for cue in _cues(text, findings):
        text = _SRT_TAG.sub("", cue.text)
        match = _PERSON.fullmatch(text)
        person, label = match.groups() if match else (None, text)
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
