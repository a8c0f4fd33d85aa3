"""Released weights by name or address, and the cache that they are fetched into.

    paddlevideo weights list tsm
    paddlevideo weights get TSM_k400
    paddlevideo weights get resnet50_torchvision --out data/resnet50_torchvision.pdparams

Wherever weights are taken (-w, pretrained, weights of a distillation, convert), a name of this list or an address
https://HOST/FILE does, too: it is fetched on first use.  PADDLEVIDEO_HOME is the folder (~/.cache/paddlevideo),
PADDLEVIDEO_CACHE_GB its limit (20).
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from paddlevideo.downloads.cache import Cache, Pin, Wanted, user_path, wanted_of
from paddlevideo.downloads.index import Entry, entries, matching
from paddlevideo.errors import DamagedFileError, UserError, printable
from paddlevideo.ranges import suggest
from paddlevideo.safe_io import sha256, write_atomic

_MB = 1_000_000


def add_arguments(parser: argparse.ArgumentParser, action: str) -> None:
    """
    Args:
        action: list, get, verify or remove.
    """
    add, name = parser.add_argument, "a name of 'paddlevideo weights list', or an address"
    if action == "list":
        parser.set_defaults(run=_list)
        add("pattern", nargs="?", default="", metavar="PATTERN", help="what name, publisher or configuration holds")
        add("--cached", action="store_true", help="what the cache holds, and the sizes")
    elif action == "get":
        parser.set_defaults(run=_get)
        add("name", metavar="NAME", help=name)
        converted = "write it there; .pdparams: converted for its configuration where it is another project's"
        add("--out", metavar="FILE", help=converted)
        add("--overwrite", action="store_true", help="replace FILE if it is there")
        hosts = "another host that the address may redirect to; may be repeated"
        add("--host", dest="hosts", action="append", default=[], metavar="HOST", help=hosts)
        add("--insecure", action="store_true", help="an address without TLS (http://)")
    elif action == "verify":
        parser.set_defaults(run=_verify)
        add("names", nargs="*", metavar="NAME", help=f"{name}, or a folder's name in the cache (all)")
    else:
        parser.set_defaults(run=_remove)
        add("names", nargs="*", metavar="NAME", help=f"{name}, or a folder's name in the cache")
        add("--all", action="store_true", help="everything in the cache")
        pin = parser.add_mutually_exclusive_group()
        both = "what is known of the file, too, so that another file from the same address is accepted"
        pin.add_argument("--pin", action="store_true", help=both)
        alone = "only what is known of the file; it stays, and is pinned anew at its next use"
        pin.add_argument("--pin-only", action="store_true", help=alone)


def run(args: argparse.Namespace) -> int:
    """Runs one of the four; ``verify`` returns 1 where a file is damaged."""
    return args.run(args)


def _list(args: argparse.Namespace) -> int:
    cache = Cache.of_environment()
    if args.cached:
        return _list_cached(cache, args.pattern)
    found = matching(args.pattern)
    if not found:
        raise UserError(f"no weights hold {args.pattern!r}{suggest(args.pattern, entries(), listed=False)}")
    width = max(len(entry.name) for entry in found)
    for entry in found:
        notes = [f"{entry.publisher} ({entry.licence})", entry.figure, Path(entry.config).stem]
        notes += ["in the cache"] if cache.path(Wanted.of_entry(entry)).is_file() else []
        print(f"{entry.name:{width}}  {', '.join(note for note in notes if note)}")
    return 0


def _list_cached(cache: Cache, pattern: str) -> int:
    sizes = {key: cache.size(key) for key in cache.folders() if pattern.lower() in key.lower()}
    for key, size in sizes.items():
        pin, problem = _pin(cache, key)
        state = "not used yet" if cache.weights(key) else "unfinished"
        if pin:
            there = "" if (cache.folder / key / pin.file).is_file() else "removed, pinned: "
            state = f"{pin.address}  {there}sha256 {pin.sha256}"
        state = problem or state
        print(f"{key}  {size / _MB:.1f} MB  {printable(state)}")
    print(f"{cache.folder}: {sum(sizes.values()) / _MB:.1f} of {cache.limit_bytes / _MB:.0f} MB")
    return 0


def _pin(cache: Cache, key: str) -> tuple[Pin | None, str]:
    """What is known of a file, and what is wrong with that note."""
    try:
        return cache.pin(key), ""
    except DamagedFileError as error:
        return None, str(error)


def _get(args: argparse.Namespace) -> int:
    wanted = wanted_of(args.name, args.hosts, args.insecure)
    if wanted is None:
        near = suggest(args.name, entries(), listed=False)
        raise UserError(f"{args.name}: neither an address nor a name of 'paddlevideo weights list'{near}")
    out = None if args.out is None else _out(args.out, args.overwrite, wanted)
    file = Cache.of_environment().file(wanted)
    if out is None:
        print(file)
    elif out.suffix == ".pdparams" and _is_foreign(wanted.entry, file):
        if wanted.entry is None:
            raise UserError(f"{out}: for which network? 'paddlevideo convert ADDRESS {out} -c CFG' converts it")
        print(_converted(wanted.entry, file, out))
        print(f"written: {out}")
    else:
        with file.open("rb") as source:
            write_atomic(out, lambda target: shutil.copyfileobj(source, target, 1 << 20))
        print(f"written: {out}")
    return 0


def _out(text: str, overwrite: bool, wanted: Wanted) -> Path:
    """
    Raises:
        UserError: it is empty, a folder, or there already; its ending is of another kind of file.
    """
    out = user_path(text, "--out")
    if not text or text.endswith(os.sep) or out.is_dir():
        what = "is a folder" if text else "is empty"
        raise UserError(f"--out {printable(text)!r}: {what}, expected the name of a file, as data/NAME.pdparams")
    if out.exists() and not overwrite:
        raise UserError(f"--out {printable(str(out))}: is there already; name another file, or add --overwrite")
    own = Path(wanted.file).suffix
    if own and out.suffix not in (own, ".pdparams"):
        raise UserError(f"--out {printable(str(out))}: expected a name that ends in {own} (as it is) or .pdparams")
    return out


def _is_foreign(entry: Entry | None, file: Path) -> bool:
    if entry is not None:
        return entry.origin != "paddle"
    from paddlevideo.modeling.conversion import is_foreign

    return is_foreign(file)


def _converted(entry: Entry, file: Path, out: Path) -> object:
    from paddlevideo.cli.convert import convert_file
    from paddlevideo.config import load_config

    return convert_file(load_config(entry.config), file, out, origin=entry.origin)


def _verify(args: argparse.Namespace) -> int:
    """Compares files of the cache with the index and their pins; a line each."""
    cache, failed = Cache.of_environment(), 0
    keys = [_key(name, cache) for name in args.names] or cache.folders()
    _say_empty(cache, keys)
    for key in keys:
        pin, problem = _pin(cache, key)
        file = cache.folder / key / pin.file if pin else cache.weights(key)
        if problem:
            good, line = False, problem
        elif file is None:
            good, line = True, f"no file: its transfer is unfinished; 'paddlevideo weights remove {key}' drops it"
        elif not file.is_file():
            good, line = True, f"no file: it was removed; its SHA-256 stays pinned: {pin.sha256 if pin else ''}"
        else:
            good, line = _compared(file, key, pin, entries().get(key))
        failed += not good
        print(f"{key}: {printable(line)}")
    return int(failed > 0)


def _compared(file: Path, key: str, pin: Pin | None, entry: Entry | None) -> tuple[bool, str]:
    """Whether a file is the one of its pin and of the index, and the line about that."""
    digest, stated = sha256(file), entry.sha256 if entry else ""
    digits = f" (first {len(stated)} digits)" * (len(stated) < 64)
    pairs = (f"in the index{digits}", stated), ("at its first use", pin.sha256 if pin else "")
    known = {where: wanted for where, wanted in pairs if wanted}
    for where, wanted in known.items():
        if not digest.startswith(wanted):
            again = f"'paddlevideo weights remove {key}' and get it again"
            return False, f"SHA-256 mismatch: {digest}, {where} {wanted}; damaged or replaced: {again}"
    if known:
        return True, f"ok: SHA-256 {digest}, as {' and '.join(known)}"
    return True, f"not compared: SHA-256 {digest}, the index has none; the first use of the file pins it"


def _remove(args: argparse.Namespace) -> int:
    cache = Cache.of_environment()
    if bool(args.names) == args.all:
        raise UserError("name what is removed, or give --all; 'paddlevideo weights list --cached' prints what is there")
    keys = cache.folders() if args.all else [_key(name, cache) for name in args.names]
    _say_empty(cache, keys)
    for key in keys:
        if args.all and not cache.is_own(key):
            print(f"{cache.folder / key}: left as it is; no file of it was fetched, and the index has no such name")
            continue
        had_pin, only_pin = cache.has_pin(key), cache.has_pin(key) and not cache.weights(key)
        size = cache.remove(key, weights=not args.pin_only, pin=args.pin or args.pin_only)
        print(f"{key}: {_removed(args, size, had_pin, only_pin)}")
    if args.all:
        cache.remove_empty()
    return 0


def _say_empty(cache: Cache, keys: list[str]) -> None:
    if not keys:
        print(f"{cache.folder}: {'holds no weights' if cache.folder.is_dir() else 'there is no such folder'}")


def _removed(args: argparse.Namespace, size: int, had_pin: bool, only_pin: bool) -> str:
    """What was removed of an entry, and what stays."""
    if args.pin_only or (args.pin and only_pin):
        return "its pin removed" if had_pin else "has no pin; nothing removed"
    if only_pin and not size:
        return "was removed before; its SHA-256 stays pinned (--pin removes that, too)"
    line = f"{size / _MB:.1f} MB removed"
    if not had_pin:
        return line
    return f"{line}, its pin too" if args.pin else f"{line}; its SHA-256 stays pinned (--pin removes that, too)"


def _key(name: str, cache: Cache) -> str:
    """The folder in the cache that a name, an address or the folder's own name means."""
    wanted = wanted_of(name)
    key, there = wanted.key if wanted else name, cache.folders()
    if key not in there:
        raise UserError(f"{name}: is not in the cache {cache.folder}{suggest(key, there, listed=False)}")
    return key
