"""The folder of fetched weights, and which file a name or an address of weights means.

Below ``PADDLEVIDEO_HOME`` (``~/.cache/paddlevideo``), ``weights/KEY/`` holds one file, and ``pin.json`` with its
SHA-256.  The pin stays when the file is removed: another file from the same address is refused.  ``.lock`` is removed
with its folder, by the process that holds it; one that waited for it takes the lock that is there by then.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from paddlevideo.downloads.http import NotReachedError, Rules, TooLargeError, check_address, discard, fetch
from paddlevideo.downloads.index import Entry, entries, file_name
from paddlevideo.downloads.wheels import by_hand, fetch_from_wheel
from paddlevideo.errors import DamagedFileError, UserError, printable
from paddlevideo.ranges import suggest
from paddlevideo.safe_io import file_form, instead_of_a_file, reading, sha256, write_atomic

HOME, LIMIT = "PADDLEVIDEO_HOME", "PADDLEVIDEO_CACHE_GB"
_DEFAULT_HOME, _DEFAULT_GB, _MOST_GB = "~/.cache/paddlevideo", 20.0, 1e9
_FILE_BYTES = 4 << 30  # the largest file that is fetched
_PIN, _PART, _LOCK = "pin.json", ".part", ".lock"
_GB = 1_000_000_000
_POLL_S = 0.2
_WEB = re.compile(r"(https?):/{1,2}(?=[^/])", re.I)  # a Path makes one slash of two
_NAME = re.compile(r"[\w+-][\w.+-]*", re.ASCII)
# files beside the weights: the pin, unfinished transfers, the note of class names (NAME.json)
_BESIDE = re.compile(r"pin|.*\.(json|part)", re.I | re.S)
_WEIGHTS_SUFFIXES = (".pdparams", ".pth", ".pyth", ".pt", ".safetensors")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is fetched: an entry of the index, or an address of the user's.

    Args:
        key: its folder in the cache.
        shown: its name in messages and for ``paddlevideo weights``.
        address: "" where ``entry`` has none.
    """

    key: str
    shown: str
    address: str
    file: str
    entry: Entry | None = None
    hosts: tuple[str, ...] = ()
    insecure: bool = False

    @classmethod
    def of_entry(cls, entry: Entry) -> Wanted:
        return cls(entry.name, entry.name, entry.address, entry.file, entry, entry.hosts)

    @classmethod
    def of_address(cls, address: str, hosts: Sequence[str] = (), insecure: bool = False) -> Wanted:
        """
        Raises:
            UserError: the address holds a key, or is none of the web.
        """
        check_address(address, insecure=True)  # without TLS it is refused when it is fetched, not where it is there
        host = re.sub(r"[^a-z0-9.-]", "_", (urlsplit(address).hostname or "").lower())
        key = f"{host}-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
        file = file_name(address)
        file += "_" * (_BESIDE.fullmatch(file) is not None)
        return cls(key, printable(address), address, file, None, tuple(hosts), insecure)  # without a key: see above


@dataclass(frozen=True)
class Pin:
    """What is known of a file since its first use."""

    file: str
    sha256: str
    address: str
    size: int

    @classmethod
    def read(cls, path: Path) -> Pin:
        """
        Raises:
            DamagedFileError: it is no JSON, or has other fields.
        """
        with reading(path, "a note on fetched weights", f"'{_drop_pin(path.parent.name)}' drops it, not the weights"):
            pin = cls(**json.loads(path.read_text(encoding="utf-8")))
            texts = all(isinstance(value, str) for value in (pin.file, pin.sha256, pin.address))
            if not texts or type(pin.size) is not int or Path(pin.file).name != pin.file:
                raise DamagedFileError("expected texts 'file', 'sha256' and 'address', and a number 'size'")
            return pin


def to_stderr(line: str) -> None:
    """Prints a remark; stdout holds results only."""
    print(printable(line), file=sys.stderr, flush=True)


