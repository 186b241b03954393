"""The drop-in for Redis, with what django-redis adds to Django's cache there."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol, cast

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.utils.module_loading import import_string

from twofold.contrib.django.base import pickled_if_lazy
from twofold.contrib.django.clients import Clients
from twofold.contrib.django.hashes import HashesCache
from twofold.contrib.django.sets import SetsCache
from twofold.contrib.django.sorted_sets import SortedSetsCache
from twofold.contrib.django.swaps import add_beyond, set_over
from twofold.effects import BLOCKING, NATIVE, Effects, run_sync
from twofold.errors import BackendUnavailable, CounterOverflow, NotACounter
from twofold.keys.maker import may_be_of_value
from twofold.timeouts import Timeout

_PAGE = 1000  # keys that the server looks at for one reply
_ESCAPED = {ord(each): f"\\{each}" for each in "*?[]^-\\"}


class Page(Protocol):
    """Some keys, and where the next page begins."""

    @property
    def keys(self) -> list[str]:
        """Full keys, as they are stored."""

    @property
    def next(self) -> Any | None:
        """Where the next page begins; None after the last one."""


class Lists(Protocol):
    """A store that lists its keys."""

    def page_of_keys(self, pattern: str, count: int, *after: Any) -> Page:
        """Return a page of the keys that match a pattern."""

    async def apage_of_keys(self, pattern: str, count: int, *after: Any) -> Page:
        """Do what `page_of_keys` does."""


class RedisCache(SetsCache, HashesCache, SortedSetsCache):
    """A cache on Redis or Valkey; `LOCATION` is a URL, or several.

    Patterns are Redis': `*` for any text, `?` for any character, `[ab]` for one of some. The keys
    that match are looked for among all of the server, some 1,000 a round trip (`itersize`).
    """

    store = "redis"

    def set(  # type: ignore[override]  # Django's returns nothing
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        nx: bool = False,
        xx: bool = False,
    ) -> bool:
        """Store `value`, and return whether it was stored.

        With `nx` only if `key` is missing, with `xx` only if it is there.
        """
        if nx:
            return self.add(key, value, timeout, version, stale=stale, tags=tags)
        if xx:
            return run_sync(self._set_over(BLOCKING, key, value, timeout, version, stale, tags))
        return super().set(key, value, timeout, version, stale=stale, tags=tags)

    async def aset(  # type: ignore[override]
        self,
        key: Any,
        value: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
        nx: bool = False,
        xx: bool = False,
    ) -> bool:
        if nx:
            return await self.aadd(key, value, timeout, version, stale=stale, tags=tags)
        if xx:
            return await pickled_if_lazy(
                lambda v: self._set_over(NATIVE, key, v, timeout, version, stale, tags), value
            )
        return await super().aset(key, value, timeout, version, stale=stale, tags=tags)

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether `key` is there, or a lock of that name is held."""
        full = self.make_and_validate_key(key, version)
        return self.cache.has_key(full) or self._is_held(full)

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        full = self.make_and_validate_key(key, version)
        return await self.cache.ahas_key(full) or await self._ais_held(full)

    def incr(
        self, key: Any, delta: int = 1, version: int | None = None, ignore_key_check: bool = False
    ) -> int:
        """Add `delta`, atomically, keeping the expiry; return the sum, which may be of any size.

        A missing `key` is a ValueError, with `ignore_key_check` a 0 that lives for ever.
        """
        full = self.make_and_validate_key(key, version)
        if ignore_key_check:
            self.cache.add(full, 0, None)
        try:
            return self.cache.incr(full, delta)
        except (CounterOverflow, NotACounter):
            return run_sync(add_beyond(BLOCKING, self.cache, self.cache._key(full), delta))

    async def aincr(
        self, key: Any, delta: int = 1, version: int | None = None, ignore_key_check: bool = False
    ) -> int:
        full = self.make_and_validate_key(key, version)
        if ignore_key_check:
            await self.cache.aadd(full, 0, None)
        try:
            return await self.cache.aincr(full, delta)
        except (CounterOverflow, NotACounter):
            return await add_beyond(NATIVE, self.cache, self.cache._key(full), delta)

    @property
    def client(self) -> Clients:
        """redis-py's own client of the server, by `client.get_client()`."""
        return Clients(self)

    def keys(self, search: str, version: int | None = None) -> list[str]:
        """Return the keys that match a pattern."""
        return list(self.iter_keys(search, version=version))

    async def akeys(self, search: str, version: int | None = None) -> list[str]:
        return [key async for key in self.aiter_keys(search, version=version)]

    def iter_keys(
        self, search: str, itersize: int | None = None, version: int | None = None
    ) -> Iterator[str]:
        """Return the keys that match a pattern, as they are found.

        One that is written or removed meanwhile may be missing, and one whose value is being
        computed, or is stale, be among them.
        """
        name, told = self._reversed(), set[str]()
        for page in self._pages(self._pattern(search, version), itersize):
            for key in page.keys:
                if key not in told:
                    told.add(key)
                    yield name(key)

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: int | None = None
    ) -> AsyncIterator[str]:
        name, told = self._reversed(), set[str]()
        async for page in self._apages(self._pattern(search, version), itersize):
            for key in page.keys:
                if key not in told:
                    told.add(key)
                    yield name(key)

    def delete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,
    ) -> int:
        """Remove the keys that match a pattern, and return how many were there.

        With a `prefix` the keys are those of another `KEY_PREFIX`.
        """
        cache, removed = self.cache, 0
        for page in self._pages(self._pattern(pattern, version, prefix), itersize):
            if found := cache._detached(filter(may_be_of_value, page.keys)):
                removed += cache._deleted(cache._fresh.delete_many(found))
        return removed

    async def adelete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        itersize: int | None = None,
    ) -> int:
        cache, removed = self.cache, 0
        async for page in self._apages(self._pattern(pattern, version, prefix), itersize):
            if found := cache._detached(filter(may_be_of_value, page.keys)):
                removed += cache._deleted(await cache._fresh.adelete_many(found))
        return removed

    async def _set_over(
        self,
        io: Effects,
        key: Any,
        value: Any,
        timeout: Timeout,
        version: int | None,
        stale: Timeout,
        tags: Iterable[str],
    ) -> bool:
        [full], life = self._at(key, version=version), self._life(timeout)
        if self.cache._guard is not None and io is BLOCKING:
            self.cache._guard("set")
        if life is not None and life <= 0:
            return await io.op(self.delete, self.adelete, key, version)
        return await set_over(io, self.cache, full, value, life, stale, tags)

    def _is_held(self, full: str) -> bool:
        return self.cache._backend.has(self.cache._keys.lock(full))

    async def _ais_held(self, full: str) -> bool:
        return await self.cache._backend.ahas(self.cache._keys.lock(full))

    def _pages(self, pattern: str, size: int | None) -> Iterator[Page]:
        if self.cache._guard is not None:
            self.cache._guard("iter_keys")
        read, after = cast("Lists", self.cache.backend).page_of_keys, _FIRST
        while after is not None:
            try:
                page = read(pattern, size or _PAGE, *after)
            except BackendUnavailable as error:
                return self._fail(error)
            yield page
            after = None if page.next is None else (page.next,)

    async def _apages(self, pattern: str, size: int | None) -> AsyncIterator[Page]:
        read, after = cast("Lists", self.cache.backend).apage_of_keys, _FIRST
        while after is not None:
            try:
                page = await read(pattern, size or _PAGE, *after)
            except BackendUnavailable as error:
                self._fail(error)
                return
            yield page
            after = None if page.next is None else (page.next,)

    def _fail(self, error: BackendUnavailable) -> None:
        """Note an outage, in which no more keys are found; raise it if that is what is wanted."""
        if self.cache._fail_open is None or not self.cache.fails_open:
            raise error
        self.cache._fail_open.outage.fail(error)

    def _pattern(self, pattern: str, version: int | None, prefix: str | None = None) -> str:
        """Return the pattern of full keys; what comes before it in them is no pattern."""
        before = self.key_prefix if prefix is None else prefix
        number = str(self.version if version is None else version)
        made: str = self.key_func(pattern, before.translate(_ESCAPED), number.translate(_ESCAPED))
        return made

    def _reversed(self) -> Callable[[str], str]:
        """Return what makes the caller's key of a full one."""
        options = {str(name).lower(): each for name, each in self._params.items()}
        options |= {str(n).lower(): each for n, each in (options.get("options") or {}).items()}
        given = options.get("reverse_key_function") or _after_version
        function: Callable[[str], str] = import_string(given) if isinstance(given, str) else given
        return function


_FIRST: tuple[Any, ...] | None = ()


def _after_version(key: str) -> str:
    """Return what Django's own `KEY_FUNCTION` puts behind the prefix and the version."""
    return key.split(":", 2)[2]
