"""Own tables (csv with a header, jsonl), and AVA's csv."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddlevideo.ava_files import BEYOND_S
from paddlevideo.boxes import from_corner
from paddlevideo.errors import UserError
from paddlevideo.journals import current
from paddlevideo.preparation.importers.people import IDENTITIES, PersonCollector, is_no_action, is_number, shown
from paddlevideo.preparation.list_files import csv_cells, text_lines

_SEPARATORS = (",", ";", "\t")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")
_HEADER = (
    "expected video,time_s,x1,y1,x2,y2,actions,person (frame for time_s; x,y,w,h for the corners; and width,height "
    "where boxes are in pixels); several actions are parted by ; or |"
)
_ACTIONS = ("actions", "action", "labels", "label")
_PERSONS = ("person", *sorted(IDENTITIES - {"person", "id"}))  # an id may be the row's
_READ = {"video", "time_s", "frame", "width", "height", "units", *_CORNERS, *_SIDES, *_ACTIONS, *_PERSONS}
_MAX_FRACTION = 2.0  # coordinates above are pixels; a fraction may reach a little outside of the picture
_AVA_FIELDS = (7, 8)
_OBJECT = "expected an object with video, time_s, box [x1, y1, x2, y2], actions [names], person"
_NO_VIDEO = "no video; --video names that of a whole file"


def is_ava(path: Path) -> bool:
    """Whether a csv is AVA's own: no header, but numbers from the second field on."""
    first = next(text_lines(path), ("", ""))[1].split(",")
    return len(first) in _AVA_FIELDS and all(is_number(cell) for cell in first[1:6])


def names_boxes(path: Path) -> bool:
    """Whether the header of a csv has a column of boxes."""
    first = next(text_lines(path), ("", ""))[1]
    cells = {cell.strip().strip('"').lower() for cell in re.split("[,;\t]", first)}
    return not cells.isdisjoint(_CORNERS + _SIDES)


def read_csv(path: Path, found: PersonCollector) -> None:
    """A line per person and moment; fields are parted by ``,`` ``;`` or tabs, as the header is."""
    lines = list(text_lines(path, " \r\n"))
    titles = lines[0][1] if lines else ""
    separator = max(_SEPARATORS, key=titles.count)
    rows = csv_cells(lines, separator)
    header = [name.strip().lower() for name in next(rows, ("", []))[1]]
    named = next((names for names in (_CORNERS, _SIDES) if set(names) <= set(header)), None)
    missing = [name for name in _CORNERS if name not in header] if named is None else []
    missing += ["time_s"] if not {"time_s", "frame"} & set(header) else []
    missing += ["video"] if "video" not in header and found.options.video is None else []
    doubles = [name for name, count in Counter(header).items() if name and count > 1]
    if others := [name for name in header if name and name not in _READ]:
        what = "column of {} is not read" if len(others) == 1 else "columns of {} are not read"
        found.note(f"{what.format(path)}: {', '.join(others)}", len(others))
    if doubles:
        raise UserError(f"{path}: the header has {', '.join(doubles)} several times; {_HEADER}")
    if missing:
        raise UserError(f"{path}: the header has no {', '.join(missing)}; {_HEADER}")
    records = []
    for where, cells in rows:
        if len(cells) != len(header):
            found.count()
            found.findings.add(where, f"{len(cells)} fields, the header has {len(header)}")
            continue
        cells = [cell.strip() for cell in cells]
        if separator == ";":
            cells = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]
        record: dict[str, Any] = dict(zip(header, cells))
        record["box"] = [record[key] for key in named or ()]
        records.append((where, record))
    _table(records, found, named == _SIDES or found.options.box_format == "xywh")


def read_jsonl(path: Path, found: PersonCollector) -> None:
    """An object per line and person; lines may replace others, see ``journals``."""
    entries = []
    for where, text in text_lines(path):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            found.findings.add(where, f"not JSON ({error})")
            continue
        if isinstance(record, dict):
            entries.append((where, record))
        else:
            found.findings.add(where, _OBJECT)
    records = []
    needed = {"box"} if found.options.video else {"box", "video"}
    for where, record in current(entries, found.findings.add):
        if needed <= record.keys() and {"time_s", "frame"} & record.keys():
            records.append((where, record))
        else:
            found.findings.add(where, _OBJECT)
    _table(records, found, found.options.box_format == "xywh")


