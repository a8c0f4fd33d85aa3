"""Counts reads of tensors by the host, each of which waits for a device."""

from __future__ import annotations

import paddle
import pytest

# tolist and __array__ are by numpy
_READS = ("numpy", "item", "__float__", "__int__", "__bool__", "__index__")


def count_reads(patch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by the name of the method at every read."""
    reads: list[str] = []
    for name in _READS:
        method = getattr(paddle.Tensor, name)

        def counted(tensor, *arguments, _method=method, _name=name):
            depth = len(reads)
            result = _method(tensor, *arguments)
            del reads[depth:]  # one read, by whatever methods it is made
            reads.append(_name)
            return result

        patch.setattr(paddle.Tensor, name, counted)
    return reads
