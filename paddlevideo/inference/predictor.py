"""Class scores of videos by an exported model or a trained network, on the clips that testing takes.

model = load("inference/TSM")                      # or load("configs/.../tsm.yaml", "best.pdparams")
for class_id, score, name in model.predict("clip.mp4")[0].top(5): ...
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from paddlevideo.build import normalization_of
from paddlevideo.classes import Classes, order_in
from paddlevideo.config import Config
from paddlevideo.environment import available_cores, set_cpu_environment
from paddlevideo.errors import UserError, printable
from paddlevideo.inference.exported import FILE_NAME, MULTI_LABEL, Export
from paddlevideo.inference.network import TrainedNetwork, config_of, damaged_of
from paddlevideo.inference.runtimes.base import Backend, ExportedModel, Runtime, Say, refuse_backend, to_stderr
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.labels import read_labels
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.decode import FrameDecoder
from paddlevideo.loader.workers import can_fork, error_of, failure_of, worker_batches
from paddlevideo.registry import TRANSFORMS
from paddlevideo.safe_io import write_atomic
from paddlevideo.settings import DEFAULT_SEED

Source = str | PathLike | np.ndarray

OUT_SUFFIXES = (".json", ".csv")
_NUM_WARMUP, _NUM_TIMED = 3, 15  # runs of a benchmark
_MIN_VIDEOS, _MAX_WORKERS = 4, 8  # fewer videos are decoded before workers have begun


@dataclass(frozen=True, eq=False)
class Prediction:
    """The class scores of one video.

    Args:
        path: as it was given; ``array[i]`` for a clip in memory.
        scores: float32 [K] probabilities, of every class by itself if the model is for several labels per clip; None
            for a video that could not be read.
        names: K class names, or None.
        error: why the video could not be read.
        span_s: seconds of the first and last frame that the model was given; None: the source has no frame rate.
        prepare_s: seconds for decoding and transforms, in the process that does it.
        wait_s: seconds for which the model waited for the clip; less than ``prepare_s`` where workers decode ahead.
        infer_s: this video's share of the model's time on its batch, in seconds.
    """

    path: str
    scores: np.ndarray | None
    names: Sequence[str] | None = None
    error: str | None = None
    span_s: tuple[float, float] | None = None
    prepare_s: float = 0.0
    infer_s: float = 0.0
    wait_s: float = 0.0

    def best(self, k: int | None = None, threshold: float | None = None) -> list[tuple[int, float, str | None]]:
        """Like ``top``, of the classes with a score of at least ``threshold``.

        Args:
            k: how many at most; None: 1, with a threshold all.
        """
        found = self.top(1 if k is None and threshold is None else k)
        return [item for item in found if threshold is None or item[1] >= threshold]

    def top(self, k: int | None = 1) -> list[tuple[int, float, str | None]]:
        """The min(k, K) best classes, best first: (class id, score, name or None).  Equal scores: lower id first.

        None of a video that could not be read.

        Args:
            k: how many at most; None: all.
        """
        if self.scores is None:
            return []
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(int(i), float(self.scores[i]), self.names[i] if self.names else None) for i in order]


class Predictor:
    """A model of whole videos with its preprocessing.

    Args:
        model: a trained network, or an exported model.
        pipeline: PIPELINE.test.
        name: of the model.
        names: K class names, or None.
        multi_label: a video may have several classes.
        batch_size: videos per run of the model.
        seed: of the pipeline's generator, ``[seed, 0, index]``, as in ``--test``; matters to random pipelines only.
        damaged: ``read``: take what can be decoded of a damaged video; ``refuse``: it is an error.
        say: receives remarks on videos and files.
        num_workers: processes that decode a list of videos while the model runs; 0: this one; None: one per core but
            one, at most 8, and none for less than 4 videos.
    """

    def __init__(
        self,
        model: TrainedNetwork | ExportedModel,
        pipeline: Pipeline,
        name: str,
        names: Sequence[str] | None = None,
        multi_label: bool = False,
        batch_size: int = 1,
        seed: int = DEFAULT_SEED,
        damaged: Damaged = "refuse",
        say: Say = to_stderr,
        num_workers: int | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size: expected at least 1, got {batch_size}")
        if num_workers is not None and num_workers < 0:
            raise UserError(f"num_workers: expected at least 0, got {num_workers}")
        self.model, self.pipeline, self.name, self.names, self.multi_label = model, pipeline, name, names, multi_label
        self.batch_size, self.seed, self.damaged = batch_size, seed, damaged
        self.num_workers, self._say = num_workers, say
        # trained on extracted frames: of a video file the same frames are read directly
        names_of_steps = [step.get("name") for step in pipeline.describe().values() if isinstance(step, Mapping)]
        self._of_frames = any(name in TRANSFORMS and TRANSFORMS.get(name) is FrameDecoder for name in names_of_steps)
        self._input = model.inputs[0]
        self._foreign = len(self._input.shape) != 6

    @classmethod
    def from_export(
        cls, path: str | PathLike | Export, params: str | PathLike | None = None,
        pipeline: Mapping[str, Any] | None = None, labels: Sequence[str] | str | PathLike | None = None,
        runtime: Runtime | None = None, say: Say = to_stderr, **more: Any,
    ) -> Predictor:  # fmt: skip
        """An exported model.

        Args:
            path: the folder that export wrote, or its program; of ``NAME.json`` (Paddle 3) and ``NAME.pdmodel``
                (Paddle 2) the one that exists is used.
            params: its weights; None: beside the program.
            pipeline: a ``PIPELINE.test`` section; None: the one in ``inference.yml``.
            labels: K names, or the file that holds them; None: those of ``inference.yml``.
            runtime: where it runs; None: on the CPU.
            more: further arguments of the class.

        Raises:
            UserError: files missing, damaged or not of one export; no pipeline; labels that do not fit; no such device.
        """
        export = path if isinstance(path, Export) else Export.find(path, params, say)
        description, runtime = export.description, runtime or Runtime()
        runtime.device()
        if description is not None and description.detection:
            raise _takes_boxes(export.program)
        steps = export.pipeline(pipeline)
        names = _names(labels, description.labels if description else None, FILE_NAME,
                       description.num_classes if description else None, say)  # fmt: skip
        model = export.load(runtime, say)
        if any(spec.name in ("boxes", "proposals") for spec in model.inputs):
            raise _takes_boxes(export.program)
        name = description.model_name if description else export.program.stem
        multi_label = description is not None and description.score_type == MULTI_LABEL
        return cls(model, steps, name, names, multi_label, say=say, **more)

    @classmethod
    def from_config(
        cls, config: Config, weights: str | PathLike, device: str = "auto",
        labels: Sequence[str] | str | PathLike | None = None, say: Say = to_stderr, **more: Any,
    ) -> Predictor:  # fmt: skip
        """A network as testing builds it; videos are read by ``damaged`` of DATASET.test.

        Args:
            weights: ``.pdparams``.
            labels: K names, or the file that holds them; None: the weights' own, or the configuration's.
            more: further arguments of the class.

        Raises:
            UserError: weights that do not fit, a network of persons' actions, labels that do not fit, no such device.
        """
        model = TrainedNetwork(config, weights, device, of_persons=False, say=say)
        count = model.framework.num_classes
        names = _names(labels, model.classes.names and list(model.classes.names), str(weights), count, say)
        more = {"damaged": damaged_of(config), **more}
        multi_label = model.framework.multi_label
        return cls(model, model.pipeline, config["model_name"], names, multi_label, say=say, **more)

    def predict(
        self, sources: Source | Iterable[Source], on_error: Literal["raise", "skip"] = "raise", fps: float = 30.0
    ) -> list[Prediction]:
        """Predictions for videos, in their order.

        Args:
            sources: paths, or clips in memory: uint8 [T, H, W, 3] RGB.  A list of paths is decoded by worker processes
                while the model runs; clips in memory, and what an iterator gives, are prepared in this process.
            on_error: ``raise``: the first video that cannot be read ends it; ``skip``: it gets a Prediction whose
                ``error`` has the reason.
            fps: frame rate of the clips in memory.

        Raises:
            VideoReadError: names the video that cannot be read.
        """
        return list(self.stream(sources, on_error, fps))

    def stream(
        self, sources: Source | Iterable[Source], on_error: Literal["raise", "skip"] = "raise", fps: float = 30.0
    ) -> Iterator[Prediction]:
        """As ``predict``, each batch as soon as it is done; videos before a bad one are predicted first."""
        if on_error not in ("raise", "skip"):
            raise UserError(f"on_error: expected raise or skip, got {on_error!r}")
        if isinstance(sources, (str, PathLike, np.ndarray)):
            sources = [sources]
        batch: list[_Item] = []
        with contextlib.closing(self._prepared(sources, fps)) as items:
            for item in items:
                if item.error is not None and not (on_error == "skip" and isinstance(item.error, VideoReadError)):
                    yield from self._run(batch)
                    raise item.error
                batch.append(item)
                if sum(item.error is None for item in batch) == self.batch_size:
                    yield from self._run(batch)
                    batch = []
            yield from self._run(batch)

    def scores(self, imgs: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, K], of clips that went through the pipeline: uint8 [N, V, T, H, W, 3]."""
        if not self._foreign:
            return self.model.run({self._input.name: imgs})
        pair = normalization_of({"test": self.pipeline}, self.pipeline.where)
        imgs = to_foreign_layout(imgs, self._input.shape, pair)
        return to_probabilities(self.model.run({self._input.name: imgs}))

    def _prepared(self, sources: Iterable[Source], fps: float) -> Iterator[_Item]:
        """The sources' clips in order; where there are workers, the next ones are decoded while the model runs."""
        num_workers = self._num_workers(sources)
        if not num_workers:
            for index, source in enumerate(sources):
                item = self._prepare(source, index, fps)
                yield replace(item, wait_s=item.prepare_s)
            return
        tasks = [(0, index, np.array([index])) for index in range(len(sources))]
        with contextlib.closing(worker_batches(_ClipSource(self, sources, fps), tasks, num_workers)) as batches:
            for source in sources:
                start = time.perf_counter()
                batch = next(batches)
                wait_s = time.perf_counter() - start
                for remark in batch["remarks"]:
                    self._say(remark)
                yield _item_of(str(source), batch, wait_s)

    def _num_workers(self, sources: Iterable[Source]) -> int:
        """Processes for these sources; 0: this one."""
        if not isinstance(sources, (list, tuple)) or any(isinstance(source, np.ndarray) for source in sources):
            return 0
        wanted = self.num_workers
        if wanted is None:
            wanted = min(available_cores() - 1, _MAX_WORKERS) if len(sources) >= _MIN_VIDEOS else 0
        wanted = min(wanted, len(sources)) if len(sources) > 1 else 0
        if wanted and not can_fork():
            self._say("this process cannot fork workers; it decodes the videos itself, one after the other")
            return 0
        return wanted

    def clip(self, source: Source, index: int = 0, fps: float = 30.0) -> dict[str, Any]:
        """The sample of a video after the pipeline, as testing makes it: ``imgs`` [V, T, H, W, 3], ``span_s``, ...

        Args:
            source: a path, or a clip in memory: uint8 [T, H, W, 3] RGB.
            index: of the video, for the generator of random pipelines.
            fps: frame rate of a clip in memory.

        Raises:
            VideoReadError: the video cannot be read.
        """
        name = _name(source, index)
        sample: dict[str, Any] = {"filename": name, "index": index, "damaged": self.damaged}
        if isinstance(source, np.ndarray):
            sample["reader"] = ArrayReader(source, fps)
        elif self._of_frames:
            sample["reader"] = open_video(name, damaged=self.damaged)
        sample = self.pipeline(sample, np.random.default_rng([self.seed, 0, index]))
        for remark in sample.get("remarks", ()):
            self._say(f"{printable(name)}: {remark}")
        self._check_shape(sample["imgs"])
        return sample

    def _prepare(self, source: Source, index: int, fps: float) -> _Item:
        start, name = time.perf_counter(), _name(source, index)
        try:
            sample = self.clip(source, index, fps)
        except UserError as error:  # raised in its turn, after those before it
            return _Item(name, None, time.perf_counter() - start, error)
        return _Item(name, sample["imgs"], time.perf_counter() - start, span_s=sample.get("span_s"))

    def _run(self, batch: Sequence[_Item]) -> Iterator[Prediction]:
        clips = [item.imgs for item in batch if item.error is None]
        scores, infer_s = iter(()), 0.0
        if clips:
            start = time.perf_counter()
            rows = self.scores(np.stack(clips))
            infer_s = (time.perf_counter() - start) / len(clips)
            if self.names is not None and len(self.names) != rows.shape[1]:
                raise UserError(f"{len(self.names)} class names, but the model has {rows.shape[1]} classes")
            scores = iter(rows)
        for item in batch:
            if item.error is None:
                times = {"span_s": item.span_s, "prepare_s": item.prepare_s, "infer_s": infer_s, "wait_s": item.wait_s}
                yield Prediction(item.name, next(scores), self.names, **times)
            else:
                times = {"prepare_s": item.prepare_s, "wait_s": item.wait_s}
                yield Prediction(item.name, None, self.names, str(item.error), **times)

    def _check_shape(self, imgs: np.ndarray) -> None:
        wanted = self._input.shape[1:]
        if self._foreign:
            v, t, h, w, c = imgs.shape
            got = (c, v * t, h, w) if wanted[:1] == (3,) else (v * t, c, h, w)
        else:
            got = imgs.shape
        if len(got) != len(wanted) or any(b not in (-1, a) for a, b in zip(got, wanted)):
            raise UserError(
                f"the pipeline makes clips of {list(got)}, but {self.model.name} takes {list(wanted)} "
                f"({'[V, T, H, W, 3]' if not self._foreign else 'its own order'}); "
                "the configuration is not the one it was exported with"
            )


