"""Where people come from: files of boxes, ONNX and Paddle detectors, and OpenCV's HOG."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.ava_files import write_proposals
from paddlevideo.errors import UserError
from paddlevideo.inference.detector_layouts import LAYOUTS
from paddlevideo.inference.person_detectors import ProposalFile, open_detector, tidy
from paddlevideo.inference.person_models import PaddleDetector, fitted, read_options

FRAME = np.zeros((1, 360, 640, 3), np.uint8)


def one(detector, frame=FRAME):
    (boxes,) = detector.detect(frame, [0.0])
    assert boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 5
    return boxes


def test_boxes_of_a_file_in_pixels_the_sure_ones_and_at_least_one(tmp_path):
    boxes = np.array([[0, 0, 0.5, 1, 0.95], [0.5, 0.5, 1, 1, 0.8]], np.float32)
    write_proposals(tmp_path / "p.json", {"a,0902": boxes, "a,0903.5": boxes[1:], "b,0902": boxes})
    detector = ProposalFile(tmp_path / "p.json", "a", 0.9)
    assert detector.timestamps_s == [902, 903.5]
    first, second, none = detector.detect(np.repeat(FRAME, 3, 0), [902, 903.5, 904])
    np.testing.assert_allclose(first, [[0, 0, 320, 360, 0.95]])
    np.testing.assert_allclose(second, [[320, 180, 640, 360, 0.8]])
    assert none.shape == (0, 5)
    with pytest.raises(UserError, match="did you mean|there are: a, b"):
        ProposalFile(tmp_path / "p.json", "c", 0.9)


class FakeSession:
    """What onnxruntime gives, for a network that always sees the same."""

    def __init__(self, inputs, outputs, names=None):
        self._inputs = [SimpleNamespace(name=n, shape=shape, type=kind) for n, (shape, kind) in inputs.items()]
        self.outputs, self.seen, self.given = outputs, [], []
        self._meta = {"names": str(names)} if names else {}

    def get_inputs(self):
        return self._inputs

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self.outputs]

    def get_modelmeta(self):
        return SimpleNamespace(custom_metadata_map=self._meta)

    def run(self, names, inputs):
        self.given.append(inputs)
        self.seen.append(next(iter(inputs.values())))
        return list(self.outputs.values())


@pytest.fixture
def onnx(tmp_path, monkeypatch):
    """onnx(shape, outputs, **options) -> detector, session; ``said`` holds its remarks."""

    def make(shape, outputs, /, kind="tensor(float)", more=None, names=None, **options):
        inputs = {"images": (shape, kind), **{n: ([1, 2], k) for n, k in (more or {}).items()}}
        session = FakeSession(inputs, outputs, names)
        module = SimpleNamespace(
            InferenceSession=lambda path, providers: session, get_available_providers=lambda: ["CPUExecutionProvider"]
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        path = tmp_path / "detector.onnx"
        path.write_bytes(b"")
        path.with_suffix(".yml").unlink(missing_ok=True)
        if options:
            path.with_suffix(".yml").write_text(yaml.safe_dump(options))
        session.reported = []
        return open_detector(str(path), 0.5, say=session.reported.append), session

    return make


ROWS = np.array([[[64, 64, 128, 256, 0.9, 0], [0, 0, 50, 50, 0.8, 5], [600, 100, 700, 330, 0.95, 0],
                  [9, 9, 99, 99, 0.2, 0]]], np.float32)  # fmt: skip


def test_rows_of_a_yolo_come_back_in_pixels_of_the_picture(onnx):
    detector, session = onnx([1, 3, 640, 640], {"output0": ROWS})
    frame = np.full((1, 720, 1280, 3), 255, np.uint8)
    np.testing.assert_allclose(one(detector, frame), [[1200, 200, 1280, 660, 0.95], [128, 128, 256, 512, 0.9]])
    seen = session.seen[-1]
    assert seen.shape == (1, 3, 640, 640) and seen.dtype == np.float32
    np.testing.assert_allclose(seen[0, :, :360], 1.0)
    np.testing.assert_allclose(seen[0, :, 360:], 114 / 255)


# Two people, a car, and somebody too unsure, as every kind of detector would say it

PEOPLE = np.array([[64, 40, 128, 232], [480, 96, 544, 320]], np.float32)
CAR, UNSURE = np.array([[200, 200, 392, 296]], np.float32), np.array([[16, 16, 48, 112]], np.float32)
SCENE, SURE = np.concatenate([PEOPLE, CAR, UNSURE]), np.array([0.95, 0.9, 0.85, 0.25], np.float32)
KIND = np.array([0, 0, 2, 0])  # as YOLO's COCO list has them
STRETCH = np.array([1, 640 / 360, 1, 640 / 360], np.float32)
SIZE = 640


def centred(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def scores_of(classes, kinds=KIND, sure=SURE):
    table = np.full((len(kinds), classes), 0.01, np.float32)
    table[np.arange(len(kinds)), kinds] = sure
    return table


def raw(places, classes, objectness):
    """[places, 4 or 5 + classes]: the scene at some places, each box twice, the rest empty."""
    boxes = centred(np.concatenate([SCENE, SCENE + 2]))
    rows = [boxes, np.ones((8, 1)), np.concatenate([scores_of(classes), scores_of(classes, sure=SURE * 0.9)])]
    rows = np.concatenate(rows if objectness else [rows[0], rows[2]], axis=1)
    table = np.zeros((places, rows.shape[1]), np.float32)
    table[:, :2] = np.linspace(0, SIZE, places)[:, None]
    table[np.arange(8) * 7 + 3] = rows
    return table


def yolox():
    """Offsets from the cells of a grid, and logarithms of sizes in strides."""
    table = np.zeros((8400, 85), np.float32)
    for box, score, kind in zip(centred(SCENE), SURE, KIND):
        for stride, start in ((16, 6400), (32, 8000)):  # each box in two grids
            column, row = (box[:2] // stride).astype(int)
            table[start + row * (SIZE // stride) + column, :5] = [
                *(box[:2] / stride - [column, row]), *np.log(box[2:] / stride), 1 if stride == 16 else 0.9,
            ]  # fmt: skip
            table[start + row * (SIZE // stride) + column, 5 + kind] = score
    return table


def fractions(boxes):
    return boxes / np.float32(SIZE)


def batch(*arrays):
    return [array[None].astype(array.dtype if array.dtype.kind == "i" else np.float32) for array in arrays]


def named(names, *arrays):
    return dict(zip(names.split(), arrays, strict=True))


def padded(array):
    return np.concatenate([array, np.zeros((6, *array.shape[1:]), array.dtype)])


def table(*columns):
    return np.concatenate([c.reshape(len(SCENE), -1) for c in columns], axis=1).astype(np.float32)


COCO_FROM_1 = KIND + 1
ZEROS = np.zeros(4)
TALL = SCENE * STRETCH
LAYOUT_CASES = {
    "rows": (named("o", *batch(table(SCENE, SURE, KIND))), "rows", {}),
    "rows, no batch": (named("o", table(SCENE, SURE, KIND)), "rows", {}),
    "rows of a single class": (named("o", table(SCENE, SURE)[[0, 1, 3]]), "rows", {}),
    "yolov7 end to end": (named("o", table(ZEROS, SCENE, KIND, SURE)), "rows", {}),
    "ssd": (named("o", table(ZEROS, KIND + 1, SURE, fractions(SCENE))[None, None]), "SSD", {}),
    "torchvision": (named("boxes labels scores", SCENE, COCO_FROM_1, SURE), "torchvision", {}),
    "torchvision, unnamed": (named("2519 2521 2520", SCENE, COCO_FROM_1, SURE), "torchvision", {}),
    "classes": (named("boxes scores classes", SCENE, SURE, KIND), "boxes, scores, labels", {}),
    "class_ids": (named("class_ids bboxes confidences", *batch(KIND, SCENE, SURE)), "boxes, scores, labels", {}),
    "efficient nms": (named("num_dets det_boxes det_scores det_classes", np.array([[4]]), *batch(
        padded(SCENE), padded(SURE), padded(KIND))), "boxes, scores, labels", {}),
    "tensorflow": (named(
        "detection_anchor_indices detection_boxes detection_classes detection_scores num_detections "
        "raw_detection_boxes raw_detection_scores", *batch(padded(SURE), padded(fractions(SCENE)[:, [1, 0, 3, 2]]),
        padded(COCO_FROM_1.astype(np.float32)), padded(SURE)), np.array([4.0], np.float32), np.zeros((1, 99, 4)),
        np.zeros((1, 99, 91))), "TensorFlow", {}),
    "mmdeploy": (named("dets labels", *batch(table(SCENE, SURE), KIND)), "mmdeploy", {}),
    "yolov8": (named("output0", *batch(raw(8400, 80, False).T)), "raw YOLOv8", {}),
    "yolov8, one class": (named("output0", *batch(raw(8400, 80, False).T[:5])), "raw YOLOv8", {}),
    "yolov8, transposed": (named("output0", *batch(raw(8400, 80, False))), "a score for every class", {}),
    "yolov8 with masks": (named("output0 output1", *batch(np.concatenate([raw(8400, 80, False), 9 * np.ones((8400, 32))
        ], axis=1).T), np.zeros((1, 32, 160, 160))), "raw YOLOv8", {}),
    "yolov5": (named("output", *batch(raw(25200, 80, True))), "raw YOLOv5", {}),
    "yolov5, fractions": (named("output", *batch(raw(25200, 80, True) / ([SIZE] * 4 + [1] * 81))), "raw YOLOv5", {}),
    "yolox": (named("output", *batch(yolox())), "raw YOLOX", {}),
    "yolo-nas": (named("boxes scores", *batch(padded(SCENE), padded(scores_of(80)))), "a score for every class", {}),
    "pp-yoloe without nms": (named("a b", *batch(padded(SCENE), padded(scores_of(80)).T)), "score for every class", {}),
    "detr": (named("logits pred_boxes", *batch(np.log(scores_of(80) / (1 - scores_of(80))), fractions(centred(SCENE)))),
             "DETR", {}),
    "rt-detr": (named("labels boxes scores", *batch(KIND, TALL, SURE)), "boxes, scores, labels",
                {"more": {"orig_target_sizes": "tensor(int64)"}}),
    "paddledetection": (named("multiclass_nms3_0.tmp_0 multiclass_nms3_0.tmp_2", table(KIND, SURE, TALL),
        np.array([4], np.int32)), "rows", {"more": {"im_shape": "tensor(float)", "scale_factor": "tensor(float)"}}),
    "names in the model": (named("output0", *batch(table(SCENE, SURE, np.array([7, 7, 0, 7])))), "rows",
                           {"names": {0: "car", 7: "Person"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUT_CASES)
def test_every_layout_finds_the_two_people(onnx, case):
    outputs, text, how = LAYOUT_CASES[case]
    if "one class" in case:  # without the car, who would be taken for a person
        outputs = {n: np.where(a[:, 4:5] > 0.01, a, 0) for n, a in outputs.items()}
    detector, session = onnx([1, 3, SIZE, SIZE], outputs, **how)
    found = one(detector)
    np.testing.assert_allclose(found, np.column_stack([PEOPLE, SURE[:2]]), rtol=1e-4, atol=0.02)
    (line,) = [line for line in session.reported if line.startswith("detector: ")]
    assert text in line and "person is class" in line and str(list(next(iter(outputs.values())).shape)) in line
    for given in session.given:
        assert given.get("orig_target_sizes", np.array([[SIZE, SIZE]])).tolist() == [[SIZE, SIZE]]
        assert given.get("scale_factor", np.ones((1, 2))).tolist() == [[1, 1]]


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 6, 7])
@pytest.mark.parametrize("form", ["boxes scores labels", "labels boxes scores", "dets labels", "rows", "a b c"])
def test_any_number_of_detections(onnx, count, form):
    boxes = np.array([[20 * i, 10, 20 * i + 15, 60] for i in range(count)], np.float32).reshape(count, 4)
    scores, labels = np.full(count, 0.75, np.float32), np.zeros(count, np.int64)
    parts = {"boxes": boxes, "scores": scores, "labels": labels, "dets": np.column_stack([boxes, scores]),
             "rows": np.column_stack([boxes, scores, labels]), "a": boxes, "b": scores, "c": labels}  # fmt: skip
    detector, _ = onnx([1, 3, SIZE, SIZE], {name: parts[name][None] for name in form.split()})
    np.testing.assert_allclose(one(detector), np.column_stack([boxes, scores]))


def test_onnxruntime_runs_every_layout(tmp_path):
    """The same outputs as constants of real graphs."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    library = pytest.importorskip("onnx", reason="onnx, which writes the graphs, is not installed")
    helper, to_proto = library.helper, library.numpy_helper.from_array
    onnxruntime.set_default_logger_severity(3)
    kinds = {"tensor(float)": library.TensorProto.FLOAT, "tensor(int64)": library.TensorProto.INT64}
    for number, (case, (outputs, _, how)) in enumerate(LAYOUT_CASES.items()):
        if "one class" in case:
            continue
        specs = {"images": ("tensor(float)", [1, 3, SIZE, SIZE]), **{n: (k, [1, 2]) for n, k in
                 how.get("more", {}).items()}}  # fmt: skip
        inputs = [helper.make_tensor_value_info(n, kinds[k], shape) for n, (k, shape) in specs.items()]
        arrays = {n: a if a.dtype.kind == "i" else a.astype(np.float32) for n, a in outputs.items()}
        nodes = [helper.make_node("Constant", [], [n], value=to_proto(a)) for n, a in arrays.items()]
        infos = [helper.make_tensor_value_info(n, library.helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim)
                 for n, a in arrays.items()]  # fmt: skip
        model = helper.make_model(helper.make_graph(nodes, "g", inputs, infos), ir_version=8,
                                  opset_imports=[helper.make_opsetid("", 17)])  # fmt: skip
        if "names" in how:
            helper.set_model_props(model, {"names": str(how["names"])})
        path = tmp_path / f"{number}.onnx"
        library.save(model, str(path))
        found = one(open_detector(str(path), 0.5, say=lambda line: None))
        np.testing.assert_allclose(found[:, :4], PEOPLE, rtol=1e-4, atol=0.02, err_msg=case)


