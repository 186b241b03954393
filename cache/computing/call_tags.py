"""The tags of what one call of a function computes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from twofold.effects import Effects
from twofold.errors import BackendUnavailable
from twofold.freshness.policy import Policy
from twofold.metadata import Pins
from twofold.tags.generations import Tags
from twofold.tags.names import Tagging, tag_names

_UNKNOWN_LIFE: Final = 3600.0
"""Seconds that generations are kept before it is known how long the result is."""


class CallTags:
    """The tags of the values of some keys, which one call computes.

    Args:
        tags: those of the cache.
        policy: what becomes of the values.
        names: the tags of each key, as far as they are known before.
        note: is told of a failure of the store, for which nothing is stored.
    """

    def __init__(
        self,
        tags: Tags,
        policy: Policy,
        names: Mapping[str, Tagging],
        note: Callable[[BackendUnavailable], None],
    ) -> None:
        self._tags = tags
        self._by_result = policy.tags if callable(policy.tags) else None
        self._names = names
        self._note = note
        self._life = _life(policy)
        self._epoch: Any = None
        self._generations: dict[str, Any] = {}
        self.failed: bool = False
        """Whether the store could not tell what the tags are."""

    async def begin(self, io: Effects) -> None:
        """Pin what is known before the function runs: invalidations from now on count."""
        try:
            if self._by_result is not None:
                self._epoch = await self._tags.epoch(io)
            else:
                await self._pin(io, self._names.values())
        except BackendUnavailable as exc:
            self._fail(exc)

    async def end(self, io: Effects, values: Mapping[str, Any]) -> dict[str, Pins | None]:
        """Return the tags of all keys; `values` are those that are to be kept.

        None says that some tag may have been invalidated meanwhile, maybe one of these: one was, or
        the store could not tell. So it does of a key without a value to keep, whose tags nobody
        can tell.
        """
        keys = list(self._names)
        if self._by_result is not None:
            names = {key: tag_names(self._by_result(value)) for key, value in values.items()}
            self._names = {key: names.get(key, ()) for key in keys}
            untold = [key for key in keys if names.get(key) != ()]
            try:
                if untold and not (self.failed or await self._pin_results(io, names)):
                    return {key: None if key in untold else () for key in keys}
            except BackendUnavailable as exc:
                self._fail(exc)
        return dict.fromkeys(keys) if self.failed else {key: self.of(key) for key in keys}

    def of(self, key: str) -> Pins:
        """Return the tags of a key as far as they are known."""
        if callable(names := self._names[key]):
            return ()
        return tuple((name, self._generations[name]) for name in names)

    async def _pin_results(self, io: Effects, names: Mapping[str, Iterable[str]]) -> bool:
        """Pin what the results tell; tell whether no tag was invalidated during the call."""
        await self._pin(io, names.values())
        return bool(await self._tags.epoch(io) == self._epoch)

    async def extend(self, io: Effects, life: float | None) -> None:
        """Have the tags live as long as the values, which was not known before."""
        if not self.failed:
            try:
                await self._tags.pin(io, self._generations, life)
            except BackendUnavailable as exc:
                self._fail(exc)

    async def _pin(self, io: Effects, names: Iterable[Tagging]) -> None:
        every = dict.fromkeys(name for each in names if not callable(each) for name in each)
        if every:
            self._generations = dict(await self._tags.pin(io, list(every), self._life))

    def _fail(self, error: BackendUnavailable) -> None:
        self.failed = True
        self._note(error)


def _life(policy: Policy) -> float | None:
    """Return how long the store keeps a value, or an error, at most."""
    ttl = _UNKNOWN_LIFE if callable(policy.ttl) else policy.ttl
    lives = [None if ttl is None else ttl + policy.stale, *policy.errors.values()]
    return None if None in lives else max(each for each in lives if each is not None)
