"""Which frames are chosen, whatever the numbers; tests/parity holds the rows of both references."""

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import FrameReader
from paddlevideo.loader.pipelines.decode import FrameDecoder, VideoDecoder, time_window
from paddlevideo.loader.pipelines.sampling import (
    DenseSampleFrames,
    SampleFrames,
    Sampler,
    SamplerTSM,
    dense_indices,
    linspace_indices,
    segment_indices,
    select_left_indices,
)
from paddlevideo.registry import TRANSFORMS

COUNTS = (1, 2, 3, 7, 8, 9, 16, 63, 64, 65, 100, 299, 300)


class FakeReader(FrameReader):
    """Frame i is filled with i; says whether it was closed and what was asked."""

    def __init__(self, count, fps=30.0, height=6, width=8):
        self.count, self.fps, self.size, self.closed = count, fps, (height, width), False

    def __len__(self):
        return self.count

    def get(self, indices, each=None):
        self.requested = np.asarray(indices)
        assert self.requested.min() >= 0 and self.requested.max() < self.count
        return np.stack([np.full((*self.size, 3), i % 256, np.uint8) for i in indices])

    def close(self):
        self.closed = True


def sample_frames(n, **arguments):
    return SampleFrames(test_mode=True, **arguments).indices(n, np.random.default_rng(0))


def test_published_index_lists():
    assert sample_frames(300, clip_len=1, num_clips=8).tolist() == [[18, 56, 93, 131, 168, 206, 243, 281]]
    twice = sample_frames(300, clip_len=1, num_clips=8, twice_sample=True)
    assert twice[1].tolist() == [0, 37, 75, 112, 150, 187, 225, 262]
    assert sample_frames(5, clip_len=1, num_clips=8).tolist() == [[0, 0, 1, 2, 2, 3, 4, 4]]
    assert sample_frames(300, clip_len=8, frame_interval=32).tolist() == [[22, 54, 86, 118, 150, 182, 214, 246]]
    assert sample_frames(100, clip_len=8, frame_interval=32).tolist() == [[0, 32, 64, 96, 28, 60, 92, 24]]
    dense = DenseSampleFrames(1, 1, 8, test_mode=True).indices(300, np.random.default_rng(0))
    assert dense[:, 0].tolist() == [0, 26, 52, 78, 104, 131, 157, 183, 209, 236]
    assert (dense - dense[:, :1]).tolist() == [list(range(0, 64, 8))] * 10


# ---- properties of the draws ----

