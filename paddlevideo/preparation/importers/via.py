"""VGG Image Annotator: projects and exports (json, csv) of versions 2 and 3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.boxes import from_corner
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import IDENTITIES, PICTURE_NEEDED, PersonCollector
from paddlevideo.preparation.list_files import csv_cells, read_json, text_lines

CSV_2 = "region_shape_attributes"  # a column of version 2's csv
CSV_3 = "CSV_HEADER = metadata_id"  # in a comment of version 3's csv
_RECTANGLE = 2  # of version 3's shapes


def is_via(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is VIA's: a project of version 2 or 3, or version 2's exported annotations."""
    if {"file", "metadata"} <= content.keys() or "_via_img_metadata" in content:
        return True
    return bool(content) and all(isinstance(v, dict) and {"filename", "regions"} <= v.keys() for v in content.values())


def read_via(path: Path, found: PersonCollector) -> None:
    """Rectangles, on videos or on pictures; stretches of time become segments."""
    if path.suffix.lower() == ".csv":
        _read_csv(path, found)
        return
    content = read_json(path, dict)
    if "metadata" not in content:
        pictures = content.get("_via_img_metadata", content)
        for picture in pictures.values():
            regions = picture["regions"]
            regions = list(regions.values()) if isinstance(regions, dict) else regions  # of version 1
            for number, region in enumerate(regions, 1):
                name = str(picture["filename"])
                where = f"{path}: {name}, region {number}"
                with found.element(where):
                    _region(where, name, region["shape_attributes"], region["region_attributes"], found)
        return
    files = {str(key): str(entry["fname"]) for key, entry in content["file"].items()}
    views = {str(key): [str(fid) for fid in view["fid_list"]] for key, view in (content.get("view") or {}).items()}
    attributes = {str(key): entry for key, entry in (content.get("attribute") or {}).items()}
    for key, entry in content["metadata"].items():
        where = f"{path}: metadata {key}"
        with found.element(where):
            fids = views.get(str(entry["vid"]), [str(entry["vid"])])
            name = files.get(fids[0]) if fids else None
            shape, words = entry.get("xy") or [], entry.get("av") or {}
            _metadata(where, name, entry.get("z") or [], shape, words, attributes, found)


def _region(where: str, name: str, shape: Mapping, words: Mapping, found: PersonCollector) -> None:
    """A region of version 2."""
    if shape.get("name") != "rect":
        found.drop(f"{shape.get('name')} shapes of VIA: only rectangles are people")
        return
    found.count()
    moment = found.moment_of_picture(name)
    if moment is None:
        found.findings.add(where, f"{name!r} names no video and time; {PICTURE_NEEDED}")
        return
    box = from_corner(*(float(shape[key]) for key in ("x", "y", "width", "height")))
    found.add(where, *moment, box, *found.described(words))


def _metadata(
    where: str, name: str | None, times: list, shape: list, av: Mapping, attributes: Mapping, found: PersonCollector
) -> None:
    """An entry of version 3."""
    words = {}
    for number, value in av.items():
        described = attributes.get(str(number), {})
        options = described.get("options") or {}
        # a checkbox's options, or free text, which stays whole for PersonCollector.names
        picked = [part.strip() for part in str(value).split(",")]
        chosen = [str(options[part]) for part in picked] if all(part in options for part in picked) else [str(value)]
        words[str(described.get("aname", number))] = [word for word in chosen if word]
    people = {key: value for key, value in words.items() if key.lower() in IDENTITIES}
    words = {key: value for key, value in words.items() if key not in people}
    video = found.video(name)
    if not shape and len(times) >= 2 and video:
        for word in found.described(words)[0]:
            found.add_segment(where, video, float(times[0]), float(times[-1]), word)
        return
    if not shape:
        found.drop("entries of VIA have neither a region nor a stretch of time")
        return
    if shape[0] != _RECTANGLE:
        found.drop(f"shapes {shape[0]} of VIA: only rectangles (2) are people")
        return
    found.count()
    if name is None or len(shape) != 5:
        text = f"expected a rectangle (xy: [2, x, y, width, height]) on a known file, has {shape}"
        found.findings.add(where, text)
        return
    moment = (video, float(times[0])) if times and video else found.moment_of_picture(name)
    if moment is None:
        found.findings.add(where, f"no time (z), and {name!r} does not name it; {PICTURE_NEEDED}")
        return
    if len(times) > 1:
        found.note("rectangles have several times and are taken at the first")
    actions, _ = found.described(words)
    person = next((value[0] for value in people.values() if value), None)
    box = from_corner(*map(float, shape[1:]))
    found.add(where, *moment, box, actions, person, as_shown=bool(times))  # a browser plays a video with square pixels


def _read_csv(path: Path, found: PersonCollector) -> None:
    lines = list(text_lines(path))
    if any(CSV_3 in text for _, text in lines if text.startswith("#")):
        described = next((text for _, text in lines if text.startswith("# ATTRIBUTE")), "{}")
        attributes = _loads(described.partition("=")[2] or "{}", path)
        attributes = {key: v if isinstance(v, dict) else {"aname": v} for key, v in attributes.items()}
        for where, cells in csv_cells([line for line in lines if not line[1].startswith("#")]):
            if len(cells) < 6:
                found.findings.add(where, f"{len(cells)} fields, expected VIA's six")
                continue
            _, names, _, times, shape, av = cells[:6]
            with found.element(where):
                name = next(iter(_loads(names, where)), None)
                times, shape, words = _loads(times, where), _loads(shape, where), _loads(av, where)
                _metadata(where, name, times, shape, words, attributes, found)
        return
    rows = csv_cells(lines)
    header = next(rows)[1]
    if CSV_2 not in header:
        raise UserError(f"{path}: its fields are not parted by commas, as VIA's are; export it again, or replace them")
    for where, cells in rows:
        if len(cells) != len(header):
            found.findings.add(where, f"{len(cells)} fields, the header has {len(header)}")
            continue
        row = dict(zip(header, cells))
        with found.element(where):
            shape = _loads(row.get(CSV_2) or "{}", where)
            if shape:  # pictures without a region have a line too
                _region(where, row["filename"], shape, _loads(row.get("region_attributes") or "{}", where), found)


def _loads(text: str, where: str | Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON in a field of VIA's csv ({error})") from None
