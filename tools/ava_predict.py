"""Draws what people do: python tools/ava_predict.py -c CFG -w best.pdparams --video_path clip.mp4 --detector yolo.onnx

People are looked for several times a second by a detector, or looked up in a file of boxes, and tracked, so that each
keeps an id.  At key frames their actions are scored on the clip around.  The result is a video with boxes, ids, actions
and scores, and, if asked for, a csv (AVA's result format) and a JSON file.  Works from a checkpoint (-c, -w) and from
an exported model (--model_file).

A model that looks into a long-term feature bank gets one of this video: a first pass makes it, a key frame a second,
with the detector that made the banks of the model's training (--bank-config, --bank-weights), and keeps it (--bank).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from paddlevideo.classes import Classes
    from paddlevideo.config import Config
    from paddlevideo.inference.ava_bank import BankDetector
    from paddlevideo.inference.ava_clips import ForwardReader, KeyMoment
    from paddlevideo.inference.ava_predictor import AVAPredictor, VideoActions
    from paddlevideo.inference.ava_settings import DetectionSettings
    from paddlevideo.inference.people import PersonDetector

_POSITIVE = ("predict_stepsize", "action_every", "detect_every", "output_stepsize", "output_fps", "top_k", "batch_size")
_TOLD_EVERY = 10  # key frames between two lines of progress


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """PaddleVideo's flags, spelled with - or _, and ours."""
    parser = argparse.ArgumentParser(description="Find people in a video and what they do.")

    def add(*names: str, **more: object) -> None:
        others = [name.replace("-", "_").replace("__", "--", 1) for name in names if "-" in name[2:]]
        parser.add_argument(*names, *others, **more)

    add("-c", "--config", help="YAML file the model was trained with; not needed for an exported model")
    add(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="change a value of the configuration"
    )
    add("--video_path", required=True, metavar="FILE", help="the video")
    add("-w", "--weights", metavar="FILE", help="trained weights (.pdparams), with --config")
    add("--model_file", metavar="FILE", help="an exported model (.json), or its folder")
    add("--params_file", metavar="FILE", help="its weights (.pdiparams beside the model)")
    add("--proposals", metavar="FILE", help="boxes of people (.pkl, .npz, .json); key frames are its seconds")
    add("--video-id", metavar="NAME", help="how --proposals calls the video (its file name without the ending)")
    add("--timestamp-start", type=float, metavar="S", help="second of the first frame (with --proposals the model's)")
    add("--detector", metavar="MODEL", help="finds people: an .onnx file, a PaddleDetection export, or hog")
    add("--detector-config", metavar="FILE", help="what the detector wants (the file beside it)")
    add("--det-score-thr", type=float, metavar="S", help="least score of a person (0.5; with --proposals the model's)")
    add(
        "--bank",
        metavar="FILE",
        help="feature bank of this video, made and kept (<video id>.bank beside the output video)",
    )
    add("--bank-config", metavar="FILE", help="YAML file of the detector that makes it (the model's own backbone does)")
    add("--bank-weights", metavar="FILE", help="its trained weights (.pdparams)")
    add("--detection_model_name", metavar="NAME", help="PaddleVideo's; is printed, nothing more")
    add("--detection_model_weights", metavar="MODEL", help="PaddleVideo's; the same as --detector")
    add("--predict-stepsize", type=int, default=8, metavar="N", help="frames from key frame to key frame (%(default)s)")
    more = "seconds from key frame to key frame, instead of --predict-stepsize"
    add("--action-every", "--every", type=float, metavar="S", help=more)
    add("--detect-every", type=float, default=0.2, metavar="S", help="people are looked for so often (%(default)s)")
    add(
        "--output-stepsize",
        type=int,
        metavar="N",
        help="the output video shows every N-th frame (by time, at its own speed)",
    )
    add("--output-fps", type=float, metavar="F", help="frames per second of the output video (the video's, at most 30)")
    add("--out-filename", default="ava_det_demo.mp4", metavar="FILE", help="the output video (%(default)s); '': none")
    add("--action-score-thr", type=float, default=0.5, metavar="S", help="least score of an action shown (%(default)s)")
    add("--top-k", type=int, default=3, metavar="K", help="actions shown per person (%(default)s)")
    add("--label-file", metavar="FILE", help="names of the actions (those of the model)")
    add("--csv", metavar="FILE", help="write AVA's result format: video,second,box,action,score,person")
    add("--json", metavar="FILE", help="write key frames, people and actions")
    add("--batch_size", type=int, default=1, metavar="N", help="key frames per run of the model (%(default)s)")
    add("--device", default="auto", help="cpu, gpu, gpu:N or auto (%(default)s)")
    args = parser.parse_args(argv)
    for name in _POSITIVE:
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            parser.error(f"argument --{name.replace('_', '-')}: expected more than 0, got {getattr(args, name)}")
    if bool(args.bank_config) != bool(args.bank_weights):
        parser.error("arguments --bank-config and --bank-weights: one is of no use without the other")
    return args