REAL = Path(__file__).resolve().parents[3] / "../shared"


@pytest.mark.skipif(not (REAL / "models/yolox_nano.onnx").is_file(), reason="the real detectors are not here")
def test_real_detectors_with_and_without_their_decoder_agree():
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnxruntime.set_default_logger_severity(3)
    from paddlevideo.boxes import iou
    from paddlevideo.loader.decode import open_video

    with open_video(str(REAL / "media/walkers_c.mp4")) as reader:
        frames = reader.get(range(0, 200, 40))
    say = [].append
    found = [open_detector(str(REAL / f"models/{name}.onnx"), 0.5, say=say).detect(frames, range(5))
             for name in ("yolox_person", "yolox_nano")]  # fmt: skip
    assert sum(map(len, found[0])) > 15
    for with_decoder, raw_ones in zip(*found):
        assert len(with_decoder) == len(raw_ones) and iou(with_decoder, raw_ones).max(1).min() > 0.95


@pytest.mark.parametrize(
    "labels, line",
    [
        ([1, 1, 3], "0 of 3 boxes are class 0; most frequent class 1 (2 boxes): set person_class"),
        ([0, 2, 0], "3 boxes with a score of at least 0.5, 2 of class 0 (people), 1 of other classes left out"),
    ],
)
def test_what_the_class_leaves_out_is_counted(onnx, labels, line):
    table = np.column_stack([SCENE, SURE, [*labels, 0]]).astype(np.float32)
    detector, _ = onnx([1, 3, SIZE, SIZE], {"o": table[None]})
    one(detector)
    assert line in detector.account()[0]


