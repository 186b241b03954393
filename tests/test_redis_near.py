"""The near tier over real stores: processes that agree, forks, loops and threads, the drop-ins."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.chaos import MemcachedServer, Proxy, RedisServer, Server, eventually
from twofold import BackendUnavailable, Cache
from twofold.backends.redis import RedisBackend
from twofold.testing import FACES, Face


@pytest.fixture
def opened() -> Iterator[Callable[..., Cache]]:
    """Makes caches, which are closed before anybody looks for what is left."""
    with ExitStack() as made:
        yield lambda *args, **settings: made.enter_context(closing(Cache(*args, **settings)))


Opened: TypeAlias = Callable[..., Cache]


def warm(cache: Cache, key: str = "k") -> None:
    """Wait until a value is served from near."""

    def is_near() -> bool:
        before = cache.stats().near.hits
        cache.get(key)
        return cache.stats().near.hits > before

    eventually(is_near, "a value is near")


def listeners(server: RedisServer) -> int:
    """Return how many connections tell of changes."""
    return server.command("CLIENT", "LIST").decode().count("name=twofold-watch")


def agree(server: RedisServer, seconds: float) -> None:
    """Have two processes of eight writers work on 600 keys, and compare near and far at the end."""
    command = [sys.executable, "-m", "tests.near_process", server.url, "8", "600"]
    with ExitStack() as started:
        processes = [
            started.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
                )
            )
            for _ in range(2)
        ]
        try:
            for line in ("ready", "still"):
                for each in processes:
                    assert each.stdout.readline().strip() == line
                time.sleep(seconds if line == "ready" else 0)
                for each in processes:
                    each.stdin.write("\n")
            results = [json.loads(each.stdout.readline()) for each in processes]
        finally:
            for each in processes:
                each.kill()
    for result in results:
        assert result["wrong"] == []
        assert result["hits"] > 0
        assert result["compared"] > 0, "what is compared is near"


def test_two_processes_agree_with_the_store_at_the_end(own_redis: RedisServer) -> None:
    """No copy stays near of a value that the other one, or this one, has replaced."""
    agree(own_redis, 2.0)


@pytest.mark.heavy
def test_two_processes_agree_with_the_store_after_a_minute(own_redis: RedisServer) -> None:
    agree(own_redis, 60.0)


def test_threads_and_loops_share_one_watch(own_redis: RedisServer, opened: Opened) -> None:
    """200 event loops and 8 threads are told by one connection, which ends with the cache."""
    cache = opened(own_redis.url, near="1mb", key_prefix="p")
    cache.set("k", [1], None)
    warm(cache)
    wrong: list[Any] = []

    async def read() -> None:
        wrong.extend([found for _ in range(5) if (found := await cache.aget("k")) != [1]])

    def loops() -> None:
        for _ in range(25):
            asyncio.run(read())
            if cache.get("k") != [1]:
                wrong.append("in sync")

    threads = [threading.Thread(target=loops) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (wrong, listeners(own_redis)) == ([], 1)
    cache.close()
    eventually(lambda: listeners(own_redis) == 0, "the connection that tells has ended")
    warm(cache)
    assert listeners(own_redis) == 1


def test_a_forked_child_is_told_by_itself(own_redis: RedisServer, opened: Opened) -> None:
    """What is near in the parent is not in the child, which opens a watch of its own."""
    cache = opened(own_redis.url, near="1mb", key_prefix="p")
    cache.set("k", "old", None)
    warm(cache)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            entries = cache.stats().near.entries
            warm(cache)
            seen = [entries, cache.get("k"), listeners(own_redis)]
            cache.set("k", "new", None)
            warm(cache)
            os.write(writing, json.dumps([*seen, cache.get("k")]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    told = b""
    while part := os.read(reading, 4096):
        told += part
    os.close(reading)
    os.waitpid(child, 0)
    assert json.loads(told) == [0, "old", 2, "new"]
    eventually(lambda: cache.get("k") == "new", "the parent was told")
    eventually(lambda: listeners(own_redis) == 1, "the child's watch has gone with it")


def test_a_cut_that_nobody_notices_costs_no_more_than_the_bound(
    own_redis: RedisServer, proxied: Callable[[Server], Proxy], opened: Opened, face: Face
) -> None:
    """Once the network swallows everything, nothing near is served after the bound."""
    proxy = proxied(own_redis)
    near = {"max_bytes": "1mb", "staleness": 0.3}
    cache = opened(proxy.url, near=near, key_prefix="p", options={"deadline": 0.3})
    writer = opened(own_redis.url, key_prefix="p")
    writer.set("k", "old", None)
    warm(cache)

    async def body() -> None:
        view = face.view(cache)
        proxy.black_hole()
        await face.view(writer).set("k", "new", None)
        written = time.monotonic()
        served = written
        while (began := time.monotonic()) < written + 1:
            try:
                if await view.get("k") == "old":
                    served = began
            except BackendUnavailable:
                break
        assert served - written <= 0.3

    face.run(body())


@pytest.fixture(params=FACES, ids=repr)
def face(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("wide_first", [True, False])
@pytest.mark.parametrize("shared", [True, False], ids=["one_backend", "two_backends"])
def test_aliases_whose_keys_overlap(
    own_redis: RedisServer, opened: Opened, shared: bool, wide_first: bool
) -> None:
    """What a server refuses on one connection: each is told of its own keys, and of its tags.

    One with a `KEY_FUNCTION` has no prefix of its own, and is to be told of everything.
    """
    backend = RedisBackend(own_redis.url) if shared else own_redis.url
    narrow: Any = {"key_prefix": "p"}
    wide: Any = {"key_function": lambda key, *_: f"p:{key}"}
    order = [wide, narrow] if wide_first else [narrow, wide]
    caches = [opened(backend, near="1mb", **each) for each in order]
    others = [opened(own_redis.url, **each) for each in order]
    for cache in caches:
        cache.set_many({"k": [1], "l": [1]}, None, tags=["t"])
        warm(cache)
    assert listeners(own_redis) == (1 if shared else 2)
    for cache, other, beside in zip(caches, others, caches[::-1], strict=True):
        other.set("k", [2], None)
        eventually(lambda cache=cache: cache.get("k") == [2], "a write is told")
        assert (cache.get("l"), beside.get("l")) == ([1], [1])
        other.invalidate_tags("t")
        eventually(lambda cache=cache: cache.get("l") is None, "an invalidation is told")
        other.set("l", [1], None)


@pytest.fixture(params=["files", "memcached", "sqlite"])
def untold(
    request: pytest.FixtureRequest, tmp_path: Path, memcached_server: MemcachedServer
) -> str:
    """Return the URL of a store that does not tell of changes."""
    if request.param == "memcached":
        return f"memcached://{memcached_server.address}"
    return f"{request.param}:///{tmp_path / 'store'}"


def test_stores_that_cannot_tell_have_copies_too(untold: str, opened: Opened, face: Face) -> None:
    """They are served for `timeout`; what this process writes ends them."""
    cache = opened(untold, near={"timeout": 60}, key_prefix="p")
    other = opened(untold, key_prefix="p")

    async def body() -> None:
        view, theirs = face.view(cache), face.view(other)
        await view.set("k", {"n": 1}, 600, stale=600)
        assert [await view.get("k"), await view.get("k")] == [{"n": 1}] * 2
        assert (cache.stats().near.hits, cache.stats().near.staleness) == (1, 60)
        await theirs.set("k", "foreign")
        assert await view.get("k") == {"n": 1}
        await view.set("k", "own")
        assert await view.get("k") == "own"

    face.run(body())


@pytest.mark.parametrize("keep_stale", [False, True])
def test_own_invalidations_count_at_once(
    untold: str, opened: Opened, face: Face, keep_stale: bool
) -> None:
    """Also of a tag that is near, and that somebody else has invalidated already."""
    cache = opened(untold, near={"timeout": 60}, key_prefix="p")
    other = opened(untold, key_prefix="p")

    async def body() -> None:
        view = face.view(cache)
        for invalidated in (False, True):
            await view.set("k", "v", 600, stale=600, tags=["t"])
            assert [await view.get("k"), await view.get("k")] == ["v", "v"]
            if invalidated:
                await face.view(other).invalidate_tags("t")
                assert await view.get("k") == "v"
            await view.invalidate_tags("t", keep_stale=keep_stale)
            assert await view.get("k") is None

    face.run(body())


def test_a_computation_is_near_once_it_is_read(
    own_redis: RedisServer, opened: Opened, face: Face
) -> None:
    """`get_or_set` stores, whoever reads next brings it near, and both get equal values."""
    cache = opened(own_redis.url, near="1mb", key_prefix="p")
    cache.set("other", 1.5)
    warm(cache, "other")

    async def body() -> None:
        view = face.view(cache)
        for stale in (0, 60):
            for _ in range(3):
                assert await view.get_or_set(f"k{stale}", lambda: {1: "x"}, stale=stale) == {1: "x"}

    face.run(body())
    for key in ("k0", "k60"):  # what was told late of the write may have dropped a copy
        warm(cache, key)
    assert (cache.stats().near.entries, cache.stats().computations) == (3, 2)
