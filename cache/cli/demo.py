"""The demo: what one cache saves on real work, asked by threads and by tasks."""

import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeAlias

from twofold.cli.corpus import Module, count, key
from twofold.core import Cache
from twofold.effects import call_in_thread
from twofold.functions.decorators import cached
from twofold.testing import FACES, Face

REPEATS = 6
"""How often each file is asked about."""

_SYNC, _ASYNC = FACES

Counting: TypeAlias = Callable[..., Any]
Tick: TypeAlias = Callable[[str], None]
"""Called with the name of a way whenever one of its calls has returned."""


@dataclass(frozen=True)
class Way:
    """The same questions, asked in one way, and what became of each."""

    name: str
    questions: int
    parsed: int
    """Answers for which a file was parsed."""
    joined: int
    """Answers of those that asked while another was parsing the file, and were given its result."""
    found: int
    """Answers that were in the cache."""
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run of the demo measured."""

    files: int
    without: Way
    in_threads: Way
    in_a_loop: Way

    @property
    def ways(self) -> list[Way]:
        """All, in the order in which they were measured."""
        return [self.without, self.in_threads, self.in_a_loop]

    @property
    def saved_parses(self) -> int:
        """How often the cache saved threads from parsing."""
        return self.without.parsed - self.in_threads.parsed

    @property
    def saved_seconds(self) -> float:
        """How much longer the threads took without the cache."""
        return self.without.seconds - self.in_threads.seconds


def run(modules: Sequence[Module], tick: Tick) -> Outcome:
    """Ask what each of `modules` defines, without a cache and with one; nothing of it stays.

    The cache is a file in a temporary folder. Tasks ask after the threads, of the same cache.
    """
    asked = [*modules] * REPEATS
    Random(REPEATS).shuffle(asked)  # noqa: S311  # not for secrets
    with warnings.catch_warnings():  # about what is written in the modules
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        without = _without(asked, tick)
        with TemporaryDirectory(prefix="twofold-demo-", ignore_cleanup_errors=True) as folder:
            cache = Cache(f"sqlite:///{Path(folder) / 'demo.db'}", options={"deadline": 10})
            try:
                in_threads = _with(cache, "threads, @cached", count, _SYNC, asked, tick)
                in_a_loop = _with(cache, "tasks, @cached", _acount, _ASYNC, asked, tick)
            finally:
                cache.close()
    return Outcome(len(modules), without, in_threads, in_a_loop)


def calls_in_all(modules: Sequence[Module]) -> int:
    """Return the number of calls that `run` will make."""
    return len(modules) * REPEATS * 3


def _without(asked: Sequence[Module], tick: Tick) -> Way:
    name = "threads, no cache"
    seconds = _time(_SYNC, count, asked, partial(tick, name))
    return Way(name, len(asked), parsed=len(asked), joined=0, found=0, seconds=seconds)


def _with(
    cache: Cache, name: str, function: Counting, face: Face, asked: Sequence[Module], tick: Tick
) -> Way:
    decorated: Any = cached(cache=cache, key=key)(function)
    seconds = _time(face, decorated, asked, partial(tick, name))
    info = decorated.cache_info()
    return Way(
        name,
        len(asked),
        parsed=info.computed,
        joined=info.misses - info.computed,
        found=info.hits,
        seconds=seconds,
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
