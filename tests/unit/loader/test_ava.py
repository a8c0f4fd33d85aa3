"""Key frames: what is annotated, who is looked at, and what a user hears when the files do not fit."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.ava_files import read_ava_csv, write_proposals
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.class_balance import balanced_chances
from paddlevideo.loader.datasets.ava import AVADataset
from paddlevideo.loader.datasets.ava_persons import class_weights
from paddlevideo.loader.datasets.records import digest_of
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.loader.sampler import BatchPlan
from tests.clips import frame_numbers, numbered_frames, write_clip

FILES = Path(__file__).resolve().parents[3] / ".." / "shared" / "media" / "ava"
ROWS = """a,0902,0.125,0.25,0.5,0.75,12,0
b,0902,0.5,0.5,0.75,1,3,4
a,0902,0,0,1,1,80,1
a,0902,0.125,0.25,0.5,0.75,17,0
a,0903,0.125,0.25,0.5,0.75,,0
"""


def dataset(tmp_path, rows=ROWS, proposals=None, **more):
    (tmp_path / "a.csv").write_text(rows)
    if proposals is not None:
        write_proposals(tmp_path / "p.pkl", proposals)
        more["proposal_file"] = str(tmp_path / "p.pkl")
    return AVADataset(str(tmp_path / "a.csv"), data_prefix=str(tmp_path / "frames"), **more)


def one(boxes, seconds=(902,), video="a"):
    return {f"{video},{second:04d}": np.array(boxes, np.float32) for second in seconds}


def test_records_and_merged_persons(tmp_path):
    data = dataset(tmp_path)
    assert [r["img_key"] for r in data.records] == ["a,0902", "b,0902", "a,0903"] and data.lines == [1, 2, 5]
    assert data.records[1]["timestamp"] == 902 and data.records[1]["frame_dir"] == str(tmp_path / "frames" / "b")
    boxes, labels = data.ground_truth(0)
    assert boxes.tolist() == [[0.125, 0.25, 0.5, 0.75], [0, 0, 1, 1]] and labels.shape == (2, 81)
    assert [np.flatnonzero(row).tolist() for row in labels] == [[12, 17], [80]]
    boxes, labels = data.ground_truth(2)  # a person without an action is one all the same
    assert len(boxes) == 1 and not labels.any()
    sample = data.sample(0)
    assert sample["shot_frames"] == (0, 26999) and sample["clip_fps"] == 30 and sample["training"]
    assert sample["annotation"].endswith("a.csv:1") and sample["boxes"].tolist() == sample["gt_boxes"].tolist()


def test_records_that_a_subclass_made_of_its_own(tmp_path):
    data = dataset(tmp_path, proposals=one([[0, 0, 0.5, 0.5, 1]], (903,)))
    digest = digest_of(data.records)
    kept = dataset(tmp_path, proposals=one([[0, 0, 0.5, 0.5, 1]], (903,)))
    kept.records = [dict(record) for record in kept.records]
    assert digest_of(kept.records) == digest
    kept.records, kept.lines = kept.records[1:], kept.lines[1:]
    taken = data.records.take(np.array([1, 2]))
    assert [record["digest"] for record in taken] == [record["digest"] for record in kept.records]
    for own, other in ((0, 1), (1, 2)):
        one_sample, other_sample = kept.sample(own), data.sample(other)
        assert one_sample["boxes"].tolist() == other_sample["boxes"].tolist()
        assert one_sample["gt_labels"].tolist() == other_sample["gt_labels"].tolist()


def test_a_changed_label_changes_the_records(tmp_path):
    before = dataset(tmp_path).records
    assert before == dataset(tmp_path).records != dataset(tmp_path, ROWS.replace("17", "18")).records
    assert before != dataset(tmp_path, ROWS.replace("0.75,1,3", "0.75,0.9,3")).records
    assert before != dataset(tmp_path, proposals=one([[0, 0, 1, 0.5, 1]])).records


def test_which_persons_are_classified(tmp_path, caplog):
    found = {
        "a,0902": [[0, 0, 1, 1, 0.95], [0, 0, 0.5, 1, 0.5], [0, 0, 0.25, 1, 0.92], [0, 0, 0.75, 1, 0.91]],
        "b,0902": [[0, 0, 1, 1, 0.25], [0, 0, 0.5, 1, 0.75]],
    }
    data = dataset(tmp_path, proposals={k: np.array(v) for k, v in found.items()}, num_max_proposals=2)
    assert data.persons(0)[:, 2].tolist() == [1, 0.25]  # above 0.9, the first two of them
    assert data.persons(1)[:, 4].tolist() == [0.75]  # all below: the best
    assert data.persons(2).tolist() == [[0, 0, 1, 1, 1]]  # not in the file: the whole picture
    assert "1 of 3 key frames are not in it" in caplog.text and "a,0903" in caplog.text
    unscored = dataset(tmp_path, proposals={"a,0902": np.eye(3, 4)})
    assert unscored.persons(0)[:, 4].tolist() == [1, 1, 1]
    no_person = dataset(tmp_path, proposals={"a,0902": np.zeros((0, 5))})
    assert no_person.persons(0).shape == (0, 5) and no_person.sample(0)["boxes"].shape == (0, 4)


def test_without_proposals_the_annotated_boxes_are_the_persons(tmp_path, caplog):
    assert dataset(tmp_path).persons(0)[:, :4].tolist() == dataset(tmp_path).ground_truth(0)[0].tolist()
    assert not caplog.text
    assert dataset(tmp_path, test_mode=True).persons(0)[:, 4].tolist() == [1, 1]
    assert "perfect person detector" in caplog.text


def test_excluded_key_frames_matter_in_training_only(tmp_path):
    (tmp_path / "x.csv").write_text("a,902\nc,0902\n")
    excluded = str(tmp_path / "x.csv")
    assert [r["img_key"] for r in dataset(tmp_path, exclude_file=excluded).records] == ["b,0902", "a,0903"]
    missing = str(tmp_path / "there_is_none.csv")
    assert len(dataset(tmp_path, exclude_file=missing, test_mode=True)) == 3
    with pytest.raises(UserError, match=r"there_is_none\.csv: no such exclusion file"):
        dataset(tmp_path, exclude_file=missing)


def test_custom_classes(tmp_path):
    data = dataset(tmp_path, custom_classes=[80, 12], num_classes=3)
    assert [r["img_key"] for r in data.records] == ["a,0902", "a,0903"]
    boxes, labels = data.ground_truth(0)
    assert labels.tolist() == [[0, 0, 1], [0, 1, 0]]
    for bad, message in [([0, 1], "from 1 on"), ([1, 1], "different"), ([1, 2, 3], "make 4 classes, the head has 3")]:
        with pytest.raises(ValueError, match=message):
            dataset(tmp_path, custom_classes=bad, num_classes=3)
    with pytest.raises(UserError, match="custom_classes name none"):
        dataset(tmp_path, rows="a,0902,0,0,1,1,9,0\n", custom_classes=[1, 2])


def test_class_names_come_from_the_label_file(tmp_path):
    (tmp_path / "l.txt").write_text("3: sit\n12: stand\n80: fly\n")
    data = dataset(tmp_path, label_file=str(tmp_path / "l.txt"))
    assert data.num_classes == 81 and data.class_names[3] == "sit" and data.class_names[4] == "class 4"
    assert dataset(tmp_path, label_file=str(tmp_path / "l.txt"), custom_classes=[80, 5]).class_names[1:] == [
        "fly",
        "class 5",
    ]


def test_key_frames_of_the_proposals(tmp_path):
    found = one([[0, 0, 1, 1, 1]], (1000, 902, 901, 5)) | one([[0, 0, 1, 1, 1]], video="c")
    data = dataset(tmp_path, proposals=found, test_mode=True, eval_keyframes="proposals")
    assert [r["img_key"] for r in data.records[3:]] == ["a,0901", "a,1000"]  # not of other videos, not before 900
    boxes, labels = data.ground_truth(3)
    assert boxes.shape == (0, 4) and labels.shape == (0, 81)
    assert len(dataset(tmp_path, proposals=found, eval_keyframes="proposals")) == 3  # training needs annotation
    with pytest.raises(UserError, match="needs a proposal_file"):
        dataset(tmp_path, test_mode=True, eval_keyframes="proposals")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,3,0,0,1,1,5,0", r"a\.csv:6: second 3 is not in timestamp_start 900 \.\. timestamp_end 1800"),
        ("a,1801,0,0,1,1,5,0", "second 1801 is not in"),
        ("a,902,10,20,100,200,5,0", r"a\.csv:6: the box 10, 20, 100, 200 is not in fractions of the picture"),
        ("a,902,0,0,1,1,0,0", r"a\.csv:6: action id 0 is not in 1\.\.80 \(0 is reserved\)"),
        ("a,902,0,0,1,1,81,0", r"a\.csv:6: action id 81 is not in 1\.\.80 \(the head has 81 classes"),
        ("../a,902,0,0,1,1,8,0", "leads out of data_prefix"),
    ],
)
def test_lines_that_cannot_be_meant(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        dataset(tmp_path, rows=ROWS + line + "\n")


def test_boxes_a_little_off(tmp_path, caplog):
    rows = ROWS + "b,903,-0.01,0,1.02,1,5,0\nb,904,0.5,0.5,0.5,0.75,5,0\n"
    data = dataset(tmp_path, rows=rows)
    assert data.ground_truth(3)[0].tolist() == [[0, 0, 1, 1]]
    assert "1 boxes reach outside the picture and are clipped to it; the first: line 6" in caplog.text
    assert len(data) == 4 and "1 boxes have no area and are left out; the first: line 7" in caplog.text
    with pytest.raises(UserError, match="1 boxes are not in fractions .* of 'a,0903'; are they in pixels"):
        dataset(tmp_path, proposals=one([[0, 0, 1, 1, 1]]) | one([[10, 20, 30, 40, 1]], (903,)))


def test_files_that_do_not_fit(tmp_path):
    with pytest.raises(UserError, match="none of the 3 key frames .* is in it, 'a,0902' for one; it has 'z,0001'"):
        dataset(tmp_path, proposals=one([[0, 0, 1, 1]], (1,), "z"))
    with pytest.raises(UserError, match="it is empty"):
        dataset(tmp_path, proposals={})
    with pytest.raises(UserError, match="no such file of person boxes"):
        dataset(tmp_path, proposal_file=str(tmp_path / "none.pkl"))
    with pytest.raises(UserError, match=r"a\.csv: no annotation in it"):
        dataset(tmp_path, rows="\n")
    (tmp_path / "x.csv").write_text("a,902\na,903\nb,902\n")
    with pytest.raises(UserError, match="exclude_file names them all"):
        dataset(tmp_path, exclude_file=str(tmp_path / "x.csv"))
    with pytest.raises(ValueError, match="timestamp_end 2 must be after"):
        dataset(tmp_path, timestamp_start=3, timestamp_end=2)


def test_missing_videos_are_named_once_each(tmp_path):
    spec = {"format": "AVADataset", "file_path": str(tmp_path / "a.csv"), "data_prefix": str(tmp_path / "none")}
    dataset(tmp_path)
    steps = {"sample": {"name": "SampleAVAFrames", "clip_len": 4}, "decode": {"name": "RawFrameDecode"}}
    more = {"seed": 0, "num_classes": 81, "batch_size": 1, "num_workers": 0, "drop_last": False}
    with pytest.raises(ConfigError) as caught:
        build_loader(spec, steps, "test", shuffle=False, **more)
    assert len(caught.value.problems) == 2 and "a.csv:1: " in caught.value.problems[0]
    with pytest.raises(ConfigError, match=r"PIPELINE\.train\.sample: TenCrop: .* leave the boxes"):
        (tmp_path / "frames" / "a").mkdir(parents=True)
        (tmp_path / "frames" / "b").mkdir()
        crops = {**steps, "transform": [{"TenCrop": {"crop_size": 8}}], "sample": {"name": "TenCrop", "crop_size": 8}}
        build_loader({**spec, "data_prefix": str(tmp_path / "frames")}, crops, "train", shuffle=True, **more)


def _spec_of_video(tmp_path, rows, fps, frames):
    (tmp_path / "a.csv").write_text(rows)
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos" / "a.mkv", numbered_frames(frames), fps=fps)
    return {
        "format": "AVADataset",
        "file_path": str(tmp_path / "a.csv"),
        "data_prefix": str(tmp_path / "videos"),
        "videos": True,
        "timestamp_start": 0,
        "timestamp_end": None,
    }


STEPS = {
    "sample": {"name": "SampleAVAFrames", "clip_len": 5, "frame_interval": 6},
    "decode": {"name": "RawFrameDecode"},
}


def _first_batch(spec, steps, split="test", epoch=0, batch_size=1, **more):
    loader = build_loader(
        spec,
        steps,
        split,
        seed=3,
        num_classes=81,
        batch_size=batch_size,
        num_workers=0,
        shuffle=split == "train",
        drop_last=False,
    )
    return next(loader.epoch(epoch))


@pytest.mark.parametrize("fps", [10, 15, 30])
def test_videos_of_any_rate_show_the_same_seconds(tmp_path, fps):
    spec = _spec_of_video(tmp_path, "a,2,0,0,1,1,5,0\na,3.4,0,0,1,1,5,0\n", fps, 5 * fps)
    imgs = _first_batch(spec, STEPS, batch_size=2)["imgs"]
    for clip, second in zip(imgs[:, 0], (2, 3.4)):
        assert frame_numbers(clip) == [round((second + k * 6 / 30) * fps) for k in (-2, -1, 0, 1, 2)]
    decoder_first = {"decode": {"name": "VideoDecoder"}, "sample": STEPS["sample"]}
    np.testing.assert_array_equal(_first_batch(spec, decoder_first, batch_size=2)["imgs"], imgs)


def test_training_moves_the_frames_and_evaluation_does_not(tmp_path):
    spec = _spec_of_video(tmp_path, "a,2,0,0,1,1,5,0\n", 30, 150) | {"test_mode": True}  # the split decides
    still = frame_numbers(_first_batch(spec, STEPS, "valid")["imgs"][0, 0])
    assert still == frame_numbers(_first_batch(spec, STEPS, "valid", epoch=1)["imgs"][0, 0]) == [48, 54, 60, 66, 72]
    moved = [frame_numbers(_first_batch(spec, STEPS, "train", epoch)["imgs"][0, 0]) for epoch in range(20)]
    offsets = np.array(moved) - still
    assert sorted(set(offsets.reshape(-1).tolist())) == [-3, -2, -1, 0, 1, 2] and len({tuple(m) for m in moved}) > 1


def test_a_second_that_a_video_does_not_have(tmp_path):
    spec = _spec_of_video(tmp_path, "a,4.9,0,0,1,1,5,0\na,7,0,0,1,1,5,0\n", 10, 50)
    with pytest.raises(VideoReadError, match=r"no second 7, which .*a\.csv:2 names: it shows seconds 0 to 4\.9"):
        _first_batch(spec, STEPS, batch_size=2)
    batch = _first_batch(spec | {"on_error": "count"}, STEPS, batch_size=2)
    assert batch["valid"].tolist() == [1, 0] and batch["boxes_num"].tolist() == [1, 0]
    assert batch["boxes"].shape == (1, 4) and batch["gt_labels"].shape == (1, 81)


def test_folders_of_frames(tmp_path):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "frames" / "a").mkdir(parents=True)
    for number, frame in enumerate(numbered_frames(100), 1):
        cv2.imwrite(str(tmp_path / "frames" / "a" / f"{number:05}.png"), frame[..., ::-1])
    (tmp_path / "a.csv").write_text("a,900,0,0,1,1,5,0\na,902,0,0,1,1,5,0\na,903,0,0,1,1,5,0\n")
    spec = {
        "format": "AVADataset",
        "file_path": str(tmp_path / "a.csv"),
        "data_prefix": str(tmp_path / "frames"),
        "suffix": "{:05}.png",
    }
    batch = _first_batch(spec, STEPS, batch_size=3)
    # the file of second 902 is number 61, that is frame 60 from 0; both ends repeat the first and the last file
    assert frame_numbers(batch["imgs"][1, 0]) == [48, 54, 60, 66, 72]
    assert frame_numbers(batch["imgs"][0, 0]) == [0, 0, 0, 6, 12]
    assert frame_numbers(batch["imgs"][2, 0]) == [78, 84, 90, 96, 99]
    (tmp_path / "frames" / "a" / "00067.png").unlink()
    with pytest.raises(VideoReadError, match=r"00067\.png: missing"):
        _first_batch(spec, STEPS, batch_size=3)


def test_class_balanced_sampling(tmp_path):
    rows = "".join(f"a,{900 + i},0,0,1,1,{1 if i < 90 else 2},0\n" for i in range(100)) + "a,990,0,0,1,1,1,0\n"
    data = dataset(tmp_path, rows=rows)
    weights = balanced_chances(data, 0.0)
    assert weights.sum() == pytest.approx(1) and weights[:90].sum() == pytest.approx(0.5 * 90 / 91)
    assert weights[90] == pytest.approx(0.5 / 10 + 0.5 / 91)  # it has both
    np.testing.assert_allclose(balanced_chances(data, 1.0)[:90], 1 / 101)
    assert data.sampling_weights() is None
    plan = BatchPlan(100, 10, seed=1, shuffle=True, weights=weights)
    drawn = np.concatenate([np.concatenate(plan.batches(epoch)) for epoch in range(20)])
    assert 0.4 < (drawn >= 90).mean() < 0.6 and len(drawn) == 2000
    np.testing.assert_array_equal(plan.batches(3), plan.batches(3))
    # two ranks together take the steps of one
    ranks = [BatchPlan(100, 5, 1, True, rank=rank, world_size=2, weights=weights).batches(0) for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(list(zip(*ranks)), axis=0).reshape(-1, 10), plan.batches(0))


def test_class_weights(tmp_path):
    counts = dataset(tmp_path).class_counts()
    assert counts[[0, 3, 12, 17, 80]].tolist() == [1, 1, 1, 1, 1] and counts.sum() == 5
    data = dataset(tmp_path)
    data.records = data.records.take(np.array([0]))  # as ``missing: skip`` leaves them
    assert 0 < data.class_counts().sum() < 5 and len(data.annotation()["missing"]) == len(data._frames) - 1
    weights = class_weights(np.array([5, 100, 25, 0]), power=0.5)
    assert weights.tolist() == pytest.approx([0, 2 / 3, 4 / 3, 0])


@pytest.mark.skipif(not FILES.is_dir(), reason="no ../shared/media/ava beside the repository")
def test_the_references_sample_files():
    common = {
        "file_path": str(FILES / "ava_sample.csv"),
        "exclude_file": str(FILES / "ava_excluded_timestamps_sample.csv"),
        "proposal_file": str(FILES / "ava_proposals_sample.pkl"),
        "label_file": str(FILES / "action_list.txt"),
    }
    training, test = AVADataset(**common), AVADataset(**common, test_mode=True)
    assert [r["img_key"] for r in training.records] == ["0f39OWEqJ24,0902"]
    assert [r["img_key"] for r in test.records] == ["0f39OWEqJ24,0902", "0f39OWEqJ24,0903", "_-Z6wFjXtGQ,0902"]
    assert len(test.persons(2)) == 2 and np.flatnonzero(test.ground_truth(2)[1][0]).tolist() == [12, 74, 80]


def test_a_list_as_long_as_avas(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rng, n = np.random.default_rng(0), 40_000
    lines = [
        f"v{i % 20:02d},{902 + i % 800},{x:.2f},0.1,{x + 0.3:.2f},0.9,{label},0\n"
        for i, (x, label) in enumerate(zip(rng.random(n) / 2, rng.integers(1, 81, n)))
    ]
    begin = os.times().user
    data = dataset(tmp_path, rows="".join(lines))
    assert os.times().user - begin < 5  # 0.5 s
    rows = read_ava_csv(tmp_path / "a.csv")
    for index in (0, 7, len(data) - 1):  # against the plain way
        record = data.records[index]
        wanted: dict[tuple, set] = {}
        for i in range(n):
            if rows.videos[rows.video[i]] == record["video_id"] and rows.timestamp[i] == record["timestamp"]:
                wanted.setdefault(tuple(rows.boxes[i].astype(np.float32).tolist()), set()).add(int(rows.label[i]))
        boxes, labels = data.ground_truth(index)
        assert [tuple(box) for box in boxes.tolist()] == list(wanted)
        assert [set(np.flatnonzero(row).tolist()) for row in labels] == list(wanted.values())
