"""Classes of a user's own files: ``imports: [my_models]`` at the top of a YAML file, or ``--import my_models``.

    imports: [my_models, layers/blocks.py, a_package]

An entry is a module or package (``my_models``, ``a_package.models``), or the path of a .py file.  Either is looked for
in the folder of the YAML file that names it, then in the working directory; a module also among the installed ones.
Its source is read, and the classes in it that are registered at the top level are indexed from then on, like the
suite's own: names and arguments are checked without running it.  It is imported when one of its classes is built.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.class_index import PACKAGE, Entry, entries_of_file
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.registry import REGISTRIES

KEY = "imports"


@dataclass(frozen=True)
class _Found:
    """Where a module is.

    Args:
        module: its name for ``import``.
        file: of the module; of a package its ``__init__.py``.
        root: folder that the name begins from; None: it is installed.
    """

    module: str
    file: Path
    root: Path | None


def declare(names: Any, folders: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Indexes the classes of users' modules; nothing of them runs.

    Args:
        names: the value of ``imports``.
        folders: where modules are looked for, in this order.

    Returns:
        The list with the files' absolute paths, so that it means the same from anywhere; and problem lines.
    """
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
        return [], [f"{KEY}: expected a list of modules or .py files, got {names!r}"]
    resolved, problems = [], []
    for i, name in enumerate(names):
        found = _find(name, folders)
        if found is None:
            places = " and ".join(dict.fromkeys(str(folder.resolve()) for folder in folders))
            problems.append(f"{KEY}[{i}]: there is no module or .py file {name!r}; looked in {places}")
            continue
        problems += [f"{KEY}[{i}]: {line}" for line in _index(found)]
        resolved.append(name if found.root is None else str(_location(found)))
    return list(dict.fromkeys(resolved)), problems


def sources_of(entries: Iterable[Entry]) -> dict[str, str]:
    """{file, or name of an installed module: SHA-256} of the users' modules that these classes are from."""
    from paddlevideo.safe_io import sha256  # which imports numpy; a configuration is checked without it

    own = {entry.file: entry for entry in entries if entry.file and not entry.file.is_relative_to(PACKAGE)}
    return {str(file if entry.root else entry.module): sha256(file) for file, entry in own.items()}


def require_declared(sources: Mapping[str, str], where: str) -> None:
    """Compares what ``sources_of`` gave for an export with the modules that are declared now.

    Nothing is declared here: the digest stands in the same file as the path, so an export of somebody else could name
    any code.  Only ``--import`` and ``imports`` do, which a user writes.

    Raises:
        UserError: a module is not declared, or differs from the one of the export.
    """
    every = (registry.entry(name) for registry in REGISTRIES.values() for name in registry.names())
    declared = sources_of(every) if sources else {}
    for name, digest in sources.items():
        if digest in declared.values():
            continue
        if Path(name).name in {Path(other).name for other in declared}:
            raise UserError(
                f"{where}: {KEY}: {name}: has changed since the export (SHA-256 mismatch); export the model again"
            )
        raise UserError(
            f"{where}: its pipeline has transforms from {name}, and an export runs no code by itself: read that file, "
            f"and name it with --import FILE (in Python imports=[FILE])"
        )


def declare_all(names: Sequence[str]) -> None:
    """``declare`` for modules that no configuration names, looked for in the working directory.

    Raises:
        ConfigError: with every problem.
    """
    _, problems = declare(names, (Path(),))
    if problems:
        raise ConfigError("--import", problems)


def _find(name: str, folders: Sequence[Path]) -> _Found | None:
    if name.endswith(".py") or "/" in name:
        for path in (folder / Path(name).expanduser() for folder in folders):
            file = path / "__init__.py" if path.is_dir() else path
            if file.is_file():
                return _of_file(file.resolve())
        return None
    for folder in folders:
        file = _below(folder.resolve(), name.split("."))
        if file is not None:
            return _Found(name, file, folder.resolve())
    first, *rest = name.split(".")
    spec = importlib.util.find_spec(first) if first.isidentifier() else None  # of the first: nothing is imported
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin).resolve() if not rest else _below(Path(spec.origin).resolve().parent, rest)
    return None if file is None else _Found(name, file, None)


def _below(folder: Path, parts: Sequence[str]) -> Path | None:
    path = folder.joinpath(*parts)
    files = (path.with_name(path.name + ".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _of_file(file: Path) -> _Found:
    """A file's module: of a package, if there is an ``__init__.py`` beside it."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return _Found(".".join(parts), file, folder)


def _location(found: _Found) -> Path:
    return found.file.parent if found.file.name == "__init__.py" else found.file


def _index(found: _Found) -> Iterator[str]:
    """Adds the classes of a module, or of all modules of a package, to their registries' indices."""
    location, count = _location(found), 0
    for file in sorted(location.rglob("*.py")) if location.is_dir() else [location]:
        inner = file.relative_to(location).with_suffix("").parts if location.is_dir() else ()
        module = ".".join([found.module, *(part for part in inner if part != "__init__")])
        try:
            entries = list(entries_of_file(file, module, found.root))
        except (SyntaxError, UnicodeDecodeError, OSError) as error:
            line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
            yield f"{file}{line}: not Python ({error.msg if isinstance(error, SyntaxError) else error})"
            return
        for registry, entry in entries:
            if registry in REGISTRIES:
                count += 1
                problem = REGISTRIES[registry].add_entry(entry)
                if problem:
                    yield f"{file}: {problem}"
    if not count:
        decorators = ", ".join(f"@{name}.register" for name in REGISTRIES)
        yield f"{location}: registers no class; above a class at the top level expected one of {decorators}"
