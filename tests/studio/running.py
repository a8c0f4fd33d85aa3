"""A studio as a process of its own, on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

from paddlevideo_studio.limited import environment


@contextmanager
def running(project, *words, cwd=None):
    """Yields the process and its port; it is ended with SIGKILL, unless it has ended."""
    command = [sys.executable, "-m", "paddlevideo_studio", "--project", str(project), "--port", "0", *map(str, words)]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd
    )
    try:
        line = process.stdout.readline()
        assert "http://" in line, process.stderr.read()
        yield process, int(line.strip().removesuffix("/?token=...").rpartition(":")[2])
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


def raw(port, text, half_open=True):
    """The answer to bytes that no client library sends; ``half_open=False``: the client ends its side after them."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(text)
        if not half_open:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    return answer


def memory_bytes(process):
    """Resident memory."""
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
