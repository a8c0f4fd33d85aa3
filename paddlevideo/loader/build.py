"""A data set section and a pipeline section to a loader."""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.class_balance import balanced_chances, describe_chances
from paddlevideo.loader.collate import BatchSource
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.lists import describe
from paddlevideo.loader.datasets.missing import drop_missing
from paddlevideo.loader.datasets.records import Records, multi_hot
from paddlevideo.loader.decode.index import index_of
from paddlevideo.loader.fetch import SampleSource
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.base import BatchTransform
from paddlevideo.loader.sampler import BatchPlan
from paddlevideo.loader.workers import worker_batches
from paddlevideo.multigrid import Multigrid
from paddlevideo.registry import DATASETS, TRANSFORMS
from paddlevideo.settings import Reading

log = logging.getLogger("paddlevideo")

_MAX_REMARKS = 5
_OF_TRAINING = ("sample_by_class", "power", "max_replacements")
_POLICIES = {"train": ("skip", "raise"), "valid": ("raise", "count"), "test": ("raise", "count")}


class ClipLoader:
    """Batches of one split on one rank.

    Attributes:
        dataset: the ``Dataset``.
        pipeline: the ``Pipeline`` that was built.
        on_error: what an unreadable file does: raise, skip or count.
        damaged: refuse or read.
        unreadable: {data-set index: why}, of the unreadable files so far on this rank.
        remarks: {text: data-set indices}, of files that are read in another way than one might expect; they are logged
            at the end of the first pass.
    """

    def __init__(self, source: BatchSource, plan: BatchPlan, num_workers: int):
        self.dataset, self.pipeline = source.samples.dataset, source.samples.pipeline
        self.on_error, self.damaged = source.samples.on_error, source.samples.damaged
        self.unreadable: dict[int, str] = {}
        self.remarks: dict[str, set[int]] = {}
        self._source, self._plan, self._num_workers = source, plan, num_workers
        self._logged_remarks = False
        self._counts: dict[int, int] = {}
        self._running: weakref.WeakSet[Generator] = weakref.WeakSet()

    def __len__(self) -> int:
        """Batches of the first epoch on this rank."""
        return self.num_batches(0)

    def num_batches(self, epoch: int) -> int:
        """Batches of an epoch on this rank; of ``len`` in all epochs but those of multigrid training."""
        if epoch not in self._counts:  # read at every step
            self._counts[epoch] = self._plan.num_batches(epoch)
        return self._counts[epoch]

    @property
    def num_dropped(self) -> int:
        """Samples that an epoch leaves out, on all ranks, because they fill no batch."""
        return self._plan.num_dropped

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[dict[str, Any]]:
        """Batches of one epoch, from ``start_batch`` on; these are bit-identical whatever came before them.

        Returns:
            An iterator of dicts: imgs uint8 | float32 [N, V, T, H, W, 3], label int64 [N] | float32 [N, K], index
            int64 [N], replaced int64 [N], valid uint8 [N]; of key frames boxes instead of label (``collate``).  Numpy
            arrays; large ones are paddle Tensors when workers are used.  Several may run side by side.

        Raises:
            UserError: from the iterator, naming the file.
        """
        batches = self._batches(epoch, start_batch)
        self._running.add(batches)
        return batches

    def sample(self, index: int) -> dict[str, Any]:
        """The data set's sample, as the pipeline gets it."""
        return self._source.samples.sample(index)

    def fetch(self, index: int) -> dict[str, Any]:
        """The sample after the pipeline, in this process, as an evaluation has it: ``imgs`` [V, T, H, W, 3]; ``valid``
        is 0 where its file cannot be read and ``on_error`` is count.

        Raises:
            UserError: from the pipeline, naming the file.
        """
        return self._source.samples.fetch(0, index)[0]

    def close(self) -> None:
        """Ends the workers of iterators that were not used up."""
        for batches in list(self._running):
            batches.close()
        self._running.clear()

    def batches_of(self, groups: Sequence[np.ndarray]) -> Iterator[dict[str, Any]]:
        """One batch per array of sample indices, in that order, whatever the rank's share is."""
        batches = self._run([(0, number, indices) for number, indices in enumerate(groups)])
        self._running.add(batches)
        return batches

    def _batches(self, epoch: int, start_batch: int) -> Generator[dict[str, Any], None, None]:
        tasks = [(epoch, number, indices) for number, indices in enumerate(self._plan.batches(epoch))][start_batch:]
        return self._run(tasks)

    def _run(self, tasks: list[tuple[int, int, np.ndarray]]) -> Generator[dict[str, Any], None, None]:
        if self._num_workers:
            batches = worker_batches(self._source, tasks, self._num_workers)
        else:
            self.dataset.expect(np.concatenate([np.empty(0, np.int64), *(task[2] for task in tasks)]))
            # a plain loop, because paddle's loader without workers hangs at any exception
            batches = (self._source.make(*task) for task in tasks)
        count = 0
        try:
            for batch in batches:
                self.unreadable.update(batch.pop("unreadable", ()))
                for index, text in batch.pop("remarks", ()):
                    self.remarks.setdefault(text, set()).add(int(index))
                count += len(batch["index"])
                yield batch
        finally:
            batches.close()
            self._log_remarks(count)  # training closes an iterator before its end

    def _log_remarks(self, num_read: int) -> None:
        """Once, after the first pass over the split or a part of it."""
        if self._logged_remarks or not num_read:
            return
        self._logged_remarks = True
        for number, (text, indices) in enumerate(sorted(self.remarks.items(), key=lambda item: -len(item[1]))):
            if number == _MAX_REMARKS:
                log.warning("... and %d more remarks; paddlevideo check-data lists them", len(self.remarks) - number)
                break
            share, first = len(indices) / max(num_read, 1), self.dataset.records[min(indices)]
            log.warning("%d of %d samples (%.1f %%): %s (e.g. %s)", len(indices), num_read, 100 * share, text,
                        describe(first))  # fmt: skip


