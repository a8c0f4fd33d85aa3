"""One file over HTTP: resumed, bounded in size and time, from the host of its address and no other."""

from __future__ import annotations

import base64
import errno
import http.client
import ipaddress
import json
import netrc
import os
import re
import shlex
import shutil
import socket
import ssl
import string
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from paddlevideo.addresses import refuse_secrets, without_secrets
from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import write_atomic

_TIMEOUT_S = 30.0  # without one byte
_WINDOW_S, _LEAST_BYTES = 60.0, 64 << 10  # a transfer of less than this in a window has stalled
_TRIES, _TRIES_TO_CONNECT = 6, 2
_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0  # doubled after every try; the longest Retry-After that is waited for
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_BLOCK = 1 << 18
_REPORT_S = 10.0
_MB = 1_000_000
_ENTRY = "machine HOST login USER password PASSWORD"  # of a netrc file


class NotReachedError(UserError):
    """The host cannot be reached, or broke off again and again."""


class TooLargeError(UserError):
    """The file is larger than what may be written."""


class _Broken(Exception):
    """A transfer that may be continued: what happened, and how many seconds to wait at least."""

    def __init__(self, text: str, wait_s: float = 0.0):
        super().__init__(text)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Rules:
    """What a transfer may do.

    Args:
        most_bytes: the largest file that is written.
        hosts: hosts besides the address's own that it may redirect to.
        insecure: http to hosts other than this machine.
    """

    most_bytes: int
    hosts: Collection[str] = ()
    insecure: bool = False


@dataclass(frozen=True)
class _Begun:
    """An unfinished transfer: its bytes that are there, and what the server stated of the whole file.

    Args:
        size: 0: nothing is there, or nothing that can be continued.
        etag, modified: the headers ETag and Last-Modified; "": none.
        total: bytes; None: sent in chunks, without a length.
    """

    size: int = 0
    etag: str = ""
    modified: str = ""
    total: int | None = None

    def is_part_of(self, headers: Any, total: int) -> bool:
        """Whether an answer with these headers states the same file of ``total`` bytes."""
        if self.total not in (None, total):
            return False
        if "ETag" in headers:
            return headers["ETag"] == self.etag
        return bool(self.modified) and headers.get("Last-Modified") == self.modified


def check_address(address: str, insecure: bool = False) -> None:
    """
    Raises:
        UserError: it is neither https nor, to this machine or with ``insecure``, http; it has no host, or holds a key.
    """
    refuse_secrets(address)
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{without_secrets(address)}: no valid address ({error})") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UserError(f"{without_secrets(address)}: expected an address https://HOST/FILE")
    if parts.scheme == "http" and not (insecure or _is_loopback(host)):
        raise UserError(
            f"{without_secrets(address)}: is an address without TLS, so anyone on the way can replace the file; take "
            "https, or fetch it once with 'paddlevideo weights get ADDRESS --insecure'"
        )


def fetch(address: str, part: Path, rules: Rules, say: Callable[[str], None]) -> None:
    """Writes the file of an address to ``part``, beginning where an earlier call was cut off.

    Beside ``part`` stands ``part``.json with ETag, Last-Modified and length of the file that it is the beginning of;
    where the server states others, or no strong ETag, the transfer begins anew.

    Args:
        say: receives a line at the beginning and one every ten seconds.

    Raises:
        NotReachedError: no connection, or one that breaks again and again; what has come is kept.
        TooLargeError: the file is larger than ``rules`` allow; nothing is kept.
        UserError: refused by the server, redirected elsewhere, a web page instead of a file, no space left.
    """
    check_address(address, rules.insecure)
    shown, problem, login = without_secrets(address), "", _login(address, say)
    for tried in range(_TRIES):
        try:
            return _attempt(address, part, rules, say, login)
        except _Broken as error:
            problem, wait_s = str(error), max(error.wait_s, _WAIT_S * 2**tried)
        except (http.client.HTTPException, ssl.SSLError, OSError) as error:
            problem, wait_s = _reason(error), _WAIT_S * 2**tried
            if _is_final(error, tried + 1):
                break
        if tried + 1 < _TRIES:
            say(f"{shown}: {problem}; again in {min(wait_s, _LONGEST_WAIT_S):g} s")
            time.sleep(min(wait_s, _LONGEST_WAIT_S))
    raise NotReachedError(f"{shown}: cannot be fetched ({problem})")


