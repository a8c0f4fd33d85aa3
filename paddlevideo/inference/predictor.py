"""Class scores of videos by an exported model.  Predict is test: the clip comes from the same ``PIPELINE.test``."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paddlevideo.build import normalization_of
from paddlevideo.classes import Classes, order_in
from paddlevideo.errors import ConfigError, UserError, printable
from paddlevideo.inference.array_reader import ArrayReader
from paddlevideo.inference.description import FILE_NAME, MULTI_LABEL, Description, check_files, read_description
from paddlevideo.inference.foreign import to_foreign_layout, to_probabilities
from paddlevideo.inference.model_files import PROGRAM_SUFFIXES, find_params, find_program
from paddlevideo.inference.runtime import ExportedModel, Runtime, Say
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.labels import read_labels
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.decode import FrameDecoder
from paddlevideo.registry import TRANSFORMS
from paddlevideo.settings import DEFAULT_SEED

Source = str | PathLike | np.ndarray


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says about one video.

    Args:
        path: as it was given; ``array[i]`` for a clip in memory.
        scores: float32 [K] probabilities, of every class by itself if the model is for several labels per clip; None
            for a video that could not be read.
        labels: K names, or None.
        error: why the video could not be read.
        prepare_s: seconds for decoding and transforms.
        infer_s: this video's share of the model's time on its batch, in seconds.
    """

    path: str
    scores: np.ndarray | None
    labels: Sequence[str] | None = None
    error: str | None = None
    prepare_s: float = 0.0
    infer_s: float = 0.0

    def best(self, k: int | None = None, threshold: float | None = None) -> list[tuple[int, float, str | None]]:
        """Like ``top``, of the classes whose score is at least ``threshold``.

        Args:
            k: how many at most; None: 1, with a threshold all.
        """
        found = self.top((1 if threshold is None else len(self.scores)) if k is None else k)
        return [item for item in found if threshold is None or item[1] >= threshold]

    def top(self, k: int = 1) -> list[tuple[int, float, str | None]]:
        """The min(k, K) best classes, best first: (class id, score, name or None).  Equal scores: lower id first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(int(i), float(self.scores[i]), self.labels[i] if self.labels else None) for i in order]


class Predictor:
    """An exported model with its preprocessing.

    Args:
        model_file: ``NAME.json`` (Paddle 3) or ``NAME.pdmodel`` (Paddle 2); of the two the one that exists is used.
        params_file: None: ``NAME.pdiparams`` beside it.
        pipeline: a ``PIPELINE.test`` section or a Pipeline; None: the one in ``inference.yml`` beside the model.
        labels: K names, or the file that holds them; None: those of ``inference.yml``.
        batch_size: videos per run of the model.
        seed: of the pipeline's generator, ``[seed, 0, index]``, as in ``--test``; matters to random pipelines only.
        say: receives a line for whatever was found or chosen otherwise than asked.
        runtime: the arguments of ``Runtime``: ``use_gpu``, ``precision``, ``cpu_threads``, ``enable_mkldnn``, ...

    Raises:
        UserError: files missing, damaged or not of one export; no pipeline; labels that do not fit; no such device.
    """

    def __init__(
        self,
        model_file: str | PathLike,
        params_file: str | PathLike | None = None,
        pipeline: Mapping[str, Any] | Pipeline | None = None,
        labels: Sequence[str] | str | PathLike | None = None,
        batch_size: int = 1,
        seed: int = DEFAULT_SEED,
        say: Say = lambda line: print(line, file=sys.stderr),
        **runtime: Any,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size: expected at least 1, got {batch_size}")
        self.program = find_program(model_file, say)
        self.params = find_params(params_file, self.program)
        self.description = description_of(self.program, say)
        self.batch_size, self.seed = batch_size, seed
        choices = Runtime(**runtime)
        choices.device()
        if self.description is not None and self.description.detection:
            raise takes_boxes(self.program)
        if self.description is not None:
            check_files(self.description, self.program, self.params)
        self.pipeline = self._pipeline(pipeline)
        # trained on extracted frames: of a video file the same frames are read directly
        self._of_frames = _reads_frame_folders(self.pipeline.describe())
        num_classes = self.description.num_classes if self.description else None
        self.labels = _labels(labels, self.description, num_classes, say)
        self._say = say
        self._model = ExportedModel(self.program, self.params, choices, say)
        if any(spec.name in ("boxes", "proposals") for spec in self._model.inputs):
            raise takes_boxes(self.program)
        self._input = self._model.inputs[0]
        self._foreign = len(self._input.shape) != 6
        self.device = self._model.device
        # whether a video may have several classes
        self.multi_label = self.description is not None and self.description.score_type == MULTI_LABEL
        self.name = self.description.model_name if self.description else self.program.stem

    @classmethod
    def from_folder(cls, folder: str | PathLike, **arguments: Any) -> Predictor:
        """The model that export wrote into ``folder``; further arguments as for the class.

        Raises:
            UserError: the folder holds no exported model, or several.
        """
        return cls(program_of_folder(Path(folder)), **arguments)

    def predict(
        self, sources: Source | Iterable[Source], on_error: Literal["raise", "skip"] = "raise", fps: float = 30.0
    ) -> list[Prediction]:
        """Predictions for videos, in their order.

        Args:
            sources: paths, or clips in memory: uint8 [T, H, W, 3] RGB.
            on_error: ``raise``: the first video that cannot be read ends it; ``skip``: it gets a Prediction whose
                ``error`` says why.
            fps: frame rate of the clips in memory.

        Raises:
            VideoReadError: names the video that cannot be read.
        """
        return list(self.stream(sources, on_error, fps))

    def stream(
        self, sources: Source | Iterable[Source], on_error: Literal["raise", "skip"] = "raise", fps: float = 30.0
    ) -> Iterator[Prediction]:
        """As ``predict``, each batch as soon as it is done; what stands before a bad video is predicted first."""
        if on_error not in ("raise", "skip"):
            raise UserError(f"on_error: expected raise or skip, got {on_error!r}")
        if isinstance(sources, (str, PathLike, np.ndarray)):
            sources = [sources]
        batch: list[_Item] = []
        for item in self._prepared(sources, fps):
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
            return self._model(imgs)
        pair = normalization_of({"test": self.pipeline}, self.pipeline.where)
        return to_probabilities(self._model(to_foreign_layout(imgs, self._input.shape, pair)))

    def _prepared(self, sources: Iterable[Source], fps: float) -> Iterator[_Item]:
        """The sources' clips in order; the next ones are decoded while the model runs."""
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
        pending: deque[Future[_Item]] = deque()
        try:
            for index, source in enumerate(sources):
                pending.append(pool.submit(self._prepare, source, index, fps))
                if len(pending) > self.batch_size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, source: Source, index: int, fps: float) -> _Item:
        start = time.perf_counter()
        name = f"array[{index}]" if isinstance(source, np.ndarray) else str(source)
        try:
            sample = {"filename": name, "index": index}
            if isinstance(source, np.ndarray):
                sample["reader"] = ArrayReader(source, fps)
            elif self._of_frames:
                sample["reader"] = open_video(name)
            sample = self.pipeline(sample, np.random.default_rng([self.seed, 0, index]))
            for remark in sample.get("remarks", ()):
                self._say(f"{printable(name)}: {remark}")
            imgs = sample["imgs"]
            self._check_shape(imgs)
        except UserError as error:  # raised in its turn, after what stands before it
            return _Item(name, None, time.perf_counter() - start, error)
        return _Item(name, imgs, time.perf_counter() - start)

    def _run(self, batch: Sequence[_Item]) -> Iterator[Prediction]:
        clips = [item.imgs for item in batch if item.error is None]
        scores, infer_s = iter(()), 0.0
        if clips:
            start = time.perf_counter()
            rows = self.scores(np.stack(clips))
            infer_s = (time.perf_counter() - start) / len(clips)
            if self.labels is not None and len(self.labels) != rows.shape[1]:
                raise UserError(f"{len(self.labels)} class names, but the model has {rows.shape[1]} classes")
            scores = iter(rows)
        for item in batch:
            if item.error is None:
                yield Prediction(item.name, next(scores), self.labels, None, item.prepare_s, infer_s)
            else:
                yield Prediction(item.name, None, self.labels, str(item.error), item.prepare_s)

    def _pipeline(self, pipeline: Mapping[str, Any] | Pipeline | None) -> Pipeline:
        if isinstance(pipeline, Pipeline):
            return pipeline
        if self.description is None:
            if pipeline is not None:
                return Pipeline(pipeline, "PIPELINE.test")
            raise UserError(
                f"{self.program.parent / FILE_NAME}: not there, so the pipeline of {self.program.name} is not known; "
                "name the configuration (--config), or export the model again"
            )
        return pipeline_for_export(self.description, pipeline, self.program.parent / FILE_NAME)

    def _check_shape(self, imgs: np.ndarray) -> None:
        wanted = self._input.shape[1:]
        if self._foreign:
            v, t, h, w, c = imgs.shape
            got = (c, v * t, h, w) if wanted[:1] == (3,) else (v * t, c, h, w)
        else:
            got = imgs.shape
        if len(got) != len(wanted) or any(b not in (-1, a) for a, b in zip(got, wanted)):
            raise UserError(
                f"the pipeline makes clips of {list(got)}, but {self.program} takes {list(wanted)} "
                f"({'[V, T, H, W, 3]' if not self._foreign else 'its own order'}); "
                "the configuration is not the one it was exported with"
            )


