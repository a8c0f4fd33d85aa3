"""What a check found: a table for people, a JSON object for programs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from paddlevideo.errors import printable
from paddlevideo.preparation.checking import ERRORS, WARNINGS, Check, Finding


def table_lines(check: Check, max_shown: int) -> list[str]:
    """A row per list, then the findings of each kind, at most ``max_shown`` of them, then a verdict."""
    kinds = [kind for kind in (*ERRORS, *WARNINGS) if any(f.kind == kind for f in check.findings)]
    header = ["set", "lines", "classes", "per class", "frames", "seconds", *kinds]
    rows = [[*_facts(check, split), *_counts(check, split, kinds)] for split in check.num_lines]
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (header, *rows)]
    for kind in kinds:
        found = [finding for finding in check.findings if finding.kind == kind]
        level = "error" if kind in ERRORS else "note"
        lines += ["", f"{level}: {kind} ({len(found)}): {(ERRORS | WARNINGS)[kind]}"]
        lines += [f"  {_line(finding)}" for finding in found[:max_shown]]
        if len(found) > max_shown:
            lines.append(f"  ... and {len(found) - max_shown} more")
    wrong = sum(finding.is_error for finding in check.findings)
    return [*lines, "", f"{wrong} errors in {sum(check.num_lines.values())} lines" if wrong else "nothing is wrong"]


def as_json(check: Check, names: Sequence[str] | None) -> dict[str, Any]:
    """Everything: ``sound``, ``sets`` (counts by class, frames, sizes), ``findings``."""
    return {
        "sound": check.is_sound,
        "num_errors": sum(finding.is_error for finding in check.findings),
        "sets": {split: _set_facts(check, split) for split in check.num_lines},
        "classes": list(names) if names else None,
        "findings": [
            {"level": "error" if f.is_error else "note"}
            | {"kind": f.kind, "set": f.split, "list": f.file, "line": f.line, "path": f.path, "detail": f.detail}
            for f in check.findings
        ],
    }


def _line(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    path = f"{finding.path}: " if finding.path else ""
    return printable(f"{place}: {path}{finding.detail}")


def _facts(check: Check, split: str) -> list[str]:
    facts = _set_facts(check, split)
    per_class, frames, seconds = (facts[key] for key in ("per_class", "num_frames", "seconds"))
    return [
        split,
        str(facts["num_lines"]),
        str(len(facts["samples_by_class"])),
        *map(_range, (per_class, frames, seconds)),
    ]


def _range(values: dict[str, float] | None) -> str:
    return "-" if values is None else " / ".join(f"{values[key]:g}" for key in ("min", "median", "max"))


def _counts(check: Check, split: str, kinds: Sequence[str]) -> list[str]:
    counts = Counter(finding.kind for finding in check.findings if finding.split == split)
    return [str(counts[kind]) if counts[kind] else "-" for kind in kinds]


def _set_facts(check: Check, split: str) -> dict[str, Any]:
    entries = [entry for entry in check.entries if entry.split == split]
    probes = [check.probes[entry.source] for entry in entries]
    good = [probe for probe in probes if probe.reason is None]
    counts = Counter(label for entry in entries for label in entry.labels)
    return {
        "num_lines": check.num_lines[split],
        "num_readable": len(good),
        "samples_by_class": {str(label): counts[label] for label in sorted(counts)},
        "per_class": _spread(list(counts.values())),
        "num_frames": _spread([probe.num_frames for probe in good]),
        "seconds": _spread([round(probe.num_frames / probe.fps, 2) for probe in good if probe.fps]),
        "short_side_px": _spread([min(probe.width, probe.height) for probe in good if probe.width]),
        "num_bytes": sum(probe.num_bytes for probe in good),
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}
