"""People, boxes and actions as annotation tools write them: own tables, COCO, VIA and CVAT, all to one form.

Times are seconds since a video's first frame.  Every mistake names its file and line, or entry, all of a file at once.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from paddlevideo import safe_io
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.preparation.annotations import read_json, text_lines
from paddlevideo.video_files import VIDEO_ENDINGS, printable

_MAX_SHOWN = 20
_MAX_SAMPLES = 1_000_000  # of a track
_PICTURE = re.compile(r"(?P<video>.+?)[/_.-](?:img_|frame_?)?(?P<number>\d+)\.\w+")
_PEOPLE = {"person", "people", "human", "actor", "pedestrian", "player"}  # labels that name whom, not what they do
_TRUE, _FALSE = {"true", "yes", "1"}, {"", "false", "no", "none", "0", "__undefined__"}


@dataclass(frozen=True)
class Person:
    """One person at one moment.

    Attributes:
        video: its name, without the ending of a video file.
        box: x1, y1, x2, y2; pixels of a picture of ``size_px``, or of the video where that is None and ``in_pixels``.
        actions: names; none: somebody who does nothing of interest.
        person: an id within the video, or None.
        where: ``file:line`` or ``file: entry``.
    """

    video: str
    time_s: float
    box: tuple[float, float, float, float]
    actions: tuple[str, ...]
    person: str | None
    where: str
    in_pixels: bool = True
    size_px: tuple[int, int] | None = None


@dataclass(frozen=True)
class Reading:
    """How to read.

    Args:
        fps_of: frames per second of a video by name; asked only where an annotation counts frames.
        picture_fps: of pictures' numbers (``video_00031.jpg``); None: the video's.
        first_number: of a video's first picture.
        every_s: tracks are looked up every so many seconds.
        attribute: the attribute that holds the actions; None: all of them do.
        boxes: ``norm``, ``px`` or ``auto``; a table (csv, jsonl) with any coordinate above 2 is in pixels.
    """

    fps_of: Callable[[str], float]
    picture_fps: float | None = None
    first_number: int = 1
    every_s: float = 1.0
    attribute: str | None = None
    boxes: str = "auto"


class _Mistakes:
    def __init__(self, path: Path):
        self._path, self._found = path, []

    def add(self, where: str, text: str) -> None:
        self._found.append(f"{where}: {printable(text)}")

    def raise_if_any(self) -> None:
        if self._found:
            more = [f"... and {len(self._found) - _MAX_SHOWN} more"] if len(self._found) > _MAX_SHOWN else []
            raise ConfigError(str(self._path), self._found[:_MAX_SHOWN] + more)


def read_people(path: Path, form: str, reading: Reading) -> list[Person]:
    """Everybody in a file of annotations.

    Args:
        form: ``csv``, ``jsonl``, ``coco``, ``via``, ``cvat``, or ``auto``: by the file's ending and content.

    Raises:
        UserError, ConfigError: no such file, not of that form, or bad entries.
    """
    form = guess_form(path) if form == "auto" else form
    mistakes = _Mistakes(path)
    with safe_io.reading(path, f"a {form} file as expected"):
        people = list(_READERS[form](path, reading, mistakes))
    mistakes.raise_if_any()
    if not people:
        raise UserError(f"{path}: nobody is annotated in it (read as {form})")
    return people


def guess_form(path: Path) -> str:
    """The form of an annotation file.

    Raises:
        UserError: none that is known.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".jsonl"):
        return ending[1:]
    if ending == ".xml":
        return "cvat"
    if ending == ".json":
        content = read_json(path, dict)
        if {"images", "annotations"} <= content.keys():
            return "coco"
        if {"file", "metadata"} <= content.keys() or "_via_img_metadata" in content:
            return "via"
    raise UserError(
        f"{path}: cannot tell what this is; expected .csv, .jsonl, COCO or VIA .json, CVAT .xml (--format names one)"
    )


def video_name(name: str) -> str:
    """``a/b.mp4`` -> ``a/b``; other endings stay, as they may be part of a name."""
    name = name.replace("\\", "/").lstrip("/")
    return next((name[: -len(e)] for e in VIDEO_ENDINGS if name.lower().endswith(e)), name)


# own tables


