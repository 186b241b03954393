"""The backend: the operations of a cache as commands of memcached."""

from collections.abc import Mapping, Sequence
from typing import Unpack

from twofold.backend import Examined, Fill, Looked
from twofold.backends.memcached import commands, results, scan
from twofold.backends.memcached.cas import CompareAndSet
from twofold.backends.memcached.claim_batches import ClaimBatches
from twofold.backends.memcached.claimed import Claimed
from twofold.backends.memcached.deployment import Weights, read_router
from twofold.backends.memcached.limits import SURELY_FITS, Limits
from twofold.backends.memcached.operations import ADD, CAS, CAS_AWAY, GET, SET
from twofold.backends.memcached.proxies import Proxies
from twofold.backends.memcached.router import Node
from twofold.backends.memcached.stubs import StubHiding
from twofold.backends.network import (
    Client,
    Command,
    ConnectionLost,
    NetworkBackend,
    raise_partial,
)
from twofold.backends.network.options import NetworkOptions
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import BackendUnavailable, PartlyUnavailable
from twofold.keys.kinds import is_lock


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
    two round trips, and one where a claim of this backend is expected; the other operations
    are one to each server. Only what changes nothing is sent twice if a connection is lost.
    A value that is too big is not sent, and what was there stays.

    Args:
        location: `host:port`, `unix:/path` or `memcached://[user:password@]host[:port]`;
            several are a list, or have commas or semicolons between them.
        weights: the servers' shares of the keys, in their order: numbers, or text with
            commas.
        username: for servers with `--auth-file`, where the URL names none.
        password: for servers with `--auth-file`.
        tls: whether the servers speak TLS.
        options: those of every `NetworkBackend`: `deadline`, `clock`, and those of TLS.

    Raises:
        SettingsError: an argument is none of these, or they contradict each other.
    """

    hides_stubs = True
    tells_metadata = True

    def __init__(
        self,
        location: str | list[str] = "",
        *,
        weights: Weights = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        **options: Unpack[NetworkOptions],
    ) -> None:
        super().__init__(location, **options)
        self._router = read_router(
            location,
            weights=weights,
            username=username,
            password=password,
            tls=tls,
            tls_options=self._tls_options,
            deadline=self.deadline,
        )
        self._client = Client(self._router, self.deadline)
        self._proxies = Proxies(self._client, self._router)
        self._limits = Limits(self._router, self._proxies)
        self._stubs = StubHiding(self._client, self._proxies)
        claimed = Claimed()
        self._cas = CompareAndSet(self._client, self._proxies, self._expiry, claimed)
        self._batches = ClaimBatches(self._client, self._cas, claimed)

    def get(self, key: str) -> bytes | None:
        # `GET.run` written out: a hit has one call less.
        return GET.read(key, self._client.execute(GET.build(key)))

    async def aget(self, key: str) -> bytes | None:
        return GET.read(key, await self._client.aexecute(GET.build(key)))

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        parts = self._router.split(keys)
        asked = [commands.get_many(part) for part in parts]
        return results.values(keys, parts, self._client.execute_many(asked))

    async def aget_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        parts = self._router.split(keys)
        asked = [commands.get_many(part) for part in parts]
        return results.values(keys, parts, await self._client.aexecute_many(asked))

    def look(self, key: str) -> Looked | None:
        return run_sync(self._look_many(BLOCKING, [key])).get(key)

    async def alook(self, key: str) -> Looked | None:
        return (await self._look_many(NATIVE, [key])).get(key)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return run_sync(self._look_many(BLOCKING, keys))

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return await self._look_many(NATIVE, keys)

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > SURELY_FITS:
            return run_sync(self._set_if_it_fits(BLOCKING, key, value, ttl))
        return SET.run(self._client, key, value, self._expiry(key, ttl))

    async def aset(self, key: str, value: bytes, ttl: float | None) -> bool:
        if len(value) > SURELY_FITS:
            return await self._set_if_it_fits(NATIVE, key, value, ttl)
        return await SET.arun(self._client, key, value, self._expiry(key, ttl))

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        return run_sync(self._set_many(BLOCKING, items, ttl))

    async def aset_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        return await self._set_many(NATIVE, items, ttl)

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        return run_sync(self._add(BLOCKING, key, value, ttl))

    async def aadd(self, key: str, value: bytes, ttl: float | None) -> bool:
        return await self._add(NATIVE, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        expiry = self._expiry(key, ttl)
        return run_sync(self._stubs.touch(BLOCKING, key, expiry, self._client.due()))

    async def atouch(self, key: str, ttl: float | None) -> bool:
        expiry = self._expiry(key, ttl)
        return await self._stubs.touch(NATIVE, key, expiry, self._client.due())

    def ttl(self, key: str) -> float | None:
        return run_sync(self._ttl(BLOCKING, key))

    async def attl(self, key: str) -> float | None:
        return await self._ttl(NATIVE, key)

    def delete(self, key: str) -> bool:
        return run_sync(self._stubs.delete(BLOCKING, key, self._client.due()))

    async def adelete(self, key: str) -> bool:
        return await self._stubs.delete(NATIVE, key, self._client.due())

    def delete_many(self, keys: Sequence[str]) -> int:
        return run_sync(self._stubs.delete_many(BLOCKING, keys, self._client.due()))

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return await self._stubs.delete_many(NATIVE, keys, self._client.due())

    def has(self, key: str) -> bool:
        return run_sync(self._stubs.has(BLOCKING, key, self._client.due()))

    async def ahas(self, key: str) -> bool:
        return await self._stubs.has(NATIVE, key, self._client.due())

    def incr(self, key: str, delta: int) -> int:
        return run_sync(self._cas.incr(BLOCKING, key, delta, self._client.due()))

    async def aincr(self, key: str, delta: int) -> int:
        return await self._cas.incr(NATIVE, key, delta, self._client.due())

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        return run_sync(self._compare_and_set(BLOCKING, key, expected, value, ttl))

    async def acompare_and_set(
        self, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        return await self._compare_and_set(NATIVE, key, expected, value, ttl)

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        return run_sync(self._cas.replace(BLOCKING, key, expected, value, self._client.due()))

    async def areplace(self, key: str, expected: bytes, value: bytes) -> bool:
        return await self._cas.replace(NATIVE, key, expected, value, self._client.due())

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        return run_sync(self._cas.delete(BLOCKING, key, expected, self._client.due()))

    async def acompare_and_delete(self, key: str, expected: bytes) -> bool:
        return await self._cas.delete(NATIVE, key, expected, self._client.due())

    def get_or_claim(self, key: str, stub: bytes, life: float) -> bytes | None:
        expiry = self._expiry(key, life)
        return run_sync(self._cas.claim(BLOCKING, key, stub, expiry, self._client.due()))

    async def aget_or_claim(self, key: str, stub: bytes, life: float) -> bytes | None:
        expiry = self._expiry(key, life)
        return await self._cas.claim(NATIVE, key, stub, expiry, self._client.due())

    def get_or_claim_many(
        self, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        return run_sync(self._claim_many(BLOCKING, keys, stub, life))

    async def aget_or_claim_many(
        self, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        return await self._claim_many(NATIVE, keys, stub, life)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return run_sync(self._fill_many(BLOCKING, fills))

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return await self._fill_many(NATIVE, fills)

    def release_many(self, held: Mapping[str, bytes]) -> dict[str, bool]:
        return run_sync(self._release_many(BLOCKING, held))

    async def arelease_many(self, held: Mapping[str, bytes]) -> dict[str, bool]:
        return await self._release_many(NATIVE, held)

    def clear(self, prefix: str) -> None:
        run_sync(scan.clear(BLOCKING, self._client, self._router.servers(), prefix))

    async def aclear(self, prefix: str) -> None:
        await scan.clear(NATIVE, self._client, self._router.servers(), prefix)

    def _expiry(self, key: str, ttl: float | None) -> int:
        return commands.expiry(key, ttl, self.clock.time())

    async def _look_many(self, io: Effects, keys: Sequence[str]) -> dict[str, Looked]:
        deadline = self._client.due()
        asked = await self._proxies.looks(io, keys, deadline, commands.look_inside)
        run, arun = self._client.execute_many, self._client.aexecute_many
        return results.looked(keys, await io.op(run, arun, asked, deadline))

    async def _set_if_it_fits(self, io: Effects, key: str, value: bytes, ttl: float | None) -> bool:
        """Set, unless the value is too big: a refused one would cost the older one."""
        deadline, expiry = self._client.due(), self._expiry(key, ttl)
        if not await self._limits.fits(io, key, value, deadline):
            return False
        return await SET.step(io, self._client, deadline, key, value, expiry)

    async def _add(self, io: Effects, key: str, value: bytes, ttl: float | None) -> bool:
        deadline, expiry = self._client.due(), self._expiry(key, ttl)
        if is_lock(key):
            return await ADD.step(io, self._client, deadline, key, value, expiry)
        if len(value) > SURELY_FITS and not await self._limits.fits(io, key, value, deadline):
            return False
        return await self._stubs.add(io, key, value, expiry, deadline)

    async def _set_many(
        self, io: Effects, items: Mapping[str, bytes], ttl: float | None
    ) -> list[str]:
        deadline = self._client.due()
        fit = await self._limits.those_that_fit(io, items, deadline)
        asked = [SET.build(key, value, self._expiry(key, ttl)) for key, value in fit.items()]
        run, arun = self._client.execute_many, self._client.aexecute_many
        return results.failed(items, fit, await io.op(run, arun, asked, deadline))

    async def _ttl(self, io: Effects, key: str) -> float | None:
        told = await self._proxies.ask(io, commands.look(key), self._client.due())
        return results.seconds(key, told)

    async def _compare_and_set(
        self, io: Effects, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        deadline, expiry = self._client.due(), self._expiry(key, ttl)
        if not await self._limits.fits(io, key, value, deadline):
            return False
        return await self._cas.set(io, key, expected, value, expiry, deadline)

    async def _claim_many(
        self, io: Effects, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        expiries = {key: self._expiry(key, life) for key in keys}
        return await self._batches.claim(io, expiries, stub, self._client.due())

    async def _fill_many(self, io: Effects, fills: Mapping[str, Fill]) -> dict[str, bool]:
        deadline = self._client.due()
        values = {key: each.value for key, each in fills.items()}
        fit = await self._limits.those_that_fit(io, values, deadline)

        def build(key: str, unique: int) -> Command:
            return CAS.build(key, values[key], self._expiry(key, fills[key].ttl), unique)

        expected = {key: fills[key].expected for key in fit}
        filled = dict.fromkeys(fills.keys() - fit, False)
        try:
            return filled | await self._batches.write(io, expected, build, deadline)
        except PartlyUnavailable as error:
            error.result = filled | error.result
            raise

    async def _release_many(self, io: Effects, held: Mapping[str, bytes]) -> dict[str, bool]:
        return await self._batches.write(io, held, CAS_AWAY.build, self._client.due())

    async def _examine(self, io: Effects) -> list[Examined]:
        found, failures = [], []
        for node in self._router.servers():
            try:
                found.append(await self._examine_node(io, node))
            except BackendUnavailable as error:
                failures.append(error)
        if not found:
            raise failures[0]
        return raise_partial(found, failures)

    async def _examine_node(self, io: Effects, node: Node) -> Examined:
        round_trip = await self._round_trip(io, node)
        told = None
        try:
            [lines] = await self._client.execute_on(io, node, commands.SETTINGS)
            told = results.settings(lines)
        except ConnectionLost:
            await self._round_trip(io, node)
        return results.examined(node.name, node.connector.version, told, round_trip)
