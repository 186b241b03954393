"""The fault harness does what it says: each control of a server and of the proxy."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from tests.chaos import (
    Certificates,
    CommandFailed,
    MemcachedServer,
    Proxy,
    RedisCluster,
    RedisSentinels,
    RedisServer,
    Server,
    ServerDidNotStart,
    SlotMove,
    Stalls,
    eventually,
    running,
)
from tests.chaos.processes import free_port
from tests.chaos.resp import packed
from tests.opcodes import follow, trace

ROOT = Path(__file__).parent.parent
PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"
INCR = packed(("INCR", "n"))


@contextmanager
def connected(to: Server | Proxy, timeout: float = 5.0) -> Iterator[socket.socket]:
    """Connect to a server or a proxy."""
    with socket.create_connection((to.host, to.port), timeout) as connection:
        yield connection


def asked(connection: socket.socket, command: bytes = PING) -> bytes:
    """Send a command and return the first part of what comes back."""
    connection.sendall(command)
    return connection.recv(65536)


def all_of(connection: socket.socket) -> bytes:
    """Return what comes until the end of the stream."""
    with connection.makefile("rb") as stream:
        return stream.read()


def assert_silent(connection: socket.socket) -> None:
    """Check that nothing comes, and that the connection stays open."""
    connection.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(5.0)


# Servers


def test_a_server_answers_while_it_runs(own_redis: RedisServer) -> None:
    """A started server answers at its address; a stopped one refuses, and is no process."""
    pid = own_redis.pid
    with connected(own_redis) as connection:
        assert asked(connection) == PONG
        assert own_redis.alive
        own_redis.stop()
        assert connection.recv(1) == b""
    assert not own_redis.alive
    assert not psutil.pid_exists(pid)
    with pytest.raises(ConnectionRefusedError), connected(own_redis):
        pass


def test_a_restarted_server_is_another_process_on_the_same_port(own_redis: RedisServer) -> None:
    """`restart` and `start` keep the port; nothing is kept of the data."""
    port, pid = own_redis.port, own_redis.pid
    own_redis.command("SET", "k", "v")
    own_redis.restart()
    own_redis.kill()
    own_redis.start()
    assert own_redis.port == port
    assert own_redis.pid != pid
    assert own_redis.command("GET", "k") is None
    with pytest.raises(AssertionError, match="runs already"):
        own_redis.start()


@pytest.mark.parametrize("end", [Server.stop, Server.kill], ids=["stop", "kill"])
def test_a_frozen_server_says_nothing(
    end: Callable[[Server], None], own_redis: RedisServer
) -> None:
    """A frozen server keeps its connections silent till it thaws, and can be ended."""
    with connected(own_redis) as connection:
        own_redis.freeze()
        connection.sendall(PING)
        assert_silent(connection)
        own_redis.thaw()
        assert connection.recv(100) == PONG
        own_redis.freeze()
        end(own_redis)
        assert connection.recv(1) == b""
    assert not own_redis.alive
    with pytest.raises(ProcessLookupError):
        own_redis.freeze()


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    """What the server said against its configuration is in the error; no process is left."""
    server = RedisServer(tmp_path, "no-such-setting 1")
    with pytest.raises(ServerDidNotStart, match="no-such-setting 1"):
        server.start()
    assert not server.alive


def test_a_port_that_is_taken_is_not_insisted_on(
    monkeypatch: pytest.MonkeyPatch, own_redis: RedisServer, tmp_path: Path
) -> None:
    """A server whose port was taken in the last moment tries another one."""
    ports = iter([own_redis.port, own_redis.port, free_port()])
    monkeypatch.setattr("tests.chaos.servers.free_port", lambda: next(ports))
    with RedisServer(tmp_path / "other") as other:
        assert other.port != own_redis.port
        assert other.command("PING") == "PONG"


def test_a_missing_program_is_no_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the server's program the error says how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for server in (RedisServer(tmp_path / "r"), MemcachedServer(tmp_path / "m")):
        with pytest.raises(ServerDidNotStart, match="apt-get install redis-server memcached"):
            server.start()


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """A run that is killed leaves no server behind."""
    code = """
        import os, signal, sys
        from pathlib import Path
        from tests.chaos import MemcachedServer, RedisServer
        folder = Path(sys.argv[1])
        servers = [RedisServer(folder / "r").start(), MemcachedServer(folder / "m").start()]
        servers[1].freeze()
        print(*(server.pid for server in servers), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    ran = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    pids = [int(pid) for pid in ran.stdout.split()]
    assert len(pids) == 2
    eventually(lambda: not any(map(_runs, pids)), "the servers are gone")


def _runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for `init` to notice."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_commands_and_configuration(tmp_path: Path) -> None:
    """Lines, password and users reach the server; replies come in the types of the protocol."""
    users = ("alice on >secret ~a:* &* +@all",)
    with RedisServer(tmp_path, "maxmemory 3mb", password="pw", users=users) as server:
        assert server.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"3145728"]
        assert server.command("SET", "k", b"\xff") == "OK"
        assert server.command("GET", "k") == b"\xff"
        assert server.command("INCR", "n") == 1
        assert server.info("memory")["maxmemory"] == "3145728"
        with pytest.raises(CommandFailed, match="WRONGTYPE"):
            server.command("LPUSH", "k", 1)
        assert server.url == f"redis://:pw@{server.address}/0"
        with connected(server) as connection:
            assert asked(connection).startswith(b"-NOAUTH")
            assert asked(connection, packed(("AUTH", "alice", "secret"))) == b"+OK\r\n"
            assert asked(connection, packed(("GET", "k"))).startswith(b"-NOPERM")
        server.flush()
        assert server.command("GET", "k") is None


