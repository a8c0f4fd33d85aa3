"""Class scores of videos by an exported model or a trained network, on the clips that testing takes.

model = load("inference/TSM")                      # or load("configs/.../tsm.yaml", "best.pdparams")
for class_id, score, name in model.predict("clip.mp4")[0].top(5): ...
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paddlevideo.build import normalization_of
from paddlevideo.classes import Classes, missing_thresholds, order_in, thresholds_of_weights
from paddlevideo.config import Config
from paddlevideo.environment import available_cores, set_cpu_environment
from paddlevideo.errors import UserError, printable
from paddlevideo.inference.clip_workers import ClipWorkers, Made
from paddlevideo.inference.exported import FILE_NAME, MULTI_LABEL, Export
from paddlevideo.inference.network import TrainedNetwork, config_of, damaged_of
from paddlevideo.inference.paddlevideo_export import to_foreign_layout, to_probabilities
from paddlevideo.inference.predictions import Prediction
from paddlevideo.inference.runtimes.base import Backend, ExportedModel, Runtime, Say, refuse_backend, to_stderr
from paddlevideo.inference.runtimes.choice import onnx_file
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.fetch import time_limit
from paddlevideo.loader.labels import read_labels
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.decode import FrameDecoder
from paddlevideo.loader.workers import can_fork, error_of, failure_of
from paddlevideo.memory import OutOfMemoryError
from paddlevideo.registry import TRANSFORMS
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.weight_names import weights_file

Source = str | PathLike | np.ndarray

TIMEOUT_S = 300.0  # of one clip
_MIN_VIDEOS, _MAX_WORKERS = 4, 8  # fewer videos are decoded before workers have begun
_MAX_FAILED = 64  # videos without a clip that wait for those before them


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: its files, and what else decides it: MODEL of a configuration, a precision."""

    files: tuple[Path, ...] = ()
    settings: Mapping[str, Any] | None = None

    @classmethod
    def of_export(cls, export: Export, precision: str) -> Origin:
        """By the digests in ``inference.yml``, which hold where files of other runtimes alone are left; of a file
        without one, by its content."""
        files = [export.program, export.params]
        if precision == "int8":  # quantised again, it gives other scores
            files.append(onnx_file(export.program.with_suffix(""), precision))
        noted = export.description.files if export.description else {}
        digests = {file.name: noted[file.name] for file in files if file.name in noted}
        others = tuple(file for file in files if file.name not in noted)
        return cls(others, {"precision": precision, "files": digests})

    def digest(self) -> str:
        """Of the content of both."""
        settings = json.dumps(self.settings, sort_keys=True, default=str).encode()
        return sha256(*self.files, io.BytesIO(settings))


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
        timeout_s: seconds for reading and transforming one clip; 0: no limit.
        origin: of the model.
        background: name of the class that is no span; None: the model has none.
        thresholds: of several labels per clip, the least score per class that counts as found; None: unknown.
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
        timeout_s: float = TIMEOUT_S,
        origin: Origin = Origin(),
        background: str | None = None,
        thresholds: Sequence[float] | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size: expected at least 1, got {batch_size}")
        if not timeout_s >= 0:
            raise UserError(f"timeout_s: expected seconds from 0 on, got {timeout_s:g}")
        if num_workers is not None and num_workers < 0:
            raise UserError(f"num_workers: expected at least 0, got {num_workers}")
        self.model, self.pipeline, self.name, self.names, self.multi_label = model, pipeline, name, names, multi_label
        self.batch_size, self.seed, self.damaged = batch_size, seed, damaged
        self.num_workers, self.timeout_s, self._say = num_workers, timeout_s, say
        self.background, self.thresholds = background, thresholds
        self.origin, self._proven = origin, False  # whether a video went through the pipeline and the model
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
        description, runtime = export.description, export.only_form(runtime or Runtime(), say)
        thresholds = (description.thresholds if description else None) or None
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
        origin = Origin.of_export(export, runtime.precision)
        background = description.background if description is not None and labels is None else None
        more = {"background": background, "thresholds": thresholds, **more}
        return cls(model, steps, name, names, multi_label, say=say, origin=origin, **more)

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
        multi_label = model.framework.multi_label
        thresholds = thresholds_of_weights(weights, count) if multi_label else None
        for line in missing_thresholds(config, weights, thresholds) if multi_label else ():
            say(line)
        more = {"damaged": damaged_of(config), "thresholds": thresholds, **more}
        origin = Origin((weights_file(weights),), _without_pretrained(config.to_dict().get("MODEL")))
        return cls(model, model.pipeline, config["model_name"], names, multi_label, say=say, origin=origin, **more)

    def predict(
        self, sources: Source | Iterable[Source], on_error: Literal["raise", "skip"] = "raise", fps: float = 30.0
    ) -> list[Prediction]:
        """Predictions for videos, in their order.

        Args:
            sources: paths, or clips in memory: uint8 [T, H, W, 3] RGB.  A list of paths is decoded by worker processes
                while the model runs; clips in memory, and what an iterator gives, are prepared in this process.
            on_error: ``raise``: the first video that cannot be read ends it; ``skip``: it gets a Prediction whose
                ``error`` has the reason.  Then other errors of a video are results, too, as soon as one video was
                predicted; before, they are those of the model or its pipeline, and are raised.
            fps: frame rate of the clips in memory.

        Raises:
            VideoReadError: names the video that cannot be read, or whose process died or hung.
        """
        return list(self.stream(sources, on_error, fps))

    def stream(
        self,
        sources: Source | Iterable[Source],
        on_error: Literal["raise", "skip"] = "raise",
        fps: float = 30.0,
        indices: Sequence[int] | None = None,
    ) -> Iterator[Prediction]:
        """As ``predict``, each batch as soon as it is done; videos before a bad one are predicted first.

        Args:
            indices: which of a sequence of sources, and in which order; None: all.
        """
        with contextlib.closing(self.numbered(sources, on_error, fps, indices)) as found:
            for _, prediction in found:
                yield prediction

    def numbered(
        self,
        sources: Source | Iterable[Source],
        on_error: Literal["raise", "skip"] = "raise",
        fps: float = 30.0,
        indices: Sequence[int] | None = None,
        ordered: bool = True,
    ) -> Iterator[tuple[int, Prediction]]:
        """As ``stream``, each prediction with the index of its source.

        Args:
            ordered: in the order of the sources; else as worker processes have decoded them.
        """
        if on_error not in ("raise", "skip"):
            raise UserError(f"on_error: expected raise or skip, got {on_error!r}")
        if isinstance(sources, (str, PathLike, np.ndarray)):
            sources = [sources]
        batch: list[_Item] = []
        skip = on_error == "skip"
        with contextlib.closing(self._prepared(sources, fps, indices, ordered)) as items:
            for item in items:
                if item.error is not None and not (skip and (self._proven or isinstance(item.error, VideoReadError))):
                    yield from zip([each.index for each in batch], self._run(batch, skip))
                    raise item.error
                shapes = {each.imgs.shape for each in batch if each.error is None}
                if item.error is None and shapes - {item.imgs.shape}:
                    yield from zip([each.index for each in batch], self._run(batch, skip))
                    batch = []
                batch.append(item)
                num_clips = sum(each.error is None for each in batch)
                if num_clips in (0, self.batch_size) or len(batch) >= num_clips + _MAX_FAILED:
                    yield from zip([each.index for each in batch], self._run(batch, skip))
                    batch = []
            yield from zip([each.index for each in batch], self._run(batch, skip))

    def scores(self, imgs: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, K], of clips that went through the pipeline: uint8 [N, V, T, H, W, 3]."""
        if not self._foreign:
            return self.model.run({self._input.name: imgs})
        pair = normalization_of({"test": self.pipeline}, self.pipeline.where)
        imgs = to_foreign_layout(imgs, self._input.shape, pair)
        return to_probabilities(self.model.run({self._input.name: imgs}))

    def _prepared(
        self, sources: Iterable[Source], fps: float, indices: Sequence[int] | None, ordered: bool
    ) -> Iterator[_Item]:
        """The sources' clips in order; where there are workers, the next ones are decoded while the model runs."""
        if isinstance(sources, Sequence):
            indices = range(len(sources)) if indices is None else indices
            num_workers = self._num_workers(sources, len(indices))
            if num_workers:
                yield from self._from_workers(sources, fps, indices, num_workers, ordered)
                return
            numbered = ((int(index), sources[index]) for index in indices)
        else:
            numbered = enumerate(sources)
        for index, source in numbered:
            item = self._prepare(source, index, fps)
            yield replace(item, wait_s=item.prepare_s)

    def _from_workers(
        self, sources: Sequence[Source], fps: float, indices: Sequence[int], num_workers: int, ordered: bool
    ) -> Iterator[_Item]:
        preparer, remarks = copy.copy(self), []
        preparer._say = remarks.append  # reported by the parent, each in its turn

        def make(index: int) -> Made:
            remarks.clear()
            item = preparer._prepare(sources[index], index, fps)
            span_s = item.span_s and tuple(map(float, item.span_s))
            header = {"prepare_s": item.prepare_s, "span_s": span_s, "remarks": list(remarks)}
            return header | ({"error": failure_of(item.error)} if item.error else {}), item.imgs

        def path_of(index: int) -> str:
            return str(sources[index])

        workers = ClipWorkers(make, path_of, num_workers, self.batch_size + 1, self.timeout_s)
        with contextlib.closing(workers.clips(indices, ordered)) as clips:
            for _ in indices:
                start = time.perf_counter()
                index, (header, imgs) = next(clips)
                wait_s = time.perf_counter() - start
                for remark in header.get("remarks", ()):
                    self._say(remark)
                error = error_of(header["error"]) if "error" in header else None
                prepare_s, span_s = header.get("prepare_s", wait_s), header.get("span_s")
                yield _Item(index, path_of(index), imgs, prepare_s, error, span_s, wait_s)

    def _num_workers(self, sources: Sequence[Source], count: int) -> int:
        """Processes for so many of these sources; 0: this one."""
        if isinstance(sources, (list, tuple)) and any(isinstance(source, np.ndarray) for source in sources):
            return 0
        wanted = self.num_workers
        if wanted is None:
            wanted = min(available_cores() - 1, _MAX_WORKERS) if count >= _MIN_VIDEOS else 0
        wanted = min(wanted, count)
        if wanted and not can_fork():
            self._say("this process cannot fork workers; it decodes the videos itself, one after the other")
            return 0
        return wanted

    def clip(self, source: Source, index: int = 0, fps: float = 30.0) -> dict[str, Any]:
        """The sample of a video after the pipeline, as testing makes it: ``imgs`` [V, T, H, W, 3], ``span_s``, ...

        Args:
            source: a path, or a clip in memory: uint8 [T, H, W, 3] RGB.
            index: of the video, for the generator of random pipelines.
            fps: frame rate of a clip in memory, above 0.

        Raises:
            VideoReadError: the video cannot be read.
            UserError: no clip, or no such rate.
        """
        if not isinstance(fps, Real) or not 0 < fps < math.inf:
            raise UserError(f"fps: expected frames per second, a number above 0, got {fps!r:.80}")
        name = _name(source, index)
        sample: dict[str, Any] = {"filename": name, "index": index, "damaged": self.damaged}
        if isinstance(source, np.ndarray):
            sample["reader"] = ArrayReader(source, fps)
        elif self._of_frames:
            sample["reader"] = open_video(name, damaged=self.damaged)
        sample = self.pipeline(sample, np.random.default_rng([self.seed, 0, index]))
        shown = printable(name) + (f" (fps={fps:g})" if isinstance(source, np.ndarray) else "")
        for remark in sample.get("remarks", ()):
            self._say(f"{shown}: {remark}")
        self.check_shape(sample["imgs"])
        return sample

    def _prepare(self, source: Source, index: int, fps: float) -> _Item:
        start, name = time.perf_counter(), _name(source, index)
        try:
            with time_limit(name, self.timeout_s):
                sample = self.clip(source, index, fps)
        except UserError as error:  # raised in its turn, after those before it
            return _Item(index, name, None, time.perf_counter() - start, error)
        return _Item(index, name, sample["imgs"], time.perf_counter() - start, span_s=sample.get("span_s"))

    def _run(self, batch: Sequence[_Item], skip: bool) -> Iterator[Prediction]:
        """The predictions of a batch; with ``skip`` an error of the model is that of the clip that causes it."""
        clips = [item.imgs for item in batch if item.error is None]
        scores, infer_s = iter(()), 0.0
        if clips:
            start = time.perf_counter()
            try:
                rows = self.scores(np.stack(clips))
            except UserError as error:
                if not (skip and self._proven) or isinstance(error, OutOfMemoryError):
                    raise
                for item in [replace(batch[0], error=error)] if len(batch) == 1 else batch:
                    yield from self._run([item], skip)
                return
            infer_s = (time.perf_counter() - start) / len(clips)
            if self.names is not None and len(self.names) != rows.shape[1]:
                raise UserError(f"{len(self.names)} class names, but the model has {rows.shape[1]} classes")
            scores, self._proven = iter(rows), True
        for item in batch:
            if item.error is None:
                times = {"span_s": item.span_s, "prepare_s": item.prepare_s, "infer_s": infer_s, "wait_s": item.wait_s}
                yield Prediction(item.name, next(scores), self.names, **times)
            else:
                times = {"prepare_s": item.prepare_s, "wait_s": item.wait_s}
                yield Prediction(item.name, None, self.names, str(item.error), **times)

    def check_shape(self, imgs: np.ndarray) -> None:
        """
        Raises:
            UserError: the model does not take clips of this shape, [V, T, H, W, 3].
        """
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


