"""Redis tells of changes: what its watch says, and how long what was near may be served."""

import asyncio
import gc
import json
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.chaos import (
    ClusterNode,
    Proxy,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    Server,
    SlotMove,
    Stalls,
    eventually,
)
from tests.chaos.resp import CommandFailed
from tests.near_model import KEYS, Near, Reader, Writer
from twofold import events
from twofold.backends.network.replies import INCOMPLETE, ProtocolError
from twofold.backends.redis import RedisBackend, watch
from twofold.backends.redis.pushes import Push, PushReader
from twofold.testing import FACES, Face

BOUND = 0.25
TIMES = 5
LOOPS = pytest.mark.parametrize("times", [TIMES, pytest.param(40, marks=pytest.mark.heavy)])

MakeProxy: TypeAlias = Callable[[Server], Proxy]


@contextmanager
def opened(url: Any, **options: Any) -> Iterator[RedisBackend]:
    """Make a backend for a while."""
    backend = RedisBackend(url, **options)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def watched(url: Any, *prefixes: str, bound: float = BOUND, **options: Any) -> Iterator[Near]:
    """Make a tier, and wait until its watch is live."""
    with opened(url, deadline=bound, **options) as backend:
        near = Near(backend, bound, *prefixes)
        await_live(near)
        yield near
        near.watch.close()


def await_live(*tiers: Near) -> None:
    eventually(lambda: all(near.is_live for near in tiers), "the watch is live")


def await_not_live(near: Near) -> None:
    eventually(lambda: not near.is_live, "the watch is not live")


def await_right(near: Near, server: Any) -> None:
    """Wait until a value is served from near, and is the one that the server has."""

    def is_right() -> bool:
        value, at = near.get(KEYS[0])
        return at is not None and value == server.command("GET", KEYS[0])

    eventually(is_right, "what is near is right")


def listeners(server: Any) -> list[str]:
    """Return the ids of the connections of watches that a server has."""
    told = server.command("CLIENT", "LIST").decode().splitlines()
    return [line.split()[0] for line in told if "name=twofold-watch" in line]


# What is told


WRITES: dict[str, tuple[Any, ...]] = {
    "set": ("SET", "w:k", "new"),
    "delete": ("DEL", "w:k"),
    "unlink": ("UNLINK", "w:k"),
    "add": ("INCRBY", "w:n", 1),
    "a new life": ("PEXPIRE", "w:k", 60_000),
    "a script": ("EVAL", "return redis.call('SET', KEYS[1], 'new')", 1, "w:k"),
    "another type": ("RPUSH", "w:l", "x"),
    "rename": ("RENAME", "w:k", "elsewhere"),
}


@pytest.mark.parametrize("command", WRITES.values(), ids=WRITES)
def test_every_write_is_told(redis_server: RedisServer, command: tuple[Any, ...]) -> None:
    """Whoever makes it, and however, its key is named."""
    redis_server.command("MSET", "w:k", "old", "w:n", 1)
    with watched(redis_server.url) as near:
        redis_server.command(*command)
        key = next(part for part in command if str(part).startswith("w:"))
        eventually(lambda: (key,) in near.told, f"{command} is told")


def test_an_eviction_and_an_end_are_told(own_redis: RedisServer) -> None:
    """A key that the server removes by itself is named, too."""
    with watched(own_redis.url) as near:
        own_redis.command("SET", "w:short", "x", "PX", 1)
        eventually(lambda: near.told.count(("w:short",)) == 2, "its end is told")
        own_redis.command("SET", "w:long", "x" * 1000)
        own_redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        own_redis.command("CONFIG", "SET", "maxmemory", 1)
        with suppress(CommandFailed):  # there is no room for it
            own_redis.command("SET", "other", "x")
        eventually(lambda: near.told.count(("w:long",)) == 2, "an eviction is told")