@dataclass(frozen=True, eq=False)
class _Item:
    name: str
    imgs: np.ndarray | None
    prepare_s: float
    error: UserError | None = None


def pipeline_for_export(description: Description, other: Mapping[str, Any] | None, file: Path) -> Pipeline:
    """The exported pipeline, or another section in its place, which must leave the same normalisation to the model.

    Raises:
        ConfigError: it does not: the model normalises in the way it was exported with, whatever the section says.
    """
    exported = Pipeline.of_export(description.pipeline, f"{file}: pipeline")
    if other is None:
        return exported
    given = Pipeline(other, "PIPELINE.test")
    normalization_of({"exported": exported, "test": given}, str(file))
    if given.normalization is not None and exported.normalization is None and not exported.normalizes:
        what = "PIPELINE.test has a Normalization, the exported pipeline has none; export with it"
        raise ConfigError(str(file), [what])
    return given


def takes_boxes(program: Path) -> UserError:
    """The refusal of a detection model."""
    return UserError(
        f"{program}: a detection model, which wants to know where the people are; use "
        f"python tools/ava_predict.py --model_file {program} --video_path VIDEO"
    )


def description_of(program: Path, say: Say) -> Description | None:
    """The ``inference.yml`` beside a program, if it is about that program."""
    description = read_description(program.parent)
    if description is not None and Path(description.program).stem != program.stem:
        say(f"{program.parent / FILE_NAME} is about {description.program}, not {program.name}: it is not used")
        return None
    return description


