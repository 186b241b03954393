"""`CACHES`: where the settings are kept, and what they choose.

`discover` looks for them in the environment, in Django's settings and in TOML;
`backend_class` and `split_options` say what store a `CacheConfig` asks for.
"""

import inspect
import logging
import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, cast

from twofold.backend import Backend
from twofold.display import scheme, shown
from twofold.errors import SettingsError
from twofold.settings.config import (
    CacheConfig,
    Raw,
    import_object,
    placed,
    read_caches,
)
from twofold.settings.django import find_in_django
from twofold.settings.pyproject import find_pyproject, parse_toml, tell, tool_caches
from twofold.spelling import did_you_mean, unknown

ENTRY_POINTS = "twofold.backends"
"""The group of entry points that gives backends their short names."""


_DJANGO = "Django's settings"
_NOTHING = "none found; one memory cache, which each process has for itself"

_OURS = {
    "dummy": "twofold.backends.dummy:DummyBackend",
    "files": "twofold.backends.files:FilesBackend",
    "memcached": "twofold.backends.memcached:MemcachedBackend",
    "memory": "twofold.backends.memory:MemoryBackend",
    "redis": "twofold.backends.redis:RedisBackend",
    "sqlite": "twofold.backends.sqlite:SQLiteBackend",
}


class CommonOptions(TypedDict):
    """The options that every alias has, whatever its backend."""

    blocking_calls: Literal["raise", "warn", "allow"]
    on_error: Literal["raise", "miss"]
    clear: Literal["prefix", "flush"]
    on_unserializable: Literal["return", "raise"]


class EntryOptions(TypedDict):
    """The options that every alias has, about what is signed in its entries."""

    numbers: Literal["signed", "bare"] | None
    context: str


_COMMON = {  # the first value is the default
    "blocking_calls": ("raise", "warn", "allow"),
    "on_error": ("raise", "miss"),
    "clear": ("prefix", "flush"),
    "on_unserializable": ("return", "raise"),
}
_NUMBERS = ("signed", "bare")
_OF_ENTRIES = EntryOptions.__annotations__.keys()


def backend_class(config: CacheConfig) -> type[Backend]:
    """Return the class that `BACKEND` names.

    Raises:
        SettingsError: there is none, it is no `Backend`, or its driver is not installed.
    """
    name = config.backend
    with placed(config.where("BACKEND")):
        path = name if "." in name or ":" in name else _registered(name)
        try:
            found = import_object(path)
        except ImportError as error:
            raise SettingsError(_missing_driver(name, path, error)) from error
        except SettingsError as error:
            raise SettingsError(f"{error}{_short_name_of(path)}") from error.__cause__
        if not isinstance(found, type) or not issubclass(found, Backend):
            raise SettingsError(
                f"{name!r} is no subclass of twofold.backend.Backend: name one, or a short name"
                f" such as 'redis'{_short_name_of(path)}"
            )
        return found


def _short_name_of(path: str) -> str:
    """Return "; did you mean 'redis'?" for the path of another library's class."""
    name = path.rpartition(".")[2].lower()
    return did_you_mean(name.removesuffix("backend").removesuffix("cache"), _short_names())


def _registered(name: str) -> str:
    """Return the dotted path that a short name stands for.

    Ours need not be registered: an application in one file has no metadata of packages.
    """
    if name in _OURS:
        return _OURS[name]
    known = _short_names()
    if name not in known:
        raise SettingsError(unknown("backend", name, known))
    return known[name]


@cache
def _short_names() -> dict[str, str]:
    """Return the dotted paths of the installed backends, by short name."""
    from importlib.metadata import entry_points

    found = {each.name: each.value for each in entry_points(group=ENTRY_POINTS)}
    return {**found, **_OURS}


def _missing_driver(name: str, path: str, error: ImportError) -> str:
    module = path.partition(":")[0] if ":" in path else path.rpartition(".")[0]
    ours = module.startswith("twofold.")
    package = f"'.[{module.rpartition('.')[2]}]'" if ours else error.name
    hint = f": pip install {package}" if package else ""
    return f"{name!r} cannot be used, something that it needs is missing ({error}){hint}"


def split_options(
    config: CacheConfig, backend: type[Backend]
) -> tuple[CommonOptions, dict[str, Any]]:
    """Return the options that every alias has, and those for the constructor of `backend`.

    Names may be in any letter case.

    Raises:
        SettingsError: an option is unknown, given twice, or not one of its values.
    """
    own = _parameters(backend)
    entry_options(config)
    common = {name: values[0] for name, values in _COMMON.items()}
    if backend.kind == "inline":  # which blocks nobody: it is for those who ask for it
        common["blocking_calls"] = "allow"
    options: dict[str, Any] = {}
    seen: set[str] = set()
    with placed(config.where("OPTIONS")):
        for key, value in config.options.items():
            name = key.lower()
            if name in seen:
                raise SettingsError(
                    f"{shown(name)} is given twice, in other letters: leave one out"
                )
            seen.add(name)
            if name in _COMMON:
                common[name] = _choice(name, value, _COMMON[name])
            elif name in own:
                options[own[name]] = value
            elif name not in _OF_ENTRIES:
                known = {*own.values(), *_COMMON, *_OF_ENTRIES}
                raise SettingsError(unknown("option", key, known))
    return cast("CommonOptions", common), options