@pytest.mark.parametrize("command", [("FLUSHALL",), ("FLUSHDB",), ("FLUSHDB", "ASYNC")])
def test_a_flush_is_told(own_redis: RedisServer, command: tuple[Any, ...]) -> None:
    """That all may have changed is told without naming keys."""
    own_redis.command("SET", "w:k", "x")
    with watched(own_redis.url) as near:
        assert near.told == ["flushed"]
        own_redis.command(*command)
        eventually(lambda: near.told == ["flushed", "flushed"], "the flush is told")


def test_other_keys_are_not_told(redis_server: RedisServer) -> None:
    """Only the prefixes of a watcher are its business, also where another watches those."""
    with watched(redis_server.url, "w:", "!tag:") as near:
        other = Near(near._backend, BOUND, "other:")
        await_live(other)
        redis_server.command("MSET", "w", 1, "x:k", 1, "other:k", 1, "w:k", 1, "!tag:t", 1)
        eventually(lambda: other.told[1:] == [("other:k",)], "its own key is told")
        eventually(lambda: {*near.told} == {"flushed", ("w:k",), ("!tag:t",)}, "and its own")
        other.watch.close()


def test_what_is_written_side_by_side_comes_together(redis_server: RedisServer) -> None:
    """What the server was told in one turn of its loop is one push."""
    with watched(redis_server.url) as near:
        names = [f"w:{n}" for n in range(500)]
        near._backend.set_many(dict.fromkeys(names, b"x"), None)
        eventually(lambda: len({k for keys in near.told[1:] for k in keys}) == 500, "all are told")
        assert near.watch.state.pushes < 50


def test_an_other_programs_key_may_be_anything(redis_server: RedisServer) -> None:
    """A key that is no text, or has the end of a line in it, disturbs nobody."""
    with watched(redis_server.url) as near:
        redis_server.command("MSET", b"w:\xff\r\n$3\r\n", 1, b"w:", 2, "w:k", 3)
        eventually(lambda: len(near.told) > 1, "the keys are told")
        assert set(near.told[1]) == {"w:\xff\r\n$3\r\n", "w:", "w:k"}
        assert near.watch.state.losses == 0


# When it is live


def test_all_is_dropped_before_it_is_live(redis_server: RedisServer) -> None:
    """As the watcher is told that anything may have changed, nothing is valid yet."""
    seen = []

    class Asking(Near):
        def flushed(self) -> None:
            seen.append(self.watch.valid_until() if hasattr(self, "watch") else -1.0)

    with opened(redis_server.url) as backend:
        near = Asking(backend, BOUND)
        await_live(near)
        assert seen == [-float("inf")] or seen == [-1.0]
        near.watch.close()


def test_it_begins_in_the_background(
    redis_server: RedisServer, proxied: MakeProxy, stalls: Stalls
) -> None:
    """Watching a server that is silent, or away, neither waits nor raises, and comes in time."""
    proxy = proxied(redis_server)
    for harm in (proxy.black_hole, proxy.refuse):
        harm()
        with opened(proxy.url, deadline=BOUND) as backend:
            began = time.monotonic()
            near = Near(backend, BOUND)
            assert not near.is_live
            assert time.monotonic() - began < BOUND + stalls.longest
            eventually(lambda: near.watch.state.error, "it fails")  # noqa: B023
            proxy.heal()
            await_live(near)
            assert near.watch.state.error == ""
            near.watch.close()


def test_it_is_valid_from_when_a_ping_was_sent(
    redis_server: RedisServer, proxied: MakeProxy
) -> None:
    """The time on the way is none in which it is valid."""
    proxy = proxied(redis_server)
    proxy.delay = 0.2
    with watched(proxy.url, bound=2.0) as near:
        for _ in range(20):
            assert near.watch.valid_until() - time.monotonic() <= 2.0 - 0.2
            time.sleep(0.05)


