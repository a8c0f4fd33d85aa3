"""Frame-mAP equals a slow evaluator that follows the rule line by line, and says why it is 0; the metric keeps ranks,
csv files and class lists apart."""

import csv
import logging
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.metrics import frame_ap
from paddlevideo.metrics.ava import AVAMetric, proposal_recall
from paddlevideo.metrics.ava_evaluation import diagnose, read_detections, read_ground_truth, score_csv
from paddlevideo.metrics.frame_ap import FrameBoxes, frame_average_precisions, group_means, three_decimals


def slow_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slow_average_precision(detections, truth):
    """One class: [(frame, box, score)] and [(frame, box)], in plain Python."""
    if not truth:
        return float("nan")
    pooled = []
    for frame in dict.fromkeys(frame for frame, _, _ in detections):
        here = [(box, score) for f, box, score in detections if f == frame and box[0] < box[2] and box[1] < box[3]]
        true_boxes, taken = [box for f, box in truth if f == frame], set()
        for box, score in sorted(here, key=lambda pair: -pair[1]):
            overlaps = [slow_iou(box, other) for other in true_boxes]
            best = overlaps.index(max(overlaps)) if overlaps else None
            right = best is not None and overlaps[best] >= 0.5 and best not in taken
            if right:
                taken.add(best)
            pooled.append((score, right))
    points, hits = [(0.0, 0.0)], 0
    for rank, (_, right) in enumerate(sorted(pooled, key=lambda pair: -pair[0]), 1):
        hits += right
        points.append((hits / len(truth), hits / rank))
    area = 0.0
    for i in range(1, len(points)):
        area += (points[i][0] - points[i - 1][0]) * max(precision for _, precision in points[i:])
    return area


def draw(seed, frames=6, classes=4, ties=False):
    """Detections near true boxes and elsewhere, some invalid, frames without one or the other."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for frame in range(frames):
        for _ in range(rng.integers(0, 5)):
            x, y, w, h = rng.uniform(0, 0.6, 2).tolist() + rng.uniform(0.1, 0.4, 2).tolist()
            truth.append((frame, [x, y, x + w, y + h], int(rng.integers(1, classes + 1))))
        for _ in range(rng.integers(0, 12)):
            near = [box for f, box, _ in truth if f == frame]
            box = np.array(near[rng.integers(len(near))] if near and rng.random() < 0.7 else [0.1, 0.1, 0.4, 0.6])
            box = (box + rng.normal(0, 0.04, 4)).round(3)
            # frames go up, so frames that tie are pooled alike on both sides
            score = round(float(rng.integers(1, 4) / 4 if ties else rng.random()), 3)
            found.append((frame, box.tolist() if rng.random() < 0.95 else box[::-1].tolist(), score,
                          int(rng.integers(1, classes + 1))))  # fmt: skip
    return truth, found


def columns(rows, scored):
    key = np.array([row[0] for row in rows], dtype="int64")
    boxes = np.array([row[1] for row in rows], dtype="float64").reshape(-1, 4)
    score = np.array([row[2] for row in rows]) if scored else None
    return FrameBoxes(key, boxes, np.array([row[-1] for row in rows], dtype="int64"), score)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("pairs", [1 << 20, 7])
def test_equal_to_the_slow_evaluator(pairs, ties, monkeypatch):
    monkeypatch.setattr(frame_ap, "_PAIRS", pairs)
    for seed in range(60):
        truth, found = draw(seed, ties=ties)
        ours = frame_average_precisions(columns(found, True).of_class, columns(truth, False), range(1, 6))
        for k in range(1, 6):
            mine = [(f, box, score) for f, box, score, c in found if c == k]
            theirs = slow_average_precision(mine, [(f, box) for f, box, c in truth if c == k])
            assert ours[k] == pytest.approx(theirs, abs=1e-12, nan_ok=True), (seed, k)


@pytest.fixture
def warnings(caplog, monkeypatch):
    """What was logged; a command that ran earlier in this process may have closed the logger's way up."""
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    with caplog.at_level(logging.WARNING, "paddlevideo"):
        yield caplog


BOX = [0.1, 0.1, 0.5, 0.9]
NEAR = [0.12, 0.1, 0.5, 0.9]
BETWEEN = [0.2, 0.1, 0.6, 0.9]