def test_no_person_sure_enough_is_reported(onnx):
    detector, _ = onnx([1, 3, SIZE, SIZE], {"o": ROWS[:, 3:]})
    one(detector)
    assert "0 boxes with a score of at least 0.5 in 1 frames; the highest score is 0.20" in detector.account()[0]


def test_classes_that_do_not_count_from_1_after_all_are_refused(onnx):
    detector, session = onnx([3, "h", "w"], named("boxes labels scores", SCENE, COCO_FROM_1, SURE))
    assert len(one(detector)) == 2
    session.outputs["labels"] = KIND
    with pytest.raises(UserError, match="class 0 occurs.*set person_class"):
        one(detector)


@pytest.mark.parametrize("shape, flat", [([1, 5, 5], [1, 5]), ([5, 5], [5]), ([5, 5], [1, 5])])
@pytest.mark.parametrize("first", [5, 4])
def test_five_boxes_are_not_mistaken_for_their_labels(onnx, shape, flat, first):
    boxes = np.concatenate([SCENE, CAR + 32])
    table = np.column_stack([boxes, [*SURE, 0.7]]).astype(np.float32).reshape(shape)
    labels = np.array([*KIND, 2]).reshape(flat)
    detector, session = onnx(
        [1, 3, SIZE, SIZE], {"dets": table[..., :first, :], "labels": labels[..., :first]}, person_class=0
    )
    assert len(one(detector)) == 2
    session.outputs.update(dets=table, labels=labels)
    assert len(one(detector)) == 2 and "mmdeploy" in session.reported[0]


