"""What persons do in a video: persons at key frames, their track ids, and the scores of their actions.

result = detect("clip.mp4", "inference/AVA", detector="yolo.onnx")
for key_frame in result.key_frames:
    for person in key_frame.persons: key_frame.time_s, person.track_id, person.box_px, result.actions(person, 0.5)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paddlevideo.config import Config, load_config
from paddlevideo.environment import set_cpu_environment
from paddlevideo.errors import UserError
from paddlevideo.inference.detection_run import DetectionRun
from paddlevideo.inference.exported import Export
from paddlevideo.inference.key_frames import (
    ForwardReader,
    KeyMoment,
    moments_at,
    moments_between,
    moments_by_step,
    moments_by_time,
    open_forward,
)
from paddlevideo.inference.network import TrainedNetwork, config_of, damaged_of
from paddlevideo.inference.person_actions import DetectionSettings, VideoActions
from paddlevideo.inference.person_detectors import HOG, PersonDetector, ProposalFile, open_detector
from paddlevideo.inference.runtimes.base import Backend, ExportedModel, Runtime, Say, refuse_backend, to_stderr
from paddlevideo.inference.tracking import MAX_GAP_S
from paddlevideo.inference.video_bank import (
    WINDOW,
    BankDetector,
    Window,
    moments_of_seconds,
    no_detector,
    window_of,
    without_windows,
)
from paddlevideo.inference.video_stage import open_stage
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.sampling import USUAL_FPS
from paddlevideo.ranges import Positive, PositiveInt
from paddlevideo.safe_io import sha256
from paddlevideo.settings import Checked
from paddlevideo.weight_names import weights_file

if TYPE_CHECKING:
    from paddlevideo.inference.video_output import OutputVideo

_NO_BANK = "--bank: the model reads no feature bank; leave --bank, --bank-config, --bank-weights out"
_PROGRESS_STEP = 10  # key frames between two lines of progress


@dataclass(frozen=True)
class Search(Checked):
    """In which frames persons are detected, and at which of them their actions are scored.

    Args:
        step: frames from key frame to key frame.
        every_s: seconds from key frame to key frame, instead of ``step``.
        detect_every_s: largest gap between detections of persons, for their tracks.
        video_id: name of the video in files of boxes and in results; None: its file name without the ending.
        timestamp_start: second that the first frame shows; None: 0, with boxes of a file the model's.
    """

    step: PositiveInt = 8
    every_s: Positive | None = None
    detect_every_s: Positive = 0.2
    video_id: str | None = None
    timestamp_start: float | None = None


class StoppedDetection(KeyboardInterrupt):
    """Ctrl-C during detection.

    Attributes:
        result: the key frames that are scored, and the tracks; the output video may be missing, but is never a part.
    """

    def __init__(self, result: VideoActions):
        super().__init__()
        self.result = result


@dataclass
class ActionDetector:
    """A detection model with its preprocessing.

    Args:
        model: a trained network, or an exported model.
        pipeline: PIPELINE.test.
        settings: of its training.
        window: of a network that takes a feature bank.
        bank_detector: makes the feature bank; None: it must be there.
        batch_size: key frames per run.
        max_gap_s: seconds for which a person may be missed and keep the track id.
        damaged: ``read``: take what can be decoded of a damaged video, as it comes.
        say: receives remarks.
        announce: receives the steps and their progress, ``10 / 37``.
        on_second: called with the second of each key frame that is scored.
    """

    model: TrainedNetwork | ExportedModel
    pipeline: Pipeline
    settings: DetectionSettings
    window: Window | None = None
    bank_detector: BankDetector | None = None
    batch_size: int = 1
    max_gap_s: float = MAX_GAP_S
    damaged: Damaged = "refuse"
    say: Say = to_stderr
    announce: Say = lambda line: None
    on_second: Callable[[float], None] = lambda time_s: None

    def __post_init__(self) -> None:
        self.pipeline.refuse_boxes()
        if self.window is None:
            self.pipeline = without_windows(self.pipeline)

    @classmethod
    def from_config(
        cls, config: Config, weights: str | Path, device: str = "auto", labels: str | Path | None = None,
        say: Say = to_stderr, **more: Any,
    ) -> ActionDetector:  # fmt: skip
        """A network as testing builds it; if it takes a feature bank, its own backbone makes it.

        Args:
            labels: label file of the names shown; None: the weights' own, or the configuration's.
            more: further arguments of the class.

        Raises:
            UserError: weights that do not fit, a network of whole videos, no such device, a bad label file.
        """
        model = TrainedNetwork(config, weights, device, of_persons=True, say=say)
        # the configuration's own label file may not be on this machine
        named = _without_labels(model.config) if labels else model.config
        settings = DetectionSettings.of_config(named, model.framework, model.classes)
        window = window_of(model.pipeline, model.framework)
        bank_detector = bank_detector_of(model) if window else None
        settings = settings.with_labels(labels) if labels else settings
        return cls(model, model.pipeline, settings, window, bank_detector, say=say, **more)

    @classmethod
    def from_export(
        cls, path: str | Path, params: str | Path | None = None, config: Config | None = None,
        overrides: Sequence[str] = (), runtime: Runtime | None = None, labels: str | Path | None = None,
        say: Say = to_stderr, **more: Any,
    ) -> ActionDetector:  # fmt: skip
        """An exported model.

        Args:
            path: its folder or program.
            params: its weights; None: beside the program.
            config: is compared with ``inference.yml``; its PIPELINE.test is used where ``overrides`` change it.
            runtime: where it runs; None: on the CPU.
            labels: label file of the names shown; None: the model's own.
            more: further arguments of the class.

        Raises:
            UserError: files missing, damaged or of several exports; a model of whole videos; a bad label file.
        """
        export = Export.find(path, params, say)
        if export.description is None:
            raise UserError(
                f"{export.file}: not there, so the pipeline of {export.program.name} is unknown; export the model again"
            )
        noted = export.description.detection
        if not noted:
            raise UserError(f"{export.program}: names whole videos, not people; use paddlevideo predict")
        pipeline = export.pipeline(export.section(config, overrides, say))
        for override in overrides:
            if override.strip().startswith(("DATASET.", "METRIC.")):
                say(f"-o {override.strip()}: no effect: {export.file} has what was exported with the weights")
        settings = DetectionSettings.of_description(noted, str(export.file))
        settings = settings.with_labels(labels) if labels else settings
        window = Window(**noted[WINDOW]) if noted.get(WINDOW) else None
        return cls(export.load(runtime or Runtime(), say), pipeline, settings, window, say=say, **more)

    def predict(
        self,
        video: str | Path | ForwardReader,
        persons: PersonDetector,
        search: Search | None = None,
        bank: str | Path | None = None,
        output: OutputVideo | None = None,
    ) -> VideoActions:
        """The persons of a video and their actions.

        Args:
            video: a file, or one that is open.
            persons: gives the boxes of persons.
            search: which frames; None: the defaults.  The key frames of a file of boxes are its seconds.
            bank: file of the feature bank, for a model that takes one; None: ``<video id>.bank`` in this folder.
            output: video with the persons and their actions, written on the way; if it cannot be written, the result
                has the reason in ``not_written``.

        Raises:
            VideoReadError: the video cannot be read.
            UserError: no second of the file of boxes lies in the video; no feature bank and nothing that makes it.
            StoppedDetection: a KeyboardInterrupt, with what was found until then.
        """
        search = search or Search()
        reader = video if isinstance(video, ForwardReader) else open_forward(video, self.say, self.damaged)
        num_remarks = len(reader.remarks)
        video_id = search.video_id or Path(reader.path).stem
        start, end = search.timestamp_start, None
        if isinstance(persons, ProposalFile):  # its seconds are the data set's
            start, end = self.settings.timestamp_start if start is None else start, self.settings.timestamp_end
        start = start or 0.0
        self.announce(f"Frame Number: {len(reader)}")
        moments, detected, seconds = self._moments(reader, persons, search, start)
        self.announce(f"timestamps number: {len(moments)}")
        self.announce(f"Performing Human Detection for each frame ({persons.name})")
        plan = output.plan(reader) if output else None
        with open_stage(reader, plan, self.say) as stage:
            run = DetectionRun(self, stage, plan, persons, moments, detected, start, end, video_id)
            try:
                if self.window:
                    path = Path(bank or bank_name(video_id))
                    result = run.with_bank(path, seconds)
                else:
                    result = run.at_once()
                result = run.finished(result, reader)
            except KeyboardInterrupt:
                raise StoppedDetection(run.so_far(reader)) from None
        if result.written is None and result.not_written is None and output is not None:
            try:
                result = _written_later(result, output)
            except KeyboardInterrupt:
                raise StoppedDetection(result) from None
        for remark in reader.remarks[num_remarks:]:
            self.say(f"{reader.path}: {remark}")
        return result

    def _moments(
        self, reader: ForwardReader, persons: PersonDetector, search: Search, start: float
    ) -> tuple[list[KeyMoment], list[KeyMoment], list[KeyMoment]]:
        """The key frames, the frames in which persons are detected, and the key frames of the feature bank."""
        if not isinstance(persons, ProposalFile):
            if search.every_s:
                moments = moments_by_time(reader, search.every_s, start)
            else:
                moments = moments_by_step(reader, search.step, start)
            detected = moments_between(reader, moments, search.detect_every_s, start)
            return moments, detected, moments_of_seconds(reader, start) if self.window else []
        if search.every_s:
            self.say("--action-every is not used: the key frames are the seconds of --proposals")
        moments, outside = moments_at(reader, persons.timestamps_s, start)
        last = start + float(reader.times()[-1])
        where = f"the video shows seconds {start:g} to {last:.1f}; --timestamp-start is the second of its first frame"
        if not moments:
            raise UserError(f"{persons.path}: no second of {persons.video_id!r} lies in the video; {where}")
        if outside:
            self.say(f"{persons.path}: {len(outside)} seconds are left out, the first is {outside[0]:g}: {where}")
        return moments, moments, moments if self.window else []

    def scores(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Scores of a batch's persons, float32 [R, K]."""
        rows = self.model.run(batch)
        if rows.shape != (len(batch["boxes"]), len(self.settings.names)):
            raise UserError(
                f"the model gives scores {list(rows.shape)} for {len(batch['boxes'])} people, expected "
                f"{len(self.settings.names)} columns; its labels and classes are those of another model"
            )
        return rows

    @property
    def clip_s(self) -> float | None:
        """Seconds of the clip around a key frame; None: its sampling step does not state them."""
        clip_s = self.pipeline.clip_s
        return None if clip_s is None else clip_s * USUAL_FPS / self.settings.clip_fps

    def progress(self, done: int, total: int) -> None:
        """Announces every tenth and the last."""
        if done % _PROGRESS_STEP == 0 or done == total:
            self.announce(f"{done} / {total}")