def _read_csv(path: Path, reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    lines = list(text_lines(path))
    rows = csv.reader([text for _, text in lines])
    header = [name.strip().lower() for name in next(rows, [])]
    missing = [name for name in ("video", "time_s", "x1", "y1", "x2", "y2") if name not in header]
    if missing:
        raise UserError(
            f"{path}: the header has no {', '.join(missing)}; expected video,time_s,x1,y1,x2,y2,actions,person "
            "(and width,height where boxes are in pixels); several actions are parted by ;"
        )
    records = []
    for (where, _), cells in zip(lines[1:], rows):
        if len(cells) != len(header):
            mistakes.add(where, f"{len(cells)} fields, the header has {len(header)}")
            continue
        record: dict[str, Any] = dict(zip(header, (cell.strip() for cell in cells)))
        record["box"] = [record[key] for key in ("x1", "y1", "x2", "y2")]
        records.append((where, record))
    yield from _table(records, reading, mistakes)


def _read_jsonl(path: Path, reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    records = []
    for where, text in text_lines(path):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            mistakes.add(where, f"not JSON ({error})")
            continue
        if not isinstance(record, dict) or not {"video", "time_s", "box"} <= record.keys():
            mistakes.add(where, "expected an object with video, time_s, box [x1, y1, x2, y2], actions [names], person")
            continue
        records.append((where, record))
    yield from _table(records, reading, mistakes)


def _table(records: Sequence[tuple[str, dict]], reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    rows = []
    for where, record in records:
        try:
            box = tuple(float(value) for value in record["box"])
            time_s = float(record["time_s"])
            sides = tuple(int(float(record[key])) for key in ("width", "height") if record.get(key) not in (None, ""))
        except (TypeError, ValueError):
            mistakes.add(where, f"time_s {record['time_s']!r} or box {record['box']!r} is not numbers")
            continue
        if len(box) != 4 or len(sides) == 1 or 0 in sides:
            mistakes.add(where, "expected a box of four numbers, and width and height both or neither")
            continue
        actions = record.get("actions", record.get("action")) or ()
        if isinstance(actions, str):
            actions = re.split(r"[;|]", actions)
        names = tuple(str(name).strip() for name in actions if str(name).strip())
        rows.append((where, str(record["video"]), time_s, box, names, record.get("person"), sides or None))
    in_pixels = reading.boxes == "px" or (
        reading.boxes == "auto" and any(abs(value) > 2 for row in rows for value in row[3])
    )
    for where, video, time_s, box, names, person, size in rows:
        identity = None if person in (None, "") else str(person)
        yield Person(video_name(video), time_s, box, names, identity, where, in_pixels, size)


# COCO


def _read_coco(path: Path, reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    content = read_json(path, dict)
    images = {image["id"]: image for image in content["images"]}
    names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", [])}
    videos = {entry["id"]: str(entry.get("name") or entry["file_name"]) for entry in content.get("videos", [])}
    for number, entry in enumerate(content["annotations"], 1):
        where = f"{path}: annotation {entry.get('id', number)}"
        image = images.get(entry.get("image_id"))
        if image is None or len(entry.get("bbox") or ()) != 4:
            mistakes.add(where, "its image_id is not in images, or its bbox is not x, y, width, height")
            continue
        moment = _moment(image, videos, reading)
        if moment is None:
            mistakes.add(where, f"no video and time in image {image.get('file_name')!r}; {_PICTURE_WANTED}")
            continue
        x, y, width, height = map(float, entry["bbox"])
        category = names.get(entry.get("category_id"), "")
        actions = actions_of(entry.get("attributes") or {}, category, reading.attribute)
        person = entry.get("track_id", (entry.get("attributes") or {}).get("track_id"))
        size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
        identity = None if person is None else str(person)
        yield Person(*moment, (x, y, x + width, y + height), actions, identity, where, True, size)


_PICTURE_WANTED = "expected names as video/img_00031.jpg or video_00031.jpg, or video and time_s in the image's entry"


def _moment(image: Mapping[str, Any], videos: Mapping[Any, str], reading: Reading) -> tuple[str, float] | None:
    """Video and second of a COCO image."""
    video = image.get("video") or videos.get(image.get("video_id"))
    if video is None:
        return moment_of_picture(str(image.get("file_name", "")), reading)
    video = video_name(str(video))
    if image.get("time_s") is not None:
        return video, float(image["time_s"])
    frame = image.get("frame_id", image.get("frame_index"))  # from 0, as COCO-VID's
    if frame is not None:
        return video, int(frame) / (reading.picture_fps or reading.fps_of(video))
    named = moment_of_picture(str(image.get("file_name", "")), reading, video)
    return named and (video, named[1])


def moment_of_picture(name: str, reading: Reading, video: str | None = None) -> tuple[str, float] | None:
    """Video and second of a picture by its file name; None: it tells neither."""
    match = _PICTURE.fullmatch(name.replace("\\", "/").lstrip("/"))
    if not match:
        return None
    video = video or video_name(match["video"])
    return video, (int(match["number"]) - reading.first_number) / (reading.picture_fps or reading.fps_of(video))


def actions_of(attributes: Mapping[str, Any], label: str, attribute: str | None) -> tuple[str, ...]:
    """Action names among the attributes of a box; its label too, unless that only says that it is a person.

    A value may be a name, several (a list, or parted by ``;`` or ``|``), or true / false under the action's name.
    """
    found = [label] if label and label.lower() not in _PEOPLE and attribute is None else []
    for name, value in attributes.items():
        if name == "track_id" or (attribute is not None and name != attribute):
            continue
        if isinstance(value, Mapping):  # VIA 2's checkboxes
            found += [key for key, ticked in value.items() if ticked]
            continue
        values = value if isinstance(value, list) else re.split(r"[;|]", str(value))
        for word in (str(v).strip() for v in values):
            if word.lower() in _TRUE:
                found.append(name)
            elif word.lower() not in _FALSE:
                found.append(word)
    return tuple(dict.fromkeys(found))


# VIA


def _read_via(path: Path, reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    content = read_json(path, dict)
    if "_via_img_metadata" in content:
        yield from _read_via2(path, content["_via_img_metadata"], reading, mistakes)
        return
    files = {str(key): entry for key, entry in content["file"].items()}
    views = {str(key): [str(fid) for fid in view["fid_list"]] for key, view in (content.get("view") or {}).items()}
    attributes = {str(key): entry for key, entry in (content.get("attribute") or {}).items()}
    for key, entry in content["metadata"].items():
        where, shape = f"{path}: metadata {key}", entry.get("xy") or []
        if not shape:
            continue  # a stretch of time without a region
        fids = views.get(str(entry["vid"]), [str(entry["vid"])])
        file = files.get(fids[0]) if fids else None
        if file is None or shape[0] != 2 or len(shape) != 5:
            mistakes.add(where, f"expected a rectangle (xy: [2, x, y, width, height]) on a known file, has {shape}")
            continue
        name, times = str(file["fname"]), entry.get("z") or []
        moment = (video_name(name), float(times[0])) if times else moment_of_picture(name, reading)
        if moment is None:
            mistakes.add(where, f"no time (z), and {name!r} does not tell it; {_PICTURE_WANTED}")
            continue
        chosen = {}
        for number, value in (entry.get("av") or {}).items():
            described = attributes.get(str(number), {})
            options = described.get("options") or {}
            picked = [str(options.get(word.strip(), word.strip())) for word in str(value).split(",")]
            chosen[str(described.get("aname", number))] = [word for word in picked if word]
        person = next((v[0] for k, v in chosen.items() if k.lower() in _IDENTITIES and v), None)
        chosen = {k: v for k, v in chosen.items() if k.lower() not in _IDENTITIES}
        x, y, width, height = map(float, shape[1:])
        actions = actions_of(chosen, "", reading.attribute)
        yield Person(*moment, (x, y, x + width, y + height), actions, person, where)


_IDENTITIES = {"person", "person_id", "id", "track", "track_id"}


def _read_via2(path: Path, pictures: Mapping[str, Any], reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    for picture in pictures.values():
        name = str(picture["filename"])
        moment = moment_of_picture(name, reading)
        for number, region in enumerate(picture["regions"], 1):
            where, shape = f"{path}: {name}, region {number}", region["shape_attributes"]
            if moment is None or shape.get("name") != "rect":
                mistakes.add(where, f"expected a rectangle on a picture of a video; {_PICTURE_WANTED}")
                continue
            x, y = float(shape["x"]), float(shape["y"])
            words = dict(region["region_attributes"])
            person = next((str(words.pop(k)) for k in list(words) if k.lower() in _IDENTITIES), None)
            box = (x, y, x + float(shape["width"]), y + float(shape["height"]))
            yield Person(*moment, box, actions_of(words, "", reading.attribute), person or None, where)


# CVAT


def _read_cvat(path: Path, reading: Reading, mistakes: _Mistakes) -> Iterator[Person]:
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{path}: not XML ({error})") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: <{root.tag}>, expected CVAT's <annotations> (export: CVAT for video 1.1)")
    job = next((found for tag in ("task", "job") if (found := root.find(f"meta/{tag}")) is not None), root)
    source = job.findtext("source") or root.findtext("meta/source") or job.findtext("name") or path.stem
    size = job.find("original_size") if job.find("original_size") is not None else root.find("meta/original_size")
    pixels = None if size is None else (int(size.findtext("width", "0")), int(size.findtext("height", "0")))
    video = video_name(Path(source).name)
    for track in root.iter("track"):
        yield from _sampled(track, video, pixels, path, reading)
    for picture in root.iter("image"):
        name = picture.get("name", "")
        moment = moment_of_picture(name, reading)
        if moment is None:
            mistakes.add(f"{path}: image {picture.get('id')}", f"{name!r} tells no video and time; {_PICTURE_WANTED}")
            continue
        sides = (int(picture.get("width", 0)), int(picture.get("height", 0)))
        for number, box in enumerate(picture.iter("box"), 1):
            actions = actions_of(_cvat_attributes(box), box.get("label", ""), reading.attribute)
            where = f"{path}: image {picture.get('id')}, box {number}"
            yield Person(*moment, _corners(box), actions, None, where, True, sides)


def _sampled(
    track: ElementTree.Element, video: str, size: tuple[int, int] | None, path: Path, reading: Reading
) -> Iterator[Person]:
    """A track at every multiple of ``every_s``: boxes between two given ones are interpolated, attributes held."""
    boxes = sorted(track.iter("box"), key=lambda box: int(box.get("frame", 0)))
    if not boxes:
        return
    fps = reading.fps_of(video)
    frames = [int(box.get("frame", 0)) for box in boxes]
    if abs(frames[-1]) + abs(frames[0]) > _MAX_SAMPLES * fps * reading.every_s:
        raise UserError(f"{path}: track {track.get('id')}: frame {frames[-1]:.6g} is beyond any video")
    first = -(-frames[0] // max(fps * reading.every_s, 1e-9))  # the first multiple at or behind the first box
    place, count = 0, int(first)
    while (frame := count * reading.every_s * fps) <= frames[-1] + 0.5:
        count += 1
        while place + 1 < len(boxes) and frames[place + 1] <= frame:
            place += 1
        box = boxes[place]
        if box.get("outside") == "1":
            continue
        corners = _corners(box)
        if place + 1 < len(boxes) and boxes[place + 1].get("outside") != "1":
            share = (frame - frames[place]) / (frames[place + 1] - frames[place])
            corners = tuple(a + (b - a) * share for a, b in zip(corners, _corners(boxes[place + 1])))
        actions = actions_of(_cvat_attributes(box), track.get("label", ""), reading.attribute)
        where = f"{path}: track {track.get('id')}, frame {round(frame)}"
        yield Person(video, (count - 1) * reading.every_s, corners, actions, track.get("id"), where, True, size)


def _corners(box: ElementTree.Element) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(box.get(key, "nan")) for key in ("xtl", "ytl", "xbr", "ybr"))
    return x1, y1, x2, y2


def _cvat_attributes(box: ElementTree.Element) -> dict[str, str]:
    found = {item.get("name", ""): item.text or "" for item in box.iter("attribute")}
    return {name: value for name, value in found.items() if name.lower() not in _IDENTITIES}


_READERS: dict[str, Callable[[Path, Reading, _Mistakes], Iterator[Person]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "coco": _read_coco,
    "via": _read_via,
    "cvat": _read_cvat,
}
FORMS = tuple(_READERS)
