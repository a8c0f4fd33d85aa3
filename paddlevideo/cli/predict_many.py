"""``paddlevideo predict --out FILE.jsonl``: many videos, a line each."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from paddlevideo.cli import options
from paddlevideo.environment import available_cores
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.inference.many import Output
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.inference.ray_job import RayJob

_MAX_WORKERS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--scores, --retry_failed, --rank, --num_ranks, --ray."""
    add = parser.add_argument_group("many videos, with --out FILE.jsonl").add_argument
    add("--scores", type=options.parse_bool, default=True, help="False: without the scores of all classes")
    add("--retry_failed", action="store_true", help="predict those again that have an error in the file")
    rank = "this process's number, from 0 (of paddle.distributed.launch)"
    add("--rank", type=options.at_least(0), metavar="K", help=rank)
    ranks = "processes that share the videos (of paddle.distributed.launch)"
    add("--num_ranks", type=options.at_least(1), metavar="N", help=ranks)
    actors = "as a Ray Data job of N actors (as many as the cluster has room for); pip install 'ray[data]'"
    add("--ray", type=options.at_least(1), nargs="?", const=0, metavar="N", help=actors)


def refuse(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: an option of a .jsonl file without one.
    """
    given = {"--scores": not args.scores, "--retry_failed": args.retry_failed, "--rank": args.rank is not None,
             "--num_ranks": args.num_ranks is not None, "--ray": args.ray is not None}  # fmt: skip
    wrong = [name for name, is_given in given.items() if is_given]
    if wrong:
        raise UserError(f"{wrong[0]}: is for many videos; add --out FILE.jsonl")


def run(args: argparse.Namespace) -> int:
    """Predicts the videos that are not in the file; 0 if there is a result of at least one."""
    from paddlevideo.cli.predict import make_predictor, notice, threshold_of, top_k_of
    from paddlevideo.inference.many import Output, predict_many

    if args.time_test_file or args.enable_benchmark:
        raise UserError("--time_test_file and --enable_benchmark: print times; leave out --out FILE.jsonl")
    if args.ray is not None:
        from paddlevideo.inference.ray_job import require_ray

        require_ray()
    config = options.read_model_config(args)
    top_k = args.top_k or top_k_of(config)
    # at least one process: a crash of a decoder is an error of one video then
    num_workers = max(1, min(available_cores() - 1, _MAX_WORKERS)) if args.num_workers is None else args.num_workers
    predictor = make_predictor(args, config, num_workers, args.timeout_s)
    output = Output(
        top_k=top_k, threshold=threshold_of(args, predictor, top_k), scores=args.scores,
        retry_failed=args.retry_failed, rank=args.rank, num_ranks=args.num_ranks, on_error=args.on_error or "skip",
    )  # fmt: skip
    lines = None
    if args.ray is not None:
        lines = _ray_job(args, output, num_workers).lines
    notice(f"Inference model({predictor.name})...")
    counts = asdict(predict_many(predictor, args.input_file, args.out, output, notice, lines))
    notice(", ".join(f"{name} {count}" for name, count in counts.items()))
    return 0


def _ray_job(args: argparse.Namespace, output: Output, num_workers: int) -> RayJob:
    from paddlevideo.inference.ray_job import RayJob

    if output.share() != (0, 1):
        raise UserError("--ray: has actors in place of ranks; leave out --rank and --num_ranks")
    num_workers = 1 if args.num_workers is None else num_workers
    gpu = args.use_gpu is True
    return RayJob(partial(_of_actor, args, num_workers), output, args.ray or None, 1 + num_workers, gpu)


def _of_actor(args: argparse.Namespace, num_workers: int) -> Predictor:
    """The predictor of an actor."""
    from paddlevideo.cli.predict import make_predictor

    return make_predictor(args, options.read_model_config(args), num_workers, args.timeout_s)
