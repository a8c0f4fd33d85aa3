"""Lists of Kinetics-400 from the official CSV files.

    python tools/prepare/kinetics.py --annotations data/k400/annotations --videos data/k400/videos

Annotations: ``train.csv``, ``validate.csv`` and, if it is there and has labels, ``test.csv`` (or the mirror's
``val.csv``, or ``kinetics_train.csv``...) with the header ``label,youtube_id,time_start,time_end,split``.
Videos: ``<youtube_id>_<start>_<end>.mp4`` with seconds in six digits, as the usual downloads name them, or
``<youtube_id>.mp4``; in any folders.  Kinetics-600 and -700 have the same files: give their --labels.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from paddlevideo.cli.command import run_command
from paddlevideo.errors import UserError
from paddlevideo.preparation.list_files import AnnotatedClip, Classes, csv_rows, find_file
from paddlevideo.preparation.recipe import Recipe

FILES = {"train": ("train",), "val": ("validate", "val"), "test": ("test",)}
COLUMNS = ("youtube_id", "time_start", "time_end")


def read(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train, val, and of test where its file has labels."""
    splits = {}
    for split, stems in FILES.items():
        names = [f"{prefix}{stem}.csv" for stem in stems for prefix in ("", "kinetics_", "kinetics400_")]
        if split == "test" and not any((annotations / name).is_file() for name in names):
            continue
        rows = list(csv_rows(find_file(annotations, *names), COLUMNS))
        if split == "test" and rows and "label" not in rows[0][1]:
            continue  # DeepMind's first release keeps these labels to itself
        times = Counter(row["youtube_id"] for _, row in rows)
        splits[split] = [clip(where, row, classes, times[row["youtube_id"]] == 1) for where, row in rows]
    return splits


def clip(where: str, row: dict[str, str], classes: Classes, single: bool) -> AnnotatedClip:
    """One row.  Some copies write class names with underscores, in the lists as in folders.

    Args:
        single: the only clip of this video, so that a file called by its id alone is it.
    """
    if "label" not in row:
        raise UserError(f"{where.rsplit(':', 1)[0]}: the header has no label")
    name = row["label"].strip('"')
    name = name if name in classes.names else name.replace("_", " ")
    try:
        start_s, end_s = int(float(row["time_start"])), int(float(row["time_end"]))
    except ValueError:
        raise UserError(f"{where}: time_start and time_end are not seconds") from None
    stem = f"{row['youtube_id']}_{start_s:06d}_{end_s:06d}"
    folder = name.replace(" ", "_")
    names = [f"{name}/{stem}", f"{folder}/{stem}", stem, *([row["youtube_id"]] if single else [])]
    return AnnotatedClip(tuple(dict.fromkeys(names)), classes.id_of(name, where), where)


RECIPE = Recipe("k400", read, "{split}.list", frames_folder="k400_frames")


def main(argv: list[str] | None = None) -> int:
    """Writes train.list and val.list."""
    return RECIPE.run(argv, __doc__)


if __name__ == "__main__":
    sys.exit(run_command(main))
