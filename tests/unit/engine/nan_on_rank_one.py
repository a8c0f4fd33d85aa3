"""Trains the configuration of the first argument with a NaN clip on rank 1 in step 1; run by the launcher."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from paddlevideo.config import load_config
from paddlevideo.engine import distributed
from paddlevideo.engine.trainer import Trainer
from paddlevideo.engine.training import train
from paddlevideo.modeling.layers import ClipNormalize
from paddlevideo.settings import Options

normalize, gradients = ClipNormalize.forward, Trainer._gradients


def poisoned(run, window):
    bad = run.progress.step == 1 and distributed.rank() == 1
    ClipNormalize.forward = (lambda *a, **k: normalize(*a, **k) * float("nan")) if bad else normalize
    return gradients(run, window)


if __name__ == "__main__":
    Trainer._gradients = poisoned
    train(load_config(sys.argv[1]), Options())
