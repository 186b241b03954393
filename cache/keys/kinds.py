"""What a stored key is of: a value, a lock, a claim or a tag. These never meet.

    value   {prefix}:{version}:{key}, or whatever a KEY_FUNCTION or a framework makes
    lock    {prefix}!lock:{name}
    claim   {prefix}!claim:{the value's key}
    tag     {prefix}!tag:{name}

A prefix has neither ":" nor "!" in it, so a "!" before the first ":" tells them apart. What
a framework makes may look like the key of a lock; then it is digested, and the ":" that
makes it look so is replaced in the part that stays readable.

Stores ask here what a key is of: they do not evict locks, claims and tags.
"""

import re
from typing import Final

MARKS: Final = ("!lock:", "!claim:", "!tag:")
"""What the key of a lock, a claim or a tag has at its first "!"; no ":" comes before that."""

_LOCK = re.compile(rf"\A([^:!]*(?:{'|'.join(mark[:-1] for mark in MARKS)})):")
_DIGESTED_TWICE = re.compile(r"(#[0-9a-f]{40})#[0-9a-f]{40}\Z")  # a claim of a digested key


def is_lock(key: str) -> bool:
    """Tell whether `key` is a lock's, a claim's or a tag's, such as "prefix!lock:name"."""
    return "!" in key and _LOCK.match(key) is not None


def lock(prefix: str, name: str) -> str:
    """Return the full key of a lock."""
    return f"{prefix}!lock:{name}"


def claim(prefix: str, key: str) -> str:
    """Return the full key of a claim that stands beside the entry of `key`."""
    return f"{prefix}!claim:{key}"


def tag(prefix: str, name: str) -> str:
    """Return the full key of a tag; without a name, that of the epoch of all tags."""
    return f"{prefix}!tag:{name}"


def belongs_to(key: str) -> str:
    """Return the key whose server has `key`: a claim is on the server of its value.

    Not so where the claim's key was too long to still contain the value's.
    """
    return _DIGESTED_TWICE.sub(r"\1", key.partition(":")[2]) if is_lock(key) else key


def unlike_a_lock(key: str) -> str:
    """Return `key`, or what it begins with; changed if it looks like a lock's."""
    return key if "!" not in key else _LOCK.sub(r"\1_", key)
