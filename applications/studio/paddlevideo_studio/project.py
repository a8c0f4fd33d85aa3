"""A project: a folder that people can read without this program.

project.json    name, kind, classes with colours, the model in use
videos/         ID.mp4 (or .webm): what is played, analysed and trained on; ID.json, ID.jpg, ID.strip.jpg
originals/      uploads that a browser does not play
spans.jsonl     spans, people.jsonl boxes of persons: see ``journal``; videos are named as below videos/
models/N/       an exported model; model.json beside its files
runs/N/         job.json, log.txt, and what the job made
features/       of windows of the videos; made again where it is removed
"""

from __future__ import annotations

import fcntl
import json
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from paddlevideo.ava_files import RESERVED
from paddlevideo.errors import CONTROL, UserError
from paddlevideo.safe_io import read_json, sweep_temporary, write_atomic
from paddlevideo_studio.journal import BOOKKEEPING, BOX_KEYS, HUMAN, SPAN_KEYS, Journal, new_id, now
from paddlevideo_studio.models import Model, ModelStore
from paddlevideo_studio.videos import VideoStore

FORMAT, VERSION = "paddlevideo.studio", 1
KINDS = ("timeline", "people")
# that colour-blind people tell apart: blue, orange, green, purple, red, teal, brown, pink
COLOURS = ("#2d6cec", "#d1700f", "#10885a", "#7c4dc4", "#d0342c", "#0f8a94", "#8a5a2b", "#c6438f")
LONGEST_NAME = 200
MOST_CLASSES = 1000
_FEW_CLASSES = 40
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ProjectClass:
    """A class; ``colour`` is ``#rrggbb``."""

    name: str
    colour: str


@dataclass(frozen=True)
class ProjectSettings:
    """``project.json``.

    Args:
        model: number of the model in use, or None.
        detector: finds persons for a model of people; None: hog.
        trained, trained_people: the last change of the journal of spans, and of boxes, that a training has seen.
        analysis: options of ``paddlevideo timeline`` that every analysis has, unless it states others.
        renames: of classes, in order: ``{"at": when, "names": {old: new}}``.
    """

    name: str
    kind: str = "timeline"
    classes: tuple[ProjectClass, ...] = ()
    model: int | None = None
    detector: str | None = None
    trained: str | None = None
    trained_people: str | None = None
    analysis: dict[str, float | str] = field(default_factory=dict)
    renames: tuple[dict[str, Any], ...] = ()


