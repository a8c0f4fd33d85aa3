"""Spans of long videos, each with one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings, plural
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.lists import Row, check_inside, expanded, locate, parse_label
from paddlevideo.ranges import NonNegative, NonNegativeInt, Positive
from paddlevideo.registry import DATASETS
from paddlevideo.spans import SpanTable, behind_end, read_spans

_LEAST = 0.5  # of the length of a background sample, that free time must have


@DATASETS.register
class SpanDataset(Dataset):
    """Samples ``{"filename", "label", "index", "start_s", "end_s"}`` from a file of spans: csv with the columns
    ``video,start_s,end_s,label``, jsonl, or json (``paddlevideo.spans``).  A decoder reads only frames of the span.

    Spans may overlap; each is a sample with one label: a name of ``DATASET.label_names``, or a class index, which a
    number is where no class is called so.

    Args:
        file_path: the file of spans.
        data_prefix: folder that videos' names are relative to.  A path that leaves it is refused.
        suffix: appended to every name, e.g. ``.mp4``; with ``fps`` the file name of a frame, e.g. ``img_{:05}.jpg``.
        fps: the names are folders of frames at this rate.
        clip_s: of a longer span a window of so many seconds is a sample: in training at a place that is drawn anew in
            every epoch, else in its middle.  None: the whole span.
        background: the class of time without a span, by its name, or by its index where no class is called so.
        background_ratio: so many background samples for each span.  Free time is cut into pieces of ``clip_s`` (None:
            of the median span) at least, of which so many are chosen.  It begins with the video, and ends with it where
            a json has its ``duration_s``, else with the last span.
        background_seed: of that choice, which is the same in all epochs.
        test_mode: given by the loader; windows are in the middle.
        allow_outside_root: let paths leave ``data_prefix``.
        class_names: in class-id order; given by the loader.
        num_classes: given by the loader; labels are checked against it.

    Raises:
        UserError: the file is missing or holds no spans; no free time for background samples.
        ConfigError: bad lines, and spans behind the ``duration_s`` of their video, all at once.
    """

    def __init__(
        self,
        file_path: str,
        data_prefix: str | None = None,
        suffix: str = "",
        fps: Positive | None = None,
        clip_s: Positive | None = None,
        background: str | NonNegativeInt | None = None,
        background_ratio: NonNegative = 0.0,
        background_seed: NonNegativeInt = 0,
        test_mode: bool = False,
        allow_outside_root: bool = False,
        class_names: list[str] | None = None,
        num_classes: int | None = None,
    ):
        if background_ratio and background is None:
            raise ValueError("background_ratio needs the class of time without a span: background")
        self.file_path, self.data_prefix = expanded(file_path), expanded(data_prefix)
        self.allow_outside_root, self.class_names = allow_outside_root, class_names
        self._more = {"clip_s": clip_s, "draw": not test_mode} if clip_s else {}
        self._more |= {"suffix": suffix or "img_{:05}.jpg", "fps": fps} if fps else {}
        self._key, self._ending = ("frame_dir", "") if fps else ("filename", suffix)
        table = read_spans(self.file_path)
        problems = Findings(self.file_path)
        self.lines = list(table.lines)
        paths = self._paths(table, problems)
        labels = []
        for row in self._rows(table):
            labels.append(parse_label(row, num_classes, problems, class_names))
        nothing = None
        if background is not None:
            nothing = parse_label(Row(0, {"label": str(background)}), num_classes, problems, class_names)
        for row, span in zip(self._rows(table), table.spans):
            if late := behind_end(span, table.videos.get(span.video, {})):
                problems.add(row.line, f"{span.video}: {late}")
        problems.raise_if_any()
        self.remarks = [
            f"{printable(self.file_path)}: {plural(len(labels), 'span')} of {plural(len(set(paths)), 'video')}"
        ]
        self.records = [
            {self._key: path, "label": label, "start_s": span.start_s, "end_s": span.end_s}
            for path, label, span in zip(paths, labels, table.spans)
        ]
        if background_ratio:
            idle = [(name, facts) for name, facts in table.videos.items() if facts.get("duration_s")]
            rows = [Row(0, {"path": name}) for name, _ in idle]
            whole = [locate(row, self.data_prefix, allow_outside_root, problems) + self._ending for row in rows]
            problems.raise_if_any()
            length_s = {path: facts["duration_s"] for path, (_, facts) in zip(whole, idle)}
            self._add_background(table, paths, length_s, nothing, background_ratio, clip_s, background_seed)
        for index, record in enumerate(self.records):
            record["index"] = index

    def sample(self, index: int) -> dict:
        """A new sample dict, ready for the pipeline; with ``clip_s`` and ``draw`` for the decoder (``part_of``)."""
        record = self.records[index]
        check_inside(record[self._key], self.data_prefix, self.allow_outside_root)
        return {**record, **self._more}

    def _rows(self, table: SpanTable) -> list[Row]:
        lines = self.lines or [0] * len(table.spans)
        return [Row(line, {"path": s.video or "", "label": s.label}) for line, s in zip(lines, table.spans)]

    def _paths(self, table: SpanTable, problems: Findings) -> list[str]:
        rows = self._rows(table)
        unnamed = [row.line for row in rows if not row.fields["path"]]
        for line in unnamed:
            problems.add(line, "has no video; expected the columns video,start_s,end_s,label")
        if unnamed:
            problems.raise_if_any()
        return [locate(row, self.data_prefix, self.allow_outside_root, problems) + self._ending for row in rows]

    def _add_background(
        self,
        table: SpanTable,
        paths: Sequence[str],
        length_s: Mapping[str, float],
        label: int,
        ratio: float,
        clip_s: float | None,
        seed: int,
    ) -> None:
        """Records of time without a span, after those of the spans."""
        busy: dict[str, list[tuple[float, float]]] = {path: [] for path in length_s}
        for path, span in zip(paths, table.spans):
            busy.setdefault(path, []).append((span.start_s, span.end_s))
        least_s = clip_s or median(span.duration_s for span in table.spans)
        pieces = [
            (path, start, end)
            for path in sorted(busy)
            for start, end in _pieces(
                busy[path], max([length_s.get(path, 0), *(end for _, end in busy[path])]), least_s
            )
        ]
        wanted = round(ratio * len(table.spans))
        if wanted and not pieces:
            raise UserError(
                f"{self.file_path}: background_ratio {ratio:g}: its videos have no {_LEAST * least_s:g} s or more "
                "without a span; a json with their duration_s names the time after the last span, too"
            )
        order = np.random.default_rng([seed, len(pieces)]).permutation(len(pieces))[:wanted]
        for path, start, end in (pieces[i] for i in sorted(order)):
            self.records.append({self._key: path, "label": label, "start_s": start, "end_s": end})
        self.lines += [0] * (len(self.records) - len(self.lines)) if self.lines else []
        found = f"{len(order)} samples of time without a span"
        lacking = f"; {wanted} were to be, there is no more" if len(order) < wanted else ""
        self.remarks.append(f"{printable(self.file_path)}: {found} (background_ratio {ratio:g}{lacking})")


def _pieces(busy: Sequence[tuple[float, float]], length_s: float, least_s: float) -> list[tuple[float, float]]:
    """The time from 0 to ``length_s`` that no span covers, in equal pieces of ``least_s`` or more, or a shorter one."""
    pieces, free = [], 0.0
    for start, end in [*sorted(busy), (length_s, length_s)]:
        if start - free >= _LEAST * least_s:
            edges = np.linspace(free, start, max(int((start - free) / least_s + 1e-9), 1) + 1)
            pieces += [(round(float(a), 3), round(float(b), 3)) for a, b in zip(edges, edges[1:])]
        free = max(free, end)
    return pieces
