"""Frames with their times from a file, a camera or a network address, in order, each decoded once, in bounded memory.

Frames of a file are decoded when they are read.  A live source does not wait: a thread receives and decodes it into a
buffer that drops its oldest frames when they are not read in time, and connects again when the connection is lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from paddlevideo.errors import UserError, printable
from paddlevideo.inference.recording import PacketRing, kept
from paddlevideo.inference.source_address import PROTOCOLS, Address
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.decode.reader import MAX_PIXELS, Damaged
from paddlevideo.loader.decode.sequential import decode_all
from paddlevideo.ranges import NonNegative, Positive
from paddlevideo.settings import Checked

Say = Callable[[str], None]

_ARRIVAL = frozenset({"mpjpeg"})  # formats without time stamps: the time of arrival counts
_ENDLESS = frozenset({"mpjpeg", "hls", "dash"})  # a playlist or a camera over HTTP, unless it states its duration
_STATES_END = frozenset({"matroska", "flv"})  # the stamp of the end, not the length
_STATES_LENGTH = frozenset({"mov", "avi", "hls", "dash", "rtsp"})  # of others FFmpeg guesses it, e.g. by the bit rate
_JUMP_S = 10.0  # a larger step of a live source's time stamps is a new clock
_STALL_S = 2.0  # without a frame
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_END_S = 1.0  # a recording that ends earlier before its stated end was cut off
_PERIOD_S = 0.04  # of a source without a rate
_BYTES_PER_PIXEL = 1.5
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class TimedFrame:
    """A picture as the decoder gave it, and when it is shown.

    Args:
        time_s: since the first frame, by the clock of the packets; a live source that was interrupted goes on by the
            time that has passed.
        frame: ``av.VideoFrame``; ``rgb.to_rgb`` makes an array of it.
        period_s: from one frame to the next, by the rate that the source states.
        live: of a source that stalls, and whose frames may be dropped; in a file a picture is shown until the next one.
    """

    time_s: float
    frame: Any
    period_s: float = _PERIOD_S
    live: bool = False

    @property
    def num_bytes(self) -> int:
        """About what it holds of memory."""
        return int(self.frame.width * self.frame.height * _BYTES_PER_PIXEL)


class Status(ctypes.Structure):
    """What happened so far, all zero at first; plain memory, so that a process can read what another one counts.

    Attributes:
        num_frames: decoded.
        num_dropped: frames that were not read in time.
        num_damaged: packets that could not be decoded.
        num_connections: opened.
        num_stalls: longer than 2 s without a frame.
        stalled_s: of these.
    """

    _fields_ = (
        *((f"num_{name}", ctypes.c_int64) for name in ("frames", "dropped", "damaged", "connections", "stalls")),
        ("stalled_s", ctypes.c_double),
    )

    def text(self) -> str:
        """One line."""
        parts = [f"{self.num_frames} frames"]
        if self.num_dropped:
            parts.append(f"{self.num_dropped} dropped (not read in time)")
        if self.num_damaged:
            parts.append(f"{self.num_damaged} damaged packets")
        if self.num_connections > 1:
            parts.append(f"{self.num_connections - 1} reconnections")
        if self.num_stalls:
            parts.append(f"{self.num_stalls} stalls ({self.stalled_s:.1f} s)")
        return ", ".join(parts)


@dataclass(frozen=True)
class LiveSettings(Checked):
    """How a live source is received.

    Args:
        buffer_s: seconds of video that wait to be read, before the oldest are dropped.
        open_s: limit for opening a connection.
        read_s: without a packet for so long, the connection counts as lost.
        picture_s: without a picture for so long, although packets arrive, as well; above the distance of key pictures.
        outage_s: limit for connecting again; None: none.
        keep: folder that holds the last seconds as received, see ``recording``; None: they are not kept.
        keep_s: so many of them.

    Raises:
        UserError: values that the annotations do not allow.
    """

    buffer_s: Positive = 10.0
    open_s: Positive = 10.0
    read_s: Positive = 10.0
    picture_s: Positive = 30.0
    outage_s: NonNegative | None = None
    keep: str | None = None
    keep_s: Positive = 60.0


class FileStream:
    """The frames of a file.

    Args:
        damaged: ``read``: take what can be decoded of a damaged video, as it comes.
        status: what is counted in; None: a new one.

    Raises:
        VideoReadError: at the first frame that cannot be read.
        UserError: the file has no frame rate, so the times of its frames are unknown.
    """

    live = False

    def __init__(self, address: Address, say: Say, damaged: Damaged = "refuse", status: Status | None = None):
        self.address, self.status, self._damaged = address, status or Status(), damaged
        with open_video(address.text, damaged=damaged) as reader:
            self._times, self._fps, remarks = reader.times(), reader.fps, list(reader.remarks)
        if self._times is None:
            raise UserError(f"{address.shown}: the video has no frame rate, so the times of its frames are unknown")
        for remark in remarks:
            say(f"{address.shown}: {remark}")

    def __iter__(self) -> Iterator[TimedFrame]:
        with contextlib.closing(decode_all(self.address.text, self._damaged)) as frames:
            for (frame, _, damage), time_s in zip(frames, self._times.tolist()):
                if damage is not None and self._damaged == "refuse":
                    detail = f"frame {self.status.num_frames} is damaged: {damage}"
                    raise VideoReadError(self.address.text, "corrupt", detail)
                self.status.num_frames += 1
                yield TimedFrame(time_s, frame, 1 / self._fps)
        if self.status.num_frames < len(self._times) and self._damaged == "refuse":
            detail = f"frame {self.status.num_frames} cannot be decoded"
            raise VideoReadError(self.address.text, "corrupt", detail)

    def close(self) -> None:
        """Nothing is open between two frames but the iterator's file."""