def program_of_folder(folder: Path) -> Path:
    """The program file of the one exported model in a folder.

    Raises:
        UserError: none or several.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one that tools/export_model.py wrote")
    description = read_description(folder)
    if description is not None:
        return folder / description.program
    programs = {p.with_suffix(""): p for p in sorted(folder.glob("*.pdiparams"))}
    if len(programs) != 1:
        what = f"several models ({', '.join(p.name for p in programs.values())})" if programs else "no exported model"
        raise UserError(f"{folder}: holds {what} and no {FILE_NAME}; name the model file")
    return next(iter(programs)).with_suffix(PROGRAM_SUFFIXES[0])


def _reads_frame_folders(section: Mapping[str, Any]) -> bool:
    """Whether a pipeline opens folders of pictures rather than video files."""
    return any(
        isinstance(step, Mapping) and step.get("name") in TRANSFORMS and TRANSFORMS.get(step["name"]) is FrameDecoder
        for step in section.values()
    )


def _labels(
    labels: Sequence[str] | str | PathLike | None, description: Description | None, num_classes: int | None, say: Say
) -> list[str] | None:
    """The names of the outputs; the model's own where it has them, with which others are compared."""
    own = description.labels if description else None
    if labels is None:
        return own
    source = "labels"
    if isinstance(labels, (str, PathLike)):
        source, labels = str(labels), read_labels(labels, num_classes)
    if num_classes is not None and len(labels) != num_classes:
        raise UserError(f"{len(labels)} class names, but the model has {num_classes} classes")
    if own is None:
        return list(labels)
    if order_in(Classes(tuple(own)), Classes(tuple(labels)), FILE_NAME, source) is not None:
        say(f"{source}: the classes stand in another order than in {FILE_NAME}; they are mapped by name")
    return own
