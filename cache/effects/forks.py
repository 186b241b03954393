"""What a forked child must forget.

Locks may be held by threads that do not exist in the child; executors have lost their
threads; closing an inherited transport or connection would disturb the parent's. So the
child replaces all of them and keeps the old ones alive, untouched, for ever.
"""

import os
import weakref
from typing import Any, Protocol


class Forkable(Protocol):
    """An object with process-bound state."""

    def _after_fork(self) -> None:
        """Replace all locks, threads and connections; hand the old ones to `leak_on_fork`."""


_forkables: "weakref.WeakValueDictionary[int, Forkable]" = weakref.WeakValueDictionary()
_leaked: list[Any] = []


def after_fork_in_child(thing: Forkable) -> None:
    """Have `thing._after_fork()` run in every child forked while `thing` lives."""
    _forkables[id(thing)] = thing


def leak_on_fork(*things: Any) -> None:
    """Keep `things` from ever being freed in this process."""
    _leaked.extend(things)


def _forget() -> None:
    for thing in list(_forkables.values()):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
