"""Resume points that are whole or not there, and the folder they live in.

A resume point ``S`` is three files or more: ``S.pdparams`` (weights) and ``S.pdopt`` (optimizer), which ``paddle.load``
reads too, ``S.pdema`` and ``S.pdswa`` where weights are averaged, and last of all ``S.pdstates``, a JSON manifest with
everything else and the sha256 of the others.  A point without a manifest, or whose digests differ, is damaged and is
never used.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.modeling.weights import refuse_non_finite
from paddlevideo.safe_io import DamagedFileError, read_pickle, sha256, sweep_temporary, write_atomic, write_pickle

log = logging.getLogger("paddlevideo")

FORMAT = 1
MANIFEST = ".pdstates"
ARRAYS = (".pdparams", ".pdopt", ".pdema", ".pdswa")
Arrays = dict[str, Any]


@dataclass
class ResumePoint:
    """What ``load`` read: array files by suffix, and the manifest's ``state``."""

    stem: Path
    arrays: dict[str, Arrays]
    state: dict[str, Any]


class RunFolder:
    """The output folder of one run; held by a lock, so that a second run cannot write into it.

    Args:
        folder: created if missing.
        model_name: beginning of every checkpoint's name.
        lock: take the lock and sweep leftovers (the one writing rank).

    Raises:
        UserError: another process holds the folder.
    """

    def __init__(self, folder: Path, model_name: str, lock: bool = True):
        self.path, self.model_name = folder, model_name
        self._lock: int | None = None
        if lock:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _take_lock(folder)
            sweep_temporary(folder)

    def release(self) -> None:
        """Gives the lock back; a killed process gives it back too, by ending."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def stem(self, what: str) -> Path:
        """``<folder>/<model_name>_<what>``."""
        return self.path / f"{self.model_name}_{what}"

    def save(self, what: str, arrays: dict[str, Arrays], state: dict[str, Any]) -> Path:
        """Writes a resume point; ``arrays`` maps ``.pdparams``, ``.pdopt``... to their content.  Returns its stem."""
        stem = self.stem(what)
        refuse_non_finite(arrays, stem, "the resume point was not written; the points before it are finite")
        stem.with_name(stem.name + MANIFEST).unlink(missing_ok=True)
        digests = {}
        for suffix, content in arrays.items():
            file = stem.with_name(stem.name + suffix)
            digests[file.name] = write_pickle(file, content)
        self._write_manifest(stem, digests, state)
        return stem

    def copy(self, source: Path, what: str, state: dict[str, Any]) -> Path:
        """A further name for the files of a resume point, without writing the arrays again."""
        stem = self.stem(what)
        stem.with_name(stem.name + MANIFEST).unlink(missing_ok=True)
        old = json.loads(source.with_name(source.name + MANIFEST).read_text(encoding="utf-8"))
        digests = {}
        for name, digest in old["files"].items():
            target = stem.with_name(stem.name + name[len(source.name) :])
            _link(source.with_name(name), target)
            digests[target.name] = digest
        self._write_manifest(stem, digests, state)
        return stem

    def update(self, what: str, state: dict[str, Any]) -> None:
        """Replaces the state of a resume point whose arrays are still right; nothing where there is no such point."""
        stem = self.stem(what)
        if not stem.with_name(stem.name + MANIFEST).is_file():
            return
        old = json.loads(stem.with_name(stem.name + MANIFEST).read_text(encoding="utf-8"))
        self._write_manifest(stem, old["files"], state)

    def points(self) -> list[Path]:
        """Stems of all resume points that have a readable manifest, newest (most steps) first."""
        found = []
        for manifest in self.path.glob(f"{self.model_name}_*{MANIFEST}"):
            stem = manifest.with_name(manifest.name[: -len(MANIFEST)])
            try:
                step = json.loads(manifest.read_text(encoding="utf-8"))["state"]["progress"]["step"]
            except (OSError, ValueError, KeyError, TypeError):
                log.warning("%s: unreadable manifest; this resume point is passed over", manifest)
                continue
            found.append((step, stem.name, stem))
        return [stem for _, _, stem in sorted(found, reverse=True)]

    def newest(self, older_than: Path | None = None) -> ResumePoint | None:
        """The newest valid resume point; damaged ones are named and passed over.  None if there never was one.

        Args:
            older_than: stem of a point; only those that come after it are looked at.

        Raises:
            UserError: there are resume points and every one of them is damaged.
        """
        points = self.points()
        if older_than is not None:
            points = points[points.index(older_than) + 1 :]
        for stem in points:
            try:
                return load(stem)
            except UserError as error:
                log.warning("%s; looking for an older resume point", error)
        if points and older_than is None:
            raise UserError(f"{self.path}: every resume point is damaged; start anew without --resume")
        return None

    def keep_newest(self, what: str, count: int) -> None:
        """Removes all but the newest ``count`` points whose name begins with ``what``."""
        own = [stem for stem in self.points() if stem.name.startswith(self.stem(what).name)]
        for stem in own[count:]:
            remove(stem)

    def _write_manifest(self, stem: Path, digests: dict[str, str], state: dict[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, "files": digests, "state": state}, indent=1)
        write_atomic(stem.with_name(stem.name + MANIFEST), text)


def load(path: str | Path) -> ResumePoint:
    """Reads and verifies a resume point.

    Args:
        path: its stem, or any of its files.

    Raises:
        UserError: no such point; a file missing or damaged, by name.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in (*ARRAYS, MANIFEST) else path
    manifest = stem.with_name(stem.name + MANIFEST)
    if not manifest.is_file():
        raise UserError(f"{stem}: no resume point here (there is no {manifest.name})")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        files, state = content["files"], content["state"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{manifest}: damaged ({error})") from error
    if content.get("format") != FORMAT:
        raise UserError(f"{manifest}: written in format {content.get('format')}, this version reads {FORMAT}")
    arrays = {}
    for name, digest in files.items():
        file = stem.with_name(name)
        if not file.is_file():
            raise DamagedFileError(f"{file}: is missing from the resume point")
        if sha256(file) != digest:
            raise DamagedFileError(f"{file}: damaged (its sha256 is not the one in {manifest.name})")
        content = read_pickle(file)
        refuse_non_finite(content, file, "the training that wrote it has diverged; this resume point is of no use")
        arrays[name[len(stem.name) :]] = content
    return ResumePoint(stem, arrays, state)


def remove(stem: Path) -> None:
    """Deletes a resume point, manifest first, so that a crash leaves no half of one that looks whole."""
    manifest = stem.with_name(stem.name + MANIFEST)
    manifest.unlink(missing_ok=True)
    for suffix in ARRAYS:
        stem.with_name(stem.name + suffix).unlink(missing_ok=True)


def numpy_state(layer: Any) -> dict[str, np.ndarray]:
    """A layer's state dict as arrays."""
    return {name: np.asarray(value.numpy()) for name, value in layer.state_dict().items()}


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # no hard links here
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)


def _take_lock(folder: Path) -> int:
    import fcntl

    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # a record lock belongs to this process alone: loader workers that outlive a kill do not hold it
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UserError(
            f"{folder}: another run is writing here; give this one its own with -o output_dir=PATH"
        ) from None
    return descriptor
