"""What may be shown of what others wrote: servers, keys, values, settings, URLs with passwords."""

import json
import re
from collections.abc import Iterator
from urllib.parse import unquote

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+._-]*+)://")
_WORD = re.compile(r"\s*+\S*+")
_BETWEEN_PARAMETERS = re.compile(r"([?&;#])")
_LONGEST = 200  # characters of a setting that a message shows
_SOUNDS_SECRET = re.compile(r"pass|pwd|secret|token|auth|credential|api.?key", re.IGNORECASE)


def printable(text: str) -> str:
    r"""Return `text` with `\n`, `\u001b` and the like for what a terminal or a log would obey.

    That is whatever `str.isprintable` refuses: controls, line ends, marks that turn the
    direction of writing. Escaped as in JSON, so that JSON means the same afterwards.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def shown(value: object) -> str:
    """Return a setting as a message may show it, or only its type where it may hold a secret."""
    if value is None or isinstance(value, int | float):
        return shortened(repr(value))
    if isinstance(value, str) and (scheme(value) or "@" not in value):
        return shortened(repr(mask_url(value)))
    return f"a {type(value).__name__}"


def shortened(text: str) -> str:
    """Return `text`, of what is long only its beginning and how long it is."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(text)} characters)"


def scheme(location: str) -> str | None:
    """Return the scheme of `location` in lower case, or None if it is no URL."""
    found = _SCHEME.match(location)
    return found[1].lower() if found else None


def sounds_secret(name: str) -> bool:
    """Tell whether what has this name is not to be shown."""
    return _SOUNDS_SECRET.search(name) is not None


def mask_location(location: str) -> str:
    """Return a `LOCATION`, which may be a URL, a path or bare hosts, without credentials."""
    is_path = location.startswith(("/", ".", "~"))
    if "@" not in location or "://" in location or is_path:
        return mask_url(location)
    return f"***@{location.rpartition('@')[2]}"


def mask_url(text: str) -> str:
    """Return `text` with `***` in place of credentials in the URLs in it.

    That is a password, or a user without one, and parameters that sound secret. Where a
    password ends cannot always be told: more may be masked than necessary, never less.
    """
    return "".join(map(_mask, _each_url(text)))


def _each_url(text: str) -> Iterator[str]:
    """Yield `text` in pieces; a word with "://" begins one, since passwords may have blanks."""
    piece: list[str] = []
    for word in _WORD.findall(text):
        if "://" in word:
            yield "".join(piece)
            piece.clear()
        piece.append(word)
    yield "".join(piece)


def _mask(piece: str) -> str:
    before, mark, url = piece.partition("://")
    login, at, rest = url.rpartition("@")
    if at:
        user, _, password = login.partition(":")
        login = f"{user}:***" if password else "***"
    parameters = map(_mask_parameter, _BETWEEN_PARAMETERS.split(rest))
    return f"{before}{mark}{login}{at}{''.join(parameters)}"


def _mask_parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}=***" if equals and sounds_secret(unquote(name)) else text
