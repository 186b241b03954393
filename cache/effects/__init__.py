"""The only room that knows threads and event loops.

`faces` drives one `async def` body from sync and from async code, `background` runs what nobody
waits for, `deadline` bounds several operations by one time, `worker_pool` runs sync calls off the
loop, each of them one of `calls`, `loops` keeps what belongs to one event loop, `endings` is what
can be waited for, `loop_thread` runs coroutines in a thread beside the program, `ticker` calls what
is due again and again, `forks` tells what a child process must forget.

What needs asyncio itself is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twofold.effects.background import background, is_ending
from twofold.effects.calls import Call
from twofold.effects.deadline import ends_by, remaining, within
from twofold.effects.endings import Ending
from twofold.effects.faces import (
    BLOCKING,
    FOREGROUND,
    NATIVE,
    Blocking,
    Effects,
    Native,
    Spawned,
    run_sync,
)
from twofold.effects.forks import after_fork_in_child, leak_on_fork
from twofold.effects.locks import Lock, RLock, ThreadLocal, new_lock, new_rlock, take
from twofold.effects.loops import (
    PerLoop,
    in_event_loop,
    running_loop,
    serves_event_loop,
    this_caller,
)
from twofold.effects.ticker import Tick, Ticker, renewals

if TYPE_CHECKING:
    from twofold.effects.loop_thread import Job, LoopThread
    from twofold.effects.worker_pool import WorkerPool, call_in_thread

__all__ = [
    "BLOCKING",
    "FOREGROUND",
    "NATIVE",
    "Blocking",
    "Call",
    "Effects",
    "Ending",
    "Job",
    "Lock",
    "LoopThread",
    "Native",
    "PerLoop",
    "RLock",
    "Spawned",
    "ThreadLocal",
    "Tick",
    "Ticker",
    "WorkerPool",
    "after_fork_in_child",
    "background",
    "call_in_thread",
    "ends_by",
    "in_event_loop",
    "is_ending",
    "leak_on_fork",
    "new_lock",
    "new_rlock",
    "remaining",
    "renewals",
    "run_sync",
    "running_loop",
    "serves_event_loop",
    "take",
    "this_caller",
    "within",
]

_OF_ASYNCIO = {
    "Job": "loop_thread",
    "LoopThread": "loop_thread",
    "WorkerPool": "worker_pool",
    "call_in_thread": "worker_pool",
}

if not TYPE_CHECKING:  # to a type checker, a module with `__getattr__` has every name

    def __getattr__(name: str) -> Any:
        if name not in _OF_ASYNCIO:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_OF_ASYNCIO[name]}"), name)
        globals()[name] = found
        return found
