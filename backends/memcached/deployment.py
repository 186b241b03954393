"""From settings to servers: where they are, how to log in there, and what share each has."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from twofold.backends.memcached.addresses import NodeAddress, read_location
from twofold.backends.memcached.connector import DirectConnector
from twofold.backends.memcached.router import Node, Router
from twofold.backends.network.options import Tls, check_text, flag, given_tls
from twofold.display import shown
from twofold.errors import SettingsError

Weights = Sequence[float] | str | None


def read_router(
    location: str | list[str],
    *,
    weights: Weights,
    username: str | None,
    password: str | None,
    tls: bool,
    tls_options: dict[str, Any],
    deadline: float,
) -> Router:
    """Return the servers at `LOCATION`.

    Raises:
        SettingsError: LOCATION or an option is wrong, or they contradict each other.
    """
    addresses, *in_url = read_location(location)
    login = _login(in_url, username, password)
    encryption = _tls(addresses, tls_options) if flag("tls", tls) else None
    if encryption is None and (given := given_tls(tls_options)):
        raise SettingsError(f"OPTIONS[{given[0]!r}] is for TLS: set OPTIONS['tls'] to True")
    shares = _weights(weights, len(addresses))
    return Router(
        [
            Node(address.name, DirectConnector(address, login, encryption), deadline, weight)
            for address, weight in zip(addresses, shares, strict=True)
        ]
    )


def _login(
    in_url: list[str | None], username: str | None, password: str | None
) -> tuple[str, str] | None:
    check_text(username=username, password=password)
    if any(in_url) and (username or password):
        raise SettingsError("a login is both in LOCATION and in OPTIONS: leave one out")
    name, secret = in_url if any(in_url) else (username, password)
    if bool(name) != bool(secret):
        raise SettingsError("OPTIONS['username'] and OPTIONS['password'] go together: give both")
    if not name or not secret:
        return None
    for text in (name, secret):
        if any(mark in text for mark in " \r\n\0:"):
            raise SettingsError(
                "a user or password of memcached has no blank, no ':', no newline: choose another"
            )
    return name, secret


def _weights(weights: Weights, count: int) -> list[float]:
    """Return what share each server has, by default the same."""
    if weights is None:
        return [1.0] * count
    try:
        parts = weights.split(",") if isinstance(weights, str) else list(weights)
        shares = [float(each) for each in parts if not isinstance(each, bool)]
    except (TypeError, ValueError):
        shares = []
    if len(shares) != count or not all(isfinite(each) and each > 0 for each in shares):
        raise SettingsError(
            f"OPTIONS['weights'] has a number more than 0 for each of the {count} servers in"
            f" LOCATION, in their order; not {shown(weights)}"
        )
    return shares


def _tls(addresses: Sequence[NodeAddress], options: dict[str, Any]) -> Tls:
    """Return what encrypts and verifies, as the options that begin with `ssl_` say."""
    for address in addresses:
        if address.path:
            raise SettingsError(
                f"OPTIONS['tls'] and the socket {address.path} do not go together: leave one out"
            )
    try:
        (tls := Tls(options)).context()
    except OSError as error:
        raise SettingsError(
            f"OPTIONS['ssl_ca_certs'], ['ssl_certfile'] or ['ssl_keyfile'] cannot be used: {error}."
            " Give files in PEM format, and the key that belongs to the certificate"
        ) from error
    return tls