@pytest.mark.parametrize("first", [np.array([1, 1, 3, 3]), np.array([], int)], ids=["1 and 3", "nothing"])
def test_a_picture_without_people_does_not_decide_where_classes_begin(onnx, first):
    count = len(first)
    outputs = named("boxes labels scores", SCENE[:count], first, SURE[:count])
    detector, session = onnx([3, "h", "w"], outputs)
    one(detector)
    session.outputs.update(boxes=SCENE, labels=KIND, scores=np.array([0.3, 0.3, 0.9, 0.3], np.float32))
    if count:
        assert "person is class 1, as no label is 0" in session.reported[0]
        with pytest.raises(UserError, match=r"class 0 occurs.* 1 earlier .*class 1.*person_class.*detector\.yml"):
            one(detector)
    else:
        session.outputs["scores"] = SURE
        assert len(one(detector)) == 2 and detector.person_class == 0 and len(session.reported) == 1


def test_a_paddledetection_model_in_onnx_is_prepared_by_its_infer_cfg(onnx, tmp_path):
    outputs, _, how = LAYOUT_CASES["paddledetection"]
    detector, session = onnx([1, 3, "h", "w"], outputs, **how)
    assert any("without its infer_cfg.yml" in line for line in session.reported)
    steps = [
        {"type": "Resize", "target_size": [640, 640], "keep_ratio": False},
        {"type": "NormalizeImage", "is_scale": True, "mean": [0.5] * 3, "std": [0.5] * 3},
        {"type": "Permute"},
    ]
    (tmp_path / "infer_cfg.yml").write_text(yaml.safe_dump({"Preprocess": steps, "label_list": ["person", "a", "b"]}))
    detector, session = onnx([1, 3, "h", "w"], outputs, **how)
    np.testing.assert_allclose(one(detector)[:, :4], PEOPLE, atol=0.02)
    assert session.seen[0].shape == (1, 3, 640, 640) and session.seen[0].min() == -1


