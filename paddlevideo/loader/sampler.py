"""Which samples make which batch on which rank: a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class BatchPlan:
    """Deals one global order out to the ranks.

    The batches number b of all ranks together hold the samples that one process with a batch of ``world_size *
    batch_size`` would see as its batch number b, so a run on two ranks takes the steps of a run on one.

    Args:
        num_samples: size of the data set.
        batch_size: samples per batch on one rank.
        seed: of the shuffle.
        shuffle: a new permutation every epoch, from (seed, epoch).
        drop_last: leave out what does not fill a batch on every rank.
        rank: this rank, 0 .. world_size - 1.
        world_size: number of ranks.
        pad: give every rank the same number of samples in the last batch by repeating the first of the order (training;
            at most world_size - 1 samples).  Without it no sample comes twice, and ranks can end up with one batch
            less.
        weights: float64 [num_samples], with ``shuffle``: an epoch draws as many samples as there are, each with this
            probability, with replacement.
        shuffled: ``(rng, world_size * batch_size) -> int64 [num_samples]``, an epoch's order in place of a permutation
            where it is not None (``Dataset.shuffled``).
        sizes: ``(epoch, number of the batch) -> batch_size`` of multigrid training; None: always ``batch_size``.
    """

    num_samples: int
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1
    pad: bool = False
    weights: np.ndarray | None = field(default=None, compare=False)
    shuffled: Callable[[np.random.Generator, int], np.ndarray | None] | None = field(default=None, compare=False)
    sizes: Callable[[int, int], int] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} is below 1")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not in 0..{self.world_size - 1}")

    def __len__(self) -> int:
        return self.num_batches(0)

    def num_batches(self, epoch: int) -> int:
        """Batches of an epoch on this rank; the number depends on the epoch where ``sizes`` does."""
        counts, tail = self._whole(epoch)
        return len(counts) + bool(not self.drop_last and tail and len(self._share(np.arange(tail))))

    @property
    def num_dropped(self) -> int:
        """Samples of the first epoch that ``drop_last`` leaves out, on all ranks together."""
        return self._whole(0)[1] if self.drop_last else 0

    def batches(self, epoch: int) -> list[np.ndarray]:
        """int64 arrays of sample indices, one per batch of this rank."""
        order, batches, start = self._order(epoch), [], 0
        for size in self._whole(epoch)[0]:
            begin = start + self.rank * size
            batches.append(order[begin : begin + size])
            start += self.world_size * size
        tail = order[start:]
        if len(tail) and not self.drop_last:
            if self.pad:
                lacking = -len(tail) % self.world_size
                tail = np.concatenate([tail, np.resize(order, lacking)])
            last = self._share(tail)
            if len(last):
                batches.append(last)
        return batches

    def _whole(self, epoch: int) -> tuple[list[int], int]:
        """Sizes, per rank, of the batches that are whole on every rank, and the samples that are left."""
        if self.sizes is None:
            whole, left = divmod(self.num_samples, self.batch_size * self.world_size)
            return [self.batch_size] * whole, left
        counts, left = [], self.num_samples
        while left >= (together := self.world_size * self.sizes(epoch, len(counts))):
            counts.append(together // self.world_size)
            left -= together
        return counts, left

    def _order(self, epoch: int) -> np.ndarray:
        if self.shuffle and self.weights is not None:
            chances = self.weights / self.weights.sum()
            return np.random.default_rng([self.seed, epoch]).choice(self.num_samples, self.num_samples, p=chances)
        if self.shuffle and self.shuffled is not None:
            order = self.shuffled(np.random.default_rng([self.seed, epoch]), self.batch_size * self.world_size)
            if order is not None:
                return order
        if self.shuffle:
            return np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        return np.arange(self.num_samples)

    def _share(self, tail: np.ndarray) -> np.ndarray:
        """This rank's part of the ragged tail; the parts differ by at most one sample."""
        if self.pad and len(tail) % self.world_size:  # only counted by __len__
            return tail[: -(-len(tail) // self.world_size)]
        return np.array_split(tail, self.world_size)[self.rank]
