"""Converts weights of MMAction2, TimeSformer's authors, torchvision and timm for the network of a configuration.

    paddlevideo convert tsm_r50.pth weights/tsm_r50_k400.pdparams -c CFG
    paddlevideo convert resnet50.pth weights/resnet50.pdparams -c CFG   # ImageNet: the backbone

.pth, .pyth and .pt (torch.save's, of any age), .safetensors and .pdparams are read without torch; nothing in them is
run.  Nothing is written unless every key of both sides is accounted for.  Use the result with --test -w, to
fine-tune with -w, or as MODEL.backbone.pretrained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.cli import options
from paddlevideo.config import Config
from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import UserError
from paddlevideo.safe_io import sha256

if TYPE_CHECKING:
    from paddlevideo.modeling.conversion import Conversion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    source = ".pth, .pyth, .pt, .safetensors or .pdparams: a file, a name of 'paddlevideo weights', or an address"
    add("source", help=source)
    add("target", help="file to write, .pdparams; what it was made from is noted in TARGET.json")
    options.add_config(parser, "YAML file of the network (of a distillation: its student)")
    origins = ("auto", "mmaction2", "timesformer", "torchvision", "tonylins", "timm", "paddle")
    names = "which project's names the file has (auto: found from its keys)"
    add("--from", dest="origin", default="auto", choices=origins, help=names)
    add("--backbone-only", action="store_true", help="leave the head out; for MODEL.backbone.pretrained")
    add("--ema", action="store_true", help="the averaged weights, where a file holds both")
    missing = "keys of the network that the file may lack, e.g. 'head.*'"
    add("--allow-missing", nargs="+", action="extend", default=[], metavar="PATTERN", help=missing)
    unexpected = "keys of the file (under their new names) to leave out"
    add("--allow-unexpected", nargs="+", action="extend", default=[], metavar="PATTERN", help=unexpected)


def run(args: argparse.Namespace) -> int:
    """Converts one file and prints a report of its keys."""
    conversion = convert_file(
        options.read_config(args),
        args.source,
        args.target,
        origin=args.origin,
        backbone_only=args.backbone_only,
        averaged=args.ema,
        allow_missing=args.allow_missing,
        allow_unexpected=args.allow_unexpected,
    )
    use = "-w, --test" if conversion.part == "recogniser" else "MODEL.backbone.pretrained"
    print(f"{conversion}\nwritten: {args.target} (for {use})")
    return 0


def convert_file(config: Config, source: str | Path, target: str | Path, **how: Any) -> Conversion:
    """Converts ``source`` for the network of ``config`` and writes ``target`` and ``target``.json beside it.

    Args:
        config: its MODEL is the network, of a distillation the student; files that MODEL names are not loaded.
        source: ``.pth`` (and torch's other suffixes), ``.safetensors`` or ``.pdparams``; a path, a name or an address.
        target: ``.pdparams``.
        how: as of ``convert_weights``: origin, backbone_only, averaged, allow_missing, allow_unexpected.

    Raises:
        UserError: the file is missing, unsafe or of unknown origin, or keys are left over; nothing is written then.
    """
    from paddlevideo.classes import (
        UNKNOWN,
        classes_of_config,
        classes_of_weights,
        facts_of_weights,
        settled,
        write_weights,
    )
    from paddlevideo.modeling.conversion import convert_weights
    from paddlevideo.modeling.frameworks.build import build_deployed
    from paddlevideo.network_input import KEY, input_of_weights

    source, target = local_weights(source), Path(target).expanduser()
    if target.suffix != ".pdparams":
        raise UserError(f"{target}: the target must end in .pdparams")
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: source and target are the same file")
    framework = build_deployed(settled(config, classes_of_config(config, "test")).section("MODEL"))
    conversion = convert_weights(framework, source, **how)
    record = {
        "source": source.name,
        "source_sha256": sha256(source),
        "config": config.source,
        "model_name": config["model_name"],
        **conversion.describe(),
    }
    whole = conversion.part == "recogniser" and source.suffix == ".pdparams"
    if whole:
        record |= facts_of_weights(source)
    if whole and (clips := input_of_weights(source)):
        record[KEY] = clips
    write_weights(target, conversion.arrays, classes_of_weights(source) if whole else UNKNOWN, record)
    return conversion
