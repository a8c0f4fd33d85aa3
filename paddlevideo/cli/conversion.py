"""Converts a weights file of another project for the network of a configuration, and writes it with its note."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paddlevideo.classes import UNKNOWN, classes_of_config, classes_of_weights, settled, write_weights
from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.modeling.conversion import Conversion, convert_weights
from paddlevideo.modeling.frameworks.build import build_deployed
from paddlevideo.safe_io import sha256


def convert_file(config: Config, source: str | Path, target: str | Path, **how: Any) -> Conversion:
    """Converts ``source`` for the network of ``config`` and writes ``target`` and ``target``.json beside it.

    Args:
        config: its MODEL is the network, of a distillation the student; files that MODEL names are not loaded.
        source: ``.pth`` (and torch's other suffixes), ``.safetensors`` or ``.pdparams``.
        target: ``.pdparams``.
        how: as of ``convert_weights``: origin, backbone_only, averaged, allow_missing, allow_unexpected.

    Raises:
        UserError: the file is missing, unsafe or of unknown origin, or keys are left over; nothing is written then.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    if target.suffix != ".pdparams":
        raise UserError(f"{target}: the target must end in .pdparams")
    if target.resolve() == source.resolve():
        raise UserError(f"{target}: source and target are the same file")
    framework = build_deployed(settled(config, classes_of_config(config, "test")).section("MODEL"))
    conversion = convert_weights(framework, source, **how)
    record = {
        "source": source.name,
        "source_sha256": sha256(source),
        "config": config.source,
        "model_name": config["model_name"],
        **conversion.describe(),
    }
    whole = conversion.part == "recogniser" and source.suffix == ".pdparams"
    write_weights(target, conversion.arrays, classes_of_weights(source) if whole else UNKNOWN, record)
    return conversion
