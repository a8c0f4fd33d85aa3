"""Counts what makes the host wait for a device: reads of tensors, copies to the CPU, and operators whose result's shape
depends on values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest

# tolist and __array__ are by numpy
_READS = ("numpy", "item", "__float__", "__int__", "__bool__", "__index__", "__complex__", "cpu", "__dlpack__")
_OF_VALUES = ("nonzero", "restrict_nonzero", "masked_select", "unique", "unique_consecutive", "bincount",
              "int_bincount", "repeat_interleave_with_tensor_index")  # fmt: skip


def _to_host(*arguments: Any, **named: Any) -> bool:
    return any(
        isinstance(value, paddle.CPUPlace) or (isinstance(value, str) and value.lower().startswith("cpu"))
        for value in (*arguments, *named.values())
    )


def _masks(index: Any, *_: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, paddle.Tensor | np.ndarray) and "bool" in str(part.dtype) for part in parts)


def count_reads(patch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by the name of the method or operator at every read."""
    reads: list[str] = []

    def count(owner: Any, name: str, reads_host: Callable[..., bool] | None = None) -> None:
        method = getattr(owner, name)

        def counted(*arguments, **named):
            depth = len(reads)
            result = method(*arguments, **named)
            if reads_host is None or reads_host(*arguments[1:], **named):
                del reads[depth:]  # one read, by whatever methods it is made
                reads.append(name)
            return result

        patch.setattr(owner, name, counted)

    for name in _READS:
        count(paddle.Tensor, name)
    for name in ("to", "_to", "_copy_to"):
        count(paddle.Tensor, name, _to_host)
    for name in ("__getitem__", "__setitem__"):
        count(paddle.Tensor, name, _masks)
    for name in _OF_VALUES:
        count(paddle._C_ops, name)
    count(paddle.utils.dlpack, "to_dlpack")
    return reads
