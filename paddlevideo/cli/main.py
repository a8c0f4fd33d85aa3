"""The command ``paddlevideo`` and the printed names ``main.py`` and ``tools/*.py``.

A command is a module of this folder with ``add_arguments(parser)`` and ``run(args) -> int``, imported when it is named.
Other packages add commands by entry points of the group ``paddlevideo.commands``: a name, and such a module.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paddlevideo import __version__
from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment
from paddlevideo.errors import UserError

NAME = "paddlevideo"
ENTRY_POINTS = "paddlevideo.commands"


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        about: its line in the list of commands; "": the first line of the module's docstring.
        module: the module of ``package``.
        variant: further arguments of the module's ``add_arguments``.
        package: "" where ``module`` is the whole name.
    """

    about: str
    module: str
    variant: tuple[str, ...] = ()
    package: str = "paddlevideo.cli"


@dataclass(frozen=True)
class Group:
    """Commands that share their first word."""

    about: str
    commands: dict[str, Command | Group] = field(default_factory=dict)


_SOMETHING = Group(
    "lists of Something-Something from the official files",
    {version: Command(f"version {version[1]}", "prepare_lists", (f"something {version}",)) for version in ("v1", "v2")},
)
_PREPARE = {
    "kinetics": Command("lists of Kinetics from the official files", "prepare_lists", ("kinetics",)),
    "something": _SOMETHING,
    "jester": Command("lists of Jester from the official files", "prepare_lists", ("jester",)),
    "diving48": Command("lists of Diving48 from the official files", "prepare_lists", ("diving48",)),
    "hmdb51": Command("lists of HMDB51 from the official files", "prepare_lists", ("hmdb51",)),
    "ucf101": Command("lists of UCF101 from the official files", "prepare_lists", ("ucf101",)),
    "people": Command("own person annotations to an AVA-style data set and a configuration", "prepare_people"),
    "spans": Command("labelled spans of videos: from one form to another, or split by video", "prepare_spans"),
    "frames": Command("videos to folders of frames, and their list", "prepare_frames"),
    "resize": Command("videos to small ones that are cheap to decode", "prepare_resized"),
    "shards": Command("videos to tar shards with an index, for object stores and network disks", "prepare_shards"),
    "class-weights": Command("how often each action occurs, and weights for the loss", "prepare_class_weights"),
}
_WEIGHTS = {
    "list": Command("names of released weights, and what the cache holds", "weights", ("list",)),
    "get": Command("fetch weights by name or address", "weights", ("get",)),
    "verify": Command("compare fetched files with their SHA-256", "weights", ("verify",)),
    "remove": Command("remove fetched files", "weights", ("remove",)),
}
COMMANDS = Group(
    "Video understanding on PaddlePaddle: train, test, export and predict from one YAML file.",
    {
        "new": Command("look at your own videos and write the configuration that trains on them", "new"),
        "train": Command("train a model", "train"),
        "curves": Command("draw the curves of training runs on one page", "curves"),
        "test": Command("evaluate weights on DATASET.test", "test"),
        "check": Command("check a configuration and print it resolved", "check"),
        "export": Command("export a trained model for prediction", "export"),
        "predict": Command("predict the classes of videos", "predict"),
        "timeline": Command("find what happens when, in a video or from a camera", "timeline"),
        "teach": Command("teach an exported model new classes on annotated spans, in a minute", "teach"),
        "features": Command("write the features of clips into a file", "features"),
        "probe": Command("measure classifiers on frozen features, cross-validated by source", "probe"),
        "similar": Command("find where in videos something like a span happens", "similar"),
        "detect": Command("find people in a video and what they do", "detect"),
        "persons": Command("find people in a video and their tracks, without a model of actions", "persons"),
        "bank": Command("build a long-term feature bank", "bank"),
        "convert": Command("convert weights of MMAction2, TimeSformer, torchvision and timm", "convert"),
        "weights": Group("released weights by name or address, and their cache", _WEIGHTS),
        "benchmark": Command("time a model on videos, and its memory", "benchmark"),
        "summary": Command("count the parameters and multiply-adds of a network", "summary"),
        "browse": Command("draw clips before and after their pipeline", "browse"),
        "visualize": Command("draw what a prediction depends on", "visualize"),
        "eval": Command("score stored results again, and fuse them", "eval"),
        "average": Command("average checkpoints of one network", "average"),
        "check-data": Command("check the lists and files of a data set", "check_data"),
        "prepare": Group("lists, frames and small videos of a data set", _PREPARE),
    },
)
_PREPARE_SCRIPTS = {"ava_custom": "people", "extract_frames": "frames", "resize_videos": "resize"}
# printed name -> command; where flags differ from the command of the same purpose, its module has a variant
SCRIPTS: dict[str, Command | Group] = {
    "main.py": Command("train or test", "main_script"),
    "tools/train.py": Command("train, by MMAction2's command line", "mmaction2_train"),
    "tools/test.py": Command("test, by MMAction2's command line", "mmaction2_test"),
    "tools/export_model.py": Command("export", "export", ("script",)),
    "tools/average_checkpoints.py": Command("average", "average", ("script",)),
    "tools/predict.py": COMMANDS.commands["predict"],
    "tools/ava_predict.py": COMMANDS.commands["detect"],
    "tools/build_feature_bank.py": COMMANDS.commands["bank"],
    "tools/convert_weights.py": COMMANDS.commands["convert"],
    "tools/browse_dataset.py": COMMANDS.commands["browse"],
    "tools/visualize.py": COMMANDS.commands["visualize"],
    "tools/eval_metric.py": COMMANDS.commands["eval"],
    "tools/check_dataset.py": COMMANDS.commands["check-data"],
    "tools/ava_class_weights.py": _PREPARE["class-weights"],
    **{f"tools/prepare/{name}.py": _PREPARE[name] for name in ("kinetics", "something", "jester")},
    **{f"tools/prepare/{name}.py": _PREPARE[name] for name in ("diving48", "hmdb51", "ucf101")},
    **{f"tools/prepare/{name}.py": _PREPARE[to] for name, to in _PREPARE_SCRIPTS.items()},
}


