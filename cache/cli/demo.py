"""The demo: what a cache saves on real input, in memory and in SQLite, from both faces."""

import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, TypeAlias

from twofold.cli.corpus import Module, count, key
from twofold.core import Cache
from twofold.effects import call_in_thread
from twofold.functions.decorators import cached
from twofold.registry import caches, configure
from twofold.testing import FACES, Face

REPEATS = 6
"""How often each module is asked for."""

ALIASES = ("memory", "sqlite")

FEWEST = len(FACES) * len(ALIASES)
"""Modules that the demo needs: one for each row."""

Counting: TypeAlias = Callable[..., Any]
Tick: TypeAlias = Callable[[str, int], None]
"""Called with the name of a row and the number of its calls that have returned."""


@dataclass(frozen=True)
class Row:
    """The calls from one face over one alias, and what they cost with and without the cache."""

    alias: str
    face: str
    modules: int
    calls: int
    hits: int
    shared: int
    computed: int
    seconds: float
    seconds_without: float

    @property
    def speed_up(self) -> float:
        """How many times faster the calls are with the cache."""
        return self.seconds_without / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Place:
    """The file of the SQLite alias, and whether the next run will find it."""

    path: Path
    kept: bool


@dataclass(frozen=True)
class Outcome:
    """What a run of the demo measured."""

    modules: int
    place: Place
    from_last_run: int
    """Results that an earlier run left in SQLite."""
    durable: int
    """Results in SQLite in all."""
    rows: list[Row]


@contextmanager
def storage() -> Iterator[Place]:
    """Give the demo's file a place in the user's cache directory, or else a temporary one."""
    folder = _cache_directory()
    if folder is not None:
        yield Place(folder / "demo.db", kept=True)
        return
    with tempfile.TemporaryDirectory(prefix="twofold-demo-", ignore_cleanup_errors=True) as name:
        yield Place(Path(name) / "demo.db", kept=False)


def _cache_directory() -> Path | None:
    """Return the user's cache directory for twofold, or None if nothing can be kept there."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    base = named if os.path.isabs(named) else os.path.expanduser(usual)
    folder = Path(base) / "twofold"
    if folder.is_absolute():
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return None


def _settings(path: Path) -> dict[str, dict[str, Any]]:
    """Return the demo's `CACHES`; other Pythons parse otherwise, and have their own prefix."""
    prefix = f"{platform.python_implementation()}-{platform.python_version()}"
    common = {"TIMEOUT": "30d", "KEY_PREFIX": prefix}
    on_disk = {"LOCATION": str(path), "OPTIONS": {"deadline": 10}}
    return {
        "memory": {"BACKEND": "memory", "LOCATION": "demo", **common},
        "sqlite": {"BACKEND": "sqlite", **on_disk, **common},
    }


def run(modules: Sequence[Module], place: Place, cold: bool, tick: Tick) -> Outcome:
    """Count what `modules` define, over both aliases from both faces; each row has a share.

    Args:
        modules: the input.
        place: where the SQLite alias has its file.
        cold: forget first what an earlier run stored.
        tick: told of each call that returns.

    Raises:
        BackendUnavailable: the file cannot be used.
    """
    configure(_settings(place.path))
    if cold:
        caches["sqlite"].clear()
    pairs = [(caches[alias], face) for alias in ALIASES for face in FACES]
    shares = [modules[first :: len(pairs)] for first in range(len(pairs))]
    durable = [key(*module) for share in shares[len(FACES) :] for module in share]
    kept = len(caches["sqlite"].get_many(durable))
    with warnings.catch_warnings():  # about what is written in the modules
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        rows = [
            _measure(cache, face, share, tick)
            for (cache, face), share in zip(pairs, shares, strict=True)
        ]
    return Outcome(len(modules), place, kept, len(durable), rows)


def calls_in_all(modules: Sequence[Module]) -> int:
    """Return the number of calls that `run` will make, with the cache and without."""
    return len(modules) * REPEATS * 2


def _measure(cache: Cache, face: Face, share: Sequence[Module], tick: Tick) -> Row:
    """Make the same calls for the modules of `share` with the cache, then without it."""
    plain: Counting = _acount if face.is_async else count
    decorated: Any = cached(cache=cache, key=key)(plain)
    asked = [*share] * REPEATS
    Random(REPEATS).shuffle(asked)  # noqa: S311  # not for secrets
    ticked = partial(tick, f"{cache.alias}, {face.name}", 1)
    seconds = _time(face, decorated, asked, ticked)
    seconds_without = _time(face, plain, asked, ticked)
    info = decorated.cache_info()
    return Row(
        alias=cache.alias,
        face=face.name,
        modules=len(share),
        calls=len(asked),
        hits=info.hits,
        shared=info.misses - info.computed,
        computed=info.computed,
        seconds=seconds,
        seconds_without=seconds_without,
    )


async def _acount(path: str, mtime_ns: int, size: int) -> dict[str, int]:
    """Do what `count` does in a thread, since parsing would freeze the event loop."""
    counts: dict[str, int] = await call_in_thread(partial(count, path, mtime_ns, size))
    return counts


def _time(
    face: Face, function: Counting, asked: Sequence[Module], ticked: Callable[[], None]
) -> float:
    """Return the seconds that calls of `function` take, made together in threads or tasks."""

    async def call(module: Module) -> None:
        result = function(*module)
        if face.is_async:
            await result
        ticked()

    def calls() -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        return (partial(call, module) for module in asked)

    started = perf_counter()
    face.run(face.together(calls()))
    return perf_counter() - started
