"""Arrays of numbers that must all be finite, before they are written and after they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from paddlevideo.errors import UserError


class NonFiniteError(UserError):
    """Arrays that hold NaN or infinity where weights are expected."""


def non_finite(content: Any, name: str = "") -> Iterator[str]:
    """The names of the arrays in nested mappings that hold NaN or infinity, in order; uint16 is read as bfloat16."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from non_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, np.ndarray):
        exponents = content & np.uint16(0x7F80) if content.dtype == np.uint16 else None
        sound = np.isfinite(content).all() if exponents is None else (exponents != 0x7F80).all()
        if not sound:
            yield name


def refuse_non_finite(content: Any, what: object, way_out: str) -> None:
    """Lets arrays of finite numbers pass.

    Args:
        content: arrays in nested mappings.
        what: the file or network, for the message.
        way_out: the end of the message.

    Raises:
        NonFiniteError: an array holds NaN or infinity.
    """
    names = list(non_finite(content))
    if names:
        hold = "1 array holds" if len(names) == 1 else f"{len(names)} arrays hold"
        raise NonFiniteError(f"{what}: {hold} NaN or infinity (first: {names[0]}); {way_out}")
