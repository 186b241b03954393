"""Typed views: a cache as one of values of one type."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.typed_kinds import ADA, KINDS, Point, User
from twofold import Cache, CannotSerialize, SettingsError, cached, caches, configure
from twofold import cache as default
from twofold.testing import FACES, Face
from twofold.types.sameness import is_same


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    """A cache that keeps objects, or bytes."""
    cache = Cache(f"{request.param}:///{tmp_path}/cache", options={"blocking_calls": "allow"})
    yield cache
    cache.close()


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_every_operation_is_of_the_type(face: Face, cache: Cache) -> None:
    """What is stored comes back as the type that the view is of."""

    async def body() -> None:
        users, calls = face.view(cache.typed(User)), []

        def load() -> User:
            calls.append(1)
            return ADA

        assert await users.get("k") is None
        assert await users.get("k", 1) == 1
        assert await users.set("k", ADA, 60)
        assert is_same(await users.get("k"), ADA)
        assert await users.add("k", ADA) is False
        assert await users.add("l", ADA)
        assert await users.set_many({"m": ADA}) == []
        assert await users.get_many(["k", "l", "m", "n"]) == dict.fromkeys("klm", ADA)
        assert await users.get_or_set("k", load) == ADA
        assert await users.get_or_set("o", load) == ADA
        assert await users.get_or_set("o", load, stale=60) == ADA
        assert calls == [1]
        many = await users.get_or_set_many(["k", "p"], lambda keys: dict.fromkeys(keys, ADA))
        assert many == {"k": ADA, "p": ADA}
        assert await users.delete("k")
        assert await users.get("k") is None
        await face.view(cache).close()

    face.run(body())


def test_all_kinds_have_views(cache: Cache) -> None:
    """Of every type that a function may be annotated with, and of plain ones."""
    for annotation, value in [*KINDS, (int, 1), (str, "x"), (list[int], [1]), (None, None)]:
        view = cache.typed(annotation)
        view.set("k", value)
        assert is_same(view.get("k", ...), value), annotation


def test_what_is_of_another_type_is_missing(cache: Cache) -> None:
    """Of whatever type, stored with it or without."""
    cache.typed(Point).set("k", Point(1.0, 2.0))
    cache.set("plain", {"id": 1, "name": "x"})
    users = cache.typed(User)
    assert users.get_many(["k", "plain"]) == {}
    assert users.add("k", ADA) is False


@pytest.mark.parametrize(("kind", "value"), [(User, 1), (User, {"id": 1}), (int, "x"), (str, 1)])
def test_another_type_is_refused(cache: Cache, kind: Any, value: Any) -> None:
    """`set` raises, and what a function computes is returned and not stored."""
    view = cache.typed(kind)
    with pytest.raises(CannotSerialize, match="is not kept as"):
        view.set("k", value)
    assert view.get_or_set("k", lambda: value) == value
    assert not cache.has_key("k")
    assert cache.stats().unserializable == 1


def test_plain_types_are_checked_and_are_those_of_the_cache(cache: Cache) -> None:
    """A counter stays one; text is no number."""
    numbers = cache.typed(int)
    assert numbers.set("n", 1)
    assert cache.incr("n") == 2
    assert numbers.get("n") == 2
    cache.set("n", "two")
    assert numbers.get("n") is None
    assert cache.get("n") == "two"


def test_a_function_and_a_view_of_one_type_meet(cache: Cache) -> None:
    """Both read what the other has written."""

    @cached(cache=cache, key="user")
    def user() -> User:
        return ADA

    users = cache.typed(User)
    assert user() == users.get("user") == ADA
    users.set("user", User(1, "x"))
    assert user() == User(1, "x")


def test_views_count_for_their_cache(cache: Cache) -> None:
    """Its numbers are those of all its views."""
    users = cache.typed(User)
    users.set("k", ADA)
    users.get("k")
    users.get("missing")
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stores) == (1, 1, 1)


def test_a_view_of_an_alias_looks_it_up_each_time(tmp_path: Path) -> None:
    """It may be made before the settings are."""
    configure()  # those of an earlier test are not these
    users, disk = default.typed(User), caches["default"].typed(User)
    for name in ("one", "two"):
        configure(f"sqlite:///{tmp_path}/{name}.db")
        assert users.get("k") is None
        users.set("k", ADA)
        assert users.get("k") == ADA
    configure()
    assert "User" in repr(disk)


@dataclass
class Misspelt:
    at: "str.text"  # type: ignore[name-defined]


NO_TYPES = [3, "User", object(), Callable[[], int], dict[str, 3], {"id": int}, Misspelt]


@pytest.mark.parametrize("kind", NO_TYPES)
def test_what_is_no_type_is_refused(cache: Cache, kind: Any) -> None:
    """At once, with what was given."""
    with pytest.raises(SettingsError, match="typed"):
        cache.typed(kind)


@pytest.mark.parametrize("face", FACES, ids=repr)
def test_values_of_a_type_have_tags(cache: Cache, face: Face) -> None:
    """Whatever stores them takes tags, and the type holds: also with a function of the value."""
    users, tags = face.view(cache.typed(User)), ["users"]

    async def body() -> None:
        assert await users.set("set", ADA, tags=tags)
        assert await users.set_many({"many": ADA}, tags=tags) == []
        assert await users.add("add", ADA, tags=tags)
        by_id = {"tags": lambda user: [f"user:{user.id}"]}
        assert await users.get_or_set("made", lambda: ADA, **by_id) == ADA
        found = await users.get_or_set_many(["all"], lambda _: {"all": ADA}, tags=tags)
        assert found == {"all": ADA}
        assert await users.get_many(KEYS) == dict.fromkeys(KEYS, ADA)
        assert await users.get_or_set("made", lambda: None, **by_id) == ADA
        await face.view(cache).invalidate_tags("users")
        assert await users.get_many(KEYS) == {"made": ADA}
        await face.view(cache).invalidate_tags(f"user:{ADA.id}")
        assert await users.get_many(KEYS) == {}

    face.run(body())


KEYS = ["set", "many", "add", "made", "all"]


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Cache]:
    """A cache in the process, or on a server."""
    url = "memory://typed" if request.param == "memory" else None
    cache = Cache(url or request.getfixturevalue("redis_server").url)
    yield cache
    cache.clear()
    cache.close()


def test_functions_of_a_type_have_tags(store: Cache) -> None:
    """Over their parameters and of their result; refreshed, and by many ids as well."""
    names = ["one"]

    @cached(cache=store, tags=["user:{number}", "users"])
    def user(number: int) -> User:
        return User(number, names[0])

    @cached(cache=store, tags=lambda user: [f"user:{user.id}"])
    def told(number: int) -> User:
        return User(number, names[0])

    @cached.many(cache=store, tags=["user:{numbers}", "users"])
    def users(numbers: list[int]) -> dict[int, User]:
        return {number: User(number, names[0]) for number in numbers}

    def seen() -> list[User]:
        return [user(1), told(1), *users([1, 2]).values()]

    ones = [User(1, "one"), User(1, "one"), User(1, "one"), User(2, "one")]
    assert seen() == seen() == [user.refresh(1), *ones[1:]] == ones
    names[0] = "two"
    store.invalidate_tags("user:1")
    assert seen() == seen() == [User(1, "two")] * 3 + [User(2, "one")]
    store.invalidate_tags("users")
    assert seen() == seen() == [User(1, "two")] * 3 + [User(2, "two")]


async def test_async_functions_of_a_type_have_tags(store: Cache) -> None:
    """As sync ones have."""
    names = ["one"]

    @cached(cache=store, tags=["user:{number}", "users"])
    async def user(number: int) -> User:
        return User(number, names[0])

    @cached(cache=store, tags=lambda user: [f"user:{user.id}"])
    async def told(number: int) -> User:
        return User(number, names[0])

    @cached.many(cache=store, tags=["user:{numbers}", "users"])
    async def users(numbers: list[int]) -> dict[int, User]:
        return {number: User(number, names[0]) for number in numbers}

    async def seen() -> list[User]:
        return [await user(1), await told(1), *(await users([1, 2])).values()]

    ones = [User(1, "one"), User(1, "one"), User(1, "one"), User(2, "one")]
    assert await seen() == await seen() == ones
    assert await user.arefresh(1) == ones[0]
    names[0] = "two"
    await store.ainvalidate_tags("user:1")
    assert await seen() == await seen() == [User(1, "two")] * 3 + [User(2, "one")]
    await store.aclose()
