"""The parts that training and testing build alike from a configuration."""

from __future__ import annotations

import logging
import os
import platform
from typing import Any

import numpy as np
import paddle

import paddlevideo
from paddlevideo.classes import (
    UNKNOWN,
    Classes,
    classes_of_config,
    counted,
    order_in,
    source_of,
)
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.errors import ConfigError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.datasets.lists import expanded
from paddlevideo.registry import DATASETS, METRICS
from paddlevideo.settings import Batches

log = logging.getLogger("paddlevideo")


def use_deterministic_kernels() -> None:
    """``--deterministic``: two runs with one seed on one kind of machine give equal bits.

    Everything random is keyed by the seed already, and Paddle's CPU kernels sum in a fixed order.  On GPUs cuDNN must
    neither take algorithms that add atomically nor choose by a stopwatch, and embeddings are summed in order.
    """
    if paddle.is_compiled_with_cuda():
        flags = {"cudnn_deterministic": True, "cudnn_exhaustive_search": False, "embedding_deterministic": 1}
        paddle.set_flags({f"FLAGS_{name}": value for name, value in flags.items()})


def loader_for(config: Config, split: str, num_classes: int, seed: int, classes: Classes = UNKNOWN) -> Any:
    """The loader of ``train``, ``valid`` or ``test``, this rank's share of it.

    Args:
        classes: what the network's class indices mean; labels come in this order.  Unknown: the configuration's.

    Raises:
        ConfigError: DATASET or PIPELINE has no such split.
        UserError: the data name other classes.
    """
    dataset, pipeline = config.section("DATASET"), config.section("PIPELINE")
    missing = [
        f"{name}.{split}: is missing" for name, s in (("DATASET", dataset), ("PIPELINE", pipeline)) if split not in s
    ]
    if missing:
        raise ConfigError(config.source, missing)
    training = split == "train"
    section, label_order = _by_name(config, split, classes)
    batches = Batches.of(dataset)
    return build_loader(
        section,
        pipeline[split],
        split,
        seed=seed,
        num_classes=counted(config, num_classes),
        batch_size=batches.batch_size_of(split),
        num_workers=batches.num_workers_of(split),
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        shuffle=training or (split == "valid" and batches.shuffle_valid),
        drop_last=training and batches.drop_last,
        mix=config.get("MIX").to_dict() if training and "MIX" in config else None,
        label_order=label_order,
    )


def _by_name(config: Config, split: str, classes: Classes) -> tuple[dict[str, Any], list[int] | None]:
    """DATASET.<split> such that labels come in the order of ``classes``, and the order that is left to the loader.

    Raises:
        UserError: the data name other classes.
    """
    section, own = config.section("DATASET")[split], classes_of_config(config, split)
    classes = classes if classes.count else own
    folder = os.path.isdir(expanded(section.get("file_path")) or "")
    order = None
    if not (folder and split != "train" and not config["DATASET"].get("label_names")):  # else by its own folders
        order = order_in(classes, own, "the training", f"{config.source}: {source_of(config, split)}")
    if order is not None and split != "test":  # a test has said so of the weights
        log.info("DATASET.%s names the classes in another order than the training; they are mapped by name", split)
    if classes.ids:
        if order is not None:
            ids = {place: own.ids[k] for k, place in enumerate(order)}
            section["custom_classes"] = [ids[place] for place in range(1, len(order))]
        return section, None
    names = classes.names if folder else own.names or classes.names  # in which a list's labels are written
    taken = {parameter.name for parameter in DATASETS.entry(section["format"]).parameters or ()}
    if names and "class_names" in taken:
        section.setdefault("class_names", list(names))
    return section, None if folder else order


def metric_for(config: Config) -> Any:
    """A fresh metric of METRIC; top-k where the section is missing."""
    return METRICS.build(config.get("METRIC") or {"name": "CenterCropMetric"}, "METRIC")


def versions() -> dict[str, str]:
    """What a result depends on besides the configuration."""
    return {
        "paddlevideo": paddlevideo.__version__,
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
