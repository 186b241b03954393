"""Thread primitives for rooms that need them without knowing threads."""

import threading

Lock = threading.Lock
ThreadLocal = threading.local


def new_lock() -> threading.Lock:
    """Return a lock held only over a few instructions, never over I/O or an await."""
    return threading.Lock()


def new_rlock() -> threading.RLock:
    """Return such a lock that the thread which holds it may take again."""
    return threading.RLock()
