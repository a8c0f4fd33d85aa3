"""Lists of Jester from the official files.

    python tools/prepare/jester.py --frames data/jester/rawframes

Published as frames ``<id>/00001.jpg``.  Annotations: ``jester-v1-{labels,train,validation}.csv``, the first one class
name per line in class-id order, the others ``id;class name``.  The test set has no labels, so it has no list.
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
from paddlevideo.preparation.list_files import AnnotatedClip, Classes, find_file, id_and_name, text_lines
from paddlevideo.preparation.recipe import Recipe

SPLITS = {"train": "train", "val": "validation"}


def read(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train and val."""
    order = find_file(annotations, "jester-v1-labels.csv")
    classes.check_order([text for _, text in text_lines(order)], order)
    return {
        split: [
            AnnotatedClip((clip,), classes.id_of(name, where), where)
            for where, clip, name in id_and_name(find_file(annotations, f"jester-v1-{stem}.csv"))
        ]
        for split, stem in SPLITS.items()
    }


RECIPE = Recipe("jester", read, "jester_{split}_list_{kind}.txt", frame_name="{:05}.jpg", from_frames=True)


def main(argv: list[str] | None = None) -> int:
    """Writes the lists of train and val."""
    return RECIPE.run(argv, __doc__)


if __name__ == "__main__":
    sys.exit(run_command(main))
