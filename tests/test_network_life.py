"""Stores over the life of loops, threads and processes: nothing crosses, and nothing stays open."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
import uvloop

from tests.chaos import Proxy, Server, eventually
from tests.network_kinds import Kind, connections, strict
from tests.network_kinds import kind as kind  # a fixture
from tests.network_kinds import server as server  # a fixture
from tests.network_load import Load, value_of
from tests.network_loops import LOOPS
from twofold import aclose_all, caches, close_all, configure
from twofold.backend import Backend
from twofold.testing import FACES, Face

Loops: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=list(LOOPS))
def new_loop(request: pytest.FixtureRequest) -> Loops:
    """Return what makes event loops, of each kind."""
    return LOOPS[request.param]


@pytest.fixture
def backend(kind: Kind, server: Server) -> Iterator[Backend]:
    """Return a backend with time enough for a busy machine."""
    made = kind.backend(server, deadline=10.0)
    yield made
    made.close()


def run(new_loop: Loops, body: Coroutine[Any, Any, Any]) -> Any:
    """Do what `asyncio.run` does, in a loop of this kind."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(body)


def use(backend: Backend, name: str, times: int = 1) -> None:
    """Write and read a key of one's own."""
    for n in range(times):
        key = f"{name}:{n}"
        assert backend.set(key, value_of(key), 60)
        assert backend.get(key) == value_of(key)


async def ause(backend: Backend, name: str, times: int = 1) -> None:
    """Do what `use` does."""
    for n in range(times):
        key = f"{name}:{n}"
        assert await backend.aset(key, value_of(key), 60)
        assert await backend.aget(key) == value_of(key)


# Loops


def test_three_thousand_at_once(backend: Backend, server: Server, new_loop: Loops) -> None:
    """Three thousand concurrent calls share a connection or two, and all succeed."""

    async def body() -> None:
        keys = [f"k:{n}" for n in range(3000)]
        assert all(await asyncio.gather(*[backend.aset(key, value_of(key), 60) for key in keys]))
        found = await asyncio.gather(*[backend.aget(key) for key in keys])
        assert found == [value_of(key) for key in keys]
        assert connections(server) <= 2

    run(new_loop, body())


def test_two_hundred_loops_one_after_the_other(
    backend: Backend, server: Server, new_loop: Loops
) -> None:
    """Each has a connection of its own, which ends with it."""
    for n in range(200):
        run(new_loop, ause(backend, f"loop:{n}"))
    assert connections(server) == 0


@pytest.mark.parametrize(
    "new_loop",
    [
        asyncio.new_event_loop,
        # uvloop itself complains of what is open when it closes, and hangs if that is an error
        pytest.param(
            uvloop.new_event_loop, marks=pytest.mark.filterwarnings("ignore::ResourceWarning")
        ),
    ],
    ids=["asyncio", "uvloop"],
)
def test_loops_that_are_just_closed(backend: Backend, server: Server, new_loop: Loops) -> None:
    """What belongs to a loop that was closed without a farewell is swept up by the next one."""
    for n in range(50):
        loop = new_loop()
        loop.run_until_complete(ause(backend, f"loop:{n}"))
        loop.close()
        assert connections(server) <= 1
    run(new_loop, ause(backend, "last"))
    gc.collect()
    assert connections(server) == 0


def test_loops_side_by_side(backend: Backend, server: Server, new_loop: Loops) -> None:
    """Eight threads with a loop each share the backend, and leave nothing open."""

    def work(n: int) -> None:
        async def body() -> None:
            await asyncio.gather(*[ause(backend, f"{n}:{task}", 30) for task in range(10)])

        run(new_loop, body())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert connections(server) == 0


# Threads


def test_threads_inherit_connections(backend: Backend, server: Server) -> None:
    """Eight threads have a connection each; those who come after them use the same ones."""
    for _ in range(3):
        used, end = threading.Barrier(9), threading.Event()

        def work(n: int, used: threading.Barrier = used, end: threading.Event = end) -> None:
            use(backend, f"thread:{n}", 10)
            used.wait(10)
            end.wait(10)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        used.wait(10)
        assert connections(server) == 8
        end.set()
        for thread in threads:
            thread.join()
    backend.close()
    eventually(lambda: connections(server) == 0, "the connections are closed")


def test_ended_threads_leave_few_connections(backend: Backend, server: Server) -> None:
    """Of the connections of a hundred threads that end together, a bounded number stays."""
    used = threading.Barrier(100)

    def work() -> None:
        backend.set("key", b"value", 10)
        used.wait(30)

    threads = [threading.Thread(target=work) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: connections(server) <= 64, "the others are closed")
    assert connections(server) > 0
    backend.close()
    eventually(lambda: connections(server) == 0, "the connections are closed")