def test_options_beside_the_model_are_followed(onnx):
    rows = np.array([[1, 0.75, 0.25, 0.25, 0.5, 0.75]], np.float32)
    detector, session = onnx(
        [1, "h", "w", 3], {"out": rows}, kind="tensor(uint8)", input_size=[100, 200], keep_ratio=False, layout="NHWC",
        channels="BGR", person_class=1, columns=["class", "score", "y1", "x1", "y2", "x2"], boxes="fractions",
    )  # fmt: skip
    frame = FRAME.copy()
    frame[..., 0] = 200
    np.testing.assert_allclose(one(detector, frame), [[160, 90, 480, 180, 0.75]])
    assert session.seen[0].shape == (1, 100, 200, 3) and session.seen[0].dtype == np.uint8
    assert session.seen[-1][0, 0, 0].tolist() == [0, 0, 200]


def test_a_layout_that_is_named_is_taken(onnx):
    """Decoded boxes with an objectness, at a number of places that no grid has."""
    outputs = {"o": raw(500, 3, True)[None]}
    detector, _ = onnx([1, 3, SIZE, SIZE], outputs, output="yolov5", person_class=0, max_overlap=0.7)
    np.testing.assert_allclose(one(detector)[:, :4], PEOPLE, atol=0.02)


def test_no_person_is_no_error(onnx):
    assert one(onnx([1, 3, 640, 640], {"o": np.zeros((1, 0, 6), np.float32)})[0]).shape == (0, 5)
    assert one(onnx([1, 3, 640, 640], {"o": ROWS[:, 1:2]})[0]).shape == (0, 5)


