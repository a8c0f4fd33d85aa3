"""The page of one or several training runs: curves, epochs, confusions, configuration; from the files of their folders.

``metrics.jsonl`` has the figures, ``config.yaml`` the configuration, and ``training.json`` (``training_report``) what
neither of them holds; a folder of before it has a page without that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from paddlevideo.classes import class_counts
from paddlevideo.config import Config
from paddlevideo.metrics.topk import is_trivial
from paddlevideo.reporting.charts import NUM_COLOURS, STYLE, Series, chart, line_sample
from paddlevideo.reporting.confusion_drawing import matrix_section
from paddlevideo.reporting.history import COSTS, Epochs, History, best_epoch, not_finite
from paddlevideo.reporting.markup import document, percent, run_facts, table, text

_NO_CHARTS = ("loss", "lr", *COSTS)  # of figures, which have their own or none
_MOST_FIGURES = 24
_MOST_ROWS = 300  # of the table of epochs
_MOST_DIFFERENCES = 60
_VALIDATIONS = ("val", "swa")


@dataclass
class RunView:
    """What the page shows of a run.

    Args:
        name: in headings and legends.
        history: its figures.
        facts: the content of ``training.json``; {}: none.
        config: the resolved configuration; {}: unknown.
        config_text: the same as YAML.
        confusions: what the heading adds -> counts [K, K] and samples of each class [K].
    """

    name: str
    history: History
    facts: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    confusions: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @cached_property
    def epochs(self) -> Epochs:
        """Its training, epoch by epoch."""
        return Epochs(self.history)

    @cached_property
    def trivial(self) -> frozenset[str]:
        """The figures that tell nothing of this network (``is_trivial``)."""
        counts = [count for count in class_counts(Config(self.config)).values() if isinstance(count, int)]
        names = {name for mode in self.history.modes for name in self.history.figures(mode)}
        return frozenset(name for name in names if counts and is_trivial(name, max(counts)))

    def figures(self, mode: str) -> list[str]:
        """Names of the figures that are shown of a mode."""
        return [name for name in self.history.figures(mode) if name not in self.trivial]

    @cached_property
    def primary(self) -> str | None:
        """The figure that picks the best epoch; of an older folder the first one that was validated."""
        return self.facts.get("primary") or next(iter(self.figures("val")), None)

    @cached_property
    def best(self) -> tuple[int, float] | None:
        """Epoch and value of the best validation."""
        noted = self.facts.get("best_epoch"), self.facts.get("best")
        if noted[0] and noted[1] is not None:
            return int(noted[0]), float(noted[1])
        return best_epoch(self.history, self.primary, self.primary != "loss") if self.primary else None

    def class_name(self, k: int) -> str:
        """The label of class ``k``: its number, and its name if there is one."""
        names = self.facts.get("class_names")
        return f"{k} {names[k]}" if names and k < len(names) else str(k)


def render(runs: Sequence[RunView], title: str) -> str:
    """The page of one run, or of several with their curves in the same charts."""
    if len(runs) == 1:
        return document(title, [f"<h1>{text(title)}</h1>", *_one(runs[0])], STYLE)
    parts = [f"<h1>{text(title)}</h1>", _runs_table(runs), *(_alerts(run, f"{run.name}: ") for run in runs)]
    parts += ["<h2>Curves</h2>", _charts(runs), _differences(runs)]
    return document(title, parts, STYLE)


def _one(run: RunView) -> Iterator[str]:
    yield _tiles(run)
    yield _alerts(run)
    yield f"<h2>Curves</h2>{_charts([run])}"
    yield _epoch_table(run)
    for heading, (matrix, totals) in run.confusions.items():
        yield matrix_section(matrix, totals, run.class_name, text(heading))
    yield run_facts(_facts(run), run.config_text)


def _facts(run: RunView) -> list[tuple[str, str]]:
    clock = run.history.column("train", "time")
    clock = clock[np.isfinite(clock)]
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value)) for value in (*clock[:1], *clock[-1:])]
    known = {**run.facts.get("shown", {}), "folder": str(run.history.path.parent)}
    return [*((str(key), str(value)) for key, value in known.items()), *zip(("first record", "last record"), stamps)]


def _tiles(run: RunView) -> str:
    epochs, history = run.epochs, run.history
    tiles = []
    if len(epochs.numbers):
        total = run.facts.get("epochs") or run.config.get("epochs")  # --multigrid has a number of its own
        tiles.append((f"{epochs.numbers[-1]}{f' of {total}' if total else ''}", "epoch"))
        tiles.append((str(epochs.ends[-1]), "step"))
        loss = epochs.mean("loss")
        tiles.append((_value(loss[-1]), "train loss, mean of the epoch" if epochs.exact[-1] else "train loss, so far"))
    primary = None if run.primary in run.trivial else run.primary
    if run.best is not None and primary:
        tiles.append((_value(run.best[1]), f"best {primary}, epoch {run.best[0]}"))
    last = history.column("val", primary)[-1:] if primary else ()
    if len(last):
        tiles.append((_value(last[0]), f"last {primary}"))
    share = epochs.reader_share()
    if len(share):
        tiles.append((percent(share[-1]), "of a step waits for data"))
    shown = "".join(f"<li><b>{text(value)}</b>{text(what)}</li>" for value, what in tiles)
    return f'<ul class="tiles">{shown}</ul>'


def _value(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "not finite"


def _alerts(run: RunView, prefix: str = "") -> str:
    """What a reader of the curves has to know about the records."""
    history, lines = run.history, []
    if not history.modes:
        lines.append("There are no records yet.")
    lost = not_finite(history, ("train",), "loss")
    if lost:
        lines.append(f"The loss was not finite in {lost} of the logged steps: gaps in its curve, with triangles above.")
    if history.resumes:
        steps = ", ".join(map(str, history.resumes[-10:]))
        lines.append(
            f"Resumed before step {steps}; records of steps that were repeated or given up, which are left out: "
            f"{history.num_dropped}."
        )
    if history.num_unread:
        lines.append(f"Lines of {history.path.name} that are no records, and are left out: {history.num_unread}.")
    if history.is_unfinished:
        lines.append(
            f"The last line of {history.path.name} has no end and is left out: a run was killed, or writes it."
        )
    paragraphs = "".join(f"<p>{text(prefix + line)}</p>" for line in lines)
    return f'<div class="alert">{paragraphs}</div>' if lines else ""


def _charts(runs: Sequence[RunView]) -> str:
    drawn = [
        chart("Loss", "step", list(_loss(runs)), positive=True),
        chart("Learning rate", "step", [_of_steps(run, "lr", i, _label(runs, run)) for i, run in enumerate(runs)]),
    ]
    figures = list(dict.fromkeys(
        name for run in runs for mode in (*_VALIDATIONS, "epoch", "train") for name in run.figures(mode)
        if name not in _NO_CHARTS
    ))  # fmt: skip
    # what is measured in validation first, since it is what a run is chosen by
    drawn += [chart(name, "epoch", list(_figure(runs, name)), _rings(runs, name)) for name in figures[:_MOST_FIGURES]]
    for title, values in (
        ("Share of a step that waits for data", lambda run: run.epochs.reader_share()),
        ("Seconds per step", lambda run: run.epochs.mean("batch_cost")),
    ):
        lines = [Series(_label(runs, r), r.epochs.numbers, values(r), i % NUM_COLOURS) for i, r in enumerate(runs)]
        drawn.append(chart(title, "epoch", lines))
    left_out = figures[_MOST_FIGURES:]
    note = f'<p class="note">{len(left_out)} more figures are in metrics.jsonl: {text(", ".join(left_out))}</p>'
    return f'<div class="charts">{"".join(drawn)}</div>{note if left_out else ""}'


def _label(runs: Sequence[RunView], run: RunView, what: str = "train") -> str:
    return what if len(runs) == 1 else f"{run.name}{f', {what}' if what != 'train' else ''}"


def _of_steps(run: RunView, name: str, colour: int, label: str, faint: bool = False) -> Series:
    """A figure of the logged steps."""
    return Series(label, run.history.steps("train"), run.history.column("train", name), colour % NUM_COLOURS, faint)


def _loss(runs: Sequence[RunView]) -> Iterator[Series]:
    for i, run in enumerate(runs):
        colour = i % NUM_COLOURS
        yield _of_steps(run, "loss", colour, _label(runs, run, "logged steps"), faint=True)
        yield Series(_label(runs, run, "means of epochs"), run.epochs.ends, run.epochs.mean("loss"), colour)
        for number, mode in enumerate(_VALIDATIONS):
            steps, values = run.history.steps(mode), run.history.column(mode, "loss")
            own = number + 1 if len(runs) == 1 else colour
            yield Series(_label(runs, run, mode), steps, values, own, dashed=len(runs) > 1)


def _figure(runs: Sequence[RunView], name: str) -> Iterator[Series]:
    """A figure by epoch; the training of several runs is dashed, and each validation has the run's colour."""
    single = len(runs) == 1
    for i, run in enumerate(runs):
        if name in run.trivial:
            continue
        train = run.epochs.mean(name)
        what = "train, mean of the epoch's steps" if single else "training"
        yield Series(_label(runs, run, what), run.epochs.numbers, train, i % NUM_COLOURS, dashed=not single)
        for number, mode in enumerate(_VALIDATIONS):
            at, values = run.history.column(mode, "epoch"), run.history.column(mode, name)
            known = np.isfinite(at)
            colour = number + 1 if single else i % NUM_COLOURS
            yield Series(_label(runs, run, mode), at[known], values[known], colour)


