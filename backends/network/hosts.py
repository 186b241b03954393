"""Hosts and ports as text: "host", "host:port", "[::1]:port"."""

import re
import socket

from twofold.errors import SettingsError

_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]*))(?::(.*))?\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


def read_host(text: str, port: int) -> tuple[str, int]:
    """Return the host that `text` names, and its port, or `port` if it names none.

    Raises:
        ValueError: it names none that there can be.
    """
    parts = _HOST.match(text)
    if not parts:
        raise ValueError(f"no host {text!r}")
    in_brackets, host, its_port = parts.groups()
    if its_port and not (_PORT.match(its_port) and 0 < int(its_port) < 65536):
        raise ValueError(f"no port {its_port!r}")
    return in_brackets or host, int(its_port or port)


def require_unix_sockets(location: str) -> None:
    """Raise `SettingsError` where there are no Unix sockets, as in Python on Windows."""
    if not hasattr(socket, "AF_UNIX"):
        raise SettingsError(
            f"LOCATION {location!r} is a Unix socket, which Python does not have on this system:"
            " name a host and a port"
        )


def host_name(host: str, port: int) -> str:
    """Return a server's name in messages and statistics."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
