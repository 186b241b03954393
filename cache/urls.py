"""Cache URLs: what backend, where, and with what settings."""

import re
from collections.abc import Container, Iterator
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from twofold.errors import SettingsError

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+._-]*+)://")
_BACKENDS = {  # by scheme, where the names differ
    "rediss": "redis",
    "unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}
_ON_DISK = frozenset({"files", "sqlite"})
_LOCAL = frozenset({"dummy", "memory"}) | _ON_DISK
_OURS = _LOCAL | {"memcached", "redis"}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WORD = re.compile(r"\s*+\S*+")
_BETWEEN_PARAMETERS = re.compile(r"([?&;#])")
_SOUNDS_SECRET = re.compile(r"pass|pwd|secret|token|auth|credential|api.?key", re.IGNORECASE)

_IN_NUMBERS = frozenset("0123456789+-.eE")
_WORDS = {"true": True, "false": False, "none": None}


class Url(NamedTuple):
    """A cache URL taken apart."""

    backend: str
    location: str
    parameters: dict[str, str]
    """Settings and options by the names they have in the URL."""

    def __repr__(self) -> str:
        """Show no password, which may stand in all of it."""
        return f"<Url of {self.backend}>"


def scheme(location: str) -> str | None:
    """Return the scheme of `location` in lower case, or None if it is no URL."""
    found = _SCHEME.match(location)
    return found[1].lower() if found else None


def backend_of(url: str) -> str:
    """Return the short name of the backend that a URL chooses by its scheme."""
    name = scheme(url) or ""
    return _BACKENDS.get(name, name)


def split(url: str, settings: Container[str]) -> Url:
    """Take `url` apart.

    The parameters of a store of this package are all taken out; of other URLs, which a
    driver reads for itself, only those in `settings`. The location of a store in the
    process or on its disk is the bare name or path.

    Raises:
        SettingsError: a parameter is given twice, the path of a store on disk is no path, or a
            password is cut in two by a "?".
    """
    backend = backend_of(url)
    check_controls(url)
    address, _, query = url.partition("?")
    if "@" in query:  # then what follows "?" may be half of a password
        raise SettingsError(
            f"a URL {backend}://… has '?' before '@': write %3F for it in a password, and %40"
            " for '@' in a parameter"
        )
    taken: dict[str, tuple[str, str]] = {}
    left = []
    for part in query.split("&") if query else []:
        name, _, text = part.partition("=")
        if backend in _OURS or name.upper() in settings:
            if name.upper() in taken:
                raise SettingsError(f"{mask_url(address)!r} gives {name!r} twice: leave one out")
            taken[name.upper()] = unquote_plus(name), unquote_plus(text)
        else:
            left.append(part)
    parameters = dict(taken.values())
    if backend in _LOCAL:
        return Url(backend, _local_name(backend, address), parameters)
    return Url(backend, f"{address}?{'&'.join(left)}" if left else address, parameters)


def check_controls(location: str) -> None:
    """Raise `SettingsError` for a control character, such as the CR of another system's file."""
    if found := _CONTROL.search(location):
        raise SettingsError(
            f"there is a control character, {found[0]!r}, in {mask_location(location)!r}:"
            " leave it out"
        )


def _local_name(backend: str, address: str) -> str:
    name = unquote(address.partition("://")[2])
    check_controls(name)
    if backend not in _ON_DISK or not name:
        return name.strip("/")
    if not name.startswith("/"):
        relative, absolute = (mask_url(f"{backend}://{slashes}{name}") for slashes in ("/", "//"))
        raise SettingsError(
            f"{mask_url(f'{backend}://{name}')!r}: write {relative} for a path relative to the"
            f" working directory, {absolute} for an absolute one"
        )
    return name[1:]


def literal(text: str) -> bool | int | float | str | None:
    """Return the bool, None or number that `text` looks like, or else `text`."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float) if _IN_NUMBERS.issuperset(text) else ():
        try:
            return number(text)
        except ValueError:
            pass
    return text


def sounds_secret(name: str) -> bool:
    """Tell whether what has this name is not to be shown."""
    return _SOUNDS_SECRET.search(name) is not None


def mask_location(location: str) -> str:
    """Return a `LOCATION`, which may be a URL, a path or bare hosts, without what lets in."""
    is_path = location.startswith(("/", ".", "~"))
    if "@" not in location or "://" in location or is_path:
        return mask_url(location)
    return f"***@{location.rpartition('@')[2]}"


def mask_url(text: str) -> str:
    """Return `text` with `***` for whatever lets in by the URLs in it.

    That is a password, or a user without one, and parameters that sound secret. Where a
    password ends is not always to be seen: more may go than had to, never less.
    """
    return "".join(map(_mask, _each_url(text)))


def _each_url(text: str) -> Iterator[str]:
    """Yield `text` in pieces; a word with "://" begins one, for passwords may have blanks."""
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