# Forks


FORKS = """
    import asyncio, multiprocessing, os, sys
    from twofold import caches, configure

    url, way = sys.argv[1:]
    name = url.partition(":")[0]
    settings = {"BACKEND": name, "LOCATION": url, "OPTIONS": {"deadline": 20.0}}
    configure({"default": settings})
    backend = caches["default"].backend
    OPERATIONS = 1500

    def value_of(key):
        return key.encode() * 5

    def use(name, operations):
        for n in range(operations // 2):
            key = f"{name}:sync:{n % 50}"
            assert backend.set(key, value_of(key), 60) is True
            assert (found := backend.get(key)) == value_of(key), (key, found)

    async def ause(name, operations):
        async def one(task):
            for n in range(operations // 20):
                key = f"{name}:async:{task}:{n % 50}"
                assert await backend.aset(key, value_of(key), 60) is True
                assert (found := await backend.aget(key)) == value_of(key), (key, found)
        await asyncio.gather(*[one(task) for task in range(10)])

    def child(name):
        assert backend.servers()[0].connections == 0
        use(name, OPERATIONS // 2)
        asyncio.run(ause(name, OPERATIONS // 2))
        backend.close()

    def forked(name):
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            child(name)
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def ended(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    async def amid_calls():
        use("parent", 10)
        working = asyncio.create_task(ause("parent", 6000))
        await asyncio.sleep(0.02)
        pids = []
        for n in range(3):
            pids.append(forked(f"child:{n}"))
            await asyncio.sleep(0.005)
        use("parent", 200)
        assert not working.done()
        await working
        return [await asyncio.to_thread(ended, pid) for pid in pids]

    def between_calls():
        loop = asyncio.new_event_loop()
        use("parent", 10)
        loop.run_until_complete(ause("parent", 100))
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=child, args=(f"child:{n}",)) for n in range(3)]
        for each in children:
            each.start()
        loop.run_until_complete(ause("parent", 1500))
        use("parent", 1500)
        for each in children:
            each.join()
        loop.run_until_complete(ause("parent", 100))
        use("parent", 100)
        loop.run_until_complete(backend.aclose())
        loop.close()
        return [each.exitcode for each in children]

    def whole_life():
        use("parent", 10)
        pids = []
        for n in range(3):
            pid = os.fork()
            if pid == 0:
                child(f"child:{n}")
                sys.exit(0)
            pids.append(pid)
        use("parent", 1500)
        ended_with = [ended(pid) for pid in pids]
        use("parent", 100)
        return ended_with

    if way == "amid calls":
        codes = asyncio.run(amid_calls())
    elif way == "multiprocessing":
        codes = between_calls()
    else:
        codes = whole_life()
    backend.close()
    print(codes)
"""


@pytest.mark.parametrize("way", ["amid calls", "multiprocessing", "whole life"])
def test_children_and_parent_go_on_apart(kind: Kind, server: Server, way: str) -> None:
    """Three children of a process that is connected do 1,500 operations each, as it does itself.

    Forked amid calls of a loop; by `multiprocessing`; with an end in good order.
    """
    accepted = kind.accepted(server)
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning:multiprocessing"]
    ran = subprocess.run(
        [*command, "-c", textwrap.dedent(FORKS), kind.url(server), way],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "[0, 0, 0]\n")
    made = kind.accepted(server) - accepted
    assert made < 20  # a few for each process, and some for looking


# Closing


@contextmanager
def running_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Have a loop run in another thread; give what runs a coroutine in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda body: asyncio.run_coroutine_threadsafe(body, loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_close_closes_all(backend: Backend, server: Server) -> None:
    """`close` ends the connections of every thread and loop, and the next call has a new one."""
    with ThreadPoolExecutor(1) as thread, running_loop() as in_loop:
        for _ in range(2):
            use(backend, "main")
            thread.submit(use, backend, "thread").result(10)
            in_loop(ause(backend, "loop"))
            assert connections(server) == backend.servers()[0].connections == 3
            backend.close()
            eventually(lambda: connections(server) == 0, "all are closed")
            assert backend.servers()[0].connections == 0


def test_aclose_closes_all(backend: Backend, server: Server, new_loop: Loops) -> None:
    """When `aclose` has returned, nothing is open, of big values neither."""

    async def body() -> None:
        for _ in range(3):
            await ause(backend, "loop")
            assert await backend.aset("big", bytes(200_000), 60)
            use(backend, "thread")
            assert connections(server) == 3
            await backend.aclose()
            assert connections(server) == 0

    run(new_loop, body())


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.name)
def test_close_amid_a_call(
    kind: Kind, server: Server, proxied: Callable[[Server], Proxy], face: Face
) -> None:
    """A call that is under way brings its reply, and then its connection is closed."""
    proxy = proxied(server)
    backend = kind.backend(proxy)
    with ThreadPoolExecutor(1) as thread, running_loop() as in_loop:

        def get() -> bytes | None:
            found: bytes | None = in_loop(backend.aget("k")) if face.is_async else backend.get("k")
            return found

        assert thread.submit(get).result(10) is None
        proxy.delay, passed = 0.1, proxy.requested
        reply = thread.submit(get)
        eventually(lambda: proxy.requested > passed, "the call is under way")
        backend.close()
        assert reply.result(10) is None
        eventually(lambda: proxy.connections == 0, "the connection is closed")


