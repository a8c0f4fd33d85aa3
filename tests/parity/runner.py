"""Golden parity: is this suite's network the reference's network, number by number?

A case names the reference's classes and arguments, the formula's seed, and what the reference gave.  Here the network
is built from the case's own ``reference`` section, filled by the formula (through the converter where the layout is
torch), run, and compared: checksum of the weights, outputs of named layers, logits, losses, averages over views.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.registry import BACKBONES, FRAMEWORKS, HEADS
from tests.parity import (
    detection,
    golden,
    lfb,  # noqa: F401  (it registers its cases)
    pixels,  # noqa: F401  (likewise)
)
from tests.parity.cases import CHECKERS, Unavailable
from tests.parity.names import layer_name, translate

OK, DIFFERS, MISSING = "ok", "DIFFERS", "no model yet"

RTOL, ATOL = 1e-4, 1e-5  # of a value, and of the greatest absolute value among those compared
_MID_TOLERANCE = 5e-5  # of a layer's greatest absolute value; rounding stays below 1e-5, an error is far greater


@dataclass
class Row:
    """One case's status, largest error relative to the logits' scale, and first layer that differs."""

    name: str
    status: str
    error: float | None = None
    layer: str = ""
    notes: list[str] = field(default_factory=list)


def check(paths: list[str]) -> Iterator[Row]:
    """A row per case below ``paths`` (case files, or folders of them), as soon as it is known.

    Raises:
        UserError: a path is missing or is no case.
    """
    for path in case_files(paths):
        yield check_case(path)


def case_files(paths: list[str]) -> list[Path]:
    """The ``.json`` files of all cases, in order of their names."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*.json")) if _is_case(file)]
            if not inside:
                raise UserError(f"{path}: no golden case in it; a case is a pair of NAME.json and NAME.npz")
            found += inside
        else:
            file = path.with_suffix(".json")
            if not file.is_file():
                raise UserError(f"{path}: no such file or folder")
            if not _is_case(file):
                raise UserError(
                    f"{file}: no golden case: it needs 'name' and 'reference', and {file.stem}.npz beside it"
                )
            found.append(file)
    return list(dict.fromkeys(found))


def _is_case(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"name", "reference"} <= content.keys() and file.with_suffix(".npz").is_file()


def check_case(path: Path) -> Row:
    """One case.  What this suite has no code for is a row of its own, not an error; what fails to run differs."""
    case = json.loads(path.read_text(encoding="utf-8"))
    name = f"{path.parent.name}/{case['name']}"
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    try:
        checker = CHECKERS.get(case["name"])
        if checker is None and "state_dict" in case:
            row = _check_network(case, arrays)
            row.name = name
            return row
        if checker is None:
            raise Unavailable("nothing checks this case")
        error, notes = checker({**case, "folder": str(path.parent)}, arrays)
        return Row(name, DIFFERS if notes else OK, error, notes=notes)
    except Unavailable as reason:
        return Row(name, MISSING, notes=[str(reason)])
    except (UserError, ValueError, KeyError, TypeError, RuntimeError) as failure:
        return Row(name, DIFFERS, notes=[f"fails: {type(failure).__name__}: {failure}"])


def model_section(case: Mapping[str, Any]) -> dict[str, Any]:
    """The MODEL section of a case's network.

    Raises:
        Unavailable: there is no such class or argument here.
    """
    reference = dict(case["reference"])
    if detection.is_detector(case):
        reference |= {"framework": "FastRCNN", "head": detection.head_section(reference)}
    if "backbone" not in reference or "head" not in reference:
        raise Unavailable("the reference is no backbone with a head")
    if reference.get("framework") not in FRAMEWORKS:
        raise Unavailable(f"framework {reference.get('framework')}")
    section = {"framework": reference["framework"]}
    for part, registry in (("backbone", BACKBONES), ("head", HEADS)):
        spec = dict(reference[part])
        if "type" in spec:
            spec = translate(spec)
        else:  # PaddleVideo's names are ours
            spec.pop("pretrained", None)
        section[part] = spec
        _available(section[part], registry)
    return section


