"""COCO's JSON, as written by hand, by CVAT, and for videos (COCO-VID)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from paddlevideo.boxes import from_corner
from paddlevideo.preparation.importers import cvat
from paddlevideo.preparation.importers.people import PICTURE_NEEDED, PersonCollector, upright
from paddlevideo.preparation.list_files import read_json

BOOKKEEPING = cvat.BOOKKEEPING | {"iscrowd", "is_crowd", "score", "group", "area"}


def read_coco(path: Path, found: PersonCollector) -> None:
    """One person per annotation with a box; actions from its attributes and category."""
    content = read_json(path, dict)
    images = _by_id(content, "images", lambda entry: entry, found)
    names = _by_id(content, "categories", lambda entry: str(entry["name"]), found)
    videos = _by_id(content, "videos", lambda entry: str(entry.get("name") or entry["file_name"]), found)
    first = found.counts_from(str(entry.get("file_name", "")) for entry in images.values())
    for number, entry in enumerate(content["annotations"], 1):
        found.count()
        identity = entry.get("id", number) if isinstance(entry, Mapping) else number
        where = f"{path}: annotation {identity}"
        with found.element(where):
            _annotation(where, entry, images, names, partial(_moment, videos=videos, found=found, first=first), found)


def _by_id(content: Mapping, kind: str, value: Callable[[Mapping], Any], found: PersonCollector) -> dict[Any, Any]:
    """The images, categories or videos of a file."""
    entries = {}
    for number, entry in enumerate(content["images"] if kind == "images" else content.get(kind) or [], 1):
        where = f"{found.path}: {kind} {number}"
        with found.element(where):
            if entries.setdefault(entry["id"], value(entry)) != value(entry):
                text = "that of another one, too; files that are merged need ids of their own, or name them one by one"
                found.findings.add(where, f"its id {entry['id']!r} is {text}")
    return entries


def _annotation(
    where: str,
    entry: Mapping[str, Any],
    images: Mapping,
    names: Mapping,
    moment_of: Callable[[Mapping[str, Any]], tuple[str, float] | None],
    found: PersonCollector,
) -> None:
    image, attributes = images.get(entry.get("image_id")), entry.get("attributes") or {}
    box = entry.get("bbox")
    if image is None:
        found.findings.add(where, "its image_id is not in images")
        return
    try:
        corners = from_corner(*map(float, box if isinstance(box, list) else ()))
    except (TypeError, ValueError):
        found.findings.add(where, f"bbox: expected x, y, width, height, got {str(box):.100}")
        return
    if not isinstance(attributes, Mapping):
        found.findings.add(where, f"attributes: expected an object of names and values, got {str(attributes):.100}")
        return
    if names and entry.get("category_id") not in names:
        found.findings.add(where, f"its category_id, {entry.get('category_id')!r}, is not in categories")
        return
    if entry.get("iscrowd") or attributes.get("is_crowd"):
        found.drop("boxes are around groups (iscrowd)")
        return
    if str(attributes.get("outside", False)).lower() in ("true", "1"):
        found.drop("boxes are marked as outside of the picture")
        return
    moment = moment_of(image)
    if moment is None:
        text = f"no video and time in image {image.get('file_name')!r}; {PICTURE_NEEDED}"
        found.findings.add(where, text)
        return
    degrees = attributes.get("rotation") or 0
    if isinstance(degrees, (int, float)) and degrees % 180:
        corners = upright(corners, degrees)
        found.note("turned boxes became the upright ones around them")
    actions, person = found.described(attributes, names.get(entry.get("category_id"), ""), BOOKKEEPING)
    size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
    found.add(where, *moment, corners, actions, entry.get("track_id", person), True, size)


def _moment(
    image: Mapping[str, Any], videos: Mapping[Any, str], found: PersonCollector, first: int
) -> tuple[str, float] | None:
    """Video and second of an image."""
    named = image.get("video") or videos.get(image.get("video_id"))
    frame = image.get("frame_id", image.get("frame_index"))  # from 0, as COCO-VID's
    if image.get("time_s") is None and (named is None or frame is None):
        return found.moment_of_picture(str(image.get("file_name", "")), named and str(named), first)
    video = found.video(named and str(named))
    if video is None:
        return None
    return video, float(image["time_s"]) if image.get("time_s") is not None else found.second(video, _whole(frame))


def _whole(frame: Any) -> int:
    if float(frame) != int(frame):
        raise ValueError(f"its frame is {frame}, expected a whole number")
    return int(frame)
