"""The directives of `Cache-Control` (RFC 9111, 5.2)."""

import re

from twofold.contrib.http.headers import TOKEN, Headers

FOREVER = 2**31
"""What a number of seconds that is larger means (RFC 9111, 1.2.2)."""

_ARGUMENT = re.compile(r'[^\s",;=]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


class CacheControl:
    """What all `Cache-Control` fields of a message say together.

    A name counts in whatever case, with or without an argument, which may be quoted and
    have blanks around its `=`. Text that is no directive makes the whole `malformed`.
    """

    __slots__ = ("_arguments", "malformed")

    def __init__(self, headers: Headers) -> None:
        self._arguments: dict[str, set[str]] = {}
        self.malformed: bool = False
        for member in headers.members("cache-control"):
            directive = _directive(member)
            if directive is None:
                self.malformed = True
            else:
                name, argument = directive
                self._arguments.setdefault(name, set()).add(argument)

    def __repr__(self) -> str:
        return f"<CacheControl {', '.join(sorted(self._arguments))}>"

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def seconds(self, name: str) -> int | None:
        """Return the number that a directive gives; 0 if it gives none, or two; None without it."""
        given = self._arguments.get(name)
        if given is None:
            return None
        numbers = [delta_seconds(text) or 0 for text in given]
        return numbers[0] if len(numbers) == 1 else 0


def _directive(member: str) -> tuple[str, str] | None:
    """Return a name and its argument, which may be empty; None for what is no directive."""
    name, given, argument = member.partition("=")
    name, argument = name.rstrip(" \t"), argument.lstrip(" \t")
    if not TOKEN.fullmatch(name):
        return None
    if not given or _ARGUMENT.fullmatch(argument):
        return name.lower(), argument
    quoted = _QUOTED.fullmatch(argument)
    return None if quoted is None else (name.lower(), quoted[1])


def delta_seconds(text: str) -> int | None:
    """Return the seconds that digits stand for, `FOREVER` at most; None for what is no number."""
    if not text.isascii() or not text.isdigit():
        return None
    digits = text.lstrip("0")
    return FOREVER if len(digits) > len(str(FOREVER)) else min(int(digits or "0"), FOREVER)


def add_public(headers: Headers) -> Headers:
    """Return `headers` with `public` in `Cache-Control`."""
    return headers if "public" in CacheControl(headers) else headers.plus("cache-control", "public")
