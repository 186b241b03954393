"""Memcached: deployments and operations, against real servers and in both faces."""

import asyncio
import math
import os
import re
import socket
import socketserver
import string
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, TypeAlias
from urllib.parse import quote

import aiomcache
import pytest
import uvloop
from pymemcache.client.base import Client

import twofold
from tests.chaos import Certificates, MemcachedServer, RedisServer
from tests.memcached_text import CommandReader
from twofold import DEFAULT_TIMEOUT, registry
from twofold.backends.memcached import MemcachedBackend, scan
from twofold.backends.memcached.deployment import read_router
from twofold.backends.network import INCOMPLETE
from twofold.errors import (
    BackendUnavailable,
    CacheError,
    CounterOverflow,
    MissingKey,
    NotACounter,
    PartlyUnavailable,
    SettingsError,
)
from twofold.keys import normalise
from twofold.settings import read_cache
from twofold.testing import FACES, Face
from twofold.testing.faces import case
from twofold.testing.samples import EXACT, PLAIN, assert_same
from twofold.testing.suite import lasts
from twofold.timeouts import seconds

Open: TypeAlias = Callable[..., Any]

PASSWORD = "p/?#[@%+&w"
USER = "al%ice"
SMALL_ITEMS = ("-I", "256k", "-o", "slab_chunk_max=128")
TEXT = b"\r\nEND\r\nVALUE k 0 1\r\nx\r\nEND\r\nflush_all\r\n"


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def opened(face: Face) -> Iterator[Open]:
    """Return a function that makes backends, in the face; all are closed in the end."""
    made: list[MemcachedBackend] = []

    def make(location: str | list[str], **options: Any) -> Any:
        made.append(MemcachedBackend(location, **options))
        return face.view(made[-1])

    yield make
    for each in made:
        each.close()


@pytest.fixture
def built(face: Face) -> Iterator[Open]:
    """Return a function that makes caches of settings, in the face; all are closed in the end."""
    made: list[twofold.Cache] = []

    def make(location: str | list[str], **settings: Any) -> Any:
        made.append(cache_at(location, **settings))
        return face.view(made[-1])

    yield make
    for each in made:
        each.close()


def cache_at(location: str | list[str], **settings: Any) -> twofold.Cache:
    """Return a cache in memcached."""
    raw = {"BACKEND": "memcached", "LOCATION": location, **settings}
    return registry.build(read_cache("default", raw))


def addresses(servers: Iterable[MemcachedServer]) -> list[str]:
    """Return where servers are, as `LOCATION` has it."""
    return [each.address for each in servers]


@pytest.fixture
def three(_guard: None, tmp_path: Path) -> Iterator[list[MemcachedServer]]:
    """Return three memcached servers of this test alone."""
    with ExitStack() as started:
        yield [started.enter_context(MemcachedServer(tmp_path / f"own-{n}")) for n in range(3)]


@pytest.fixture(scope="module")
def small_items(
    _guard: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemcachedServer]:
    """Return a server that takes smaller items than most."""
    with MemcachedServer(tmp_path_factory.mktemp("small"), *SMALL_ITEMS) as server:
        yield server


