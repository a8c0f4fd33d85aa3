"""Golden cases of long-term feature banks: bank, window, feature bank operator and classifier in a row."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import golden
from tests.parity.cases import checks, require

_TOLERANCE = 1e-4  # of the greatest absolute value
_HEAD, _CLASSIFIER = "roi_head.shared_head.", "roi_head.bbox_head.fc_cls."
_RENAMED = {"type": "fbo"}
_FIXED_BY_THE_WINDOW = ("num_st_feat", "num_lt_feat")


def check_lfb(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """The logits, and the sum of the slots of every second.

    The reference draws the order of a second's features; all are taken, so it only moves the rounding.
    """
    import paddle
    from paddle.nn import functional as F

    seed, reference = case["seed"], case["reference"]
    weights = golden.weights(seed, case["state_dict"], case["layout"], case.get("gain", 1.0))
    notes = []
    if not np.allclose(golden.checksum(weights), case["weights_checksum"], rtol=1e-9, atol=1e-6):
        notes.append(f"weights: checksum {golden.checksum(weights)}, expected {case['weights_checksum']}")
    entries = {entry["name"]: entry for entry in case["inputs"]}
    features = golden.make_input(seed, entries["roi_features"])
    owner = arrays["image_of_box"].astype("int64")
    windows = _windows(case, entries["bank"])
    long_term, filled = (np.stack(part) for part in zip(*windows))

    (head_class,) = require("modeling.heads.fbo_head", "FBOHead")
    given = {_RENAMED.get(k, k): v for k, v in reference["shared_head"]["fbo_cfg"].items()}
    given = {k: v for k, v in given.items() if k not in _FIXED_BY_THE_WINDOW}
    sizes = {"st_feat_channels": features.shape[1], "lt_feat_channels": long_term.shape[-1]}
    head = head_class(**{**sizes, **given})
    head.eval()
    own = head.convert({k[len(_HEAD) :]: v for k, v in weights.items() if k.startswith(_HEAD)}, "mmaction2")
    missing, unexpected = head.set_state_dict(own)
    notes += [f"weights: {name} has no counterpart" for name in (*missing, *unexpected)]
    tensors = (paddle.to_tensor(v) for v in (features, owner, long_term, filled))
    with paddle.no_grad():
        out = head(*tensors).flatten(1)
        logits = F.linear(out, paddle.to_tensor(weights[_CLASSIFIER + "weight"].T.copy())).numpy()
    logits = logits + weights[_CLASSIFIER + "bias"]
    error = _difference("logits", logits, arrays["logits"], notes)
    _compare_layer("mid/roi_head.shared_head", out.numpy(), arrays, notes)
    sums = long_term[owner].reshape(len(owner), -1, reference["shared_head"]["lfb_cfg"]["max_num_sampled_feat"],
                                    long_term.shape[-1]).sum(2)  # fmt: skip
    _compare_layer("mid/long_term_sum_per_second", sums.transpose(0, 2, 1), arrays, notes)
    return error, notes


def _windows(case: Mapping[str, Any], entry: Mapping[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    write_bank, frame_class, window_class = require("loader.feature_bank", "write_bank", "BankFrame", "LongTermWindow")
    frames = []
    for video, second, count in entry["entries"]:
        rng = golden.draw(case["seed"], f"bank/{video}/{second}")
        frames.append(frame_class(video, second, rng.standard_normal((count, entry["channels"])).astype("float32")))
    options = case["reference"]["shared_head"]["lfb_cfg"]
    with tempfile.TemporaryDirectory() as folder:
        write_bank(Path(folder) / "golden.bank", frames)
        window = window_class([Path(folder) / "golden.bank"], options["window_size"], options["max_num_sampled_feat"])
        keys = [key.split(",") for key in case["img_keys"]]
        return [window(video, int(second), None) for video, second in keys]


def _compare_layer(name: str, value: np.ndarray, arrays: Mapping[str, np.ndarray], notes: list[str]) -> None:
    flat = value.reshape(-1)
    _difference(f"{name}/first", flat[:64], arrays[f"{name}/first"], notes)
    _difference(f"{name}/spread", flat[(np.arange(64) * flat.size) // 64], arrays[f"{name}/spread"], notes)


def _difference(what: str, value: np.ndarray, expected: np.ndarray, notes: list[str]) -> float:
    error = float(golden.differences(value, expected).max()) / max(golden.magnitude(expected), 1e-12)
    if not error <= _TOLERANCE:
        notes.append(f"{what}: differs by {error:.1e} of the scale")
    return error


for _kind in ("non_local", "avg", "max"):
    for _size in ("small", "full"):
        checks(f"lfb_{_kind}_{_size}")(check_lfb)
