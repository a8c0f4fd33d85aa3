"""Key frames and clips of any video: the right frames, at any rate, and for videos shorter than a clip."""

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.frame_pass import Step, run_pass
from paddlevideo.inference.key_frames import (
    ClipMaker,
    ForwardReader,
    moments_at,
    moments_between,
    moments_by_step,
    moments_by_time,
)
from paddlevideo.inference.video_stage import VideoStage
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.pipelines import Pipeline
from tests import clips

SECTION = {
    "sample": {"name": "SampleAVAFrames", "clip_len": 8, "frame_interval": 2},
    "decode": {"name": "RawFrameDecode"},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """fps -> a video of four seconds whose frames carry their number."""
    folder, made = tmp_path_factory.mktemp("videos"), {}

    def of(fps, count=None):
        key = (fps, count or round(4 * fps))
        if key not in made:
            made[key] = str(clips.write_clip(folder / f"{key}.mp4", clips.numbered_frames(key[1]), fps=fps))
        return made[key]

    return of


def clip_numbers(path, moment, **arguments):
    maker = ClipMaker(Pipeline(SECTION, "PIPELINE.test"), ForwardReader(path), arguments.get("clip_fps", 30.0), 0.0)
    box = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32)
    sample = maker.sample(0, moment, box, np.ones(1))
    np.testing.assert_allclose(sample["boxes"], [[16, 24, 48, 48]])
    return clips.frame_numbers(sample["imgs"][0])


def test_frames_read_forward_are_those_of_the_selective_reader(video):
    path = video(30)
    reader = ForwardReader(path)
    with open_video(path) as other:
        assert len(reader) == len(other) and reader.fps == other.fps
        np.testing.assert_array_equal(reader.times(), other.times())
        for indices in ([3], [3, 7, 5], [6, 40, 40, 8], [100, 119], [0, 1], [119], [2]):
            np.testing.assert_array_equal(reader.get(indices), other.get(indices))
            reader.close()  # what a pipeline does after each clip


def test_a_clip_before_the_frames_that_are_kept_is_read(video):
    reader = ForwardReader(video(30))
    reader.get([0])
    reader.keep(60)
    for _ in range(9):
        assert reader.ahead(0, 1 << 20)
    assert clips.frame_numbers(reader.get([12, 14])) == [12, 14]


def test_after_a_pass_no_more_than_a_clip_is_held(video):
    class Reads(Step):
        at = [10, 50]

        def run(self, index):
            stage.get([index])

    reader = ForwardReader(video(30))
    stage = VideoStage(reader, None)
    run_pass(stage, [Reads()])
    for first in (20, 60, 100):
        stage.get([first, first + 3])
        assert min(reader._held) == first


def test_every_frame_is_decoded_once_by_clips_that_overlap(video, monkeypatch):
    import paddlevideo.inference.key_frames as module

    opened = []
    real = module.decode_all
    monkeypatch.setattr(module, "decode_all", lambda *args: opened.append(args) or real(*args))
    reader = ForwardReader(video(30))
    for start in range(0, 100, 8):
        reader.get(range(start, start + 20))
        assert len(reader._held) <= 20
    assert len(opened) == 1


def test_a_key_frame_stands_in_the_middle_of_its_step(video):
    reader = ForwardReader(video(30))
    moments = moments_by_step(reader, 8, timestamp_start=900)
    assert [m.frame_index for m in moments] == list(range(4, 120, 8))
    assert moments[1].time_s == pytest.approx(0.4) and moments[1].timestamp_s == pytest.approx(900.4)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_even_one_frame_has_a_key_frame(video, count):
    (moment,) = moments_by_step(ForwardReader(video(30, count)), 8)
    assert 0 <= moment.frame_index < count


@pytest.mark.parametrize("fps", [12, 24, 25, 29.97, 30, 60])
def test_key_frames_by_time_are_the_nearest_frames_at_any_rate(video, fps):
    moments = moments_by_time(ForwardReader(video(fps)), 0.5)
    wanted = np.arange(0, (round(4 * fps) - 1) / fps, 0.5)
    assert np.abs([m.frame_index - t * fps for m, t in zip(moments, wanted, strict=True)]).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("fps, every_s", [(30, 0.2), (12, 0.2), (25, 0.1), (2, 0.2), (30, 9)])
def test_people_are_detected_between_key_frames(video, fps, every_s):
    reader = ForwardReader(video(fps))
    moments = moments_by_time(reader, 0.5, 900.0)
    added = moments_between(reader, moments, every_s, 900.0)
    indices = [moment.frame_index for moment in added]
    assert indices == sorted(set(indices)) and set(moments) <= set(added)
    assert indices[0] == 0 and indices[-1] == len(reader) - 1
    assert np.diff(indices).max() / fps <= max(every_s, 1 / fps) + 1 / fps
    assert len(added) <= (len(moments) + 1) * max(1, np.ceil(0.5 / every_s)) + 1  # and no oftener than is needed


def test_seconds_outside_the_video_are_named(video):
    moments, outside = moments_at(ForwardReader(video(30)), [899, 900, 902.5, 903, 904, 905, 1000], 900)
    assert [m.frame_index for m in moments] == [0, 75, 90, 119] and outside == [899, 905, 1000]
    assert [m.timestamp_s for m in moments] == [900, 902.5, 903, 904]


def test_a_clip_is_centred_on_the_frame_number(video):
    reader = ForwardReader(video(30))
    (moment,) = (m for m in moments_by_step(reader, 8) if m.frame_index == 52)
    assert clip_numbers(video(30), moment) == [44, 46, 48, 50, 52, 54, 56, 58]


@pytest.mark.parametrize("fps, step", [(60, 4), (15, 1)])
def test_a_clip_spans_the_same_time_at_another_rate(video, fps, step):
    (moment,), _ = moments_at(ForwardReader(video(fps)), [2.0], 0.0)
    assert clip_numbers(video(fps), moment) == [2 * fps + step * (t - 4) for t in range(8)]


def test_a_clip_longer_than_the_video_repeats_its_ends(video):
    (moment,) = moments_by_step(ForwardReader(video(30, 5)), 8)
    assert moment.frame_index == 4
    assert clip_numbers(video(30, 5), moment) == [0, 0, 0, 2, 4, 4, 4, 4]


def test_a_video_that_is_none_is_named(tmp_path):
    from paddlevideo.inference.key_frames import open_forward

    with pytest.raises(VideoReadError, match="none.mp4"):
        open_forward(tmp_path / "none.mp4", print)
    with pytest.raises(VideoReadError, match="expected a video file"):
        open_forward(tmp_path, print)
    assert issubclass(VideoReadError, UserError)
