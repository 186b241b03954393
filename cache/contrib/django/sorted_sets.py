"""Sorted sets, as django-redis has them."""

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.contrib.django.structures import StructuredCache, number, packed, unpacked


class SortedSetsCache(StructuredCache):
    """Sorted sets: members as those of sets, each with a score."""

    def zadd(
        self,
        key: Any,
        mapping: Mapping[Any, float],
        nx: bool = False,
        xx: bool = False,
        ch: bool = False,
        gt: bool = False,
        lt: bool = False,
        version: int | None = None,
    ) -> int:
        """Give members scores, and return how many are new, or with `ch` changed.

        With `nx` only new ones, with `xx` only others; with `gt` only to a higher score, with `lt`
        to a lower one.
        """
        parts = _scores(mapping, NX=nx, XX=xx, GT=gt, LT=lt, CH=ch)
        added: int = self._ask(b"ZADD", self._at(key, version=version), *parts, nothing=0)
        return added

    async def azadd(
        self,
        key: Any,
        mapping: Mapping[Any, float],
        nx: bool = False,
        xx: bool = False,
        ch: bool = False,
        gt: bool = False,
        lt: bool = False,
        version: int | None = None,
    ) -> int:
        parts = _scores(mapping, NX=nx, XX=xx, GT=gt, LT=lt, CH=ch)
        added: int = await self._aask(b"ZADD", self._at(key, version=version), *parts, nothing=0)
        return added

    def zcard(self, key: Any, version: int | None = None) -> int:
        """Return how many members there are."""
        size: int = self._ask(b"ZCARD", self._at(key, version=version), nothing=0)
        return size

    async def azcard(self, key: Any, version: int | None = None) -> int:
        size: int = await self._aask(b"ZCARD", self._at(key, version=version), nothing=0)
        return size

    def zcount(
        self, key: Any, min: float | str, max: float | str, version: int | None = None
    ) -> int:
        """Return how many members have a score from `min` to `max`."""
        size: int = self._ask(
            b"ZCOUNT", self._at(key, version=version), number(min), number(max), nothing=0
        )
        return size

    async def azcount(
        self, key: Any, min: float | str, max: float | str, version: int | None = None
    ) -> int:
        size: int = await self._aask(
            b"ZCOUNT", self._at(key, version=version), number(min), number(max), nothing=0
        )
        return size

    def zincrby(self, key: Any, amount: float, value: Any, version: int | None = None) -> float:
        """Add to the score of a member, and return it."""
        return float(
            self._ask(
                b"ZINCRBY", self._at(key, version=version), number(amount), packed(value), nothing=0
            )
        )

    async def azincrby(
        self, key: Any, amount: float, value: Any, version: int | None = None
    ) -> float:
        return float(
            await self._aask(
                b"ZINCRBY", self._at(key, version=version), number(amount), packed(value), nothing=0
            )
        )

    def zscore(self, key: Any, value: Any, version: int | None = None) -> float | None:
        """Return the score of a member; None if it is not there."""
        score = self._ask(b"ZSCORE", self._at(key, version=version), packed(value), nothing=None)
        return None if score is None else float(score)

    async def azscore(self, key: Any, value: Any, version: int | None = None) -> float | None:
        score = await self._aask(
            b"ZSCORE", self._at(key, version=version), packed(value), nothing=None
        )
        return None if score is None else float(score)

    def zrank(self, key: Any, value: Any, version: int | None = None) -> int | None:
        """Return the place of a member, of the lowest score 0; None if it is not there."""
        rank: int | None = self._ask(
            b"ZRANK", self._at(key, version=version), packed(value), nothing=None
        )
        return rank

    async def azrank(self, key: Any, value: Any, version: int | None = None) -> int | None:
        rank: int | None = await self._aask(
            b"ZRANK", self._at(key, version=version), packed(value), nothing=None
        )
        return rank

    def zrem(self, key: Any, *values: Any, version: int | None = None) -> int:
        """Remove members, and return how many were there."""
        removed: int = self._ask(
            b"ZREM", self._at(key, version=version), *map(packed, values), nothing=0
        )
        return removed

    async def azrem(self, key: Any, *values: Any, version: int | None = None) -> int:
        removed: int = await self._aask(
            b"ZREM", self._at(key, version=version), *map(packed, values), nothing=0
        )
        return removed

    def zremrangebyscore(
        self, key: Any, min: float | str, max: float | str, version: int | None = None
    ) -> int:
        """Remove the members that have a score from `min` to `max`, and return how many."""
        removed: int = self._ask(
            b"ZREMRANGEBYSCORE", self._at(key, version=version), number(min), number(max), nothing=0
        )
        return removed

    async def azremrangebyscore(
        self, key: Any, min: float | str, max: float | str, version: int | None = None
    ) -> int:
        removed: int = await self._aask(
            b"ZREMRANGEBYSCORE", self._at(key, version=version), number(min), number(max), nothing=0
        )
        return removed

    def zpopmax(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        """Remove the member of the highest score; return both, with a `count` a list of so many."""
        parts = () if count is None else (b"%d" % count,)
        found = _scored(self._ask(b"ZPOPMAX", self._at(key, version=version), *parts, nothing=()))
        return found if count is not None else next(iter(found), None)

    async def azpopmax(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        parts = () if count is None else (b"%d" % count,)
        found = _scored(
            await self._aask(b"ZPOPMAX", self._at(key, version=version), *parts, nothing=())
        )
        return found if count is not None else next(iter(found), None)

    def zpopmin(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        """Remove the member of the lowest score; return both, with a `count` a list of so many."""
        parts = () if count is None else (b"%d" % count,)
        found = _scored(self._ask(b"ZPOPMIN", self._at(key, version=version), *parts, nothing=()))
        return found if count is not None else next(iter(found), None)

    async def azpopmin(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        parts = () if count is None else (b"%d" % count,)
        found = _scored(
            await self._aask(b"ZPOPMIN", self._at(key, version=version), *parts, nothing=())
        )
        return found if count is not None else next(iter(found), None)

    def zrange(
        self,
        key: Any,
        start: int,
        end: int,
        desc: bool = False,
        withscores: bool = False,
        version: int | None = None,
    ) -> list[Any]:
        """Return the members from a place to another, by their scores, perhaps with these."""
        command = b"ZREVRANGE" if desc else b"ZRANGE"
        parts = [b"%d" % start, b"%d" % end, *_with(withscores)]
        return _read(
            self._ask(command, self._at(key, version=version), *parts, nothing=()), withscores
        )

    async def azrange(
        self,
        key: Any,
        start: int,
        end: int,
        desc: bool = False,
        withscores: bool = False,
        version: int | None = None,
    ) -> list[Any]:
        command = b"ZREVRANGE" if desc else b"ZRANGE"
        parts = [b"%d" % start, b"%d" % end, *_with(withscores)]
        return _read(
            await self._aask(command, self._at(key, version=version), *parts, nothing=()),
            withscores,
        )

    def zrevrange(
        self, key: Any, start: int, end: int, withscores: bool = False, version: int | None = None
    ) -> list[Any]:
        """Do what `zrange` does, from the highest score on."""
        return self.zrange(key, start, end, True, withscores, version)

    async def azrevrange(
        self, key: Any, start: int, end: int, withscores: bool = False, version: int | None = None
    ) -> list[Any]:
        return await self.azrange(key, start, end, True, withscores, version)

    def zrangebyscore(
        self,
        key: Any,
        min: float | str,
        max: float | str,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        version: int | None = None,
    ) -> list[Any]:
        """Return the members of a score from `min` to `max`: of these `num` from `start` on."""
        parts = [number(min), number(max), *_with(withscores), *_limit(start, num)]
        return _read(
            self._ask(b"ZRANGEBYSCORE", self._at(key, version=version), *parts, nothing=()),
            withscores,
        )

    async def azrangebyscore(
        self,
        key: Any,
        min: float | str,
        max: float | str,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        version: int | None = None,
    ) -> list[Any]:
        parts = [number(min), number(max), *_with(withscores), *_limit(start, num)]
        return _read(
            await self._aask(b"ZRANGEBYSCORE", self._at(key, version=version), *parts, nothing=()),
            withscores,
        )

    def zrevrangebyscore(
        self,
        key: Any,
        max: float | str,
        min: float | str,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        version: int | None = None,
    ) -> list[Any]:
        """Do what `zrangebyscore` does, from the highest score on."""
        parts = [number(max), number(min), *_with(withscores), *_limit(start, num)]
        return _read(
            self._ask(b"ZREVRANGEBYSCORE", self._at(key, version=version), *parts, nothing=()),
            withscores,
        )

    async def azrevrangebyscore(
        self,
        key: Any,
        max: float | str,
        min: float | str,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        version: int | None = None,
    ) -> list[Any]:
        parts = [number(max), number(min), *_with(withscores), *_limit(start, num)]
        return _read(
            await self._aask(
                b"ZREVRANGEBYSCORE", self._at(key, version=version), *parts, nothing=()
            ),
            withscores,
        )


def _scores(mapping: Mapping[Any, float], **flags: bool) -> list[bytes]:
    parts = [name.encode() for name, given in flags.items() if given]
    for member, score in mapping.items():
        parts += number(score), packed(member)
    return parts


def _with(scores: bool) -> Sequence[bytes]:
    return (b"WITHSCORES",) if scores else ()


def _limit(start: int | None, num: int | None) -> Sequence[bytes]:
    if start is None and num is None:
        return ()
    return b"LIMIT", b"%d" % (start or 0), b"%d" % (-1 if num is None else num)


def _scored(reply: Sequence[bytes]) -> list[tuple[Any, float]]:
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return [(unpacked(member), float(score)) for member, score in pairs]


def _read(reply: Sequence[bytes], withscores: bool) -> list[Any]:
    return _scored(reply) if withscores else list(map(unpacked, reply))