def build_loader(
    dataset_cfg: Mapping[str, Any],
    pipeline: Pipeline | Mapping[str, Any],
    split: str,
    *,
    seed: int,
    num_classes: int | None,
    batch_size: int,
    num_workers: int,
    rank: int = 0,
    world_size: int = 1,
    shuffle: bool,
    drop_last: bool,
    mix: Mapping[str, Any] | None = None,
    label_order: Sequence[int] | None = None,
    grid: Multigrid | None = None,
) -> ClipLoader:
    """Builds data set, pipeline and batch plan.

    Args:
        dataset_cfg: ``DATASET.<split>``: ``format`` (the class) and its arguments; and, for any class, ``on_error``
            (training: skip, raise; evaluation: raise, count; the first is the default), ``timeout_s`` per clip (60),
            ``max_replacements`` (10), ``damaged`` (refuse, or read: take what can be decoded of a damaged video),
            ``missing`` for files that are not there (raise, skip), ``index`` (auto, none, or the folder of the
            videos' index), and in training ``sample_by_class`` with its ``power``.
        pipeline: of ``PIPELINE.<split>``, or that section.
        split: ``train`` (ranks padded to equal numbers, unreadable files skipped), ``valid`` or ``test`` (no sample
            twice, unreadable files raised or counted).
        seed: not below 0; of the shuffle and of every sample's augmentation.
        num_classes: labels are checked against it, None: not.
        batch_size: per rank.
        num_workers: processes per rank; 0: this one.
        label_order: the class that each label of the data set stands for; None: itself.
        mix: the MIX section, for training: Mixup, Cutmix or VideoMix; labels become float32 [N, num_classes].
        grid: the shapes of the clips, and with them the sizes of the batches, in multigrid training.

    Raises:
        ConfigError, UserError: a bad section or list, an empty data set, a training set smaller than one batch.
    """
    where = f"DATASET.{split}"
    if seed < 0:
        raise UserError(f"--seed {seed} is below 0")
    reading = Reading.of(dataset_cfg, where)
    dataset = build_dataset(dataset_cfg, split, num_classes)
    on_error = _policy(reading.on_error, split, where)
    gone = None if dataset.in_archives else drop_missing(dataset, reading.missing, where)
    if gone:
        log.warning("%s", gone)
    if label_order is not None:
        _relabel(dataset, label_order)
    if split != "test" and not dataset.has_boxes:
        _check_sample(dataset, where)
    weights = _chances(dataset, reading, where) if split == "train" or reading.sample_by_class else None
    plan = BatchPlan(
        len(dataset.records), batch_size, seed, shuffle, drop_last, rank, world_size, split == "train", weights,
        dataset.shuffled, grid and grid.clips,
    )  # fmt: skip
    if split == "train" and not len(plan):
        size = batch_size if grid is None else grid.clips(0, 0)
        raise UserError(
            f"{where}: {len(dataset.records)} samples make no batch of {size} on {world_size} process(es) with "
            "drop_last; lower DATASET.batch_size or add data"
        )
    if dataset.has_boxes and mix:
        raise ConfigError("MIX", [f"MIX.name: {mix.get('name')} mixes pictures and cannot mix boxes; take it out"])
    pipeline = _ready(pipeline, split, dataset.has_boxes)
    for line in pipeline.remarks_on(dataset.records) if dataset.has_boxes else ():
        log.warning("%s: %s", where, line)
    if dataset.in_archives and reading.index not in ("auto", "none"):
        raise ConfigError(where, [f"{where}.index: of video files; the index of shards is {where}.shard_index"])
    place = (dataset.file_path, dataset.data_prefix, "none" if dataset.in_archives else reading.index)
    video_index, index_line = index_of(*place)
    if index_line:
        log.log(logging.INFO if video_index is not None else logging.WARNING, "%s: %s", where, index_line)
    samples = SampleSource(
        dataset, pipeline, seed, on_error, timeout_s=reading.timeout_s,
        max_replacements=reading.max_replacements, damaged=reading.damaged, video_index=video_index,
    )  # fmt: skip
    mixer = TRANSFORMS.build(mix, "MIX") if mix else None
    if mixer is not None and not isinstance(mixer, BatchTransform):
        raise ConfigError("MIX", [f"MIX.name: {mix['name']} changes single samples; write it in PIPELINE.train"])
    if mixer is not None and batch_size == 1:
        raise ConfigError("MIX", ["MIX: a batch of one clip mixes it with itself; set DATASET.batch_size to 2 or more"])
    if mixer is not None and num_classes is None:
        raise UserError("MIX makes soft labels and needs MODEL.head.num_classes")
    return ClipLoader(BatchSource(samples, mixer, num_classes, rank, grid and grid.shape), plan, num_workers)


