"""What a process keeps near of a far store, and until when it may be served.

Three rules make a copy as good as the far store's own answer:

- *No stale fill.* Who reads the far store is registered before the read is sent. Whatever changes
  the key meanwhile, a foreign write that the watch tells of or a write of this process, ends
  the registration, and what was read is then not kept.
- *No lost message.* Copies are served while the clock has not passed the time that the watch
  vouches for, which the reader compares: a thread that was frozen cannot serve what it missed.
  When the watch becomes live again, all is dropped.
- *No second life.* A copy lives for what the far entry had left when the read was sent.

What was near when the watch was lost stays, unconfirmed: it is served only where the far store
cannot be asked, as a stale value.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

from twofold.backend import Backend, Stored
from twofold.clock import SYSTEM_CLOCK, Clock
from twofold.effects import after_fork_in_child
from twofold.memory.entry import Entry
from twofold.memory.store import Store
from twofold.metadata import Described, size_of
from twofold.near.options import NearOptions
from twofold.stats import NearStats
from twofold.tags.stored import is_generation
from twofold.watch import Watch

_NEVER: Final = -inf
_UNTOLD_FOR: Final = 1.0  # seconds after which a watch that was refused is looked at again


class Tier:
    """The copies of one cache.

    Args:
        store: the far one.
        prefixes: what the keys begin with that are kept.
        options: their bounds and life.
    """

    def __init__(self, store: Backend, prefixes: Sequence[str], options: NearOptions) -> None:
        self.hits: int = 0
        """Copies that were hits of `get`, which are counted here alone: counting costs a tenth."""
        self.others: int = 0
        """Those of all else, which the cache counts as well."""
        self.valid_until: float = _NEVER
        """The time by the store's monotonic clock until which copies are served, unasked."""
        self._store = Store(options.max_entries, options.max_bytes, None, spares_locks=False)
        self.find: Callable[[str], Entry | None] = self._store.entries.get
        self.clock: Clock = store.clock
        self._far = store
        self._prefixes = tuple(prefixes)
        self._options = options
        self.reads: dict[str, object] = {}
        """The reads that go on, by key, each registered before it is sent; what is not registered
        any more is not kept."""
        self._watch: Watch | None = None
        self._opens = True
        self._told = True
        self._life = options.life(told=True)
        self._losses = 0
        after_fork_in_child(self)

    def __repr__(self) -> str:
        store = self._store
        return f"<Tier {len(store.entries)} entries, {store.bytes} of {store.max_bytes} bytes>"

    def extend(self, now: float) -> bool:
        """Tell whether copies may be served now, having asked the watch for how long."""
        if self._opens:
            self._open()
        watch, losses = self._watch, self._losses
        if watch is None:
            return now < self.valid_until
        # Time passes between the two clocks' readings, so the first one was `now`.
        left = watch.valid_until() - SYSTEM_CLOCK.monotonic()
        refused = left == _NEVER and watch.refused
        if refused is self._told:
            self._note_told(not refused)
            self.flushed()  # a copy that somebody was to end has a longer life than one of now
        if refused:
            left = _UNTOLD_FOR
        with self._store.lock:
            if losses == self._losses:
                self.valid_until = now + left
        return now < self.valid_until

    def get(self, key: str) -> Stored | None:
        """Return the copy of `key`, if one may be served without asking the watch."""
        entry, now = self.find(key), self.clock.monotonic()
        if entry is None or now >= entry.deadline or now >= self.valid_until:
            return None
        entry.visited = True
        return entry.value

    def confirmed(self, key: str, now: float) -> Stored | None:
        """Return the copy of `key` if the watch, being asked, says that it may be served."""
        if not self.extend(now):
            return None
        entry = self.find(key)
        if entry is None or entry.deadline <= now:
            return None
        self.others += 1
        return entry.value

    def keep(self, key: str, read: object, copy: Stored, left: float | None, sent: float) -> None:
        """Keep what a read brought, unless the key was changed since it was sent.

        Args:
            key: what was read.
            read: its registration.
            copy: what to keep.
            left: the seconds that the far entry had left, more than 0; None for ever.
            sent: the monotonic time before the read was sent.
        """
        self._store.do(self._keep, key, read, copy, size_of(copy), left, sent)

    def _keep(
        self, key: str, read: object, copy: Stored, size: int, left: float | None, sent: float
    ) -> None:
        """Do that in one step of the store, into which a finaliser's write cannot come."""
        if self.reads.get(key) is not read or self.valid_until == _NEVER:
            return
        life, store = self._life, self._store
        if life is None or (left is not None and left <= life):
            store.put(key, copy, size, left, sent)
        elif type(copy) is not Described:
            store.put(key, copy, size, life, sent)
        elif store.put(key, copy, size, left, sent):  # it stays, for an outage
            store.entries[key].deadline = sent + life

    def drop(self, keys: Iterable[str]) -> None:
        """Drop the copies of `keys`, and keep nothing of what is being read of them."""
        store = self._store
        with store.lock:
            for key in keys:
                self.reads.pop(key, None)
                store.do(store.drop, key)

    def drop_prefix(self, prefix: str) -> None:
        """Do so for all keys that begin with `prefix`."""
        with self._store.lock:
            for key in [each for each in self.reads if each.startswith(prefix)]:
                self.reads.pop(key, None)
            self._store.do(self._store.clear, prefix)

    def changed(self, keys: Sequence[str]) -> None:
        """Do what a `Watcher` does: foreign writes end copies as own ones do."""
        self.drop(keys)

    def flushed(self) -> None:
        self.drop_prefix("")

    def lost(self) -> None:
        with self._store.lock:
            self._losses += 1
            self.valid_until = _NEVER
            self.reads.clear()

    def unconfirmed(self, key: str) -> Stored | None:
        """Return the copy of `key` as a stale one; None if it has no life as such, or is gone."""
        entry = self.find(key)
        if entry is None or (self._life is None and entry.deadline <= self.clock.monotonic()):
            return None  # without a life of its own it ends as the far one does
        copy = entry.value
        if is_generation(copy):
            return copy
        time = self.clock.time()
        if type(copy) is not Described or copy.meta.hard <= time:
            return None
        meta = copy.meta
        return Described(copy.kept, meta._replace(soft=min(meta.soft, time)))

    def forget(self, key: str) -> None:
        """Drop the copy of `key`, which was read anew where nothing can be kept."""
        if key in self._store.entries:
            self.drop([key])

    def stats(self) -> NearStats:
        """Return how it does."""
        store, options, watch = self._store, self._options, self._watch
        state = None if watch is None else watch.state
        return NearStats(
            hits=self.hits + self.others,
            entries=len(store.entries),
            bytes=store.bytes,
            evicted=store.evicted,
            staleness=options.staleness if self._told else self._life,
            watch=state,
        )

    def close(self) -> None:
        """End the watch; the next read begins another one."""
        self.lost()
        watch, self._watch, self._opens = self._watch, None, True
        if watch is not None:
            watch.close()
        self.flushed()

    def _open(self) -> None:
        """Begin to watch; one of several threads does."""
        with self._store.lock:
            opens, self._opens = self._opens, False
        if not opens:
            return
        try:
            self._watch = self._far.watch(self._prefixes, self, self._options.staleness)
        except BaseException:
            self._opens = True
            raise
        self._note_told(self._watch is not None)
        if not self._told:
            self.valid_until = inf

    def _note_told(self, told: bool) -> None:
        self._told, self._life = told, self._options.life(told=told)

    def _after_fork(self) -> None:
        """Start empty: what the parent is told of, this process is not yet."""
        self._losses += 1
        self._opens, self.valid_until = self._watch is None, _NEVER
        self.reads = {}
        self._store.do(self._store.clear, "")
