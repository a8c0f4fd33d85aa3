"""What a check of an AVA-style data set found: tables for people, a JSON object for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from paddlevideo.preparation.ava_checking import ERRORS, NOTES, AvaCheck, SplitFacts


def report_lines(check: AvaCheck, max_shown: int = 10) -> list[str]:
    """A row per set, a row per class, the findings of each kind, a verdict."""
    header = ["set", "lines", "videos", "key frames", "people", "classes", "recall@0.5", "recall@0.9"]
    rows = [
        [split, *map(str, (f.lines, f.videos, f.key_frames, f.people, len(f.by_label))), *map(_share, _recalls(f))]
        for split, f in check.facts.items()
    ]
    lines = _table([header, *rows])
    labels = sorted({label for f in check.facts.values() for label in f.by_label} | set(check.names))
    if labels:
        table = [["id", "class", *check.facts]]
        for label in labels:
            counts = [str(f.by_label.get(label, 0)) for f in check.facts.values()]
            table.append([str(label), check.names.get(label, "-"), *counts])
        lines += ["", *_table(table)]
    for kind, meaning in (ERRORS | NOTES).items():
        found = [finding for finding in check.findings if finding.kind == kind]
        total = sum(n for (k, _), n in check.counts.items() if k == kind)
        if found:
            lines += ["", f"{'error' if kind in ERRORS else 'note'}: {kind} ({total}): {meaning}"]
            lines += [f"  {finding}" for finding in found[:max_shown]]
            lines += [f"  ... and {total - max_shown} more"] if total > max_shown else []
    wrong = sum(n for (kind, _), n in check.counts.items() if kind in ERRORS)
    return [*lines, "", f"{wrong} errors" if wrong else "nothing is wrong"]


def as_json(check: AvaCheck) -> dict[str, Any]:
    """Everything: ``sound``, ``sets``, ``findings``."""
    counts: dict[str, int] = defaultdict(int)
    for (kind, _), number in check.counts.items():
        counts[kind] += number
    return {
        "sound": check.is_sound,
        "num_errors": sum(number for kind, number in counts.items() if kind in ERRORS),
        "sets": {split: vars(facts) for split, facts in check.facts.items()},
        "classes": {str(label): name for label, name in check.names.items()},
        "counts": dict(counts),
        "findings": [{"level": "error" if f.is_error else "note", **vars(f)} for f in check.findings],
    }


def _recalls(facts: SplitFacts) -> tuple[float | None, float | None]:
    return facts.recall_50, facts.recall_90


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
