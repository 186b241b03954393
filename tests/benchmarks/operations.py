"""Operations that two commits are timed in, each commit in a process of its own.

python -m tests.benchmarks.operations LOCATIONS

imports whichever twofold comes first on its path, writes the names of its operations as one
line of JSON, and then reads lines `[operation, times]` and answers `[CPU, wall]` in seconds.
LOCATIONS are those of the stores, by backend, as JSON. What a commit does not know is left out.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from itertools import count
from random import Random
from typing import Any, TypeAlias

from tests.benchmarks.harness import CAPACITY, KEYS, TIMEOUT, VALUE, aeach, each, expect, together
from tests.benchmarks.marks import begin, end
from tests.chaos import eventually
from twofold import Cache, SettingsError, cached, caches, configure

Work: TypeAlias = Callable[[], Any]
Works: TypeAlias = Iterator[tuple[str, Work, int]]
"""The name of an operation, what repeats it, and how often that does."""

Application: TypeAlias = Callable[..., Coroutine[Any, Any, None]]

BACKENDS = {  # by dotted path: a commit may be laid out without its entry points
    "memory": "twofold.backends.memory:MemoryBackend",
    "sqlite": "twofold.backends.sqlite:SQLiteBackend",
    "files": "twofold.backends.files:FilesBackend",
    "redis": "twofold.backends.redis:RedisBackend",
    "memcached": "twofold.backends.memcached:MemcachedBackend",
}
PAGE = KEYS[:100]
ABSENT = [f"absent:{key}" for key in PAGE]
RANDOM = [f"random:{key}" for key in PAGE]
MISSES = 100
AT_ONCE = 5_000
TUPLES = [(number, str(number), None) for number in range(100)]
NETWORK = ("redis", "memcached")
SLOW = {"deadline": 60}  # seconds, for whoever runs fifty times slower because it is counted


@dataclass(frozen=True)
class Operation:
    """A piece of work, and how many calls of the operation it makes."""

    work: Work
    calls: int


def cache_on(backend: str, location: str) -> Cache:
    """Return a cache on a store, filled with what is read.

    "signed" and "near" are on the same store, and "pages" in memory.
    """
    settings = {
        "BACKEND": BACKENDS[backend],
        "LOCATION": location,
        "TIMEOUT": TIMEOUT,
        "KEY_PREFIX": f"process{os.getpid()}",  # a miss is to be one in each process
        "OPTIONS": SLOW if backend in NETWORK else {"max_entries": CAPACITY},
    }
    signed = {**settings, "KEY_PREFIX": f"signed{os.getpid()}", "SECRET": "of these benchmarks"}
    near = {**settings, "KEY_PREFIX": f"near{os.getpid()}", "NEAR": {"staleness": 3600}}
    pages = {**settings, "BACKEND": BACKENDS["memory"], "LOCATION": "", "OPTIONS": {}}
    known = {"default": settings, "signed": signed, "pages": pages}
    try:
        configure({**known, "near": near})
    except SettingsError:  # a commit from before NEAR
        configure(known)
    cache = caches["default"]
    _fill(cache)
    cache.set("tuples", TUPLES)
    cache.set_many({key: Random(key).randbytes(100) for key in RANDOM})
    return cache


def _fill(cache: Any) -> None:
    cache.set_many(dict.fromkeys(KEYS, VALUE))
    cache.set("number", 0)
    expect(cache.get(KEYS[-1]))


def sync_works(cache: Cache) -> Works:
    """Yield the operations of the sync face."""
    fresh = count()

    def miss() -> None:
        for _ in range(MISSES):
            cache.get_or_set(f"missing:{next(fresh)}", _compute, 60)

    yield "get", each(cache.get), len(KEYS)
    yield "get, a miss", each(cache.get, ABSENT), len(ABSENT)
    yield "set", each(lambda key: cache.set(key, VALUE)), len(KEYS)
    yield "get, 100 tuples", each(cache.get, ["tuples"] * 10), 10
    yield "get_many(100)", each(cache.get_many, [PAGE]), 1
    yield "get_many(100) of random bytes", each(cache.get_many, [RANDOM]), 1
    yield "set_many(100)", each(cache.set_many, [dict.fromkeys(PAGE, VALUE)]), 1
    yield "get_or_set, a miss", miss, MISSES
    yield "incr", each(cache.incr, ["number"] * 100), 100


def async_works(cache: Cache) -> Works:
    """Yield the operations of the async face."""
    fresh = count()

    async def miss() -> None:
        for _ in range(MISSES):
            await cache.aget_or_set(f"amissing:{next(fresh)}", _compute, 60)

    yield "aget, 1 task", aeach(cache.aget), len(KEYS)
    yield "aget, 1 task, a miss", aeach(cache.aget, ABSENT), len(ABSENT)
    yield "aget, 100 tasks", together(cache.aget), len(KEYS)
    yield "aset, 100 tasks", together(lambda key: cache.aset(key, VALUE)), len(KEYS)
    yield "aget_many(100)", aeach(cache.aget_many, [PAGE]), 1
    yield "aget_or_set, a miss", miss, MISSES


def tagged_works(cache: Cache) -> Works:
    """Yield hits of values with a tag, and of the same without."""
    tags, names = ["products"], [f"tagged:{key}" for key in PAGE]
    cache.set_many(dict.fromkeys(names, VALUE), tags=tags)

    def tagged(key: str) -> Any:
        return cache.get_or_set(key, _compute, TIMEOUT, tags=tags)

    async def atagged(key: str) -> Any:
        return await cache.aget_or_set(key, _compute, TIMEOUT, tags=tags)

    async def aplain(key: str) -> Any:
        return await cache.aget_or_set(key, _compute, TIMEOUT)

    plain = each(lambda key: cache.get_or_set(key, _compute, TIMEOUT), PAGE)
    yield "get_or_set, a hit", plain, len(PAGE)
    yield "get_or_set, a hit with a tag", each(tagged, names), len(PAGE)
    yield "aget_or_set, 1 task, a hit", aeach(aplain, PAGE), len(PAGE)
    yield "aget_or_set, 1 task, a hit with a tag", aeach(atagged, names), len(PAGE)
    yield "get, of a value with a tag", each(cache.get, names), len(PAGE)
    yield "get_many(100), of values with a tag", each(cache.get_many, [names]), 1


def burst_works(cache: Cache) -> Works:
    """Yield many misses of distinct keys at once, of an async function and of a sync one."""
    fresh = count()

    async def miss_at_once(function: Callable[[], Any]) -> None:
        keys = [f"together:{next(fresh)}" for _ in range(AT_ONCE)]
        await asyncio.gather(*(cache.aget_or_set(key, function, 60) for key in keys))

    at_once = f"aget_or_set, {AT_ONCE:,} misses at once"
    yield f"{at_once}, async", partial(miss_at_once, _acompute), AT_ONCE
    yield at_once, partial(miss_at_once, _compute), AT_ONCE


def near_works(_cache: Cache) -> Works:
    """Yield hits near of the store, and reads through the tier of what is not near."""
    near = caches["near"]
    _fill(near)
    eventually(lambda: near.get(KEYS[0]) and near.stats().near.hits, "copies are kept")
    for name, work, calls in (*_reads(near), *decorated_works(near)):
        yield f"near, {name}", work, calls
    tier: Any = near._near and near._near.tier
    for name, work, calls in _reads(near):
        yield f"not near, {name}", _after(tier.flushed, work), calls


def _reads(cache: Cache) -> Works:
    yield "get", each(cache.get), len(KEYS)
    yield "aget, 1 task", aeach(cache.aget), len(KEYS)
    yield "aget, 100 tasks", together(cache.aget), len(KEYS)


def _after(first: Callable[[], None], work: Work) -> Work:
    """Return `work` that each time begins with `first`."""

    def sync() -> None:
        first()
        work()

    async def native() -> None:
        first()
        await work()

    return native if iscoroutinefunction(work) else sync


def decorated_works(cache: Cache) -> Works:
    """Yield hits of decorated functions."""

    @cached(cache=cache)
    def product(key: str, amount: int = 1) -> bytes:
        return VALUE

    @cached(cache=cache)
    async def aproduct(key: str, amount: int = 1) -> bytes:
        return VALUE

    @cached(cache=cache)
    def of_dict(filters: dict[str, Any]) -> bytes:
        return VALUE

    class Shop:
        @cached(cache=cache, ignore=["self"])
        def price(self, key: str) -> bytes:
            return VALUE

    filters = [{"kind": key, "sizes": [1, 2, 3], "sorted": True} for key in PAGE]
    yield "@cached def, a hit", each(product), len(KEYS)
    yield "@cached async def, a hit", aeach(aproduct), len(KEYS)
    yield "@cached def of a dict, a hit", each(of_dict, filters), len(PAGE)
    yield "@cached method, a hit", each(Shop().price), len(KEYS)


def starlette_works(cache: Cache) -> Works:
    """Yield pages of Starlette: of a whole application, and of an endpoint that is decorated."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from twofold.contrib.starlette import CacheMiddleware, cached_page

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * 1000)

    def application() -> Starlette:
        decorated = cached_page(page, timeout=TIMEOUT)
        return Starlette(routes=[Route("/page", page), Route("/decorated", decorated)])

    decorated_app = CacheMiddleware(application(), cache)
    yield from _asgi("Starlette", CacheMiddleware(application(), cache, TIMEOUT), "/page")
    yield from _asgi("Starlette, cached_page", decorated_app, "/decorated")


