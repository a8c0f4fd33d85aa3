"""Samples to a batch of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.lists import LOWER
from paddlevideo.loader.fetch import SampleSource, arrays_of
from paddlevideo.loader.pipelines.sample_boxes import PER_PERSON
from paddlevideo.memory import within_memory
from paddlevideo.multigrid import ClipShape


@dataclass
class BatchSource:
    """Gives the batch of (epoch, number, sample indices), the same in every process.

    Args:
        samples: where the samples come from.
        mix: ``(batch, rng, num_classes) -> batch``, training only; its generator is seeded by (seed, epoch, number,
            rank).
        num_classes: for ``mix``, which makes soft labels.
        rank: this rank, so that ranks mix differently.
        shape_of: ``(epoch, number) -> ClipShape`` of multigrid training; None: as the pipeline gives them.
    """

    samples: SampleSource
    mix: Callable[[dict, np.random.Generator, int], dict] | None = None
    num_classes: int | None = None
    rank: int = 0
    shape_of: Callable[[int, int], ClipShape] | None = None
    option: ClassVar[str] = "DATASET.num_workers"

    @property
    def timeout_s(self) -> float:
        """Time limit of one clip; 0: none."""
        return self.samples.timeout_s

    def expect(self, indices: np.ndarray) -> None:
        """Announces to the data set what this process reads next."""
        self.samples.dataset.expect(indices)

    def observe(self, on_clip: Callable[[], None]) -> None:
        """Calls ``on_clip`` before each clip from now on."""
        self.samples.on_clip = on_clip

    def first_file(self, indices: np.ndarray) -> str:
        """The file of the first sample."""
        record = self.samples.dataset.records[int(indices[0])]
        return record.get("filename") or record.get("frame_dir")

    def make(self, epoch: int, number: int, indices: np.ndarray) -> dict[str, Any]:
        """The batch of ``collate``; with ``unreadable``, a list of (index, why), if files could not be read, and with
        ``remarks``, a list of (index, text), on files that are read in another way than one might expect."""
        failures: list[tuple[int, str]] = []
        samples = []
        shape = None if self.shape_of is None else self.shape_of(epoch, number)
        for index in indices:
            sample, failed = self.samples.fetch(epoch, int(index), shape)
            samples.append(sample)
            failures += failed
        with within_memory(f"a batch of {len(samples)} samples, each", samples[0]["imgs"], LOWER):
            batch = collate(samples)
            _check_shape(batch["imgs"], shape)
            self._check_labels(batch)
            if self.mix is not None:
                rng = np.random.default_rng([self.samples.seed, epoch, number, self.rank, 2])
                mixed = self.mix(batch, rng, self.num_classes)
                _check_mixed(type(self.mix).__name__, mixed, batch["imgs"], self.num_classes)
                batch = mixed
        remarks = [(int(sample["index"]), text) for sample in samples for text in sample.get("remarks", ())]
        return batch | ({"unreadable": failures} if failures else {}) | ({"remarks": remarks} if remarks else {})

    def _check_labels(self, batch: Mapping[str, np.ndarray]) -> None:
        """Raises UserError if a label is none of the network's classes."""
        labels, count = batch.get("label"), self.num_classes
        if labels is None or count is None:
            return
        name = type(self.samples.dataset).__name__
        if labels.ndim != 1:
            if labels.shape[1:] != (count,):
                raise UserError(f"{name}.sample gives labels {list(labels.shape[1:])}, the network has {count} classes")
        elif ((labels < 0) | (labels >= count)).any():
            wrong = int(np.flatnonzero((labels < 0) | (labels >= count))[0])
            which = f"sample {batch['index'][wrong]} the label {labels[wrong]}"
            raise UserError(f"{name}.sample gives {which}, the network has the classes 0 to {count - 1}")


def _check_mixed(name: str, batch: Any, imgs: np.ndarray, num_classes: int | None) -> None:
    """Raises UserError if a mix did not give a batch of clips with soft labels."""
    if not isinstance(batch, dict) or not {"imgs", "label"} <= batch.keys():
        got = f"only {', '.join(map(str, batch))}" if isinstance(batch, dict) else type(batch).__name__
        raise UserError(f"MIX: {name}.__call__ gives {got}, expected the batch, a dict with 'imgs' and 'label'")
    clips = ("N, V, T, H, W, 3", imgs.dtype, (*imgs.shape[:3], None, None, 3))  # pictures of another size are possible
    for key, (axes, dtype, shape) in {"imgs": clips, "label": ("N, K", np.float32, (len(imgs), num_classes))}.items():
        value = batch[key]
        array = isinstance(value, np.ndarray)
        shown = value.shape if array and value.dtype == dtype else ()
        if len(shown) == len(shape) and all(want in (None, have) for want, have in zip(shape, shown)):
            continue
        got = f"{value.dtype} {list(value.shape)}" if array else type(value).__name__
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise UserError(f"MIX: {name}.__call__ gives {key!r} {got}, expected {np.dtype(dtype)} [{axes}] = [{wanted}]")


