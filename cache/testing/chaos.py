"""A backend that fails or is slow, when a test tells it to."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from random import Random

from twofold.backend import Backend, Fill, Looked, Stored
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import after_fork_in_child, new_lock
from twofold.errors import BackendUnavailable, SettingsError
from twofold.registry import build
from twofold.settings import read_cache
from twofold.spelling import did_you_mean
from twofold.watch import Watch, Watcher

OPERATIONS = frozenset(
    {
        "add",
        "clear",
        "compare_and_delete",
        "compare_and_set",
        "delete",
        "delete_many",
        "fill",
        "fill_many",
        "get",
        "get_many",
        "get_or_claim",
        "get_or_claim_many",
        "has",
        "incr",
        "look",
        "look_many",
        "release",
        "release_many",
        "renew",
        "replace",
        "set",
        "set_and_delete",
        "set_many",
        "touch",
        "ttl",
    }
)
"""What can be made to fail, and is counted."""


class ChaosBackend(Backend):
    """Another backend, of which some operations fail or take their time.

    Without further arguments it does neither. It is a threaded backend whatever the inner
    one is: async calls hop to worker threads, and it is there that delays are spent. All
    attributes may be changed at any time, `failure_rate` for instance to end an outage.

    Args:
        location: the inner backend's, if `inner` names one.
        inner: a backend; or its short name, dotted path or URL.
        failure_rate: the share of operations that raise `error`: 0.0 none, 1.0 all.
        error: what they raise, an exception or a class of exceptions.
        delay_rate: the share of operations that take `delay` longer.
        delay: seconds.
        operations: names of the operations that are concerned; None concerns all. Both
            faces go by the sync name: "get", "get_many", "set", …
        seed: makes the choice of operations the same in every run.
        deadline: seconds that an async operation may take.
        clock: tells the time to an inner backend that is named.

    Attributes:
        calls: how often each operation was asked for, failures included.
    """

    def __init__(
        self,
        location: str = "",
        *,
        inner: Backend | str = "memory",
        failure_rate: float = 0.0,
        error: BaseException | type[BaseException] = BackendUnavailable,
        delay_rate: float = 1.0,
        delay: float = 0.0,
        operations: Collection[str] | None = None,
        seed: int | None = None,
        deadline: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.inner: Backend = inner if isinstance(inner, Backend) else _open(inner, location, clock)
        # Each is what the store itself says: a wrapper cannot know before it wraps.
        self.holds_objects: bool = self.inner.holds_objects
        self.thread_sensitive: bool = self.inner.thread_sensitive
        self.hides_stubs: bool = self.inner.hides_stubs
        self.tells_metadata: bool = self.inner.tells_metadata
        super().__init__(self.inner.location, deadline=deadline, clock=self.inner.clock)
        self.failure_rate: float = _share("failure_rate", failure_rate)
        self.error = error
        self.delay_rate: float = _share("delay_rate", delay_rate)
        self.delay = delay
        self.operations: Collection[str] | None = None if operations is None else _known(operations)
        self.calls: Counter[str] = Counter()
        self._random = Random(seed)  # noqa: S311 - it chooses what fails in a test
        self._lock = new_lock()
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return (
            f"<ChaosBackend failure_rate={self.failure_rate} delay={self.delay}"
            f" over {self.inner!r}>"
        )

    def get(self, key: str) -> Stored | None:
        return self._reach("get").get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return self._reach("get_many").get_many(keys)

    def look(self, key: str) -> Looked | None:
        return self._reach("look").look(key)

    def look_many(self, keys: Sequence[str]) -> dict[str, Looked]:
        return self._reach("look_many").look_many(keys)

    def watch(self, prefixes: Sequence[str], watcher: Watcher, bound: float) -> Watch | None:
        return self.inner.watch(prefixes, watcher, bound)

    def set(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._reach("set").set(key, value, ttl)

    def set_many(self, items: Mapping[str, Stored], ttl: float | None) -> list[str]:
        return self._reach("set_many").set_many(items, ttl)

    def add(self, key: str, value: Stored, ttl: float | None) -> bool:
        return self._reach("add").add(key, value, ttl)

    def touch(self, key: str, ttl: float | None) -> bool:
        return self._reach("touch").touch(key, ttl)

    def ttl(self, key: str) -> float | None:
        return self._reach("ttl").ttl(key)

    def delete(self, key: str) -> bool:
        return self._reach("delete").delete(key)

    def delete_many(self, keys: Sequence[str]) -> int:
        return self._reach("delete_many").delete_many(keys)

    def set_and_delete(self, key: str, value: Stored, keys: Sequence[str]) -> None:
        self._reach("set_and_delete").set_and_delete(key, value, keys)

    def has(self, key: str) -> bool:
        return self._reach("has").has(key)

    def incr(self, key: str, delta: int) -> int:
        return self._reach("incr").incr(key, delta)

    def get_or_claim(self, key: str, stub: Stored, life: float) -> Stored | None:
        return self._reach("get_or_claim").get_or_claim(key, stub, life)

    def fill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return self._reach("fill").fill(key, stub, value, ttl)

    async def afill(self, key: str, stub: Stored, value: Stored, ttl: float | None) -> bool:
        return await self._worker_pool(self.fill, key, stub, value, ttl)

    def get_or_claim_many(
        self, keys: Sequence[str], stub: Stored, life: float
    ) -> dict[str, Stored | None]:
        return self._reach("get_or_claim_many").get_or_claim_many(keys, stub, life)

    def fill_many(self, fills: Mapping[str, Fill]) -> dict[str, bool]:
        return self._reach("fill_many").fill_many(fills)

    def release_many(self, held: Mapping[str, Stored]) -> dict[str, bool]:
        return self._reach("release_many").release_many(held)

    def renew(self, key: str, stub: Stored, life: float) -> bool:
        return self._reach("renew").renew(key, stub, life)

    async def arenew(self, key: str, stub: Stored, life: float) -> bool:
        return await self._worker_pool(self.renew, key, stub, life)

    def release(self, key: str, stub: Stored) -> bool:
        return self._reach("release").release(key, stub)

    async def arelease(self, key: str, stub: Stored) -> bool:
        return await self._worker_pool(self.release, key, stub)

    def compare_and_set(self, key: str, expected: Stored, value: Stored, ttl: float | None) -> bool:
        return self._reach("compare_and_set").compare_and_set(key, expected, value, ttl)

    def replace(self, key: str, expected: Stored, value: Stored) -> bool:
        return self._reach("replace").replace(key, expected, value)

    def compare_and_delete(self, key: str, expected: Stored) -> bool:
        return self._reach("compare_and_delete").compare_and_delete(key, expected)

    def clear(self, prefix: str) -> None:
        self._reach("clear").clear(prefix)

    def close(self) -> None:
        super().close()
        self.inner.close()

    def retire(self) -> None:
        self.close()
        self.inner.retire()

    def _reach(self, operation: str) -> Backend:
        """Return the inner backend, late or not at all."""
        with self._lock:
            self.calls[operation] += 1
            concerned = self.operations is None or operation in self.operations
            slow = concerned and self._random.random() < self.delay_rate
            fails = concerned and self._random.random() < self.failure_rate
        if slow and self.delay:
            time.sleep(self.delay)
        if fails:
            raise self._error(operation)
        return self.inner

    def _error(self, operation: str) -> BaseException:
        if isinstance(self.error, type):
            return self.error(f"{operation} failed, as ChaosBackend was told to let it")
        return self.error

    def _after_fork(self) -> None:
        self._lock = new_lock()


def _open(inner: str, location: str, clock: Clock) -> Backend:
    """Return the backend that a short name, a dotted path or a URL stands for."""
    raw = inner if "://" in inner else {"BACKEND": inner, "LOCATION": location}
    return build(read_cache("inner", raw), clock).backend


def _share(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SettingsError(f"OPTIONS[{name!r}] is a share from 0.0 to 1.0, not {value!r}")
    return float(value)


def _known(operations: Collection[str]) -> frozenset[str]:
    if isinstance(operations, str | bytes):
        raise SettingsError(f"OPTIONS['operations'] is a list of names: [{operations!r}]")
    for name in operations:
        if name not in OPERATIONS:
            raise SettingsError(
                f"OPTIONS['operations'] names {name!r}, which is no operation of a backend"
                f"{did_you_mean(name, OPERATIONS)}"
            )
    return frozenset(operations)
