"""Scores of windows over time to labelled spans, window by window; a file and a stream go the same way.

Windows of ``window_s`` seconds, one every ``hop_s``, are scored by a network.  Then:

1. A window's scores stand for the time around its centre: up to the middle between its centre and the next one's,
   which is ``centre +- hop_s / 2``.  The first window also stands for the time before, from its own start on, the last
   one for the time up to its own end.
2. Where windows are missing (the centres are further apart than ``window_s`` and than 1.5 hops; of key frames than 1.5
   hops: a stall) the time between the windows has no scores: every class is off there, and smoothing begins anew.
3. Scores are smoothed: by the median of the windows whose centres are within ``smooth_s / 2``, or exponentially with
   the time constant ``smooth_s``.
4. A span of a class begins where its score reaches ``on``, and ends where it falls below ``off``.  Of ``exclusive``
   classes (softmax) one holds at a time: the present one, until it is below ``off``, or until another one is higher
   and reaches ``on``.
5. Spans of a class at most ``gap_s`` apart become one (of exclusive classes if no other class was between them; the
   background class is none).  Those shorter than ``min_s`` are dropped then.

A span's score is the mean of its smoothed scores, weighted by time, without its gaps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.ranges import NonNegative, Positive, Probability, suggest
from paddlevideo.settings import Checked
from paddlevideo.spans import Span

_SAME_S = 1e-6  # seconds that are equal but for rounding
_STALL = 1.5  # hops without a window
_DIGITS = 6  # of a score
_MS, _LEAST_S = 3, 0.001  # a span is timed in milliseconds


@dataclass(frozen=True)
class TimelineSettings(Checked):
    """How scores become spans.  What is None is set from ``window_s`` when it is made.

    Raises:
        UserError: values that the annotations do not allow, or ``off`` above ``on``.
    """

    window_s: Positive  # seconds that a score is of; the length of the model's clip
    hop_s: Positive | None = None  # seconds from window to window; None: window_s / 4
    smoothing: Literal["median", "exponential", "none"] = "median"
    smooth_s: NonNegative | None = None  # width of the median, time constant of the exponential; None: window_s / 2
    on: Probability = 0.6  # a span begins at this score
    off: Probability = 0.4  # and ends below this one
    min_s: NonNegative | None = None  # shorter spans are dropped; None: window_s / 2
    gap_s: NonNegative | None = None  # spans of a class at most so far apart are one; None: window_s / 2
    exclusive: bool = True  # one class at a time (softmax); False: each by itself (sigmoid)
    background: str | None = None  # name of the class that is no span

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = {"hop_s": 4, "smooth_s": 2, "min_s": 2, "gap_s": 2}
        for name, share in shares.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.window_s / share)
        if self.off > self.on:
            raise UserError(f"off: expected at most on, which is {self.on:g}, got {self.off:g}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a file of spans."""
        return asdict(self)


class _Window(NamedTuple):
    start_s: float
    end_s: float
    centre_s: float
    scores: np.ndarray  # float64 [K]


class _Cell(NamedTuple):
    """A stretch of time and the smoothed scores that hold in it."""

    start_s: float
    end_s: float
    scores: np.ndarray  # float64 [K]


