"""Files that survive a crash and cannot run code: atomic writing, digests, and an allow-list unpickler.

``paddle.load`` runs whatever a crafted pickle asks for, so no file from outside goes through it.  A ``.pdparams`` file
is a pickle of numpy arrays; the few globals that such a file needs are listed here, and nothing else is ever looked up.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from paddlevideo.errors import UserError
from paddlevideo.video_files import address_scheme

# module -> names; numpy 2 renamed numpy.core to numpy._core, and files of both ages are read
_ALLOWED = {
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "collections": {"OrderedDict"},
    "_codecs": {"encode"},
}


class UnsafeFileError(UserError):
    """The file asks for something that data never needs; it was not executed."""


class DamagedFileError(UserError):
    """The file is truncated or does not match its digest."""


class _AllowListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            if name == "_reconstruct":
                return _reconstruct
            return super().find_class(module, name)
        raise UnsafeFileError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafeFileError(f"persistent object {pid!r}")


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> Any:
    """numpy's array shell.  An honest pickle always asks for an empty one; a large shape is a memory bomb."""
    import numpy as np

    if subtype is not np.ndarray or tuple(shape) != (0,):
        raise UnsafeFileError(f"an array shell of shape {shape}")
    return np.ndarray.__new__(subtype, shape, dtype)


def read_pickle(path: str | os.PathLike) -> Any:
    """Reads a pickle that holds numpy arrays, containers, strings and numbers, and nothing else.

    Raises:
        UserError: the file is missing.
        UnsafeFileError: the file names a class or function outside the allow-list; nothing of it was run.
        DamagedFileError: the file cannot be read to its end.
    """
    path = Path(path)
    if not path.is_file():
        address = "; it is an address: download it first" if address_scheme(path) else ""
        raise UserError(f"{path}: no such file{address}")
    try:
        with path.open("rb") as stream:
            return _AllowListUnpickler(stream, encoding="latin1").load()
    except UnsafeFileError as error:
        raise UnsafeFileError(
            f"{path}: refused, because it asks for {error}, which weights never need; "
            "nothing was run. Get the file from its publisher again"
        ) from None
    except Exception as error:  # a damaged pickle fails in about ten different ways
        raise DamagedFileError(
            f"{path}: damaged or not a pickle of arrays ({type(error).__name__}: {error})"
        ) from error


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomic(path: str | os.PathLike, write: bytes | str | Callable[[BinaryIO], None]) -> str:
    """Writes a file that is either whole or not there: temporary file beside it, fsync, rename.

    Args:
        path: where the file shall stand.
        write: the content, or a function that writes it to an open binary stream.

    Returns:
        The sha256 of what was written.

    Raises:
        UserError: the disk is full or the folder cannot be written to; an older file at ``path`` is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            if callable(write):
                write(stream)
            else:
                stream.write(write.encode() if isinstance(write, str) else write)
            stream.flush()
            os.fsync(stream.fileno())
        digest = sha256(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); what stood there is untouched"
        ) from error
    except BaseException:  # whatever the writer itself stumbled over, or Ctrl-C
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return digest


def write_pickle(path: str | os.PathLike, value: Any) -> str:
    """Writes numpy arrays in containers as a pickle that ``paddle.load`` reads; atomic.  Returns the sha256."""
    buffer = io.BytesIO()
    pickle.dump(value, buffer, protocol=4)
    return write_atomic(path, buffer.getvalue())


def sweep_temporary(folder: str | os.PathLike) -> None:
    """Removes what a killed writer left behind in ``folder``."""
    for leftover in Path(folder).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # the rename itself lives in the folder's entry; some file systems do not allow it to be synced
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