def local_weights(name: str | os.PathLike, say: Say = to_stderr) -> Path:
    """The file or folder that weights are read from; an existing path comes first.

    Args:
        name: a path, a name of the index, or an address (https; http to this machine), which are fetched on first use.
        say: receives a line about a transfer and about a file whose SHA-256 is pinned.

    Returns:
        The path itself where it is neither a name nor an address: what is missing there, its reader reports.

    Raises:
        UserError: the file cannot be fetched, or differs from the index or from what it was before; there is no such
            name; a path that is missing and has the name of an entry.
    """
    text = os.fspath(name)
    path = Path(os.path.expanduser(text))  # Path.expanduser raises for users that there are not
    if os.path.exists(path):  # Path.exists raises for names that no file system takes
        return path
    wanted = wanted_of(text)
    if wanted is not None:
        return Cache.of_environment().file(wanted, say)
    if path.stem in entries() and path.suffix in _WEIGHTS_SUFFIXES:
        raise UserError(
            f"{path}: no such file; get it with 'paddlevideo weights get {path.stem} --out {path}', or give the name "
            f"{path.stem} instead"
        )
    if _NAME.fullmatch(text) and path.suffix not in (*_WEIGHTS_SUFFIXES, ".pdiparams"):
        near = suggest(text, entries(), listed=False)
        raise UserError(
            f"{text}: {instead_of_a_file(text)}, nor a name of the index{near}; 'paddlevideo weights list' prints it"
        )
    return path


def wanted_of(text: str, hosts: Sequence[str] = (), insecure: bool = False) -> Wanted | None:
    """The entry or address that a text names; None: a path."""
    web = _WEB.match(text)
    if web:
        return Wanted.of_address(f"{web[1].lower()}://{text[web.end() :]}", hosts, insecure)
    entry = entries().get(text)
    return Wanted.of_entry(entry) if entry else None


