"""The settings of an alias: from a dict or a URL to a validated `CacheConfig`."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any, TypeAlias, cast

from twofold.display import mask_location, mask_url, printable, scheme, shown, sounds_secret
from twofold.errors import InvalidKey, InvalidTimeout, SettingsError
from twofold.freshness.options import read_freshness
from twofold.keys import KeyFunction, check_prefix, check_version
from twofold.near.options import NearOptions, read_near
from twofold.settings.urls import ON_DISK, backend_of, check_controls, literal, split
from twofold.spelling import did_you_mean, unknown
from twofold.timeouts import seconds

Raw: TypeAlias = Mapping[str, Any] | str
"""One entry of `CACHES`: a dict of settings, or a URL."""

Secret: TypeAlias = str | bytes | Sequence[str | bytes]
"""What signs entries; of several the first signs, and all are recognised."""

_SHORTEST_SECRET = 16  # bytes

_A_NAME = re.compile(r"[\w.:+-]*")
_A_PATH = re.compile(r"[\w.:]*")
_TEXT_NAME = re.compile(r"username|passw|secret|token|sentinel|cert|keyfile|context", re.IGNORECASE)


@dataclass(frozen=True)
class CacheConfig:
    """The validated settings of one alias; `timeout` is in seconds, None for ever."""

    alias: str
    backend: str
    location: str | list[str] = ""
    timeout: float | None = 300.0
    key_prefix: str = ""
    version: int = 1
    key_function: KeyFunction | None = None
    serializer: str | None = "msgpack"
    compressor: str | None = None
    compress_min: int = 256
    secret: Secret | None = None
    options: dict[str, Any] = field(default_factory=dict)
    freshness: dict[str, Any] = field(default_factory=dict)
    """What becomes of computed values, as fields of a `Policy`."""
    near: NearOptions | None = None
    """What this process may keep of what is in the store."""
    types: list[type] = field(default_factory=list)
    """Classes that are registered when the cache is made."""

    @staticmethod
    def place(alias: str, setting: str = "") -> str:
        """Return where the settings of `alias` stand, or one of them, for messages."""
        return f"CACHES[{alias!r}]" + (f"[{setting!r}]" if setting else "")

    def where(self, setting: str = "") -> str:
        """Return where these settings stand, or one of them, for messages."""
        return self.place(self.alias, setting)

    def __repr__(self) -> str:
        """Show what is not the default, and no secret."""
        shown = [
            f"{each.name}={_mask(each.name, getattr(self, each.name))!r}"
            for each in fields(self)
            if getattr(self, each.name) not in (each.default, {}, [])
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _mask(name: str, value: Any) -> Any:
    """Return `value` without what must not be shown."""
    if sounds_secret(name) and value is not None:
        return "***"
    if isinstance(value, str):
        return mask_location(value) if name == "location" else mask_url(value)
    if isinstance(value, bytes):
        return mask_url(value.decode("latin-1")).encode("latin-1")
    if isinstance(value, list | tuple):
        return [_mask(name, each) for each in value]
    if isinstance(value, Mapping):
        return {key: _mask(str(key), each) for key, each in value.items()}
    return value


def read_caches(raw: Mapping[str, Raw]) -> dict[str, CacheConfig]:
    """Return the configuration of every alias in a dict like Django's `CACHES`.

    Raises:
        SettingsError: something in it is unknown or cannot be.
    """
    if not isinstance(raw, Mapping) or not raw:
        found = "an empty dict" if raw == {} else shown(raw)
        raise SettingsError(
            f"CACHES must be a dict such as {{'default': 'memory://'}}, not {found}"
        )
    return {alias: read_cache(alias, entry) for alias, entry in raw.items()}


def read_cache(alias: str, raw: Raw, kind: type[CacheConfig] = CacheConfig) -> CacheConfig:
    """Return the configuration of one alias, from a dict of settings or a URL.

    The names of settings may be in any letter case. "none" as text means None, for
    sources that have no None.

    Raises:
        SettingsError: something in it is unknown or cannot be.
    """
    if not isinstance(alias, str) or not alias:
        raise SettingsError(
            f"an alias in CACHES must be non-empty text such as 'default', not {shown(alias)}"
        )
    where = kind.place(alias)
    if isinstance(raw, str):
        if scheme(raw.strip()) is None:
            hint = _no_url(alias, raw.strip())
            raise SettingsError(
                f"{where}: {shown(raw)} is no URL such as 'memory://' or 'sqlite:///c.db'{hint}"
            )
        raw = {"LOCATION": raw}
    if not isinstance(raw, Mapping):
        raise SettingsError(
            f"{where} must be a dict of settings or a URL such as 'memory://', not {shown(raw)}"
        )
    with placed(where):
        settings = _expand_url(_upper(raw))
    values: dict[str, Any] = {}
    for name, value in settings.items():
        with placed(kind.place(alias, name)):
            values[name.lower()] = _READERS[name](value)
    return kind(alias, **values)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Say in errors where the wrong setting stands."""
    try:
        yield
    except (SettingsError, InvalidTimeout, InvalidKey) as error:
        raise SettingsError(f"{printable(where)}: {error}") from error.__cause__


