"""Redis: deployments and operations, against real servers and in both faces."""

import asyncio
import gc
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest
import uvloop

import twofold
from tests.chaos import (
    Certificates,
    Proxy,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    Server,
    eventually,
)
from tests.chaos.resp import ask, packed
from twofold.backends.network import INCOMPLETE
from twofold.backends.redis import RedisBackend
from twofold.backends.redis.replies import PythonReader
from twofold.errors import (
    BackendUnavailable,
    CounterOverflow,
    MissingKey,
    NotACounter,
    SettingsError,
)
from twofold.testing import FACES, Face
from twofold.testing.faces import case

Open: TypeAlias = Callable[..., Any]

PASSWORD = "p:/?#[@%+&w"
USER = "al%ice"


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


@pytest.fixture
def opened(face: Face) -> Iterator[Open]:
    """Return a function that makes backends, in the face; all are closed in the end."""
    made: list[RedisBackend] = []

    def make(location: str | list[str], **options: Any) -> Any:
        made.append(RedisBackend(location, **options))
        return face.view(made[-1])

    yield make
    for backend in made:
        backend.close()


@pytest.fixture(scope="module")
def secured(_guard: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis with a password, and a user who may do all but flush."""
    rule = f"{USER} on >{PASSWORD} ~* &* +@all -flushdb"
    folder = tmp_path_factory.mktemp("secured")
    with RedisServer(folder, password=PASSWORD, users=(rule,)) as server:
        yield server


@pytest.fixture
def replica(redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """Return a replica of `redis_server` that can be written to by its administrator."""
    leader = f"replicaof {redis_server.host} {redis_server.port}"
    with RedisServer(tmp_path / "replica", leader, "replica-read-only no") as server:
        eventually(lambda: server.info("replication")["master_link_status"] == "up", "in sync")
        yield server


class Fake(socketserver.ThreadingTCPServer):
    """A server that answers as a function says, which is called with each command in turn."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, answer: Callable[[list[bytes]], bytes], tls: Certificates | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.answer = answer
        self.scheme = "rediss" if tls else "redis"
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls.server, tls.server_key)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


class Asked(socketserver.BaseRequestHandler):
    """A connection to a `Fake`."""

    server: Fake

    def handle(self) -> None:
        reader = PythonReader()
        while data := self.request.recv(65536):
            reader.feed(data)
            while (command := reader.gets()) is not INCOMPLETE:
                self.request.sendall(self.server.answer(command))


Play: TypeAlias = Callable[..., Fake]


@pytest.fixture
def fake() -> Iterator[Play]:
    """Return a function that starts a `Fake`; all are stopped in the end."""
    with ExitStack() as stack:

        def start(answer: Callable[[list[bytes]], bytes], tls: Certificates | None = None) -> Fake:
            server = stack.enter_context(Fake(answer, tls))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


def slots(*nodes: Fake) -> bytes:
    """Return the reply to `CLUSTER SLOTS` of nodes that share all of them evenly."""
    reply = b"*%d\r\n" % len(nodes)
    for n, node in enumerate(nodes):
        first, last = 16384 * n // len(nodes), 16384 * (n + 1) // len(nodes) - 1
        port = node.server_address[1]
        reply += b"*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % (first, last, port)
    return reply


def keys_of(server: RedisServer, db: int = 0) -> set[bytes]:
    """Return the keys of a database."""
    login = [("AUTH", server.password)] if server.password else []
    return set(ask(server.socket_path, *login, ("SELECT", db), ("KEYS", "*")))


def calls(server: RedisServer) -> dict[str, int]:
    """Return how often each command was called since the last `CONFIG RESETSTAT`, but for that.

    (6.2 counts it after it has reset the counts, later servers before.)
    """
    lines = server.info("commandstats").items()
    return {
        name.removeprefix("cmdstat_"): int(text.split(",")[0].removeprefix("calls="))
        for name, text in lines
        if not name.startswith("cmdstat_config")
    }


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
        assert PASSWORD not in str(error)
        assert quote(PASSWORD, safe="") not in str(error)
        error = error.__cause__
    return str(caught.value)