def test_close_while_a_loop_stands_still(backend: Backend, server: Server, new_loop: Loops) -> None:
    """A loop that does not run when `close` is called closes its connection when it runs again."""
    loop = new_loop()
    loop.run_until_complete(ause(backend, "loop"))
    backend.close()
    loop.run_until_complete(asyncio.sleep(0.01))
    assert connections(server) == 0
    loop.close()


def test_close_before_a_loop_is_closed(backend: Backend, server: Server) -> None:
    """Of a loop that never runs again after `close`, no connection stays either."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ause(backend, "loop"))
    backend.close()
    loop.close()
    use(backend, "thread")
    backend.close()
    gc.collect()
    assert connections(server) == 0


def test_all_caches_are_closed(kind: Kind, server: Server) -> None:
    """`close_all` and `aclose_all` leave no connection, and the caches go on when they are used."""
    two = {**kind.settings(server), "KEY_PREFIX": "two"}
    configure({"default": kind.url(server), "two": two})

    def both() -> None:
        for alias in ("default", "two"):
            assert caches[alias].set("k", alias)
            assert caches[alias].get("k") == alias

    async def aboth() -> None:
        for alias in ("default", "two"):
            assert await caches[alias].aset("k", alias)
            assert await caches[alias].aget("k") == alias

    async def in_a_loop() -> None:
        for _ in range(2):
            await aboth()
            assert connections(server) >= 2
            await aclose_all()
            assert connections(server) == 0

    for _ in range(2):
        both()
        assert connections(server) == 2
        close_all()
        assert connections(server) == 0
    both()
    asyncio.run(in_a_loop())


def test_close_amid_calls(backend: Backend, server: Server) -> None:
    """Threads and tasks that are at work when `close` is called notice nothing of it."""
    with Load(backend) as load:
        for _ in range(50):
            backend.close()
            load.await_success()
    assert not load.failed
    backend.close()
    assert connections(server) == 0


def test_aclose_amid_calls_of_others(backend: Backend, server: Server) -> None:
    """`aclose` in one loop harms neither another loop nor threads."""

    async def body() -> None:
        for n in range(30):
            await ause(backend, f"loop:{n}")
            await backend.aclose()
            await asyncio.to_thread(load.await_success)

    with Load(backend) as load:
        asyncio.run(body())
    assert not load.failed


def test_a_backend_that_is_forgotten(kind: Kind, server: Server) -> None:
    """A backend that nobody has any more closes the connections of its threads, without a word."""
    backend = kind.backend(server)
    use(backend, "main")
    with ThreadPoolExecutor(2) as threads:
        threads.submit(use, backend, "thread").result(10)
        assert connections(server) == 2
        del backend
        gc.collect()
        assert connections(server) == 0


async def test_a_backend_that_a_loop_has_forgotten(kind: Kind, server: Server) -> None:
    """In a loop that goes on, its connection is closed too."""
    backend = kind.backend(server)
    await ause(backend, "loop")
    assert connections(server) == 1
    del backend
    gc.collect()
    ends = time.monotonic() + 5
    while connections(server):
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


AT_EXIT = """
import asyncio, os, sys, threading, time
import twofold
twofold.configure(sys.argv[1])
twofold.cache.set("k", 1)
asyncio.run(twofold.cache.aget("k"))
threading.Thread(target=lambda: (twofold.cache.get("k"), time.sleep(60)), daemon=True).start()
if (child := os.fork()) == 0:
    twofold.cache.get("k")
    sys.exit()
os.waitpid(child, 0)
time.sleep(0.1)
kept = twofold.cache
"""


def test_nothing_is_said_at_exit(kind: Kind, server: Server) -> None:
    """A program that ends without closing its caches has left no socket open, nor has a child."""
    command = strict(AT_EXIT, kind.url(server))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")
