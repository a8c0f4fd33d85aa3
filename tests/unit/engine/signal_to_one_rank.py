"""Trains the configuration of the first argument.  After step 2 rank 0 receives a SIGTERM, or, with ``time`` as the
second argument, its time is up; run by the launcher."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from paddlevideo.config import load_config
from paddlevideo.engine import distributed
from paddlevideo.engine.hooks import LogHook
from paddlevideo.engine.training import train
from paddlevideo.settings import Options

after_step = LogHook.after_step


def signalled(hook, run):
    after_step(hook, run)
    if run.progress.step == 2 and distributed.rank() == 0:
        if sys.argv[2:] == ["time"]:
            run.deadline = 0.0
        else:
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    LogHook.after_step = signalled
    train(load_config(sys.argv[1]), Options(max_hours=100.0))
