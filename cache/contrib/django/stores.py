"""The caches behind Django's, one for each entry of `CACHES` and process.

Django makes a new cache object for each thread, and under ASGI for each request. These
objects are thin; what has connections is here, shared by all of them.
"""

import atexit
from collections.abc import Callable, Hashable, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from django.core.cache import InvalidCacheBackendError
from django.core.signals import setting_changed

from twofold.assembly import build_backend, parts_over
from twofold.backend import Backend
from twofold.claims.renewal import rest
from twofold.contrib.django.settings import frozen
from twofold.contrib.django.translation import PROJECT
from twofold.contrib.django.workers import register
from twofold.core import Cache
from twofold.effects import after_fork_in_child, background, new_lock
from twofold.errors import SettingsError
from twofold.keys import KeyMaker
from twofold.settings import CacheConfig, placed, read_cache

_SETTINGS = frozenset({"CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS", *PROJECT})


class Stores:
    """Caches by the settings that made them; entries for the same place share a backend."""

    def __init__(self) -> None:
        self.generation: int = 0
        """How often everything was forgotten."""
        self._lock = new_lock()
        self._caches: dict[Hashable, Cache] = {}
        self._backends: dict[Hashable, Backend] = {}
        self.beside: list[Callable[[], None]] = []
        """What else is to let go of connections with these."""
        after_fork_in_child(self)

    def get(
        self,
        key: Hashable,
        alias: Callable[[], str],
        settings: Callable[[], Mapping[str, Any]],
        keys: Callable[[str], KeyMaker],
    ) -> Cache:
        """Return the cache of `key`, made as `settings` says when first asked for.

        Args:
            key: what is equal for equal settings.
            alias: tells the name of the entry.
            settings: tells the entry in twofold's own terms.
            keys: makes keys for the prefix of claims.

        Raises:
            InvalidCacheBackendError: the settings ask for what cannot be.
        """
        cache = self._caches.get(key)
        return self._make(key, alias(), settings, keys) if cache is None else cache

    def _make(
        self,
        key: Hashable,
        alias: str,
        settings: Callable[[], Mapping[str, Any]],
        keys: Callable[[str], KeyMaker],
    ) -> Cache:
        try:
            with placed(f"CACHES[{alias!r}]"):
                raw = settings()
            config = read_cache(alias, raw)
            with self._lock:
                parts = parts_over(self._backend(config), config, keys(config.key_prefix))
                return self._caches.setdefault(key, Cache._of(parts))
        except SettingsError as error:
            raise InvalidCacheBackendError(str(error)) from error

    def _backend(self, config: CacheConfig) -> Backend:
        place = frozen((config.backend, config.location, config.options))
        if place not in self._backends:
            self._backends[place] = build_backend(config)
        return self._backends[place]

    def close(self) -> None:
        """Let go of connections, files and threads; the next operation takes them again.

        What is being refreshed in the background is waited for, for the store's deadline at most.
        """
        with ExitStack() as stack:  # one that fails keeps no other open
            for let_go in self.beside:
                stack.callback(let_go)
            for backend in list(self._backends.values()):
                stack.callback(backend.close)
            stack.callback(rest)
            for cache in list(self._caches.values()):
                stack.callback(cache._close_near)
                stack.callback(background.drain, cache._claims, cache.backend.deadline)

    async def aclose(self) -> None:
        """Do what `close` does."""
        async with AsyncExitStack() as stack:
            for let_go in self.beside:
                stack.callback(let_go)
            for backend in list(self._backends.values()):
                stack.push_async_callback(backend.aclose)
            stack.callback(rest)
            for cache in list(self._caches.values()):
                stack.callback(cache._close_near)
                stack.push_async_callback(background.adrain, cache._claims, cache.backend.deadline)

    def forget(self) -> None:
        """Close all, and build again from the settings; what is in memory stays there."""
        self.close()
        with self._lock:
            self.generation += 1
            self._caches.clear()
            inline = {key: each for key, each in self._backends.items() if each.kind == "inline"}
            self._backends = inline

    def _after_fork(self) -> None:
        self._lock = new_lock()


stores: Stores = Stores()


def close_all() -> None:
    """Close the connections, files and threads of all of Django's caches that are ours."""
    stores.close()


async def aclose_all() -> None:
    """Do what `close_all` does."""
    await stores.aclose()


def _forget(*, setting: str, **_: Any) -> None:
    if setting in _SETTINGS:
        stores.forget()


register()
setting_changed.connect(_forget)
atexit.register(close_all)
