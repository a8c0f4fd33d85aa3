"""``main.py --test``: one evaluation of given weights, its figures and its per-video results."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.evaluate import evaluate
from paddlevideo.engine.log import set_up_logging
from paddlevideo.engine.parts import loader_for, metric_for, network, pipelines_agree
from paddlevideo.engine.precision import Precision
from paddlevideo.engine.trainer import DEFAULT_SEED, Options
from paddlevideo.errors import UserError
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import write_atomic, write_pickle

log = logging.getLogger("paddlevideo")


def test(config: Config, options: Options, out: str | None = None) -> dict[str, float]:
    """Evaluates ``options.weights`` on DATASET.test through PIPELINE.test.

    Args:
        out: where the per-video results go: ``.json``, ``.csv`` or ``.pkl``.

    Returns:
        The metric's figures.

    Raises:
        UserError: no weights, weights that do not fit, an unreadable video.
    """
    if not options.weights:
        raise UserError("--test needs the weights to test: -w PATH.pdparams")
    writer = _writer(out)
    distributed.set_up(options.device)
    set_up_logging(config.output_dir, distributed.rank(), config.get("log_level", "INFO"))
    pipelines_agree(config)
    framework = network(config, pretrained=False)
    log.info("%s", load_weights(framework, options.weights))
    seed = DEFAULT_SEED if options.seed is None else options.seed
    loader = loader_for(config, "test", framework.num_classes, seed)
    metric = metric_for(config)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype)
    figures = evaluate(framework, loader, metric, precision, options.max_iters, announce="[TEST] Processing batch")
    named = {"top1": "avg_acc1", "top5": "avg_acc5"}
    text = ", ".join(f"{named.get(key, key)}={value:.6g}" for key, value in figures.items())
    log.info("[TEST] finished, %s", text)
    if writer and distributed.is_main():
        writer(Path(out), _results(metric, loader.dataset.records))
        log.info("per-video results: %s", out)
    distributed.meet()
    return figures


def _results(metric: Any, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for index, label, scores in metric.results():
        record = records[index]
        path = str(record.get("filename") or record.get("frame_dir"))
        unreadable = bool(np.isnan(scores).any())
        rows.append({"path": path, "label": label, "scores": None if unreadable else [float(s) for s in scores]})
    return rows


def _writer(out: str | None) -> Any:
    if out is None:
        return None
    writers = {".json": _write_json, ".csv": _write_csv, ".pkl": write_pickle}
    suffix = Path(out).suffix.lower()
    if suffix not in writers:
        raise UserError(f"--out {out}: expected a name ending in {', '.join(writers)}")
    return writers[suffix]


def _write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    write_atomic(path, json.dumps(rows, indent=1))


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """One line per video: path, label, predicted class, then a column per class."""
    stream = io.StringIO()
    table = csv.writer(stream)
    classes = max((len(row["scores"]) for row in rows if row["scores"]), default=0)
    table.writerow(["path", "label", "predicted", *(f"score_{k}" for k in range(classes))])
    for row in rows:
        scores = row["scores"]
        predicted = max(range(classes), key=scores.__getitem__) if scores else "unreadable"
        table.writerow([row["path"], row["label"], predicted, *(scores or [""] * classes)])
    write_atomic(path, stream.getvalue())
