"""Key frames of persons as files that ``prepare people`` reads: tables, AVA's files, CVAT's tracks."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from paddlevideo.ava_files import AVARows, labels_text, read_ava_labels, write_ava_csv
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.cvat import add_box, new_task, to_bytes
from paddlevideo.preparation.importers.people import Clock, PersonBox, is_name, is_no_action, parts_of, video_name
from paddlevideo.safe_io import write_atomic

PERSON_FORMS = {"people_csv": ".csv", "people_jsonl": ".jsonl", "people_ava": ".zip", "people_cvat": ".xml"}
AVA_CSV, AVA_LABELS = "people.csv", "labels.pbtxt"  # in the archive
_COLUMNS = ("video", "time_s", "x1", "y1", "x2", "y2", "actions", "person", "units")
_MOST_BYTES = 1 << 28  # of a file in an archive


def write_person_file(
    path: Path, people: Sequence[PersonBox], form: str, clocks: Mapping[str, Clock], sizes_px: Mapping[str, tuple],
    classes: Sequence[str],
) -> list[str]:  # fmt: skip
    """Writes one of ``PERSON_FORMS``.

    Args:
        people: with a person each, and boxes in fractions of the picture.
        clocks, sizes_px: of the videos by the names that the boxes have; of CVAT's form alone.
        classes: in class-id order.

    Returns:
        What the form cannot hold, a line each.

    Raises:
        UserError: CVAT's form and boxes of several videos, or a name that AVA's files cannot hold.
    """
    people = sorted(people, key=lambda person: (person.video, person.person or "", person.time_s))
    parted = sorted({action for person in people for action in person.actions if len(parts_of(action)) > 1})
    lost = []
    if parted and form != "people_ava":
        lost.append(f"{path}: {parted[0]!r} and the like are read as several actions, unless --labels names them")
    none = sorted({action for person in people for action in person.actions if is_no_action(action)})
    if none and form in ("people_csv", "people_jsonl"):
        lost.append(f"{path}: {none[0]!r} and the like are read as no action, unless --labels names them")
    if form == "people_csv":
        write_atomic(path, _csv_text(people).encode("utf-8", "surrogateescape"))
    elif form == "people_jsonl":
        write_atomic(path, "".join(_json_line(person) for person in people).encode("utf-8", "surrogateescape"))
    elif form == "people_ava":
        lost += _write_ava(path, people, classes)
    else:
        lost += _write_cvat(path, people, clocks, sizes_px)
    return lost


def _csv_text(people: Sequence[PersonBox]) -> str:
    """A line per box; of an action whose name would be parted a line of its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for person in people:
        whole = [action for action in person.actions if len(parts_of(action)) > 1]
        rest = ";".join(action for action in person.actions if action not in whole)
        for actions in [rest, *whole] if rest or not whole else whole:
            corners = (f"{value:.6f}" for value in person.box)
            writer.writerow((person.video, f"{person.time_s:.3f}", *corners, actions, person.person, "fractions"))
    return text.getvalue()


def _json_line(person: PersonBox) -> str:
    box = [round(value, 6) for value in person.box]
    entry = {"video": person.video, "time_s": round(person.time_s, 3), "box": box, "units": "fractions"}
    entry |= {"actions": list(person.actions), "person": person.person}
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _write_ava(path: Path, people: Sequence[PersonBox], classes: Sequence[str]) -> list[str]:
    """An archive of AVA's csv and the list of its classes."""
    bad = next((name for name in classes if '"' in name or "\\" in name or not name.isprintable()), None)
    if bad is not None:
        raise UserError(f"the action {bad!r} cannot be written to a label file; rename it")
    ids = {name: number for number, name in enumerate(classes, 1)}
    videos = list(dict.fromkeys(video_name(person.video) for person in people))
    place = {name: number for number, name in enumerate(videos)}
    entities: dict[str, dict[str | None, int]] = defaultdict(dict)
    cells = []
    for person in people:
        own = entities[person.video]
        entity = _entity(person.person, own)
        for label in [ids[action] for action in person.actions] or [-1]:
            cells.append((place[video_name(person.video)], person.time_s, *person.box, label, entity))
    table = np.array(cells, np.float64).reshape(-1, 8)
    columns = (table[:, 0].astype(np.int32), table[:, 1], table[:, 2:6])
    rows = AVARows(str(path), videos, *columns, table[:, 6].astype(np.int32), table[:, 7].astype(np.int32))
    written = path.with_suffix(".csv")
    write_ava_csv(written, rows)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(written, AVA_CSV)
        archive.writestr(AVA_LABELS, labels_text(classes))
    written.unlink()
    write_atomic(path, content.getvalue())
    lost = [f"{path}: AVA's csv holds three digits of a box"] if people else []
    if any(person.person and not person.person.isdecimal() for person in people):
        lost.append(f"{path}: AVA's csv numbers persons: their names are not kept")
    return lost


