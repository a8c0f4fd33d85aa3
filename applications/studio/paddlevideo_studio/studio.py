"""What the routes share: the open project, its jobs, events and limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from paddlevideo_studio.events import Events
from paddlevideo_studio.jobs import Jobs
from paddlevideo_studio.live import Live
from paddlevideo_studio.models import Model
from paddlevideo_studio.prediction import Predictions
from paddlevideo_studio.project import Project
from paddlevideo_studio.scores import Curves
from paddlevideo_studio.uploads import Places
from paddlevideo_studio.videos import Video
from paddlevideo_studio.views import Counts, job_view, video_view


@dataclass(frozen=True)
class Limits:
    """Args:
    upload_bytes: of one video.
    queue: jobs that may wait.
    predictions: that may wait.
    uploads: at once.
    """

    upload_bytes: int = 8 << 30
    queue: int = 16
    predictions: int = 4
    uploads: int = 8


@dataclass
class Studio:
    """The state of a server."""

    project: Project
    jobs: Jobs
    live: Live
    predictions: Predictions
    limits: Limits
    events: Events = field(default_factory=Events)
    curves: Curves = field(default_factory=Curves)
    uploads: Places = field(init=False)
    adding: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.uploads = Places(self.limits.uploads)

    def video(self, key: str) -> Video:
        """The video of an id; 404."""
        video = self.project.videos.get(key)
        if video is None:
            raise HTTPException(404, "there is no such video")
        return video

    def ready(self, key: str) -> Video:
        """The same if it can be played and analysed; 409."""
        video = self.video(key)
        if video.state != "ready":
            raise HTTPException(409, f"the video is {video.state}{f': {video.error}' if video.error else ''}")
        return video

    def model(self, number: int | None) -> Model:
        """The model of a number, or the one in use; 404, 409."""
        model = self.project.models.get(self.project.settings.model if number is None else number)
        if model is None and number is not None:
            raise HTTPException(404, "there is no such model")
        if model is None:
            raise HTTPException(409, "no model is in use: start the studio with --model, or use one of /api/models")
        return model

    def shown(self, video: Video) -> dict[str, Any]:
        """A Video."""
        with self.project.lock:
            return video_view(video, Counts(self.project, self.jobs))

    def render(self, event: str, data: Any) -> tuple[str, Any] | None:
        """An event as it is sent: jobs and videos whole."""
        if event == "job":
            job = self.jobs.get(data)
            return (event, job_view(self.jobs, job)) if job is not None else None
        if event == "video":
            video = self.project.videos.get(data)
            return (event, self.shown(video)) if video is not None else None
        return event, data


def _of_request(request: Request) -> Studio:
    return request.app.state.studio


State = Annotated[Studio, Depends(_of_request)]  # an argument of a route
