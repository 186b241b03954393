"""Cache URLs: what backend, where, and with what settings."""

import re
from collections.abc import Container
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from twofold.display import mask_location, mask_url, scheme
from twofold.errors import SettingsError

_BACKENDS = {  # by scheme, where the names differ
    "rediss": "redis",
    "unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}
ON_DISK = frozenset({"files", "sqlite"})
_LOCAL = frozenset({"dummy", "memory"}) | ON_DISK
_OURS = _LOCAL | {"memcached", "redis"}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

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
    if backend not in ON_DISK or not name:
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
