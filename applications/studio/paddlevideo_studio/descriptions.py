"""The JSON files that describe a job, a model or a video: read into the dataclass that wrote them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import read_json

T = TypeVar("T")


def read_description(file: Path, kind: type[T], what: str) -> T:
    """A dataclass of a file; keys that it has no field for, of a later version, are left out.

    Args:
        what: names the file in errors.

    Raises:
        UserError: damaged, or a field is missing.
    """
    content: Any = read_json(file, what)
    known = {each.name for each in fields(kind)}
    try:
        return kind(**{key: value for key, value in content.items() if key in known})
    except (TypeError, AttributeError) as error:
        raise UserError(f"{file}: not as the studio writes it ({printable(str(error))})") from None


def read_numbered(file: Path, kind: type[T], what: str) -> T:
    """The same in a folder whose name is its ``id``.

    Raises:
        UserError: ... or its id is another one.
    """
    found = read_description(file, kind, what)
    if str(vars(found)["id"]) != file.parent.name:
        raise UserError(f"{file}: id: expected the folder's number, {file.parent.name}")
    return found
