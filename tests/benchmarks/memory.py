"""Get and set in the process: cachetools with a lock, and Django's LocMemCache."""

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any

import cachetools
import cashews
import django
from aiocache import SimpleMemoryCache
from django.conf import settings
from django.core.cache import caches as django_caches

from tests.benchmarks.harness import (
    CAPACITY,
    KEYS,
    TIMEOUT,
    VALUE,
    Bench,
    Client,
    aeach,
    each,
    expect,
)
from twofold import cache, caches, configure

AREA = "memory"
MANY_KEYS = [f"item:{number:05d}" for number in range(50_000)]


class LockedTTLCache:
    """A cachetools `TTLCache` as its documentation says to share it between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._items: cachetools.TTLCache[str, bytes] = cachetools.TTLCache(CAPACITY, TIMEOUT)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._items.get(key)

    def set(self, key: str, value: bytes) -> None:
        with self._lock:
            self._items[key] = value


def run(bench: Bench) -> None:
    """Compare hits and writes."""
    options = {"max_entries": CAPACITY}
    configure({"default": {"BACKEND": "memory", "TIMEOUT": TIMEOUT, "OPTIONS": options}})
    stores = {
        "twofold": cache,
        "cachetools TTLCache + lock": LockedTTLCache(),
        "Django LocMemCache": _locmem(),
    }
    _race_few(bench, stores)
    _race_async(bench, stores["Django LocMemCache"])
    _race_many(bench, stores)


def _race_few(bench: Bench, stores: dict[str, Any]) -> None:
    targets = {"cachetools TTLCache + lock": 3.0, "Django LocMemCache": 8.0}
    _fill(stores.values(), KEYS)
    readers = [
        Client(name, each(store.get), target=targets.get(name)) for name, store in stores.items()
    ]
    named = Client('twofold caches["x"]', each(caches["default"].get))
    bench.race(AREA, "get, 1,000 keys", [*readers, named])
    writers = [Client(name, _writing(store.set)) for name, store in stores.items()]
    bench.race(AREA, "set, 1,000 keys", writers)


def _race_async(bench: Bench, locmem: Any) -> None:
    bench.run(_fill_async_peers())
    bench.race(
        AREA,
        "aget, 1,000 keys",
        [
            Client("twofold", aeach(cache.aget)),
            Client("Django LocMemCache", aeach(locmem.aget), target=150),
            Client("aiocache", aeach(_aiocache.get)),
            Client("cashews", aeach(_cashews.get)),
        ],
    )


def _race_many(bench: Bench, stores: dict[str, Any]) -> None:
    _fill(stores.values(), MANY_KEYS)
    readers = [
        Client(name, each(store.get, MANY_KEYS), len(MANY_KEYS)) for name, store in stores.items()
    ]
    bench.race(AREA, "get, 50,000 keys", readers)


def _fill(stores: Iterable[Any], keys: Sequence[str]) -> None:
    for store in stores:
        for key in keys:
            store.set(key, VALUE)
        expect([store.get(key) for key in keys], [VALUE] * len(keys))


def _writing(function: Callable[[str, bytes], Any]) -> Callable[[], None]:
    def work() -> None:
        for key in KEYS:
            function(key, VALUE)

    return work


def _locmem() -> Any:
    settings.configure(
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "TIMEOUT": TIMEOUT,
                "OPTIONS": {"MAX_ENTRIES": CAPACITY},
            }
        }
    )
    django.setup()
    return django_caches["default"]


_aiocache = SimpleMemoryCache(ttl=TIMEOUT)
_cashews = cashews.Cache()


async def _fill_async_peers() -> None:
    _cashews.setup("mem://", size=CAPACITY)
    for key in KEYS:
        await _aiocache.set(key, VALUE)
        await _cashews.set(key, VALUE, expire=TIMEOUT)
        expect(await _aiocache.get(key))
        expect(await _cashews.get(key))
        expect(await cache.aget(key))
