"""``NAME_names.json`` beside an exported model: which variable of its program holds which parameter of the network.

An export so is a checkpoint, too: ``modeling.weights.read_weights`` gives its arrays under the network's own names.
The file has the digests of program and weights, and the class names, as the note beside a ``.pdparams`` file has them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import DamagedFileError, UserError
from paddlevideo.manifest import read_note, write_manifest
from paddlevideo.safe_io import instead_of_a_file, sha256

SUFFIX = "_names.json"
PARAMS = ".pdiparams"
CLASSIFIER = "head.fc."  # of parameters' names: the last layer, on features


@dataclass(frozen=True)
class WeightNames:
    """What ``NAME_names.json`` holds.

    Args:
        file: itself.
        program, params: the files of the exported model.
        names: parameter of the network -> variable of the program.
        classes: as ``Classes.describe`` gives them.
        features: SHA-256 of all that the input of the classifier depends on: of two exports that differ in the
            classifier alone it is the same.
        input: what its clips are, as ``network_input.input_of`` gives it; None: unknown.
        thresholds: of several labels per clip, the least score per class that counts as found; None: unknown.
    """

    file: Path
    program: Path
    params: Path
    names: Mapping[str, str]
    classes: Mapping[str, Any]
    features: str
    input: dict[str, Any] | None = None
    thresholds: list[float] | None = None


def is_export(path: str | os.PathLike) -> bool:
    """Whether a path names exported weights: ``NAME.pdiparams``, or a folder with one."""
    path = Path(os.path.expanduser(path))
    return path.suffix == PARAMS or (path.is_dir() and any(path.glob(f"*{PARAMS}")))


def weights_file(path: str | os.PathLike) -> Path:
    """The file that holds weights: that of a path, a name or an address (``downloads.cache.local_weights``), or the
    ``.pdiparams`` in the folder of an export.

    Raises:
        UserError: a folder of several models; a name or address that cannot be fetched.
    """
    path = local_weights(path)
    return _params_of(path) if path.is_dir() and is_export(path) else path


def write_names(
    program: Path,
    params: Path,
    names: Mapping[str, str],
    classes: Mapping[str, Any],
    features: str,
    clips: Mapping[str, Any],
    thresholds: Sequence[float] | None = None,
) -> Path:
    """Writes ``NAME_names.json`` beside the program.

    Args:
        clips: what the network takes, as ``network_input.input_of`` gives it.
    """
    file = params.with_name(params.stem + SUFFIX)
    digests = {each.name: sha256(each) for each in (program, params)}
    more = {} if thresholds is None else {"thresholds": list(thresholds)}
    about = {
        "files": digests,
        "classes": dict(classes),
        "names": dict(names),
        "features": features,
        "input": dict(clips),
    }
    write_manifest(file, about | more)
    return file


def read_names(path: str | os.PathLike, check: bool = True) -> WeightNames:
    """The names of exported weights.

    Args:
        path: ``NAME.pdiparams``, or its folder.
        check: compare program and weights with their digests.

    Raises:
        UserError: there are none, as in exports of earlier versions; a folder of several models.
        DamagedFileError: the file is damaged, or written for another program or other weights.
    """
    params = _params_of(Path(os.path.expanduser(path)))
    file = params.with_name(params.stem + SUFFIX)
    if not file.is_file():
        raise UserError(
            f"{params}: has no {file.name} beside it, so its weights have no names; export it again with this version"
        )
    content = read_note(file, "export the model again")
    digests, names, classes, features = (content.get(key) for key in ("files", "names", "classes", "features"))
    typed = all(isinstance(table, dict) for table in (digests, names, classes)) and isinstance(features, str)
    if not typed or params.name not in digests or len(digests) != 2:
        raise DamagedFileError(f"{file}: not as export writes it; export the model again")
    (program,) = (params.with_name(Path(name).name) for name in digests if name != params.name)
    for each in (program, params):
        if not each.is_file():
            raise UserError(f"{each}: {instead_of_a_file(each)}, but {file.name} is about it; export the model again")
        if check and sha256(each) != digests[each.name]:
            raise DamagedFileError(
                f"{each}: SHA-256 mismatch with {file.name} beside it: damaged, or of another export; export the model "
                "again"
            )
    return WeightNames(file, program, params, names, classes, features, content.get("input"), content.get("thresholds"))


def check_thresholds(found: Any, num_classes: int, where: Path) -> list[float]:
    """Thresholds as numbers.

    Raises:
        DamagedFileError: they are not one number from 0 to 1 for each class.
    """
    numbers = isinstance(found, list) and all(type(value) in (int, float) and 0 <= value <= 1 for value in found)
    if not numbers or len(found) != num_classes:
        raise DamagedFileError(f"{where}: damaged: thresholds: expected {num_classes} numbers from 0 to 1")
    return [float(value) for value in found]


def _params_of(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path}: {instead_of_a_file(path)}")
        return path
    found = sorted(path.glob(f"*{PARAMS}"))
    if len(found) != 1:
        what = f"holds several ({', '.join(file.name for file in found)})" if found else "holds none"
        raise UserError(f"{path}: expected one exported model ({PARAMS}), {what}")
    return found[0]
