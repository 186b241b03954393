"""Header fields: in order, repeated ones apart, names without regard to case (RFC 9110, 5)."""

import re
from collections.abc import Iterable
from typing import TypeAlias

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names and values of fields, as they came."""

_MEMBER = re.compile(r'(?:[^",]+|"[^"\\]*(?:\\.?[^"\\]*)*"?)+', re.DOTALL)
"""All but commas and whole quoted strings; one that is not closed goes to the end.

It is linear, for it cannot fail once it has begun: nothing in it depends on what follows.
"""

_LONGEST = 8192  # bytes of a field of a request that is parsed

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Headers:
    """The header fields of a request or a response; never changed.

    Args:
        pairs: names and values as bytes, as ASGI has them. The values of repeated fields
            stay apart.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.pairs: Pairs = tuple((bytes(name), bytes(value)) for name, value in pairs)

    @classmethod
    def of_text(cls, pairs: Iterable[tuple[str, str]]) -> "Headers":
        """Return the headers that text in Latin-1, as WSGI has it, stands for."""
        return cls((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)

    def __repr__(self) -> str:
        return f"<Headers {', '.join(sorted({self._name(name) for name, _ in self.pairs}))}>"

    def __contains__(self, name: str) -> bool:
        return bool(self.raw(name))

    def text(self) -> list[tuple[str, str]]:
        """Return names and values as text, as WSGI takes them."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.pairs]

    def raw(self, name: str) -> list[bytes]:
        """Return the values of the fields called `name`, as they came."""
        wanted = name.lower().encode("latin-1")
        return [value for each, value in self.pairs if each.lower() == wanted]

    def values(self, name: str) -> list[str]:
        """Return the values of the fields called `name`, without the blanks around them."""
        return [value.decode("latin-1").strip(" \t") for value in self.raw(name)]

    def members(self, name: str) -> list[str]:
        """Return the members of a field that is a list; its lines are one list (5.3, 5.6.1)."""
        found = [each for value in self.values(name) for each in _MEMBER.findall(value)]
        return [each.strip() for each in found if each.strip()]

    @property
    def overlong(self) -> bool:
        """Whether a field is longer than anybody's needs, and not to be parsed."""
        return any(len(value) > _LONGEST for _, value in self.pairs)

    def without(self, *names: str) -> "Headers":
        """Return all fields but those called `names`."""
        left = {name.lower() for name in names}
        return Headers(pair for pair in self.pairs if self._name(pair[0]) not in left)

    def only(self, *names: str) -> "Headers":
        """Return the fields called `names`."""
        kept = {name.lower() for name in names}
        return Headers(pair for pair in self.pairs if self._name(pair[0]) in kept)

    def plus(self, name: str, value: str) -> "Headers":
        """Return these and one field more."""
        return Headers((*self.pairs, (name.encode("latin-1"), value.encode("latin-1"))))

    def end_to_end(self) -> "Headers":
        """Return the fields that are not for one connection alone (RFC 9110, 7.6.1)."""
        named = {name.lower() for name in self.members("connection")}
        return self.without(*_HOP_BY_HOP, *named)

    @staticmethod
    def _name(name: bytes) -> str:
        return name.decode("latin-1").lower()


def varying(headers: Headers) -> tuple[str, ...] | None:
    """Return the names in `Vary`, lower-case, sorted; None for `*`: every request differs."""
    names = {name.lower() for name in headers.members("vary")}
    return None if "*" in names else tuple(sorted(names))


def add_vary(headers: Headers, names: Iterable[str]) -> Headers:
    """Return `headers` with `names` in `Vary`."""
    present = varying(headers)
    missing = [] if present is None else sorted({n.lower() for n in names} - set(present))
    return headers.plus("vary", ", ".join(missing)) if missing else headers
