"""The caches of a process, by alias: built from the settings when first asked for."""

import atexit
import copyreg
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pickle import PicklingError
from types import MethodType
from typing import Any, Never, TypeAlias

from twofold import private
from twofold.assembly import parts_of
from twofold.backend import Backend
from twofold.claims.renewal import rest
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.core import Cache
from twofold.display import mask_url, scheme
from twofold.effects import after_fork_in_child, new_lock
from twofold.errors import SettingsError
from twofold.settings import (
    CacheConfig,
    backend_class,
    concerns_caches,
    find,
    follow_django,
    read,
    read_caches,
    split_options,
    tell,
)
from twofold.spelling import did_you_mean
from twofold.standins import StandIn

RawCaches: TypeAlias = Mapping[str, Mapping[str, Any] | str] | str


def check(config: CacheConfig) -> None:
    """Raise `SettingsError` if `config` names a backend or option that is not there."""
    split_options(config, backend_class(config))


def build(config: CacheConfig, clock: Clock = SYSTEM_CLOCK) -> Cache:
    """Return a cache as `config` says; nothing is connected or opened yet."""
    return Cache._of(parts_of(config, clock))


class Caches:
    """The caches by alias, each built once, whatever thread asks first.

    The settings are read at the first use; `configure` replaces them.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._clock = SYSTEM_CLOCK
        self._configs: dict[str, CacheConfig] | None = None
        self._found: str = ""  # where; empty for settings that were given
        self._kept: dict[tuple[type, str], Backend] = {}
        self.built: dict[str, Cache] = {}
        self.era: object = object()
        """Another one as soon as an alias may be another cache."""
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Caches {', '.join(self)}>"

    def __getitem__(self, alias: str) -> Cache:
        cache = self.built.get(alias)
        return self._build(alias) if cache is None else cache

    def __contains__(self, alias: str) -> bool:
        return alias in self._read()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._read()))

    def __len__(self) -> int:
        return len(self._read())

    def configure(self, caches: RawCaches | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Use `caches` from now on: a dict like Django's `CACHES`, or one URL for "default".

        Without `caches` the settings are looked for again where they are kept. The caches
        built so far are closed, and what they had in memory goes, unless another cache uses it.

        Raises:
            SettingsError: something in `caches` is unknown or cannot be; all is as it was.
        """
        raw = {"default": caches} if isinstance(caches, str) else caches
        configs = None if raw is None else read_caches(raw)
        for config in (configs or {}).values():
            check(config)
        self._replace(configs, clock, Cache._retire_store)

    @contextmanager
    def override(self, caches: RawCaches, *, clock: Clock = SYSTEM_CLOCK) -> Iterator[None]:
        """Use `caches` within a `with` block, for a test; settings and caches before come back."""
        with self._lock:
            before = self._configs, self._clock, self._found, self.built
            self.built = {}
        try:
            self.configure(caches, clock=clock)
            yield
        finally:
            with self._lock:
                built = list(self.built.values())
                self._configs, self._clock, self._found, self.built = before
                self.era = object()
                vars(cache).clear()
            with ExitStack() as stack:
                for each in built:
                    stack.callback(each._retire_store)

    def close_all(self) -> None:
        """Close every cache that was built, private ones too; see `Cache.close`."""
        with ExitStack() as stack:  # one that fails keeps no other open
            stack.callback(rest)  # for caches that `configure` has replaced
            stack.callback(private.close_all)
            for each in list(self.built.values()):
                stack.callback(each.close)

    async def aclose_all(self) -> None:
        """Do what `close_all` does."""
        async with AsyncExitStack() as stack:
            stack.callback(rest)
            stack.push_async_callback(private.aclose_all)
            for each in list(self.built.values()):
                stack.push_async_callback(each.aclose)

    def _replace(
        self, configs: dict[str, CacheConfig] | None, clock: Clock, end: Callable[[Cache], None]
    ) -> None:
        """Take other settings, None for those that are to be found; `end` the caches so far."""
        with self._lock:
            built = list(self.built.values())
            self._configs, self._clock, self._found = configs, clock, ""
            self.built, self.era = {}, object()
            vars(cache).clear()
        with ExitStack() as stack:
            for old in built:
                stack.callback(end, old)

    def _build(self, alias: str) -> Cache:
        """Return the cache of `alias`, which another thread may have built meanwhile."""
        configs, clock, built = self._read(), self._clock, self.built
        if alias not in configs:
            near = did_you_mean(alias, configs)
            if scheme(alias) is not None:
                near = ": a store that is in no settings is Cache(…) of the URL"
            raise SettingsError(
                f"no cache {mask_url(alias)!r} in CACHES, which has"
                f" {', '.join(map(repr, configs))}{near}"
                f" (settings: {self._found or 'from configure()'})"
            )
        made = build(configs[alias], clock)
        with self._lock:
            kept = built.setdefault(alias, made)
        if kept is not made:
            made.close()
        return kept

    def _read(self) -> dict[str, CacheConfig]:
        """Return the settings; reading them imports modules, so no lock is held over it."""
        configs = self._configs
        if configs is None:
            source = find()
            found = read(source)
            with self._lock:
                if self._configs is None:
                    self._configs, self._found = found, source.name
                configs = self._configs
            tell(logging.INFO, f"settings: {source.name}")
            follow_django(self._django_changed)
        return configs

    def _django_changed(self, *, setting: str, **_: Any) -> None:
        """Look for the settings again when a test replaces those of Django.

        What is in memory stays there, as in Django's own caches.
        """
        if self._found and concerns_caches(setting):
            inline = [each.backend for each in self.built.values() if each.backend.kind == "inline"]
            self._kept |= {(type(each), str(each.location)): each for each in inline}
            self._replace(None, SYSTEM_CLOCK, Cache._close_store)

    def _after_fork(self) -> None:
        self._lock = new_lock()


