"""The stores behind a network, side by side: what a test of both must know of each."""

import os
import socket
import stat
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import pytest

from tests.chaos import Proxy, Server
from twofold.backend import Backend
from twofold.backends.memcached import MemcachedBackend
from twofold.backends.redis import RedisBackend

Address: TypeAlias = Server | Proxy


class Kind(NamedTuple):
    """One of the stores."""

    name: str
    """What settings, URLs and fixtures call it."""
    make: Callable[..., Backend]
    origin: type[Exception]
    """What its drivers raise where they find no server."""
    accepted: Callable[[Any], int]
    """Returns how many connections a server has accepted in its life."""

    def url(self, at: Address) -> str:
        """Return where a server is, or a proxy to one, as `LOCATION` has it."""
        return f"{self.name}://{at.address}"

    def backend(self, at: Address, **options: Any) -> Backend:
        """Return a new backend, whose options are of those that both have."""
        return self.make(self.url(at), **options)

    def settings(self, at: Address, **options: Any) -> dict[str, Any]:
        """Return the settings of a cache with these `OPTIONS`."""
        return {"BACKEND": self.name, "LOCATION": self.url(at), "OPTIONS": options}


REDIS = Kind(
    "redis",
    RedisBackend,
    OSError,
    lambda server: int(server.info("stats")["total_connections_received"]),
)
MEMCACHED = Kind(
    "memcached",
    MemcachedBackend,
    OSError,  # pymemcache and aiomcache let it through
    lambda server: int(server.stats()["total_connections"]),
)


@pytest.fixture(params=[REDIS, MEMCACHED], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return the store that the test is to run on."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture
def server(kind: Kind, request: pytest.FixtureRequest) -> Server:
    """Return the shared server, empty; leave it as it is."""
    shared: Server = request.getfixturevalue(f"{kind.name}_server")
    return shared


@pytest.fixture
def own_server(kind: Kind, request: pytest.FixtureRequest) -> Server:
    """Return a server of this test alone, to be frozen, killed and started again."""
    own: Server = request.getfixturevalue(f"own_{kind.name}")
    return own


def strict(code: str, *arguments: str) -> list[str]:
    """Return the command of a program of which Python tells whatever it leaves or does wrong.

    That a step of its loop took long is no wrong of its own.
    """
    quiet = """import logging
logging.getLogger("asyncio").addFilter(lambda said: not said.msg.startswith("Executing"))
"""
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]
    return [sys.executable, "-X", "dev", *warnings, "-c", quiet + code, *arguments]


def connections(server: Server) -> int:
    """Return how many connections to a server this process has open.

    psutil would read thousands of lines, of all that were closed in the last minute too.
    """
    peers = [_peer(int(name)) for name in os.listdir("/dev/fd")]
    return peers.count((server.host, server.port))


def _peer(descriptor: int) -> Any:
    """Return where a descriptor is connected to, or None if it is not."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            return copy.getpeername()
    except OSError:
        return None