@dataclass
class _Clock:
    """Times since the first frame, from time stamps that may begin anew, or from arrival."""

    last_s: float = -1.0
    recorded: bool = False  # the stamps are those of one file
    _begun: float | None = None  # monotonic
    _base_s: float = 0.0
    _first: int | None = None  # stamp at _base_s
    _expected_s: float | None = None  # time of the connection's next frame

    def restart(self) -> None:
        """The next stamp is of another clock."""
        self._first = self._expected_s = None

    def arrival(self) -> float:
        """The time of a frame that has just arrived."""
        now = time.monotonic()
        self._begun = now if self._begun is None else self._begun
        return self._later(now - self._begun)

    def time_s(self, stamp: int | None, unit_s: float, period_s: float) -> float:
        """The frame's time.

        Args:
            stamp: in units of ``unit_s`` seconds; None: unknown, as of an RTSP connection's first frame.
            period_s: from one frame to the next, for frames without a stamp.
        """
        if stamp is None:
            shown_s = self.arrival() if self._expected_s is None else self._expected_s
        else:
            shown_s = None if self._first is None else self._base_s + (stamp - self._first) * unit_s
            longest_s = math.inf if self.recorded else _JUMP_S
            if shown_s is None or not self.last_s - 1e-9 <= shown_s <= self.last_s + longest_s:
                goes_on = (self._first is None or self.recorded) and self._expected_s is not None
                self._base_s, self._first = self._expected_s if goes_on else self.arrival(), stamp
                shown_s = self._base_s
        self._expected_s = shown_s + period_s
        return self._later(shown_s)

    def _later(self, shown_s: float) -> float:
        self.last_s = max(shown_s, self.last_s)
        return self.last_s


