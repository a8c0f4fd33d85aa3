"""People, boxes and actions as annotation tools write them, all to one form.

Times are seconds since a video's first frame.  Every mistake names its file and line, or entry, all of a file at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paddlevideo import safe_io
from paddlevideo.errors import UserError
from paddlevideo.preparation.annotations import read_json, text_lines
from paddlevideo.preparation.importers.coco import read_coco
from paddlevideo.preparation.importers.cvat import read_cvat
from paddlevideo.preparation.importers.label_studio import is_label_studio, read_label_studio
from paddlevideo.preparation.importers.people import Account, Collector, Person, Reading, Segment, video_name
from paddlevideo.preparation.importers.tables import is_ava, read_ava, read_csv, read_jsonl
from paddlevideo.preparation.importers.via import CSV_2, CSV_3, is_via, read_via

__all__ = ["FORMS", "Account", "Person", "Reading", "Segment", "guess_form", "read_people", "video_name"]

_READERS: dict[str, Callable[[Path, Collector], None]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "ava": read_ava,
    "coco": read_coco,
    "via": read_via,
    "cvat": read_cvat,
    "label_studio": read_label_studio,
}
FORMS = tuple(_READERS)


def read_people(path: Path, form: str, reading: Reading, account: Account | None = None) -> list[Person]:
    """Everybody in a file of annotations.

    Args:
        form: one of ``FORMS``, or ``auto``: by the file's ending and content.
        account: what becomes of the file's boxes is added to it.

    Raises:
        UserError, ConfigError: no such file, not of that form, or bad entries.
    """
    form = guess_form(path) if form == "auto" else form
    found = Collector(path, form, reading, account or Account())
    with safe_io.reading(path, f"a {form} file as expected"):
        _READERS[form](path, found)
    people = found.finish()
    if not people and not found.account.segments:
        raise UserError(f"{path}: nobody is annotated in it (read as {form})")
    return people


def guess_form(path: Path) -> str:
    """The form of an annotation file.

    Raises:
        UserError: none that is known.
    """
    ending = path.suffix.lower()
    if ending == ".jsonl":
        return "jsonl"
    if ending == ".xml":
        return "cvat"
    if ending == ".csv":
        first = [text for _, text in zip(range(_COMMENTS), (text for _, text in text_lines(path)))]
        if any(CSV_2 in text for text in first[:1]) or any(CSV_3 in text for text in first):
            return "via"
        return "ava" if is_ava(path) else "csv"
    if ending == ".json":
        content = read_json(path, object)
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            return "coco"
        if isinstance(content, dict) and is_via(content):
            return "via"
        if is_label_studio(content):
            return "label_studio"
    raise UserError(
        f"{path}: cannot tell what this is; expected .csv, .jsonl, COCO, VIA or Label Studio .json, CVAT .xml "
        "(--format names one)"
    )


_COMMENTS = 20  # lines at the head of VIA's csv
