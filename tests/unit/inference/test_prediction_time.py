"""Times of a predictor: what they are of, and the command that prints them.  Never how large they are."""

import json

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.inference import prediction_time
from paddlevideo.inference.prediction_time import Spread, Timing, benchmark, measure, synthetic_video
from paddlevideo.inference.predictions import Prediction
from paddlevideo.inference.predictor import Predictor
from paddlevideo.loader.decode import open_video


class FakePredictor:
    """Gives each video of a batch the times that its name states."""

    def __init__(self, batch_size=1):
        self.batch_size, self.num_workers, self.batches = batch_size, None, []

    def predict(self, batch):
        self.batches.append(batch)
        times = {"prepare_s": 0.002, "wait_s": 0.0}
        return [Prediction(name, np.ones(2), None, infer_s=float(name), **times) for name in batch]


def test_warm_up_does_not_count_and_videos_come_in_turn():
    predictor = FakePredictor(batch_size=2)
    timing = benchmark(predictor, ["0.001", "0.002", "0.006"], num_runs=3, num_warmup=1)
    assert len(predictor.batches) == 4 and predictor.batches[1:] == [
        ["0.001", "0.002"], ["0.006", "0.001"], ["0.002", "0.006"],
    ]  # fmt: skip
    assert timing.infer.median_ms == pytest.approx(3.5) and timing.prepare.median_ms == pytest.approx(2.0)
    assert (timing.batch_size, timing.num_runs, timing.num_warmup) == (2, 3, 1)
    assert timing.model_videos_per_s == pytest.approx(1e3 / 3.5)


def test_the_spread_is_between_the_quartiles():
    spread = Spread.of([0.001, 0.002, 0.003, 0.004, 0.1])
    assert (spread.median_ms, spread.low_ms, spread.high_ms) == pytest.approx((3, 2, 4))
    timing = Timing(spread, spread, Spread(8.0, 7.0, 9.0), 1, 5, 0)
    assert timing.videos_per_s == 125 and "125.00 videos/s" in str(timing)


def test_the_synthetic_video_is_ten_seconds_that_move():
    with synthetic_video() as file:
        with open_video(str(file)) as reader:
            frames = reader.get([0, 150])
            assert len(reader) == 300
        assert frames.shape[1:] == (256, 340, 3)
        assert np.abs(frames[0].astype(int) - frames[1]).mean() > 10
        assert file.is_file()
    assert not file.exists()


def test_of_an_export_and_of_a_network(tiny):
    exported = measure(Predictor.from_export(tiny.folder), tiny.videos, "3 videos", num_runs=2, num_warmup=0)
    assert exported.clip == (1, 4, 32, 32) and exported.device == "cpu" and exported.gpu_mb is None
    assert exported.threads >= 1 and exported.host_mb > 10 and exported.runtime != "the network"
    text = "\n".join(exported.lines())
    assert "batch size 1, 1 view of 4 frames, 32 x 32 pixels; median (quartiles) of 2 runs after 0" in text
    assert json.loads(json.dumps(exported.describe()))["timing"]["videos_per_s"] > 0


def test_the_command(tiny, capsys, monkeypatch):
    monkeypatch.setattr(prediction_time, "_FRAMES", 20)
    few = ["--runs", "2", "--warmup", "1", "--use_gpu", "False"]
    assert main(["benchmark", "-c", str(tiny.config), *few, "--json"]) == 0  # untrained, on the synthetic video
    found = json.loads(capsys.readouterr().out)
    assert found["runtime"] == "the network" and found["videos"].startswith("a synthetic video")
    assert found["timing"]["num_runs"] == 2 and found["clip"] == {"views": 1, "frames": 4, "height": 32, "width": 32}
    assert main(["benchmark", "--model_file", str(tiny.folder), "-i", str(tiny.videos[0]), *few]) == 0
    printed = capsys.readouterr().out
    assert "1 video of clip 0.mp4; batch size 1" in printed and "peak memory of the process" in printed
    assert (
        main(["benchmark", "-c", str(tiny.config), "-w", str(tiny.weights), "-i", str(tiny.root / "videos"), *few]) == 0
    )
    assert "3 videos of videos" in capsys.readouterr().out
    assert main(["benchmark"]) == 2
    assert "name one model: -c CONFIG" in capsys.readouterr().err
    assert main(["benchmark", "-c", "slowonly_synthetic_demo", *few]) == 2
    assert "use paddlevideo detect" in capsys.readouterr().err
