"""Sums and barriers of the ranks over their own TCP connections.  Needs no Paddle.

Rank 0 adds up what the others send and sends the sum back: 0.1 ms on one machine.  Neither the job's store (a request
takes 44 ms, because Paddle leaves Nagle's algorithm on, and none has a time limit) nor a collective of gloo (which
times out on a rank that is 30 s late) can wait for a rank at a training step.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence

from paddlevideo.engine.rank_watch import RankWatch, report_error
from paddlevideo.errors import EXIT_RANK_LOST, UserError

log = logging.getLogger("paddlevideo")

_PURPOSES = ("sums", "watch")
_HELLO = struct.Struct("!32sIB")  # token, rank, purpose
_HEADER = struct.Struct("!QI")  # number of the call, count of values
_HELLO_S = 10.0
_REPORT_S = 60.0

Connections = Mapping[int, socket.socket]


def connect(
    rank: int, world_size: int, host: str, publish: Callable[[str], None], fetch: Callable[[], str],
    limit_s: float = 300.0,
) -> tuple[Connections, Connections]:  # fmt: skip
    """The connections of this rank, by the other's rank: for sums, and for the watch.

    Args:
        host: of rank 0.
        publish: stores what ``fetch`` gives on every other rank.
        limit_s: seconds until all ranks must have connected.

    Raises:
        UserError: a rank does not connect.
    """
    if rank:
        port, token = fetch().split()
        try:
            dialled = [_dial(host, int(port), _HELLO.pack(token.encode(), rank, i)) for i in range(len(_PURPOSES))]
        except OSError as error:
            raise UserError(f"rank {rank} cannot connect to rank 0 at {host}:{port}: {error}") from None
        return {0: dialled[0]}, {0: dialled[1]}
    token = secrets.token_hex(16)
    with _listen(host) as server:
        publish(f"{server.getsockname()[1]} {token}")
        return _accept(server, token.encode(), world_size, time.monotonic() + limit_s)


def _listen(host: str) -> socket.socket:
    try:
        return socket.create_server((host, 0))
    except OSError:  # an address that is not this machine's own, behind a gateway
        return socket.create_server(("", 0))


def _dial(host: str, port: int, hello: bytes) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_HELLO_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(hello)
    return connection


def _accept(server: socket.socket, token: bytes, world_size: int, deadline: float) -> tuple[Connections, Connections]:
    accepted: tuple[dict[int, socket.socket], ...] = tuple({} for _ in _PURPOSES)
    while any(len(found) < world_size - 1 for found in accepted):
        server.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            connection, _ = server.accept()
        except TimeoutError:
            missing = [str(r) for r in range(1, world_size) if any(r not in found for found in accepted)]
            raise UserError(f"rank {', '.join(missing)} did not connect to rank 0 in time") from None
        hello = _hello(connection)
        if hello is None or not secrets.compare_digest(hello[0], token):
            connection.close()
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted[hello[2]][hello[1]] = connection
    return accepted[0], accepted[1]


def _hello(connection: socket.socket) -> tuple[bytes, int, int] | None:
    connection.settimeout(_HELLO_S)
    data = b""
    try:
        while len(data) < _HELLO.size:
            part = connection.recv(_HELLO.size - len(data))
            if not part:
                return None
            data += part
    except OSError:
        return None
    return _HELLO.unpack(data)


class RankChannel:
    """Sums over all ranks.

    Args:
        connections: of rank 0 to all others, of the others to rank 0.
        watch: of this rank; its ``calls`` and ``waiting`` are set here.
    """

    def __init__(self, rank: int, connections: Connections, watch: RankWatch):
        self.watch = watch
        self._rank, self._connections = rank, dict(sorted(connections.items()))
        self._report_s = min(_REPORT_S, watch.hang_limit_s / 2)
        for connection in self._connections.values():
            connection.settimeout(self._report_s)
        atexit.register(self._close)
        os.register_at_fork(after_in_child=self._close_in_child)

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """The elementwise sum over the ranks, added in their order; blocks until every rank has called it; no timeout.

        Raises:
            RuntimeError: another rank's call has another number of values.
            SystemExit: ``EXIT_RANK_LOST``: a rank has ended.
        """
        self.watch.calls += 1
        self.watch.waiting = True
        try:
            if self._rank:
                self._send(0, values)
                return self._receive(0, len(values))
            total = [float(value) for value in values]
            for rank in self._connections:
                total = [a + b for a, b in zip(total, self._receive(rank, len(values)))]
            for rank in self._connections:
                self._send(rank, total)
            return total
        finally:
            self.watch.waiting = False

    def barrier(self) -> None:
        """Blocks until every rank has called it; no timeout."""
        self.all_reduce_sum([])

    def diagnose_failure(self, error: Exception) -> None:
        """After a failed collective: waits while a rank is silent, so that the watch names it and ends this process.

        Raises:
            SystemExit: ``EXIT_RANK_LOST``: a rank has ended.
        """
        self.watch.waiting = True
        time.sleep(5 * self.watch.tick_s)
        if silent := self.watch.silent():
            log.warning("a collective failed (%s); no heartbeat from rank %d", error, silent[0])
        while self.watch.silent():
            time.sleep(self.watch.tick_s)
        if gone := self.watch.gone():
            self._lost(gone[0])
        self.watch.waiting = False

    def _send(self, rank: int, values: Sequence[float]) -> None:
        message = _HEADER.pack(self.watch.calls, len(values)) + struct.pack(f"!{len(values)}d", *values)
        try:
            self._connections[rank].sendall(message)
        except OSError:
            self._lost(rank)

    def _receive(self, rank: int, count: int) -> list[float]:
        call, received = _HEADER.unpack(self._read(rank, _HEADER.size))
        if (call, received) != (self.watch.calls, count):
            raise RuntimeError(
                f"ranks call different collectives: rank {rank} call {call} with {received} values, rank {self._rank} "
                f"call {self.watch.calls} with {count}"
            )
        return list(struct.unpack(f"!{count}d", self._read(rank, 8 * count)))

    def _read(self, rank: int, size: int) -> bytes:
        data, begun = b"", time.monotonic()
        while len(data) < size:
            try:
                part = self._connections[rank].recv(size - len(data))
            except TimeoutError:
                log.info("waiting for %.0f s for %s", time.monotonic() - begun, self.watch.late())
                continue
            except OSError:
                part = b""
            if not part:
                self._lost(rank)
            data += part
        return data

    def _lost(self, rank: int) -> None:
        time.sleep(2 * self.watch.tick_s)  # where another rank hangs, the watch receives that first
        report_error(f"rank {rank} ended before the others; its own log has the cause")
        raise SystemExit(EXIT_RANK_LOST)

    def _close(self) -> None:
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _close_in_child(self) -> None:
        for connection in self._connections.values():
            connection.close()
