"""The demo: the main job on real input, over an alias in memory and one in SQLite."""

import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from twofold.cli.corpus import Corpus, Module
from twofold.cli.counting import Counts
from twofold.cli.ways import WAYS, Request, Way, key
from twofold.core import Cache
from twofold.registry import caches, configure

REPEATS = 6
"""How often each module is asked for, in each way."""

PER_REQUEST = 5
"""Modules that one request asks for."""

FEWEST = len(WAYS) * 2
"""Modules that the demo needs: one for each way and alias."""


@dataclass(frozen=True)
class Row:
    """One way over one alias: its calls, and what they cost with and without the cache."""

    alias: str
    way: str
    face: str
    modules: int
    requests: int
    calls: int
    hits: int
    shared: int
    computed: int
    seconds: float
    """Measured: all the calls, through the cache."""
    seconds_without: float
    """Measured: the same calls, in the same way, without the cache."""
    longest_pause: float | None
    """Of the event loop, in seconds; None where there is none."""

    @property
    def speed_up(self) -> float:
        """Return how many times faster the calls are with the cache."""
        return self.seconds_without / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Place:
    """The file of the SQLite alias, and whether the next run will find it."""

    path: Path
    kept: bool


@dataclass(frozen=True)
class Outcome:
    """All that a run of the demo found out."""

    corpus: Corpus
    place: Place
    kept_results: int
    """Results of the SQLite alias that an earlier run had stored."""
    durable_results: int
    """Results of the SQLite alias in all."""
    rows: list[Row]
    counts: dict[Module, Counts]
    """What was counted, as read back from both aliases."""
    seconds: float


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


def settings(path: Path) -> dict[str, dict[str, Any]]:
    """Return the demo's `CACHES`; other Pythons parse otherwise, and have their own prefix."""
    common = {
        "TIMEOUT": "30d",
        "KEY_PREFIX": f"{platform.python_implementation()}-{platform.python_version()}",
    }
    return {
        "memory": {"BACKEND": "memory", "LOCATION": "demo", **common},
        "sqlite": {
            "BACKEND": "sqlite",
            "LOCATION": str(path),
            "OPTIONS": {"deadline": 10},
            **common,
        },
    }


def run(corpus: Corpus, place: Place, cold: bool, tick: Callable[[str, int], None]) -> Outcome:
    """Count what the modules of `corpus` define, in every way over both aliases.

    Args:
        corpus: the modules; each way over each alias has a share of its own.
        place: where the SQLite alias has its file.
        cold: forget first what an earlier run stored.
        tick: called with the name of a way and a number of calls, once they are answered.

    Raises:
        BackendUnavailable: the file cannot be used.
    """
    started = perf_counter()
    configure(settings(place.path))
    if cold:
        caches["sqlite"].clear()
    ways = [way(caches[alias]) for alias in ("memory", "sqlite") for way in WAYS]
    shares = [corpus.modules[first :: len(ways)] for first in range(len(ways))]
    durable = [module for share in shares[len(WAYS) :] for module in share]
    kept = len(read_back(caches["sqlite"], durable))
    with warnings.catch_warnings():  # about what is written in the modules
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        rows = [measure(way, share, tick) for way, share in zip(ways, shares, strict=True)]
    counts: dict[Module, Counts] = {}
    for way, share in zip(ways, shares, strict=True):
        counts.update(read_back(way.store, share))
    return Outcome(corpus, place, kept, len(durable), rows, counts, perf_counter() - started)


def measure(way: Way, share: Sequence[Module], tick: Callable[[str, int], None]) -> Row:
    """Serve the same requests for the modules of `share` through the cache, then without it."""

    def ticked(calls: int) -> None:
        tick(f"{way.store.alias}, {way.face} {way.name}", calls)

    requests = overlapping(share)
    cached = way.serve(requests, ticked)
    uncached = way.serve_uncached(requests, ticked)
    tally = way.tally()
    return Row(
        alias=way.store.alias,
        way=way.name,
        face=way.face,
        modules=len(share),
        requests=len(requests),
        calls=sum(map(len, requests)),
        hits=tally.hits,
        shared=tally.shared,
        computed=tally.computed,
        seconds=cached.seconds,
        seconds_without=uncached.seconds,
        longest_pause=cached.longest_pause,
    )


def overlapping(modules: Sequence[Module]) -> list[Request]:
    """Return requests that ask for each module `REPEATS` times, in a shuffled order."""
    asked = list(modules) * REPEATS
    Random(REPEATS).shuffle(asked)  # noqa: S311  # not for secrets
    return [asked[at : at + PER_REQUEST] for at in range(0, len(asked), PER_REQUEST)]


def calls_in_all(corpus: Corpus) -> int:
    """Return the number of calls that `run` will make, with the cache and without."""
    return len(corpus.modules) * REPEATS * 2


def read_back(store: Cache, modules: Sequence[Module]) -> dict[Module, Counts]:
    """Return what is stored of `modules`, read in one round trip."""
    keys = {key(each.path, each.mtime_ns, each.size): each for each in modules}
    return {keys[name]: counts for name, counts in store.get_many(keys).items()}
