"""What type checkers must say of caches; checked, never run."""

from typing import assert_type

import twofold
from twofold import Cache, Lock, Stats, Timeout, cache


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


async def main() -> None:
    assert_type(await cache.aget_or_set("k", aload), User)
    assert_type(await cache.aget_or_set("k", load, 60), User)
    assert_type(await cache.aget_or_set("k", User()), User)
    assert_type(await cache.aget_or_set("k", lambda: aload()), User)
    wrong: str = await cache.aget_or_set("k", aload)  # type: ignore[arg-type]  # pyright: ignore
    keep_for(1.5)
    keep_for(None)
    print(wrong)
