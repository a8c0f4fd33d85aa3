"""The files that a command writes: none is one that it reads, or another of them, and each is tried before the work."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from paddlevideo.errors import UserError, printable

Named = tuple[str, str]  # flag, path
Say = Callable[[str], None]

_OF_MODEL = ("config", "weights", "model_file", "params_file", "label_file")


def check_outputs(outputs: Sequence[Named], inputs: Iterable[Named]) -> None:
    """
    Args:
        outputs: all files that the command may write.
        inputs: all files that it reads, and folders.

    Raises:
        UserError: an output is an input or another output, under whatever name; it is a folder, or its folder cannot
            be written to.
    """
    places: dict[object, Named] = {}
    for flag, path in outputs:
        other = places.setdefault(_place(path), (flag, path))
        if other != (flag, path) or outputs.count((flag, path)) > 1:
            raise UserError(f"{flag} {printable(path)}: is the file of {other[0]}, too; give each a name of its own")
    for flag, path in inputs:
        output = places.get(_place(os.path.expanduser(path)))
        if output is not None:
            raise UserError(f"{output[0]} {printable(output[1])}: is an input ({flag}); give another name")
    for flag, path in outputs:
        _try(flag, path)


def model_files(args: argparse.Namespace, more: Sequence[str] = ()) -> Iterator[Named]:
    """The files of a model that the flags name.

    Args:
        more: further flags of files that are read, as attributes of ``args``.
    """
    for name in (*_OF_MODEL, *more):
        path = vars(args)[name]
        if path:
            yield f"--{name}", path
        if name == "model_file" and path and os.path.isdir(path):
            # a program is a .json, as results are
            yield from ((f"--{name}", str(file)) for file in Path(path).glob("*.json") if _is_program(file))


def sets_before(out: Path, written: Collection[str]) -> list[str]:
    """A line where files of an earlier split lie beside those that were written.

    Args:
        written: their names.
    """
    endings = {Path(name).suffix for name in written}
    others = [f"{split}{end}" for split in ("train", "val", "test") for end in sorted(endings)]
    found = [name for name in others if name not in written and (out / name).is_file()]
    if not found:
        return []
    return [f"note: {out / found[0]} is of an earlier split and may share videos with the sets of this one; remove it"]


def failures_of(writes: Iterable[Callable[[], Iterable[str] | None]], say: Say) -> list[UserError]:
    """Runs every one, also after one that fails.

    Args:
        writes: each writes a file and gives remarks.
        say: receives these.

    Returns:
        The errors.
    """
    errors = []
    for write in writes:
        try:
            for remark in write() or ():
                say(remark)
        except UserError as error:
            errors.append(error)
    return errors


def raise_first(errors: Sequence[BaseException], say: Say) -> None:
    """Raises the first one; ``say`` receives the others, a line each."""
    for error in errors[1:]:
        say(f"error: {error}")
    if errors:
        raise errors[0]


def _place(path: str) -> object:
    """The same of all names of a file."""
    try:
        found = os.stat(path)
    except OSError:  # not there yet
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def _is_program(file: Path) -> bool:
    return file.with_suffix(".pdiparams").is_file()


def _try(flag: str, path: str) -> None:
    if os.path.isdir(path):
        raise UserError(f"{flag} {printable(path)}: is a folder; expected the name of a file")
    folder = next(str(parent) for parent in Path(os.path.abspath(path)).parents if os.path.exists(parent))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{flag} {printable(path)}: cannot be written ({folder}: {error.strerror})") from None
