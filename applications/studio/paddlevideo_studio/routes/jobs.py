"""Jobs: analyse, train, progress, cancel; and the stream of events."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError
from paddlevideo.spans import LONGEST_S
from paddlevideo_studio.events import MOST_STREAMS, TooManyStreams
from paddlevideo_studio.jobs import ACTIVE, Job
from paddlevideo_studio.routes.body import Body
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.training import TrainRequest, submit_training
from paddlevideo_studio.views import job_view
from paddlevideo_studio.work import MOST_SIMILAR, analyse_steps, detect_steps, settings_for, similar_steps

router = APIRouter(prefix="/api", tags=["jobs"])
_MOST_LOG = 1 << 20
_MOST_LISTED = 100


class Analysis(Body):
    """With which model, and how."""

    model: int | None = None
    settings: dict[str, float | str] = Field(default_factory=dict)


class Detection(Body):
    """Seconds between the key frames of a person."""

    every_s: float = Field(1.0, ge=0.04, le=60)


class Similar(Body):
    """A stretch of a video."""

    start_s: float = Field(ge=0, le=LONGEST_S)
    end_s: float = Field(ge=0, le=LONGEST_S)
    model: int | None = None
    top: int = Field(20, ge=1, le=MOST_SIMILAR)


class Training(Body):
    """``head``: a head on the frozen backbone; ``full``: the ordinary training of a configuration."""

    mode: Literal["head", "full"]
    config: str | None = Field(None, max_length=200)
    override: list[str] = Field(default_factory=list, max_length=50)
    of: Literal["timeline", "people"] | None = None


def find_job(studio: Studio, number: int) -> Job:
    job = studio.jobs.get(number)
    if job is None:
        raise HTTPException(404, "there is no such job")
    return job


@router.post("/videos/{key}/analyse", status_code=202)
def analyse(studio: State, key: str, body: Analysis) -> dict[str, Any]:
    """Finds the spans of a video."""
    with studio.project.lock:
        video, model = studio.ready(key), studio.model(body.model)
        if studio.jobs.active(video.id) is not None:
            raise HTTPException(409, "a job of this video is queued or running")
        settings = settings_for(studio.project, model, body.settings)
        job = studio.jobs.submit(
            "analyse",
            lambda folder: analyse_steps(studio.project, video, model, settings, folder),
            video=video.id, model=model.id, total_s=video.duration_s, options=settings,
        )  # fmt: skip
    return job_view(studio.jobs, job)


@router.post("/videos/{key}/detect", status_code=202)
def detect(studio: State, key: str, body: Detection) -> dict[str, Any]:
    """Finds the persons of a video, without a model of actions."""
    with studio.project.lock:
        video = studio.ready(key)
        if studio.jobs.active(video.id) is not None:
            raise HTTPException(409, "a job of this video is queued or running")
        job = studio.jobs.submit(
            "detect",
            lambda folder: detect_steps(studio.project, video, body.every_s, folder),
            video=video.id, total_s=video.duration_s, options={"every_s": body.every_s},
        )  # fmt: skip
    return job_view(studio.jobs, job)


@router.post("/videos/{key}/similar", status_code=202)
def similar(studio: State, key: str, body: Similar) -> dict[str, Any]:
    """Finds where in all videos something like a stretch of one happens."""
    stretch = (round(body.start_s, 3), round(body.end_s, 3))  # as the command has them
    if not stretch[0] < stretch[1]:
        raise UserError(f"end_s: expected at least 1 ms after start_s, {body.start_s:g}, got {body.end_s:g}")
    with studio.project.lock:
        video, model = studio.ready(key), studio.model(body.model)
        if stretch[0] >= video.duration_s:
            raise UserError(f"start_s: expected less than the video's {video.duration_s:g} s, got {body.start_s:g}")
        ready = [each for each in studio.project.videos if each.state == "ready"]
        values = {"video": video.id, "start_s": stretch[0], "end_s": stretch[1], "top": body.top}
        job = studio.jobs.submit(
            "similar",
            lambda folder: similar_steps(studio.project, video, model, stretch, body.top, folder),
            model=model.id,
            total_s=sum(each.duration_s for each in ready),
            options={**values, "videos": [each.id for each in ready]},
        )
    return job_view(studio.jobs, job)


@router.post("/train", status_code=202)
def train(studio: State, body: Training) -> dict[str, Any]:
    """Trains on what persons have annotated."""
    wanted = TrainRequest(body.mode, body.config, tuple(body.override), body.of)
    with studio.project.lock:
        return job_view(studio.jobs, submit_training(studio, wanted))


@router.get("/jobs")
def list_jobs(studio: State) -> dict[str, Any]:
    """The last 100 jobs, newest first, and those that wait or run."""
    jobs = [job for place, job in enumerate(studio.jobs) if place < _MOST_LISTED or job.state in ACTIVE]
    return {"jobs": [job_view(studio.jobs, job) for job in jobs]}


@router.get("/jobs/{number}")
def get_job(studio: State, number: int) -> dict[str, Any]:
    """One job."""
    return job_view(studio.jobs, find_job(studio, number))


@router.get("/jobs/{number}/log", response_class=PlainTextResponse)
def get_log(studio: State, number: int, tail: int = Query(_MOST_LOG, ge=1, le=_MOST_LOG)) -> str:
    """The last bytes of a job's log."""
    return studio.jobs.log(find_job(studio, number), tail)


@router.post("/jobs/{number}/cancel")
def cancel_job(studio: State, number: int) -> dict[str, Any]:
    """Ends a job."""
    return job_view(studio.jobs, studio.jobs.cancel(find_job(studio, number)))


@router.get("/events")
async def events(studio: State) -> StreamingResponse:
    """Server-sent events."""
    if studio.events.is_full():
        raise TooManyStreams(f"{MOST_STREAMS} pages listen already")
    return StreamingResponse(studio.events.stream(studio.render), media_type="text/event-stream")
