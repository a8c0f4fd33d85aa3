"""The kinds of jobs: which commands each runs, and what becomes of its results."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError
from paddlevideo.inference.timeline import TimelineSettings
from paddlevideo.metrics.spans import span_iou
from paddlevideo.safe_io import read_json, write_atomic
from paddlevideo.spans import read_spans
from paddlevideo_studio.boxes import DETECTOR, read_boxes, take_boxes, with_own_names
from paddlevideo_studio.comparison import finish_training
from paddlevideo_studio.inspection import BOUNDS
from paddlevideo_studio.jobs import Finish, Job
from paddlevideo_studio.journal import HUMAN, Entry
from paddlevideo_studio.limited import run_module
from paddlevideo_studio.models import Model
from paddlevideo_studio.project import Project
from paddlevideo_studio.videos import Video

HOG = "hog"  # the detector of a project that has none
COMMAND = [sys.executable, "-m", "paddlevideo"]
SPANS, SCORES, PEOPLE, SIMILAR = "spans.json", "scores.csv", "people.csv", "similar.json"
VIDEOS = "videos.txt"  # all that are searched: a thousand paths are no command to read
MOST_SIMILAR = 50
SAME = 0.5  # IoU of spans of a class that are the same
# options of an analysis -> those of ``paddlevideo timeline``
NUMBERS = ("window_s", "hop_s", "smooth_s", "on", "off", "min_s", "gap_s")
_WINDOWS = ("window_s", "hop_s")
TEXTS = ("smoothing", "background")


def transcode_steps(project: Project, video: Video) -> list[list[str]]:
    """The upload to what a browser plays."""
    source, target = project.videos.originals / video.original, project.videos.folder / f"{video.id}.mp4"
    return [[sys.executable, "-m", "paddlevideo_studio.transcode", str(source), str(target)]]


def finish_transcode(project: Project, job: Job, folder: Path, done: bool) -> dict[str, Any]:
    """The video is ready, or failed."""
    target = project.videos.folder / f"{job.video}.mp4"
    found = {"error": f"it cannot be converted (job {job.id})"}
    if done:  # outside of the lock, as it takes seconds
        words = [target, "--name", target.name, "--pictures", target.with_suffix("")]
        found = run_module("inspection", words, BOUNDS.time_s)
    with project.lock:
        video = project.videos.get(job.video or "")
        if video is None:  # removed meanwhile
            return {}
        if "error" in found:
            project.videos.write(replace(video, state="failed", error=found["error"]))
        else:
            project.videos.write(replace(video.with_facts(found), file=target.name, state="ready", error=None))
    return {}


def settings_words(settings: dict[str, Any]) -> list[str]:
    """The options of an analysis as words of the command.

    Raises:
        UserError: an unknown option, a value of another type, or values that ``paddlevideo timeline`` refuses.
    """
    words: list[str] = []
    for name, value in settings.items():
        if name in NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
            words += [f"--{name}", f"{value:g}"]
        elif name in TEXTS and isinstance(value, str) and value.isprintable() and value[:1] not in ("", "-"):
            words += [f"--{name}", value]
        else:
            raise UserError(
                f"settings: {name}: expected a number for {', '.join(NUMBERS)}, a text for {', '.join(TEXTS)}"
            )
    try:
        TimelineSettings(**{"window_s": 1.0, **settings})
    except UserError as error:
        raise UserError(f"settings: {error}") from None
    return words


def settings_for(project: Project, model: Model, given: dict[str, Any]) -> dict[str, Any]:
    """The project's options of an analysis with those given; a model of people has no windows, and a class has the name
    that the model learnt it by."""
    own = {k: v for k, v in project.settings.analysis.items() if model.kind != "people" or k not in _WINDOWS}
    settings = {**own, **given}
    names = project.present_classes(model)
    if settings.get("background") in names:
        settings["background"] = model.classes[names.index(settings["background"])]
    return settings


def analyse_steps(
    project: Project, video: Video, model: Model, settings: dict[str, Any], folder: Path
) -> list[list[str]]:
    """``paddlevideo timeline``, or ``detect`` for a model of people."""
    source, weights = str(project.videos.path(video)), str(project.models.path(model))
    words = settings_words(settings)
    if model.kind == "people":
        if settings.keys() & {*_WINDOWS}:
            raise UserError("settings: a model of people has no window_s and hop_s")
        detector = ["--detector", project.settings.detector or HOG]
        out = ["--spans", str(folder / SPANS), "--people", str(folder / PEOPLE), "--out-filename", "", "--progress"]
        return [[*COMMAND, "detect", "--model_file", weights, "--video_path", source, *detector, *words, *out]]
    out = ["--out", str(folder / SPANS), "--scores", str(folder / SCORES), "--progress"]
    return [[*COMMAND, "timeline", "--model_file", weights, "-i", source, *words, *out]]


def detect_steps(project: Project, video: Video, every_s: float, folder: Path) -> list[list[str]]:
    """``paddlevideo persons``: boxes of persons, without a model of actions."""
    words = ["-i", str(project.videos.path(video)), "--detector", project.settings.detector or HOG]
    words += ["--every_s", f"{every_s:g}", "--out", str(folder / PEOPLE), "--progress"]
    return [[*COMMAND, "persons", *words]]


def finish_detect(project: Project, job: Job, folder: Path, done: bool) -> dict[str, Any]:
    """Replaces boxes that were found before, apart from persons that a person has corrected."""
    video = project.videos.get(job.video or "")
    if not done or video is None:
        return {}
    boxes = read_boxes(folder / PEOPLE, video, ())
    with project.lock:
        boxes, _ = with_own_names(project, video, boxes)
        result = take_boxes(project, video, boxes, DETECTOR, job.id, _id_of)
        project.announce("people", {"video": video.id})
    return {"persons": len({entry["person"] for entry in boxes}), **result}


def finish_analyse(project: Project, job: Job, folder: Path, done: bool) -> dict[str, Any]:
    """Replaces what models found in the video before, apart from what a person has decided."""
    video, model = project.videos.get(job.video or ""), project.models.get(job.model)
    if not done or video is None or model is None:
        return {}
    by = f"model {job.model}"
    spans = [span.to_dict() for span in read_spans(folder / SPANS).spans]
    of_people = (folder / PEOPLE).is_file()
    boxes = read_boxes(folder / PEOPLE, video, model.classes) if of_people else []
    with project.lock:
        names = project.present_name_of(model)
        spans = [{**span, "label": names.get(span["label"], span["label"])} for span in spans]
        boxes = [{**box, "actions": [names.get(action, action) for action in box["actions"]]} for box in boxes]
        if of_people:
            boxes, spans = with_own_names(project, video, boxes, spans)
        result = _take_spans(project, video, spans, by, job.id)
        project.announce("spans", {"video": video.id})
        if of_people:
            result |= take_boxes(project, video, boxes, by, job.id, _id_of)
            project.announce("people", {"video": video.id})
    return result


def _take_spans(project: Project, video: Video, spans: Sequence[Entry], by: str, run: int) -> dict[str, Any]:
    decided = _decided(project, video)
    found, added = [], []
    for number, span in enumerate(spans):
        entry = {**span, "id": _id_of(run, number), "video": video.file, "run": run}
        found.append(entry)
        if project.spans.entry(entry["id"]) is None and not any(_same(entry, other) for other in decided):
            added.append(entry)
    project.add_classes([span["label"] for span in added])
    gone = [
        {"video": video.file, "removed": True, "replaces": entry["id"]}
        for entry in project.spans.current(video.file)
        if entry["by"] != HUMAN and entry["id"] not in {each["id"] for each in found}
    ]
    project.spans.append([*gone, *added], by)
    return {"spans": len(found), "added": len(added), "checked_before": len(found) - len(added)}


def _decided(project: Project, video: Video) -> list[Entry]:
    """Spans that a person made, and those of models that a person changed or removed; a change that was taken back is
    no decision."""
    decided = []
    for line in project.spans.lines(video.file):
        withdrawn = line.get("removed") and "undoes" in line
        stands = line["by"] == HUMAN and project.spans.stands(line["id"]) and not withdrawn
        entry: Entry | None = line if stands else None
        while entry is not None:  # back to what a model found
            if "label" in entry:
                decided.append({**entry, "label": project.renamed(entry["label"], entry["at"])})
            entry = project.spans.entry(entry.get("replaces", ""))
    return decided


def _same(one: Entry, other: Entry) -> bool:
    if one["label"] != other["label"] or one.get("person") != other.get("person"):
        return False
    return span_iou(*((each["start_s"], each["end_s"]) for each in (one, other))) >= SAME


def _id_of(run: int, number: int | str) -> str:
    """The same whenever the results of a run are taken, so that none is taken twice."""
    return hashlib.sha256(f"{run}:{number}".encode()).hexdigest()[:16]


def similar_steps(
    project: Project, video: Video, model: Model, stretch: tuple[float, float], top: int, folder: Path
) -> list[list[str]]:
    """``paddlevideo similar`` over all videos that are ready.

    Args:
        stretch: start and end of the query, in seconds.
    """
    if model.kind == "people":
        raise UserError("model: a model of people has no windows to compare; choose a model of kind timeline")
    settings = {key: value for key, value in settings_for(project, model, {}).items() if key in _WINDOWS}
    files = [str(project.videos.path(each)) for each in project.videos if each.state == "ready"]
    write_atomic(folder / VIDEOS, "".join(f"{file}\n" for file in files))
    words = ["--model_file", str(project.models.path(model)), "--video", str(project.videos.path(video))]
    words += ["--start_s", f"{stretch[0]:.3f}", "--end_s", f"{stretch[1]:.3f}", "--top", str(top)]
    words += ["--features", str(project.features), *settings_words(settings), "--out", str(folder / SIMILAR)]
    return [[*COMMAND, "similar", *words, "--videos", str(folder / VIDEOS)]]


def finish_similar(project: Project, job: Job, folder: Path, done: bool) -> dict[str, Any]:
    """The spans that were found, with the videos' ids."""
    if not done:
        return {}
    keys = ("start_s", "end_s", "similarity")
    found = []
    for entry in read_json(folder / SIMILAR, "the spans that were found")["found"]:
        video = project.videos.of_file(Path(entry["video"]).name)
        if video is not None:  # else removed meanwhile
            found.append({"video": video.id, **{key: entry[key] for key in keys}})
    return {"found": found[:MOST_SIMILAR]}


FINISHES: dict[str, Finish] = {
    "transcode": finish_transcode,
    "analyse": finish_analyse,
    "detect": finish_detect,
    "train": finish_training,
    "teach": finish_training,
    "similar": finish_similar,
}


def run_spans(project: Project, job: Job, folder: Path) -> list[dict[str, Any]]:
    """The spans of a run, as the command wrote them, with the present names of their classes."""
    file = folder / SPANS
    if not file.is_file():
        return []
    content = json.loads(file.read_text(encoding="utf-8"))
    model = project.models.get(job.model)
    spans = [{key: span[key] for key in span if key != "video"} for span in content["spans"]]
    if model is None:
        return [{**span, "label": project.renamed(span["label"], job.created)} for span in spans]
    names = project.present_name_of(model)
    return [{**span, "label": names.get(span["label"], span["label"])} for span in spans]
