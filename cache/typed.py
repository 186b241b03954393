"""A cache as one of values of one type: `users = cache.typed(User)`."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, Unpack, overload

from twofold.errors import SettingsError
from twofold.freshness.options import Freshness
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout
from twofold.types import Shape, of_type

T = TypeVar("T")
D = TypeVar("D")


class TypedCache(Generic[T]):
    """The operations of a cache that give or take values, for values of one type.

    Keys are those of the cache. What is there and of another type is missing here; it is found
    by functions that are annotated with the type. The methods are those of `Cache`.

    Args:
        find: looks the cache up.
        kind: the type.

    Raises:
        SettingsError: nothing knows how to store values of the type.
    """

    def __init__(self, find: Callable[[], Any], kind: Any) -> None:
        self._kind = kind
        self._cache = of_type(find, lambda: Shape(kind))
        try:
            Shape(kind).fitted(rich=True)
        except NameError:  # of a field's type that comes later
            pass
        except Exception as exc:  # whatever stands in annotations
            raise SettingsError(f"typed() cannot store values of {kind!r}: {exc}") from exc

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._kind!r} in {self._cache()!r}>"

    @overload
    def get(
        self,
        key: str,
        default: None = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> T | None: ...

    @overload
    def get(
        self, key: str, default: D, version: int | None = None, *, allow_stale: bool = False
    ) -> T | D: ...

    def get(
        self,
        key: str,
        default: Any = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Any:
        """Return the value of `key`, or `default`; see `Cache.get`."""
        return self._cache().get(key, default, version, allow_stale=allow_stale)

    @overload
    async def aget(
        self,
        key: str,
        default: None = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> T | None: ...

    @overload
    async def aget(
        self, key: str, default: D, version: int | None = None, *, allow_stale: bool = False
    ) -> T | D: ...

    async def aget(
        self,
        key: str,
        default: Any = None,
        version: int | None = None,
        *,
        allow_stale: bool = False,
    ) -> Any:
        """Do what `get` does."""
        return await self._cache().aget(key, default, version, allow_stale=allow_stale)

    def get_many(
        self, keys: Iterable[str], version: int | None = None, *, allow_stale: bool = False
    ) -> dict[str, T]:
        """Return the values of those of `keys` that are there; see `Cache.get_many`."""
        found: dict[str, T] = self._cache().get_many(keys, version, allow_stale=allow_stale)
        return found

    async def aget_many(
        self, keys: Iterable[str], version: int | None = None, *, allow_stale: bool = False
    ) -> dict[str, T]:
        """Do what `get_many` does."""
        found: dict[str, T] = await self._cache().aget_many(keys, version, allow_stale=allow_stale)
        return found

    def set(
        self,
        key: str,
        value: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store `value`; see `Cache.set`.

        Raises:
            CannotSerialize: it is not of the type.
        """
        stored: bool = self._cache().set(key, value, timeout, version, stale=stale, tags=tags)
        return stored

    async def aset(
        self,
        key: str,
        value: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Do what `set` does."""
        stored: bool = await self._cache().aset(
            key, value, timeout, version, stale=stale, tags=tags
        )
        return stored

    def set_many(
        self,
        data: Mapping[str, T],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> list[str]:
        """Store all of `data`, and return the keys that failed; see `Cache.set_many`."""
        failed: list[str] = self._cache().set_many(data, timeout, version, stale=stale, tags=tags)
        return failed

    async def aset_many(
        self,
        data: Mapping[str, T],
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> list[str]:
        """Do what `set_many` does."""
        failed: list[str] = await self._cache().aset_many(
            data, timeout, version, stale=stale, tags=tags
        )
        return failed

    def add(
        self,
        key: str,
        value: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Store `value` only if `key` is missing, to whatever type; see `Cache.add`."""
        stored: bool = self._cache().add(key, value, timeout, version, stale=stale, tags=tags)
        return stored

    async def aadd(
        self,
        key: str,
        value: T,
        timeout: Timeout = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        stale: Timeout = None,
        tags: Iterable[str] = (),
    ) -> bool:
        """Do what `add` does."""
        stored: bool = await self._cache().aadd(
            key, value, timeout, version, stale=stale, tags=tags
        )
        return stored

    def get_or_set(
        self,
        key: str,
        default: Callable[[], T] | T,
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T:
        """Return the value of `key`; if it is missing, store and return `default`.

        See `Cache.get_or_set`. What a function computes of another type is returned and not
        stored.
        """
        value: T = self._cache().get_or_set(key, default, timeout, version, **freshness)
        return value

    async def aget_or_set(
        self,
        key: str,
        default: Callable[[], Awaitable[T]] | Callable[[], T] | T,
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> T:
        """Do what `get_or_set` does; `default` may be an async function."""
        value: T = await self._cache().aget_or_set(key, default, timeout, version, **freshness)
        return value

    def get_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Mapping[str, T]],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> dict[str, T]:
        """Return the values of `keys`, of which `function` brings those that are missing.

        See `Cache.get_or_set_many`.
        """
        cache = self._cache()
        found: dict[str, T] = cache.get_or_set_many(keys, function, timeout, version, **freshness)
        return found

    async def aget_or_set_many(
        self,
        keys: Iterable[str],
        function: Callable[[list[str]], Awaitable[Mapping[str, T]] | Mapping[str, T]],
        timeout: Timeout | Callable[[T], Timeout] = DEFAULT_TIMEOUT,
        version: int | None = None,
        **freshness: Unpack[Freshness],
    ) -> dict[str, T]:
        """Do what `get_or_set_many` does; `function` may be async."""
        cache = self._cache()
        found: dict[str, T] = await cache.aget_or_set_many(
            keys, function, timeout, version, **freshness
        )
        return found

    def delete(self, key: str, version: int | None = None) -> bool:
        """Remove `key`, whatever is there; see `Cache.delete`."""
        gone: bool = self._cache().delete(key, version)
        return gone

    async def adelete(self, key: str, version: int | None = None) -> bool:
        """Do what `delete` does."""
        gone: bool = await self._cache().adelete(key, version)
        return gone