@pytest.mark.parametrize(
    "outputs, options, message",
    [
        ({"o": np.zeros((1, 84, 9), np.float32)}, {}, r"outputs are \[1, 84, 9\].*raw YOLO"),
        ({"a": np.zeros((3, 4)), "b": np.zeros(2)}, {}, r"outputs are a \[3, 4\], b \[2\]"),
        ({"o": ROWS}, {"columns": ["x1", "y1", "x2", "y2", "class"]}, "score missing"),
        ({"o": ROWS}, {"columns": ["x1", "y1", "x2", "y2", "class", "sure"]}, r"columns\[5\]: expected one of x1, y1"),
        (
            {"o": ROWS},
            {"columns": ["score", "y1", "x2", "y2", "x1", "class"]},
            "scores go from 0 to 600, expected 0 to",
        ),
        ({"o": ROWS}, {"layuot": "NHWC"}, "did you mean 'layout'"),
        ({"o": ROWS}, {"channels": "GBR"}, "channels: expected one of RGB, BGR"),
        ({"o": ROWS}, {"output": "yolo9"}, "output: expected one of tensorflow, torchvision,"),
        ({"o": ROWS}, {"output": "yolov8"}, "are not raw YOLOv8"),
        ({"o": ROWS}, {"mean": 127}, "mean: expected"),
        ({"o": ROWS}, {"mean": [1, 2]}, r"mean: expected a list of 3, got \[1, 2\]"),
        ({"o": ROWS}, {"mean": ["a", "b", "c"]}, r"mean\[0\]: expected float, got 'a'"),
        ({"o": ROWS}, {"std": [1, 0, 1]}, r"std\[1\]: expected above 0, got 0"),
        ({"o": ROWS}, {"pad_value": [1]}, r"pad_value: expected float, got \[1\]"),
        ({"o": ROWS}, {"pad_value": 300}, "pad_value: expected 0 to 255, got 300"),
        ({"o": ROWS}, {"max_overlap": "x"}, "max_overlap: expected float, got 'x'"),
        ({"o": ROWS}, {"keep_ratio": 3}, "keep_ratio: expected bool . None, got 3"),
        ({"o": ROWS}, {"input_size": [0, 640]}, r"input_size\[0\]: expected at least 1, got 0"),
        ({"o": ROWS}, {"outputs": ["nope"]}, "outputs: 'nope' is no output of the model; there are: o"),
        ({"o": ROWS}, {"person_class": "man"}, "person_class: expected int . Literal.'auto'. . None, got 'man'"),
        ({"o": ROWS}, {"more": {"prompt": "tensor(int64)"}}, r"inputs are images .*, prompt \[1, 2\]; expected one"),
        (
            {"o": ROWS},
            {"names": {0: "car", 1: "dog"}},
            "none of its classes is called person .car, dog.; set",
        ),
    ],
)
def test_a_detector_that_does_not_fit_is_explained(onnx, outputs, options, message):
    with pytest.raises(UserError, match=message):
        one(onnx([1, 3, 640, 640], outputs, **options)[0])


