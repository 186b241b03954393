"""What type checkers must say of decorated functions; checked, never run."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_type

from twofold import MISSING, AsyncCached, Cache, Cached, cache, cached, caches


@cached
def plain(x: int, y: str = "") -> list[int]:
    return [x]


@cached(timeout="10m", key="plain:{x}", ignore=("db",), condition=lambda value: value is not None)
async def fetched(x: int, *, db: object = None) -> bytes | None:
    return None


def takes_nothing() -> int:
    return 1


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

    @staticmethod
    @cached
    def duty(country: str) -> float:
        return 0.2

    @cached
    @staticmethod
    def nothing() -> int:
        return 0

    @cached.many
    @staticmethod
    def rates(countries: list[str]) -> dict[str, float]:
        return {}

    @cached.many
    @staticmethod
    async def arates(countries: list[str]) -> dict[str, float]:
        return {}


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


def takes_rate(function: Callable[[str], float]) -> float:
    return function("de")


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
    assert_type(Shop.tax("de"), float)
    assert_type(shop.tax.get("de"), float | None)
    assert_type(await Shop.atax("de"), float)
    assert_type(await shop.atax("de"), float)
    assert_type(Shop.duty("de"), float)
    assert_type(shop.duty.get("de"), float | None)
    assert_type(Shop.rates(["de"]), dict[str, float])
    assert_type(await shop.arates(["de"]), dict[str, float])
    assert_type(Shop.nothing(), int)
    assert_type(Shop.price(shop, 1), float)
    takes_rate(Shop.tax)
    takes_rate(shop.duty)
    Shop.tax(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Shop.tax()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    shop.price("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shop.stock()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async with cache.lock("k"):
        assert_type(await cache.aget_many(["a"]), dict[str, Any])


@cached.many
def users(ids: Iterable[int], country: str = "de") -> dict[int, str]:
    return {}


@cached.many(timeout="10m", key="stock:{ids}", missing=None, stale=60)
async def stocks(ids: list[str], /) -> Mapping[str, float]:
    return {}


class Store:
    @cached.many
    def prices(self, ids: list[int], net: bool = False) -> dict[int, float]:
        return {}

    @cached.many(timeout=5)
    async def aprices(self, ids: list[int]) -> dict[int, float]:
        return {}

    @cached.many
    @classmethod
    def names(cls, ids: list[int]) -> dict[int, str]:
        return {}


assert_type(users([1]), dict[int, str])
assert_type(users({1, 2}, country="fr"), dict[int, str])
assert_type(users.get([1]), dict[int, str])
assert_type(users.key(1, country="fr"), str)
assert_type(users.set({1: "Ada"}, country="fr"), list[int])
assert_type(users.refresh([1]), dict[int, str])
assert_type(users.invalidate([1]), int)
users(["1"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
users.get([1], land="fr")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
users.set({1: 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
cached.many(takes_nothing)  # type: ignore[arg-type]  # pyright: ignore


def takes_users(function: Callable[[list[int]], Mapping[int, str]]) -> None:
    function([1])


takes_users(users)


async def many(store: Store) -> None:
    assert_type(await stocks(["a"]), dict[str, float | None])
    assert_type(await stocks.aget(["a"]), dict[str, float | None])
    assert_type(await stocks.arefresh(["a"]), dict[str, float | None])
    assert_type(await users.aset({1: "Ada"}), list[int])
    assert_type(store.prices([1], net=True), dict[int, float])
    assert_type(store.prices.get([1]), dict[int, float])
    assert_type(await store.aprices([1]), dict[int, float])
    assert_type(Store.names([1]), dict[int, str])
    store.prices()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def takes_cached(function: Cached[[int], str]) -> str:
    return function(1)


def takes_async(function: AsyncCached[[int], str]) -> None:
    function.invalidate(1)


assert_type(caches["default"], Cache)
assert_type(cache.incr("n"), int)
assert_type(cache.ttl("n"), float | None)
with cache.lock("k", timeout=5, wait="1s"):
    pass