def _name(source: Source, index: int) -> str:
    return f"array[{index}]" if isinstance(source, np.ndarray) else str(source)


@dataclass(frozen=True, eq=False)
class _Item:
    name: str
    imgs: np.ndarray | None
    prepare_s: float
    error: UserError | None = None
    span_s: tuple[float, float] | None = None
    wait_s: float = 0.0


class _ClipSource:
    """The clips of a list of videos, as tasks of the loader's workers: each video is one."""

    timeout_s = 0.0
    option = "--num_workers"
    on_host = True

    def __init__(self, predictor: Predictor, sources: Sequence[Source], fps: float):
        self._sources, self._fps, self._remarks = sources, fps, []
        self._predictor = copy.copy(predictor)
        self._predictor._say = self._remarks.append  # the parent says them, each in its turn
        self.num_ahead = predictor.batch_size + 1

    def make(self, epoch: int, number: int, indices: np.ndarray) -> dict[str, Any]:
        """The clip, or why there is none; see ``_item_of``."""
        self._remarks.clear()
        item = self._predictor._prepare(self._sources[number], number, self._fps)
        batch = {"prepare_s": item.prepare_s, "span_s": None, "remarks": list(self._remarks)}
        if item.error is not None:
            return batch | {"error": failure_of(item.error)}
        return batch | {"imgs": item.imgs, "span_s": item.span_s and [float(second) for second in item.span_s]}

    def expect(self, indices: np.ndarray) -> None:
        """Files are opened one by one: nothing is read ahead."""

    def observe(self, on_clip: Callable[[], None]) -> None:
        """Clips have no time limit here: their beginning is not reported."""

    def first_file(self, indices: np.ndarray) -> str:
        """The video of the task."""
        return printable(self._sources[int(indices[0])])


