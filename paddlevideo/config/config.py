"""The checked, frozen configuration that a run is assembled from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from paddlevideo.config import augments, quantisation
from paddlevideo.config.checking import AUTO, SECTIONS, SPLITS, check
from paddlevideo.config.data_arguments import fill_from_data
from paddlevideo.config.finding import find_config
from paddlevideo.config.frames import follow, is_frames
from paddlevideo.config.merging import override, read_with_bases
from paddlevideo.config.protocols import KEYS, is_choice, resolve
from paddlevideo.config.scope import out_of_scope_line
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.extensions import KEY as IMPORTS
from paddlevideo.extensions import declare
from paddlevideo.settings import SMALL_SECTIONS, Settings


@dataclass(frozen=True)
class Assigned:
    """What ``-o`` has changed: the mapping as the file has it, and the key paths that were set."""

    file: Mapping[str, Any]
    paths: Sequence[str]


Check = Callable[[Mapping[str, Any], Assigned], list[str]]


class Config(Mapping[str, Any]):
    """A read-only mapping; mappings inside it are ``Config`` too, lists are handed out as copies."""

    def __init__(self, data: Mapping[str, Any], source: str = "configuration"):
        self._data = copy.deepcopy(dict(data))
        self.source = source

    def __getitem__(self, key: str) -> Any:
        value = self._data[key]
        return Config(value, self.source) if isinstance(value, dict) else copy.deepcopy(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"Config({self._data!r})"

    def to_dict(self) -> dict[str, Any]:
        """A deep copy as plain dicts and lists."""
        return copy.deepcopy(self._data)

    def section(self, key: str) -> dict[str, Any]:
        """A required section as a plain dict.

        Raises:
            ConfigError: it is not there.
        """
        if not isinstance(self._data.get(key), dict):
            raise ConfigError(self.source, [f"{key}: is missing; this command needs it"])
        return copy.deepcopy(self._data[key])

    def to_yaml(self) -> str:
        """The resolved configuration as YAML text that loads back to the same."""
        return yaml.safe_dump(self._data, sort_keys=False, allow_unicode=True, width=120)

    @cached_property
    def settings(self) -> Settings:
        """Its scalars, with the defaults of those that it leaves out."""
        return Settings.of(self._data)

    @property
    def output_dir(self) -> Path:
        """``output_dir``, or PaddleVideo's ``output/<model_name>``."""
        return Path(self._data.get("output_dir") or f"output/{self._data['model_name']}")


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    checks: Sequence[Check] = (),
    uses: Sequence[str] = SPLITS,
    imports: Sequence[str] = (),
    quantises: bool = False,
) -> Config:
    """Reads, merges, overrides and checks a configuration.

    Its ``protocol`` (``config.protocols``), its ``augment`` (``config.augments``), its ``num_seg`` (``config.frames``)
    and the places of its ``imports`` (``paddlevideo.extensions``) are resolved, and PIPELINE has what its data sets
    state for it (``config.data_arguments``).
    ``model_name: auto`` is the file's name.

    Args:
        path: the YAML file, or the name of one that comes with the package (``find_config``).
        overrides: ``a.b.0.c=value`` assignments, later ones win; one of them as a string, or a list.
        checks: further checks, ``(mapping, Assigned) -> problem lines``, reported with the rest.
        uses: the pipelines that this command runs; only theirs must give as many frames as the network takes.
        imports: modules with a user's own classes, besides those that the file imports.
        quantises: whether PaddleVideo's quantisation file (``config.quantisation``) is a configuration here.

    Raises:
        ConfigError: with every mistake of the file and the overrides at once.
        UserError: no such file; or the file of a model out of scope, or of a quantisation, in one line.
    """
    overrides = [overrides] if isinstance(overrides, str) else overrides
    file = find_config(path)
    data, lines = read_with_bases(file)
    original = copy.deepcopy(data)
    modules = [assignment for assignment in overrides if assignment.partition("=")[0].strip() == IMPORTS]
    choices = [assignment for assignment in overrides if is_choice(assignment)]
    levels = [assignment for assignment in overrides if augments.is_level(assignment)]
    frames = [assignment for assignment in overrides if is_frames(assignment)]
    others = [assignment for assignment in overrides if assignment not in (*modules, *choices, *levels, *frames)]
    problems = _override(data, lines, modules)
    problems += _imports(data, lines, imports)
    if problems:  # all names of their classes would be unknown
        raise ConfigError(str(file), [_with_line(problem, lines, file) for problem in problems])
    problems += follow(data, lines)
    problems += _override(data, lines, [*choices, *levels])
    problems += resolve(data, lines)
    problems += augments.resolve(data, lines)
    problems += _override(data, lines, others)
    problems += _override(data, lines, frames)
    for key in ("MIX", *SMALL_SECTIONS):
        if key in data and data[key] is None:  # how a section of a base, or of the file, is left out
            del data[key]
    if data.get("model_name") == AUTO:
        data["model_name"] = file.stem
    foreign = out_of_scope_line(data)
    if foreign:
        raise UserError(f"{file}: {_with_line(foreign, lines, file)}")
    if quantisation.is_quantisation(data):
        return _of_quantisation(data, lines, file, problems, quantises)
    assigned = [path for path, place in lines.items() if path and place == "-o"]
    problems += follow(data, lines, assigned=assigned)
    fill_from_data(data)
    problems += check(data, uses)
    for extra in checks:
        problems += extra(data, Assigned(original, assigned))
    if problems:
        raise ConfigError(str(file), [_with_line(problem, lines, file) for problem in problems])
    return Config(data, str(file))


def _of_quantisation(
    data: dict[str, Any], lines: Mapping[str, str], file: Path, problems: list[str], quantises: bool
) -> Config:
    if not quantises:
        raise UserError(quantisation.refusal(str(file)))
    problems = [*problems, *quantisation.problems(data)]
    if problems:
        raise ConfigError(str(file), [_with_line(problem, lines, file) for problem in problems])
    return Config(data, str(file))


def _imports(data: dict[str, Any], lines: Mapping[str, str], more: Sequence[str]) -> list[str]:
    """Indexes the classes of the file's own imports, and of the command line's; one line per problem."""
    problems: list[str] = []
    resolved: list[str] = []
    here = Path(lines.get(IMPORTS, "").rpartition(":")[0]).parent  # of the base that names them
    for names, folders in ((data.get(IMPORTS, []), (here, Path())), (more, (Path(),))):
        found, wrong = declare(names, folders)
        resolved, problems = resolved + found, problems + wrong
    if resolved:
        data[IMPORTS] = list(dict.fromkeys(resolved))
    return problems


def _override(data: dict[str, Any], lines: dict[str, str], assignments: Sequence[str]) -> list[str]:
    """Applies ``-o`` assignments in their order; one line per problem."""
    problems = []
    for assignment in assignments:
        key_path, problem = override(data, assignment, (*SECTIONS, *KEYS, *augments.KEYS))
        lines[key_path] = "-o"
        if problem:
            problems.append(problem)
    return problems


def _with_line(problem: str, lines: Mapping[str, str], file: Path) -> str:
    """Adds the key's place: its line, and its file if that is a base."""
    path = problem.split(":", 1)[0]
    while path and path not in lines:
        path = path.rsplit("[", 1)[0] if path.endswith("]") else path.rpartition(".")[0]
    if not path:
        return problem
    place = lines[path]
    name, _, line = place.rpartition(":")
    if name == str(file):
        place = f"line {line}"
    return f"{problem}  ({place})"