def test_only_the_best_overlap_is_claimed_and_only_once():
    truth = columns([(0, BOX, 1), (0, BETWEEN, 1)], False)
    # both overlap BOX most; the lower one would also overlap BETWEEN, but has no second choice
    found = columns([(0, NEAR, 0.6, 1), (0, BOX, 0.9, 1)], True)
    assert frame_ap.hits_by_score(found, truth).tolist() == [True, False]
    assert frame_average_precisions(found.of_class, truth, [1])[1] == 0.5


def test_of_equal_overlaps_the_first_box_is_claimed():
    key = np.zeros(3, "int64")
    iou, row = frame_ap.best_overlap(key[:1], np.array([BOX]), key, np.array([BETWEEN, BOX, BOX]))
    assert (iou.tolist(), row.tolist()) == ([1.0], [1])
    # two persons in the same place: two claims on the first, so one detection is wrong, as in the reference
    truth = columns([(0, BOX, 1), (0, BOX, 1)], False)
    assert frame_ap.hits_by_score(columns([(0, BOX, 0.9, 1), (0, BOX, 0.8, 1)], True), truth).tolist() == [True, False]


def test_a_class_without_detections_is_0_and_one_without_truth_does_not_count():
    truth = columns([(0, BOX, 1), (0, BOX, 2)], False)
    found = columns([(0, BOX, 0.9, 1), (0, BOX, 0.9, 3)], True)
    values = frame_average_precisions(found.of_class, truth, [1, 2, 3])
    assert values[1] == 1.0 and values[2] == 0.0 and math.isnan(values[3])
    assert frame_ap.mean_precision(values.values()) == 0.5


def test_three_decimals_are_those_of_a_csv():
    values = np.concatenate([
        np.random.default_rng(0).random(20_000), np.arange(0, 2001) / 2000, np.array([0.0625, 0.1875, 1.0, 0.0])
    ]).astype("float32")  # fmt: skip
    assert three_decimals(values).tolist() == [float(f"{value:.3f}") for value in values.tolist()]


def test_the_kinds_of_action_are_avas_own_only():
    values = {1: 0.2, 12: 0.4, 15: 0.6, 80: float("nan")}
    assert group_means(values, {12: "stand", 80: "watch (a person)"}) == pytest.approx(
        {"person_movement": 0.3, "object_manipulation": 0.6}
    )
    assert group_means(values, {1: "jump", 12: "run"}) == {}


# -- the metric


def write(folder, truth, labels=("walk", "wave", "jump"), excluded=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gt.csv").write_text("".join(
        f"v,{902 + f:04d},{','.join(f'{v:.3f}' for v in box)},{k},0\n" for f, box, k in truth))  # fmt: skip
    (folder / "labels.pbtxt").write_text("".join(f'item {{ name: "{n}" id: {i} }}\n' for i, n in enumerate(labels, 1)))
    (folder / "excluded.csv").write_text("".join(f"v,{902 + f:04d}\n" for f in excluded))
    return {"file_path": str(folder / "gt.csv"), "label_file": str(folder / "labels.pbtxt")}


class KeyFrames(Dataset):
    """A data set of key frames that has nothing but their names."""

    has_boxes = True

    def __init__(self, records, files):
        self.records, self.file_path, self._files = records, files.get("file_path"), files

    def sample(self, index):
        return dict(self.records[index])

    def annotation(self):
        return self._files


def dataset_of(frames, **files):
    records = [{"img_key": f"v,{902 + f:04d}", "video_id": "v", "timestamp": 902 + f} for f in range(frames)]
    return KeyFrames(records, files)


def batches(frames, classes, seed=0):
    """Boxes and scores of every frame, as a network would give them."""
    rng = np.random.default_rng(seed)
    for frame in range(frames):
        count = int(rng.integers(0, 6))
        corners = rng.uniform(0, 0.5, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, (count, 2))], 1).astype("float32")
        yield frame, boxes, rng.random((count, classes + 1)).astype("float32")


def fill(metric, taken):
    for frame, boxes, scores in taken:
        batch = {"boxes_norm": boxes, "boxes_num": np.array([len(boxes)], "int32"), "valid": np.ones(1)}
        metric.update(np.array([frame]), {"scores": scores}, batch)


def truth_near(taken, classes, seed=1):
    rng = np.random.default_rng(seed)
    return [
        (frame, np.clip(box + rng.normal(0, 0.02, 4), 0, 1).tolist(), int(rng.integers(1, classes + 1)))
        for frame, boxes, _ in taken
        for box in boxes
        if rng.random() < 0.7
    ]


@pytest.fixture
def case(tmp_path):
    taken = list(batches(12, 3))
    files = write(tmp_path, truth_near(taken, 3), excluded=[2, 3])
    return SimpleNamespace(taken=taken, files=files, dataset=dataset_of(12, **files), folder=tmp_path)


