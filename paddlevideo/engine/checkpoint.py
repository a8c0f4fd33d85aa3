"""Resume points, complete or absent, and their folder.

A resume point ``S`` is three files or more: ``S.pdparams`` (weights) and ``S.pdopt`` (optimizer), which ``paddle.load``
reads too, ``S.pdema`` and ``S.pdswa`` where weights are averaged, and last of all ``S.pdstates``, a JSON manifest with
everything else and the sha256 of the others.  A point without a manifest, or whose digests differ, is damaged and is
never used.

A run has an identity, a random name in ``run.json`` of its folder and in every manifest.  Points of another
run in the same folder are neither continued nor deleted.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.classes import NOTE, Classes, write_weights
from paddlevideo.engine.background import Background
from paddlevideo.errors import UserError
from paddlevideo.finite import refuse_non_finite
from paddlevideo.manifest import SUFFIX as MANIFEST
from paddlevideo.manifest import read_manifest, write_manifest
from paddlevideo.network_input import KEY as INPUT
from paddlevideo.safe_io import DamagedFileError, read_pickle, sha256, sweep_temporary, write_atomic, write_pickle

log = logging.getLogger("paddlevideo")

ARRAYS = (".pdparams", ".pdopt", ".pdema", ".pdswa")
IDENTITY = "run.json"
# what a run writes into its folder, besides what others keep there
_WRITTEN = (
    IDENTITY, "config.yaml", "class_names.txt", "log*.txt", "metrics.jsonl", "metrics_*.csv", "unreadable_train.txt",
    "training.html", "training.json", "report*.html", "predictions*.csv", "tensorboard", "visualdl", "wandb", "mlruns",
)  # fmt: skip
_NO_IDENTITY = "unknown"  # of points that were written before runs had one
_IN_A_RUN = re.compile(r"_step_\d{8}\.pdparams$")
Arrays = dict[str, Any]


@dataclass
class ResumePoint:
    """What ``load`` read: array files by suffix, and the manifest's ``state``."""

    stem: Path
    arrays: dict[str, Arrays]
    state: dict[str, Any]

    @property
    def run(self) -> str:
        """The identity of the run that wrote it."""
        return self.state.get("run", _NO_IDENTITY)

    @property
    def classes(self) -> Classes:
        """The run's class names; unknown before format 2."""
        return Classes.of(self.state.get("classes"), str(self.stem))


@dataclass(frozen=True)
class PointEntry:
    """A resume point in a folder, by its manifest alone."""

    step: int
    stem: Path
    run: str


