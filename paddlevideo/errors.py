"""Errors that a user can cause, and the exit codes of all commands.

Commands print a ``UserError`` as one line and exit with 2; every other exception is a bug.
"""

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

EXIT_USER_ERROR = 2
EXIT_RANK_HUNG = 3
EXIT_RANK_LOST = 4
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
EXIT_TERMINATED = 143

EXIT_CODES = {
    0: "finished",
    1: "a bug, with a traceback; or a checking tool found errors",
    EXIT_USER_ERROR: "a mistake that the user can mend, named in one line",
    EXIT_RANK_HUNG: "a rank hangs, named in one line",
    EXIT_RANK_LOST: "another rank has ended; its own log has the cause",
    EXIT_INTERRUPTED: "Ctrl-C; training has saved a resume point",
    EXIT_PIPE: "the reader of the output has ended, as head does",
    EXIT_TERMINATED: "SIGTERM, or the launcher has ended; training has saved a resume point",
}


def printable(text: object, keep: str = "") -> str:
    """The text with control and other invisible characters escaped, so that a file name cannot write to a terminal.

    Args:
        keep: characters that stay, e.g. line breaks.
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "backslashreplace").decode()
        for c in str(text)
    )


class UserError(Exception):
    """What is wrong, where (file, key path, line), what was expected, and the way out, in one line."""


class UnsafeFileError(UserError):
    """A file names code that data never needs; it was not executed."""


class DamagedFileError(UserError):
    """A file is truncated, of another kind, or does not match its digest."""


class ConfigError(UserError):
    """All mistakes of one configuration at once.

    Args:
        source: the file with the mistakes.
        problems: one line each, beginning with its key path.
        total: how many there are, where ``problems`` does not hold all of them.
    """

    def __init__(self, source: str, problems: list[str], total: int | None = None):
        self.source = source
        self.problems = list(problems)
        total = len(self.problems) if total is None else total
        super().__init__("\n  ".join([f"{source}: {total} mistake{'s' if total != 1 else ''}", *self.problems]))
