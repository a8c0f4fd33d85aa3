"""Lengths of schedules and of the run.

A length of a schedule (``max_epoch``, ``T_max``, ``boundaries``, ``warmup_epochs``...) is a number, or a share of the
run as text, ``20/50``, which follows ``epochs``.  The end of a schedule may be left out: it is the run's end.  A number
is compared with ``epochs``: a difference is reported, and ``-o epochs=N`` is refused while numbers remain that no other
``-o`` repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddlevideo.solver.check import ENDS, by_iteration, in_whole_numbers, schedule_arguments, share_of, unit_of


@dataclass(frozen=True)
class Run:
    """The run that a schedule is made for.

    Args:
        epochs: of the run, or of its part that the schedule holds for.
        steps_per_epoch: optimizer steps; None where the data are unknown.
        steps_before: steps of the schedule that pass before it begins.
    """

    epochs: int
    steps_per_epoch: int | None = None
    steps_before: int = 0

    def total(self, unit: str, each_step: bool) -> int | float | None:
        """The run in epochs or in steps of the schedule; None where that is unknown."""
        per_epoch = self.steps_per_epoch if each_step else 1
        if unit == "epochs" and not self.steps_before:
            return self.epochs
        if per_epoch is None:
            return None
        steps = max(1, self.epochs * per_epoch - self.steps_before)
        return steps if unit == "steps" else steps / per_epoch


@dataclass(frozen=True)
class _Length:
    """One argument that states a length: key path, value, unit ("epochs" or "steps" of the schedule), and its run."""

    path: str
    value: Any
    unit: str
    each_step: bool
    run: Run

    @property
    def is_end(self) -> bool:
        return self.path.rpartition(".")[2] in ENDS

    @property
    def is_warmup(self) -> bool:
        return self.path.rpartition(".")[2].startswith("warmup")

    @property
    def numbers(self) -> list[int | float]:
        """The numbers in it; shares and 0, the beginning, are left out."""
        return [value for value in _listed(self.value) if isinstance(value, (int, float)) and value > 0]

    @property
    def words(self) -> str:
        return "steps" if self.unit == "steps" and self.each_step else "epochs"


def in_numbers(section: Mapping[str, Any], run: Run, each_step: bool) -> dict[str, Any]:
    """The arguments of a schedule, shares of the run as numbers, and an end that is left out as the run's.

    Steps are whole: a share that falls between two is the later one.  A schedule inside is left as it is.
    """
    found = dict(section)
    for name, parameter in schedule_arguments(section["name"]).items():
        unit = unit_of(parameter.annotation)
        total = run.total(unit, each_step) if unit else None
        if unit and name in ENDS:
            found.setdefault(name, total)
        if name in found:
            found[name] = in_whole_numbers(_number(found[name], total, unit), parameter.annotation)
    return found


def differences(section: Any, where: str, run: Run) -> list[str]:
    """One line for each length that is not the run's; lengths in iterations only where ``steps_per_epoch`` is given."""
    return [line for length in _lengths(section, where, run) for line in _difference(length)]


def broken(section: Any, where: str, before: int, epochs: int, assigned: Sequence[str]) -> list[str]:
    """Lengths that ``-o epochs=N`` leaves: one line for each length that the file states for its own ``epochs``.

    Args:
        before: the file's ``epochs``.
        epochs: the command line's.
        assigned: key paths that ``-o`` has set; a length among them is meant.
    """
    found = [length for length in _lengths(section, where, Run(epochs)) if length.numbers]
    if before == epochs or any(length.is_end and length.value == epochs for length in found):
        return []
    return [
        _outdated(length, before, epochs)
        for length in found
        if not any(length.path == path or length.path.startswith(f"{path}.") for path in assigned)
        # a warm-up shorter than the run is one of any run; one in iterations is compared when the data are known
        and not (length.is_warmup and (length.words == "steps" or max(length.numbers) < epochs))
    ]


def _lengths(section: Any, where: str, run: Run, each_step: bool | None = None) -> Iterator[_Length]:
    if not isinstance(section, Mapping) or section.get("cycle") is True:
        return
    each_step = by_iteration(section) if each_step is None else each_step
    for argument, parameter in schedule_arguments(section["name"]).items():
        value, unit = section.get(argument), unit_of(parameter.annotation)
        if isinstance(value, Mapping):
            if each_step and run.steps_per_epoch is None:
                continue
            before = in_numbers(section, run, each_step).get("warmup_steps", 0)
            inner = Run(run.epochs, run.steps_per_epoch, int(before))
            yield from _lengths(value, f"{where}.{argument}", inner, each_step)
        elif unit and value is not None:
            yield _Length(f"{where}.{argument}", value, unit, each_step, run)


def _difference(length: _Length) -> Iterator[str]:
    total = length.run.total(length.unit, length.each_step)
    if total is None or not length.numbers:
        return
    words, least, most = length.words, min(length.numbers), max(length.numbers)
    # iterations counted by hand may be off by the incomplete batches of an epoch
    slack = length.run.steps_per_epoch - 1 if words == "steps" else 0
    run = f"the run has {total:g} {words}"
    if length.is_end and least < total - slack:
        yield f"{length.path}: the schedule ends after {least:g} {words} and {run}: its last rate holds from there on"
    elif length.is_end and most > total + slack:
        yield f"{length.path}: the schedule takes {most:g} {words} and {run}: its last rate is never reached"
    elif length.is_warmup and most >= total:
        yield f"{length.path}: the warm-up takes {most:g} {words} and {run}: its end is never reached"
    elif not length.is_end and most >= total:
        late = [f"{number:g}" for number in length.numbers if number >= total]
        yield f"{length.path}: {', '.join(late)} of {words} is never reached, {run}"


def _outdated(length: _Length, before: int, epochs: int) -> str:
    if length.words == "epochs":
        shares = [f"{item:g}/{before}" if item in length.numbers else str(item) for item in _listed(length.value)]
        shape = f"[{','.join(shares)}]" if isinstance(length.value, (list, tuple)) else shares[0]
    else:
        shape = "a share of the run like 2/5"
    own = str(length.value).replace(" ", "")
    return (
        f"{length.path}: is {own} for the file's {before} epochs, and -o sets epochs to {epochs}; add -o "
        f"{length.path}={shape} to keep the shape of the schedule, or ={own} to keep the number"
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _number(value: Any, total: int | float | None, unit: str | None) -> Any:
    """A length with its shares as numbers of the unit."""
    if isinstance(value, (list, tuple)):
        numbers = [_number(item, total, unit) for item in value]
        if unit == "steps":
            # shares of a short run that fall on one step follow one another: every drop happens, in its order
            for i in range(1, len(numbers)):
                numbers[i] = max(numbers[i], numbers[i - 1] + 1) if share_of(value[i]) else numbers[i]
        return numbers
    share = share_of(value)
    if unit is None or share is None:
        return value
    part, whole = share
    if unit == "steps":
        return max(1, -(-total * part // whole))
    return total * part // whole if total * part % whole == 0 else total * part / whole