def _upper(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by their names in upper case."""
    settings: dict[str, Any] = {}
    for key, value in raw.items():
        name = str(key).upper()
        if name in ("CULL_FREQUENCY", "MAX_ENTRIES"):
            raise SettingsError(f"{shown(key)} is an option: put it into OPTIONS")
        if name not in _READERS:
            raise SettingsError(unknown("setting", str(key), _READERS))
        if name in settings:
            raise SettingsError(f"{shown(name)} is given twice, in other letters: leave one out")
        settings[name] = value
    return settings


_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)(?::/?|//))?(?P<host>(?:[a-z][\w.-]*|\d+(?:\.\d+){3})(?::\d+)?)(?P<path>/\d*)?"
)


_BARE = {
    "memory": "memory://",
    "dummy": "dummy://",
    "sqlite": "sqlite:///cache.db",
    "files": "files:///cache",
    **{name: f"{name}://localhost" for name in ("redis", "rediss", "valkey", "memcached")},
}


def _no_url(alias: str, text: str) -> str:
    """Return what was meant by an entry that is a text and no URL."""
    if alias.upper() in _READERS:
        return "; settings stand under an alias: {'default': {'BACKEND': 'memory'}}"
    return "; leave out the quotes" if text[:1] in ("'", '"') else _as_url(text)


def _as_url(location: str) -> str:
    """Return the URL that was meant by an address which is almost one, as a question."""
    if location in _BARE:
        return f"; did you mean {_BARE[location]!r}?"
    found = _ADDRESS.fullmatch(location)
    if found is None or (found["scheme"] is None and ":" not in found["host"]):
        return ""
    near = f"{found['scheme'] or 'redis'}://{found['host']}{found['path'] or ''}"
    return f"; did you mean {near!r}?"


def _expand_url(settings: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` with what a URL in LOCATION says put in its place."""
    location, backend = settings.get("LOCATION"), settings.get("BACKEND")
    if isinstance(backend, str) and scheme(backend):
        raise SettingsError("BACKEND is a URL: put it into LOCATION")
    url_text = location.strip() if isinstance(location, str) else ""  # a .env file's CR
    if scheme(url_text) is None:
        if backend is None:
            raise SettingsError(
                "no BACKEND is named: give its short name, its dotted path, or a URL in LOCATION"
                f"{_as_url(url_text)}"
            )
        return settings
    if backend is not None and backend != backend_of(url_text):
        if backend in ON_DISK:
            raise SettingsError(
                f"LOCATION {mask_url(url_text)!r} is no path of BACKEND {backend!r}: give a path,"
                " or leave BACKEND out"
            )
        return {**settings, "LOCATION": url_text}
    url = split(url_text, _IN_URL)
    expanded = {**settings, "BACKEND": url.backend, "LOCATION": url.location}
    options = {**_mapping(settings.get("OPTIONS", {}))}
    beside = set(map(str.upper, options))
    for key, text in url.parameters.items():
        name = key.upper()
        if name in (settings if name in _IN_URL else beside):
            raise SettingsError(f"{shown(key)} is given in the URL and beside it: leave one out")
        is_text = name in _TEXTS or _TEXT_NAME.search(key)  # no name or password is a number
        value = text if is_text else literal(text)
        if name in _IN_URL:
            expanded[name] = value
        else:
            options[key] = value
    return {**expanded, "OPTIONS": options}


def _is(value: object, kind: type | tuple[type, ...], what: str) -> Any:
    """Return `value` if it is of that kind; a bool is no int."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SettingsError(f"must be {what}, not {shown(value)}")
    return value


def _none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.lower() == "none")


def _near(value: object) -> NearOptions | None:
    return None if _none(value) else read_near(value)


def _options(value: object) -> dict[str, Any]:
    """Return options, with None for "none", since TOML has no null, unless they are text."""
    return {
        name: None if _none(each) and not _TEXT_NAME.search(name) else each
        for name, each in _mapping(value).items()
    }


def _backend(value: object) -> str:
    name: str = _is(value, str, "a short name or a dotted path")
    if not name:
        raise SettingsError("must not be empty: give a short name or a dotted path")
    if not _A_NAME.fullmatch(name):
        raise SettingsError(
            f"must be a short name such as 'redis' or a dotted path, not {shown(name)}"
        )
    return name


def _location(value: object) -> str | list[str]:
    if isinstance(value, list | tuple):
        return [_place(_is(each, str, "a list of text").strip()) for each in value]
    location = _is(value, (str, os.PathLike), "text, a path, or a list of text")
    return _place(os.fsdecode(location))


def _place(location: str) -> str:
    check_controls(location)
    return location


def _timeout(value: Any) -> float | None:
    return None if _none(value) else seconds(value)


def _name_or_none(value: object) -> str | None:
    return None if _none(value) else _backend(value)


def _function(value: Any) -> KeyFunction | None:
    try:
        made = import_object(value) if isinstance(value, str) else value
    except ImportError as error:
        raise SettingsError(f"{shown(value)} cannot be imported: {error}") from error
    if made is not None and not callable(made):
        raise SettingsError(f"must be a function (key, key_prefix, version), not {shown(value)}")
    return cast("KeyFunction | None", made)


def _size(value: object) -> int:
    size: int = _is(value, int, "a number of bytes")
    if size < 0:
        raise SettingsError(f"must be a number of bytes such as 1024, 0 or more; not {size}")
    return size


def _secret(value: object) -> Secret | None:
    """Return what is to sign entries, or None.

    Raises:
        SettingsError: one of them is short enough to be guessed.
    """
    several = value if isinstance(value, list | tuple) else [value]
    if value is None or (several and all(map(_is_secret, several))):
        return cast("Secret | None", value)
    raise SettingsError(
        f"must be text or bytes of at least {_SHORTEST_SECRET} bytes, a list of such, or left out."
        ' Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
    )


def _is_secret(value: object) -> bool:
    """Tell whether `value` is long enough to be hard to guess."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return isinstance(data, bytes) and len(data) >= _SHORTEST_SECRET


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SettingsError(f"must be a dict such as {{'deadline': 0.5}}, not {shown(value)}")
    return dict(value)


def _freshness(value: object) -> dict[str, Any]:
    """Return the options of a `Freshness`, by names in any letter case; classes may be paths."""
    options = {name.lower(): None if _none(each) else each for name, each in _of_names(value)}
    if "timeout" in options:
        raise SettingsError("'timeout' is TIMEOUT, beside it")
    if "tags" in options:
        raise SettingsError("'tags' are given per call or per function, and not to all of an alias")
    errors = options.get("errors")
    if isinstance(errors, Mapping):
        options["errors"] = {
            import_object(kind) if isinstance(kind, str) else kind: timeout
            for kind, timeout in errors.items()
        }
    return read_freshness(options)


def _types(value: object) -> list[type]:
    """Return classes, which may be given as dotted paths."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise SettingsError(f"must be a list of classes or dotted paths, not {shown(value)}")
    found = [import_object(each) if isinstance(each, str) else each for each in value]
    return [_is(each, type, "a list of classes or dotted paths") for each in found]


def _of_names(value: object) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise SettingsError(f"must be a dict such as {{'stale': '1h'}}, not {shown(value)}")
    return value.items()


_READERS: dict[str, Callable[[Any], Any]] = {
    "BACKEND": _backend,
    "LOCATION": _location,
    "TIMEOUT": _timeout,
    "KEY_PREFIX": check_prefix,
    "VERSION": check_version,
    "KEY_FUNCTION": _function,
    "SERIALIZER": _name_or_none,
    "COMPRESSOR": _name_or_none,
    "COMPRESS_MIN": _size,
    "SECRET": _secret,
    "FRESHNESS": _freshness,
    "NEAR": _near,
    "TYPES": _types,
    "OPTIONS": _options,
}
_IN_URL = _READERS.keys() - {"BACKEND", "LOCATION", "FRESHNESS", "TYPES", "OPTIONS"}
_TEXTS = frozenset({"KEY_PREFIX", "KEY_FUNCTION", "SERIALIZER", "COMPRESSOR", "SECRET"})


def import_object(path: str) -> Any:
    """Return what the dotted path "package.module.Name" or "package.module:Name" names.

    Raises:
        SettingsError: there is no such module, or no such name in it.
        ImportError: the module is there, but something that it needs is not.
    """
    module_name, colon, name = path.partition(":") if ":" in path else path.rpartition(".")
    named = _A_PATH.fullmatch(path) and colon and name and module_name
    if not named or module_name.startswith("."):
        raise SettingsError(f"{shown(path)} is no dotted path such as 'package.module.Name'")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise SettingsError(
            f"{path!r}: there is no module {error.name!r}: install it, or correct the path"
        ) from error
    if not hasattr(module, name):
        near = did_you_mean(name, dir(module))
        raise SettingsError(f"{path!r}: there is no {name!r} in {module_name}{near}")
    return getattr(module, name)