def fastapi_works(cache: Cache) -> Works:
    """Yield pages of FastAPI, of an endpoint that depends on a header."""
    from fastapi import FastAPI, Header

    from twofold.contrib.starlette import CacheMiddleware, cached_page

    app = FastAPI()

    @app.get("/page")
    @cached_page(timeout=TIMEOUT)
    async def page(accept: str = Header("")) -> dict[str, Any]:
        return {"accept": accept, "products": PAGE}

    yield from _asgi("FastAPI, cached_page", CacheMiddleware(app, cache), "/page")


def _asgi(of: str, app: Application, path: str) -> Works:
    """Yield a hit and a miss of an ASGI application."""
    fresh = count()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        expect(message.get("status", 200), 200)

    async def visit(query: bytes) -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"testserver"), (b"accept", b"*/*")],
            "server": ("testserver", 80),
        }
        await app(scope, receive, send)

    async def miss() -> None:
        for _ in range(MISSES):
            await visit(f"q={next(fresh)}".encode())

    yield f"{of}, a page's hit", aeach(visit, [b""] * 100), 100
    yield f"{of}, a page's miss", miss, MISSES


def flask_works(_cache: Cache) -> Works:
    """Yield pages of Flask, of a view that is decorated, and a fragment of a template."""
    from flask import Flask

    from twofold.contrib.flask import Caching

    app = Flask("shop")
    caching = Caching(app)
    fresh = count()

    @app.get("/page")
    @caching.cached_page(cache="pages")
    def page() -> str:
        return "x" * 1000

    environ = app.test_request_context("/page").request.environ

    def visit(query: str) -> None:
        answer = app.wsgi_app({**environ, "QUERY_STRING": query}, lambda *_: lambda _: None)
        expect(len(b"".join(answer)), 1000)

    def miss() -> None:
        for _ in range(MISSES):
            visit(f"q={next(fresh)}")

    yield "Flask, a page's hit", each(visit, [""] * 100), 100
    fragment = "{% cache 'side', '1h', who %}{{ who }}{% endcache %}"

    def render(who: str) -> None:
        with app.app_context():
            expect(template.render(who=who), who)

    yield "Flask, a page's miss", miss, MISSES
    template = app.jinja_env.from_string(fragment)
    yield "Flask, a fragment's hit", each(render, ["me"] * 100), 100


