"""Label Studio's JSON and JSON-MIN: boxes of VideoRectangle, boxes on pictures, segments of TimelineLabels.

``label_studio_tasks`` writes the same: spans as TimelineLabels, those of persons as VideoRectangle.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from paddlevideo.boxes import from_corner
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import PICTURE_NEEDED, Clock, PersonCollector
from paddlevideo.preparation.importers.tracks import PersonTrack, TrackKey, WrittenTracks, add_tracks
from paddlevideo.preparation.list_files import read_json
from paddlevideo.spans import SpanTable
from paddlevideo.video_files import VIDEO_ENDINGS

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
_LABELS = ("labels", "videorectangle", "rectanglelabels", "choices", "timelinelabels", "timeserieslabels")
_PERCENT = 100.0
_SIDES = ("x", "y", "width", "height")
_LONGEST = 10**9  # frames
_PERSON = re.compile(r"person (.+)")  # in a region's notes: regions of one person


def is_label_studio(content: Any) -> bool:
    """Whether a JSON list is an export of tasks."""
    return isinstance(content, list) and bool(content) and all(isinstance(task, dict) for task in content)


def read_label_studio(path: Path, found: PersonCollector) -> None:
    """Tracks at key frames; segments; boxes on pictures as they are."""
    content = read_json(path, list)
    if not is_label_studio(content):
        raise UserError(f"{path}: expected Label Studio's list of tasks (export: JSON or JSON-MIN)")
    for number, task in enumerate(content, 1):
        where = f"{path}: task {task.get('id', number)}"
        name = _file_of(task)
        if name is None and found.options.video is None:
            found.findings.add(where, "no video or picture in its data; --video names it")
            continue
        with found.element(where):
            _task(where, name or "", list(_regions(task, where, found)), found)


def _file_of(task: Mapping[str, Any]) -> str | None:
    """The name of a task's video or picture, as it was before it was uploaded."""
    data = task.get("data") if isinstance(task.get("data"), dict) else task
    for address in [*data.values(), task.get("file_upload")]:
        if not isinstance(address, str):
            continue
        parts = urlsplit(address)
        name = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)  # d: of /data/local-files/
        if name.lower().endswith(VIDEO_ENDINGS + _PICTURES):
            folder, _, base = name.rpartition("/")
            if "upload" in folder or address == task.get("file_upload"):
                return _UPLOADED.sub("", base, count=1)
            return name
    return None


def _regions(task: Mapping[str, Any], where: str, found: PersonCollector) -> Iterator[tuple[str, str, dict]]:
    """(id, tool, value) of everything that was drawn in a task."""
    if "annotations" not in task and "completions" not in task and "predictions" not in task:  # JSON-MIN
        for key, values in task.items():
            for number, value in enumerate(values if isinstance(values, list) else []):
                if isinstance(value, dict):
                    yield f"{key} {number + 1}", key, value
        return
    annotations = [a for a in task.get("annotations") or task.get("completions") or [] if not a.get("was_cancelled")]
    chosen = next((a for a in annotations if a.get("ground_truth")), annotations[-1] if annotations else {})
    if len(annotations) > 1:
        found.note("tasks were annotated several times: the ground truth is taken, or else the last")
    if not annotations and task.get("predictions"):
        found.drop("tasks have predictions only, which no annotator has confirmed")
    for number, result in enumerate(chosen.get("result") or [], 1):
        if isinstance(result.get("value"), dict):
            notes = (result.get("meta") or {}).get("text") or []
            person = next((m[1] for m in map(_PERSON.fullmatch, map(str, notes)) if m), None)
            sizes = {key: result[key] for key in ("original_width", "original_height") if result.get(key)}
            yield (
                str(result.get("id", number)),
                str(result.get("type")),
                {
                    **sizes,
                    **({} if person is None else {"person": person}),
                    **result["value"],
                },
            )


def _task(where: str, name: str, regions: list[tuple[str, str, dict]], found: PersonCollector) -> None:
    words: dict[str, list[str]] = defaultdict(list)  # results of a region; there may be several
    drawn = set()
    for key, tool, value in regions:
        words[key] += [str(word) for field in _LABELS if isinstance(value.get(field), list) for word in value[field]]
        if "sequence" in value or {"x", "y", "width", "height"} <= value.keys():
            drawn.add(key)
        elif "ranges" not in value and not words[key]:
            found.drop(f"results of type {tool} of Label Studio: neither boxes nor segments")
    tracks: list[PersonTrack] = []
    fps, video = 0.0, found.video(name) if any("sequence" in v or "ranges" in v for _, _, v in regions) else None
    for key, tool, value in regions:
        place = f"{where}, region {key}"
        with found.element(place):
            if "sequence" in value and video:
                fps = _rate(value, video, found)
                tracks += _track(place, value, _actions(words[key], found), value.get("person", key), found)
            elif "ranges" in value and video:
                fps = _rate(value, video, found)
                for part in value["ranges"]:  # frames from 1, both included
                    for word in words[key]:
                        start_s, end_s = (float(part["start"]) - 1) / fps, float(part["end"]) / fps
                        found.add_segment(place, video, start_s, end_s, word)
            elif {"x", "y", "width", "height"} <= value.keys():
                _picture(place, name, value, words[key], found)
            elif key not in drawn and words[key]:
                found.drop(f"results of type {tool} of Label Studio are of a whole video")
    if tracks and video:
        add_tracks(tracks, video, Clock(fps), found, in_pixels=False, at_even_rate=True)