def _rings(runs: Sequence[RunView], name: str) -> list[tuple[float, float, int]]:
    """The best validation, in the chart of the figure that it was chosen by."""
    chosen = [(i, run.best) for i, run in enumerate(runs) if run.primary == name and run.best is not None]
    return [(best[0], best[1], 1 if len(runs) == 1 else i % NUM_COLOURS) for i, best in chosen]


def _epoch_table(run: RunView) -> str:
    """A row per epoch, the newest first; of more than ``_MOST_ROWS`` the newest, and the best."""
    epochs = run.epochs
    if not len(epochs.numbers):
        return ""
    columns: list[tuple[str, np.ndarray]] = [("train loss", epochs.mean("loss"))]
    columns += [
        (f"train {name}", epochs.mean(name)) for name in run.figures("epoch") or run.figures("train")
        if name not in _NO_CHARTS
    ][:6]  # fmt: skip
    for mode in _VALIDATIONS:
        columns += [(f"{mode} {name}", epochs.validation(mode, name)) for name in run.figures(mode)[:8]]
    columns += [("lr", epochs.mean("lr")), ("s per step", epochs.mean("batch_cost"))]
    best = run.best[0] if run.best else None
    order = list(range(len(epochs.numbers)))[::-1]
    shown = order[:_MOST_ROWS] + [i for i in order[_MOST_ROWS:] if epochs.numbers[i] == best]
    share = epochs.reader_share()
    rows = [
        [f"{epochs.numbers[i]}{' (best)' if epochs.numbers[i] == best else ''}{'' if epochs.exact[i] else ' *'}",
         *(f"{values[i]:.4g}" if np.isfinite(values[i]) else "-" for _, values in columns), percent(share[i])]
        for i in shown
    ]  # fmt: skip
    header = ["epoch", *(text(name) for name, _ in columns), "waits for data"]
    note = "* without a record of its means: not finished, or of an earlier version; means of its logged steps."
    notes = [note] if not epochs.exact[shown].all() else []
    if len(shown) < len(order):
        notes.append(f"The newest {_MOST_ROWS} of {len(order)} epochs, and the best.")
    explained = "".join(f'<p class="note">{line}</p>' for line in notes)
    return f"<h2>Epochs</h2>{explained}{table(header, rows, 'n' * len(header), scroll=True)}"


