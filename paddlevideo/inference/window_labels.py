"""What the windows of an annotated video show.

A window is a sample of a class if its centre is in a span of it and three quarters of the shorter of both (window,
span) are in the other.  Windows across a boundary, and those that are samples of two classes that exclude one another,
are left out.  A span that no window has its centre in has the window whose centre is the nearest.

Unmarked windows have at most a quarter of their time in spans.  Ignored time is that of spans which a model found and
a person has not checked yet, apart from the time that is annotated: a window with some of it is a sample of the class
that its annotated part shows, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.spans import Span

LEAST_SHARE = 0.75
_SAME_S = 1e-3


@dataclass(frozen=True)
class WindowLabels:
    """
    Args:
        shares: bool [W, K]: the window is a sample of the class.
        near: bool [W, K]: more than a quarter of the window, or its centre, is in a span of the class; it is a sample
            of it, or across its boundary.
        unmarked: bool [W].
        used: bool [W]: it has no ignored time.
        num_lost: spans without a window.
    """

    shares: np.ndarray
    near: np.ndarray
    unmarked: np.ndarray
    used: np.ndarray
    num_lost: int

    @property
    def is_free(self) -> np.ndarray:
        """bool [W]: in ignored time, away from all annotated spans."""
        return ~self.used & ~self.near.any(1)

    def single(self, background: int | None) -> np.ndarray:
        """int [W]: the class, of classes that exclude one another; -1: not used.

        Args:
            background: the class of unmarked windows; None: they are not used.
        """
        found = np.where(self.shares.sum(1) == 1, self.shares.argmax(1), -1)
        others = (self.near.sum(1) - self.near[np.arange(len(found)), found]) > 0
        found = np.where(others, -1, found)
        if background is not None:
            found = np.where(self.unmarked, background, found)
        return np.where(self.used | self.shares.any(1), found, -1)

    def several(self, background: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Targets and counts, float32 [W, K]; a count is 0 where a window is across the boundary of the class."""
        targets, counts = self.shares.copy(), self.shares | (self.used[:, None] & ~self.near)
        if background is not None:
            targets[:, background] |= self.unmarked
            counts[:, background] = (self.used & self.unmarked) | self.shares.any(1)
        return targets.astype(np.float32), counts.astype(np.float32)


def label_windows(
    windows_s: np.ndarray, spans: Sequence[Span], ignored: Sequence[Span], classes: Sequence[str]
) -> WindowLabels:
    """The labels of a video's windows.

    Args:
        windows_s: float [W, 2].
        spans: of the video, annotated.
        ignored: of the video, not checked.
        classes: K names, all labels of ``spans`` among them.
    """
    starts, ends = windows_s.T
    centres, lengths = windows_s.mean(1), ends - starts
    shares, near = (np.zeros((len(starts), len(classes)), bool) for _ in range(2))
    marked = np.zeros(len(starts))
    num_lost = 0
    for span in spans:
        k = classes.index(span.label)
        overlap = np.clip(np.minimum(ends, span.end_s) - np.maximum(starts, span.start_s), 0, None)
        inside = (span.start_s <= centres) & (centres < span.end_s)
        if not inside.any():
            inside[np.argmin(np.abs(centres - (span.start_s + span.end_s) / 2))] = overlap.any()
        sample = inside & (overlap >= LEAST_SHARE * np.minimum(lengths, span.duration_s) - _SAME_S)
        num_lost += not sample.any()
        shares[:, k] |= sample
        near[:, k] |= inside | (overlap > (1 - LEAST_SHARE) * lengths + _SAME_S)
        marked += overlap
    unmarked = (marked <= (1 - LEAST_SHARE) * lengths + _SAME_S) & ~near.any(1)
    used = np.ones(len(starts), bool)
    for start_s, end_s in time_without(ignored, spans):
        used &= np.minimum(ends, end_s) - np.maximum(starts, start_s) <= _SAME_S
    return WindowLabels(shares, near, unmarked, used, num_lost)


def time_without(spans: Sequence[Span], others: Sequence[Span]) -> list[tuple[float, float]]:
    """The time of spans that no other one covers, as stretches in seconds."""
    edges = sorted({t for span in (*spans, *others) for t in (span.start_s, span.end_s)})
    return [
        (start, end)
        for start, end in zip(edges, edges[1:])
        if _covers(spans, start, end) and not _covers(others, start, end)
    ]


def _covers(spans: Sequence[Span], start_s: float, end_s: float) -> bool:
    return any(span.start_s <= start_s and end_s <= span.end_s for span in spans)
