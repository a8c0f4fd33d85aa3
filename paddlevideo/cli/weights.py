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
import shutil
from pathlib import Path

from paddlevideo.downloads.cache import Cache, Wanted, wanted_of
from paddlevideo.downloads.index import Entry, entries, matching
from paddlevideo.errors import UserError
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
        add("--out", type=Path, metavar="FILE", help=converted)
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
        pin = "what is known of the file, too, so that another file from the same address is accepted"
        add("--pin", action="store_true", help=pin)


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
        pin = cache.pin(key)
        print(f"{key}  {size / _MB:.1f} MB" + (f"  {pin.address}  sha256 {pin.sha256}" if pin else "  unfinished"))
    print(f"{cache.folder}: {sum(sizes.values()) / _MB:.1f} of {cache.limit_bytes / _MB:.0f} MB")
    return 0


def _get(args: argparse.Namespace) -> int:
    wanted = wanted_of(args.name, args.hosts, args.insecure)
    if wanted is None:
        near = suggest(args.name, entries(), listed=False)
        raise UserError(f"{args.name}: neither an address nor a name of 'paddlevideo weights list'{near}")
    file = Cache.of_environment().file(wanted)
    if args.out is None:
        print(file)
        return 0
    entry, out = wanted.entry, args.out.expanduser()
    if out.suffix == ".pdparams" and file.suffix != ".pdparams":
        if entry is None:
            raise UserError(f"{out}: for which network? 'paddlevideo convert ADDRESS {out} -c CFG' converts it")
        print(_converted(entry, file, out))
    else:
        with file.open("rb") as source:
            write_atomic(out, lambda target: shutil.copyfileobj(source, target, 1 << 20))
    print(f"written: {out}")
    return 0


def _converted(entry: Entry, file: Path, out: Path) -> object:
    from paddlevideo.cli.convert import convert_file
    from paddlevideo.config import load_config

    return convert_file(load_config(entry.config), file, out, origin=entry.origin)


def _verify(args: argparse.Namespace) -> int:
    """Compares files of the cache with the index and their pins; a line each."""
    cache, failed = Cache.of_environment(), 0
    for key in [_key(name, cache) for name in args.names] or cache.folders():
        pin = cache.pin(key)
        file = cache.folder / key / pin.file if pin else None
        if file is None or not file.is_file():
            print(f"{key}: {'removed' if pin else 'unfinished'}")
            continue
        digest, entry = sha256(file), entries().get(key)
        good = digest == pin.sha256 and (entry is None or digest.startswith(entry.sha256))
        failed += not good
        print(f"{key}: {'as at its first use' if good else 'SHA-256 mismatch, damaged or replaced'} ({digest})")
    return int(failed > 0)


def _remove(args: argparse.Namespace) -> int:
    cache = Cache.of_environment()
    if bool(args.names) == args.all:
        raise UserError("name what is removed, or give --all; 'paddlevideo weights list --cached' prints what is there")
    for key in cache.folders() if args.all else [_key(name, cache) for name in args.names]:
        print(f"{key}: {cache.remove(key, args.pin) / _MB:.1f} MB removed")
    return 0


def _key(name: str, cache: Cache) -> str:
    """The folder in the cache that a name, an address or the folder's own name means."""
    wanted = wanted_of(name)
    key, there = wanted.key if wanted else name, cache.folders()
    if key not in there:
        raise UserError(f"{name}: is not in the cache {cache.folder}{suggest(key, there, listed=False)}")
    return key
