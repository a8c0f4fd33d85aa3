"""CVAT's XML 1.1, of tasks, jobs and projects: for video (tracks) and for images.

``cvat_video`` writes spans as tracks: a span without a person is a box around the whole picture.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import PICTURE_NEEDED, PersonCollector, is_name, upright
from paddlevideo.preparation.importers.tracks import PersonTrack, TrackKey, WrittenTracks, add_tracks
from paddlevideo.spans import Span, SpanTable

# what CVAT adds to people's own attributes, in XML and where it exports to other forms
BOOKKEEPING = frozenset({"occluded", "outside", "keyframe", "rotation", "z_order", "group_id", "source", "label_id"})
_FRAME = re.compile(r"[0-9]{1,9}")
_STEP = re.compile(r"step\s*=\s*(\d{1,6})")


@dataclass(frozen=True)
class _Task:
    """A video of a project.

    Attributes:
        name: the video's, or the task's, which CVAT calls after the file by default.
        offset: where a project's frames of this task begin; frames count through the tasks of a subset.
        step: every so many frames are annotated.
    """

    name: str
    size_px: tuple[int, int] | None
    offset: int = 0
    step: int = 1


def read_cvat(path: Path, found: PersonCollector) -> None:
    """Boxes of tracks at key frames, boxes of images as they are."""
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:  # LookupError: an encoding
        raise UserError(f"{path}: not XML ({error})") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: <{root.tag}>, expected CVAT's <annotations> (export: CVAT for video 1.1)")
    tasks = _tasks(root, path, found)
    tracks: dict[_Task, list[PersonTrack]] = defaultdict(list)
    for element in root.iterfind("track"):
        where = f"{path}: track {element.get('id')}"
        with found.element(where):
            task = _task_of(element, tasks, where, found)
            track = task and _track(element, task, where, found)
            if task and track:
                tracks[task].append(track)
    for task, members in tracks.items():
        video = found.video(task.name)
        if video is None:
            found.findings.add(members[0].where, "its task has no name, which is the video's; --video names it")
            continue
        add_tracks(members, video, found.clock(video), found, True, task.size_px, task.step)
    for element in root.iterfind("image"):
        with found.element(f"{path}: image {element.get('id')}"):
            _image(element, tasks, path, found)


def _tasks(root: ElementTree.Element, path: Path, found: PersonCollector) -> Mapping[str | None, _Task]:
    """The tasks of a project by id; of a task or job the one, for all ids."""
    members = root.findall("meta/project/tasks/task")
    if not members:
        kinds = (root.find(f"meta/{kind}") for kind in ("task", "job"))
        task = next((element for element in kinds if element is not None), root)
        source = task.findtext("source") or root.findtext("meta/source") or task.findtext("name") or path.stem
        size = _size(task) or _size(root.find("meta"))
        return defaultdict(lambda: _Task(Path(source).name, size, step=_step(task)))
    tasks: dict[str | None, _Task] = {}
    ends: dict[str | None, int] = {}
    offset, subset = 0, None
    for task in members:
        if task.findtext("subset") != subset:
            offset, subset = 0, task.findtext("subset")
        key, name = task.findtext("id"), task.findtext("source") or task.findtext("name") or ""
        step = _step(task)
        tasks[key] = _Task(Path(name).name, _size(task), offset, step)
        offset += int(task.findtext("start_frame") or 0) + int(task.findtext("size") or 0) * step
        ends[key] = offset + step  # a track may be switched off after the last frame
    counts = Counter(task.name for task in tasks.values())
    for name in sorted(name for name, count in counts.items() if count > 1):
        found.note(f"tasks are of {name!r}, taken for one video and its tracks for the same persons", counts[name])
    if all(tasks[key].offset <= frame <= ends[key] for key, frame in _frames(root) if key in tasks):
        return tasks
    found.note("project counts frames anew in each task")
    return {key: replace(task, offset=0) for key, task in tasks.items()}


def _frames(root: ElementTree.Element) -> Iterator[tuple[str | None, int]]:
    """Task ids and frames of everything in a project."""
    for element in (*root.iterfind("track"), *root.iterfind("image")):
        frames = [element.get("id", "")] if element.tag == "image" else [box.get("frame", "") for box in element]
        yield from ((element.get("task_id"), int(frame)) for frame in frames if _FRAME.fullmatch(frame))


def _size(element: ElementTree.Element | None) -> tuple[int, int] | None:
    size = None if element is None else element.find("original_size")
    return None if size is None else tuple(round(float(size.findtext(side, "0"))) for side in ("width", "height"))


def _step(task: ElementTree.Element) -> int:
    match = _STEP.search(task.findtext("frame_filter") or "")
    return max(int(match[1]), 1) if match else 1


def _task_of(element: ElementTree.Element, tasks: Mapping, where: str, found: PersonCollector) -> _Task | None:
    try:
        return tasks[element.get("task_id")]
    except KeyError:
        found.findings.add(where, f"task_id {element.get('task_id')!r} is none of the tasks in <meta>")
        return None


def _track(element: ElementTree.Element, task: _Task, where: str, found: PersonCollector) -> PersonTrack | None:
    keys, label = [], element.get("label", "")
    identities: list[str] = []
    for box in element:
        if box.tag != "box":
            _drop(box.tag, found)
            continue
        found.count()
        frame = box.get("frame", "")
        number = int(frame) - task.offset if _FRAME.fullmatch(frame) else -1
        if number < 0:
            least = f" from {task.offset}, where its task begins" if task.offset else ""
            found.findings.add(where, f"frame {frame!r}: expected a whole number of up to nine digits{least}")
            return None
        actions, person = found.described(_attributes(box), label)
        identities += [person] if person else []
        outside = box.get("outside") == "1"
        if outside:
            found.drop("boxes are marked as outside of the picture")
        keys.append(TrackKey(number, _corners(box, found), actions, not outside, not outside))
    keys.sort(key=lambda key: key.frame)
    return PersonTrack(element.get("id") or next(iter(identities), None), keys, where)


def _image(element: ElementTree.Element, tasks: Mapping, path: Path, found: PersonCollector) -> None:
    where, name = f"{path}: image {element.get('id')}", element.get("name", "")
    task = _task_of(element, tasks, where, found)
    boxes = element.findall("box")
    for shape in element:
        if shape.tag != "box":
            _drop(shape.tag, found)
    if not boxes or task is None:
        return
    # a video's pictures are called by their frame, which is the id too
    numbered = re.fullmatch(r"(?:.*/)?frame_(\d{6,9})(?:\.\w+)?", name)
    number = element.get("id", "")
    if numbered and number.isdecimal() and int(numbered[1]) == int(number):
        moment = found.moment_of_picture(f"frame_{max(int(number) - task.offset, 0):06d}", task.name, 0)
    else:
        moment = found.moment_of_picture(name)
    if moment is None:
        found.findings.add(where, f"{name!r} names no video and time; {PICTURE_NEEDED}")
        return
    sides = (int(element.get("width", 0)), int(element.get("height", 0)))
    for place, box in enumerate(boxes, 1):
        found.count()
        with found.element(f"{where}, box {place}"):
            actions, person = found.described(_attributes(box), box.get("label", ""))
            found.add(f"{where}, box {place}", *moment, _corners(box, found), actions, person, True, sides)


def _drop(tag: str, found: PersonCollector) -> None:
    if tag != "attribute":
        found.drop(f"{tag} shapes or tags of CVAT: only boxes are people")


def _corners(box: ElementTree.Element, found: PersonCollector) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(box.get(key, "nan")) for key in ("xtl", "ytl", "xbr", "ybr"))
    degrees = float(box.get("rotation", "0"))
    if degrees % 180:
        found.note("turned boxes became the upright ones around them")
        return upright((x1, y1, x2, y2), degrees)
    return x1, y1, x2, y2


def _attributes(box: ElementTree.Element) -> dict[str, str]:
    return {item.get("name", ""): item.text or "" for item in box.iterfind("attribute")}


# ---- writing


def cvat_video(table: SpanTable, tracks: WrittenTracks) -> bytes:
    """CVAT for video 1.1, of one video: a task needs a label ``person`` with a text attribute ``action``.

    Times become frames, by the video's ``fps`` or the times of its frames.  A track is a person from the first to the
    last box, with all the actions of a frame in the attribute, or a span of the whole picture.  A class whose name is
    a number, or means true or false, is an attribute of that name instead: a checkbox of the label.

    Raises:
        UserError: spans of several videos, of none, or of one whose rate or size is not known.
    """
    videos = table.video_names()
    if len(videos) != 1:
        raise UserError(f"CVAT's form is of one video, and the spans are of {len(videos)}; write a file for each")
    (name,) = videos
    width, height = tracks.size_px(name)
    root = new_task(name, tracks.num_frames(name), (width, height))
    groups: dict[str | int, list[Span]] = {person: [] for person in tracks.persons(name)}
    for place, span in enumerate(table.spans):
        groups.setdefault(span.person if tracks.keys(span) else place, []).append(span)
    free = (number for number in range(10**9) if str(number) not in groups)
    for key, spans in groups.items():
        own = isinstance(key, str) and key.isdecimal()
        identity = key if own else str(next(free))
        ticked = sorted({span.label for span in spans if not is_name(span.label)})
        element = ElementTree.SubElement(root, "track", {"id": identity, "label": "person", "source": "manual"})
        for frame, box, actions in _keys(spans, name, key if isinstance(key, str) else None, tracks):
            add_box(element, frame, box, (width, height), actions, ticked)
    return to_bytes(root)


def new_task(name: str, num_frames: int, size_px: tuple[int, int]) -> ElementTree.Element:
    """The root of CVAT for video 1.1 with the description of one video."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    facts = {"name": name, "size": num_frames, "mode": "interpolation", "source": name}
    for key, value in facts.items():
        ElementTree.SubElement(task, key).text = str(value)
    size = ElementTree.SubElement(task, "original_size")
    for key, value in zip(("width", "height"), size_px):
        ElementTree.SubElement(size, key).text = str(value)
    return root


