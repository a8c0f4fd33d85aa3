"""Samples to a batch of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.fetch import SampleSource


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
        """The batch of ``collate``; with ``unreadable``, a list of (index, why), if files could not be read."""
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
        return {**batch, "unreadable": failures} if failures else batch


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Stacks what pipelines gave.

    Args:
        samples: dicts with ``imgs`` uint8 | float32 [V, T, H, W, 3], ``index``, optionally ``label`` (int, or float32
            [K]), ``replaced`` and ``valid``.  Other keys are dropped.

    Returns:
        ``imgs`` [N, V, T, H, W, 3]; ``index`` and ``replaced`` int64 [N]; ``valid`` uint8 [N]; ``label`` int64 [N] or
        float32 [N, K], if the samples have labels.

    Raises:
        UserError: the clips have different shapes.
    """
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
    if all("label" in sample for sample in samples):
        labels = np.stack([np.asarray(sample["label"]) for sample in samples])
        batch["label"] = labels.astype(np.int64 if labels.ndim == 1 else np.float32)
    return batch