@dataclass
class Project:
    """An open project; ``lock`` is held around every look at it and every change.

    Attributes:
        listeners: receive an event's name and its data, after a change.
    """

    root: Path
    settings: ProjectSettings
    videos: VideoStore
    models: ModelStore
    spans: Journal
    people: Journal
    lock: threading.RLock = field(default_factory=threading.RLock)
    listeners: list[Callable[[str, Any], None]] = field(default_factory=list)
    _guard: Any = None

    @property
    def features(self) -> Path:
        """The folder of the features that ``teach`` and ``similar`` share."""
        return self.root / "features"

    @classmethod
    def open(cls, root: Path) -> Project:
        """The project in a folder, which is made where it is not there or empty.

        Raises:
            UserError: the folder is something else, a file of it is damaged, or another server has it open.
        """
        root = root.expanduser().resolve()
        file = root / "project.json"
        if root.exists() and not root.is_dir():
            raise UserError(f"{root}: is a file; expected a folder for the project")
        if root.is_dir() and not file.is_file() and any(not p.name.startswith(".") for p in root.iterdir()):
            raise UserError(f"{root}: has files, but no project.json; name a folder that is empty or not there")
        try:
            for name in ("videos", "originals", "models", "runs"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}; give the project a folder that is yours") from None
        try:
            guard = open(root / ".lock", "w")  # noqa: SIM115 (held as long as the project is open)
        except OSError as error:
            why = f"{error.strerror}; the studio writes to it, so it must be yours, or copy it to a folder that is"
            raise UserError(f"{root}: {why}") from None
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            guard.close()
            raise UserError(f"{root}: another studio has this project open; end that one first") from None
        try:
            for folder in (root, root / "videos", root / "models", root / "runs"):
                sweep_temporary(folder)
            settings = _read_settings(file) if file.is_file() else ProjectSettings(root.name or "project")
            stores = VideoStore(root), ModelStore(root / "models")
            journals = Journal(root / "spans.jsonl", SPAN_KEYS), Journal(root / "people.jsonl", BOX_KEYS)
            project = cls(root, settings, *stores, *journals)
            named = {file for journal in journals for file in journal.videos()}
            project.videos.sweep(named)
            for line in project.videos.missing({line["video"] for journal in journals for line in journal.current()}):
                _say(line)
        except BaseException:
            guard.close()
            raise
        project._guard = guard
        if not file.is_file():
            project.change()
        return project

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees its files."""
        self.spans.close()
        self.people.close()
        self._guard.close()

    def announce(self, event: str, data: Any) -> None:
        """Hands an event to the listeners."""
        for listener in [*self.listeners]:
            listener(event, data)

    def change(self, **values: Any) -> None:
        """Sets fields of ``ProjectSettings`` and writes ``project.json``."""
        with self.lock:
            settings = replace(self.settings, **values)
            content = {"format": FORMAT, "version": VERSION, **asdict(settings)}
            write_atomic(self.root / "project.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
            self.settings = settings
        self.announce("project", {})

    def use(self, model: Model) -> None:
        """Sets the model in use; a project without classes gets those of the model, unless they are many."""
        with self.lock:
            self.change(model=model.id)
            if not self.settings.classes and len(model.classes) <= _FEW_CLASSES:
                self.add_classes([name for name in self.present_classes(model) if name != RESERVED])
        self.announce("models", {})

    def class_names(self) -> list[str]:
        """In the order of the project."""
        return [each.name for each in self.settings.classes]

    def add_classes(self, names: Sequence[str]) -> None:
        """Adds those that it does not have, each with the next colour.

        Raises:
            UserError: a bad name among the new ones, or more classes than a project may have.
        """
        with self.lock:
            had = {*self.class_names()}
            new = [check_name(name, "class") for name in dict.fromkeys(names) if name not in had]
            if new and len(had) + len(new) > MOST_CLASSES:
                count = f"the project has {len(had)}, and these are {len(new)} more"
                raise UserError(f"classes: {count}; expected at most {MOST_CLASSES} in all")
            if new:
                self.change(classes=with_colours([*self.settings.classes, *new]))

    def set_classes(self, wanted: Sequence[tuple[str, str | None, str | None]]) -> None:
        """Sets the classes.

        Args:
            wanted: name, colour or None, and the name that it had before or None: its spans get the new one.

        Raises:
            UserError: a bad name or colour, a name twice, or spans have a class that is not among them.
        """
        had = {*self.class_names()}  # of these a name that was stored before it was checked may stay
        names = [name if name in had else check_name(name, "class") for name, _, _ in wanted]
        twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
        if twice is not None or len(names) > MOST_CLASSES:
            why = f"{twice!r} is there twice" if twice is not None else f"expected at most {MOST_CLASSES}"
            raise UserError(f"classes: {why}")
        with self.lock:
            had = {each.name: each.colour for each in self.settings.classes}
            spans, boxes = self.spans.current(), self.people.current()
            used = {span["label"] for span in spans} | {action for box in boxes for action in box["actions"]}
            renamed, at = _renamed(wanted, had.keys(), used), now()
            if lost := used - {*renamed} - {*names}:
                raise UserError(f"classes: spans or boxes have the class {min(lost)!r}; change or remove them first")
            moved = [
                {**content_of(span), "label": renamed[span["label"]], "replaces": span["id"]}
                for span in spans
                if span["label"] in renamed
            ]
            self.spans.append(moved, HUMAN)
            moved = [
                {**content_of(box), "actions": [renamed.get(a, a) for a in box["actions"]], "replaces": box["id"]}
                for box in boxes
                if renamed.keys() & {*box["actions"]}
            ]
            self.people.append(moved, HUMAN)
            colours = [colour or had.get(was or name) for name, colour, was in wanted]
            pairs = zip(names, colours)
            classes = with_colours([ProjectClass(n, c) if c else n for n, c in pairs])
            step = ({"at": at, "names": renamed},) if renamed else ()
            analysis = dict(self.settings.analysis)
            if analysis.get("background") in renamed:
                analysis["background"] = renamed[analysis["background"]]
            self.change(classes=classes, renames=(*self.settings.renames, *step), analysis=analysis)

    def renamed(self, label: str, since: str) -> str:
        """The present name of a class.

        Args:
            since: when it had the name ``label``.
        """
        for step in self.settings.renames:
            if since < step["at"]:
                label = step["names"].get(label, label)
        return label

    def learnt_at(self, model: Model) -> str:
        """When the names of a model's classes were those of the project: when its training began, or it was added."""
        file = self.root / "runs" / str(model.run) / "job.json"
        created = read_json(file, "a job").get("created") if model.run is not None and file.is_file() else None
        return created or model.created

    def present_names(self, labels: Sequence[str], since: str) -> list[str]:
        """The present names of a model's classes, in their order, each once: one whose name is another's now, as it was
        renamed to it, has ``(former)`` behind its own.

        Args:
            since: when they were the project's names.
        """
        found = [self.renamed(label, since) for label in labels]
        order = sorted(range(len(found)), key=lambda k: found[k] == labels[k])  # a renamed one keeps its name
        taken: set[str] = set()
        for k in order:
            while found[k] in taken:
                found[k] += " (former)"
            taken.add(found[k])
        return found

    def present_classes(self, model: Model) -> list[str]:
        """The present names of a model's classes, in class-id order."""
        return self.present_names(model.classes, self.learnt_at(model))

    def present_name_of(self, model: Model) -> dict[str, str]:
        """A model's own name of each of its classes -> the present one."""
        return dict(zip(model.classes, self.present_classes(model)))

    def all_renamed(self, labels: Sequence[str], since: str) -> list[str]:
        """The present names of classes, each once."""
        return list(dict.fromkeys(self.renamed(label, since) for label in labels))

    def with_present_names(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An earlier line of a journal with the present names of its classes."""
        if "label" in entry:
            return {**entry, "label": self.renamed(entry["label"], entry["at"])}
        return {**entry, "actions": self.all_renamed(entry["actions"], entry["at"])}

    def corrections(self, journal: Journal) -> int:
        """Entries by a person that the last training has not seen."""
        with self.lock:
            seen = (self.settings.trained_people if journal is self.people else self.settings.trained) or ""
            return sum(1 for entry in journal.current() if entry["by"] == HUMAN and entry["at"] > seen)

    def new_change(self) -> str:
        """Names a step of undo."""
        return new_id()


def _renamed(wanted: Sequence[tuple], had: Collection[str], used: Collection[str]) -> dict[str, str]:
    """Old name -> new name.

    Raises:
        UserError: an unknown class, one that is renamed twice or stays, or the new name is a used class: both would be
            one, which nothing takes apart again.
    """
    renamed: dict[str, str] = {}
    for name, _, was in wanted:
        if was is None or was == name:
            continue
        if was not in had:
            raise UserError(f"classes: there is no class {was!r} to rename")
        if was in renamed:
            raise UserError(f"classes: {was!r} is renamed twice, to {renamed[was]!r} and {name!r}")
        renamed[was] = name
    for name, _, was in wanted:
        if name in renamed and was in (None, name):
            raise UserError(f"classes: {name!r} is renamed to {renamed[name]!r}, and is among the classes still")
    if both := {name for name in renamed.values() if name in used and name not in renamed}:
        raise UserError(
            f"classes: spans or boxes have the class {min(both)!r} already, and another one cannot be renamed to it; "
            "change its spans and boxes, and remove it"
        )
    return renamed


def content_of(entry: dict[str, Any]) -> dict[str, Any]:
    """What a journal's entry is about, with who made it."""
    return {key: value for key, value in entry.items() if key not in BOOKKEEPING}


def with_colours(classes: Sequence[ProjectClass | str]) -> tuple[ProjectClass, ...]:
    """Classes, where one without a colour gets the least used of ``COLOURS``."""
    done: list[ProjectClass] = []
    used = [each.colour for each in classes if isinstance(each, ProjectClass)]
    for each in classes:
        if isinstance(each, str):
            each = ProjectClass(each, min(COLOURS, key=used.count))
            used.append(each.colour)
        done.append(each)
    return tuple(done)


def check_name(name: str, what: str) -> str:
    """A name that people give.

    Raises:
        UserError: empty, longer than 200 characters, with control characters, or with a blank at an end.
    """
    if not name or len(name) > LONGEST_NAME or CONTROL.search(name) or name != name.strip() or not name.isprintable():
        raise UserError(f"{what}: expected 1 to {LONGEST_NAME} printable characters without a blank at the ends"
                        f", got {name!a:.60}")  # fmt: skip
    return name


def _read_settings(file: Path) -> ProjectSettings:
    content = read_json(file, "the studio's project.json")
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise UserError(f"{file}: expected the format {FORMAT}, version {VERSION}")
    known = {each.name for each in fields(ProjectSettings)}
    values = {key: value for key, value in content.items() if key not in ("format", "version")}
    if unknown := sorted(values.keys() - known):
        raise UserError(f"{file}: unknown key {unknown[0]!r}; expected {', '.join(sorted(known))}")
    try:
        values["classes"] = tuple(_read_classes(file, values.get("classes", ())))
        values["renames"] = tuple({"at": str(r["at"]), "names": dict(r["names"])} for r in values.get("renames", ()))
        settings = ProjectSettings(**values)
    except (TypeError, KeyError) as error:
        raise UserError(f"{file}: not as the studio writes it ({error!r}); mend it, or restore a copy") from None
    if settings.kind not in KINDS:
        raise UserError(f"{file}: kind: expected {' or '.join(KINDS)}, got {settings.kind!r}")
    return settings


def _read_classes(file: Path, entries: Sequence[Any]) -> Iterator[ProjectClass]:
    """Classes as they are stored; what is wrong with one is a line on stderr, as the project has to open."""
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or name in seen:
            _say(f"{file}: classes: entry {number} has no name, or one that another entry has; it is left out")
            continue
        seen.add(name)
        colour = entry.get("colour")
        if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
            _say(f"{file}: classes: {name!a:.60} has no colour as #rrggbb; it gets {COLOURS[0]}")
            colour = COLOURS[0]
        try:
            check_name(name, "class")
        except UserError as error:
            _say(f"{file}: {error}; rename it")
        yield ProjectClass(name, colour)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
