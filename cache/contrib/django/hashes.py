"""Hashes, as django-redis has them, and `hget` and `hgetall`."""

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.contrib.django.structures import StructuredCache
from twofold.entry import MISSING


class HashesCache(StructuredCache):
    """Hashes, whose fields have values as the cache has; their names are texts, as of its keys."""

    def hset(
        self,
        key: Any,
        field: Any = None,
        value: Any = None,
        mapping: Mapping[Any, Any] | None = None,
        version: int | None = None,
    ) -> int:
        """Store the value of a field of a hash, or of several; return how many are new."""
        [at] = self._at(key, version=version)
        cells = self._cells(at, field, value, mapping)
        added: int = self._ask(b"HSET", [at], *cells, nothing=0)
        return added

    async def ahset(
        self,
        key: Any,
        field: Any = None,
        value: Any = None,
        mapping: Mapping[Any, Any] | None = None,
        version: int | None = None,
    ) -> int:
        [at] = self._at(key, version=version)
        cells = self._cells(at, field, value, mapping)
        added: int = await self._aask(b"HSET", [at], *cells, nothing=0)
        return added

    def hget(self, key: Any, field: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value of a field of a hash, or `default`."""
        [at] = self._at(key, version=version)
        return self._value(at, field, self._ask(b"HGET", [at], _name(field), nothing=None), default)

    async def ahget(
        self, key: Any, field: Any, default: Any = None, version: int | None = None
    ) -> Any:
        [at] = self._at(key, version=version)
        return self._value(
            at, field, await self._aask(b"HGET", [at], _name(field), nothing=None), default
        )

    def hgetall(self, key: Any, version: int | None = None) -> dict[str, Any]:
        """Return the values of all fields of a hash."""
        [at] = self._at(key, version=version)
        return self._values(at, self._ask(b"HGETALL", [at], nothing=()))

    async def ahgetall(self, key: Any, version: int | None = None) -> dict[str, Any]:
        [at] = self._at(key, version=version)
        return self._values(at, await self._aask(b"HGETALL", [at], nothing=()))

    def hdel(self, key: Any, field: Any, version: int | None = None) -> int:
        """Remove a field of a hash, and return whether it was there, as 1 or 0."""
        removed: int = self._ask(b"HDEL", self._at(key, version=version), _name(field), nothing=0)
        return removed

    async def ahdel(self, key: Any, field: Any, version: int | None = None) -> int:
        removed: int = await self._aask(
            b"HDEL", self._at(key, version=version), _name(field), nothing=0
        )
        return removed

    def hlen(self, key: Any, version: int | None = None) -> int:
        """Return how many fields a hash has."""
        size: int = self._ask(b"HLEN", self._at(key, version=version), nothing=0)
        return size

    async def ahlen(self, key: Any, version: int | None = None) -> int:
        size: int = await self._aask(b"HLEN", self._at(key, version=version), nothing=0)
        return size

    def hkeys(self, key: Any, version: int | None = None) -> list[str]:
        """Return the names of the fields of a hash."""
        return list(map(_text, self._ask(b"HKEYS", self._at(key, version=version), nothing=())))

    async def ahkeys(self, key: Any, version: int | None = None) -> list[str]:
        return list(
            map(_text, await self._aask(b"HKEYS", self._at(key, version=version), nothing=()))
        )

    def hexists(self, key: Any, field: Any, version: int | None = None) -> bool:
        """Return whether a hash has a field."""
        return bool(self._ask(b"HEXISTS", self._at(key, version=version), _name(field), nothing=0))

    async def ahexists(self, key: Any, field: Any, version: int | None = None) -> bool:
        return bool(
            await self._aask(b"HEXISTS", self._at(key, version=version), _name(field), nothing=0)
        )

    def _cells(
        self, at: str, field: Any, value: Any, mapping: Mapping[Any, Any] | None
    ) -> list[bytes]:
        """Return fields and values as they are stored; a value is none of another field."""
        fields = dict(mapping or {}) if field is None else {**(mapping or {}), field: value}
        dump = self.cache._codec.dump
        return [
            part
            for name, each in fields.items()
            for part in (_name(name), dump(_place(at, name), each))
        ]

    def _value(self, at: str, field: Any, stored: bytes | None, default: Any) -> Any:
        value = MISSING if stored is None else self.cache._codec.load(_place(at, field), stored)
        return default if value is MISSING else value

    def _values(self, at: str, reply: Sequence[bytes]) -> dict[str, Any]:
        fields = zip(map(_text, reply[::2]), reply[1::2], strict=True)
        read = {field: self._value(at, field, stored, MISSING) for field, stored in fields}
        return {field: value for field, value in read.items() if value is not MISSING}


def _place(at: str, field: Any) -> str:
    return f"{at} {field!s}"


def _name(field: Any) -> bytes:
    return str(field).encode()


def _text(field: bytes) -> str:
    return field.decode(errors="replace")
