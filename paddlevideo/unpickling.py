"""Pickles of arrays, read by an allow-list: an unpickler that has no instruction that could run code or forge memory.

``pickle``'s instructions are interpreted one by one.  A table of names leads to functions of this module and to nothing
else, and these make arrays of plain numbers, truth values and texts from bytes that the file holds.  So neither objects
from raw bytes nor types with fields come into being, and no array is larger than its file.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from paddlevideo.errors import DamagedFileError, UnsafeFileError

_PLAIN_CHARACTERS = frozenset("?bhilqBHILQefdFD")
_DTYPE_TEXT = re.compile(r"[<>|=]?[?a-zA-Z]\d{0,9}")
_MAX_DEPTH = 64
_MAX_VALUES = 50_000_000
_MANY = 1 << 16  # a read of as many bytes is worth a look at how many there are
_SHARING = 4  # all that is built may take as many times the file's size: one storage may be several tensors
_SLACK = 1 << 20
# not INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT*, sets (huge when empty) and buffers that a file does not hold
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT
    BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT
    DICT SETITEM SETITEMS GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD
    PERSID BINPERSID
"""
_PARTS = (str, int, float, bool, type(None), bytes, np.generic)  # of keys


class Function:
    """The replacement of a global that may be called."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable):
        self.name, self.call = name, call


class _Instructions(dict):
    def __missing__(self, code: int) -> Callable:
        if code in pickle._Unpickler.dispatch:
            raise UnsafeFileError(f"pickle's instruction {bytes([code])!r}")
        raise DamagedFileError(f"byte {code} is no instruction of pickle")


class AllowListUnpickler(pickle._Unpickler):
    """Reads arrays, containers, strings and numbers.

    Args:
        stream: a seekable stream at the beginning of the pickle.
        size: bytes of the file; no array is larger, and all together are at most a few times as large.
    """

    dispatch = _Instructions(
        {
            code: pickle._Unpickler.dispatch[code]
            for (code,) in (getattr(pickle, name) for name in _INSTRUCTIONS.split())
        }
    )

    def __init__(self, stream: BinaryIO, size: int):
        super().__init__(_Bounded(stream, size), encoding="latin1")
        self._size, self._left = size, _SHARING * size + _SLACK
        self._unbuilt: dict[int, Any] = {}  # arrays and number types whose state follows
        self._globals = self.functions()

    def functions(self) -> dict[str, Function]:
        """Global -> its replacement."""
        numpy2 = {f"{core}.{name}": call for core in ("numpy.core", "numpy._core") for name, call in (
            ("multiarray._reconstruct", self._shell), ("multiarray.scalar", self._scalar),
            ("numeric._frombuffer", self._frombuffer),
        )}  # fmt: skip
        table = {
            "numpy.ndarray": self._ndarray, "numpy.dtype": self._dtype, "collections.OrderedDict": _ordered,
            "_codecs.encode": self._encode, "__builtin__.bytes": _no_bytes, "builtins.bytes": _no_bytes,
        }  # fmt: skip
        return {name: Function(name, call) for name, call in (numpy2 | table).items()}

    def load(self) -> Any:
        """The object.

        Raises:
            UnsafeFileError: it needs a class or function that data never needs.
            DamagedFileError: it is larger than its file.
        """
        value = super().load()
        _check_tree(value, min(8 * self._size + 1000, _MAX_VALUES))
        return value

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._globals[f"{module}.{name}"]
        except KeyError:
            raise UnsafeFileError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafeFileError(f"persistent object {pid!r:.80}")

    def spend(self, count: int, what: str) -> None:
        """Takes the bytes of an object that is about to be made from what the file may hold."""
        self._left -= count
        if count > self._size or self._left < 0:
            raise DamagedFileError(f"{what} is larger than the file allows ({count} bytes, the file has {self._size})")

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    # instructions that act on objects: on those that this class has made, and in one way

    def load_append(self) -> None:
        value = self.stack.pop()
        _of_kind(self.stack[-1], list).append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()
        _of_kind(self.stack[-1], list).extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _of_kind(self.stack[-1], dict, OrderedDict)[_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        table = _of_kind(self.stack[-1], dict, OrderedDict)
        for i in range(0, len(items), 2):
            table[_key(items[i])] = items[i + 1]

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(items[i]): items[i + 1] for i in range(0, len(items), 2)})

    def load_reduce(self) -> None:
        arguments = _of_kind(self.stack.pop(), tuple)
        function = self.stack[-1]
        if not isinstance(function, Function):
            raise UnsafeFileError(f"a call of {type(function).__name__}")
        try:
            self.stack[-1] = function.call(*arguments)
        except TypeError as error:
            raise DamagedFileError(f"{function.name}: {error}") from None

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if type(value) is OrderedDict:  # torch's _metadata of a state dict
            return
        if self._unbuilt.pop(id(value), None) is None:
            raise UnsafeFileError(f"a state for {type(value).__name__}")
        build = _build_dtype if isinstance(value, np.dtype) else self._build_array
        build(value, _of_kind(state, tuple))

    for _code, _method in {
        pickle.APPEND: load_append, pickle.APPENDS: load_appends, pickle.SETITEM: load_setitem, pickle.DICT: load_dict,
        pickle.SETITEMS: load_setitems, pickle.REDUCE: load_reduce, pickle.BUILD: load_build,
        pickle.BYTEARRAY8: load_bytearray8,
    }.items():  # fmt: skip
        dispatch[_code[0]] = _method
    del _code, _method

    # what replaces the globals

    def _dtype(self, text: Any, align: Any = False, copy: Any = True) -> np.dtype:
        value = plain_dtype(text)
        self._unbuilt[id(value)] = value
        return value

    def _ready(self, value: Any) -> np.dtype:
        """A number type that no state changes any more."""
        if isinstance(value, str | bytes):
            return plain_dtype(value)
        if not isinstance(value, np.dtype):
            raise UnsafeFileError(f"an array of {type(value).__name__}")
        self._unbuilt.pop(id(value), None)
        return value

    def _shell(self, kind: Any, shape: Any, code: Any) -> np.ndarray:
        """A regular pickle makes an empty array here, whose state follows."""
        if kind is not self._globals["numpy.ndarray"] or shape != (0,):
            raise UnsafeFileError(f"an array shell of shape {shape!r:.80}")
        value = np.ndarray((0,), "b")
        self._unbuilt[id(value)] = value
        return value

    def _build_array(self, value: np.ndarray, state: tuple) -> None:
        shape, kind, fortran, content = state[-4:]
        kind = self._ready(kind)
        content = _bytes(content)
        self._fits(shape, kind, content)
        value.__setstate__((1, shape, kind, bool(fortran), content))

    def _ndarray(self, shape: Any, kind: Any, content: Any) -> np.ndarray:
        kind, content = self._ready(kind), _bytes(content)
        self._fits(shape, kind, content)
        return np.ndarray(shape, kind, content)

    def _frombuffer(self, content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
        kind, content = self._ready(kind), _bytes(content)
        self._fits(shape, kind, content)
        return np.ndarray(shape, kind, content, order="F" if order == "F" else "C")

    def _scalar(self, kind: Any, content: Any) -> np.generic:
        kind, content = self._ready(kind), _bytes(content)
        self._fits((), kind, content)
        return np.ndarray((), kind, content)[()]

    def _fits(self, shape: Any, kind: np.dtype, content: bytes | bytearray) -> None:
        if type(shape) is not tuple or any(type(side) is not int or side < 0 for side in shape):
            raise DamagedFileError(f"an array of shape {shape!r:.80}")
        if math.prod(shape) * kind.itemsize != len(content):
            raise DamagedFileError(f"an array {list(shape)} of {kind} with {len(content)} bytes")
        self.spend(len(content), f"an array {list(shape)}")

    def _encode(self, text: Any, coding: Any) -> bytes:
        """How protocol 2 holds bytes."""
        if type(text) is not str or coding != "latin1":
            raise UnsafeFileError(f"_codecs.encode({type(text).__name__}, {coding!r:.20})")
        self.spend(len(text), "a text")
        return text.encode("latin1")


class _Bounded:
    """A stream that gives as many bytes as there are, without making room for more."""

    def __init__(self, stream: BinaryIO, size: int):
        self._stream, self._size, self.readline = stream, size, stream.readline

    def read(self, count: int) -> bytes:
        if count > _MANY and count > self._size - self._stream.tell():
            raise DamagedFileError(f"{count} bytes are announced, the file ends before")
        return self._stream.read(count)


def plain_dtype(text: Any) -> np.dtype:
    """An own copy of a plain type of numbers, truth values or texts.

    Raises:
        UnsafeFileError: another type.
    """
    text = text.decode("latin1") if type(text) is bytes else text
    if type(text) is not str or not _DTYPE_TEXT.fullmatch(text):
        raise UnsafeFileError(f"the number type {text!r:.80}")
    try:
        value = np.dtype(text, copy=True)
    except (TypeError, ValueError):
        raise UnsafeFileError(f"the number type {text!r:.80}") from None
    if not is_plain(value):
        raise UnsafeFileError(f"the number type {text!r:.80}")
    return value


def is_plain(kind: np.dtype) -> bool:
    """Whether a type is of numbers, truth values or texts: no objects, no fields, no rows."""
    simple = kind.names is None and kind.subdtype is None and not kind.hasobject
    return simple and (kind.char in _PLAIN_CHARACTERS or kind.kind in "SU")


def _build_dtype(value: np.dtype, state: tuple) -> None:
    """A state may change nothing but the byte order."""
    version, order, *rest = state
    sizes = ((-1, -1), (value.itemsize, value.alignment))
    plain = tuple(rest[:3]) == (None, None, None) and tuple(rest[3:5]) in sizes and len(rest) == 6
    if version not in (3, 4) or order not in ("<", ">", "|", "=") or not plain:
        raise UnsafeFileError(f"the number type {value} with the state {state!r:.80}")
    value.__setstate__((3, order, None, None, None, *(sizes[value.kind in "SU"]), value.flags))


def _bytes(content: Any) -> bytes | bytearray:
    if type(content) is str:  # written by Python 2
        return content.encode("latin1")
    return _of_kind(content, bytes, bytearray)


def _of_kind(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise UnsafeFileError(f"a {type(value).__name__} where a {kinds[0].__name__} is expected")
    return value


def _key(key: Any) -> Any:
    """A key that hashes fast: nested tuples would end the process, and huge numbers may collide."""
    parts = key if type(key) is tuple else (key,)
    if not all(isinstance(part, _PARTS) and not (isinstance(part, int) and abs(part) >> 60) for part in parts):
        raise UnsafeFileError(f"a key of {type(key).__name__}")
    return key


def _ordered(items: Any = ()) -> OrderedDict:
    return OrderedDict((_key(key), value) for key, value in items)


def _no_bytes(*arguments: Any) -> bytes:
    """How protocol 2 holds no bytes."""
    if arguments:
        raise UnsafeFileError("bytes by their number")
    return b""


def _check_tree(value: Any, most: int) -> None:
    """Raises if something is not data, or if containers hold others too often, or themselves."""
    left = most
    level = [value]
    for _ in range(_MAX_DEPTH):
        left -= len(level)
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict or kind is OrderedDict:
                below += item.values()
            elif kind is list or kind is tuple:
                below += item
            elif isinstance(item, np.ndarray | np.generic):
                if not is_plain(item.dtype):
                    raise UnsafeFileError(f"an array of {item.dtype}")
            elif not isinstance(item, (*_PARTS, bytearray, np.dtype)):
                raise UnsafeFileError(f"a {kind.__name__} without arguments")
            if len(below) > left:
                raise DamagedFileError("its containers hold one another too often")
        if not below:
            return
        level = below
    raise DamagedFileError(f"its containers are nested more than {_MAX_DEPTH} levels deep")
