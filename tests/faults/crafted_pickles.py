"""Pickles that no honest program writes: they call code, forge memory, or grow when they are read."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class Call:
    """Is pickled as a call of this function with these arguments."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payloads(marker: Path) -> Iterator[tuple[str, object]]:
    """Objects whose pickles call something; most would create ``marker``."""
    import builtins
    import functools
    import operator
    import shutil
    import subprocess

    touch = f"touch {marker}"
    yield "os.system", Call(os.system, touch)
    yield "subprocess", Call(subprocess.call, ["touch", str(marker)])
    yield "subprocess.Popen", Call(subprocess.Popen, ["touch", str(marker)])
    yield "exec", Call(builtins.exec, f"open({str(marker)!r}, 'w')")
    yield "eval", Call(builtins.eval, f"open({str(marker)!r}, 'w')")
    yield "open", Call(builtins.open, str(marker), "w")
    yield "getattr", Call(builtins.getattr, "text", "upper")
    yield "copyfile", Call(shutil.copyfile, __file__, str(marker))
    yield "mkdir", Call(os.mkdir, str(marker))
    yield "partial", Call(functools.partial, os.system, touch)
    yield "methodcaller", Call(operator.methodcaller, "system", touch)
    yield "nested", {"weight": np.ones(2), "more": [Call(os.system, touch)]}
    yield "numpy.load", Call(np.load, str(marker))
    yield "numpy.fromfile", Call(np.fromfile, str(marker))
    yield "import", Call(builtins.__import__, "os")


class Global:
    """Is pickled as a module's name, and called with the arguments if there are any."""

    def __init__(self, name: str, *arguments: object, states: tuple = ()):
        self.module, _, self.name = name.rpartition(".")
        self.arguments, self.states = arguments, states


class _Pickler(pickle._Pickler):
    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Global):
            return super().save(obj, save_persistent_id)
        self.write(f"c{obj.module}\n{obj.name}\n".encode())
        if obj.arguments:
            self.save(obj.arguments)
            self.write(b"R")
        for state in obj.states:
            self.save(state)
            self.write(b"b")


def dump(value: object) -> bytes:
    """Protocol 3 without memo marks of ``Global``s."""
    import io

    stream = io.BytesIO()
    _Pickler(stream, protocol=3).dump(value)
    return stream.getvalue()


def dtype(text: object, *state: object) -> Global:
    """numpy.dtype(text), then BUILD with the state."""
    return Global("numpy.dtype", text, False, True, states=(state,) if state else ())


def array(shape: tuple, kind: object, content: object) -> Global:
    """numpy.ndarray(shape, dtype, buffer)."""
    return Global("numpy.ndarray", shape, kind, content)


def rebuilt(shape: tuple, kind: object, content: object, times: int = 1) -> Global:
    """numpy's own form: an empty shell, and BUILD with a state."""
    shell = (Global("numpy.ndarray"), (0,), b"b")
    return Global("numpy.core.multiarray._reconstruct", *shell, states=((1, shape, kind, False, content),) * times)


_FIELD = {"a": (dtype("O8"), 0)}
_FAR = {"a": (dtype("f8"), 1 << 20)}
_POINTER = b"A" * 8

