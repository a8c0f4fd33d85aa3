"""Samples to a batch of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.fetch import SampleSource
from paddlevideo.loader.pipelines.boxes import PER_PERSON
from paddlevideo.loader.pipelines.long_term import PER_CLIP


@dataclass
class BatchSource:
    """Gives the batch of (epoch, number, sample indices), the same in every process.

    Args:
        samples: where the samples come from.
        mix: ``(batch, rng, num_classes) -> batch``, training only; its generator is seeded by (seed, epoch, number,
            rank).
        num_classes: for ``mix``, which makes soft labels.
        rank: this rank, so that ranks mix differently.
    """

    samples: SampleSource
    mix: Callable[[dict, np.random.Generator, int], dict] | None = None
    num_classes: int | None = None
    rank: int = 0

    def make(self, epoch: int, number: int, indices: np.ndarray) -> dict[str, Any]:
        """The batch of ``collate``; with ``unreadable``, a list of (index, why), if files could not be read, and with
        ``remarks``, a list of (index, text), on files that are read in another way than one might expect."""
        failures: list[tuple[int, str]] = []
        samples = []
        for index in indices:
            sample, failed = self.samples.fetch(epoch, int(index))
            samples.append(sample)
            failures += failed
        batch = collate(samples)
        if self.mix is not None:
            rng = np.random.default_rng([self.samples.seed, epoch, number, self.rank, 2])
            batch = self.mix(batch, rng, self.num_classes)
        remarks = [(int(sample["index"]), text) for sample in samples for text in sample.get("remarks", ())]
        return batch | ({"unreadable": failures} if failures else {}) | ({"remarks": remarks} if remarks else {})


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Stacks what pipelines gave.

    Args:
        samples: dicts with ``imgs`` uint8 | float32 [V, T, H, W, 3], ``index``, optionally ``label`` (int, or float32
            [K]), ``replaced`` and ``valid``; samples of key frames with ``boxes`` and what else ``pipelines.boxes``
            lists.  Other keys are dropped.

    Returns:
        ``imgs`` [N, V, T, H, W, 3]; ``index`` and ``replaced`` int64 [N]; ``valid`` uint8 [N]; ``label`` int64 [N] or
        float32 [N, K], if the samples have labels.  Of key frames the boxes of all samples one after the other:
        ``boxes``, ``boxes_norm`` float32 [R, 4], ``box_scores`` [R], ``gt_boxes`` [G, 4], ``gt_labels`` [G, K], with
        ``boxes_num``, ``gt_boxes_num`` int32 [N] of them (0 is possible) and ``sizes`` int64 [N, 2], the height and
        width of each picture: in evaluation smaller ones are padded with black at the right and at the bottom;
        ``long_term`` float32 [N, S, C] and ``long_term_filled`` bool [N, S], if the samples have them.

    Raises:
        UserError: the clips have different shapes.
    """
    with_boxes = all("boxes" in sample for sample in samples)
    if with_boxes:
        sizes = np.array([sample["imgs"].shape[2:4] for sample in samples], np.int64)
        if not any(sample.get("training") for sample in samples):
            samples = [{**sample, "imgs": _padded(sample["imgs"], *sizes.max(axis=0))} for sample in samples]
    shapes = {sample["imgs"].shape: sample["index"] for sample in samples}
    if len(shapes) > 1:
        seen = ", ".join(f"{list(shape)} (sample {index})" for shape, index in shapes.items())
        raise UserError(f"PIPELINE gives clips of different shapes [V, T, H, W, C], which make no batch: {seen}")
    batch = {
        "imgs": np.stack([sample["imgs"] for sample in samples]),
        "index": np.array([sample["index"] for sample in samples], np.int64),
        "replaced": np.array([sample.get("replaced", -1) for sample in samples], np.int64),
        "valid": np.array([sample.get("valid", 1) for sample in samples], np.uint8),
    }
    if with_boxes:
        batch |= {"sizes": sizes, **_persons(samples)}
        batch |= {key: np.stack([s[key] for s in samples]) for key in PER_CLIP if all(key in s for s in samples)}
    elif all("label" in sample for sample in samples):
        labels = np.stack([np.asarray(sample["label"]) for sample in samples])
        batch["label"] = labels.astype(np.int64 if labels.ndim == 1 else np.float32)
    return batch


def _padded(imgs: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - imgs.shape[2], width - imgs.shape[3]
    return np.pad(imgs, [(0, 0), (0, 0), (0, below), (0, right), (0, 0)]) if below or right else imgs


def _persons(samples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What there is per person, of all samples one after the other, and how many each has."""
    joined = {
        key: np.concatenate([sample[key] for sample in samples]).astype(np.float32)
        for key in PER_PERSON
        if all(key in sample for sample in samples)
    }
    for key in ("boxes", "gt_boxes"):
        if key in joined:
            joined[f"{key}_num"] = np.array([len(sample[key]) for sample in samples], np.int32)
    return joined
