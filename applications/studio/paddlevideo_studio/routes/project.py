"""The project's name, kind and classes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, BackgroundTasks
from pydantic import Field
from starlette.exceptions import HTTPException

from paddlevideo import __version__
from paddlevideo_studio import adding
from paddlevideo_studio.project import check_name
from paddlevideo_studio.routes.body import Body
from paddlevideo_studio.studio import State, Studio
from paddlevideo_studio.work import HOG, settings_words

router = APIRouter(prefix="/api", tags=["project"])


class ClassChange(Body):
    """A class; ``was``: the name that it had."""

    name: str
    colour: str | None = Field(None, pattern=r"^#[0-9a-fA-F]{6}$")
    was: str | None = None


class ProjectChange(Body):
    """What of the project is set; all of it optional."""

    name: str | None = None
    kind: Literal["timeline", "people"] | None = None
    classes: list[ClassChange] | None = None
    analysis: dict[str, float | str] | None = None


def shown(studio: Studio) -> dict[str, Any]:
    project = studio.project
    with project.lock:
        current, settings = project.spans.current(), project.settings
        counts = {
            "videos": len(project.videos),
            "spans": len(current),
            "checked": sum(entry["by"] == "human" for entry in current),
            "corrections": project.corrections(project.spans),
            "people_corrections": project.corrections(project.people),
        }
    limits = {"upload_bytes": studio.limits.upload_bytes, "queue": studio.limits.queue}
    return {
        "name": settings.name, "kind": settings.kind, "classes": [asdict(each) for each in settings.classes],
        "model": settings.model, "analysis": settings.analysis, "counts": counts, "limits": limits,
        "detector": Path(settings.detector or HOG).name, "example": adding.has_example(), "version": __version__,
    }  # fmt: skip


@router.get("/project")
def get_project(studio: State) -> dict[str, Any]:
    """The project."""
    return shown(studio)


@router.patch("/project")
def change_project(studio: State, change: ProjectChange) -> dict[str, Any]:
    """Sets name, kind, classes."""
    with studio.project.lock:
        values: dict[str, Any] = {"kind": change.kind} if change.kind else {}
        if change.name is not None:
            values["name"] = check_name(change.name, "name")
        if change.analysis is not None:
            settings_words(change.analysis)
            values["analysis"] = change.analysis
        if change.classes is not None:
            studio.project.set_classes([(each.name, each.colour, each.was) for each in change.classes])
        if values:
            studio.project.change(**values)
    return shown(studio)


@router.post("/example", status_code=202)
def take_example(studio: State, tasks: BackgroundTasks) -> dict[str, Any]:
    """Adds the model and the videos of ``make studio``, one after the other."""
    if not adding.has_example():
        raise HTTPException(404, "there is no example: python -m demo.run_studio in a checkout makes it")
    tasks.add_task(adding.add_example, studio)
    return {}