@pytest.fixture(scope="module")
def at_socket(_guard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    """Return a server at a Unix socket."""
    with MemcachedServer(tmp_path_factory.mktemp("unix"), unix=True) as server:
        yield server


@pytest.fixture(scope="module")
def secured(_guard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    """Return a server that asks for a login."""
    login = f"{USER}:{PASSWORD}"
    with MemcachedServer(tmp_path_factory.mktemp("secured"), login=login) as server:
        yield server


@pytest.fixture(scope="module")
def tls_memcached(
    _guard: None, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemcachedServer]:
    """Return a memcached behind TLS."""
    with MemcachedServer(tmp_path_factory.mktemp("tls"), tls=certificates) as server:
        yield server


def keys_of(server: MemcachedServer) -> set[str]:
    """Return the keys of a server."""
    return {key.decode() for key in server.all_keys()}


def raw(server: MemcachedServer, key: str) -> bytes:
    """Return what a server has under a key, to its last blank; b"" for nothing."""
    reply = server.command(f"get {key}\r\n".encode())
    return reply.partition(b"\r\n")[2].removesuffix(b"\r\nEND\r\n")


def put(server: MemcachedServer, key: str, value: bytes, expiry: int = 0) -> None:
    """Store what another program would."""
    line = f"set {key} 0 {expiry} {len(value)}\r\n".encode()
    assert server.command(line + value + b"\r\n") == b"STORED\r\n"


def largest_at(server: MemcachedServer, key: str) -> int:
    """Return how many bytes a value may have, by the limit that the server tells."""
    return int(server.stats("settings")["item_size_max"]) - len(key) - 128


async def use(store: Any, name: str = "k") -> None:
    """Check that a store works, by a call of each kind."""
    value = name.encode()
    assert await store.set(name, value, 100.0) is True
    assert await store.get(name) == value
    assert await store.set_many({f"{name}1": value, f"{name}2": value}, None) == []
    assert await store.get_many([f"{name}1", f"{name}2"]) == {
        f"{name}1": value,
        f"{name}2": value,
    }
    assert await store.compare_and_set(name, value, b"7", None) is True
    assert await store.incr(name, 1) == 8
    assert await store.delete_many([name, f"{name}1", f"{name}2"]) == 3


async def gives(store: Any, key: str) -> bool:
    """Whether a store has b"v" under a key."""
    return bool(await store.get(key) == b"v")


async def soon(face: Face, check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until a check is true; while the store is unavailable it is not."""
    for _ in range(1000):
        with suppress(BackendUnavailable):
            if await check():
                return
        if face.is_async:
            await asyncio.sleep(0.005)
        else:
            time.sleep(0.005)
    raise AssertionError(f"not within 5 s: {what}")


async def refused(store: Any) -> str:
    """Return the message of the error that a store raises, without a password in it."""
    with pytest.raises(BackendUnavailable) as caught:
        await store.get("k")
    error: BaseException | None = caught.value
    while error is not None:
        for secret in (PASSWORD, quote(PASSWORD, safe="")):
            assert secret not in str(error)
            assert secret not in repr(error)
        error = error.__cause__ or error.__context__
    return str(caught.value)


class Fake(socketserver.ThreadingTCPServer):
    """A server that answers as a function says, which is called with each command in turn.

    What a connection begins with, `version`, it answers by itself.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: Callable[[list[bytes]], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.answer = answer

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.server_address[1]}"


class Asked(socketserver.BaseRequestHandler):
    """A connection to a `Fake`."""

    server: Fake

    def handle(self) -> None:
        reader = CommandReader()
        while data := self.request.recv(65536):
            reader.feed(data)
            while (command := reader.gets()) is not INCOMPLETE:
                greeting = command == [b"version"]
                self.request.sendall(
                    b"VERSION 1.6.18\r\n" if greeting else self.server.answer(command)
                )


Play: TypeAlias = Callable[..., Fake]


@pytest.fixture
def fake() -> Iterator[Play]:
    """Return a function that starts a `Fake`; all are stopped in the end."""
    with ExitStack() as stack:

        def start(answer: Callable[[list[bytes]], bytes]) -> Fake:
            server = stack.enter_context(Fake(answer))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


# The same on every backend

MONTH = 30 * 86400
TIMEOUTS = (
    MONTH - 1,
    MONTH,
    MONTH + 1,
    2**31,
    -1,
    0,
    True,
    math.nan,
    "soon",
    "10m",
    timedelta(minutes=10),
    timedelta(days=-1),
    None,
    DEFAULT_TIMEOUT,
    10**400,
)
SHORT = 0.5
FORMS = (
    "{}",
    "user:{}:name",
    "{} with blanks ",
    "\t{}\n",
    "{}\0\x7f\x1b",
    "grüße-{}",
    "\N{SNOWMAN}" * 90 + "{}",
    "\ud800{}",
    "k" * 240 + "{}",
    "K" * 1000 + "{}",
    "{}\r\nflush_all\r\n",
    "{} 0 0 1\r\nx\r\nset canary 0 0 1\r\nx",
    "{} noreply",
    "get {}",
    "\r\nset canary 0 0 1\r\nx\r\n{}",
    "END\r\n{}",
    "canary {}",
    "*{}?[a-z]%_'\"\\",
    "!lock:{}",
    "shop!claim:{}",
)


def generated_keys(count: int) -> list[str]:
    """Return so many different keys: of each form, and of random characters."""
    chance = Random(4)
    wild = string.printable + "äß\N{SNOWMAN}\U0001f600\0\x7f\xa0\u2028" + ":!#% " * 3
    names = dict.fromkeys(form.format(n) for n in range(count // 40) for form in FORMS)
    while len(names) < count:
        names["".join(chance.choices(wild, k=chance.choice((3, 8, 60, 300))))] = None
    return list(names)


@pytest.fixture
def everywhere(
    built: Open,
    tmp_path: Path,
    redis_server: RedisServer,
    memcached_servers: list[MemcachedServer],
) -> Iterator[dict[str, Any]]:
    """Return a cache in each backend; the servers have a canary that nothing may touch."""
    redis_server.command("SET", "canary", "alive")
    for each in memcached_servers:
        put(each, "canary", b"alive")
    options = {"KEY_PREFIX": "agree", "OPTIONS": {"deadline": 20.0}}
    yield {
        "memory": built(f"agree-{tmp_path}", **options | {"BACKEND": "memory"}),
        "sqlite": built(str(tmp_path / "cache.db"), **options | {"BACKEND": "sqlite"}),
        "redis": built(redis_server.url, **options | {"BACKEND": "redis"}),
        "memcached": built(addresses(memcached_servers), **options),
    }
    assert redis_server.command("GET", "canary") == b"alive"
    assert [raw(each, "canary") for each in memcached_servers] == [b"alive"] * 3


class TestAgreement:
    """The same outcome on every backend."""

    @pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.heavy)])
    @case
    async def test_generated_keys(self, everywhere: dict[str, Any], count: int) -> None:
        """Whatever a key has in it, it is one key, and nothing else is touched by it."""
        keys = generated_keys(count)
        values = {key: n for n, key in enumerate(keys)}
        for name, cache in everywhere.items():
            await cache.set("canary", "alive")
            assert await cache.set_many(values) == [], name
            assert await cache.get_many(keys) == values, name
            assert await cache.delete_many(keys[::2]) == count // 2, name
            assert set(await cache.get_many(keys)) == set(keys[1::2]), name
            assert await cache.get("canary") == "alive", name

    @case
    async def test_keys_one_by_one(self, everywhere: dict[str, Any]) -> None:
        """Every operation on one key takes any key."""
        keys = [form.format("n") for form in FORMS]
        outcomes = {}
        for name, cache in everywhere.items():
            await cache.set("canary", "alive")
            outcomes[name] = {key: await every_operation(cache, key) for key in keys}
            assert await cache.get("canary") == "alive", name
        assert [each for each in outcomes.values() if each != outcomes["memory"]] == []

    @pytest.mark.parametrize("key", ["", None, 5, b"k", ("k",)])
    @case
    async def test_what_is_no_key(self, everywhere: dict[str, Any], key: Any) -> None:
        """It is refused by every operation, before any backend is asked."""
        for name, cache in everywhere.items():
            assert set(await every_operation(cache, key)) == {"InvalidKey"}, name

    @case
    async def test_timeouts(self, face: Face, everywhere: dict[str, Any]) -> None:
        """A timeout means the same to every operation, on every backend."""
        outcomes = {}
        for name, cache in everywhere.items():
            await cache.set("canary", "alive", None)
            await cache.set_many({f"short {n}": n for n in range(3)}, SHORT)
            assert await cache.add("short", 0, SHORT) is True
            outcomes[name] = [
                await told(cache, operation, timeout)
                for timeout in TIMEOUTS
                for operation in ("set", "set_many", "add", "touch", "get_or_set")
            ]
        assert [each for each in outcomes.values() if each != outcomes["memory"]] == []
        for name, cache in everywhere.items():

            async def is_over(cache: Any = cache) -> bool:
                return not await cache.get_many([f"short {n}" for n in range(3)] + ["short"])

            await soon(face, is_over, f"the end of short lives in {name}")
            assert await cache.get("canary") == "alive", name


async def every_operation(cache: Any, key: Any) -> list[Any]:
    """Return what each operation on a key returns or raises."""
    return [
        await outcome(cache.get(key, "gone")),
        await outcome(cache.set(key, [1])),
        await outcome(cache.get(key)),
        await outcome(cache.has_key(key)),
        await outcome(cache.add(key, 2)),
        await outcome(cache.incr(key)),
        await outcome(cache.touch(key, None)),
        await outcome(cache.ttl(key)),
        await outcome(cache.delete(key)),
        await outcome(cache.ttl(key)),
        await outcome(cache.get_or_set(key, 5)),
        await outcome(cache.decr(key, 6)),
        await outcome(cache.get(key)),
        await outcome(cache.delete(key)),
        await outcome(cache.incr(key)),
    ]


async def outcome(call: Awaitable[Any]) -> Any:
    """Return what a call returns, or the name of the error that it raises."""
    try:
        return await call
    except CacheError as error:
        return type(error).__name__


async def told(cache: Any, operation: str, timeout: Any) -> tuple[Any, ...]:
    """Return what an operation with a timeout returns and leaves, and check the life."""
    key = f"{operation} {timeout!r}"[:50]
    if operation in ("set", "touch", "set_many"):
        await cache.set(key, "old", None)
    result = {
        "set": lambda: cache.set(key, "new", timeout),
        "set_many": lambda: cache.set_many({key: "new"}, timeout),
        "add": lambda: cache.add(key, "new", timeout),
        "touch": lambda: cache.touch(key, timeout),
        "get_or_set": lambda: cache.get_or_set(key, "new", timeout),
    }[operation]
    seen = await outcome(result()), await cache.get(key, "gone")
    left = await cache.ttl(key)
    if seen[0] == "InvalidTimeout":
        wanted: float | None = None if seen[1] == "old" else 0.0
    else:
        wanted = seconds(timeout, 300.0)
    assert is_about(left, wanted), (left, wanted)
    return seen


def is_about(left: float | None, wanted: float | None) -> bool:
    """Whether a life is as long as it should be; what is to end after 2038 may last for ever."""
    if left is None or wanted is None or wanted == 0.0:
        return left == wanted or (left is None and wanted is not None and wanted > 1e9)
    return left > 0.0 and abs(left - wanted) < 10


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"SERIALIZER": "json"},
        {"SERIALIZER": "pickle", "SECRET": "a secret of its own"},
        {"COMPRESSOR": "zlib", "COMPRESS_MIN": 0},
        {"COMPRESSOR": "zstd", "COMPRESS_MIN": 0, "SECRET": "a secret of its own"},
        {"COMPRESSOR": "lz4", "COMPRESS_MIN": 0, "SERIALIZER": "json"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())) or "msgpack",
)
@pytest.mark.parametrize("writer", FACES, ids=lambda face: f"{face.name} writes")
def test_what_one_face_writes_the_other_reads(
    writer: Face, memcached_servers: list[MemcachedServer], settings: dict[str, Any]
) -> None:
    """Values of all types, by all codecs, on each server: one at a time and many."""
    values = PLAIN if settings.get("SERIALIZER") == "json" else EXACT
    cache = cache_at(addresses(memcached_servers), **settings)
    [reader] = [face for face in FACES if face is not writer]

    async def write(store: Any) -> None:
        for n, value in enumerate(values):
            assert await store.set(f"one {n}", value) is True
        assert await store.set_many({f"many {n}": value for n, value in enumerate(values)}) == []

    async def read(store: Any) -> None:
        for n, value in enumerate(values):
            assert_same(await store.get(f"one {n}", "gone"), value)
        found = await store.get_many([f"many {n}" for n in range(len(values))])
        for n, value in enumerate(values):
            assert_same(found[f"many {n}"], value)

    writer.run(write(writer.view(cache)))
    reader.run(read(reader.view(cache)))
    cache.close()


