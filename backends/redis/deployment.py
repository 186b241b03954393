"""From settings to servers: one with or without replicas, behind sentinels, or a cluster."""

from typing import Any

from twofold.backends.redis.addresses import Address, read_addresses
from twofold.backends.redis.dial import Direct, Login, ViaSentinel
from twofold.backends.redis.servers import Fixed, Server, Slots, Topology
from twofold.errors import SettingsError

_PORT = 6379
_SENTINEL_PORT = 26379


def single(location: str | list[str], login: Login) -> Topology:
    """Return a primary, and the replicas of which there are any."""
    servers = [_server(each, login.at(each)) for each in read_addresses(location, _PORT)]
    return Fixed(servers[0], servers[1:])


def behind_sentinels(
    location: str | list[str], service: str, login: Login, of_sentinels: Login
) -> Topology:
    """Return the primary that the sentinels at `location` name."""
    sentinels = _network_addresses(location, _SENTINEL_PORT, "sentinel")
    dialer = ViaSentinel(sentinels, service, login.at(sentinels[0]), of_sentinels)
    return Fixed(Server(f"the primary of {service!r}", dialer))


def cluster(location: str | list[str], login: Login) -> Topology:
    """Return the cluster that the servers at `location` belong to."""
    seeds = _network_addresses(location, _PORT, "cluster")
    login = login.at(seeds[0])
    if login.db:
        raise SettingsError(f"a cluster has no database {login.db}, but 0 alone: leave it out")
    return Slots(seeds, lambda address: _server(address, login))


def _network_addresses(location: str | list[str], port: int, option: str) -> list[Address]:
    addresses = read_addresses(location, port)
    if any(address.path for address in addresses):
        raise SettingsError(f"OPTIONS[{option!r}] and a Unix socket in LOCATION do not go together")
    return addresses


def _server(address: Address, login: Login) -> Server:
    return Server(address.name, Direct(address, login))


def read_login(
    username: str | None, password: str | None, db: int | None = None, **tls: Any
) -> Login:
    """Return how to log in, from options of those names.

    Raises:
        SettingsError: one of them is not what it should be.
    """
    for name, text in (("username", username), ("password", password)):
        if text is not None and not isinstance(text, str):
            raise SettingsError(f"OPTIONS[{name!r}] is text, not a {type(text).__name__}")
    if db is not None and (isinstance(db, bool) or not isinstance(db, int) or db < 0):
        raise SettingsError(f"OPTIONS['db'] is the number of a database, 0 or more; not {db!r}")
    return Login(username, password, db or 0, read_tls(**tls) if tls else {})


def flag(name: str, value: object) -> bool:
    """Return the option `name`, which is true or false."""
    if not isinstance(value, bool):
        raise SettingsError(f"OPTIONS[{name!r}] is True or False, not {value!r}")
    return value


def read_tls(**options: Any) -> dict[str, Any]:
    """Return the arguments for redis-py that the options beginning with `ssl_` make."""
    verified = options["ssl_cert_reqs"]
    if verified not in ("required", "none"):
        raise SettingsError(f"OPTIONS['ssl_cert_reqs'] is 'required' or 'none', not {verified!r}")
    hostname = flag("ssl_check_hostname", options["ssl_check_hostname"]) and verified == "required"
    return {name: value for name, value in options.items() if value is not None} | {
        "ssl_check_hostname": hostname
    }
