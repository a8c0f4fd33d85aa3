"""What the API shows of videos, spans, boxes, jobs and models: plain data, as ``API.md`` describes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

from paddlevideo.spans import LONGEST_S
from paddlevideo_studio.jobs import Job, Jobs
from paddlevideo_studio.journal import HUMAN, Entry
from paddlevideo_studio.models import Model
from paddlevideo_studio.project import Project
from paddlevideo_studio.videos import Video

_SPAN = ("id", "start_s", "end_s", "label", "score", "person", "by")
_BOX = ("id", "time_s", "box", "person", "actions", "score", "by")
_VIDEO = (
    "id",
    "name",
    "state",
    "error",
    "duration_s",
    "fps",
    "num_frames",
    "even",
    "width",
    "height",
    "strip",
    "created",
)
_JOB = ("id", "kind", "state", "video", "model", "created", "started", "ended", "command", "error", "result")


class Counts:
    """Spans of every video, those by a person, and the models that analysed it: one pass over the project."""

    def __init__(self, project: Project, jobs: Jobs):
        self.spans: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.analysed: dict[str, dict[int, None]] = {}
        self.active: dict[str, int] = {}
        for entry in project.spans.current():
            self.spans[entry["video"]] += 1
            self.checked[entry["video"]] += entry["by"] == HUMAN
        for job in jobs:
            if job.video is not None and job.state in ("queued", "running"):
                self.active[job.video] = job.id
            elif job.kind == "analyse" and job.state == "done" and job.video and job.model:
                self.analysed.setdefault(job.video, {})[job.model] = None


def video_view(video: Video, counts: Counts) -> dict[str, Any]:
    """A Video."""
    return {
        **{key: getattr(video, key) for key in _VIDEO},
        "transcoded": bool(video.original),
        "spans": counts.spans[video.file],
        "checked": counts.checked[video.file],
        "analysed": sorted(counts.analysed.get(video.id, ())),
        "job": counts.active.get(video.id),
    }


def span_view(entry: Entry) -> dict[str, Any]:
    """A Span."""
    return {key: entry[key] for key in _SPAN if key in entry}


def spans_view(project: Project, video: Video) -> dict[str, Any]:
    """The spans of a video."""
    entries = sorted(project.spans.current(video.file), key=lambda e: (e["start_s"], e["end_s"], e["label"]))
    return {"spans": [span_view(entry) for entry in entries], "can_undo": project.spans.can_undo(video.file)}


def people_view(project: Project, video: Video, from_s: float = 0.0, to_s: float = LONGEST_S) -> dict[str, Any]:
    """The boxes of a video between two seconds, with those of each person that are interpolated to."""
    tracks: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(project.people.current(video.file), key=lambda entry: entry["time_s"]):
        tracks[entry["person"]].append(entry)
    boxes = []
    for person in sorted(tracks, key=person_order):
        track = tracks[person]
        first = max(bisect_right(track, from_s, key=lambda entry: entry["time_s"]) - 1, 0)
        last = min(bisect_left(track, to_s, key=lambda entry: entry["time_s"]), len(track) - 1)
        first = bisect_left(track, track[first]["time_s"], key=lambda entry: entry["time_s"])  # all of a moment
        last = bisect_right(track, track[last]["time_s"], key=lambda entry: entry["time_s"])
        boxes += [{key: entry[key] for key in _BOX if key in entry} for entry in track[first:last]]
    persons = sorted(tracks, key=person_order)
    return {"people": boxes, "persons": persons, "can_undo": project.people.can_undo(video.file)}


def person_order(person: str) -> tuple[int, int, str]:
    """Numbers by their value, before names."""
    return (0, int(person), "") if person.isdecimal() and len(person) < 10 else (1, 0, person)


def job_view(jobs: Jobs, job: Job) -> dict[str, Any]:
    """A Job."""
    share, left_s = jobs.progress(job)
    return {**{key: getattr(job, key) for key in _JOB}, "progress": share, "left_s": left_s}


def model_view(model: Model) -> dict[str, Any]:
    """A Model."""
    return asdict(model)
