"""Cache URLs: what backend, where, and with what settings."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from twofold.errors import SettingsError

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+._-]*)://")
_BACKENDS = {"rediss": "redis", "unix": "redis"}  # by scheme, where the names differ
_ON_DISK = frozenset({"files", "sqlite"})
_LOCAL = frozenset({"dummy", "memory"}) | _ON_DISK
_OURS = _LOCAL | {"memcached", "redis"}

_BLANK = r"\s(?!\S*://)"  # one that belongs to a password: no other URL follows it
_USER_PASSWORD = re.compile(rf"(://(?:[^:\s]|{_BLANK})*:)(?:\S|{_BLANK})*@")
_SECRET_PARAMETER = re.compile(
    r"([?&][^=&\s]*(?:passw|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE
)

_INT = re.compile(r"[+-]?[0-9]+\Z")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
_WORDS = {"true": True, "false": False, "none": None}


class Url(NamedTuple):
    """A cache URL taken apart."""

    backend: str
    location: str
    parameters: dict[str, str]
    """Settings and options by the names they have in the URL."""


def scheme(location: str) -> str | None:
    """Return the scheme of `location` in lower case, or None if it is no URL."""
    found = _SCHEME.match(location)
    return found[1].lower() if found else None


def backend_of(url: str) -> str:
    """Return the short name of the backend that a URL chooses by its scheme."""
    name = scheme(url) or ""
    return _BACKENDS.get(name, name)


def split(url: str, settings: Iterable[str]) -> Url:
    """Take `url` apart.

    The parameters of a store of this package are all taken out; of other URLs, which a
    driver reads for itself, only those in `settings`. The location of a store in the
    process or on its disk is the bare name or path.

    Raises:
        SettingsError: a parameter is given twice, the path of a store on disk is no path, or a
            password is cut in two by a "?".
    """
    backend = backend_of(url)
    address, _, query = url.partition("?")
    if "@" in query and "@" not in address:  # what follows "?" may be half of a password
        raise SettingsError(
            f"a URL {backend}://… has '?' before '@': write %3F for it in a password, and %40"
            " for '@' in a parameter"
        )
    taken: dict[str, str] = {}
    left = []
    for part in query.split("&") if query else []:
        name, _, text = part.partition("=")
        if backend in _OURS or name.upper() in settings:
            if name.upper() in map(str.upper, taken):
                raise SettingsError(f"{mask_url(address)!r} gives {name!r} twice: leave one out")
            taken[unquote_plus(name)] = unquote_plus(text)
        else:
            left.append(part)
    if backend in _LOCAL:
        return Url(backend, _local_name(backend, address), taken)
    return Url(backend, f"{address}?{'&'.join(left)}" if left else address, taken)


def _local_name(backend: str, address: str) -> str:
    name = unquote(address.partition("://")[2])
    if backend not in _ON_DISK or not name:
        return name.strip("/")
    if not name.startswith("/"):
        raise SettingsError(
            f"'{backend}://{name}': write {backend}:///{name} for a path relative to the working"
            f" directory, {backend}:////{name} for an absolute one"
        )
    return name[1:]


def literal(text: str) -> bool | int | float | str | None:
    """Return the bool, None or number that `text` looks like, or else `text`."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


def mask_url(url: str) -> str:
    """Return `url` with `***` for its password and for parameters that sound secret."""
    return _SECRET_PARAMETER.sub(r"\1***", _USER_PASSWORD.sub(r"\1***@", url))
