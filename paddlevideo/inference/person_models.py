"""Person detectors that the user has: ONNX files, and what PaddleDetection exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from paddlevideo.config.reading import read_yaml
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.inference.model_files import find_params, find_program
from paddlevideo.inference.people import tidy
from paddlevideo.inference.predictor import program_of_folder
from paddlevideo.inference.runtime import ExportedModel, Runtime, Say
from paddlevideo.registry import suggest

_COLUMNS = ("x1", "y1", "x2", "y2", "score", "class")


@dataclass(frozen=True)
class OnnxOptions:
    """What a small YAML or JSON file beside an ONNX detector says; every key may be left out.

    Args:
        input_size: height and width that the model takes; None: its own input's, or the picture's where that is free.
        keep_ratio: the picture keeps its proportions and is padded at the right and bottom by ``pad_value``; False:
            stretched.
        layout: ``NCHW`` or ``NHWC``.
        channels: ``RGB`` or ``BGR``.
        dtype: ``float32`` or ``uint8``; None: the input's own.
        mean, std: per channel in its order, on the 0..255 scale; (0, 255) gives 0..1.
        pad_value: grey of the padding, 0..255.
        person_class: the number of the class of people (0 in YOLO's COCO list, 1 in torchvision's); None: every box is
            a person.
        columns: order of the columns of a single output [n, 6 or 5]; among x1 y1 x2 y2 score class.
        boxes: ``pixels`` of the model's input, or ``fractions`` of it.
        outputs: names of the model's outputs in the order boxes, scores, labels; None: by their names, else shapes.
    """

    input_size: tuple[int, int] | None = None
    keep_ratio: bool = True
    layout: str = "NCHW"
    channels: str = "RGB"
    dtype: str | None = None
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (255.0, 255.0, 255.0)
    pad_value: float = 114.0
    person_class: int | None = 0
    columns: Sequence[str] = _COLUMNS
    boxes: str = "pixels"
    outputs: Sequence[str] | None = None


class OnnxDetector:
    """A detector in ONNX, run by onnxruntime.

    In goes one picture a time; out come, in pixels of the model's input, either boxes [n, 4], scores [n] and labels [n]
    (torchvision's), or rows [n, 6] x1, y1, x2, y2, score, class (YOLO exported with NMS); a leading axis of 1 is taken
    off.  ``OnnxOptions`` says otherwise, in ``NAME.yml``, ``NAME.yaml`` or ``NAME.options.json`` beside ``NAME.onnx``.

    Raises:
        UserError: onnxruntime is not installed, no such file, options or outputs that make no sense.
    """

    def __init__(self, path: Path, min_score: float, options: str | Path | None = None):
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"{path}: ONNX models are run by onnxruntime: pip install onnxruntime") from None
        if not path.is_file():
            raise UserError(f"{path}: no such detector")
        self.name, self._path, self._min_score = path.name, path, min_score
        self.options = read_options(_beside(path, options))
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise UserError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())[:200]})") from None
        self._input = self._session.get_inputs()[0]
        self._outputs = [output.name for output in self._session.get_outputs()]

    def detect(self, frames: np.ndarray, timestamps_s: Sequence[float]) -> list[np.ndarray]:
        """As ``PersonDetector.detect``."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> np.ndarray:
        o, (height, width) = self.options, frame.shape[:2]
        size = o.input_size or self._own_size() or (height, width)
        picture, (fy, fx) = fitted(frame, size, o.keep_ratio, o.pad_value)
        x = normalized(picture, o.mean, o.std, o.channels)
        dtype = o.dtype or ("uint8" if "uint8" in self._input.type else "float32")
        x = picture[..., ::-1] if dtype == "uint8" and o.channels == "BGR" else picture if dtype == "uint8" else x
        x = x.transpose(2, 0, 1) if o.layout == "NCHW" else x
        batch = np.ascontiguousarray(x[None] if len(self._input.shape) == 4 else x).astype(dtype)
        results = dict(zip(self._outputs, self._session.run(None, {self._input.name: batch})))
        rows, classes = self._rows(results)
        if o.boxes == "fractions":
            rows[:, :4] *= np.array([size[1], size[0], size[1], size[0]], np.float32)
        rows[:, :4] /= np.array([fx, fy, fx, fy], np.float32)
        if o.person_class is not None and classes is not None:
            rows = rows[np.round(classes) == o.person_class]
        return tidy(rows, self._min_score, height, width)

    def _own_size(self) -> tuple[int, int] | None:
        shape = self._input.shape[-3:]
        sides = shape[1:] if self.options.layout == "NCHW" else shape[:2]
        return tuple(sides) if all(isinstance(side, int) and side > 0 for side in sides) else None

    def _rows(self, results: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """float32 [n, 5] and the classes [n], or None if the model knows no others."""
        arrays = {name: _without_batch(np.asarray(value)) for name, value in results.items()}
        if len(arrays) == 1 or (self.options.outputs is not None and len(self.options.outputs) == 1):
            name = self.options.outputs[0] if self.options.outputs else next(iter(arrays))
            return self._of_rows(arrays[name], name)
        boxes, scores, labels = self._of_three(arrays)
        return np.concatenate([boxes, scores[:, None]], axis=1).astype(np.float32), labels

    def _of_rows(self, table: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        columns = list(self.options.columns)
        if table.size == 0:
            return np.zeros((0, 5), np.float32), None
        if table.ndim != 2 or table.shape[1] not in (5, 6) or len(columns) < table.shape[1]:
            raise UserError(
                f"{self._path}: its output {name} is {list(table.shape)}, expected rows [n, 6] ({', '.join(columns)}); "
                "export the detector with its NMS inside (Ultralytics: nms=True)"
            )
        at = {column: columns.index(column) for column in _COLUMNS if column in columns[: table.shape[1]]}
        missing = [column for column in _COLUMNS[:5] if column not in at]
        if missing:
            raise UserError(f"{self._path}: options columns: {', '.join(missing)} missing among {', '.join(columns)}")
        rows = np.stack([table[:, at[column]] for column in _COLUMNS[:5]], axis=1).astype(np.float32)
        return rows, table[:, at["class"]] if "class" in at else None

    def _of_three(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        names = list(self.options.outputs or [])
        if not names:
            for word in ("box", "score", "label"):
                names += [name for name in arrays if word in name.lower()][:1]
        if len(names) < 2:  # by shape: [n, 4]; then real numbers, then whole ones
            names = [name for name, a in arrays.items() if a.ndim == 2 and a.shape[1] == 4][:1]
            flat = [name for name, a in arrays.items() if a.ndim == 1]
            names += sorted(flat, key=lambda name: arrays[name].dtype.kind != "f")[:2]
        wrong = [name for name in names if name not in arrays]
        picked = [arrays[name] for name in names if name in arrays]
        fits = len(picked) >= 2 and picked[0].ndim == 2 and picked[0].shape[1] == 4
        if wrong or not fits or any(a.shape != (len(picked[0]),) for a in picked[1:]):
            listing = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
            raise UserError(
                f"{self._path}: its outputs are {listing}; expected boxes [n, 4], scores [n], labels [n], or rows "
                "[n, 6]; 'outputs: [boxes, scores, labels]' in the options names them"
            )
        return picked[0], picked[1], picked[2] if len(picked) > 2 else None


class PaddleDetector:
    """A detector that PaddleDetection exported, with its ``infer_cfg.yml``.

    Inputs by name: ``image`` [1, 3, h, w], ``im_shape`` and ``scale_factor`` [1, 2] (height, width).  Its first output
    is rows [n, 6]: class, score, x1, y1, x2, y2 in pixels of the picture.  Of ``infer_cfg.yml``, ``Preprocess``
    (Resize, NormalizeImage, Permute, PadStride) is carried out and ``label_list`` names the class of people, the first
    if none is called person.

    Raises:
        UserError: files missing or damaged, a preprocessing step that is not one of these.
    """

    def __init__(self, path: Path, min_score: float, options: str | Path | None, runtime: Runtime, say: Say):
        program = find_program(program_of_folder(path) if path.is_dir() else path, say)
        self.name, self._path, self._min_score = program.parent.name or program.name, program, min_score
        file = Path(options) if options else program.parent / "infer_cfg.yml"
        content = _read_mapping(file)
        self._steps = content.get("Preprocess") or []
        known = ("Resize", "NormalizeImage", "Permute", "PadStride")
        for i, step in enumerate(self._steps):
            if not isinstance(step, Mapping) or step.get("type") not in known:
                name = step.get("type") if isinstance(step, Mapping) else step
                raise UserError(f"{file}: Preprocess[{i}]: {name!r} is not one of {', '.join(known)}")
        labels = [str(label).lower() for label in content.get("label_list") or []]
        self._person_class = next((i for i, label in enumerate(labels) if label in ("person", "pedestrian")), 0)
        self._model = ExportedModel(program, find_params(None, program), runtime, say)
        unknown = {spec.name for spec in self._model.inputs} - {"image", "im_shape", "scale_factor"}
        if unknown:
            raise UserError(
                f"{program}: its inputs are {', '.join(spec.name for spec in self._model.inputs)}, expected image, "
                "im_shape and scale_factor: not a detector of PaddleDetection"
            )

    def detect(self, frames: np.ndarray, timestamps_s: Sequence[float]) -> list[np.ndarray]:
        """As ``PersonDetector.detect``."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> np.ndarray:
        given = self._prepared(frame)
        rows = self._model(*(given[spec.name] for spec in self._model.inputs))
        if rows.size == 0:
            return np.zeros((0, 5), np.float32)
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise UserError(f"{self._path}: its first output is {list(rows.shape)}, expected [n, 6]: class, score, box")
        rows = rows[np.round(rows[:, 0]) == self._person_class]
        return tidy(rows[:, [2, 3, 4, 5, 1]], self._min_score, *frame.shape[:2])

    def _prepared(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        x, shape, factors = frame, frame.shape[:2], (1.0, 1.0)
        for step in self._steps:
            kind = step["type"]
            if kind == "Resize":
                x, factors = _resized(x, step)
                shape = x.shape[:2]
            elif kind == "NormalizeImage":
                x = x.astype(np.float32) / (255.0 if step.get("is_scale", True) else 1.0)
                if step.get("norm_type", "mean_std") != "none":
                    x = (x - np.float32(step["mean"])) / np.float32(step["std"])
            elif kind == "PadStride":
                stride = int(step.get("stride") or 1)
                x = np.pad(x, ((0, -x.shape[0] % stride), (0, -x.shape[1] % stride), (0, 0)))
        image = np.ascontiguousarray(x.astype(np.float32).transpose(2, 0, 1)[None])  # [1, 3, h, w]
        pairs = {"im_shape": shape, "scale_factor": factors}
        return {"image": image, **{name: np.array([pair], np.float32) for name, pair in pairs.items()}}


def _resized(frame: np.ndarray, step: Mapping[str, Any]) -> tuple[np.ndarray, tuple[float, float]]:
    """PaddleDetection's Resize: the picture, and its factors (height, width)."""
    target, (h, w) = step["target_size"], frame.shape[:2]
    target = (target, target) if isinstance(target, int) else tuple(target)
    if step.get("keep_ratio", False):
        factor = min(min(target) / min(h, w), max(target) / max(h, w))
        fy = fx = factor
    else:
        fy, fx = target[0] / h, target[1] / w
    out = cv2.resize(np.ascontiguousarray(frame), None, fx=fx, fy=fy, interpolation=int(step.get("interp", 1)))
    return out, (fy, fx)


def fitted(frame: np.ndarray, size: Sequence[int], keep_ratio: bool, pad_value: float) -> tuple[np.ndarray, tuple]:
    """A picture at exactly ``size`` (height, width), and the factors (height, width) that its content was scaled by."""
    (h, w), (height, width) = frame.shape[:2], size
    if (h, w) == (height, width):
        return frame, (1.0, 1.0)
    if not keep_ratio:
        return cv2.resize(np.ascontiguousarray(frame), (width, height)), (height / h, width / w)
    factor = min(height / h, width / w)
    new_h, new_w = max(1, round(h * factor)), max(1, round(w * factor))
    out = np.full((height, width, 3), round(pad_value), np.uint8)
    out[:new_h, :new_w] = cv2.resize(np.ascontiguousarray(frame), (new_w, new_h))
    return out, (new_h / h, new_w / w)


def normalized(picture: np.ndarray, mean: Sequence[float], std: Sequence[float], channels: str) -> np.ndarray:
    """float32 [H, W, 3] in the wanted order of channels."""
    ordered = picture[..., ::-1] if channels == "BGR" else picture
    return (ordered.astype(np.float32) - np.float32(mean)) / np.float32(std)


def read_options(path: Path | None) -> OnnxOptions:
    """The options in a file; the defaults if there is none.

    Raises:
        ConfigError: unknown keys, values that do not fit, all at once.
    """
    if path is None:
        return OnnxOptions()
    values = _read_mapping(path)
    names = [field.name for field in fields(OnnxOptions)]
    problems = [f"{key}: no such option{suggest(str(key), names)}" for key in values if key not in names]
    choices = {"layout": ("NCHW", "NHWC"), "channels": ("RGB", "BGR"), "boxes": ("pixels", "fractions")}
    choices["dtype"] = (None, "float32", "uint8")
    for key, allowed in choices.items():
        if key in values and values[key] not in allowed:
            problems.append(f"{key}: expected {' or '.join(map(str, allowed))}, got {values[key]!r}")
    for key, count in (("mean", 3), ("std", 3), ("input_size", 2)):
        given = values.get(key)
        if given is not None and not (isinstance(given, list) and len(given) == count):
            problems.append(f"{key}: expected {count} numbers, got {given!r}")
    for key in ("columns", "outputs"):
        if values.get(key) is not None and not isinstance(values[key], list):
            problems.append(f"{key}: expected a list of names, got {values[key]!r}")
    if problems:
        raise ConfigError(str(path), problems)
    return OnnxOptions(**values)


def _beside(model: Path, options: str | Path | None) -> Path | None:
    if options is not None:
        return Path(options)
    return next((f for f in (model.with_suffix(s) for s in (".yml", ".yaml", ".options.json")) if f.is_file()), None)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; it says what the detector wants")
    return read_yaml(path, plain=True)[0]  # JSON is YAML


def _without_batch(array: np.ndarray) -> np.ndarray:
    """[1, n, 6] -> [n, 6], [1, n] -> [n]; a single row [1, 6] stays."""
    if array.ndim == 3 and array.shape[0] == 1:
        return array[0]
    return array[0] if array.ndim == 2 and array.shape[0] == 1 and array.shape[1] not in (4, 5, 6) else array
