"""``NAME.int8.onnx``: an exported model in 8-bit integers, calibrated on videos, and what that costs in accuracy.

Convolutions and linear layers are quantised, weights per channel, with the activations and pooling between them;
products of two activations, softmax, normalisations and sums stay in float32.  No command chooses this form by itself:
``--precision int8 --backend onnx`` runs it.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from paddlevideo.environment import available_cores, cpu_name
from paddlevideo.errors import UserError
from paddlevideo.inference.export_check import Reference
from paddlevideo.inference.exported import FILE_NAME, MULTI_LABEL, Description, Export
from paddlevideo.inference.inputs import VideoInputs
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.runtimes.base import ExportedModel, Runtime, Say, require_installed
from paddlevideo.inference.runtimes.choice import files_of, onnx_file
from paddlevideo.inference.runtimes.onnx import CONVERTER, OnnxModel, can_convert, convert
from paddlevideo.inference.runtimes.paddle import program_inputs
from paddlevideo.loader.datasets.lists import ClassCount
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.loader.fetch import time_limit
from paddlevideo.metrics.topk import mean_average_precision, predictions, top_k_accuracy
from paddlevideo.safe_io import instead_of_a_file, sha256, write_atomic
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.video_files import is_video

NUM_CALIBRATION = 100
_TOP_K = (1, 5)
_OPERATORS = ["Conv", "MatMul", "Gemm", "Relu", "Clip", "MaxPool"]  # the last three between integer layers only
_EXPECTED = "expected a list of videos (path label per line), a folder of class folders, or a folder of videos"


@dataclass(frozen=True, eq=False)
class LabelledVideos:
    """Videos and, where they are known, their labels.

    Args:
        name: of the list or folder.
        labels: int64 [N], or 0 / 1 float32 [N, K] of several labels per clip; None: unknown.
    """

    name: str
    paths: Sequence[str]
    labels: np.ndarray | None = None

    @classmethod
    def read(cls, path: str | Path, description: Description) -> LabelledVideos:
        """The videos of a list as testing takes it, of class folders, or without labels of a folder or a list of paths.

        A relative path of a list counts from here, else from the list's folder.  A list of which most lines are paths
        alone has no labels.  A video that is not there is an error of that video, when it is read.

        Args:
            description: of the model, whose classes the labels are.

        Raises:
            UserError: nothing there, no videos, lines or folders that are mistakes.
        """
        path = Path(path).expanduser()
        if not path.exists() or is_video(path.name):
            raise UserError(f"{path}: {'a video' if path.exists() else instead_of_a_file(path)}; {_EXPECTED}")
        if path.is_dir():
            has_labels = any(entry.is_dir() and entry.name[0] != "." for entry in path.iterdir())
        else:
            has_labels = not _holds_paths(path)
        if not has_labels:
            return cls(str(path), list(VideoInputs([path], lambda line: None)))
        multi_label = description.score_type == MULTI_LABEL
        count = ClassCount(description.num_classes, f"num_classes of {FILE_NAME}")
        dataset = VideoDataset(
            str(path), allow_outside_root=True, class_names=description.labels, multi_label=multi_label,
            num_classes=count,
        )  # fmt: skip
        records = [dataset.records[index] for index in range(len(dataset.records))]
        names = [str(record["filename"]) for record in records]
        paths = [name if os.path.exists(name) else os.path.join(path.parent, name) for name in names]
        return cls(str(path), paths, np.array([record["label"] for record in records]))

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, indices: Sequence[int] | np.ndarray) -> LabelledVideos:
        """Some of them."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, paths=[self.paths[index] for index in indices], labels=labels)

    def parted(self, count: int) -> tuple[LabelledVideos, LabelledVideos]:
        """``count`` of them, drawn by a seed, and the others, both in order."""
        order = np.random.default_rng([DEFAULT_SEED, 0]).permutation(len(self))
        return self.part(np.sort(order[:count])), self.part(np.sort(order[count:]))


def _holds_paths(file: Path) -> bool:
    """Whether most lines, as a whole, are paths of videos, there or not."""
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        lines = [line.replace("\0", " ") for line in map(str.strip, text) if line]
    return 2 * sum(is_video(line) or _is_there(line, file.parent) for line in lines) > len(lines)


def _is_there(path: str, folder: Path) -> bool:
    return os.path.exists(path) or os.path.exists(folder / path)