def test_a_watcher_joins(redis_server: RedisServer) -> None:
    """Another watcher of the same store has the same connection, and disturbs the first nowise."""
    with watched(redis_server.url) as near:
        [connection] = listeners(redis_server)
        same, other = Near(near._backend, BOUND), Near(near._backend, BOUND, "v:")
        await_live(same, other)
        redis_server.command("MSET", "w:k", 1, "v:k", 1)
        eventually(lambda: len(other.told) == len(same.told) == len(near.told) == 2, "all are told")
        assert near.told == same.told == ["flushed", ("w:k",)]
        assert other.told == ["flushed", ("v:k",)]
        assert listeners(redis_server) == [connection]
        other.watch.close()
        same.watch.close()
        redis_server.command("SET", "w:k", 2)
        eventually(lambda: len(near.told) == 3, "it is told")
        assert len(same.told) == 2


def test_a_wider_prefix_needs_another_connection(redis_server: RedisServer) -> None:
    """A server refuses overlapping prefixes: then all begin anew with what covers them."""
    with watched(redis_server.url, "w:a:") as near:
        wide = Near(near._backend, BOUND, "w:")
        await_live(near, wide)
        narrow = Near(near._backend, BOUND, "w:a:b:")
        await_live(near, wide, narrow)
        redis_server.command("MSET", "w:a:b:k", 1, "w:a:k", 1, "w:k", 1)
        eventually(lambda: narrow.told[-1] == ("w:a:b:k",), "the key is told")
        assert set(near.told[-1]) == {"w:a:b:k", "w:a:k"}
        assert set(wide.told[-1]) == {"w:a:b:k", "w:a:k", "w:k"}
        assert len(listeners(redis_server)) == 1
        for each in (wide, narrow):
            each.watch.close()


def test_nothing_is_missed_while_prefixes_are_joined(redis_server: RedisServer) -> None:
    """Amid writes, wider and narrower ones come and go, each of which may take a connection."""
    write = lambda key, value: redis_server.command("SET", key, value)  # noqa: E731
    with (
        watched(redis_server.url, "w:") as near,
        Writer(write) as writer,
        Reader(near) as reader,
    ):
        for turn in range(TIMES):
            other = Near(near._backend, BOUND, ("w:1", "", "w", "other:")[turn % 4])
            await_live(near, other)
            await_right(near, redis_server)
            other.watch.close()
        eventually(lambda: len(reader.seen) > TIMES, "it is read from near")
    assert writer.staleness(reader.seen) <= BOUND
    eventually(lambda: not listeners(redis_server), "nobody listens")


def test_prefixes_that_cover_all() -> None:
    """Those that begin with another are covered by it."""
    assert watch.cover(["b", "a:b", "a:", "a:", "ab", "bc"]) == ["a:", "ab", "b"]
    assert watch.cover(["", "a", "b"]) == [""]
    assert watch.cover([]) == []


def test_a_lost_watch_is_told_of(redis_server: RedisServer) -> None:
    """By events, to the watcher, and in its state; and nothing is valid until it is back."""
    heard: list[Any] = []
    unsubscribe = events.subscribe(heard.append)
    with watched(redis_server.url) as near:
        [connection] = listeners(redis_server)
        redis_server.command("CLIENT", "KILL", "ID", connection.removeprefix("id="))
        eventually(lambda: near.told == ["flushed", "lost", "flushed"], "it is lost and regained")
        await_live(near)
        eventually(lambda: len(heard) == 2, "both are told")
        state = near.watch.state
        assert (state.live, state.losses, state.error, state.bound) == (True, 1, "", BOUND)
        assert repr(near.watch) == "<RedisWatch ('w:',) live>"
    lost, regained = heard
    assert type(lost) is events.WatchLost
    assert type(regained) is events.WatchRegained
    assert lost.store == regained.store == redis_server.address
    assert "closed the connection" in str(lost)
    assert "again after" in str(regained)
    unsubscribe()