def _actions(words: list[str], found: PersonCollector) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for word in words for name in found.described({}, word)[0]))


def _rate(value: Mapping[str, Any], video: str, found: PersonCollector) -> float:
    """Frames per second as Label Studio counted them, by its configuration, not by the video."""
    count, duration_s = value.get("framesCount"), value.get("duration")
    if found.options.own_rate and count and duration_s:
        return float(count) / float(duration_s)
    rate = found.clock(video).fps
    if count and duration_s and found.options.picture_fps is None and abs(float(count) - rate * float(duration_s)) > 2:
        counted = float(count) / float(duration_s)
        found.note(f"regions count {counted:.4g} frames a second, {video!r} has {rate:.4g}: their own count is taken")
        return counted
    return rate


def _track(
    where: str, value: Mapping[str, Any], actions: tuple, person: str, found: PersonCollector
) -> list[PersonTrack]:
    keys = []
    for entry in value["sequence"]:
        found.count()
        frame = entry["frame"]
        if not isinstance(frame, int) or not 1 <= frame <= _LONGEST:
            found.findings.add(where, f"frame {frame!r}: expected a whole number from 1")
            return []
        if float(entry.get("rotation") or 0) % 180:
            found.findings.add(where, f"frame {frame} has a turned box: set its rotation to 0 in Label Studio")
            return []
        keys.append(TrackKey(frame - 1, _corners(entry), actions, True, bool(entry.get("enabled", True))))
    keys.sort(key=lambda key: key.frame)
    if keys and keys[-1].stays:  # up to the video's end
        last = min(int(value.get("framesCount") or 0), _LONGEST)
        if last - 1 > keys[-1].frame:
            keys.append(TrackKey(last - 1, keys[-1].box, actions))
    return [PersonTrack(person, keys, where)]


def _picture(where: str, name: str, value: Mapping[str, Any], words: list[str], found: PersonCollector) -> None:
    found.count()
    moment = found.moment_of_picture(name)
    if moment is None:
        found.findings.add(where, f"{name!r} names no video and time; {PICTURE_NEEDED}")
    elif float(value.get("rotation") or 0) % 180:
        found.findings.add(where, "the box is turned: set its rotation to 0 in Label Studio")
    else:
        found.add(where, *moment, _corners(value), _actions(words, found), in_pixels=False)


def _corners(value: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Per cent of the picture as x, y, width, height to fractions x1, y1, x2, y2."""
    return from_corner(*(float(value[key]) / _PERCENT for key in _SIDES))


# ---- writing


def label_studio_tasks(table: SpanTable, tracks: WrittenTracks) -> list[dict[str, Any]]:
    """A task per video, for Label Studio's import: with ``<TimelineLabels name="timeline" toName="video"/>`` and, for
    persons, ``<Labels name="label" toName="video"/>`` and ``<VideoRectangle name="box" toName="video"/>``.

    Times become frames, of the video's ``fps``.

    Args:
        tracks: boxes of persons; a span of a person without boxes becomes one of the picture.
    """
    tasks = []
    for number, name in enumerate(table.video_names(), 1):
        rate, frames = tracks.rate(name), tracks.num_frames(name)
        facts = {"framesCount": frames, "duration": round(frames / rate, 6)}
        regions = []
        for place, span in enumerate((span for span in table.spans if span.video == name), 1):
            first, behind = tracks.frames_of(span)
            keys = tracks.keys(span)
            common = {"id": f"{number}_{place}", "to_name": "video", "origin": "manual"}
            if not keys:
                value = {**facts, "ranges": [{"start": first + 1, "end": behind}], "timelinelabels": [span.label]}
                regions.append({**common, "from_name": "timeline", "type": "timelinelabels", "value": value})
                continue
            sequence = [
                {"frame": frame + 1, "time": round(frame / rate, 6), "enabled": frame < behind - 1, "rotation": 0}
                | {key: round(_PERCENT * side, 6) for key, side in zip(_SIDES, (x1, y1, x2 - x1, y2 - y1))}
                for frame, (x1, y1, x2, y2) in keys
            ]
            region = {
                **common,
                "from_name": "box",
                "type": "videorectangle",
                "meta": {"text": [f"person {span.person}"]},
            }
            regions.append({**region, "value": {**facts, "sequence": sequence, "labels": [span.label]}})
        tasks.append({"id": number, "data": {"video": name}, "annotations": [{"result": regions}]})
    return tasks