class _Smoother:
    """Windows to cells, in order; holds the windows of ``smooth_s`` seconds."""

    def __init__(self, settings: TimelineSettings):
        self._half_s = settings.smooth_s / 2 if settings.smoothing == "median" else 0.0
        self._constant_s = settings.smooth_s if settings.smoothing == "exponential" else 0.0
        self._windows: deque[_Window] = deque()
        self._next = 0  # place of the first window without a cell
        self._cell_end_s = 0.0
        self._mean: np.ndarray | None = None
        self._mean_s = 0.0

    def push(self, window: _Window) -> list[_Cell]:
        """The cells that this window completes."""
        if not self._windows:
            self._cell_end_s = max(window.start_s, self._cell_end_s)
        self._windows.append(window)
        cells = []
        # every window that its median needs is there once a later one is not needed
        while self._windows[self._next].centre_s + self._half_s + _SAME_S < window.centre_s:
            following = self._windows[self._next + 1]
            cells.append(self._cell((self._windows[self._next].centre_s + following.centre_s) / 2))
        return cells

    def finish(self, end_s: float | None = None) -> list[_Cell]:
        """The cells of all windows; the last one ends with its window, or at ``end_s``."""
        cells = []
        while self._next < len(self._windows):
            here = self._windows[self._next]
            last = self._next + 1 == len(self._windows)
            if last:
                until = max(here.end_s if end_s is None else end_s, self._cell_end_s)
            else:
                until = (here.centre_s + self._windows[self._next + 1].centre_s) / 2
            cells.append(self._cell(until))
        self._windows.clear()
        self._next, self._mean = 0, None
        return cells

    def _cell(self, until_s: float) -> _Cell:
        window = self._windows[self._next]
        cell = _Cell(self._cell_end_s, until_s, self._smoothed(window))
        self._cell_end_s, self._next = until_s, self._next + 1
        oldest = self._windows[self._next].centre_s if self._next < len(self._windows) else window.centre_s
        while self._next and self._windows[0].centre_s < oldest - self._half_s - _SAME_S:
            self._windows.popleft()
            self._next -= 1
        return cell

    def _smoothed(self, window: _Window) -> np.ndarray:
        if self._half_s:
            near = [w.scores for w in self._windows if abs(w.centre_s - window.centre_s) <= self._half_s + _SAME_S]
            return np.median(near, axis=0)
        if self._constant_s:
            if self._mean is None:
                self._mean = window.scores
            else:
                share = -np.expm1((self._mean_s - window.centre_s) / self._constant_s)
                self._mean = self._mean + share * (window.scores - self._mean)
            self._mean_s = window.centre_s
            return self._mean
        return window.scores


@dataclass
class _Run:
    """A span that grows."""

    start_s: float
    end_s: float
    weighted: float = 0.0  # score times seconds
    weight_s: float = 0.0


class _Hysteresis:
    """Cells to spans; holds one run per class that is on, or may still be continued."""

    def __init__(self, settings: TimelineSettings, background: int | None):
        self._settings, self._background = settings, background
        self._runs: dict[int, _Run] = {}  # class -> run that is on
        self._ended: dict[int, _Run] = {}  # class -> run that is off, for gap_s
        self._present: int | None = None  # of exclusive classes, the background among them

    def push(self, cell: _Cell) -> list[tuple[int, _Run]]:
        """The runs that nothing can continue any more, with their classes."""
        done = self._too_old(cell.start_s)
        active = self._active(cell.scores)
        for k in [k for k in self._runs if k not in active]:
            self._ended[k] = self._runs.pop(k)
        for k in active:
            if k not in self._runs:
                if self._settings.exclusive:
                    done += [(other, self._ended.pop(other)) for other in [*self._ended] if other != k]
                self._runs[k] = self._ended.pop(k, None) or _Run(cell.start_s, cell.end_s)
            run, seconds = self._runs[k], cell.end_s - cell.start_s
            run.end_s = cell.end_s
            run.weighted += float(cell.scores[k]) * seconds
            run.weight_s += seconds
        return done + self._too_old(cell.end_s)

    def stall(self) -> None:
        """Scores are missing from here on: every class is off."""
        self._ended.update(self._runs)
        self._runs.clear()
        self._present = None

    def finish(self) -> list[tuple[int, _Run]]:
        """All runs that are left."""
        self.stall()
        done, self._ended = [*self._ended.items()], {}
        return done

    def _too_old(self, now_s: float) -> list[tuple[int, _Run]]:
        old = [k for k, run in self._ended.items() if now_s - run.end_s > self._settings.gap_s + _SAME_S]
        return [(k, self._ended.pop(k)) for k in old]

    def _active(self, scores: np.ndarray) -> list[int]:
        """The classes that are on, without the background."""
        on, off = self._settings.on, self._settings.off
        if not self._settings.exclusive:
            started = {int(k) for k in np.flatnonzero(scores >= on)}
            held = {k for k in self._runs if scores[k] >= off}
            return sorted((started | held) - {self._background})
        best, present = int(np.argmax(scores)), self._present
        stays = present is not None and scores[present] >= off
        if scores[best] >= on and (not stays or scores[best] > scores[present]):
            self._present = best
        elif not stays:
            self._present = None
        return [] if self._present in (None, self._background) else [self._present]


