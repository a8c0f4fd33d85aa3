"""What happens when, in a file, from a camera or behind an address: each span as soon as it is known."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.source_address import Address
from paddlevideo.inference.stream import LiveSettings
from paddlevideo.inference.stream_clips import ClipOfWindow, StreamClips
from paddlevideo.inference.timeline import Timeline, TimelineSettings
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.spans import Span, SpanTable

OnScores = Callable[[ClipOfWindow, np.ndarray], None]

WINDOW_S = 4.0  # of a model that samples all of a video, however long it is


def window_of(predictor: Predictor, say: Any) -> float:
    """Seconds of a window that fit the model: those of its clip.  A model that spreads its frames over the whole video
    states none; then it is 4 s, and ``say`` receives that."""
    return window_of_pipeline(predictor.pipeline, predictor.name, say)


def window_of_pipeline(pipeline: Pipeline, name: str, say: Any) -> float:
    """The same of a model's pipeline."""
    if pipeline.clip_s is not None:
        return pipeline.clip_s
    say(
        f"{name} spreads its frames over the whole video, so windows of {WINDOW_S:g} s are taken; give the "
        "length of the clips that it was trained on with --window_s"
    )
    return WINDOW_S


@dataclass
class VideoTimeline:
    """The spans of one source.

    Args:
        predictor: the model; its ``batch_size`` windows run together where they are ready.
        text: a path, a camera or an address.
        settings: windows, smoothing and hysteresis.
        max_fps: see ``Windows``.
        live: how a live source is received.
        observers: each receives every window and its scores, before the spans that they complete.

    Attributes:
        spans: those that are complete.
        status: what happened to the source.
        stopped: set by a signal handler: ends ``run`` after the next window.
        read_to_s: end of the last window that was scored.
        is_part: the source was not read to its end: an error, or a file that was stopped.

    Raises:
        UserError: the source cannot be read; spans that were complete before have been given.
    """

    predictor: Predictor
    text: str
    settings: TimelineSettings
    max_fps: float | None = None
    live: LiveSettings = field(default_factory=LiveSettings)
    observers: list[OnScores] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    status: str = ""
    num_windows: int = 0
    stopped: bool = False
    read_to_s: float = 0.0
    is_part: bool = False
    _problem: UserError | None = None
    unit: ClassVar[str] = "windows"
    _cutter: ClassVar[type[StreamClips]] = StreamClips

    def __post_init__(self) -> None:
        predictor, settings = self.predictor, self.settings
        if predictor.names is None:
            raise UserError(f"{predictor.name}: spans need class names; give the file that holds them (--label_file)")
        self.address = Address.parse(self.text)
        self._clips = self._cutter(
            self.text, predictor.pipeline, settings.window_s, settings.hop_s, predictor._say, self.max_fps,
            predictor.damaged, predictor.seed, self.live,
        )  # fmt: skip
        self._timeline = Timeline(settings, predictor.names, self.address.name)

    @property
    def steps(self) -> str:
        """What is scored, in words."""
        return f"windows of {self.settings.window_s:g} s every {self.settings.hop_s:g} s"

    def run(self) -> Iterator[Span]:
        """Each span when it is complete; those that are open are closed when the source ends or ``run`` is closed."""
        ended = False
        try:
            with contextlib.closing(self._clips.start()) as clips:
                for batch in self._batches(clips):
                    yield from self._push(batch)
                if self._problem is not None:
                    raise self._problem
            ended = True
        finally:
            self.status = self._clips.status.text()
            whole = ended and not self.stopped
            self.is_part = self._problem is not None or (self.address.kind == "file" and not whole)
            rest = self._timeline.finish(self._clips.end_s if whole else None)
            self.spans += rest
        if ended:
            yield from rest

    def table(self) -> SpanTable:
        """The spans for a file."""
        end_s = self.read_to_s if self.is_part else self._clips.end_s
        facts = {"read_to_s" if self.is_part else "duration_s": round(end_s, 3)} if end_s else {}
        return SpanTable(self.spans, {self.address.name: facts}, list(self.predictor.names), self.settings.to_dict())

    def _batches(self, clips: StreamClips) -> Iterator[list[ClipOfWindow]]:
        """What runs together; those before an error of the source are complete, and ``_problem`` is set."""
        incoming, batch = iter(clips), []
        while not self.stopped:
            try:
                clip = next(incoming, None)
            except UserError as error:
                self._problem = error
                break
            if clip is None:
                break
            batch.append(clip)
            waits = self.address.kind == "file" or clips.is_ready()
            if len(batch) == self.predictor.batch_size or not waits:
                yield batch
                batch = []
        if batch:
            yield batch

    def _push(self, batch: list[ClipOfWindow]) -> Iterator[Span]:
        rows = self.predictor.scores(np.stack([clip.imgs for clip in batch]))
        for clip, row in zip(batch, rows):
            yield from self._take(clip, row)

    def _take(self, clip: ClipOfWindow, row: np.ndarray) -> Iterator[Span]:
        """The spans that are complete with a window's scores."""
        self.num_windows, self.read_to_s = self.num_windows + 1, clip.end_s
        for observe in self.observers:
            observe(clip, row)
        yield from self._complete(self._timeline.push(row, clip.start_s, clip.end_s))

    def _complete(self, spans: list[Span]) -> Iterator[Span]:
        self.spans += spans
        yield from spans
