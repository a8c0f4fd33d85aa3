"""``configs/weights.yml``: names of released weights, where they are, and which configuration reads them."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from paddlevideo.shipped import ROOT

INDEX = "configs/weights.yml"


@dataclass(frozen=True)
class Entry:
    """Released weights.

    Args:
        name: as ``-w`` and ``pretrained`` take it.
        publisher, licence, page: who released the file, the licence of that project, and where the address stands.
        origin: whose names the arrays have, one of ``modeling.conversion.ORIGINS``; ``paddle`` needs no conversion.
        config: a shipped configuration that reads the weights, or starts from them.
        address: of the file; "": it is in ``package``.
        hosts: other hosts that the address may redirect to.
        size: bytes, where known.
        sha256: all 64 digits, or the first ones, which the publisher writes into the file's name; "": unknown.
        figure: as published, not reproduced here.
        fetched: whether the file was fetched and loaded with this suite; False: the address stands on the page.
        package, package_sha256, member: a wheel of a package index, and the file in it.
    """

    name: str
    publisher: str
    licence: str
    page: str
    origin: str
    config: str
    address: str = ""
    hosts: tuple[str, ...] = ()
    size: int | None = None
    sha256: str = ""
    figure: str = ""
    fetched: bool = False
    package: str = ""
    package_sha256: str = ""
    member: str = ""

    @property
    def file(self) -> str:
        """The name of the file, without its folder."""
        return file_name(self.address) if self.address else PurePosixPath(self.member).name


def file_name(address: str) -> str:
    """The last part of an address's path, of letters that any file system takes; a ``_`` for each of the others."""
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-+") else "_" for c in name).lstrip(".")
    return kept[-120:] or "weights"


@functools.cache
def entries() -> Mapping[str, Entry]:
    """All entries by their names, in the order of the index."""
    import yaml

    content = yaml.safe_load((ROOT / INDEX).read_text(encoding="utf-8"))
    found = {}
    for group in content["publishers"]:
        shared = {key: value for key, value in group.items() if key not in ("weights", "below")}
        for fields in group["weights"]:
            fields = {**shared, **fields, "hosts": tuple(fields.get("hosts", shared.get("hosts", ())))}
            if "address" in fields:
                fields["address"] = group.get("below", "") + fields["address"]
            if fields["name"] in found:
                raise ValueError(f"{INDEX}: two entries have the name {fields['name']}")
            found[fields["name"]] = Entry(**fields)
    return found


def of_package(name: str) -> Entry | None:
    """The weights in a wheel of a package index that start the network of other ones, for places without a network."""
    wanted = entries().get(name)
    found = entries().values() if wanted is not None else ()
    return next((entry for entry in found if entry.package and entry.config == wanted.config and entry != wanted), None)


def matching(pattern: str) -> list[Entry]:
    """The entries whose name, publisher or configuration holds a pattern; ``*`` and ``?`` as in a shell."""
    words = f"*{pattern.lower()}*"
    return [
        entry
        for entry in entries().values()
        if any(fnmatch.fnmatchcase(text.lower(), words) for text in (entry.name, entry.publisher, entry.config))
    ]