def _written_later(result: VideoActions, output: OutputVideo) -> VideoActions:
    """The result with the output video, which is written in a pass of its own."""
    from paddlevideo.inference.video_output import write_annotated_video

    shown = (output.threshold, output.top_k, output.step, output.fps)
    try:
        return replace(result, written=write_annotated_video(output.path, result, *shown))
    except UserError as error:
        return replace(result, not_written=error)


def bank_detector_of(model: TrainedNetwork) -> BankDetector:
    """What makes feature banks with a network; also with one that takes a bank itself: its backbone needs none."""
    config, pipeline = _without_labels(model.config), without_windows(model.pipeline)
    settings = DetectionSettings.of_config(config, model.framework)
    pipeline.refuse_boxes()
    described = [config.section("MODEL"), pipeline.describe(), settings.clip_fps, settings.timestamp_end]
    origin = {
        "weights_sha256": sha256(weights_file(model.name)),
        "settings_sha256": hashlib.sha256(json.dumps(described, default=str, sort_keys=True).encode()).hexdigest(),
        "model": str(config["model_name"]),
        "config": str(config.source),
    }
    return BankDetector(model.features, pipeline, settings, model.framework.backbone.out_channels, origin)


def detect(
    video: str | Path | ForwardReader,
    model: str | Path | Config,
    weights: str | Path | None = None,
    *,
    detector: str | Path | PersonDetector | None = None,
    detector_config: str | Path | None = None,
    proposals: str | Path | None = None,
    min_person_score: float | None = None,
    labels: str | Path | None = None,
    bank: str | Path | None = None,
    bank_folder: str | Path = "",
    bank_config: str | Path | None = None,
    bank_weights: str | Path | None = None,
    device: str = "auto",
    backend: Backend | None = None,
    cpu_threads: int | None = None,
    batch_size: int = 1,
    say: Say = to_stderr,
    announce: Say = lambda line: None,
    params: str | Path | None = None,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    output: OutputVideo | None = None,
    **search: Any,
) -> VideoActions:
    """The persons of one video, their tracks and the scores of their actions.

    Args:
        video: a file, or one that is open.
        model: an exported model (its folder or program), or with ``weights`` a configuration.
        weights: ``.pdparams`` that were trained with the configuration, or their name or address.
        detector: finds persons: an ``.onnx`` file, a folder that PaddleDetection exported, ``hog``, or an object; None:
            OpenCV's HOG.
        detector_config: file about the detector's inputs and outputs; None: the one beside it.
        proposals: file of boxes (``.pkl``, ``.npz``, ``.json``) instead of a detector; key frames are its seconds.
        min_person_score: least score of a person; None: 0.5, of a file of boxes the model's own.
        labels: label file of the names shown; None: the model's own.
        bank: file of the feature bank, for a model that takes one: made where it is not there, used again where it is
            of this video; None: ``<video id>.bank`` in ``bank_folder``.
        bank_config, bank_weights: the detector that makes it, best the one that made the banks of training; None: the
            model's own backbone.
        device: ``cpu``, ``gpu``, ``gpu:N`` or ``auto``.
        backend, cpu_threads: of an exported model, see ``Runtime``; None: as timed at its export.
        batch_size: key frames per run.
        say: receives remarks.
        announce: receives the steps and their progress.
        params: weights of the exported model; None: beside its program.
        config: of an exported model, is compared with its ``inference.yml``.
        overrides: ``KEY=VALUE`` that change the configuration.
        imports: modules or .py files with registered classes of your own.
        output: video with the persons and their actions, written on the way; see ``ActionDetector.predict``.
        search: the arguments of ``Search``: ``step``, ``every_s``, ``detect_every_s``, ``video_id``,
            ``timestamp_start``.

    Raises:
        VideoReadError: the video cannot be read.
        UserError: a model, a detector, boxes or a feature bank that are missing or do not fit.
        StoppedDetection: a KeyboardInterrupt, with what was found until then.
    """
    chosen = config_of(model, weights, [overrides] if isinstance(overrides, str) else overrides, imports)
    reader = video if isinstance(video, ForwardReader) else open_forward(video, say, damaged_of(chosen))
    found = load_detector(
        model if chosen is None else chosen, weights, labels=labels, bank_config=bank_config, bank_weights=bank_weights,
        device=device, backend=backend, cpu_threads=cpu_threads, batch_size=batch_size, say=say, announce=announce,
        params=params, config=config, overrides=overrides,
    )  # fmt: skip
    boxes = BoxSource(detector, detector_config, proposals, min_person_score, device)
    return detect_with(found, reader, boxes, bank=bank, bank_folder=bank_folder, output=output, search=Search(**search))


