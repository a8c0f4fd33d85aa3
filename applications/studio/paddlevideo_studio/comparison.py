"""What becomes of a trained model: it is kept, and used if it is better than the one that is in use by then.

A figure compares with one of the same name, of a model of the same kind, on the same held-out spans.  Where nothing
compares, the model in use stays, and a person decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.safe_io import read_json
from paddlevideo_studio.models import Model
from paddlevideo_studio.project import Project

if TYPE_CHECKING:
    from paddlevideo_studio.jobs import Job

_SEEN = {"timeline": "trained", "people": "trained_people"}  # kind -> the mark in the project


def finish_training(project: Project, job: Job, folder: Path, done: bool) -> dict[str, Any]:
    """Adds the exported model, and uses it if it is better than the one in use.

    The last step of a training leaves ``export/`` and ``figures.json``: ``{"held_out": {"name", "value"}, "previous":
    {...} or null}``; ``previous`` is that of the model of the job, measured on the same spans.
    """
    if not done:
        return {}
    figures = read_json(folder / "figures.json", "the figures of a training")
    held_out, options = figures.get("held_out"), job.options
    with project.lock:
        in_use = project.models.get(project.settings.model)
        measured = figures.get("previous") if in_use is not None and in_use.id == job.model else None
        previous, why = _other_figure(in_use, held_out, options.get("measured_on"), options.get("of"), measured)
        model = project.models.add_folder(
            folder / "export", f"{project.settings.name}-{job.id}", job.id, held_out, previous,
            options.get("measured_on"),
        )  # fmt: skip
        if why is None and previous is not None and not held_out["value"] > previous["value"]:
            why = f"it is not better than model {in_use.id}"
        used = why is None or (in_use is not None and in_use.id == model.id)
        values = {"model": model.id} if used else {}
        project.change(**{_SEEN[options.get("of", "timeline")]: job.created}, **values)
    project.announce("models", {})
    result = {"model": model.id, "held_out": held_out, "previous": previous, "used": used}
    if not used:
        result["why"] = why
    return result | ({"left_out": options["left_out"]} if options.get("left_out") else {})


def _other_figure(
    in_use: Model | None,
    held_out: dict[str, Any] | None,
    measured_on: dict[str, Any] | None,
    kind: str | None,
    measured: dict[str, Any] | None,
) -> tuple[dict[str, Any] | None, str | None]:
    """The figure of the model in use that compares, or None; and why there is none.

    Args:
        held_out: of the new model.
        measured_on: by what.
        kind: of the new model.
        measured: of the model in use, by the training itself.
    """
    if in_use is None:
        return None, None
    figure = measured or in_use.held_out
    if kind is not None and in_use.kind != kind:
        return None, f"model {in_use.id}, which is in use, is of {in_use.kind}, and this one is of {kind}"
    if held_out is None or figure is None:
        which = "this one" if held_out is None else f"model {in_use.id}, which is in use,"
        return None, f"{which} has no figure to compare with"
    if held_out["name"] != figure["name"]:
        return None, f"model {in_use.id}, which is in use, has {figure['name']}, and this one {held_out['name']}"
    if measured is not None:
        return measured, None
    own = in_use.measured_on
    if own is None or measured_on is None or own["videos"] != measured_on["videos"]:
        return None, f"model {in_use.id}, which is in use, was measured on other held-out videos"
    if own["sha256"] != measured_on["sha256"]:
        return None, f"the spans of the held-out videos have changed since model {in_use.id}, which is in use"
    return figure, None
