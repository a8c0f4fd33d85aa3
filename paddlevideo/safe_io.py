"""Files that survive a crash and cannot run code: atomic writing, digests, and an allow-list unpickler.

``paddle.load`` runs the calls of a crafted pickle, so no file from outside is read with it.  A ``.pdparams`` file
is a pickle of numpy arrays, which ``unpickling`` reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pickle
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from paddlevideo.errors import DamagedFileError, UnsafeFileError, UserError, printable
from paddlevideo.unpickling import AllowListUnpickler, is_plain

# torch.save before 1.6 wrote the number 0x1950a86a20f9469cfc6c as a pickle of protocol 2, and others after it
_TORCH_LEGACY = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
_ZIP = b"PK\x03\x04"
_NPY_HEADERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
_PICKLE, _AGAIN = "a pickle of arrays", "get the file from its publisher again"
# what an .npz may unpack to: so many bytes, or so many times its own
_MIN_UNPACKED, _RATIO = 1 << 26, 20
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{1,2}[^/]")  # a Path makes one slash of two
_SCHEMES = frozenset({"ftp", "http", "https", "mms", "rtmp", "rtmps", "rtp", "rtsp", "s3", "srt", "udp"})


def address_scheme(name: str | os.PathLike) -> str | None:
    """``http``, ``rtsp``, ... if the name is an address; None: it is a path."""
    match = _ADDRESS.match(os.fspath(name))
    return match[1].lower() if match and match[1].lower() in _SCHEMES else None


def instead_of_a_file(path: str | os.PathLike) -> str:
    """What is at a path that is no regular file, for messages."""
    path = os.fspath(path)
    if address_scheme(path):
        return "no such file; it is an address, and only files are read: download it first"
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if re.fullmatch(r"\d+", path):
            return "no such file; a number names a camera elsewhere, cameras are not read here"
        other = path.replace("\\", "/")
        if other != path and os.path.exists(other):
            return f"no such file, but {printable(other)} is there: write paths with /"
        return "no such file"
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe (FIFO)", stat.S_ISSOCK: "a socket"}
    kind = next((name for test, name in kinds.items() if test(mode)), "a device")
    return f"it is {kind}, not a file" + ("" if kind == "a folder" else "; write its content to a file first")


def file_form(path: str | os.PathLike) -> str:
    """What a file is by its first bytes: "torch legacy", "zip" (what torch.save writes since 1.6), "safetensors",
    "pickle" or "".

    Raises:
        UserError: the file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: {instead_of_a_file(path)}")
    with path.open("rb") as stream:
        head = stream.read(len(_TORCH_LEGACY))
    if head == _TORCH_LEGACY:
        return "torch legacy"
    if head.startswith(_ZIP):
        return "zip"
    # the length of a header of JSON may begin as a pickle does; in a pickle these 8 bytes are no length within the file
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    return "pickle" if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL else ""


def read_pickle(path: str | os.PathLike) -> Any:
    """Reads a pickle that holds numpy arrays, containers, strings and numbers, and nothing else.

    Raises:
        UserError: the file is missing, or one of ``torch.save``.
        UnsafeFileError: the file names a class or function outside the allow-list; nothing of it was run.
        DamagedFileError: the file cannot be read to its end, or something follows the pickle.
    """
    path = Path(path)
    if file_form(path) in ("torch legacy", "zip", "safetensors"):
        raise UserError(
            f"{path}: is a file of PyTorch, safetensors or another archive, expected a pickle of arrays; convert "
            "the weights first: paddlevideo convert"
        )
    with reading(path, _PICKLE, _AGAIN), path.open("rb") as stream:
        content = AllowListUnpickler(stream, path.stat().st_size).load()
        rest = path.stat().st_size - stream.tell()
        if rest:
            raise DamagedFileError(f"{rest} bytes follow the end of the pickle")
        return content