def load_detector(
    model: str | Path | Config,
    weights: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    bank_config: str | Path | None = None,
    bank_weights: str | Path | None = None,
    device: str = "auto",
    backend: Backend | None = None,
    cpu_threads: int | None = None,
    batch_size: int = 1,
    say: Say = to_stderr,
    announce: Say = lambda line: None,
    params: str | Path | None = None,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    on_second: Callable[[float], None] = lambda time_s: None,
) -> ActionDetector:
    """A detection model, for any number of videos; the arguments are those of ``detect`` and ``ActionDetector``."""
    set_cpu_environment()
    overrides = [overrides] if isinstance(overrides, str) else overrides
    chosen = config_of(model, weights, overrides)
    more = {"labels": labels, "batch_size": batch_size, "say": say, "announce": announce, "on_second": on_second}
    if chosen is None:
        runtime = Runtime.on(device, backend, cpu_threads)
        found = ActionDetector.from_export(model, params, config, overrides, runtime, **more)
    else:
        refuse_backend(backend)
        found = ActionDetector.from_config(chosen, weights, device, damaged=damaged_of(chosen), **more)
    if bank_config and found.window is None:
        raise UserError(_NO_BANK)
    if bank_config:
        maker = _without_labels(load_config(bank_config, uses=("test",)))
        found.bank_detector = bank_detector_of(TrainedNetwork(maker, bank_weights, device, True, say))
    elif found.bank_detector:
        say(
            "the model's own backbone makes the feature bank; the banks of training usually come from the detector "
            "before it, which --bank-config CFG --bank-weights FILE name"
        )
    return found


