"""What type checkers must say of caches; checked, never run."""

from typing import assert_type

import twofold
from twofold import Cache, Lock, Stats, Timeout, cache, register_type
from twofold.typed import TypedCache


class User:
    """A type that no checker takes for another."""


def load() -> User:
    return User()


async def aload() -> User:
    return User()


def keep_for(timeout: Timeout) -> None:
    cache.touch("k", timeout)


assert_type(cache, Cache)
assert_type(twofold.cache, Cache)
assert_type(twofold.__version__, str)
assert_type(cache.stats(), Stats)
assert_type(cache.lock("k"), Lock)
assert_type(cache.get_or_set("k", load), User)
assert_type(cache.get_or_set("k", User, timeout="10m", version=2), User)
assert_type(cache.get_or_set("k", lambda: 1), int)
assert_type(cache.get_or_set("k", User()), User)
assert_type(cache.get_or_set("k", 1), int)
wrong: str = cache.get_or_set("k", load)  # type: ignore[assignment]  # pyright: ignore
late: User = cache.get_or_set("k", aload)  # type: ignore[assignment]  # pyright: ignore


def load_many(keys: list[str]) -> dict[str, User]:
    return {key: User() for key in keys}


async def aload_many(keys: list[str]) -> dict[str, User]:
    return {key: User() for key in keys}


assert_type(cache.get_or_set_many(["k"], load_many), dict[str, User])
assert_type(cache.get_or_set_many({"k"}, load_many, "10m", stale=60), dict[str, User])
assert_type(cache.get_or_set_many(["k"], load_many, missing=None), dict[str, User | None])
cache.get_or_set_many(["k"], aload_many)  # type: ignore[arg-type]  # pyright: ignore
cache.get_or_set_many(["k"], load)  # type: ignore[arg-type]  # pyright: ignore
cache.get_or_set_many(["k"], load_many, stal=60)  # type: ignore[call-overload]  # pyright: ignore


async def main() -> None:
    assert_type(await cache.aget_or_set_many(["k"], aload_many), dict[str, User])
    assert_type(await cache.aget_or_set_many(["k"], load_many, missing=0), dict[str, User | int])
    assert_type(await cache.aget_or_set("k", aload), User)
    assert_type(await cache.aget_or_set("k", load, 60), User)
    assert_type(await cache.aget_or_set("k", User()), User)
    assert_type(await cache.aget_or_set("k", lambda: aload()), User)
    wrong: str = await cache.aget_or_set("k", aload)  # type: ignore[arg-type]  # pyright: ignore
    keep_for(1.5)
    keep_for(None)
    print(wrong)


cache.set("k", 1, ttl=5)  # type: ignore[arg-type]  # pyright: ignore
users = cache.typed(User)
assert_type(users, TypedCache[User])
assert_type(users.get("k"), User | None)
assert_type(users.get("k", 1), User | int)
assert_type(users.get_many(["k"]), dict[str, User])
assert_type(users.set("k", User(), "10m"), bool)
assert_type(users.get_or_set("k", load), User)
assert_type(users.get_or_set_many(["k"], load_many), dict[str, User])
assert_type(cache.typed(list[User]).get("k"), list[User] | None)
users.set("k", 1)  # type: ignore[arg-type]  # pyright: ignore
users.get_or_set("k", lambda: 1)  # type: ignore[arg-type, return-value]  # pyright: ignore


async def typed() -> None:
    assert_type(await users.aget("k"), User | None)
    assert_type(await users.aget_many(["k"]), dict[str, User])
    assert_type(await users.aget_or_set("k", aload), User)
    assert_type(await users.aget_or_set("k", load), User)
    assert_type(await users.aget_or_set_many(["k"], aload_many), dict[str, User])


@register_type
class Point:
    """A type that is stored with its name."""


@register_type(name="line")
class Line:
    """Another one."""


assert_type(Point(), Point)
assert_type(Line(), Line)
