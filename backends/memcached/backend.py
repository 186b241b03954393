"""The backend: the operations of a cache as commands of memcached."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Literal

from twofold import counter
from twofold.backend import Examined
from twofold.backends.memcached import commands, results
from twofold.backends.memcached.deployment import Weights, read_router
from twofold.backends.memcached.router import Node
from twofold.backends.network import Command, Exchange, NetworkBackend, Refused, Reply, partly
from twofold.backends.network.backend import BLOCKING, NATIVE
from twofold.backends.network.options import read_tls
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import Effects, run_sync
from twofold.errors import BackendUnavailable, CacheError

_SURELY_FITS = 700  # bytes of a value for which every server has room: the least is 1,024
_OVERHEAD = 128  # bytes at most that a server keeps beside key and value
_DEFAULT_ITEM_SIZE_MAX = 2**20
_ATTEMPTS = 16  # times that a value is read again, since it was changed meanwhile
_WALK = 60.0  # seconds that a server may take to name its keys
_BUSY_PAUSE = 0.02  # seconds
_AT_A_TIME = 1000  # keys that `clear` deletes at a time


class MemcachedBackend(NetworkBackend):
    """A store in memcached (1.4.31 or later), on one server or many.

    The async face shares a connection, or two, among all tasks of an event loop, and
    what they read in one tick is one `get`; the sync face has a connection for each
    thread. They are made when first needed, belong to their process, and end with their
    loop or thread.

    Each key has its server, by rendezvous hashing of `host:port`. While a server is down
    its keys are not to be had, and are nowhere else.

    Lives are whole seconds, rounded up, and the server's clock ticks once a second: a
    value may end up to a second early. `compare_and_set` and `compare_and_delete` are
    two round trips, the other operations one to each server. Only what changes nothing
    is sent twice if a connection is lost. A value that is too big is not sent, and what
    was there stays.

    Args:
        location: `host:port`, `unix:/path` or `memcached://[user:password@]host[:port]`;
            several are a list, or have commas or semicolons between them.
        weights: the servers' shares of the keys, in their order: numbers, or text with
            commas.
        username: for servers with `--auth-file`, where the URL names none.
        password: for servers with `--auth-file`.
        tls: whether the servers speak TLS.
        ssl_ca_certs: path of the certificates to trust; the system's otherwise.
        ssl_certfile: path of this client's certificate.
        ssl_keyfile: path of its key.
        ssl_cert_reqs: whether the server's certificate is "required", or "none" is.
        ssl_check_hostname: whether it must be for the host in `location`.
        deadline: seconds that one operation may take, to connect and retry included.
        clock: tells the time, by which lives of more than 30 days end.

    Raises:
        SettingsError: an argument is none of these, or they contradict each other.
    """

    def __init__(
        self,
        location: str | list[str] = "",
        *,
        weights: Weights = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        ssl_ca_certs: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        ssl_cert_reqs: Literal["required", "none"] = "required",
        ssl_check_hostname: bool = True,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(location, deadline=deadline, clock=clock)
        self._router = read_router(
            location,
            weights=weights,
            username=username,
            password=password,
            tls=tls,
            tls_options=read_tls(
                ssl_ca_certs=ssl_ca_certs,
                ssl_certfile=ssl_certfile,
                ssl_keyfile=ssl_keyfile,
                ssl_cert_reqs=ssl_cert_reqs,
                ssl_check_hostname=ssl_check_hostname,
            ),
        )
        self._exchange = Exchange(self._router, self.deadline)

    def get(self, key: str) -> bytes | None:
        return results.value(key, self._exchange.ask(commands.get(key)))

    async def aget(self, key: str) -> bytes | None:
        return results.value(key, await self._exchange.aask(commands.get(key)))

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        parts = self._router.split(keys)
        asked = [commands.get_many(part) for part in parts]
        return results.values(keys, parts, self._exchange.ask_all(asked))

    async def aget_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        parts = self._router.split(keys)
        asked = [commands.get_many(part) for part in parts]
        return results.values(keys, parts, await self._exchange.aask_all(asked))

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > _SURELY_FITS and not run_sync(self._has_room(BLOCKING, key, value)):
            return False
        return results.is_stored(self._exchange.ask(self._set(key, value, ttl)))

    async def aset(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > _SURELY_FITS and not await self._has_room(NATIVE, key, value):
            return False
        return results.is_stored(await self._exchange.aask(self._set(key, value, ttl)))

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        fit = run_sync(self._those_that_fit(BLOCKING, items))
        asked = [self._set(key, value, ttl) for key, value in fit.items()]
        return results.failed(items, fit, self._exchange.ask_all(asked))

    async def aset_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        fit = await self._those_that_fit(NATIVE, items)
        asked = [self._set(key, value, ttl) for key, value in fit.items()]
        return results.failed(items, fit, await self._exchange.aask_all(asked))

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > _SURELY_FITS and not run_sync(self._has_room(BLOCKING, key, value)):
            return False
        return results.is_added(self._exchange.ask(self._add(key, value, ttl)))

    async def aadd(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > _SURELY_FITS and not await self._has_room(NATIVE, key, value):
            return False
        return results.is_added(await self._exchange.aask(self._add(key, value, ttl)))

    def touch(self, key: str, ttl: float | None) -> bool:
        command = commands.touch(key, self._expiry(key, ttl))
        return results.is_done(self._exchange.ask(command))

    async def atouch(self, key: str, ttl: float | None) -> bool:
        command = commands.touch(key, self._expiry(key, ttl))
        return results.is_done(await self._exchange.aask(command))

    def ttl(self, key: str) -> float | None:
        return results.seconds(key, self._exchange.ask(commands.ttl(key)))

    async def attl(self, key: str) -> float | None:
        return results.seconds(key, await self._exchange.aask(commands.ttl(key)))

    def delete(self, key: str) -> bool:
        return results.is_done(self._exchange.ask(commands.delete(key)))

    async def adelete(self, key: str) -> bool:
        return results.is_done(await self._exchange.aask(commands.delete(key)))

    def delete_many(self, keys: Sequence[str]) -> int:
        return results.total(self._exchange.ask_all([commands.delete(key) for key in keys]))

    async def adelete_many(self, keys: Sequence[str]) -> int:
        asked = [commands.delete(key) for key in keys]
        return results.total(await self._exchange.aask_all(asked))

    def has(self, key: str) -> bool:
        return results.is_there(key, self._exchange.ask(self._is_there(key)))

    async def ahas(self, key: str) -> bool:
        return results.is_there(key, await self._exchange.aask(self._is_there(key)))

    def incr(self, key: str, delta: int) -> int:
        return run_sync(self._incr(BLOCKING, key, delta))

    async def aincr(self, key: str, delta: int) -> int:
        return await self._incr(NATIVE, key, delta)

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        return run_sync(self._compare_and_set(BLOCKING, key, expected, value, ttl))

    async def acompare_and_set(
        self, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        return await self._compare_and_set(NATIVE, key, expected, value, ttl)

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        return run_sync(self._compare_and_delete(BLOCKING, key, expected))

    async def acompare_and_delete(self, key: str, expected: bytes) -> bool:
        return await self._compare_and_delete(NATIVE, key, expected)

    def clear(self, prefix: str) -> None:
        run_sync(self._clear(BLOCKING, prefix))

    async def aclear(self, prefix: str) -> None:
        await self._clear(NATIVE, prefix)

    def _expiry(self, key: str, ttl: float | None) -> int:
        return commands.expiry(key, ttl, self.clock.time())

    def _set(self, key: str, value: bytes, ttl: float | None) -> Command:
        return commands.set(key, value, self._expiry(key, ttl))

    def _add(self, key: str, value: bytes, ttl: float | None) -> Command:
        return commands.add(key, value, self._expiry(key, ttl))

    def _is_there(self, key: str) -> Command:
        modern = results.is_modern(self._router.place(key).direct.version)
        return commands.is_there(key) if modern else commands.get(key)

    async def _ask(self, io: Effects, command: Command) -> Reply | Refused:
        return await io.op(self._exchange.ask, self._exchange.aask, command)

    async def _those_that_fit(self, io: Effects, items: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Return those of `items` that are not too big, and whose servers can tell.

        Raises:
            BackendUnavailable: no server can.
        """
        big = {key: value for key, value in items.items() if len(value) > _SURELY_FITS}
        if not big:
            return items
        until, lost = monotonic() + self.deadline, dict[Node, BackendUnavailable]()
        too_big = set()
        try:
            for key, value in big.items():
                node = self._router.place(key)
                try:
                    if node not in lost and not await self._has_room(io, key, value, until):
                        too_big.add(key)
                except BackendUnavailable as error:
                    lost[node] = error
            fit = [key for key in items if self._router.place(key) not in lost]
            if lost and not fit:
                raise next(iter(lost.values()))
            return {key: items[key] for key in fit if key not in too_big}
        finally:
            lost.clear()  # errors whose traceback has this frame would keep themselves alive

    async def _has_room(
        self, io: Effects, key: str, value: bytes, until: float | None = None
    ) -> bool:
        """Tell whether a value is not too big: a server that refuses one drops the old one.

        The limit is asked for anew on each connection: the server may have been restarted.
        It is told `until` then, a monotonic time, or within the deadline.
        """
        node = self._router.place(key)
        largest = node.direct.item_size_max
        if largest is None:
            seconds = None if until is None else until - monotonic()
            largest = node.direct.item_size_max = await self._item_size_max(io, node, seconds)
        return len(key) + len(value) + _OVERHEAD <= largest

    async def _item_size_max(self, io: Effects, node: Node, seconds: float | None) -> int:
        try:
            [lines] = await self._exchange.tell(io, node, commands.SETTINGS, seconds=seconds)
        except Refused:  # a proxy may be there instead
            return _DEFAULT_ITEM_SIZE_MAX
        told = results.settings(lines).get("item_size_max", "")
        return int(told) if told.isdigit() else _DEFAULT_ITEM_SIZE_MAX

    async def _incr(self, io: Effects, key: str, delta: int) -> int:
        """Add by the server's `incr`, and take back what leaves signed 64 bits."""
        reply = await self._ask(io, commands.incr(key, delta))
        if results.is_no_number(reply):
            return await self._incr_by_cas(io, key, delta)
        total = results.counted(key, reply)
        if results.is_overflow(total, delta):
            await self._ask(io, commands.incr(key, -delta))
            raise results.overflow(key, delta)
        return total

    async def _incr_by_cas(self, io: Effects, key: str, delta: int) -> int:
        """Add where the server sees no number: another program's, such as `b"-5"`.

        Servers before 1.6 also fail to see one in a number over 2**63 now and then.
        """
        for _ in range(_ATTEMPTS):
            asked = [commands.gets(key), commands.ttl(key)]
            found, left = await io.op(self._exchange.ask_all, self._exchange.aask_all, asked)
            item = results.item(key, found)
            total = counter.total(key, item.value if item else None, delta)
            if item is None:
                continue
            expiry = self._expiry(key, results.seconds(key, left))
            put = commands.cas(key, counter.write(total), expiry, item.unique)
            if results.is_added(await self._ask(io, put)):
                return total
        raise _restless(key)

    async def _compare_and_set(
        self, io: Effects, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        if len(value) > _SURELY_FITS and not await self._has_room(io, key, value):
            return False
        expiry = self._expiry(key, ttl)
        return await self._swap(
            io, key, expected, lambda unique: commands.cas(key, value, expiry, unique)
        )

    async def _compare_and_delete(self, io: Effects, key: str, expected: bytes) -> bool:
        return await self._swap(io, key, expected, lambda unique: commands.cas_away(key, unique))

    async def _swap(
        self, io: Effects, key: str, expected: bytes, put: Callable[[int], Command]
    ) -> bool:
        """Put something where `expected` stands, and again if that was written meanwhile."""
        for _ in range(_ATTEMPTS):
            item = results.item(key, await self._ask(io, commands.gets(key)))
            if item is None or item.value != expected:
                return False
            if results.is_added(await self._ask(io, put(item.unique))):
                return True
        raise _restless(key)

    async def _clear(self, io: Effects, prefix: str) -> None:
        """Clear the servers one after the other, whatever becomes of one of them."""
        failures = []
        for node in self._router.servers():
            try:
                if prefix:
                    await self._clear_node(io, node, prefix.encode())
                else:
                    await self._exchange.tell(io, node, commands.FLUSH)
            except BackendUnavailable as error:
                failures.append(error)
        if len(failures) == len(self._router.servers()):
            raise failures[0]
        partly(None, failures)

    async def _clear_node(self, io: Effects, node: Node, prefix: bytes) -> None:
        keys = [key for line in await self._walk(io, node) if (key := results.walked(line))]
        doomed = [key for key in keys if key.startswith(prefix) and commands.is_key(key)]
        for at in range(0, len(doomed), _AT_A_TIME):
            some = [b"delete %b\r\n" % key for key in doomed[at : at + _AT_A_TIME]]
            await self._exchange.tell(io, node, *some)

    async def _walk(self, io: Effects, node: Node) -> Sequence[bytes]:
        """Return a line for each key of a server, where one walk is made at a time."""
        until, how = monotonic() + _WALK, commands.WALK
        while monotonic() < until:
            try:
                [reply] = await self._exchange.tell(io, node, how, seconds=_WALK, apart=True)
            except Refused as error:
                raise _no_walk(error) from error
            if not isinstance(reply, bytes):
                return list(reply)
            if reply.startswith(b"BADCLASS"):
                how = commands.WALK_BY_CLASS
            else:
                await io.sleep(_BUSY_PAUSE)
        raise BackendUnavailable(f"{node.name} is busy naming its keys to others")

    async def _examine(self, io: Effects) -> list[Examined]:
        return [await self._examine_node(io, node) for node in self._router.servers()]

    async def _examine_node(self, io: Effects, node: Node) -> Examined:
        [lines] = await self._exchange.tell(io, node, commands.SETTINGS)
        told = results.settings(lines)
        return results.examined(
            node.name, node.direct.version, told, await self._round_trip(io, node)
        )


def _restless(key: str) -> CacheError:
    return BackendUnavailable(f"{key!r} is changed by others all the time: try again later")


def _no_walk(error: Refused) -> CacheError:
    return BackendUnavailable(
        f"{error}. clear() and clear_prefix() need the server's list of its keys (lru_crawler"
        " metadump); OPTIONS['clear'] = 'flush' lets clear() empty the servers instead"
    )
