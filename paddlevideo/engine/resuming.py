"""What a resumed run's configuration changes, said with old and new values."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paddlevideo.errors import UserError

log = logging.getLogger("paddlevideo")

# the parts of a configuration that decide what is trained and how
_COMPARED = (
    "epochs",
    "MODEL",
    "DATASET.batch_size",
    "PIPELINE.train",
    "MIX",
    "OPTIMIZER",
    "SWA.lr",
    "PRECISEBN",
    "EMA",
)
# those of them that decide on the batches of an epoch: within one they cannot change.  Rates and the like can: a lower
# rate or a clip is the way out of a loss that is not finite
_OF_AN_EPOCH = ("DATASET.batch_size", "PIPELINE.train", "MIX")


def compare_configs(then: Mapping[str, Any], now: Mapping[str, Any], within_epoch: bool, stem: Any) -> None:
    """Says one line for each changed key that training depends on.

    Args:
        then, now: whole configurations, the resume point's and this run's.
        within_epoch: the resume point lies within an epoch.
        stem: the resume point, for the message.

    Raises:
        UserError: the batches of the epoch that is resumed would be others.
    """
    found = {part: list(_differences(_at(then, part), _at(now, part), part)) for part in _COMPARED}
    refused = [line for part in _OF_AN_EPOCH for line in found[part]]
    if refused and within_epoch:
        raise UserError(
            f"{stem}: lies within an epoch, and its batches have changed ({'; '.join(refused)}); resume with what it "
            "was trained with, or from an epoch's end"
        )
    for line in (line for part in _COMPARED for line in found[part]):
        log.warning("resumed run differs from the first one: %s", line)


def compare_rates(then: float | None, now: float) -> None:
    """Says that the next step has another rate than it would have had; ``then`` is None in points of older versions."""
    if then is not None and not math.isclose(then, now, rel_tol=1e-9):
        log.warning("resumed run differs from the first one: the rate of the next step: %g then, %g now", then, now)


def _at(config: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _differences(then: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(then or {}, Mapping) and isinstance(now or {}, Mapping):
        then, now = then or {}, now or {}
        for key in [*then, *(key for key in now if key not in then)]:
            yield from _differences(then.get(key), now.get(key), f"{path}.{key}")
    elif _plain(then) != _plain(now):
        yield f"{path}: {_text(then)} then, {_text(now)} now"


def _plain(value: Any) -> Any:
    """Tuples as the lists that a JSON manifest makes of them."""
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _text(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
