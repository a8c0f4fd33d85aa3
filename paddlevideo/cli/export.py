"""Exports a trained model for prediction: program, weights and inference.yml, compared with the network.

    paddlevideo export -c CFG -w best.pdparams --out inference/TSM
    paddlevideo export -c CFG -w best.pdparams --out inference/TSM --format paddle,onnx,openvino
    paddlevideo export --time inference/TSM
    paddlevideo export --int8 inference/TSM --calibration val.list

The runtimes that are installed (Paddle, ONNX Runtime, OpenVINO) are timed for a second or two each, and inference.yml
names the fastest one that gives the network's scores; --time repeats this for an export on another machine.
--format names the forms to write, each compared with the network in its own runtime: paddle (always written), onnx
(NAME.onnx) and openvino (NAME.xml, NAME.bin); timing then tries these and no others.  Without it, timing writes
NAME.onnx beside Paddle's files where a runtime that is installed takes it.
--int8 quantises an export, calibrated on videos, and prints what that costs in accuracy on others; predict and timeline
run the result with --precision int8 --backend onnx.  -c with PaddleVideo's quantisation file (DATASET.quant,
inference_model_dir, quant_output_dir) does the same with what the file names, and writes to its folder.
"""

from __future__ import annotations

import argparse
import re

from paddlevideo.cli import options
from paddlevideo.errors import UserError
from paddlevideo.extensions import declare_all

_WEIGHTS, _OUT, _CALIBRATION, _TIMING, _ON_ERROR = "./best.pdparams", "./inference", 100, "quick", "raise"  # defaults


def add_arguments(parser: argparse.ArgumentParser, variant: str = "") -> None:
    """
    Args:
        variant: ``script`` for PaddleVideo's flags, where -o is the folder and overrides have no short form.
    """
    script = variant == "script"
    config = "YAML file the model was trained with"
    options.add_config(parser, config, required=False, override=("--override",) if script else ("-o", "--override"))
    weights, out = (
        (("-p", "--pretrained_params"), ("-o", "--output_path")) if script else (("-w", "--weights"), ("--out",))
    )
    add = parser.add_argument
    default = "(%(default)s)"
    add(
        *weights,
        dest="weights",
        default=_WEIGHTS,
        metavar="FILE",
        help=f"trained weights, .pdparams {default}",
    )
    add(*out, dest="out", default=_OUT, metavar="DIR", help=f"folder for the exported files {default}")
    parser.set_defaults(folder_flag=out[0], weights_flag=weights[0], override_flag="--override" if script else "-o")
    formats = "forms to write, of paddle, onnx, openvino (paddle, and onnx where timing takes it)"
    add("--format", type=lambda text: [name.strip() for name in text.split(",")], metavar="F,F", help=formats)
    add("--timing", choices=("quick", "none"), help=f"time the runtimes on this machine ({_TIMING})")
    add("--time", metavar="DIR", help="time the runtimes for an exported model on this machine, and nothing else")
    add("--int8", metavar="DIR", help="quantise an exported model to 8-bit integers, and print what that costs")
    add("--calibration", metavar="LIST", help="with --int8: a list or a folder of videos, which give the ranges")
    add("--evaluation", metavar="LIST", help="with --int8: what the cost is measured on (the rest of --calibration)")
    add(
        "--num_calibration",
        type=options.at_least(1),
        default=_CALIBRATION,
        metavar="N",
        help="most videos that calibrate (%(default)s)",
    )
    add(
        "--on_error",
        choices=("raise", "skip"),
        help=f"with --int8 or a quantisation file: a video that cannot be read ({_ON_ERROR})",
    )
    add("--save_name", default=None, help="name of the files (the configuration's model_name)")


