"""Lists of Something-Something V1 and V2 from the official files.

    python tools/prepare/something.py v1 --frames data/sthv1/rawframes
    python tools/prepare/something.py v2 --videos data/sthv2/videos

V1, published as frames ``<id>/00001.jpg``: ``something-something-v1-{labels,train,validation}.csv``, the first one
class name per line in class-id order, the others ``id;class name``.
V2, published as ``<id>.webm``: ``something-something-v2-{labels,train,validation}.json`` (or ``labels.json``...), the
first {class name: "class id"}, the others a list of {"id", "label", "template", "placeholders"}; the class is the
template without its square brackets.  The test sets have no labels, so they have no lists.
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
from paddlevideo.preparation.list_files import (
    AnnotatedClip,
    Classes,
    find_file,
    id_and_name,
    json_records,
    read_json,
    text_lines,
)
from paddlevideo.preparation.recipe import Recipe

SPLITS = {"train": "train", "val": "validation"}


def read_v1(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train and val."""
    order = find_file(annotations, "something-something-v1-labels.csv")
    classes.check_order([text for _, text in text_lines(order)], order)
    return {
        split: [
            AnnotatedClip((clip,), classes.id_of(name, where), where)
            for where, clip, name in id_and_name(find_file(annotations, f"something-something-v1-{stem}.csv"))
        ]
        for split, stem in SPLITS.items()
    }


def read_v2(annotations: Path, classes: Classes, args: argparse.Namespace) -> dict[str, list[AnnotatedClip]]:
    """Clips of train and val."""
    order = find_file(annotations, "something-something-v2-labels.json", "labels.json")
    try:
        official = sorted((int(number), name) for name, number in read_json(order, dict).items())
    except (TypeError, ValueError):
        raise UserError(f'{order}: expected {{"class name": "class id"}}') from None
    if [number for number, _ in official] != list(range(len(official))):
        raise UserError(f"{order}: class ids are not 0..{len(official) - 1}")
    classes.check_order([name for _, name in official], order)
    return {
        split: [
            AnnotatedClip((str(record["id"]),), classes.id_of(class_of(str(record["template"])), where), where)
            for where, record in json_records(
                find_file(annotations, f"something-something-v2-{stem}.json", f"{stem}.json"), ("id", "template")
            )
        ]
        for split, stem in SPLITS.items()
    }


def class_of(template: str) -> str:
    """``Holding [something] next to [something]`` -> the class name."""
    return template.replace("[", "").replace("]", "")


RECIPES = {
    "v1": Recipe("sthv1", read_v1, "sthv1_{split}_list_{kind}.txt", frame_name="{:05}.jpg", from_frames=True),
    "v2": Recipe("sthv2", read_v2, "sthv2_{split}_list_{kind}.txt"),
}


def main(argv: list[str] | None = None) -> int:
    """Writes the lists of the version named first."""
    version, *rest = sys.argv[1:] if argv is None else argv or [""]
    if version in ("-h", "--help"):
        print(__doc__)
        return 0
    if version not in RECIPES:
        raise UserError(f"first say which version: something.py {{{','.join(RECIPES)}}} ...; then --help")
    return RECIPES[version].run(rest, __doc__)


if __name__ == "__main__":
    sys.exit(run_command(main))
