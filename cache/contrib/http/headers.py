"""Header fields: in order, repeated ones apart, names without regard to case (RFC 9110, 5)."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names and values of fields, as they came."""

_MEMBER = re.compile(r'(?:[^",]+|"[^"\\]*(?:\\.?[^"\\]*)*"?)+', re.DOTALL)
"""All but commas and whole quoted strings; one that is not closed goes to the end.

It is linear, since it cannot fail once it has begun: nothing in it depends on what follows.
"""

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What names of fields and of directives are made of (RFC 9110, 5.6.2)."""

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

    __slots__ = ("_named", "pairs")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.pairs: Pairs = tuple([(bytes(name), bytes(value)) for name, value in pairs])
        self._named: dict[bytes, list[bytes]] | None = None

    @classmethod
    def of_known(cls, pairs: Iterable[tuple[bytes, bytes]], known: "Headers") -> "Headers":
        """Return the headers of `pairs`: those that are `known`, if they are the same."""
        given = tuple(pairs)
        return known if given == known.pairs else cls(given)

    @classmethod
    def of_text(cls, pairs: Iterable[tuple[str, str]]) -> "Headers":
        """Return the headers that text in Latin-1, as WSGI has it, stands for."""
        return cls((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)

    def __repr__(self) -> str:
        names = sorted(name.decode("latin-1") for name in self._by_name())
        return f"<Headers {', '.join(names)}>"

    def __contains__(self, name: str) -> bool:
        return _encoded(name) in (self._named or self._by_name())

    @classmethod
    def of_bytes(cls, pairs: Pairs) -> "Headers":
        """Return headers with fields that are bytes already, and that nobody changes."""
        made = cls.__new__(cls)
        made.pairs, made._named = pairs, None
        return made

    def text(self) -> list[tuple[str, str]]:
        """Return names and values as text, as WSGI takes them."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.pairs]

    def any_of(self, names: frozenset[bytes]) -> bool:
        """Tell whether there is a field of one of these `names`, which are in lower case."""
        return not names.isdisjoint(self._named or self._by_name())

    def raw(self, name: str) -> Sequence[bytes]:
        """Return the values of the fields called `name`, as they came."""
        return (self._named or self._by_name()).get(_encoded(name), ())

    def values(self, name: str) -> list[str]:
        """Return the values of the fields called `name`, without the blanks around them."""
        lines = self.raw(name)
        return [line.decode("latin-1").strip(" \t") for line in lines] if lines else []

    def members(self, name: str) -> list[str]:
        """Return the members of a field that is a list; its lines are one list (5.3, 5.6.1)."""
        lines = self.values(name)
        if not lines:
            return lines
        found = [each for line in lines for each in _MEMBER.findall(line)]
        return [each.strip() for each in found if each.strip()]

    @property
    def overlong(self) -> bool:
        """Whether a field is longer than anybody's needs, and not to be parsed."""
        return max([len(value) for _, value in self.pairs], default=0) > _LONGEST

    def without(self, *names: str) -> "Headers":
        """Return all fields but those called `names`."""
        left = _all_encoded(names)
        return self.of_bytes(tuple([p for p in self.pairs if p[0].lower() not in left]))

    def only(self, *names: str) -> "Headers":
        """Return the fields called `names`."""
        kept = _all_encoded(names)
        return self.of_bytes(tuple([p for p in self.pairs if p[0].lower() in kept]))

    def plus(self, name: str, value: str) -> "Headers":
        """Return these and one field more."""
        return self.of_bytes((*self.pairs, (name.encode("latin-1"), value.encode("latin-1"))))

    def followed_by(self, pairs: Pairs) -> "Headers":
        """Return these and more fields."""
        return self.of_bytes((*self.pairs, *pairs))

    def end_to_end(self) -> "Headers":
        """Return the fields that are not for one connection alone (RFC 9110, 7.6.1)."""
        named = {name.lower() for name in self.members("connection")}
        return self.without(*_HOP_BY_HOP, *named)

    def _by_name(self) -> dict[bytes, list[bytes]]:
        """Return the values of all fields, kept since callers of one often ask for more."""
        named: dict[bytes, list[bytes]] = {}
        for name, value in self.pairs:
            named.setdefault(name.lower(), []).append(value)
        self._named = named
        return named


@lru_cache(maxsize=256)
def _encoded(name: str) -> bytes:
    return name.lower().encode("latin-1")


@lru_cache(maxsize=256)
def _all_encoded(names: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(map(_encoded, names))


def varying(headers: Headers) -> tuple[str, ...] | None:
    """Return the names in `Vary`, lower-case, sorted; None for `*`: every request differs.

    So it is assumed to where a name is invalid, since nobody knows which was meant.
    """
    members = headers.members("vary")
    if not members:
        return ()
    names = {name.lower() for name in members}
    known = "*" not in names and all(map(TOKEN.fullmatch, names))
    return tuple(sorted(names)) if known else None


def add_vary(headers: Headers, names: Iterable[str]) -> Headers:
    """Return `headers` with `names` in `Vary`."""
    wanted = {name.lower() for name in names}
    present = varying(headers) if wanted else None
    missing = [] if present is None else sorted(wanted.difference(present))
    return headers.plus("vary", ", ".join(missing)) if missing else headers
