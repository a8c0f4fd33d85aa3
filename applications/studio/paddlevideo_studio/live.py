"""A camera or an address: ``paddlevideo timeline`` as a process, whose spans are shown as they close."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from paddlevideo.errors import UserError, printable
from paddlevideo.inference.recording import parts_of
from paddlevideo.inference.source_address import Address
from paddlevideo_studio.journal import now
from paddlevideo_studio.limited import environment
from paddlevideo_studio.models import Model
from paddlevideo_studio.project import Project
from paddlevideo_studio.work import settings_words

KEEP_S = 60.0
_SPANS, _REMARKS = 100, 20
_PATIENCE_S = 10.0
_SPAN = re.compile(r"\s*(\d+\.\d{3})\s+(\d+\.\d{3})  (\d\.\d{3})  (.+)")


@dataclass
class Live:
    """At most one source at a time."""

    project: Project
    state: str = "off"
    address: Address | None = None
    started: str | None = None
    error: str | None = None
    model: Model | None = None
    spans: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_SPANS))
    remarks: deque[str] = field(default_factory=lambda: deque(maxlen=_REMARKS))
    _process: subprocess.Popen | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """The last minute, as received."""
        return self.project.root / "live"

    def __post_init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        """Removes what is kept of an earlier source."""
        for part in parts_of(self.folder):
            part.unlink(missing_ok=True)

    def view(self) -> dict[str, Any]:
        """A Live; the address without user name, password and query."""
        return {
            "state": self.state, "source": self.address.shown if self.address else None, "started": self.started,
            "spans": [*map(self._named, self.spans)], "remarks": [*self.remarks], "error": self.error,
        }  # fmt: skip

    def start(self, source: str, model: Model, settings: dict[str, Any]) -> None:
        """Begins to receive; the address goes to the process by its input, so that no list of processes shows it.

        Raises:
            UserError: a file, or a scheme that is not read; a source runs already.
        """
        address = Address.parse(source)
        if address.kind == "file":
            raise UserError("source: expected a camera (0, /dev/video0) or an address (rtsp://...); files are uploaded")
        words = ["timeline", "--model_file", str(self.project.models.path(model)), "-i", source]
        words += [*settings_words(settings), "--keep", str(self.folder), "--keep_s", f"{KEEP_S:g}"]
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise UserError("source: another one runs; stop it first")
            self._clear()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "paddlevideo_studio.live_worker"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), start_new_session=True, text=True,
                errors="replace",
            )  # fmt: skip
            self.state, self.address, self.started, self.error = "running", address, now(), None
            self.model = model
            self.spans.clear()
            self.remarks.clear()
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.close()
            for stream, take in ((self._process.stdout, self._take_line), (self._process.stderr, self._take_remark)):
                threading.Thread(target=_read, args=(stream, take), name="live", daemon=True).start()
            threading.Thread(target=self._wait, args=(self._process,), name="live end", daemon=True).start()
        self._announce()

    def stop(self) -> None:
        """Ends the source; what is open is closed as a span."""
        with self._lock:
            process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _take_line(self, line: str) -> None:
        found = _SPAN.fullmatch(line)
        if found:
            start_s, end_s, score, label = found.groups()
            span = {"start_s": float(start_s), "end_s": float(end_s), "score": float(score), "label": label}
            self.spans.append(span)
            self.project.announce("live", {"span": self._named(span)})

    def _named(self, span: dict[str, Any]) -> dict[str, Any]:
        """The span with the present name of its class; the process prints the model's own."""
        names = self.project.present_name_of(self.model) if self.model else {}
        return {**span, "label": names.get(span["label"], span["label"])}

    def _take_remark(self, line: str) -> None:
        self.remarks.append(printable(line))
        self._announce()

    def _wait(self, process: subprocess.Popen) -> None:
        code = process.wait()
        with self._lock:
            if process is not self._process:
                return
            ended = code in (0, 130, 143, -signal.SIGTERM)
            self.state = "off" if ended else "failed"
            self.error = None if ended else next(iter(reversed(self.remarks)), f"exit code {code}")
        self._announce()

    def _announce(self) -> None:
        self.project.announce("live", {"state": self.state, "error": self.error})


def _read(stream: IO[str], take: Any) -> None:
    for line in stream:
        take(line.rstrip("\n"))
