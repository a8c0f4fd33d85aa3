"""Which files an exported model consists of, and what its input looks like.

Paddle 3 writes the program as ``NAME.json``, Paddle 2 wrote ``NAME.pdmodel``; the weights are ``NAME.pdiparams``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError
from paddlevideo.safe_io import read_json, reading

PROGRAM_SUFFIXES = (".json", ".pdmodel")
PARAMS_SUFFIX = ".pdiparams"
_EXPORT_HINT = "tools/export_model.py writes it"


@dataclass(frozen=True)
class InputSpec:
    """One input of a program: -1 marks a free axis, dtype is numpy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def find_program(path: str | Path, say: Callable[[str], None]) -> Path:
    """The program file that ``path`` means: itself, or the same model in the other format, which is then said.

    Raises:
        UserError: neither is there.
    """
    path = Path(path)
    if path.is_file():
        return path
    stem = path.with_suffix("") if path.suffix in PROGRAM_SUFFIXES else path
    for suffix in PROGRAM_SUFFIXES:
        other = stem.with_name(stem.name + suffix)
        if other.is_file():
            say(f"{path} is not there; using {other}, the same model in {_generation(suffix)} format")
            return other
    tried = ", ".join(str(stem) + suffix for suffix in PROGRAM_SUFFIXES)
    raise UserError(f"{path}: no such model file (looked for {tried}); {_EXPORT_HINT}")


def find_params(path: str | Path | None, program: Path) -> Path:
    """The weights file: ``path``, or the one beside the program.

    Raises:
        UserError: it is not there (Paddle itself would run with arbitrary weights).
    """
    params = Path(path) if path is not None else program.with_suffix(PARAMS_SUFFIX)
    if not params.is_file():
        raise UserError(f"{params}: no such weights file for {program}; {_EXPORT_HINT} beside the model")
    return params


def program_inputs(program: Path) -> list[InputSpec]:
    """The inputs of an exported program, read from its file.  A damaged file is an error here, not a crash in Paddle.

    Raises:
        UserError: not an exported program.
    """
    read = _inputs_of_json if program.suffix == ".json" else _inputs_of_pdmodel
    with reading(program, "a model that Paddle exported", _EXPORT_HINT):
        inputs = read(program)
    if not inputs:
        raise UserError(f"{program}: an exported program, but without inputs; {_EXPORT_HINT}")
    return inputs


def _generation(suffix: str) -> str:
    return "Paddle 3's" if suffix == ".json" else "Paddle 2's"


def _inputs_of_json(program: Path) -> list[InputSpec]:
    content = read_json(program)
    operations = content["program"]["regions"][0]["blocks"][0]["ops"]
    inputs = []
    for operation in operations:
        if not operation["#"].endswith(".data"):
            continue
        attributes: dict[str, Any] = {entry["N"]: entry["AT"].get("D") for entry in operation["A"]}
        inputs.append(InputSpec(attributes["name"], tuple(attributes["shape"]), attributes["dtype"]))
    return inputs


def _inputs_of_pdmodel(program: Path) -> list[InputSpec]:
    from paddle.base import core

    description = core.ProgramDesc(program.read_bytes())  # must outlive its blocks: they point into it
    if description.num_blocks() == 0:  # what an empty file parses to; Paddle would crash
        raise ValueError("no blocks")
    block = description.block(0)
    inputs = []
    for i in range(block.op_size()):
        operation = block.op(i)
        if operation.type() == "feed":
            name = operation.output("Out")[0]
            variable = block.find_var(name.encode())
            inputs.append(InputSpec(name, tuple(variable.shape()), str(variable.dtype()).rsplit(".", 1)[-1]))
    return inputs
