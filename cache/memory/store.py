"""The entries of one store: a dict with bounds.

Readers take no lock. Writers take one, and the thread that holds it may come in again:
the interpreter can run a finaliser or a signal handler during a write, and that may call the
cache. Its write is done after the one it came into.

Eviction is second chance (CLOCK): entries stand in a ring in the order they came, a hit
sets an entry's `visited` flag, and the entry at the hand goes unless its flag is set, in
which case the flag is cleared and the entry is passed over (F. J. Corbató, 1968). Entries
that were taken out leave the ring when the hand comes by; removals move it on while there
are many. A write looks at a bounded number of entries. Locks do not stand in the ring: they
stay until they end, but among copies, of which none is the only one.

Each write removes a few of the entries that have expired.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final, TypeVar
from weakref import WeakSet

from twofold import counter
from twofold.backend import Stored
from twofold.bounds import kept_by_culling
from twofold.effects import RLock, after_fork_in_child, new_rlock
from twofold.errors import BackendUnavailable, CacheError, CounterOverflow, MissingKey, NotACounter
from twofold.keys.kinds import is_lock
from twofold.memory.entry import ENTRY_BYTES, Entry, same
from twofold.memory.expiries import Expiries
from twofold.metadata import Described, HasMetadata, Meta, size_of

T = TypeVar("T")

_SECOND_CHANCES: Final = 8  # visited entries that one eviction passes over at most
_EXPIRED_PER_WRITE: Final = 4
_PASSED_PER_REMOVAL: Final = 8  # entries of the ring, looked at when it is too long
_AT_ONCE: Final = frozenset(  # steps whose callers need the result
    {"add", "incr", "compare_and_set", "replace", "compare_and_delete"}
)
_RING_AT_MOST: Final = 1.25  # times the number of entries; a longer ring is too long


class Store:
    """The entries of one `LOCATION`; reading them is free, all else goes through `do`."""

    def __init__(
        self,
        max_entries: int,
        max_bytes: int,
        cull_frequency: int | None,
        *,
        spares_locks: bool = True,
    ) -> None:
        self._spares_locks = spares_locks
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.cull_frequency = cull_frequency
        self._kept = kept_by_culling(max_entries, cull_frequency) or max_entries
        self.entries: dict[str, Entry] = {}
        self.bytes: int = 0
        self.evicted: int = 0
        self.busy: bool = False
        self._torn = False
        self.users: WeakSet[object] = WeakSet()
        self.lock: RLock = new_rlock()
        self._later: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._ring: deque[Entry] = deque()
        self._expiries = Expiries()
        after_fork_in_child(self)

    def do(self, step: Callable[..., T], *args: Any) -> T | bool:
        """Take one step: at once, or right after the step that this thread is in the midst of."""
        with self.lock:
            if self.busy:
                return self._put_off(step, args)
            try:
                self.busy = True
                if self._torn:
                    self._rebuild()
                return step(*args)
            except BaseException:  # a signal's handler, for steps themselves raise nothing
                self._torn = True
                self._rebuild()
                raise
            finally:
                try:
                    if self._later:
                        self._catch_up()
                finally:
                    self.busy = False

    def _put_off(self, step: Callable[..., object], args: tuple[Any, ...]) -> bool:
        """Have a step taken later; its caller is told that it was, and must not need more."""
        if step.__name__ in _AT_ONCE:
            raise BackendUnavailable(
                f"a finaliser or signal handler called {step.__name__} of a memory cache during"
                " another operation of it in the same thread: there, only get, set, touch,"
                " delete and clear are possible. Call the others from elsewhere"
            )
        self._later.append((step, args))
        return True

    def _catch_up(self) -> None:
        """Take the steps that were put off while another one was taken."""
        try:
            while self._later:
                step, args = self._later.popleft()
                step(*args)
        except BaseException:
            self._torn = True
            self._rebuild()
            raise

    def _rebuild(self) -> None:
        """Rebuild the ring, the expiries and the sum: a step was broken off between two of them.

        The entries themselves are right: whichever line of `put` was the last, an entry's value
        and deadline may stand together.
        """
        ring: deque[Entry] = deque()
        expiries = Expiries()
        size = 0
        first = min((entry.deadline for entry in self.entries.values()), default=0.0)
        for key, entry in self.entries.items():
            entry.size = size_of(entry.value) + len(key) + ENTRY_BYTES
            entry.bucket = None
            size += entry.size
            if entry.deadline != inf:
                expiries.move(entry, entry.deadline - first)
            if not (self._spares_locks and is_lock(key)):
                ring.append(entry)
        self._ring, self._expiries, self.bytes = ring, expiries, size
        self._torn = False

    def put(self, key: str, value: Stored, size: int, ttl: float | None, now: float) -> bool:
        """Store `value` in its own entry, and make room; False if it is too big for that."""
        size += len(key) + ENTRY_BYTES
        if size > self.max_bytes:
            return False
        deadline = inf if ttl is None else now + ttl
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry(key, value, size, deadline)
            if not (self._spares_locks and is_lock(key)):
                self._ring.append(entry)
        else:
            self.bytes -= entry.size
            # A reader looks at the deadline first: no value gets a longer life than its own.
            if deadline < entry.deadline:
                entry.deadline = deadline
            entry.value = value
            entry.size = size
            entry.deadline = deadline
            entry.visited = True
        self.bytes += size
        self._expiries.move(entry, ttl)
        if self._expiries.soonest <= now:
            self._expire(now)
        if self.bytes > self.max_bytes or len(self.entries) > self.max_entries:
            self._make_room(entry)
        return True

    def add(
        self, key: str, value: Stored, size: int, ttl: float | None, now: float
    ) -> bool | CacheError:
        """Store what is missing; errors are returned, see `incr`."""
        entry = self._live(key, now)
        if entry is None:
            return self.put(key, value, size, ttl, now)
        return HasMetadata(key) if type(entry.value) is Described else False

    def touch(self, key: str, ttl: float | None, now: float) -> bool | CacheError:
        entry = self._live(key, now)
        if entry is None:
            return False
        if type(entry.value) is Described:
            return HasMetadata(key)
        entry.deadline = inf if ttl is None else now + ttl
        self._expiries.move(entry, ttl)
        return True

    def delete(self, key: str, now: float) -> Meta | bool | None:
        """Return what the value had of metadata; None if there was no value."""
        entry = self._live(key, now)
        if entry is None:
            return None
        value = entry.value
        self._remove(entry)
        return value.meta if type(value) is Described else True

    def drop(self, key: str) -> None:
        """Take out the entry of `key`, if its time is over as well."""
        entry = self.entries.get(key)
        if entry is not None:
            self._remove(entry)

    def incr(self, key: str, delta: int, now: float) -> int | CacheError:
        """Return the sum, or the error: a step that raises was broken off, see `do`."""
        entry = self._live(key, now)
        if entry is None:
            return MissingKey(f"no counter {key!r} to add to: set it first")
        number = entry.value
        if not counter.is_counter(number):
            if type(number) is Described:
                return HasMetadata(key)
            return NotACounter(f"{key!r} does not hold a signed 64-bit integer to add to")
        try:
            entry.value = total = counter.add(number, delta)
        except CounterOverflow as error:
            return error
        entry.visited = True
        return total

    def compare_and_set(
        self,
        key: str,
        expected: Stored,
        value: Stored,
        size: int,
        ttl: float | None,
        now: float,
    ) -> bool:
        entry = self._live(key, now)
        return (
            entry is not None
            and same(entry.value, expected)
            and self.put(key, value, size, ttl, now)
        )

    def replace(self, key: str, expected: Stored, value: Stored, size: int, now: float) -> bool:
        entry = self._live(key, now)
        ttl = None if entry is None or entry.deadline == inf else entry.deadline - now
        return self.compare_and_set(key, expected, value, size, ttl, now)

    def compare_and_delete(self, key: str, expected: Stored, now: float) -> bool:
        entry = self._live(key, now)
        if entry is None or not same(entry.value, expected):
            return False
        self._remove(entry)
        return True

    def clear(self, prefix: str) -> bool:
        """Take out every entry whose key begins with `prefix`."""
        if prefix:
            for entry in [e for key, e in self.entries.items() if key.startswith(prefix)]:
                self._remove(entry)
        else:
            self.entries.clear()
            self._ring.clear()
            self._expiries = Expiries()
            self.bytes = 0
        return True

    def _live(self, key: str, now: float) -> Entry | None:
        """Return the entry of `key` unless its time is over."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.deadline > now else None

    def _remove(self, entry: Entry) -> None:
        """Take an entry out."""
        del self.entries[entry.key]
        self.bytes -= entry.size
        if entry.bucket is not None:
            entry.bucket.discard(entry.key)
            entry.bucket = None
        entry.value = None  # the ring still holds the entry
        if len(self._ring) > _RING_AT_MOST * len(self.entries) + _PASSED_PER_REMOVAL:
            self._trim_ring()

    def _expire(self, now: float) -> None:
        """Take out some of the entries whose time is over."""
        for _ in range(_EXPIRED_PER_WRITE):
            key = self._expiries.due(now)
            if key is None:
                break
            self._remove(self.entries[key])

    def _make_room(self, newcomer: Entry) -> None:
        """Evict down to the bounds, or to what a culling leaves of too many entries."""
        is_full = len(self.entries) > self.max_entries
        most = self._kept if is_full else self.max_entries
        while self.bytes > self.max_bytes or len(self.entries) > most:
            if not self._evict(newcomer):
                break

    def _evict(self, newcomer: Entry) -> bool:
        """Take out the oldest entry that was not asked for since it was looked at last.

        Never evicts the newcomer, the entry being written; False if only locks are left beside it.
        """
        chances = _SECOND_CHANCES
        while self._ring:
            entry = self._ring.popleft()
            if self.entries.get(entry.key) is not entry:
                continue
            if entry is newcomer:
                self._ring.append(entry)
                if len(self._ring) == 1:
                    return False
                continue
            if not (entry.visited and chances):
                self._remove(entry)
                self.evicted += 1
                return True
            entry.visited = False
            chances -= 1
            self._ring.append(entry)
        return False

    def _trim_ring(self) -> None:
        """Look at a few entries of the ring, and let those go that were taken out."""
        for _ in range(_PASSED_PER_REMOVAL):
            entry = self._ring.popleft()
            if self.entries.get(entry.key) is entry:
                self._ring.append(entry)

    def _after_fork(self) -> None:
        """Start with a free lock; what a writer left half done in the parent is dropped."""
        half_done, self.busy = self.busy, False
        self.lock = new_rlock()
        self._later.clear()
        if half_done:
            self.do(self.clear, "")
