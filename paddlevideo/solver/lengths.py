"""How long schedules last, compared with the run; needs no Paddle.

A length of a schedule (``max_epoch``, ``T_max``, ``boundaries``, ``warmup_epochs``...) is a number, or a share of the
run as text, ``20/50``, which follows ``epochs``.  The end of a schedule may be left out: it is the run's end.  A number
is compared with ``epochs``: a difference is said, and ``-o epochs=N`` is refused while numbers stand that no other
``-o`` repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddlevideo.solver.check import ALWAYS_BY_ITERATION, ENDS, LENGTHS, SHARE, is_share, schedule_arguments


@dataclass(frozen=True)
class Run:
    """What a schedule lasts for.

    Args:
        epochs: of the run, or of its part that the schedule holds for.
        steps_per_epoch: optimizer steps; None where the data are not known yet.
        steps_before: steps at the schedule's beat that pass before it begins.
    """

    epochs: int
    steps_per_epoch: int | None = None
    steps_before: int = 0

    def total(self, unit: str, by_iteration: bool) -> int | float | None:
        """The run in epochs or in steps at the schedule's beat; None where that is not known yet."""
        per_epoch = self.steps_per_epoch if by_iteration else 1
        if unit == "epoch" and not self.steps_before:
            return self.epochs
        if per_epoch is None:
            return None
        steps = max(1, self.epochs * per_epoch - self.steps_before)
        return steps if unit == "beat" else steps / per_epoch


@dataclass(frozen=True)
class _Length:
    """One argument that states a length: where it stands, what it says, in what unit, and of what."""

    path: str
    value: Any
    unit: str  # "epoch", or "beat": steps that the schedule takes, epochs or iterations
    by_iteration: bool
    run: Run

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def is_end(self) -> bool:
        return self.name in ENDS

    @property
    def is_warmup(self) -> bool:
        return self.name.startswith("warmup")

    @property
    def numbers(self) -> list[int | float]:
        """What it states as numbers; shares and 0, the beginning, are not among them."""
        values = self.value if isinstance(self.value, (list, tuple)) else [self.value]
        return [value for value in values if isinstance(value, (int, float)) and value > 0]

    @property
    def words(self) -> str:
        return "steps" if self.unit == "beat" and self.by_iteration else "epochs"


def in_numbers(section: Mapping[str, Any], run: Run, by_iteration: bool) -> dict[str, Any]:
    """The arguments of a schedule, shares of the run as numbers, and an end that is left out as the run's.

    Steps are whole: a share that falls between two is the later one.  A schedule inside is left as it is.
    """
    found = dict(section)
    for name, (_, kind) in schedule_arguments(section["name"]).items():
        unit = kind.rstrip("s")
        if unit not in LENGTHS:
            continue
        total = run.total(unit, by_iteration)
        if name in ENDS:
            found.setdefault(name, total)
        value = found.get(name)
        if isinstance(value, (list, tuple)):
            found[name] = [_number(item, total, unit) for item in value]
            if unit == "beat":
                found[name] = _increasing(found[name], value)
        elif value is not None:
            found[name] = _number(value, total, unit)
    return found


def differences(section: Any, where: str, run: Run) -> list[str]:
    """One line for each length that is not the run's; lengths in iterations only where ``steps_per_epoch`` is given."""
    return [line for length in _lengths(section, where, run) for line in _difference(length)]


def broken(section: Any, where: str, before: int, epochs: int, assigned: Sequence[str]) -> list[str]:
    """What ``-o epochs=N`` leaves behind: one line for each length that the file states for its own ``epochs``.

    Args:
        before: the file's ``epochs``.
        epochs: the command line's.
        assigned: key paths that ``-o`` has set; a length among them is meant.
    """
    found = [length for length in _lengths(section, where, Run(epochs)) if length.numbers]
    if before == epochs or any(length.is_end and length.value == epochs for length in found):
        return []
    return [
        _left_behind(length, before, epochs)
        for length in found
        if not any(length.path == path or length.path.startswith(f"{path}.") for path in assigned)
        # a warm-up shorter than the run is one of any run; one in iterations is compared when the data are known
        and not (length.is_warmup and (length.words == "steps" or max(length.numbers) < epochs))
    ]


def _lengths(section: Any, where: str, run: Run, by_iteration: bool | None = None) -> Iterator[_Length]:
    if not isinstance(section, Mapping) or section.get("cycle") is True:
        return
    name = section["name"]
    if by_iteration is None:
        by_iteration = bool(section.get("iter_step")) or name in ALWAYS_BY_ITERATION
    for argument, (_, kind) in schedule_arguments(name).items():
        value = section.get(argument)
        if kind == "lr" and isinstance(value, Mapping):
            before = in_numbers(section, run, by_iteration)["warmup_steps"] if run.steps_per_epoch else None
            if before is not None or not by_iteration:
                before = section["warmup_steps"] if before is None else before
                before = before if isinstance(before, (int, float)) else 0
                inner = Run(run.epochs, run.steps_per_epoch, int(before))
                yield from _lengths(value, f"{where}.{argument}", inner, by_iteration)
        elif kind.rstrip("s") in LENGTHS and value is not None:
            yield _Length(f"{where}.{argument}", value, kind.rstrip("s"), by_iteration, run)


def _difference(length: _Length) -> Iterator[str]:
    total = length.run.total(length.unit, length.by_iteration)
    if total is None or not length.numbers:
        return
    words, least, most = length.words, min(length.numbers), max(length.numbers)
    # who counts iterations by hand may be off by the incomplete batches of an epoch
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


def _left_behind(length: _Length, before: int, epochs: int) -> str:
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


def _number(value: Any, total: int | float, unit: str) -> Any:
    if not is_share(value):
        return value
    part, whole = (int(digits) for digits in SHARE.fullmatch(value).groups())
    if unit == "beat":
        return max(1, -(-total * part // whole))
    return total * part // whole if total * part % whole == 0 else total * part / whole


def _increasing(values: list[int], written: Sequence[Any]) -> list[int]:
    """Shares of a short run that fall on one step follow one another: every drop happens, in its order."""
    for i in range(1, len(values)):
        if is_share(written[i]):
            values[i] = max(values[i], values[i - 1] + 1)
    return values
