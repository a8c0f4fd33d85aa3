"""JSON notes beside array files: ``S.pdstates`` of a resume point, ``S.pdparams.json`` of a weights file.

A manifest carries the SHA-256 of its own content, so that every changed bit is detected.  What is hashed is
the canonical JSON of everything but the digest (sorted keys, no white space), not the file's bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError
from paddlevideo.safe_io import DamagedFileError, reading, write_atomic

FORMAT = 2  # 1: without a digest, without class names and a run's identity
SUFFIX = ".pdstates"

_SHA256 = re.compile(r"[0-9a-f]{64}")
# key path -> (type, least value); a field that is not listed is checked where it is read
_FIELDS: dict[str, tuple[type, int | None]] = {
    "state": (dict, None),
    "state.progress": (dict, None),
    "state.progress.epoch": (int, 0),
    "state.progress.step_in_epoch": (int, 0),
    "state.progress.step": (int, 0),
    "state.seed": (int, 0),
    "state.schedule": (dict, None),
    "state.scaler": (dict, None),
    "state.hooks": (dict, None),
    "state.non_finite": (int, 0),
    "state.shape": (dict, None),
    "state.shape.batches_per_epoch": (int, 1),
    "state.shape.accumulate": (int, 1),
    "state.shape.world_size": (int, 1),
    "state.shape.dataset": (str, None),
    "state.config": (dict, None),
    "state.versions": (dict, None),
}
_SINCE_FORMAT_2: dict[str, tuple[type, int | None]] = {"state.run": (str, None), "state.classes": (dict, None)}
_NAMES = {dict: "a mapping", int: "a whole number", str: "text"}


def write_manifest(path: Path, content: Mapping[str, Any]) -> None:
    """Writes ``content`` with its format and digest; atomic."""
    whole = json.loads(json.dumps({"format": FORMAT, **content}))  # as it will be read: numbers as keys become text
    write_atomic(path, json.dumps({**whole, "digest": digest_of(whole)}, indent=1))


def read_manifest(path: Path) -> dict[str, Any]:
    """The content of a resume point's manifest, verified.

    Raises:
        DamagedFileError: it cannot be read, its digest differs, or a field is missing or out of range.
        UserError: it was written in a later format.
    """
    content = read_note(path)
    fields = _FIELDS if content["format"] == 1 else {**_FIELDS, **_SINCE_FORMAT_2}
    problems = [problem for field, (kind, least) in fields.items() if (problem := _check(content, field, kind, least))]
    problems += _check_files(content.get("files"), path.name[: -len(SUFFIX)])
    if problems:
        raise DamagedFileError(f"{path}: damaged: {'; '.join(problems[:3])}")
    return content


def read_note(path: Path, way_out: str = "") -> dict[str, Any]:
    """A mapping with a ``format`` (1 where none is stated), and from format 2 on with the digest that fits it.

    Args:
        way_out: a sentence for messages, without its full stop.

    Raises:
        DamagedFileError: it cannot be read, or its digest differs.
        UserError: it was written in a later format.
    """
    with reading(path, "a manifest", way_out):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or type(content.setdefault("format", 1)) is not int:
            raise ValueError("expected a mapping with a format")
        digest = content.pop("digest", None)
        if (digest is not None or content["format"] != 1) and digest != digest_of(content):
            raise ValueError("its digest does not fit its content: SHA-256 mismatch")
    if content["format"] not in (1, FORMAT):
        raise UserError(f"{path}: written in format {content['format']}, this version reads 1 to {FORMAT}")
    return content


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _check(content: Mapping[str, Any], field: str, kind: type, least: int | None) -> str | None:
    """What is wrong with a field; None if nothing, or if the mapping around it is reported already."""
    value: Any = content
    *parents, last = field.split(".")
    for key in parents:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        return None
    if last not in value:
        return f"{field}: is missing"
    if type(value[last]) is not kind or (least is not None and value[last] < least):
        wanted = _NAMES[kind] + ("" if least is None else f", at least {least}")
        return f"{field}: expected {wanted}, got {value[last]!r:.80}"
    return None


def _check_files(files: Any, stem: str) -> list[str]:
    """``{file name: SHA-256}``: files of this point, in the manifest's own folder."""
    if not isinstance(files, dict) or not files:
        return ["files: expected a mapping of file names to SHA-256 digests"]
    strange = [name for name in files if not (name.startswith(stem + ".") and Path(name).name == name)]
    problems = [f"files: {name!r:.80} is no file of this resume point" for name in strange]
    wrong = [name for name, digest in files.items() if not (isinstance(digest, str) and _SHA256.fullmatch(digest))]
    return problems + [f"files: {name!r:.80}: expected a SHA-256 digest" for name in wrong]