def test_the_csv_of_the_results_gives_the_same_figure(case):
    metric = AVAMetric()
    metric.use_dataset(case.dataset)
    fill(metric, case.taken)
    figures = metric.compute()
    assert next(iter(figures)) == metric.primary == "mAP@0.5IOU" and 0.05 < figures["mAP@0.5IOU"] < 0.95
    assert figures["num_samples"] == 12 and figures["num_boxes"] == sum(len(b) for _, b, _ in case.taken)
    metric.write_results(case.folder / "r.csv")
    again, problems = score_csv(case.folder / "r.csv", read_ground_truth(**case.files))
    assert again.figures["mAP@0.5IOU"] == figures["mAP@0.5IOU"]
    assert len(problems) == 1 and problems[0].startswith("9 of 132 detections are at moments that are not annotated")
    assert again.classes == metric.per_class()
    first = (case.folder / "r.csv").read_text().splitlines()[0].split(",")
    assert first[:2] == ["v", "902"] and len(first) == 8 and len(first[2].split(".")[1]) == 3
    assert metric.details()["PerformanceByCategory/AP@0.5IOU/wave"] == metric.per_class()[1]["average_precision"]


def test_the_csv_goes_by_key_frame_class_and_box(tmp_path):
    metric = AVAMetric(**write(tmp_path, [(0, BOX, 1)]))
    metric.use_dataset(dataset_of(2))
    scores = np.array([[0, 0.9, 0.001, 0.3], [0, 0.8, 0.5, 0.002]])
    fill(metric, [(1, np.array([BOX, NEAR]), scores), (0, np.array([BOX]), scores[:1])])
    metric.write_results(tmp_path / "r.csv")
    rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()]
    assert [(row[1], row[2], row[6], row[7]) for row in rows] == [
        ("902", "0.100", "1", "0.900"),
        ("902", "0.100", "3", "0.300"),
        ("903", "0.100", "1", "0.900"),
        ("903", "0.120", "1", "0.800"),
        ("903", "0.120", "2", "0.500"),
        ("903", "0.100", "3", "0.300"),
    ]


def test_ranks_count_a_key_frame_once(case):
    whole, ranks = AVAMetric(), [AVAMetric(), AVAMetric(), AVAMetric()]
    for metric in (whole, *ranks):
        metric.use_dataset(case.dataset)
    fill(whole, case.taken)
    for number, rank in enumerate(ranks[:2]):
        fill(rank, case.taken[number::2] + case.taken[:1])  # the sampler fills up with a sample twice
    states = [rank.state() for rank in ranks]
    assert all(isinstance(value, np.ndarray) for value in states[0].values())
    ranks[0].merge(states)
    assert ranks[0].compute() == whole.compute()
    for key, value in whole.state().items():
        assert np.array_equal(ranks[0].state()[key], value)


def test_excluded_key_frames_count_on_neither_side(case):
    metric = AVAMetric(exclude_file=str(case.folder / "excluded.csv"))
    metric.use_dataset(case.dataset)
    fill(metric, case.taken)
    kept = [(f, *rest) for f, *rest in case.taken if f not in (2, 3)]
    other = AVAMetric(**write(case.folder / "less", [t for t in truth_near(case.taken, 3) if t[0] not in (2, 3)]))
    other.use_dataset(case.dataset)
    fill(other, [*kept, (2, np.zeros((0, 4)), np.zeros((0, 4))), (3, np.zeros((0, 4)), np.zeros((0, 4)))])
    assert metric.compute()["mAP@0.5IOU"] == other.compute()["mAP@0.5IOU"]


def test_columns_of_custom_classes_are_their_ids(case, tmp_path):
    ids = {1: 12, 2: 17, 3: 79}
    truth = [(f, box, ids[k]) for f, box, k in truth_near(case.taken, 3)]
    files = write(tmp_path / "custom", truth, labels=[f"n{i}" for i in range(1, 81)])
    plain, custom = AVAMetric(), AVAMetric(custom_classes=[12, 17, 79])
    plain.use_dataset(case.dataset)
    custom.use_dataset(dataset_of(12, **files))
    fill(plain, case.taken)
    fill(custom, case.taken)
    assert custom.compute()["mAP@0.5IOU"] == plain.compute()["mAP@0.5IOU"]
    assert [row["class"] for row in custom.per_class()] == [12, 17, 79]
    custom.write_results(tmp_path / "r.csv")
    _, rows = read_detections(tmp_path / "r.csv", custom.truth)
    assert set(rows.class_id.tolist()) == {12, 17, 79}