class TestSizes:
    """How large a value may be."""

    @pytest.mark.parametrize("limited", ["memcached_server", "small_items"])
    @pytest.mark.parametrize("first", [b"v", b"0"])
    @pytest.mark.parametrize("writer", FACES, ids=lambda face: f"{face.name} writes")
    def test_values_up_to_the_limit(
        self, writer: Face, limited: str, first: bytes, request: pytest.FixtureRequest
    ) -> None:
        """Each way to write takes 0, 1, limit - 1 and limit bytes; and refuses one more."""
        server: MemcachedServer = request.getfixturevalue(limited)
        limit = largest_at(server, "k-set")
        store = MemcachedBackend(server.address, deadline=10.0)
        [reader] = [face for face in FACES if face is not writer]
        value = b""

        async def write(store: Any) -> None:
            await store.delete("k-add")
            assert await store.set("k-set", value, 100.0) is True
            assert await store.set_many({"k-all": value, "other": b"v"}, None) == []
            assert await store.add("k-add", value, None) is True
            await store.set("k-cas", b"expected", None)
            assert await store.compare_and_set("k-cas", b"expected", value, 100.0) is True

        async def read(store: Any) -> None:
            for key in ("k-set", "k-all", "k-add", "k-cas"):
                assert await store.get(key) == value
            assert (await store.get_many(["k-set", "k-all"])) == {"k-set": value, "k-all": value}

        async def write_too_much(store: Any, large: bytes) -> None:
            assert await store.set("k-set", large, 100.0) is False
            assert await store.set_many({"k-all": large, "other": b"w"}, None) == ["k-all"]
            assert await store.get("other") == b"w"
            assert await store.add("k-add", large, None) is False
            assert await store.compare_and_set("k-cas", value, large, 100.0) is False
            assert await store.add("k-new", large, None) is False
            assert await store.set("k-new", large, None) is False
            assert await store.get("k-new") is None

        for size in (0, 1, limit - 1, limit):
            value = (first + os.urandom(size))[:size]
            writer.run(write(writer.view(store)))
            reader.run(read(reader.view(store)))
        for large in (first + value, first * 2**21):
            writer.run(write_too_much(writer.view(store), large))
            reader.run(read(reader.view(store)))
        store.close()

    def test_the_limit_is_another_one_after_a_restart(
        self, face: Face, opened: Open, tmp_path: Path
    ) -> None:
        """It is asked for anew on a new connection: neither too much is sent, nor refused."""
        store, port, large = None, 0, os.urandom(500_000)
        for options, fits in [((), True), (SMALL_ITEMS, False), ((), True)]:
            server = MemcachedServer(tmp_path / "own", *options)
            server.port = port
            with server:
                port = server.port
                store = store or opened(server.address)

                async def sets(store: Any = store, fits: bool = fits) -> None:
                    await soon(face, lambda: store.set("k", b"v", None), "the server is back")
                    assert await store.set("k", large, None) is fits
                    assert await store.get("k") == (large if fits else b"v")

                face.run(sets())

    def test_an_old_connection_does_not_tell_the_limit(
        self, face: Face, opened: Open, tmp_path: Path
    ) -> None:
        """What is too big for a server that was restarted harms nothing that others put there."""
        large = os.urandom(500_000)
        with MemcachedServer(tmp_path / "large") as server:
            store, port = opened(server.address, deadline=10.0), server.port

            async def sets_before() -> None:
                assert await store.set("k", large, None) is True

            face.run(sets_before())
        with MemcachedServer(tmp_path / "small", *SMALL_ITEMS) as server:
            server.kill()
            server.port = port
            server.start()
            put(server, "k", b"old", 0)

            async def sets_after() -> None:
                assert await store.set("k", large, None) is False

            face.run(sets_after())
            assert raw(server, "k") == b"old"


class TestCounters:
    """Signed 64 bits over the server's unsigned ones."""

    @case
    async def test_the_edges(self, opened: Open, memcached_server: MemcachedServer) -> None:
        """Sums are exact to the last of 64 bits, and what the server keeps are digits."""
        store = opened(memcached_server.address)
        for start, delta, kept in [
            (-5, 0, b"18446744073709551611"),
            (0, -1, b"18446744073709551615"),
            (-1, 1, b"0"),
            (2**62, 0, b"4611686018427387904"),
            (2**62, 1, b"=4611686018427387905"),
            (-(2**62), -1, b"=-4611686018427387905"),
            (2**63 - 2, 1, b"=9223372036854775807"),
            (-(2**63) + 1, -1, b"=-9223372036854775808"),
            (-(2**63), 2**63 - 1, b"18446744073709551615"),
            (2**63 - 1, -(2**63), b"18446744073709551615"),
        ]:
            await store.set("n", b"%d" % start, None)
            assert await store.incr("n", delta) == start + delta
            assert raw(memcached_server, "n").rstrip(b" ") == kept
            assert await store.get("n") == b"%d" % (start + delta)

    @case
    async def test_an_overflow_changes_nothing(
        self, opened: Open, memcached_server: MemcachedServer
    ) -> None:
        """Value and life of the counter are as they were."""
        store = opened(memcached_server.address)
        for start, delta in [
            (2**63 - 1, 1),
            (2**63 - 1, 2**63 - 1),
            (-(2**63), -1),
            (-(2**63), -(2**63)),
            (1, 2**63 - 1),
        ]:
            await store.set("n", b"%d" % start, 100.0)
            with pytest.raises(CounterOverflow, match="leaves the range of a signed 64-bit"):
                await store.incr("n", delta)
            assert await store.get("n") == b"%d" % start
            assert lasts(await store.ttl("n"), 100)
            assert await store.incr("n", 0) == start

    @case
    async def test_an_overflow_of_another_programs_number(
        self, opened: Open, memcached_server: MemcachedServer
    ) -> None:
        """The server wraps around without a word; that is taken back."""
        store = opened(memcached_server.address)
        put(memcached_server, "n", b"9223372036854775807", 100)
        with pytest.raises(CounterOverflow, match=r"'n' \+ 1 leaves the range"):
            await store.incr("n", 1)
        assert await store.get("n") == b"9223372036854775807"
        assert lasts(await store.ttl("n"), 100)

    def test_many_adders_at_the_end(self, memcached_server: MemcachedServer) -> None:
        """As many add as there is room for; the others are told, and change nothing."""
        room, added = 40, list[int]()

        def add() -> None:
            with suppress(CounterOverflow):
                while True:
                    with suppress(BackendUnavailable):  # too many at a time: it was not added
                        added.append(backend.incr("n", 1))

        with closing(MemcachedBackend(memcached_server.address, deadline=10.0)) as backend:
            backend.set("n", b"%d" % (2**63 - 1 - room), 100.0)
            with ThreadPoolExecutor(4) as threads:
                for done in [threads.submit(add) for _ in range(4)]:
                    done.result()
            assert sorted(added) == [2**63 - n for n in range(room, 0, -1)]
            assert backend.get("n") == b"%d" % (2**63 - 1)

    @case
    async def test_numbers_of_another_program(
        self, opened: Open, memcached_server: MemcachedServer
    ) -> None:
        """Text with a sign, which the server cannot add to, is added to all the same."""
        store = opened(memcached_server.address)
        put(memcached_server, "n", b"-5", 100)
        assert await store.get("n") == b"-5"
        assert await store.incr("n", 3) == -2
        assert lasts(await store.ttl("n"), 100)
        assert raw(memcached_server, "n") == b"18446744073709551614"
        put(memcached_server, "n", b"-5")
        assert await store.incr("n", 5) == 0
        assert await store.ttl("n") is None
        put(memcached_server, "n", b"-9223372036854775808")
        with pytest.raises(CounterOverflow):
            await store.incr("n", -1)
        assert raw(memcached_server, "n") == b"-9223372036854775808"

    @case
    async def test_what_is_no_counter(
        self, opened: Open, memcached_server: MemcachedServer
    ) -> None:
        """What looks like a number to the server, or to nobody, is left alone."""
        store = opened(memcached_server.address)
        for value in (b"", b"v", b"01", b"1 ", b"+1", b" 1", b"1.5", b"9223372036854775808"):
            await store.set("k", value, None)
            with pytest.raises(NotACounter):
                await store.incr("k", 1)
            assert await store.get("k") == value
        put(memcached_server, "k", b"--1")
        with pytest.raises(NotACounter):
            await store.incr("k", 1)
        with pytest.raises(MissingKey):
            await store.incr("missing", 1)

    @case
    async def test_a_number_that_got_shorter(
        self, opened: Open, built: Open, memcached_server: MemcachedServer
    ) -> None:
        """The blanks that the server leaves behind it are no part of it."""
        store = opened(memcached_server.address)
        cache = built(memcached_server.address)
        for shorten in (b"decr :1:n 1\r\n", b"incr :1:n %d\r\n" % (2**64 - 1)):
            put(memcached_server, ":1:n", b"10")
            assert memcached_server.command(shorten) == b"9\r\n"
            assert raw(memcached_server, ":1:n") == b"9 "
            assert await store.get(":1:n") == b"9"
            assert await store.get_many([":1:n"]) == {":1:n": b"9"}
            assert await cache.get("n") == 9
            assert await store.compare_and_set(":1:n", b"9", b"10", None) is True
            assert await store.incr(":1:n", -1) == 9
            assert await cache.incr("n") == 10
            assert await store.compare_and_delete(":1:n", b"10") is True

    @case
    async def test_adding_keeps_the_life(
        self, opened: Open, memcached_server: MemcachedServer
    ) -> None:
        """Whether the digits get more or fewer, the life goes on."""
        store = opened(memcached_server.address)
        for ttl in (100.0, None):
            await store.set("n", b"5", ttl)
            for delta in (1, -10, 10, 10**9, -(10**9), -(2**62)):
                await store.incr("n", delta)
                assert lasts(await store.ttl("n"), ttl)

    @pytest.mark.parametrize("start", [b"0", b"-5"])
    def test_threads_and_tasks_add_at_once(
        self, memcached_server: MemcachedServer, start: bytes
    ) -> None:
        """Nothing is lost between eight threads, half of them with twenty tasks each."""
        put(memcached_server, "n", start)
        store = MemcachedBackend(memcached_server.address, deadline=20.0)
        ready = threading.Barrier(8, timeout=20.0)

        def in_thread() -> None:
            ready.wait()
            for n in range(200):
                store.incr("n", n)

        async def in_tasks() -> None:
            async def add() -> None:
                for n in range(20):
                    await store.aincr("n", -n)

            await asyncio.gather(*[add() for _ in range(20)])

        def in_loop() -> None:
            ready.wait()
            asyncio.run(in_tasks())

        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(each) for each in [in_thread, in_loop] * 4]
        for call in calls:
            call.result()
        total = int(start) + 4 * sum(range(200)) - 4 * 20 * sum(range(20))
        assert store.get("n") == b"%d" % total
        store.close()


