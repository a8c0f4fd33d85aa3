"""Options that several commands have, and types of their values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.config import Config

SPLITS = ("train", "valid", "test")

_TRUE, _FALSE = ("true", "t", "1", "yes", "y"), ("false", "f", "0", "no", "n")

CONFIG = "YAML file: a path, or the file name of a configuration that comes with the package"


def add_config(
    parser: argparse.ArgumentParser,
    help: str = CONFIG,
    required: bool = True,
    override: tuple[str, ...] = ("-o", "--override"),
) -> None:
    """``-c``, ``-o`` and ``--import``.

    Args:
        override: the flags of ``-o``; it stands for an output in two printed commands.
    """
    parser.add_argument("-c", "--config", required=required, metavar="CFG", help=help)
    assignment = "a.b.0.c=value: change a value of it; may be repeated; nothing after = is the empty text, null is None"
    parser.add_argument(*override, dest="override", action="append", default=[], metavar="KEY=VALUE", help=assignment)
    add_imports(parser)


def add_imports(parser: argparse.ArgumentParser) -> None:
    """``--import``."""
    modules = "a module or .py file with your own registered classes, besides the file's imports; may be repeated"
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="MODULE", help=modules)


def read_config(args: argparse.Namespace, uses: Sequence[str] = SPLITS) -> Config:
    """The configuration of ``add_config``'s options.

    Args:
        uses: the pipelines that the command runs.
    """
    from paddlevideo.config import load_config

    return load_config(args.config, args.override, uses=uses, imports=args.imports)


def read_model_config(args: argparse.Namespace) -> Config | None:
    """The same where ``--model_file``, or ``-c`` and ``-w``, name one model; None without ``-c``.

    Raises:
        UserError: they name none or two.
    """
    if bool(args.weights) == bool(args.model_file):
        raise UserError("name one model: -c CONFIG -w WEIGHTS, or --model_file MODEL (from paddlevideo export)")
    if args.weights and not args.config:
        raise UserError("-w needs the configuration that the weights were trained with: -c CONFIG")
    if vars(args).get("params_file") and not args.model_file:
        raise UserError("--params_file: the weights of an export, with --model_file; those of a training are -w")
    if args.override and not args.config:
        raise UserError("-o changes the configuration, but none is named; add --config")
    if args.config:
        return read_config(args, ("test",))
    from paddlevideo.extensions import declare_all

    declare_all(args.imports)  # for the pipeline of an export
    return None


def read_run_config(args: argparse.Namespace, uses: Sequence[str] = SPLITS) -> Config:
    """The same of a training or test run: the optimizer and the schedules are checked, too."""
    from paddlevideo.build import load_run_config

    return load_run_config(args.config, args.override, uses, args.imports)


def add_weights(
    parser: argparse.ArgumentParser,
    help: str = "trained weights: a file, the folder of an export",
    required=False,
) -> None:
    """``-w``; ``help`` ends with what a path of it is."""
    ways = f"{help}, a name of 'paddlevideo weights' or an address"
    parser.add_argument("-w", "--weights", required=required, metavar="FILE", help=ways)


def add_device(parser: argparse.ArgumentParser, help: str = "auto, cpu, gpu or gpu:N (%(default)s)") -> None:
    """``--device``."""
    parser.add_argument("--device", default="auto", metavar="DEV", help=help)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """``--backend``."""
    choices, help = ("paddle", "onnx", "openvino"), "what runs an exported model (as timed at export, else paddle)"
    parser.add_argument("--backend", choices=choices, help=help)


def refuse_others(args: argparse.Namespace, own: Collection[str], options: Collection[str], what: str) -> None:
    """
    Args:
        own: names of the options that have an effect.
        options: those of all; one that is not given is None, False or empty.
        what: for the message, e.g. ``spans``.

    Raises:
        UserError: an option is given that has none.
    """
    used = [_flag(name) for name in options if name not in own and vars(args)[name]]
    if used:
        raise UserError(f"{used[0]}: is not for {what}, whose options are {', '.join(map(_flag, own))}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def at_least(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` on, for argparse's ``type``."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {number}")
        return number

    return read


def positive(text: str) -> float:
    """A number above 0, for argparse's ``type``."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def not_negative(text: str) -> float:
    """A number of at least 0, for argparse's ``type``."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected at least 0, got {text}")
    return number


def share(text: str) -> float:
    """A number from 0 to 1, for argparse's ``type``."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {number:g}")
    return number


def parse_bool(text: str) -> bool:
    """``true t 1 yes y`` and ``false f 0 no n``, in any case; anything else is refused.  For argparse's ``type``."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