# what forges memory: name -> object
FORGED: dict[str, object] = {
    "ndarray of objects from bytes": array((1,), "O", _POINTER),
    "ndarray of dtype O from bytes": array((1,), dtype("O8"), _POINTER),
    "dtype state with an object field": array((1,), dtype("V8", 3, "|", None, ("a",), _FIELD, 8, 1, 0), _POINTER),
    "dtype state with a field outside": array((1,), dtype("V8", 3, "|", None, ("a",), _FAR, 8, 1, 0), _POINTER),
    "dtype state with another size": array((1,), dtype("S8", 3, "|", None, None, None, 1 << 30, 1, 0), _POINTER),
    "dtype state with a subarray": array((1,), dtype("V8", 3, "|", (dtype("O8"), (1,)), None, None, 8, 1, 0), _POINTER),
    "dtype state with the object flag off": array((1,), dtype("O8", 3, "|", None, None, None, 8, 8, 0), _POINTER),
    "dtype of a list of fields": array((1,), dtype([("a", "O")]), _POINTER),
    "dtype of a text of fields": array((1,), dtype("O,O"), b"A" * 16),
    "reconstruct with objects as bytes": rebuilt((1,), dtype("O8"), _POINTER),
    "reconstruct with an object field": rebuilt((1,), dtype("V8", 3, "|", None, ("a",), _FIELD, 8, 1, 0), _POINTER),
    "reconstruct with objects as a list": rebuilt((1,), dtype("O8"), [1]),
    "reconstruct beyond its bytes": rebuilt((1 << 20,), dtype("f8"), _POINTER),
    "scalar of an object field": Global(
        "numpy.core.multiarray.scalar", dtype("V8", 3, "|", None, ("a",), _FIELD, 8, 1, 0), _POINTER
    ),
    "scalar of objects": Global("numpy.core.multiarray.scalar", dtype("O8"), 1),
    "scalar beyond its bytes": Global("numpy.core.multiarray.scalar", dtype("S4096"), _POINTER),
    "frombuffer of objects": Global("numpy.core.numeric._frombuffer", _POINTER, dtype("O8"), (1,), "C"),
    "frombuffer with an object field": Global(
        "numpy.core.numeric._frombuffer", _POINTER, dtype("V8", 3, "|", None, ("a",), _FIELD, 8, 1, 0), (1,), "C"
    ),
    "frombuffer of a number": Global("numpy.core.numeric._frombuffer", 8, dtype("f8"), (1,), "C"),
    "ndarray with strides": Global("numpy.ndarray", (4,), "f8", b"A" * 32, 0, (1 << 20,)),
    "a state for a function": Global("numpy.ndarray", states=((None, {"__doc__": "x"}),)),
    "an array that is built twice": rebuilt((8,), dtype("u1"), _POINTER, times=2),
    "a class that is built without a call": Global("numpy.dtype"),
}  # fmt: skip


def _hex_chain() -> bytes:
    """A text of 64 bytes, encoded as hex 25 times: 2 GiB."""
    chain: object = b"x" * 64
    for _ in range(25):
        chain = Global("_codecs.encode", chain, "hex")
    return dump(chain)


def _shared_text() -> bytes:
    """A text of 64 KiB, encoded 40,000 times: 2.6 GB."""
    again = b"h\x01h\x00\x8c\x06latin1\x86R"
    text = b"\x80\x04c_codecs\nencode\nq\x010X" + struct.pack("<I", 1 << 16) + b"x" * (1 << 16) + b"q\x000]("
    return text + again * 40_000 + b"e."


def _colliding_keys() -> bytes:
    """A dictionary of 40,000 multiples of 2**61 - 1, which all have the hash 0; Python would take 18 s to make it."""
    keys = ((k * ((1 << 61) - 1)).to_bytes(10, "little") for k in range(40_000))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0a" + key + b"K\x00" for key in keys) + b"u."


# what grows or never ends: name -> bytes of the file
BOMBS: dict[str, bytes] = {
    "an array of objects without bytes": dump(Global("numpy.ndarray", (400_000_000,), "O")),
    "an array of numbers without bytes": dump(Global("numpy.ndarray", (1 << 34,), "u1")),
    "an array shell": dump(Global("numpy.core.multiarray._reconstruct", Global("numpy.ndarray"), (1 << 33,), b"b")),
    "a scalar without bytes": dump(Global("numpy.core.multiarray.scalar", dtype("V2000000000"))),
    "a text scalar without bytes": dump(Global("numpy.core.multiarray.scalar", dtype("U500000000"))),
    "a chain of hex": _hex_chain(),
    "one text encoded often": _shared_text(),
    "bytes beyond the file": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 33) + b"x.",
    "a frame beyond the file": b"\x80\x04\x95" + struct.pack("<Q", 1 << 33) + b"N.",
    "bytes by their number": dump(Global("builtins.bytes", 1 << 33)),
    "nested tuples as a key": b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"Ns.",
    "nested lists": b"\x80\x02]" + b"]" * 200_000 + b"a" * 200_000 + b".",
    "lists of lists of lists": b"\x80\x02]" + b"".join(
        b"q" + bytes([i]) + b"0](" + (b"h" + bytes([i])) * 9 + b"e" for i in range(60)
    ) + b".",
    "a list that holds itself": b"\x80\x02]q\x00(h\x00h\x00e.",
    "numbers that fall together as keys": _colliding_keys(),
}  # fmt: skip
