"""Videos: upload, list, media with Range, pictures, score curves."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from paddlevideo.inference.window_features import drop_features
from paddlevideo.spans import LONGEST_S
from paddlevideo_studio.inspection import BOUNDS
from paddlevideo_studio.jobs import Job, QueueFull
from paddlevideo_studio.journal import HUMAN
from paddlevideo_studio.limited import run_module
from paddlevideo_studio.project import Project, check_name
from paddlevideo_studio.routes.body import Body
from paddlevideo_studio.scores import NO_CURVE
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.uploads import receive_file
from paddlevideo_studio.videos import Video
from paddlevideo_studio.views import Counts, job_view, video_view
from paddlevideo_studio.work import SCORES, transcode_steps

router = APIRouter(prefix="/api/videos", tags=["videos"])
_inspections = asyncio.Semaphore(1)  # one upload is decoded at a time
_PICTURES = {"Cache-Control": "private, max-age=86400"}


class VideoChange(Body):
    """What of a video is set."""

    name: str


@router.get("")
def list_videos(studio: State) -> dict[str, Any]:
    """All videos, in the order in which they came."""
    with studio.project.lock:
        counts = Counts(studio.project, studio.jobs)
        return {"videos": [video_view(video, counts) for video in studio.project.videos]}


@router.post("", status_code=201)
async def upload_video(studio: State, request: Request, name: str = Query(max_length=4096)) -> Any:
    """The body is the file."""
    video = studio.project.videos.new(name)
    temporary = studio.project.videos.folder / f".upload-{video.id}"
    with studio.uploads.one():
        try:
            await receive_file(request.stream(), temporary, studio.limits.upload_bytes, stated_size(request))
            return await take_upload(studio, temporary, video)
        finally:
            temporary.unlink(missing_ok=True)


async def take_upload(studio: Studio, file: Path, video: Video) -> dict[str, Any]:
    """Inspects a file and makes it a video of the project; 415 where it is none."""
    try:
        return await _take_inspected(studio, file, video)
    except BaseException:
        studio.project.videos.discard(video.id)
        raise


async def _take_inspected(studio: Studio, file: Path, video: Video) -> dict[str, Any]:
    async with _inspections:
        words = [file, f"--name={video.name}", "--pictures", studio.project.videos.folder / video.id]
        found = await asyncio.to_thread(run_module, "inspection", words, BOUNDS.time_s)
    if "error" in found:
        raise HTTPException(415, f"{video.name}: {found['error']}")
    video = await asyncio.to_thread(take_file, studio, file, video, found)
    return await asyncio.to_thread(studio.shown, video)


def stated_size(request: Request) -> int | None:
    """Of the body, by its header; a bad one is of no use."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None


def take_file(studio: Studio, file: Path, video: Video, found: dict[str, Any]) -> Video:
    """Makes a file that was inspected a video of the project; begins to transcode it where a browser does not play it.

    Raises:
        QueueFull: of transcodings.
    """
    project, video = studio.project, video.with_facts(found)
    with project.lock:
        video = replace(video, name=project.videos.free_name(video.name))
        if found["playable"]:
            video = replace(video, file=f"{video.id}.{found['container']}")
            os.replace(file, project.videos.path(video))
            video = project.videos.write(video)
        else:
            ending = Path(video.name).suffix.lower()
            ending = ending if ending[1:].isalnum() and ending.isascii() and len(ending) < 8 else ".video"
            video = replace(video, original=f"{video.id}{ending}", state="preparing")
            os.replace(file, project.videos.originals / video.original)
            video = project.videos.write(video)
            try:
                submit_transcode(studio, video)
            except QueueFull:
                project.videos.remove(video)
                raise
    project.announce("video", video.id)
    return video


def submit_transcode(studio: Studio, video: Video) -> Job:
    """The job that makes what is played."""
    values = {"video": video.id, "total_s": video.duration_s}
    return studio.jobs.submit("transcode", lambda folder: transcode_steps(studio.project, video), **values)


@router.get("/{key}")
def get_video(studio: State, key: str) -> dict[str, Any]:
    """One video."""
    return studio.shown(studio.video(key))


