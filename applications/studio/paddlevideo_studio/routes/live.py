"""The live source."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.exceptions import HTTPException

from paddlevideo.errors import UserError
from paddlevideo.inference.recording import join_parts
from paddlevideo_studio.routes.body import Body
from paddlevideo_studio.routes.videos import take_upload
from paddlevideo_studio.studio import State
from paddlevideo_studio.work import settings_for

router = APIRouter(prefix="/api/live", tags=["live"])


class Source(Body):
    """A camera or an address."""

    source: str = Field(max_length=2000)
    model: int | None = None
    settings: dict[str, float | str] = Field(default_factory=dict)


@router.get("")
def get_live(studio: State) -> dict[str, Any]:
    """The source and its last spans."""
    return studio.live.view()


@router.post("", status_code=202)
def start_live(studio: State, body: Source) -> dict[str, Any]:
    """Begins to receive."""
    model = studio.model(body.model)
    if model.kind == "people":
        raise HTTPException(409, "a model of people reads files; use one of timelines for a live source")
    studio.live.start(body.source, model, settings_for(studio.project, model, body.settings))
    return studio.live.view()


@router.delete("")
def stop_live(studio: State) -> dict[str, Any]:
    """Ends it."""
    studio.live.stop()
    return studio.live.view()


@router.post("/save", status_code=201)
async def save_live(studio: State) -> dict[str, Any]:
    """The last minute of the source as a video of the project."""
    videos = studio.project.videos
    video = videos.new(f"live {datetime.now():%Y-%m-%d %H.%M.%S}.mp4")
    try:
        try:
            file = await asyncio.to_thread(join_parts, studio.live.folder, videos.folder / f".upload-{video.id}")
        except UserError:
            raise HTTPException(409, "nothing of a live source is kept yet") from None
        return await take_upload(studio, file, videos.renamed(video, file.suffix))
    finally:
        for file in videos.folder.glob(f".upload-{video.id}*"):
            file.unlink(missing_ok=True)
