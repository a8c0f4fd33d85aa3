"""``main.py --test``: one evaluation of given weights, its figures and its per-video results."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

from paddlevideo.build import deployed_network
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.bank import BankKeeper, for_split
from paddlevideo.engine.evaluate import evaluate
from paddlevideo.engine.log import set_up_logging
from paddlevideo.engine.parts import (
    DEFAULT_SEED,
    Options,
    loader_for,
    metric_for,
    use_deterministic_kernels,
    versions,
)
from paddlevideo.engine.precision import Precision
from paddlevideo.engine.report import Report, write_report
from paddlevideo.engine.results import check_name, files_of
from paddlevideo.engine.views import ViewKeeper
from paddlevideo.errors import UserError
from paddlevideo.loader.labels import read_labels
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import sha256

log = logging.getLogger("paddlevideo")


def test(config: Config, options: Options, out: str | None = None) -> dict[str, float]:
    """Evaluates ``options.weights`` on DATASET.test through PIPELINE.test.

    ``report.html`` and ``predictions.csv`` go beside ``out``, or into the output folder.

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
    set_up_logging(config.output_dir, distributed.rank(), config.get("log_level", "INFO"))
    framework = deployed_network(config)
    log.info("%s", load_weights(framework, options.weights))
    request = getattr(framework, "bank_request", None)
    if request:
        config, metric = for_split(config, request.split), BankKeeper(metric, request.file, request.half)
    seed = DEFAULT_SEED if options.seed is None else options.seed
    loader = loader_for(config, "test", framework.num_classes, seed)
    names = class_names(config, loader.dataset, framework.num_classes)
    if out and getattr(framework, "avg_type", None) == "none":
        metric = ViewKeeper(metric)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype)
    figures = evaluate(framework, loader, metric, precision, options.max_iters, announce="[TEST] Processing batch")
    named = {"top1": "avg_acc1", "top5": "avg_acc5"}
    text = ", ".join(f"{named.get(key, key)}={value:.6g}" for key, value in figures.items())
    for key, value in metric.details().items() if hasattr(metric, "details") else ():
        log.info("%s: %.6g", key, value)
    log.info("[TEST] finished, %s", text)
    if request:
        log.info("feature bank of %s: %s", request.split, metric.write(loader.dataset.records))
    if distributed.is_main():
        _write(config, options, out, metric, loader.dataset.records, figures, names)
        if isinstance(metric, ViewKeeper):
            log.info("logits of every view: %s", metric.write(out))
    distributed.meet()
    return figures


def class_names(config: Config, dataset: Any, num_classes: int) -> list[str] | None:
    """The names of DATASET.label_names, or of a folder data set's folders; None if there are none.

    Raises:
        UserError: the file is missing, or does not name every class.
    """
    path = config["DATASET"].get("label_names")
    if path:
        try:
            return read_labels(path, num_classes)
        except UserError as error:
            way_out = "-o DATASET.label_names=null tests without names"
            raise UserError(f"{config.source}: DATASET.label_names: {error}; {way_out}") from None
    found = getattr(dataset, "class_names", None)
    return found if found and len(found) == num_classes else None


def _write(
    config: Config, options: Options, out: str | None, metric: Any, records: list, figures: dict, names: list | None
) -> None:
    """The results of ``out``, ``predictions.csv`` and ``report.html``."""
    files = files_of(metric, records)
    if out and files is None:
        raise UserError(f"--out {out}: {type(metric).__name__} keeps no results per clip")
    if out:
        files.write_results(out)
        log.info("per-video results: %s", out)
    folder = Path(out).parent if out else config.output_dir
    if files:
        files.write_predictions(folder / "predictions.csv", names)
    facts = [
        ("command", shlex.join(sys.argv)),
        ("configuration", config.source),
        ("weights", f"{options.weights} (sha256 {sha256(Path(options.weights).expanduser())})"),
        ("clips", f"{files.num_taken if files else '?'} of {len(records)} in DATASET.test"),
        *versions().items(),
    ]
    title = f"{config['model_name']}: test of {Path(options.weights).name}"
    classes = metric.per_class() if hasattr(metric, "per_class") else None
    results = getattr(files, "results", None)
    page = Report(title, figures, results, names, facts, config.to_yaml(), classes)
    write_report(folder / "report.html", page)
    log.info("report: %s", folder / "report.html")
