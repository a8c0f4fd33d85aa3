"""Trains TSM-R50 at full size for a few steps with a resume point after each, and prints what the points cost."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path.cwd()
sys.path.insert(0, str(ROOT))


def main(steps: int) -> None:
    from paddlevideo.config import Config, load_config
    from paddlevideo.engine.checkpoint import RunFolder
    from paddlevideo.engine.hooks import CheckpointHook
    from paddlevideo.engine.trainer import Trainer
    from paddlevideo.engine.training import train
    from paddlevideo.settings import Options
    from tests.tiny import make_clips

    blocked, written, taken, sizes = [], [], [], []
    save, write, step = CheckpointHook.save, RunFolder.save, Trainer._step

    def timed(method, seconds):
        def call(*arguments):
            begun = time.perf_counter()
            result = method(*arguments)
            seconds.append(time.perf_counter() - begun)
            return result

        return call

    def measured(folder, what, arrays, state):
        sizes.append(sum(a.nbytes for part in arrays.values() for a in part.values() if hasattr(a, "nbytes")))
        return write(folder, what, arrays, state)

    CheckpointHook.save, RunFolder.save = timed(save, blocked), timed(measured, written)
    Trainer._step = timed(step, taken)
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(Path(folder) / "clips", count=steps)
        config = load_config(ROOT / "configs/recognition/tsm/tsm_k400_videos.yaml").to_dict()
        split = {"format": "VideoDataset", "file_path": str(clips)}
        config["DATASET"] = {"batch_size": 1, "num_workers": 0, "train": split}
        config["MODEL"]["backbone"]["pretrained"] = None
        config |= {"output_dir": str(Path(folder) / "run"), "epochs": 1, "checkpoint_steps": 1, "keep_checkpoints": 1}
        train(Config(config), Options(max_iters=steps))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"blocked_s": blocked, "write_s": written, "step_s": taken, "bytes": sizes[-1], "peak_mb": peak_mb}
    print("figures: " + json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
