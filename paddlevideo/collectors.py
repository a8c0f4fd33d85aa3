"""Collect a network's outputs during an evaluation, besides its metric: every view's logits, features for a bank.

``evaluate`` takes a list of collectors; each sees every batch, on whichever rank has it, and writes one file.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.environment import rank, world_size
from paddlevideo.errors import UserError
from paddlevideo.loader.feature_bank import BankFrame, write_bank
from paddlevideo.safe_io import read_json, read_npz, write_atomic

log = logging.getLogger("paddlevideo")

_GROUP = 32  # batches of features that are written together, and lost together when a run is killed


class Collector:
    """Every method does nothing; a subclass overrides what it needs."""

    def prepare(self) -> None:
        """Called on the main rank alone, before any rank's first batch."""

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes a batch, as a metric does.

        Args:
            index: int64 [N], places in the data set.
            outputs: what the network gives, float32.
            batch: the batch without its pictures.
        """

    def state(self) -> dict[str, np.ndarray]:
        """This rank's content, for the other ranks, after its last batch."""
        return {}

    def merge(self, states: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Replaces the content by all ranks' states together."""

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes the file; called on the main rank alone, when all states are merged, before any figure is computed.

        Args:
            records: of the data set.
        """


class ViewCollector(Collector):
    """Every view's logits, of a test that does not average them (``avg_type: none``).

    The file has ``index`` [N] (place in the list file) and ``view_logits`` float32 [N, V, K].

    Args:
        out: the results file; ``<out>.views.npz`` is written beside it.
    """

    def __init__(self, out: str | Path):
        self.path = Path(out).with_suffix(".views.npz")
        self._views: dict[int, np.ndarray] = {}

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        for i, views in zip(np.asarray(index).tolist(), outputs["view_logits"]):
            self._views.setdefault(i, views)

    def state(self) -> dict[str, np.ndarray]:
        index = sorted(self._views)
        return {"index": np.array(index), "view_logits": np.array([self._views[i] for i in index], "float32")}

    def merge(self, states: Iterable[Mapping[str, np.ndarray]]) -> None:
        self._views = {i: views for s in states for i, views in zip(s["index"].tolist(), s["view_logits"])}

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        arrays = self.state()
        write_atomic(self.path, lambda stream: np.savez_compressed(stream, **arrays))
        log.info("logits of every view: %s", self.path)


class BankCollector(Collector):
    """Persons' features, for a long-term feature bank (``loader.feature_bank``).

    They may not fit into memory: groups of batches are written as files into a folder beside the bank, which is removed
    when the bank is there.  Rank r has the groups r, r + ranks, and so on.

    Args:
        out: the bank's file.
        half: float16.
        about: strings for the bank's metadata.
        plan: everything that the groups depend on; those of an earlier run with the same plan are kept.  None: no
            earlier ones are used.
    """

    def __init__(
        self,
        out: str | Path,
        half: bool = False,
        about: Mapping[str, str] | None = None,
        plan: Mapping[str, Any] | None = None,
    ):
        self.out, self.half, self.about, self.plan = Path(out), half, about, plan
        self.folder = self.out.with_name(f"{self.out.name}.{'test_parts' if plan is None else 'parts'}")
        self.number = rank()  # of the group that is taken now
        self._rows: list[tuple[np.ndarray, ...]] = []

    def prepare(self) -> None:
        """Makes the folder of the groups.

        Raises:
            UserError: it holds groups of another plan.
        """
        if self.plan is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        plan, note = dict(self.plan or {}), self.folder / "plan.json"
        old = read_json(note) if note.is_file() else plan
        if old != plan:
            changed = ", ".join(sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key)))
            raise UserError(
                f"{self.folder}: was begun with other {changed}; finish it so, or remove the folder to begin anew"
            )
        write_atomic(note, json.dumps(plan, indent=1))

    def remaining(self, num_batches: int) -> list[tuple[int, range]]:
        """This rank's groups that are not written yet: the number of each, and its batches."""
        own = range(rank(), -(-num_batches // _GROUP), world_size())
        ranges = [(i, range(i * _GROUP, min((i + 1) * _GROUP, num_batches))) for i in own]
        return [(i, batches) for i, batches in ranges if not self._file(i).is_file()]

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes a batch: ``features`` float32 [R, C] of ``boxes_num`` persons of each key frame."""
        with np.errstate(over="ignore"):  # what float16 does not hold is refused below
            features = outputs["features"].astype("float16" if self.half else "float32")
        self._rows.append(
            (np.asarray(index), np.asarray(batch["boxes_num"]), features, np.asarray(batch["box_scores"]))
        )
        if len(self._rows) == _GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes the batches taken so far as one group."""
        if not self._rows:
            return
        index, counts, features, scores = (np.concatenate(column) for column in zip(*self._rows))
        if not (np.isfinite(features).all() and np.isfinite(scores).all()):
            raise UserError(
                "the feature bank is not written: features hold NaN or infinity; the weights have diverged, or the "
                "features are beyond float16 (leave --half out)"
            )
        arrays = {"index": index, "counts": counts, "scores": scores}
        file = self._file(self.number)
        write_atomic(file.with_suffix(".table.npz"), lambda stream: np.savez(stream, **arrays))
        write_atomic(file, lambda stream: np.save(stream, features))  # last: the group is complete
        self.number, self._rows = self.number + world_size(), []

    def state(self) -> dict[str, np.ndarray]:
        """Nothing; the last group is written."""
        self.flush()
        return {}

    def write(self, records: Sequence[Mapping[str, Any]]) -> None:
        write_bank(self.out, self._key_frames(records), self.half, self.about)
        shutil.rmtree(self.folder)
        log.info("feature bank: %s (%d key frames)", self.out, len(records))

    def _key_frames(self, records: Sequence[Mapping[str, Any]]) -> Iterator[BankFrame]:
        """All that was written; the features stay on disk until they are used."""
        for file in sorted(self.folder.glob("*.npy")):
            features = np.load(file, mmap_mode="r", allow_pickle=False)
            table = read_npz(file.with_suffix(".table.npz"))
            index, counts, scores = table["index"], table["counts"], table["scores"]
            ends = np.cumsum(counts)
            for i, begin, end in zip(index.tolist(), (ends - counts).tolist(), ends.tolist()):
                record = records[i]
                yield BankFrame(record["video_id"], int(record["timestamp"]), features[begin:end], scores[begin:end])

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npy"
