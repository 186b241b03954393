"""What decorated functions of all kinds offer, whatever a call is to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from twofold.callables import body_of
from twofold.errors import BlockingCallInEventLoop, SettingsError
from twofold.functions.plan import Plan
from twofold.functions.wrapper import FunctionWrapper
from twofold.guard import in_thread

_PERMIT = 'OPTIONS["blocking_calls"] = "warn" or "allow" permits it.'


class CacheInfo(NamedTuple):
    """What the calls of a function came to, in this process."""

    hits: int
    misses: int
    computed: int
    """How often the function ran; misses that waited together share one run."""


def resemble_async(decorated: Any, plan: Plan) -> None:
    """Have a decorated function be taken for the async one that it is."""
    from asgiref.sync import markcoroutinefunction

    markcoroutinefunction(decorated)
    # Before Python 3.12 `inspect` knows async functions by their code alone.
    body = body_of(plan.function)
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        setattr(decorated, name, getattr(body, name, None))


class ManagedFunction(FunctionWrapper):
    """A decorated function, as far as it does not matter what its results are."""

    def __repr__(self) -> str:
        bound = f" of {self._bound[0]!r}" if self._bound else ""
        return f"<cached {self._plan.name}{bound} {self.cache_info()}>"

    def cache_info(self) -> CacheInfo:
        """Return the hits, misses and runs of this function in this process."""
        return CacheInfo(self._plan.hits, self._plan.misses, self._plan.computed)

    def cache_clear(self) -> None:
        """Remove all that is stored of this function, by the prefix of its keys.

        Of a method that is bound to an object it is what is stored of that object, unless there
        is a `key=`.

        Raises:
            SettingsError: `key=` is a function, or a template that begins with a field:
                then the keys have no prefix in common.
        """
        prefix = self._key_prefix()
        with self._advising("cache_clear", "()"):
            self._plan.store().clear_prefix(prefix)

    async def acache_clear(self) -> None:
        """Do what `cache_clear` does."""
        await self._plan.store().aclear_prefix(self._key_prefix())

    def _key_prefix(self) -> str:
        prefix = self._plan.keys.prefix_of(self._bound)
        if not prefix:
            raise SettingsError(
                f"the keys of {self._plan.name}() have no prefix in common:"
                " begin the key= template with a text of its own, or invalidate(...) each call"
            )
        return prefix

    @contextmanager
    def _advising(self, method: str, arguments: str = "(...)") -> Iterator[None]:
        """Name the function's own twin of `method` where the store refuses to block."""
        try:
            yield
        except BlockingCallInEventLoop:
            name = self._plan.name
            raise BlockingCallInEventLoop(
                f"{name}.{method}() uses the cache {self._plan.store().alias!r}, which blocks, and"
                f" an event loop is running in this thread: `await {name}.a{method}{arguments}`"
                f" instead. {_PERMIT}"
            ) from None

    def _advice(self) -> str:
        name = self._plan.name
        return (
            f"{name}() is cached in {self._plan.store().alias!r}, which blocks, and an event loop"
            f" is running in this thread: make {name} an `async def`, or"
            f" {in_thread(name)}, or read what is stored with `await {name}.aget(...)`. {_PERMIT}"
        )