def add_box(
    track: ElementTree.Element, frame: int, box: Sequence[float], size_px: tuple[int, int],
    actions: Sequence[str] | None, ticked: Sequence[str],
) -> None:  # fmt: skip
    """A key of a track.

    Args:
        box: x1, y1, x2, y2 as fractions of the picture.
        actions: None: the person is gone from this frame on.
        ticked: classes that are checkboxes of their names.
    """
    sides = (side * value for side, value in zip((*size_px, *size_px), box))
    corners = {corner: f"{side:.6g}" for corner, side in zip(("xtl", "ytl", "xbr", "ybr"), sides)}
    flags = {"outside": str(int(actions is None)), "occluded": "0", "keyframe": "1", "z_order": "0"}
    shape = ElementTree.SubElement(track, "box", {"frame": str(frame), **flags, **corners})
    named = {"action": ";".join(filter(is_name, actions or ()))}
    named |= {label: str(label in (actions or ())).lower() for label in ticked}
    for attribute, text in named.items():
        ElementTree.SubElement(shape, "attribute", {"name": attribute}).text = text


def to_bytes(root: ElementTree.Element) -> bytes:
    """The file."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _keys(
    spans: list[Span], video: str, person: str | None, tracks: WrittenTracks
) -> Iterator[tuple[int, tuple[float, ...], tuple[str, ...] | None]]:
    """Frame, box and actions of each key of a track; no actions (None) behind its end."""
    ranges = [(*tracks.frames_of(span), span.label) for span in spans]
    shown = tracks.frames(video, person)
    end = max([frame + 1 for frame in shown] + [behind for _, behind, _ in ranges])
    for frame in sorted({*shown, end, *(frame for first, behind, _ in ranges for frame in (first, behind))}):
        actions = tuple(label for first, behind, label in ranges if first <= frame < behind)
        yield frame, tracks.box_at(video, person, frame), None if frame == end else actions