def _item_of(name: str, batch: Mapping[str, Any], wait_s: float) -> _Item:
    """What ``_ClipSource.make`` put into a batch."""
    if "error" in batch:
        return _Item(name, None, batch["prepare_s"], error_of(batch["error"]), wait_s=wait_s)
    span_s = batch["span_s"] and tuple(batch["span_s"])
    return _Item(name, np.asarray(batch["imgs"]), batch["prepare_s"], span_s=span_s, wait_s=wait_s)


def load(
    model: str | PathLike | Config,
    weights: str | PathLike | None = None,
    *,
    labels: Sequence[str] | str | PathLike | None = None,
    device: str = "auto",
    backend: Backend | None = None,
    cpu_threads: int | None = None,
    batch_size: int = 1,
    num_workers: int | None = None,
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    say: Say = to_stderr,
) -> Predictor:
    """A model that names what whole videos show: its ``predict`` takes videos and gives their class scores.

    Args:
        model: an exported model (its folder or program), or with ``weights`` a configuration.
        weights: ``.pdparams`` that were trained with the configuration; scores are then those of testing.
        labels: K class names, or the file that holds them; None: the model's own.
        device: ``cpu``, ``gpu``, ``gpu:N`` or ``auto``.
        backend, cpu_threads: of an exported model, see ``Runtime``; None: as timed at its export.
        batch_size: videos per run.
        num_workers: processes that decode a list of videos while the model runs; 0: this one; None: by the cores.
        overrides: ``KEY=VALUE`` that change the configuration.
        imports: modules or .py files with registered classes of your own.
        say: receives remarks; none of them is an error.

    Raises:
        UserError: a model that is missing or damaged, weights or labels that do not fit, no such device.
    """
    set_cpu_environment()
    config = config_of(model, weights, overrides, imports)
    more = {"labels": labels, "batch_size": batch_size, "num_workers": num_workers, "say": say}
    if config is None:
        return Predictor.from_export(model, runtime=Runtime.on(device, backend, cpu_threads), **more)
    refuse_backend(backend)
    return Predictor.from_config(config, weights, device, **more)


