"""Golden cases of detectors: their sections, boxes, and the figures that only they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.parity import golden
from tests.parity.cases import Unavailable, checks, require

_RTOL = 1e-4
_EXTRACTOR = "roi_head.bbox_roi_extractor"
_LOSSES = {"loss": "loss", "loss_action_cls": "loss"}


def is_detector(case: Mapping[str, Any]) -> bool:
    """Whether a case is a network that classifies boxes."""
    return str(case["reference"].get("framework")).split(" ")[0] == "FastRCNN"


def head_section(reference: Mapping[str, Any]) -> dict[str, Any]:
    """MODEL.head of a case: PaddleVideo's as it is, MMAction2's from its parts, whose arguments are ours."""
    if "head" in reference:
        return dict(reference["head"])
    parts = {key: reference.get(key) for key in ("bbox_roi_extractor", "bbox_head", "shared_head")}
    named = {key: {"name": spec["type"], **spec} for key, spec in parts.items() if spec}
    for spec in named.values():
        spec.pop("type")
    return {"name": "AVARoIHead", **named}


def watched_name(name: str) -> str:
    """The extractor here gives its map, too, which not every reference does."""
    return f"{_EXTRACTOR}#0" if name == _EXTRACTOR else name


def boxes_of(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The boxes of each picture, float32 [R, 4]; they are in the case besides, and must follow from its formula."""
    found = []
    for entry in case["inputs"]:
        if entry["kind"] == "boxes":
            boxes = golden.boxes(case["seed"], entry["name"], entry["count"], entry["width"], entry["height"])
            if not np.array_equal(boxes, arrays[entry["name"]]):
                raise Unavailable(f"boxes {entry['name']}, which do not follow from the formula")
            found.append(boxes)
    return found


def logits_of(network: Any, clips: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
    """Logits [R, K] of clips [N, 1, T, H, W, 3]."""
    import paddle

    counts = np.array([len(own) for own in boxes], "int32")
    arrays = (np.ascontiguousarray(clips), np.concatenate(boxes), counts)
    with paddle.no_grad():
        return network.box_logits(*map(paddle.to_tensor, arrays)).numpy()


def check_figures(
    network: Any, clips: np.ndarray, boxes: list[np.ndarray], logits: np.ndarray, expected: Mapping[str, np.ndarray]
) -> list[str]:
    """Notes on scores, losses, figures of training, assignment and boxes without area that differ."""
    import paddle

    notes: list[str] = []
    first = len(boxes[0])
    head = network.roi_head.bbox_head
    scores = head.scores(paddle.to_tensor(logits)).numpy()
    for name, value in (("scores", scores), ("result/plain/scores", scores[:first])):
        if name in expected:
            _compare(name, value, expected[name], notes)
    if "result/first_image" in expected:  # [K - 1, R, 5]
        _compare("result/first_image", scores[:first, 1:].T, expected["result/first_image"][..., 4], notes)
    if "result/thr0.5/counts" in expected:
        _compare("result/thr0.5", (scores[:first, 1:] > 0.5).sum(0), expected["result/thr0.5/counts"], notes)
    if "zero_area/logits" in expected:
        got = logits_of(network, clips[:1], [expected["zero_area/boxes"]])
        _compare("zero_area", got, expected["zero_area/logits"], notes)
    if "train/labels" in expected:
        own = head.loss(paddle.to_tensor(logits), paddle.to_tensor(expected["train/labels"]))
        _compare_figures(own, expected, notes)
    elif "train/gt_boxes0" in expected:
        _check_training(network, clips, boxes, expected, notes)
    return notes


def _check_training(
    network: Any, clips: np.ndarray, boxes: list[np.ndarray], expected: Mapping[str, np.ndarray], notes: list[str]
) -> None:
    import paddle

    truth, labels = ([expected[f"train/gt_{kind}{i}"] for i in range(len(boxes))] for kind in ("boxes", "labels"))
    for i, (own, gt) in enumerate(zip(boxes, truth)):
        got = network.roi_head.assigner.assign(own, gt)
        if got.tolist() != expected[f"train/assigned{i}"].tolist():
            notes.append(f"train/assigned{i}: {got.tolist()}, expected {expected[f'train/assigned{i}'].tolist()}")
    batch = {
        "imgs": np.ascontiguousarray(clips),
        "boxes": np.concatenate(boxes),
        "boxes_num": np.array([len(own) for own in boxes], "int32"),
        "gt_boxes": np.concatenate(truth),
        "gt_boxes_num": np.array([len(gt) for gt in truth], "int32"),
        "gt_labels": np.concatenate(labels),
    }
    with paddle.no_grad():
        own = network({key: paddle.to_tensor(value) for key, value in batch.items()}, mode="loss")
    _compare_figures(own, expected, notes)


def _compare_figures(own: Mapping[str, Any], expected: Mapping[str, np.ndarray], notes: list[str]) -> None:
    for key, value in expected.items():
        group, _, name = key.partition("/")
        if group == "train" and value.ndim == 0:
            _compare(key, np.asarray(float(own[_LOSSES.get(name, name)])), value, notes)


def _compare(what: str, value: np.ndarray, expected: np.ndarray, notes: list[str]) -> float:
    scale = max(golden.magnitude(expected), 1e-3)
    error = float(golden.differences(value, expected).max()) / scale
    if not error <= _RTOL:
        notes.append(f"{what}: differs by {error:.1e} of the scale")
    return error


@checks("bbox_head_loss")
def check_bbox_head_loss(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """Losses, their gradients and the figures of training, on given logits."""
    import paddle

    (head_class,) = require("modeling.heads.bbox_head_ava", "BBoxHeadAVA")
    worst, notes = 0.0, []
    for entry in case["cases"]:
        number = entry["case"]
        options = {key: entry[key] for key in ("num_classes", "multilabel", "focal_alpha", "focal_gamma")}
        head = head_class(in_channels=1, **options)
        logits = paddle.to_tensor(arrays[f"{number}/logits"], stop_gradient=False)
        own = head.loss(logits, paddle.to_tensor(arrays[f"{number}/labels"]))
        own["loss"].backward()
        for name, value in entry["losses"].items():
            got = np.asarray(float(own[_LOSSES.get(name, name)]))
            worst = max(worst, _compare(f"{number}/{name}", got, np.asarray(value), notes))
        got = logits.grad.numpy()
        worst = max(worst, _compare(f"{number}/gradient", got, arrays[f"{number}/gradient"], notes))
    return worst, notes
