"""What a user names as a source of frames: a file, a camera or a network address."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from paddlevideo.addresses import without_secrets
from paddlevideo.errors import UserError, printable

# protocols that an address of each scheme may lead to: a playlist must not name local files
PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,udp,tcp,tls",
    "http": "http,https,tcp,tls,crypto,httpproxy",
    "https": "https,http,tcp,tls,crypto,httpproxy",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tcp,tls",
    "srt": "srt,udp",
    "udp": "udp",
}


@dataclass(frozen=True)
class Address:
    """What a user names as a source.

    Args:
        text: for FFmpeg.
        kind: ``file``, ``camera`` or ``network``.
        shown: for messages and logs (``without_secrets``).
        format: FFmpeg's name of a camera's format; None: detected.
        path: of a file, as it was given.
    """

    text: str
    kind: Literal["file", "camera", "network"]
    shown: str
    format: str | None = None
    path: str | None = None

    @property
    def name(self) -> str:
        """For data: a file's path, which ``shown`` has escaped; of others ``shown``."""
        return self.shown if self.path is None else self.path

    @classmethod
    def parse(cls, text: str) -> Address:
        """A path, a camera (``0``, ``/dev/video0``), or an address such as ``rtsp://host/stream``.

        Raises:
            UserError: a scheme that is not read, or no host.
        """
        if re.fullmatch(r"\d{1,2}", text) and not os.path.exists(text):
            return _camera(text)
        if re.fullmatch(r"/dev/video\d+", text):
            return cls(text, "camera", text, "video4linux2,v4l2")
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
        if scheme is None:
            return cls(os.path.expanduser(text), "file", printable(text), path=text)
        name = scheme[1].lower()
        if name not in PROTOCOLS:
            way = "write the path alone" if name == "file" else f"expected a path, or one of {', '.join(PROTOCOLS)}"
            raise UserError(f"{name}://...: sources of this scheme are not read; {way}")
        authority = re.split(r"[/?#]", text[scheme.end() :], maxsplit=1)[0]
        encode = "in a user name or password, / ? # and @ are written %2F %3F %23 and %40, as is an @ after the host"
        if "@" in text[scheme.end() + len(authority) :] and ":" in authority:
            raise UserError(f"{name}://...: it is not clear where the host begins; {encode}")
        try:
            parts = urlsplit(text)
            host = parts.hostname if parts.port != 0 else None
        except ValueError:  # its text holds a part of the address, perhaps of the password
            raise UserError(f"{name}://...: not a valid address; expected {name}://host:port/path; {encode}") from None
        if not host:
            raise UserError(f"{name}://...: the address has no host; expected e.g. {name}://192.0.2.1/stream")
        return cls(text, "network", without_secrets(name + text[len(name) :]))


def _camera(number: str) -> Address:
    if sys.platform == "linux":
        return Address(f"/dev/video{number}", "camera", f"/dev/video{number}", "video4linux2,v4l2")
    if sys.platform == "darwin":
        return Address(number, "camera", f"camera {number}", "avfoundation")
    raise UserError(f"camera {number}: cameras are read on Linux and macOS; give an address such as rtsp://host/stream")