class TestLogin:
    """Databases, passwords and users, in the URL and beside it."""

    @case
    async def test_databases_do_not_see_each_other(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """The number of the database stands in the URL, or in OPTIONS."""
        one = opened(f"redis://{redis_server.address}/1")
        two = opened(f"redis://{redis_server.address}", db=2)
        await one.set("k", b"one", None)
        await two.set("k", b"two", None)
        assert (await one.get("k"), await two.get("k")) == (b"one", b"two")
        assert [keys_of(redis_server, db) for db in range(3)] == [set(), {b"k"}, {b"k"}]
        await one.clear("")
        assert (await one.get("k"), await two.get("k")) == (None, b"two")
        assert keys_of(redis_server, 2) == {b"k"}

    @case
    async def test_a_database_that_is_not_there(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A number that the server does not have is an error that says so."""
        assert "DB index is out of range" in await refused(
            opened(f"redis://{redis_server.address}/99")
        )

    @pytest.mark.parametrize("in_url", [True, False])
    @case
    async def test_a_password(self, opened: Open, secured: RedisServer, in_url: bool) -> None:
        """A password of special characters is percent-encoded in a URL, and plain in OPTIONS."""
        if in_url:
            await use(opened(f"redis://:{quote(PASSWORD, safe='')}@{secured.address}/1"))
        else:
            await use(opened(f"redis://{secured.address}/1", password=PASSWORD))

    @pytest.mark.parametrize("in_url", [True, False])
    @case
    async def test_a_user(self, opened: Open, secured: RedisServer, in_url: bool) -> None:
        """A user of the ACL has the rights that the ACL gives."""
        if in_url:
            login = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
            store = opened(f"redis://{login}@{secured.address}")
        else:
            store = opened(f"redis://{secured.address}", username=USER, password=PASSWORD)
        await use(store)
        with pytest.raises(BackendUnavailable, match="refused: NOPERM"):
            await store.clear("")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"password": "wrong"}, "WRONGPASS|invalid username-password pair"),
            ({"username": "nobody", "password": PASSWORD}, "invalid username-password pair"),
            ({}, r"NOAUTH.*LOCATION or OPTIONS\['password'\] must name a password"),
            ({"db": 1}, "Authentication required"),
        ],
    )
    @case
    async def test_a_wrong_login(
        self, opened: Open, secured: RedisServer, options: dict[str, Any], message: str
    ) -> None:
        """Who is not let in is told what the server said, and no password."""
        store = opened(f"redis://{secured.address}", **options)
        with pytest.raises(BackendUnavailable, match=message):
            await store.get("k")
        assert secured.address in await refused(store)

    @case
    async def test_a_wrong_password_in_the_url(self, opened: Open, secured: RedisServer) -> None:
        """Neither the error nor the repr shows what stands in the URL."""
        store = opened(f"redis://{USER[:2]}:{quote(PASSWORD, safe='')}@{secured.address}")
        assert "invalid username-password pair" in await refused(store)
        shown = repr(store.target)
        assert quote(PASSWORD, safe="") not in shown
        assert f":***@{secured.address}" in shown


class TestTransport:
    """Unix sockets and TLS."""

    @case
    async def test_a_unix_socket(self, opened: Open, redis_server: RedisServer) -> None:
        """A path is as good as a host, with the database as a parameter."""
        store = opened(f"unix://{redis_server.socket_path}?db=1")
        await use(store)
        await store.set("k", b"v", None)
        assert keys_of(redis_server, 1) == {b"k"}
        assert str(redis_server.socket_path) in repr(store.target)

    @case
    async def test_a_unix_socket_that_is_not_there(self, opened: Open, tmp_path: Path) -> None:
        """The error names the path."""
        assert str(tmp_path / "no.sock") in await refused(opened(f"unix://{tmp_path}/no.sock"))

    @case
    async def test_tls(
        self, opened: Open, tls_redis: RedisServer, certificates: Certificates
    ) -> None:
        """With the authority's certificate the server is trusted, by its address or its name."""
        authority = {"ssl_ca_certs": str(certificates.ca)}
        await use(opened(tls_redis.url, **authority))
        await use(opened(f"rediss://localhost:{tls_redis.port}", **authority))

    @case
    async def test_tls_without_verification(self, opened: Open, tls_redis: RedisServer) -> None:
        """`ssl_cert_reqs="none"` trusts anybody."""
        await use(opened(tls_redis.url, ssl_cert_reqs="none"))

    @case
    async def test_tls_of_an_unknown_authority(
        self, opened: Open, tls_redis: RedisServer, tmp_path: Path
    ) -> None:
        """A certificate that nobody we trust has signed is refused."""
        other = Certificates.write(tmp_path / "other")
        for options in ({}, {"ssl_ca_certs": str(other.ca)}):
            assert "certificate verify failed" in await refused(opened(tls_redis.url, **options))

    @case
    async def test_tls_for_another_host(
        self, opened: Open, tls_redis: RedisServer, certificates: Certificates
    ) -> None:
        """A certificate must be for the host in the URL, unless told otherwise."""
        url, authority = f"rediss://127.1:{tls_redis.port}", str(certificates.ca)
        message = await refused(opened(url, ssl_ca_certs=authority))
        assert "certificate is not valid for '127.1'" in message
        await use(opened(url, ssl_ca_certs=authority, ssl_check_hostname=False))

    @case
    async def test_a_clients_certificate(
        self, opened: Open, certificates: Certificates, tmp_path: Path
    ) -> None:
        """A server that wants to see a certificate takes ours, and nobody without."""
        authority = {"ssl_ca_certs": str(certificates.ca)}
        own = {
            "ssl_certfile": str(certificates.client),
            "ssl_keyfile": str(certificates.client_key),
        }
        must = "tls-auth-clients yes"
        with RedisServer(tmp_path / "strict", must, tls=certificates) as server:
            await use(opened(server.url, **authority, **own))
            await refused(opened(server.url, **authority))

    @case
    async def test_a_plain_client_at_a_tls_port(self, opened: Open, tls_redis: RedisServer) -> None:
        """Without TLS, a server that speaks nothing else is an outage."""
        store = opened(f"redis://{tls_redis.address}")
        assert tls_redis.address in await refused(store)


class TestReplicas:
    """`LOCATION` as a list: the first takes the writes, the others the reads."""

    @pytest.mark.parametrize("written", [list, ",".join, ";".join])
    @case
    async def test_the_first_writes_and_the_others_read(
        self,
        opened: Open,
        redis_server: RedisServer,
        replica: RedisServer,
        written: Callable[[list[str]], Any],
    ) -> None:
        """What is only on the replica is read; what is written is on the primary."""
        store = opened(written([redis_server.url, replica.url]))
        replica.command("SET", "there", "v")
        assert await store.get("there") == b"v"
        assert await store.get_many(["there"]) == {"there": b"v"}
        assert await store.has("there") is True
        assert await store.ttl("there") is None
        await store.set("k", b"1", None)
        assert await store.incr("k", 1) == 2
        assert await store.add("there", b"v", None) is True
        assert redis_server.command("GET", "k") == b"2"
        eventually(lambda: replica.command("GET", "k") == b"2", "the replica follows")
        assert await store.get("k") == b"2"
        assert await store.touch("k", 100.0) is True
        assert await store.delete("k") is True
        assert await store.delete_many(["there"]) == 1

    @case
    async def test_reads_are_spread(
        self, opened: Open, redis_server: RedisServer, replica: RedisServer, tmp_path: Path
    ) -> None:
        """Each replica takes some of the reads, and the primary none."""
        leader = f"replicaof {redis_server.host} {redis_server.port}"
        with RedisServer(tmp_path / "second", leader) as second:
            for server in (redis_server, replica, second):
                server.command("CONFIG", "RESETSTAT")
            store = opened([redis_server.url, replica.url, second.url])
            for _ in range(40):
                await store.get("k")
            assert [calls(server).get("get", 0) > 0 for server in (redis_server, replica)] == [
                False,
                True,
            ]
            assert calls(second)["get"] > 0
            assert calls(second)["get"] + calls(replica)["get"] == 40

    @case
    async def test_a_dead_replica_is_passed_over(
        self, face: Face, opened: Open, redis_server: RedisServer, replica: RedisServer
    ) -> None:
        """Without it the primary answers, at each read; when it is back, it reads again."""
        store = opened([redis_server.url, replica.url])
        await store.set("k", b"v", None)
        eventually(lambda: replica.command("GET", "k") == b"v", "the replica follows")
        replica.kill()
        assert [await store.get("k") for _ in range(200)] == [b"v"] * 200
        assert await store.get_many(["k"]) == {"k": b"v"}
        assert [each.breaker == "closed" for each in store.target.servers()] == [True, False]
        replica.start()
        replica.command("SET", "there", "v")
        await soon(face, lambda: gives(store, "there"), "the replica is asked again")

    @case
    async def test_one_dead_replica_of_two(
        self,
        face: Face,
        opened: Open,
        redis_server: RedisServer,
        replica: RedisServer,
        tmp_path: Path,
    ) -> None:
        """The other replica takes all reads, until the dead one is back."""
        leader = f"replicaof {redis_server.host} {redis_server.port}"
        with RedisServer(tmp_path / "second", leader, "replica-read-only no") as second:
            store = opened([redis_server.url, replica.url, second.url])
            for server in (replica, second):
                server.command("SET", "there", "v")
            second.kill()
            assert [await store.get("there") for _ in range(100)] == [b"v"] * 100
            second.start()
            second.command("CONFIG", "RESETSTAT")

            async def is_asked() -> bool:
                await store.get("there")
                return calls(second).get("get", 0) > 0

            await soon(face, is_asked, "the replica is asked again")


class TestSentinel:
    """A primary that sentinels name."""

    @case
    async def test_the_sentinels_name_the_primary(
        self, opened: Open, redis_sentinels: RedisSentinels
    ) -> None:
        """The service is named in OPTIONS; LOCATION is where its sentinels are."""
        store = opened(redis_sentinels.sentinel_urls, sentinel=redis_sentinels.service)
        await use(store)
        await store.set("k", b"v", None)
        assert redis_sentinels.primary.command("GET", "k") == b"v"
        assert [each.name for each in store.target.servers()] == [
            f"the primary of {redis_sentinels.service!r}"
        ]

    @case
    async def test_a_sentinel_that_is_gone_is_passed_over(
        self, opened: Open, redis_sentinels: RedisSentinels
    ) -> None:
        """One of those named is enough."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = f"redis://127.0.0.1:{taken.getsockname()[1]}"
        urls = [nobody, redis_sentinels.sentinel_urls[0]]
        await use(opened(urls, sentinel=redis_sentinels.service))

    @case
    async def test_silent_sentinels_are_passed_over(
        self, opened: Open, redis_sentinels: RedisSentinels
    ) -> None:
        """Two that accept and say nothing leave time, within the deadline, for the third."""
        with ExitStack() as stack:
            silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            urls = [f"redis://127.0.0.1:{each.getsockname()[1]}" for each in silent]
            store = opened(
                [*urls, redis_sentinels.sentinel_urls[0]], sentinel=redis_sentinels.service
            )
            assert await store.get("k") is None

    @case
    async def test_sentinels_behind_tls(
        self, opened: Open, fake: Play, tls_redis: RedisServer, certificates: Certificates
    ) -> None:
        """The certificates that are for the primary are for the sentinels too."""

        def answer(command: list[bytes]) -> bytes:
            address = tls_redis.host, tls_redis.port
            if command == [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"s"]:
                return packed(address)
            facts = ("name", "s", "ip", address[0], "port", address[1], "flags", "master")
            return b"*1\r\n" + packed((*facts, "num-other-sentinels", 0))

        sentinel = fake(answer, certificates)
        store = opened(sentinel.url, sentinel="s", ssl_ca_certs=str(certificates.ca))
        await use(store)
        assert "cannot be found" in await refused(opened(sentinel.url, sentinel="s"))

    @case
    async def test_a_service_that_no_sentinel_knows(
        self, opened: Open, redis_sentinels: RedisSentinels
    ) -> None:
        """The error names the service, who was asked, and the option."""
        urls = redis_sentinels.sentinel_urls
        message = await refused(opened(urls, sentinel="unknown"))
        assert "the primary of 'unknown' by the sentinels at" in message
        assert all(url.removeprefix("redis://") in message for url in urls)
        assert "OPTIONS['sentinel'] names it" in message
        assert len(message) < 400

    @case
    async def test_a_password_that_sentinels_do_not_want(
        self, opened: Open, redis_sentinels: RedisSentinels
    ) -> None:
        """A login that the sentinels refuse is told without it."""
        urls, service = redis_sentinels.sentinel_urls, redis_sentinels.service
        store = opened(urls, sentinel=service, sentinel_password=PASSWORD)
        assert "cannot be found" in await refused(store)


class TestCluster:
    """Servers that share the keys by slots."""

    @case
    async def test_keys_of_all_slots(self, opened: Open, redis_cluster: RedisCluster) -> None:
        """Operations on many keys go to every node, and come back as one."""
        store = opened(redis_cluster.urls[1], cluster=True)
        items = {f"k{n}": b"v%d" % n for n in range(2000)}
        assert await store.set_many(items, 100.0) == []
        shares = [node.command("DBSIZE") for node in redis_cluster.primaries]
        assert sum(shares) == 2000
        assert min(shares) > 400
        assert await store.get_many([*items, "missing"]) == items
        assert await store.delete_many([*list(items)[:1500], "missing"]) == 1500
        await store.clear("k1")
        left = {key for key in list(items)[1500:] if not key.startswith("k1")}
        assert set(await store.get_many(list(items))) == left
        await store.clear("")
        assert [node.command("DBSIZE") for node in redis_cluster.primaries] == [0, 0, 0]

    @case
    async def test_every_operation_finds_its_node(
        self, opened: Open, redis_cluster: RedisCluster
    ) -> None:
        """Whichever node a key belongs to, all can be done with it; each server is known."""
        store = opened(redis_cluster.urls, cluster=True)
        for n in range(30):
            await use(store, f"name{n}")
        assert {each.name for each in store.target.servers()} == {
            node.address for node in redis_cluster.nodes
        }

    @case
    async def test_the_nodes_work_side_by_side(self, opened: Open, fake: Play) -> None:
        """A call on many keys sends each node its part before it waits for any reply."""
        both = threading.Barrier(2, timeout=5.0)

        def node(command: list[bytes]) -> bytes:
            if command[0] == b"CLUSTER":
                return slots(first, second)
            both.wait()
            return b"$1\r\nv\r\n"

        first, second = fake(node), fake(node)
        store = opened(first.url, cluster=True, deadline=5.0)
        assert await store.get_many(["k", "l"]) == {"k": b"v", "l": b"v"}

    @case
    async def test_a_slot_that_nobody_served_is_looked_up_again(
        self, face: Face, opened: Open, fake: Play
    ) -> None:
        """A key without a node is an outage of that key, till the cluster has one for it."""

        def node(command: list[bytes]) -> bytes:
            if command[0] == b"CLUSTER":
                looks.append(command)
                return slots(server) if len(looks) > 1 else b"*0\r\n"
            return b"$1\r\nv\r\n"

        looks: list[list[bytes]] = []
        server = fake(node)
        store = opened(server.url, cluster=True)
        assert "no server tells the slots" in await refused(store)
        await soon(face, lambda: gives(store, "k"), "it answers")
        assert len(looks) == 2

    @case
    async def test_a_node_without_the_option(
        self, opened: Open, redis_cluster: RedisCluster
    ) -> None:
        """A plain client at a node of a cluster is told which option to set."""
        node = redis_cluster.primaries[0]
        foreign = one_of(redis_cluster, redis_cluster.primaries[1])
        store = opened(node.url)
        with pytest.raises(BackendUnavailable, match=r"set OPTIONS\['cluster'\] to True"):
            await store.get(foreign)
        with pytest.raises(BackendUnavailable, match=r"set OPTIONS\['cluster'\] to True"):
            await store.set(foreign, b"v", None)

    @case
    async def test_the_option_without_a_cluster(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A server that is in no cluster is told from one."""
        message = await refused(opened(redis_server.url, cluster=True))
        assert "OPTIONS['cluster'] is for servers in cluster mode" in message


def one_of(cluster: RedisCluster, node: Any) -> str:
    """Return a key that belongs to this node."""
    owners = node.owners()
    return next(f"k{n}" for n in range(1000) if owners[cluster.slot_of(f"k{n}")] == node.port)


class TestSettings:
    """Redis by settings."""

    @pytest.fixture(autouse=True)
    def _no_settings(self) -> Iterator[None]:
        with twofold.caches.override({"default": "memory://"}):
            yield

    @case
    async def test_an_alias_is_a_redis_by_settings_alone(
        self, face: Face, redis_server: RedisServer
    ) -> None:
        """Short name, dotted path and URL all lead to the store, with prefix and options."""
        location = {"LOCATION": redis_server.url, "KEY_PREFIX": "shop"}
        for settings in (
            {"BACKEND": "redis", **location},
            {"BACKEND": "twofold.backends.redis.RedisBackend", **location},
            f"{redis_server.url}?key_prefix=shop&deadline=2",
        ):
            twofold.configure({"default": settings})
            cache = face.view(twofold.caches["default"])
            assert await cache.set("k", {"a": (1, 2)}) is True
            assert await cache.get("k") == {"a": (1, 2)}
            assert keys_of(redis_server) == {b"shop:1:k"}
            await cache.clear()
            assert keys_of(redis_server) == set()
            await cache.close()

    @case
    async def test_a_cluster_by_its_url(self, face: Face, redis_cluster: RedisCluster) -> None:
        """Hosts with commas between them, and the options behind the question mark."""
        hosts = ",".join(node.address for node in redis_cluster.nodes)
        twofold.configure({"default": f"redis://{hosts}?cluster=true&key_prefix=x"})
        cache = face.view(twofold.caches["default"])
        items = {f"k{n}": n for n in range(100)}
        assert await cache.set_many(items) == []
        assert await cache.get_many(items) == items
        assert all(keys_of(node) for node in redis_cluster.primaries)
        await cache.close()

    @case
    async def test_a_prefix_or_the_whole_store(self, face: Face, redis_server: RedisServer) -> None:
        """`clear()` keeps to the prefix; told to flush it empties its database, and no other."""
        url = f"redis://{redis_server.address}"
        for db in (1, 2):
            ask(redis_server.socket_path, ("SELECT", db), ("SET", "foreign", "v"))
        for options, left in (({}, {b"foreign"}), ({"clear": "flush"}, set())):
            settings = {"BACKEND": "redis", "LOCATION": f"{url}/1", "OPTIONS": options}
            twofold.configure({"default": settings})
            cache = face.view(twofold.caches["default"])
            await cache.set("k", 1)
            await cache.clear()
            assert keys_of(redis_server, 1) == left
            assert keys_of(redis_server, 2) == {b"foreign"}
            await cache.close()

    def test_a_missing_driver_names_the_extra(self) -> None:
        """Where redis-py is not installed, the settings are refused, and say what to install."""
        code = (
            "import sys; sys.modules['redis'] = None\n"
            "import twofold\n"
            "twofold.configure({'default': {'BACKEND': 'twofold.backends.redis.RedisBackend'}})"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        message, more = run.stderr.splitlines()[-2:]
        assert message.startswith("twofold.errors.SettingsError: CACHES['def")
        assert message.endswith("pip install '.[redis]'")
        assert more.startswith("More: ")

    def test_it_works_without_hiredis(self, redis_server: RedisServer) -> None:
        """Where only redis-py is installed, both faces work."""
        code = (
            "import asyncio, sys; sys.modules['hiredis'] = None\n"
            "from twofold.backends.redis import RedisBackend, replies\n"
            "assert replies.hiredis is None\n"
            f"store = RedisBackend({redis_server.url!r})\n"
            "assert store.set('k', b'v', None) and asyncio.run(store.aget('k')) == b'v'"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr

    @pytest.mark.parametrize(
        "location", ["redis://u:hidden@h:1", ["redis://:hidden@h", "unix:///r"]]
    )
    def test_the_repr_shows_servers_and_no_password(self, location: Any) -> None:
        """Each server is shown with the state of its breaker."""
        shown = repr(RedisBackend(location, password="hidden"))
        assert "hidden" not in shown
        assert "breaker closed" in shown
        assert ":***@h" in shown


class TestValues:
    """Keys, values and lives as the server and other programs see them."""

    @pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 5_000_000])
    @case
    async def test_values_of_any_size(
        self, opened: Open, redis_server: RedisServer, size: int
    ) -> None:
        """From nothing to 5 MB, each operation gives and takes the very bytes."""
        value, other = os.urandom(size), b"\r\n$-1\r\n" + os.urandom(size)
        store = opened(redis_server.url, deadline=10.0)
        assert await store.set("k", value, None) is True
        assert redis_server.command("GET", "k") == value
        assert await store.get("k") == value
        assert await store.has("k") is True
        assert await store.ttl("k") is None
        assert await store.set_many({"l": other, "m": value}, None) == []
        assert await store.get_many(["k", "l", "m"]) == {"k": value, "l": other, "m": value}
        assert await store.add("n", value, 100.0) is True
        assert await store.compare_and_set("n", other, b"", None) is False
        assert await store.compare_and_set("n", value, other, 100.0) is True
        assert await store.get("n") == other
        assert await store.compare_and_delete("n", other) is True
        assert await store.delete("k") is True
        assert await store.get("k") is None

    @case
    async def test_lives_of_less_than_a_second(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """A life is kept to the millisecond, whichever operation gives it."""
        store = opened(redis_server.url)
        await store.set("set", b"v", 0.9)
        await store.set_many({"many": b"v"}, 0.9)
        await store.add("add", b"v", 0.9)
        await store.set("touch", b"v", None)
        await store.touch("touch", 0.9)
        await store.set("swap", b"v", None)
        await store.compare_and_set("swap", b"v", b"w", 0.9)
        for key in ("set", "many", "add", "touch", "swap"):
            assert redis_server.command("PTTL", key) in (-2, *range(901))  # -2: it has ended
            assert 0.0 <= await store.ttl(key) <= 0.9
        await store.set("k", b"v", 0.05)
        eventually(lambda: redis_server.command("EXISTS", "k") == 0, "it ends", 1.0)

    @case
    async def test_counters_are_bare_digits(
        self, opened: Open, face: Face, redis_server: RedisServer
    ) -> None:
        """Other programs read and change them, to the last of 64 bits."""
        store = opened(redis_server.url)
        cache = face.view(twofold.registry.build(read_alias(redis_server.url)))
        await cache.set("n", 5, None)
        assert redis_server.command("GET", ":1:n") == b"5"
        assert redis_server.command("INCRBY", ":1:n", 2**62) == 2**62 + 5
        assert await cache.get("n") == 2**62 + 5
        assert await cache.incr("n", 2**62 - 6) == 2**63 - 1
        assert redis_server.command("GET", ":1:n") == b"9223372036854775807"
        with pytest.raises(CounterOverflow):
            await store.incr(":1:n", 1)
        assert await cache.decr("n", 2**63 - 1) == 0
        assert await cache.decr("n", 2**63 - 1) == -(2**63 - 1)
        assert redis_server.command("GET", ":1:n") == b"-9223372036854775807"
        await cache.close()

    @case
    async def test_a_value_of_another_type(self, opened: Open, redis_server: RedisServer) -> None:
        """What another program keeps under the key is a miss, no counter, and may be replaced."""
        store = opened(redis_server.url)
        redis_server.command("RPUSH", "k", "x")
        await store.set("l", b"v", None)
        assert await store.get("k") is None
        assert await store.get_many(["k", "l"]) == {"l": b"v"}
        assert await store.add("k", b"v", None) is False
        with pytest.raises(NotACounter):
            await store.incr("k", 1)
        assert await store.compare_and_set("k", b"x", b"v", None) is False
        assert await store.compare_and_delete("k", b"x") is False
        assert redis_server.command("LRANGE", "k", 0, -1) == [b"x"]
        assert await store.set("k", b"v", None) is True
        assert await store.get("k") == b"v"

    @case
    async def test_clear_takes_its_prefix_in_batches(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """Of thousands of keys those with the prefix go, however it is spelt, without a flush."""
        store = opened(redis_server.url)
        prefix = "a*?[b]\\^-c:"
        inside = {f"{prefix}{n}": b"v" for n in range(6000)}
        outside = {f"aXXbc:{n}": b"v" for n in range(3000)} | {prefix[:-1]: b"v"}
        await store.set_many(inside | outside, None)
        redis_server.command("CONFIG", "RESETSTAT")
        await store.clear(prefix)
        assert keys_of(redis_server) == {key.encode() for key in outside}
        count = calls(redis_server)
        assert 5 <= count["unlink"] <= count["scan"] <= 20
        assert "flushdb" not in count
        assert "flushall" not in count

    @pytest.mark.parametrize("name", [b"p:\xff\0\r\n", "p:é".encode(), b"p: ", b"p:" + b"x" * 9999])
    @case
    async def test_clear_takes_foreign_keys_too(
        self, opened: Open, redis_server: RedisServer, redis_cluster: RedisCluster, name: bytes
    ) -> None:
        """A key that another program put under the prefix goes, whatever bytes it has."""
        redis_server.command("SET", name, "v")
        node = redis_cluster.node_of(redis_cluster.slot_of(name))
        node.command("SET", name, "v")
        for server, store in (
            (redis_server, opened(redis_server.url)),
            (node, opened(redis_cluster.urls, cluster=True)),
        ):
            await store.set("p:k", b"v", None)
            await store.clear("p:")
            assert keys_of(server) == set()
            assert await store.get("p:k") is None


def read_alias(url: str) -> Any:
    """Return the configuration of an alias for a server."""
    return twofold.settings.read_cache("default", {"BACKEND": "redis", "LOCATION": url})


class TestRoundTrips:
    """How often the server is asked."""

    @case
    async def test_many_keys_are_one_command(self, opened: Open, redis_server: RedisServer) -> None:
        """`get_many` and `delete_many` are one command each, for as many keys as there are."""
        store = opened(redis_server.url)
        keys = [f"k{n}" for n in range(100)]
        await store.set_many(dict.fromkeys(keys, b"v"), None)
        redis_server.command("CONFIG", "RESETSTAT")
        await store.get_many(keys)
        await store.delete_many(keys)
        count = calls(redis_server)
        assert (count["mget"], count["evalsha"]) == (1, 1)
        assert not count.keys() & {"get", "del"}

    @case
    async def test_set_and_delete_is_one_command(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """One server does both, in this order, before anything else."""
        store = opened(redis_server.url)
        await store.set_and_delete("k", b"v", ["a"])
        redis_server.command("CONFIG", "RESETSTAT")
        await store.set_and_delete("k", b"v", ["a", "b"])
        count = calls(redis_server)
        assert (count["evalsha"], count["set"], count["unlink"]) == (1, 1, 3)  # "k" goes first

    @case
    async def test_many_sets_are_one_round_trip(self, opened: Open, fake: Play) -> None:
        """`set_many` waits for no reply before it has sent everything."""

        def answer(command: list[bytes]) -> bytes:
            came.append(command)
            return b"+OK\r\n" * 100 if len(came) == 100 else b""

        came: list[list[bytes]] = []
        store = opened(fake(answer).url)
        assert await store.set_many({f"k{n}": b"v" for n in range(100)}, None) == []
        assert came == [[b"SET", b"k%d" % n, b"v"] for n in range(100)]

    @case
    async def test_single_operations_are_one_command(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """Each operation on one key is one command; scripts go by their digest."""
        store = opened(redis_server.url)
        await use(store)
        redis_server.command("CONFIG", "RESETSTAT")
        await store.set("k", b"1", 100.0)
        await store.get("k")
        await store.add("k", b"1", None)
        await store.touch("k", 100.0)
        await store.ttl("k")
        await store.has("k")
        await store.incr("k", 1)
        await store.compare_and_set("k", b"2", b"3", None)
        await store.delete("k")
        count = {name: n for name, n in calls(redis_server).items() if n}
        sent = {"get", "set", "evalsha"}
        adds = redis_server.knows_nx_get  # else a script does
        inside = {"get": 2, "set": 1 if adds else 2}  # of these, within the scripts
        assert {name: count[name] - inside.get(name, 0) for name in sent} == {
            "get": 1,
            "set": 2 if adds else 1,
            "evalsha": 6 if adds else 7,
        }

    @case
    async def test_a_server_that_has_forgotten_the_scripts(
        self, opened: Open, redis_server: RedisServer
    ) -> None:
        """After SCRIPT FLUSH the text is sent, and each addition is done once."""
        store = opened(redis_server.url)
        await store.set("n", b"0", None)
        for n in range(1, 6):
            redis_server.command("SCRIPT", "FLUSH")
            assert await store.incr("n", 1) == n
        redis_server.command("SCRIPT", "FLUSH")
        assert await store.compare_and_set("n", b"5", b"6", None) is True
        redis_server.command("SCRIPT", "FLUSH")
        assert await store.compare_and_delete("n", b"6") is True
        redis_server.command("SCRIPT", "FLUSH")
        with pytest.raises(MissingKey):
            await store.incr("n", 1)


class TestRefusals:
    """What a server says no to."""

    @case
    async def test_a_full_server(self, face: Face, own_redis: RedisServer) -> None:
        """What finds no memory is not stored, and said so; what is there can be read."""
        cache = face.view(twofold.registry.build(read_alias(own_redis.url)))
        store = face.view(cache.target.backend)
        await store.set_many({"k": b"v", "n": b"1"}, None)
        await store.incr("n", 1)
        own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        own_redis.command("CONFIG", "SET", "maxmemory", "1")  # 6.2 sets one at a time
        assert await store.set("k", b"w", None) is False
        assert await store.set_many({"k": b"w", "l": b"w"}, 100.0) == ["k", "l"]
        for write in (
            store.add("l", b"v", None),
            store.compare_and_set("k", b"v", b"w", None),
            store.compare_and_set("k", b"v", b"w", 100.0),
            store.incr("n", 1),
        ):
            with pytest.raises(BackendUnavailable, match="refused: OOM"):
                await write
        assert await store.get("k") == b"v"
        assert await store.get_many(["k", "l", "n"]) == {"k": b"v", "n": b"2"}
        assert await cache.get_or_set("computed", lambda: 7) == 7
        assert await cache.set("k", 1) is False
        assert await store.compare_and_delete("k", b"v") is True
        await store.set_and_delete("k", b"w", ["n"])
        assert await store.get("n") is None  # and "k" is stored, for a script that has freed some
        assert await store.get("k") in (None, b"w")
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        assert await store.set("k", b"w", None) is True
        assert [each.breaker for each in cache.target.stats().servers] == ["closed"]
        await cache.close()

    @case
    async def test_a_primary_that_became_a_replica(
        self, opened: Open, own_redis: RedisServer, proxied: Callable[[Server], Proxy]
    ) -> None:
        """Writes are refused with a hint, on a new connection too; once it leads, all is well."""
        proxy = proxied(own_redis)
        store = opened(proxy.url)
        await use(store)
        await store.set("n", b"1", None)
        own_redis.command("REPLICAOF", own_redis.host, "1")
        before = proxy.accepted
        for write in (
            store.set("k", b"v", None),
            store.set_many({"k": b"v"}, None),
            store.add("k", b"v", None),
            store.touch("n", 1.0),
            store.delete("n"),
            store.set_and_delete("k", b"v", ["n"]),
            store.incr("n", 1),
            store.compare_and_delete("n", b"1"),
        ):
            with pytest.raises(BackendUnavailable, match=r"READONLY.*a replica where a primary"):
                await write
            assert proxy.accepted > before
            before = proxy.accepted
        assert await store.get("n") == b"1"
        own_redis.command("REPLICAOF", "NO", "ONE")
        assert await store.incr("n", 1) == 2

    @pytest.mark.parametrize("said", ["LOADING Redis is loading", "MASTERDOWN Link is down"])
    @case
    async def test_a_server_that_is_not_ready(
        self, face: Face, opened: Open, fake: Play, said: str
    ) -> None:
        """Its circuit breaker opens, and a little later it is asked again."""

        def answer(command: list[bytes]) -> bytes:
            asked.append(command)
            return b"-%b\r\n" % said.encode() if len(asked) == 1 else b"$1\r\nv\r\n"

        asked: list[list[bytes]] = []
        store = opened(fake(answer).url)
        assert said in await refused(store)
        assert "circuit breaker open" in await refused(store)
        assert len(asked) == 1
        await soon(face, lambda: gives(store, "k"), "it answers")
        assert [each.breaker for each in store.target.servers()] == ["closed"]

    @pytest.mark.parametrize(
        "reply", [b"HTTP/1.1 400 Bad Request\r\n", b":one\r\n", b"\0" * 100 + b"\r\n"]
    )
    @case
    async def test_what_is_no_reply(self, opened: Open, fake: Play, reply: bytes) -> None:
        """A server of another kind is an outage, at each call and for each waiter."""
        store = opened(fake(lambda command: reply).url)
        await refused(store)
        with pytest.raises(BackendUnavailable):
            await store.set_many({"k": b"v", "l": b"v"}, None)

    @pytest.mark.parametrize("reply", [b"-ERR unknown command\r\n", b"-NOPERM no\r\n"])
    @case
    async def test_any_other_refusal(self, opened: Open, fake: Play, reply: bytes) -> None:
        """Whatever a server refuses for whatever reason is `BackendUnavailable` with its words."""
        store = opened(fake(lambda command: reply).url)
        words = reply[1:-2].decode()
        for call in (
            store.get("k"),
            store.set("k", b"v", None),
            store.get_many(["k"]),
            store.set_many({"k": b"v"}, None),
            store.add("k", b"v", None),
            store.touch("k", None),
            store.ttl("k"),
            store.delete("k"),
            store.delete_many(["k"]),
            store.has("k"),
            store.incr("k", 1),
            store.compare_and_set("k", b"v", b"w", None),
            store.compare_and_delete("k", b"v"),
            store.clear("k"),
            store.clear(""),
            store.examine(),
        ):
            with pytest.raises(BackendUnavailable, match=f"refused: {words}"):
                await call


class TestConnections:
    """How they end."""

    @case
    async def test_a_close_from_outside_the_loop(
        self, face: Face, redis_server: RedisServer
    ) -> None:
        """A `close` between two runs of a loop harms no call of the next, and leaves nothing."""
        store = RedisBackend(redis_server.url)
        store.set("k", b"v", None) if not face.is_async else await store.aset("k", b"v", None)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(in_one_loop, store).result()
        store.close()


def in_one_loop(store: RedisBackend) -> None:
    """Use a store in a loop that stands still while it is closed."""
    with asyncio.Runner() as runner:
        for _ in range(5):
            assert runner.run(store.aget("k")) == b"v"
            store.close()
            gc.collect()
        assert [runner.run(store.aget("k")) for _ in range(20)] == [b"v"] * 20
        store.close()


class Listener(asyncio.Protocol):
    """Resolves a future by the first bytes that come."""

    def __init__(self, answered: "asyncio.Future[bytes]") -> None:
        self.answered = answered

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(data)


@pytest.fixture(scope="module")
def _uvloop_was_used() -> None:
    """Have uvloop make the pipe that it keeps for the rest of the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.mark.usefixtures("_uvloop_was_used")
@pytest.mark.parametrize("deployment", ["single", "tls", "unix"])
def test_uvloop(redis_server: RedisServer, tls_redis: RedisServer, deployment: str) -> None:
    """The async face works on uvloop too, over each transport."""
    store = {
        "single": lambda: RedisBackend(redis_server.url),
        "tls": lambda: RedisBackend(tls_redis.url, ssl_cert_reqs="none"),
        "unix": lambda: RedisBackend(f"unix://{redis_server.socket_path}"),
    }[deployment]()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use(FACES[1].view(store)))
        runner.run(use(FACES[1].view(store)))
    store.close()


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("redis://h/3", {"cluster": True}, "a cluster has no database 3"),
        ("redis://h", {"cluster": True, "db": 3}, "a cluster has no database 3"),
        ("redis://h", {"cluster": True, "sentinel": "s"}, "OPTIONS['sentinel'] do not go"),
        ("unix:///r.sock", {"cluster": True}, "OPTIONS['cluster'] and a Unix socket in LOCATION"),
        ("unix:///r.sock", {"sentinel": "s"}, "OPTIONS['sentinel'] and a Unix socket in LOCATION"),
        ("redis://h", {"cluster": "yes"}, "OPTIONS['cluster'] is True or False, not 'yes'"),
        ("redis://h", {"deadline": 0}, "OPTIONS['deadline'] is the seconds"),
        ("redis://h", {"db": -1}, "OPTIONS['db'] is the number of a database"),
        ("redis://h", {"password": 5}, "OPTIONS['password'] is text, not a int"),
        ("redis://h", {"ssl_cert_reqs": "optional"}, "'ssl_cert_reqs'] is 'required' or 'none'"),
        ("redis://h", {"ssl_check_hostname": 1}, "'ssl_check_hostname'] is True or False, not 1"),
        ("redis://h:70000", {}, "has no port '70000'"),
        ("redis://h/x", {}, "has no database 'x'"),
        ("h:6379", {}, "is no URL of a Redis server"),
    ],
)
def test_what_cannot_be_is_refused(location: str, options: dict[str, Any], message: str) -> None:
    """Settings that contradict each other, or make no sense, name themselves."""
    with pytest.raises(SettingsError) as caught:
        RedisBackend(location, **options)
    assert message in str(caught.value)
