"""Writes files of ``torch.save`` without torch, in both forms, from the formats' descriptions."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage",
             "u2": "BFloat16Storage", "i1": "QInt8Storage"}  # fmt: skip


@dataclass
class Global:
    """Is pickled as the name of something that does not exist here."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError


@dataclass
class Tensor:
    """An array, or a cut of one by offset, shape and strides, as torch pickles it."""

    values: np.ndarray
    offset: int = 0
    shape: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None


class _Storage:
    def __init__(self, key, whole):
        self.key, self.whole, self.values = key, whole, whole.reshape(-1)


class _Pickler(pickle._Pickler):
    def __init__(self, stream):
        super().__init__(stream, protocol=2)
        self.storages = []

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        if not isinstance(obj, _Storage):
            return None
        kind = Global("torch", _STORAGES[obj.values.dtype.str[1:]])
        return "storage", kind, obj.key, "cpu", obj.values.size, None

    def reducer_override(self, obj):
        if not isinstance(obj, Tensor):
            return NotImplemented
        storage = next((s for s in self.storages if s.whole is obj.values), None)
        if storage is None:
            storage = _Storage(str(len(self.storages)), obj.values)
            self.storages.append(storage)
        shape = obj.values.shape if obj.shape is None else obj.shape
        strides = tuple(s // obj.values.itemsize for s in obj.values.strides) if obj.strides is None else obj.strides
        return Global("torch._utils", "_rebuild_tensor_v2"), (
            storage, obj.offset, shape, strides, False, OrderedDict(),
        )  # fmt: skip


def _object(content):
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(content)
    return stream.getvalue(), pickler.storages


def write_legacy(path, content):
    """What torch.save wrote before 1.6."""
    body, storages = _object(content)
    machine = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(value, protocol=2) for value in (MAGIC, PROTOCOL, machine)]
    parts += [body, pickle.dumps([storage.key for storage in storages], protocol=2)]
    for storage in storages:
        parts += [storage.values.size.to_bytes(8, "little"), storage.values.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def write_zip(path, content):
    """What torch.save writes since 1.6."""
    body, storages = _object(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/byteorder", b"little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.values.tobytes())
        archive.writestr("archive/version", b"3\n")
    return path


WRITERS = {"legacy": write_legacy, "zip": write_zip}
