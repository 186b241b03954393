"""What tests of async faces over a network stand on: loops of both kinds, caches to run in them."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias, TypeVar

import pytest
import uvloop

from tests.chaos.leaks import Watch, tasks
from twofold.core import Cache
from twofold.registry import build
from twofold.settings import read_cache

T = TypeVar("T")

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

uvloop.new_event_loop().close()  # the first one opens a pipe that its process keeps


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Return what runs a body in a loop, of each kind, where nothing complains or stays."""
    make_loop = LOOPS[request.param]
    complaints: list[dict[str, Any]] = []

    async def watched(body: Coroutine[Any, Any, T]) -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        watch = Watch(tasks)
        result = await body
        await watch.acheck()
        return result

    def run_body(body: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(watched(body))

    yield run_body
    gc.collect()  # has what was "never retrieved" told
    assert complaints == []


def cache_on(url: str, **options: Any) -> Cache:
    """Return a cache on the store that a URL names, with these options."""
    return build(read_cache("default", {"LOCATION": url, "OPTIONS": options}))
