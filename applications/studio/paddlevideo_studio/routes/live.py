"""The live source."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from paddlevideo_studio.studio import State

router = APIRouter(prefix="/api/live", tags=["live"])


class Source(BaseModel):
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
    studio.live.start(body.source, studio.project.models.path(model), body.settings)
    return studio.live.view()


@router.delete("")
def stop_live(studio: State) -> dict[str, Any]:
    """Ends it."""
    studio.live.stop()
    return studio.live.view()
