"""Training of a detector of actions on the boxes of persons: the table, and the commands.

The table has the boxes by persons; and of persons with such boxes those of the detector, which have no actions, as key
frames of their tracks.  Boxes of models of actions are not trained on: where one lies between two others of a person, a
new track begins, so that no box and no action is interpolated across boxes that are not checked.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paddlevideo.classes import Classes
from paddlevideo.cli.prepare_people import CONFIG, read_base
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import PersonBox
from paddlevideo.preparation.person_files import write_person_file
from paddlevideo.safe_io import write_atomic
from paddlevideo_studio.boxes import DETECTOR, people_of
from paddlevideo_studio.held_out import digest_of, sides_of
from paddlevideo_studio.journal import HUMAN, Entry
from paddlevideo_studio.project import Project
from paddlevideo_studio.work import COMMAND

_PEOPLE, _CLASSES, _HELD_OUT = "people.csv", "classes.txt", "val_videos.txt"
_EVERY_S = 1.0  # of the samples
_FIGURES = "paddlevideo_studio.figures"


@dataclass(frozen=True)
class PeopleSplit:
    """What is trained on.

    Args:
        people: of all videos, which are named by their files.
        held_out: the videos to validate on.
        classes: those that occur, in the order of the project.
    """

    people: list[PersonBox]
    held_out: list[str]
    classes: list[str]


def check_config(file: Path) -> None:
    """
    Raises:
        UserError: the configuration is of no detector of actions.
    """
    try:
        read_base(file)
    except UserError as error:
        text = "is of no detector of actions; a project of people trains one of configs/detection"
        raise UserError(f"config: {file.stem} {text} ({error})") from None


def split(project: Project) -> PeopleSplit:
    """The boxes to train on; stores which videos are held out.

    Raises:
        UserError: actions by a person in fewer than two videos.
    """
    by_hand = {(entry["video"], entry["person"]) for entry in project.people.current() if entry["by"] == HUMAN}

    def wanted(entry: Entry) -> bool:
        own = (entry["video"], entry["person"]) in by_hand
        return entry["by"] == HUMAN or (own and entry["by"] == DETECTOR)

    names = {video.file: video.file for video in project.videos if video.file}
    people = _parted(people_of(project, names, lambda entry: True), people_of(project, names, wanted))
    labels: dict[str, set[str]] = {}
    for person in people:
        labels.setdefault(person.video, set()).update(person.actions)
    labels = {name: labels[name] for name in sorted(labels) if labels[name]}
    if len(labels) < 2:
        raise UserError(
            f"actions of persons by a person in {len(labels)} video{'s' * (len(labels) != 1)}: training needs two or "
            "more videos, of which some are held out; check or mark persons in another one"
        )
    sides = sides_of(project, labels)
    used = set().union(*labels.values())
    return PeopleSplit(
        [person for person in people if person.video in labels],
        [name for name in labels if sides[name]],
        [name for name in project.class_names() if name in used],
    )


def _parted(every: Sequence[PersonBox], kept: Sequence[PersonBox]) -> list[PersonBox]:
    """The boxes that are kept; those of a person behind one that is left out are of another track, ``NAME #2``."""
    left_out: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    own = {(box.video, box.person, round(box.time_s, 3)) for box in kept}
    for box in every:
        if (box.video, box.person, round(box.time_s, 3)) not in own:
            left_out[box.video, box.person].append(box.time_s)
    for times in left_out.values():
        times.sort()
    tracks: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    found = []
    for box in sorted(kept, key=lambda box: (box.video, str(box.person), box.time_s)):
        place = bisect_left(left_out[box.video, box.person], box.time_s)
        known = tracks[box.video, box.person]
        known += [place] if place not in known else []
        number = known.index(place) + 1
        found.append(box if number == 1 else replace(box, person=f"{box.person} #{number}"))
    return found


def measured_on(parts: PeopleSplit) -> dict[str, Any]:
    """As ``training.measured_on``."""
    keys = ("video", "time_s", "box", "actions", "person")
    boxes = [[getattr(p, key) for key in keys] for p in parts.people if p.video in parts.held_out]
    return {"videos": sorted(parts.held_out), "sha256": digest_of(boxes)}


def write_lists(project: Project, parts: PeopleSplit, folder: Path) -> None:
    """``people.csv``, ``classes.txt`` and ``val_videos.txt``, for ``paddlevideo prepare people``."""
    write_person_file(folder / _PEOPLE, parts.people, "people_csv", {}, {}, parts.classes)
    write_atomic(folder / _CLASSES, Classes(tuple(parts.classes)).text())
    write_atomic(folder / _HELD_OUT, "".join(f"{name}\n" for name in parts.held_out))


def steps(project: Project, folder: Path, config: str, override: Sequence[str]) -> list[list[str]]:
    """``paddlevideo prepare people``, and ``train`` and ``export`` of the configuration that it writes."""
    data, lists = folder / "data", folder / "data" / "lists"
    words = ["--videos", str(project.videos.folder), "--labels", str(data / _CLASSES), "--every_s", f"{_EVERY_S:g}"]
    words += ["--val_videos", str(data / _HELD_OUT), "--base", config, "--out", str(lists)]
    changes = ["model_name=studio", *override, f"output_dir={folder / 'out'}"]
    chosen = ["-c", str(lists / CONFIG), *(word for change in changes for word in ("-o", change))]
    best = str(folder / "out" / "studio_best.pdparams")
    return [
        [*COMMAND, "prepare", "people", str(data / _PEOPLE), *words],
        [*COMMAND, "train", "--validate", *chosen],
        [*COMMAND, "export", *chosen, "-w", best, "--out", str(folder / "export"), "--timing", "none"],
        [sys.executable, "-m", _FIGURES, str(folder)],
    ]