def _takes_boxes(program: Path) -> UserError:
    """The refusal of a detection model."""
    return UserError(
        f"{program}: a detection model, which takes persons' boxes; use "
        f"paddlevideo detect --model_file {program} --video_path VIDEO"
    )


def _names(
    labels: Sequence[str] | str | PathLike | None, own: list[str] | None, where: str, num_classes: int | None, say: Say
) -> list[str] | None:
    """The class names of the outputs: the model's own where it has them, with which ``labels`` are compared.

    Args:
        where: the file of the model's own.
    """
    if labels is None:
        return own
    source = "labels"
    if isinstance(labels, (str, PathLike)):
        source, labels = str(labels), read_labels(labels, num_classes)
    if num_classes is not None and len(labels) != num_classes:
        raise UserError(f"{len(labels)} class names, but the model has {num_classes} classes")
    if own is None:
        return list(labels)
    if order_in(Classes(tuple(own)), Classes(tuple(labels)), where, source) is not None:
        say(f"{source}: the classes are in another order than in {where}; they are mapped by name")
    return own


# ---- models that PaddleVideo exported


def to_foreign_layout(
    imgs: np.ndarray, shape: Sequence[int], normalization: tuple[Sequence[float], Sequence[float]] | None
) -> np.ndarray:
    """A batch in the layout of a PaddleVideo export.

    2D recognisers take ``[N, V*T, 3, H, W]``, TimeSformer and other 3D ones ``[N, 3, V*T, H, W]``: there the views
    follow one another on the time axis and the model averages them.

    Args:
        imgs: [N, V, T, H, W, 3], as the pipeline gives them.
        shape: the program's input, five axes.
        normalization: (mean, std) on the 0..1 scale, which the pipeline leaves to the network; None: it leaves nothing.

    Returns:
        float32, normalised, five axes.

    Raises:
        UserError: the program's input is neither of the two.
    """
    n, v, t, h, w, c = imgs.shape
    imgs = imgs.astype(np.float32)
    if normalization is not None:
        mean, std = (np.asarray(values, np.float32) for values in normalization)
        imgs = (imgs / np.float32(255.0) - mean) / std
    frames = imgs.reshape(n, v * t, h, w, c)
    if len(shape) == 5 and shape[1] == 3:
        return np.ascontiguousarray(frames.transpose(0, 4, 1, 2, 3))  # [N, 3, V*T, H, W]
    if len(shape) == 5 and shape[2] == 3:
        return np.ascontiguousarray(frames.transpose(0, 1, 4, 2, 3))  # [N, V*T, 3, H, W]
    raise UserError(
        f"the model's input is {list(shape)}, expected [N, V, T, H, W, 3] (this suite), [N, T, 3, H, W] or "
        "[N, 3, T, H, W] (PaddleVideo's 2D and 3D recognisers); export it again with paddlevideo export"
    )