def test_a_model_that_cannot_be_run_is_one_line(onnx):
    detector, session = onnx([1, 3, "h", "w"], {"o": ROWS})

    def run(names, inputs):
        raise RuntimeError("Got invalid dimensions\nfor input")

    session.run = run
    with pytest.raises(UserError, match=r"cannot run it on \[1, 3, 384, 640\].*invalid dimensions.*input_size"):
        one(detector)


def test_without_onnxruntime_the_pip_line_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        open_detector(str(tmp_path / "d.onnx"))


@pytest.fixture(scope="module")
def paddle_detector(tmp_path_factory):
    """A folder as PaddleDetection writes it: the network finds the bounding box of what is bright."""
    import paddle
    from paddle import nn

    class Brightest(nn.Layer):
        def __init__(self):
            super().__init__()
            self.gain = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))

        def forward(self, image, im_shape, scale_factor):
            bright = (self.gain * image.mean(1)[0] > 0.5).astype("float32")  # [h, w]
            ys = paddle.nonzero(bright.max(1)).astype("float32").flatten()
            xs = paddle.nonzero(bright.max(0)).astype("float32").flatten()
            box = paddle.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            box = box / paddle.concat([scale_factor[0, 1:], scale_factor[0, :1]] * 2)
            people = paddle.concat([paddle.to_tensor([2.0, 0.9]), box])
            sizes = paddle.concat([paddle.to_tensor([0.0, 0.8]), im_shape[0], im_shape[0] + 5])
            return paddle.stack([sizes, people]), paddle.to_tensor([2])

    folder = tmp_path_factory.mktemp("ppyoloe")
    spec = paddle.static.InputSpec
    specs = [spec([None, 3, None, None], "float32", "image"), *(spec([None, 2], "float32", n) for n in
             ("im_shape", "scale_factor"))]  # fmt: skip
    network = Brightest()
    network.eval()
    paddle.jit.save(paddle.jit.to_static(network, input_spec=specs, full_graph=True), str(folder / "model"))
    steps = [
        {"type": "Resize", "target_size": [96, 160], "keep_ratio": False, "interp": 2},
        {"type": "NormalizeImage", "is_scale": True, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        {"type": "Permute"},
        {"type": "PadStride", "stride": 64},
    ]
    content = {"mode": "paddle", "Preprocess": steps, "label_list": ["bicycle", "car", "person"]}
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize("keep_ratio", [False, True])
def test_what_paddledetection_exported_is_run_by_its_file(paddle_detector, keep_ratio, tmp_path):
    content = yaml.safe_load((paddle_detector / "infer_cfg.yml").read_text())
    content["Preprocess"][0]["keep_ratio"] = keep_ratio
    (tmp_path / "own.json").write_text(json.dumps(content))
    frame = FRAME.copy()
    frame[0, 100:300, 200:260] = 255
    detector = open_detector(str(paddle_detector), 0.5, tmp_path / "own.json", say=lambda line: None)
    assert isinstance(detector, PaddleDetector)
    boxes = one(detector, frame)
    assert len(boxes) == 1 and boxes[0, 4] == pytest.approx(0.9)  # the other row is a bicycle
    assert "2 boxes with a score of at least 0.5, 1 of class 2 (people), 1 of other" in detector.account()[0]
    np.testing.assert_allclose(boxes[0, :4], [200, 100, 260, 300], atol=4)


def test_a_preprocessing_step_that_is_not_known_is_named(paddle_detector, tmp_path):
    (tmp_path / "own.yml").write_text("Preprocess: [{type: Resize, target_size: 64}, {type: LetterBox}]")
    with pytest.raises(UserError, match=r"Preprocess\[1\]: 'LetterBox' is not one of Resize"):
        open_detector(str(paddle_detector), options=tmp_path / "own.yml", say=lambda line: None)


def test_hog_is_reported_as_a_last_resort(monkeypatch):
    reported = []
    if hasattr(cv2, "HOGDescriptor"):
        assert one(open_detector("hog", say=reported.append)).shape == (0, 5)
        assert "last resort" in reported[0]
        monkeypatch.delattr(cv2, "HOGDescriptor")
    with pytest.raises(UserError, match="--proposals FILE or --detector MODEL.*opencv-contrib"):
        open_detector("hog")


@pytest.mark.skipif(not hasattr(cv2, "HOGDescriptor"), reason="OpenCV 5 without its contrib package has no HOG")
def test_hog_finds_a_person_who_stands_upright():
    picture, head = np.full((256, 340, 3), 190, np.uint8), 19
    cv2.ellipse(picture, (170, 64), (8, 11), 0, 0, 360, (70, 50, 40), -1)
    cv2.rectangle(picture, (170 - head + 2, 77), (170 + head - 2, 128), (40, 40, 70), -1)
    for side in (-1, 1):
        cv2.line(picture, (170 + side * head, 81), (170 + side * 25, 132), (40, 40, 70), 9)
        cv2.line(picture, (170 + side * 9, 128), (170 + side * 13, 203), (30, 30, 30), 14)
    detector = open_detector("hog", say=lambda line: None)
    (found,) = detector.detect(cv2.GaussianBlur(picture, (5, 5), 0)[None], [0.0])
    x1, y1, x2, y2 = found[0, :4]
    assert abs((x1 + x2) / 2 - 170) < 10 and abs((y1 + y2) / 2 - 128) < 15  # where the figure stands
    assert x1 < 145 and x2 > 195 and y1 < 60 and y2 > 200  # and all of it


def test_hog_cuts_its_margins(monkeypatch):
    class Hog:
        def setSVMDetector(self, detector):
            pass

        def detectMultiScale(self, picture, **options):
            return np.array([[100, 50, 100, 200]]), np.array([[0.0]])

    monkeypatch.setattr(cv2, "HOGDescriptor", Hog, raising=False)
    monkeypatch.setattr(cv2, "HOGDescriptor_getDefaultPeopleDetector", lambda: None, raising=False)
    np.testing.assert_allclose(one(open_detector("hog", say=lambda line: None)), [[110, 64, 190, 224, 0.5]])


def test_boxes_are_cut_at_the_picture_and_sorted_and_empty_ones_go():
    rows = [
        [-5, 2, 30, 40, 0.6],
        [10, 10, 10, 20, 0.9],
        [0, 0, 5, 5, 0.4],
        [50, 50, 120, 90, 0.7],
        [1, 1, 2, np.nan, 1],
    ]
    np.testing.assert_allclose(tidy(np.array(rows), 0.5, 60, 100), [[50, 50, 100, 60, 0.7], [0, 2, 30, 40, 0.6]])


@pytest.mark.parametrize("keep_ratio", [True, False])
def test_a_picture_fits_and_its_factors_lead_back(keep_ratio):
    frame = np.zeros((90, 200, 3), np.uint8)
    frame[30:60, 50:150] = 255
    picture, (fy, fx) = fitted(frame, (128, 96), keep_ratio, 0)
    assert picture.shape == (128, 96, 3)
    ys, xs = np.nonzero(picture[..., 0] > 127)
    corners = [xs.min() / fx, ys.min() / fy, (xs.max() + 1) / fx, (ys.max() + 1) / fy]
    np.testing.assert_allclose(corners, [50, 30, 150, 60], atol=2.5)


@pytest.mark.parametrize("page", ["files.md", "files_zh-CN.md"])
def test_the_page_names_every_layout_and_its_options_are_accepted(page, tmp_path):
    text = (Path(__file__).resolve().parents[3] / "docs" / page).read_text(encoding="utf-8")
    text = text[text.rindex("\n## ") :]  # Detectors
    named = {
        name for cell in re.findall(r"^\|[^|]*\|([^|]*)\|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert named - {"output"} == {layout.name for layout in LAYOUTS}
    (tmp_path / "o.yml").write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8")
    assert read_options(tmp_path / "o.yml").columns == ["y1", "x1", "y2", "x2"]
