"""One evaluation of given weights: its figures, and the files that the caller writes of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from paddlevideo.build import loader_for, metric_for, pipelines_of, trained_network
from paddlevideo.classes import thresholds_of_weights
from paddlevideo.collectors import BankCollector, Collector
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.bank import for_split
from paddlevideo.engine.data_summary import fitted_videos_line, left_out_lines, list_lines, split_line
from paddlevideo.engine.evaluate import evaluate
from paddlevideo.engine.log import set_up_logging
from paddlevideo.engine.precision import Precision, use_deterministic_kernels
from paddlevideo.errors import UserError
from paddlevideo.settings import DEFAULT_SEED, Options

log = logging.getLogger("paddlevideo")


class Files(Protocol):
    """What writes the files of a test; called on the main rank, but for ``check`` and ``collectors``.

    ``config`` is the resolved configuration, ``records`` are the data set's, ``names`` the K class names or None.
    """

    def check(self, metric: Any) -> None:
        """Called before anything is built; a UserError ends the test."""

    def collectors(self, framework: Any) -> list[Collector]:
        """What is kept of the network's outputs besides the metric."""

    def write_clips(self, config: Config, metric: Any, records: Sequence[Any], names: Sequence[str] | None) -> None:
        """Called when the metric holds the samples of all ranks, before it computes."""

    def write_report(
        self,
        config: Config,
        metric: Any,
        loader: Any,
        names: Sequence[str] | None,
        figures: Mapping[str, float],
    ) -> None:
        """Called at the end; ``loader`` is that of the test, which clips can be read with again."""


def test(config: Config, options: Options, files: Files | None = None) -> dict[str, float]:
    """Evaluates ``options.weights`` on DATASET.test through PIPELINE.test.

    Args:
        files: what writes results and a report, e.g. ``reporting.report.ReportFiles``; None: nothing is written.

    Returns:
        The metric's figures.

    Raises:
        UserError: no weights, weights that do not fit, an unreadable video, scores that are not finite.
    """
    if not options.weights:
        raise UserError("--test needs the weights to test: -w PATH.pdparams")
    metric = metric_for(config)
    if files is not None:
        files.check(metric)
    distributed.set_up(options.device)
    if options.deterministic:
        use_deterministic_kernels()
    set_up_logging(config.output_dir, distributed.rank(), config.settings.log_level)
    pipelines = pipelines_of(config)
    config, framework, classes = trained_network(config, options.weights, _log, pipelines)
    metric.use_thresholds(thresholds_of_weights(options.weights, framework.num_classes))
    collectors = files.collectors(framework) if files is not None else []
    bank = framework.bank_request
    if bank:
        config = for_split(config, bank.split)
        collectors.append(BankCollector(bank.file, bank.half))
    seed = DEFAULT_SEED if options.seed is None else options.seed
    loader = loader_for(config, "test", framework.num_classes, seed, classes, pipelines.get("test"))
    data = loader.dataset
    for line in [split_line(data, "test"), *list_lines(data, "test"), *left_out_lines(data, "test")]:
        _log(line)
    if line := fitted_videos_line(options.weights, data, "test"):
        log.warning("%s", line)
    names = classes.names or data.class_names
    names = names if names and len(names) == framework.num_classes else None
    precision = Precision(options.amp, options.amp_level, options.amp_dtype, options.amp_black_list)

    def write_clips() -> None:
        if files is not None:
            files.write_clips(config, metric, data.records, names)

    announce = "[TEST] Processing batch"
    figures = evaluate(framework, loader, metric, precision, options.max_iters, announce, collectors, write_clips)
    for key, value in metric.details().items():
        log.info("%s: %.6g", key, value)
    named = {"top1": "avg_acc1", "top5": "avg_acc5"}
    log.info("[TEST] finished, %s", ", ".join(f"{named.get(k, k)}={value:.6g}" for k, value in figures.items()))
    if files is not None and distributed.is_main():
        files.write_report(config, metric, loader, names, figures)
    distributed.barrier()
    if figures.get("num_non_finite"):
        raise UserError(
            f"{options.weights}: {figures['num_non_finite']} clips (persons) have scores of NaN or infinity, so these "
            "figures are not those of a sound network; take an earlier checkpoint"
        )
    return figures


def _log(line: str) -> None:
    log.info("%s", line)