DRAWS = {
    "segments": lambda n, rng: segment_indices(n, 8, 1, rng),
    "segments of runs": lambda n, rng: segment_indices(n, 3, 5, rng),
    "select_left": lambda n, rng: select_left_indices(n, 8, rng),
    "dense": lambda n, rng: dense_indices(n, 8, rng),
    "SampleFrames": lambda n, rng: SampleFrames(1, 1, 8).indices(n, rng),
    "SampleFrames clips": lambda n, rng: SampleFrames(8, 8, 2, temporal_jitter=True).indices(n, rng),
    "SampleFrames tail": lambda n, rng: SampleFrames(4, 2, 3, keep_tail_frames=True).indices(n, rng),
    "DenseSampleFrames": lambda n, rng: DenseSampleFrames(1, 1, 8).indices(n, rng),
    "frame_interval": lambda n, rng: Sampler(1, 32, frame_interval=2).indices(n, rng),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("n", COUNTS)
def test_draws_stay_in_the_video_and_depend_on_the_generator_alone(name, n):
    draw = DRAWS[name]
    for seed in range(5):
        first, again = draw(n, np.random.default_rng(seed)), draw(n, np.random.default_rng(seed))
        assert first.dtype == np.int64 and first.min() >= 0 and first.max() < n
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_differ_between_generators(name):
    drawn = {tuple(DRAWS[name](300, np.random.default_rng(seed)).reshape(-1)) for seed in range(8)}
    assert len(drawn) > 4


@pytest.mark.parametrize("n", [8, 9, 64, 300])
def test_each_segment_gives_its_own_frame(n):
    for seed in range(10):
        for frames in (
            segment_indices(n, 8, 1, np.random.default_rng(seed)),
            select_left_indices(n, 8, np.random.default_rng(seed)),
        ):
            assert (frames // (n // 8) == np.arange(8)).all()


def test_every_frame_of_a_segment_is_drawn_about_equally_often():
    drawn = np.concatenate([select_left_indices(32, 8, np.random.default_rng(seed)) for seed in range(800)])
    counts = np.bincount(drawn, minlength=32)
    assert counts.min() > 120 and counts.max() < 280  # 200 expected of each


# ---- the time window ----


def test_window_of_the_reference():
    """8 frames, 32 apart at 30 fps: 256 frames of a 30 fps video; tests begin with the video."""
    assert time_window(300, 30.0, 8, 32, 30.0, "first", None) == (0, 255.0)
    assert linspace_indices(300, 8, (0, 255.0)).tolist() == [0, 36, 72, 109, 145, 182, 218, 255]
    first, last = time_window(300, 25.0, 8, 32, 30.0, "centre", None)
    assert first == 43 and last == pytest.approx(43 + 256 * 25 / 30 - 1)
    for seed in range(50):
        first, last = time_window(300, 30.0, 8, 32, 30.0, "random", np.random.default_rng(seed))
        assert 0 <= first <= 44 and last == first + 255


def test_fractional_start_of_a_window_means_the_next_whole_frame():
    class Draw:
        def uniform(self, low, high):
            assert (low, high) == (0.0, 44.0)
            return 3.25

    assert time_window(300, 30.0, 8, 32, 30.0, "random", Draw()) == (4, 259.0)


def test_window_longer_than_the_video_repeats_its_last_frame():
    window = time_window(100, 30.0, 8, 32, 30.0, "random", np.random.default_rng(0))
    assert window == (0, 255.0)
    assert linspace_indices(100, 8, window).tolist() == [0, 36, 72, 99, 99, 99, 99, 99]


def test_window_from_decoder_and_from_sampler_agree():
    decoder = VideoDecoder(mode="train", num_seg=8)
    for seed in range(5):
        by_decoder = decoder({"reader": FakeReader(500)}, np.random.default_rng(seed))
        by_decoder = Sampler(8, linspace_sample=True)(by_decoder, np.random.default_rng(99))
        plain = VideoDecoder()({"reader": FakeReader(500)}, None)
        by_sampler = Sampler(8, linspace_sample=True, sampling_rate=32)(plain, np.random.default_rng(seed))
        np.testing.assert_array_equal(by_decoder["imgs"], by_sampler["imgs"])
    assert VideoDecoder(mode="test", num_seg=8)({"reader": FakeReader(500)}, None)["window"] == (0, 255.0)
    assert "window" not in VideoDecoder(num_seg=8)({"reader": FakeReader(500)}, None)


def test_window_is_never_ignored():
    sample = VideoDecoder(mode="test", num_seg=8)({"reader": FakeReader(500)}, None)
    with pytest.raises(UserError, match="linspace_sample"):
        Sampler(8, select_left=True)(sample, np.random.default_rng(0))
    with pytest.raises(ValueError, match="linspace_sample"):
        Sampler(8, sampling_rate=32)
    with pytest.raises(UserError, match="frame rate"):
        VideoDecoder(mode="test", num_seg=8)({"reader": FakeReader(500, fps=0)}, None)


# ---- the operators ----


@pytest.mark.parametrize(
    ("op", "views", "frames"),
    [
        (Sampler(8), 1, 8),
        (Sampler(4, 2, valid_mode=True), 1, 8),
        (Sampler(8, dense_sample=True), 1, 8),
        (Sampler(8, dense_sample=True, valid_mode=True), 10, 8),
        (SamplerTSM(8, 1, True), 1, 8),
        (SampleFrames(1, 1, 8), 1, 8),
        (SampleFrames(1, 1, 8, twice_sample=True, test_mode=True), 2, 8),
        (SampleFrames(1, 1, 8, twice_sample=True), 1, 8),
        (SampleFrames(8, 8, 1), 1, 8),
        (SampleFrames(8, 8, 3, test_mode=True), 3, 8),
        (SampleFrames(8, 8, 3, twice_sample=True, test_mode=True), 6, 8),
        (DenseSampleFrames(1, 1, 8), 1, 8),
        (DenseSampleFrames(1, 1, 8, test_mode=True), 10, 8),
    ],
)
@pytest.mark.parametrize("n", [3, 200])
def test_views_and_frames(op, views, frames, n):
    """The shape is the operator's, not the video's: short and long videos stand in one batch."""
    reader = FakeReader(n)
    sample = op({"reader": reader, "total_frames": n, "fps": 30.0, "label": 1}, np.random.default_rng(0))
    assert sample["imgs"].shape == (views, frames, 6, 8, 3) and sample["imgs"].dtype == np.uint8
    np.testing.assert_array_equal(sample["imgs"][:, :, 0, 0, 0].reshape(-1), reader.requested)
    assert reader.closed and "reader" not in sample and sample["label"] == 1


def test_tsm_alias_is_select_left():
    rng = np.random.default_rng
    assert TRANSFORMS.get("Sampler_TSM") is SamplerTSM
    left = Sampler(8, select_left=True, valid_mode=True)
    np.testing.assert_array_equal(SamplerTSM(8, 1, True).indices(300, rng(0)), left.indices(300, rng(0)))


def test_sampling_needs_a_decoder_and_decoders_their_kind_of_sample():
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="VideoDecoder or FrameDecoder"):
        Sampler(8)({"filename": "a.mp4"}, rng)
    with pytest.raises(UserError, match="write FrameDecoder"):
        VideoDecoder()({"frame_dir": "a", "total_frames": 3}, rng)
    with pytest.raises(UserError, match="write VideoDecoder"):
        FrameDecoder()({"filename": "a.mp4"}, rng)


@pytest.mark.parametrize(
    "arguments", [{"num_seg": 0}, {"num_seg": 8, "seg_len": 0}, {"num_seg": 8, "window_start": "last"}]
)
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        Sampler(**arguments)