def read_ava(path: Path, found: PersonCollector) -> None:
    """AVA's lines ``video,second,x1,y1,x2,y2,action id,person id``: fractions, ids of ``--labels``."""
    names = found.options.labels
    if not names:
        raise UserError(f"{path}: AVA's csv has action ids; --labels names their file (AVA's own: data/ava/labels.txt)")
    for where, cells in csv_cells(list(text_lines(path))):
        found.count()
        if len(cells) not in _AVA_FIELDS or not all(map(is_number, cells[1:6])):
            found.findings.add(where, "expected video,second,x1,y1,x2,y2,action id,person id")
            continue
        label = cells[6].strip()
        if label and (not label.isdecimal() or int(label) not in names):
            found.findings.add(where, f"action id {label[:20]} is not in the list of labels")
            continue
        action = (names[int(label)],) if label else ()
        video = found.video(cells[0].strip())
        if video is None:
            found.findings.add(where, _NO_VIDEO)
            continue
        person = cells[7].strip() if len(cells) > 7 and cells[7].strip() != "-1" else None
        found.add(where, video, float(cells[1]), tuple(map(float, cells[2:6])), action, person, in_pixels=False)


def _table(records: Sequence[tuple[str, dict]], found: PersonCollector, sides: bool) -> None:
    rows = []
    for where, record in records:
        found.count()
        for names in (_ACTIONS, _PERSONS):
            if len(several := [name for name in names if name in record]) > 1:
                raise UserError(f"{where}: {' and '.join(several)} mean the same; name one of them otherwise")
        units = str(record.get("units") or found.options.units)
        video = found.video(str(record.get("video") or ""))
        try:
            box = tuple(float(value) for value in record["box"])
            by_time = record.get("time_s") not in (None, "")
            frame = _frame(record, by_time, found)
            if isinstance(record.get("time_s"), bool):
                raise ValueError
            time_s = float(record["time_s"]) if by_time else frame
            size = tuple(int(float(record[key])) for key in ("width", "height") if record.get(key) not in (None, ""))
        except (TypeError, ValueError, OverflowError):
            clock = f"time_s {record['time_s']!r}" if record.get("time_s") is not None else f"frame {record['frame']!r}"
            found.findings.add(where, f"{clock} or box {record['box']!r} is not numbers; seconds are expected, as 61.5")
            continue
        if len(box) != 4 or len(size) == 1 or 0 in size or units not in ("auto", "pixels", "fractions"):
            text = "expected a box of four numbers, width and height both or neither, units pixels or fractions"
            found.findings.add(where, text)
            continue
        if video is None:
            found.findings.add(where, _NO_VIDEO)
            continue
        counted_s = None
        if frame is not None:
            known = contextlib.suppress(UserError) if by_time else contextlib.nullcontext()  # the rate may be unknown
            with found.element(where), known:
                counted_s = found.second(video, frame)
        if counted_s is None and not by_time:
            continue
        if by_time and counted_s is not None and abs(time_s - counted_s) > BEYOND_S:
            found.findings.add(where, f"second {time_s:g}, but frame {frame} is at {counted_s:.2f} s; name one")
            continue
        time_s = time_s if by_time else counted_s
        in_pixels = units == "pixels" or (units == "auto" and any(abs(value) > _MAX_FRACTION for value in box))
        rows.append((where, video, time_s, box, in_pixels, size or None, record, units == "auto"))
    guessed = [row for row in rows if row[-1]]
    mixed = len({row[4] for row in guessed}) == 2
    for where, video, time_s, box, in_pixels, size, record, is_guess in rows:
        if mixed and is_guess and not in_pixels:
            if all(value == int(value) for value in box if abs(value) <= _MAX_FRACTION):
                text = f"box {shown(box)} may be pixels or fractions; set --units, or a column units"
                found.findings.add(where, text)
                continue
            found.note("rows are fractions of the picture, though others are pixels (--units)")
        corners = from_corner(*box) if sides else box
        person = next((record[name] for name in _PERSONS if name in record), None)
        if str(person).strip() == "-1":  # no person, in AVA's files and of many trackers
            found.note("persons are -1 and taken for no track")
            person = None
        found.add(where, video, time_s, corners, _actions(record, found), person, in_pixels, size)


def _frame(record: dict, by_time: bool, found: PersonCollector) -> int | None:
    """The number of the frame; None: there is none, or beside a second something else, as the name of a file.

    Raises:
        ValueError: it is no whole number, and there is no second.
    """
    value = record.get("frame")
    if by_time and value in (None, ""):
        return None
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = float(value)
        if number == int(number):  # tables write 60 as 60.0, too
            return int(number)
    if not by_time:
        raise ValueError
    found.note("values of frame are no numbers and not read: time_s gives the moment")
    return None


def _actions(record: dict, found: PersonCollector) -> tuple[str, ...]:
    value = next((record[name] for name in _ACTIONS if name in record), None)
    if value is None:
        return ()
    texts = map(str, value if isinstance(value, list) else [value])
    words = [name for text in texts for name in found.names(text, "actions")]
    none = {word for word in words if is_no_action(word) and not found.is_listed(word)}
    for word in none:
        found.note(f"actions are {word!r} and taken for no action (--labels may list it as a class)")
    return tuple(dict.fromkeys(word for word in words if word not in none))