def test_thresholds(case):
    count = {}
    for name, threshold in {"all": 0.0, "one": 0.5, "each": [0, 0.5, 2, 0.0], "best": -1.0}.items():
        metric = AVAMetric(score_threshold=threshold)
        metric.use_dataset(case.dataset)
        fill(metric, case.taken)
        metric.compute()
        count[name] = [row["num_detections"] for row in metric.per_class()]
    scores = np.concatenate([s for _, _, s in case.taken])[:, 1:]
    assert count["all"] == [len(scores)] * 3 and count["one"] == (scores > 0.5).sum(0).tolist()
    assert count["each"] == [(scores[:, 0] > 0.5).sum(), 0, len(scores)]
    assert count["best"] == np.bincount(scores.argmax(1), minlength=3).tolist()


def test_a_part_of_the_data_is_measured_by_its_own_ground_truth(case, warnings):
    metric = AVAMetric()
    metric.use_dataset(case.dataset)
    fill(metric, case.taken[:6])
    part = AVAMetric(**write(case.folder / "part", [t for t in truth_near(case.taken, 3) if t[0] < 6]))
    part.use_dataset(dataset_of(6))
    fill(part, case.taken[:6])
    assert metric.compute() == part.compute()
    assert "6 of 12 key frames were evaluated" in warnings.text


def test_an_unreadable_key_frame_detects_nothing(case):
    metric = AVAMetric()
    metric.use_dataset(case.dataset)
    frame, boxes, scores = max(case.taken, key=lambda each: len(each[1]))
    batch = {"boxes_norm": boxes, "boxes_num": np.array([len(boxes)]), "valid": np.zeros(1)}
    metric.update(np.array([frame]), {"scores": scores}, batch)
    fill(metric, case.taken)
    figures = metric.compute()
    assert figures["num_unreadable"] == 1 and figures["num_samples"] == 12
    metric.write_results(case.folder / "r.csv")
    assert f",{902 + frame}," not in (case.folder / "r.csv").read_text()
    metric.write_predictions(case.folder / "p.csv")
    rows = list(csv.DictReader((case.folder / "p.csv").open()))
    assert {row["predicted"] for row in rows if row["second"] == str(902 + frame)} == {"unreadable"}


def test_predictions_name_the_best_class_and_the_persons_own(tmp_path):
    files = write(tmp_path, [(0, BOX, 1), (0, BOX, 3), (0, [0.6, 0.6, 0.9, 0.9], 2)])
    metric = AVAMetric(**files)
    metric.use_dataset(dataset_of(1))
    scores = np.array([[0, 0.1, 0.2, 0.9], [0, 0.8, 0.1, 0.1]])
    fill(metric, [(0, np.array([NEAR, [0.0, 0.0, 0.1, 0.1]]), scores)])
    metric.write_predictions(tmp_path / "p.csv")
    first, second = csv.DictReader((tmp_path / "p.csv").open())
    assert (first["label"], first["label_name"]) == ("1;3", "walk; jump")
    assert (first["predicted"], first["predicted_name"], first["score"]) == ("3", "jump", "0.9")
    assert (second["label"], second["predicted_name"]) == ("", "walk")


@pytest.mark.parametrize(
    ("options", "width", "word"),
    [
        ({"custom_classes": [1, 2]}, 4, "2 classes, so 3 columns .* network gives 4"),
        ({"custom_classes": 81}, 4, "81 columns of scores are expected, not 4"),
        ({}, 3, "labels.pbtxt: class 3 counts, the network scores 1 to 2"),
        ({"score_threshold": [0.1, 0.2]}, 4, "score_threshold: 2 values, the network gives 4 columns"),
    ],
)
def test_columns_that_are_not_the_classes_are_refused(options, width, word, case):
    metric = AVAMetric(**options)
    metric.use_dataset(case.dataset)
    with pytest.raises(UserError, match=word):
        fill(metric, [(0, np.zeros((1, 4)), np.zeros((1, width)))])


