"""Which caches an application has: those of the process, or its own.

In most processes there is one application, and its `CACHES` are the settings of the
process: `twofold.cache` and `@cached` use them too. A second application with the same
`CACHES` shares its caches; one with others has its own, and leaves the process alone.
Where there are no `CACHES`, but Flask-Caching's `CACHE_TYPE` and its like, these count.
"""

import logging
from weakref import finalize

from flask import Flask

from twofold.contrib.flask import flask_caching
from twofold.effects import after_fork_in_child, new_lock
from twofold.registry import Caches, RawCaches, caches
from twofold.settings import CacheConfig, read_caches

CONFIG_KEY = "CACHES"

_log = logging.getLogger("twofold")


def settings_of(app: Flask) -> RawCaches | None:
    """Return the settings that an application has: `CACHES`, or what Flask-Caching's mean.

    Raises:
        SettingsError: some of the latter cannot be had.
    """
    if CONFIG_KEY in app.config or flask_caching.TYPE not in app.config:
        return app.config.get(CONFIG_KEY)
    caches, ignored = flask_caching.translate(app.config)
    if ignored:
        told = "; ".join(f"{name}: {why}" for name, why in ignored.items())
        _log.info("settings of Flask-Caching that are not needed: %s", told)
    return caches


class _Claim:
    """What applications have given to the process as its settings."""

    def __init__(self) -> None:
        self.configs: dict[str, CacheConfig] | None = caches._configs
        self.holders: int = 0

    def __repr__(self) -> str:
        return f"<settings that {self.holders} applications hold to>"

    def stands(self) -> bool:
        """Tell whether these are the settings of the process yet."""
        return self.holders > 0 and caches._configs is self.configs


class _Process:
    """Gives the settings of the process to the first application that has any."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._claim: _Claim | None = None
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<process with {self._claim!r}>"

    def take(self, raw: RawCaches) -> _Claim | None:
        """Make `raw` the settings of the process; None if an application has given others."""
        configs = read_caches({"default": raw} if isinstance(raw, str) else raw)
        with self._lock:
            claim = self._claim
            if claim is None or not claim.stands():
                caches.configure(raw)
                claim = self._claim = _Claim()
            if claim.configs != configs:
                return None
            claim.holders += 1
            return claim

    def leave(self, claim: _Claim) -> None:
        """Note that an application is closed; after the last, the next one may take its place."""
        with self._lock:
            claim.holders -= 1

    def _after_fork(self) -> None:
        self._lock = new_lock()


_process = _Process()


class AppCaches:
    """The caches that one application uses.

    Args:
        app: its `CACHES` are read; without such it uses what the process is configured with.

    Raises:
        SettingsError: something in `CACHES` is unknown or cannot be.
    """

    def __init__(self, app: Flask) -> None:
        raw = settings_of(app)
        self._claim = None if raw is None else _process.take(raw)
        self.of_process: bool = raw is None or self._claim is not None
        self.all: Caches = caches
        if not self.of_process:
            self.all = Caches()
            self.all.configure(raw)
            finalize(self, _let_go, self.all)  # at the end of the process, if not before

    def __repr__(self) -> str:
        return f"<AppCaches {'of the process' if self.of_process else 'its own'} {self.all!r}>"

    def close(self) -> None:
        """Close the caches, and let another application give its settings to the process."""
        self.all.close_all()
        if self._claim is not None:
            _process.leave(self._claim)
            self._claim = None


def _let_go(caches: Caches) -> None:
    for cache in list(caches.built.values()):
        cache.backend.close()