@router.patch("/{key}")
def rename_video(studio: State, key: str, change: VideoChange) -> dict[str, Any]:
    """Sets its name."""
    with studio.project.lock:
        video = studio.project.videos.write(replace(studio.video(key), name=check_name(change.name, "name")))
    studio.project.announce("video", video.id)
    return studio.shown(video)


@router.delete("/{key}", status_code=204, response_model=None)
def remove_video(studio: State, key: str) -> None:
    """Removes its files, and its spans and boxes from what is current."""
    with studio.project.lock:
        video = studio.video(key)
        job = studio.jobs.using(video.id)
        if job is not None:
            raise HTTPException(
                409, f"job {job.id} ({job.kind}), which reads this video, is {job.state}; cancel it first"
            )
        _clear(studio.project, video)
        studio.project.videos.remove(video)
        files = {each.file for each in studio.project.videos}
        drop_features(studio.project.features, lambda path: path.name in files)
    studio.project.announce("video_removed", {"id": video.id})


def _clear(project: Project, video: Video) -> None:
    for journal in (project.spans, project.people):
        current = journal.current(video.file) if video.file else []
        if current:
            journal.append([{"video": video.file, "removed": True, "replaces": each["id"]} for each in current], HUMAN)


@router.post("/{key}/retry", status_code=202)
def retry_transcode(studio: State, key: str) -> dict[str, Any]:
    """Transcodes a video again that could not be."""
    with studio.project.lock:
        video = studio.video(key)
        if video.state != "failed" or not (studio.project.videos.originals / video.original).is_file():
            raise HTTPException(409, f"the video is {video.state}; only a conversion that failed can be repeated")
        if studio.jobs.active(video.id) is not None:
            raise HTTPException(409, "a job of this video is queued or running")
        job = submit_transcode(studio, video)
        studio.project.videos.write(replace(video, state="preparing", error=None))
    studio.project.announce("video", video.id)
    return job_view(studio.jobs, job)


@router.get("/{key}/media")
def get_media(studio: State, key: str) -> FileResponse:
    """What a browser plays; Range."""
    video = studio.ready(key)
    headers = {"Cache-Control": "private, max-age=86400", "Content-Disposition": "inline"}
    file = studio.project.videos.path(video)
    if not file.is_file():
        raise HTTPException(404, f"its file is not there: {file.name} in the folder videos of the project")
    return FileResponse(file, media_type=video.media_type, headers=headers)


@router.get("/{key}/thumbnail")
def get_thumbnail(studio: State, key: str) -> FileResponse:
    """JPEG."""
    return _picture(studio, key, "jpg")


@router.get("/{key}/strip")
def get_strip(studio: State, key: str) -> FileResponse:
    """JPEG of many small pictures."""
    return _picture(studio, key, "strip.jpg")


def _picture(studio: Studio, key: str, ending: str) -> FileResponse:
    file = studio.project.videos.folder / f"{studio.video(key).id}.{ending}"
    if not file.is_file():
        raise HTTPException(404, "the video has no picture")
    return FileResponse(file, media_type="image/jpeg", headers=_PICTURES)


@router.get("/{key}/times")
def get_times(studio: State, key: str) -> dict[str, Any]:
    """Seconds of the frames where they are not evenly spaced."""
    video = studio.video(key)
    return {"fps": video.fps, "times_s": video.times_s}


@router.get("/{key}/scores")
def get_scores(
    studio: State,
    key: str,
    model: int | None = None,
    from_s: float = 0.0,
    to_s: float = LONGEST_S,
    most: int | None = Query(None, ge=1, le=100_000),
) -> dict[str, Any]:
    """The score curve of the newest analysis (by a model), or a part of it; reduced to ``most`` windows."""
    video = studio.video(key)
    found = [j for j in studio.jobs if j.kind == "analyse" and j.state == "done" and j.video == video.id]
    wanted = studio.project.settings.model if model is None else model
    job = next((job for job in found if job.model == wanted), None) or (found[0] if found and model is None else None)
    if job is None:
        return {"model": model, "run": None, **NO_CURVE.shown(from_s, to_s, most)}
    curve, of = studio.curves.get(studio.jobs.folder(job) / SCORES), studio.project.models.get(job.model)
    since = studio.project.learnt_at(of) if of else job.created
    curve = replace(curve, classes=studio.project.present_names(curve.classes, since))
    return {"model": job.model, "run": job.id, **curve.shown(from_s, to_s, most)}