class RunFolder:
    """The output folder of one run; held by a lock, so that a second run cannot write into it.

    Attributes:
        run: the identity of the run that writes here.
        classes: what its class indices mean; both are in every manifest.
        input: what its clips are, as ``network_input.input_of`` gives it; in the note of every weights file.
        background: the thread that writes here while training goes on.

    Args:
        folder: created if missing.
        model_name: beginning of every checkpoint's name.
        lock: take the lock and sweep leftovers (the one writing rank).

    Raises:
        UserError: another process holds the folder, or it cannot be written to.
    """

    def __init__(self, folder: Path, model_name: str, lock: bool = True):
        self.path, self.model_name = folder, model_name
        self.run, self.classes = uuid.uuid4().hex, Classes()
        self.input: dict[str, Any] = {}
        self.background = Background()
        self._lock: int | None = None
        if lock:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = _take_lock(folder)
            except OSError as error:
                raise UserError(
                    f"{folder}: cannot be written to ({error.strerror or error}); name another folder with "
                    "-o output_dir=PATH"
                ) from None
            sweep_temporary(folder)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.release(error)

    def release(self, pending: BaseException | None = None) -> None:
        """Gives the lock back when all is written; a killed process gives it back too, by ending.

        Args:
            pending: the error that ends the run, which is raised by the caller.

        Raises:
            Exception: what was not written; logged instead where an error is pending.
        """
        try:
            self.background.wait()
        except Exception as error:
            if pending is None:
                raise
            log.error("%s", error)
        finally:
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
        old = read_manifest(source.with_name(source.name + MANIFEST))
        digests = {}
        for name, digest in old["files"].items():
            target = stem.with_name(stem.name + name[len(source.name) :])
            _link(source.with_name(name), target)
            digests[target.name] = digest
        self._write_manifest(stem, digests, state)
        return stem

    def update(self, what: str, state: dict[str, Any]) -> None:
        """Replaces the state of a resume point and keeps its arrays; does nothing where there is no such point."""
        stem = self.stem(what)
        if stem.with_name(stem.name + MANIFEST).is_file():
            self._write_manifest(stem, read_manifest(stem.with_name(stem.name + MANIFEST))["files"], state)

    def save_weights(self, what: str, framework: Any, progress: Mapping[str, Any]) -> None:
        """``<stem>.pdparams`` of a network, and of each part that it deploys by itself; each with a note.

        Args:
            progress: ``epoch``, ``step`` and what else the note states.
        """
        self.weights_job(what, framework, progress)()

    def weights_job(self, what: str, framework: Any, progress: Mapping[str, Any]) -> Callable[[], None]:
        """``save_weights`` of the weights as they are now, to be called when they may have changed."""
        stem, about = self.stem(what), {"model_name": self.model_name, "run": self.run, INPUT: self.input, **progress}
        states = {ending: numpy_state(network) for ending, network in framework.checkpoints().items()}

        def write() -> None:
            for ending, state in states.items():
                write_weights(stem.with_name(f"{stem.name}{ending}.pdparams"), state, self.classes, about)

        return write

    def entries(self) -> tuple[list[PointEntry], int]:
        """All resume points that have a valid manifest, newest (most steps) first; and how many have a damaged one."""
        found, damaged = [], 0
        for manifest in self.path.glob(f"{self.model_name}_*{MANIFEST}"):
            stem = manifest.with_name(manifest.name[: -len(MANIFEST)])
            try:
                state = read_manifest(manifest)["state"]
            except UserError as error:
                log.warning("%s; this resume point is passed over", error)
                damaged += 1
                continue
            if state["config"].get("model_name", self.model_name) == self.model_name:  # TSM_* is TSM_large_*, too
                found.append(PointEntry(state["progress"]["step"], stem, state.get("run", _NO_IDENTITY)))
        return sorted(found, key=lambda entry: (entry.step, entry.stem.name), reverse=True), damaged

    def newest(self) -> ResumePoint | None:
        """The newest valid resume point of the run of this folder; damaged ones are logged and skipped.

        Returns:
            None if there never was one.

        Raises:
            UserError: every one of them is damaged, or the folder has points of several runs and none is chosen.
        """
        entries, damaged = self.entries()
        runs = sorted({entry.run for entry in entries})
        own = self._identity() or (runs[0] if len(runs) == 1 else None)
        points = [entry.stem for entry in entries if entry.run == own]
        if entries and not points:
            names = ", ".join(next(e.stem.name for e in entries if e.run == run) for run in runs)
            raise UserError(
                f"{self.path}: holds resume points of {len(runs)} other run(s), newest {names}; name the one to "
                "continue: --resume PATH"
            )
        for stem in points:
            try:
                return load(stem)
            except UserError as error:
                log.warning("%s; looking for an older resume point", error)
        if points or damaged:
            raise UserError(
                f"{self.path}: every resume point is damaged; start anew without --resume, and with --overwrite, which "
                "moves what is there aside"
            )
        return None

    def keep_newest(self, what: str, count: int, step: int) -> None:
        """Removes all but the newest ``count`` of this run's points up to ``step`` named ``what...``."""
        own = [e.stem for e in self.entries()[0] if e.run == self.run and e.step <= step]
        for stem in [stem for stem in own if stem.name.startswith(self.stem(what).name)][count:]:
            remove(stem)

    def in_the_way(self, point: ResumePoint | None, newest: bool = False) -> list[str]:
        """What a start from ``point`` would lose: resume points and weights that are not of its own past.

        Args:
            point: None: a start at the beginning.
            newest: it is the newest valid one of its run, so that those beyond it are damaged.
        """
        if point is None:
            manifests = {file.name for file in self.path.glob(f"*{MANIFEST}")}
            weights = {file.name for file in self.path.glob(f"{self.model_name}_*.pdparams")}
            # a run that was killed within its first resume point has left nothing to continue, and nothing to lose
            halves = {name for name in weights if _IN_A_RUN.search(name) and f"{name[:-9]}{MANIFEST}" not in manifests}
            return sorted(manifests | weights - halves)
        step = point.state["progress"]["step"]
        return [e.stem.name for e in self.entries()[0] if e.run != point.run or (e.step > step and not newest)]

    def move_aside(self, point: ResumePoint | None, lost: Sequence[str]) -> Path:
        """Moves what a start from ``point`` would overwrite into ``previous_N`` in this folder; nothing is deleted.

        Args:
            point: None: everything that a run wrote here is moved.
            lost: with a point, the names of the resume points that are not of its past; the best and averaged weights
                that were written after it go with them.

        Returns:
            That folder.
        """
        number = 1
        while (self.path / f"previous_{number}").exists():
            number += 1
        target = self.path / f"previous_{number}"
        target.mkdir(parents=True)
        # manifests last: until everything is moved, the folder counts as another run's
        for file in sorted(self._of_a_run(point, lost), key=lambda file: (file.name.endswith(MANIFEST), file.name)):
            os.replace(file, target / file.name)
        return target

    def _of_a_run(self, point: ResumePoint | None, lost: Sequence[str]) -> set[Path]:
        if point is None:
            patterns = (*_WRITTEN, *(f"{self.model_name}_*{suffix}" for suffix in ARRAYS))
            files = {file for pattern in patterns for file in self.path.glob(pattern)}
            stems = [manifest.name[: -len(MANIFEST)] for manifest in self.path.glob(f"*{MANIFEST}")]
            notes = list(self.path.glob(f"*.pdparams{NOTE}"))
        else:
            files, stems, step = set(), list(lost), point.state["progress"]["step"]
            notes = [
                note
                for note in self.path.glob(f"{self.model_name}_*.pdparams{NOTE}")
                if _step_of(note, step + 1) > step
            ]
        files |= {self.path / f"{stem}{suffix}" for stem in stems for suffix in (*ARRAYS, MANIFEST)}
        for note in notes:  # X.pdparams.json: X.pdparams, and X.pdopt of the best
            weights = note.with_name(note.name[: -len(NOTE)])
            files |= {note, weights, weights.with_suffix(".pdopt")}
        return {file for file in files if file.exists()}

    def write_identity(self) -> None:
        """Notes in the folder which run writes here from now on, and its class names; on the rank with the lock."""
        if self._lock is None:
            return
        classes = self.classes
        about = {"run": self.run, "model_name": self.model_name, "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_atomic(self.path / IDENTITY, json.dumps({**about, "classes": classes.describe()}, indent=1) + "\n")
        names = self.path / "class_names.txt"
        names.unlink(missing_ok=True)
        if classes.names:
            write_atomic(names, classes.text())

    def written_as(self) -> str | None:
        """The ``model_name`` of the run that wrote here last; None where none is known."""
        return self._noted("model_name")

    def _identity(self) -> str | None:
        return self._noted("run")

    def _noted(self, key: str) -> str | None:
        try:
            value = json.loads((self.path / IDENTITY).read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return value if isinstance(value, str) else None

    def _write_manifest(self, stem: Path, digests: dict[str, str], state: dict[str, Any]) -> None:
        state = {**state, "run": self.run, "classes": self.classes.describe(), INPUT: self.input}
        write_manifest(stem.with_name(stem.name + MANIFEST), {"files": digests, "state": state})


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
    content = read_manifest(manifest)
    files, state = content["files"], content["state"]
    if content["format"] == 1:
        log.warning("%s: format 1, of an earlier version: it has no digest of its own and no class names", manifest)
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
    """Deletes a resume point, manifest first, so that a crash leaves no half that seems whole."""
    manifest = stem.with_name(stem.name + MANIFEST)
    manifest.unlink(missing_ok=True)
    for suffix in ARRAYS:
        stem.with_name(stem.name + suffix).unlink(missing_ok=True)


def _step_of(note: Path, unknown: int) -> int:
    """The step at which the weights beside a note were written."""
    try:
        step = json.loads(note.read_text(encoding="utf-8")).get("step", unknown)
    except (OSError, ValueError, AttributeError, RecursionError):
        return unknown
    return step if isinstance(step, int) else unknown


def numpy_state(layer: Any) -> dict[str, np.ndarray]:
    """A layer's state dict as arrays of their own, which later steps do not change."""
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