@contextlib.contextmanager
def reading(path: str | os.PathLike, kind: str, way_out: str = "") -> Iterator[None]:
    """Turns any error of reading and parsing a file into one line that names the file.

    The block holds nothing else: a mistake of the suite's own in it would be taken for one of the file.

    Args:
        kind: what the file should be, e.g. ``JSON``.
        way_out: a sentence, without its full stop.

    Raises:
        UnsafeFileError: the file names a class or function, the text of an ``UnsafeFileError`` within.
        DamagedFileError: the file is something else.
        UserError: the file is missing, cannot be read, or does not fit into memory; those within are whole.
    """
    way_out = f"; {way_out}" if way_out else ""
    try:
        yield
    except (UnsafeFileError, DamagedFileError) as error:
        if str(error).startswith(f"{path}: "):
            raise
        if isinstance(error, DamagedFileError):
            raise DamagedFileError(f"{path}: damaged, or not {kind} ({error}){way_out}") from None
        raise UnsafeFileError(
            f"{path}: refused, because it names {error}, which {kind} never needs; nothing was run{way_out}"
        ) from None
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: {instead_of_a_file(path)}; expected {kind}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory{f' ({error})' if str(error) else ''}") from error
    except UnicodeDecodeError as error:
        what = f"damaged, or not {kind} ({error.reason} at byte {error.start}, as of a text that is not UTF-8)"
        raise DamagedFileError(f"{path}: {what}{way_out}") from None
    except RecursionError:
        raise DamagedFileError(f"{path}: damaged, or not {kind} (nested too deeply){way_out}") from None
    except Exception as error:  # a damaged file fails in many ways, each library in its own
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise DamagedFileError(f"{path}: damaged, or not {kind} ({text:.300}){way_out}") from error


def read_json(path: str | os.PathLike, kind: str = "JSON", way_out: str = "") -> Any:
    """The content of a JSON file, UTF-8 with or without a byte-order mark.

    Raises:
        UserError: as ``reading``.
    """
    with reading(path, kind, way_out):
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))


def read_npz(path: str | os.PathLike) -> dict[str, Any]:
    """The arrays of an ``.npz``: plain numbers and texts, each as large as its header states; sizes are checked first.

    Raises:
        UserError: as ``reading``; it unpacks to much more than its size.
    """
    import numpy as np

    path = Path(path)
    with reading(path, "an .npz of arrays"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total, most = sum(member.file_size for member in members), max(_MIN_UNPACKED, _RATIO * path.stat().st_size)
        if total > most:
            raise DamagedFileError(f"its members unpack to {total} bytes, expected at most {most}")
        arrays = {}
        for member in members:
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                if version not in _NPY_HEADERS:
                    raise DamagedFileError(f"{member.filename}: version {version} of the .npy format")
                shape, by_columns, kind = getattr(np.lib.format, _NPY_HEADERS[version])(stream)
                content = stream.read()
            if not is_plain(kind):
                raise DamagedFileError(f"{member.filename}: an array of {kind}")
            if math.prod(shape) * kind.itemsize != len(content):
                raise DamagedFileError(f"{member.filename}: an array {list(shape)} with {len(content)} bytes")
            name = member.filename.removesuffix(".npy")
            arrays[name] = np.ndarray(shape, kind, bytearray(content), order="F" if by_columns else "C")
        return arrays


def sha256(*sources: str | os.PathLike | BinaryIO) -> str:
    """Hex digest of the bytes of files, one after the other; of an open stream from its position."""
    digest = hashlib.sha256()
    for source in sources:
        with contextlib.nullcontext(source) if hasattr(source, "read") else open(source, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_atomic(path: str | os.PathLike, write: bytes | str | Callable[[BinaryIO], None]) -> str:
    """Writes a file that is either whole or not there: temporary file beside it, fsync, rename.

    Args:
        path: of the file.
        write: the content, or a function that writes it to an open binary stream.

    Returns:
        The sha256 of what was written.

    Raises:
        UserError: the disk is full or the folder cannot be written to; an existing file at ``path`` is unchanged.
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
        _remove(temporary)
        unchanged = "; the existing file was left unchanged" if os.path.exists(path) else ""
        raise UserError(f"{path}: cannot be written ({error.strerror or error}){unchanged}") from error
    except BaseException:  # an error of the writer, or Ctrl-C
        _remove(temporary)
        raise
    _sync_folder(path.parent)
    return digest


def check_writable(path: str | os.PathLike) -> None:
    """Makes the folder of a file that is written later, after a long computation, and a file in it for a moment.

    Raises:
        UserError: as of ``write_atomic``; ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_pickle(path: str | os.PathLike, value: Any) -> str:
    """Writes numpy arrays in containers as a pickle that ``paddle.load`` reads; atomic.  Returns the sha256."""
    return write_atomic(path, lambda stream: pickle.dump(value, stream, protocol=4))


def sweep_temporary(folder: str | os.PathLike) -> None:
    """Removes the temporary files of a killed writer in ``folder``."""
    for leftover in Path(folder).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):  # the error before is the one to report
        file.unlink()


def _sync_folder(folder: Path) -> None:
    # the rename is stored in the folder's entry; some file systems do not allow it to be synced
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