def test_a_watcher_that_fails_begins_anew(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What a watcher was to be told and was not makes the watch lost, and it goes on."""

    class Failing(Near):
        fails = True

        def changed(self, keys: Any) -> None:
            if self.fails:
                self.fails = False
                raise RuntimeError("no room")
            super().changed(keys)

    with opened(redis_server.url) as backend:
        near = Failing(backend, BOUND)
        await_live(near)
        redis_server.command("SET", "w:k", 1)
        eventually(lambda: near.told == ["flushed", "lost", "flushed"], "it begins anew")
        redis_server.command("SET", "w:k", 2)
        eventually(lambda: near.told[-1] == ("w:k",), "it is told again")
        near.watch.close()
    assert "no room" in caplog.text


# How old what is near becomes


def cut(near: Near, _: RedisServer, proxy: Proxy) -> None:
    proxy.reset()
    eventually(lambda: near.told[-1] != "flushed" or not near.is_live, "the connection is cut")


def black_hole(near: Near, _: RedisServer, proxy: Proxy) -> None:
    proxy.black_hole()
    await_not_live(near)
    proxy.heal()


def freeze(near: Near, server: RedisServer, _: Proxy) -> None:
    server.freeze()
    await_not_live(near)
    server.thaw()


def restart(_: Near, server: RedisServer, __: Proxy) -> None:
    server.restart()


@LOOPS
@pytest.mark.parametrize("fault", [cut, black_hole, freeze, restart])
def test_nothing_near_is_older_than_the_bound(
    own_redis: RedisServer, proxied: MakeProxy, fault: Callable[..., None], times: int
) -> None:
    """Whatever befalls the server or the way to it, amid writes; and all is right afterwards."""
    proxy = proxied(own_redis)
    write = lambda key, value: own_redis.command("SET", key, value)  # noqa: E731
    with watched(proxy.url) as near, Writer(write) as writer, Reader(near) as reader:
        await_right(near, own_redis)
        for _ in range(times):
            seen = len(reader.seen)
            fault(near, own_redis, proxy)
            await_right(near, own_redis)
            eventually(lambda: len(reader.seen) > seen, "something new is read")  # noqa: B023
    print(f"{len(reader.seen)} versions, at most {writer.staleness(reader.seen):.3f} s old")
    assert writer.staleness(reader.seen) <= BOUND


def await_writes(writer: Writer, seconds: float) -> None:
    """Wait until something was acknowledged so many seconds later."""
    since = time.monotonic()
    eventually(lambda: writer.last > since + seconds, "it is written")


@LOOPS
def test_a_reader_that_stands_still(own_redis: RedisServer, times: int) -> None:
    """A process that is stopped serves nothing old when it goes on."""
    write = lambda key, value: own_redis.command("SET", key, value)  # noqa: E731
    command = [sys.executable, "-m", "tests.near_model", own_redis.url, str(BOUND)]
    with (
        Writer(write) as writer,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        for _ in range(times):
            process.send_signal(signal.SIGSTOP)
            await_writes(writer, 2 * BOUND)
            process.send_signal(signal.SIGCONT)
            await_writes(writer, BOUND)
        told, _ = process.communicate()
    seen = {(key, version): at for key, version, at in json.loads(told)}
    print(f"{len(seen)} versions, at most {writer.staleness(seen):.3f} s old")
    assert len(seen) > 1
    assert writer.staleness(seen) <= BOUND


def test_the_way_of_a_failover(own_sentinels: RedisSentinels) -> None:
    """A primary that hung, and that takes itself for one afterwards, tells nobody any more."""
    old = own_sentinels.primary
    options = {"sentinel": own_sentinels.service}
    with watched(own_sentinels.sentinel_urls, **options) as near, Reader(near) as reader:
        with Writer(lambda key, value: old.command("SET", key, value)):
            await_right(near, old)
        eventually(old.is_replicated, "all is replicated")
        old.freeze()
        new = own_sentinels.await_failover(old)
        old.thaw()
        later = Writer(lambda key, value: new.command("SET", key, value), first=10**6)
        with later:
            await_right(near, new)
            await_writes(later, 4 * BOUND)
        await_right(near, new)
    assert later.staleness(reader.seen) <= BOUND
    eventually(lambda: not listeners(new), "nobody is left there")


def test_an_old_primary_that_goes_on(own_sentinels: RedisSentinels) -> None:
    """A primary that still answers, when the sentinels name another, is not watched for long."""
    old, new = own_sentinels.primary, own_sentinels.replica
    options = {"sentinel": own_sentinels.service}
    with watched(own_sentinels.sentinel_urls, **options) as near, Reader(near) as reader:
        with Writer(lambda key, value: old.command("SET", key, value)):
            await_right(near, old)
        new.command("REPLICAOF", "NO", "ONE")
        for each in own_sentinels.sentinels:
            each.command("SENTINEL", "REMOVE", own_sentinels.service)
            each.command("SENTINEL", "MONITOR", own_sentinels.service, new.host, new.port, 2)
        began = time.monotonic()
        with Writer(lambda key, value: new.command("SET", key, value), first=10**6) as writer:
            eventually(lambda: listeners(new) and near.is_live, "the new primary is watched")
            await_writes(writer, 2 * BOUND)
    gone = {key: at for key, at in reader.seen.items() if key[1] < 10**6}
    assert max(gone.values()) <= began + BOUND


# Clusters


@contextmanager
def over(cluster: RedisCluster) -> Iterator[Near]:
    """Make a tier over a cluster."""
    with watched(cluster.urls[0], cluster=True) as near:
        yield near


def test_a_slot_moves(redis_cluster: RedisCluster) -> None:
    """At every step of a slot's move there and back nothing is older than the bound."""
    slot = redis_cluster.slot_of(KEYS[0])
    source = redis_cluster.node_of(slot)
    target = next(node for node in redis_cluster.nodes if node is not source)
    with (
        over(redis_cluster) as near,
        opened(redis_cluster.urls, cluster=True) as store,
        Writer(lambda key, value: store.set(key, value, None)) as writer,
        Reader(near) as reader,
    ):

        def step(action: Callable[[], object]) -> None:
            action()
            await_writes(writer, BOUND)
            eventually(lambda: near.get(KEYS[0])[1], "it is near")

        for to in (target, source):
            move = SlotMove(redis_cluster, slot, to)
            step(move.begin)
            step(move.carry)
            step(move.end)
    assert len(reader.seen) > TIMES
    assert writer.staleness(reader.seen) <= BOUND


def test_all_connections_end_though_the_end_comes_amid_a_loss(redis_cluster: RedisCluster) -> None:
    """Whoever closes a store whose watch has just been lost is left with none of the others."""

    class Closing(Near):
        def lost(self) -> None:
            self._backend.close()

    with opened(redis_cluster.urls, cluster=True) as backend:
        near = Closing(backend, BOUND)
        await_live(near)
        first, *_ = redis_cluster.nodes
        [connection] = listeners(first)
        first.command("CLIENT", "KILL", "ID", connection.removeprefix("id="))
        eventually(lambda: not any(map(listeners, redis_cluster.nodes)), "all are closed")
        near.watch.close()


@pytest.mark.usefixtures("_guard")
def test_only_nodes_that_are_watched_are_kept_from(tmp_path: Path) -> None:
    """What a node without slots tells, as a slot moves there, is not kept until it is watched."""
    with RedisCluster(tmp_path) as cluster, ClusterNode(tmp_path / "new") as new:
        cluster.nodes.append(new)
        new.command("CLUSTER", "MEET", cluster.nodes[0].host, cluster.nodes[0].port)
        cluster.await_agreement()
        move = SlotMove(cluster, cluster.slot_of(KEYS[0]), new)
        with over(cluster) as near:
            assert near._backend.set(KEYS[0], b"0", None)
            await_right(near, move.source)
            move.begin()
            move.carry()
            eventually(lambda: near.get(KEYS[0]) == (b"0", None), "the old node's is dropped")
            assert near._backend.look(KEYS[0]) == (b"0", 0.0)
            assert near._backend.look_many([KEYS[0]]) == {KEYS[0]: (b"0", 0.0)}
            assert near.is_live
            move.end()
            await_right(near, new)
            assert near._backend.look(KEYS[0]) == (b"0", None)
            assert [len(listeners(node)) for node in cluster.nodes] == [1, 1, 1, 1]


def test_all_primaries_must_tell(own_cluster: RedisCluster) -> None:
    """While one is silent nothing is near, and when a replica has its place, all is again."""
    key_of = own_cluster.node_of(own_cluster.slot_of(KEYS[0]))
    other = next(node for node in own_cluster.primaries if node is not key_of)
    with over(own_cluster) as near:
        near._backend.set(KEYS[0], b"0", None)
        await_right(near, key_of)
        other.freeze()
        await_not_live(near)
        other.thaw()
        await_live(near)
        other.kill()
        await_not_live(near)
        own_cluster.await_agreement()
        await_live(near)
        eventually(lambda: near.get(KEYS[0])[1], "it is near again")


# Who does not tell


USER = ("+get", "+set", "+pttl", "+ping")


def test_a_user_who_may_not_watch(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of once, and watching is tried again until the user may."""
    heard: list[Any] = []
    unsubscribe = events.subscribe(heard.append)
    own_redis.command("ACL", "SETUSER", "near", "on", ">pw", "~*", "-@all", *USER)
    with opened(f"redis://near:pw@{own_redis.address}") as backend:
        near = Near(backend, BOUND)
        eventually(lambda: near.watch.refused, "it is refused")
        time.sleep(BOUND)
        assert near._backend._watch._failures == 1
        monkeypatch.setattr(watch, "_REFUSED_PAUSE", 0.01)
        near._backend._watch._wake()
        tries = near._backend._watch._failures
        eventually(lambda: near._backend._watch._failures > tries + 2, "it is tried again")
        assert not near.is_live
        assert near.watch.state.refused
        assert "NOPERM" in near.watch.state.error
        own_redis.command("ACL", "SETUSER", "near", "+client|tracking")
        await_live(near)
        assert not near.watch.refused
        near.watch.close()
    assert [type(each) for each in heard] == [events.WatchRefused, events.WatchRegained]
    assert "NEAR['timeout']" in str(heard[0])
    unsubscribe()


def test_an_examination_tells_of_the_watch(own_redis: RedisServer) -> None:
    """How it does, and that what the server keeps for who does not read has no limit."""
    with opened(own_redis.url) as backend:
        [examined] = backend.examine()
        assert examined.watch == ""
        assert "maxmemory-clients" not in str(examined.warnings)
        has_limit = bool(own_redis.command("CONFIG", "GET", "maxmemory-clients"))  # since Redis 7
        near = Near(backend, BOUND)
        for face in FACES:
            [examined] = face.run(face.view(backend).examine())
            assert examined.watch == "live"
            assert ("maxmemory-clients 0" in str(examined.warnings)) is has_limit
        if has_limit:
            own_redis.command("CONFIG", "SET", "maxmemory-clients", "5%")
        assert "maxmemory-clients" not in str(backend.examine()[0].warnings)
        near.watch.close()
    own_redis.command("ACL", "SETUSER", "near", "on", ">pw", "~*", "-@all", "+info", *USER)
    with opened(f"redis://near:pw@{own_redis.address}") as backend:
        near = Near(backend, BOUND)
        [examined] = backend.examine()
        assert "NOPERM" in examined.watch
        assert "does not tell what changes" in str(examined.warnings)
        near.watch.close()


@pytest.mark.usefixtures("_guard")
def test_a_server_without_resp3(tmp_path: Path) -> None:
    """A server that does not know HELLO does not tell of changes."""
    with RedisServer(tmp_path, 'rename-command HELLO ""') as server, opened(server.url) as backend:
        near = Near(backend, BOUND)
        eventually(lambda: near.watch.refused, "it is refused")
        near.watch.close()


def test_a_user_who_may_not_ask_for_the_role(own_redis: RedisServer) -> None:
    """Then a ping is the sign of life."""
    allowed = (*USER, "+client|tracking")
    own_redis.command("ACL", "SETUSER", "near", "on", ">pw", "~*", "-@all", *allowed)
    with watched(f"redis://near:pw@{own_redis.address}") as near:
        until = near.watch.valid_until()
        eventually(lambda: near.watch.valid_until() > until, "it is valid for longer")
        assert near.watch.state.losses == 0


# Its life


def test_one_for_all_loops_and_threads(redis_server: RedisServer) -> None:
    """200 event loops and 8 threads of a process have one connection together."""
    with watched(redis_server.url) as near:
        connection = listeners(redis_server)
        threads = [
            threading.Thread(target=lambda: [near.get(KEYS[0]) for _ in range(200)])
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        for n in range(200):
            asyncio.run(near._backend.alook(KEYS[0]))
            if not n % 50:
                assert near._backend.set(KEYS[0], b"%d" % n, None)
        for each in threads:
            each.join()
        await_right(near, redis_server)
        assert listeners(redis_server) == connection
        assert near.watch.state.losses == 0


def test_it_ends_with_the_backend_and_begins_again(redis_server: RedisServer) -> None:
    """A closed backend has neither thread nor connection, until it is used again."""
    redis_server.command("SET", KEYS[0], 1)
    with watched(redis_server.url) as near:
        for close in (near._backend.close, lambda: asyncio.run(near._backend.aclose())):
            close()
            eventually(lambda: not listeners(redis_server), "the connection has ended")
            eventually(lambda: not watchers(), "the thread has ended")
            assert near.told[-1] == "lost"
            await_live(near)
            await_right(near, redis_server)


def watchers() -> list[str]:
    """Return the threads that watch."""
    return [each.name for each in threading.enumerate() if each.name == "twofold-watch"]


def test_it_ends_with_its_watcher(redis_server: RedisServer) -> None:
    """Who drops a tier without closing it leaves nothing behind."""
    with opened(redis_server.url) as backend:
        near = Near(backend, BOUND)
        await_live(near)
        del near
        gc.collect()
        eventually(lambda: not watchers(), "the thread has ended")
        eventually(lambda: not listeners(redis_server), "the connection has ended")


FORKING = """
import os, sys, traceback
from tests.chaos import eventually
from tests.near_model import KEYS, Near
from twofold.backends.redis import RedisBackend

backend = RedisBackend(sys.argv[1])
near = Near(backend, 1.0)
eventually(lambda: near.is_live, "the parent's watch is live")
assert backend.set(KEYS[0], b"0", None)
eventually(lambda: near.get(KEYS[0])[1], "it is near")
if (child := os.fork()) == 0:
    code = 1
    try:
        assert not near.watch.state.live
        eventually(lambda: near.is_live, "the child's watch is live")
        assert near.told[-1] == "flushed"
        assert backend.set(KEYS[0], b"1", None)
        eventually(lambda: near.told[-1] == (KEYS[0],), "the child is told")
        near.watch.close()
        backend.close()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
eventually(lambda: near.get(KEYS[0])[0] == b"1", "the parent is told")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert backend.set(KEYS[0], b"2", None)
eventually(lambda: near.get(KEYS[0])[0] == b"2", "the parent goes on")
assert near.watch.state.losses == 0
near.watch.close()
backend.close()
"""


def test_a_forked_child_watches_by_itself(redis_server: RedisServer) -> None:
    """The child connects anew, and the parent's watch goes on undisturbed."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING, redis_server.url]
    subprocess.run(command, check=True, timeout=60)


def test_what_was_told_takes_no_memory(redis_server: RedisServer) -> None:
    """Under a flood of changes neither the server nor the process keeps what has been told."""

    class Counting(Near):
        count = 0

        def changed(self, keys: Any) -> None:
            self.count += len(keys)

    with opened(redis_server.url) as backend:
        near = Counting(backend, 5.0)
        await_live(near)
        tracemalloc.start()
        for n in range(0, 30_000, 1000):
            redis_server.command("MSET", *[x for k in range(n, n + 1000) for x in (f"w:{k}", "")])
        eventually(lambda: near.count == 30_000, "all are told")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5e6  # the names alone are more
        near.watch.close()


# What is read


STREAM = (
    b"%2\r\n+server\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n"
    b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$4\r\n\r\nb\xff\r\n"
    b"+OK\r\n"
    b">2\r\n$10\r\ninvalidate\r\n_\r\n"
    b"-ERR no\r\n_\r\n~1\r\n:1\r\n=6\r\ntxt:ab\r\n"
    b">2\r\n$7\r\nmessage\r\n*0\r\n"
    b">2\r\n$10\r\ninvalidate\r\n*0\r\n"
    b"*2\r\n$6\r\nmaster\r\n*0\r\n"
)
MESSAGES = [
    [b"server", b"redis", b"proto", 3],
    Push(["a", "\r\nb\xff"]),
    b"OK",
    Push(None),
    "ERR no",
    None,
    [1],
    b"ab",
    Push([]),
    Push([]),
    [b"master", []],
]


def read(pieces: list[bytes]) -> list[Any]:
    """Return all messages in a stream, errors as text."""
    reader, found = PushReader(), []
    for piece in pieces:
        reader.feed(piece)
        while (message := reader.gets()) is not INCOMPLETE:
            found.append(str(message) if isinstance(message, Exception) else message)
    assert not reader.has_data()
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 1000])
def test_messages_come_in_any_pieces(size: int) -> None:
    """However a stream is cut, the messages in it are the same."""
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert read(pieces) == MESSAGES


