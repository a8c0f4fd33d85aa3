"""Prediction of one file by a model of the project: the command, in a process with limits, one at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import threading
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
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Ends the one that runs; no further one begins."""
        self._closed = True
        self.stop()

    def stop(self) -> None:
        """Ends the processes of the one that runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)  # it writes into a temporary folder alone

    def run(self, project: Project, model: Model, file: Path, name: str) -> dict[str, Any]:
        """``{"content"}``, or ``{"error", "status"}``."""
        found = run_module("inspection", [file, f"--name={name}"], BOUNDS.time_s)
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
                code, text = self._ended([*COMMAND, *map(str, words)], folder)
            except subprocess.TimeoutExpired:
                return {"error": f"{name}: prediction takes longer than {_TIME_S:g} s", "status": 422}
            if code:
                lines = text.decode("utf-8", "replace").strip().splitlines() or [f"exit code {code}"]
                return {"error": lines[-1].replace(str(file), name), "status": 422}
            content = json.loads(out.read_text(encoding="utf-8"))
        return {"content": _with_present_names(project, model, _named(content, str(file), name))}

    def _ended(self, command: list[str], folder: str) -> tuple[int, bytes]:
        """Exit code and stderr of a command; its processes end with the server, and with ``stop``.

        Raises:
            subprocess.TimeoutExpired: it took too long, and was ended.
        """
        with self._lock:
            if self._closed:
                return -signal.SIGKILL, b"the server ends"
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=environment(), cwd=folder, start_new_session=True,
            )  # fmt: skip
        try:
            _, text = process.communicate(timeout=_TIME_S)
        except subprocess.TimeoutExpired:
            self.stop()
            process.communicate()
            raise
        return process.returncode, text


def _with_present_names(project: Project, model: Model, content: Any) -> Any:
    """Spans, or key frames of persons, whose classes have the names that the project has now."""
    with project.lock:
        names = project.present_name_of(model)
    if isinstance(content, dict):
        content["classes"] = [names.get(name, name) for name in content.get("classes", ())]
    entries = (
        content["spans"]
        if isinstance(content, dict)
        else [action for frame in content for person in frame["persons"] for action in person["actions"]]
    )
    for entry in entries:
        entry["label"] = names.get(entry["label"], entry["label"])
    return content


def _named(content: Any, file: str, name: str) -> Any:
    """A file of spans with the name that the person gave the video."""
    if isinstance(content, dict):
        content["videos"] = {name if key == file else key: facts for key, facts in content["videos"].items()}
        content["spans"] = [{**span, "video": name} for span in content["spans"]]
    return content
