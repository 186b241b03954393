"""Where the servers are: what `LOCATION` says, read and checked."""

import re
from collections import Counter
from typing import Final, NamedTuple
from urllib.parse import unquote

from twofold.backends.network.hosts import host_name, read_host, require_unix_sockets
from twofold.display import mask_location, mask_url
from twofold.errors import SettingsError

_PORT: Final = 11211
_DEFAULT: Final = "127.0.0.1"
_BETWEEN = re.compile(r"[;,]")
_SCHEME = re.compile(r"memcached://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_IN_NO_HOST = re.compile(r"[\s/]")
_WRITE = "write host[:port], unix:/path or memcached://[user:password@]host[:port]"


class NodeAddress(NamedTuple):
    """One server."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a Unix socket; then there is no host."""

    @property
    def name(self) -> str:
        """What a server is called, and what places keys: the same however it was written."""
        return self.path or host_name(self.host, self.port)


class Location(NamedTuple):
    """All that `LOCATION` says."""

    addresses: list[NodeAddress]
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Show no login, which a traceback with its locals would show too."""
        return f"<Location {', '.join(each.name for each in self.addresses)}>"


def read_location(location: str | list[str]) -> Location:
    """Return the servers that `LOCATION` names, in its order, and the login there.

    Several are a list, or have commas or semicolons between them. A login in the first
    URL is for all.

    Raises:
        SettingsError: one of them is no server, or named twice.
    """
    texts = [location] if isinstance(location, str) else list(location)
    login, texts = _login(texts)
    parts = [part.strip() for text in texts for part in _BETWEEN.split(text)]
    found = [_read(part) for part in parts if part or len(parts) == 1]
    for name, times in Counter(address.name for address in found).items():
        if times > 1:
            raise SettingsError(f"LOCATION names the server {name} twice: leave one out")
    if not found:
        raise SettingsError(f"LOCATION names no server: {_WRITE}")
    return Location(found, *login)


def _login(texts: list[str]) -> tuple[tuple[str | None, str | None], list[str]]:
    """Return the login in the first of `texts`, and these without it."""
    for text in texts[1:]:
        if "@" in text:
            raise SettingsError(
                f"LOCATION {mask_location(text)!r}: a login is the same for all servers; put it"
                " into the first URL, or into OPTIONS['username'] and OPTIONS['password']"
            )
    if not texts or "@" not in texts[0]:
        return (None, None), texts
    before, _, hosts = texts[0].rpartition("@")
    scheme = _SCHEME.match(before)
    username, colon, password = before[scheme.end() :].partition(":") if scheme else ("", "", "")
    wrong = set("@/") & set(username + password) or set(",;") & set(username)
    if not scheme or not username or not colon or wrong:
        raise SettingsError(
            f"LOCATION {mask_location(texts[0])!r}: a login is memcached://user:password@host,"
            " before the first host, with '@' and '/' in it as %40 and %2F"
        )
    return (unquote(username), unquote(password)), [hosts, *texts[1:]]


def _read(text: str) -> NodeAddress:
    rest = _SCHEME.sub("", text, count=1)
    if path := _path(rest):
        require_unix_sockets(mask_url(text))
        return NodeAddress(path=path)
    if _OTHER_SCHEME.match(rest):
        raise SettingsError(f"LOCATION {mask_url(text)!r} is no memcached server: {_WRITE}")
    if "?" in rest:
        raise SettingsError(
            f"LOCATION {mask_url(text)!r}: put the options behind '?' into OPTIONS, where LOCATION"
            " is a list"
        )
    try:
        host, port = read_host(rest.rstrip("/"), _PORT)
    except ValueError as error:
        raise SettingsError(f"LOCATION {mask_url(text)!r} has {error}: {_WRITE}") from None
    if (not host and rest.strip("/")) or _IN_NO_HOST.search(host):
        raise SettingsError(f"LOCATION {mask_url(text)!r} has no host: {_WRITE}")
    return NodeAddress(host.lower() or _DEFAULT, port)


def _path(text: str) -> str:
    """Return the path of a Unix socket, or nothing if `text` is none."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        named = path.startswith("/") and path.strip("/")
        return unquote("/" + path.lstrip("/")) if named else _no_path(text)
    return unquote(text) if text.startswith("/") and text.strip("/") else ""


def _no_path(text: str) -> str:
    raise SettingsError(f"LOCATION {text!r} has no path of a socket: write unix:/path")
