"""How much work a prediction does: frames decoded, files opened, runs of the network.  Counts of all processes."""

import multiprocessing
from contextlib import contextmanager

import numpy as np
import pytest

from paddlevideo.inference import detection_run, key_frames, video_stage
from paddlevideo.inference.detector import detect
from paddlevideo.inference.person_detectors import PersonDetector
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.video_output import OutputVideo
from paddlevideo.loader.decode.packets import OpenVideo
from paddlevideo.loader.fetch import SampleSource

NUM_FRAMES = 151  # of the tiny video


class Counts:
    """Counters in memory that forked processes share."""

    def __init__(self, monkeypatch):
        self.values = {name: multiprocessing.Value("q", 0) for name in ("frames", "opened", "passes")}
        decode, opened = OpenVideo.decode, OpenVideo.__init__

        def counted_decode(source, packet, lines):
            frames = decode(source, packet, lines)
            self.add("frames", len(frames))
            return frames

        def counted_open(source, *args, **more):
            self.add("opened", 1)
            opened(source, *args, **more)

        monkeypatch.setattr(OpenVideo, "decode", counted_decode)
        monkeypatch.setattr(OpenVideo, "__init__", counted_open)
        real = key_frames.decode_all
        monkeypatch.setattr(key_frames, "decode_all", lambda *args: self.add("passes", 1) or real(*args))

    def add(self, name, count):
        with self.values[name].get_lock():
            self.values[name].value += count

    @contextmanager
    def of(self):
        """A dict that holds what the block adds, at its end."""
        before, found = {name: value.value for name, value in self.values.items()}, {}
        yield found
        found.update({name: value.value - before[name] for name, value in self.values.items()})


@pytest.fixture
def counts(monkeypatch):
    return Counts(monkeypatch)


class Middle(PersonDetector):
    name = "the middle"

    def __init__(self):
        self.num_frames = 0

    def detect(self, frames, timestamps_s):
        self.num_frames += len(frames)
        return [np.array([[40, 20, 80, 90, 0.9]], np.float32) for _ in frames]


@pytest.mark.parametrize("forked", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_detection_decodes_each_frame_once(tiny_ava, tmp_path, counts, monkeypatch, forked, written):
    monkeypatch.setattr(video_stage, "can_fork", lambda: forked)
    persons, output = Middle(), OutputVideo(tmp_path / "out.mp4") if written else None
    options = {"every_s": 1.0, "device": "cpu", "say": lambda line: None, "output": output}
    with counts.of() as found:
        result = detect(tiny_ava.video, tiny_ava.folder, detector=persons, **options)
    assert found["passes"] == 1 and found["frames"] == NUM_FRAMES == len(result.times_s)
    assert found["opened"] == 2  # its packets, and the pass
    assert persons.num_frames == len(result.detected_s) and (result.written is not None) == written


def test_boxes_of_a_file_need_one_pass_too(tiny_ava, tmp_path, counts):
    options = {"proposals": tiny_ava.proposals, "device": "cpu", "say": lambda line: None}
    with counts.of() as found:
        detect(tiny_ava.video, tiny_ava.folder, output=OutputVideo(tmp_path / "out.mp4"), **options)
    assert found["passes"] == 1 and found["frames"] == NUM_FRAMES


def test_the_frames_that_are_held_do_not_grow_with_the_video(tiny_ava, tmp_path, monkeypatch):
    monkeypatch.setattr(video_stage, "can_fork", lambda: False)
    most, advance = [0], key_frames.ForwardReader.advance

    def noted(reader, first):
        more = advance(reader, first)
        most[0] = max(most[0], len(reader._held))
        return more

    monkeypatch.setattr(key_frames.ForwardReader, "advance", noted)
    options = {"step": 8, "device": "cpu", "say": lambda line: None}
    detect(tiny_ava.video, tiny_ava.folder, detector=Middle(), output=OutputVideo(tmp_path / "out.mp4"), **options)
    # a second until a box cannot move on, two detections, half of a clip
    assert 40 <= most[0] <= 60


def test_what_is_drawn_costs_the_same_at_the_end_of_a_video(tiny_ava, tmp_path, monkeypatch):
    persons, linked = [], []
    person, tracks_of = detection_run.Person, detection_run.tracks_of
    monkeypatch.setattr(detection_run, "Person", lambda *args: persons.append(1) or person(*args))
    monkeypatch.setattr(detection_run, "tracks_of", lambda *args: linked.append(len(args[0])) or tracks_of(*args))
    options = {"step": 8, "device": "cpu", "say": lambda line: None}
    result = detect(
        tiny_ava.video, tiny_ava.folder, detector=Middle(), output=OutputVideo(tmp_path / "o.mp4"), **options
    )
    assert len(persons) == len(result.key_frames) > 10  # each has one
    *shown, whole = linked
    assert whole == len(result.detected_s) and len(shown) > 10 and max(shown) <= whole / 2


def test_a_clip_of_prediction_costs_what_one_of_training_costs(tiny, counts):
    predictor = Predictor.from_export(tiny.folder, batch_size=2)
    runs, run = [], predictor.model.run
    predictor.model.run = lambda batch: runs.append(len(batch["imgs"])) or run(batch)
    videos = [tiny.videos[i % 3] for i in range(5)]

    class Records:
        records = [{"filename": str(video)} for video in videos]

        def sample(self, index):
            return dict(self.records[index])

    source = SampleSource(Records(), predictor.pipeline, predictor.seed, "raise")
    with counts.of() as training:
        for index in range(len(videos)):
            source.fetch(0, index)
    for num_workers in (0, 1, 2):
        predictor.num_workers = num_workers
        with counts.of() as found:
            predictor.predict(videos)
        assert found == training and found["opened"] == len(videos)
        assert runs == [2, 2, 1]
        runs.clear()
