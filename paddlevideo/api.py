"""``paddlevideo.train``, ``paddlevideo.test`` and ``paddlevideo.export``: what the commands of these names run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.environment import set_cpu_environment
from paddlevideo.errors import UserError
from paddlevideo.settings import Options

if TYPE_CHECKING:
    from paddlevideo.config import Config
    from paddlevideo.inference.export import ExportReport


@dataclass(frozen=True)
class Trained:
    """What a training run has written.

    Args:
        folder: its output folder.
        last: the weights of its last epoch, ``.pdparams``; where ``max_hours`` has stopped it, of its last step.
        best: those of its best validation; None without one.
        average: those of EMA, of a run without validation; None of another one.
        out_of_time: ``max_hours`` has stopped it before its end.
    """

    folder: Path
    last: Path
    best: Path | None
    out_of_time: bool = False
    average: Path | None = None


def train(
    config: str | Path | Config, overrides: Sequence[str] = (), imports: Sequence[str] = (), **options: Any
) -> Trained:
    """Trains a model; ``paddlevideo train``.

    Args:
        config: a YAML file by its path, the file name of one that comes with the package, or a ``Config``.
        overrides: ``a.b.0.c=value`` assignments; one of them as a string, or a list.
        imports: modules or .py files with registered classes of your own, besides the file's ``imports``; one of them
            as a string, or a list.
        options: fields of ``settings.Options``: validate, weights, resume, overwrite, seed, device, max_hours...

    Raises:
        UserError: a mistake that the user can correct, in one line; of a configuration, one line per mistake.
    """
    chosen = Options.of(options)
    config = _loaded(config, overrides, imports, ("train", "valid", "test"))
    set_cpu_environment()
    from paddlevideo.engine import training
    from paddlevideo.reporting.training_report import TrainingReport

    run = training.train(config, chosen, TrainingReport)
    last = run.folder.stem(f"epoch_{run.progress.epoch:05d}")
    if not Path(f"{last}.pdparams").is_file():  # stopped by max_hours within an epoch
        last = run.folder.stem(f"step_{run.progress.step:08d}")
    best, average = (Path(f"{run.folder.stem(what)}.pdparams") for what in ("best", "ema"))
    stopped = run.out_of_time and run.progress.epoch < run.epochs
    without_best = run.hook("ema") is not None and run.hook("validate") is None
    averages = without_best and average.is_file() and not stopped
    return Trained(
        run.folder.path, Path(f"{last}.pdparams"), best if best.is_file() else None, stopped,
        average if averages else None,
    )  # fmt: skip


def test(
    config: str | Path | Config,
    weights: str | Path | None,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    imports: Sequence[str] = (),
    report_clips: int | None = None,
    **options: Any,
) -> dict[str, float]:
    """Evaluates weights on DATASET.test through PIPELINE.test; ``paddlevideo test``.

    Args:
        config: as of ``train``.
        weights: the ``.pdparams`` file, its name or its address (``downloads.cache.local_weights``).
        overrides: as of ``train``; ``protocol=NAME`` chooses one of PROTOCOLS.
        out: file for the results of every video, ``.json``, ``.csv`` or ``.pkl``; detections ``.csv``.
        imports: as of ``train``.
        report_clips: how many clips have pictures in ``report.html``; None: 32.
        options: fields of ``settings.Options``: seed, device, amp, max_iters...

    Returns:
        The metric's figures by name, e.g. top1 in 0..1.

    Raises:
        UserError: as ``train``.
    """
    chosen = Options.of({"weights": weights, **options})
    config = _loaded(config, overrides, imports, ("test",))
    set_cpu_environment()
    from paddlevideo.engine import testing
    from paddlevideo.reporting.report import ReportFiles

    shown = {} if report_clips is None else {"num_clips": report_clips}
    return testing.test(config, chosen, ReportFiles(chosen.weights, out and str(out), **shown))


def export(
    config: str | Path | Config,
    weights: str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    imports: Sequence[str] = (),
    timing: str = "quick",
    formats: Sequence[str] | None = None,
) -> ExportReport:
    """Exports a trained model for prediction and compares the result with the network; ``paddlevideo export``.

    Args:
        config: as of ``train``.
        weights: the ``.pdparams`` file, its name or its address (``downloads.cache.local_weights``).
        out: the folder to write.
        overrides: as of ``train``.
        name: of the files; None: ``model_name``.
        imports: as of ``train``.
        timing: ``quick``: the runtimes on this machine are timed, and prediction uses the fastest; ``none``: Paddle.
        formats: of ``paddle`` (always written), ``onnx``, ``openvino``: these forms and no others; None: Paddle's, and
            ``NAME.onnx`` where timing finds a runtime for it.

    Raises:
        UserError: as ``train``; or a form that cannot be made, or gives other scores than the network.
    """
    from paddlevideo.config import Config, load_config

    if not isinstance(config, Config):
        config = load_config(config, overrides, uses=("test",), imports=imports)
    elif overrides or imports:
        raise UserError(_NO_CHANGES)
    set_cpu_environment()
    from paddlevideo.inference.export import export as write_export

    return write_export(config, weights, out, name, timing=timing, formats=formats)


_NO_CHANGES = "overrides and imports belong to the reading of a file; this configuration is a Config already"


def _loaded(
    config: str | Path | Config, overrides: Sequence[str], imports: Sequence[str], uses: Sequence[str]
) -> Config:
    from paddlevideo.build import load_run_config
    from paddlevideo.config import Config

    if not isinstance(config, Config):
        return load_run_config(config, overrides, uses, imports)
    if overrides or imports:
        raise UserError(_NO_CHANGES)
    return config