@dataclass(frozen=True)
class Cost:
    """What int8 changes, on the same clips.

    Args:
        num_clips: N.
        accuracy: figure -> of ``float`` and of ``int8``, 0 to 1; empty without labels.
        same_top1: share of clips whose highest class is the same.
        max_difference, mean_difference: absolute difference of a score, over all clips and classes.
    """

    num_clips: int
    accuracy: dict[str, dict[str, float]]
    same_top1: float
    max_difference: float
    mean_difference: float

    @classmethod
    def of(cls, float_scores: np.ndarray, int8_scores: np.ndarray, labels: np.ndarray | None) -> Cost:
        """
        Args:
            float_scores, int8_scores: [N, K] of the same clips, N at least 1.
            labels: int64 [N] or 0 / 1 float32 [N, K]; None: unknown.
        """
        differences = np.abs(np.float64(int8_scores) - float_scores)
        forms = {"float": float_scores, "int8": int8_scores}
        found = {form: {} if labels is None else _accuracy(scores, labels) for form, scores in forms.items()}
        return cls(
            num_clips=len(float_scores),
            accuracy={name: {form: found[form][name] for form in forms} for name in found["float"]},
            same_top1=float((predictions(float_scores) == predictions(int8_scores)).mean()),
            max_difference=float(differences.max()),
            mean_difference=float(differences.mean()),
        )


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if labels.ndim == 2:
        return {"mAP": mean_average_precision(scores, labels)}
    return {f"top{k}": share for k, share in zip(_TOP_K, top_k_accuracy(scores, labels, _TOP_K))}


def quantise(
    path: str | Path,
    calibration: str | Path,
    evaluation: str | Path | None = None,
    num_calibration: int = NUM_CALIBRATION,
    on_error: Literal["raise", "skip"] = "raise",
    say: Say = print,
) -> Path:
    """Writes ``NAME.int8.onnx`` beside an exported model, notes it in ``inference.yml``, and prints its cost.

    The videos go through the pipeline of ``inference.yml``.  ``NAME.onnx`` is made where it is missing.

    Args:
        path: the folder that export wrote, or its program.
        calibration: list or folder of videos; labels are not needed.
        evaluation: list or folder that the cost is measured on; None: what calibration leaves of its own list, and
            where it leaves nothing the calibration clips themselves, with a line.
        num_calibration: at most so many clips give the ranges of the activations.
        on_error: of a video that cannot be read: ``raise``, or ``skip`` with a line.
        say: receives the lines.

    Returns:
        ``NAME.int8.onnx``.

    Raises:
        UserError: a library is missing; files are missing, damaged, or of a detection model; no video can be read; ONNX
            Runtime cannot quantise the model.
    """
    export, description = checked_export(path, say)
    clips = LabelledVideos.read(calibration, description)
    part, rest = clips.parted(num_calibration)
    if evaluation is not None:
        rest = LabelledVideos.read(evaluation, description)
        _note_common(part, rest, say)

    def clips_of(model: ExportedModel, videos: LabelledVideos) -> ClipsOfVideos:
        return ClipsOfVideos(
            Predictor(model, export.pipeline(), description.model_name, say=say), videos, on_error, say
        )

    advice = "name others (--evaluation LIST), or lower --num_calibration"
    return write_int8(export, description, (part, rest), clips_of, export.file.parent, advice, say)