class TestOtherPrograms:
    """What pymemcache and aiomcache write and read by themselves."""

    VALUES = (b"", b"v", b"12", bytes(range(256)), b"v" + TEXT, b"big" * 40_000)

    def test_pymemcache(self, face: Face, opened: Open, memcached_server: MemcachedServer) -> None:
        """Bytes are bytes, either way."""
        store = opened(memcached_server.address)
        with closing(Client((memcached_server.host, memcached_server.port), timeout=5)) as client:
            for value in self.VALUES:
                client.set("theirs", value, noreply=False)
                assert face.run(store.get("theirs")) == value
                assert face.run(store.set("ours", value, 100.0)) is True
                assert client.get("ours") == value
            client.set("theirs", "12", noreply=False)
            assert client.incr("theirs", 3) == 15
            assert face.run(store.incr("theirs", 5)) == 20
            assert client.get("theirs") == b"20"

    def test_aiomcache(self, face: Face, opened: Open, memcached_server: MemcachedServer) -> None:
        """Bytes are bytes, either way."""
        store = opened(memcached_server.address)

        async def ask(method: str, *args: Any) -> Any:
            async with their_client(memcached_server) as client:
                return await getattr(client, method)(*args)

        for value in self.VALUES:
            assert asyncio.run(ask("set", b"theirs", value)) is True
            assert face.run(store.get("theirs")) == value
            assert face.run(store.set("ours", value, 100.0)) is True
            assert asyncio.run(ask("get", b"ours")) == value
        assert asyncio.run(ask("set", b"theirs", b"12")) is True
        assert face.run(store.incr("theirs", 8)) == 20
        assert asyncio.run(ask("incr", b"theirs", 1)) == 21


@asynccontextmanager
async def their_client(server: MemcachedServer) -> AsyncIterator[aiomcache.Client]:
    client = aiomcache.Client(server.host, server.port, pool_size=1)
    try:
        yield client
    finally:
        await client.close()


KEYS = [f"key:{n}" for n in range(300)]


class TestServers:
    """Many servers, and some of them down."""

    @case
    async def test_both_faces_ask_the_same_servers(
        self, opened: Open, three: list[MemcachedServer]
    ) -> None:
        """3,000 keys of each kind are where the router says, with one server down as well."""
        location = addresses(three)
        store = opened(location, deadline=20.0, weights=[1, 2, 1])
        router = read_router(
            location,
            weights=[1, 2, 1],
            username=None,
            password=None,
            tls=False,
            tls_options={},
            deadline=1.0,
        )
        kinds = ("shop:1:user:{}", "shop:1:grüße {}", "shop:1:" + "long" * 80 + "{}")
        keys = [normalise(kind.format(n)) for n in range(3_000) for kind in kinds]
        placed = {key: router.place(key).name for key in keys}
        assert await store.set_many(dict.fromkeys(keys, b"v"), 1000.0) == []
        for server in three:
            assert keys_of(server) == {key for key in keys if placed[key] == server.address}
        dead = three[1]
        dead.kill()
        lost = [key for key in keys if placed[key] == dead.address]
        with pytest.raises(PartlyUnavailable) as caught:
            await store.get_many(keys)
        assert set(caught.value.result) == set(keys) - set(lost)
        assert await store.set_many(dict.fromkeys(keys, b"w"), 1000.0) == lost
        for server in (three[0], three[2]):
            assert keys_of(server) == {key for key in keys if placed[key] == server.address}

    @case
    async def test_one_of_three_is_down(
        self, face: Face, opened: Open, three: list[MemcachedServer]
    ) -> None:
        """The others go on, its keys are nowhere else, and all is in its place when it is back."""
        store = opened(addresses(three), deadline=5.0)
        dead = three[1]
        assert await store.set_many(dict.fromkeys(KEYS, b"v"), None) == []
        at_dead = keys_of(dead)
        lost = [key for key in KEYS if key in at_dead]
        kept = [key for key in KEYS if key not in lost]
        assert 50 < len(lost) < 150
        dead.kill()
        with pytest.raises(PartlyUnavailable, match=re.escape(dead.address)) as caught:
            await store.get_many(KEYS)
        assert caught.value.result == dict.fromkeys(kept, b"v")
        assert list(caught.value.result) == kept
        assert await store.set_many(dict.fromkeys(KEYS, b"w"), None) == lost
        with pytest.raises(PartlyUnavailable) as caught:
            await store.delete_many([*kept[:10], "missing", *lost])
        assert caught.value.result == 10
        assert await store.get_many(kept) == dict.fromkeys(kept[10:], b"w")
        for key in kept[10:15]:
            assert await store.get(key) == b"w"
            assert await store.set(key, b"5", None) is True
            assert await store.incr(key, 1) == 6
        for call in (
            store.get(lost[0]),
            store.get_many(lost[:1]),
            store.get_many(lost),
            store.set(lost[0], b"w", None),
            store.set_many({lost[0]: b"w"}, None),
            store.add(lost[0], b"w", None),
            store.incr(lost[0], 1),
            store.ttl(lost[0]),
            store.compare_and_set(lost[0], b"v", b"w", None),
            store.delete_many(lost),
        ):
            with pytest.raises(BackendUnavailable) as raised:
                await call
            assert not isinstance(raised.value, PartlyUnavailable)
        for server in (three[0], three[2]):
            assert not keys_of(server) & set(lost)
        states = {each.name: each.breaker for each in store.target.servers()}
        assert [states[server.address] == "closed" for server in three] == [True, False, True]
        dead.start()
        await soon(face, lambda: store.set(lost[0], b"v", None), "it is back")
        assert await store.set_many(dict.fromkeys(lost, b"v"), None) == []
        assert await store.get_many(lost) == dict.fromkeys(lost, b"v")
        assert keys_of(dead) == set(lost)
        assert [each.breaker for each in store.target.servers()] == ["closed"] * 3

    @case
    async def test_big_values_while_one_is_down(
        self, opened: Open, three: list[MemcachedServer]
    ) -> None:
        """A limit that nobody tells fails the values of one server, and no other's."""
        items = {key: b"v" * (2000 if n % 2 else 2) for n, key in enumerate(KEYS)}
        location = addresses(three)
        assert await opened(location).set_many(items, None) == []
        at_dead = keys_of(three[0])
        lost = [key for key in KEYS if key in at_dead]
        three[0].kill()
        for server in three[1:]:
            server.flush()
        assert await opened(location).set_many(items, None) == lost
        assert set().union(*map(keys_of, three[1:])) == set(KEYS) - set(lost)
        big = dict.fromkeys(lost, b"v" * 2000)
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            await opened(location).set_many(big, None)

    @case
    async def test_an_outage_of_one_as_misses(
        self, built: Open, three: list[MemcachedServer]
    ) -> None:
        """With `on_error` "miss" the others' values are had, and nothing is raised."""
        cache = built(addresses(three), OPTIONS={"on_error": "miss", "deadline": 5.0})
        items = {f"k{n}": n for n in range(300)}
        await cache.set_many(items)
        lost = {key.removeprefix(":1:") for key in keys_of(three[2])}
        three[2].kill()
        left = {name: n for name, n in items.items() if name not in lost}
        assert await cache.get_many(items) == left
        assert set(await cache.set_many(items)) == lost
        one = min(lost)
        assert await cache.get(one, "miss") == "miss"
        assert await cache.set(one, 1) is False
        assert await cache.get_or_set(one, lambda: 7) == 7
        assert await cache.delete_many(items) == len(left)

    @case
    async def test_all_are_down(self, opened: Open, three: list[MemcachedServer]) -> None:
        """Then nothing is partly done, whether they were ever up or not."""
        location = addresses(three)
        known = opened(location)
        await use(known)
        for server in three:
            server.kill()
        items = dict.fromkeys(KEYS, b"v")
        for store in (known, opened(location)):
            for call in (
                store.get_many(KEYS),
                store.set_many(items, None),
                store.set_many(dict.fromkeys(KEYS, b"v" * 1000), None),
                store.delete_many(KEYS),
                store.clear("k"),
                store.clear(""),
                store.examine(),
            ):
                with pytest.raises(BackendUnavailable) as caught:
                    await call
                assert not isinstance(caught.value, PartlyUnavailable)


