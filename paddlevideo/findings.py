"""The one collector of mistakes in a user's files: all are told at once, each with its place."""

from __future__ import annotations

from paddlevideo.errors import ConfigError, printable

MAX_SHOWN = 20


class Findings:
    """Mistakes of one input.  Twenty are shown and the rest counted; the same mistake at several places is one line.

    Args:
        source: the input, for the first line of the error.
    """

    def __init__(self, source: str):
        self.source = source
        self._found: dict[str, tuple[str, int]] = {}  # text -> first place, how often

    def __len__(self) -> int:
        return sum(count for _, count in self._found.values())

    def add(self, where: str, text: str) -> None:
        """Notes a mistake.

        Args:
            where: ``file:line``, ``file: element`` or a key path.
            text: what is wrong, what was expected, and the way out.
        """
        first, count = self._found.get(text, (where, 0))
        self._found[text] = (first, count + 1)

    def raise_if_any(self) -> None:
        """
        Raises:
            ConfigError: everything noted.
        """
        if not self._found:
            return
        lines = [
            printable(f"{where}: {text}" + (f" ({count} times, this is the first)" if count > 1 else ""))
            for text, (where, count) in self._found.items()
        ]
        more = [f"... and {len(lines) - MAX_SHOWN} more"] if len(lines) > MAX_SHOWN else []
        raise ConfigError(printable(self.source), lines[:MAX_SHOWN] + more)
