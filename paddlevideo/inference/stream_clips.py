"""The clips of a stream's windows, decoded and cut by a process of their own while the model runs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import RawValue
from typing import Any

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.inference.stream import FileStream, LiveSettings, LiveStream, Status, open_stream
from paddlevideo.inference.windows import WindowReader, Windows, check_max_fps
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.workers import can_fork, error_of, failure_of, follow_parent
from paddlevideo.settings import DEFAULT_SEED

Say = Callable[[str], None]

_JOIN_S = 3.0


@dataclass(frozen=True)
class ClipOfWindow:
    """What the model is given of a window.

    Args:
        start_s, end_s: of the window, since the stream's first frame.
        imgs: uint8 [V, T, H, W, 3].
    """

    start_s: float
    end_s: float
    imgs: np.ndarray

    @property
    def time_s(self) -> float:
        """The time from which on it is known."""
        return self.end_s


@dataclass
class StreamClips:
    """Iterates over the clips of all windows; ``close`` ends the process.

    Args:
        text: a path, a camera or an address.
        pipeline: PIPELINE.test; what it reads is a window.
        window_s, hop_s, max_fps: see ``Windows``.
        damaged: of a file: ``read`` takes what can be decoded.
        seed: of the pipeline's generator, ``[seed, 0, number]``.
        live: how a live source is received.
        say: receives remarks, also while no clip is ready.

    Attributes:
        status: what has happened to the source; current, whatever the process waits for.
        end_s: end of the last window; when all have been given, of the stream.

    Raises:
        UserError: of the source, in its turn, when the windows before it have been given; ``max_fps`` is too small.
    """

    text: str
    pipeline: Pipeline
    window_s: float
    hop_s: float
    say: Say
    max_fps: float | None = None
    damaged: Damaged = "refuse"
    seed: int = DEFAULT_SEED
    live: LiveSettings = field(default_factory=LiveSettings)
    status: Status = field(default_factory=lambda: RawValue(Status))
    end_s: float = 0.0
    _process: Any = None
    _connection: Connection | None = None
    _remarks: Connection | None = None

    def __post_init__(self) -> None:
        check_max_fps(self.max_fps, self.window_s)

    def start(self) -> StreamClips:
        """Starts the process, which opens the source; before the model is loaded, where that is possible."""
        if not can_fork():
            self.say("this process cannot fork another one; it decodes the video itself, between two runs of the model")
            return self
        context = multiprocessing.get_context("fork")
        self._connection, clips_end = context.Pipe()
        self._remarks, remarks_end = context.Pipe()
        arguments = (os.getpid(), clips_end, remarks_end)
        self._process = context.Process(target=self._serve, args=arguments, name="stream", daemon=True)
        self._process.start()
        clips_end.close()
        remarks_end.close()
        return self

    def __iter__(self) -> Iterator[ClipOfWindow]:
        messages = self._received() if self._process is not None else self._messages(self.say)
        for kind, value in messages:
            if kind == "clip":
                self.end_s = max(self.end_s, value.end_s)
                yield value
            elif kind == "end":
                self.end_s = value
            else:
                raise error_of(value)

    def is_ready(self) -> bool:
        """Whether the next clip is there, so that it costs no waiting."""
        return self._connection is not None and self._connection.poll()

    def close(self) -> None:
        """Ends the process, wherever it is."""
        if self._process is None:
            return
        self._connection.close()
        self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._say_remarks()
        self._remarks.close()
        self._process.close()
        self._process = None

    def _received(self) -> Iterator[tuple[str, Any]]:
        while True:
            while not self._connection.poll():
                wait([self._connection, self._remarks])
                self._say_remarks()
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                self._process.join(_JOIN_S)
                code = self._process.exitcode
                raise UserError(f"the process that decodes the video died with exit code {code}") from None
            self._say_remarks()
            if message is None:
                return
            yield message

    def _say_remarks(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # the process has ended
            while self._remarks.poll():
                self.say(self._remarks.recv())

    def _messages(self, say: Say) -> Iterator[tuple[str, Any]]:
        """What the process sends; an error is the last of them."""
        stream: FileStream | LiveStream | None = None
        try:
            stream = open_stream(self.text, say, self.damaged, self.live, self.status)
            yield from self._cut(stream, say)
        except UserError as error:
            yield "error", failure_of(error)
        finally:
            if stream is not None:
                stream.close()

    def _cut(self, stream: FileStream | LiveStream, say: Say) -> Iterator[tuple[str, Any]]:
        """The messages with clips, and one with the stream's end.  A remark on windows is made once."""
        shown, remarks = stream.address.shown, set()
        size: tuple[int, int] | None = None
        found = Windows(stream, self.window_s, self.hop_s, shown, self.max_fps)
        for number, window in enumerate(found):
            first = window.frames[0].frame
            size = size or (first.width, first.height)
            sample = {"filename": shown, "index": number, "reader": WindowReader(window, shown, size)}
            sample = self.pipeline(sample, np.random.default_rng([self.seed, 0, number]))
            for remark in sample.get("remarks", ()):
                if remark not in remarks:
                    say(f"{printable(shown)}: window at {window.start_s:g} s: {remark}")
            remarks.update(sample.get("remarks", ()))
            yield "clip", ClipOfWindow(window.start_s, window.end_s, sample["imgs"])
        yield "end", found.end_s

    def _serve(self, parent: int, connection: Connection, remarks: Connection) -> None:
        """The process: sends a clip when the one before was taken, and decodes the next meanwhile."""
        follow_parent(parent)
        for parent_end in (self._connection, self._remarks):  # else the end of the parent's would not be seen
            parent_end.close()

        def say(line: str) -> None:
            with contextlib.suppress(OSError):
                remarks.send(line)

        messages = self._messages(say)
        with contextlib.suppress(BrokenPipeError, ConnectionError), contextlib.closing(messages):
            for message in messages:
                connection.send(message)
            connection.send(None)
        os._exit(0)  # a thread that waits for a silent address must not delay the end