def test_what_is_missing_is_reported_before_the_evaluation(case):
    for options, word in (
        ({"file_path": "absent.csv"}, "absent.csv: no such"),
        ({"label_file": "absent.txt"}, "absent.txt: no such"),
        ({"exclude_file": "absent.csv"}, "absent.csv: no such"),
        ({"custom_classes": [40]}, r"custom classes \[40\] are not among"),
    ):
        with pytest.raises(UserError, match=word):
            AVAMetric(**options).use_dataset(case.dataset)
    with pytest.raises(UserError, match="METRIC.file_path"):
        AVAMetric().use_dataset(dataset_of(1))
    with pytest.raises(UserError, match="differ from the data set's"):
        AVAMetric(custom_classes=[1]).use_dataset(dataset_of(1, **case.files, custom_classes=[2]))
    for wrong in ({"custom_classes": [0, 1]}, {"custom_classes": [2, 2]}, {"iou_threshold": 0}):
        with pytest.raises(ValueError, match="expected"):
            AVAMetric(**wrong)
    with pytest.raises(UserError, match="use AVADataset"):
        AVAMetric().update(np.zeros(1), {"scores": np.zeros((1, 4))}, {"label": np.zeros(1)})
    metric = AVAMetric()
    metric.use_dataset(case.dataset)
    with pytest.raises(UserError, match="no key frame was evaluated"):
        metric.compute()


def test_a_bad_line_of_the_ground_truth_is_named(case):
    (case.folder / "gt.csv").write_text("v,0902,0.1,0.1,0.5,0.9,1,0\nv,0902,0.1,zero,0.5,0.9,1,0\n")
    with pytest.raises(ConfigError, match="gt.csv:2"):
        AVAMetric().use_dataset(case.dataset)


# -- why it is 0


TRUTH = [(f, BOX, 1) for f in range(3)]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("", "nothing was detected"),
        ("v,2,0.1,0.1,0.5,0.9,1,0.5\nv,3,0.1,0.1,0.5,0.9,1,0.5\n", r"first second is \+900 s from the detections'"),
        ("v.mp4,902,0.1,0.1,0.5,0.9,1,0.5\n", "no video .* 'v.mp4,0902' here, 'v,0902' there; without folder and end"),
        ("w,902,0.1,0.1,0.5,0.9,1,0.5\n", "no video of the detections is in the ground truth: 'w,0902' here"),
        ("v,902,0.1,0.1,0.5,0.9,0,0.5\n", r"no detected class \(ids 0\) is one of the ground truth's \(ids 1\)"),
        ("v,902,34.0,25.6,170,230,1,0.5\n", "detected boxes reach up to 230: they look like pixels"),
        ("v,902,0.5,0.9,0.1,0.1,1,0.5\n", r"1 of 1 detected boxes are turned round or empty, as \(0.500, 0.900"),
        ("v,902,0.6,0.1,0.9,0.5,1,0.5\n", "no detected box matches a true one .* best IoU is 0.00"),
        ("v,902,0.1,0.1,0.9,0.5,1,0.5\n", "with x and y exchanged they would"),
        ("v,902,0.1,0.1,0.5,0.9,2,0.5\n", r"no detected class \(ids 2\)"),
        ("v,902,0.1,0.1,0.5,0.9,2,0.5\nv,902,0.8,0.8,0.9,0.9,1,0.5\n", "50.0 % of the boxes match a true one, none"),
    ],
)
def test_a_figure_of_0_is_explained(lines, word, tmp_path):
    truth = read_ground_truth(**write(tmp_path, TRUTH))
    (tmp_path / "r.csv").write_text(lines)
    evaluation, problems = score_csv(tmp_path / "r.csv", truth)
    assert evaluation.figures["mAP@0.5IOU"] == 0
    assert any(re.search(word, problem) for problem in problems), problems


def test_detections_of_a_class_without_truth_are_counted(tmp_path):
    truth = read_ground_truth(**write(tmp_path, TRUTH))
    without = next(k for k in truth.names if k not in truth.rows.class_id)
    (tmp_path / "r.csv").write_text(f"v,902,0.1,0.1,0.5,0.9,{without},0.5\n" * 2)
    evaluation, _ = score_csv(tmp_path / "r.csv", truth)
    assert {row["class"]: row["num_detections"] for row in evaluation.classes}[without] == 2


def test_detections_of_other_videos_are_noted_at_any_figure(tmp_path):
    truth = read_ground_truth(**write(tmp_path, TRUTH))
    rows = ["v,902,0.1,0.1,0.5,0.9,1,0.5", "v.mp4,902,0.1,0.1,0.5,0.9,1,0.5", "v,950,0.1,0.1,0.5,0.9,1,0.1"]
    (tmp_path / "r.csv").write_text("\n".join(rows) + "\n")
    evaluation, (note, moments) = score_csv(tmp_path / "r.csv", truth)
    assert evaluation.figures["mAP@0.5IOU"] > 0
    assert moments.startswith("1 of 3 detections are at moments that are not annotated, e.g. 'v,0950', and count as")
    assert note == "1 of 3 detections are of 1 videos that are not in it, e.g. 'v.mp4'; the ground truth has e.g. 'v'"


