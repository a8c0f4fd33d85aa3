"""A folder of shards: a local one, or any address that fsspec opens."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from paddlevideo.addresses import is_address, refuse_secrets, without_secrets
from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import instead_of_a_file

_INSTALL = "pip install fsspec aiohttp"
_TRIES, _PAUSE_S = 6, 0.5  # of a request: tries within 15.5 s and what they take
_STREAM_BYTES = 8 << 20


class MissingFileError(UserError):
    """A file that is not there."""


@dataclass
class Storage:
    """Files below one folder.  Connections are made on first use, in each process by itself.

    Args:
        root: the folder's path, or an address.
        options: of fsspec's file system, e.g. ``{"anon": True}``.

    Raises:
        UserError: the address holds a password or a key.
    """

    root: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _opened: tuple[int, Any, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        refuse_secrets(self.root)

    @property
    def is_local(self) -> bool:
        return not is_address(self.root)

    def require(self) -> None:
        """Opens fsspec's file system, without a request.

        Raises:
            UserError: fsspec, or the package for this kind of address, is not installed.
        """
        if not self.is_local:
            self._files()

    def place(self, name: str) -> str:
        """Path or address of a file, for messages."""
        return without_secrets(self._join(self.root, name))

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            UserError: there is no such file.
        """
        if self.is_local:
            path = self._join(self.root, name)
            if not os.path.isfile(path):
                raise MissingFileError(f"{self.place(name)}: {instead_of_a_file(path)}")
            return os.path.getsize(path)
        size = self._request(name, lambda files, path: files.size(path))
        if size is None:
            raise UserError(f"{self.place(name)}: the server does not state its size; copy the shards first")
        return int(size)

    def names(self, ending: str) -> list[str]:
        """Files directly in the folder, sorted.

        Raises:
            UserError: there is no such folder.
        """
        if self.is_local:
            try:
                found = [entry.name for entry in os.scandir(self.root) if entry.is_file()]
            except OSError as error:
                raise UserError(f"{printable(self.root)}: no folder of shards ({error.strerror})") from None
        else:
            listed = self._request("", lambda files, path: files.ls(path, detail=False))
            found = [str(name).rstrip("/").rpartition("/")[2] for name in listed]
        return sorted(name for name in found if name.endswith(ending))

    def open(self, name: str) -> BinaryIO:
        """A stream over a whole file, read from its beginning.

        Raises:
            UserError: it cannot be opened.
        """
        if self.is_local:
            try:
                return open(self._join(self.root, name), "rb")
            except OSError as error:
                raise UserError(f"{self.place(name)}: cannot be opened ({error.strerror})") from None
        return self._request(
            name, lambda files, path: files.open(path, "rb", block_size=_STREAM_BYTES, cache_type="readahead")
        )

    def read(self, name: str, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end``; fewer where the file ends before.

        Raises:
            UserError: it cannot be read.
        """
        if self.is_local:
            try:
                with open(self._join(self.root, name), "rb") as stream:
                    stream.seek(start)
                    return stream.read(end - start)
            except OSError as error:
                raise UserError(f"{self.place(name)}: cannot be read ({error.strerror})") from None
        content = self._request(name, lambda files, path: files.cat_file(path, start, end))
        if len(content) > end - start:
            raise UserError(
                f"{self.place(name)}: the server gives the whole file ({len(content)} bytes) where a range of "
                f"{end - start} was requested; shards need a server with HTTP range requests, or a local copy"
            )
        return content

    def read_all(self, name: str) -> bytes:
        """A whole file.

        Raises:
            UserError: it cannot be read.
        """
        if self.is_local:
            with self.open(name) as stream:
                return stream.read()
        return self._request(name, lambda files, path: files.cat_file(path))

    def _request(self, name: str, request: Callable[[Any, str], Any]) -> Any:
        """What a request gives; one that fails is repeated, unless the file is missing or access is denied."""
        files, root = self._files()
        place = self.place(name) if name else without_secrets(self.root)
        for number in range(_TRIES):
            try:
                return request(files, self._join(root, name) if name else root)
            except FileNotFoundError:
                raise MissingFileError(f"{place}: no such file") from None
            except PermissionError as error:
                raise UserError(f"{place}: access is denied ({_reason(error)})") from None
            except Exception as error:  # each file system has errors of its own
                if number == _TRIES - 1:
                    raise UserError(f"{place}: cannot be read, {_TRIES} tries ({_reason(error)})") from None
                time.sleep(_PAUSE_S * 2**number)
        raise AssertionError

    def _files(self) -> tuple[Any, str]:
        """fsspec's file system of this process, and the root as it takes it."""
        if self._opened is None or self._opened[0] != os.getpid():
            shown = without_secrets(self.root)
            try:
                from fsspec.core import url_to_fs
            except ImportError:
                raise UserError(f"{shown}: an address needs the Python package fsspec: {_INSTALL}") from None
            try:
                files, root = url_to_fs(self.root, **self.options)
            except ImportError as error:
                scheme = self.root.partition("://")[0].rpartition("::")[2]
                raise UserError(
                    f"{shown}: fsspec needs a further package for {scheme}:// ({_reason(error)}), e.g. "
                    f"{_INSTALL} {_PACKAGES.get(scheme, f'fsspec[{scheme}]')}"
                ) from None
            except Exception as error:
                raise UserError(f"{shown}: fsspec cannot open it ({_reason(error)})") from None
            self._opened = os.getpid(), files, root
        return self._opened[1:]

    @staticmethod
    def _join(root: str, name: str) -> str:
        return f"{root.rstrip('/')}/{name}"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}


_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "http": "aiohttp",
             "https": "aiohttp", "hf": "huggingface_hub"}  # fmt: skip


def _reason(error: Exception) -> str:
    """One line, with addresses shortened to what is no secret."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return printable(re.sub(r"[A-Za-z][A-Za-z0-9+.:-]*://[^\s'\")]+", lambda m: without_secrets(m[0]), text)[:300])