def _check_shape(imgs: np.ndarray, shape: ClipShape | None) -> None:
    """Raises UserError if clips [N, V, T, H, W, 3] are not of the shape that multigrid training gives this batch."""
    if shape is not None and imgs.shape[2:5] != (wanted := (shape.num_frames, shape.crop_size, shape.crop_size)):
        raise UserError(
            f"PIPELINE.train: --multigrid takes clips of {list(wanted)} (frames, height, width) in this batch, the "
            f"pipeline gives {list(imgs.shape[2:5])}; what follows the crop must keep its size"
        )


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Stacks every array that pipelines gave; what is no array (a number, a text, a dict) describes a sample and stays.

    Args:
        samples: dicts with ``imgs`` uint8 | float32 [V, T, H, W, 3], ``index``, optionally ``label`` (int, or float32
            [K]), ``replaced`` and ``valid``; samples of key frames with ``boxes`` and others of
            ``sample_boxes.PER_PERSON``; and any other arrays, each of one shape in all samples.

    Returns:
        ``imgs`` [N, V, T, H, W, 3]; ``index`` and ``replaced`` int64 [N]; ``valid`` uint8 [N]; ``label`` int64 [N] or
        float32 [N, K], if the samples have labels; every other array [N, ...].  Of key frames the boxes of all samples
        one after the other: ``boxes``, ``boxes_norm`` float32 [R, 4], ``box_scores`` [R], ``gt_boxes`` [G, 4],
        ``gt_labels`` [G, K], with ``boxes_num``, ``gt_boxes_num`` int32 [N] of them (0 is possible) and ``sizes`` int64
        [N, 2], the height and width of each picture: in evaluation smaller ones are padded with black at the right and
        at the bottom.

    Raises:
        UserError: the samples' arrays of one key cannot be stacked.
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
    own = {*batch, "label", *(PER_PERSON if with_boxes else ())}
    others = dict.fromkeys(key for sample in samples for key in arrays_of(sample) if key not in own)
    batch |= {key: _stacked(samples, key) for key in others}
    if with_boxes:
        batch |= {"sizes": sizes, **_persons(samples)}
    elif any("label" in sample for sample in samples):
        labels = _stacked(samples, "label")
        batch["label"] = labels.astype(np.int64 if labels.ndim == 1 else np.float32)
    return batch


def _stacked(samples: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """The arrays of one key, [N, ...]."""
    values = [None if sample.get(key) is None else np.asarray(sample[key]) for sample in samples]
    kinds = {
        "missing" if value is None else f"{value.dtype}" if value.dtype.kind in "OUS" else f"{list(value.shape)}": i
        for i, value in reversed(list(enumerate(values)))
    }
    if len(kinds) == 1 and values[0] is not None and values[0].dtype.kind not in "OUS":
        return np.stack(values)
    seen = ", ".join(f"{kind} (sample {samples[i]['index']})" for kind, i in sorted(kinds.items(), key=lambda p: p[1]))
    raise UserError(
        f"the samples' {key!r} cannot be stacked to a batch: {seen}; give numbers of one shape in every sample, or "
        "something that is no array, which stays out of batches"
    )


def _padded(imgs: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - imgs.shape[2], width - imgs.shape[3]
    return np.pad(imgs, [(0, 0), (0, 0), (0, below), (0, right), (0, 0)]) if below or right else imgs


def _persons(samples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What there is per person, of all samples one after the other, and how many each has."""
    joined = {}
    for key in PER_PERSON:
        lacking = [sample["index"] for sample in samples if key not in sample]
        if len(lacking) == len(samples):
            continue
        if lacking:
            raise UserError(f"the samples' {key!r} cannot be joined to a batch: missing in sample {lacking[0]}")
        joined[key] = np.concatenate([sample[key] for sample in samples]).astype(np.float32)
    for key in ("boxes", "gt_boxes"):
        if key in joined:
            joined[f"{key}_num"] = np.array([len(sample[key]) for sample in samples], np.int32)
    return joined