def _without_pretrained(section: Any) -> Any:
    """MODEL without the weights that it begins training with."""
    if isinstance(section, Mapping):
        return {key: _without_pretrained(value) for key, value in section.items() if key != "pretrained"}
    return section


def _name(source: Source, index: int) -> str:
    return f"array[{index}]" if isinstance(source, np.ndarray) else str(source)


@dataclass(frozen=True, eq=False)
class _Item:
    index: int
    name: str
    imgs: np.ndarray | None
    prepare_s: float
    error: UserError | None = None
    span_s: tuple[float, float] | None = None
    wait_s: float = 0.0


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
    timeout_s: float = TIMEOUT_S,
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    say: Say = to_stderr,
) -> Predictor:
    """A model that names what whole videos show: its ``predict`` takes videos and gives their class scores.

    Args:
        model: an exported model (its folder or program), or with ``weights`` a configuration.
        weights: ``.pdparams`` that were trained with the configuration, or their name or address; scores are then
            those of testing.
        labels: K class names, or the file that holds them; None: the model's own.
        device: ``cpu``, ``gpu``, ``gpu:N`` or ``auto``.
        backend, cpu_threads: of an exported model, see ``Runtime``; None: as timed at its export.
        batch_size: videos per run.
        num_workers: processes that decode a list of videos while the model runs; 0: this one; None: by the cores.
        timeout_s: seconds for reading and transforming one clip; 0: no limit.
        overrides: ``KEY=VALUE`` that change the configuration.
        imports: modules or .py files with registered classes of your own.
        say: receives remarks; none of them is an error.

    Raises:
        UserError: a model that is missing or damaged, weights or labels that do not fit, no such device.
    """
    set_cpu_environment()
    config = config_of(model, weights, overrides, imports)
    more = {"labels": labels, "batch_size": batch_size, "num_workers": num_workers, "timeout_s": timeout_s, "say": say}
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
