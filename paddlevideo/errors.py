"""Errors that a user can cause.  Commands print them as one line and exit with 2; everything else is a bug."""


class UserError(Exception):
    """What is wrong, where (file, key path, line), what was expected, and the way out, in one line."""


class UnsafeFileError(UserError):
    """A file asks for something that data never needs; it was not executed."""


class DamagedFileError(UserError):
    """A file is truncated, of another kind, or does not match its digest."""


class ConfigError(UserError):
    """All mistakes of one configuration at once.

    Args:
        source: the file the mistakes stand in.
        problems: one line each, beginning with its key path.
    """

    def __init__(self, source: str, problems: list[str]):
        self.source = source
        self.problems = list(problems)
        noun = "mistake" if len(self.problems) == 1 else "mistakes"
        super().__init__("\n  ".join([f"{source}: {len(self.problems)} {noun}", *self.problems]))
