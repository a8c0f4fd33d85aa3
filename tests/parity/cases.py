"""Golden cases that are not networks: rates, frame indices, losses, accuracies, precisions of boxes.

A checker takes (case, arrays) and returns the largest error relative to the values' scale, and notes on what differs.
The case is its json file, and ``folder``, where that stands.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import golden

Checker = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], tuple[float, list[str]]]

CHECKERS: dict[str, Checker] = {}
_SHOWN = 3


class Unavailable(Exception):
    """This suite has no code for a case yet; the text says for what."""


def checks(name: str) -> Callable[[Checker], Checker]:
    """Registers the checker of the case called ``name``."""

    def decorate(function: Checker) -> Checker:
        CHECKERS[name] = function
        return function

    return decorate


def require(module: str, *names: str) -> list[Any]:
    """Attributes of a module of this suite.

    Raises:
        Unavailable: it is not there yet.
    """
    try:
        found = importlib.import_module(f"paddlevideo.{module}")
        return [getattr(found, name) for name in names]
    except ModuleNotFoundError as error:
        raise Unavailable(f"no {error.name}") from None
    except AttributeError as error:
        raise Unavailable(str(error)) from None


@checks("head_loss")
def check_head_loss(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """Cross entropy with hard, smoothed and mixed labels."""
    import paddle

    (loss_class,) = require("modeling.losses.cross_entropy", "CrossEntropyLoss")
    figures: list[tuple[str, float, float]] = []
    for entry in case["cases"]:
        number, classes = entry["case"], entry["num_classes"]
        logits = paddle.to_tensor(arrays[f"{number}/logits"])
        first, second = (arrays[f"{number}/{name}"] for name in ("labels", "labels_b"))
        smooth, plain = loss_class(ls_eps=entry["ls_eps"]), loss_class()
        eye, lam = np.eye(classes, dtype="float32"), entry["lam"]
        mixed = paddle.to_tensor((lam * eye[first.reshape(-1)] + (1 - lam) * eye[second.reshape(-1)]).astype("float32"))
        hard = paddle.to_tensor(first)
        figures += [
            (f"{number}/train", float(smooth(logits, hard)), entry["train"]["loss"]),
            (f"{number}/valid", float(plain(logits, hard)), entry["valid"]["loss"]),
            (f"{number}/mixup", float(smooth(logits, mixed)), entry["mixup"]["loss"]),
        ]
    return _figures(figures, 1e-5)


@checks("pv_dml_losses")
def check_mutual_learning(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """The three losses of PP-TSM v2's mutual learning, with labels and with mixed ones, and both sides' gradients."""
    import paddle

    labels_loss, mutual_loss = require("modeling.losses.distillation", "DistillationCELoss", "DistillationDMLLoss")
    seed, figures, notes, worst = case["seed"], [], [], 0.0
    for entry in case["cases"]:
        number, shape = entry["case"], [entry["clips"], entry["classes"]]
        sides = {
            name: paddle.to_tensor(
                np.float32(factor) * golden.draw(seed, f"{number}/{name}").standard_normal(shape).astype("float32"),
                stop_gradient=False,
            )
            for name, factor in (("student", 1.5), ("teacher", 2.5))
        }
        eye, lam = np.eye(entry["classes"], dtype="float32"), entry["lam"]
        first, second = (eye[arrays[f"{number}/{name}"].reshape(-1)] for name in ("labels", "labels_b"))
        mutual = mutual_loss()(sides["student"], sides["teacher"])
        for kind, target in (("mixup", lam * first + (1 - lam) * second), ("plain", first)):
            target = paddle.to_tensor(target.astype("float32"))
            terms = {name: labels_loss().of_labels(logits, target) for name, logits in sides.items()}
            total = terms["student"] + terms["teacher"] + mutual
            given = {**terms, "dml": mutual, "total": total}
            figures += [(f"{number}/{kind}/{key}", float(given[key]), value) for key, value in entry[kind].items()]
        total.backward()
        for name, logits in sides.items():
            wanted = arrays[f"{number}/grad_{name}"]
            difference = float(np.abs(logits.grad.numpy()[:, : wanted.shape[1]] - wanted).max())
            worst = max(worst, difference)
            notes += [f"{number}/grad_{name}: differs by {difference:.1e}"] if not difference <= 1e-6 else []
    error, more = _figures(figures, 1e-5)
    return max(worst, error), notes + more


@checks("lr_schedules")
def check_schedules(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """The rate of every iteration."""
    (build_lr,) = require("solver.lr", "build_lr")
    worst, notes = 0.0, []
    for entry in case["cases"]:
        section = {"name": entry["class"], "iter_step": True, **entry["kwargs"]}
        schedule = build_lr(section, entry["kwargs"]["num_iters"], 1)
        expected = arrays[entry["case"]].reshape(-1)
        rates = [schedule.rate(0, step) for step in range(len(expected))]
        difference = np.abs(np.array(rates) - expected)
        worst = max(worst, float(difference.max() / np.abs(expected).max()))
        if not np.allclose(rates, expected, rtol=1e-6, atol=1e-12):
            step = int(np.argmax(difference))
            notes.append(f"{entry['case']}: step {step} has {rates[step]:.8g}, expected {expected[step]:.8g}")
    return worst, notes


@checks("accuracy")
def check_accuracy(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """Top-k, mean class accuracy, the two average precisions, confusion matrices."""
    top_k, mean_class, mean_ap, mmit_ap = require(
        "metrics.topk", "top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision"
    )
    (confusion,) = require("metrics.confusion", "confusion_matrix")
    figures, notes = [], []
    for entry in case["cases"]:
        number = entry["case"]
        scores, labels, hot = (arrays[f"{number}/{name}"] for name in ("scores", "labels", "multi_hot"))
        for k, value in entry["top_k"].items():
            figures.append((f"{number}/top{k}", top_k(scores, labels, [int(k)])[0], value))
        figures.append((f"{number}/mean_class", mean_class(scores, labels), entry["mean_class_accuracy"]))
        figures.append((f"{number}/mAP", mean_ap(scores, hot), entry["mean_average_precision"]))
        figures.append((f"{number}/mmit", mmit_ap(scores, hot), entry["mmit_mean_average_precision"]))
        wanted = arrays.get(f"{number}/confusion")
        if wanted is not None and not np.array_equal(confusion(scores, labels, len(wanted)), wanted):
            notes.append(f"{number}/confusion: differs")
    worst, more = _figures(figures, 1e-6)
    return worst, notes + more


@checks("sampler_valid_mode")
def check_sampler(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """PaddleVideo's ``Sampler`` without randomness.

    Here everything counts from 0: the reference adds 1 for folders of frames, and for ``dense_sample`` always.  Where
    it names files behind a folder's last one (segments longer than the folder), this suite wraps around.
    """
    (sampler_class,) = require("loader.pipelines.sampling", "Sampler")

    def compute(row: list[Any]) -> np.ndarray:
        num_seg, seg_len, options, frames, _ = row
        options = dict(options)
        window = (options.pop("start_idx"), options.pop("end_idx")) if "start_idx" in options else None
        sampler = sampler_class(num_seg=num_seg, seg_len=seg_len, valid_mode=True, **options)
        return sampler.indices(frames, np.random.default_rng(0), window)

    def expect(row: list[Any], expected: list[int]) -> list[int]:
        _, _, options, frames, kind = row
        offset = 1 if kind == "frame" or "dense_sample" in options else 0
        indices = [index - offset for index in expected]
        return [index % frames for index in indices] if kind == "frame" and not options else indices

    return _rows(case, compute, expect)


@checks("sample_frames_test_mode")
def check_sample_frames(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """MMAction2's ``SampleFrames`` in test mode; ``start_index`` is the reader's matter here and is added."""
    offsets_of, indices_of = require("loader.pipelines.sampling", "clip_offsets", "clip_indices")

    def compute(row: list[Any]) -> np.ndarray:
        frames, clip_len, interval, clips, twice, bound, start, tail = row
        offsets = offsets_of(frames, clip_len, interval, clips, None, bool(twice), bool(tail))
        return indices_of(frames, offsets, clip_len, interval, bound) + start

    return _rows(case, compute)


@checks("sample_ava_frames_test_mode")
def check_sample_ava(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """MMAction2's ``SampleAVAFrames`` in test mode; it counts frames from 1 and adds ``start_index`` behind that."""
    (clip_around,) = require("loader.pipelines.ava_sampling", "clip_around")

    def compute(row: list[Any]) -> np.ndarray:
        clip_len, interval, fps, second, begin, shot, start = row
        return clip_around(fps * (second - begin) + 1, clip_len, interval, tuple(shot)) + start

    return _rows(case, compute)