def commands() -> Group:
    """``COMMANDS``, and those of installed packages; a name of ``COMMANDS`` stays what it is."""
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    others = {entry.name: Command("", entry.value, package="") for entry in found}
    return Group(COMMANDS.about, {**others, **COMMANDS.commands})


def main(argv: Sequence[str] | None = None) -> int:
    """``paddlevideo COMMAND ...``; returns the exit code.

    Args:
        argv: the words after the command's name (those of the process).
    """
    return run_command(lambda: execute(commands(), NAME, sys.argv[1:] if argv is None else argv))


def run_script(name: str, argv: Sequence[str] | None = None) -> int:
    """One of the printed names, e.g. ``tools/predict.py``; returns the exit code."""
    return run_command(lambda: execute(SCRIPTS[name], Path(name).name, sys.argv[1:] if argv is None else argv))


def execute(command: Command | Group, prog: str, argv: Sequence[str]) -> int:
    """Runs one command with its words; errors are raised.

    Args:
        prog: its name, for the help.
    """
    while isinstance(command, Group):
        if not argv or argv[0] in ("-h", "--help"):
            print(_listing(command, prog))
            return 0 if argv else 2
        if argv[0] == "--version":
            print(f"{NAME} {__version__}")
            return 0
        word, argv = argv[0], argv[1:]
        if word not in command.commands:
            raise UserError(f"{prog}: there is no command {word!r}; expected one of {', '.join(command.commands)}")
        command, prog = command.commands[word], f"{prog} {word}"
    set_cpu_environment()
    module = importlib.import_module(f"{command.package}.{command.module}".lstrip("."))
    parser = argparse.ArgumentParser(
        prog=prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser, *command.variant)
    args = parser.parse_args(argv)
    hide_paddle_remarks(glog=vars(args).get("disable_glog", True))
    return module.run(args)


def _listing(group: Group, prog: str) -> str:
    """The list of a group's commands."""
    width = max(map(len, group.commands)) + 2
    lines = [
        f"  {name:{width}}{command.about or _first_line(command.module)}" for name, command in group.commands.items()
    ]
    return "\n".join(
        [f"usage: {prog} COMMAND ...", "", group.about, "", *lines, "", f"{prog} COMMAND --help lists its options."]
    )


def _first_line(module: str) -> str:
    """Of a module's docstring, as a line of the list of commands."""
    try:
        text = importlib.import_module(module).__doc__ or module
    except ImportError as error:
        return f"{module} cannot be imported ({error})"
    line = text.strip().splitlines()[0].rstrip(".")
    return line[:1].lower() + line[1:]
