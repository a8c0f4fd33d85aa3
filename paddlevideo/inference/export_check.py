"""Whether an exported program gives the network's scores: the clips that they are compared on, and the comparison.

A program of many views is compared through its twin of two, which is the same but for the number of views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.key_frames import ClipMaker, KeyMoment
from paddlevideo.inference.runtimes.base import Runtime
from paddlevideo.inference.runtimes.paddle import PARAMS_SUFFIX, PaddleModel
from paddlevideo.inference.video_bank import Window, without_windows
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.safe_io import read_json

# largest difference of a probability between the exported model and the network; and, since among 400 classes all
# probabilities may be small, the largest ratio, less one, of those above the floor, beyond what the rounding of a
# probability gives: ONNX Runtime's sigmoid is exact to 1e-7, however small it is
TOLERANCE = 1e-4
RATIO_TOLERANCE = 1e-2
_RATIO_FLOOR = 1e-6
_ROUNDING = 2e-7
# clips, and persons in each, of the batches compared: the first has whole pictures, all others small ones
_PERSONS = ((1,), (0,), (7,), (40,), (40, 0, 7), (0, 0, 0))
_SMALL_PX = 32
# of one batch, whose first clip then is a batch of its own
_CLIPS = 3
CHECKED_VIEWS = 2  # of a clip: enough to see views that are folded wrongly


def synthetic_clip(pipeline: Pipeline) -> np.ndarray:
    """A grey clip after the pipeline, [V, T, H, W, 3]: sizes and dtype come from here and nowhere else."""
    sample = {"filename": "synthetic clip", "index": 0, "reader": _synthetic_reader()}
    return pipeline(sample, np.random.default_rng(0))["imgs"]


def synthetic_key_frame(pipeline: Pipeline) -> np.ndarray:
    """A grey clip with one person after the pipeline, [1, T, H, W, 3]."""
    pipeline.refuse_boxes()
    maker = ClipMaker(without_windows(pipeline), _synthetic_reader(), clip_fps=30.0, timestamp_start=0.0)
    whole = np.array([[0, 0, 1, 1]], np.float32)
    return maker.sample(0, KeyMoment(30, 1.0, 1.0), whole, np.ones(1, np.float32))["imgs"]


def _synthetic_reader() -> ArrayReader:
    """A grey video that takes no memory."""
    return ArrayReader(np.broadcast_to(np.uint8(127), (64, 256, 320, 3)))


def random_clips(like: np.ndarray, num_clips: int = 2, seed: int = 0) -> np.ndarray:
    """Seeded clips [N, V, ...] like one clip [V, ...]: noise, and smooth moving ramps, which reach other parts of a
    network.  No two views are alike."""
    rng = np.random.default_rng(seed)
    views = []
    for i, j in np.ndindex(num_clips, len(like)):
        shape = like.shape[1:]
        if i % 2 == 0 and j == 0:
            view = rng.integers(0, 256, shape)
        else:
            t, h, w, _ = np.indices(shape, sparse=True)
            view = (h * rng.uniform(1, 3) + w * rng.uniform(1, 3) + t * rng.uniform(5, 20)) % 256 + np.zeros(shape)
        # a pipeline that normalises by itself gives float32 of unit scale
        views.append(view.astype(np.uint8) if like.dtype == np.uint8 else (view / 64.0 - 2.0).astype(like.dtype))
    return np.stack(views).reshape(num_clips, *like.shape)


def person_batches(clip: np.ndarray, window: Window | None = None, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Seeded batches with persons to compare the program with the network on.

    Args:
        clip: [1, T, H, W, 3]; from the second batch on pictures have a quarter of its height and three eighths of its
            width, 32 pixels at least: another size, and little work.
        window: of a network that takes a feature bank; a random half of its slots is filled.
    """
    rng = np.random.default_rng(seed)
    batches = []
    down, across = (max(side * eighths // 8, min(side, _SMALL_PX)) for side, eighths in zip(clip.shape[2:4], (2, 3)))
    for number, persons in enumerate(_PERSONS):
        part = clip[:, :, :down, :across] if number else clip
        height, width = part.shape[2:4]
        corners = np.sort(rng.uniform(0, 1, (sum(persons), 2, 2)), axis=1) * [width - 1, height - 1]
        batches.append(
            {
                "imgs": random_clips(part, len(persons), seed),
                "sizes": np.array([[height, width]] * len(persons), np.int64),
                "boxes": corners.reshape(-1, 4).astype(np.float32),
                "boxes_num": np.array(persons, np.int32),
                **(_random_window(window, len(persons), rng) if window else {}),
            }
        )
    return batches


def _random_window(window: Window, num_clips: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = window.empty(num_clips)
    filled = rng.random(arrays["long_term_filled"].shape) < 0.5  # [N, S]
    arrays["long_term"][filled] = rng.gamma(1.0, 1.0, (filled.sum(), window.channels))  # as after a ReLU
    return {**arrays, "long_term_filled": filled}


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference of a probability, and largest ratio less one of those that are not tiny."""

    absolute: float
    ratio: float

    def describe(self) -> dict[str, float]:
        """Plain data for ``inference.yml``."""
        return {"max_difference": self.absolute, "max_ratio": self.ratio}

    @property
    def small(self) -> bool:
        """Whether it can come from rounding; not so if it is NaN."""
        return self.absolute <= TOLERANCE and self.ratio <= RATIO_TOLERANCE

    def __str__(self) -> str:
        return (
            f"largest difference of a score: {self.absolute:.3g} (at most {TOLERANCE:g}), "
            f"relative to it: {self.ratio:.3g} (at most {RATIO_TOLERANCE:g})"
        )


@dataclass(frozen=True, eq=False)
class Reference:
    """Batches, and the scores that a network gives them."""

    batches: Sequence[Mapping[str, np.ndarray]]
    scores: Sequence[np.ndarray]

    @classmethod
    def of(cls, framework: Any, clip: np.ndarray, window: Window | None = None) -> Reference:
        """Of a network, on seeded clips like ``clip``: three in one batch, and the first alone; or with persons."""
        import paddle

        batches = person_batches(clip, window) if framework.takes_boxes else [{"imgs": random_clips(clip, _CLIPS)}]
        scores = []
        for batch in batches:
            with paddle.no_grad():  # as --test does
                tensors = {key: paddle.to_tensor(value) for key, value in batch.items()}
                scores.append(framework(tensors, mode="predict")["scores"].numpy())
        if not framework.takes_boxes:  # what the network gives a clip does not depend on the others
            batches.append({"imgs": batches[0]["imgs"][:1]})
            scores.append(scores[0][:1])
        return cls(batches, scores)

    def difference(self, scores: Sequence[np.ndarray], name: str) -> Difference:
        """Of other scores for the same batches to the network's.

        Args:
            name: of the model that gave them.

        Raises:
            UserError: they are not as many.
        """
        worst = Difference(0.0, 0.0)
        for expected, got in zip(self.scores, scores, strict=True):
            if got.shape != expected.shape:
                raise UserError(f"{name}: exported, it gives scores {list(got.shape)}, the network "
                                f"{list(expected.shape)}")  # fmt: skip
            apart = np.abs(got - expected)
            beyond, counts = np.maximum(apart - _ROUNDING, 0.0), expected > _RATIO_FLOOR
            ratios = beyond[counts] / expected[counts]
            differences = float(apart.max(initial=0.0)), float(ratios.max(initial=0.0))
            worst = Difference(*np.maximum((worst.absolute, worst.ratio), differences).tolist())  # NaN stays
        return worst


def compare(reference: Reference, program: Path) -> Difference:
    """The network's scores against its exported program's."""
    model = PaddleModel(program, program.with_suffix(PARAMS_SUFFIX), Runtime(use_gpu=False), say=lambda line: None)
    return reference.difference([model.run(batch) for batch in reference.batches], program.name)


def same_but_for_views(program: Path, twin: Path, views: int, twin_views: int) -> bool:
    """Whether two programs are equal, but for sizes that are ``views`` times something in one and ``twin_views`` times
    the same in the other.

    Such a twin stands for the program in a comparison: operators, their order, attributes and parameters are the same.
    """

    def same(ours: Any, theirs: Any) -> bool:
        if type(ours) is not type(theirs):
            return False
        if isinstance(ours, dict):
            if ours.get("N") == "struct_name":  # the layer that an operator comes from, by a counter of the process
                return theirs.get("N") == "struct_name"
            return ours.keys() == theirs.keys() and all(same(value, theirs[key]) for key, value in ours.items())
        if isinstance(ours, list):
            return len(ours) == len(theirs) and all(map(same, ours, theirs))
        return ours == theirs or (type(ours) is int and ours * twin_views == theirs * views)

    return same(read_json(program), read_json(twin))
