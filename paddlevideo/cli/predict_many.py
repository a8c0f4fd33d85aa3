"""``paddlevideo predict --out FILE.jsonl``: many videos, a line each."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from paddlevideo.cli import options
from paddlevideo.environment import available_cores
from paddlevideo.errors import UserError

_MAX_WORKERS = 8


def refuse(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: an option of a .jsonl file without one.
    """
    given = {"--scores": not args.scores, "--retry_failed": args.retry_failed, "--rank": args.rank is not None,
             "--num_ranks": args.num_ranks is not None}  # fmt: skip
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise UserError(f"{wrong[0]}: is for many videos; add --out FILE.jsonl")


def run(args: argparse.Namespace) -> int:
    """Predicts the videos that are not in the file; 0 if there is a result of at least one."""
    from paddlevideo.cli.predict import make_predictor, notice, threshold_of, top_k_of
    from paddlevideo.inference.many import Output, predict_many

    if args.time_test_file or args.enable_benchmark:
        raise UserError("--time_test_file and --enable_benchmark: print times; leave out --out FILE.jsonl")
    config = options.read_model_config(args)
    top_k = args.top_k or top_k_of(config)
    # at least one process: a crash of a decoder is an error of one video then
    num_workers = max(1, min(available_cores() - 1, _MAX_WORKERS)) if args.num_workers is None else args.num_workers
    predictor = make_predictor(args, config, num_workers, args.timeout_s)
    output = Output(
        top_k=top_k, threshold=threshold_of(args, predictor, top_k), scores=args.scores,
        retry_failed=args.retry_failed, rank=args.rank, num_ranks=args.num_ranks, on_error=args.on_error or "skip",
    )  # fmt: skip
    notice(f"Inference model({predictor.name})...")
    counts = asdict(predict_many(predictor, args.input_file, args.out, output, notice))
    notice(", ".join(f"{name} {count}" for name, count in counts.items()))
    return 0