def notice(line: str) -> None:
    """Remarks go to stderr; stdout holds the progress that PaddleVideo prints."""
    print(line, file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Predicts; 0 if the video was read to its end."""
    args = parse_args(argv)
    set_cpu_environment()
    hide_paddle_remarks()
    from paddlevideo.inference.ava_clips import open_forward
    from paddlevideo.video_files import check_video_name

    if args.out_filename:
        check_video_name(args.out_filename)
    reader = open_forward(args.video_path)
    for remark in reader.remarks:
        print(f"{args.video_path}: {remark}", file=sys.stderr)
    predictor, bank_detector = make_predictor(args)
    settings = predictor.settings
    start, end = args.timestamp_start, None
    if args.proposals:  # the file's seconds are the data set's
        start, end = settings.timestamp_start if start is None else start, settings.timestamp_end
    detector = make_detector(args, settings)
    print(f"Frame Number: {len(reader)}")
    moments = key_frames(args, reader, detector, start or 0.0)
    print(f"timestamps number: {len(moments)}")
    print(f"Performing Human Detection for each frame ({detector.name})")
    seconds = bank_moments(predictor, reader, detector, moments, start or 0.0)
    looks = looks_between(args, reader, detector, moments, start or 0.0)
    people, bank_people, seen = predictor.find_people_of(reader, (moments, seconds, looks), detector)
    for line in detector.account():
        notice(line)
    print("finish object detection")
    if predictor.window:
        bank = make_bank(args, predictor, bank_detector, reader, seconds, bank_people, start or 0.0)
        predictor = predictor.with_bank(bank)
    print("Performing SpatioTemporal Action Detection for each clip")
    scores = predictor.classify(reader, moments, people, start or 0.0, end, video_id_of(args))
    result = predictor.results(reader, video_id_of(args), moments, people, scores, looks, seen)
    write(args, result, reader)
    print("finish write !")
    return 0


def key_frames(
    args: argparse.Namespace, reader: ForwardReader, detector: PersonDetector, start: float
) -> list[KeyMoment]:
    """The seconds of the boxes' file; else one every so many frames or seconds."""
    from paddlevideo.inference.ava_clips import moments_at, moments_by_step, moments_by_time
    from paddlevideo.inference.people import ProposalFile

    if not isinstance(detector, ProposalFile):
        if args.action_every:
            return moments_by_time(reader, args.action_every, start)
        return moments_by_step(reader, args.predict_stepsize, start)
    if args.action_every:
        notice("--action-every is not used: the key frames are the seconds of --proposals")
    moments, outside = moments_at(reader, detector.timestamps_s, start)
    last = start + float(reader.times()[-1])
    where = f"the video shows seconds {start:g} to {last:.1f}; --timestamp-start says which its first frame shows"
    if not moments:
        raise UserError(f"{args.proposals}: no second of {detector.video_id!r} lies in the video; {where}")
    if outside:
        notice(f"{args.proposals}: {len(outside)} seconds are left out, the first is {outside[0]:g}: {where}")
    return moments


def looks_between(
    args: argparse.Namespace, reader: ForwardReader, detector: PersonDetector, moments: list[KeyMoment], start: float
) -> list[KeyMoment]:
    """The frames in which people are looked for: the seconds of the boxes' file, else at least every so often."""
    from paddlevideo.inference.ava_clips import moments_between
    from paddlevideo.inference.people import ProposalFile

    if isinstance(detector, ProposalFile):
        return moments
    return moments_between(reader, moments, args.detect_every, start)


def bank_moments(
    predictor: AVAPredictor,
    reader: ForwardReader,
    detector: PersonDetector,
    moments: list[KeyMoment],
    start: float,
) -> list[KeyMoment]:
    """The key frames of the first pass: the seconds of the boxes' file, else every second; none without a window."""
    from paddlevideo.inference.ava_bank import moments_of_seconds
    from paddlevideo.inference.people import ProposalFile

    if predictor.window is None:
        return []
    return moments if isinstance(detector, ProposalFile) else moments_of_seconds(reader, start)


def make_bank(
    args: argparse.Namespace,
    predictor: AVAPredictor,
    bank_detector: BankDetector | None,
    reader: ForwardReader,
    moments: list[KeyMoment],
    people: list[np.ndarray],
    start: float,
) -> Path:
    """The first pass; nothing to do where it was made before."""
    from paddlevideo.inference.ava_bank import FirstPass, bank_of_video

    path = bank_path(args)
    print(f"Looking for a feature bank of the video ({path})")
    first = FirstPass(reader, video_id_of(args), moments, people, start, bounded=bool(args.proposals))
    return bank_of_video(path, first, bank_detector, predictor.window, args.batch_size, tell, notice)


def bank_path(args: argparse.Namespace) -> Path:
    """``--bank``, or a file named as the video is, beside what is written."""
    output = args.out_filename or args.csv or args.json or ""
    return Path(args.bank) if args.bank else Path(output).parent / f"{video_id_of(args).replace('/', '_')}.bank"


def make_detector(args: argparse.Namespace, settings: DetectionSettings) -> PersonDetector:
    """The source of people that the flags name; OpenCV's HOG if none does."""
    from paddlevideo.inference.people import HOG, ProposalFile, open_detector
    from paddlevideo.inference.runtime import Runtime

    model = args.detector or args.detection_model_weights
    if args.proposals and model:
        raise UserError("--proposals and a detector are both named; leave one of them out")
    if args.proposals:
        threshold = settings.person_det_score_thr if args.det_score_thr is None else args.det_score_thr
        return ProposalFile(args.proposals, video_id_of(args), threshold, settings.num_max_proposals)
    if model is None and args.detection_model_name:
        raise UserError(
            f"--detection_model_name {args.detection_model_name}: PaddleDetection's models are not downloaded here; "
            "export it there (tools/export_model.py) and name the folder: --detector FOLDER"
        )
    threshold = 0.5 if args.det_score_thr is None else args.det_score_thr
    return open_detector(model or HOG, threshold, args.detector_config, Runtime(use_gpu=wants_gpu(args.device)), notice)


def make_predictor(args: argparse.Namespace) -> tuple[AVAPredictor, BankDetector | None]:
    """The model that the flags name, a checkpoint's network or an exported program; and what makes its bank, if any."""
    from paddlevideo.config import load_config
    from paddlevideo.inference.ava_bank import no_detector

    if bool(args.weights) == bool(args.model_file):
        raise UserError("name one model: -c CONFIG -w WEIGHTS, or --model_file MODEL (from tools/export_model.py)")
    if args.weights and not args.config:
        raise UserError("-w needs the configuration that the weights were trained with: -c CONFIG")
    config = load_config(args.config, args.override, uses=("test",)) if args.config else None
    if args.override and config is None:
        raise UserError("-o changes the configuration, but none is named; add --config")
    predictor, own = (of_export(args, config), None) if args.model_file else of_weights(args, config)
    if predictor.window is None and (args.bank or args.bank_config):
        raise UserError("--bank: the model looks into no feature bank; leave --bank, --bank-config, --bank-weights out")
    if args.bank_config:
        own = bank_detector_of_flags(args)
    elif own:
        notice(
            "the model's own backbone makes the feature bank; the banks of training usually come from the detector "
            "before it, which --bank-config CFG --bank-weights FILE name"
        )
    elif predictor.window and not bank_path(args).exists():  # said now rather than behind the search for people
        raise no_detector(bank_path(args))
    if args.label_file:
        predictor.settings = predictor.settings.with_labels(args.label_file)
    predictor.progress = tell
    return predictor, own


def of_weights(args: argparse.Namespace, config: Config) -> tuple[AVAPredictor, BankDetector | None]:
    """A network as ``main.py --test`` builds it; and the same as what makes its feature bank, if it looks into one."""
    from paddlevideo.inference.ava_bank import bank_detector_of
    from paddlevideo.inference.ava_predictor import AVAPredictor, scorer_of_network
    from paddlevideo.inference.ava_settings import settings_of_config
    from paddlevideo.inference.bank_windows import window_of
    from paddlevideo.inference.export import pipeline_of

    config, classes = with_classes(config, args.weights)
    network = loaded_network(args.device, config, args.weights)
    if args.label_file:  # the configuration's own may not be on this machine
        config = config_without_labels(config)
    settings, pipeline = settings_of_config(config, network, classes), pipeline_of(config)
    window = window_of(pipeline, network)
    predictor = AVAPredictor(scorer_of_network(network), pipeline, settings, args.batch_size, window=window)
    return predictor, bank_detector_of(config, network, args.weights) if window else None


def bank_detector_of_flags(args: argparse.Namespace) -> BankDetector:
    """The detector of ``--bank-config`` with its weights."""
    from paddlevideo.config import load_config
    from paddlevideo.inference.ava_bank import bank_detector_of

    config = config_without_labels(load_config(args.bank_config, uses=("test",)))
    config, _ = with_classes(config, args.bank_weights)
    return bank_detector_of(config, loaded_network(args.device, config, args.bank_weights), args.bank_weights)


def with_classes(config: Config, weights: str) -> tuple[Config, Classes]:
    """The configuration with its number of classes, and what they mean."""
    from paddlevideo.classes import agreed, settled

    classes = agreed(config, weights, "test", notice)
    return settled(config, classes), classes


def loaded_network(device: str, config: Config, weights: str) -> Any:
    """A detector with its weights, on the device."""
    from paddlevideo.build import deployed_network
    from paddlevideo.engine import distributed
    from paddlevideo.modeling.weights import load_weights

    distributed.set_up(device)
    network = deployed_network(config)
    if not network.takes_boxes:
        raise UserError(f"{config.source}: MODEL names whole videos, not people; use tools/predict.py")
    notice(str(load_weights(network, weights)))
    return network


def of_export(args: argparse.Namespace, config: Config | None) -> AVAPredictor:
    """An exported program, and what ``inference.yml`` beside it says."""
    from paddlevideo.inference.ava_predictor import predictor_of_export
    from paddlevideo.inference.flags import chosen_pipeline
    from paddlevideo.inference.runtime import Runtime

    return predictor_of_export(
        Path(args.model_file),
        args.params_file,
        lambda description: chosen_pipeline(config, args.override, description, notice),
        Runtime(use_gpu=wants_gpu(args.device)),
        args.batch_size,
        notice,
    )


def config_without_labels(config: Config) -> Config:
    """The configuration with every ``label_file`` taken out."""
    from paddlevideo.config import Config

    data = config.to_dict()
    for section in (*(data.get("DATASET") or {}).values(), data.get("METRIC")):
        if isinstance(section, dict):
            section.pop("label_file", None)
    return Config(data, config.source)


def wants_gpu(device: str) -> bool | None:
    """``Runtime.use_gpu`` for a device's name."""
    if device != "auto" and device != "cpu" and not device.startswith("gpu"):
        raise UserError(f"--device {device}: expected cpu, gpu, gpu:N or auto")
    if device.partition(":")[2] not in ("", "0"):
        raise UserError(f"--device {device}: an exported model runs on GPU 0; CUDA_VISIBLE_DEVICES says which that is")
    return None if device == "auto" else device.startswith("gpu")


def video_id_of(args: argparse.Namespace) -> str:
    """What the video is called in files of annotation."""
    return args.video_id or Path(args.video_path).stem


def tell(done: int, total: int) -> None:
    """``10 / 37``."""
    if done % _TOLD_EVERY == 0 or done == total:
        print(f"{done} / {total}", flush=True)


def write(args: argparse.Namespace, result: VideoActions, reader: ForwardReader) -> None:
    """The output video, the csv and the JSON file."""
    from paddlevideo.inference.ava_film import drawn_frames, film_frames, write_csv, write_json
    from paddlevideo.video_files import write_video

    if args.csv:
        write_csv(args.csv, result)
        notice(f"csv: {args.csv}")
    if args.json:
        write_json(args.json, result, args.action_score_thr)
        notice(f"json: {args.json}")
    if args.out_filename:
        indices, fps = film_frames(reader, args.output_stepsize, args.output_fps)
        frames = drawn_frames(result, reader, indices, args.action_score_thr, args.top_k)
        count = write_video(args.out_filename, frames, fps)
        times = result.times_s[indices]
        speed = float(times[-1] - times[0]) * fps / (count - 1) if count > 1 else 1.0
        notice(f"output video: {args.out_filename}, {count} frames at {fps:.4g} fps, {speed:.2g} times real time")


if __name__ == "__main__":
    sys.exit(run_command(main))
