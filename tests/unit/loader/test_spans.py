"""Spans of videos as samples: which frames are read, background, windows, and a whole training."""

import contextlib
import json

import numpy as np
import pytest

from paddlevideo.cli.main import main, run_script
from paddlevideo.engine.data_summary import fingerprint
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.build import build_dataset
from paddlevideo.loader.datasets.lists import clip_name
from paddlevideo.loader.datasets.spans import SpanDataset
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.decode.part import PartReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.spans import Span, SpanTable, read_spans, write_spans
from tests import tiny
from tests.clips import write_clip

NAMES = ["nothing", "run", "walk"]


def numbered(count=100, fps=10.0):
    """A video whose pixels are the number of their frame."""
    return ArrayReader(np.broadcast_to(np.arange(count, dtype="uint8")[:, None, None, None], (count, 4, 4, 3)), fps)


def frames_of(sample, steps, seed=0):
    """The numbers of the frames that a pipeline takes."""
    made = Pipeline(steps, "PIPELINE")({"reader": numbered(), "label": 0, **sample}, np.random.default_rng(seed))
    return made["imgs"][..., 0, 0, 0]


def listed(folder, text, **arguments):
    file = folder / "spans.csv"
    file.write_text("video,start_s,end_s,label\n" + text)
    return SpanDataset(str(file), **{"class_names": NAMES, "num_classes": 3, **arguments})


def test_a_label_of_digits_is_the_class_of_that_name(tmp_path):
    """Classes 0 to 11 sorted as texts (0, 1, 10, 11, 2, ...) would make class 2 of the file the class 10."""
    text = "".join(f"a.mp4,{k},{k + 1},{k}\n" for k in range(12))
    (tmp_path / "labels.csv").write_text("video,start_s,end_s,label\n" + text)
    assert read_spans(tmp_path / "labels.csv").labels() == [str(k) for k in range(12)]
    names = ["10", "2", "0", "x"]
    found = listed(tmp_path, "a.mp4,0,1,2\na.mp4,1,2,3\na.mp4,2,3,x\n", class_names=names, num_classes=4)
    assert [record["label"] for record in found.records] == [1, 3, 3]


