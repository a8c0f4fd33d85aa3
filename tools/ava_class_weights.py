"""How often every action of DATASET.train occurs, and weights for the loss that make up for it.

    python tools/ava_class_weights.py -c CFG.yaml
    python tools/ava_class_weights.py -c CFG.yaml --power 1

Prints a table, and a line for MODEL.head.bbox_head: weights ~ 1 / count ** power, 1 in the mean over the actions there
are, 0 for those that never occur.  (``DATASET.train.sample_by_class`` is the other cure: it draws rare actions more
often.)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.build import load_run_config
from paddlevideo.cli.command import run_command
from paddlevideo.errors import UserError
from paddlevideo.loader.build import build_dataset
from paddlevideo.loader.datasets.ava_persons import class_weights


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", required=True, metavar="CFG", help="YAML file with DATASET.train")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--power", type=float, default=0.5, metavar="P", help="0: all alike; 1: rare as frequent (0.5)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Counts and prints."""
    args = parse_args(argv)
    config = load_run_config(args.config, args.override)
    section, head = config.section("DATASET").get("train"), config.section("MODEL").get("head") or {}
    if not section:
        raise UserError(f"{args.config}: there is no DATASET.train to count in")
    dataset = build_dataset(section, "train", (head.get("bbox_head") or head).get("num_classes"))
    counts = dataset.class_counts()
    if counts is None:
        raise UserError(f"{args.config}: DATASET.train is no data set of key frames (AVADataset)")
    weights = class_weights(counts, args.power)
    names = dataset.class_names or [""] * len(counts)
    print(" class   persons  weight  name")
    for i in range(1, len(counts)):
        print(f"{i:6d} {counts[i]:9d} {weights[i]:7.3f}  {names[i]}".rstrip())
    print(f"\nclass_weights: [{', '.join(f'{weight:.4g}' for weight in weights)}]")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