def _check_records(dataset: Dataset, where: str) -> None:
    """Raises UserError if a record is no dict with the path of its file."""
    for i, record in enumerate(() if isinstance(dataset.records, Records) else dataset.records):
        if not isinstance(record, dict) or not (record.get("filename") or record.get("frame_dir")):
            got = (
                f"has only {', '.join(map(str, record))}"
                if isinstance(record, dict)
                else f"is a {type(record).__name__}"
            )
            name = f"{where}: {type(dataset).__name__}"
            raise UserError(f"{name}.records[{i}] {got}, expected a dict with 'filename' or 'frame_dir'")


def _check_sample(dataset: Dataset, where: str) -> None:
    """Raises UserError if the first sample has no label, or another one than its record."""
    name, record = f"{where}: {type(dataset).__name__}", dataset.records[0]
    if "label" not in record:
        raise UserError(f"{name}.records: they have no 'label', expected an int, or float32 [K] of several labels")
    sample = dataset.sample(0)
    if not isinstance(sample, dict) or "label" not in sample:
        got = f"only {', '.join(sample)}" if isinstance(sample, dict) else type(sample).__name__
        raise UserError(f"{name}.sample gives {got}, expected a dict with the record's 'label'")
    if not np.array_equal(sample["label"], record["label"]):
        raise UserError(f"{name}.sample gives the label {sample['label']}, its record has {record['label']}")


