"""Decoding and encoding of one video beside the network: in a process of its own, since a run of an exported program
holds the interpreter's lock.

The process holds the window of frames that are still needed.  The frames of clips and of person detection are copied
into shared memory when they are read; those of the output video stay there, and only what is drawn into them arrives.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.inference.key_frames import BYTES_PER_PIXEL, ForwardReader
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.loader.decode.reader import EachFrame, FrameReader, VideoReadError
from paddlevideo.loader.workers import can_fork, error_of, failure_of, follow_parent

_AHEAD_BYTES = 64 << 20  # decoded before they are read
_WAITING_BYTES = 128 << 20  # waiting for the encoder
_TRANSFER_BYTES = 1 << 28  # reserved: the largest picture; memory is taken for what is used of it
_PIECE_BYTES = 16 << 20  # that are copied at once
_JOIN_S = 5
_STUCK_S = 300  # without a frame, of a process that is waited for
_WATCH_S = 1.0
_KILLED = {-signal.SIGKILL: " (killed, mostly by the system's memory limit)"}


class FrameWriter(Protocol):
    """An output video."""

    def draw(self, frame: np.ndarray, pixel_aspect: float, marks: Any) -> np.ndarray:
        """The picture with its marks."""

    def write(self, frames: Iterator[np.ndarray]) -> int:
        """Writes the file, whole or not at all; gives the number of frames."""


class _Abandoned(Exception):
    """Ends a writer whose file is not wanted."""


class OutputQueue:
    """The frames of an output video on their way to the encoder, which is a thread of this process."""

    def __init__(self, reader: ForwardReader, writer: FrameWriter):
        self._reader, self._writer = reader, writer
        height, width = reader.size()
        most = max(4, int(_WAITING_BYTES / (height * width * BYTES_PER_PIXEL)))
        self._waiting: queue.Queue[Any] = queue.Queue(most)
        self._count, self._failure = 0, None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)
        self._thread.start()

    def show(self, index: int, marks: Any) -> None:
        """The next frame; waits while the encoder is behind."""
        if self._failure is not None:
            return
        try:
            item = (index, *self._reader.held(index), marks)
        except Exception as error:  # raised by ``finish``
            item = error
        self._put(item)

    def finish(self) -> int:
        """The number of frames, when the file is written.

        Raises:
            UserError: it cannot be.
        """
        self._put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._count

    def abandon(self) -> None:
        """Ends without a file."""
        self._put(_Abandoned())
        self._thread.join()

    def _put(self, item: Any) -> None:
        while self._thread.is_alive():  # it ends early where the file cannot be written
            with contextlib.suppress(queue.Full):
                self._waiting.put(item, timeout=0.1)
                return

    def _run(self) -> None:
        try:
            self._count = self._writer.write(self._frames())
        except Exception as error:  # raised by ``finish``, in the caller's thread
            self._failure = error

    def _frames(self) -> Iterator[np.ndarray]:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, Exception):
                raise item
            index, frame, damage, marks = item
            if damage is not None:
                raise VideoReadError(self._reader.path, "corrupt", f"frame {index} is damaged: {damage}")
            yield self._writer.draw(self._reader.picture(frame), self._reader.pixel_aspect, marks)


class VideoStage(FrameReader):
    """A video and its output video, in this process.

    Args:
        reader: the video.
        writer: the output video; None: there is none.
    """

    def __init__(self, reader: ForwardReader, writer: FrameWriter | None):
        self._reader, self._writer = reader, writer
        self._output: OutputQueue | None = None
        self.death: UserError | None = None  # of the process, where there is one
        self.path, self.fps, self.remarks, self.pixel_aspect = reader.path, reader.fps, reader.remarks, 1.0

    def __len__(self) -> int:
        return len(self._reader)

    def times(self) -> np.ndarray | None:
        return self._reader.times()

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        return self._reader.get(indices, each)

    def size(self) -> tuple[int, int]:
        """Height and width of the first frame."""
        return self._reader.size()

    def keep(self, first: int | None) -> None:
        """Frees the frames before ``first``; those from there on stay; None: those of the last clip."""
        self._reader.keep(first)

    def show(self, frames: Sequence[tuple[int, Any]]) -> None:
        """The next frames of the output video: index, and marks for ``draw``."""
        if self._output is None:
            self._output = OutputQueue(self._reader, self._writer)
        for index, marks in frames:
            self._output.show(index, marks)

    def finish(self) -> int:
        """The number of frames of the output video, when it is written.

        Raises:
            UserError: it cannot be, or a frame cannot be read.
        """
        output, self._output = self._output, None
        return output.finish() if output else 0

    def abandon(self) -> None:
        """Ends the output video without a file."""
        output, self._output = self._output, None
        if output:
            output.abandon()

    def num_decoded(self) -> int:
        """Frames decoded so far."""
        return self._reader.num_decoded

    def end(self) -> None:
        """Frees everything; an output video that is not finished is left out."""
        self.abandon()
        self._reader.end()
        self._reader.keep(None)


class VideoProcess(VideoStage):
    """The same in a process of its own, which decodes ahead while no request is open.

    It is killed when it makes no progress for ``_STUCK_S`` while this process waits for it.
    """

    def __init__(self, reader: ForwardReader, writer: FrameWriter | None):
        super().__init__(reader, writer)
        self._transfer = mmap.mmap(-1, _TRANSFER_BYTES)
        self._size: tuple[int, int] | None = None
        self._num_frames = multiprocessing.RawValue("Q", 0)  # decoded or converted by the process
        context = multiprocessing.get_context("fork")
        self._connection, child_end = context.Pipe()
        stage = VideoStage(reader, writer)
        arguments = (os.getpid(), self._connection, child_end, stage, self._transfer, self._num_frames)
        self._process = context.Process(target=_serve, args=arguments, name="video", daemon=True)
        self._process.start()
        child_end.close()
        self._waits, self._num_calls, self._expired_s, self._ended = False, 0, None, threading.Event()
        threading.Thread(target=self._watch, name="watch video", daemon=True).start()

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        wanted, (height, width) = self.checked(indices), self.size()
        most = max(1, _PIECE_BYTES // (height * width * 3))
        clip: np.ndarray | None = None
        for start in range(0, len(wanted), most):
            shape = self._request("get", wanted[start : start + most])
            piece = np.frombuffer(self._transfer, np.uint8, int(np.prod(shape))).reshape(shape)
            for position, frame in enumerate(piece, start):
                image = frame if each is None else each(frame)
                if clip is None:
                    clip = np.empty((len(wanted), *image.shape), image.dtype)
                clip[position] = image
        return clip

    def size(self) -> tuple[int, int]:
        self._size = self._size or self._request("size")
        return self._size

    def keep(self, first: int | None) -> None:
        self._send("keep", first)

    def show(self, frames: Sequence[tuple[int, Any]]) -> None:
        self._send("show", frames)

    def finish(self) -> int:
        return self._request("finish")

    def abandon(self) -> None:
        self._send("abandon")

    def num_decoded(self) -> int:
        return self._request("num_decoded")

    def end(self) -> None:
        self._ended.set()
        self._connection.close()
        self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, name: str, *arguments: Any) -> None:
        with self._waiting():
            self._connection.send((name, arguments))

    def _request(self, name: str, *arguments: Any) -> Any:
        with self._waiting():
            self._connection.send((name, arguments))
            failure, value, remarks = self._connection.recv()
        self.remarks += [remark for remark in remarks if remark not in self.remarks]
        if failure is not None:
            raise error_of(failure)
        return value

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waits, self._num_calls = True, self._num_calls + 1
        try:
            yield
        except (EOFError, OSError):
            raise self._died() from None
        finally:
            self._waits = False

    def _watch(self) -> None:
        """Kills the process where it is stuck, which ends the request that waits for it."""
        seen, idle_s = None, 0.0  # counted, not read from a clock: both processes may have been suspended
        while not self._ended.wait(_WATCH_S):
            progress = self._num_frames.value, self._num_calls
            idle_s = idle_s + _WATCH_S if self._waits and progress == seen else 0.0
            seen = progress
            if idle_s >= _STUCK_S:
                self._expired_s = idle_s
                self._process.kill()
                return

    def _died(self) -> UserError:
        self._process.join(_JOIN_S)
        code = self._process.exitcode
        text = f"the process that decodes it died with exit code {code}{_KILLED.get(code, '')}"
        if self._expired_s is not None:
            waited = f"no frame for {self._expired_s:g} s"
            text = f"the process that decodes it timed out ({waited}); is the storage hanging?"
        self.death = UserError(f"{printable(self.path)}: {text}")
        return self.death


_ANSWERED = frozenset({"get", "size", "finish", "num_decoded"})


def _serve(
    parent: int, parent_end: Connection, connection: Connection, stage: VideoStage, transfer: mmap.mmap, num_frames: Any
) -> None:  # fmt: skip
    """The process of ``VideoProcess``.  The failure of a call without an answer is that of every later one."""

    def count() -> None:
        num_frames.value += 1

    follow_parent(parent)
    parent_end.close()  # else its end would not be seen
    reader = stage._reader
    reader.end()  # of the parent's decoder; the file is opened anew
    reader.on_frame = count
    last, unanswered = 0, None
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has closed its end
        while True:
            while not connection.poll() and reader.ahead(last, _AHEAD_BYTES):
                pass
            name, arguments = connection.recv()
            failure, value = unanswered, None
            if unanswered is None:
                try:
                    value = getattr(stage, name)(*arguments)
                    if name == "get":
                        last = max(arguments[0])
                        np.frombuffer(transfer, np.uint8, value.size)[:] = value.reshape(-1)
                        value = value.shape
                except Exception as error:
                    failure = failure_of(error)
            if name in _ANSWERED:
                connection.send((failure, value, list(reader.remarks)))
            elif failure is not None and unanswered is None:
                unanswered = failure
                stage.abandon()
    stage.end()


@contextlib.contextmanager
def open_stage(reader: ForwardReader, writer: FrameWriter | None, say: Say) -> Iterator[VideoStage]:
    """A video, decoded and written beside this process where processes can be forked."""
    if can_fork():
        stage: VideoStage = VideoProcess(reader, writer)
    else:
        say("this process cannot fork another one; it decodes the video itself")
        stage = VideoStage(reader, writer)
    try:
        yield stage
    except UserError:
        if stage.death is not None:  # not as the pipeline's error that it became
            raise stage.death from None
        raise
    finally:
        stage.end()
