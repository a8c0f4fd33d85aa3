"""Converts weights of MMAction2, TimeSformer's authors, torchvision and timm for the network of a configuration.

    python tools/convert_weights.py tsm_r50.pth weights/tsm_r50_k400.pdparams -c CFG.yaml
    python tools/convert_weights.py resnet50.pth weights/resnet50.pdparams -c CFG.yaml   # ImageNet: the backbone

.pth, .pyth and .pt (torch.save's, of any age), .safetensors and .pdparams are read without torch; nothing in them is
run.  Nothing is written unless every key of both sides is accounted for.  Use the result with --test -w, to
fine-tune with -w, or as MODEL.backbone.pretrained.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("source", help=".pth, .pyth, .pt, .safetensors or .pdparams")
    add("target", help="file to write, .pdparams; what it was made from is noted in TARGET.json")
    add(
        "-c", "--config", required=True, metavar="CFG", help="YAML file of the network (of a distillation: its student)"
    )
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="e.g. MODEL.head.num_classes=400")
    add("--from", dest="origin", default="auto",
        choices=("auto", "mmaction2", "timesformer", "torchvision", "tonylins", "timm", "paddle"),
        help="whose names the file has (auto: told from its keys)")  # fmt: skip
    add("--backbone-only", action="store_true", help="leave the head out; for MODEL.backbone.pretrained")
    add("--ema", action="store_true", help="the averaged weights, where a file holds both")
    add("--allow-missing", nargs="+", action="extend", default=[], metavar="PATTERN",
        help="keys of the network that the file may lack, e.g. 'head.*'")  # fmt: skip
    add("--allow-unexpected", nargs="+", action="extend", default=[], metavar="PATTERN",
        help="keys of the file (under their new names) to leave out")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Converts one file and prints what became of its keys."""
    args = parse_args(argv)
    set_cpu_environment()
    hide_paddle_remarks()
    from paddlevideo.cli.conversion import convert_file
    from paddlevideo.config import load_config

    conversion = convert_file(
        load_config(args.config, args.override),
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


if __name__ == "__main__":
    sys.exit(run_command(main))