def django_works(_cache: Cache) -> Works:
    """Yield reads by Django's interface, of a memory of its own."""
    from django.conf import settings
    from django.core.cache import cache

    memory = {"BACKEND": "twofold.contrib.django.MemoryCache", "TIMEOUT": TIMEOUT}
    settings.configure(CACHES={"default": memory}, ALLOWED_HOSTS=["*"])
    _fill(cache)
    yield "Django's get", each(cache.get), len(KEYS)
    yield "Django's set", each(lambda key: cache.set(key, VALUE)), len(KEYS)
    yield "Django's get_many(100)", each(cache.get_many, [PAGE]), 1
    yield "Django's aget", aeach(cache.aget), len(KEYS)


def django_page_works(_cache: Cache) -> Works:
    """Yield pages of Django, of a view and of an async one, and a fragment of a template."""
    from django.core.handlers.wsgi import WSGIRequest
    from django.http import HttpRequest, HttpResponse
    from django.template import Context, Engine
    from django.test import RequestFactory

    from twofold.contrib.django import cache_page

    @cache_page(TIMEOUT)
    def page(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("x" * 1000)

    @cache_page(TIMEOUT)
    async def apage(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("x" * 1000)

    environ = RequestFactory().get("/page").environ
    fresh = count()

    def request(query: str) -> HttpRequest:
        return WSGIRequest({**environ, "QUERY_STRING": query})

    def miss() -> None:
        for _ in range(MISSES):
            page(request(f"q={next(fresh)}"))

    async def ahit(query: str) -> None:
        expect((await apage(request(query))).status_code, 200)

    async def amiss() -> None:
        for _ in range(MISSES):
            await ahit(f"aq={next(fresh)}")

    yield "Django, a page's hit", each(lambda query: page(request(query)), [""] * 100), 100
    yield "Django, a page's miss", miss, MISSES
    yield "Django, an async page's hit", aeach(ahit, ["async"] * 100), 100
    yield "Django, an async page's miss", amiss, MISSES
    tags = {"twofold": "twofold.contrib.django.templatetags.twofold"}
    text = "{% load twofold %}{% cache 3600 side who %}{{ who }}{% endcache %}"
    fragment = Engine(libraries=tags).from_string(text)

    def render(who: str) -> None:
        expect(fragment.render(Context({"who": who})), who)

    yield "Django, a fragment's hit", each(render, ["me"] * 100), 100


def signed_works(_cache: Cache) -> Works:
    """Yield operations on entries that are signed."""
    signed = caches["signed"]
    _fill(signed)
    yield "signed, get", each(signed.get), len(KEYS)
    yield "signed, set", each(lambda key: signed.set(key, VALUE)), len(KEYS)
    yield "signed, incr", each(signed.incr, ["number"] * 100), 100


def large_works(cache: Cache) -> Works:
    """Yield operations on a value of 10 KB."""
    rows = [{"id": n, "name": f"name {n:05}", "price": n / 7, "there": True} for n in range(190)]
    large = {"rows": rows, "total": len(rows)}
    cache.set("large", large)
    yield "get, 10 KB", each(cache.get, ["large"] * 10), 10
    yield "set, 10 KB", each(lambda key: cache.set(key, large), ["large"] * 10), 10


EVERYWHERE = (sync_works, async_works, tagged_works)
ALSO = {
    "memory": (
        burst_works,
        decorated_works,
        starlette_works,
        fastapi_works,
        flask_works,
        django_works,
        django_page_works,
    ),
    "sqlite": (large_works, signed_works),
    "files": (large_works,),
    "redis": (near_works,),
}


def _compute() -> bytes:
    return VALUE


async def _acompute() -> bytes:
    return VALUE


def _operations(locations: Mapping[str, str]) -> dict[str, Operation]:
    found = {}
    for backend, location in locations.items():
        cache = cache_on(backend, location)
        for kind in (*EVERYWHERE, *ALSO.get(backend, ())):
            try:
                works = {f"{backend}: {name}": Operation(work, n) for name, work, n in kind(cache)}
            except (ImportError, SettingsError, TypeError) as error:
                print(f"left out: {backend}, {kind.__name__}: {error}", file=sys.stderr)
            else:
                found.update(works)
    return found


def _timed(runner: asyncio.Runner, operation: Operation, times: int) -> tuple[float, float]:
    """Return the CPU and the wall time of one call of an operation, in seconds."""
    work = operation.work
    gc.collect()
    if iscoroutinefunction(work):
        cpu, wall = runner.run(_awaited(work, times))
    else:
        begun = begin()
        for _ in range(times):
            work()
        cpu, wall = end(begun)
    return cpu / times / operation.calls, wall / times / operation.calls


async def _awaited(work: Callable[[], Coroutine[Any, Any, Any]], times: int) -> tuple[float, float]:
    begun = begin()
    for _ in range(times):
        await work()
    return end(begun)


def main() -> None:
    """Time what standard input asks for, until it ends."""
    with asyncio.Runner() as runner:
        operations = _operations(json.loads(sys.argv[1]))
        print(json.dumps({name: each.calls for name, each in operations.items()}), flush=True)
        for line in sys.stdin:
            name, times = json.loads(line)
            print(json.dumps(_timed(runner, operations[name], times)), flush=True)


if __name__ == "__main__":
    main()
