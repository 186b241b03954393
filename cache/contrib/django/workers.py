"""What work in the background leaves of Django's database connections: none.

Behind sync code it runs in a thread of its own, where Django opens connections of that thread.
Behind async code what is sync, the database first of all, would run in the request's own
thread: it gets a thread of its own as well, so that the request neither waits for it nor shares
a transaction with it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from twofold.effects import background


def close_connections() -> None:
    """Close the database connections of this thread, if there is a database at all."""
    connections = getattr(sys.modules.get("django.db"), "connections", None)
    if connections is not None:
        connections.close_all()


@contextmanager
def _in_thread() -> Iterator[None]:
    try:
        yield
    finally:
        close_connections()


@contextmanager
def _in_task() -> Iterator[None]:
    own = ThreadSensitiveContext()
    SyncToAsync.thread_sensitive_context.set(own)
    try:
        yield
    finally:
        executor = SyncToAsync.context_to_thread_executor.pop(own, None)
        if executor is not None:
            with suppress(RuntimeError):  # the interpreter ends
                executor.submit(close_connections)
            executor.shutdown(wait=False)


def register() -> None:
    """Have all that runs in the background do so; a second call does nothing."""
    background.around(_in_thread)
    background.around(_in_task, tasks=True)
