"""Golden cases of pixels: what PaddleVideo's spatial operators make of pictures, and where they cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.parity import golden
from tests.parity.cases import checks, require

_ABSENT = "MultiCenterCrop"  # TokenShift's alone, a network that is not here
_HALF = {"mean": [0.45] * 3, "std": [0.225] * 3}  # with which the case's floats were normalised


@checks("pv_resize")
def check_resize(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """Pillow's pixels bit for bit, OpenCV's within one level, floats within 1e-5 of their scale; boxes exactly.

    The error is in grey levels of 255, or in normalised values for floats.
    """
    frames = {entry["name"]: _frames(case["seed"], entry) for entry in case["inputs"]}
    worst, notes = 0.0, []
    for entry in case["cases"]:
        name, wanted = f"{entry['case']} ({entry['operator']} {entry['arguments']})", arrays[entry["case"]]
        try:
            got = _in_layout_of(wanted, _result(entry, frames[entry["frames"]]))
        except _Differs as difference:
            notes.append(f"{name}: {difference}")
            continue
        if got.shape != wanted.shape:
            notes.append(f"{name}: {list(got.shape)}, expected {list(wanted.shape)}")
            continue
        difference = float(np.abs(got.astype(np.float32) - wanted).max())
        worst = max(worst, difference / (255 if wanted.dtype == np.uint8 else 1))
        exact = wanted.dtype == np.uint8 and entry["arguments"].get("backend") != "cv2"
        scale = 1e-5 * max(1.0, float(np.abs(wanted).max()))
        if difference > (0 if exact else 1 if wanted.dtype == np.uint8 else scale):
            notes.append(f"{name}: differs by {difference:.3g}")
    for entry in case["crops"]:
        if entry["operator"] != _ABSENT and (boxes := _boxes(entry)) != entry["boxes"]:
            notes.append(f"{entry['operator']} of {entry['width']} x {entry['height']}: {boxes}, not {entry['boxes']}")
    return worst, notes


class _Differs(Exception):
    """What differs before a picture is compared."""


def _operator(name: str, arguments: Mapping[str, Any]) -> Any:
    (registry,) = require("registry", "TRANSFORMS")
    return registry.build({"name": name, **arguments}, "case")


def _frames(seed: int, entry: Mapping[str, Any]) -> np.ndarray:
    """uint8 [1, T, H, W, 3]."""
    x = golden.dense_input(seed, entry["name"], entry["shape"], entry["cell"]).astype(np.float64)
    return np.clip(np.floor(128 + 48 * x + 0.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)[None]


def _result(entry: Mapping[str, Any], clip: np.ndarray) -> np.ndarray:
    """What the case's operators make of the clip, [V, T, H, W, 3]."""
    sample, rng = {"imgs": clip}, np.random.default_rng(0)
    steps = entry["arguments"] if entry["operator"] == "chain" else [(entry["operator"], entry["arguments"])]
    operators = [_operator(*step) for step in ([entry["after"]] if "after" in entry else []) + list(steps)]
    if entry["given"].startswith("pyav"):
        decoder = _operator("VideoDecoder", {"backend": "pyav"})
        operators = [_operator("Normalization", {**_HALF, "device": False}), *operators]
        operators[1].settle([decoder])
    if entry["operator"] == "MultiScaleCrop":
        return _drawn_crop(operators[0], entry, clip)
    for op in operators:
        if type(op).__name__ == "Normalization":
            op.on_device = False
        sample = op(sample, rng)
    return sample["imgs"]


def _drawn_crop(op: Any, entry: Mapping[str, Any], clip: np.ndarray) -> np.ndarray:
    (rounded_box,) = require("loader.pipelines.cropping", "rounded_box")
    height, width = clip.shape[2:4]
    (w, h), (x, y), (left, top, right, bottom) = entry["drawn_size"], entry["drawn_offset"], entry["box"]
    sizes, places = op.sizes(height, width), op.places(height - h, width - w)
    if (h, w) not in sizes or len(sizes) != entry["sizes_to_draw_from"]:
        raise _Differs(f"draws from {sizes}, not {h} x {w} among {entry['sizes_to_draw_from']}")
    if entry["places_to_draw_from"] and ((y, x) not in places or len(places) != entry["places_to_draw_from"]):
        raise _Differs(f"draws from {places}, not {(y, x)} among {entry['places_to_draw_from']}")
    box = rounded_box(y, x, h, w)
    if box != (top, left, bottom - top, right - left):
        raise _Differs(f"cuts {box}, expected {entry['box']}")
    return op.cut({"imgs": clip}, *box)["imgs"]


def _in_layout_of(wanted: np.ndarray, imgs: np.ndarray) -> np.ndarray:
    """[V, T, H, W, 3] as the stored array has it: pictures, or floats [T, C, H, W] or [C, T, H, W]."""
    pictures = imgs.reshape(-1, *imgs.shape[2:])
    if wanted.dtype == np.uint8:
        return pictures[: len(wanted)]
    return pictures[:1].transpose((0, 3, 1, 2) if wanted.shape[1] == 3 else (3, 0, 1, 2))[: len(wanted)]


def _boxes(entry: Mapping[str, Any]) -> list[list[int]]:
    """Left, top, right, bottom of each crop: of its first pixel, and one behind its last one, mirrored or not."""
    clip = np.zeros((1, 1, entry["height"], entry["width"], 3), np.uint8)
    clip[..., 0], clip[..., 1] = np.arange(entry["height"])[:, None], np.arange(entry["width"])
    views = _operator(entry["operator"], entry["arguments"])({"imgs": clip}, np.random.default_rng(0))["imgs"]
    found = []
    for view in views[:, 0].astype(int):
        (top, left), (bottom, right) = view[0, 0, :2].tolist(), view[-1, -1, :2].tolist()
        found.append([left, top, right + 1, bottom + 1])
    if "sample" in entry:  # PaddleVideo makes a sample of each crop
        found = [found[entry["sample"]["spatial_sample_index"]]]
    return found
