"""``main.py --test``: one evaluation of given weights, its figures and its per-video results."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from paddlevideo.build import loader_for, metric_for, pipelines_of, trained_network
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.bank import BankKeeper, for_split
from paddlevideo.engine.data_summary import left_out_lines, list_lines, split_line
from paddlevideo.engine.evaluate import evaluate
from paddlevideo.engine.log import set_up_logging
from paddlevideo.engine.precision import Precision, use_deterministic_kernels
from paddlevideo.engine.views import ViewKeeper
from paddlevideo.environment import versions
from paddlevideo.errors import UserError
from paddlevideo.reporting.page import Report, write_report
from paddlevideo.reporting.results import ClipFiles, check_name, files_of
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED, Options, Settings

log = logging.getLogger("paddlevideo")


def _say(line: str) -> None:
    log.info("%s", line)


def test(config: Config, options: Options, out: str | None = None) -> dict[str, float]:
    """Evaluates ``options.weights`` on DATASET.test through PIPELINE.test.

    ``report.html`` and ``predictions.csv`` go beside ``out``, or into the output folder; where those of other weights
    stand there, both are named by these weights.

    Args:
        out: where the per-video results go: ``.json``, ``.csv`` or ``.pkl``; detections: ``.csv``.

    Returns:
        The metric's figures.

    Raises:
        UserError: no weights, weights that do not fit, an unreadable video.
    """
    if not options.weights:
        raise UserError("--test needs the weights to test: -w PATH.pdparams")
    metric = metric_for(config)
    if out:
        check_name(out, metric=metric)
    distributed.set_up(options.device)
    if options.deterministic:
        use_deterministic_kernels()
    set_up_logging(config.output_dir, distributed.rank(), Settings.of(config).log_level)
    pipelines = pipelines_of(config)
    config, framework, classes = trained_network(config, options.weights, _say, pipelines)
    request = framework.bank_request
    if request:
        config, metric = for_split(config, request.split), BankKeeper(metric, request.file, request.half)
    seed = DEFAULT_SEED if options.seed is None else options.seed
    loader = loader_for(config, "test", framework.num_classes, seed, classes, pipelines.get("test"))
    names = classes.names or loader.dataset.class_names
    names = names if names and len(names) == framework.num_classes else None
    data = loader.dataset
    for line in [split_line(data, "test"), *list_lines(data, "test"), *left_out_lines(data, "test")]:
        log.info("%s", line)
    if out and framework.avg_type == "none":
        metric = ViewKeeper(metric)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype)
    records = loader.dataset.records

    def write_clips() -> None:
        if distributed.is_main():
            _write_clips(config, options, out, metric, records, names)

    announce = "[TEST] Processing batch"
    figures = evaluate(framework, loader, metric, precision, options.max_iters, announce, merged=write_clips)
    named = {"top1": "avg_acc1", "top5": "avg_acc5"}
    text = ", ".join(f"{named.get(key, key)}={value:.6g}" for key, value in figures.items())
    for key, value in metric.details().items():
        log.info("%s: %.6g", key, value)
    log.info("[TEST] finished, %s", text)
    if request:
        log.info("feature bank of %s: %s", request.split, metric.write(loader.dataset.records))
    if distributed.is_main():
        _write_report(config, options, out, metric, records, figures, names)
    distributed.barrier()
    if figures.get("num_non_finite"):
        raise UserError(
            f"{options.weights}: {figures['num_non_finite']} clips (persons) have scores of NaN or infinity, so these "
            "figures are not those of a sound network; take an earlier checkpoint"
        )
    return figures


def _write_clips(config: Config, options: Options, out: str | None, metric: Any, records: list, names: list | None):
    """The results of ``out``, and ``predictions.csv``: of every clip, before a figure is computed from them."""
    files = files_of(metric, records, names)
    if out and files is None:
        raise UserError(f"--out {out}: {type(metric).__name__} keeps no results per clip")
    if out:
        files.write_results(out)
        log.info("per-video results: %s", out)
    if isinstance(metric, ViewKeeper):
        log.info("logits of every view: %s", metric.write(out))
    if files:
        folder, suffix = _place(config, options, out)
        files.write_predictions(folder / f"predictions{suffix}.csv", names)


def _write_report(
    config: Config, options: Options, out: str | None, metric: Any, records: list, figures: dict, names: list | None
) -> None:
    files = files_of(metric, records, names)
    facts = [
        ("command", shlex.join(sys.argv)),
        ("configuration", config.source),
        ("weights", f"{options.weights} (sha256 {_digest(options)})"),
        ("clips", f"{files.num_taken if files else '?'} of {len(records)} in DATASET.test"),
        *versions().items(),
    ]
    title = f"{config['model_name']}: test of {Path(options.weights).name}"
    results = files.results if isinstance(files, ClipFiles) else None
    page = Report(title, figures, results, names, facts, config.to_yaml(), metric.per_class())
    folder, suffix = _place(config, options, out)
    write_report(folder / f"report{suffix}.html", page)
    log.info("report: %s", folder / f"report{suffix}.html")


def _place(config: Config, options: Options, out: str | None) -> tuple[Path, str]:
    """The folder of the report, and what to append to its name: nothing, or where the report of other weights is
    there, these weights."""
    folder = Path(out).parent if out else config.output_dir
    report, digest = folder / "report.html", _digest(options)
    if not report.is_file() or digest in report.read_text(encoding="utf-8", errors="replace"):
        return folder, ""
    return folder, f"_{Path(options.weights).stem}_{digest[:8]}"


def _digest(options: Options) -> str:
    return sha256(Path(options.weights).expanduser())
