"""Models: list, use, and prediction of a file that is not kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from paddlevideo_studio.journal import new_id
from paddlevideo_studio.models import Model
from paddlevideo_studio.routes.videos import stated_size
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.uploads import receive_file
from paddlevideo_studio.videos import clean_name
from paddlevideo_studio.views import model_view

router = APIRouter(prefix="/api", tags=["models"])
_LOOK_S = 0.5  # between two looks whether the client is there


@router.get("/models")
def list_models(studio: State) -> dict[str, Any]:
    """All models."""
    with studio.project.lock:
        return {"models": [model_view(m) for m in studio.project.models], "model": studio.project.settings.model}


@router.post("/models/{number}/use")
def use_model(studio: State, number: int) -> dict[str, Any]:
    """Sets the model in use."""
    studio.project.use(studio.model(number))
    return list_models(studio)


@router.post("/predict")
async def predict(
    studio: State, request: Request, name: str = Query("video.mp4", max_length=4096), model: int | None = None
) -> Any:
    """The body is the file, which is not kept; its spans, or persons."""
    chosen = studio.model(model)
    folder = studio.project.videos.folder
    file = folder / f".upload-{new_id()}"
    with studio.predictions.places.one():
        try:
            await receive_file(request.stream(), file, studio.limits.upload_bytes, stated_size(request))
            async with studio.predictions.turn:
                result = await _while_connected(studio, request, chosen, file, clean_name(name))
        finally:
            file.unlink(missing_ok=True)
    if "error" in result:
        raise HTTPException(result["status"], result["error"])
    return result["content"]


async def _while_connected(studio: Studio, request: Request, model: Model, file: Path, name: str) -> dict[str, Any]:
    """The prediction, which is ended where its client goes."""
    gone = {"error": "the client has gone", "status": 400}
    if await request.is_disconnected():
        return gone
    running = asyncio.create_task(asyncio.to_thread(studio.predictions.run, studio.project, model, file, name))
    try:
        while not (await asyncio.wait([running], timeout=_LOOK_S))[0]:
            if await request.is_disconnected():
                studio.predictions.stop()
                await running
                return gone
    except asyncio.CancelledError:  # the server ends
        studio.predictions.stop()
        raise
    return running.result()
