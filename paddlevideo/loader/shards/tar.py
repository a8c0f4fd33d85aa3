"""The members of a shard, and the samples that they make: ``key.mp4`` and ``key.json`` side by side.

WebDataset's rule: the key is the member's name up to the first dot of its last part; the members of one key follow each
other.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from paddlevideo.errors import DamagedFileError, UserError, printable
from paddlevideo.loader.shards.storage import Storage
from paddlevideo.video_files import is_video

BLOCK = tarfile.BLOCKSIZE
_MAX_LABEL_BYTES = 1 << 20
_LABEL_ENDINGS = ("json", "cls", "txt")  # in this order; the first that is there counts
_LABEL_KEYS = ("label", "labels", "cls", "class")  # of a json
_ATTRIBUTES = "._"  # macOS stores those of k.mp4 as ._k.mp4 (AppleDouble)
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20  # bytes read from a stream at once


@dataclass
class ShardSample:
    """One sample of a shard.

    Attributes:
        name: of the member that is the video.
        offset: of its first byte in the shard.
        size: bytes.
        labels: class indices, or names of classes.
        digest: SHA-256 of the video where the shard was read whole.
    """

    key: str
    name: str = ""
    offset: int = 0
    size: int = 0
    labels: tuple[int | str, ...] | None = None
    digest: str = ""
    label_ending: str = ""  # of the member that they are from


@dataclass
class ShardContent:
    """All of a shard.

    Attributes:
        num_bytes: of the file.
        sha256: of the file; empty: it was not read whole.
        num_other: members that are neither a video nor a label.
    """

    samples: list[ShardSample] = field(default_factory=list)
    num_bytes: int = 0
    sha256: str = ""
    num_other: int = 0


def scan_shard(storage: Storage, name: str, whole: bool) -> ShardContent:
    """Reads the headers and labels of a shard.

    Args:
        whole: read all of it, one piece after the other, for its digest; else only headers and labels.

    Raises:
        DamagedFileError: it is no tar file, is cut off, or has no end mark or more data after it.
        UserError: a sample without a video or label; a label that cannot be read; the file cannot be read.
    """
    place = storage.place(name)
    content = ShardContent(num_bytes=storage.size(name))
    with storage.open(name) as stream:
        if stream.read(2) == _GZIP:
            raise UserError(f"{place}: it is compressed, so nothing in it can be found by its place; gunzip it")
        stream.seek(0)
        source = _Hashed(stream) if whole else stream
        end = _read_members(source, place, content, whole)
        tail = storage.read(name, end, min(content.num_bytes, end + _PIECE))
        if len(tail) < BLOCK or any(tail[: 2 * BLOCK]):
            raise DamagedFileError(
                f"{place}: truncated or damaged at byte {end}: no end mark after {len(content.samples)} samples; get "
                "or write the shard again"
            )
        _refuse_more(storage, name, end, tail, content)
        if whole:
            content.sha256 = source.finish()
    for sample in content.samples:
        if not sample.name or sample.labels is None:
            lacking = "video" if not sample.name else f"label ({', '.join(f'.{ending}' for ending in _LABEL_ENDINGS)})"
            raise UserError(f"{place}: member {printable(sample.key)}.*: there is no {lacking} beside it")
    return content


def check_header(block: bytes, name: str, size: int) -> str | None:
    """What is wrong with the header before a member, or None.

    Args:
        block: the 512 bytes before the member's content.
    """
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        return f"no header ({error})"
    # a longer name stands in a header of its own, before this one
    if header.size != size or (len(name.encode(errors="surrogateescape")) <= 99 and header.name != name):
        return f"the header of {printable(header.name)}, {header.size} bytes"
    return None


def _refuse_more(storage: Storage, name: str, end: int, tail: bytes, content: ShardContent) -> None:
    """
    Raises:
        DamagedFileError: something other than zeros after the end mark, as in tar files joined by ``cat``.
    """
    at = end
    while tail:
        if rest := tail.lstrip(b"\0"):
            raise DamagedFileError(
                f"{storage.place(name)}: data at byte {at + len(tail) - len(rest)}, after the end mark at byte {end} "
                f"and {len(content.samples)} samples, as in tar files joined by cat; keep each as a shard of its own"
            )
        at += len(tail)
        tail = storage.read(name, at, min(content.num_bytes, at + _PIECE)) if at < content.num_bytes else b""


def _read_members(source: Any, place: str, content: ShardContent, whole: bool) -> int:
    """Fills ``content.samples``; the place of the end mark."""
    keys: set[str] = set()
    try:
        with tarfile.open(fileobj=source, mode="r|" if whole else "r:", bufsize=_PIECE) as archive:
            for member in archive:
                archive.members = []  # it would keep all of them
                if member.isdir():
                    continue
                if not member.isfile():
                    raise UserError(f"{place}: member {printable(member.name)}: a link or device, expected files only")
                key, ending = _split(member.name)
                if member.name.rpartition("/")[2].startswith(_ATTRIBUTES):
                    content.num_other += 1
                    continue
                if not content.samples or content.samples[-1].key != key:
                    if key in keys:
                        raise UserError(f"{place}: the members {printable(key)}.* do not follow each other")
                    keys.add(key)
                    content.samples.append(ShardSample(key))
                if is_video(f"x.{ending}"):
                    _set_video(content.samples[-1], member, place)
                    content.samples[-1].digest = digest_of(archive.extractfile(member)) if whole else ""
                elif ending.lower() in _LABEL_ENDINGS:
                    if member.size > _MAX_LABEL_BYTES:
                        where = f"{place}: member {printable(member.name)}"
                        raise UserError(f"{where}: {member.size} bytes, expected a label")
                    text = archive.extractfile(member).read()
                    labels = _labels(text, ending.lower(), f"{place}: member {member.name}")
                    _set_labels(content.samples[-1], labels, ending.lower(), place)
                else:
                    content.num_other += 1
            return archive.offset
    except tarfile.TarError as error:
        number = len(content.samples)
        raise DamagedFileError(f"{place}: damaged, or no tar file, after {number} samples ({error})") from None


def _split(name: str) -> tuple[str, str]:
    """``a/b.left.mp4`` -> ``a/b``, ``left.mp4``."""
    folder, slash, last = name.rpartition("/")
    stem, _, ending = last.partition(".")
    return folder + slash + stem, ending


def _set_video(sample: ShardSample, member: tarfile.TarInfo, place: str) -> None:
    if sample.name:
        names = f"{printable(sample.name)} and {printable(member.name)}"
        raise UserError(f"{place}: {names} are two videos of one sample; expected one")
    sample.name, sample.offset, sample.size = member.name, member.offset_data, member.size


def _set_labels(sample: ShardSample, labels: tuple[int | str, ...] | None, ending: str, place: str) -> None:
    """Takes the labels of the first of ``.json``, ``.cls``, ``.txt``; a text beside another label is a description."""
    if labels is None:
        return
    known, given = sample.label_ending, {sample.label_ending: sample.labels, ending: labels}
    if {"json", "cls"} <= given.keys() and given["json"] != given["cls"]:
        kinds = {type(one) for own in given.values() for one in own}
        if len(kinds) < 2:  # else one is the name and one the number
            both = f".json has the label {_shown(given['json'])} and .cls {_shown(given['cls'])}"
            raise UserError(f"{place}: member {printable(sample.key)}.*: {both}; expected one")
    if not known or _LABEL_ENDINGS.index(ending) < _LABEL_ENDINGS.index(known):
        sample.labels, sample.label_ending = labels, ending


def _shown(labels: tuple[int | str, ...]) -> str:
    return printable(", ".join(map(str, labels)) or "none")


def _labels(text: bytes, ending: str, where: str) -> tuple[int | str, ...] | None:
    """The labels of a member; None: a json that holds none."""
    where = printable(where)
    try:
        value = json.loads(text) if ending == "json" else text.decode("utf-8").strip()
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not UTF-8 {'JSON' if ending == 'json' else 'text'} ({error})") from None
    if ending == "json":
        if isinstance(value, dict):
            key = next((key for key in _LABEL_KEYS if key in value), None)
            if key is None:
                return None
            value = value[key]
    elif value.lstrip("-").isdecimal():
        value = int(value)
    values = value if isinstance(value, list) else [value]
    if not all(type(one) in (int, str) for one in values) or (not isinstance(value, list) and value == ""):
        raise UserError(f"{where}: expected a class index or name, or a list of them, got {printable(str(value)[:80])}")
    return tuple(values)


def digest_of(stream: BinaryIO) -> str:
    """SHA-256 of the rest of a stream."""
    digest = hashlib.sha256()
    while piece := stream.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


class _Hashed:
    """A stream that is read once, from its beginning, and digested meanwhile."""

    def __init__(self, stream: BinaryIO):
        self._stream, self._sha256 = stream, hashlib.sha256()

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._sha256.update(piece)
        return piece

    def finish(self) -> str:
        """The digest of all of it."""
        while self.read(_PIECE):
            pass
        return self._sha256.hexdigest()
