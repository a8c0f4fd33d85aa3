"""The files that come with the package: YAML files below ``configs/`` and label lists below ``data/``.

A checkout has them at its root; an installed package holds copies.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent


def shipped(path: str | Path) -> Path:
    """The file that a path means: relative to the working directory, or where there is none, to the shipped files."""
    path = Path(path).expanduser()
    return path if path.exists() or not (ROOT / path).is_file() else ROOT / path
