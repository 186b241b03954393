"""The one normaliser, and the keys of an alias."""

import re
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, TypeAlias, TypeVar

from twofold.display import shown
from twofold.errors import InvalidKey, SettingsError
from twofold.keys import kinds
from twofold.keys.kinds import is_lock, unlike_a_lock

Keys = TypeVar("Keys", bound=Iterable[Any])

KeyFunction: TypeAlias = Callable[[str, str, int], str]
"""Makes the full key of (key, key_prefix, version), as Django's `KEY_FUNCTION` does."""

MAX_KEY = 250
"""Bytes that a normalised key has at most: what memcached takes."""

_DIGEST = 41  # "#" and 40 hex digits
_HEAD = MAX_KEY - _DIGEST
_DIGESTED = re.compile(r"#[0-9a-fA-F]{40}\Z")
_BAD = re.compile(r"[^!-~]")

_TEXTS = (str, bytes, bytearray)

_MEMO_KEYS = 4096
_MEMO_LENGTH = 256  # characters of a raw key

_MAX_PREFIX = 64
_PREFIX = re.compile(r"[!-~]*\Z")
_VERSIONS = range(-(2**63), 2**63)


def normalise(full_key: str) -> str:
    """Return `full_key` in the form that every store can hold.

    Printable ASCII without blanks, at most 250 bytes, stays as it is. Anything else
    becomes a readable head, "#", and the BLAKE2b-160 digest of the whole in hex. A key
    that looks like a digested one is digested too, so no two keys ever become one.
    """
    if (
        len(full_key) <= MAX_KEY
        and full_key.isascii()
        and full_key.isprintable()
        and " " not in full_key
        and (full_key[-_DIGEST:-40] != "#" or not _DIGESTED.search(full_key))
    ):
        return full_key
    return f"{head(full_key)}#{_digest(full_key, 20)}"


def normalise_value(full_key: str) -> str:
    """Return `full_key` as `normalise` does, but never like the key of a lock or a claim."""
    if not is_lock(full_key):
        return normalise(full_key)
    return f"{head(unlike_a_lock(full_key))}#{_digest(full_key, 20)}"


def may_be_of_value(stored: str) -> bool:
    """Tell whether a key, as it stands in a store, may be one that `normalise_value` made."""
    return len(stored) <= MAX_KEY and not _BAD.search(stored) and not is_lock(stored)


def head(full_key: str) -> str:
    """Return the readable beginning of a digested key."""
    return _BAD.sub("_", full_key[:_HEAD])


