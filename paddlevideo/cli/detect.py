"""Detects the persons of a video and draws their actions.

    paddlevideo detect -c CFG -w best.pdparams --video_path clip.mp4 --detector yolo.onnx
    paddlevideo detect --model_file inference/SlowOnly_AVA --video_path clip.mp4 --detector yolo.onnx

Persons come from a detector, several times a second, or from a file of boxes, and are tracked, so that each has one id.
At key frames their actions are scored on the clip around.  The result is a video with boxes, ids, actions and scores,
and with --csv and --json AVA's result format and a JSON file.  The model is a checkpoint (-c, -w) or an exported one
(--model_file).

A model that takes a long-term feature bank gets one of this video: a first pass makes it, a key frame a second, with
the detector that made the banks of the model's training (--bank-config, --bank-weights), and keeps it (--bank).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PaddleVideo's flags, spelled with - or _, and ours."""

    def add(*names: str, **more: object) -> None:
        others = [name.replace("-", "_").replace("__", "--", 1) for name in names if "-" in name[2:]]
        parser.add_argument(*names, *others, **more)

    needed = "YAML file the model was trained with; not needed for an exported model"
    options.add_config(parser, needed, required=False)
    add("--video_path", required=True, metavar="FILE", help="the video")
    options.add_weights(parser, "trained weights (.pdparams), with --config")
    add("--model_file", metavar="FILE", help="an exported model (.json), or its folder")
    add("--params_file", metavar="FILE", help="its weights (.pdiparams beside the model)")
    add("--proposals", metavar="FILE", help="boxes of people (.pkl, .npz, .json); key frames are its seconds")
    add("--video-id", metavar="NAME", help="how --proposals calls the video (its file name without the ending)")
    add("--timestamp-start", type=float, metavar="S", help="second of the first frame (with --proposals the model's)")
    add("--detector", metavar="MODEL", help="finds people: an .onnx file, a PaddleDetection export, or hog")
    add("--detector-config", metavar="FILE", help="the detector's options (the file beside it)")
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
    add(
        "--predict-stepsize",
        type=options.at_least(1),
        default=8,
        metavar="N",
        help="frames from key frame to key frame (%(default)s)",
    )
    more = "seconds from key frame to key frame, instead of --predict-stepsize"
    add("--action-every", "--every", type=options.positive, metavar="S", help=more)
    add(
        "--detect-every",
        type=options.positive,
        default=0.2,
        metavar="S",
        help="seconds from detection to detection of persons (%(default)s)",
    )
    add(
        "--output-stepsize",
        type=options.at_least(1),
        metavar="N",
        help="the output video shows every N-th frame (by time, at its own speed)",
    )
    add(
        "--output-fps",
        type=options.positive,
        metavar="F",
        help="frames per second of the output video (the video's, at most 30)",
    )
    add("--out-filename", default="ava_det_demo.mp4", metavar="FILE", help="the output video (%(default)s); '': none")
    add("--action-score-thr", type=float, default=0.5, metavar="S", help="least score of an action shown (%(default)s)")
    add("--top-k", type=options.at_least(1), default=3, metavar="K", help="actions shown per person (%(default)s)")
    add("--label-file", metavar="FILE", help="names of the actions (those of the model)")
    add("--csv", metavar="FILE", help="write AVA's result format: video,second,box,action,score,person")
    add("--json", metavar="FILE", help="write key frames, people and actions")
    add(
        "--batch_size",
        type=options.at_least(1),
        default=1,
        metavar="N",
        help="key frames per run of the model (%(default)s)",
    )
    options.add_device(parser)
    options.add_backend(parser)
    more = "threads of the model on the CPU (as timed at export, else all cores)"
    add("--cpu-threads", type=options.at_least(1), metavar="N", help=more)


def run(args: argparse.Namespace) -> int:
    """Predicts; 0 if the video was read to its end."""
    if bool(args.bank_config) != bool(args.bank_weights):
        raise UserError("arguments --bank-config and --bank-weights: give both or none")
    from paddlevideo.inference.detector import detect
    from paddlevideo.inference.runtimes.base import to_stderr
    from paddlevideo.inference.video_output import OutputVideo, write_csv, write_json
    from paddlevideo.video_files import check_video_name

    if args.out_filename:
        check_video_name(args.out_filename)
    config = options.read_model_config(args)
    if args.detection_model_name and not (args.detector or args.detection_model_weights or args.proposals):
        raise UserError(
            f"--detection_model_name {args.detection_model_name}: PaddleDetection's models are not downloaded here; "
            "export it there (tools/export_model.py) and name the folder: --detector FOLDER"
        )
    output = None
    if args.out_filename:
        shown = (args.action_score_thr, args.top_k, args.output_stepsize, args.output_fps)
        output = OutputVideo(args.out_filename, *shown)
    result = detect(
        args.video_path,
        args.model_file or config,
        args.weights,
        params=args.params_file,
        config=config,
        overrides=args.override,
        detector=args.detector or args.detection_model_weights,
        detector_config=args.detector_config,
        proposals=args.proposals,
        min_person_score=args.det_score_thr,
        labels=args.label_file,
        bank=args.bank,
        bank_folder=Path(args.out_filename or args.csv or args.json or "").parent,
        bank_config=args.bank_config,
        bank_weights=args.bank_weights,
        device=args.device,
        backend=args.backend,
        cpu_threads=args.cpu_threads,
        batch_size=args.batch_size,
        step=args.predict_stepsize,
        every_s=args.action_every,
        detect_every_s=args.detect_every,
        video_id=args.video_id,
        timestamp_start=args.timestamp_start,
        say=to_stderr,
        announce=announce,
        output=output,
    )
    if args.csv:
        write_csv(args.csv, result)
        to_stderr(f"csv: {args.csv}")
    if args.json:
        write_json(args.json, result, args.action_score_thr)
        to_stderr(f"json: {args.json}")
    if result.not_written is not None:
        raise result.not_written
    if result.written is not None:
        to_stderr(result.written)
    print("finish write !")
    return 0


def announce(line: str) -> None:
    """Progress goes to stdout, as PaddleVideo prints it."""
    print(line, flush=True)
