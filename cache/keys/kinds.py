"""What a stored key is of: a value, a lock or a lease. These never meet.

    value   {prefix}:{version}:{key}, or whatever a KEY_FUNCTION or a framework makes
    lock    {prefix}!lock:{name}
    lease   {prefix}!lease:{the value's key}

A prefix has neither ":" nor "!" in it, so a "!" before the first ":" tells them apart. What
somebody else makes may look like the key of a lock; then it is digested, and the ":" that
makes it look so is replaced in the part that stays readable.
"""

import re

_LOCK = re.compile(r"\A([^:!]*!(?:lock|lease)):")


def is_lock(key: str) -> bool:
    """Tell whether `key` is a lock's or a lease's: "prefix!lock:name", "prefix!lease:key"."""
    return "!" in key and _LOCK.match(key) is not None


def lock(prefix: str, name: str) -> str:
    """Return the full key of a lock."""
    return f"{prefix}!lock:{name}"


def lease(prefix: str, key: str) -> str:
    """Return the full key of the lease of `key`, or the beginning of those of many keys."""
    return f"{prefix}!lease:{key}"


def unlike_a_lock(key: str) -> str:
    """Return `key`, or what it begins with; changed if it looks like a lock's."""
    return key if "!" not in key else _LOCK.sub(r"\1_", key)