def _background_of(settings: TimelineSettings, classes: Sequence[str]) -> int | None:
    """The column of the background class."""
    name = settings.background
    if name is None:
        return None
    if name not in classes:
        raise UserError(f"background: {name!r} is not among the {len(classes)} classes{suggest(name, classes)}")
    return classes.index(name)


class Timeline:
    """Takes the scores of one window after the other and gives the spans that are complete.

    Its state does not grow with the length of the video: the windows of ``smooth_s`` seconds and a run per class.

    Args:
        classes: K names, in the order of the scores.
        video, person: of the spans.
        stall_s: centres that are further apart are not continued; None: ``window_s``, or 1.5 hops if that is more.

    Raises:
        UserError: the background class is not among the classes.
    """

    def __init__(
        self,
        settings: TimelineSettings,
        classes: Sequence[str],
        video: str | None = None,
        person: str | None = None,
        stall_s: float | None = None,
    ):
        self.settings, self.classes, self._video, self._person = settings, tuple(classes), video, person
        self._stall_s = max(settings.window_s, _STALL * settings.hop_s) if stall_s is None else stall_s
        self._smoother = _Smoother(settings)
        self._hysteresis = _Hysteresis(settings, _background_of(settings, self.classes))
        self._last: _Window | None = None

    def push(self, scores: np.ndarray, start_s: float, end_s: float, centre_s: float | None = None) -> list[Span]:
        """The spans that are complete now.

        Args:
            scores: float [K], 0..1, of a window.
            start_s, end_s: of the window; windows come in the order of their centres.
            centre_s: of the window, where it is not in the middle.

        Raises:
            ValueError: scores of another shape or outside of 0..1, or a window that does not follow the last one.
        """
        centre_s = (start_s + end_s) / 2 if centre_s is None else centre_s
        window = _Window(float(start_s), float(end_s), float(centre_s), np.asarray(scores, np.float64))
        if window.scores.shape != (len(self.classes),):
            raise ValueError(f"scores {list(window.scores.shape)}, expected [{len(self.classes)}]")
        if not (window.scores.min() >= 0 and window.scores.max() <= 1 + _SAME_S):  # also false for NaN
            raise ValueError("scores: expected 0 to 1 each")
        if not 0 <= window.start_s <= window.centre_s <= window.end_s < np.inf or window.start_s == window.end_s:
            raise ValueError(f"a window from {start_s} to {end_s} s")
        spans: list[Span] = []
        if self._last is not None:
            apart_s = window.centre_s - self._last.centre_s
            if apart_s <= 0:
                raise ValueError(f"the window at {window.centre_s:g} s follows that at {self._last.centre_s:g} s")
            if apart_s > self._stall_s + _SAME_S:
                spans += self.stall()
        self._last = window
        return spans + self._taken(self._smoother.push(window))

    def stall(self) -> list[Span]:
        """The next window does not continue those before, however near it is; gives the spans that are complete."""
        spans = self._taken(self._smoother.finish())
        self._hysteresis.stall()
        return spans

    def finish(self, end_s: float | None = None) -> list[Span]:
        """The spans that are left; nothing can be pushed after.

        Args:
            end_s: the video's end, where the last window does not end with it.
        """
        spans = self._taken(self._smoother.finish(end_s))
        return spans + self._spans(self._hysteresis.finish())

    def _taken(self, cells: Iterable[_Cell]) -> list[Span]:
        return [span for cell in cells for span in self._spans(self._hysteresis.push(cell))]

    def _spans(self, runs: Iterable[tuple[int, _Run]]) -> list[Span]:
        least_s = max(self.settings.min_s, _LEAST_S) - _SAME_S
        timed = [(k, run, round(run.start_s, _MS), round(run.end_s, _MS)) for k, run in runs]
        spans = [
            Span(
                start_s,
                end_s,
                self.classes[k],
                round(min(run.weighted / run.weight_s, 1.0), _DIGITS),
                self._person,
                self._video,
            )
            for k, run, start_s, end_s in timed
            if end_s - start_s >= least_s
        ]
        return sorted(spans, key=Span.order)


