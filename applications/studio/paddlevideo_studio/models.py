"""The models of a project: exported folders, numbered, with ``model.json`` beside their files."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError
from paddlevideo.inference.exported import CONFIG_SUFFIX
from paddlevideo.safe_io import write_atomic
from paddlevideo.weight_names import SUFFIX as NAMES_SUFFIX
from paddlevideo_studio.descriptions import read_numbered
from paddlevideo_studio.journal import now


@dataclass(frozen=True)
class Model:
    """One model.

    Args:
        id: its number.
        kind: ``timeline``, or ``people``: it takes boxes of persons.
        classes: names, in class-id order.
        run: the training that made it; None: it came from outside.
        held_out: ``{"name", "value"}``: its figure on videos that were not trained on.
        previous: that of the model before it, on the same videos.
        measured_on: ``{"videos", "sha256"}``: what ``held_out`` depends on besides the model.
    """

    id: int
    name: str
    kind: str
    classes: tuple[str, ...]
    run: int | None = None
    held_out: dict[str, Any] | None = None
    previous: dict[str, Any] | None = None
    created: str = ""
    measured_on: dict[str, Any] | None = None


class ModelStore:
    """Reads the folder when it is made.

    Raises:
        UserError: a description is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        for leftover in folder.glob(".new-*"):
            shutil.rmtree(leftover)
        self._lock = threading.Lock()
        models = [read_numbered(file, Model, "a model's description") for file in folder.glob("*/model.json")]
        self._models = {model.id: model for model in sorted(models, key=lambda model: model.id)}

    def __iter__(self) -> Iterator[Model]:
        return iter([*self._models.values()])

    def get(self, number: int | None) -> Model | None:
        """The model of that number."""
        return self._models.get(number) if number is not None else None

    def path(self, model: Model) -> Path:
        """The folder that commands take as ``--model_file``."""
        return self.folder / str(model.id)

    def add_folder(
        self,
        source: Path,
        name: str | None = None,
        run: int | None = None,
        held_out: dict[str, Any] | None = None,
        previous: dict[str, Any] | None = None,
        measured_on: dict[str, Any] | None = None,
    ) -> Model:
        """Copies an exported folder; one that is there already is not copied again.  For several threads.

        Raises:
            UserError: it is no export of this suite, has no class names, or a file differs from its digest.
        """
        with self._lock:
            return self._added(source, name, run, held_out, previous, measured_on)

    def _added(
        self,
        source: Path,
        name: str | None,
        run: int | None,
        held_out: dict[str, Any] | None,
        previous: dict[str, Any] | None,
        measured_on: dict[str, Any] | None,
    ) -> Model:
        from paddlevideo.inference.exported import Export

        export = Export.find(source.expanduser(), None, lambda line: None)
        description = export.description
        if description is None:
            raise UserError(f"{source}: has no inference.yml; export the model with paddlevideo export")
        if not description.labels:
            raise UserError(f"{source}: the model has no class names; export it with DATASET.label_names")
        export.check([export.program, export.params])
        same = next(
            (m for m in self if (self.path(m) / "inference.yml").read_bytes() == export.file.read_bytes()), None
        )
        if same is not None:
            return same
        number = max((int(p.name) for p in self.folder.iterdir() if re.fullmatch(r"\d+", p.name)), default=0) + 1
        kind = "people" if description.detection else "timeline"
        model = Model(
            number, name or description.model_name, kind, tuple(description.labels), run, held_out, previous, now(),
            measured_on,
        )  # fmt: skip
        temporary = self.folder / f".new-{number}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        stem = export.program.stem
        beside = {f"{stem}{suffix}" for suffix in (CONFIG_SUFFIX, NAMES_SUFFIX)}  # what a head is taught with
        for file in {"inference.yml", export.program.name, export.params.name, *description.files, *beside}:
            if (found := export.program.parent / Path(file).name).is_file():
                shutil.copyfile(found, temporary / found.name)
        write_atomic(temporary / "model.json", json.dumps(asdict(model), indent=1, ensure_ascii=False) + "\n")
        os.replace(temporary, self.folder / str(number))
        self._models[number] = model
        return model