class _DefaultCache(StandIn):
    """The cache "default" of the settings; `cache.set("k", 1, timeout=60)`, `cache.get("k")`.

    In async code `await cache.aset(…)`, `await cache.aget(…)`; each operation has such a twin.
    """

    # It is looked up when first used, and again after `configure`. Its methods are kept as
    # attributes, so that using it costs no more than the cache.

    def _found(self) -> Cache:
        return caches["default"]

    def __getattr__(self, name: str) -> Any:
        era = caches.era
        value = super().__getattr__(name)
        if type(value) is MethodType:
            vars(self)[name] = value
            if caches.era is not era:  # `configure` came in between
                vars(self).pop(name, None)
        return value

    def __reduce__(self) -> str:
        return "cache"


def _reduce(cache: Cache) -> Any:
    """Pickle a cache as its alias."""
    if caches.built.get(cache.alias) is not cache:
        raise PicklingError(
            f"{cache!r} cannot be pickled: only caches of the settings can, by their alias. Make it"
            " in each process"
        )
    return _by_alias, (cache.alias,)


def _by_alias(alias: str) -> Cache:
    return caches[alias]


copyreg.pickle(Cache, _reduce)

cache: Cache = _DefaultCache()
caches: Caches = Caches()


def configure(
    caches_by_alias: RawCaches | None = None, /, *, clock: Clock = SYSTEM_CLOCK, **others: Never
) -> None:
    """Use these settings from now on; see `Caches.configure`."""
    for name in others:
        raise SettingsError(
            f"configure() takes no {name!r}: give it a URL, configure('redis://localhost'), or a"
            " dict by alias, configure({'default': {'BACKEND': 'redis', 'LOCATION': …}})"
        )
    caches.configure(caches_by_alias, clock=clock)


def close_all() -> None:
    """Close every cache that was built, private ones too; see `Cache.close`."""
    caches.close_all()


async def aclose_all() -> None:
    """Do what `close_all` does."""
    await caches.aclose_all()


atexit.register(close_all)
