"""Building long-term feature banks: every person of a split through the detector once, its features into one file.

Key frames are taken in groups that depend on the data set alone.  A group's features are written as soon as they are
there, so a run that was stopped goes on behind its last group, and the file is the same whatever the number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlevideo.build import deployed_network, loader_for
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.evaluate import tensors
from paddlevideo.engine.log import set_up_logging
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.feature_bank import BankFrame, write_bank
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import read_json, read_npz, read_pickle, sha256, write_atomic
from paddlevideo.settings import DEFAULT_SEED, Batches, Options, Settings
from paddlevideo.torch_files import is_torch_file, read_torch

log = logging.getLogger("paddlevideo")

SPLITS = ("train", "val", "test")
_GROUP = 32  # batches whose features are written together, and lost together when a run is killed


class Parts:
    """The groups of a bank that is being built, as files in a folder beside it.

    Args:
        folder: is made if it is not there.
        plan: what every part depends on; parts of another plan are not mixed with these.

    Raises:
        UserError: the folder holds parts of another plan.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]):
        self.folder = folder
        note = folder / "plan.json"
        if distributed.is_main():
            old = read_json(note) if note.is_file() else dict(plan)
            if old != dict(plan):
                changed = ", ".join(sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key)))
                raise UserError(
                    f"{folder}: was begun with other {changed}; finish it so, or remove the folder to begin anew"
                )
            write_atomic(note, json.dumps(dict(plan), indent=1))
        distributed.barrier()

    def has(self, number: int) -> bool:
        """Whether a group is written already."""
        return self._file(number).is_file()

    def write(self, number: int, rows: Sequence[tuple[np.ndarray, ...]]) -> None:
        """One group of batches, each as ``_row`` gives it."""
        index, counts, features, scores = (np.concatenate(column) for column in zip(*rows))
        if not (np.isfinite(features).all() and np.isfinite(scores).all()):
            raise UserError(
                "the feature bank is not written: features hold NaN or infinity; the weights have diverged, or the "
                "features are beyond float16 (leave --half out)"
            )
        arrays = {"index": index, "counts": counts, "scores": scores}
        write_atomic(self._file(number, "table.npz"), lambda stream: np.savez(stream, **arrays))
        write_atomic(self._file(number), lambda stream: np.save(stream, features))  # last: it says the group is whole

    def key_frames(self, records: Sequence[Mapping[str, Any]]) -> Iterator[BankFrame]:
        """All that was written; the features stay on disk until somebody looks at them."""
        for file in sorted(self.folder.glob("*.npy")):
            features = np.load(file, mmap_mode="r", allow_pickle=False)
            table = read_npz(file.with_suffix(".table.npz"))
            index, counts, scores = table["index"], table["counts"], table["scores"]
            ends = np.cumsum(counts)
            for i, begin, end in zip(index.tolist(), (ends - counts).tolist(), ends.tolist()):
                record = records[i]
                yield BankFrame(record["video_id"], int(record["timestamp"]), features[begin:end], scores[begin:end])

    def _file(self, number: int, ending: str = "npy") -> Path:
        return self.folder / f"{number:06d}.{ending}"


def build_bank(
    config: Config, options: Options, split: str, out: str | Path, half: bool = False, batch_size: int | None = None
) -> Path:
    """Writes the bank of one split.

    The persons are those that evaluation sees: proposals above the threshold, or annotated boxes where there are none.

    Args:
        options: ``weights``, ``device``, ``amp``...
        split: "train", "val" or "test": DATASET.train, .valid or .test, always through PIPELINE.test.
        out: the bank's file.
        half: float16.
        batch_size: key frames per forward pass; DATASET.test_batch_size if None.

    Raises:
        UserError: no weights, no detector, an unreadable video, parts of another run.
    """
    if split not in SPLITS:
        raise UserError(f"--split {split}: expected one of {', '.join(SPLITS)}")
    if not options.weights:
        raise UserError("a feature bank needs a trained detector: -w PATH.pdparams")
    out = Path(out)
    distributed.set_up(options.device)
    set_up_logging(config.output_dir, distributed.rank(), Settings.of(config).log_level)
    config = for_split(config, split)
    framework = deployed_network(config)
    if not framework.takes_boxes:
        raise ConfigError(config.source, ["MODEL.framework: feature banks are of persons; expected FastRCNN"])
    log.info("%s", load_weights(framework, options.weights))
    framework.eval()
    seed = DEFAULT_SEED if options.seed is None else options.seed
    loader = loader_for(config, "test", framework.num_classes, seed)
    records = loader.dataset.records
    size = batch_size or Batches.of(config["DATASET"]).test_batch_size
    digest = sha256(Path(options.weights).expanduser())
    plan = {
        "weights": digest,
        "split": split,
        "half": half,
        "batch_size": size,
        "key_frames": hashlib.sha256(json.dumps(records, default=str, sort_keys=True).encode()).hexdigest(),
        "pipeline": hashlib.sha256(json.dumps(config.section("PIPELINE")["test"]).encode()).hexdigest(),
    }
    parts = Parts(out.with_name(out.name + ".parts"), plan)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype)
    _fill(parts, loader, framework, precision, size, half)
    distributed.barrier()
    if distributed.is_main():
        about = {"weights_sha256": digest, "config": config.source, "split": split, "model": config["model_name"]}
        write_bank(out, parts.key_frames(records), half, about)
        shutil.rmtree(parts.folder)
        log.info("feature bank: %s (%d key frames)", out, len(records))
    distributed.barrier()
    return out


