"""Where in videos something like a span happens: nearest neighbours of its feature among all windows.

The feature of the query is the mean of those of its windows, on features that have mean 0 and deviation 1 over all
videos.  The similarity of a stretch of time is the mean cosine between that and the features of its windows.  Found
spans have the length of the query, do not overlap one another nor the query, and come in the order of similarity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.inference.window_features import WindowFeatures

_MS, _DIGITS, _SAME_S = 3, 4, 1e-3


@dataclass(frozen=True)
class Found:
    """A stretch of a video.

    Args:
        similarity: -1..1.
    """

    video: str
    start_s: float
    end_s: float
    similarity: float


def similar_spans(
    videos: Mapping[str, WindowFeatures], video: str, start_s: float, end_s: float, top: int
) -> list[Found]:
    """The spans that are most like one of them.

    Args:
        videos: name -> features of its windows; all windows have one length and one hop.
        video, start_s, end_s: the query.
        top: at most so many.
    """
    scaled = dict(zip(videos, _scaled([each.features for each in videos.values()])))
    own = videos[video]
    inside = np.flatnonzero((own.centres_s >= start_s) & (own.centres_s < end_s))
    if not len(inside):
        inside = np.array([np.argmin(np.abs(own.centres_s - (start_s + end_s) / 2))])
    query, count, length_s = scaled[video][inside].mean(0), len(inside), end_s - start_s
    lead_s = (own.centres_s[inside[0]] + own.centres_s[inside[-1]]) / 2 - start_s  # to the middle of its windows
    candidates: list[Found] = []
    for name, each in videos.items():
        run, rows = min(count, len(each.features)), scaled[name]
        cosines = rows @ query / np.maximum(np.linalg.norm(rows, axis=1) * np.linalg.norm(query), 1e-12)  # [W]
        similarities = np.convolve(cosines, np.full(run, 1 / run), "valid")  # [W - run + 1]
        middles = (each.centres_s[: len(similarities)] + each.centres_s[run - 1 :]) / 2
        begins = np.clip(middles - lead_s, 0, max(each.end_s - length_s, 0))
        candidates += [
            Found(name, round(float(begin), _MS), round(min(float(begin) + length_s, each.end_s), _MS), float(value))
            for begin, value in zip(begins, similarities)
        ]
    return _apart(candidates, Found(video, start_s, end_s, 1.0), top)


def similar_clips(features: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The similarity of every clip to a query, float64 [N], -1..1: the cosine, on features that are centred and scaled.

    Args:
        features: [N, D].
        query: [D], with the same network.
    """
    rows, own = _scaled([features, query[None]], like=features)
    own = own[0]
    return rows @ own / np.maximum(np.linalg.norm(rows, axis=1) * np.linalg.norm(own), 1e-12)


def _scaled(parts: Sequence[np.ndarray], like: np.ndarray | None = None) -> list[np.ndarray]:
    """Rows [N, D] of every part, float64, such that those of ``like`` (all of them) have mean 0 and deviation 1."""
    every = np.concatenate(parts) if like is None else like
    mean, deviation = every.mean(0, dtype=np.float64), every.std(0, dtype=np.float64)
    deviation = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-12), deviation, np.inf)
    return [(part - mean) / deviation for part in parts]


def _apart(candidates: list[Found], query: Found, top: int) -> list[Found]:
    """The best ones that overlap neither the query nor one another."""
    taken, found = [query], []
    for each in sorted(candidates, key=lambda one: (-one.similarity, one.video, one.start_s)):
        if len(found) == top:
            break
        if not any(_overlap(each, other) for other in taken):
            taken.append(each)
            found.append(Found(each.video, each.start_s, each.end_s, round(each.similarity, _DIGITS)))
    return found


def _overlap(one: Found, other: Found) -> bool:
    return one.video == other.video and min(one.end_s, other.end_s) - max(one.start_s, other.start_s) > _SAME_S
