"""Where people come from: files of boxes, ONNX and Paddle detectors, and OpenCV's HOG."""

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.ava_files import write_proposals
from paddlevideo.errors import UserError
from paddlevideo.inference.people import ProposalFile, open_detector, tidy
from paddlevideo.inference.person_models import PaddleDetector, fitted

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

    def __init__(self, shape, outputs, kind="tensor(float)"):
        self._input = SimpleNamespace(name="images", shape=shape, type=kind)
        self.outputs, self.seen = outputs, []

    def get_inputs(self):
        return [self._input]

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self.outputs]

    def run(self, names, inputs):
        self.seen.append(inputs["images"])
        return list(self.outputs.values())


@pytest.fixture
def onnx(tmp_path, monkeypatch):
    """onnx(shape, outputs, **options) -> detector, session."""

    def make(shape, outputs, kind="tensor(float)", **options):
        session = FakeSession(shape, outputs, kind)
        module = SimpleNamespace(
            InferenceSession=lambda path, providers: session, get_available_providers=lambda: ["CPUExecutionProvider"]
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        path = tmp_path / "detector.onnx"
        path.write_bytes(b"")
        if options:
            path.with_suffix(".yml").write_text(yaml.safe_dump(options))
        return open_detector(str(path), 0.5), session

    return make


ROWS = np.array([[[64, 64, 128, 256, 0.9, 0], [0, 0, 50, 50, 0.8, 5], [600, 100, 700, 330, 0.95, 0],
                  [9, 9, 99, 99, 0.2, 0]]], np.float32)  # fmt: skip


def test_rows_of_a_yolo_come_back_in_pixels_of_the_picture(onnx):
    detector, session = onnx([1, 3, 640, 640], {"output0": ROWS})
    frame = np.full((1, 720, 1280, 3), 255, np.uint8)
    np.testing.assert_allclose(one(detector, frame), [[1200, 200, 1280, 660, 0.95], [128, 128, 256, 512, 0.9]])
    seen = session.seen[0]
    assert seen.shape == (1, 3, 640, 640) and seen.dtype == np.float32
    np.testing.assert_allclose(seen[0, :, :360], 1.0)
    np.testing.assert_allclose(seen[0, :, 360:], 114 / 255)


def test_boxes_scores_and_labels_by_name_or_by_shape(onnx):
    boxes, scores, labels = ROWS[0, :, :4], ROWS[0, :, 4], np.array([1, 2, 1, 1])
    wanted = [[600, 100, 640, 330, 0.95], [64, 64, 128, 256, 0.9]]
    for names in (("boxes", "labels", "scores"), ("a", "b", "c")):
        outputs = dict(zip(names, (boxes, labels, scores)))
        detector, session = onnx([3, "h", "w"], outputs, person_class=1)
        np.testing.assert_allclose(one(detector), wanted)
        assert session.seen[0].shape == (3, 360, 640)  # as torchvision's: the picture's own size, no batch


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
    assert session.seen[0][0, 0, 0].tolist() == [0, 0, 200]


def test_nobody_is_no_error(onnx):
    assert one(onnx([1, 3, 640, 640], {"o": np.zeros((1, 0, 6), np.float32)})[0]).shape == (0, 5)
    assert one(onnx([1, 3, 640, 640], {"o": ROWS[:, 1:2]})[0]).shape == (0, 5)


@pytest.mark.parametrize(
    "outputs, options, message",
    [
        ({"o": np.zeros((1, 84, 8400), np.float32)}, {}, r"output o is \[84, 8400\].*NMS"),
        ({"a": np.zeros((3, 4)), "b": np.zeros(2)}, {}, r"outputs are a \[3, 4\], b \[2\]"),
        ({"o": ROWS}, {"columns": ["x1", "y1", "x2", "y2", "class", "sure"]}, "score missing"),
        ({"o": ROWS}, {"layuot": "NHWC"}, "did you mean 'layout'"),
        ({"o": ROWS}, {"channels": "GBR"}, "expected RGB or BGR"),
        ({"o": ROWS}, {"mean": 127}, "mean: expected 3 numbers"),
    ],
)
def test_a_detector_that_does_not_fit_is_explained(onnx, outputs, options, message):
    with pytest.raises(UserError, match=message):
        one(onnx([1, 3, 640, 640], outputs, **options)[0])


def test_without_onnxruntime_the_pip_line_is_said(tmp_path, monkeypatch):
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
def test_what_paddledetection_exported_is_run_as_it_says(paddle_detector, keep_ratio, tmp_path):
    content = yaml.safe_load((paddle_detector / "infer_cfg.yml").read_text())
    content["Preprocess"][0]["keep_ratio"] = keep_ratio
    (tmp_path / "own.json").write_text(json.dumps(content))
    frame = FRAME.copy()
    frame[0, 100:300, 200:260] = 255
    detector = open_detector(str(paddle_detector), 0.5, tmp_path / "own.json", say=lambda line: None)
    assert isinstance(detector, PaddleDetector)
    boxes = one(detector, frame)
    assert len(boxes) == 1 and boxes[0, 4] == pytest.approx(0.9)  # the other row is a bicycle
    np.testing.assert_allclose(boxes[0, :4], [200, 100, 260, 300], atol=4)


def test_a_preprocessing_step_that_is_not_known_is_named(paddle_detector, tmp_path):
    (tmp_path / "own.yml").write_text("Preprocess: [{type: Resize, target_size: 64}, {type: LetterBox}]")
    with pytest.raises(UserError, match=r"Preprocess\[1\]: 'LetterBox' is not one of Resize"):
        open_detector(str(paddle_detector), options=tmp_path / "own.yml", say=lambda line: None)


def test_hog_is_said_to_be_a_last_resort_or_the_way_out_is(monkeypatch):
    said = []
    if hasattr(cv2, "HOGDescriptor"):
        assert one(open_detector("hog", say=said.append)).shape == (0, 5)
        assert "last resort" in said[0]
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