def spans_of(
    scores: np.ndarray,
    windows_s: np.ndarray,
    settings: TimelineSettings,
    classes: Sequence[str],
    video: str | None = None,
    end_s: float | None = None,
) -> list[Span]:
    """The spans of a video whose windows are all scored, sorted.

    Args:
        scores: float [W, K], 0..1.
        windows_s: float [W, 2], start and end of every window in seconds.
        end_s: see ``Timeline.finish``.
    """
    timeline = Timeline(settings, classes, video)
    spans = [span for row, (start, end) in zip(scores, windows_s) for span in timeline.push(row, start, end)]
    return sorted(spans + timeline.finish(end_s), key=Span.order)


class PersonTimelines:
    """The same for each person: scores of key frames to spans of (person, action).

    A key frame stands for the time around it: up to the middle between it and the next one, and ``hop_s / 2`` where
    the next one is further away than 1.5 hops, however long the clips around both are.  A person who is missing for
    longer than that and ``gap_s`` has ended, and is no longer held.

    Args:
        settings: ``hop_s`` is the distance of key frames, ``window_s`` the length of the clip that each is scored on;
            actions are mostly not exclusive.
        classes: K names.
        video: of the spans.
        end_s: of the video; None: unknown.

    Raises:
        UserError: the background class is not among the classes.
    """

    def __init__(
        self,
        settings: TimelineSettings,
        classes: Sequence[str],
        video: str | None = None,
        end_s: float | None = None,
    ):
        self.settings, self._classes, self._video = settings, tuple(classes), video
        _background_of(settings, self._classes)  # also where no person ever comes
        self._end_s = np.inf if end_s is None else end_s
        self._timelines: dict[str, tuple[Timeline, float]] = {}  # person -> its timeline, end of the last window
        self._stall_s = _STALL * settings.hop_s
        self._wait_s = self._stall_s + settings.gap_s + settings.hop_s

    def __len__(self) -> int:
        """The persons who are held."""
        return len(self._timelines)

    def push(self, time_s: float, scores: Mapping[str, np.ndarray]) -> list[Span]:
        """The spans that are complete now, of those also who have ended.

        Args:
            time_s: of the key frame; key frames come in order.
            scores: person -> float [K], 0..1.
        """
        spans = []
        half_s = self.settings.hop_s / 2
        for person in [p for p, (_, end_s) in self._timelines.items() if time_s - end_s > self._wait_s]:
            spans += self.end(person)
        for person, row in scores.items():
            timeline, _ = self._timelines.get(person) or (self._new(person), 0.0)
            end_s = max(min(time_s + half_s, self._end_s), time_s)
            spans += timeline.push(row, max(time_s - half_s, 0.0), end_s, time_s)
            self._timelines[person] = (timeline, end_s)
        return spans

    def end(self, person: str) -> list[Span]:
        """The spans that are left of a person who has ended."""
        timeline, _ = self._timelines.pop(person)
        return timeline.finish()

    def finish(self) -> list[Span]:
        """The spans that are left of everybody."""
        return [span for person in [*self._timelines] for span in self.end(person)]

    def _new(self, person: str) -> Timeline:
        return Timeline(self.settings, self._classes, self._video, person, self._stall_s)
