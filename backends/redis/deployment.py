"""From settings to servers: one with or without replicas, behind sentinels, or a cluster."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from twofold.backends.network import Server
from twofold.backends.network.options import check_text, given_tls
from twofold.backends.redis.addresses import Address, read_addresses
from twofold.backends.redis.connector import DirectConnector, Login, SentinelConnector
from twofold.backends.redis.protocol import RESP
from twofold.backends.redis.topology import ClusterTopology, FixedTopology, RedisTopology
from twofold.display import shown
from twofold.errors import SettingsError

_PORT = 6379
_SENTINEL_PORT = 26379


class Service(NamedTuple):
    """A primary that sentinels find."""

    name: str
    login: Login
    """How to log in at the sentinels."""


def read_topology(
    location: str | list[str],
    login: Login,
    db: int | None,
    *,
    is_cluster: bool,
    service: Service | None,
    deadline: float,
) -> RedisTopology:
    """Return the servers at `LOCATION`, or those of a cluster or a service found through them.

    Raises:
        SettingsError: LOCATION is wrong, or contradicts itself or an option.
    """
    addresses = read_addresses(location, _SENTINEL_PORT if service else _PORT)
    _check_tls(addresses, login)
    _check_db(addresses, db)
    if is_cluster:
        return _cluster(addresses, login, deadline)
    if service:
        return _behind_sentinels(addresses, service, login, deadline)
    servers = [_server(each, login.at(each), deadline) for each in addresses]
    return FixedTopology(servers[0], servers[1:])


def _behind_sentinels(
    sentinels: Sequence[Address], service: Service, login: Login, deadline: float
) -> RedisTopology:
    _check_alike(sentinels, "sentinel")
    connector = SentinelConnector(sentinels, service.name, login.at(sentinels[0]), service.login)
    primary = Server(f"the primary of {service.name!r}", connector, RESP, deadline)
    return FixedTopology(primary, locate=connector.alocate)


def _cluster(seeds: Sequence[Address], login: Login, deadline: float) -> RedisTopology:
    _check_alike(seeds, "cluster")
    login = login.at(seeds[0])
    if login.db:
        raise SettingsError(f"a cluster has no database {login.db}, but 0 alone: leave it out")
    return ClusterTopology(seeds, lambda address: _server(address, login, deadline))


def _server(address: Address, login: Login, deadline: float) -> Server:
    return Server(address.name, DirectConnector(address, login), RESP, deadline)


def _check_tls(addresses: Sequence[Address], login: Login) -> None:
    given = given_tls(login.tls)
    if given and not any(address.tls for address in addresses):
        raise SettingsError(f"OPTIONS[{given[0]!r}] is for TLS: write rediss:// in LOCATION")


def _check_db(addresses: Sequence[Address], db: int | None) -> None:
    for address in addresses:
        if None not in (db, address.db) and db != address.db:
            raise SettingsError(
                f"OPTIONS['db'] is {db}, and the URL of {address.name} has database"
                f" {address.db}: leave one out"
            )


def _check_alike(addresses: Sequence[Address], option: str) -> None:
    """Raise SettingsError unless one login, that of the first server, can hold for all."""
    if any(address.path for address in addresses):
        raise SettingsError(
            f"OPTIONS[{option!r}] and a Unix socket in LOCATION do not go together: leave one out"
        )
    first = addresses[0]
    for address in addresses[1:]:
        if not _is_like(first, address):
            raise SettingsError(
                f"LOCATION: {address.name} has another login, database or TLS than {first.name}:"
                f" with OPTIONS[{option!r}] write the same in all URLs, or login and database in"
                " the first alone"
            )


def _is_like(first: Address, other: Address) -> bool:
    pairs = (
        (first.username, other.username),
        (first.password, other.password),
        (first.db, other.db),
    )
    return first.tls == other.tls and all(said in (None, known) for known, said in pairs)


def read_login(
    username: str | None,
    password: str | None,
    db: int | None = None,
    *,
    tls: dict[str, Any] | None = None,
    prefix: str = "",
) -> Login:
    """Return how to log in, from options of those names, which may have a prefix.

    Raises:
        SettingsError: one of them is not what it should be.
    """
    check_text(**{prefix + "username": username, prefix + "password": password})
    if db is not None and (isinstance(db, bool) or not isinstance(db, int) or db < 0):
        raise SettingsError(
            f"OPTIONS['db'] is the number of a database, 0 or more; not {shown(db)}"
        )
    return Login(username, password, db or 0, tls or {})


def read_service(
    sentinel: object, is_cluster: bool, username: str | None, password: str | None
) -> Service | None:
    """Return what the options `sentinel`, `sentinel_username` and `sentinel_password` say.

    Raises:
        SettingsError: one of them is not what it should be, or lacks another.
    """
    if sentinel is None:
        for name, text in (("username", username), ("password", password)):
            if text is not None:
                raise SettingsError(
                    f"OPTIONS['sentinel_{name}'] is for sentinels: give OPTIONS['sentinel'] too,"
                    " the name of a service"
                )
        return None
    if not isinstance(sentinel, str) or not sentinel:
        raise SettingsError(f"OPTIONS['sentinel'] is the name of a service, not {shown(sentinel)}")
    if is_cluster:
        raise SettingsError(
            "OPTIONS['cluster'] and OPTIONS['sentinel'] do not go together: leave one out"
        )
    return Service(sentinel, read_login(username, password, prefix="sentinel_"))