class Cache:
    """Fetched files, one folder each.

    Args:
        folder: created on the first transfer.
        limit_bytes: all files together.
    """

    def __init__(self, folder: Path, limit_bytes: int):
        self.folder, self.limit_bytes = folder, limit_bytes

    @classmethod
    def of_environment(cls) -> Cache:
        """The cache of ``PADDLEVIDEO_HOME`` with the limit ``PADDLEVIDEO_CACHE_GB``.

        Raises:
            UserError: the limit is no number, or the folder is below that of an unknown user.
        """
        home, text = os.environ.get(HOME) or _DEFAULT_HOME, os.environ.get(LIMIT) or str(_DEFAULT_GB)
        try:
            limit = float(text)
        except ValueError:
            limit = -1.0
        if not 0 < limit <= _MOST_GB:
            raise UserError(
                f"environment variable {LIMIT}: expected gigabytes above 0, at most {_MOST_GB:g}, got {text!r}"
            )
        return cls(user_path(home, f"environment variable {HOME}") / "weights", int(limit * _GB))

    def path(self, wanted: Wanted) -> Path:
        """Where its file is or will be."""
        return self.folder / wanted.key / wanted.file

    def file(self, wanted: Wanted, say: Say = to_stderr) -> Path:
        """The file, fetched if it is not there, and compared with its SHA-256.

        One process fetches, others wait for it.  A file that was put there by hand counts as fetched.

        Raises:
            UserError: it cannot be fetched: how to get it by hand.
            DamagedFileError: its SHA-256 is not that of the index, or not that of its first use.
        """
        target = self.path(wanted)
        if not target.is_file():
            if wanted.address:
                check_address(wanted.address, wanted.insecure)
            try:
                with _locked(target.parent, wanted.shown, say):
                    if not target.is_file():
                        self._fetch(wanted, target, say)
            except OSError as error:
                raise UserError(
                    f"{target.parent}: cannot be written ({error.strerror or error}); set {HOME} to a folder that can"
                ) from None
        try:
            self._check(wanted, target, say)
        except FileNotFoundError:
            raise UserError(f"{target}: was removed by another process; rerun the same command") from None
        return target

    def pin(self, key: str) -> Pin | None:
        """What was noted at the first use; None: it was never used.

        Raises:
            DamagedFileError: the note is damaged.
        """
        file = self.folder / key / _PIN
        return Pin.read(file) if file.is_file() else None

    def weights(self, key: str) -> Path | None:
        """The file of weights in a folder, whether it was used or not; None: there is none, or an unfinished one."""
        for file in sorted((self.folder / key).glob("*")):
            if file.is_file() and not file.name.startswith(".") and not _BESIDE.fullmatch(file.name):
                return file
        return None

    def folders(self) -> list[str]:
        """The folders with a file, a pin or an unfinished transfer, in order."""
        return sorted({path.parent.name for path in self.folder.glob("*/*") if path.name != _LOCK})

    def is_own(self, key: str) -> bool:
        """Whether a folder is one that this cache made, or that a name of the index means: another one may be a user's,
        where ``PADDLEVIDEO_HOME`` is a folder with other files."""
        files = [*(self.folder / key).glob("*")]
        unfinished = bool(files) and all(file.suffix == _PART for file in files)
        return key in entries() or unfinished or any(file.name in (_PIN, _LOCK) for file in files)

    def size(self, key: str) -> int:
        """Bytes of a folder's files, unfinished transfers included."""
        total = 0
        for file in (self.folder / key).glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                total += file.stat().st_size
        return total

    def has_pin(self, key: str) -> bool:
        """Whether there is a note of the first use, damaged or not."""
        return (self.folder / key / _PIN).is_file()

    def remove(self, key: str, weights: bool = True, pin: bool = False, say: Say = to_stderr) -> int:
        """Removes a file, what is known of it, or both, and a folder that is empty then; waits for a process that
        fetches it.

        Returns:
            The bytes that are free by that.

        Raises:
            UserError: the folder cannot be written to.
        """
        folder = self.folder / key
        try:
            with _locked(folder, key, say):
                before = self.size(key)
                for file in folder.iterdir():
                    if file.name == _LOCK or not (pin if file.name == _PIN else weights):
                        continue
                    if file.is_dir():  # of a wheel, whose process was killed
                        shutil.rmtree(file)
                    else:
                        file.unlink()
                freed = before - self.size(key)
                _drop_empty(folder)
                return freed
        except OSError as error:
            raise UserError(f"{folder}: cannot be removed ({error.strerror or error})") from None

    def remove_empty(self) -> None:
        """Removes the folders without a file, which transfers leave that failed; those of a running one stay."""
        for folder in self.folder.glob("*"):
            with contextlib.suppress(OSError):  # no folder, gone by now, or its lock is held
                if _is_empty(folder):
                    with (folder / _LOCK).open("w") as stream:
                        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        if _is_lock_of(stream, folder):
                            _drop_empty(folder)

    def _fetch(self, wanted: Wanted, target: Path, say: Say) -> None:
        part = target.with_name(target.name + _PART)
        self.pin(wanted.key)  # a damaged one is named before the transfer, not after it
        try:
            if wanted.address:
                fetch(wanted.address, part, self._rules(wanted), say)
            elif wanted.entry:
                self._refuse_too_large(wanted.entry)
                fetch_from_wheel(wanted.entry, part, target, say)
        except TooLargeError as error:
            raise UserError(f"{error}; {self._way_to_room()}") from None
        except NotReachedError as error:
            raise UserError(f"{error}; {self._by_hand(wanted, target)}") from None
        try:
            _refuse_other_kinds(part, wanted)
            self._refuse_other(wanted, None, sha256(part))
        except UserError:
            discard(part)
            raise
        os.replace(part, target)
        discard(part)

    def _rules(self, wanted: Wanted) -> Rules:
        others = sum(self.size(key) for key in self.folders() if key != wanted.key)
        most = min(_FILE_BYTES, max(0, self.limit_bytes - others))
        known = wanted.entry.size if wanted.entry else None
        return Rules(most if known is None else min(most, known), wanted.hosts, wanted.insecure)

    def _refuse_too_large(self, entry: Entry) -> None:
        """
        Raises:
            TooLargeError: a file of an index's package has no room.
        """
        others = sum(self.size(key) for key in self.folders() if key != entry.name)
        if others + (entry.size or 0) > self.limit_bytes:
            raise TooLargeError(f"{entry.name}: has {entry.size} bytes")

    def _way_to_room(self) -> str:
        sizes = {key: self.size(key) for key in self.folders()}
        used = sum(sizes.values())
        line = (
            f"a file has at most {_FILE_BYTES / _GB:.1f} GB, and {self.folder} holds {used / _GB:.2f} of "
            f"{self.limit_bytes / _GB:g} GB ({LIMIT})"
        )
        largest = sorted(sizes, key=lambda key: -sizes[key])[:3]
        return line + (f"; make room: paddlevideo weights remove {' '.join(largest)}" if used else "")

    def _by_hand(self, wanted: Wanted, target: Path) -> str:
        if not wanted.address and wanted.entry:
            return by_hand(wanted.entry, target)
        return (
            f"on a machine with a connection: wget -O {shlex.quote(target.name)} "
            f"{shlex.quote(printable(wanted.address))}, then put the file to {shlex.quote(str(target))}"
        )

    def _check(self, wanted: Wanted, target: Path, say: Say) -> None:
        status = target.stat()
        digest = _digest(str(target), status.st_size, status.st_mtime_ns)
        pin = self._refuse_other(wanted, target, digest)
        if pin is not None:
            return
        _refuse_other_kinds(target, wanted)
        content = {"file": target.name, "sha256": digest, "address": wanted.shown, "size": status.st_size}
        try:
            write_atomic(target.parent / _PIN, json.dumps(content, indent=1))
        except UserError as error:
            say(f"{wanted.shown}: its SHA-256 {digest} was not pinned: {error}")
            return
        known = wanted.entry is not None and len(wanted.entry.sha256) == 64
        say(f"{wanted.shown}: SHA-256 {digest}, {'as in the index' if known else 'pinned by this first use'}")

    def _refuse_other(self, wanted: Wanted, file: Path | None, digest: str) -> Pin | None:
        """Compares a file (None: one that has just come) with the index and with the pin, and returns that."""
        what = f"{wanted.shown}: what came was not kept" if file is None else str(file)
        anew = "rerun the same command" if file is None else f"'paddlevideo weights remove {wanted.key}' and rerun"
        stated = wanted.entry.sha256 if wanted.entry else ""
        if stated and not digest.startswith(stated):
            raise DamagedFileError(
                f"{what}: SHA-256 mismatch: {digest}, the index of weights has {stated}{'...' * (len(stated) < 64)}; "
                f"damaged or replaced: {anew}"
            )
        pin = self.pin(wanted.key)
        if pin is not None and pin.sha256 != digest:
            raise DamagedFileError(
                f"{what}: SHA-256 mismatch: {digest}, at its first use it was {pin.sha256}; if damaged, {anew}; if it "
                f"is known to have changed at {printable(pin.address)}, '{_drop_pin(wanted.key)}' accepts it"
            )
        return pin


