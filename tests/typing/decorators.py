"""What type checkers must say of decorated functions; checked, never run."""

from typing import Any, assert_type

from twofold import MISSING, AsyncCached, Cache, Cached, cache, cached, caches


@cached
def plain(x: int, y: str = "") -> list[int]:
    return [x]


@cached(timeout="10m", key="plain:{x}", ignore=("db",), condition=lambda value: value is not None)
async def fetched(x: int, *, db: object = None) -> bytes | None:
    return None


class Shop:
    @cached
    def price(self, item: int) -> float:
        return 1.0

    @cached(timeout=5)
    async def stock(self, item: int) -> int:
        return 1

    @cached
    @classmethod
    def names(cls, prefix: str) -> list[str]:
        return []

    @cached
    @classmethod
    async def anames(cls, prefix: str) -> list[str]:
        return []

    @cached
    @staticmethod
    def tax(country: str) -> float:
        return 0.2

    @cached(ignore=("country",))
    @staticmethod
    async def atax(country: str) -> float:
        return 0.2


assert_type(plain(1), list[int])
assert_type(plain(1, y="a"), list[int])
assert_type(plain.key(1), str)
assert_type(plain.get(1), list[int] | None)
found = plain.get_or(MISSING, 1)
if found is not MISSING:
    assert_type(found, list[int])
assert_type(plain.get_or("nothing", 1, y="b"), list[int] | str)
assert_type(plain.set([1], 1), bool)
assert_type(plain.refresh(1), list[int])
assert_type(plain.invalidate(1, "b"), bool)
plain("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain.get_or(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain.get(z=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain.set("not a list", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def main(shop: Shop) -> None:
    assert_type(await fetched(1), bytes | None)
    assert_type(await fetched.aget(1), bytes | None)
    assert_type(await fetched.aget_or(0, 1), bytes | int | None)
    assert_type(await fetched.arefresh(1, db=None), bytes | None)
    assert_type(await plain.arefresh(1), list[int])
    assert_type(await plain.ainvalidate(1), bool)
    assert_type(shop.price(1), float)
    assert_type(shop.price.get(1), float | None)
    assert_type(await shop.stock(1), int)
    assert_type(await shop.stock.aset(1, 2), bool)
    assert_type(Shop.names("a"), list[str])
    assert_type(Shop.names.key("a"), str)
    assert_type(shop.names("a"), list[str])
    assert_type(await shop.anames("a"), list[str])
    # mypy drops the first parameter of a static method that a descriptor stands for.
    assert_type(Shop.tax("de"), float)  # type: ignore[call-arg]
    assert_type(shop.tax.get("de"), float | None)  # type: ignore[call-arg]
    assert_type(await Shop.atax("de"), float)  # type: ignore[call-arg]
    shop.price("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shop.stock()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async with cache.lock("k"):
        assert_type(await cache.aget_many(["a"]), dict[str, Any])


def takes_cached(function: Cached[[int], str]) -> str:
    return function(1)


def takes_async(function: AsyncCached[[int], str]) -> None:
    function.invalidate(1)


assert_type(caches["default"], Cache)
assert_type(cache.incr("n"), int)
assert_type(cache.ttl("n"), float | None)
with cache.lock("k", timeout=5, wait="1s"):
    pass
