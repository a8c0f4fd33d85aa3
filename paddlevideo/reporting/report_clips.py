"""Clips on the page of a test: links to their files, and frames that the network was given."""

from __future__ import annotations

import base64
import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.metrics.topk import average_precision, predictions
from paddlevideo.reporting.contact_sheet import displayable, spread
from paddlevideo.reporting.markup import text
from paddlevideo.reporting.results import Results, multi_hot_of
from paddlevideo.safe_io import address_scheme

NUM_CLIPS = 32
NUM_LISTED = 15  # of the worst, and of the best clips
_NUM_CLASSES = 30
_NUM_FRAMES, _HEIGHT_PX, _QUALITY = 4, 72, 80
_MOST_BYTES = 1_500_000  # of all pictures of a page, as text; a table of classes repeats some
_MOST_SECONDS = 60.0  # of their reading


@dataclass
class Ranking:
    """Rows of results whose clips say most.

    Attributes:
        worst: wrong, the surest first; of several labels, the lowest average precision first.
        best: right, the surest first; of several labels, the highest average precision first.
        of_classes: (class, row of its label's lowest score, of the highest), those with the lowest accuracy first;
            of single labels.
    """

    worst: list[int]
    best: list[int]
    of_classes: list[tuple[int, int, int]]

    @classmethod
    def of(cls, results: Results) -> Ranking:
        """Of results with labels."""
        if results.multi_hot:
            hot = multi_hot_of(results) >= 0.5
            value = np.array([average_precision(scores, row) for scores, row in zip(results.scores, hot)])
            order = np.argsort(value, kind="stable")
            known = [int(i) for i in order if not np.isnan(value[i]) and not results.unreadable[i]]
            return cls(known[:NUM_LISTED], known[::-1][:NUM_LISTED], [])
        predicted, rows = predictions(results.scores), np.arange(len(results.scores))
        best = np.where(predicted < 0, np.nan, results.scores[rows, predicted])
        own = results.scores[rows, results.labels]
        lead = np.where(predicted < 0, np.nan, best - own)
        right = [int(i) for i in np.argsort(-best, kind="stable") if predicted[i] == results.labels[i]]
        wrong = [int(i) for i in np.argsort(-lead, kind="stable") if predicted[i] not in (-1, results.labels[i])]
        ordered = [(int(i), int(results.labels[i])) for i in np.argsort(own, kind="stable") if predicted[i] >= 0]
        lowest: dict[int, int] = {}
        highest: dict[int, int] = {}
        for i, k in ordered:
            lowest.setdefault(k, i)
            highest[k] = i
        accuracy = {k: float((predicted[results.labels == k] == k).mean()) for k in lowest}
        classes = sorted(lowest, key=lambda k: (accuracy[k], k))
        return cls(wrong[:NUM_LISTED], right[:NUM_LISTED], [(k, lowest[k], highest[k]) for k in classes[:_NUM_CLASSES]])

    def first(self, count: int) -> list[int]:
        """``count`` rows: in turn a mistake, the two of a class, and a right one, as long as there are any."""
        parts = (([i] for i in self.worst), ([low, high] for _, low, high in self.of_classes), ([i] for i in self.best))
        turns = (i for turn in itertools.zip_longest(*parts, fillvalue=()) for part in turn for i in part)
        return list(itertools.islice(dict.fromkeys(turns), count))


@dataclass
class ClipViews:
    """What the page shows of the clips.

    Args:
        folder: of the page, which relative links begin from.
        records: of the data set, one per row of the results; None where they are not known.
        linked: whether their names are paths of files.

    Attributes:
        pictures: row -> JPEG.
        problems: row -> why there is none.
        remark: a sentence about what was left out; "": nothing.
    """

    folder: Path
    records: Sequence[Mapping[str, Any]]
    linked: bool = True
    pictures: dict[int, bytes] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    remark: str = ""

    def read(self, rows: Sequence[int], fetch: Callable[[int], Mapping[str, Any]], indices: Sequence[int]) -> None:
        """Reads the pictures of rows, in this order, until the page's share of bytes or of time is used up.

        Args:
            fetch: gives the sample of a place in the data set, as the test has read it.
            indices: place in the data set of every row.
        """
        started, num_bytes = time.monotonic(), 0
        for number, row in enumerate(rows):
            late = time.monotonic() - started > _MOST_SECONDS
            if late or num_bytes > _MOST_BYTES:
                reason = f"reading them took {_MOST_SECONDS:g} s" if late else f"they fill {_MOST_BYTES / 1e6:g} MB"
                self.remark = f"{number} of {len(rows)} clips have pictures: {reason}."
                return
            try:
                sample = fetch(indices[row])
            except (VideoReadError, UserError) as error:
                self.problems[row] = str(error)
                continue
            if not sample.get("valid", 1):
                self.problems[row] = "cannot be read"
                continue
            self.pictures[row] = strip(sample["imgs"])
            num_bytes += 4 * len(self.pictures[row]) // 3

    def cell(self, row: int, path: str) -> str:
        """HTML of one clip: its pictures, if there are any, and its name, as a link where the file is there."""
        parts = []
        if row in self.pictures:
            data = base64.b64encode(self.pictures[row]).decode()
            parts.append(f'<img class="strip" alt="frames of {text(path)}" src="data:image/jpeg;base64,{data}">')
        target, problem = self._target(row)
        parts.append(text(path) if target is None else f'<a href="{text(target)}">{text(path)}</a>')
        problem = problem or self.problems.get(row)
        if problem:
            parts.append(f'<span class="problem">{text(problem)}</span>')
        return "<br>".join(parts)

    def _target(self, row: int) -> tuple[str | None, str | None]:
        """The link to a row's file, and what is wrong with the file; None: nothing."""
        record = self.records[row]
        name = os.fspath(record.get("filename") or record.get("frame_dir") or "")
        if not self.linked or not name or address_scheme(name):
            return None, None
        if not os.path.exists(name):
            return None, "no such file"
        part = f"#t={record['start_s']:.10g},{record['end_s']:.10g}" if "start_s" in record else ""
        if os.path.isabs(name):
            return "file://" + quote(os.fsencode(name)) + part, None
        return quote(os.fsencode(os.path.relpath(name, self.folder))) + part, None


def strip(imgs: np.ndarray) -> bytes:
    """A few frames of a clip side by side, as JPEG.

    Args:
        imgs: uint8 or float32 [V, T, H, W, 3] RGB; frames of the middle view are taken.
    """
    frames = displayable(imgs[len(imgs) // 2])
    height, width = frames.shape[1:3]
    size = (max(1, round(width * _HEIGHT_PX / height)), _HEIGHT_PX)
    chosen: Iterable[np.ndarray] = (frames[t] for t in spread(len(frames), _NUM_FRAMES))
    picture = np.concatenate([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in chosen], axis=1)
    _, data = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return data.tobytes()
