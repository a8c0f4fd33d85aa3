"""Files of ``torch.save`` as numpy arrays, without torch: an allow-list unpickler, and storages that the file holds.

Two forms exist.  The zip archive (since torch 1.6) holds ``NAME/data.pkl`` and a member ``NAME/data/KEY`` per storage,
not compressed.  The legacy form is a row of pickles: a magic number, the protocol's version, facts about the machine,
the object, the keys of its storages; then, per key, the number of values as int64 and the values.  In both, the object
names a storage by ("storage", type, key, device, number of values) and a tensor by storage, offset, shape and strides.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.safe_io import DamagedFileError, UnsafeFileError, file_form, reading
from paddlevideo.unpickling import AllowListUnpickler, Function

_BFLOAT16 = "bfloat16"
# numpy's types of torch's storages, little-endian
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
_QUANTISED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
_PROTOCOL = 1001


class _StorageType(str):
    """The numpy type of a storage class of torch."""


class _Unpickler(AllowListUnpickler):
    """Reads the object of a file of ``torch.save``; tensors become arrays.

    Args:
        stream: at the beginning of the object's pickle.
        size: bytes of the file.
        read: (key, number of values, bytes of a value) -> a storage's bytes; where it gives None, tensors are None.
        path: the file, for messages.
    """

    def __init__(self, stream: BinaryIO, size: int, read: Callable[[str, int, int], bytes | None], path: Path):
        super().__init__(stream, size)
        self._read, self._path = read, path
        self._storages: dict[str, np.ndarray | None] = {}

    def functions(self) -> dict[str, Function]:
        """Global -> its replacement."""
        calls = {
            "torch.Size": tuple, "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor, "torch._utils._rebuild_parameter": _data,
        }  # fmt: skip
        return super().functions() | {name: Function(name, call) for name, call in calls.items()}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_qtensor") or (module == "torch" and name in _QUANTISED):
            raise UserError(f"{self._path}: holds quantised numbers, which cannot be converted; take float weights")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> np.ndarray | None:
        if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType):
            raise UnsafeFileError(f"persistent object {pid!r:.80}")
        kind, key, count, view = pid[1], pid[2], pid[4], pid[5] if len(pid) > 5 else None
        if type(key) is not str or type(count) is not int or count < 0:
            raise DamagedFileError(f"storage {key!r:.80} of {count!r:.80} values")
        if key not in self._storages:
            number = np.dtype("<u2" if kind == _BFLOAT16 else kind)
            content = self._read(key, count, number.itemsize)
            self.spend(0 if content is None else len(content), f"storage {key!r:.80}")  # members of a zip may overlap
            flat = None if content is None else np.frombuffer(content, number)
            if flat is not None and kind == _BFLOAT16:
                flat = (flat.astype("<u4") << 16).view("<f4")
            self._storages[key] = flat
        whole = self._storages[key]
        return whole if view is None or whole is None else whole[view[1] : view[1] + view[2]]

    def _tensor(
        self, storage: np.ndarray | None, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
    ) -> np.ndarray | None:
        """An array of its own; it is never larger than what it is cut from."""
        if storage is None:
            return None
        shape, strides = tuple(shape), tuple(strides)
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or any(type(n) is not int for n in numbers):
            raise DamagedFileError(f"a tensor {list(shape)!s:.80} of no storage")
        count = math.prod(shape)
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
        if min(numbers) < 0 or count > storage.size or (count and last >= storage.size):
            raise DamagedFileError(f"a tensor {list(shape)} reaches beyond the {storage.size} values of its storage")
        self.spend(count * storage.itemsize, f"a tensor {list(shape)}")
        if count == 0:
            return np.zeros(shape, storage.dtype)
        steps = [stride * storage.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()


def _data(data: np.ndarray | None, *_: Any) -> np.ndarray | None:
    return data


def is_torch_file(path: str | os.PathLike) -> bool:
    """Whether a file has one of the two forms of ``torch.save``."""
    return file_form(path) in ("torch legacy", "zip")


def read_torch(path: str | os.PathLike) -> Any:
    """What a file of ``torch.save`` holds, its tensors as arrays (bfloat16 as float32); nothing of it is run.

    Raises:
        UserError: the file is missing, or in neither of the two forms.
        UnsafeFileError: it names a class or function that weights never need.
        DamagedFileError: it is damaged.
    """
    path = Path(path)
    form = file_form(path)
    way_out = "if you trust it, save the weights alone where it was made: model.state_dict()"
    with reading(path, "a file of weights", way_out):
        if form == "torch legacy":
            return _read_legacy(path)
        if form == "zip":
            return _read_zip(path)
    raise UserError(f"{path}: is no file of torch.save")


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        objects = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(objects) != 1:
            raise UserError(f"{path}: is a zip archive, but not of torch.save; expected one data.pkl in it")
        folder = objects[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise UserError(f"{path}: is a program (torch.jit), expected weights: torch.save(model.state_dict(), ...)")
        order = archive.getinfo(f"{folder}byteorder") if f"{folder}byteorder" in names else None
        if order is not None and (order.file_size != len("little") or archive.read(order) != b"little"):
            raise UserError(f"{path}: was written on a big-endian machine, which cannot be read")

        def read(key: str, count: int, size: int) -> bytes:
            member = archive.getinfo(f"{folder}data/{key}")
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != count * size:
                raise DamagedFileError(f"storage {key} has {member.file_size} bytes, expected {count * size}")
            return archive.read(member)

        if archive.getinfo(objects[0]).compress_type != zipfile.ZIP_STORED:
            raise DamagedFileError("its object is compressed")
        stream = io.BytesIO(archive.read(objects[0]))
        return _Unpickler(stream, path.stat().st_size, read, path).load()


def _read_legacy(path: Path) -> Any:
    storages: dict[str, tuple[int, int]] = {}  # number of values, bytes of a value
    places: dict[str, int] = {}
    with path.open("rb") as stream, path.open("rb") as data:

        def note(key: str, count: int, size: int) -> None:
            storages[key] = count, size

        def read(key: str, count: int, size: int) -> bytes:
            data.seek(places[key])
            return data.read(count * size)

        total = path.stat().st_size
        _, version, machine = (AllowListUnpickler(stream, total).load() for _ in range(3))
        if version != _PROTOCOL:
            raise UserError(f"{path}: has version {version} of torch's format, expected {_PROTOCOL}")
        if not machine["little_endian"]:
            raise UserError(f"{path}: was written on a big-endian machine, which cannot be read")
        begin = stream.tell()
        _Unpickler(stream, total, note, path).load()  # the storages follow the object: their offsets first
        for key in AllowListUnpickler(stream, total).load():
            count, size = storages[key]
            stored = int.from_bytes(stream.read(8), "little")
            places[key] = stream.tell()
            if stored != count or places[key] + count * size > total:
                raise DamagedFileError(f"storage {key} has {stored} values, expected {count}, inside of the file")
            stream.seek(count * size, os.SEEK_CUR)
        if stream.tell() != total:
            raise DamagedFileError(f"{total - stream.tell()} bytes follow its last storage")
        stream.seek(begin)
        return _Unpickler(stream, total, read, path).load()
