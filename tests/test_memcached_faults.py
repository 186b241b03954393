"""memcached: what a reviewer has found, each by the way in which it went wrong."""

import asyncio
import pickle
import select
import socket
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import MemcachedServer, RedisServer
from tests.network_loops import Run
from tests.network_loops import run as run  # a fixture
from twofold.backends.memcached import MemcachedBackend, scan
from twofold.backends.memcached.addresses import NodeAddress
from twofold.backends.memcached.connector import DirectConnector
from twofold.backends.memcached.deployment import read_router
from twofold.backends.network import ConnectError, ConnectionLost, Refused, ReplyError
from twofold.backends.network.sockets import Endpoint
from twofold.errors import BackendUnavailable, DeadlineExceeded, PartlyUnavailable
from twofold.keys.kinds import is_lock
from twofold.testing import FACES, Face

PATIENCE = 10.0  # seconds


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Return the face that the test is to run in."""
    chosen: Face = request.param
    return chosen


def test_another_server_is_not_quoted(face: Face, redis_server: RedisServer) -> None:
    """A Redis repeats what it does not know, the password for instance."""
    backend = MemcachedBackend(redis_server.address, username="shop", password="hidden")

    async def body() -> None:
        with pytest.raises(BackendUnavailable) as caught:
            await face.view(backend).get("k")
        told = "".join(traceback.format_exception(caught.value))
        assert "hidden" not in told + backend.servers()[0].error
        await face.view(backend).close()

    face.run(body())


def test_many_more_keys_than_replies_are_buffered(face: Face, tmp_path: Path) -> None:
    """A server whose replies nobody reads reads no more: so they are read in between."""

    async def body(store: Any) -> None:
        items = {f"k{n}": b"v" for n in range(30_000)}
        assert await store.set_many(items, None) == []
        assert await store.delete_many(list(items)) == len(items)
        await store.close()

    with MemcachedServer(tmp_path / "unix", unix=True) as server:
        store = MemcachedBackend(str(server.socket_path), deadline=20.0)
        face.run(body(face.view(store)))


async def test_a_scan_leaves_the_loop_to_others(memcached_server: MemcachedServer) -> None:
    """However many keys of others a server has, a loop goes on while they are looked through."""
    count = 20_000
    backend = MemcachedBackend(memcached_server.address, deadline=10.0)
    await backend.aset_many({f"other:{n}": b"v" for n in range(count)}, None)
    turns, cleared = 0, asyncio.ensure_future(backend.aclear("own:"))
    lines: list[Any] = []
    original = scan._scan

    async def scanned(*args: Any) -> Any:
        nonlocal turns
        how, found = await original(*args)
        lines.append(found)
        turns = 0
        return how, found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_scan", scanned)
        while not cleared.done():
            turns += 1
            await asyncio.sleep(0)
    await cleared
    assert len(lines[0]) == count
    assert turns >= count // scan._AT_A_TIME
    await backend.aclose()


def test_keys_without_a_prefix_are_spread() -> None:
    """A mark of exclamation alone makes no lock of a key."""
    router = read_router(
        "h1,h2,h3",
        weights=None,
        username=None,
        password=None,
        tls=False,
        tls_options={},
        deadline=1.0,
    )
    keys = [f"user!{n}" for n in range(300)]
    assert not any(map(is_lock, keys))
    assert len({router.place(key) for key in keys}) == 3


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("!lock:a", True),
        ("shop!lock:a", True),
        ("shop!claim:shop:1:k", True),
        ("shop:1:k!lock:a", False),
        ("shop:!claim:a", False),
        ("shop!a", False),
        ("a!b!lock:c", False),
        ("", False),
    ],
)
def test_keys_of_locks(key: str, expected: bool) -> None:
    """They are told by their whole form."""
    assert is_lock(key) is expected


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost("text", sent=False),
        ConnectError("text", refused=False),
        Refused("text", ReplyError("SERVER_ERROR no")),
        PartlyUnavailable("text", {"k": b"v"}),
        DeadlineExceeded("text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pass_to_other_processes(error: BackendUnavailable) -> None:
    """They are pickled with all that they tell."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_one_server_of_two_is_examined(
    face: Face, memcached_server: MemcachedServer, tmp_path: Path
) -> None:
    """What one tells is there though the other is away."""
    with MemcachedServer(tmp_path / "away") as away:
        backend = MemcachedBackend([away.address, memcached_server.address])

    async def body() -> None:
        with pytest.raises(PartlyUnavailable) as caught:
            await face.view(backend).examine()
        assert [each.name for each in caught.value.result] == [memcached_server.address]
        await face.view(backend).close()

    face.run(body())


def test_one_frozen_server_does_not_fail_what_is_big(
    face: Face, memcached_server: MemcachedServer, own_memcached: MemcachedServer
) -> None:
    """Limits are asked for side by side: those who tell theirs are written to."""
    backend = MemcachedBackend([own_memcached.address, memcached_server.address], deadline=1.0)
    place: Callable[[str], Any] = backend._router.place
    items = {f"k{n}": b"v" * 1000 for n in range(30)}
    lost = [key for key in items if place(key).name == own_memcached.address]

    async def body(store: Any) -> None:
        assert await store.set_many(dict.fromkeys(items, b"warm"), None) == []
        own_memcached.freeze()
        assert sorted(await store.set_many(items, None)) == sorted(lost)
        await store.close()

    try:
        face.run(body(face.view(backend)))
    finally:
        own_memcached.thaw()


def test_a_connection_that_ends_at_once_is_not_made_twice(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that goes while it is connected to fails the call; uvloop's process lives on."""
    connect = Endpoint.aconnect

    async def ended(endpoint: Endpoint, deadline: float) -> socket.socket:
        opened = await connect(endpoint, deadline)
        accepted, _ = listener.accept()
        accepted.close()
        select.select([opened], [], [], PATIENCE)
        return opened

    async def body() -> None:
        for _ in range(10):
            with pytest.raises(ConnectError, match="it closed the connection"):
                await connector.aconnect(PATIENCE)

    monkeypatch.setattr(Endpoint, "aconnect", ended)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connector = DirectConnector(NodeAddress("127.0.0.1", listener.getsockname()[1]))
        run(body())


@pytest.mark.parametrize("delta", [1, 2**33], ids=["near the end", "by much"])
def test_many_add_at_once_where_the_server_cannot(
    delta: int, face: Face, memcached_server: MemcachedServer
) -> None:
    """However many compare and set one counter, each has its turn in time."""
    store = face.view(MemcachedBackend(memcached_server.address, deadline=20.0))
    start = 2**62 + 1

    async def body() -> None:
        await store.set("n", b"%d" % start, None)
        sums = await face.together([partial(store.incr, "n", delta)] * 50)
        assert sorted(sums) == [start + delta * (n + 1) for n in range(50)]
        await store.close()

    face.run(body())
