"""Draws what people do: python tools/ava_predict.py -c CFG -w best.pdparams --video_path clip.mp4 --detector yolo.onnx

Persons come from a detector, several times a second, or from a file of boxes, and are tracked, so that each has one id.
At key frames their actions are scored on the clip around.  The result is a video with boxes, ids, actions and scores,
and with --csv and --json AVA's result format and a JSON file.  The model is a checkpoint (-c, -w) or an exported one
(--model_file).

A model that takes a long-term feature bank gets one of this video: a first pass makes it, a key frame a second, with
the detector that made the banks of the model's training (--bank-config, --bank-weights), and keeps it (--bank).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.cli.command import config_of_model, run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment
from paddlevideo.errors import UserError

_POSITIVE = ("predict_stepsize", "action_every", "detect_every", "output_stepsize", "output_fps", "top_k", "batch_size")


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
    from paddlevideo.inference.detector import detect
    from paddlevideo.inference.runtime import to_stderr
    from paddlevideo.inference.video_output import write_annotated_video, write_csv, write_json
    from paddlevideo.video_files import check_video_name

    if args.out_filename:
        check_video_name(args.out_filename)
    config = config_of_model(args)
    if args.detection_model_name and not (args.detector or args.detection_model_weights or args.proposals):
        raise UserError(
            f"--detection_model_name {args.detection_model_name}: PaddleDetection's models are not downloaded here; "
            "export it there (tools/export_model.py) and name the folder: --detector FOLDER"
        )
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
        batch_size=args.batch_size,
        step=args.predict_stepsize,
        every_s=args.action_every,
        detect_every_s=args.detect_every,
        video_id=args.video_id,
        timestamp_start=args.timestamp_start,
        say=to_stderr,
        announce=announce,
    )
    if args.csv:
        write_csv(args.csv, result)
        to_stderr(f"csv: {args.csv}")
    if args.json:
        write_json(args.json, result, args.action_score_thr)
        to_stderr(f"json: {args.json}")
    if args.out_filename:
        shown = (args.action_score_thr, args.top_k, args.output_stepsize, args.output_fps)
        to_stderr(write_annotated_video(args.out_filename, result, *shown))
    print("finish write !")
    return 0


def announce(line: str) -> None:
    """Progress goes to stdout, as PaddleVideo prints it."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
