"""``training.html`` of a run while it trains, and pages of finished ones from their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paddlevideo.errors import UserError
from paddlevideo.loader.build import ClipLoader
from paddlevideo.loader.datasets.lists import clip_name
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.metrics.base import Metric
from paddlevideo.metrics.confusion import confusion_matrix
from paddlevideo.reporting.browse import outlined
from paddlevideo.reporting.confusion_drawing import matrix_picture
from paddlevideo.reporting.contact_sheet import PictureRow, contact_sheet, displayable, spread
from paddlevideo.reporting.history import History
from paddlevideo.reporting.training_page import RunView, render
from paddlevideo.safe_io import read_json, reading, write_atomic

PAGE, NOTES = "training.html", "training.json"
_MOST_CELLS = 50_000  # of a matrix in the notes
_NUM_CLIPS, _NUM_FRAMES, _HEIGHT_PX = 4, 8, 96  # of the picture of validated clips


class TrainingReport:
    """Writes the page of a run; ``engine.training.train`` takes it.

    Args:
        folder: the output folder.
        facts: of the run: ``run`` (its identity), ``class_names``, ``shown`` (what, value), and ``monitor``: the figure
            that picks the best weights; None: the metric's own.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]):
        self._folder, self._history = folder, History(folder / "metrics.jsonl")
        old = _notes_of(folder)
        kept = old if old.get("run") == facts["run"] else {}
        self._notes: dict[str, Any] = {**kept, **facts}
        self._rows: dict[int, Any] = {}  # frames and people of the clips that are shown, or why there are none

    def validated(self, metric: Metric, epoch: int, best: tuple[int, float] | None) -> dict[str, np.ndarray]:
        """Notes a validation.

        Args:
            metric: with the samples of all ranks, after ``compute``.
            epoch: from 1.
            best: epoch and figure of the best validation so far; None: there is none.

        Returns:
            The confusion matrix as a picture, by its name; nothing where the metric has none.
        """
        self._notes["primary"] = self._notes.get("monitor") or metric.primary
        if best is not None:
            self._notes["best_epoch"], self._notes["best"] = best
        taken = metric.results()
        if not taken or np.ndim(taken[0][1]):
            return {}
        scores, labels = np.array([row for _, _, row in taken]), np.array([label for _, label, _ in taken])
        matrix = confusion_matrix(scores, labels, scores.shape[1])
        totals = np.bincount(labels, minlength=len(matrix))
        self._note_matrix(matrix, totals, epoch, is_best=best is not None and best[0] == epoch)
        names = self._notes.get("class_names")
        return {"val/confusion_matrix": matrix_picture(matrix, totals, names)}

    def _note_matrix(self, matrix: np.ndarray, totals: np.ndarray, epoch: int, is_best: bool) -> None:
        rows, columns = np.nonzero(matrix)
        if len(rows) > _MOST_CELLS:
            return
        cells = [[int(i), int(j), int(matrix[i, j])] for i, j in zip(rows, columns)]
        noted = {"epoch": epoch, "cells": cells, "totals": totals.tolist()}
        matrices = self._notes.setdefault("confusion", {})
        matrices["last"] = noted
        if is_best:
            matrices["best"] = noted

    def clips(self, metric: Metric, loader: ClipLoader) -> dict[str, np.ndarray]:
        """A few clips of the validation as the network got them, with their labels and predictions, as a picture.

        The same clips every time; their frames are read once.
        """
        records = loader.dataset.records
        predicted = {index: (label, scores) for index, label, scores in metric.results() or ()}
        rows = []
        for index in spread(len(records), _NUM_CLIPS):
            content = self._clip(loader, index)
            title = self._title(index, predicted) + clip_name(records[index])
            title += f" ({records[index]['img_key']})" if "img_key" in records[index] else ""  # a key frame of a video
            if isinstance(content, str):
                rows.append(PictureRow(f"{title}: {content}", None))
            else:
                frames, people = content
                rows.append(PictureRow(title, frames, people))
        return {"val/clips": contact_sheet([], rows, _HEIGHT_PX, _NUM_FRAMES)}

    def _clip(self, loader: ClipLoader, index: int) -> Any:
        if index not in self._rows:
            try:
                sample = loader.fetch(index)
                imgs = sample["imgs"][0]
                frames = displayable(imgs)[spread(len(imgs), _NUM_FRAMES)]
                self._rows[index] = (frames, outlined(sample)) if sample["valid"] else "cannot be read"
            except (VideoReadError, UserError) as error:
                self._rows[index] = str(error)
        return self._rows[index]

    def _title(self, index: int, predicted: Mapping[int, tuple[Any, np.ndarray]]) -> str:
        if index not in predicted:
            return ""
        label, scores = predicted[index]
        if not np.isfinite(scores).all():
            return "no scores  "
        best = int(np.argmax(scores))
        own = np.flatnonzero(label).tolist() if np.ndim(label) else [int(label)]
        view = RunView("", self._history, self._notes)
        right = "right" if best in own else "WRONG"
        labels = ", ".join(map(view.class_name, own))
        return f"{right}: label {labels}, predicted {view.class_name(best)} ({scores[best]:.2f})  "

    def write(self) -> Path:
        """Writes ``training.json`` and the page, with all records up to now; returns the page's path."""
        write_atomic(self._folder / NOTES, json.dumps(self._notes) + "\n")
        self._history.read()
        return write_page([_view(self._folder, self._history, self._notes)], self._folder / PAGE)


