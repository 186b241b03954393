"""The backend: the operations of a cache as commands of Redis."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final, Literal

from twofold import counter
from twofold.backend import Examined
from twofold.backends.network import Command, NetworkBackend, Outcome, Refused, Server, unwrap
from twofold.backends.network.options import flag
from twofold.backends.redis import commands, deployment, results
from twofold.backends.redis.client import RedisClient
from twofold.backends.redis.commands import COMPARE_AND_DELETE, COMPARE_AND_SET, INCR, REPLACE
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import BackendUnavailable

_WALK: Final = 600.0  # seconds that a server may take to name its keys


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
        ssl_ca_certs: path of the certificates to trust; the system's otherwise.
        ssl_certfile: path of this client's certificate.
        ssl_keyfile: path of its key.
        ssl_cert_reqs: whether the server's certificate is "required", or "none" is.
        ssl_check_hostname: whether it must be for the host in the URL.
        deadline: seconds that one operation may take, to connect and retry included.
        clock: tells the time.

    Raises:
        SettingsError: an argument is none of these, or they contradict each other.
    """

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
        ssl_ca_certs: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        ssl_cert_reqs: Literal["required", "none"] = "required",
        ssl_check_hostname: bool = True,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(location, deadline=deadline, clock=clock)
        login = deployment.read_login(
            username,
            password,
            db,
            ssl_ca_certs=ssl_ca_certs,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
            ssl_cert_reqs=ssl_cert_reqs,
            ssl_check_hostname=ssl_check_hostname,
        )
        service = deployment.read_service(
            sentinel,
            is_cluster=flag("cluster", cluster),
            username=sentinel_username,
            password=sentinel_password,
        )
        self._topology = deployment.read_topology(
            location,
            login,
            db,
            is_cluster=cluster,
            service=service,
            of_sentinels=deployment.read_login(
                sentinel_username, sentinel_password, prefix="sentinel_"
            ),
        )
        self._client = RedisClient(self._topology, self.deadline)

    def get(self, key: str) -> bytes | None:
        return results.value(self._client.execute(commands.get(key)))

    async def aget(self, key: str) -> bytes | None:
        return results.value(await self._client.aexecute(commands.get(key)))

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return self._got(keys, self._client.execute_many(self._gets(keys)))

    async def aget_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        return self._got(keys, await self._client.aexecute_many(self._gets(keys)))

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        return results.is_stored(self._client.execute(commands.set(key, value, ttl)))

    async def aset(self, key: str, value: bytes, ttl: float | None) -> bool:
        return results.is_stored(await self._client.aexecute(commands.set(key, value, ttl)))

    def set_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        sets = [commands.set(key, value, ttl) for key, value in items.items()]
        return results.failed(items, self._client.execute_many(sets))

    async def aset_many(self, items: Mapping[str, bytes], ttl: float | None) -> list[str]:
        sets = [commands.set(key, value, ttl) for key, value in items.items()]
        return results.failed(items, await self._client.aexecute_many(sets))

    def add(self, key: str, value: bytes, ttl: float | None) -> bool:
        return results.is_added(self._client.execute(commands.add(key, value, ttl)))

    async def aadd(self, key: str, value: bytes, ttl: float | None) -> bool:
        return results.is_added(await self._client.aexecute(commands.add(key, value, ttl)))

    def touch(self, key: str, ttl: float | None) -> bool:
        return results.any_there(self._client.execute_many(commands.touch(key, ttl)))

    async def atouch(self, key: str, ttl: float | None) -> bool:
        return results.any_there(await self._client.aexecute_many(commands.touch(key, ttl)))

    def ttl(self, key: str) -> float | None:
        return results.seconds(self._client.execute(commands.pttl(key)))

    async def attl(self, key: str) -> float | None:
        return results.seconds(await self._client.aexecute(commands.pttl(key)))

    def delete(self, key: str) -> bool:
        return bool(unwrap(self._client.execute(commands.unlink([key]))))

    async def adelete(self, key: str) -> bool:
        return bool(unwrap(await self._client.aexecute(commands.unlink([key]))))

    def delete_many(self, keys: Sequence[str]) -> int:
        return results.total(self._client.execute_many(self._unlinks(keys)))

    async def adelete_many(self, keys: Sequence[str]) -> int:
        return results.total(await self._client.aexecute_many(self._unlinks(keys)))

    def has(self, key: str) -> bool:
        return bool(unwrap(self._client.execute(commands.exists(key))))

    async def ahas(self, key: str) -> bool:
        return bool(unwrap(await self._client.aexecute(commands.exists(key))))

    def incr(self, key: str, delta: int) -> int:
        return results.counted(
            key, delta, self._client.execute(INCR.call(key, counter.write(delta)))
        )

    async def aincr(self, key: str, delta: int) -> int:
        call = INCR.call(key, counter.write(delta))
        return results.counted(key, delta, await self._client.aexecute(call))

    def compare_and_set(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> bool:
        call = COMPARE_AND_SET.call(key, expected, value, commands.life(ttl))
        return bool(unwrap(self._client.execute(call)))

    async def acompare_and_set(
        self, key: str, expected: bytes, value: bytes, ttl: float | None
    ) -> bool:
        call = COMPARE_AND_SET.call(key, expected, value, commands.life(ttl))
        return bool(unwrap(await self._client.aexecute(call)))

    def replace(self, key: str, expected: bytes, value: bytes) -> bool:
        return bool(unwrap(self._client.execute(REPLACE.call(key, expected, value))))

    async def areplace(self, key: str, expected: bytes, value: bytes) -> bool:
        return bool(unwrap(await self._client.aexecute(REPLACE.call(key, expected, value))))

    def compare_and_delete(self, key: str, expected: bytes) -> bool:
        call = COMPARE_AND_DELETE.call(key, expected)
        return bool(unwrap(self._client.execute(call)))

    async def acompare_and_delete(self, key: str, expected: bytes) -> bool:
        call = COMPARE_AND_DELETE.call(key, expected)
        return bool(unwrap(await self._client.aexecute(call)))

    def clear(self, prefix: str) -> None:
        run_sync(self._clear(BLOCKING, prefix))

    async def aclear(self, prefix: str) -> None:
        await self._clear(NATIVE, prefix)

    def _gets(self, keys: Sequence[str]) -> list[Command]:
        if self._topology.splits:
            return [commands.get(key) for key in keys]
        return [commands.mget(keys)] if keys else []

    def _got(self, keys: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, bytes]:
        if self._topology.splits:
            return results.values_in_part(keys, outcomes)
        return results.values(keys, unwrap(outcomes[0])) if keys else {}

    def _unlinks(self, keys: Sequence[str]) -> list[Command]:
        if self._topology.splits:
            return [commands.unlink([key]) for key in keys]
        return [commands.unlink(keys)] if keys else []

    async def _clear(self, io: Effects, prefix: str) -> None:
        for server in await self._client.primaries(io):
            if prefix:
                await self._clear_server(io, server, prefix)
            else:
                await self._client.execute_on(io, server, commands.FLUSH)

    async def _clear_server(self, io: Effects, server: Server, prefix: str) -> None:
        cursor, seen, doomed = b"0", set[bytes](), list[bytes]()
        until = monotonic() + _WALK
        while True:
            step = [commands.scan(cursor, prefix), *doomed]
            [(cursor, keys), *_] = await self._client.execute_on(io, server, *step)
            doomed = self._removals([key for key in keys if key.startswith(prefix.encode())])
            if cursor == b"0":
                break
            if cursor in seen or monotonic() > until:
                raise BackendUnavailable(f"{server.name} comes to no end of naming its keys")
            seen.add(cursor)
        if doomed:
            await self._client.execute_on(io, server, *doomed)

    def _removals(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return packed commands; some keys may be another program's, and have any bytes."""
        if self._topology.splits:
            return [commands.pack(b"UNLINK", key) for key in keys]
        return [commands.pack(b"UNLINK", *keys)] if keys else []

    async def _examine(self, io: Effects) -> list[Examined]:
        primaries = await self._client.primaries(io)
        servers = primaries if self._topology.splits else self._topology.servers()
        return [await self._examine_server(io, each) for each in servers]

    async def _examine_server(self, io: Effects, server: Server) -> Examined:
        [text] = await self._client.execute_on(io, server, commands.INFO)
        return results.examined(
            server.name,
            text.decode(errors="replace"),
            await self._round_trip(io, server),
            scripts=await self._runs_scripts(io, server),
        )

    async def _runs_scripts(self, io: Effects, server: Server) -> bool:
        try:
            await self._client.execute_on(io, server, commands.EVAL)
        except Refused as refusal:
            return not results.forbids(refusal)
        return True
