"""The API, a module per topic."""

from paddlevideo_studio.routes import annotations, exchange, jobs, live, models, project, videos

ROUTERS = tuple(module.router for module in (project, videos, annotations, jobs, exchange, models, live))
