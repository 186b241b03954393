"""Sends every call of a cache through its `a` twin."""

import asyncio
import unittest
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from asgiref.sync import SyncToAsync, async_to_sync
from django.core.cache.backends.base import BaseCache
from django.db import connections

from tests.django_suite import pages
from tests.django_suite.places import Backend
from twofold.contrib.django import RedisCache
from twofold.contrib.django.base import TwofoldCache
from twofold.contrib.django.stores import stores
from twofold.effects import in_event_loop

FACES = ("sync", "loop", "loops")
"""Sync; through the twin in one event loop a test; and in a new loop for each call."""

sent: Counter[str] = Counter()
"""How many calls were sent through which twin."""

_TWINS = [name for name in vars(BaseCache) if f"a{name}" in vars(BaseCache)]


class OneLoop:
    """An event loop for each test, made when it is first needed."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Run `call` in the loop of this test."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(call, context=copy_context())  # which knows the language

    def end(self) -> None:
        """Close the loop; the next call has a new one."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None


class Isolating(unittest.TextTestResult):
    """Results of tests, after each of which its loop ends, and stores with bounds are empty.

    The suite clears one alias, and counts on all having gone with it.
    """

    loop: OneLoop

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - the name is unittest's
        self.loop.end()
        if Backend.store in ("memory", "sqlite"):
            for backend in stores._backends.values():
                backend.clear("")
        super().stopTest(test)


def through_twins(face: str, loop: OneLoop) -> None:
    """Replace the sync methods of our backends by calls of their twins, if `face` says so."""
    if face == "loop":
        share_connections()
        _replace(loop.run)
    elif face == "loops":
        _replace(lambda call: async_to_sync(_awaited)(call))


def share_connections() -> None:
    """Let the thread that Django keeps for sync code use the database of this one.

    In this way it is part of a test's transaction.
    """
    ours = {each.alias: each for each in connections.all()}
    for connection in ours.values():
        connection.inc_thread_sharing()
    SyncToAsync.single_thread_executor.submit(_adopt, ours).result()


def _adopt(ours: dict[str, Any]) -> None:
    for alias, connection in ours.items():
        connections[alias] = connection


def _replace(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    pages.run = run
    for name in _TWINS:
        # Django asks of some twins whether a subclass overrides the method.
        kinds = (TwofoldCache, RedisCache)  # which has some of its own
        for owner in {next(each for each in kind.__mro__ if name in vars(each)) for kind in kinds}:
            setattr(owner, name, _sync(name, vars(owner)[name], run))


def _sync(
    name: str, own: Callable[..., Any], run: Callable[[Coroutine[Any, Any, Any]], Any]
) -> Callable[..., Any]:
    """Return what calls the twin of a method, but in an event loop, as some async tests do."""

    def call(self: TwofoldCache, *args: Any, **options: Any) -> Any:
        if in_event_loop():
            return own(self, *args, **options)
        sent[f"a{name}"] += 1
        return run(getattr(self, f"a{name}")(*args, **options))

    return call


async def _awaited(call: Coroutine[Any, Any, Any]) -> Any:
    return await call