def test_a_server_behind_tls(tls_redis: RedisServer, certificates: Certificates) -> None:
    """The authority vouches for the server; a client may show a certificate."""
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client, certificates.client_key)
    assert tls_redis.url.startswith("rediss://")
    with (
        connected(tls_redis) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as t,
    ):
        assert asked(t) == PONG


def test_a_memcached(own_memcached: MemcachedServer) -> None:
    """Memcached answers lines, is frozen and starts again like any server."""
    assert own_memcached.command(b"set k 0 0 1\r\nv\r\n") == b"STORED\r\n"
    assert own_memcached.command(b"get k\r\n") == b"VALUE k 0 1\r\nv\r\nEND\r\n"
    with connected(own_memcached) as connection:
        own_memcached.freeze()
        connection.sendall(b"version\r\n")
        assert_silent(connection)
        own_memcached.thaw()
        assert connection.recv(100).startswith(b"VERSION")
    own_memcached.restart()
    assert own_memcached.command(b"get k\r\n") == b"END\r\n"


@pytest.mark.parametrize("n", [1, 2])
def test_the_shared_servers_are_given_out_empty(
    n: int, redis_server: RedisServer, memcached_server: MemcachedServer
) -> None:
    """No test sees another one's keys."""
    assert redis_server.command("DBSIZE") == 0
    assert memcached_server.command(b"get k\r\n") == b"END\r\n"
    redis_server.command("SET", "k", "v")
    memcached_server.command(b"set k 0 0 1\r\nv\r\n")


# Cluster and sentinels


def test_a_slot_moves_step_by_step(redis_cluster: RedisCluster) -> None:
    """While a slot moves its source answers ASK for what is gone, and MOVED in the end."""
    slot = redis_cluster.slot_of("k")
    source = redis_cluster.node_of(slot)
    target = next(node for node in redis_cluster.nodes if node is not source)
    source.command("MSET", "{k}1", 1, "{k}2", 2)
    move = SlotMove(redis_cluster, slot, target)
    move.begin()
    assert source.command("GET", "{k}1") == b"1"
    with pytest.raises(CommandFailed, match=f"ASK {slot} {target.address}"):
        source.command("GET", "{k}3")
    assert move.carry(1) == 1
    with pytest.raises(CommandFailed, match="TRYAGAIN"):
        source.command("MGET", "{k}1", "{k}2")
    assert move.carry() == 1
    move.end()
    with pytest.raises(CommandFailed, match=f"MOVED {slot} {target.address}"):
        source.command("GET", "{k}1")
    assert target.command("MGET", "{k}1", "{k}2") == [b"1", b"2"]
    redis_cluster.move_slot(slot, source)
    assert source.command("GET", "{k}1") == b"1"