def _ready(pipeline: Any, split: str, has_boxes: bool) -> Pipeline:
    """The pipeline, with what it reads from opened; its deviations from PaddleVideo are logged once."""
    if isinstance(pipeline, Mapping):
        pipeline = Pipeline(pipeline, f"PIPELINE.{split}")
    if has_boxes:
        pipeline.refuse_boxes()
    pipeline.prepare()
    for name, text in pipeline.deviations().items():
        _log_once(f"{name}: {text}")
    return pipeline


def _relabel(dataset: Dataset, order: Sequence[int]) -> None:
    """Class indices, and multi-hot vectors, in the order of the training's classes."""
    if isinstance(dataset.records, Records):
        dataset.records = dataset.records.relabelled(order)
        return
    for record in dataset.records:
        label = record["label"]
        if isinstance(label, np.ndarray):
            record["label"] = multi_hot([order[k] for k in np.flatnonzero(label)], len(label))
        else:
            record["label"] = order[label]


@functools.cache
def _log_once(line: str) -> None:
    log.info("%s", line)


def build_dataset(dataset_cfg: Mapping[str, Any], split: str, num_classes: int | None) -> Dataset:
    """The data set of ``DATASET.<split>`` alone; the split decides on ``test_mode``, as in PaddleVideo.

    Raises:
        ConfigError, UserError: a bad section or list, an empty data set.
    """
    where = f"DATASET.{split}"
    section = {key: value for key, value in dataset_cfg.items() if key not in Reading.kinds()}
    name = section.pop("format", None)
    if name is None:
        raise ConfigError(where, [f"{where}.format: missing; there are: {', '.join(DATASETS.names())}"])
    parameters = DATASETS.entry(name).parameters if name in DATASETS else None
    taken = None if parameters is None else {parameter.name for parameter in parameters}
    if taken and "test_mode" in taken:
        section["test_mode"] = split != "train"
    given = {"num_classes": num_classes} if taken is None or "num_classes" in taken else {}
    dataset = DATASETS.build({"name": name, **section}, where, **given)
    if not dataset.records:
        raise UserError(f"{where}: {section.get('file_path')} holds no samples")
    _check_records(dataset, where)
    return dataset


def present_dataset(dataset_cfg: Mapping[str, Any], split: str, num_classes: int | None) -> Dataset:
    """``build_dataset``, with ``missing: skip`` without the samples of files that are not there."""
    where = f"DATASET.{split}"
    dataset = build_dataset(dataset_cfg, split, num_classes)
    if Reading.of(dataset_cfg, where).missing == "skip" and not dataset.in_archives:
        drop_missing(dataset, "skip", where)
    return dataset


def for_evaluation(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section of DATASET with every sample once, whatever its training draws, skips or replaces."""
    kept = {key: value for key, value in section.items() if key not in _OF_TRAINING}
    if kept.get("on_error") == "skip":
        del kept["on_error"]
    return kept


def _chances(dataset: Dataset, reading: Reading, where: str) -> np.ndarray | None:
    """Probability of each sample of training; None: every sample once."""
    if not reading.sample_by_class:
        return dataset.sampling_weights()
    if where != "DATASET.train":
        raise ConfigError(where, [f"{where}.sample_by_class: draws samples of training; take it out of this split"])
    chances = balanced_chances(dataset, reading.power)
    dataset.remarks = [*dataset.remarks, describe_chances(chances, reading.power)]
    return chances


def _policy(chosen: str | None, split: str, where: str) -> str:
    allowed = _POLICIES.get(split, _POLICIES["test"])
    policy = chosen or allowed[0]
    if policy not in allowed:
        raise ConfigError(where, [f"{where}.on_error: {policy!r} is not possible here; one of: {', '.join(allowed)}"])
    return policy
