"""Which YAML file a path or a name means."""

from __future__ import annotations

from pathlib import Path

from paddlevideo.errors import UserError
from paddlevideo.registry import suggest
from paddlevideo.shipped import ROOT


def find_config(name: str | Path, child: Path | None = None) -> Path:
    """The YAML file of a path or a file name, with or without ``.yaml``.

    A file relative to the working directory comes first, then a path relative to the shipped files (``configs/...``),
    then the file name of a shipped configuration.

    Args:
        child: of a ``_base_``, the file that names it: its folder takes the place of the working directory, and the
            file itself is passed over.

    Raises:
        UserError: there is none, or several shipped ones share the name; the nearest names are given.
    """
    given, folder = Path(name).expanduser(), child.parent if child else Path()
    whole = given.suffix == ".yaml" or not given.name  # "", "." and "/" have no name to complete
    ways = [given] if whole else [given, given.with_name(f"{given.name}.yaml")]
    for path in [base / way for base in (folder, ROOT) for way in ways]:
        if path.is_file() and not (child and path.samefile(child)):
            return path
    files = [file for file in sorted((ROOT / "configs").rglob("*.yaml")) if "_base_" not in file.parts]
    found = [file for file in files if file.name == ways[-1].name] if given.parent == Path() else []
    found = [file for file in found if not (child and file.samefile(child))]
    if len(found) > 1:
        paths = ", ".join(str(file.relative_to(ROOT)) for file in found)
        raise UserError(f"{name}: several configurations have this name; give the path: {paths}")
    if found:
        return found[0]
    if child and any((folder / way).is_file() for way in ways):
        raise UserError(f"{child}: it is its own _base_; name another file")
    near = suggest(ways[-1].stem, [file.stem for file in files], listed=False)
    raise UserError(f"{folder / given}: no such configuration file{near}")
