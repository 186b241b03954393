"""Callers of a store in both faces, who go on while a test harms their servers."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.chaos import eventually
from twofold.backend import Backend
from twofold.effects import run_sync
from twofold.errors import BackendUnavailable
from twofold.testing import FACES, Face

_PAUSE = 0.002  # seconds between two calls of a worker
_TO_END = 10.0  # seconds for the workers to end
_EACH = 8  # workers in each face
_SMALL, _LARGE = 40, 90_000  # bytes; the large ones have a connection of their own

KEYS = [f"key:{n}" for n in range(100)]


def value_of(key: str, size: int = _SMALL) -> bytes:
    """Return a value that holds nothing but its key, many times."""
    return (key.encode() + b";") * (size // len(key) + 1)


def is_right(key: str, value: bytes | None) -> bool:
    """Whether a value is missing, or one of those that are stored under its key."""
    return value in (None, value_of(key), value_of(key, _LARGE))


class Worker:
    """One caller, and what it has seen."""

    def __init__(self, face: Face, backend: Backend, keys: Sequence[str], number: int) -> None:
        self.succeeded = 0
        self.failed: Counter[str] = Counter()
        """Errors that a caller must be ready for, by their kind."""
        self.unexpected: list[BaseException] = []
        self.wrong: list[str] = []
        self.longest = 0.0
        """Seconds that the longest call took."""
        self._face = face
        self._store = face.view(backend)
        self._keys = keys
        self._random = random.Random(number)

    async def run(self, ending: threading.Event) -> None:
        """Call, until the event is set or something unexpected happens."""
        while not ending.is_set() and not self.unexpected:
            before = time.monotonic()
            try:
                await self._call()
                self.succeeded += 1
            except BackendUnavailable as error:
                self.failed[type(error).__name__] += 1
            except BaseException as error:
                self.unexpected.append(error)
            self.longest = max(self.longest, time.monotonic() - before)
            await self._pause()

    async def _call(self) -> None:
        """Do one operation on random keys, and check what comes."""
        key, other, third = self._random.sample(self._keys, 3)
        chance = self._random.random()
        if chance < 0.5:
            self._check({key: await self._store.get(key)})
        elif chance < 0.7:
            self._check(await self._store.get_many([key, other, third]))
        elif chance < 0.85:
            size = _LARGE if chance < 0.71 else _SMALL
            assert await self._store.set(key, value_of(key, size), 60)
        elif chance < 0.95:
            items = {each: value_of(each) for each in (key, other)}
            if await self._store.set_many(items, 60):
                self.failed["not all stored"] += 1
        else:
            await self._store.delete_many([key, other])

    def _check(self, found: dict[str, bytes | None]) -> None:
        self.wrong += [
            f"{key}: {value[:60]!r}"
            for key, value in found.items()
            if value is not None and not is_right(key, value)
        ]

    async def _pause(self) -> None:
        if self._face.is_async:
            await asyncio.sleep(_PAUSE)
        else:
            time.sleep(_PAUSE)


class Load:
    """Eight threads in the sync face and eight tasks in the async one, all on one backend."""

    def __init__(self, backend: Backend, keys: Sequence[str] = KEYS) -> None:
        self.workers = [Worker(face, backend, keys, n) for n, face in enumerate(FACES * _EACH)]
        self._backend = backend
        self._ending = threading.Event()
        bodies = [
            *(lambda worker=worker: run_sync(worker.run(self._ending)) for worker in self._of(0)),
            lambda: asyncio.run(self._tasks()),
        ]
        self._threads = [threading.Thread(target=body, name="load") for body in bodies]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        try:
            self.await_success()
        except BaseException:
            self._ending.set()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        ends = time.monotonic() + _TO_END
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        frozen = [thread for thread in self._threads if thread.is_alive()]
        assert not frozen, f"frozen: {frozen}"
        self.check()

    @property
    def succeeded(self) -> int:
        """How many calls have done what they should."""
        return sum(worker.succeeded for worker in self.workers)

    @property
    def failed(self) -> Counter[str]:
        """How many calls have failed by an error that callers know, by its kind."""
        return sum((worker.failed for worker in self.workers), Counter[str]())

    @property
    def longest(self) -> float:
        """Seconds that the longest call took."""
        return max(worker.longest for worker in self.workers)

    def await_success(self, seconds: float = 10.0) -> None:
        """Wait until every worker has had success again."""
        before = [worker.succeeded for worker in self.workers]

        def all_have() -> bool:
            now = [worker.succeeded for worker in self.workers]
            return all(n > m for n, m in zip(now, before, strict=True)) or self._is_broken()

        eventually(all_have, f"each worker succeeds; {self._backend!r}", seconds)
        self.check()

    def await_failure(self, seconds: float = 10.0) -> None:
        """Wait until calls have failed in each face."""
        before = [self._failures(of) for of in (0, 1)]

        def both_have() -> bool:
            now = [self._failures(of) for of in (0, 1)]
            return all(n > m for n, m in zip(now, before, strict=True)) or self._is_broken()

        eventually(both_have, f"calls fail in each face; {self._backend!r}", seconds)
        self.check()

    def check(self) -> None:
        """Check that nobody was given another key's value, or an error that nobody expects."""
        wrong = [each for worker in self.workers for each in worker.wrong]
        assert not wrong, f"{len(wrong)} wrong values: {wrong[:5]}"
        unexpected = [each for worker in self.workers for each in worker.unexpected]
        if unexpected:
            raise AssertionError(f"{len(unexpected)} unexpected: {unexpected[:5]!r}") from (
                unexpected[0]
            )

    def _is_broken(self) -> bool:
        return any(worker.unexpected or worker.wrong for worker in self.workers)

    def _failures(self, face: int) -> int:
        return sum(worker.failed.total() for worker in self._of(face))

    def _of(self, face: int) -> list[Worker]:
        return self.workers[face :: len(FACES)]

    async def _tasks(self) -> None:
        await asyncio.gather(*[worker.run(self._ending) for worker in self._of(1)])
