"""Where the servers are: what `LOCATION` says, one URL or several, read and checked."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from twofold.errors import SettingsError
from twofold.urls import mask_url

DEFAULT_URL: Final = "redis://127.0.0.1:6379"
_SCHEMES = frozenset({"redis", "rediss", "unix"})
_BETWEEN_URLS = re.compile(r"[;,]\s*(?=[a-z]+://)")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_WRITE = "write redis://[user:password@]host[:port][/db], rediss://… for TLS, or unix:///path"


class Address(NamedTuple):
    """One server, and what its URL says of how to log in there."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a Unix socket; then there is no host."""
    tls: bool = False
    username: str | None = None
    password: str | None = None
    db: int | None = None

    @property
    def name(self) -> str:
        """The server's name in messages and statistics."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"


def read_addresses(location: str | list[str], port: int) -> list[Address]:
    """Return the servers that `LOCATION` names, those without a port on `port`.

    Several are given as a list, as URLs with commas or semicolons between them, or as
    several hosts in one URL.

    Raises:
        SettingsError: one of them is no URL of a Redis server.
    """
    texts = [location] if isinstance(location, str) else location
    urls = [url for text in texts for url in _BETWEEN_URLS.split(text or DEFAULT_URL)]
    found = [address for url in urls for address in _read(url.strip(), port)]
    if len(set(found)) < len(found) or not found:
        raise SettingsError("LOCATION names no server, or one of them twice")
    return found


def _read(url: str, port: int) -> Iterator[Address]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingsError(f"LOCATION {mask_url(url)!r}: {error}; {_WRITE}") from error
    if parts.scheme not in _SCHEMES:
        raise SettingsError(f"LOCATION {mask_url(url)!r} is no URL of a Redis server: {_WRITE}")
    if parts.fragment or (parts.scheme != "unix" and "@" in parts.path + parts.query):
        raise SettingsError(  # what follows here may be half of a password, and is not shown
            f"LOCATION {mask_url(url)!r}: write '/', '?' and '#' in a password as %2F, %3F and %23"
        )
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    known = Address(
        tls=parts.scheme == "rediss",
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=_db(url, parts),
    )
    if parts.scheme == "unix":
        if not parts.path or hosts:
            raise SettingsError(f"LOCATION {mask_url(url)!r} has no path of a socket: {_WRITE}")
        yield known._replace(path=unquote(parts.path))
        return
    for each in hosts.split(","):
        host, its_port = _host_and_port(url, each, port)
        yield known._replace(host=host, port=its_port)


def _host_and_port(url: str, text: str, port: int) -> tuple[str, int]:
    bracket = text.rpartition("]")
    host, _, its_port = bracket[2].partition(":")
    host = bracket[0].removeprefix("[") or unquote(host)
    if its_port and not (_PORT.match(its_port) and 0 < int(its_port) < 65536):
        raise SettingsError(f"LOCATION {mask_url(url)!r} has no port {its_port!r}: {_WRITE}")
    return host or "127.0.0.1", int(its_port or port)


def _db(url: str, parts: SplitResult) -> int | None:
    """Return the database's number, which is the path, or `?db=` where that is a socket."""
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    text = query.pop("db", "")
    if parts.scheme != "unix":
        text = parts.path.strip("/") or text
    if query:
        raise SettingsError(
            f"LOCATION {mask_url(url)!r}: there is no option {next(iter(query))!r} in the URL of"
            " a Redis server; put options of the backend into OPTIONS"
        )
    if not text:
        return None
    if not text.isdecimal():
        raise SettingsError(f"LOCATION {mask_url(url)!r} has no database {text!r}: a number")
    return int(text)
