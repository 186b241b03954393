"""Redis: claims, and stubs amid the commands of others, with scripts and without."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import pytest

from tests.chaos import RedisCluster, RedisServer
from tests.redis_lives import RedisLives
from twofold import Cache
from twofold.backend import Backend
from twofold.backends.redis import RedisBackend, commands
from twofold.backends.redis.transactions import Transaction
from twofold.errors import BackendUnavailable, NotACounter
from twofold.stub import new_stub
from twofold.testing import FACES, Face
from twofold.testing.claim_cases import ClaimCases
from twofold.testing.described_cases import DescribedStoreCases
from twofold.testing.faces import case
from twofold.testing.store_cases import StoreCases

LONG = 1000.0
PATIENCE = 10.0
WITHOUT_SCRIPTS = ("on", ">sesame", "~*", "&*", "+@all", "-@scripting")
"""A user as those of the work-around of CVE-2025-49844."""

Open: TypeAlias = Callable[..., Any]


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def opened(face: Face) -> Iterator[Open]:
    """Return a function that makes backends, in the face; all are closed in the end."""
    made: list[RedisBackend] = []

    def make(location: str, **options: Any) -> Any:
        made.append(RedisBackend(location, deadline=PATIENCE, **options))
        return face.view(made[-1])

    yield make
    for backend in made:
        backend.close()


def without_scripts(server: RedisServer) -> str:
    """Return the URL of a user who may run no script."""
    server.command("ACL", "SETUSER", "app", *WITHOUT_SCRIPTS)
    return server.url.replace("redis://", "redis://app:sesame@")


def calls(server: RedisServer) -> dict[str, int]:
    """Return how often each command was called, within scripts and outside."""
    lines = server.info("commandstats").items()
    return {
        name.removeprefix("cmdstat_"): int(told.partition(",")[0].removeprefix("calls="))
        for name, told in lines
    }


async def sent(server: RedisServer, call: Awaitable[Any]) -> dict[str, int]:
    """Return the commands that a call sends, without those within a script."""
    server.command("CONFIG", "RESETSTAT")
    await call
    counted = calls(server)
    if "evalsha" in counted:  # the others are within the script
        return {"evalsha": counted["evalsha"]}
    return {
        name: count for name, count in counted.items() if name not in {"config|resetstat", "info"}
    }


class TestWithoutScripts(RedisLives, StoreCases, ClaimCases, DescribedStoreCases):
    """A Redis that forbids scripts: transactions do what they would."""

    def make_backend(self, redis_server: RedisServer) -> Backend:
        return RedisBackend(without_scripts(redis_server), deadline=PATIENCE)


class TestClusterWithoutScripts(RedisLives, ClaimCases, DescribedStoreCases):
    """A cluster that forbids scripts."""

    @pytest.fixture
    def urls(self, redis_cluster: RedisCluster) -> list[str]:
        return redis_cluster.urls

    def make_backend(self, redis_cluster: RedisCluster) -> Backend:
        for node in redis_cluster.nodes:
            node.command("ACL", "SETUSER", "app", *WITHOUT_SCRIPTS)
        location = redis_cluster.urls[0].replace("redis://", "redis://app:sesame@")
        return RedisBackend(location, cluster=True, deadline=PATIENCE)


class TestOlderServer(RedisLives, ClaimCases, DescribedStoreCases):
    """A server before Redis 7, to which SET with NX and GET is a syntax error."""

    def make_backend(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setattr(commands, "add", refused)
        return RedisBackend(redis_server.url, deadline=PATIENCE)


def refused(key: str, value: bytes, ttl: float | None) -> commands.Command:
    """Return a command that every server refuses as one of 6.2 does `SET … NX GET`."""
    return commands.Command(commands.pack(b"SET", key.encode(), value, b"NX", b"XX"), key)


def test_a_miss_is_three_round_trips(face: Face, redis_server: RedisServer) -> None:
    """They are a read, a claim, and the value over the claim, each one command."""
    cache = Cache(redis_server.url)

    async def body() -> None:
        view = face.view(cache)
        assert await view.get_or_set("warm", lambda: "v") == "v"
        redis_server.command("CONFIG", "RESETSTAT")
        assert await view.get_or_set("k", lambda: "v") == "v"
        counted = calls(redis_server)
        inside = {"getrange": 1, "set": 1}  # of the script that fills
        expected = {"get": 1, "set": 1, "evalsha": 1}
        if not redis_server.knows_nx_get:  # a script claims
            inside |= {"get": 1, "set": 2}
            expected = {"get": 1, "evalsha": 2}
        outside = {
            name: count - inside.get(name, 0)
            for name, count in counted.items()
            if name not in {"config", "config|resetstat", "info"}
        }
        assert {name: n for name, n in outside.items() if n} == expected
        await view.close()

    face.run(body())


class TestRoundTrips:
    """What is sent at a stub."""

    @case
    async def test_an_operation_at_a_stub_is_one_command(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A script looks for the stub, and sees to the rest."""
        store, stub = opened(redis_server.url), new_stub()
        operations = (
            lambda: store.has("k"),
            lambda: store.ttl("k"),
            lambda: store.touch("k", LONG),
            lambda: store.renew("k", stub, LONG),
            lambda: store.release("k", stub),
            lambda: store.fill("k", stub, b"v", None),
            lambda: store.delete("k"),
            lambda: store.delete_many(["k", "l"]),
        )
        for operation in operations:
            await operation()
            await store.get_or_claim("k", stub, LONG)
            assert await sent(redis_server, operation()) == {"evalsha": 1}
            await store.delete("k")

    @case
    async def test_adding_and_claiming_are_one_plain_command(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """Only over a stub `add` needs a script too, and on servers before Redis 7."""
        store = opened(redis_server.url)
        one = {"set": 1} if redis_server.knows_nx_get else {"evalsha": 1}
        await store.add("first", b"v", LONG)  # which finds out
        assert await sent(redis_server, store.add("k", b"v", LONG)) == one
        assert await sent(redis_server, store.add("k", b"v", None)) == one
        assert await sent(redis_server, store.get_or_claim("k", new_stub(), LONG)) == one
        assert await sent(redis_server, store.get_or_claim("l", new_stub(), LONG)) == one
        await store.add("l", b"v", LONG)
        assert await store.get("l") == b"v"

    @case
    async def test_a_refusal_of_scripts_is_remembered(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A server that forbids them is asked for one once; then transactions are begun at once."""
        store = opened(without_scripts(redis_server))
        await store.has("k")
        redis_server.command("CONFIG", "RESETSTAT")
        await store.has("k")
        await store.set("n", b"1", None)
        assert await store.incr("n", 1) == 2
        counted = calls(redis_server)
        assert "evalsha" not in counted
        assert (counted["watch"], counted["exec"]) == (2, 2)


class TestRefusals:
    """What stands in the way of a claim."""

    @case
    async def test_another_type_is_there_and_no_value(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A list of another program's is a miss, cannot be claimed or added to, and stays."""
        for location in (redis_server.url, without_scripts(redis_server)):
            store, stub = opened(location), new_stub()
            redis_server.command("RPUSH", "q", "first")
            assert await store.get("q") is None
            assert await store.get_or_claim("q", stub, LONG) is None
            assert await store.fill("q", stub, b"v", None) is False
            assert await store.renew("q", stub, LONG) is False
            assert await store.release("q", stub) is False
            assert await store.add("q", b"v", None) is False
            assert await store.has("q") is True
            assert await store.ttl("q") is None
            with pytest.raises(NotACounter):
                await store.incr("q", 1)
            assert redis_server.command("LRANGE", "q", 0, -1) == [b"first"]
            assert await store.touch("q", LONG) is True
            assert await store.delete("q") is True

    @case
    async def test_a_full_server_takes_no_claim(self, opened: Open, own_redis: RedisServer) -> None:
        """Neither claim nor value finds room, which is no outage; a claim can be removed."""
        for location in (own_redis.url, without_scripts(own_redis)):
            store, stub = opened(location), new_stub()
            await store.get_or_claim("k", stub, LONG)
            await store.set("m", b"v", None)
            own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            own_redis.command("CONFIG", "SET", "maxmemory", "1")
            assert await store.get_or_claim("l", stub, LONG) is None
            assert await store.fill("k", stub, b"v", None) is False
            assert await store.has("k") is False
            assert await store.delete("k") is False
            assert await store.get("k") is None
            await store.set_and_delete("l", b"v", ["m"])
            assert await store.get("m") is None
            assert await store.get("l") in (None, b"v")
            own_redis.command("CONFIG", "SET", "maxmemory", "0")
            await store.delete("l")

    @case
    async def test_a_user_without_a_command_of_a_script_is_told(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A script that may not look is a refusal, not a key without a stub."""
        url = without_scripts(redis_server)
        redis_server.command("ACL", "SETUSER", "app", "+@scripting", "-getrange")
        with pytest.raises(BackendUnavailable, match="refused: "):
            await opened(url).has("k")


class TestTransactions:
    """What may happen while a transaction is on its way."""

    @case
    async def test_what_is_changed_meanwhile_is_read_again(
        self, opened: Open, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The transaction is refused, and begins anew with what stands there by then."""
        store = opened(without_scripts(redis_server))
        await store.set("n", b"1", None)
        real, read = Transaction.plan, []

        def plan(self: Transaction, replies: Any) -> Any:
            read.append(replies)
            if len(read) == 1:
                redis_server.command("DEL", "n")
            return real(self, replies)

        monkeypatch.setattr(Transaction, "plan", plan)
        assert await store.compare_and_set("n", b"1", b"2", None) is False
        assert len(read) == 2
        assert await store.get("n") is None

    @case
    async def test_what_is_changed_again_and_again_is_given_up(
        self, opened: Open, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is written, and the error says why."""
        store = opened(without_scripts(redis_server))
        await store.set("n", b"1", None)
        real = Transaction.plan

        def plan(self: Transaction, replies: Any) -> Any:
            redis_server.command("INCR", "n")
            return real(self, replies)

        monkeypatch.setattr(Transaction, "plan", plan)
        with pytest.raises(BackendUnavailable, match="'n' was written 16 times while it was read"):
            await store.incr("n", 100)
        assert await store.get("n") == b"17"

    @case
    async def test_a_lost_connection_is_no_lost_transaction(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """As long as nothing was to be written, it begins anew on another one."""
        store = opened(without_scripts(redis_server))
        await store.set("n", b"1", None)
        assert await store.incr("n", 1) == 2
        redis_server.command("CLIENT", "KILL", "USER", "app")
        assert await store.incr("n", 1) == 3
