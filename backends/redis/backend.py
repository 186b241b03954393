"""The backend: the operations of a cache as commands of Redis."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, TypeVar, Unpack

from twofold.backend import Examined, Fill, Looked
from twofold.backends.network import Command, NetworkBackend, Outcome, Reply, Server
from twofold.backends.network.options import NetworkOptions, flag
from twofold.backends.redis import commands, deployment, results, scripts
from twofold.backends.redis.client import RedisClient
from twofold.backends.redis.examination import Examination
from twofold.backends.redis.listing import FIRST, Page, Place, read_page
from twofold.backends.redis.operations import (
    ADD,
    COMPARE_AND_DELETE,
    COMPARE_AND_SET,
    DELETE,
    FILL,
    GET,
    GET_OR_CLAIM,
    HAS,
    INCR,
    RENEW,
    REPLACE,
    SET,
    SET_AND_DELETE,
    TOUCH,
    TTL,
)
from twofold.backends.redis.scripting import ScriptClient
from twofold.backends.redis.structures import STRUCTURE
from twofold.backends.redis.watch import StoreWatch
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import BackendUnavailable
from twofold.stub import is_stub
from twofold.watch import Watch, Watcher

T = TypeVar("T")

_SCAN: Final = 600.0  # seconds that a server may take to name its keys


class RedisBackend(NetworkBackend):
    """A store in Redis (6.2 or later) or Valkey, for any number of machines.

    The async face shares a connection, or two, among all tasks of an event loop; the sync
    face has one for each thread. They are made when first needed, belong to their
    process, and end with their loop or thread.

    Operations are one round trip and atomic, but: `clear` is many; those on many keys are
    atomic for each key. Only what changes nothing is sent twice if a connection is lost.
    What the server has no memory for is not stored. A value of another type than a
    string, which some other program stored, is a miss.

    Args:
        location: `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, or
            `unix:///path[?db=1]`. Of several, the first takes the writes and the others
            the reads, unless `cluster` or `sentinel` say what they are.
        username: of an ACL user, where the URL names none.
        password: where the URL has none.
        db: the number of the database, where the URL has none.
        cluster: whether these are servers of a cluster; it finds the others.
        sentinel: the name of a service; then `location` is where its sentinels are.
        sentinel_username: of an ACL user of the sentinels.
        sentinel_password: the sentinels' password.
        options: those of every `NetworkBackend`: `deadline`, `clock`, and those of TLS.

    Raises:
        SettingsError: an argument is none of these, or they contradict each other.
    """

    hides_stubs = True
    tells_metadata = True

    _client: RedisClient

    def __init__(
        self,
        location: str | list[str] = "",
        *,
        username: str | None = None,
        password: str | None = None,
        db: int | None = None,
        cluster: bool = False,
        sentinel: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        **options: Unpack[NetworkOptions],
    ) -> None:
        super().__init__(location, **options)
        service = deployment.read_service(
            sentinel, flag("cluster", cluster), sentinel_username, sentinel_password
        )
        self._topology = deployment.read_topology(
            location,
            deployment.read_login(username, password, db, tls=self._tls_options),
            db,
            is_cluster=cluster,
            service=service,
            deadline=self.deadline,
        )
        self._splits = self._topology.splits
        self._looks_read = not self._topology.reads_elsewhere
        """Whether the looks of a tier may go where reads do, which is not to a replica."""
        self._client = RedisClient(self._topology, self.deadline)
        self._scripts = ScriptClient(self._client, self._in_worker)
        self._watch = StoreWatch(self._client)
        self._knows_nx_get = True

    def get(self, key: str) -> bytes | None:
        # `GET.run`, written out where there is a value: a hit has two calls less.
        found = self._client.execute(commands.get(key))
        return found if type(found) is bytes or found is None else GET.read(key, found)

    async def aget(self, key: str) -> bytes | None:
        found = await self._client.aexecute(commands.get(key))
        return found if type(found) is bytes or found is None else GET.read(key, found)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        if self._splits or not keys:
            return results.values_in_part(keys, self._client.execute_many(self._gets(keys)))
        return results.values(keys, self._client.execute(commands.mget(keys)))

    async def aget_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        if self._splits or not keys:
            return results.values_in_part(keys, await self._client.aexecute_many(self._gets(keys)))
        return results.values(keys, await self._client.aexecute(commands.mget(keys)))

    def look(self, key: str) -> Looked | None:
        view = self._watch.view() if self._splits else None
        packed, parts = commands.look(key)
        found, left = self._client.execute_pair(key, self._looks_read, packed, parts)
        if self._splits and not self._watch.covers(view):
            return results.looked(key, found, left, keep=False)
        # `looked`, written out where there is a value with an end.
        if type(found) is bytes and type(left) is int and left >= 0:
            return found, left / 1000
        return results.looked(key, found, left, keep=True)

    async def alook(self, key: str) -> Looked | None:
        view = self._watch.view() if self._splits else None
        packed, parts = commands.look(key)
        found, left = await self._client.aexecute_pair(key, self._looks_read, packed, parts)
        if self._splits and not self._watch.covers(view):
            return results.looked(key, found, left, keep=False)
        if type(found) is bytes and type(left) is int and left >= 0:
            return found, left / 1000
        return results.looked(key, found, left, keep=True)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return run_sync(self._look_many(BLOCKING, keys))

    async def alook_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return await self._look_many(NATIVE, keys)

    def watch(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> Watch | None:
        return self._watch.add(prefixes, watcher, bound)

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        return SET.run(self._client, key, value, ttl)

    async def aset(self, key: str, value: bytes, ttl: float | None) -> bool:
        return await SET.arun(self._client, key, value, ttl)

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        return results.failed(items, self._client.execute_many(commands.set_many(items, ttl)))

    async def aset_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        return results.failed(
            items, await self._client.aexecute_many(commands.set_many(items, ttl))
        )

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        return run_sync(self._add(BLOCKING, key, value, ttl))

    async def aadd(self, key: str, value: bytes, ttl: float | None) -> bool:
        return await self._add(NATIVE, key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return TOUCH.run(self._scripts, key, ttl)

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return await TOUCH.arun(self._scripts, key, ttl)

    def ttl(self, key: str) -> float | None:
        return TTL.run(self._scripts, key)

    async def attl(self, key: str) -> float | None:
        return await TTL.arun(self._scripts, key)

    def delete(self, key: str) -> bool:
        return DELETE.run(self._scripts, key)

    async def adelete(self, key: str) -> bool:
        return await DELETE.arun(self._scripts, key)

    def delete_many(self, keys: Sequence[str]) -> int:
        return results.total(self._scripts.execute_many(self._deletes(keys)))

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return results.total(await self._scripts.aexecute_many(self._deletes(keys)))

    def has(self, key: str) -> bool:
        return HAS.run(self._scripts, key)

    async def ahas(self, key: str) -> bool:
        return await HAS.arun(self._scripts, key)

    def incr(self, key: str, delta: int) -> int:
        return INCR.run(self._scripts, key, delta)

    async def aincr(self, key: str, delta: int) -> int:
        return await INCR.arun(self._scripts, key, delta)

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        return COMPARE_AND_SET.run(self._scripts, key, expected, value, ttl)

    async def acompare_and_set(
        self, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        return await COMPARE_AND_SET.arun(self._scripts, key, expected, value, ttl)

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        return REPLACE.run(self._scripts, key, expected, value)

    async def areplace(self, key: str, expected: bytes, value: bytes) -> bool:
        return await REPLACE.arun(self._scripts, key, expected, value)

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        return COMPARE_AND_DELETE.run(self._scripts, key, expected)

    async def acompare_and_delete(self, key: str, expected: bytes) -> bool:
        return await COMPARE_AND_DELETE.arun(self._scripts, key, expected)

    def get_or_claim(self, key: str, stub: bytes, life: float) -> bytes | None:
        return run_sync(self._get_or_claim(BLOCKING, key, stub, life))

    async def aget_or_claim(self, key: str, stub: bytes, life: float) -> bytes | None:
        return await self._get_or_claim(NATIVE, key, stub, life)

    def fill(self, key: str, stub: bytes, value: bytes, ttl: float | None) -> bool:
        return FILL.run(self._scripts, key, stub, value, ttl)

    async def afill(self, key: str, stub: bytes, value: bytes, ttl: float | None) -> bool:
        return await FILL.arun(self._scripts, key, stub, value, ttl)

    def get_or_claim_many(
        self, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        return run_sync(self._get_or_claim_many(BLOCKING, keys, stub, life))

    async def aget_or_claim_many(
        self, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        return await self._get_or_claim_many(NATIVE, keys, stub, life)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        outcomes = self._scripts.execute_many(_fills(fills))
        return results.each(fills, outcomes, results.is_filled)

    async def afill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        outcomes = await self._scripts.aexecute_many(_fills(fills))
        return results.each(fills, outcomes, results.is_filled)

    def release_many(self, held: Mapping[str, bytes]) -> dict[str, bool]:
        outcomes = self._scripts.execute_many(_releases(held))
        return results.each(held, outcomes, results.is_done)

    async def arelease_many(self, held: Mapping[str, bytes]) -> dict[str, bool]:
        outcomes = await self._scripts.aexecute_many(_releases(held))
        return results.each(held, outcomes, results.is_done)

    def renew(self, key: str, stub: bytes, life: float) -> bool:
        return RENEW.run(self._scripts, key, stub, life)

    async def arenew(self, key: str, stub: bytes, life: float) -> bool:
        return await RENEW.arun(self._scripts, key, stub, life)

    def clear(self, prefix: str) -> None:
        run_sync(self._clear(BLOCKING, prefix))

    async def aclear(self, prefix: str) -> None:
        await self._clear(NATIVE, prefix)

    def page_of_keys(self, pattern: str, count: int, after: Place = FIRST) -> Page:
        """Return some keys that match `pattern`, of `count` keys that the server looks at.

        Patterns are as in `KEYS`. A key may be on two pages, and one that comes or goes
        meanwhile on none.
        """
        return run_sync(read_page(BLOCKING, self._client, pattern, count, after))

    async def apage_of_keys(self, pattern: str, count: int, after: Place = FIRST) -> Page:
        return await read_page(NATIVE, self._client, pattern, count, after)

    def structure(self, name: bytes, keys: Sequence[str], *parts: bytes) -> Reply:
        """Return the reply to a command on sets, hashes or sorted sets.

        Raises:
            OfAnotherType: something else stands under one of the keys.
        """
        return STRUCTURE.run(self._client, name, keys, parts)

    async def astructure(self, name: bytes, keys: Sequence[str], *parts: bytes) -> Reply:
        return await STRUCTURE.arun(self._client, name, keys, parts)

    async def _look_many(self, io: Effects, keys: Sequence[str]) -> dict[str, Looked]:
        client, view = self._client, self._watch.view()
        reads = self._looks_read
        lives = [commands.pttl(key, reads) for key in keys]
        asked = [*self._gets(keys, reads), *lives]
        outcomes = await io.op(client.execute_many, client.aexecute_many, asked)
        read = results.looked_in_part if self._splits else results.looked_at
        return read(keys, outcomes, keep=self._watch.covers(view))

    def _gets(self, keys: Sequence[str], reads: bool = True) -> list[Command]:
        if self._splits:
            return [commands.get(key, reads) for key in keys]
        return [commands.mget(keys, reads)] if keys else []

    def _deletes(self, keys: Sequence[str]) -> list[Command]:
        if self._splits:
            return [scripts.delete(key) for key in keys]
        return [scripts.delete_many(keys)] if keys else []

    async def _set_and_delete(
        self, io: Effects, key: str, value: bytes, keys: Sequence[str]
    ) -> None:
        if self._splits:
            await super()._set_and_delete(io, key, value, keys)
        else:
            await SET_AND_DELETE.step(io, self._scripts, self._client.due(), key, value, keys)

    async def _add(self, io: Effects, key: str, value: bytes, ttl: float | None) -> bool:
        deadline = self._client.due()
        if self._knows_nx_get:
            found = await self._set_nx_get(io, key, value, ttl, deadline)
            if not (results.is_too_old(found) or is_stub(found)):
                return results.is_added(key, found)
        return await ADD.step(io, self._scripts, deadline, key, value, ttl)

    async def _get_or_claim(self, io: Effects, key: str, stub: bytes, life: float) -> bytes | None:
        deadline = self._client.due()
        if self._knows_nx_get:
            found = await self._set_nx_get(io, key, stub, life, deadline)
            if not results.is_too_old(found):
                return results.present(key, found)
        return await GET_OR_CLAIM.step(io, self._scripts, deadline, key, stub, life)

    async def _get_or_claim_many(
        self, io: Effects, keys: Sequence[str], stub: bytes, life: float
    ) -> dict[str, bytes | None]:
        client, scripted = self._client, self._scripts
        if self._knows_nx_get:
            asked = [commands.add(key, stub, life) for key in keys]
            outcomes = await io.op(client.execute_many, client.aexecute_many, asked)
            if not any(map(results.is_too_old, outcomes)):
                return results.each(keys, outcomes, results.present)
            self._knows_nx_get = False
        asked = [scripts.get_or_claim(key, stub, life) for key in keys]
        outcomes = await io.op(scripted.execute_many, scripted.aexecute_many, asked)
        return results.each(keys, outcomes, results.present)

    async def _set_nx_get(
        self, io: Effects, key: str, value: bytes, ttl: float | None, deadline: float
    ) -> Outcome:
        """Store where nothing is, and return what is there, if the server can do that at once."""
        client, command = self._client, commands.add(key, value, ttl)
        outcome = await io.op(client.execute, client.aexecute, command, deadline)
        if results.is_too_old(outcome):
            self._knows_nx_get = False
        return outcome

    def close(self) -> None:
        self._watch.stop()
        super().close()

    async def aclose(self) -> None:
        self._watch.stop()
        await super().aclose()

    async def _in_worker(self, function: Callable[..., T], *args: Any) -> T:
        return await self._worker_pool(function, *args)

    async def _clear(self, io: Effects, prefix: str) -> None:
        for server in await self._client.primaries(io):
            if prefix:
                await self._clear_server(io, server, prefix)
            else:
                await self._client.execute_on(io, server, commands.FLUSH)

    async def _clear_server(self, io: Effects, server: Server, prefix: str) -> None:
        cursor, seen, unlinks = b"0", set[bytes](), list[bytes]()
        deadline = monotonic() + _SCAN
        while True:
            # The keys of one step are removed with the next: half of the round trips.
            step = [commands.scan(cursor, commands.beginning(prefix)), *unlinks]
            [(cursor, keys), *_] = await self._client.execute_on(io, server, *step)
            unlinks = self._unlinks([key for key in keys if key.startswith(prefix.encode())])
            if cursor == b"0":
                break
            if cursor in seen or monotonic() > deadline:
                raise BackendUnavailable(
                    f"{server.name} did not come to the end of its keys by SCAN:"
                    " look for what stands between, or set OPTIONS['clear'] to 'flush'"
                )
            seen.add(cursor)
        if unlinks:
            await self._client.execute_on(io, server, *unlinks)

    def _unlinks(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return packed commands; some keys may be another program's, and have any bytes."""
        if self._splits:
            return [commands.pack(b"UNLINK", key) for key in keys]
        return [commands.pack(b"UNLINK", *keys)] if keys else []

    async def _examine(self, io: Effects) -> list[Examined]:
        return await Examination(self._client, self._watch, self._round_trip).run(io)


def _fills(fills: Mapping[str, Fill]) -> list[Command]:
    return [
        (scripts.fill if is_stub(each.expected) else scripts.compare_and_set)(key, *each)
        for key, each in fills.items()
    ]


def _releases(held: Mapping[str, bytes]) -> list[Command]:
    return [scripts.compare_and_delete(key, each) for key, each in held.items()]
