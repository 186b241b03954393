"""Where a host is: looked up in threads of our own, one at a time for a server.

The system's look-up cannot be ended, nor told how long it may take. In the event loop's
own executor, those that hang would hold up the application, and `asyncio.run` at its end.
"""

import asyncio
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple

from twofold.effects import after_fork_in_child, leak_on_fork, new_rlock


class SocketAddress(NamedTuple):
    """An address, as a socket of its family takes it."""

    family: int
    address: Any


Resolution = Future[list[SocketAddress]]


class Lookup:
    """The addresses of one host.

    Whoever comes while they are being looked up waits for the same.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._known = _numeric(host, port)
        self._running: Resolution | None = None
        self._lock = new_rlock()  # a signal's handler may ask too
        after_fork_in_child(self)

    def find(self, seconds: float) -> list[SocketAddress]:
        """Return the addresses, or raise `OSError`, a `TimeoutError` after `seconds`."""
        return self._known or self._start().result(seconds)

    async def afind(self) -> list[SocketAddress]:
        """Do what `find` does, for as long as it takes."""
        if self._known:
            return self._known
        loop = asyncio.get_running_loop()
        looked, woken = self._start(), loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def tell(_: Resolution) -> None:
            with suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(wake)

        looked.add_done_callback(tell)
        await woken
        return looked.result()

    def _start(self) -> Resolution:
        """Return what a look-up will bring, the one under way if there is one."""
        with self._lock:
            if self._running is not None and not self._running.done():
                return self._running
            looked = Resolution()
            name = f"twofold-lookup {self._host}"
            threading.Thread(target=self._resolve, args=(looked,), name=name, daemon=True).start()
            self._running = looked
            return looked

    def _resolve(self, looked: Resolution) -> None:
        try:
            told = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            looked.set_result([SocketAddress(family, address) for family, _, _, _, address in told])
        except Exception as error:
            looked.set_exception(error)

    def _after_fork(self) -> None:
        leak_on_fork(self._running, self._lock)
        self._running, self._lock = None, new_rlock()


def _numeric(host: str, port: int) -> list[SocketAddress]:
    """Return the address that `host` is, if it is one; what has a "%" in it is for the system."""
    try:
        version = 0 if "%" in host else ip_address(host).version
    except ValueError:
        return []
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return [SocketAddress(families[version], (host, port))] if version else []
