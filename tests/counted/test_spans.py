"""Work per span: frames that are read, windows and runs that are held."""

import numpy as np

from paddlevideo.inference.timeline import Timeline, TimelineSettings
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline


class Counting(ArrayReader):
    """Counts the frames that are requested."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.requests = []

    def get(self, indices, each=None):
        self.requests.append(len(indices))
        return super().get(indices, each)


def test_a_span_of_a_long_video_reads_its_samples_only():
    reader = Counting(np.zeros((5000, 2, 2, 3), "uint8"), 25.0)
    steps = {"decode": {"name": "VideoDecoder"}, "sample": {"name": "Sampler", "num_seg": 8}}
    sample = {"reader": reader, "start_s": 100.0, "end_s": 104.0, "clip_s": 2.0, "draw": True}
    Pipeline(steps, "PIPELINE")(sample, np.random.default_rng(0))
    assert reader.requests == [8]


def test_a_day_of_windows_is_held_as_a_few():
    """400 classes that come and go; what is held follows smooth_s and gap_s, not the length."""
    timeline = Timeline(TimelineSettings(2.0, exclusive=False), [str(k) for k in range(400)])
    held = []
    for i in range(2000):
        scores = np.zeros(400)
        scores[[i // 8 % 400, i // 5 % 400]] = 1
        timeline.push(scores, 0.5 * i, 0.5 * i + 2)
        hysteresis = timeline._hysteresis
        held.append((len(timeline._smoother._windows), len(hysteresis._runs) + len(hysteresis._ended)))
    assert max(windows for windows, _ in held) <= 4 and max(runs for _, runs in held) <= 6