def test_annotated_videos_without_a_detection_are_noted(tmp_path):
    (tmp_path / "truth.csv").write_text("v,902,0.1,0.1,0.5,0.9,1,0\nw,902,0.1,0.1,0.5,0.9,1,0\n")
    (tmp_path / "r.csv").write_text("v,902,0.1,0.1,0.5,0.9,1,0.5\n")
    _, (note,) = score_csv(tmp_path / "r.csv", read_ground_truth(tmp_path / "truth.csv"))
    assert note == "1 of 2 annotated videos have no detection, e.g. 'w'"


def test_true_boxes_are_those_of_a_data_set(tmp_path, warnings):
    """Clipped to the picture, without those of no area, and each line once; pixels stay, for the diagnosis."""
    lines = ["-0.1,0.1,0.5,0.9,1", "0.2,0.2,0.2,0.8,1", "0.3,0.3,0.5,0.5,1", "0.3,0.3,0.5,0.5,1", "3,3,50,50,1"]
    (tmp_path / "truth.csv").write_text("".join(f"v,902,{line},{k}\n" for k, line in enumerate(lines)))
    truth = read_ground_truth(tmp_path / "truth.csv")
    assert truth.rows.boxes.tolist() == [[0, 0.1, 0.5, 0.9], [0.3, 0.3, 0.5, 0.5], [3, 3, 50, 50]]
    assert "1 lines repeat a box and its action" in warnings.text


def test_truth_beyond_the_data_set_is_named_and_that_of_missing_videos_left_out(case, warnings):
    few = dataset_of(8, **case.files)
    metric = AVAMetric()
    metric.use_dataset(few)
    assert "3 key frames with boxes are not in the data set" in warnings.text
    gone = set(metric.truth.not_among([str(record["img_key"]) for record in few.records]))
    few.annotation = lambda: {**case.files, "missing": gone}
    metric = AVAMetric()
    metric.use_dataset(few)
    assert gone and not metric.truth.not_among([str(record["img_key"]) for record in few.records])


def test_custom_classes_that_the_labels_lack_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"custom classes \[99\] are not among its class ids"):
        read_ground_truth(**write(tmp_path, TRUTH), custom_classes=[1, 99])


def test_no_ground_truth_gives_nan_and_the_reason(tmp_path, warnings):
    files = write(tmp_path, [(0, BOX, 7)])
    metric = AVAMetric(**files)
    metric.use_dataset(dataset_of(1))
    fill(metric, [(0, np.array([BOX]), np.full((1, 4), 0.5))])
    assert math.isnan(metric.compute()["mAP@0.5IOU"])
    assert "no box of a class that counts (ids 1, 2, 3) is in it" in warnings.text
    truth = read_ground_truth(**write(tmp_path, TRUTH), exclude_file=None).without({f"v,{s:04d}" for s in range(999)})
    assert "999 key frames are excluded" in diagnose([], columns([], False), [], truth)[0]


# -- proposals


def test_proposal_recall_counts_persons():
    proposals = {"v,0902": np.array([[*NEAR, 0.9], [0.8, 0.8, 0.9, 0.9, 0.5]]), "v,0904": np.zeros((0, 5))}
    keys = ["v,0902", "v,0902", "v,0903", "v,0904"]
    found = proposal_recall(proposals, keys, np.array([BOX, [0.5, 0.5, 0.7, 0.7], BOX, BOX]))
    assert found.recall == 0.25 and found.missed.tolist() == [1, 2, 3]
    assert found.iou[0] == pytest.approx(0.95) and found.iou[1:].tolist() == [0, 0, 0]
    assert math.isnan(proposal_recall({}, [], np.zeros((0, 4))).recall)


def test_the_threshold_is_the_networks_unless_the_metric_has_its_own():
    network = SimpleNamespace(action_thr=0.0)
    plain, own = AVAMetric(), AVAMetric(score_threshold=0.3)
    assert plain.score_threshold == 0.002
    for metric in (plain, own):
        metric.use_framework(network)
    assert (plain.score_threshold, own.score_threshold) == (0.0, 0.3)
    plain.use_framework(SimpleNamespace(action_thr=None))
    assert plain.score_threshold == 0.002
