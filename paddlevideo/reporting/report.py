"""The files of a test: the results of every clip, ``predictions.csv``, and ``report.html``."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.collectors import Collector, ViewCollector
from paddlevideo.config import Config
from paddlevideo.environment import versions
from paddlevideo.errors import UserError
from paddlevideo.loader.build import ClipLoader
from paddlevideo.metrics.base import Metric
from paddlevideo.reporting.page import ReportPage, write_report
from paddlevideo.reporting.report_clips import NUM_CLIPS, ClipViews, Ranking
from paddlevideo.reporting.results import ClipFiles, Results, check_name, files_of
from paddlevideo.safe_io import sha256
from paddlevideo.weight_names import weights_file

log = logging.getLogger("paddlevideo")


@dataclass(frozen=True)
class ReportFiles:
    """What writes the files of a test; ``engine.testing.test`` takes it.

    ``predictions.csv`` and ``report.html`` go beside ``out``, or into the output folder; where a report of other
    weights is there already, both are named by these weights.

    Args:
        weights: the ``.pdparams`` file.
        out: where the results of every clip go: ``.json``, ``.csv`` or ``.pkl``; detections: ``.csv``; None: nowhere.
        num_clips: how many clips of recognition have pictures on the page.
    """

    weights: str | Path
    out: str | None = None
    num_clips: int = NUM_CLIPS

    def check(self, metric: Any) -> None:
        """Raises UserError if results of this metric cannot be written to ``out``; before anything is computed."""
        if not self.out:
            return
        if not metric.result_suffixes and type(metric).results is Metric.results:
            raise self._no_results(metric)
        check_name(self.out, metric=metric)

    def collectors(self, framework: Any) -> list[Collector]:
        """What the files need of an evaluation besides its metric."""
        return [ViewCollector(self.out)] if self.out and framework.avg_type == "none" else []

    def write_clips(
        self, config: Config, metric: Any, records: Sequence[dict[str, Any]], names: Sequence[str] | None
    ) -> None:
        """The results of every clip, which need no figure to be computed.

        Args:
            metric: with the samples of all ranks.
            records: of the data set.
            names: K class names; None: unknown.
        """
        files = files_of(metric, records, names)
        if self.out and files is None:
            raise self._no_results(metric)
        if self.out:
            files.write_results(self.out)
            log.info("per-video results: %s", self.out)
        if files:
            folder, suffix = self._place(config)
            files.write_predictions(folder / f"predictions{suffix}.csv", names)

    def write_report(
        self,
        config: Config,
        metric: Any,
        loader: ClipLoader,
        names: Sequence[str] | None,
        figures: Mapping[str, float],
    ) -> None:
        """``report.html``; arguments as of ``write_clips``, the loader of the test, and what the metric computed."""
        records = loader.dataset.records
        files = files_of(metric, records, names)
        facts = [
            ("command", shlex.join(sys.argv)),
            ("configuration", config.source),
            ("weights", f"{self.weights} (sha256 {self._digest()})"),
            ("clips", f"{files.num_taken if files else '?'} of {len(records)} in DATASET.test"),
            *versions().items(),
        ]
        title = f"{config['model_name']}: test of {Path(self.weights).name}"
        results = files.results if isinstance(files, ClipFiles) else None
        rows = metric.per_class() if results is None else None  # else from the results
        folder, suffix = self._place(config)
        clips = None if results is None else self._clips(metric, results, loader, folder)
        page = ReportPage(title, figures, results, names, facts, config.to_yaml(), rows, clips, metric.thresholds)
        write_report(folder / f"report{suffix}.html", page)
        log.info("report: %s", folder / f"report{suffix}.html")

    def _clips(self, metric: Any, results: Results, loader: ClipLoader, folder: Path) -> ClipViews:
        """Links to all clips, pictures of some."""
        indices = [index for index, _, _ in metric.results()]
        records = loader.dataset.records
        clips = ClipViews(folder, [records[index] for index in indices], not loader.dataset.in_archives)
        if results.labels is not None:
            clips.read(Ranking.of(results).first(self.num_clips), loader.fetch, indices)
        return clips

    def _no_results(self, metric: Any) -> UserError:
        return UserError(f"--out {self.out}: {type(metric).__name__} keeps no results per clip")

    def _place(self, config: Config) -> tuple[Path, str]:
        """The folder, and what the files' names end in: nothing, or where a report of other weights is, these ones."""
        folder = Path(self.out).parent if self.out else config.output_dir
        report, digest = folder / "report.html", self._digest()
        if not report.is_file() or digest in report.read_text(encoding="utf-8", errors="replace"):
            return folder, ""
        return folder, f"_{Path(self.weights).stem}_{digest[:8]}"

    def _digest(self) -> str:
        return sha256(weights_file(self.weights))