SAMPLERS = [
    {"name": "Sampler", "num_seg": 4},
    {"name": "Sampler", "num_seg": 4, "select_left": True, "valid_mode": True},
    {"name": "Sampler", "num_seg": 8, "linspace_sample": True},
    {"name": "Sampler", "num_seg": 8, "linspace_sample": True, "sampling_rate": 4, "target_fps": 10.0},
    {"name": "Sampler", "num_seg": 8, "dense_sample": True, "valid_mode": True},
    {"name": "SampleFrames", "clip_len": 4, "frame_interval": 2, "num_clips": 3, "test_mode": True},
    {"name": "SampleFrames", "clip_len": 8, "frame_interval": 8},
    {"name": "DenseSampleFrames", "clip_len": 1, "num_clips": 4, "test_mode": True},
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("mode", [None, "train"])
def test_every_sampler_takes_frames_of_the_span_only(sampler, mode):
    decode = {"name": "VideoDecoder"}
    if mode:
        if not sampler.get("linspace_sample") or "sampling_rate" in sampler:
            pytest.skip("takes no window of the decoder")
        decode |= {"mode": mode, "num_seg": 8, "sampling_rate": 2, "target_fps": 10.0}
    span = {"start_s": 2.0, "end_s": 4.0}
    for seed in range(5):
        frames = frames_of(span, {"decode": decode, "sample": sampler}, seed)
        assert frames.min() >= 20 and frames.max() <= 39
    whole = frames_of({}, {"decode": decode, "sample": sampler})
    assert whole.shape == frames.shape


def test_frames_from_the_start_up_to_the_end():
    reader = PartReader(numbered(), 1.0, 1.3)
    assert len(reader) == 3 and reader.get([0, 2])[:, 0, 0, 0].tolist() == [10, 12]
    np.testing.assert_allclose(reader.times(), [0, 0.1, 0.2])
    with pytest.raises(IndexError):
        reader.get([3])
    assert PartReader(numbered(), 1.0004, 1.3).get([0])[0, 0, 0, 0] == 10  # rounded to milliseconds
    assert PartReader(numbered(), 1.02, 1.08).get([0])[0, 0, 0, 0] == 10  # shorter than a frame
    assert len(PartReader(numbered(), 9.5, 99.0)) == 5 and len(PartReader(numbered(), 9.95, 99.0)) == 1
    with pytest.raises(UserError, match="begins after the last frame, at 9.900 s"):
        PartReader(numbered(), 10.0, 11.0)
    with pytest.raises(UserError, match="needs the rate of the frames"):
        PartReader(numbered(fps=0.0), 0.0, 1.0)


@pytest.mark.parametrize(("times", "last_s"), [([0, 0.04, 0.08, 0.28, 0.48], 0.68), ([0, 0.04, 0.08, 15.08], 20.1066)])
def test_the_last_picture_lasts_to_the_end_of_the_video(times, last_s):
    """At the rate of the end; a picture after a hole as long as those are on average."""
    reader = numbered(len(times), (len(times) - 1) / times[-1])
    reader.times = lambda: np.array(times, float)
    assert PartReader(reader, last_s - 0.001, last_s).get([0])[0, 0, 0, 0] == len(times) - 1
    with pytest.raises(UserError, match="begins after the last frame"):
        PartReader(reader, last_s + 0.001, last_s + 1)


@pytest.mark.parametrize(("start_s", "end_s", "fits"), [(14, 16.04, True), (15, 99, False), (16, 16.02, False)])
def test_spans_behind_the_stated_end_are_refused(start_s, end_s, fits, tmp_path):
    facts = {"a.mp4": {"duration_s": 16.0, "fps": 25.0}}
    write_spans(tmp_path / "a.json", SpanTable([Span(start_s, end_s, "run", video="a.mp4")], facts))
    with contextlib.nullcontext() if fits else pytest.raises(ConfigError, match="a.mp4: .* the video lasts 16.000 s"):
        assert len(SpanDataset(str(tmp_path / "a.json"), class_names=NAMES, num_classes=3)) == 1


def test_a_window_of_a_longer_span_is_drawn_by_the_sample_s_generator():
    steps = {"decode": {"name": "VideoDecoder"}, "sample": {"name": "Sampler", "num_seg": 10, "linspace_sample": True}}
    span = {"start_s": 2.0, "end_s": 6.0, "clip_s": 1.0}
    assert frames_of(span, steps).tolist() == [list(range(35, 45))]
    drawn = [frames_of({**span, "draw": True}, steps, seed)[0] for seed in range(20)]
    assert all(frames.min() >= 20 and frames.max() < 60 for frames in drawn)
    assert len({int(frames[0]) for frames in drawn}) > 5
    assert (drawn[3] == frames_of({**span, "draw": True}, steps, 3)[0]).all()
    assert frames_of({**span, "clip_s": 9.0, "draw": True}, steps).max() == 59  # the whole span


def test_samples_of_a_csv(tmp_path):
    data = listed(tmp_path, "b.mp4,3,4.5,walk\na.mp4,0,1,run\na.mp4,0.5,2,2\n", data_prefix="videos", clip_s=1.0)
    assert data.lines == [3, 4, 2] and len(data) == 3
    assert data.sample(1) == {
        "filename": "videos/a.mp4", "label": 2, "start_s": 0.5, "end_s": 2.0, "index": 1, "clip_s": 1.0, "draw": True,
    }  # fmt: skip
    assert [clip_name(r) for r in data.records] == [
        "videos/a.mp4#t=0,1",
        "videos/a.mp4#t=0.5,2",
        "videos/b.mp4#t=3,4.5",
    ]
    assert listed(tmp_path, "a,0,1,run\n", suffix=".mp4", test_mode=True, clip_s=1.0).sample(0)["draw"] is False
    texts = ("a,0,1,run\n", "a,0,1.001,run\n", "a,0,1,run\n")
    prints = [fingerprint(listed(tmp_path, text)) for text in texts]
    assert prints[0] == prints[2] != prints[1]
    frames = listed(tmp_path, "a,0,1,run\n", fps=5.0)
    assert frames.sample(0) == {
        "frame_dir": "a", "label": 1, "start_s": 0.0, "end_s": 1.0, "index": 0, "suffix": "img_{:05}.jpg", "fps": 5.0,
    }  # fmt: skip


def test_spans_of_folders_of_frames(tmp_path):
    import cv2

    (tmp_path / "a").mkdir()
    for number in range(1, 31):
        cv2.imwrite(str(tmp_path / "a" / f"img_{number:05}.jpg"), np.full((8, 8, 3), 8 * number - 8, "uint8"))
    data = listed(tmp_path, "a,1,2,run\n", fps=5.0, data_prefix=str(tmp_path))
    steps = {"decode": {"name": "FrameDecoder"}, "sample": {"name": "Sampler", "num_seg": 5, "valid_mode": True}}
    made = Pipeline(steps, "PIPELINE")(data.sample(0), np.random.default_rng(0))["imgs"]
    assert (np.round(made[0, :, 0, 0, 0] / 8).astype(int)).tolist() == [5, 6, 7, 8, 9]


def test_every_mistake_of_a_list_has_its_line(tmp_path):
    with pytest.raises(ConfigError) as error:
        listed(tmp_path, "a.mp4,0,1,runs\n../b.mp4,0,1,run\na.mp4,0,1,7\n", data_prefix="videos")
    assert [p.split(": ")[0][-2:] for p in error.value.problems] == [":2", ":3", ":4"]
    with pytest.raises(ConfigError, match="spans.csv:2: has no video"):
        listed(tmp_path, ",0,1,run\n")
    with pytest.raises(ConfigError, match="background_ratio needs the class"):
        build_dataset(
            {"format": "SpanDataset", "file_path": str(tmp_path / "spans.csv"), "background_ratio": 1}, "train", 3
        )


def test_background_is_time_without_a_span(tmp_path):
    text = "a.mp4,2,4,run\na.mp4,3,6,walk\na.mp4,12,13,run\nb.mp4,0,3,run\n"
    data = listed(tmp_path, text, background="nothing", background_ratio=10, clip_s=2.0)
    free = [(r["filename"], r["start_s"], r["end_s"]) for r in data.records[4:]]
    assert free == [("a.mp4", 0, 2), ("a.mp4", 6, 8), ("a.mp4", 8, 10), ("a.mp4", 10, 12)]
    assert {r["label"] for r in data.records[4:]} == {0} and len(data.lines) == len(data) == 8
    assert "40 were to be, there is no more" in data.remarks[-1]
    arguments = {"background": 0, "background_ratio": 0.5, "clip_s": 2.0}
    some = [listed(tmp_path, text, **arguments, background_seed=seed) for seed in (0, 0, 1, 2, 3)]
    chosen = [tuple(r["start_s"] for r in data.records[4:]) for data in some]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 2 and len(set(chosen)) > 1
    with pytest.raises(UserError, match="have no 1 s or more without a span"):
        listed(tmp_path, "b.mp4,0,3,run\n", background="nothing", background_ratio=1, clip_s=2.0)


def test_a_json_with_durations_has_background_to_the_end_and_in_videos_without_spans(tmp_path):
    file = tmp_path / "spans.json"
    videos = {"a.mp4": {"duration_s": 8.0}, "b.mp4": {"duration_s": 2.5}}
    spans = [{"video": "a.mp4", "start_s": 1, "end_s": 6, "label": "run"}]
    file.write_text(json.dumps({"format": "paddlevideo.spans", "version": 1, "videos": videos, "spans": spans}))
    data = SpanDataset(str(file), class_names=NAMES, background="nothing", background_ratio=9, clip_s=1.0)
    free = [(r["filename"], r["start_s"], r["end_s"]) for r in data.records[1:]]
    assert free == [("a.mp4", 0, 1), ("a.mp4", 6, 7), ("a.mp4", 7, 8), ("b.mp4", 0, 1.25), ("b.mp4", 1.25, 2.5)]
    assert data.lines == []


@pytest.fixture
def long_videos(tmp_path):
    """Three videos of four seconds, a square that moves right and left in turns, and their spans."""
    rng = np.random.default_rng(0)
    rows = []
    for name in ("a", "b", "c"):
        parts = [tiny.moving_square(rng, bool(k % 2)) for k in range(4)]
        write_clip(tmp_path / f"{name}.mp4", np.concatenate(parts), fps=12)
        rows += [f"{name}.mp4,{k},{k + 1},{('left', 'right')[k % 2]}" for k in range(4)]
    header = "video,start_s,end_s,label"
    (tmp_path / "train.csv").write_text("\n".join([header, *rows[:8]]) + "\n")
    (tmp_path / "val.csv").write_text("\n".join([header, *rows[8:]]) + "\n")
    (tmp_path / "classes.txt").write_text("left\nright\n")
    return tmp_path


@pytest.mark.parametrize("config_of", [tiny.tsm_config, tiny.timesformer_config], ids=["TSM", "TimeSformer"])
def test_a_network_trains_and_is_validated_on_spans(long_videos, config_of, capfd):
    config = config_of(long_videos, long_videos / "out")
    for split, name in (("train", "train.csv"), ("valid", "val.csv"), ("test", "val.csv")):
        section = {"format": "SpanDataset", "file_path": str(long_videos / name), "data_prefix": str(long_videos)}
        config["DATASET"][split] = {**section, "clip_s": 0.75}
    config["DATASET"]["label_names"] = str(long_videos / "classes.txt")
    file = tiny.save(config, long_videos / "spans.yaml")
    assert run_script("main.py", ["-c", str(file), "--validate"]) == 0
    log = "".join(capfd.readouterr())
    assert "DATASET.train: 8 spans of 2 videos, 2 classes" in log and "DATASET.valid: 4 spans of 1 videos" in log
    assert "are in DATASET.train, too" not in log
    best = long_videos / "out" / f"{config['model_name']}_best.pdparams"
    assert json.loads(best.with_name(best.name + ".json").read_text())["classes"]["names"] == ["left", "right"]
    results = long_videos / "results.json"
    assert run_script("main.py", ["-c", str(file), "--test", "-w", str(best), "--out", str(results)]) == 0
    rows = json.loads(results.read_text())
    assert [(row["path"], row["label"]) for row in rows] == [
        (f"{long_videos}/c.mp4#t={k},{k + 1}", k % 2) for k in range(4)
    ]
    # the same videos in both
    more = ["-o", f"DATASET.valid.file_path={long_videos}/train.csv", "-o", f"output_dir={long_videos}/again"]
    assert run_script("main.py", ["-c", str(file), "--validate", *more]) == 0
    assert "DATASET.valid: 2 of 2 videos are in DATASET.train, too" in "".join(capfd.readouterr())


def test_check_data_reads_spans(long_videos, capsys):
    (long_videos / "val.csv").write_text(
        "video,start_s,end_s,label\nb.mp4,0,1,left\nc.mp4,0,1,left\nc.mp4,0,1,right\nc.mp4,3.9,9,left\nc.mp4,4,5,left\n"
        "d.mp4,0,1,up\n"
    )
    config = tiny.tsm_config(long_videos, long_videos / "out")
    for split, name in (("train", "train.csv"), ("valid", "val.csv"), ("test", "val.csv")):
        section = {"format": "SpanDataset", "file_path": str(long_videos / name), "data_prefix": str(long_videos)}
        config["DATASET"][split] = section
    config["DATASET"]["label_names"] = str(long_videos / "classes.txt")
    file, report = tiny.save(config, long_videos / "spans.yaml"), long_videos / "report.json"
    assert main(["check-data", "-c", str(file), "--report", str(report), "--jobs", "1"]) == 1
    found = [(f["kind"], f["line"]) for f in json.loads(report.read_text())["findings"] if f["level"] == "error"]
    assert found == [
        ("label", 7), ("missing", 7), ("short", 5), ("short", 6), ("duplicate", 4), ("conflict", 4), ("leak", 2),
    ]  # fmt: skip


def test_a_span_after_the_video_s_end_stops_the_training(long_videos, capfd):
    config = tiny.tsm_config(long_videos, long_videos / "out")
    (long_videos / "late.csv").write_text(
        "video,start_s,end_s,label\n" + "".join(f"a.mp4,{k},{k + 1},0\n" for k in range(6))
    )
    section = {"format": "SpanDataset", "file_path": str(long_videos / "late.csv"), "data_prefix": str(long_videos)}
    config["DATASET"] |= {"train": section, "valid": section, "test": section}
    file = tiny.save(config, long_videos / "spans.yaml")
    assert run_script("main.py", ["-c", str(file)]) == 2
    assert "s begins after the last frame, at 3.917 s" in "".join(capfd.readouterr())
