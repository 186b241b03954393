"""Values that a store has no room for: computed once, returned, and not stored."""

from pathlib import Path
from typing import Any

import pytest

from tests.dict_backend import DictBackend
from twofold import Cache, cached
from twofold.backends.memory import MemoryBackend
from twofold.claims.filter import hiding_stubs
from twofold.effects import background
from twofold.stub import new_stub
from twofold.testing import FACES, Face

LARGEST = 10_000
TOO_LARGE = bytes(2_000_000)  # for memcached's usual limit too


class Small(DictBackend):
    """A third party's store that takes no large value, and counts what it is asked to write."""

    writes = 0

    def set(self, key: str, value: bytes, ttl: float | None) -> bool:
        self.writes += 1
        return len(value) <= LARGEST and super().set(key, value, ttl)


@pytest.fixture(params=["memory", "third party", "sqlite", "files", "memcached"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A cache in a store that takes no large value."""
    options: dict[str, Any] = {"blocking_calls": "allow"}
    if request.param == "memory":
        made = Cache(MemoryBackend(request.node.name, max_bytes=LARGEST))
    elif request.param == "third party":
        made = Cache(Small())
    elif request.param == "memcached":
        server = request.getfixturevalue("memcached_server")
        made = Cache(f"memcached://{server.address}", options=options)
    else:
        url = f"{request.param}:///{tmp_path}/store?max_bytes=1000000"
        made = Cache(url, options=options)
    yield made
    made.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("there", [False, True], ids=["missing", "there"])
def test_a_refresh_computes_once_what_is_too_large(face: Face, there: bool, cache: Cache) -> None:
    """It is returned, and the older value, which was to be replaced, is gone."""
    values: list[bytes] = []

    @cached(cache=cache, key="k")
    def function() -> bytes:
        values.append(TOO_LARGE)
        return TOO_LARGE

    async def body() -> None:
        if there:
            await face.view(cache).set("k", b"small")
        made = await function.arefresh() if face.is_async else function.refresh()
        assert made == TOO_LARGE

    face.run(body())
    assert len(values) == 1
    assert cache.get("k") is None
    assert not cache._claims.table


@pytest.mark.parametrize("face", FACES, ids=repr)
@pytest.mark.parametrize("wait", [0, None])
def test_what_is_too_large_does_not_leave_a_stale_value(
    face: Face, wait: float | None, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be served to its end, and refreshed in vain each time."""
    monkeypatch.setattr(background, "inline", True)
    options: Any = {"stale": 600, "wait": wait}

    async def one() -> Any:
        return await face.view(cache).get_or_set("k", lambda: TOO_LARGE, **options)

    async def many() -> Any:
        made = lambda keys: dict.fromkeys(keys, TOO_LARGE)  # noqa: E731
        return (await face.view(cache).get_or_set_many(["k"], made, **options))["k"]

    for ask in (one, many):
        cache.set("k", b"small", stale=600)
        assert cache.mark_stale("k")
        assert face.run(ask()) == (b"small" if wait == 0 else TOO_LARGE)
        assert cache.get("k", allow_stale=True) is None


def test_what_is_too_large_is_added_in_vain_twice_at_most() -> None:
    """A store that does not know of claims is not asked again and again."""
    inner = Small()
    store = hiding_stubs(inner)
    assert store.add("k", TOO_LARGE, 60) is False
    assert inner.writes <= 2
    assert inner.get_or_claim("k", new_stub(), 60) is None
    inner.writes = 0
    assert store.add("k", TOO_LARGE, 60) is False
    assert inner.writes <= 2
    assert store.add("k", b"v", 60) is True
    assert store.get("k") == b"v"


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_keys_are_removed_beside_a_value_that_is_too_large(face: Face, cache: Cache) -> None:
    """`set_and_delete` removes them all the same."""

    async def body() -> None:
        store = face.view(hiding_stubs(cache.backend))
        await store.set_many({"a": b"v", "b": b"v", "c": b"v"}, None)
        await store.set_and_delete("k", TOO_LARGE, ["a", "b"])
        assert await store.get_many(["k", "a", "b", "c"]) == {"c": b"v"}

    face.run(body())
