"""Thread primitives for rooms that need them without knowing threads."""

import threading

Lock = threading.Lock
RLock = threading.RLock
ThreadLocal = threading.local


def new_lock() -> threading.Lock:
    """Return a lock held only over a few instructions, never over I/O or an await."""
    return threading.Lock()


def take(lock: threading.Lock, seconds: float, taken: list[bool]) -> bool:
    """Take `lock` within `seconds`, and tell whether it is: `taken` then has something in it.

    That is one call, after which alone a signal's handler can raise. So who gives `taken`
    from within `try` knows in `finally` whether to release the lock, whatever came.
    """
    taken += filter(None, map(lock.acquire, (True,), (max(0.0, seconds),)))
    return bool(taken)


def new_rlock() -> threading.RLock:
    """Return such a lock that the thread which holds it may take again."""
    return threading.RLock()
