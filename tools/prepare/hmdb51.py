"""Lists of HMDB51 from the official split files.

    python tools/prepare/hmdb51.py --videos data/hmdb51/videos --split 1

Annotations: the folder ``testTrainMulti_7030_splits`` (or one that holds it) with a file
``<class>_test_split<1|2|3>.txt`` per class and lines ``name.avi 1``: 1 training, 2 test, 0 not in this split.
Videos: ``<class>/<name>.avi``.  The test set is the validation set (``val``), as in MMAction2's lists.
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

FOLDER = "testTrainMulti_7030_splits"
SPLIT_OF = {"1": "train", "2": "val", "0": None}


def read(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train and val, class by class."""
    folder = annotations / FOLDER if (annotations / FOLDER).is_dir() else annotations
    splits: dict[str, list[AnnotatedClip]] = {"train": [], "val": []}
    for label, name in enumerate(classes.names):
        file = find_file(folder, f"{name}_test_split{args.split}.txt")
        for where, text in text_lines(file):
            video, _, mark = text.rpartition(" ")
            if mark not in SPLIT_OF or not video.strip():
                raise UserError(f"{where}: expected 'name.avi 0|1|2', has {text[:80]!r}")
            if SPLIT_OF[mark]:
                stem = video.strip().removesuffix(".avi")
                splits[SPLIT_OF[mark]].append(AnnotatedClip((f"{name}/{stem}", stem), label, where))
    unknown = sorted({f.name.rpartition("_test_split")[0] for f in folder.glob("*_test_split?.txt")} - {*classes.names})
    for name in unknown:
        classes.note(str(folder), f"class {name!r} is not in the class list")
    return splits


RECIPE = Recipe("hmdb51", read, "hmdb51_{split}_split_{number}_{kind}.txt", num_splits=3)


def main(argv: list[str] | None = None) -> int:
    """Writes the lists of train and val of one split."""
    return RECIPE.run(argv, __doc__)


if __name__ == "__main__":
    sys.exit(run_command(main))