def _digest(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def many(keys: Keys) -> Keys:
    """Return `keys`, unless it is one text, which would be taken letter by letter.

    Raises:
        InvalidKey: it is.
    """
    if isinstance(keys, _TEXTS):
        raise InvalidKey(f"{keys!r} stands in place of many keys: write [{keys!r}]")
    return keys


def check_prefix(prefix: object) -> str:
    """Return `prefix` if it can be a `KEY_PREFIX`.

    Raises:
        SettingsError: it is no str, too long, or has a blank, ":", "!" or non-ASCII in it.
    """
    if not isinstance(prefix, str):
        raise SettingsError(f"KEY_PREFIX is text, not {shown(prefix)}")
    if len(prefix) > _MAX_PREFIX:
        raise SettingsError(
            f"KEY_PREFIX has at most {_MAX_PREFIX} characters; {shown(prefix)} has {len(prefix)}"
        )
    if not _PREFIX.match(prefix) or ":" in prefix or "!" in prefix:
        raise SettingsError(
            f"KEY_PREFIX {shown(prefix)}: only printable ASCII without blanks, ':' and '!'"
            " (':' ends the prefix in a key, '!' marks locks); write '.' or '-' instead"
        )
    return prefix


def check_version(version: object) -> int:
    """Return `version` if it can be the version in a key.

    Raises:
        InvalidKey: it is no signed 64-bit int, or a bool.
    """
    if isinstance(version, bool) or not isinstance(version, int) or version not in _VERSIONS:
        raise InvalidKey(f"the version of a key is an int of at most 64 bits, not {shown(version)}")
    return version


class KeyMaker:
    """Makes the normalised keys of an alias: `{prefix}:{version}:{key}`.

    Args:
        prefix: the alias's `KEY_PREFIX`.
        version: the version of keys made without one.
        function: the alias's `KEY_FUNCTION`, in place of the pattern above.
    """

    __slots__ = ("_function", "_start", "key_prefix", "known", "version")

    def __init__(
        self, prefix: str = "", version: int = 1, function: KeyFunction | None = None
    ) -> None:
        self.key_prefix: str = check_prefix(prefix)
        try:
            self.version: int = check_version(version)
        except InvalidKey as error:
            raise SettingsError(f"VERSION: {error}") from None
        self._function = function
        self._start = f"{prefix}:{version:d}:"
        # A KEY_FUNCTION may depend on more than its arguments: none of its keys is kept.
        self.known: dict[str, str] = {}

    def __repr__(self) -> str:
        function = f", {self._function!r}" if self._function is not None else ""
        return f"KeyMaker({self.key_prefix!r}, {self.version}{function})"

    def __call__(self, key: str, version: int | None = None) -> str:
        """Return the normalised key of `key`.

        Raises:
            InvalidKey: `key` is empty or no str, or `version` no int.
        """
        if version is None:
            try:
                made = self.known.get(key)
            except TypeError:  # unhashable
                made = None
            if made is not None:
                return made
        return self._make(key, version)

    def _make(self, key: str, version: int | None) -> str:
        if version is not None or type(key) is not str or not key or self._function is not None:
            return normalise_value(self._full(key, self.version if version is None else version))
        return self._remember(key, normalise(self._start + key))

    def _remember(self, key: str, made: str) -> str:
        """Keep the normalised key that was made of `key`, unless that is long; return it."""
        if len(key) <= _MEMO_LENGTH:
            if len(self.known) >= _MEMO_KEYS:
                self.known.clear()
            self.known[key] = made
        return made

    def _full(self, key: str, version: int) -> str:
        text, version = _checked(key), check_version(version)
        if self._function is None:
            return f"{self.key_prefix}:{version:d}:{text}"
        made = self._function(text, self.key_prefix, version)
        if not isinstance(made, str) or not made:
            raise InvalidKey(
                f"KEY_FUNCTION must return a non-empty str; for {key!r} it returned {made!r}"
            )
        return str.__str__(made)

    def lock(self, key: str) -> str:
        """Return the normalised key of the lock `key`, which no value's key can be."""
        name = _checked(key) if self._function is None else self._full(key, self.version)
        return normalise(kinds.lock(self.key_prefix, name))

    def claim(self, full_key: str) -> str:
        """Return the key of a claim beside a normalised key, which no other key can be."""
        return normalise(kinds.claim(self.key_prefix, full_key))

    def tag(self, name: str) -> str:
        """Return the normalised key of a tag, which no value's key can be."""
        return normalise(kinds.tag(self.key_prefix, name))

    def scope(self) -> str:
        """Return what every value's key of this alias begins with, in all versions.

        Raises:
            SettingsError: there is a `KEY_FUNCTION`.
        """
        self._need_common_prefix('OPTIONS["clear"] = "flush" lets clear() empty the whole store')
        return f"{self.key_prefix}:"

    def beginnings(self) -> tuple[str, ...]:
        """Return what the keys of all values and tags of this alias begin with; "" if nothing."""
        if self._function is not None:
            return ("",)
        return f"{self.key_prefix}:", f"{self.key_prefix}!tag:"

    def prefix(self, start: str, version: int | None = None) -> str:
        """Return what the normalised keys of all keys that begin with `start` begin with.

        Where `start` is long or not plain ASCII, some other keys may begin with it too.

        Raises:
            SettingsError: there is a `KEY_FUNCTION`.
            InvalidKey: `start` is empty or no str, or `version` no int.
        """
        self._need_common_prefix("delete keys by their names instead")
        number = check_version(self.version if version is None else version)
        return head(f"{self.key_prefix}:{number:d}:{_checked(start)}")

    def _need_common_prefix(self, way_out: str) -> None:
        if self._function is not None:
            raise SettingsError(
                f"with a KEY_FUNCTION the keys have no common prefix to clear by; {way_out}"
            )


def _checked(key: object) -> str:
    """Return the text of `key`."""
    if not isinstance(key, str):
        raise InvalidKey(f"a key is text: write str({key!r}) or an f-string if that is meant")
    if not key:
        raise InvalidKey("the key is empty: give it at least one character")
    return str.__str__(key)
