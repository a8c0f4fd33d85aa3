"""Lists of Diving48 (V2 annotations) from the official JSON files.

    python tools/prepare/diving48.py --videos data/diving48/videos

Annotations: ``Diving48_V2_{train,test}.json``, lists of {"vid_name", "label", "start_frame", "end_frame"} with class
ids, and ``Diving48_vocab.json``, the four parts of each class name in class-id order.  Videos: ``<vid_name>.mp4``,
already cut to the dive.  The test set is the validation set (``val``), as in MMAction2's lists.
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
from paddlevideo.preparation.list_files import AnnotatedClip, Classes, find_file, json_records, read_json
from paddlevideo.preparation.recipe import Recipe

SPLITS = {"train": "train", "val": "test"}


def read(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train and val."""
    order = find_file(annotations, "Diving48_vocab.json")
    parts = read_json(order, list)
    if not all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in parts):
        raise UserError(f'{order}: expected lists of words, e.g. ["Back", "15som", "05Twis", "FREE"]')
    classes.check_order(["+".join(part) for part in parts], order)
    return {
        split: [
            AnnotatedClip((str(record["vid_name"]),), classes.check_id(record["label"], where), where)
            for where, record in json_records(find_file(annotations, f"Diving48_V2_{stem}.json"), ("vid_name", "label"))
        ]
        for split, stem in SPLITS.items()
    }


RECIPE = Recipe("diving48", read, "diving48_{split}_list_{kind}.txt")


def main(argv: list[str] | None = None) -> int:
    """Writes the lists of train and val."""
    return RECIPE.run(argv, __doc__)


if __name__ == "__main__":
    sys.exit(run_command(main))