def to_probabilities(scores: np.ndarray) -> np.ndarray:
    """Probabilities of what an undescribed export gives, float32 [N, K]; rows that are probabilities stay as they are.

    *Source*: PaddleVideo softmaxes every output, so that a model with ``avg_type: prob`` is softmaxed twice and a sure
    answer among 400 classes prints as 0.0068.
    """
    if np.all(scores >= 0) and np.allclose(scores.sum(axis=-1), 1.0, atol=1e-3):
        return scores
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


# ---- results on the screen and in files


def lines_of(prediction: Prediction, top_k: int | None, threshold: float | None = None) -> list[str]:
    """The printed lines of one video.

    With ``top_k`` 1 plain values, ``top-1 class: 5``; else lists in falling order of score, ``top-3 class: [5, 2, 7]``.
    With a threshold lists of all classes of at least that score, ``above 0.5 class: [0, 3]``, perhaps empty.  Scores
    are printed with all the digits that a float32 has as a Python float.
    """
    top = prediction.best(top_k, threshold)
    k = len(top)
    columns = {"class": [t[0] for t in top], "score": [t[1] for t in top]}
    if prediction.names is not None:
        columns["name"] = [t[2] for t in top]
    lines = [f"Current video file: {printable(prediction.path)}"]
    for title, values in columns.items():
        if threshold is not None:
            lines.append(f"\tabove {threshold:g} {title}: {values}")
        else:
            lines.append(f"\ttop-{k} {title}: {values[0] if k == 1 else values}")
    return lines


