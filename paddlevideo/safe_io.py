"""Files that survive a crash and cannot run code: atomic writing, digests, and an allow-list unpickler.

``paddle.load`` runs whatever a crafted pickle asks for, so no file from outside goes through it.  A ``.pdparams`` file
is a pickle of numpy arrays, which ``unpickling`` reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from paddlevideo.errors import DamagedFileError, UnsafeFileError, UserError
from paddlevideo.unpickling import AllowListUnpickler

# torch.save before 1.6 wrote the number 0x1950a86a20f9469cfc6c as a pickle of protocol 2, and others behind it
_TORCH_LEGACY = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
_ZIP = b"PK\x03\x04"


def file_form(path: str | os.PathLike) -> str:
    """What a file is by its first bytes: "torch legacy", "zip" (what torch.save writes since 1.6), "pickle" or "".

    Raises:
        UserError: the file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(len(_TORCH_LEGACY))
    if head == _TORCH_LEGACY:
        return "torch legacy"
    if head.startswith(_ZIP):
        return "zip"
    return "pickle" if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL else ""


def read_pickle(path: str | os.PathLike) -> Any:
    """Reads a pickle that holds numpy arrays, containers, strings and numbers, and nothing else.

    Raises:
        UserError: the file is missing, or one of ``torch.save``.
        UnsafeFileError: the file names a class or function outside the allow-list; nothing of it was run.
        DamagedFileError: the file cannot be read to its end, or something follows the pickle.
    """
    path = Path(path)
    if file_form(path) in ("torch legacy", "zip"):
        raise UserError(
            f"{path}: is a file of PyTorch or another archive, expected a pickle of arrays; tools/convert_weights.py "
            "converts weights"
        )
    with reading_untrusted(path), path.open("rb") as stream:
        content = AllowListUnpickler(stream, path.stat().st_size).load()
        rest = path.stat().st_size - stream.tell()
        if rest:
            raise DamagedFileError(f"{rest} bytes follow the end of the pickle")
        return content


@contextlib.contextmanager
def reading_untrusted(path: Path, way_out: str = "Get the file from its publisher again") -> Iterator[None]:
    """Turns whatever reading a damaged or crafted file raises into one line that names the file.

    An ``UnsafeFileError`` within names what was asked for, a ``DamagedFileError`` what is wrong; other ``UserError``s
    are whole.
    """
    try:
        yield
    except UnsafeFileError as error:
        raise UnsafeFileError(
            f"{path}: refused, because it asks for {error}, which weights never need; nothing was run. {way_out}"
        ) from None
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: damaged, or a file of another kind ({error})") from None
    except UserError:
        raise
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
