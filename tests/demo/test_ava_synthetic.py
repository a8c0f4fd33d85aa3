"""The synthetic AVA: files that read back, boxes where the actors are, twins that only time tells apart."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from demo import ava_synthetic
from demo.stage import actors, drawing
from demo.stage import annotation as synthetic_ava
from demo.stage.actors import BASIC_LABELS, LONG_LABELS, labels_at
from demo.stage.annotation import Settings, Video, make_scene
from demo.stage.drawing import boxes_at, draw
from paddlevideo.ava_files import read_ava_csv, read_ava_labels, read_excluded, read_proposals
from paddlevideo.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SMALL = Settings(seed=3, size_px=(80, 64), length_s=4)
COUNTS = {"train": 4, "val": 2, "test": 2}


def decode(path):
    """Frames uint8 [T, H, W, 3], frames per second, and whether each is a key frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        rate = container.streams.video[0].average_rate
    return np.stack([f.to_ndarray(format="rgb24") for f in frames]), rate, [f.key_frame for f in frames]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("ava")
    ava_synthetic.make_dataset(out, COUNTS, SMALL, jobs=1, with_frames=True)
    return out


def test_files_read_back_and_name_every_key_frame(dataset):
    labels = read_ava_labels(dataset / "labels.pbtxt")
    assert list(labels) == list(range(1, 12)) and tuple(labels.values()) == BASIC_LABELS
    for split, count in COUNTS.items():
        rows = read_ava_csv(dataset / f"{split}.csv")
        keys, _ = rows.keys()
        assert len(rows.videos) == count and set(rows.timestamp.tolist()) == {901, 902, 903}
        assert set(read_proposals(dataset / f"{split}_proposals.pkl")) == set(keys) and len(keys) == 3 * count
        assert ((rows.boxes[:, :2] < rows.boxes[:, 2:]).all(1) & (rows.boxes >= 0).all(1)).all()
        assert rows.boxes.max() <= 1 and set(rows.label.tolist()) <= set(labels) and rows.entity.max() >= 1
        read_excluded(dataset / f"{split}_excluded.csv")
        for name in rows.videos:
            frames, rate, intra = decode(dataset / "videos" / f"{name}.mp4")
            assert frames.shape == (4 * 30 + 1, 64, 80, 3) and rate == 30 and all(intra)
            assert len(list((dataset / "frames" / name).glob("img_*.jpg"))) == len(frames)