def check_out(path: str | Path) -> Path:
    """The path for ``write_predictions``, checked before any work is done.

    Raises:
        UserError: neither .json nor .csv.
    """
    path = Path(path)
    if path.suffix.lower() not in OUT_SUFFIXES:
        raise UserError(f"--out {path}: expected a name that ends in .json or .csv")
    return path


def write_predictions(
    path: Path, predictions: Sequence[Prediction], top_k: int | None, threshold: float | None = None
) -> None:
    """Writes predictions, atomically.

    JSON: a list of ``{"path", "top": [{"class", "score", "name"}], "scores": [K]}``, or ``{"path", "error"}``; with a
    threshold ``top`` holds the classes of at least that score.  CSV: one row per video, ``path, class_1, score_1,
    name_1, ..., error``, as many as the video with the most classes needs.
    """
    as_text = _as_json if path.suffix.lower() == ".json" else _as_csv
    write_atomic(path, as_text(predictions, top_k, threshold))


def _as_json(predictions: Sequence[Prediction], top_k: int | None, threshold: float | None) -> str:
    records = []
    for prediction in predictions:
        if prediction.error is not None:
            records.append({"path": prediction.path, "error": prediction.error})
            continue
        top = [{"class": i, "score": score, "name": name} for i, score, name in prediction.best(top_k, threshold)]
        records.append({"path": prediction.path, "top": top, "scores": [float(s) for s in prediction.scores]})
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n"


def _as_csv(predictions: Sequence[Prediction], top_k: int | None, threshold: float | None) -> str:
    k = max([len(p.best(top_k, threshold)) for p in predictions if p.error is None], default=1)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    titles = [f"{title}_{i}" for i in range(1, k + 1) for title in ("class", "score", "name")]
    writer.writerow(["path", *titles, "error"])
    for prediction in predictions:
        if prediction.error is not None:
            writer.writerow([prediction.path, *[""] * len(titles), prediction.error])
            continue
        best = prediction.best(top_k, threshold)
        cells = [cell for i, score, name in best for cell in (i, repr(score), name or "")]
        writer.writerow([prediction.path, *cells, *[""] * (len(titles) - len(cells)), ""])
    return stream.getvalue()


# ---- time


@dataclass(frozen=True)
class Timing:
    """Medians over runs, in milliseconds per video, and videos per second with one after the other."""

    prepare_ms: float
    infer_ms: float
    videos_per_s: float
    batch_size: int

    def __str__(self) -> str:
        return (
            f"benchmark, batch size {self.batch_size}, median of {_NUM_TIMED} runs after {_NUM_WARMUP}: "
            f"decode and transforms {self.prepare_ms:.1f} ms/video, model {self.infer_ms:.1f} ms/video, "
            f"{self.videos_per_s:.2f} videos/s"
        )


def benchmark(predictor: Predictor, path: str | Path) -> Timing:
    """Times one video over and over; a batch holds it ``batch_size`` times.  Times are of the wall clock, all
    in this process.
    """
    predictor, batch = copy.copy(predictor), [path] * predictor.batch_size
    predictor.num_workers = 0
    for _ in range(_NUM_WARMUP):
        predictor.predict(batch)
    prepare, infer, whole = [], [], []
    for _ in range(_NUM_TIMED):
        start = time.perf_counter()
        predictions = predictor.predict(batch)
        whole.append((time.perf_counter() - start) / len(batch))
        prepare.append(sum(p.prepare_s for p in predictions) / len(batch))
        infer.append(sum(p.infer_s for p in predictions) / len(batch))
    return Timing(median(prepare) * 1e3, median(infer) * 1e3, 1.0 / median(whole), predictor.batch_size)
