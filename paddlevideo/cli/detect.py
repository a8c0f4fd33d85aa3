"""Detects the persons of a video and draws their actions.

    paddlevideo detect -c CFG -w best.pdparams --video_path clip.mp4 --detector yolo.onnx
    paddlevideo detect --model_file inference/SlowOnly_AVA --video_path clip.mp4 --detector yolo.onnx
    paddlevideo detect --model_file inference/SlowOnly_AVA --video_path a.mp4 b.mp4 --spans spans.json --out-filename ""

Persons come from a detector, several times a second, or from a file of boxes, and are tracked, so that each has one id.
At key frames their actions are scored on the clip around.  The result is a video with boxes, ids, actions and scores,
and with --csv and --json AVA's result format and a JSON file.  The model is a checkpoint (-c, -w) or an exported one
(--model_file).

--spans writes what each person does over time, as paddlevideo timeline does for whole pictures; window_s there is the
length of the model's clip, hop_s the distance of key frames.  --people writes the boxes of the tracks with the actions
of the spans: a table that paddlevideo prepare people trains on, and that paddlevideo prepare spans takes beside the
spans for CVAT and Label Studio.  After Ctrl-C, or where a video fails, the files hold what was found until then.

A model that takes a long-term feature bank gets one of this video: a first pass makes it, a key frame a second, with
the detector that made the banks of the model's training (--bank-config, --bank-weights), and keeps it (--bank).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import options, span_options
from paddlevideo.cli.interruption import Interruption
from paddlevideo.cli.outputs import check_outputs, failures_of, model_files, raise_first
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.inference.person_actions import VideoActions
    from paddlevideo.inference.video_output import OutputVideo

OUTPUT = "ava_det_demo.mp4"
_READ = ("proposals", "detector", "detector_config", "detection_model_weights", "bank", "bank_config", "bank_weights")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PaddleVideo's flags, spelled with - or _, and ours."""

    def add(*names: str, **more: object) -> None:
        others = [name.replace("-", "_").replace("__", "--", 1) for name in names if "-" in name[2:]]
        parser.add_argument(*names, *others, **more)

    needed = "YAML file the model was trained with; not needed for an exported model"
    options.add_config(parser, needed, required=False)
    add("--video_path", required=True, nargs="+", metavar="FILE", help="the video, or several")
    options.add_weights(parser, "trained weights, with --config: a file")
    add("--model_file", metavar="FILE", help="an exported model (.json), or its folder")
    add("--params_file", metavar="FILE", help="its weights (.pdiparams beside the model)")
    add("--proposals", metavar="FILE", help="boxes of people (.pkl, .npz, .json); key frames are its seconds")
    add("--video-id", metavar="NAME", help="how --proposals calls the video (its file name without the ending)")
    add("--timestamp-start", type=float, metavar="S", help="second of the first frame (with --proposals the model's)")
    add("--detector", metavar="MODEL", help="finds people: an .onnx file, a PaddleDetection export, or hog")
    add("--detector-config", metavar="FILE", help="the detector's options (the file beside it)")
    least = "least score of a person (0.5; with --proposals the model's)"
    add("--det-score-thr", type=options.share, metavar="S", help=least)
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
    more = f"the output video ({OUTPUT}); '': none; of several videos a folder, for files of their names"
    add("--out-filename", metavar="FILE", help=more)
    least = "least score of an action shown (%(default)s)"
    add("--action-score-thr", type=options.share, default=0.5, metavar="S", help=least)
    add("--top-k", type=options.at_least(1), default=3, metavar="K", help="actions shown per person (%(default)s)")
    add("--label-file", metavar="FILE", help="names of the actions (those of the model)")
    add("--csv", metavar="FILE", help="write AVA's result format: video,second,box,action,score,person")
    add("--json", metavar="FILE", help="write key frames, people and actions")
    add("--spans", nargs="+", default=[], metavar="FILE", help="write spans: .json, .jsonl, .csv, .srt, .vtt")
    span_options.add_rule(parser)
    add("--progress", action="store_true", help="print to stderr how far the video was scored, once a second")
    add("--people", metavar="FILE", help="write a table of the tracks' boxes (.csv), with the actions of the spans")
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
    """Predicts; 0 if all videos were read to their ends."""
    _check(args)
    from paddlevideo.inference.detector import BoxSource, Search, StoppedDetection, detect_with, load_detector
    from paddlevideo.inference.key_frames import open_forward
    from paddlevideo.inference.network import damaged_of
    from paddlevideo.inference.runtimes.base import to_stderr
    from paddlevideo.inference.timeline import PersonTimelines, TimelineSettings

    config = options.read_model_config(args)
    progress = ReadingProgress() if args.progress else lambda time_s: None
    readers = [open_forward(path, to_stderr, damaged_of(config)) for path in args.video_path]
    model = load_detector(
        args.model_file or config, args.weights, labels=args.label_file, bank_config=args.bank_config,
        bank_weights=args.bank_weights, device=args.device, backend=args.backend, cpu_threads=args.cpu_threads,
        batch_size=args.batch_size, say=to_stderr, announce=announce, params=args.params_file, config=config,
        overrides=args.override, on_second=progress,
    )  # fmt: skip
    rule = TimelineSettings(1.0, **span_options.rule_of(args))
    PersonTimelines(rule, model.settings.names[1:])  # so that a mistake in the rule ends it now
    found_by = args.detector or args.detection_model_weights
    boxes = BoxSource(found_by, args.detector_config, args.proposals, args.det_score_thr, args.device)
    search = Search(args.predict_stepsize, args.action_every, args.detect_every, args.video_id, args.timestamp_start)
    results: list[VideoActions] = []
    errors, is_stopped = [], False
    with Interruption() as interruption:
        try:
            for reader in readers:
                output = _output(args, reader.path)
                folder = Path(args.out_filename or args.csv or args.json or "").parent
                with interruption.interruptible():
                    result = detect_with(
                        model, reader, boxes, bank=args.bank, bank_folder=folder, output=output, search=search
                    )
                results.append(result)
                if result.not_written is not None:
                    raise result.not_written
                if result.written is not None:
                    to_stderr(result.written)
                if interruption.signal is not None:  # its exception ended in a library's callback
                    raise KeyboardInterrupt
        except StoppedDetection as stopped:
            results += [stopped.result] if stopped.result.key_frames else []
            is_stopped = True
        except KeyboardInterrupt:
            is_stopped = True
        except BaseException as error:  # raised again when the files are written
            errors.append(error)
        if is_stopped:
            to_stderr(f"stopped; {'writing what was found' if results else 'nothing was scored, no file is written'}")
        errors += failures_of(_writes(args, results), to_stderr)
    raise_first(errors, to_stderr)
    if is_stopped:
        return interruption.exit_code
    print("finish write !")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Rejects options that contradict each other, before anything is loaded.  Sets ``out_filename``."""
    from paddlevideo.spans import form_of
    from paddlevideo.video_files import check_video_name

    several = len(args.video_path) > 1
    if bool(args.bank_config) != bool(args.bank_weights):
        raise UserError("arguments --bank-config and --bank-weights: give both or none")
    for flag in ("bank", "video_id") if several else ():
        if vars(args)[flag]:
            raise UserError(f"--{flag.replace('_', '-')} is of one video, and {len(args.video_path)} are given")
    if several and args.out_filename is None:
        raise UserError("--out-filename: several videos need a folder, or '' for no output videos")
    if several and len({Path(path).stem for path in args.video_path}) < len(args.video_path):
        raise UserError("--video_path: two of the videos have the same name, which the results could not tell apart")
    args.out_filename = OUTPUT if args.out_filename is None else args.out_filename
    if args.out_filename and not several:
        check_video_name(args.out_filename)
    for path in args.spans:
        if form_of(path) in ("srt", "vtt") and several:
            raise UserError(f"--spans {path}: subtitles are of one video, and {len(args.video_path)} are given")
    if args.people and Path(args.people).suffix.lower() != ".csv":
        raise UserError(f"--people {args.people}: expected a name ending in .csv")
    _check_files(args, several)
    if args.detection_model_name and not (args.detector or args.detection_model_weights or args.proposals):
        raise UserError(
            f"--detection_model_name {args.detection_model_name}: PaddleDetection's models are not downloaded here; "
            "export it there (tools/export_model.py) and name the folder: --detector FOLDER"
        )


def _check_files(args: argparse.Namespace, several: bool) -> None:
    """
    Raises:
        UserError: see ``check_outputs``.
    """
    flags = [(f"--{name}", vars(args)[name]) for name in ("csv", "json", "people")]
    drawn = args.video_path if several else ["one"]
    flags += [("--out-filename", str(_output_path(args, video))) for video in drawn if args.out_filename]
    if not any(path for _, path in flags) and not args.spans:
        raise UserError("--out-filename '': nothing would be written; name --csv, --json, --people or --spans")
    outputs = [*flags, *(("--spans", path) for path in args.spans)]
    inputs = [("--video_path", path) for path in args.video_path]
    check_outputs([(flag, path) for flag, path in outputs if path], [*inputs, *model_files(args, _READ)])


def _output_path(args: argparse.Namespace, video: str) -> Path:
    several = len(args.video_path) > 1
    return Path(args.out_filename, Path(video).stem + ".mp4") if several else Path(args.out_filename)


def _output(args: argparse.Namespace, video: str) -> OutputVideo | None:
    from paddlevideo.inference.video_output import OutputVideo

    if not args.out_filename:
        return None
    return OutputVideo(
        _output_path(args, video), args.action_score_thr, args.top_k, args.output_stepsize, args.output_fps
    )


def _writes(args: argparse.Namespace, results: Sequence[VideoActions]) -> list[Callable[[], list[str]]]:
    """What writes the files of the videos that are finished, and of one that was stopped; none where there are none."""
    from paddlevideo.inference.video_output import spans_of_videos, write_csv, write_json, write_people
    from paddlevideo.spans import write_spans

    if not results:
        return []
    table = spans_of_videos(results, **span_options.rule_of(args)) if args.spans or args.people else None
    of_videos = f"of {len(results)} video{'s' * (len(results) > 1)}"

    def write_table(path: str) -> list[str]:
        return [*write_spans(path, table), f"spans: {path}, {len(table.spans)} {of_videos}"]

    def written(flag: str, path: str, write: Callable[[], None]) -> list[str]:
        write()
        return [f"{flag}: {path}"]

    writes = {
        "csv": (args.csv, lambda: write_csv(args.csv, results)),
        "json": (args.json, lambda: write_json(args.json, results, args.action_score_thr)),
        "people": (args.people, lambda: write_people(args.people, results, table)),
    }
    named = [partial(written, flag, path, write) for flag, (path, write) in writes.items() if path]
    return [*named, *(partial(write_table, path) for path in args.spans)]


def announce(line: str) -> None:
    """Progress goes to stdout, as PaddleVideo prints it."""
    print(line, flush=True)