def write_int8(
    export: Export,
    description: Description,
    parts: tuple[LabelledVideos, LabelledVideos],
    clips_of: Callable[[ExportedModel, LabelledVideos], ClipsOfVideos],
    folder: Path,
    advice: str,
    say: Say,
) -> Path:
    """Calibrates and measures, and writes ``NAME.int8.onnx`` with its note in ``inference.yml``.

    Args:
        description: of ``checked_export``.
        parts: what calibrates, and what the cost is measured on; where the second is empty, the first.
        clips_of: the clips of a part, in the form of the model's input.
        folder: for both files; of the export, or another, which gets no other form of the model.
        advice: how to get other clips to measure on.
        say: receives the lines.

    Returns:
        ``NAME.int8.onnx``.
    """
    part, rest = parts
    held_out = len(rest) > 0
    if not held_out:
        rest = part
        say(f"{part.name}: all {len(part)} clips calibrate, so the cost is measured on the calibration clips, which "
            f"flatters it; {advice}")  # fmt: skip
    files = export.program.with_suffix("")
    target = folder / onnx_file(files, "int8").name
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as work:
        source, made = _float_file(export, Path(work)), Path(work, target.name)
        say(f"calibrating on {len(part)} clips of {part.name}, measuring on {len(rest)} of {rest.name}")
        of_paddle = export.load(Runtime(backend="paddle"), say)
        of_float = OnnxModel(source, Runtime(backend="onnx"))
        used = clips_of(of_float, part)
        batches = iter(used)
        first = next(batches)
        _compared(first, of_paddle, of_float)
        _calibrate(source, made, itertools.chain([first], batches))
        of_int8 = OnnxModel(made, Runtime(backend="onnx", precision="int8"))
        cost, ms = _measured([of_float, of_int8], clips_of(of_float, rest))
        mb = {"float": source.stat().st_size / 1e6, "int8": made.stat().st_size / 1e6}
        digests = {}
        folder.mkdir(parents=True, exist_ok=True)
        kept = [(source, onnx_file(files))] if folder.samefile(export.file.parent) else []
        for file, place in (*kept, (made, target)):
            if file != place:
                _copied(file, place)
            digests[place.name] = sha256(place)
    section = {
        "calibration": Path(part.name).name, "num_clips": len(part) - len(used.refused),
        "evaluation": Path(rest.name).name, "held_out": held_out, "cpu": cpu_name(), "cpu_threads": available_cores(),
        "cost": {**asdict(cost), "ms": ms, "mb": mb},
    }  # fmt: skip
    replace(description, files={**description.files, **digests}, int8=section).write(folder)
    for line in lines_of(section):
        say(line)
    return target


def lines_of(section: Mapping[str, Any]) -> Iterator[str]:
    """The table of the section ``int8`` of ``inference.yml``."""
    cost, threads = section["cost"], section["cpu_threads"]
    which = "not calibrated on" if section["held_out"] else "calibrated on"
    yield (
        f"int8 against float by ONNX Runtime on {section['cpu']}, {threads} thread{'s' * (threads != 1)}: "
        f"{cost['num_clips']} clips of {section['evaluation']}, {which}; calibrated on {section['num_clips']} of "
        f"{section['calibration']}"
    )
    yield f"  {'':8}{'float':>10}{'int8':>10}"
    for name, pair in cost["accuracy"].items():
        points = 100 * (pair["int8"] - pair["float"])
        yield f"  {name:8}{pair['float']:10.2%}{pair['int8']:10.2%}  {points:+.2f} points"
    if not cost["accuracy"]:
        yield f"  {section['evaluation']} has no labels: no accuracy, the agreement only"
    for name, digits, what in (("ms", 2, "per clip"), ("mb", 2, "file")):
        pair = cost[name]
        unit = {"ms": "ms", "mb": "MB"}[name]
        ratio = pair["float"] / pair["int8"]
        yield f"  {unit:8}{pair['float']:10.{digits}f}{pair['int8']:10.{digits}f}  {what}, {ratio:.2f} to 1"
    yield (
        f"  the same top-1 class: {cost['same_top1']:.2%} of the clips; difference of a score: largest "
        f"{cost['max_difference']:.2g}, mean {cost['mean_difference']:.2g}"
    )


def _require_libraries() -> None:
    require_installed("onnx")
    if importlib.util.find_spec("onnx") is None:
        raise UserError("int8: onnx, with which ONNX Runtime quantises, is not installed: pip install onnx")


def checked_export(path: str | Path, say: Say) -> tuple[Export, Description]:
    """An export that can be quantised, its files compared with their digests, and its description.

    Raises:
        UserError: a library is missing; there is no description, it takes more than clips, or Paddle's files are gone.
    """
    _require_libraries()
    export = Export.find(path, None, say)
    return export, _checked(export)


def _checked(export: Export) -> Description:
    description = export.description
    if description is None:
        raise UserError(f"{export.file}: not there, so the pipeline is unknown; export the model again")
    if description.detection:
        raise UserError(
            f"{export.program}: a detection model, which takes persons' boxes as well as clips; int8 is made of models "
            "of clips alone"
        )
    if not files_of("paddle", export.program.with_suffix("")):
        raise UserError(f"{export.program}: not there; int8 is compared with Paddle's program, export the model again")
    inputs = [spec.name for spec in program_inputs(export.program)]
    if len(inputs) != 1:
        raise UserError(f"{export.program}: has the inputs {', '.join(inputs)}; int8 is made of models of clips alone")
    export.check((export.program, export.params, onnx_file(export.program.with_suffix(""))))
    return description


