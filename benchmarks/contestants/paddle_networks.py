"""The networks of ``benchmarks.training_step`` as the project trains and predicts with them, of whichever checkout."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def step(config: str, frames: int, train: bool, overrides: list[str]) -> Callable[[], float]:
    """``Trainer._step``, or a prediction, of one uint8 clip; returns the loss, or the highest score."""
    from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment

    os.environ.pop("MKL_DEBUG_CPU_TYPE", None)  # every checkout sets its own
    hide_paddle_remarks()
    set_cpu_environment()
    import numpy as np
    import paddle

    from paddlevideo.build import network
    from paddlevideo.config import load_config

    paddle.set_device("cpu")
    paddle.seed(0)
    config = load_config(config, ["MODEL.backbone.pretrained=null", "DATASET.label_names=null", *overrides])
    framework = network(config)
    imgs = np.random.default_rng(0).integers(0, 256, (1, 1, frames, 224, 224, 3), dtype=np.uint8)
    batch = {"imgs": imgs, "label": np.array([3]), "index": np.array([0]), "replaced": np.array([-1])}
    if train:
        trainer = _trainer(config, framework)
        framework.train()
        return lambda: trainer._step([batch])["loss"]
    framework.eval()

    def predict() -> float:
        with paddle.no_grad():
            return float(framework({"imgs": paddle.to_tensor(imgs)}, mode="predict")["scores"].max())

    return predict


def _trainer(config: Any, framework: Any) -> Any:
    """The trainer of a run, without a loader and without hooks."""
    from paddlevideo.engine.precision import Precision
    from paddlevideo.engine.trainer import Trainer
    from paddlevideo.engine.training import _schedule
    from paddlevideo.settings import Options
    from paddlevideo.solver.optimizer import build_optimizer

    options = Options()
    schedule = _schedule(config, options, lambda epoch: 1000, 1, None)
    section = {key: value for key, value in config.section("OPTIMIZER").items() if key != "base_batch_size"}
    optimizer = build_optimizer(section, schedule, framework, False, framework.networks())
    return Trainer(
        config=config, options=options, pipelines={}, framework=framework, model=framework, loader=None,
        schedule=schedule, optimizer=optimizer, precision=Precision(), folder=None, accumulate=1, seed=0,
    )  # fmt: skip
