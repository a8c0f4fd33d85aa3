"""Files of JSON lines that only grow: which of their entries are current.

An entry with ``"replaces": ID`` takes the place of the one whose ``"id"`` is ID; with ``"removed": true`` it leaves
nothing in its place, and can itself be replaced.  Every other entry is current, those without ``id`` among them, so
that a file without these keys is read as it is.  An entry is replaced once: what replaces it has an id of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

Place = TypeVar("Place")


class CurrentEntries(Generic[Place]):
    """The current entries of a file whose entries are added in their order."""

    def __init__(self) -> None:
        self._standing: dict[Any, tuple[Place, Mapping[str, Any]]] = {}  # those that can be replaced
        self._count = 0

    def __contains__(self, key: object) -> bool:
        """Whether the entry of that id can be replaced."""
        return key in self._standing

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self):
        """The current entries with their places, in the order in which they were added."""
        return (item for item in self._standing.values() if item[1].get("removed") is not True)

    def add(self, place: Place, entry: Mapping[str, Any]) -> None:
        """Adds one.

        An id that is no text, or that an entry before it has, is of no use to others, and names nothing.

        Raises:
            ValueError: it replaces none that is before it, or one that is replaced already.
        """
        key, replaced = entry.get("id"), entry.get("replaces")
        if replaced is not None and (not isinstance(replaced, str) or replaced not in self._standing):
            raise ValueError(f"replaces {replaced!r:.80}, which no entry before it is, or which is replaced already")
        if replaced is not None:
            del self._standing[replaced]
        self._count += 1
        named = isinstance(key, str) and key not in self._standing
        self._standing[key if named else self._count] = (place, entry)


def current(
    entries: Iterable[tuple[Place, Mapping[str, Any]]], report: Callable[[Place, str], None]
) -> list[tuple[Place, Mapping[str, Any]]]:
    """The current entries with their places; ``report`` receives those that ``CurrentEntries.add`` refuses."""
    found = CurrentEntries[Place]()
    for place, entry in entries:
        try:
            found.add(place, entry)
        except ValueError as error:
            report(place, str(error))
    return list(found)
