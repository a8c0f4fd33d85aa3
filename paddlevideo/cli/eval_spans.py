"""Scores a file of spans against an annotated one: the part of ``paddlevideo eval`` for spans."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import table


def run(args: argparse.Namespace) -> int:
    """Prints a line per figure, and a row per class."""
    from paddlevideo.metrics.spans import MAP_IOU, score_spans
    from paddlevideo.safe_io import write_atomic
    from paddlevideo.spans import read_spans

    if len(args.results) != 2:
        raise UserError(
            f"{args.results[0]}: read as spans, by its ending or content; expected two files of spans: FOUND ANNOTATED"
        )
    if args.out and Path(args.out).suffix.lower() != ".json":
        raise UserError(f"--out {args.out}: expected a name ending in .json, for the figures of spans")
    predicted, truth = (read_spans(path) for path in args.results)
    for name in {args.background} - {None, *(span.label for t in (predicted, truth) for span in t.spans)}:
        raise UserError(f"--background {name!r}: no span of either file has that label")
    result = score_spans(predicted, truth, args.background)
    columns = ["annotated", "predicted", *(f"AP@{least:g}" for least in MAP_IOU)]
    rows = [["class", *columns]]
    for name, row in result.classes.items():
        rows.append([printable(name), *(f"{row[c]:.4g}" if c in row else "-" for c in columns)])
    print("\n".join(table(rows)))
    for name, value in result.figures.items():
        print(f"{name}: {value:.6g}")
    for note in result.notes:
        print(f"note: {printable(note)}")
    if args.out:
        facts = {"spans": predicted.source, "truth": truth.source, "background": args.background}
        content = {**facts, "figures": result.figures, "classes": result.classes, "notes": result.notes}
        write_atomic(args.out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0
