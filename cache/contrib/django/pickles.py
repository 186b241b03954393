"""Pickled values, as Django's caches keep them."""

import pickle
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error as DatabaseError

from twofold.codecs.immutables import is_immutable
from twofold.codecs.serializers import Pickle
from twofold.errors import CannotSerialize


class CannotPickle(CannotSerialize, pickle.PicklingError):
    """A value that pickle refuses; code written for Django expects a `PickleError`."""


class DjangoPickle(Pickle):
    """Pickle, which says in Django's terms what it cannot hold."""

    def dumps(self, value: Any) -> bytes:
        try:
            return super().dumps(value)
        except CannotSerialize as exc:
            if isinstance(exc.__cause__, DatabaseError):
                raise exc.__cause__ from None
            raise CannotPickle(str(exc)) from exc.__cause__


class Unkept(DjangoPickle):
    """Nothing at all: a value that is not kept may be one that pickle refuses."""

    def dumps(self, value: Any) -> bytes:
        return b""


class Pickled:
    """A value that was pickled in a thread; pickled again, it comes back as that value."""

    def __init__(self, value: Any) -> None:
        self._data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self._data,)


def needs_thread(error: CannotSerialize) -> bool:
    """Tell whether a value could not be pickled because that asks the database."""
    return isinstance(error.__cause__, SynchronousOnlyOperation)


async def pickled(value: Any) -> Pickled:
    """Pickle `value` in the thread that may use the database."""
    return await sync_to_async(Pickled, thread_sensitive=True)(value)


async def evaluated(value: Any) -> Any:
    """Return `value`, made ready for being pickled in an event loop."""
    if not is_immutable(value):
        try:
            DjangoPickle().dumps(value)
        except CannotSerialize as exc:
            if needs_thread(exc):
                await pickled(value)  # a lazy QuerySet then holds what it found
    return value
