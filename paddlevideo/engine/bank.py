"""Building long-term feature banks: every person of a split through the detector once, its features into one file.

Key frames are taken in groups that depend on the data set alone (``BankCollector``).  A group's features are written as
soon as they are there, so a run that was stopped continues after its last group, and the file is the same whatever the
number of ranks.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlevideo.build import deployed_network, loader_for, pipelines_of
from paddlevideo.collectors import BankCollector
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.evaluate import outputs_of
from paddlevideo.engine.log import set_up_logging
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.build import for_evaluation
from paddlevideo.loader.datasets.lists import clip_name
from paddlevideo.loader.datasets.records import digest_of
from paddlevideo.modeling.weights import load_weights
from paddlevideo.network_input import compare_input
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED, Options
from paddlevideo.weight_names import weights_file

log = logging.getLogger("paddlevideo")

SPLITS = ("train", "val", "test")


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
    set_up_logging(config.output_dir, distributed.rank(), config.settings.log_level)
    config, pipelines = for_split(config, split), pipelines_of(config)
    framework = deployed_network(config, pipelines)
    if not framework.takes_boxes:
        raise ConfigError(config.source, ["MODEL.framework: feature banks are of persons; expected FastRCNN"])
    compare_input(pipelines, options.weights, True, log.warning, model=config.section("MODEL"))
    log.info("%s", load_weights(framework, options.weights))
    framework.eval()
    seed = DEFAULT_SEED if options.seed is None else options.seed
    loader = loader_for(config, "test", framework.num_classes, seed, pipeline=pipelines.get("test"))
    records = loader.dataset.records
    size = batch_size or config.settings.batches.test_batch_size
    digest = sha256(weights_file(options.weights))
    plan = {
        "weights": digest,
        "split": split,
        "half": half,
        "batch_size": size,
        "key_frames": digest_of(records),
        "pipeline": _digest(config.section("PIPELINE")["test"]),
        "model": _digest(config.section("MODEL")),
        "data": _digest(config.section("DATASET")["test"]),
        "amp": [options.amp, options.amp_level, options.amp_dtype] if options.amp else False,
    }
    about = {"weights_sha256": digest, "config": config.source, "split": split, "model": config["model_name"]}
    collector = BankCollector(out, half, about, plan)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype, options.amp_black_list)
    if distributed.is_main():
        collector.prepare()
    distributed.barrier()
    _fill(collector, loader, framework, precision, size)
    distributed.barrier()
    if distributed.is_main():
        collector.write(records)
    distributed.barrier()
    return out


def _digest(section: Any) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True, default=str).encode()).hexdigest()


def for_split(config: Config, split: str) -> Config:
    """The configuration with that split's data set as the one to test."""
    data = config.to_dict()
    key = {"val": "valid"}.get(split, split)
    if key not in data.get("DATASET", {}):
        raise ConfigError(config.source, [f"DATASET.{key}: is missing; --split {split} needs it"])
    data["DATASET"]["test"] = for_evaluation(data["DATASET"][key])
    return Config(data, config.source)


def _fill(collector: BankCollector, loader: Any, framework: Any, precision: Precision, size: int) -> None:
    """This rank's groups, but for those that are written already."""
    places = np.arange(len(loader.dataset.records))
    batches = [places[begin : begin + size] for begin in range(0, len(places), size)]
    groups = list(collector.remaining(len(batches)))
    with paddle.no_grad(), precision.autocast():
        for done, (number, own) in enumerate(groups, 1):
            collector.number = number
            for batch in loader.batches_of([batches[i] for i in own]):
                collector.update(batch["index"], outputs_of(framework, batch, mode="features"), batch)
            collector.flush()
            log.info("feature bank: %d of %d groups of this rank", done, len(groups))
    if bad := loader.unreadable:
        text = "feature bank: %d key frames could not be read and have no persons in it; the first: %s: %s"
        first = min(bad)
        log.warning(text, len(bad), clip_name(loader.dataset.records[first]), bad[first])