@pytest.mark.parametrize("long", [False, True])
def test_everything_drawn_lies_in_the_boxes_and_fills_them(long, monkeypatch):
    """Nothing but an actor differs from the empty room (held things left out), and no box is larger than its actor."""
    monkeypatch.setattr(drawing, "_draw_prop", lambda *_: None)
    settings = Settings(seed=5, size_px=(160, 128), length_s=36 if long else 8, long=long)
    for number in range(3):
        scene, room, _ = make_scene(settings, Video("train", number, 0))
        for time_s in (1.0, 3.0, 7.0, settings.length_s - 1.0):
            pixels = boxes_at(scene, room, time_s) * (160, 128, 160, 128)
            bare = draw(scene, room, time_s)
            changed = (bare != room.picture).any(axis=2)
            inside = np.zeros_like(changed)
            for x1, y1, x2, y2 in np.round(pixels).astype(int):
                inside[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = True  # softened edges reach a pixel further
                part = changed[y1:y2, x1:x2]
                assert part.mean() > 0.3
                assert part[:2].any() and part[-2:].any() and part[:, :2].any() and part[:, -2:].any()
            assert not (changed & ~inside).any()


def test_boxes_are_where_the_actors_are_in_the_video(dataset):
    rows = read_ava_csv(dataset / "val.csv")
    for name in rows.videos:
        frames, _, _ = decode(dataset / "videos" / f"{name}.mp4")
        video = Video("val", 0, int(name[-1]) % 2)
        _, room, _ = make_scene(SMALL, video)
        for second in (901, 902, 903):
            chosen = (rows.timestamp == second) & (rows.video == rows.videos.index(name))
            away = np.abs(frames[30 * (second - 900)].astype(int) - room.picture).max(axis=2)
            inside = np.zeros(away.shape, bool)
            for x1, y1, x2, y2 in np.unique(rows.boxes[chosen], axis=0) * (80, 64, 80, 64):
                inside[round(y1) : round(y2), round(x1) : round(x2)] = True
                assert (away[round(y1) : round(y2), round(x1) : round(x2)] > 40).mean() > 0.25
            inside = inside | np.roll(inside, 3, 1) | np.roll(inside, -3, 1)  # coding smears the colours a little
            inside = inside | np.roll(inside, 3, 0) | np.roll(inside, -3, 0)
            assert (away[~inside] > 40).mean() < 0.02


def test_twins_share_key_frames_under_other_labels(dataset):
    """No single picture tells walk_left from walk_right, or approach from flee."""
    swap = {"walk_left": "walk_right", "approach": "flee"}
    swap |= {after: before for before, after in swap.items()}
    names = [Video("train", 0, k).name(SMALL) for k in (0, 1)]
    (frames, *_), (twin, *_) = (decode(dataset / "videos" / f"{name}.mp4") for name in names)
    assert np.array_equal(frames, twin[::-1]) and not np.array_equal(frames, twin)
    found = set()
    for number in range(12):
        settings = Settings(seed=1, length_s=16)
        one, two = (synthetic_ava.annotate(settings, Video("train", number, k)) for k in (0, 1))
        for second in range(15):
            assert np.array_equal(one.boxes[second], two.boxes[14 - second])
            for names, twins in zip(one.labels[second], two.labels[14 - second]):
                found.update(names)
                rest = [swap.get(name, name) for name in names if name != "follow"]
                assert rest == [name for name in twins if name != "follow"]
    assert found == set(BASIC_LABELS)


def test_labels_follow_from_what_two_actors_do():
    def scene(left, right):
        scripts = [[actors.Act(0, 4, kind, x0, x1)] for kind, x0, x1 in (left, right)]
        people = [
            actors.Actor(0, 36, (0,) * 3, (0,) * 3, (0,) * 3, (0,) * 3, 1 - k, tuple(acts))
            for k, acts in enumerate(scripts)
        ]
        return actors.Scene(4, 128, tuple(people))

    towards = scene(("walk", 20, 60), ("jump", 100, 100))
    assert labels_at(towards, 2.0) == [["walk_right", "approach"], ["jump"]]
    assert labels_at(towards, 2.0, backwards=True) == [["walk_left", "flee"], ["jump"]]
    both = scene(("walk", 20, 60), ("walk", 60, 100))
    assert labels_at(both, 2.0) == [["walk_right", "follow"], ["walk_right"]]
    assert labels_at(both, 2.0, backwards=True) == [["walk_left"], ["walk_left", "follow"]]


def test_long_context_is_not_in_the_later_pictures():
    """The four videos of a scene look alike from second 12 on, while labels differ; before, they are told apart."""
    settings = Settings(seed=2, length_s=40, long=True)
    for number in range(3):
        made = [make_scene(settings, Video("train", number, k)) for k in range(4)]
        for time_s in (12.0, 20.0, 26.3, 39.0):
            pictures = [draw(scene, room, time_s) for scene, room, _ in made]
            assert all(np.array_equal(pictures[0], other) for other in pictures[1:])
        early = {draw(scene, room, 2.0).tobytes() for scene, room, _ in made}
        assert len(early) == 4
        at_20 = [{name for names in labels_at(scene, 20.0) for name in names} for scene, *_ in made]
        for k, names in enumerate(at_20):
            assert ("carries_taken_ball" in names) == bool(k & 1) == ("carries_own_ball" not in names)
            assert ("returns_to_start" in names) == bool(k & 2) == ("goes_elsewhere" not in names)
        for k, (scene, *_) in enumerate(made):
            seen = {second: set(sum(labels_at(scene, float(second)), [])) for second in range(1, 40)}
            decided = [s for s, names in seen.items() if names & {"carries_taken_ball", "returns_to_start"}]
            signs = [s for s, names in seen.items() if names & {"take", "mark_place"}]
            assert all(min(s - t for t in signs) <= 30 for s in decided) and (k == 0 or decided)
    assert settings.labels[-len(LONG_LABELS) :] == LONG_LABELS


def test_proposals_resemble_a_detectors():
    rng, boxes = np.random.default_rng(0), np.array([[0.2, 0.3, 0.4, 0.8], [0.6, 0.3, 0.8, 0.8]])
    found = [synthetic_ava.detect(rng, boxes, True) for _ in range(400)]
    counts = np.array([len(table) for table in found])
    assert (counts < 2).mean() == pytest.approx(0.05, abs=0.03) and (counts > 2).mean() > 0.08
    exact = synthetic_ava.detect(rng, boxes, False)
    assert exact.dtype == np.float32 and exact.shape == (2, 5) and (np.diff(exact[:, 4]) <= 0).all()
    moved = exact[np.argsort(exact[:, 0]), :4]
    assert 0 < np.abs(moved - boxes).max() < 0.03


def test_same_seed_same_data_set_whatever_the_jobs(dataset, tmp_path):
    ava_synthetic.make_dataset(tmp_path, COUNTS, SMALL, jobs=2)
    for file in sorted(path for path in dataset.rglob("*.*") if "frames" not in path.parts):
        assert (tmp_path / file.relative_to(dataset)).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize(
    ("counts", "settings", "reported"),
    [
        ({**COUNTS, "val": 3}, SMALL, "--val 3: expected a multiple of 2"),
        (COUNTS, Settings(length_s=40, long=True), "--val 2: expected a multiple of 4"),
        (COUNTS, Settings(long=True), "--length 16: expected 36 to 600 seconds with --long"),
        (COUNTS, Settings(size_px=(64, 63)), "--size 64 63"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_written(tmp_path, counts, settings, reported):
    with pytest.raises(UserError, match=reported):
        ava_synthetic.make_dataset(tmp_path / "out", counts, settings, jobs=1)
    assert not (tmp_path / "out").exists()


def test_the_command_and_its_card(tmp_path):
    options = f"--out {tmp_path} --train 2 --val 0 --test 2 --size 64 48 --length 3 --fps 10 --timestamp_start 0"
    command = [sys.executable, "-m", "demo.ava_synthetic", *options.split(), "--jobs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 videos" in done.stdout and (tmp_path / "contact_sheet.png").is_file()
    rows = read_ava_csv(tmp_path / "test.csv")
    assert set(rows.timestamp.tolist()) == {1, 2} and (tmp_path / "val.csv").read_text() == ""
    people = len({(v, t, e) for v, t, e in zip(rows.video.tolist(), rows.timestamp.tolist(), rows.entity.tolist())})
    shares = np.bincount(rows.label)[np.bincount(rows.label) > 0] / people
    assert f"| test | 2 | 4 | {people} | {100 * shares.mean():.2f} |" in (tmp_path / "README.md").read_text()
    assert decode(tmp_path / "videos" / f"{rows.videos[0]}.mp4")[0].shape == (31, 48, 64, 3)
    wrong = subprocess.run([*command, "--train", "3"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: --train 3")