def discard(part: Path) -> None:
    """Removes an unfinished transfer."""
    for file in (part, _about(part)):
        file.unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, address: str, rules: Rules):
        self._own, self._rules = urlsplit(address), rules

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        target = urlsplit(urljoin(req.full_url, newurl))
        shown = without_secrets(newurl)
        if target.scheme not in ("http", "https") or (target.scheme, self._own.scheme) == ("http", "https"):
            raise UserError(f"{without_secrets(req.full_url)}: redirects to {shown}, which is not https; refused")
        host, own = target.hostname or "", self._own.hostname
        ports = {_port(self._own), 443}  # http may become https
        if not (host == own and _port(target) in ports) and host not in self._rules.hosts:
            raise UserError(
                f"{without_secrets(req.full_url)}: redirects to another host, {printable(host)}; if that is expected: "
                f"paddlevideo weights get ADDRESS --host {printable(host)}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(address: str, rules: Rules) -> urllib.request.OpenerDirector:
    """http and https alone, through the proxies of the environment: no file:, ftp: or data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), _Redirects(address, rules), urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _attempt(address: str, part: Path, rules: Rules, say: Callable[[str], None], login: str | None) -> None:
    before = _begun(part)
    request = urllib.request.Request(quote(address, safe=string.punctuation))
    request.add_header("User-Agent", "paddlevideo-suite")
    request.add_header("Accept-Encoding", "identity")
    if before.size:
        request.add_header("Range", f"bytes={before.size}-")
        request.add_header("If-Range", before.etag)
    if login:
        request.add_unredirected_header("Authorization", login)
    try:
        response = _opener(address, rules).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(address, part, error, login)
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else _Broken(str(error.reason)) from error
    except (ValueError, http.client.InvalidURL):  # urllib parses Location; hosts are encoded late; texts hold queries
        what = "is no valid address, or redirects to one that is not"
        raise UserError(f"{without_secrets(address)}: {what}; give the address of the download itself") from None
    with response:
        begun, total = _whole_of(response, address, part, before)
        _refuse_size(part, begun, total, rules, address)
        size = "" if total is None else f" ({total / _MB:.1f} MB)"
        say(f"fetching {without_secrets(address)}{size}{', continued' if begun else ''}")
        if not begun:
            discard(part)  # a crash here must not leave the old bytes with the new ETag
            names = {"etag": "ETag", "modified": "Last-Modified"}
            about = {key: response.headers.get(name, "") for key, name in names.items()}
            write_atomic(_about(part), json.dumps({**about, "total": total}))
        try:
            with _on_disk(part.open, "r+b" if begun else "wb", 0) as stream:
                stream.seek(begun)
                have = _receive(response, stream, begun, total, rules, say)
                _on_disk(os.fsync, stream.fileno())
        except _Disk as error:
            discard(part)
            raise UserError(f"{part.parent}: cannot be written ({error}); nothing was kept") from None
        except TooLargeError as error:
            discard(part)
            raise TooLargeError(f"{without_secrets(address)}: {error}") from None
    if total is not None and have != total:
        raise _Broken(f"{have} of {total} bytes came")


class _Disk(Exception):
    """Writing failed, which is no reason to fetch again."""


def _on_disk(write: Callable[..., Any], *values: Any) -> Any:
    try:
        return write(*values)
    except OSError as error:
        raise _Disk(error.strerror or str(error)) from error


def _receive(
    response: Any, stream: BinaryIO, have: int, total: int | None, rules: Rules, say: Callable[[str], None]
) -> int:
    """Copies the body; the number of bytes of the file that are there then."""
    start = reported = time.monotonic()
    in_window = 0
    while True:
        block = response.read1(_BLOCK)  # what has come, so that a trickle is measured and not waited for
        if not block:
            return have
        have += len(block)
        if have > (rules.most_bytes if total is None else total):
            raise TooLargeError(f"sends more than {rules.most_bytes if total is None else total} bytes")
        rest = memoryview(block)
        while rest:  # a file without a buffer may take less
            rest = rest[_on_disk(stream.write, rest) :]
        now, in_window = time.monotonic(), in_window + len(block)
        if now - start > _WINDOW_S:
            if in_window < _LEAST_BYTES:
                raise _Broken(f"only {in_window} bytes in {now - start:.0f} s")
            start, in_window = now, 0
        if now - reported > _REPORT_S:
            reported = now
            say(f"{have / _MB:.1f} MB" + (f" of {total / _MB:.1f}" if total else ""))


def _whole_of(response: Any, address: str, part: Path, before: _Begun) -> tuple[int, int | None]:
    """Where the body begins in the file, and the bytes of the whole file (None: sent in chunks, without a length)."""
    headers, shown = response.headers, without_secrets(address)
    kind = headers.get_content_type() if "Content-Type" in headers else ""
    if kind in ("text/html", "application/xhtml+xml"):
        raise UserError(f"{shown}: is a web page, not a file of weights; give the address of the download itself")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UserError(f"{shown}: is sent compressed ({printable(headers['Content-Encoding'])}), expected as it is")
    length, chunked = headers.get("Content-Length"), "chunked" in headers.get("Transfer-Encoding", "").lower()
    if length is None and not chunked:
        raise UserError(f"{shown}: the server states no length, so a cut transfer would go unnoticed; fetch it by hand")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise UserError(f"{shown}: the server states the length {printable(length)[:40]!r}, expected a number of bytes")
    if response.status != 206:
        return 0, None if length is None else int(length)
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", headers.get("Content-Range", ""), re.ASCII)
    numbers = [int(text) for text in found.groups()] if found else []
    if numbers[:1] != [before.size] or numbers[1] + 1 != numbers[2]:
        discard(part)
        raise _Broken(f"the server sends another part than the one from byte {before.size} on")
    if before.size and not before.is_part_of(headers, numbers[2]):
        discard(part)
        raise _Broken("the file has changed, or the server does not state that it is the same")
    return before.size, numbers[2]


def _refuse_size(part: Path, begun: int, total: int | None, rules: Rules, address: str) -> None:
    shown = without_secrets(address)
    if total is not None and total > rules.most_bytes:
        discard(part)
        raise TooLargeError(f"{shown}: has {total / _MB:.1f} MB, at most {rules.most_bytes / _MB:.1f} are taken")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - begun > free:
        raise UserError(f"{part.parent}: {(total - begun) / _MB:.1f} MB are needed, {free / _MB:.1f} are free")


def _refused(address: str, part: Path, error: urllib.error.HTTPError, login: str | None) -> None:
    """What an answer with an error means: to try again, to begin anew, or the end."""
    shown, what = without_secrets(address), f"the server answers {error.code} {printable(error.reason or '')}".strip()
    if 300 <= error.code < 400:  # urllib's own words hold the whole address
        raise UserError(f"{shown}: redirects in a circle, or to what is no address of the web; refused")
    if error.code == 416:
        discard(part)
        raise _Broken(what)
    if error.code in _AGAIN:
        wait = error.headers.get("Retry-After", "")
        raise _Broken(what, float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else 0.0)
    if error.code in (401, 403):
        raise UserError(f"{shown}: {what}; {_about_login(address, login)}")
    raise UserError(f"{shown}: {what}")


def _about_login(address: str, login: str | None) -> str:
    """What to do about an answer that the address is not for everyone."""
    path, host = _netrc(), printable(urlsplit(address).hostname or "")
    if login:
        return f"the login for {host} in {path} is not accepted"
    if not _takes_login(address):
        return "logins are sent to https addresses only"
    return f"if it takes a login, write it into {path}, readable by you alone: {_ENTRY.replace('HOST', host)}"


def _begun(part: Path) -> _Begun:
    """What is there of an unfinished transfer that can be continued: its file has a strong ETag."""
    try:
        content = json.loads(_about(part).read_text(encoding="utf-8"))
        begun = _Begun(part.stat().st_size, content["etag"], content["modified"], content["total"])
    except (OSError, ValueError, KeyError, TypeError):
        return _Begun()
    texts = isinstance(begun.etag, str) and isinstance(begun.modified, str)
    if not texts or not (begun.total is None or type(begun.total) is int):
        return _Begun()
    strong = len(begun.etag) > 2 and begun.etag.startswith('"') and begun.etag.endswith('"')
    return begun if strong and printable(begun.etag) == begun.etag else _Begun()


def _about(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _login(address: str, say: Callable[[str], None]) -> str | None:
    """Basic authentication by the entry of that very host in the user's netrc file; only where others cannot read it.

    An entry ``default`` is not used: it would go to every host that an address names.

    Raises:
        UserError: the file cannot be read.
    """
    path, host = _netrc(), urlsplit(address).hostname or ""
    if not _takes_login(address):
        return None
    try:
        found = {name.lower(): entry for name, entry in netrc.netrc(str(path)).hosts.items() if name != "default"}
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        raise UserError(
            f"{path}, line {_line_of(error, path)}: is no entry of a netrc file; expected {_ENTRY}"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}, line {_line_not_utf8(path)}: is not UTF-8 text; expected {_ENTRY}") from None
    except OSError as error:
        raise UserError(f"{path}: the netrc file cannot be read ({error.strerror or error})") from None
    if host not in found:
        return None
    user, _, password = found[host]
    if mode & 0o077:
        end = f"since others can read the file; 'chmod 600 {shlex.quote(str(path))}' makes it private"
        say(f"{path}: its login for {printable(host)} is not used, {end}")
        return None
    if not user and not password:
        say(f"{path}: its entry for {printable(host)} has no login and is not used; expected {_ENTRY}")
        return None
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _netrc() -> Path:
    return Path(os.environ.get("NETRC") or os.path.expanduser("~/.netrc"))


def _takes_login(address: str) -> bool:
    """Whether a transfer is encrypted, or stays on this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or _is_loopback(parts.hostname or "")


def _line_of(error: netrc.NetrcParseError, path: Path) -> int:
    """The line of the word that was refused, which may be a password and is not shown; the parser states the next one
    where it is the last of its line."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    last = lines[error.lineno - 2].split()[-1:] if error.lineno > 1 else []
    return error.lineno - any(error.msg.endswith(f" token {word!r}") for word in last)


def _line_not_utf8(path: Path) -> int:
    lines = path.read_bytes().split(b"\n")
    return next(i for i, line in enumerate(lines, 1) if line.decode(errors="replace").encode() != line)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(parts: Any) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _is_final(error: Exception, tries: int) -> bool:
    """Whether another try is of no use: a certificate, or a host that cannot be reached at all."""
    no_host = isinstance(error, socket.gaierror | ConnectionRefusedError) or (
        isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    )
    return isinstance(error, ssl.SSLCertVerificationError) or (no_host and tries >= _TRIES_TO_CONNECT)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {_TIMEOUT_S:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(f"{text or type(error).__name__}".split()))