def test_a_replica_takes_the_place_of_a_killed_node(own_cluster: RedisCluster) -> None:
    """When a primary is killed, its replica has the slots; the old one comes back as replica."""
    slot = own_cluster.slot_of("k")
    old = own_cluster.node_of(slot)
    old.kill()
    own_cluster.await_agreement()
    new = own_cluster.node_of(slot)
    assert new is not old
    assert new.command("SET", "k", "v") == "OK"
    old.start()
    own_cluster.await_agreement()
    eventually(lambda: old.role == "slave", f"{old} is a replica")
    assert len(own_cluster.primaries) == 3


def test_sentinels_exchange_primary_and_replica(redis_sentinels: RedisSentinels) -> None:
    """An ordered failover makes the replica the primary, with what was written till then."""
    first, second = redis_sentinels.primary, redis_sentinels.replica
    first.command("SET", "k", "v")
    assert first.is_replicated()
    redis_sentinels.failover()
    assert (redis_sentinels.primary, redis_sentinels.replica) == (second, first)
    assert second.command("GET", "k") == b"v"
    assert len(redis_sentinels.sentinel_urls) == len(redis_sentinels.addresses) == 3


@pytest.mark.heavy
@pytest.mark.parametrize("harm", [Server.kill, Server.freeze], ids=["killed", "frozen"])
def test_sentinels_replace_a_primary(
    harm: Callable[[Server], None], own_sentinels: RedisSentinels
) -> None:
    """A primary that is gone is replaced, comes back as a replica, and can be primary again."""
    old = own_sentinels.primary
    for _ in range(2):
        harm(own_sentinels.primary)
        own_sentinels.await_failover(own_sentinels.primary)
        own_sentinels.replica.restart()
        own_sentinels.await_settled()
    assert own_sentinels.primary is old


# The proxy


def test_a_proxy_passes_and_counts(proxy: Proxy) -> None:
    """A proxy that was told nothing passes all, and counts it."""
    with connected(proxy) as one, connected(proxy) as two:
        assert asked(one) == asked(two) == PONG
        assert (proxy.accepted, proxy.connections) == (2, 2)
        assert (proxy.requested, proxy.replied) == (2 * len(PING), 2 * len(PONG))
    eventually(lambda: proxy.connections == 0, "the proxy sees the clients gone")


def test_a_large_value_passes_whole(proxy: Proxy, redis_server: RedisServer) -> None:
    """More than the buffers hold passes in both directions."""
    value = os.urandom(5_000_000)
    with connected(proxy) as connection, connection.makefile("rb") as replies:
        connection.sendall(packed(("SET", "k", value)))
        assert replies.readline() == b"+OK\r\n"
        connection.sendall(packed(("GET", "k")))
        assert replies.readline() == b"$5000000\r\n"
        assert replies.read(5_000_000) == value


def test_a_delay_holds_each_way(proxy: Proxy, stalls: Stalls) -> None:
    """A request and its reply each wait for the delay, be it fixed or random."""
    with connected(proxy) as connection:

        def took() -> float:
            before = time.monotonic()
            assert asked(connection) == PONG
            return time.monotonic() - before

        for delay in (0.03, (0.03, 0.05)):
            proxy.delay = delay
            assert 0.06 <= took() < 1.0 + stalls.longest
        proxy.heal()
        eventually(lambda: took() < 0.05, "no delay")