def _entity(person: str | None, known: dict[str | None, int]) -> int:
    """A person's number: its name where that is one, else a free one from a million on."""
    number = int(person) if person and person.isdecimal() and len(person) < 7 else 1_000_000 + len(known)
    return known.setdefault(person, number)


def read_ava_archive(path: Path, folder: Path, most_bytes: int = _MOST_BYTES) -> tuple[Path, dict[int, str]]:
    """The csv of an archive as ``people_ava`` writes it, unpacked to a folder, and its classes.

    Args:
        most_bytes: of each file, unpacked.

    Raises:
        UserError: no archive, no csv or no list of classes in it, or several.
    """
    way = f"{path}: expected an archive of AVA's csv and the list of its classes ({AVA_CSV}, {AVA_LABELS})"
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".csv")]
            lists = [entry for entry in archive.infolist() if entry.filename.lower().endswith((".pbtxt", ".txt"))]
            if len(tables) != 1 or len(lists) != 1:
                raise UserError(way)
            if max(entry.file_size for entry in (*tables, *lists)) > most_bytes:
                raise UserError(f"{path}: a file in it is larger than {most_bytes >> 20} MB")
            for entry, name in ((tables[0], AVA_CSV), (lists[0], AVA_LABELS)):
                write_atomic(folder / name, archive.read(entry))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{way} ({error})") from None
    return folder / AVA_CSV, read_ava_labels(folder / AVA_LABELS)


def _write_cvat(
    path: Path, people: Sequence[PersonBox], clocks: Mapping[str, Clock], sizes_px: Mapping[str, tuple]
) -> list[str]:
    """A track per person, from the first to the last key frame: a label ``person`` with a text attribute ``action``."""
    videos = sorted({person.video for person in people})
    if len(videos) != 1:
        raise UserError(f"CVAT's form is of one video, and the boxes are of {len(videos)}; write a file for each")
    (video,) = videos
    clock, size_px = clocks[video], sizes_px[video]
    tracks: dict[str, dict[int, PersonBox]] = defaultdict(dict)
    for person in people:
        tracks[person.person or ""][round(clock.frame(person.time_s))] = person
    ticked = sorted({action for person in people for action in person.actions if not is_name(action)})
    root = new_task(video, max(frame for keys in tracks.values() for frame in keys) + 1, size_px)
    free = (number for number in range(10**9) if str(number) not in tracks)
    for name, keys in tracks.items():
        identity = name if name.isdecimal() else str(next(free))
        element = ElementTree.SubElement(root, "track", {"id": identity, "label": "person", "source": "manual"})
        for frame, person in keys.items():
            add_box(element, frame, person.box, size_px, person.actions, ticked)
        add_box(element, frame + 1, person.box, size_px, None, ticked)
    write_atomic(path, to_bytes(root))
    kept = [(frame, person) for keys in tracks.values() for frame, person in keys.items()]
    moved = max(abs(clock.second(frame) - person.time_s) for frame, person in kept)
    lost = [f"{path}: cvat counts frames: times moved by up to {moved:.3f} s"] if moved > 0.0005 else []
    if len(kept) < len(people):
        lost.append(f"{path}: {len(people) - len(kept)} boxes at the frame of another one of their person are left out")
    if any(not name.isdecimal() for name in tracks):
        lost.append(f"{path}: cvat numbers tracks: names of persons are not kept")
    if ticked:
        lost.append(f"{path}: cvat: {', '.join(map(repr, ticked))}: each is a checkbox of the label person")
    return lost
