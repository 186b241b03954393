"""`LOCATION` as other caches read it: with or without a scheme, one or several, in any form."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

from twofold.contrib.moving.tables import Moved, Refused, Table, Translated
from twofold.display import scheme

_BETWEEN = re.compile(r"[;,]")
_BETWEEN_URLS = re.compile(r"[;,]\s*+(?=[a-z+]++://)", re.IGNORECASE)
_OLD = re.compile(r"([^:/@]+):([0-9]+):([0-9]+)\Z")  # host:port:db
_OLD_SOCKET = re.compile(r"unix:(/(?!/)[^:]+):([0-9]+)\Z")  # unix:/path:db
_SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis+ssl": "rediss", "redis+socket": "unix"}
_TLS = {"redis": "rediss"}
_KEPT = "db"


def sentinels(value: Any) -> Translated:
    """Return where sentinels are, of pairs of a host and a port, or `host:port`."""
    pairs = [value] if isinstance(value, str) else value or ()
    if not isinstance(pairs, list | tuple):
        return Refused("write a list of (host, port)")
    found = [host_and_port(each) for each in pairs]
    if not all(found):
        return Refused("write a list of (host, port)")
    return {"sentinels": found} if found else {}


def parts_of(location: Any) -> list[Any]:
    """Return the servers of a `LOCATION`: text with commas or semicolons, or a list."""
    if isinstance(location, list | tuple | set | frozenset):
        return [part for each in location for part in _parts(each)]
    return list(_parts(location))


def _parts(each: Any) -> Iterator[Any]:
    if not isinstance(each, str):
        yield each
    else:
        between = _BETWEEN_URLS if "://" in each else _BETWEEN
        yield from filter(None, map(str.strip, between.split(each)))


def host_and_port(each: Any) -> str | None:
    """Return `host:port` of a pair, a dict or such text; None if it is none of these."""
    if isinstance(each, Mapping) and "host" in each:
        each = (each["host"], each.get("port"))
    if isinstance(each, list | tuple) and len(each) == 2:
        host, port = each
        bare = f"[{host}]" if ":" in str(host) else str(host)
        return bare if port in (None, "") else f"{bare}:{port}"
    return each.partition("://")[2] or each if isinstance(each, str) else None


def redis_servers(moved: Moved, location: Any, table: Table) -> None:
    """Put `LOCATION` into what was made, and take out what only says how to read it."""
    made, parts = moved.made, _checked(moved, location)
    urls = list(dict.fromkeys(_url(moved, each, table) for each in parts))
    asked, found = made.pop("behind_sentinels", False), made.pop("sentinels", [])
    if found:
        urls = _behind(moved, urls, found)
    elif asked and "sentinel" not in moved.left:
        moved.refused["OPTIONS['SENTINELS']"] = "write a list of (host, port)"
    if made.pop("tls", False):
        urls = [_with_scheme(url, _TLS) for url in urls]
    if made.pop("sharded", False) and len(urls) > 1:
        moved.refused["OPTIONS['CLIENT_CLASS']"] = (
            "write OPTIONS['cluster'] = True for a cluster, or one server in LOCATION: keys are not"
            " spread over servers of Redis that know nothing of each other"
        )
    _drop_second_database(moved, urls)
    made["LOCATION"] = urls[0] if len(urls) == 1 else urls or ""


def memcached_servers(moved: Moved, location: Any) -> None:
    """Put `LOCATION` into what was made: each server once."""
    servers = list(dict.fromkeys(_checked(moved, location)))
    moved.made["LOCATION"] = servers[0] if len(servers) == 1 else servers or ""


def _checked(moved: Moved, location: Any) -> list[str]:
    """Return the servers of a `LOCATION` as text, or refuse what is none."""
    parts = [each if isinstance(each, str) else host_and_port(each) for each in parts_of(location)]
    if None in parts:
        moved.refused["LOCATION"] = "write a URL, host:port, or a list of such"
    return [each for each in parts if each is not None]


class _Parts(NamedTuple):
    """A URL taken apart, whatever is wrong with it: the backend reports that."""

    login: str
    hosts: str
    database: str


def _apart(url: str) -> _Parts:
    name, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    login, _, hosts = netloc.rpartition("@")
    asked = dict(part.partition("=")[::2] for part in query.split("&"))
    database = asked.get(_KEPT, "") or ("" if name == "unix" else path.strip("/"))
    return _Parts(login, hosts, database)


def _url(moved: Moved, text: str, table: Table) -> str:
    """Return the URL of one server, and move what its query says."""
    old = _OLD.match(text)
    if old:
        text = "redis://{}:{}/{}".format(*old.groups())
    elif socket := _OLD_SOCKET.match(text):
        text = "unix://{}?db={}".format(*socket.groups())
    elif text.startswith("unix:/") and not text.startswith("unix://"):
        text = "unix://" + text.removeprefix("unix:")
    elif scheme(text) is None:
        text = ("unix://" if text.startswith("/") else "redis://") + text
    text = _with_scheme(text, _SCHEMES)
    address, _, query = text.partition("?")
    if not query or "@" in query:
        return text  # the second is half of a password: the backend reports it
    return _without_query(moved, address, query, table)


def _without_query(moved: Moved, address: str, query: str, table: Table) -> str:
    """Return `address` with what it alone knows of `query`; the rest are options."""
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    said = {unquote_plus(name): unquote_plus(text) for name, text in pairs if name}
    kept = {name: said.pop(name) for name in [*said] if name.lower() not in table or name == _KEPT}
    moved.read(said, table, "LOCATION, ?{}=")
    return f"{address}?{'&'.join(f'{n}={t}' for n, t in kept.items())}" if kept else address


def _with_scheme(url: str, schemes: Mapping[str, str]) -> str:
    name, mark, rest = url.partition("://")
    return f"{schemes.get(name.lower(), name)}{mark}{rest}"


def _behind(moved: Moved, urls: list[str], found: list[str]) -> list[str]:
    """Return the URLs of sentinels, where those of the settings name a service."""
    made = moved.made
    services = list(dict.fromkeys(_apart(url).hosts for url in urls))
    named = made.get("sentinel") or moved.left.get("sentinel")
    if not named and len(services) != 1:
        moved.refused["LOCATION"] = "write one URL, whose host is the name of the service"
        return urls
    made["sentinel"] = named or services[0]
    _take_login(moved, urls[0] if urls else "")
    tls = any(scheme(url) == "rediss" for url in urls)
    return [f"{'rediss' if tls else 'redis'}://{each}" for each in dict.fromkeys(found)]


def _take_login(moved: Moved, url: str) -> None:
    """Make options of what the URL of a service says of its servers."""
    parts = _apart(url)
    user, _, password = parts.login.partition(":")
    said = {"username": unquote(user), "password": unquote(password)}
    moved.made.update({name: text for name, text in said.items() if text})
    if parts.database.isdecimal():
        moved.made["db"] = int(parts.database)


def _drop_second_database(moved: Moved, urls: list[str]) -> None:
    """Let the URL say which database, as the drivers do, where an option says so too."""
    named = any(_apart(url).database for url in urls)
    if named and "sentinel" not in moved.made:
        moved.made.pop("db", None)
