"""The directives of `Cache-Control` (RFC 9111, 5.2)."""

import re

from twofold.contrib.http.headers import Headers

FOREVER = 2**31
"""What a number of seconds that is larger means (RFC 9111, 1.2.2)."""

_DIRECTIVE = re.compile(
    r"""(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)
        (?:[ \t]*=[ \t]*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<token>[^\s",;=]+)))?""",
    re.VERBOSE | re.DOTALL,
)


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
            found = _DIRECTIVE.fullmatch(member)
            if found is None:
                self.malformed = True
                continue
            argument = found["token"] if found["quoted"] is None else found["quoted"]
            self._arguments.setdefault(found["name"].lower(), set()).add(argument or "")

    def __repr__(self) -> str:
        return f"<CacheControl {', '.join(sorted(self._arguments))}>"

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def seconds(self, name: str) -> int | None:
        """Return the number that a directive gives; 0 if it gives none, or two; None without it."""
        given = self._arguments.get(name)
        if given is None:
            return None
        numbers = [_number(text) for text in given]
        return numbers[0] if len(numbers) == 1 else 0


def _number(text: str) -> int:
    """Return the seconds of a `delta-seconds`; 0 for what is none."""
    if not text.isascii() or not text.isdigit():
        return 0
    return FOREVER if len(text) > len(str(FOREVER)) else min(int(text), FOREVER)


def add_public(headers: Headers) -> Headers:
    """Return `headers` with `public` in `Cache-Control`."""
    return headers if "public" in CacheControl(headers) else headers.plus("cache-control", "public")