def entry_options(config: CacheConfig) -> EntryOptions:
    """Return the options about what is signed; `numbers` is None where they do not say.

    Raises:
        SettingsError: an option is not one of its values.
    """
    given = {name.lower(): value for name, value in config.options.items()}
    numbers, context = given.get("numbers"), given.get("context", "")
    with placed(config.where("OPTIONS")):
        if not isinstance(context, str):
            raise SettingsError(f"'context' is text that signatures cover, not {shown(context)}")
        if numbers is not None:
            numbers = _choice("numbers", numbers, _NUMBERS)
    return {"numbers": cast('Literal["signed", "bare"] | None', numbers), "context": context}


def _parameters(backend: type[Backend]) -> dict[str, str]:
    """Return the keyword-only parameters of a constructor, by their names in lower case.

    Where it takes `**kwargs`, those of the next constructor in line count too.
    """
    names: set[str] = set()
    for cls in backend.__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
        names |= {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break
    return {name.lower(): name for name in names - {"clock"}}


def _choice(name: str, value: object, values: tuple[str, ...]) -> str:
    if value not in values:
        near = did_you_mean(str(value), values)
        raise SettingsError(f"{name!r} is one of {', '.join(values)}, not {shown(value)}{near}")
    return str(value)


class Source(NamedTuple):
    """Settings that were found, and where."""

    name: str
    caches: Mapping[str, Raw]

    def __repr__(self) -> str:
        """Show no settings, which may have passwords."""
        return f"<Source {self.name!r}>"


def find() -> Source:
    """Return the settings from the first place that has some, unread.

    In this order: the environment's `TWOFOLD_SETTINGS` (a module with `CACHES`, or a TOML
    file); those of Django's `CACHES` that name a backend of twofold; the environment's
    `CACHE_URL`; `[tool.twofold.caches.*]` in the nearest pyproject.toml, upwards from the
    working directory; else one memory cache.

    Raises:
        SettingsError: what was found, or was pointed to, is wrong.
    """
    for look in (_in_variable, _in_django, _in_cache_url, _in_pyproject):
        found = look()
        if found is not None:
            return found
    _point_to_the_programs()
    return Source(_NOTHING, {"default": "memory://"})


def discover() -> dict[str, CacheConfig]:
    """Return the settings that `find` finds, read and checked."""
    return read(find())


def read(source: Source) -> dict[str, CacheConfig]:
    """Return the settings of a source, checked.

    Raises:
        SettingsError: something in them is unknown or cannot be.
    """
    with placed(source.name):
        return read_caches(source.caches)


def _in_variable() -> Source | None:
    value = os.environ.get("TWOFOLD_SETTINGS", "").strip()
    if not value:
        return None
    if scheme(value):
        raise SettingsError("TWOFOLD_SETTINGS is a URL: put it into CACHE_URL")
    name = f"TWOFOLD_SETTINGS={value}"
    with placed(name):
        if not value.endswith(".toml"):
            return Source(name, _of_module(value))
        data = _read_toml(Path(value))
        caches = data.get("caches", tool_caches(data))
        if caches is None:
            raise SettingsError(
                f"the file has no table [caches.default]{did_you_mean('caches', data)}"
            )
        return Source(name, caches)


def _of_module(name: str) -> Mapping[str, Raw]:
    try:
        module = import_module(name)
    except (ImportError, TypeError, ValueError) as error:
        raise SettingsError(
            f"the module cannot be imported: {error} (a TOML file must end in .toml)"
        ) from error
    if not hasattr(module, "CACHES"):
        raise SettingsError(f"the module has no CACHES{did_you_mean('CACHES', dir(module))}")
    return cast("Mapping[str, Raw]", module.CACHES)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"the file cannot be read: {error}") from error


def _in_django() -> Source | None:
    with placed(_DJANGO):
        ours = find_in_django()
    return Source(_DJANGO, ours) if ours else None


def _in_cache_url() -> Source | None:
    url = os.environ.get("CACHE_URL", "").strip()
    return Source("CACHE_URL", {"default": url}) if url else None


def _in_pyproject() -> Source | None:
    try:
        here = Path.cwd()
    except OSError:  # it has been removed
        return None
    return _upwards(here)


def _upwards(folder: Path) -> Source | None:
    path, caches = find_pyproject(folder) or (None, None)
    return Source(str(path), caches) if caches is not None else None


def _point_to_the_programs() -> None:
    """Warn of settings that stand by the program, where it was started somewhere else."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if program and (found := _upwards(Path(program).absolute().parent)):
        tell(
            logging.WARNING,
            f"the settings in {found.name} are not used, since the program was not started in"
            f" that folder or below: each process has a memory cache of its own. Start it there,"
            f" or set TWOFOLD_SETTINGS={found.name}",
        )
