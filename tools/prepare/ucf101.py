"""Lists of UCF101 from the official split files.

    python tools/prepare/ucf101.py --videos data/ucf101/videos --split 1

Annotations (or a folder ``ucfTrainTestlist`` in them): ``classInd.txt`` with lines ``1 ApplyEyeMakeup``, counted from
1; ``trainlist0N.txt`` with lines ``Class/v_Class_g08_c01.avi 1``; ``testlist0N.txt`` with the paths only.
The test set is the validation set (``val``).  Paths are listed without ``.avi``, as PaddleVideo's lists are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from paddlevideo.cli.command import run_command
from paddlevideo.errors import UserError
from paddlevideo.preparation.list_files import AnnotatedClip, Classes, find_file, text_lines
from paddlevideo.preparation.recipe import Recipe

FOLDER = "ucfTrainTestlist"
SPLITS = {"train": "trainlist", "val": "testlist"}


def read(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train and val."""
    folder = annotations / FOLDER if (annotations / FOLDER).is_dir() else annotations
    order = find_file(folder, "classInd.txt")
    pairs = [text.split(maxsplit=1) for _, text in text_lines(order)]
    if [pair[0] for pair in pairs] != [str(k) for k in range(1, len(pairs) + 1)] or any(len(p) < 2 for p in pairs):
        raise UserError(f"{order}: expected lines '1 ApplyEyeMakeup', counted from 1")
    classes.check_order([pair[1] for pair in pairs], order)
    return {
        split: [
            clip(where, text, classes) for where, text in text_lines(find_file(folder, f"{stem}{args.split:02d}.txt"))
        ]
        for split, stem in SPLITS.items()
    }


def clip(where: str, text: str, classes: Classes) -> AnnotatedClip:
    """One line; the class is the folder, and the number after it, counted from 1, must agree."""
    path, dot, rest = text.partition(".avi")
    name, slash, stem = path.rpartition("/")
    if not (dot and slash):
        raise UserError(f"{where}: expected 'Class/name.avi', has {text[:80]!r}")
    label = classes.id_of(name, where)
    if rest.strip() and label >= 0 and rest.strip() != str(label + 1):
        classes.note(where, f"says class {rest.strip()}, but {name} is {label + 1} in classInd.txt")
    return AnnotatedClip((path, stem), label, where)


RECIPE = Recipe(
    "ucf101", read, "ucf101_{split}_split_{number}_{kind}.txt", ending=False, ignore_case=True, num_splits=3
)


def main(argv: list[str] | None = None) -> int:
    """Writes the lists of train and val of one split."""
    return RECIPE.run(argv, __doc__)


if __name__ == "__main__":
    sys.exit(run_command(main))