def _available(spec: Mapping[str, Any], registry: Any) -> None:
    if spec["name"] not in registry:
        raise Unavailable(spec["name"])
    known = {parameter.name for parameter in registry.entry(spec["name"]).parameters or ()}
    unknown = [key for key in spec if key != "name" and key not in known]
    if unknown:
        raise Unavailable(f"{spec['name']} with {unknown[0]}")


def _check_network(case: dict[str, Any], expected: Mapping[str, np.ndarray]) -> Row:
    section = model_section(case)
    try:
        network, origin = _build(case, section)
    except ConfigError as error:
        raise Unavailable(str(error)) from None
    row = Row(case["name"], OK)
    arrays = golden.weights(case["seed"], case["state_dict"], case["layout"], case.get("gain", 1.0))
    if not np.allclose(golden.checksum(arrays), case["weights_checksum"], rtol=1e-9, atol=1e-6):
        row.notes.append(f"weights: checksum {golden.checksum(arrays)}, expected {case['weights_checksum']}")
    problem = _fill(network, arrays, origin)
    if problem:
        return Row(case["name"], DIFFERS, layer="weights", notes=[problem])
    names = _layers_to_watch(network, expected, origin)
    detector = detection.is_detector(case)
    clips = _clips(case, case["inputs"][0]["name"] if detector else "input")
    boxes = detection.boxes_of(case, expected) if detector else []
    layers, logits = _run(network, clips, set(names.values()), boxes)
    row.layer = _first_difference(names, layers, expected, row.notes)
    scale = golden.magnitude(expected["logits"])
    before = len(row.notes)
    row.error = _compare("logits", logits.reshape(expected["logits"].shape), expected["logits"], scale, row.notes)
    row.layer = row.layer or ("logits" if len(row.notes) > before else "")
    if detector:
        row.notes += detection.check_figures(network, clips, boxes, logits, expected)
    _check_losses(network, case, logits, expected, row.notes)
    row.error = max(row.error, _check_fused(network, clips, expected, scale, row.notes))
    if "prob" in expected:  # of a network that gives probabilities in evaluation
        scores = network.predict_scores(_tensor(clips)).numpy()
        _compare("prob", scores, expected["prob"], golden.magnitude(expected["prob"]), row.notes)
    row.error = max(row.error, _check_views(network, case, expected, scale, row.notes))
    if row.notes or row.layer:
        row.status = DIFFERS
    return row


def _tensor(clips: np.ndarray) -> Any:
    import paddle

    return paddle.to_tensor(np.ascontiguousarray(clips))


def _build(case: Mapping[str, Any], section: Mapping[str, Any]) -> tuple[Any, str | None]:
    from paddlevideo.modeling.frameworks.build import build_framework

    network = build_framework(section)
    network.eval()
    return network, "mmaction2" if case["layout"] == "torch" else None


def _fill(network: Any, arrays: dict[str, np.ndarray], origin: str | None) -> str | None:
    from paddlevideo.modeling.weights import load_weights

    try:
        load_weights(network, network.convert(arrays, origin) if origin else arrays, source="golden weights")
    except UserError as error:
        return str(error)
    return None