def _runs_table(runs: Sequence[RunView]) -> str:
    rows = []
    for i, run in enumerate(runs):
        epochs, loss = run.epochs, run.epochs.mean("loss")
        best = run.best
        share = epochs.reader_share()
        rows.append([
            line_sample(f"k{i % NUM_COLOURS}") + text(run.name),
            str(epochs.numbers[-1]) if len(epochs.numbers) else "-",
            _value(loss[-1]) if len(loss) else "-",
            "-" if best is None else f"{_value(best[1])} ({text(run.primary)}, epoch {best[0]})",
            percent(share[-1]) if len(share) else "-",
            text(run.history.path.parent),
        ])  # fmt: skip
    header = ("run", "epochs", "train loss", "best validation", "waits for data", "folder")
    return table(header, rows, "tnntnp")


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(key path, value) of every leaf of a configuration."""
    if isinstance(value, Mapping | list) and value:
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(part, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _differences(runs: Sequence[RunView]) -> str:
    """The keys in which the configurations differ."""
    leaves = [dict(_flat(run.config)) for run in runs]
    keys = list(dict.fromkeys(key for leaf in leaves for key in leaf))
    missing = object()
    differing = [key for key in keys if any(leaf.get(key, missing) != leaves[0].get(key, missing) for leaf in leaves)]
    rows = [
        [text(key), *(text(leaf[key]) if key in leaf else "-" for leaf in leaves)]
        for key in differing[:_MOST_DIFFERENCES]
    ]
    if not rows:
        return "<h2>Configurations</h2><p>They are equal.</p>"
    more = len(differing) - len(rows)
    note = f'<p class="note">{more} more keys differ.</p>' if more else ""
    header = ["key", *(text(run.name) for run in runs)]
    content = table(header, rows, "p" + "t" * len(runs), scroll=True)
    return f"<h2>Keys in which the configurations differ</h2>{note}{content}"