class TestTransport:
    """Unix sockets, names with several addresses, and TLS."""

    @case
    async def test_a_unix_socket(
        self, opened: Open, at_socket: MemcachedServer, memcached_server: MemcachedServer
    ) -> None:
        """A path is as good as a host, alone and beside hosts."""
        at_socket.flush()
        path = at_socket.socket_path
        for location in (str(path), f"unix:{path}", f"memcached://{path}"):
            store = opened(location)
            await use(store)
            assert [each.name for each in store.target.servers()] == [str(path)]
        store = opened([f"unix:{path}", memcached_server.address])
        assert await store.set_many({f"k{n}": b"v" for n in range(50)}, None) == []
        assert len(keys_of(at_socket)) + len(keys_of(memcached_server)) == 50
        assert min(len(keys_of(at_socket)), len(keys_of(memcached_server))) > 10

    @case
    async def test_a_unix_socket_that_is_not_there(self, opened: Open, tmp_path: Path) -> None:
        """The error names the path."""
        assert str(tmp_path / "no.sock") in await refused(opened(f"unix:{tmp_path}/no.sock"))

    @case
    async def test_a_name_with_several_addresses(
        self,
        opened: Open,
        memcached_server: MemcachedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """If nobody listens at the first, which may be an IPv6 one, the next is tried."""
        looked_up = socket.getaddrinfo

        def both(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
            if host != "cache.test":
                return looked_up(host, port, *args, **kwargs)
            first = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port))
            return [(*first[:4], (*first[4], 0, 0)), *looked_up("127.0.0.1", port, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        await use(opened(f"cache.test:{memcached_server.port}"))

    @case
    async def test_a_name_without_an_address(self, opened: Open) -> None:
        """The error names the host."""
        assert "no.such.host.invalid:11211 cannot be reached" in await refused(
            opened("no.such.host.invalid", deadline=5.0)
        )

    @case
    async def test_tls(
        self, opened: Open, tls_memcached: MemcachedServer, certificates: Certificates
    ) -> None:
        """With the authority's certificate the server is trusted, by its address or its name."""
        authority = {"tls": True, "ssl_ca_certs": str(certificates.ca)}
        await use(opened(tls_memcached.address, **authority))
        await use(opened(f"localhost:{tls_memcached.port}", **authority))

    @case
    async def test_tls_without_verification(
        self, opened: Open, tls_memcached: MemcachedServer
    ) -> None:
        """`ssl_cert_reqs="none"` trusts anybody."""
        await use(opened(tls_memcached.address, tls=True, ssl_cert_reqs="none"))

    @case
    async def test_tls_of_an_unknown_authority(
        self, opened: Open, tls_memcached: MemcachedServer, tmp_path: Path
    ) -> None:
        """A certificate that nobody we trust has signed is refused."""
        other = Certificates.write(tmp_path / "other")
        for options in ({}, {"ssl_ca_certs": str(other.ca)}):
            told = await refused(opened(tls_memcached.address, tls=True, **options))
            assert "certificate verify failed" in told
            assert tls_memcached.address in told

    @case
    async def test_tls_for_another_host(
        self, opened: Open, tls_memcached: MemcachedServer, certificates: Certificates
    ) -> None:
        """A certificate must be for the host in `LOCATION`, unless told otherwise."""
        location = f"127.1:{tls_memcached.port}"
        authority = {"tls": True, "ssl_ca_certs": str(certificates.ca)}
        message = await refused(opened(location, **authority))
        assert "certificate is not valid for '127.1'" in message
        await use(opened(location, **authority, ssl_check_hostname=False))

    @case
    async def test_a_clients_certificate(
        self, opened: Open, certificates: Certificates, tmp_path: Path
    ) -> None:
        """A server that wants to see a certificate takes ours, and nobody without."""
        authority = {"tls": True, "ssl_ca_certs": str(certificates.ca)}
        own = {
            "ssl_certfile": str(certificates.client),
            "ssl_keyfile": str(certificates.client_key),
        }
        must = ("-o", "ssl_verify_mode=2")
        with MemcachedServer(tmp_path / "strict", *must, tls=certificates) as server:
            await use(opened(server.address, **authority, **own))
            assert server.address in await refused(opened(server.address, **authority))

    @case
    async def test_tls_at_one_end_alone(
        self, opened: Open, tls_memcached: MemcachedServer, memcached_server: MemcachedServer
    ) -> None:
        """A server that speaks TLS where we do not, or the other way round, is an outage."""
        message = await refused(opened(tls_memcached.address))
        assert f"{tls_memcached.address} cannot be reached" in message
        assert "OPTIONS['tls']" in message
        secured = opened(memcached_server.address, tls=True, ssl_cert_reqs="none")
        assert memcached_server.address in await refused(secured)


@pytest.fixture(scope="module")
def _uvloop_was_used() -> None:
    """Have uvloop make the pipe that it keeps for the rest of the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.mark.usefixtures("_uvloop_was_used")
@pytest.mark.parametrize("deployment", ["tcp", "tls", "unix"])
def test_uvloop(
    memcached_server: MemcachedServer,
    tls_memcached: MemcachedServer,
    tmp_path: Path,
    deployment: str,
) -> None:
    """The async face works on uvloop too, over each transport."""
    with MemcachedServer(tmp_path / "unix", unix=True) as at_socket:
        store = {
            "tcp": lambda: MemcachedBackend(memcached_server.address),
            "tls": lambda: MemcachedBackend(tls_memcached.address, tls=True, ssl_cert_reqs="none"),
            "unix": lambda: MemcachedBackend(str(at_socket.socket_path)),
        }[deployment]()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(use(FACES[1].view(store)))
            runner.run(use(FACES[1].view(store)))
        store.close()


class TestLogin:
    """Servers with `--auth-file`."""

    @pytest.mark.parametrize("in_url", [True, False])
    @case
    async def test_the_right_login(
        self, opened: Open, secured: MemcachedServer, in_url: bool
    ) -> None:
        """Special characters are percent-encoded in a URL, and plain in OPTIONS."""
        secured.flush()
        login = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
        if in_url:
            store = opened(f"memcached://{login}@{secured.address}")
        else:
            store = opened(secured.address, username=USER, password=PASSWORD)
        await use(store)
        await store.set("k", b"v", None)
        assert raw(secured, "k") == b"v"
        shown = repr(store.target)
        assert PASSWORD not in shown
        assert quote(PASSWORD, safe="") not in shown

    @case
    async def test_a_wrong_login(self, opened: Open, secured: MemcachedServer) -> None:
        """Who is not let in is told what the server said, and no password."""
        for options in (
            {"username": USER, "password": f"{PASSWORD}x"},
            {"username": "nobody", "password": PASSWORD},
        ):
            message = await refused(opened(secured.address, **options))
            assert f"{secured.address} cannot be reached" in message
            assert "authentication failure" in message
        url = f"memcached://nobody:{quote(PASSWORD, safe='')}@{secured.address}"
        assert "authentication failure" in await refused(opened(url))

    @case
    async def test_no_login(self, opened: Open, secured: MemcachedServer) -> None:
        """The error names the options."""
        message = await refused(opened(secured.address))
        assert "unauthenticated" in message
        assert "OPTIONS['username'] and OPTIONS['password']" in message

    @case
    async def test_a_login_that_nobody_asks_for(
        self, opened: Open, memcached_server: MemcachedServer
    ) -> None:
        """To such a server it is a value: it is gone at once, and was over nobody's."""
        put(memcached_server, "canary", b"alive")
        store = opened(memcached_server.address, username=USER, password=PASSWORD)
        await use(store)
        await store.set("k", b"v", None)
        assert PASSWORD.encode() not in memcached_server.command(b"get twofold login\r\n")
        assert keys_of(memcached_server) == {"canary", "k"}

    @case
    async def test_a_login_and_tls(
        self, opened: Open, certificates: Certificates, tmp_path: Path
    ) -> None:
        """Both go together."""
        login = f"{USER}:{PASSWORD}"
        with MemcachedServer(tmp_path / "own", tls=certificates, login=login) as server:
            url = f"memcached://{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@{server.address}"
            await use(opened(url, tls=True, ssl_ca_certs=str(certificates.ca)))

    @case
    async def test_a_server_with_sasl(self, opened: Open, fake: Play) -> None:
        """One that hangs up on text is told from one that is down, with what to do."""
        message = await refused(opened(hanging_up(fake)))
        assert "it closed the connection" in message
        assert "--auth-file" in message


def hanging_up(fake: Play) -> str:
    """Return the address of a server that closes each connection as soon as it is asked."""

    class Deaf(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)

    server = fake(lambda command: b"")
    server.RequestHandlerClass = Deaf
    return server.address


class TestClear:
    """What `clear` takes, and what it leaves."""

    @case
    async def test_the_prefix_and_no_more(
        self, built: Open, memcached_servers: list[MemcachedServer]
    ) -> None:
        """Another alias's keys stay, and other programs'; all versions go."""
        location = addresses(memcached_servers)
        mine, longer, none = (built(location, KEY_PREFIX=name) for name in ("shop", "shop2", ""))
        names = [form.format(n) for n in range(10) for form in FORMS]
        for cache in (mine, longer, none):
            assert await cache.set_many(dict.fromkeys(names, 1)) == []
            await cache.set("k", 1, version=7)
        put(memcached_servers[0], "shop", b"foreign")
        put(memcached_servers[1], "shop!lock:k", b"foreign")
        put(memcached_servers[2], "shop!claim:shop:1:k", b"foreign")
        put(memcached_servers[2], "SHOP:1:k", b"foreign")
        await mine.clear()
        left = set().union(*map(keys_of, memcached_servers))
        assert {key for key in left if key.startswith("shop") and not key.startswith("shop2")} == {
            "shop",
            "shop!lock:k",
            "shop!claim:shop:1:k",
        }
        assert "SHOP:1:k" in left
        for cache in (longer, none):
            assert await cache.get_many(names) == dict.fromkeys(names, 1)
            assert await cache.get("k", version=7) == 1
        assert await mine.get_many(names) == {}
        assert await mine.get("k", version=7) is None

    @case
    async def test_special_characters(
        self, opened: Open, memcached_servers: list[MemcachedServer]
    ) -> None:
        """A key is the one that is meant, whatever the list of keys makes of it."""
        store = opened(addresses(memcached_servers))
        marks = [chr(n) for n in range(0x21, 0x7F)]
        odd = ["%20", "%", "%%", "%2", "%zz", "a%2Fb", "+", "=", "key=x", "=exp=1", "a=b&c"]
        inside = {f"p%:{mark}" for mark in (*marks, *odd)} | {"p%:" + "~" * 247}
        outside = {f"p%25:{mark}" for mark in odd} | {f"p:{mark}" for mark in marks} | {"p%"}
        await store.set_many(dict.fromkeys(inside | outside, b"v"), None)
        await store.clear("p%:")
        assert set(await store.get_many(sorted(inside | outside))) == outside

    @case
    async def test_amid_many_others(
        self, opened: Open, memcached_servers: list[MemcachedServer]
    ) -> None:
        """Of 20,000 keys those with the prefix go, without a flush."""
        store = opened(addresses(memcached_servers), deadline=20.0)
        inside = {f"p:{n}": b"v" for n in range(5000)}
        outside = {f"q:{n}": b"v" for n in range(15_000)}
        assert await store.set_many(inside | outside, 1000.0) == []
        before = [server.stats()["cmd_flush"] for server in memcached_servers]
        await store.clear("p:")
        assert set().union(*map(keys_of, memcached_servers)) == set(outside)
        assert [server.stats()["cmd_flush"] for server in memcached_servers] == before

    @case
    async def test_two_at_once(
        self, face: Face, opened: Open, memcached_servers: list[MemcachedServer]
    ) -> None:
        """A server names its keys to one at a time, and each who asks is served."""
        store = opened(addresses(memcached_servers), deadline=20.0)
        items = {f"{prefix}:{n}": b"v" for prefix in "pqrs" for n in range(2000)}
        assert await store.set_many(items, None) == []
        await face.together([lambda p=prefix: store.clear(f"{p}:") for prefix in "pqr"])
        assert set().union(*map(keys_of, memcached_servers)) == {f"s:{n}" for n in range(2000)}

    @case
    async def test_a_busy_server_is_asked_again(self, opened: Open, fake: Play) -> None:
        """Until it is free; and an older one is asked as it understands."""

        def answer(command: list[bytes]) -> bytes:
            asked.append(b" ".join(command))
            return said.get(len(asked), b"DELETED\r\n")

        asked: list[bytes] = []
        said = {
            1: b"BUSY currently processing crawler request\r\n",
            2: b"OK\r\nERROR locked try again later\r\n",
            3: b"BADCLASS invalid class id\r\n",
            4: b"BUSY currently processing crawler request\r\n",
            5: b"key=p%3A1 exp=-1 la=1\nkey=q exp=-1\nkey=p%3A%20 exp=-1\nkey=p%3A2 exp=9\nEND\r\n",
            8: b"key=p%3A3 exp=-1 la=1\nEND\r\n",
            10: b"key=q exp=-1\nEND\r\n",
        }
        await opened(fake(answer).address).clear("p:")
        walk = b"lru_crawler metadump "
        assert asked == [
            *[walk + b"hash"] * 3,
            *[walk + b"all"] * 2,
            b"delete p:1",
            b"delete p:2",
            walk + b"all",  # which passes by what is in use, or moves meanwhile
            b"delete p:3",
            walk + b"all",
        ]

    @case
    async def test_a_scan_by_class_that_always_finds_more(self, opened: Open, fake: Play) -> None:
        """It ends, since others may store all the time."""

        def answer(command: list[bytes]) -> bytes:
            asked.append(command[-1])
            if command[0] == b"delete":
                return b"DELETED\r\n"
            return b"key=p%3A1 exp=-1\nEND\r\n" if command[-1] == b"all" else b"BADCLASS x\r\n"

        asked: list[bytes] = []
        await opened(fake(answer).address).clear("p:")
        assert asked == [b"hash", *[b"all", b"p:1"] * 8]

    @case
    async def test_a_server_that_is_always_busy(
        self, opened: Open, fake: Play, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is an outage after a time."""
        monkeypatch.setattr(scan, "_LONGEST_SCAN", 0.1)
        store = opened(fake(lambda command: b"BUSY currently processing\r\n").address)
        with pytest.raises(
            BackendUnavailable, match="another `lru_crawler metadump` is running on"
        ):
            await store.clear("p:")

    @case
    async def test_a_server_that_does_not_name_its_keys(self, built: Open, tmp_path: Path) -> None:
        """The error names the option that empties it instead, which does."""
        with MemcachedServer(tmp_path / "own", "-X") as server:
            cache = built(server.address)
            await cache.set("k", 1)
            for call in (cache.clear(), cache.clear_prefix("k")):
                with pytest.raises(BackendUnavailable, match=r"OPTIONS\['clear'\] = 'flush'"):
                    await call
            assert await cache.get("k") == 1
            await built(server.address, OPTIONS={"clear": "flush"}).clear()
            assert await cache.get("k") is None

    @case
    async def test_a_flush_takes_everything(
        self, built: Open, memcached_servers: list[MemcachedServer]
    ) -> None:
        """Told to flush, `clear` empties all servers."""
        for server in memcached_servers:
            put(server, "foreign", b"v")
        cache = built(addresses(memcached_servers), OPTIONS={"clear": "flush"})
        await cache.set("k", 1)
        await cache.clear()
        assert [raw(server, "foreign") for server in memcached_servers] == [b""] * 3
        assert await cache.get("k") is None

    @pytest.mark.parametrize("prefix", ["p:", ""])
    @case
    async def test_one_server_is_down(
        self, opened: Open, three: list[MemcachedServer], prefix: str
    ) -> None:
        """The others are cleared, and the error says that one was not."""
        store = opened(addresses(three))
        await store.set_many({f"p:{n}": b"v" for n in range(100)}, None)
        three[0].kill()
        with pytest.raises(PartlyUnavailable, match=re.escape(three[0].address)):
            await store.clear(prefix)
        assert list(map(keys_of, three[1:])) == [set(), set()]


class TestExamine:
    """What servers tell of themselves."""

    @case
    async def test_a_sound_server(
        self, opened: Open, memcached_servers: list[MemcachedServer]
    ) -> None:
        """Name, version, the largest item and a round trip; and nothing to warn of."""
        found = await opened(addresses(memcached_servers)).examine()
        assert [each.name for each in found] == addresses(memcached_servers)
        for each, server in zip(found, memcached_servers, strict=True):
            assert each.version == f"memcached {server.stats()['version']}"
            assert each.item_size_max == 2**20
            assert 0 < each.round_trip < 1
            assert each.warnings == ()

    @case
    async def test_a_server_that_evicts_nothing(self, opened: Open, tmp_path: Path) -> None:
        """The warning says what comes of it."""
        with MemcachedServer(tmp_path / "own", "-M", *SMALL_ITEMS) as server:
            [found] = await opened(server.address).examine()
        assert found.item_size_max == 256 * 1024
        [warning] = found.warnings
        assert warning.startswith(f"{server.address} runs with -M: once its memory is full")

    @case
    async def test_a_server_without_cas(self, opened: Open, tmp_path: Path) -> None:
        """What compares says why it cannot, at once; all else works."""
        with MemcachedServer(tmp_path / "own", "-C") as server:
            store = opened(server.address)
            [found] = await store.examine()
            [warning] = found.warnings
            assert f"{server.address} runs with -C: locks and claims need its CAS" in warning
            await store.set("k", b"1", None)
            for call in (
                store.compare_and_set("k", b"1", b"2", None),
                store.compare_and_delete("k", b"1"),
            ):
                with pytest.raises(BackendUnavailable, match=r"runs without CAS \(-C\)"):
                    await call
            assert await store.incr("k", 1) == 2
            assert await store.get("k") == b"2"

    def test_check_shows_it(self, memcached_server: MemcachedServer, tmp_path: Path) -> None:
        """`twofold check` names each server with version, limit, round trip and warnings."""
        with MemcachedServer(tmp_path / "own", "-M", *SMALL_ITEMS) as server:
            hosts = f"{memcached_server.address},{server.address}"
            ended = subprocess.run(
                [sys.executable, "-m", "twofold", "check"],
                env={**os.environ, "CACHE_URL": f"memcached://{hosts}", "COLUMNS": "250"},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
        assert ended.returncode == 0, ended.stderr
        shown = ended.stdout + ended.stderr
        version = memcached_server.stats()["version"]
        for address, limit in ((memcached_server.address, 2**20), (server.address, 2**18)):
            rows = [line for line in shown.splitlines() if f" {address} " in line]
            assert any(
                f"memcached {version}" in row and f"{limit} B" in row and " ms" in row
                for row in rows
            ), shown
        assert f"{server.address} runs with -M" in " ".join(shown.split())


class TestSettings:
    """Memcached by settings."""

    @pytest.fixture(autouse=True)
    def _no_settings(self) -> Iterator[None]:
        with twofold.caches.override({"default": "memory://"}):
            yield

    @case
    async def test_an_alias_by_settings_alone(
        self, face: Face, memcached_servers: list[MemcachedServer]
    ) -> None:
        """Short name, dotted path and URL all lead to the store, with prefix and options."""
        many = addresses(memcached_servers)
        options = {"weights": "2,1,1", "deadline": 30}
        own = {"KEY_PREFIX": "shop", "OPTIONS": options}
        path = "twofold.backends.memcached.MemcachedBackend"
        found = []
        for settings in (
            {"BACKEND": "memcached", "LOCATION": many, **own},
            {"BACKEND": "memcached", "LOCATION": ";".join(many), **own},
            {"BACKEND": path, "LOCATION": many, **own},
            f"memcached://{','.join(many)}?key_prefix=shop&weights=2,1,1&deadline=30",
            f"memcached://{many[0]},memcached://{many[1]};{many[2]}?key_prefix=shop&weights=2,1,1"
            "&deadline=30",
        ):
            twofold.configure({"default": settings})
            cache = face.view(twofold.caches["default"])
            assert await cache.set_many({f"k{n}": n for n in range(200)}) == []
            assert await cache.get_many([f"k{n}" for n in range(200)]) == {
                f"k{n}": n for n in range(200)
            }
            found.append([keys_of(server) for server in memcached_servers])
            assert sum(map(len, found[-1])) == 200
            assert len(found[-1][0]) > 70
            await cache.clear()
            assert list(map(keys_of, memcached_servers)) == [set()] * 3
            await cache.close()
        assert found == [found[0]] * 5
        assert {key.partition(":")[0] for keys in found[0] for key in keys} == {"shop"}

    def test_the_environment(
        self, memcached_server: MemcachedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """`CACHE_URL` alone is enough."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CACHE_URL", f"memcached://{memcached_server.address}?deadline=2")
        twofold.configure()
        cache = twofold.caches["default"]
        assert isinstance(cache.backend, MemcachedBackend)
        assert cache.backend.deadline == 2.0
        assert cache.set("k", 1) is True
        assert keys_of(memcached_server) == {":1:k"}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ("memcached://h?weight=1", "no option 'weight'; did you mean 'weights'?"),
            (
                "memcached://h?cluster=true",
                "no option 'cluster'; did you mean 'clear'? There are: block",
            ),
            ("memcached://h1,h2?weights=1", "OPTIONS['weights'] has a number more than 0"),
            ("memcached://h:0", "CACHES['default']: LOCATION 'memcached://h:0' has no port '0'"),
            ("memcached://h?deadline=0", "OPTIONS['deadline'] is the seconds"),
            ("memcached://u:hidden@h1,v:hidden@h2", "a login is memcached://user:password@host"),
            ({"BACKEND": "memcached", "LOCATION": []}, "LOCATION names no server"),
            (
                {"BACKEND": "memcached", "LOCATION": ["h", "memcached://u:hidden@h2"]},
                "a login is the same for all servers",
            ),
            ({"BACKEND": "memcached", "LOCATION": "redis://h"}, "is no memcached server"),
        ],
    )
    def test_what_cannot_be_is_refused(self, settings: Any, message: str) -> None:
        """When the cache is built at the latest, and without a password in the error."""
        with pytest.raises(SettingsError) as caught:
            registry.build(read_cache("default", settings))
        assert message in str(caught.value)
        assert "hidden" not in str(caught.value)

    @pytest.mark.parametrize("driver", ["pymemcache", "aiomcache"])
    def test_a_missing_driver_names_the_extra(self, driver: str) -> None:
        """Where a driver is not installed, the settings are refused, and say what to install."""
        code = (
            f"import sys; sys.modules['{driver}'] = None\n"
            "import twofold\n"
            "twofold.configure({'default': 'memcached://'})"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        message, more = run.stderr.splitlines()[-2:]
        assert message.startswith("twofold.errors.SettingsError: CACHES['def")
        assert message.endswith("pip install '.[memcached]'")
        assert more.startswith("More: ")

    @pytest.mark.parametrize(
        "location", ["memcached://u:hidden@h:1", ["memcached://u:hidden@h", "unix:/m.sock"]]
    )
    def test_the_repr_shows_servers_and_no_password(self, location: Any) -> None:
        """Each server is shown with the state of its breaker."""
        shown = repr(MemcachedBackend(location))
        assert "hidden" not in shown
        assert "breaker closed" in shown
        assert ":***@h" in shown


class TestRoundTrips:
    """How often the server is asked, and in how many pieces."""

    @case
    async def test_many_keys_are_one_command(self, opened: Open, fake: Play) -> None:
        """`get_many` is one line, for as many keys as there are."""

        def answer(command: list[bytes]) -> bytes:
            came.append(command)
            return b"VALUE k1 0 1\r\nv\r\nEND\r\n"

        came: list[list[bytes]] = []
        keys = [f"k{n}" for n in range(100)]
        assert await opened(fake(answer).address).get_many(keys) == {"k1": b"v"}
        assert came == [[b"get", *map(str.encode, keys)]]

    @pytest.mark.parametrize("operation", ["set_many", "delete_many"])
    @case
    async def test_many_writes_are_one_round_trip(
        self, opened: Open, fake: Play, operation: str
    ) -> None:
        """Nothing is waited for before everything has been sent."""

        def answer(command: list[bytes]) -> bytes:
            came.append(command)
            return b"".join(replies) * 100 if len(came) == 100 * len(replies) else b""

        came: list[list[bytes]] = []
        replies = (
            [b"STORED\r\n"] if operation == "set_many" else [b"HD f0 c1 t-1\r\n", b"DELETED\r\n"]
        )
        store = opened(fake(answer).address)
        store.target._router.servers()[0].connector.is_proxied = False
        store.target._router.servers()[0].connector.version = "1.6.18"
        if operation == "set_many":
            assert await store.set_many({f"k{n}": b"v" for n in range(100)}, None) == []
            assert came == [[b"set", b"k%d" % n, b"0", b"0", b"1", b"v"] for n in range(100)]
        else:
            assert await store.delete_many([f"k{n}" for n in range(100)]) == 100
            pairs = [
                [[b"mg", b"k%d" % n, b"f", b"c", b"t"], [b"delete", b"k%d" % n]] for n in range(100)
            ]
            assert came == list(chain(*pairs))

    @case
    async def test_a_look_at_many_is_one_round_trip(self, opened: Open, fake: Play) -> None:
        """A value and its life come together, and nothing is waited for before all was asked."""

        def answer(command: list[bytes]) -> bytes:
            came.append(command)
            return b"".join(replies) if len(came) == len(keys) else b""

        came: list[list[bytes]] = []
        keys = [f"k{n}" for n in range(100)]
        replies = [b"VA 1 k%b f0 t9\r\nv\r\n" % key.encode() for key in keys]
        store = opened(fake(answer).address)
        store.target._router.servers()[0].connector.is_proxied = False
        store.target._router.servers()[0].connector.version = "1.6.18"
        assert await store.look_many(keys) == dict.fromkeys(keys, (b"v", 9.0))
        assert came == [[b"mg", key.encode(), b"k", b"f", b"t", b"v"] for key in keys]

    @case
    async def test_the_servers_work_side_by_side(self, opened: Open, fake: Play) -> None:
        """A call on many keys sends each server its part before it waits for any reply."""

        def answer(command: list[bytes]) -> bytes:
            both.wait()
            values = b"".join(b"VALUE %b 0 1\r\nv\r\n" % key for key in command[1:])
            return values + b"END\r\n"

        both = threading.Barrier(2, timeout=5.0)
        store = opened([fake(answer).address, fake(answer).address], deadline=5.0)
        keys = [f"k{n}" for n in range(50)]
        assert await store.get_many(keys) == dict.fromkeys(keys, b"v")


class TestRefusals:
    """What a server says no to."""

    @case
    async def test_a_full_server(self, built: Open, tmp_path: Path) -> None:
        """What finds no memory is not stored, and said so; what is there can be read."""
        with MemcachedServer(tmp_path / "own", "-M", "-m", "4") as server:
            cache = built(server.address, OPTIONS={"deadline": 5.0})
            assert await cache.set("k", "kept") is True
            failed = await cache.set_many({f"k{n}": "v" * 20_000 for n in range(500)})
            assert 100 < len(failed) < 500
            assert await cache.set(failed[0], "v" * 20_000) is False
            with pytest.raises(BackendUnavailable, match="refused: SERVER_ERROR out of memory"):
                await cache.add(failed[0], "v" * 20_000)
            assert await cache.get("k") == "kept"
            assert await cache.get(failed[0]) is None
            assert [each.breaker for each in cache.target.stats().servers] == ["closed"]

    @pytest.mark.parametrize("said", [b"ERROR", b"CLIENT_ERROR no", b"SERVER_ERROR it is broken"])
    @case
    async def test_any_refusal(self, opened: Open, fake: Play, said: bytes) -> None:
        """Whatever a server refuses is `BackendUnavailable` with its words."""
        store = opened(fake(lambda command: said + b"\r\n").address)
        calls = [
            store.get("k"),
            store.get_many(["k"]),
            store.add("k", b"v", None),
            store.touch("k", None),
            store.ttl("k"),
            store.delete("k"),
            store.delete_many(["k", "l"]),
            store.has("k"),
            store.incr("k", 1),
            store.compare_and_set("k", b"v", b"w", None),
            store.compare_and_delete("k", b"v"),
            store.clear("k"),
            store.clear(""),
            store.examine(),
        ]
        if said.startswith(b"SERVER_ERROR"):
            assert await store.set("k", b"v", None) is False
            assert await store.set_many({"k": b"v", "l": b"v"}, None) == ["k", "l"]
        else:
            calls += [store.set("k", b"v", None), store.set_many({"k": b"v", "l": b"v"}, None)]
        for call in calls:
            with pytest.raises(BackendUnavailable, match=f"refused: {said.decode()}"):
                await call

    @pytest.mark.parametrize(
        "reply", [b"HTTP/1.1 400 Bad Request\r\n", b"VALUE other 0 1\r\nv\r\nEND\r\n", b"\0" * 99]
    )
    @case
    async def test_what_is_no_reply(self, opened: Open, fake: Play, reply: bytes) -> None:
        """It is an outage and no value, at each call."""
        store = opened(fake(lambda command: reply + b"\r\n").address)
        for call in (store.get("k"), store.get("k"), store.set("k", b"v", None), store.delete("k")):
            with pytest.raises(BackendUnavailable):
                await call