@pytest.mark.parametrize(
    "data",
    [
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nab\r\n",
        b">2\r\n$10\r\ninvalidate\r\n$1\r\na\r\n",
        b">99999999\r\n",
        b"%99999999\r\n",
        b"=99999999\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        b"(12\r\n",
        b"!3\r\n",
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    """It is refused, and not waited for."""
    with pytest.raises(ProtocolError):
        read([data])


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_look_asks_the_primary(own_sentinels: RedisSentinels, face: Face) -> None:
    """Where reads go to replicas, one that is to be kept does not."""
    primary, replica = own_sentinels.primary, own_sentinels.replica
    with opened([primary.url, replica.url], deadline=BOUND) as backend:
        store = face.view(backend)

        async def body() -> None:
            assert await store.set("k", b"v", 100.0)
            replica.freeze()
            value, left = await store.look("k")
            assert value == b"v"
            assert 90 < left <= 100
            assert list(await store.look_many(["k", "missing"])) == ["k"]
            replica.thaw()

        face.run(body())


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_a_look_is_sent_again(redis_server: RedisServer, proxied: MakeProxy, face: Face) -> None:
    """It changes nothing, and so survives the loss of a connection; what is no text is missing."""
    proxy = proxied(redis_server)
    redis_server.command("RPUSH", "list", "x")
    with opened(proxy.url) as backend:
        store = face.view(backend)

        async def body() -> None:
            assert await store.set("k", b"v", None)
            proxy.lose_reply()
            assert await store.look("k") == (b"v", None)
            proxy.lose_reply()
            assert await store.look_many(["k", "l"]) == {"k": (b"v", None)}
            assert await store.look("list") is None
            before = proxy.turns
            assert await store.look("k") == (b"v", None)
            assert proxy.turns == before + 1
            await store.close()

        face.run(body())