def run(args: argparse.Namespace) -> int:
    """Exports; 0 if the exported model agrees with the network."""
    if re.match(r"[A-Za-z_][\w.]*=", args.out):
        raise UserError(
            f"{args.folder_flag} {args.out}: here {args.folder_flag} names the folder of the export; a value of the "
            f"configuration changes with {args.override_flag} {args.out} (a folder of that name is ./{args.out})"
        )
    ways = {"-c": args.config, "--time": args.time, "--int8": args.int8}
    if len(named := [flag for flag, value in ways.items() if value]) > 1:
        raise UserError(f"{', '.join(named)}: name one of them")
    if not named:
        raise UserError(
            "name the configuration to export (-c CFG), or an exported model to time (--time DIR) or to quantise "
            "(--int8 DIR --calibration LIST)"
        )
    if bool(args.int8) != bool(args.calibration) or (args.evaluation and not args.int8):
        raise UserError("--int8 DIR, --calibration LIST: one needs the other; --evaluation LIST needs both")
    on_error = args.on_error or _ON_ERROR
    if args.int8:
        _refuse_options(args, "--int8", f"writes beside the export in {args.int8}", "--timing")
        from paddlevideo.environment import set_cpu_environment
        from paddlevideo.inference.quantisation import quantise

        set_cpu_environment()
        declare_all(args.imports)
        file = quantise(args.int8, args.calibration, args.evaluation, args.num_calibration, on_error)
        print(f"written to {file}")
        return 0
    if args.time:
        _refuse_options(
            args, "--time", f"notes its figures in {args.time}", "--num_calibration", "--timing", "--on_error"
        )
        from paddlevideo.environment import set_cpu_environment
        from paddlevideo.inference.timing import time_export

        set_cpu_environment()
        declare_all(args.imports)
        print(f"written to {time_export(args.time, print)}")
        return 0
    from paddlevideo import api
    from paddlevideo.config import load_config
    from paddlevideo.config.quantisation import is_quantisation

    config = load_config(args.config, args.override, uses=("test",), imports=args.imports, quantises=True)
    if is_quantisation(config):
        _refuse_export_options(args)
        from paddlevideo.environment import set_cpu_environment
        from paddlevideo.inference.quantisation_file import quantise_by_file

        set_cpu_environment()
        print(f"written to {quantise_by_file(config, on_error)}")
        return 0
    if given := _given(args, "--num_calibration", "--on_error", alone=True):
        raise UserError(
            f"{', '.join(given)}: of --int8 and of a quantisation file; {args.config} is none, leave it out"
        )
    api.export(config, args.weights, args.out, name=args.save_name, timing=args.timing or _TIMING, formats=args.format)
    return 0


def _given(args: argparse.Namespace, *flags: str, alone: bool = False) -> list[str]:
    """Those of some options that were given, and, unless ``alone``, of those of an export of a configuration."""
    given = {
        args.weights_flag: args.weights != _WEIGHTS,
        args.folder_flag: args.out != _OUT,
        "--format": args.format is not None,
        "--save_name": args.save_name is not None,
        args.override_flag: bool(args.override),
        "--num_calibration": args.num_calibration != _CALIBRATION,
        "--timing": args.timing is not None,
        "--on_error": args.on_error is not None,
    }
    own = () if alone else (args.weights_flag, args.folder_flag, "--format", "--save_name")
    return [flag for flag in (*own, *flags) if given[flag]]


def _refuse_options(args: argparse.Namespace, flag: str, what: str, *more: str) -> None:
    """Raises UserError for options that an export that is there already leaves no use for."""
    if given := _given(args, args.override_flag, *more):
        raise UserError(f"{', '.join(given)}: {flag} takes an export as it is, and {what}; leave it out")


def _refuse_export_options(args: argparse.Namespace) -> None:
    """Raises UserError for options that a quantisation file decides or leaves no use for."""
    if given := _given(args, "--num_calibration"):
        raise UserError(
            f"{', '.join(given)}: {args.config} calibrates the export in its inference_model_dir and writes to its "
            f"quant_output_dir; change it with {args.override_flag} inference_model_dir=DIR, quant_output_dir=DIR, "
            "DATASET.batch_nums=N"
        )