def write_page(runs: Sequence[RunView], path: Path) -> Path:
    """The page of one run, or of several."""
    names = ", ".join(run.name for run in runs)
    write_atomic(path, render(runs, f"{names}: training" if len(runs) == 1 else f"Training of {names}"))
    return path


def read_run(folder: Path) -> RunView:
    """What a page shows of the run in a folder.

    Raises:
        UserError: there is no run, or one of its files cannot be read.
    """
    figures = folder / "metrics.jsonl"
    if not figures.is_file():
        raise UserError(f"{folder}: has no metrics.jsonl; expected the output folder of a training, e.g. output/TSM")
    history = History(figures)
    history.read()
    return _view(folder, history, _notes_of(folder))


def named_apart(runs: Sequence[RunView]) -> list[RunView]:
    """The runs, by the names of their folders where these differ, else by their paths."""
    if len(runs) == 1:
        return list(runs)
    folders = [run.history.path.parent for run in runs]
    names = [folder.resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    return [replace(run, name=name) for run, name in zip(runs, names)]


def _notes_of(folder: Path) -> dict[str, Any]:
    """The content of ``training.json``; {}: there is none.

    Raises:
        UserError: it is something else.
    """
    path = folder / NOTES
    if not path.is_file():
        return {}
    notes = read_json(path, "the notes of a training", "remove it to have a page without them")
    if not isinstance(notes, dict):
        raise UserError(f"{path}: expected a mapping, got a {type(notes).__name__}; remove it")
    return notes


def _view(folder: Path, history: History, notes: Mapping[str, Any]) -> RunView:
    path = folder / "config.yaml"
    content = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    with reading(path, "a configuration"):
        config = yaml.safe_load(content) or {}
    name = str(config.get("model_name", folder.name))
    with reading(folder / NOTES, "the notes of a training", "remove it to have a page without them"):
        matrices = {
            f" of the validation of epoch {noted['epoch']}, the {which}": _matrix(noted)
            for which, noted in _distinct(notes.get("confusion", {}))
        }
    return RunView(name, history, notes, config, content, matrices)


def _distinct(matrices: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The best and the last matrix, once if they are of one epoch."""
    found = [(which, matrices[which]) for which in ("best", "last") if which in matrices]
    if len(found) == 2 and found[0][1]["epoch"] == found[1][1]["epoch"]:
        return [("best and last", found[0][1])]
    return found


def _matrix(noted: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    totals = np.array(noted["totals"], "int64")
    matrix = np.zeros((len(totals), len(totals)), "int64")
    for i, j, count in noted["cells"]:
        matrix[i, j] = count
    return matrix, totals