def _clips(case: Mapping[str, Any], name: str) -> np.ndarray:
    """The input as this suite's clips, float32 [N, V, T, H, W, C]."""
    entry = next(entry for entry in case["inputs"] if entry["name"] == name)
    value, axes = golden.make_input(case["seed"], entry), entry["axes"]
    if axes == "N,T,C,H,W":
        return value[:, None].transpose(0, 1, 2, 4, 5, 3)
    if axes == "N,clips,C,T,H,W":
        return value.transpose(0, 1, 3, 4, 5, 2)
    if axes == "N,C,T,H,W":
        return value[:, None].transpose(0, 1, 3, 4, 5, 2)
    if axes == "N,C,views*T,H,W":
        count, channels, total, height, width = value.shape
        frames = case["reference"]["backbone"]["num_seg"]
        value = value.reshape(count, channels, total // frames, frames, height, width)
        return value.transpose(0, 2, 3, 4, 5, 1)
    raise Unavailable(f"input axes {axes}")


def _fold_segments(network: Any, clips: np.ndarray) -> np.ndarray:
    """[N, 1, V * T, ...] -> [N, V, T, ...]: 2-D references take a clip's views one behind the other."""
    frames = network.num_frames or clips.shape[2]
    if clips.shape[1] == 1 and clips.shape[2] != frames and clips.shape[2] % frames == 0:
        return clips.reshape(clips.shape[0], -1, frames, *clips.shape[3:])
    return clips


def _run(
    network: Any, clips: np.ndarray, watched: set[str], boxes: list[np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The watched layers' first outputs in order of execution, and the logits [N * V, K], of a detector [R, K]."""
    import paddle

    with paddle.no_grad(), layer_outputs(network, watched) as layers:
        if boxes:
            return layers, detection.logits_of(network, clips, boxes)
        logits = network.view_logits(paddle.to_tensor(np.ascontiguousarray(_fold_segments(network, clips))))
    return layers, logits.numpy().reshape(-1, logits.shape[-1])


@contextlib.contextmanager
def layer_outputs(network: Any, watched: set[str]) -> Iterator[dict[str, np.ndarray]]:
    """A table that fills with what layers give on their first call, in order of execution.

    Args:
        watched: names of sublayers; where one gives several arrays, ``name#0``, ``name#1``...
    """
    layers: dict[str, np.ndarray] = {}

    def collect(name: str) -> Callable[..., None]:
        def hook(layer: Any, inputs: Any, output: Any) -> None:
            several = isinstance(output, list | tuple)
            for i, value in enumerate(output if several else [output]):
                # what is the first of several in the reference may be the only one here
                key = f"{name}#{i}" if several or f"{name}#{i}" in watched else name
                layers.setdefault(key, value.numpy())

        return hook

    wanted = {name.partition("#")[0] for name in watched}
    named = [(name, layer) for name, layer in network.named_sublayers() if name in wanted]
    hooks = [layer.register_forward_post_hook(collect(name)) for name, layer in named]
    try:
        yield layers
    finally:
        for handle in hooks:
            handle.remove()


def _layers_to_watch(network: Any, expected: Mapping[str, np.ndarray], origin: str | None) -> dict[str, str]:
    """Reference's layer (as the case spells it) -> ours."""
    names = {}
    for key in expected:
        if key.startswith("mid/") and key.endswith("/stats"):
            layer = key[len("mid/") : -len("/stats")]
            ours, number, part = layer.partition("#")
            if origin and ours.startswith("backbone."):
                ours = "backbone." + layer_name(network.backbone, ours[len("backbone.") :])
            names[layer] = detection.watched_name(ours + number + part)
    return names


def _first_difference(
    names: Mapping[str, str], layers: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], notes: list[str]
) -> str:
    order = list(layers)
    known = sorted((n for n in names if names[n] in layers), key=lambda name: order.index(names[name]))
    unseen = [name for name in names if names[name] not in layers]
    if unseen:
        notes.append(f"layer {unseen[0]}: this network has no such layer")
    for name in known:
        wanted = {part: expected[f"mid/{name}/{part}"] for part in ("shape", "stats", "first", "spread")}
        problem = layer_problem(layers[names[name]], wanted)
        if problem:
            notes.append(f"layer {name}: {problem}")
            return name
    return unseen[0] if unseen else ""


def layer_problem(value: np.ndarray, expected: Mapping[str, np.ndarray]) -> str | None:
    """How an array differs from the ``shape``, ``stats``, ``first`` and ``spread`` of a case; None if it does not."""
    if list(value.shape) != expected["shape"].tolist():
        return f"shape {list(value.shape)}, expected {expected['shape'].tolist()}"
    flat = value.reshape(-1).astype("float64")
    spread = flat[(np.arange(64) * flat.size) // 64]
    stats = np.array([flat.mean(), flat.std(), flat.min(), flat.max()])
    scale = max(golden.magnitude(expected["stats"]), 1e-12)
    for part, ours in (("stats", stats), ("first", flat[:64]), ("spread", spread)):
        error = float(golden.differences(ours, expected[part]).max()) / scale
        if not error <= _MID_TOLERANCE:
            return f"{part} differ by {error:.1e} of its scale"
    return None


def _compare(what: str, value: np.ndarray, expected: np.ndarray, scale: float, notes: list[str]) -> float:
    """Largest error relative to ``scale``; a note if any value is beyond the tolerance."""
    difference = golden.differences(value, expected)
    error = float(difference.max()) / scale
    if not np.all(difference <= RTOL * np.abs(np.nan_to_num(expected, posinf=0, neginf=0)) + ATOL * scale):
        notes.append(f"{what}: differs by {error:.1e} of the scale")
    return error


def _check_fused(
    network: Any, clips: np.ndarray, expected: Mapping[str, np.ndarray], scale: float, notes: list[str]
) -> float:
    """``rep/``: what a network gives after its branches became one convolution, and the weights of that."""
    from paddlevideo.modeling.layers import fused

    if "rep/logits" not in expected:
        return 0.0
    with fused(network):
        _, logits = _run(network, clips, set(), [])
    worst = _compare("rep/logits", logits, expected["rep/logits"], scale, notes)
    weights = network.state_dict()
    for name in {key[len("rep/") : -len("/stats")] for key in expected if re.fullmatch(r"rep/.*/stats", key)}:
        parts = {part: expected[f"rep/{name}/{part}"] for part in ("shape", "stats", "first", "spread")}
        problem = layer_problem(weights[name].numpy(), parts)
        notes += [f"{name} after fusing: {problem}"] if problem else []
    return worst


def _check_losses(
    network: Any, case: Mapping[str, Any], logits: np.ndarray, expected: Mapping[str, np.ndarray], notes: list[str]
) -> None:
    import paddle

    from paddlevideo.modeling.losses.cross_entropy import CrossEntropyLoss

    if "labels" not in expected:
        return
    labels = expected["labels"].reshape(-1)
    entry = next((entry for entry in case["inputs"] if entry["name"] == "labels"), None)
    if entry is not None and not np.array_equal(golden.make_input(case["seed"], entry).reshape(-1), labels):
        notes.append("labels: the formula gives others")
    tensors = paddle.to_tensor(logits), paddle.to_tensor(labels)
    order = np.argsort(-logits, axis=1, kind="stable")
    for key, value in expected.items():
        group, _, figure = key.partition("/")
        if group != "loss":
            continue
        if figure.startswith("top"):
            ours = float((order[:, : int(figure[3:])] == labels[:, None]).any(1).mean())
        elif figure == "plain":
            ours = float(network.head.loss(*tensors))
        elif figure.startswith("ls"):
            ours = float(CrossEntropyLoss(ls_eps=float(figure[2:]))(*tensors))
        else:
            continue
        if not golden.differences(ours, value) <= RTOL * max(1.0, golden.magnitude(value)):
            notes.append(f"{key}: {ours:.6f}, expected {float(value):.6f}")


def _check_views(
    network: Any, case: Mapping[str, Any], expected: Mapping[str, np.ndarray], scale: float, notes: list[str]
) -> float:
    """Averages over views: ``views/score`` are mean logits, ``views/prob`` mean probabilities."""
    import paddle

    if "views/score" not in expected:
        return 0.0
    imgs = paddle.to_tensor(np.ascontiguousarray(_clips(case, "input_views")))
    with paddle.no_grad():
        logits = network.view_logits(imgs)
        worst = _compare("views/score", logits.mean(1).numpy(), expected["views/score"], scale, notes)
        for average in ("prob", "score"):
            network.avg_type = average
            reference = expected[f"views/{average}"]
            if average == "score":
                reference = np.exp(reference - reference.max(1, keepdims=True))
                reference = reference / reference.sum(1, keepdims=True)
            scores = network.average(logits).numpy()
            _compare(f"views/{average} as probabilities", scores, reference, float(reference.max()), notes)
    return worst
