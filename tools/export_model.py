"""Exports a trained model for prediction: python tools/export_model.py -c CFG -p best.pdparams -o inference/TSM"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment
from paddlevideo.errors import UserError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags; PaddleVideo's names, with its clash: here -o is the output folder, overrides have no short form."""
    parser = argparse.ArgumentParser(description="Export a trained model: program, weights and inference.yml.")
    add = parser.add_argument
    add("-c", "--config", required=True, help="YAML file the model was trained with")
    add("--override", action="append", default=[], metavar="KEY=VALUE", help="change a value of the configuration")
    add("-p", "--pretrained_params", default="./best.pdparams", help="trained weights, .pdparams (%(default)s)")
    add("-o", "--output_path", default="./inference", help="folder for the exported files (%(default)s)")
    add("--save_name", default=None, help="name of the files (the configuration's model_name)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exports; 0 if the exported model agrees with the network."""
    args = parse_args(argv)
    if re.match(r"[A-Za-z_][\w.]*=", args.output_path):
        raise UserError(
            f"-o {args.output_path}: here -o names the folder of the export; a value of the configuration changes with "
            f"--override {args.output_path} (a folder of that name is ./{args.output_path})"
        )
    set_cpu_environment()
    hide_paddle_remarks()
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export

    config = load_config(args.config, args.override, uses=("test",))
    export(config, args.pretrained_params, args.output_path, args.save_name)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