@dataclass(frozen=True)
class BoxSource:
    """Where the boxes of persons come from; the fields are arguments of ``detect``."""

    detector: str | Path | PersonDetector | None = None
    detector_config: str | Path | None = None
    proposals: str | Path | None = None
    min_person_score: float | None = None
    device: str = "auto"

    def open(self, settings: DetectionSettings, video_id: str, say: Say) -> PersonDetector:
        """The persons of one video."""
        if self.proposals and self.detector:
            raise UserError("--proposals and a detector are both named; leave one of them out")
        if isinstance(self.detector, PersonDetector):
            return self.detector
        if self.proposals:
            least = settings.person_det_score_thr if self.min_person_score is None else self.min_person_score
            return ProposalFile(self.proposals, video_id, least, settings.num_max_proposals)
        least = 0.5 if self.min_person_score is None else self.min_person_score
        return open_detector(str(self.detector or HOG), least, self.detector_config, Runtime.on(self.device), say)


def detect_with(
    model: ActionDetector, reader: ForwardReader, boxes: BoxSource, *, bank: str | Path | None = None,
    bank_folder: str | Path = "", output: OutputVideo | None = None, search: Search,
) -> VideoActions:  # fmt: skip
    """``detect`` on one video with a model that is loaded.

    Args:
        reader: the video; other arguments as of ``detect``.
    """
    video_id = search.video_id or Path(reader.path).stem
    path = Path(bank or Path(bank_folder) / bank_name(video_id))
    if bank and model.window is None:
        raise UserError(_NO_BANK)
    if model.window and not model.bank_detector and not path.exists():  # before the detection of persons
        raise no_detector(path)
    return model.predict(reader, boxes.open(model.settings, video_id, model.say), search, path, output)


def bank_name(video_id: str) -> str:
    """Name of the file of a video's feature bank."""
    return f"{video_id.replace('/', '_')}.bank"


def _without_labels(config: Config) -> Config:
    """The configuration with every ``label_file`` taken out."""
    data = config.to_dict()
    for section in (*(data.get("DATASET") or {}).values(), data.get("METRIC")):
        if isinstance(section, dict):
            section.pop("label_file", None)
    return Config(data, config.source)
