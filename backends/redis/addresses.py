"""Where the servers are: what `LOCATION` says, one URL or several, read and checked."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote

from twofold.backends.network.hosts import host_name, read_host, require_unix_sockets
from twofold.display import mask_location
from twofold.errors import SettingsError

_DEFAULT_HOST: Final = "127.0.0.1"
_WITH_TLS = frozenset({"rediss", "valkeys"})
_SCHEMES = _WITH_TLS | {"redis", "unix", "valkey"}
# As RFC 3986, appendix B, has it. `urlsplit` refuses several hosts of which one is in brackets, and
# more of them from CPython 3.14 on.
_URL = re.compile(
    r"(?:([a-z][a-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)\??([^#]*)#?(.*)", re.IGNORECASE | re.DOTALL
)
_BETWEEN_URLS = re.compile(r"[;,]\s*+(?=[a-z]++://)", re.IGNORECASE)
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

    def __repr__(self) -> str:
        """Show no login, which a traceback with its locals would show too."""
        return f"<Address {self.name}{' with TLS' if self.tls else ''}>"

    @property
    def name(self) -> str:
        """The server's name in messages and statistics."""
        return self.path or host_name(self.host, self.port)


def read_addresses(location: str | list[str], port: int) -> list[Address]:
    """Return the servers that `LOCATION` names, those without a port on `port`.

    Several are given as a list, as URLs with commas or semicolons between them, or as
    several hosts in one URL.

    Raises:
        SettingsError: one of them is no URL of a Redis server.
    """
    texts = [location] if isinstance(location, str) else location
    urls = [url for text in texts for url in _BETWEEN_URLS.split(text or "redis://")]
    found = [address for url in urls for address in _read(url.strip(), port)]
    if not found:
        raise SettingsError(f"LOCATION names no server: {_WRITE}")
    if twice := [each for n, each in enumerate(found) if each in found[:n]]:
        raise SettingsError(f"LOCATION names the server {twice[0].name} twice: leave one out")
    if all(address.host or address.path for address in found):
        return found
    if len(found) > 1:
        raise SettingsError(
            "LOCATION names several servers, and one of them has no host: write each one's"
        )
    return [found[0]._replace(host=_DEFAULT_HOST)]


def _read(url: str, port: int) -> Iterator[Address]:
    scheme, netloc, path, query, fragment = next(_URL.finditer(url)).groups("")
    parts = SplitResult(scheme.lower(), netloc, path, query, fragment)
    if parts.scheme not in _SCHEMES:
        raise SettingsError(
            f"LOCATION {mask_location(url)!r} is no URL of a Redis server: {_WRITE}"
        )
    is_cut = "@" in parts.query or ("@" in parts.path and parts.scheme != "unix")
    if parts.fragment or is_cut:
        raise SettingsError(  # what follows here may be half of a password, and is not shown
            f"LOCATION {mask_location(url)!r}: write '/', '?' and '#' in a password as %2F, %3F and"
            " %23"
        )
    login, _, hosts = parts.netloc.rpartition("@")
    if "@" in login:
        raise SettingsError(
            f"LOCATION {mask_location(url)!r}: write '@' in a user or password as %40; several"
            " servers with logins of their own are several URLs"
        )
    username, _, password = login.partition(":")
    known = Address(
        tls=parts.scheme in _WITH_TLS,
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=_db(url, parts),
    )
    if parts.scheme == "unix":
        if not parts.path or hosts:
            raise SettingsError(
                f"LOCATION {mask_location(url)!r} has no path of a socket: {_WRITE}"
            )
        require_unix_sockets(mask_location(url))
        yield known._replace(path=unquote(parts.path))
        return
    for each in hosts.split(","):
        host, its_port = _host_and_port(url, each.strip(), port)
        yield known._replace(host=host, port=its_port)


def _host_and_port(url: str, text: str, port: int) -> tuple[str, int]:
    try:
        host, its_port = read_host(text, port)
    except ValueError as error:
        raise SettingsError(f"LOCATION {mask_location(url)!r} has {error}: {_WRITE}") from None
    return unquote(host), its_port


def _db(url: str, parts: SplitResult) -> int | None:
    """Return the database's number, which is the path, or `?db=` where that is a socket."""
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = "" if parts.scheme == "unix" else parts.path.strip("/")
    asked = query.pop("db", "")
    text = path or asked
    if query:
        raise SettingsError(
            f"LOCATION {mask_location(url)!r}: there is no option {next(iter(query))!r} in the URL"
            " of a Redis server; put options of the backend into OPTIONS"
        )
    if path and asked and path != asked:
        raise SettingsError(
            f"LOCATION {mask_location(url)!r} has two databases, {path!r} and {asked!r}: leave one"
            " out"
        )
    if not text:
        return None
    if not text.isdecimal():
        raise SettingsError(
            f"LOCATION {mask_location(url)!r} has no database {text!r}: a number, such as 0"
        )
    return int(text)