def user_path(text: str, where: str) -> Path:
    """A path with the folder of ``~`` or ``~USER`` in its place.

    Raises:
        UserError: no such user; ``where`` begins the line.
    """
    path = Path(os.path.expanduser(text))
    if path.parts[:1] and path.parts[0].startswith("~"):
        raise UserError(f"{where}: {printable(text)}: no such user; expected a path")
    return path


def _drop_pin(key: str) -> str:
    return f"paddlevideo weights remove {key} --pin-only"


@functools.lru_cache(maxsize=64)
def _digest(path: str, size: int, mtime_ns: int) -> str:
    """SHA-256; once per process for a file that stays as it is."""
    return sha256(path)


def _refuse_other_kinds(part: Path, wanted: Wanted) -> None:
    """Weights begin as pickles, archives of torch, or safetensors; anything else is a page or damaged."""
    if file_form(part):
        return
    with part.open("rb") as stream:
        head = stream.read(64)
    what = "a web page" if head.lstrip()[:1] == b"<" else "no file of weights"
    raise UserError(f"{wanted.shown}: what came is {what} (it begins with {printable(ascii(head[:24]))}); nothing kept")


@contextlib.contextmanager
def _locked(folder: Path, shown: str, say: Say) -> Iterator[None]:
    """Makes a folder and holds its lock; waits for the process that has it, which ends by its own time limits."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        try:
            stream = (folder / _LOCK).open("w")
        except FileNotFoundError:  # another process removed the folder in between
            continue
        with stream:
            _wait_for(stream, shown, say)
            if _is_lock_of(stream, folder):
                yield
                return


def _wait_for(stream: IO[str], shown: str, say: Say) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{shown}: another process fetches it; waiting")
        while True:
            time.sleep(_POLL_S)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break


def _is_lock_of(stream: IO[str], folder: Path) -> bool:
    """Whether an open lock is the one that other processes find; the process that held it may have removed it."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), (folder / _LOCK).stat())
    except FileNotFoundError:
        return False


def _is_empty(folder: Path) -> bool:
    return all(file.name == _LOCK for file in folder.iterdir())


def _drop_empty(folder: Path) -> None:
    """Removes a folder that holds its lock alone, which the caller holds."""
    if _is_empty(folder):
        (folder / _LOCK).unlink()
        with contextlib.suppress(OSError):  # another process has put its lock there by now
            folder.rmdir()
