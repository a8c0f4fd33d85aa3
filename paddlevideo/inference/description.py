"""``inference.yml``: everything that predict must know about an exported model, written beside it by export."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from paddlevideo.config.reading import read_yaml
from paddlevideo.errors import ConfigError, DamagedFileError, UserError
from paddlevideo.extensions import declare_sources
from paddlevideo.safe_io import sha256, write_atomic

FILE_NAME = "inference.yml"
FORMAT_VERSION = 1
_KINDS = {"program": str, "params": str, "input": dict, "output": dict, "num_classes": int, "score_type": str,
          "views": int, "pipeline": dict, "weights": dict, "check": dict, "versions": dict, "detection": dict,
          "files": dict, "imports": dict}  # fmt: skip
ONE_LABEL, MULTI_LABEL = "probability", "sigmoid"  # kinds of scores


@dataclass(frozen=True)
class Description:
    """What ``inference.yml`` holds, key by key.

    Args:
        input: name, dtype, shape (-1: free) and the order of the axes.
        score_type: ``probability``: of one class out of all, needs no softmax; ``sigmoid``: of every class by itself,
            for several labels per clip.
        views: clips x crops that one video gives, averaged inside the model.
        pipeline: the ``PIPELINE.test`` section, as ``Pipeline.describe()`` gives it.
        labels: K names, or None.
        detection: of a model that takes people's boxes: its inputs, and what ``DetectionSettings`` holds; else empty.
        weights: file name and sha256 of the checkpoint that was exported.
        files: file name -> sha256, of the program and its weights.
        imports: file or module -> sha256, of the user's modules that operators of the pipeline are from.
    """

    model_name: str
    program: str
    params: str
    input: dict[str, Any]
    output: dict[str, Any]
    num_classes: int
    score_type: str
    views: int
    avg_type: str | None
    pipeline: dict[str, Any]
    labels: list[str] | None = None
    weights: dict[str, str] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    detection: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> Path:
        """Writes ``inference.yml`` into ``folder``."""
        values = asdict(self)
        if not self.detection:
            del values["detection"]
        if not self.imports:
            del values["imports"]
        ordered = {"format_version": values.pop("format_version"), **values}
        path = folder / FILE_NAME
        write_atomic(path, yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120))
        return path


def read_description(folder: Path) -> Description | None:
    """The description in a folder, or None if there is none.

    Raises:
        UserError: it is damaged, of a later format, or lacks a key.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        values, _ = read_yaml(path, plain=True)
    except ConfigError as error:
        raise DamagedFileError(f"{path}: damaged ({'; '.join(error.problems[:3])}); export the model again") from None
    if "format_version" not in values:
        raise UserError(f"{path}: not a description of an exported model; export the model again")
    if values["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path}: format {values['format_version']}, but this version reads format {FORMAT_VERSION}; "
            "export the model again with this version, or predict with the one that exported it"
        )
    known = {f.name: f for f in fields(Description)}
    missing = [name for name in ("program", "params", "input", "num_classes", "pipeline") if name not in values]
    unknown = [name for name in values if name not in known]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has the unknown key {', '.join(unknown)}"
        raise UserError(f"{path}: {what}; export the model again")
    wrong = [f"{name}: expected {kind.__name__}, got {values[name]!r:.80}" for name, kind in _KINDS.items()
             if name in values and not isinstance(values[name], kind)]  # fmt: skip
    if wrong:
        raise DamagedFileError(f"{path}: damaged ({'; '.join(wrong[:3])}); export the model again")
    defaults = {"model_name": Path(values["program"]).stem, "output": {}, "score_type": ONE_LABEL}
    values = {**defaults, "views": 1, "avg_type": None, **values}
    if values["score_type"] not in (ONE_LABEL, MULTI_LABEL):
        raise UserError(
            f"{path}: score_type: expected {ONE_LABEL} or {MULTI_LABEL}, got {values['score_type']!r}; export the "
            "model again"
        )
    declare_sources(values.get("imports", {}), str(path))
    return Description(**values)


def check_files(description: Description, program: Path, params: Path) -> None:
    """Compares the files' digests with those noted at export.

    Raises:
        UserError: a file was damaged, or belongs to another export than ``inference.yml``.
    """
    for path in (program, params):
        noted = description.files.get(path.name)
        if noted is not None and sha256(path) != noted:
            raise UserError(
                f"{path}: differs from what {FILE_NAME} beside it was written for: damaged, or of another export; "
                f"export again, or remove {path.name} from the 'files' of {FILE_NAME} if you changed it on purpose"
            )