def test_chunks_arrive_one_by_one(proxy: Proxy) -> None:
    """What passes is sent in pieces, so that a reader sees a reply in parts."""
    proxy.chunk = 3
    with connected(proxy) as connection:
        for _ in range(20):
            connection.sendall(packed(("ECHO", "x" * 300)))
            parts = []
            while sum(map(len, parts)) < 308:
                parts.append(connection.recv(65536))
            if len(parts) > 2:
                break
        assert len(parts) > 2
        assert b"".join(parts) == b"$300\r\n" + b"x" * 300 + b"\r\n"


@pytest.mark.parametrize("n", [1, 3, len(PONG)])
def test_a_reply_is_cut_once(n: int, proxy: Proxy) -> None:
    """After so many bytes of replies the connection ends, and the next one is whole."""
    with connected(proxy) as connection:
        assert asked(connection) == PONG
        proxy.cut_after(n)
        connection.sendall(PING)
        assert all_of(connection) == PONG[:n]
    with connected(proxy) as connection:
        assert asked(connection) == asked(connection) == PONG


def test_a_cut_counts_over_replies(proxy: Proxy) -> None:
    """The bytes before a cut may be those of several replies."""
    proxy.cut_after(len(PONG) + 2)
    with connected(proxy) as connection:
        assert asked(connection) == PONG
        connection.sendall(PING)
        assert all_of(connection) == PONG[:2]


def test_a_lost_reply_was_executed(proxy: Proxy, redis_server: RedisServer) -> None:
    """The server does what is asked, and its reply is lost with the connection; once."""
    with connected(proxy) as connection:
        proxy.lose_reply()
        connection.sendall(INCR)
        assert all_of(connection) == b""
    assert redis_server.command("GET", "n") == b"1"
    with connected(proxy) as connection:
        assert asked(connection, INCR) == b":2\r\n"


def test_connections_are_reset(proxy: Proxy) -> None:
    """A reset is seen by every open connection, and by no later one."""
    with connected(proxy) as one, connected(proxy) as two:
        assert asked(one) == asked(two) == PONG
        proxy.reset()
        for connection in (one, two):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert proxy.connections == 0
    with connected(proxy) as connection:
        assert asked(connection) == PONG


def test_connections_are_closed(proxy: Proxy) -> None:
    """Killing all is seen as the end of the stream."""
    with connected(proxy) as one, connected(proxy) as two:
        assert asked(one) == asked(two) == PONG
        proxy.kill_all()
        assert one.recv(1) == two.recv(1) == b""


def test_a_black_hole_holds_what_passes(proxy: Proxy, redis_server: RedisServer) -> None:
    """In a black hole connections stand and nothing passes; when it closes, all comes late."""
    with connected(proxy) as old:
        assert asked(old) == PONG
        proxy.black_hole()
        with connected(proxy) as new:
            for connection in (old, new):
                connection.sendall(INCR)
                assert_silent(connection)
            assert redis_server.command("GET", "n") is None
            proxy.black_hole(False)
            assert {old.recv(100), new.recv(100)} == {b":1\r\n", b":2\r\n"}


def test_a_reset_empties_a_black_hole(proxy: Proxy, redis_server: RedisServer) -> None:
    """What was lost in the hole before a reset never arrives."""
    with connected(proxy) as connection:
        assert asked(connection) == PONG
        proxy.black_hole()
        connection.sendall(INCR)
        assert_silent(connection)
        proxy.reset()
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connected(proxy) as connection:
        assert asked(connection, INCR) == b":1\r\n"


def test_a_refusing_proxy_keeps_its_port(proxy: Proxy) -> None:
    """Connecting is refused until it is allowed, at the same port; open connections stay."""
    port = proxy.port
    with connected(proxy) as old:
        for _ in range(3):
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError), connected(proxy):
                pass
            assert asked(old) == PONG
            proxy.refuse(False)
            with connected(proxy) as new:
                assert asked(new) == PONG
    assert proxy.port == port


