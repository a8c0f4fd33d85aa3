"""Person detectors that the user has: ONNX files, and what PaddleDetection exports."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np

from paddlevideo.config.reading import read_yaml
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.inference.detector_layouts import (
    COLUMNS,
    LAYOUTS,
    Detections,
    Layout,
    Outputs,
    in_pixels,
    recognise,
)
from paddlevideo.inference.exported import find_params, find_program
from paddlevideo.inference.person_detectors import PersonDetector, tidy
from paddlevideo.inference.runtimes.base import Runtime, Say
from paddlevideo.inference.runtimes.paddle import PaddleModel
from paddlevideo.ranges import Length, NonNegativeInt, Positive, PositiveInt, Probability, Range, mistakes, suggest

_PEOPLE = ("person", "people", "pedestrian", "human")
_ABOUT = ("im_shape", "scale_factor", "orig_target_sizes")  # inputs about the picture


@dataclass(frozen=True)
class OnnxOptions:
    """The keys of a small YAML or JSON file beside an ONNX detector, all optional.

    Args:
        input_size: height and width that the model takes; None: its own input's, or where that is free the picture's,
            in steps of 32.
        keep_ratio: the picture keeps its proportions and is padded at the right and bottom by ``pad_value``; False:
            stretched; None: stretched for models that take the picture's size as a second input, kept for others.
        layout: ``NCHW`` or ``NHWC``; None: by the input's shape.
        channels: ``RGB`` or ``BGR``; None: by the layout of the outputs.
        dtype: ``float32``, ``float16`` or ``uint8``; None: the input's own.
        mean, std: per channel in its order, on the 0..255 scale; (0, 255) gives 0..1; None: by the layout of the
            outputs.
        pad_value: grey of the padding, 0..255.
        person_class: the number of the class of people (0 in YOLO's COCO list, 1 in torchvision's); ``auto``: by the
            names that the model carries, else by the layout of the outputs; None: every box is a person.
        output: name of a layout of ``detector_layouts``; None: recognised by shapes and names.
        columns: order of the columns of boxes or rows; among x1 y1 x2 y2, cx cy w h, score, class, batch.
        boxes: ``pixels`` of the model's input, or ``fractions`` of it; None: fractions if all are below 1.5.
        outputs: names of the model's outputs in the order boxes, scores, labels; None: by their names, else shapes.
        max_overlap: of two boxes of one class; beyond it the one with the lower score is dropped.  Raw layouts only.
    """

    input_size: Annotated[list[PositiveInt], Length(2)] | None = None
    keep_ratio: bool | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    channels: Literal["RGB", "BGR"] | None = None
    dtype: Literal["float32", "float16", "uint8"] | None = None
    mean: Annotated[list[Annotated[float, Range(-255, 255)]], Length(3)] | None = None
    std: Annotated[list[Positive], Length(3)] | None = None
    pad_value: Annotated[float, Range(0, 255)] = 114.0
    person_class: NonNegativeInt | Literal["auto"] | None = "auto"
    output: str | None = None
    columns: list[str] | None = None
    boxes: Literal["pixels", "fractions"] | None = None
    outputs: list[str] | None = None
    max_overlap: Probability = 0.5

    @classmethod
    def kinds(cls) -> dict[str, str]:
        """Key -> annotation, as ``ranges.mistakes`` takes it."""
        names, columns = (f"Literal[{', '.join(map(repr, n))}]" for n in ([each.name for each in LAYOUTS], COLUMNS))
        kinds = {field.name: str(field.type) for field in fields(cls)}
        return kinds | {"output": f"{names} | None", "columns": f"list[{columns}] | None"}


class PersonCounter:
    """Counts the boxes of a detector by class, and how many of them are persons."""

    def __init__(self, name: str, min_score: float):
        self._name, self._min_score = name, min_score
        self.frames, self._boxes, self._best, self._classes = 0, 0, 0.0, Counter()

    def add(self, scores: np.ndarray, labels: np.ndarray | None) -> None:
        """Scores [n] and classes [n] of one frame."""
        sure = scores >= self._min_score
        self.frames += 1
        self._boxes += int(sure.sum())
        self._best = max(self._best, float(scores.max(initial=0.0)))
        if labels is not None:
            self._classes.update(np.round(labels[sure]).astype(int).tolist())

    def lines(self, person: int | None) -> list[str]:
        """One line for people; ``person``: the class that was taken, None: all."""
        found = f"{self._name}: {self._boxes} boxes with a score of at least {self._min_score:g}"
        if not self._boxes:
            return [f"{found} in {self.frames} frames; the highest score is {self._best:.2f} (--det-score-thr)"]
        if person is None or not self._classes:
            return [f"{found}, all taken as people"]
        if not self._classes[person]:
            most, count = self._classes.most_common(1)[0]
            return [
                f"{self._name}: 0 of {self._boxes} boxes are class {person}; most frequent class {most} "
                f"({count} boxes): set person_class in the options beside the model"
            ]
        people = self._classes[person]
        return [f"{found}, {people} of class {person} (people), {self._boxes - people} of other classes left out"]


class OnnxDetector(PersonDetector):
    """A detector in ONNX, run by onnxruntime.

    It takes one picture at a time.  The layout of its outputs is recognised by ``detector_layouts.recognise`` with the
    first picture, printed in one line, and decides how the pixels are prepared.  ``OnnxOptions`` in ``NAME.yml``,
    ``NAME.yaml`` or ``NAME.options.json`` beside ``NAME.onnx`` override it; for a model of PaddleDetection the file
    may be its ``infer_cfg.yml``, which is also found under this name.

    Raises:
        UserError: onnxruntime is not installed, no such file, bad options, unknown outputs.
    """

    def __init__(self, path: Path, min_score: float, options: str | Path | None = None, say: Say = print):
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"{path}: ONNX models are run by onnxruntime: pip install onnxruntime") from None
        if not path.is_file():
            raise UserError(f"{path}: no such detector")
        self.name, self._path, self._min_score, self._say = path.name, path, min_score, say
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise UserError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())[:200]})") from None
        self._input, self._others = self._inputs()
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._names = _class_names(self._session)
        self._steps: PaddleSteps | None = None
        self._file: Path | None = None
        self.options = self._read_options(options)
        shape = self._input.shape
        free = self.options.layout is None and len(shape) >= 3
        nhwc = free and shape[-1] in (1, 3) and shape[-3] not in (1, 3)
        self._nchw = self.options.layout != "NHWC" and not nhwc
        self._layout: Layout | None = None
        self._count = PersonCounter(self.name, min_score)

    def detect(self, frames: np.ndarray, timestamps_s: Sequence[float]) -> list[np.ndarray]:
        """As ``PersonDetector.detect``."""
        return [self._detect(frame) for frame in frames]

    def account(self) -> list[str]:
        """As ``PersonDetector.account``."""
        return self._count.lines(self.person_class)

    @property
    def person_class(self) -> int | None:
        """The class that is taken; None: all."""
        if self.options.person_class != "auto":
            return self.options.person_class
        named = [i for i, name in self._names.items() if name.lower() in _PEOPLE]
        if self._names:
            return named[0] if named else 0
        return self._layout.person if self._layout else 0

    def _detect(self, frame: np.ndarray) -> np.ndarray:
        if self._layout is None:
            self._recognise(frame)
        if self._layout is None:
            self._count.add(np.zeros(0, np.float32), None)
            return np.zeros((0, 5), np.float32)
        outputs, factors = self._run(frame, self._layout)
        found = self._decoded(outputs, self._layout)
        boxes = in_pixels(found.boxes, outputs.size, self.options.boxes) / np.float32([*factors[::-1], *factors[::-1]])
        labels, person = found.labels, self.person_class
        self._count.add(found.scores, labels)
        rows = np.concatenate([boxes, found.scores[:, None]], axis=1)
        if person is not None and labels is not None:
            rows = rows[np.round(labels) == person]
        return tidy(rows, self._min_score, *frame.shape[:2])

    def _recognise(self, frame: np.ndarray) -> None:
        """Sets the layout, unless it is a guess for which the picture has no boxes: those of a later one decide."""
        outputs, _ = self._run(frame, None)
        layout = recognise(outputs, self.options.output)
        if layout is None:
            raise UserError(
                f"{self._path}: its outputs are {outputs.listing()}; expected boxes [n, 4], scores [n], labels [n], or "
                "rows [n, 6], or those of a raw YOLO; 'outputs: [boxes, scores, labels]' in the options names them, "
                f"'output:' their layout ({', '.join(each.name for each in LAYOUTS)})"
            )
        is_guess = layout.guess and self.options.output is None and not self._is_class_named()
        if is_guess and not len(self._decoded(outputs, layout).scores):
            return
        self._layout = layout
        channels, mean, std = self._pixels(layout)
        person = self.person_class
        name = self._names.get(person, "")
        if self._names and self.options.person_class == "auto" and name.lower() not in _PEOPLE:
            listing = ", ".join(list(self._names.values())[:8])
            raise UserError(
                f"{self._path}: none of its classes is called person ({listing}); set person_class in the options "
                "beside the model (null: every box is a person)"
            )
        how = "by infer_cfg.yml" if self._steps else f"{channels}, minus {_few(mean)}, over {_few(std)}"
        whom = "every box is a person" if person is None else f"person is class {person}"
        if is_guess:
            whom += f", {layout.guess}"
        self._say(
            f"detector: {layout.text} layout {outputs.listing()} ({self._path.name}); input {outputs.size[0]} x "
            f"{outputs.size[1]}, {how}; {whom}"
        )

    def _run(self, frame: np.ndarray, layout: Layout | None) -> tuple[Outputs, tuple[float, float]]:
        """The model's outputs for a picture, and the factors (height, width) that its content was scaled by."""
        o = self.options
        if self._steps is not None:
            x, factors = self._steps.image(frame)
        else:
            size = o.input_size or self._own_size() or self._free_size(frame)
            keep_ratio = not self._others if o.keep_ratio is None else o.keep_ratio
            picture, factors = fitted(frame, size, keep_ratio, o.pad_value)
            channels, mean, std = self._pixels(layout)
            if self._dtype() == np.uint8:
                x = picture[..., ::-1] if channels == "BGR" else picture
            else:
                x = normalized(picture, mean, std, channels)
        size = x.shape[:2]
        x = x.transpose(2, 0, 1) if self._nchw else x
        batch = np.ascontiguousarray(x[None] if len(self._input.shape) == 4 else x).astype(self._dtype())
        given = {self._input.name: batch, **self._about(size)}
        try:
            results = self._session.run(None, given)
        except Exception as error:  # as above
            raise UserError(
                f"{self._path}: onnxruntime cannot run it on {list(batch.shape)} {batch.dtype} "
                f"({' '.join(str(error).split())[:200]}); input_size, layout and dtype in the options define its input"
            ) from None
        arrays = {n: a for n, a in zip(self._outputs, map(np.asarray, results)) if a.dtype.kind in "fiub"}
        count = len(self._names) or None
        names = [spec.name for spec in self._session.get_inputs()]
        return Outputs(arrays, (int(size[0]), int(size[1])), names, count, o.outputs, o.columns), factors

    def _decoded(self, outputs: Outputs, layout: Layout) -> Detections:
        try:
            found = layout.decode(outputs, self._min_score, self.options.max_overlap)
        except (ValueError, TypeError, IndexError) as error:
            raise UserError(f"{self._path}: its outputs {outputs.listing()} are not {layout.text} ({error})") from None
        if len(found.scores) and not (found.scores.min() >= -1e-3 and found.scores.max() <= 1.001):
            raise UserError(
                f"{self._path}: {layout.text} layout: scores go from {found.scores.min():.3g} to "
                f"{found.scores.max():.3g}, expected 0 to 1; 'columns:', 'outputs:' or 'output:' in the options set "
                "what they are"
            )
        labels = np.zeros(0) if found.labels is None else found.labels[found.scores > 0]  # also of low scores
        if layout.person == 1 and not self._is_class_named() and np.any(labels == 0):
            raise UserError(
                f"{self._path}: it was taken for {layout.text}, but class 0 occurs; {self._count.frames} earlier "
                "picture(s) were read with class 1 as people, which may be wrong; set person_class (0, if people are "
                f"its first class) in {self._file or self._path.with_suffix('.yml')} and start again"
            )
        return found

    def _is_class_named(self) -> bool:
        """Whether the options or the names of the classes define the class of persons."""
        return self.options.person_class != "auto" or bool(self._names)

    def _pixels(self, layout: Layout | None) -> tuple[str, Sequence[float], Sequence[float]]:
        o, usual = self.options, layout or LAYOUTS[-1]
        return o.channels or usual.channels, o.mean or usual.mean, o.std or usual.std

    def _dtype(self) -> np.dtype:
        kinds = {"tensor(uint8)": "uint8", "tensor(float16)": "float16"}
        return np.dtype(self.options.dtype or kinds.get(self._input.type, "float32"))

    def _inputs(self) -> tuple[Any, list[Any]]:
        """The input of the picture, and those about it."""
        specs = self._session.get_inputs()
        pictures = [spec for spec in specs if spec.name not in _ABOUT and len(spec.shape) in (3, 4)]
        others = [spec for spec in specs if spec.name in _ABOUT]
        if len(pictures) != 1 or len(pictures) + len(others) != len(specs):
            listing = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
            raise UserError(
                f"{self._path}: its inputs are {listing}; expected one picture, and besides it only {', '.join(_ABOUT)}"
            )
        return pictures[0], others

    def _about(self, size: Sequence[int]) -> dict[str, np.ndarray]:
        """The other inputs; they make the picture the size of the input, so that boxes are in pixels of it."""
        values = {"im_shape": size, "scale_factor": (1.0, 1.0), "orig_target_sizes": size[::-1]}
        kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
        return {spec.name: np.array([values[spec.name]], kinds.get(spec.type, np.float32)) for spec in self._others}

    def _read_options(self, given: str | Path | None) -> OnnxOptions:
        file = _beside(self._path, given)
        if file is None and any(spec.name == "scale_factor" for spec in self._others):
            file = next((f for f in (self._path.with_name("infer_cfg.yml"),) if f.is_file()), None)
            if file is None:
                self._say(
                    f"{self._path}: a model of PaddleDetection without its infer_cfg.yml: pixels are stretched to its "
                    "size and divided by 255; put infer_cfg.yml beside it, or name it with --detector-config"
                )
        self._file = file
        content = _read_mapping(file) if file else {}
        if "Preprocess" not in content:
            options = read_options(file)
            problems = [
                f"outputs: {name!r} is no output of the model{suggest(name, self._outputs)}"
                for name in options.outputs or ()
                if name not in self._outputs
            ]
            if problems:
                raise ConfigError(str(file), problems)
            return options
        self._steps = PaddleSteps(content, file)
        labels = content.get("label_list") or []
        self._names = {i: str(label) for i, label in enumerate(labels)}
        return OnnxOptions()

    def _free_size(self, frame: np.ndarray) -> tuple[int, int]:
        """The picture's; with a batch's axis the next multiples of 32, which raw YOLOs of any size take."""
        step = 32 if len(self._input.shape) == 4 else 1
        return tuple(-(-side // step) * step for side in frame.shape[:2])

    def _own_size(self) -> tuple[int, int] | None:
        shape = self._input.shape[-3:]
        sides = shape[1:] if self._nchw else shape[:2]
        return tuple(sides) if all(isinstance(side, int) and side > 0 for side in sides) else None


def _few(values: Sequence[float]) -> str:
    """A number for all three channels, or the three."""
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _class_names(session: Any) -> dict[int, str]:
    """The names that Ultralytics' exports carry: ``{0: 'person', ...}``; empty: none."""
    text = session.get_modelmeta().custom_metadata_map.get("names", "")
    try:
        names = ast.literal_eval(text) if text else {}
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return {}
    names = dict(enumerate(names)) if isinstance(names, list) else names
    return {int(i): str(name) for i, name in names.items()} if isinstance(names, dict) else {}


class PaddleDetector(PersonDetector):
    """A detector that PaddleDetection exported, with its ``infer_cfg.yml``.

    Inputs by name: ``image`` [1, 3, h, w], ``im_shape`` and ``scale_factor`` [1, 2] (height, width).  Its first output
    is rows [n, 6]: class, score, x1, y1, x2, y2 in pixels of the picture.  Of ``infer_cfg.yml``, ``Preprocess``
    (Resize, NormalizeImage, Permute, PadStride) is carried out and ``label_list`` names the class of people, the first
    if none is called person.

    Raises:
        UserError: files missing or damaged, a preprocessing step that is not one of these.
    """

    def __init__(self, path: Path, min_score: float, options: str | Path | None, runtime: Runtime, say: Say):
        program = find_program(path, say)
        self.name, self._path, self._min_score = program.parent.name or program.name, program, min_score
        file = Path(options) if options else program.parent / "infer_cfg.yml"
        content = _read_mapping(file)
        self._steps = PaddleSteps(content, file)
        labels = [str(label).lower() for label in content.get("label_list") or []]
        self._person_class = next((i for i, label in enumerate(labels) if label in _PEOPLE), 0)
        if labels and labels[self._person_class] not in _PEOPLE:
            say(f"{file}: label_list has no class called person; {labels[0]!r}, the first one, is taken")
        self._count = PersonCounter(self.name, min_score)
        self._model = PaddleModel(program, find_params(None, program), runtime, say)
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
        self._count.add(rows[:, 1], rows[:, 0])
        rows = rows[np.round(rows[:, 0]) == self._person_class]
        return tidy(rows[:, [2, 3, 4, 5, 1]], self._min_score, *frame.shape[:2])

    def account(self) -> list[str]:
        """As ``PersonDetector.account``."""
        return self._count.lines(self._person_class)

    def _prepared(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        x, shape, factors = self._steps.prepared(frame)
        image = np.ascontiguousarray(x.transpose(2, 0, 1)[None])  # [1, 3, h, w]
        pairs = {"im_shape": shape, "scale_factor": factors}
        return {"image": image, **{name: np.array([pair], np.float32) for name, pair in pairs.items()}}


class PaddleSteps:
    """``Preprocess`` of PaddleDetection's ``infer_cfg.yml``: Resize, NormalizeImage, Permute, PadStride.

    Raises:
        UserError: a step that is not one of these.
    """

    def __init__(self, content: Mapping[str, Any], file: Path):
        self._steps = content.get("Preprocess") or []
        known = ("Resize", "NormalizeImage", "Permute", "PadStride")
        for i, step in enumerate(self._steps):
            if not isinstance(step, Mapping) or step.get("type") not in known:
                name = step.get("type") if isinstance(step, Mapping) else step
                raise UserError(f"{file}: Preprocess[{i}]: {name!r} is not one of {', '.join(known)}")

    def image(self, frame: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """float32 [h, w, 3], and its factors (height, width)."""
        x, _, factors = self.prepared(frame)
        return x, factors

    def prepared(self, frame: np.ndarray) -> tuple[np.ndarray, tuple[int, int], tuple[float, float]]:
        """float32 [h, w, 3], its height and width before it was padded, and its factors (height, width)."""
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
        return x.astype(np.float32), shape, factors


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
    """float32 [H, W, 3] in this order of channels."""
    ordered = picture[..., ::-1] if channels == "BGR" else picture
    return (ordered.astype(np.float32) - np.float32(mean)) / np.float32(std)


def read_options(path: Path | None) -> OnnxOptions:
    """The options in a file; the defaults if there is none.

    Raises:
        ConfigError: unknown keys, values that do not fit, all at once.
    """
    if path is None:
        return OnnxOptions()
    values, kinds = _read_mapping(path), OnnxOptions.kinds()
    problems = [f"{key}: no such option{suggest(str(key), kinds)}" for key in values if key not in kinds]
    for key in (key for key in kinds if key in values):
        problems += mistakes(values[key], kinds[key], key)
    if problems:
        raise ConfigError(str(path), problems)
    return OnnxOptions(**values)


def _beside(model: Path, options: str | Path | None) -> Path | None:
    if options is not None:
        return Path(options)
    return next((f for f in (model.with_suffix(s) for s in (".yml", ".yaml", ".options.json")) if f.is_file()), None)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; it describes the inputs and outputs of the detector")
    return read_yaml(path, plain=True)[0]  # JSON is YAML
