"""Names from files cannot write to a terminal: control characters of all that a command prints are shown escaped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from paddlevideo.errors import CONTROL, printable


class _Escaping:
    """A text stream; line breaks, tabs, and the return that begins a progress bar's line are kept."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        begin = text[: text.startswith("\r")]
        self._stream.write(begin + escaped(text[len(begin) :], self._stream.encoding))
        return len(text)


def escaped(text: str, encoding: str | None = None) -> str:
    """The text with control characters, and what the encoding does not have, as ``\\x1b``."""
    text = CONTROL.sub(lambda match: printable(match[0], keep="\n\t"), text)
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Both standard streams escape within the block; what is written to a closed one is lost."""
    with contextlib.ExitStack() as entered:
        nowhere = entered.enter_context(open(os.devnull, "w"))
        # None: closed before Python began (``>&-``)
        entered.enter_context(contextlib.redirect_stdout(_Escaping(sys.stdout or nowhere)))
        entered.enter_context(contextlib.redirect_stderr(_Escaping(sys.stderr or nowhere)))
        yield
