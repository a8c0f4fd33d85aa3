"""Addresses that fsspec opens, ``s3://bucket/a`` or a chain ``simplecache::https://host/a``, and keys in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from paddlevideo.errors import UserError, printable

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::.*://)")
_LINK = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*(?:://|::))")
# a password may hold @, / and ?; a name alone is a secret of web servers only (ssh://me@host)
_PASSWORD = re.compile(r"://[^/@:?#]*:.*@|^https?://[^/?#]*@")
_NO_PASSWORD = re.compile(r"^(?:github|gist)://")  # organisation:repository@revision
_SECRET_NAME = r"[^=&;?#]*(?:token|sig|signature|key|key-?id|secret|passw(?:or)?d|pwd|credentials?|auth|authorization)"
_QUERY_KEY = re.compile(rf"[?&;#]({_SECRET_NAME})=", re.I)
_OPTION_KEY = re.compile(rf"{_SECRET_NAME}|connection_?string", re.I)
_NO_TOKENS = {"", "anon", "browser", "cache", "cloud", "google_default"}  # ways to log in that gcsfs names by its token
_WHERE_TO = "put it into the environment, fsspec's own configuration or a netrc (docs/files.md, Shards)"
_SHOWN_WITHOUT = re.compile(r"(?<=://)(?:[^/@:?#]*:.*@|[^/@]*@)", re.S)
_QUERY = re.compile(r"(?<=\?).+", re.S)
_VALUE = re.compile(rf"({_SECRET_NAME})=[^&;?#]*", re.I)  # in paths of video recorders: /user=a&password=b


def is_address(path: str) -> bool:
    """Whether fsspec opens it; else it is a local path."""
    return _ADDRESS.match(path) is not None


def without_secrets(address: str) -> str:
    """For messages: without a user's name and password, and with ``...`` for what else holds keys and signatures: the
    query, and the value of a password in the path."""
    if is_address(address):
        address = _VALUE.sub(r"\1=...", _QUERY.sub("...", _SHOWN_WITHOUT.sub("", address)))
    return printable(address)


def secret_in(address: str) -> str | None:
    """What is wrong with an address that holds a password or a key, without it; None: nothing."""
    if not is_address(address):
        return None
    links = _LINK.split(address)
    query = _QUERY_KEY.search(unquote(address))
    if any(_PASSWORD.search(link) and not _NO_PASSWORD.match(link) for link in links):
        what = "a user's name or password"
    elif query:
        what = f"the key {printable(query[1])!r}"
    else:
        return None
    return (
        f"the address {without_secrets(address)} holds {what}, and a configuration is printed and stored with the run; "
        f"{_WHERE_TO}"
    )


def secret_option(name: object, value: object) -> str | None:
    """What is wrong with one of ``storage_options`` that is a password or a key, without it; None: nothing."""
    if not isinstance(value, str) or value in _NO_TOKENS or not _OPTION_KEY.fullmatch(str(name)):
        return None
    return f"is a password or a key, and a configuration is printed and stored with the run; {_WHERE_TO}"


def refuse_secrets(address: str) -> None:
    """
    Raises:
        UserError: the address holds a password or a key.
    """
    problem = secret_in(address)
    if problem:
        raise UserError(problem)
