"""Prediction of one file by a model of the project: the command, in a process with limits, one at a time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from paddlevideo_studio.inspection import BOUNDS
from paddlevideo_studio.limited import environment, run_module
from paddlevideo_studio.models import Model
from paddlevideo_studio.project import Project
from paddlevideo_studio.uploads import Places
from paddlevideo_studio.work import COMMAND, settings_for, settings_words

_TIME_S = 3600.0


class Predictions:
    """Args:
    most: how many may wait, besides the one that runs.
    """

    def __init__(self, most: int):
        self.places = Places(most + 1)
        self.turn = asyncio.Semaphore(1)

    def run(self, project: Project, model: Model, file: Path, name: str) -> dict[str, Any]:
        """``{"content"}``, or ``{"error", "status"}``."""
        found = run_module("inspection", [file, "--name", name], BOUNDS.time_s)
        if "error" in found:
            return {"error": f"{name}: {found['error']}", "status": 415}
        with tempfile.TemporaryDirectory(prefix="paddlevideo-studio-") as folder:
            out = Path(folder) / "out.json"
            weights, rule = project.models.path(model), settings_words(settings_for(project, model, {}))
            words = ["timeline", "--model_file", weights, "-i", file, *rule, "--out", out]
            if model.kind == "people":
                words = ["detect", "--model_file", weights, "--video_path", file, *rule]
                words += ["--detector", project.settings.detector or "hog", "--json", out, "--out-filename", ""]
            try:
                done = subprocess.run(
                    [*COMMAND, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, env=environment(),
                    cwd=folder, timeout=_TIME_S, start_new_session=True,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return {"error": f"{name}: prediction takes longer than {_TIME_S:g} s", "status": 422}
            if done.returncode:
                lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
                return {"error": lines[-1].replace(str(file), name), "status": 422}
            content = json.loads(out.read_text(encoding="utf-8"))
        return {"content": _named(content, str(file), name)}


def _named(content: Any, file: str, name: str) -> Any:
    """A file of spans with the name that the person gave the video."""
    if isinstance(content, dict):
        content["videos"] = {name if key == file else key: facts for key, facts in content["videos"].items()}
        content["spans"] = [{**span, "video": name} for span in content["spans"]]
    return content
