"""The changes of a resumed run's configuration, logged with old and new values."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from paddlevideo.config.merging import differences
from paddlevideo.errors import UserError

log = logging.getLogger("paddlevideo")

# the parts of a configuration that decide what is trained and how
_COMPARED = (
    "epochs",
    "MODEL",
    "DATASET.batch_size",
    "DATASET.train.sample_by_class",
    "DATASET.train.power",
    "PIPELINE.train",
    "MIX",
    "OPTIMIZER",
    "SWA",
    "PRECISEBN",
    "EMA",
    "EARLY_STOP",
    "MULTIGRID",
)
# those of them that decide on the batches of an epoch: within one they cannot change.  Rates and the like can: a lower
# rate or a clip is the remedy for a loss that is not finite
_OF_AN_EPOCH = (
    "DATASET.batch_size",
    "DATASET.train.sample_by_class",
    "DATASET.train.power",
    "PIPELINE.train",
    "MIX",
    "MULTIGRID",
)


def compare(then: Mapping[str, Any], now: Mapping[str, Any], within_epoch: bool, stem: Any) -> None:
    """Logs one line for each difference that training depends on.

    Args:
        then, now: "shape", "shift_div" and "config", the resume point's and this run's (``Trainer.compared``).
        within_epoch: the resume point lies within an epoch.
        stem: the resume point, for the message.

    Raises:
        UserError: the network would compute something else, or the batches of the epoch that is resumed would be
            others.
        KeyError: the resume point lacks a part.
    """
    _compare_shares(then, now, stem)
    # earlier versions note no weights, and have no multigrid training
    shape = {"weights": now["shape"]["weights"], "multigrid": False, **then["shape"]}
    pairs = {key: (shape[key], value) for key, value in now["shape"].items()}
    pairs |= {part: (_at(then["config"], part), _at(now["config"], part)) for part in _COMPARED}
    found = {
        key: [f"{path}: {before} then, {after} now" for path, before, after in differences(*pair, key, text=_text)]
        for key, pair in pairs.items()
    }
    refused = [line for part in (*now["shape"], *_OF_AN_EPOCH) for line in found[part]]
    if refused and within_epoch:
        raise UserError(
            f"{stem}: lies within an epoch, and the run has changed ({'; '.join(refused)}); resume with what it was "
            "trained with, or from an epoch's end"
        )
    for line in (line for lines in found.values() for line in lines):
        log.warning("resumed run differs from the first one: %s", line)


def _compare_shares(then: Mapping[str, Any], now: Mapping[str, Any], stem: Any) -> None:
    backbones, before = list(_backbones(now["config"]["MODEL"])), list(_backbones(then["config"]["MODEL"]))
    # earlier versions note no share; it was 1/8 unless the configuration named another
    noted = then.get("shift_div") or [backbone.get("shift_div") or 8 for _, backbone in before]
    # of networks that are more or fewer than before the weights do not fit
    for (path, backbone), (_, earlier), old, new in zip(backbones, before, noted, now["shift_div"]):
        shifts = new is not None and backbone.get("shift", True) and earlier.get("shift", True)
        if shifts and old != new:
            raise UserError(
                f"{stem}: was trained with another share of shifted channels (shift_div: {old} then, {new} now); go on "
                f"with its own: -o {path}.shift_div={old}"
            )


def _backbones(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Key path, as ``-o`` takes it, and section of each network's backbone."""
    if "models" not in model:
        yield "MODEL.backbone", model.get("backbone") or {}
    for i, entry in enumerate(model.get("models", ())):
        for name, section in entry.items():
            yield f"MODEL.models.{i}.{name}.backbone", section.get("backbone") or {}


def compare_rates(then: float | None, now: float) -> None:
    """Logs that the next step has another rate than it would have had; ``then`` is None in points of older versions."""
    if then is not None and not math.isclose(then, now, rel_tol=1e-9):
        log.warning("resumed run differs from the first one: the rate of the next step: %g then, %g now", then, now)


def _at(config: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _text(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