def test_a_proxy_to_a_server_that_is_down(
    proxied: Callable[[Server], Proxy], own_redis: RedisServer
) -> None:
    """A client is disconnected when the target dies or is down, and served when it is back."""
    proxy = proxied(own_redis)
    with connected(proxy) as connection:
        assert asked(connection) == PONG
        own_redis.kill()
        assert connection.recv(1) == b""
    with connected(proxy) as connection:
        assert connection.recv(1) == b""
    own_redis.start()
    with connected(proxy) as connection:
        assert asked(connection) == PONG


async def test_a_proxy_works_while_the_loop_is_blocked(proxy: Proxy) -> None:
    """The proxy passes, and is controlled, from inside a loop that does nothing else."""
    with connected(proxy) as connection:
        assert asked(connection) == PONG
        proxy.kill_all()
        assert connection.recv(1) == b""
    assert "connections=0" in repr(proxy)


def test_a_proxy_ends_with_connections_open(redis_server: RedisServer) -> None:
    """Leaving a proxy closes what is open, wherever it waits, and ends its thread."""
    with Proxy(redis_server.host, redis_server.port) as proxy:
        proxy.black_hole()
        held, idle = (socket.create_connection((proxy.host, proxy.port), 5) for _ in range(2))
        held.sendall(PING)
        eventually(lambda: proxy.connections == 2, "the connections are there")
    with held, idle:
        assert all_of(held) == all_of(idle) == b""
    assert not any(each.name == "chaos-proxy" for each in threading.enumerate())


# Stalls


def test_what_the_machine_withholds_is_measured(stalls: Stalls) -> None:
    """Of a thread that works, too, while another process takes turns with it."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        with running("-c", "print(flush=True)\nwhile True: pass") as rival:
            assert rival.stdout is not None
            assert rival.stdout.readline() == "\n"
            began, worked = time.monotonic(), time.thread_time()
            while time.thread_time() < worked + 0.05:
                pass
            withheld = time.monotonic() - began - 0.05
    finally:
        os.sched_setaffinity(0, processors)
    assert stalls.longest > 0.8 * min(withheld, 1.0) > 0.01


# Leaks


def test_a_leak_fails_its_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test leaves behind is an error of that test, which says what it is."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    pytester.makeconftest("from tests.chaos import leaks; leaks._PATIENCE = 0.05")
    pytester.makepyfile(
        """
        import asyncio, socket, threading
        kept, event = [], threading.Event()

        def test_thread(no_leaks):
            threading.Thread(target=event.wait, daemon=True, name="stray").start()

        def test_descriptor(no_leaks):
            kept.append(socket.create_server(("127.0.0.1", 0)))

        async def test_task(no_leaks):
            kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))

        async def test_clean(no_leaks):
            await asyncio.to_thread(bool)
        """
    )
    ran = pytester.runpytest_subprocess(
        "-p", "tests.chaos.fixtures", "-p", "no:randomly", "--asyncio-mode=auto"
    )
    ran.assert_outcomes(passed=4, errors=3)
    ran.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_thread*",
            "*Leak: 1 left behind by the test:*",
            "*  thread 'stray'*",
            "*ERROR at teardown of test_descriptor*",
            "*  descriptor * socket 127.0.0.1:* LISTEN*",
            "*ERROR at teardown of test_task*",
            "*  task <Task pending *",
        ]
    )


# Opcodes


def opcodes_of(function: Callable[[], object]) -> list[int]:
    """Return where in a function opcodes were, as a tracer is told of them."""
    told: list[int] = []

    def step(frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            told.append(frame.f_lasti)
        return step

    def begin(frame: FrameType, event: str, arg: object) -> Any:
        return follow(frame, step) if frame.f_code is function.__code__ else None

    trace(begin)
    try:
        function()
    finally:
        sys.settrace(None)
    return told


def test_opcodes_are_traced_from_the_first_call_on() -> None:
    """A tracer is told of each opcode of a function that was never traced before."""

    def function() -> int:
        return sum(n for n in range(3))

    first, second = opcodes_of(function), opcodes_of(function)
    assert first == second
    assert len(first) > 5