def for_split(config: Config, split: str) -> Config:
    """The configuration with that split's data set as the one to test."""
    data = config.to_dict()
    key = {"val": "valid"}.get(split, split)
    if key not in data.get("DATASET", {}):
        raise ConfigError(config.source, [f"DATASET.{key}: is missing, and --split {split} asks for it"])
    data["DATASET"]["test"] = data["DATASET"][key]  # the loader makes an evaluation of it
    return Config(data, config.source)


def _fill(parts: Parts, loader: Any, framework: Any, precision: Precision, size: int, half: bool) -> None:
    count = len(loader.dataset.records)
    batches = [np.arange(begin, min(begin + size, count)) for begin in range(0, count, size)]
    groups = [batches[begin : begin + _GROUP] for begin in range(0, len(batches), _GROUP)]
    own = [i for i in range(distributed.rank(), len(groups), distributed.world_size()) if not parts.has(i)]
    for done, number in enumerate(own):
        rows: list[tuple[np.ndarray, ...]] = []
        with paddle.no_grad(), precision.autocast():
            for batch in loader.batches_of(groups[number]):
                features = framework(tensors(batch), mode="features")["features"]
                rows.append(_row(batch, features.astype("float16" if half else "float32").numpy()))
        parts.write(number, rows)
        log.info("feature bank: %d of %d groups of this rank", done + 1, len(own))


def _row(batch: Mapping[str, Any], features: np.ndarray) -> tuple[np.ndarray, ...]:
    """Places of key frames [N], numbers of their persons [N], features [R, C], the persons' scores [R]."""
    return np.asarray(batch["index"]), np.asarray(batch["boxes_num"]), features, np.asarray(batch["box_scores"])


class BankKeeper:
    """A metric that also keeps persons' features of a test run, for ``LFBInferHead``; for the rest it is the metric.

    A run that is stopped begins again; ``build_bank`` is the one that goes on.
    """

    def __init__(self, metric: Any, out: str | Path, half: bool):
        self._metric, self.out, self._half = metric, Path(out), half
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._number = distributed.rank()
        folder = self.out.with_name(self.out.name + ".test_parts")
        if distributed.is_main():
            shutil.rmtree(folder, ignore_errors=True)
        distributed.barrier()
        self._parts = Parts(folder, {})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metric, name)

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes one batch, as the metric does."""
        self._metric.update(index, outputs, batch)
        features = outputs["features"].astype("float16" if self._half else "float32")
        self._rows.append(_row(batch, features))
        if len(self._rows) == _GROUP:
            self._flush()

    def write(self, records: Sequence[Mapping[str, Any]]) -> Path:
        """The bank of all ranks; every rank calls it."""
        self._flush()
        distributed.barrier()
        if distributed.is_main():
            write_bank(self.out, self._parts.key_frames(records), self._half)
            shutil.rmtree(self._parts.folder)
        distributed.barrier()
        return self.out

    def _flush(self) -> None:
        if self._rows:
            self._parts.write(self._number, self._rows)
            self._number, self._rows = self._number + distributed.world_size(), []


def convert_mmaction2(source: Path, out: Path, half: bool) -> tuple[int, int]:
    """A bank from MMAction2's ``lfb_*.pkl``: {video id: {second: [features [C], one per person]}}.

    The file may be one of ``torch.save`` in either of its forms, or a plain pickle of numpy arrays; its first bytes
    say which.

    Returns:
        Key frames and persons.

    Raises:
        UserError: the file is something else, damaged, or asks for code.
    """
    content = read_torch(source) if is_torch_file(source) else read_pickle(source)
    frames = list(_of_mmaction2(content, source))
    write_bank(out, frames, half, {"source": source.name})
    return len(frames), sum(len(frame.features) for frame in frames)


def _of_mmaction2(content: Any, source: Path) -> Iterator[BankFrame]:
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{source}: expected {{video id: {{second: [features]}}}}, got {type(content).__name__}")
    for video, seconds in content.items():
        if not isinstance(seconds, Mapping):
            raise UserError(f"{source}: {video}: expected {{second: [features]}}, got {type(seconds).__name__}")
        for second, persons in seconds.items():
            rows = [_vector(person, f"{source}: {video}, {second}") for person in persons]
            if rows:
                yield BankFrame(str(video), int(second), np.stack(rows))


def _vector(value: Any, where: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise UserError(f"{where}: expected a vector per person, got {type(value).__name__}")
    return value
