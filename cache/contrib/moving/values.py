"""What values of other caches' options mean: pure functions for the tables."""

import ssl
from collections.abc import Callable
from math import isfinite
from os import PathLike, fspath
from typing import Any

from twofold.contrib.moving.tables import Ignored, Refused, Translated

NO_LIMIT = "an operation always has a deadline here, of 1 second unless OPTIONS['deadline'] says so"

_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})
_FALSE = frozenset({"0", "false", "no", "off", "n", "f", ""})
_VERIFIED = frozenset({"required", "cert_required", "optional", "cert_optional", "1", "2", "true"})
_UNVERIFIED = frozenset({"none", "cert_none", "0", "false"})


def seconds(value: Any, unit: float = 1.0) -> Translated:
    """Return what a time limit, in parts of a second, is here: the deadline of an operation."""
    if value is None:
        return Ignored(NO_LIMIT)
    number = as_number(value)
    if number is None or number <= 0:
        return Refused("write a number of seconds more than 0, or OPTIONS['deadline']")
    return {"deadline": number * unit}


def milliseconds(value: Any) -> Translated:
    """Do what `seconds` does."""
    return seconds(value, 0.001)


def microseconds(value: Any) -> Translated:
    """Do what `seconds` does."""
    return seconds(value, 0.000_001)


def as_number(value: Any) -> float | None:
    """Return the finite number that `value` is, or says as text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def as_flag(value: Any) -> bool | None:
    """Return what `value` says, as a bool, a number or text; None if it is neither."""
    word = str(value).lower()
    return True if word in _TRUE else False if word in _FALSE else None


def flag(name: str) -> Callable[[Any], Translated]:
    """Return a function of a value that is True or False, for the option `name`."""

    def make(value: Any) -> Translated:
        said = as_flag(value)
        return Refused("write True or False") if said is None else {name: said}

    return make


def text(name: str) -> Callable[[Any], Translated]:
    """Return a function of a text, or None, for the option `name`.

    Readers of the environment make an int of a password of digits.
    """

    def make(value: Any) -> Translated:
        if value is None or value == "":
            return {}
        if isinstance(value, bytes):
            return {name: value.decode(errors="replace")}
        if isinstance(value, int) and not isinstance(value, bool):
            return {name: str(value)}
        return {name: value} if isinstance(value, str) else Refused("write text")

    return make


def path(name: str) -> Callable[[Any], Translated]:
    """Return a function of the path of a file, or None, for the option `name`."""

    def make(value: Any) -> Translated:
        if value is None:
            return {}
        return (
            {name: fspath(value)} if isinstance(value, str | PathLike) else Refused("write a path")
        )

    return make


def whole(name: str) -> Callable[[Any], Translated]:
    """Return a function of a whole number, for the option `name`."""

    def make(value: Any) -> Translated:
        number = as_number(value)
        if value is None or value == "":
            return {}
        if number is None or number < 0 or number % 1:
            return Refused("write a number, 0 or more")
        return {name: int(number)}

    return make


def verification(value: Any) -> Translated:
    """Return whether certificates are verified: all that Python's and redis-py's terms mean."""
    word = str(int(value) if isinstance(value, ssl.VerifyMode) else value).lower()
    if word in _UNVERIFIED:
        return {"ssl_cert_reqs": "none"}
    return (
        {"ssl_cert_reqs": "required"}
        if word in _VERIFIED
        else Refused("write 'required' or 'none'")
    )


def outages(ignored: Any) -> Translated:
    """Return what happens in an outage, where errors are ignored or are not."""
    said = as_flag(ignored)
    return (
        Refused("write True or False")
        if said is None
        else {"on_error": "miss" if said else "raise"}
    )


def serializer(value: Any) -> Translated:
    """Return the serializer that a class of Django's, or of its third parties, is here."""
    named = dotted(value)
    if named is None:
        return Refused("write SERIALIZER with the dotted path of a class that has dumps and loads")
    package, name = named.partition(".")[0], named.rpartition(".")[2].lower()
    if value is None or name in ("redisserializer", "pickleserializer"):
        return {}
    if package not in _FOREIGN:
        return {"SERIALIZER": named}
    if name in _SERIALIZERS:
        return {"SERIALIZER": _SERIALIZERS[name]}
    return Refused("write SERIALIZER 'pickle', 'json' or 'msgpack'")


def compressor(value: Any) -> Translated:
    """Return the compressor that a class of django-redis's kind is here."""
    named = dotted(value)
    if value is None:
        return {}
    word = "" if named is None else named.rpartition(".")[2].lower().removesuffix("compressor")
    if word not in _COMPRESSORS:
        return Refused("write COMPRESSOR 'zlib', 'zstd' or 'lz4'")
    found = _COMPRESSORS[word]
    return {"COMPRESSOR": found} if found else {}


def dotted(value: Any) -> str | None:
    """Return the dotted path of a class or function, or the text that is one; "" for None."""
    if value is None or isinstance(value, str):
        return value or ""
    name = getattr(value, "__qualname__", None)
    return None if name is None or "<" in name else f"{value.__module__}.{name}"


_FOREIGN = frozenset({"django", "django_redis", "django_valkey", "redis_cache"})
_SERIALIZERS = {
    "jsonserializer": "twofold.contrib.django.lossy.DjangoJson",
    "msgpackserializer": "msgpack",
    "msgspecserializer": "msgpack",
}
_COMPRESSORS = {
    "": None,
    "identity": None,
    "noop": None,
    "zlib": "zlib",
    "gzip": "zlib",
    "zstd": "zstd",
    "lz4": "lz4",
}