@checks("pv_sample_ava_frames_without_jitter")
def check_pv_sample_ava(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """PaddleVideo's ``SampleAVAFrames``, without and with its draws; it has no use for ``start_index``."""
    (clip_around,) = require("loader.pipelines.ava_sampling", "clip_around")

    def compute(row: list[Any]) -> np.ndarray:
        clip_len, interval, fps, second, begin, shot, _, (low, high) = row
        centre = fps * (second - begin) + 1
        plain = clip_around(centre, clip_len, interval, tuple(shot))
        # far from both ends nothing is clipped, and the draws show
        drawn = clip_around(10**6, 999, interval, (0, None), np.random.default_rng(0))
        moved = np.unique(drawn - clip_around(10**6, 999, interval, (0, None)))
        if [low, high - 1] != [moved[0], moved[-1]]:
            raise ValueError(f"moved by {moved[0]}..{moved[-1]}, expected {low}..{high - 1}")
        return plain

    return _rows(case, compute)


@checks("ava_map_fixture")
@checks("ava_map_synthetic")
def check_ava_map(case: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[float, list[str]]:
    """Frame-mAP of AVA: as it is, with excluded key frames, with some classes only."""
    read, score_csv = require("metrics.ava_evaluation", "read_ground_truth", "score_csv")
    folder = Path(case["folder"])
    gt, labels, excluded, found = (
        folder / f"{case['name']}_{kind}" for kind in ("gt.csv", "action_list.txt", "excluded.csv", "pred.csv")
    )
    options = {"all": {}, "with_exclusions": {"exclude_file": excluded}, "custom_classes": {}}
    if "custom_classes" in case:
        options["custom_classes"] = {"custom_classes": case["custom_classes"]["classes"]}
    figures = []
    for variant, entry in {"all": case, **case}.items():
        if not (isinstance(entry, Mapping) and "result" in entry):
            continue
        evaluation, _ = score_csv(found, read(gt, labels, **options[variant]))
        ours = {row["name"]: row["average_precision"] for row in evaluation.classes} | evaluation.figures
        wanted = {**entry["per_class"], **entry["result"]}
        figures += [(f"{variant}/{name}", ours.get(name, np.nan), value) for name, value in wanted.items()]
    return _figures(figures, 1e-6)


def _rows(
    case: Mapping[str, Any],
    compute: Callable[[list[Any]], Any],
    expect: Callable[[list[Any], list[int]], list[int]] = lambda row, expected: expected,
) -> tuple[float, list[str]]:
    """Rows whose last column is what the others give; an exception of the reference (a string) wants one here too."""
    wrong = []
    for *row, expected in case["rows"]:
        expected = expected if isinstance(expected, str) else expect(row, expected)
        try:
            got = [int(i) for i in np.asarray(compute(row)).reshape(-1)]
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        if isinstance(expected, str) != isinstance(got, str) or (not isinstance(expected, str) and got != expected):
            wrong.append(f"{row}: {got}, expected {expected}")
    notes = wrong[:_SHOWN]
    if len(wrong) > _SHOWN:
        notes.append(f"... and {len(wrong) - _SHOWN} more of {len(case['rows'])} rows")
    return len(wrong) / len(case["rows"]), notes


def _figures(figures: list[tuple[str, float, float]], tolerance: float) -> tuple[float, list[str]]:
    errors = [
        float(golden.differences(ours, theirs)) / max(1.0, golden.magnitude(theirs)) for _, ours, theirs in figures
    ]
    notes = [
        f"{name}: {ours:.6f}, expected {theirs:.6f}"
        for (name, ours, theirs), error in zip(figures, errors, strict=True)
        if error > tolerance
    ]
    return max(errors), notes
