"""The demo's clips: twins that only time tells apart, reproducible, and lists that name them."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from demo import motion
from paddlevideo.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"train": 16, "val": 8, "test": 8}


def decode(path):
    """Frames uint8 [T, H, W, 3], their time stamps, and whether each is a key frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return (
        np.stack([f.to_ndarray(format="rgb24") for f in frames]),
        [f.pts for f in frames],
        [f.key_frame for f in frames],
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("motion")
    motion.make_dataset(out, COUNTS, motion.Style(seed=3, short_px=(32, 48)), jobs=2)
    return out


def entries(dataset, split):
    lines = (dataset / f"{split}.list").read_text().splitlines()
    return [(dataset / path, int(label)) for path, label in (line.rsplit(" ", 1) for line in lines)]


def test_lists_name_every_class_evenly(dataset):
    assert (dataset / "labels.txt").read_text().split() == list(motion.LABELS)
    for split, count in COUNTS.items():
        listed = entries(dataset, split)
        assert len({path for path, _ in listed}) == len(listed) == count
        assert np.bincount([label for _, label in listed]).tolist() == [count // 8] * 8
        for path, label in listed:
            assert path.name.startswith(motion.LABELS[label] + "_")


@pytest.mark.parametrize("split", motion.SPLITS)
def test_twins_decode_to_the_same_frames_backwards(dataset, split):
    """No single frame, no frame's coding quality and no time stamp tells the two classes of a pair apart."""
    listed = entries(dataset, split)
    for (path, label), (twin, twin_label) in zip(listed[::2], listed[1::2]):
        assert (label + 1, label % 2) == (twin_label, 0)
        frames, stamps, keys = decode(path)
        twin_frames, twin_stamps, twin_keys = decode(twin)
        assert np.array_equal(frames, twin_frames[::-1])
        assert not np.array_equal(frames, twin_frames)
        assert stamps == twin_stamps and all(keys) and all(twin_keys)


@pytest.mark.parametrize("num_frames", motion.LENGTHS)
def test_segment_sampling_treats_twins_alike(num_frames):
    """At test the same frames are taken of both; in training the segments mirror each other."""
    middle = [int(num_frames / 8 / 2 + num_frames / 8 * i) for i in range(8)]
    assert middle == [num_frames - 1 - i for i in reversed(middle)]
    assert num_frames % 8 == 0


def test_clips_are_video_files_of_varied_shape(dataset):
    shapes, rates = set(), set()
    for split in motion.SPLITS:
        for path, _ in entries(dataset, split):
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                assert stream.codec_context.name == "h264"
                shapes.add((stream.frames, stream.height, stream.width))
                rates.add(stream.average_rate)
    assert len(shapes) > 8 and len(rates) > 3


@pytest.mark.parametrize("pair", range(4))
def test_a_clip_moves_by_its_class(pair):
    first, last = motion.choose_motion(pair, 24, np.random.default_rng(0))[[0, -1]]
    change = last - first  # x, y (downwards), side, turn (clockwise)
    expected = [(0, -1), (1, -1), (2, +1), (3, +1)][pair]
    assert np.flatnonzero(change).tolist() == [expected[0]]
    assert np.sign(change[expected[0]]) == expected[1]


def test_rotation_is_clockwise_on_the_screen():
    sprite = np.zeros((motion.SPRITE_PX,) * 2, np.float32)
    sprite[:20, 40:56] = 1.0  # a mark at twelve o'clock
    turned = motion.place(sprite, np.array([0, 0, 0.75, np.pi / 2]), 96, 96)[..., 0]
    rows, columns = np.nonzero(turned > 0.5)
    assert columns.mean() > 70 and abs(rows.mean() - 48) < 4  # three o'clock


def test_same_seed_same_data_set(dataset, tmp_path):
    motion.make_dataset(tmp_path, COUNTS, motion.Style(seed=3, short_px=(32, 48)), jobs=1)
    for name in ("train.list", "val.list", "test.list", "labels.txt", "README.md", "contact_sheet.png"):
        assert (tmp_path / name).read_bytes() == (dataset / name).read_bytes(), name
    for path, _ in entries(dataset, "test"):
        assert (tmp_path / path.relative_to(dataset)).read_bytes() == path.read_bytes()


def test_seeds_and_sets_differ():
    digits = motion.load_digits()
    clip = motion.Clip("train", 0, 0, False)
    for other, style in ((clip, motion.Style(seed=1)), (motion.Clip("test", 0, 0, False), motion.Style())):
        a, _ = motion.render(clip, motion.Style(), digits)
        b, _ = motion.render(other, style, digits)
        assert a.shape != b.shape or not np.array_equal(a, b)


def test_variety_keeps_the_background_at_rest():
    digits = motion.load_digits()
    clip = motion.Clip("train", 0, 1, False)
    plain, _ = motion.render(clip, motion.Style(), digits)
    busy, _ = motion.render(clip, motion.Style(variety=4), digits)
    assert plain.shape == busy.shape and not np.array_equal(plain, busy)
    still = (busy == busy[:1]).all(axis=(0, 3))  # pixels that the moving shape never touches
    assert 0.2 < still.mean() < 1.0


@pytest.mark.parametrize(
    ("counts", "style", "reported"),
    [
        ({**COUNTS, "val": 12}, motion.Style(), "--val 12: expected a multiple of 8"),
        (COUNTS, motion.Style(short_px=(64, 32)), "--size 64 32"),
        (COUNTS, motion.Style(short_px=(4, 32)), "--size 4 32"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(tmp_path, counts, style, reported):
    with pytest.raises(UserError, match=reported):
        motion.make_dataset(tmp_path / "out", counts, style, jobs=1)
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path):
    options = f"--out {tmp_path} --train 8 --val 0 --test 0 --size 32 32"
    command = [sys.executable, "-m", "demo.motion", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "8 clips" in done.stdout
    assert (tmp_path / "val.list").read_text() == "" and len(list(tmp_path.glob("train/*.mp4"))) == 8
    wrong = subprocess.run([*command, "--train", "9"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: --train 9")
