"""What was invalidated while it was being computed (RFC 9111, 4.4)."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import count

from twofold.effects import after_fork_in_child, new_lock, park

_MOST = 4096  # keys


class Invalidations:
    """Tells whether a key was invalidated, in this process, since a page began to be made.

    Of keys that are forgotten, for there are too many, it says so for safety.
    """

    def __init__(self) -> None:
        self._count = count(1)
        self._forgotten = 0
        self._last: OrderedDict[str, int] = OrderedDict()
        self._lock = new_lock()
        after_fork_in_child(self)

    def __repr__(self) -> str:
        return f"<Invalidations of {len(self._last)} keys>"

    def begin(self) -> int:
        """Return the moment that a page begins to be made."""
        return next(self._count)

    def note(self, keys: Iterable[str]) -> None:
        """Take note that `keys` are invalidated now."""
        with self._lock:
            for key in keys:
                self._last.pop(key, None)
                self._last[key] = next(self._count)
                if len(self._last) > _MOST:
                    self._forgotten = self._last.popitem(last=False)[1]

    def hit(self, key: str, begun: int) -> bool:
        """Tell whether `key` may have been invalidated after `begun`."""
        return max(self._last.get(key, 0), self._forgotten) > begun

    def _after_fork(self) -> None:
        park(self._lock)
        self._lock = new_lock()