@dataclass
class _Buffer:
    """Frames that wait to be read; the oldest of a live source are dropped where they are more than ``length_s`` or
    1 GiB."""

    length_s: float
    status: Status
    frames: deque[TimedFrame] = field(default_factory=deque)
    ready: threading.Condition = field(default_factory=threading.Condition)
    ended: bool = False
    error: BaseException | None = None

    def put(self, frame: TimedFrame) -> None:
        with self.ready:
            self.frames.append(frame)
            most = max(2, _MAX_BYTES // max(1, frame.num_bytes))
            while frame.live and (frame.time_s - self.frames[0].time_s > self.length_s or len(self.frames) > most):
                self.frames.popleft()
                self.status.num_dropped += 1
            self.ready.notify()

    def end(self, error: BaseException | None = None) -> None:
        with self.ready:
            self.ended, self.error = True, self.error or error
            self.ready.notify()

    def __iter__(self) -> Iterator[TimedFrame]:
        while True:
            with self.ready:
                while not self.frames and not self.ended:
                    self.ready.wait(0.5)  # so that signals are handled
                if not self.frames:
                    if self.error is not None:
                        raise self.error
                    return
                frame = self.frames.popleft()
            yield frame


class LiveStream:
    """The frames of a camera or a network address.  ``close`` ends the thread that receives them.

    A recording behind an address (a file over HTTP, or a source whose duration is known) is read to its end like a
    file, and nothing of it is dropped.

    Args:
        say: receives lost connections and stalls; called by the thread.
        status: what is counted in; None: a new one.

    Raises:
        UserError: when read: the first connection fails, or a later one for ``outage_s``; a recording ends early.
    """

    def __init__(
        self, address: Address, say: Say, settings: LiveSettings = LiveSettings(), status: Status | None = None
    ):
        self.address, self.status, self.live = address, status or Status(), True
        self._say, self._settings, self._clock = say, settings, _Clock()
        self._buffer, self._stop = _Buffer(settings.buffer_s, self.status), threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._frame_at: float | None = None  # monotonic, of the last one
        self._is_lost = False  # the connection, until the next frame
        self._ring = PacketRing(settings.keep, settings.keep_s, say) if settings.keep else None
        self._thread.start()

    def __iter__(self) -> Iterator[TimedFrame]:
        return iter(self._buffer)

    def close(self) -> None:
        """Ends at the next packet, or within the limit for reading one."""
        self._stop.set()
        self._buffer.end()
        self._thread.join(timeout=self._settings.read_s + 1)

    def _run(self) -> None:
        try:
            self._receive()
        except Exception as error:
            self._buffer.end(error)
        else:
            self._buffer.end()
        finally:
            if self._ring is not None:
                self._ring.close()

    def _receive(self) -> None:
        pause_s, lost_at = _FIRST_PAUSE_S, None
        while not self._stop.is_set():
            frames_before = self.status.num_frames
            problem = self._connection()
            if problem is None or self._stop.is_set():
                return
            if not self.status.num_frames:
                raise UserError(f"{self.address.shown}: {problem}; {self._way_out()}")
            if self.status.num_frames > frames_before:
                pause_s, lost_at = _FIRST_PAUSE_S, None
            now = time.monotonic()
            lost_at = now if lost_at is None else lost_at
            outage_s = self._settings.outage_s
            if outage_s is not None and now - lost_at >= outage_s:
                raise UserError(f"{self.address.shown}: {problem}; not back after {outage_s:g} s")
            happened = "not connected" if self._is_lost else "connection lost"
            self._is_lost = True
            self._say(f"{self.address.shown}: {happened} ({problem}); connecting again in {pause_s:g} s")
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._clock.restart()

    def _way_out(self) -> str:
        if self.address.kind == "camera":
            return "is a camera connected, and may this user read it?"
        return "check the address with ffprobe or a player"

    def _connection(self) -> str | None:
        """Receives until the connection is lost: the cause; or until a recording's end: None."""
        import av

        settings, limit_s, stated_s, recorded = self._settings, self._settings.open_s, 0.0, False
        try:
            with av.open(
                self.address.text, format=self.address.format, options=self._options(),
                timeout=(settings.open_s, settings.read_s),
            ) as container:  # fmt: skip
                if not container.streams.video:
                    raise UserError(f"{self.address.shown}: it has no video track")
                self.status.num_connections += 1
                limit_s = settings.read_s
                stated_s = _stated_s(container) if self.address.kind == "network" else 0.0
                recorded = stated_s > 0 or self._is_file(container)
                if self._decode(container, recorded) or (recorded and not stated_s):
                    return None
                problem = "the connection ended"
        except av.error.ExitError:
            problem = f"nothing received for {limit_s:g} s"
        except (av.error.FFmpegError, OSError) as error:
            problem = printable(getattr(error, "strerror", None) or type(error).__name__)
        if not recorded:
            return problem
        end_s, of = max(self._clock.last_s, 0), f" of {stated_s:.1f}" if stated_s else ""
        if stated_s and end_s >= stated_s - _END_S:
            return None
        # a recording that is opened again begins anew
        raise UserError(f"{self.address.shown}: cut off at {end_s:.1f}{of} s ({problem})")

    def _is_file(self, container: Any) -> bool:
        """Whether a server sends a file, however long it lasts."""
        over_http = self.address.text.lower().startswith("http")
        return over_http and not _ENDLESS & set(container.format.name.split(","))

    def _options(self) -> dict[str, str]:
        options = {"max_pixels": str(MAX_PIXELS)}  # FFmpeg decodes pictures when it opens
        if self.address.kind == "camera":
            return options
        scheme = self.address.text.split(":", 1)[0].lower()
        options["protocol_whitelist"] = PROTOCOLS[scheme]
        return {**options, "rtsp_transport": "tcp"} if scheme.startswith("rtsp") else options

    def _decode(self, container: Any, recorded: bool) -> bool:
        """Puts the frames into the buffer; True: ended by ``close``.

        Raises:
            TimeoutError: no picture for ``picture_s``.
        """
        import av

        stream = container.streams.video[0]
        context, arrival = stream.codec_context, container.format.name in _ARRIVAL
        rate = stream.average_rate or stream.guessed_rate
        period_s = 1 / float(rate) if rate else _PERIOD_S
        context.options = {"max_pixels": str(MAX_PIXELS)}  # of later pictures, which may be larger
        if context.width * context.height > MAX_PIXELS:
            raise UserError(f"{self.address.shown}: pictures of {context.width} x {context.height} are too large")
        self.live, self._clock.recorded = not recorded, recorded
        picture_s, picture_at = self._settings.picture_s, time.monotonic()
        if self._ring is not None:
            self._ring.connected(stream, arrival)
        for packet in kept(self._ring, _packets(container, stream, recorded)):
            if self._stop.is_set():
                return True
            if time.monotonic() - picture_at > picture_s:
                raise TimeoutError(0, f"no picture could be decoded for {picture_s:g} s")
            try:
                frames = context.decode(packet)
            except av.error.EOFError:
                return False
            except av.error.FFmpegError:
                self.status.num_damaged += 1
                continue
            for frame in frames:
                shown_s = (
                    self._clock.arrival()
                    if arrival
                    else self._clock.time_s(frame.pts, float(stream.time_base), period_s)
                )
                self._put(TimedFrame(shown_s, frame, period_s, self.live))
                while recorded and self._is_full() and not self._stop.is_set():
                    self._stop.wait(0.02)
                picture_at = time.monotonic()
        return False

    def _is_full(self) -> bool:
        with self._buffer.ready:
            frames = self._buffer.frames
            held_bytes = sum(frame.num_bytes for frame in list(frames)[:1]) * len(frames)
            return bool(frames) and (
                frames[-1].time_s - frames[0].time_s > 0.8 * self._settings.buffer_s or held_bytes > 0.8 * _MAX_BYTES
            )

    def _put(self, frame: TimedFrame) -> None:
        now = time.monotonic()
        silent_s = 0.0 if self._frame_at is None or not self.live else now - self._frame_at
        if silent_s > _STALL_S:
            self.status.num_stalls += 1
            self.status.stalled_s += silent_s
        if self._is_lost:
            self._say(f"{self.address.shown}: connected again; no picture for {silent_s:.1f} s")
        elif silent_s > _STALL_S:
            self._say(f"{self.address.shown}: no picture for {silent_s:.1f} s")
        self._frame_at, self._is_lost = now, False
        self.status.num_frames += 1
        self._buffer.put(frame)


def _packets(container: Any, stream: Any, recorded: bool) -> Iterator[Any]:
    """The packets of a track, and None where the server of a recording states no size and closes the connection: FFmpeg
    cannot tell that end from a loss."""
    try:
        yield from container.demux(stream)
    except OSError as error:
        if not recorded or container.size > 0 or error.errno != errno.EIO:
            raise
        yield None


def _stated_s(container: Any) -> float:
    """How long the source lasts, in seconds; 0: it does not state that."""
    names = set(container.format.name.split(","))
    if not container.duration or not names & (_STATES_END | _STATES_LENGTH):
        return 0.0
    begun_s = (container.start_time or 0) / 1e6 if names & _STATES_END else 0.0
    return max(container.duration / 1e6 - max(begun_s, 0.0), 0.0)


def open_stream(
    text: str, say: Say, damaged: Damaged = "refuse", settings: LiveSettings = LiveSettings(),
    status: Status | None = None,
) -> FileStream | LiveStream:  # fmt: skip
    """A source of frames.

    Args:
        text: a path, a camera or an address (``Address.parse``).
        damaged: of a file.
        settings: of a live source.
        status: what is counted in; None: a new one.

    Raises:
        VideoReadError: the file cannot be read.
        UserError: no such source.
    """
    address = Address.parse(text)
    if address.kind == "file":
        return FileStream(address, say, damaged, status)
    return LiveStream(address, say, settings, status)
