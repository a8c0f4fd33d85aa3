"""COCO's JSON, as written by hand, by CVAT, and for videos (COCO-VID)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.preparation.annotations import read_json
from paddlevideo.preparation.importers import cvat
from paddlevideo.preparation.importers.people import PICTURE_WANTED, Collector, upright

BOOKKEEPING = cvat.BOOKKEEPING | {"iscrowd", "is_crowd", "score", "group", "area"}


def read_coco(path: Path, found: Collector) -> None:
    """One person per annotation with a box; actions from its attributes and category."""
    content = read_json(path, dict)
    images = {image["id"]: image for image in content["images"]}
    names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", [])}
    videos = {entry["id"]: str(entry.get("name") or entry["file_name"]) for entry in content.get("videos", [])}
    for number, entry in enumerate(content["annotations"], 1):
        found.count()
        where = f"{path}: annotation {entry.get('id', number)}"
        image, attributes = images.get(entry.get("image_id")), dict(entry.get("attributes") or {})
        if image is None or len(entry.get("bbox") or ()) != 4:
            found.findings.add(where, "its image_id is not in images, or its bbox is not x, y, width, height")
            continue
        if entry.get("iscrowd") or attributes.get("is_crowd"):
            found.drop("boxes are around groups (iscrowd)")
            continue
        if str(attributes.get("outside", False)).lower() in ("true", "1"):
            found.drop("boxes are marked as outside of the picture")
            continue
        moment = _moment(image, videos, found)
        if moment is None:
            text = f"no video and time in image {image.get('file_name')!r}; {PICTURE_WANTED}"
            found.findings.add(where, text)
            continue
        x, y, width, height = map(float, entry["bbox"])
        box, degrees = (x, y, x + width, y + height), attributes.get("rotation") or 0
        if isinstance(degrees, (int, float)) and degrees % 180:
            box = upright(box, degrees)
            found.note("turned boxes became the upright ones around them")
        actions, person = found.described(attributes, names.get(entry.get("category_id"), ""), BOOKKEEPING)
        size = (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None
        found.add(where, *moment, box, actions, entry.get("track_id", person), True, size)


def _moment(image: Mapping[str, Any], videos: Mapping[Any, str], found: Collector) -> tuple[str, float] | None:
    """Video and second of an image."""
    named = image.get("video") or videos.get(image.get("video_id"))
    frame = image.get("frame_id", image.get("frame_index"))  # from 0, as COCO-VID's
    if image.get("time_s") is None and (named is None or frame is None):
        return found.moment_of_picture(str(image.get("file_name", "")), named and str(named))
    video = found.video(named and str(named))
    if video is None:
        return None
    return video, float(image["time_s"]) if image.get("time_s") is not None else found.second(video, int(frame))
