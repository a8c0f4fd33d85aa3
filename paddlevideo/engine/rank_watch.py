"""Liveness of the ranks: a thread in each exchanges heartbeats with rank 0.  Needs no Paddle.

A rank is lost when its process ends without finishing, and it hangs when

- its process sends no heartbeat for ``hang_limit_s`` (stopped, frozen, or its machine is gone), or
- its main thread uses no processor time for ``stall_limit_s`` without waiting for other ranks (a deadlock, a read that
  never returns).  Long evaluation is work, and so is waiting for a rank that works.

Then one line names it, and every rank ends at once with the same exit code, also from within a collective.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.errors import EXIT_RANK_HUNG, EXIT_RANK_LOST

log = logging.getLogger("paddlevideo")

_PACKAGE = str(Path(__file__).resolve().parents[1])
_LOST_GRACE_S = 5.0  # for the main thread or the launcher to end this rank in an orderly way
_LOGGING_S = 10.0  # a log file on a file system that hangs must not keep the process alive


class _Peer:
    """A connection to another rank, and the state of that rank."""

    def __init__(self, connection: socket.socket):
        connection.setblocking(False)
        self.connection = connection
        self.silent_s = 0.0
        self.gone_s: float | None = None  # since the connection ended
        self.finished = False
        self._inbox, self._outbox = bytearray(), bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends a message; never blocks."""
        if self.gone_s is not None:
            return
        self._outbox += json.dumps(message).encode() + b"\n"
        try:
            del self._outbox[: self.connection.send(self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.gone_s = 0.0

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have come; an ended connection sets ``gone_s``."""
        try:
            data = self.connection.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.gone_s = 0.0
            return []
        self.silent_s = 0.0
        *lines, rest = bytes(self._inbox + data).split(b"\n")
        self._inbox = bytearray(rest)
        return [json.loads(line) for line in lines]


class RankWatch:
    """The watch of one rank: of its peers, of its own main thread, and of its launcher.

    Args:
        rank: this one.
        connections: rank -> its connection: of rank 0 to all others, of the others to rank 0.
        launcher: process id of the launcher this process is a child of; when it ends, this rank gets a SIGTERM, which
            waits for training to save.  None: there is none.
        hang_limit_s: seconds without a heartbeat.
        stall_limit_s: seconds without work of the main thread; 0: no limit.

    Attributes:
        calls: how many sums and barriers this rank has begun.
        waiting: true while the main thread waits for other ranks.
    """

    def __init__(
        self,
        rank: int,
        connections: Mapping[int, socket.socket],
        launcher: int | None = None,
        hang_limit_s: float = 120.0,
        stall_limit_s: float = 1800.0,
    ):
        self.rank, self.hang_limit_s, self.stall_limit_s = rank, hang_limit_s, stall_limit_s
        self.calls, self.waiting = 0, False
        self.tick_s = min(1.0, hang_limit_s / 8)
        self._peers = {number: _Peer(connection) for number, connection in connections.items()}
        self._states: dict[int, dict[str, Any]] = {}  # rank -> calls, at, silent_s, pid, host
        self._launcher = launcher
        self._stalled_s, self._processor_s = 0.0, 0.0
        self._closed, self._ending = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begins to watch, until the process ends."""
        self._send()
        threading.Thread(target=self._run, name="rank watch", daemon=True).start()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._close_in_child)  # data workers would hold the connections open

    def close(self) -> None:
        """Sends the others that this rank has finished."""
        if self._ending.wait(0.05):
            time.sleep(_LOGGING_S)  # the watch ends this process, with its own exit code
        self._closed.set()
        for peer in self._peers.values():
            peer.send({"finished": True})

    def late(self) -> str:
        """The ranks that have not come to this rank's newest call, and where they are."""
        late = [
            f"rank {rank} ({state['at']}, last heartbeat {state['silent_s']:.0f} s ago)"
            for rank, state in sorted(dict(self._states).items())
            if rank != self.rank and state["calls"] < self.calls
        ]
        return ", ".join(late) or "other ranks"

    def silent(self) -> list[int]:
        """The ranks with a last heartbeat more than a few intervals old."""
        states = dict(self._states).items()
        return [rank for rank, state in states if rank != self.rank and state["silent_s"] > 4 * self.tick_s]

    def gone(self) -> list[int]:
        """The ranks with an ended connection to this one."""
        return [rank for rank, peer in self._peers.items() if peer.gone_s is not None]

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer in self._peers.values():
                selector.register(peer.connection, selectors.EVENT_READ, peer)
            last = time.monotonic()
            while not self._closed.is_set():
                self._receive(selector)
                # a gap because this very process was stopped does not count
                passed_s = min(time.monotonic() - last, 2 * self.tick_s)
                last = time.monotonic()
                self._check_peers(passed_s)
                self._check_main_thread(passed_s)
                self._check_launcher()
                self._send()

    def _receive(self, selector: selectors.BaseSelector) -> None:
        """Takes messages for one tick."""
        end = time.monotonic() + self.tick_s
        while (left_s := end - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                peer = key.data
                for message in peer.receive():
                    self._take(peer, message)
                if peer.gone_s is not None:
                    selector.unregister(peer.connection)

    def _take(self, peer: _Peer, message: dict[str, Any]) -> None:
        peer.finished = peer.finished or "finished" in message
        self._states.update({int(rank): state for rank, state in message.get("states", {}).items()})
        if "end" in message:
            self._end(*message["end"])

    def _send(self) -> None:
        for rank, peer in self._peers.items():
            if rank in self._states:
                self._states[rank]["silent_s"] = peer.silent_s
        own = {"calls": self.calls, "at": _place(), "silent_s": 0.0, "pid": os.getpid(), "host": socket.gethostname()}
        self._states[self.rank] = own
        for peer in self._peers.values():
            peer.send({"states": {self.rank: own} if self.rank else self._states})

    def _check_peers(self, passed_s: float) -> None:
        for rank, peer in self._peers.items():
            if peer.finished:
                continue
            if peer.gone_s is not None:
                peer.gone_s += passed_s
                if peer.gone_s > _LOST_GRACE_S:
                    self._end(EXIT_RANK_LOST, f"rank {rank} ended before the others; its own log has the cause")
                continue
            peer.silent_s += passed_s
            if peer.silent_s > self.hang_limit_s:
                state = self._states.get(rank, {"at": "its start"})
                limit = f"{self.hang_limit_s:g} s (PADDLEVIDEO_HANG_LIMIT_S)"
                text = f"rank {rank} hangs: no heartbeat for {limit}, last seen in {state['at']}"
                stopped = state.get("pid") if state.get("host") == socket.gethostname() else None
                self._end(EXIT_RANK_HUNG, f"{text}; every rank ends; continue with --resume auto", stopped)

    def _check_main_thread(self, passed_s: float) -> None:
        clock_of = getattr(time, "pthread_getcpuclockid", None)  # which not every system has
        if clock_of is None or not self.stall_limit_s or not self._peers:
            return
        processor_s = time.clock_gettime(clock_of(threading.main_thread().ident))
        if self.waiting or processor_s - self._processor_s > 1e-3:
            self._stalled_s, self._processor_s = 0.0, processor_s
            return
        self._stalled_s += passed_s
        if self._stalled_s > self.stall_limit_s:
            limit = f"{self.stall_limit_s:g} s (PADDLEVIDEO_STALL_LIMIT_S)"
            text = f"rank {self.rank} hangs: its main thread has not run for {limit}, in {_place()}"
            self._end(EXIT_RANK_HUNG, f"{text}; every rank ends; continue with --resume auto")

    def _check_launcher(self) -> None:
        if self._launcher is not None and os.getppid() != self._launcher:
            log.warning("the launcher (process %d) has ended; this rank ends too", self._launcher)
            self._launcher = None
            os.kill(os.getpid(), signal.SIGTERM)

    def _end(self, code: int, text: str, stopped: int | None = None) -> None:
        """Ends this process, from whatever its main thread is in, and makes the others do the same.

        Args:
            stopped: a process that may only be stopped; it is continued, and then ends in the same way.
        """
        self._ending.set()
        timer = threading.Timer(_LOGGING_S, os._exit, [code])
        timer.daemon = True
        timer.start()
        for peer in self._peers.values():
            peer.send({"end": [code, text]})
        report_error(text)
        # gloo aborts a process when its peer ends, the launcher returns the lowest rank's exit code: rank 0 ends first
        if not self.rank:
            time.sleep(self.tick_s)  # until the others have read the line
        if stopped is not None:
            with contextlib.suppress(OSError):
                os.kill(stopped, signal.SIGCONT)
        if self.rank:
            time.sleep(3 * self.tick_s)
        os._exit(code)

    def _close_in_child(self) -> None:
        self._closed.set()
        for peer in self._peers.values():
            peer.gone_s = 0.0
            peer.connection.close()


def report_error(text: str) -> None:
    """One line to this rank's log file and to stderr."""
    log.error("%s", text)
    print(f"error: {text}", file=sys.stderr, flush=True)


def _place() -> str:
    """Where in this package the main thread is."""
    frame = innermost = sys._current_frames().get(threading.main_thread().ident)
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return "no frame"
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
