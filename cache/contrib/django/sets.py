"""Sets, as django-redis has them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from twofold.contrib.django.structures import StructuredCache, packed, unpacked

_NO_PAGE: Final = (b"0", ())


class SetsCache(StructuredCache):
    """Sets, whose members are texts, numbers, dates and the like, and tuples of these."""

    def sadd(self, key: Any, *values: Any, version: int | None = None) -> int:
        """Add members to a set, and return how many are new."""
        added: int = self._ask(
            b"SADD", self._at(key, version=version), *map(packed, values), nothing=0
        )
        return added

    async def asadd(self, key: Any, *values: Any, version: int | None = None) -> int:
        added: int = await self._aask(
            b"SADD", self._at(key, version=version), *map(packed, values), nothing=0
        )
        return added

    def srem(self, key: Any, *members: Any, version: int | None = None) -> int:
        """Remove members of a set, and return how many were there."""
        removed: int = self._ask(
            b"SREM", self._at(key, version=version), *map(packed, members), nothing=0
        )
        return removed

    async def asrem(self, key: Any, *members: Any, version: int | None = None) -> int:
        removed: int = await self._aask(
            b"SREM", self._at(key, version=version), *map(packed, members), nothing=0
        )
        return removed

    def scard(self, key: Any, version: int | None = None) -> int:
        """Return how many members a set has."""
        size: int = self._ask(b"SCARD", self._at(key, version=version), nothing=0)
        return size

    async def ascard(self, key: Any, version: int | None = None) -> int:
        size: int = await self._aask(b"SCARD", self._at(key, version=version), nothing=0)
        return size

    def smembers(self, key: Any, version: int | None = None) -> set[Any]:
        """Return the members of a set."""
        return set(
            map(unpacked, self._ask(b"SMEMBERS", self._at(key, version=version), nothing=()))
        )

    async def asmembers(self, key: Any, version: int | None = None) -> set[Any]:
        return set(
            map(unpacked, await self._aask(b"SMEMBERS", self._at(key, version=version), nothing=()))
        )

    def sismember(self, key: Any, member: Any, version: int | None = None) -> bool:
        """Return whether a set has a member."""
        return bool(
            self._ask(b"SISMEMBER", self._at(key, version=version), packed(member), nothing=0)
        )

    async def asismember(self, key: Any, member: Any, version: int | None = None) -> bool:
        return bool(
            await self._aask(
                b"SISMEMBER", self._at(key, version=version), packed(member), nothing=0
            )
        )

    def smismember(self, key: Any, *members: Any, version: int | None = None) -> list[bool]:
        """Return of each of some members whether a set has it."""
        nothing = [0] * len(members)
        return list(
            map(
                bool,
                self._ask(
                    b"SMISMEMBER",
                    self._at(key, version=version),
                    *map(packed, members),
                    nothing=nothing,
                ),
            )
        )

    async def asmismember(self, key: Any, *members: Any, version: int | None = None) -> list[bool]:
        nothing = [0] * len(members)
        return list(
            map(
                bool,
                await self._aask(
                    b"SMISMEMBER",
                    self._at(key, version=version),
                    *map(packed, members),
                    nothing=nothing,
                ),
            )
        )

    def smove(self, source: Any, destination: Any, member: Any, version: int | None = None) -> bool:
        """Move a member to another set, and return whether it was in the first."""
        return bool(
            self._ask(
                b"SMOVE", self._at(source, destination, version=version), packed(member), nothing=0
            )
        )

    async def asmove(
        self, source: Any, destination: Any, member: Any, version: int | None = None
    ) -> bool:
        return bool(
            await self._aask(
                b"SMOVE", self._at(source, destination, version=version), packed(member), nothing=0
            )
        )

    def spop(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        """Remove a member and return it, or None; with a `count`, a set of so many."""
        if count is None:
            return _or_none(self._ask(b"SPOP", self._at(key, version=version), nothing=None))
        return set(
            map(
                unpacked,
                self._ask(b"SPOP", self._at(key, version=version), b"%d" % count, nothing=()),
            )
        )

    async def aspop(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        if count is None:
            return _or_none(await self._aask(b"SPOP", self._at(key, version=version), nothing=None))
        return set(
            map(
                unpacked,
                await self._aask(
                    b"SPOP", self._at(key, version=version), b"%d" % count, nothing=()
                ),
            )
        )

    def srandmember(self, key: Any, count: int | None = None, version: int | None = None) -> Any:
        """Return some member, or None; with a `count`, a list of so many."""
        if count is None:
            return _or_none(self._ask(b"SRANDMEMBER", self._at(key, version=version), nothing=None))
        return list(
            map(
                unpacked,
                self._ask(
                    b"SRANDMEMBER", self._at(key, version=version), b"%d" % count, nothing=()
                ),
            )
        )

    async def asrandmember(
        self, key: Any, count: int | None = None, version: int | None = None
    ) -> Any:
        if count is None:
            return _or_none(
                await self._aask(b"SRANDMEMBER", self._at(key, version=version), nothing=None)
            )
        return list(
            map(
                unpacked,
                await self._aask(
                    b"SRANDMEMBER", self._at(key, version=version), b"%d" % count, nothing=()
                ),
            )
        )

    def sdiff(self, *keys: Any, version: int | None = None) -> set[Any]:
        """Return what is in the first of some sets, and in none of the others."""
        return set(map(unpacked, self._ask(b"SDIFF", self._at(*keys, version=version), nothing=())))

    async def asdiff(self, *keys: Any, version: int | None = None) -> set[Any]:
        return set(
            map(unpacked, await self._aask(b"SDIFF", self._at(*keys, version=version), nothing=()))
        )

    def sinter(self, *keys: Any, version: int | None = None) -> set[Any]:
        """Return what is in each of some sets."""
        return set(
            map(unpacked, self._ask(b"SINTER", self._at(*keys, version=version), nothing=()))
        )

    async def asinter(self, *keys: Any, version: int | None = None) -> set[Any]:
        return set(
            map(unpacked, await self._aask(b"SINTER", self._at(*keys, version=version), nothing=()))
        )

    def sunion(self, *keys: Any, version: int | None = None) -> set[Any]:
        """Return what is in any of some sets."""
        return set(
            map(unpacked, self._ask(b"SUNION", self._at(*keys, version=version), nothing=()))
        )

    async def asunion(self, *keys: Any, version: int | None = None) -> set[Any]:
        return set(
            map(unpacked, await self._aask(b"SUNION", self._at(*keys, version=version), nothing=()))
        )

    def sdiffstore(
        self,
        dest: Any,
        *keys: Any,
        version_dest: int | None = None,
        version_keys: int | None = None,
    ) -> int:
        """Make a set of what `sdiff` returns, and return its size."""
        at = [*self._at(dest, version=version_dest), *self._at(*keys, version=version_keys)]
        size: int = self._ask(b"SDIFFSTORE", at, nothing=0)
        return size

    async def asdiffstore(
        self,
        dest: Any,
        *keys: Any,
        version_dest: int | None = None,
        version_keys: int | None = None,
    ) -> int:
        at = [*self._at(dest, version=version_dest), *self._at(*keys, version=version_keys)]
        size: int = await self._aask(b"SDIFFSTORE", at, nothing=0)
        return size

    def sinterstore(self, dest: Any, *keys: Any, version: int | None = None) -> int:
        """Make a set of what `sinter` returns, and return its size."""
        size: int = self._ask(b"SINTERSTORE", self._at(dest, *keys, version=version), nothing=0)
        return size

    async def asinterstore(self, dest: Any, *keys: Any, version: int | None = None) -> int:
        size: int = await self._aask(
            b"SINTERSTORE", self._at(dest, *keys, version=version), nothing=0
        )
        return size

    def sunionstore(self, dest: Any, *keys: Any, version: int | None = None) -> int:
        """Make a set of what `sunion` returns, and return its size."""
        size: int = self._ask(b"SUNIONSTORE", self._at(dest, *keys, version=version), nothing=0)
        return size

    async def asunionstore(self, dest: Any, *keys: Any, version: int | None = None) -> int:
        size: int = await self._aask(
            b"SUNIONSTORE", self._at(dest, *keys, version=version), nothing=0
        )
        return size

    def sscan(
        self, key: Any, match: str | None = None, count: int = 10, version: int | None = None
    ) -> set[Any]:
        """Return some members of a set; with `match`, of those that are texts like the pattern."""
        page = self._ask(
            b"SSCAN", self._at(key, version=version), *_scan(b"0", match, count), nothing=_NO_PAGE
        )
        return set(map(unpacked, page[1]))

    async def asscan(
        self, key: Any, match: str | None = None, count: int = 10, version: int | None = None
    ) -> set[Any]:
        page = await self._aask(
            b"SSCAN", self._at(key, version=version), *_scan(b"0", match, count), nothing=_NO_PAGE
        )
        return set(map(unpacked, page[1]))

    def sscan_iter(
        self, key: Any, match: str | None = None, count: int = 10, version: int | None = None
    ) -> Iterator[Any]:
        """Return the members of a set as they are found; one may come twice."""
        at, cursor = self._at(key, version=version), b""
        while cursor != b"0":
            parts = _scan(cursor or b"0", match, count)
            cursor, members = self._ask(b"SSCAN", at, *parts, nothing=_NO_PAGE)
            yield from map(unpacked, members)

    async def asscan_iter(
        self, key: Any, match: str | None = None, count: int = 10, version: int | None = None
    ) -> AsyncIterator[Any]:
        at, cursor = self._at(key, version=version), b""
        while cursor != b"0":
            parts = _scan(cursor or b"0", match, count)
            cursor, members = await self._aask(b"SSCAN", at, *parts, nothing=_NO_PAGE)
            for each in members:
                yield unpacked(each)


def _scan(cursor: bytes, match: str | None, count: int) -> list[bytes]:
    pattern = [] if match is None else [b"MATCH", match.encode()]
    return [cursor, *pattern, b"COUNT", b"%d" % count]


def _or_none(data: bytes | None) -> Any:
    return None if data is None else unpacked(data)
