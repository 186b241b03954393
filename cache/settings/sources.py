"""`CACHES`: where the settings are kept, and what they choose.

`discover` looks for them in the environment, in Django's settings and in TOML;
`backend_class` and `split_options` say what store a `CacheConfig` asks for.
"""

import inspect
import os
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, cast

from twofold.backend import Backend
from twofold.errors import SettingsError
from twofold.settings.config import (
    CacheConfig,
    Raw,
    import_object,
    placed,
    read_caches,
)
from twofold.spelling import did_you_mean, unknown

ENTRY_POINTS = "twofold.backends"
"""The group of entry points that gives backends their short names."""


_FOR_DJANGO = "twofold.contrib.django."


class CommonOptions(TypedDict):
    """The options that every alias has, whatever its backend."""

    blocking_calls: Literal["raise", "warn", "allow"]
    on_error: Literal["raise", "miss"]
    clear: Literal["prefix", "flush"]


_COMMON = {  # the first value is the default
    "blocking_calls": ("raise", "warn", "allow"),
    "on_error": ("raise", "miss"),
    "clear": ("prefix", "flush"),
}


def backend_class(config: CacheConfig) -> type[Backend]:
    """Return the class that `BACKEND` names.

    Raises:
        SettingsError: there is none, it is no `Backend`, or its driver is not installed.
    """
    name = config.backend
    with placed(f"CACHES[{config.alias!r}]['BACKEND']"):
        path = name if "." in name or ":" in name else _registered(name)
        try:
            found = import_object(path)
        except ImportError as error:
            raise SettingsError(_missing_driver(name, path, error)) from error
        if not isinstance(found, type) or not issubclass(found, Backend):
            raise SettingsError(f"{name!r} is no subclass of twofold.backend.Backend")
        return found


def _registered(name: str) -> str:
    """Return the dotted path that a short name stands for."""
    known = _short_names()
    if name not in known:
        raise SettingsError(unknown("backend", name, known))
    return known[name]


@cache
def _short_names() -> dict[str, str]:
    """Return the dotted paths of the installed backends, by short name."""
    return {each.name: each.value for each in entry_points(group=ENTRY_POINTS)}


def _missing_driver(name: str, path: str, error: ImportError) -> str:
    module = path.partition(":")[0] if ":" in path else path.rpartition(".")[0]
    ours = module.startswith("twofold.")
    package = f"'twofold[{module.rpartition('.')[2]}]'" if ours else error.name
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
    common = {name: values[0] for name, values in _COMMON.items()}
    options: dict[str, Any] = {}
    seen: set[str] = set()
    with placed(f"CACHES[{config.alias!r}]['OPTIONS']"):
        for key, value in config.options.items():
            name = key.lower()
            if name in seen:
                raise SettingsError(f"{name!r} is given twice, in other letters: leave one out")
            seen.add(name)
            if name in _COMMON:
                common[name] = _choice(name, value)
            elif name in own:
                options[own[name]] = value
            else:
                raise SettingsError(unknown("option", key, {*own.values(), *_COMMON}))
    return cast("CommonOptions", common), options


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


def _choice(name: str, value: object) -> str:
    values = _COMMON[name]
    if value not in values:
        near = did_you_mean(str(value), values)
        raise SettingsError(f"{name!r} is one of {', '.join(values)}, not {value!r}{near}")
    return str(value)


class Source(NamedTuple):
    """Settings that were found, and where."""

    name: str
    caches: Mapping[str, Raw]


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
    return Source("no settings found", {"default": "memory://"})


def discover() -> dict[str, CacheConfig]:
    """Return the settings that `find` finds, read and checked."""
    source = find()
    with placed(source.name):
        return read_caches(source.caches)


def _in_variable() -> Source | None:
    value = os.environ.get("TWOFOLD_SETTINGS")
    if not value:
        return None
    name = f"TWOFOLD_SETTINGS={value}"
    with placed(name):
        if not value.endswith(".toml"):
            return Source(name, _of_module(value))
        data = _read_toml(Path(value))
        caches = data.get("caches", _tool_caches(data))
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
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the file cannot be read: {error}") from error
    except ValueError as error:
        raise SettingsError(f"the file is no TOML: {error}") from error


def _tool_caches(data: Mapping[str, Any]) -> Any:
    """Return `[tool.twofold.caches]`, or None."""
    table = data.get("tool", {}).get("twofold")
    if table is None:
        return None
    for name in table:
        if name != "caches":
            raise SettingsError(f"[tool.twofold]: {unknown('table', name, ['caches'])}")
    return table.get("caches")


def _in_django() -> Source | None:
    """Return the entries of Django's `CACHES` that name a backend of twofold.

    Django is imported only where it is in use already, or its settings are pointed to.
    """
    conf = sys.modules.get("django.conf")
    if not os.environ.get("DJANGO_SETTINGS_MODULE") and not (conf and conf.settings.configured):
        return None
    try:
        conf = import_module("django.conf")
    except ImportError:
        return None
    with placed("Django's settings"):
        try:
            entries = conf.settings.CACHES
        except Exception as error:
            raise SettingsError(f"they cannot be read: {error}") from error
        ours = {alias: _plain(entry) for alias, entry in entries.items() if _is_ours(entry)}
    return Source("Django's settings", ours) if ours else None


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("BACKEND", "")).startswith("twofold.")


def _plain(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry in twofold's own terms, which drop-in backends for Django know."""
    path = entry["BACKEND"]
    if not path.startswith(_FOR_DJANGO):
        return entry
    translated: Mapping[str, Any] = import_object(path).to_twofold(entry)
    return translated


def _in_cache_url() -> Source | None:
    url = os.environ.get("CACHE_URL")
    return Source("CACHE_URL", {"default": url}) if url else None


def _in_pyproject() -> Source | None:
    path = _nearest_pyproject()
    if path is None:
        return None
    with placed(str(path)):
        caches = _tool_caches(_read_toml(path))
    return Source(str(path), caches) if caches is not None else None


def _nearest_pyproject() -> Path | None:
    try:
        here = Path.cwd()
    except OSError:  # it has been removed
        return None
    paths = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next((path for path in paths if os.path.isfile(path)), None)