def _note_common(part: LabelledVideos, rest: LabelledVideos, say: Say) -> None:
    common = {os.path.realpath(path) for path in part.paths} & {os.path.realpath(path) for path in rest.paths}
    if common:
        say(f"{len(common)} of {len(rest)} videos of {rest.name} calibrate as well, which flatters the cost")


def _float_file(export: Export, folder: Path) -> Path:
    """``NAME.onnx``, made in ``folder`` where it is missing."""
    file = onnx_file(export.program.with_suffix(""))
    if file.is_file():
        return file
    if not can_convert():
        raise UserError(
            f"{file}: not there, and {CONVERTER}, which makes it, is not installed: pip install {CONVERTER}"
        )
    made = folder / file.name
    error = convert(export.program, export.params, made)
    if error:
        raise UserError(f"{export.program}: this model cannot be converted to ONNX ({error})")
    return made


class ClipsOfVideos:
    """One clip of every video that can be read, as a batch of the model's input, decoded when it is taken.

    Args:
        predictor: of whose pipeline and input the batches are.
        on_error: as of ``quantise``.

    Attributes:
        refused: the places of videos that could not be read.
    """

    def __init__(self, predictor: Predictor, videos: LabelledVideos, on_error: str, say: Say):
        self.videos, self.refused = videos, []
        self._predictor, self._on_error, self._say = predictor, on_error, say
        (self._input,) = (spec.name for spec in predictor.model.inputs)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for index, path in enumerate(self.videos.paths):
            try:
                with time_limit(path, self._predictor.timeout_s):
                    imgs = self._imgs(path, index)
            except VideoReadError as error:
                if self._on_error == "raise":
                    raise
                self.refused.append(index)
                self._say(f"skipped: {error}")
                continue
            yield {self._input: imgs[None]}
        if len(self.refused) == len(self.videos):
            raise UserError(f"{self.videos.name}: none of {len(self.videos)} videos could be read")

    def _imgs(self, path: str, index: int) -> np.ndarray:
        """The clip of one video, [V, T, H, W, 3]."""
        return self._predictor.clip(path, index)["imgs"]


def _compared(batch: Mapping[str, np.ndarray], of_paddle: ExportedModel, of_float: ExportedModel) -> None:
    """
    Raises:
        UserError: the two models give one clip other scores.
    """
    difference = Reference([batch], [of_paddle.run(batch)]).difference([of_float.run(batch)], of_float.name)
    if not difference.small:
        raise UserError(f"{of_float.name}: differs from the exported program: {difference}; nothing was written")


def _calibrate(source: Path, target: Path, batches: Iterator[dict[str, np.ndarray]]) -> None:
    """Quantises ``source`` with the ranges that its activations take on the batches."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):
        """One clip per run, so that memory does not grow with their number."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(batches, None)

    onnxruntime.set_default_logger_severity(3)  # a line per unused constant otherwise
    prepared = target.with_name("prepared.onnx")
    try:
        # normalisations are folded into the convolutions before them, as ONNX Runtime does when it loads a model
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(target), Batches(), op_types_to_quantize=_OPERATORS, per_channel=True,
            # 7-bit weights: sums of 8-bit products overflow on processors without VNNI, and scores would depend on it
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax, extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    except UserError:
        raise
    except Exception as error:  # of onnx and onnxruntime, without a common class
        line = " ".join(str(error).split())[:200]
        raise UserError(f"{source.name}: ONNX Runtime cannot quantise it ({line}); nothing was written") from error


def _measured(models: Sequence[ExportedModel], clips: ClipsOfVideos) -> tuple[Cost, dict[str, float]]:
    """The cost, and the median ms of a clip of each of the two models, which run in turn on the same clips."""
    rows, seconds = ([], []), ([], [])
    for batch in clips:
        for model, scores, times in zip(models, rows, seconds):
            if not scores:
                model.run(batch)  # a new shape costs more once
            started = time.perf_counter()
            scores.append(model.run(batch)[0])
            times.append(time.perf_counter() - started)
    labels = clips.videos.labels
    labels = None if labels is None else np.delete(labels, clips.refused, axis=0)
    ms = {form: round(1e3 * median(times), 3) for form, times in zip(("float", "int8"), seconds)}
    return Cost.of(*(np.stack(scores) for scores in rows), labels), ms


def _copied(file: Path, place: Path) -> None:
    with file.open("rb") as source:
        write_atomic(place, lambda stream: shutil.copyfileobj(source, stream))
